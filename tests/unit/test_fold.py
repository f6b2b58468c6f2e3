"""The fold of staged rows: each key once, the newest of it, at every moment and in any order of kills."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from loader.deadline import Deadline
from loader.destination import fold as fold_module
from loader.destination.delta import files_of
from loader.errors import DestinationError
from tests.folding import Folding, Row, by_key


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a table of some thousand rows have several slices."""
    monkeypatch.setattr(fold_module, "SLICE_BYTES", 20_000)


def rows_of(keys: list[Any], revision: int, **more: Any) -> list[Row]:
    return [{"id": key, "revision": revision, "text": f"row {key} " * 3, **more} for key in keys]


def without_load(rows: list[Row]) -> dict[Any, Row]:
    return by_key({name: value for name, value in row.items() if name != "_dlt_load_id"} for row in rows)


class Ticking:
    """A clock on which a commit takes a second, and nothing else takes any time."""

    def __init__(self) -> None:
        self._now = 0.0

    def tick(self) -> None:
        self._now += 1.0

    def monotonic(self) -> float:
        return self._now

    def time(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds


KEYS: dict[str, Callable[[int], Any]] = {
    "integers": lambda n: n * 7 % 3001,
    "negative integers": lambda n: 1500 - n * 7 % 3001,
    "text": lambda n: f"{n * 2654435761 % 2**32:08x}",
    "text with quotes": lambda n: f'it\'s "{n * 2654435761 % 2**32:08x}" 🎉',
    "long text with one beginning": lambda n: "https://api.example.com/" + "v" * 200 + f"/{n * 7 % 3001}",
    "moments": lambda n: dt.datetime(2024, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=n * 7 % 3001 * 333),
    "dates": lambda n: dt.date(2000, 1, 1) + dt.timedelta(days=n * 7 % 3001),
    "floats": lambda n: (n * 7 % 3001) / 8,
    "decimals": lambda n: Decimal(n * 7 % 3001) / 4,
    "bytes": lambda n: (n * 7 % 3001).to_bytes(4, "big"),
}


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("kind", [pytest.param(make, id=name) for name, make in KEYS.items()])
def test_a_fold_leaves_each_key_once_in_its_newest_form_whatever_its_type(
    tmp_path: Path, kind: Callable[[int], Any]
) -> None:
    folding = Folding(tmp_path)
    first = rows_of([kind(n) for n in range(1000)], 1)
    second = rows_of([kind(n) for n in range(500, 1400)], 2)
    third = rows_of([kind(n) for n in range(0, 1400, 9)], 3)
    folding.stage(first)
    assert folding.run()[0]
    folding.stage(second)
    folding.stage(third)
    assert folding.run()[0]
    assert folding.waiting() == 0
    assert without_load(folding.rows()) == by_key(first, second, third)
    assert len(folding.rows()) == 1400


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("tenants", [1, 3, 400])
def test_compound_keys_are_keys(tmp_path: Path, tenants: int) -> None:
    folding = Folding(tmp_path, ("tenant", "id"))
    packages = [
        [{"id": n, "tenant": f"t{n % tenants}", "revision": revision} for n in numbers]
        for revision, numbers in enumerate([range(1500), range(700, 2000), range(0, 2000, 7)])
    ]
    for rows in packages:
        folding.stage(rows)
        assert folding.run()[0]
    found = [{name: row[name] for name in ("id", "tenant", "revision")} for row in folding.rows()]
    assert by_key(found, columns=folding.columns) == by_key(*packages, columns=folding.columns)
    assert len(found) == 2000


def test_of_a_key_that_comes_twice_the_later_wins_in_a_package_and_over_packages(tmp_path: Path) -> None:
    folding = Folding(tmp_path)
    folding.stage([*rows_of([1, 2], 1), *rows_of([2, 3], 2)])
    folding.stage([*rows_of([3], 3), *rows_of([4], 4), *rows_of([3], 5)])
    assert folding.run()[0]
    assert [(row["id"], row["revision"]) for row in folding.rows()] == [(1, 1), (2, 2), (3, 5), (4, 4)]


def test_what_a_dead_run_appends_late_is_older_than_what_is_in_the_table(tmp_path: Path) -> None:
    folding = Folding(tmp_path)
    folding.stage(rows_of([1, 2], 2), load_id="1700000200.5")
    assert folding.run()[0]
    folding.stage(rows_of([1, 3], 1), load_id="1700000100.25")
    assert folding.run()[0]
    assert [(row["id"], row["revision"]) for row in folding.rows()] == [(1, 2), (2, 2), (3, 1)]


@pytest.mark.parametrize(
    ("before", "staged", "after"),
    [
        pytest.param([1, 2], [10.5], [1.0, 10.5], id="an integer becomes a float"),
        pytest.param([1.5, 2.5], [10], [1.5, 10.0], id="and stays one"),
        pytest.param([None, None], ["new"], [None, "new"], id="a column is new"),
        pytest.param([1, 2], [None], [1, None], id="a value is gone"),
    ],
)
def test_columns_are_as_wide_as_their_rows_need(
    tmp_path: Path, before: list[Any], staged: list[Any], after: list[Any]
) -> None:
    folding = Folding(tmp_path)
    for values in (before, staged):
        first = 3 - len(values)
        folding.stage(
            {"id": first + n, **({} if value is None else {"value": value})} for n, value in enumerate(values)
        )
        assert folding.run()[0]
    assert [row["value"] for row in folding.rows()] == after
    assert {type(row["value"]) for row in folding.rows()} == {type(value) for value in after}


def test_a_column_that_changes_its_kind_is_told_of_and_staged_rows_wait(tmp_path: Path) -> None:
    folding = Folding(tmp_path)
    folding.stage([{"id": 1, "value": 1}])
    folding.run()
    folding.stage([{"id": 2, "value": "one"}])
    with pytest.raises(DestinationError, match=r"value \(int64 and string\)"):
        folding.run()
    assert folding.waiting() == 1
    with pytest.raises(DestinationError, match=r"value \(string and int64\)"):
        folding.stage([{"id": 3, "value": 3}])
    assert folding.waiting() == 1


@pytest.mark.usefixtures("small_slices")
def test_a_repeated_fold_changes_nothing(tmp_path: Path) -> None:
    folding = Folding(tmp_path)
    folding.stage(rows_of(list(range(2000)), 1))
    folding.run()
    folding.stage(rows_of(list(range(0, 2000, 3)), 2))
    staged = folding.staged.open()
    assert staged is not None
    version = staged.version()
    assert folding.run()[1] > 3
    before = folding.rows()
    target = folding.target.open()
    assert target is not None
    DeltaTable(folding.staged.location).restore(version)
    assert folding.waiting() == 667
    assert folding.run() == (True, 0)
    again = folding.target.open()
    assert again is not None
    assert again.version() == target.version()
    assert folding.rows() == before


@pytest.mark.usefixtures("small_slices")
def test_a_fold_without_time_goes_on_where_it_stopped(tmp_path: Path) -> None:
    folding = Folding(tmp_path)
    folding.stage(rows_of(list(range(3000)), 1))
    folding.run()
    folding.stage(rows_of(list(range(3000)), 2))
    clock = Ticking()
    folding.gate.guard(clock.tick)
    assert folding.run_until(Deadline(clock, 0.1)) == (False, 0)
    runs: list[tuple[bool, int]] = []
    while not runs or not runs[-1][0]:
        runs.append(folding.run_until(Deadline(clock, clock.monotonic() + 4.0)))
    assert len(runs) > 3
    # each goes on where the one before stopped, but for the slice that was begun and not committed
    assert all(commits >= 2 for _, commits in runs[:-1])
    assert sum(commits for _, commits in runs) <= 25
    assert {row["revision"] for row in folding.rows()} == {2}
    assert folding.waiting() == 0


@pytest.mark.usefixtures("small_slices")
def test_a_fold_touches_only_the_slices_that_have_staged_rows(tmp_path: Path) -> None:
    folding = Folding(tmp_path)
    folding.stage(rows_of(list(range(5000)), 1))
    folding.run()
    table = folding.target.open()
    assert table is not None
    before = set(table.file_uris())
    assert len(before) > 8
    folding.stage(rows_of(list(range(2400, 2410)), 2))
    assert folding.run() == (True, 1)
    table = folding.target.open()
    assert table is not None
    assert len(before - set(table.file_uris())) <= 2


def test_a_fold_is_due_when_half_as_many_rows_are_staged_as_the_table_has(tmp_path: Path) -> None:
    folding = Folding(tmp_path)
    assert not folding.fold.is_due()
    folding.stage(rows_of([1], 1))
    assert folding.fold.is_due()
    folding.stage(rows_of(list(range(10)), 1))
    folding.run()
    folding.stage(rows_of([1, 2, 3, 4], 2))
    assert not folding.fold.is_due()
    folding.stage(rows_of([5], 2))
    assert folding.fold.is_due()


@pytest.mark.usefixtures("small_slices")
def test_a_table_that_was_not_sorted_by_key_is_laid_out_once(tmp_path: Path) -> None:
    random, keys = Random(5), list(range(6000))  # noqa: S311
    random.shuffle(keys)
    folding = Folding(tmp_path)
    folding.stage(rows_of(keys, 1))
    staged = folding.staged.open()
    assert staged is not None
    # as plain dlt leaves it: as it came
    for part in range(0, 6000, 1500):
        rows = [{**row, "_dlt_load_id": "1.5"} for row in rows_of(keys[part : part + 1500], 1)]
        write_deltalake(tmp_path / "analytics" / "rows", pa.Table.from_pylist(rows), mode="append")
    staged.delete()
    folding.stage(rows_of([3, 4000], 2))
    done, commits = folding.run()
    assert done
    assert commits > 10
    assert [row["id"] for row in folding.rows()] == list(range(6000))
    assert [row["id"] for row in folding.rows() if row["revision"] == 2] == [3, 4000]
    folding.stage(rows_of([3], 3))
    again, more = folding.run()
    assert again
    assert more <= commits / 3


@pytest.mark.parametrize("rows", [6_000, 18_000])
def test_a_pass_that_changes_every_row_writes_at_most_four_times_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(fold_module, "SLICE_BYTES", 100_000)
    monkeypatch.setattr(fold_module, "LEAST_FILE_BYTES", 1)
    folding = Folding(tmp_path)
    keys = [f"{n * 2654435761 % 2**32:08x}" for n in range(rows)]
    folding.stage(rows_of(keys, 1))
    folding.run()
    before = written(tmp_path)
    for part in range(8):
        folding.stage(rows_of(keys[part * rows // 8 : (part + 1) * rows // 8], 2))
        if folding.fold.is_due():
            folding.run()
    assert folding.run()[0]
    table = folding.target.open()
    assert table is not None
    size = sum(file.bytes for file in files_of(table, ("id",)))
    assert (written(tmp_path) - before) / size <= 4
    assert {row["revision"] for row in folding.rows()} == {2}


def written(folder: Path) -> int:
    """Give the size of all data files that were ever written."""
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))
