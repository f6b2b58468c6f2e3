"""Many passes over one table: what is kept of them does not grow."""

from pathlib import Path
from random import Random

import pytest
from deltalake import DeltaTable

from loader.destination import fold
from loader.destination.delta import Place
from tests.folding import Folding, Row

ROWS = 1_000
RETENTION = {"delta.deletedFileRetentionDuration": "interval 0 seconds"}
"""Instead of a week: Delta goes by the system's clock."""


@pytest.mark.parametrize("passes", [20, pytest.param(500, marks=pytest.mark.long)])
def test_the_files_of_a_table_and_of_its_staged_rows_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes: int
) -> None:
    monkeypatch.setattr(fold, "SLICE_BYTES", 40_000)
    random, folding = Random(3), Folding(tmp_path)  # noqa: S311
    expected = {f"{random.getrandbits(64):016x}": 0 for _ in range(ROWS)}
    folding.stage(rows_of(expected))
    assert folding.run()[0]
    at_first = len(opened(folding.target).file_uris())
    assert at_first > 2
    for place in (folding.target, folding.staged):
        opened(place).alter.set_table_properties(RETENTION)
    for number in range(1, passes + 1):
        changed = dict.fromkeys(random.sample(sorted(expected), 10), number)
        changed |= {f"{random.getrandbits(64):016x}": number for _ in range(2)}
        folding.stage(rows_of(changed))
        expected |= changed
        assert folding.run()[0]
        assert folding.waiting() == 0
        if number % 10 == 0:
            folding.fold.vacuum()
            live = len(opened(folding.target).file_uris())
            assert live <= 1.5 * at_first * len(expected) / ROWS
            # what the last fold took out of use may be there still: it went in this very moment
            assert len(files(folding.target)) <= 3 * live
            assert len(files(folding.staged)) <= 2
    assert {row["id"]: row["revision"] for row in folding.rows("id, revision")} == expected


def rows_of(revisions: dict[str, int]) -> list[Row]:
    return [{"id": key, "revision": revision, "text": f"row {key} " * 3} for key, revision in revisions.items()]


def opened(place: Place) -> DeltaTable:
    table = place.open()
    assert table is not None
    return table


def files(place: Place) -> set[str]:
    """Give the names of the data files that are there, in use or not."""
    return {path.name for path in Path(place.location.removeprefix("file://")).glob("*.parquet")}
