"""What a bucket costs: bytes and memory in proportion to what a pass brings, and nothing where it brings nothing."""

from pathlib import Path

import pytest

from loader.chunks import Chunks
from loader.destination import fold
from loader.destination.bucket import Bucket
from tests.benchmarks.bucket import MEBIBYTE, contacts, editable, files, in_order
from tests.benchmarks.measured import data_bytes, load, table_bytes
from tests.end_to_end.support.loading import Loading, offset_paged, sample_config

MOST_TIMES_TABLE = 4
"""A pass that changes every row writes so many times the table at most; three times are usual."""
MOST_PEAK_BYTES = 512 * MEBIBYTE


@pytest.mark.long
def test_memory_is_flat_and_bytes_grow_with_the_rows(tmp_path: Path) -> None:
    peaks, changed = {}, {}
    for rows in (30_000, 90_000):
        with editable(rows) as (api, revision):
            folder = tmp_path / str(rows)
            first = load(api, folder)
            revision[0] += 1
            before = data_bytes(folder / "bucket")
            second = load(api, folder)
            changed[rows] = data_bytes(folder / "bucket") - before
            third = load(api, folder)
            assert [each.answer["rows"] for each in (first, second, third)] == [rows, rows, 0]
            assert {each.answer["status"] for each in (first, second, third)} == {"complete"}
            assert changed[rows] <= MOST_TIMES_TABLE * table_bytes(folder / "bucket")
            # the third has written no data file
            assert data_bytes(folder / "bucket") == before + changed[rows]
            peaks[rows] = max(each.peak_bytes for each in (first, second, third))
    assert max(peaks.values()) <= MOST_PEAK_BYTES
    assert peaks[90_000] <= 1.25 * peaks[30_000]
    assert changed[90_000] == pytest.approx(3 * changed[30_000], rel=0.2)
    print({rows: f"{peak / MEBIBYTE:.0f} MiB" for rows, peak in peaks.items()})


@pytest.mark.long
@pytest.mark.parametrize("rows", [2_000, 6_000])
def test_a_pass_that_changes_every_row_in_many_runs_writes_as_little_as_in_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(fold, "SLICE_BYTES", 100_000)
    monkeypatch.setattr(fold, "LEAST_FILE_BYTES", 1)
    with editable(rows) as (api, revision):
        loading = Loading(tmp_path, lambda: sample_config(api, [offset_paged(limit=rows // 10)]))
        loading.until_complete()
        revision[0] += 1
        before = data_bytes(tmp_path)
        with monkeypatch.context() as patched:
            patched.setattr(Bucket, "chunk_bytes", 1)
            patched.setattr(Chunks, "_goes_on", lambda *_: False)
            assert len(loading.until_complete()) >= 8
        in_many = (data_bytes(tmp_path) - before) / table_bytes(tmp_path)
        revision[0] += 1
        before = data_bytes(tmp_path)
        loading.until_complete()
        in_one = (data_bytes(tmp_path) - before) / table_bytes(tmp_path)
        (unchanged,) = loading.until_complete()
        assert unchanged.rows == 0
    assert in_many <= MOST_TIMES_TABLE
    assert in_one <= MOST_TIMES_TABLE


@pytest.mark.parametrize("rows", [100_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_neighbouring_keys_touch_only_their_slices(tmp_path: Path, rows: int) -> None:
    folding = in_order(tmp_path, rows)
    before = files(folding)
    assert len(before) == rows // 20_000
    first = rows // 40_000 * 20_000 + 1_000
    folding.stage(contacts(first, first + 10_000, 2))
    assert folding.run() == (True, 1)
    after = files(folding)
    # all the other files are as they were
    assert len(before.keys() - after.keys()) == 1
    assert sum(after[new] for new in after.keys() - before.keys()) == 20_000
