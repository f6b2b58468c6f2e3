"""A bucket that somebody has had their hands in: what is wrong is told, the place stays, and the next run goes on."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake
from dlt.destinations import filesystem
from dlt.sources.rest_api import rest_api_source

from loader.chunks import Chunks
from loader.destination import fold
from loader.destination.bucket import Bucket
from loader.errors import DestinationError, SettingsError
from tests.end_to_end.support.loading import Loading, offset_paged, sample_config
from tests.end_to_end.support.tables import EXACT, difference, read, rows_of
from tests.sample_api import SampleApi, World

LEAST_CHUNK_BYTES = 1
"""A chunk is one page then."""


TYPES = "Columns are of one type in the table and of another"
KINDS = r"\(string and int64\).*Put it back"


@pytest.fixture
def world() -> World:
    return World({"contacts": 300})


@pytest.fixture
def loading(api: SampleApi, tmp_path: Path) -> Loading:
    return Loading(tmp_path, lambda: sample_config(api))


@pytest.fixture
def one_chunk_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each run end after one page."""
    monkeypatch.setattr(Bucket, "chunk_bytes", LEAST_CHUNK_BYTES)
    monkeypatch.setattr(Chunks, "_goes_on", lambda *_: False)


def table_of(loading: Loading) -> Path:
    return loading.bucket / "analytics" / "contacts"


def rewritten(table: Path, change: Callable[[pa.Table], pa.Table]) -> pa.Table:
    """Change a table as somebody with a notebook does; give what it was."""
    before = read(DeltaTable(table))
    write_deltalake(table, change(before), mode="overwrite", schema_mode="overwrite")
    return before


def with_text(column: str) -> Callable[[pa.Table], pa.Table]:
    def change(rows: pa.Table) -> pa.Table:
        return rows.set_column(rows.column_names.index(column), column, rows[column].cast(pa.string()))

    return change


def without_values(rows: pa.Table) -> pa.Table:
    keys = pc.if_else(pc.less(rows["id"], 100), pa.scalar(None, pa.int64()), rows["id"])
    return rows.set_column(rows.column_names.index("id"), "id", keys)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(with_text("revision"), rf"{TYPES} .* revision {KINDS}", id="type changed"),
        pytest.param(with_text("id"), rf"{TYPES} .* id {KINDS}", id="type of the key changed", marks=pytest.mark.long),
        pytest.param(
            lambda rows: rows.drop_columns("id"),
            "no column id, which is its primary key",
            id="key gone",
            marks=pytest.mark.long,
        ),
        pytest.param(
            without_values, r"99 row\(s\) without a value in id, which", id="keys gone", marks=pytest.mark.long
        ),
    ],
)
def test_a_table_that_somebody_has_changed_is_told_of_and_once_it_is_put_back_the_pass_goes_on(
    loading: Loading,
    world: World,
    api: SampleApi,
    change: Callable[[pa.Table], pa.Table],
    message: str,
) -> None:
    loading.until_complete()
    before = rewritten(table_of(loading), change)
    world.touch("contacts", 3)
    world.insert("contacts", "front")
    with pytest.raises(DestinationError, match=message):
        loading.run()
    asked = len(api.requests)
    with pytest.raises(DestinationError, match=message):
        loading.run()
    assert len(api.requests) == asked
    rewritten(table_of(loading), lambda _: before)
    assert loading.until_complete()[-1].status == "complete"
    assert difference(loading.bucket, world.snapshot("contacts")) == EXACT


@pytest.mark.long
def test_a_changed_table_that_is_removed_is_made_again_by_a_restart(loading: Loading, world: World) -> None:
    loading.until_complete()
    rewritten(table_of(loading), with_text("revision"))
    world.touch("contacts", 3)
    with pytest.raises(DestinationError, match="remove the table's folder, and run with restart"):
        loading.run()
    shutil.rmtree(table_of(loading))
    assert loading.run(restart=True).status == "complete"
    assert difference(loading.bucket, world.snapshot("contacts")) == EXACT


