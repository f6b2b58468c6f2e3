"""A bucket, through whole runs: a pass is complete when it is folded, and costs what it brings."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable, write_deltalake

from loader.destination import bucket, bucket_dlt, fold
from loader.errors import SettingsError
from tests.end_to_end.support.loading import Loading, sample_config
from tests.end_to_end.support.tables import EXACT, difference, read, rows_of
from tests.fakes import FakeMetadata, google_environment
from tests.fakes.gcs import FakeGcs, binary
from tests.function import ROOT
from tests.sample_api import KEY, Row, SampleApi, World


@pytest.fixture
def world() -> World:
    return World({"contacts": 300})


@pytest.fixture
def loading(api: SampleApi, tmp_path: Path) -> Loading:
    return Loading(tmp_path, lambda: sample_config(api))


def staged_rows(folder: Path) -> int:
    return DeltaTable(folder / "analytics_staging" / "contacts").count()


def test_a_fold_that_does_not_fit_goes_on_in_the_next_run_which_asks_the_api_for_nothing(
    loading: Loading, api: SampleApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(fold.Pace, "fits", lambda _: False)
        first = loading.run()
    assert (first.status, first.rows, first.place) == ("paused", 300, None)
    assert "not all in their table" in str(first.reason)
    assert first.current_pass is not None
    assert first.current_pass["verified"] is None
    assert staged_rows(tmp_path) == 300
    asked = len(api.requests)
    second = loading.run(pass_started_at=first.current_pass["started_at"])
    assert (second.status, second.rows, second.pages) == ("complete", 0, 0)
    assert second.current_pass is not None
    assert (second.current_pass["rows"], second.current_pass["verified"]) == (300, True)
    assert len(api.requests) == asked
    assert staged_rows(tmp_path) == 0
    assert difference(tmp_path, api.world.snapshot("contacts")) == EXACT


def test_a_pass_over_unchanged_rows_writes_no_data_and_one_over_changed_rows_writes_those(
    loading: Loading, world: World, tmp_path: Path
) -> None:
    loading.until_complete()
    files = set((tmp_path / "analytics" / "contacts").rglob("*")) | set((tmp_path / "analytics_staging").rglob("*"))
    (unchanged,) = loading.until_complete()
    assert unchanged.current_pass is not None
    assert (unchanged.rows, unchanged.current_pass["rows"], unchanged.current_pass["verified"]) == (0, 300, True)
    after = set((tmp_path / "analytics" / "contacts").rglob("*")) | set((tmp_path / "analytics_staging").rglob("*"))
    assert after == files
    world.touch("contacts", 17)
    (changed,) = loading.until_complete()
    assert changed.rows == 1
    assert difference(tmp_path, world.snapshot("contacts")) == EXACT


def test_a_run_that_gets_no_folder_to_work_in_gives_its_lease_back(
    loading: Loading, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError):
        loading.run()
    monkeypatch.undo()
    assert loading.run().status == "complete"


def test_a_column_that_somebody_has_dropped_comes_back_with_all_its_values(loading: Loading, tmp_path: Path) -> None:
    loading.until_complete()
    table = DeltaTable(tmp_path / "analytics" / "contacts")
    kept = read(table).drop_columns("email")
    write_deltalake(table, kept, mode="overwrite", schema_mode="overwrite")
    (repaired,) = loading.until_complete()
    assert repaired.rows == 300
    emails = read(DeltaTable(tmp_path / "analytics" / "contacts"), "email")["email"]
    assert emails.null_count == 0


@pytest.mark.parametrize("lacks", [pytest.param(True, id="missing"), pytest.param(False, id="null")])
def test_a_row_without_a_key_is_named_and_nothing_is_loaded(tmp_path: Path, *, lacks: bool) -> None:
    def edit(_: str, number: int, row: Row) -> None:
        if number == 120:
            row.update(id=None)
            if lacks:
                del row["id"]

    with SampleApi(World({"contacts": 150}, edit=edit)) as api:
        loading = Loading(tmp_path, lambda: sample_config(api))
        with pytest.raises(SettingsError, match="no value in id, which is its primary key"):
            loading.run()
    assert not (tmp_path / "analytics" / "contacts").exists()


def test_files_out_of_use_are_deleted_after_a_fold_once_nobody_can_be_at_them(
    loading: Loading, world: World, tmp_path: Path
) -> None:
    loading.until_complete()
    table = DeltaTable(tmp_path / "analytics" / "contacts")
    first = set(table.file_uris())
    world.touch("contacts", 5)
    loading.until_complete()
    assert all(Path(uri.removeprefix("file://")).exists() for uri in first)
    table.update_incremental()
    table.alter.set_table_properties({"delta.deletedFileRetentionDuration": "interval 0 seconds"})
    world.touch("contacts", 6)
    loading.until_complete()
    assert not any(Path(uri.removeprefix("file://")).exists() for uri in first)
    assert difference(tmp_path, world.snapshot("contacts")) == EXACT


def test_what_is_kept_of_old_passes_is_bounded(
    loading: Loading, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_dlt, "HISTORY_FILES", 3)
    monkeypatch.setattr(bucket, "LOADS_KEPT_DAYS", 0)
    monkeypatch.setenv("DESTINATION__FILESYSTEM__MAX_STATE_FILES", "3")
    loads = tmp_path / "analytics" / "_dlt_loads"
    foreign = loads / "analytics_contacts_archived__1.5.jsonl"
    loading.until_complete()
    foreign.write_text("{}")
    for _ in range(4):
        loading.until_complete()
    assert list(loads.glob("analytics_*.jsonl")) == [foreign]
    assert len(list((tmp_path / "analytics" / "_dlt_pipeline_state").glob("analytics_contacts__*"))) == 3
    history = DeltaTable(tmp_path / "analytics" / "loader_passes")
    assert len(history.file_uris()) <= 3
    assert len(rows_of(tmp_path, "loader_passes")) == 5


@pytest.mark.skipif(binary() is None, reason="fake-gcs-server comes for Linux on x86-64 only")
@pytest.mark.long
def test_the_same_on_cloud_storage(api: SampleApi, world: World, tmp_path: Path) -> None:
    with FakeMetadata() as metadata, FakeGcs() as gcs:
        gcs.make_bucket("lake")
        environment = {
            **google_environment(tmp_path, metadata),
            **gcs.environment(),
            "API_KEY": KEY,
            "BASE_URL": api.url,
            "BUCKET_URL": "gs://lake/raw",
            "PATH": os.environ["PATH"],
        }
        for rows in (300, 1, 0):
            answer = in_a_process(environment, "main.py", "contacts", "--json")
            assert (answer["status"], answer["rows"], answer["pass"]["verified"]) == ("complete", rows, True)
            if rows == 300:
                world.touch("contacts", 7)
        found = in_a_process(environment, "-c", READ)
    assert found == {"rows": 300, "keys": 300, "revisions": 301, "staged": 0}


READ = """
import json, pyarrow as pa
from deltalake import DeltaTable, QueryBuilder
query = QueryBuilder().register("t", DeltaTable("gs://lake/raw/analytics/contacts"))
sql = "SELECT count(*) AS rows, count(DISTINCT id) AS keys, sum(revision) AS revisions FROM t"
found = pa.table(query.execute(sql).read_all()).to_pylist()[0]
staged = DeltaTable("gs://lake/raw/analytics_staging/contacts").count()
print(json.dumps({**found, "staged": staged}))
"""


def in_a_process(environment: dict[str, str], *command: str) -> Any:
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
