"""dlt's normalize step, with what is noted of values that are not loaded as the API has them."""

from pathlib import Path
from typing import Any

import dlt
import pytest

from loader import dlt_settings
from loader.retyping import Watch, watching

FINE = "2026-11-24T10:00:00.123456789Z"


@pytest.fixture
def pipeline(tmp_path: Path) -> dlt.Pipeline:
    dlt_settings.apply("filesystem")
    bucket = dlt.destinations.filesystem((tmp_path / "bucket").as_uri())
    return dlt.pipeline("analytics", pipelines_dir=str(tmp_path), destination=bucket, dataset_name="analytics")


def normalized(pipeline: dlt.Pipeline, rows: list[Any], name: str, **hints: Any) -> tuple[dict[str, int], Watch]:
    """Normalize a package of rows; give how many there are of each table, and what was noted."""
    resource, watch = dlt.resource(rows, name=name, **hints), Watch(name, lambda *_: True)
    pipeline.extract(dlt.source(lambda: resource, name="analytics")())
    with watching(watch):
        info = pipeline.normalize(workers=1)
    return {table: count for table, count in info.row_counts.items() if not table.startswith("_dlt_")}, watch


def test_nothing_is_cut_in_a_table_that_a_contract_leaves_out(pipeline: dlt.Pipeline) -> None:
    normalized(pipeline, [{"id": 1}], "contacts")
    rows = [{"id": 1, "items": [{"at": FINE}]}]
    counts, watch = normalized(pipeline, rows, "contacts", schema_contract={"tables": "discard_value"})
    assert counts == {"contacts": 1}
    assert [change["change"] for change in watch.changes] == []


def test_nothing_is_cut_in_a_column_that_a_contract_leaves_out(pipeline: dlt.Pipeline) -> None:
    normalized(pipeline, [{"id": 1}], "contacts")
    _, watch = normalized(pipeline, [{"id": 1, "at": FINE}], "contacts", schema_contract={"columns": "discard_value"})
    assert [change["change"] for change in watch.changes] == ["discarded"]


def test_rows_stay_in_their_table_whatever_others_are_called(pipeline: dlt.Pipeline) -> None:
    rows = [{"id": number} for number in range(3)]
    normalized(pipeline, rows, "a_b")
    assert normalized(pipeline, rows, "a__b")[0] == {"a__b": 3}
    assert normalized(pipeline, rows, "a__b")[0] == {"a__b": 3}