@pytest.mark.long
def test_a_table_that_is_removed_between_two_passes_is_made_again(loading: Loading, world: World) -> None:
    loading.until_complete()
    shutil.rmtree(table_of(loading))
    (again,) = loading.until_complete()
    assert again.rows == 300
    assert difference(loading.bucket, world.snapshot("contacts")) == EXACT


@pytest.mark.usefixtures("one_chunk_a_run")
@pytest.mark.parametrize("runs", [2, pytest.param(3, marks=pytest.mark.long)])
def test_a_table_that_is_removed_within_a_pass_is_missed_and_a_restart_reads_all_again(
    loading: Loading, world: World, runs: int
) -> None:
    for _ in range(runs):
        loading.run()
    shutil.rmtree(table_of(loading))
    # the third run reads the last page
    for _ in range(4 - runs):
        with pytest.raises(DestinationError, match="contacts is gone, and with it rows of the pass under way"):
            loading.run()
    loading.run(restart=True)
    loading.until_complete()
    assert difference(loading.bucket, world.snapshot("contacts")) == EXACT


def test_staged_rows_whose_table_was_not_made_yet_are_folded(
    loading: Loading, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(fold.Pace, "fits", lambda _: False)
        loading.run()
    assert not DeltaTable.is_deltatable(str(table_of(loading)))
    assert loading.run().status == "complete"
    assert difference(loading.bucket, world.snapshot("contacts")) == EXACT


@pytest.mark.long
def test_staged_rows_that_somebody_has_removed_are_no_loss_once_they_were_folded(
    loading: Loading, world: World
) -> None:
    loading.until_complete()
    shutil.rmtree(loading.bucket / "analytics_staging")
    world.touch("contacts", 3)
    (again,) = loading.until_complete()
    assert again.rows == 1
    assert difference(loading.bucket, world.snapshot("contacts")) == EXACT


@pytest.mark.parametrize(
    "key", [pytest.param("email", id="another"), pytest.param(["id", "email"], id="a second", marks=pytest.mark.long)]
)
def test_a_primary_key_may_change_where_the_table_has_values_in_it(
    loading: Loading, api: SampleApi, world: World, key: str | list[str]
) -> None:
    loading.until_complete()
    world.touch("contacts", 7)
    changed = Loading(loading.bucket, lambda: sample_config(api, [offset_paged(primary_key=key)]))
    (again,) = changed.until_complete()
    assert again.rows == 1
    assert difference(loading.bucket, world.snapshot("contacts")) == EXACT


def test_rows_that_are_merged_need_a_primary_key(tmp_path: Path, api: SampleApi) -> None:
    def config() -> Any:
        config: Any = sample_config(api)
        del config["resource_defaults"]["primary_key"]
        return config

    with pytest.raises(SettingsError, match='contacts has write_disposition "merge" and no primary_key'):
        Loading(tmp_path, config).run()
    assert not api.requests


def test_a_table_that_plain_dlt_has_written_is_gone_on_with(
    loading: Loading, api: SampleApi, world: World, tmp_path: Path
) -> None:
    source = rest_api_source(sample_config(api), name="analytics_contacts", max_table_nesting=0)
    source.contacts.apply_hints(table_format="delta")
    dlt.pipeline(
        "analytics_contacts",
        destination=filesystem(bucket_url=str(loading.bucket)),
        dataset_name="analytics",
        pipelines_dir=str(tmp_path / "pipelines"),
    ).run(source)
    assert len(rows_of(loading.bucket)) == 300
    world.touch("contacts", 3)
    world.insert("contacts", "front")
    loading.until_complete()
    assert difference(loading.bucket, world.snapshot("contacts")) == EXACT
    world.touch("contacts", 4)
    (again,) = loading.until_complete()
    assert again.rows == 1


def test_a_folder_that_is_a_file_is_told_of(loading: Loading, tmp_path: Path, api: SampleApi) -> None:
    loading.bucket = tmp_path / "file"
    loading.bucket.write_text("")
    with pytest.raises(DestinationError, match=r"NotADirectoryError.*place stays.*Look at the destination"):
        loading.run()
    assert not api.requests
