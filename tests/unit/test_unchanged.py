"""A row that is in the table already is not staged, unless another version of it is staged: the newest must win."""

from pathlib import Path

import pytest

from loader.destination.delta import Place
from loader.destination.unchanged import Unchanged
from tests.end_to_end.support.loading import Loading, sample_config
from tests.sample_api import Row, SampleApi, World


@pytest.fixture
def rows() -> list[Row]:
    return World({"contacts": 3}).snapshot("contacts")


@pytest.fixture
def unchanged(tmp_path: Path) -> Unchanged:
    """Give what knows a table of three rows."""
    with SampleApi(World({"contacts": 3})) as api:
        Loading(tmp_path, lambda: sample_config(api)).run()
    table, staged = (Place(str(tmp_path / dataset / "contacts"), {}) for dataset in ("analytics", "analytics_staging"))
    return Unchanged(table, staged, ("id",), (), lambda _: None)


def test_a_row_that_goes_back_to_what_it_was_within_a_pass_is_staged_each_time(
    unchanged: Unchanged, rows: list[Row]
) -> None:
    was, other, _ = rows
    assert not unchanged.is_news(dict(was))
    assert unchanged.is_news({**was, "name": "changed"})
    assert unchanged.is_news(dict(was))
    assert not unchanged.is_news(dict(other))
