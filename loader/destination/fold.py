"""The fold: staged rows go into their table slice by slice, each in one commit, and are cleared last.

A kill between two commits leaves each key in the table once, in its old or its new form; the next fold goes over all
slices again and changes only those that are not done. To delete first and append then, or to clear the staged rows
first, lost 11,000 to 64,000 rows when it was tried.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, write_deltalake

from loader.deadline import Deadline
from loader.destination import slices
from loader.destination.delta import (
    Place,
    batches,
    files_of,
    nulls_in,
    replace_rows,
    rows_in,
    rows_of,
    schema_of,
    streamed,
)
from loader.destination.key_range import Key, KeyRange
from loader.destination.schemas import aligned, as_strict_as, united, widen
from loader.destination.slices import Slice
from loader.errors import DestinationError

LOAD_ID = "_dlt_load_id"
"""dlt's number of a package, as text; a later package has a greater one."""

SEQUENCE = "_loader_sequence"
"""Column of staged rows only: which of a package's rows came later."""

ORIGIN = "_loader_origin"
"""Column of rows in memory only: whether they were staged."""

LEAST_ROWS, LEAST_FILE_BYTES = 100, 1 << 14
"""A slice, and a file, of rows however wide."""

SLICE_BYTES = 8 << 20
"""A slice has so many bytes in memory (20,000 rows of the sample API). Twice as much took 150 MiB more at the peak."""

FULL = 1.2
"""A file has at most so many times the rows of a slice; more are written into several, evenly."""

SAMPLE_KEYS = 20_000
"""So many keys are kept in memory to find where to cut."""

LOG_KEPT = "interval 7 days"
"""As long as the files that it names; Delta's own 30 days are four times the files to list, one for each slice."""

BEGUN = "loader_pass_begun"
"""Marks a commit in the log of the staged rows: what came before is of no pass under way."""

CAUTION = 1.5
"""A slice may take so many times as long as the slowest before it ..."""

SLACK_SECONDS = 0.3
"""... and so many seconds more."""


@dataclass(slots=True)
class Pace:
    """Tells whether another commit fits into what is left of the time."""

    until: Deadline
    slowest: float = 0.0
    """Seconds of the slowest commit so far, what was read for it included."""
    commits: int = 0
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.until.clock.monotonic()

    def fits(self) -> bool:
        """Tell whether there is time for one more."""
        return self.until.left() >= CAUTION * self.slowest + SLACK_SECONDS

    def done(self) -> None:
        """Count one."""
        self.commits += 1
        self.lap()

    def lap(self) -> None:
        """Measure what came since the last one."""
        now = self.until.clock.monotonic()
        self.slowest = max(self.slowest, now - self._began)
        self._began = now


@dataclass(frozen=True, slots=True)
class Fold:
    """The fold of one table."""

    name: str
    """Of the table, for messages."""
    target: Place
    """The table."""
    staged: Place
    """Its staged rows."""
    columns: tuple[str, ...]
    """The key, by the names of its columns."""
    gate: Callable[[], None]
    """Passed before each commit."""

    def begin(self) -> None:
        """Forget staged rows whose table is gone, now that a new pass begins: it stages every row again."""
        staged = self.staged.open()
        if staged is not None and self.target.open() is None:
            self.gate()
            mark = CommitProperties(custom_metadata={BEGUN: "yes"})
            write_deltalake(staged, schema_of(staged).empty_table(), mode="overwrite", commit_properties=mark)

    def is_due(self) -> bool:
        """Tell whether the staged rows have reached half of the table's.

        A fixed number instead would be quadratic: each fold may rewrite the whole table.
        """
        staged = self.staged.open()
        waiting = rows_in(staged) if staged else 0
        if not waiting:
            return False
        target = self.target.open()
        return target is None or 2 * waiting >= rows_in(target)

    def run(self, pace: Pace) -> bool:
        """Fold as far as the time goes; True if nothing is staged any more.

        Raises:
            DestinationError: the table does not fit its staged rows.
        """
        staged, target = self.staged.open(), self.target.open()
        if staged is None:
            return True
        if target is None:
            self._check_log(staged)
        if not rows_in(staged):
            return True
        if not pace.fits():
            return False
        target = self._made(schema_of(staged)) if target is None else self._widened(target, schema_of(staged))
        rows, file_bytes = self._size(target, staged)
        if not self._lay_out(target, rows, file_bytes, pace):
            return False
        for group in slices.in_groups(self._slices(target, staged, rows), rows):
            if not self._fold_group(target, staged, group, (rows, file_bytes), pace):
                return False
        self._clear(staged)
        return True

    def _check_log(self, staged: DeltaTable) -> None:
        """Make sure that no rows of this pass were in a table that is gone: nobody would miss them."""
        for commit in staged.history():
            if BEGUN in commit:
                return
            if commit["operation"] == "DELETE":
                raise DestinationError(
                    f"The table {self.name} is gone, and with it rows of the pass under way. Put its folder back; or "
                    "run with restart, which reads everything again."
                )

    def _made(self, staged: pa.Schema) -> DeltaTable:
        """Make the table; the log says most of the first columns."""
        schema = without_sequence(staged)
        first = [schema.field(column).with_nullable(False) for column in self.columns]  # noqa: FBT003 - pyarrow's own
        rest = [each for each in schema if each.name not in self.columns]
        self.gate()
        return DeltaTable.create(
            self.target.location,
            pa.schema([*first, *rest]),
            storage_options=dict(self.target.options),
            configuration={"delta.logRetentionDuration": LOG_KEPT},
        )

    def _widened(self, target: DeltaTable, staged: pa.Schema) -> DeltaTable:
        """Let the table be as wide as its staged rows."""
        self._check_key(target)
        widen(target, without_sequence(staged), self.gate)
        return target

    def _check_key(self, target: DeltaTable) -> None:
        names = schema_of(target).names
        flaws = [
            f"no column {column}" if column not in names else f"{nulls} row(s) without a value in {column}"
            for column in self.columns
            if column not in names or (nulls := nulls_in(target, column))
        ]
        if flaws:
            raise DestinationError(
                f"The table {self.name} has {' and '.join(flaws)}, which is its primary key. Somebody has changed the "
                "table, or source_config.py has a new primary_key. Put the one or the other back; or remove the "
                "table's folder, and run with restart."
            )

    def _size(self, target: DeltaTable, staged: DeltaTable) -> tuple[int, int]:
        """Give how many rows a slice is to have, and how many bytes they are in a file."""
        sample = target if rows_in(target) else staged
        first = next(batches(sample))
        rows = max(SLICE_BYTES * first.num_rows // first.nbytes, LEAST_ROWS)
        files = files_of(sample, self.columns)
        row_bytes = sum(file.bytes for file in files) / sum(file.rows for file in files)
        return rows, max(int(rows * row_bytes), LEAST_FILE_BYTES)

    def vacuum(self) -> None:
        """Delete files that have been out of use for a week (Delta's default): no reader can still be at them.

        By a look at all files: the log forgets, when it is summed up, what has been out of use for so long.
        """
        for place in (self.target, self.staged):
            table = place.open()
            if table is not None:
                self.gate()
                table.vacuum(dry_run=False, full=True)

    # a table that was not folded before

    def _lay_out(self, target: DeltaTable, rows: int, file_bytes: int, pace: Pace) -> bool:
        """Sort a table by key, as far as it can't be cut between its files; True if it can be, now."""
        return all(
            self._halve(target, keys, rows, file_bytes, pace)
            for keys in slices.overlapping(files_of(target, self.columns), self.columns, rows)
        )

    def _halve(self, target: DeltaTable, keys: KeyRange, rows: int, file_bytes: int, pace: Pace) -> bool:
        """Write the upper half of a range into files of its own, and so on with both halves.

        Each commit writes the rows that are there, so none is ever missing. It costs the logarithm of the table, once.
        """
        count, middle = self._middle(target, keys)
        if count <= slices.HALVED * rows or middle is None or middle == keys.low:
            return True
        if not pace.fits():
            return False
        upper = KeyRange(self.columns, middle, keys.high)
        data = streamed(batches(target, None, upper), schema_of(target))
        replace_rows(target, upper, data, file_bytes, self.gate)
        pace.done()
        lower = KeyRange(self.columns, keys.low, middle)
        return all(self._halve(target, half, rows, file_bytes, pace) for half in (lower, upper))

    def _middle(self, target: DeltaTable, keys: KeyRange) -> tuple[int, Key | None]:
        """Count the rows in a range, and find the key in their middle."""
        every = max(rows_in(target) // SAMPLE_KEYS, 1)
        count, sample = 0, []
        for batch in keys_of(batches(target, self.columns, keys), self.columns):
            sample += batch[-count % every :: every]
            count += len(batch)
        return count, sorted(sample)[len(sample) // 2] if sample else None

    # slice by slice

    def _slices(self, target: DeltaTable, staged: DeltaTable, rows: int) -> Iterator[Slice]:
        """Cut the table."""
        cut = slices.cut_between_files(files_of(target, self.columns), self.columns, rows)
        every = max(rows_in(staged) // SAMPLE_KEYS, 1)
        slices.count_staged(cut, keys_of(batches(staged, self.columns), self.columns), every)
        for here in cut:
            yield from slices.cut_again(here, rows)

    def _fold_group(
        self, target: DeltaTable, staged: DeltaTable, group: Sequence[Slice], size: tuple[int, int], pace: Pace
    ) -> bool:
        """Fold slices whose staged rows are read together."""
        together = KeyRange(self.columns, group[0].keys.low, group[-1].keys.high)
        newest = newest_of_each_key(rows_of(staged, together), self.columns)
        keys = [key for batch in keys_of(newest.to_batches(), self.columns) for key in batch]
        begin = 0
        for here in group:
            if not pace.fits():
                return False
            end = len(keys) if here.keys.high is None else bisect_left(keys, here.keys.high)
            if end > begin:
                self._fold_slice(target, here.keys, newest.slice(begin, end - begin), size, pace)
            begin = end
        return True

    def _fold_slice(
        self, target: DeltaTable, keys: KeyRange, newest: pa.Table, size: tuple[int, int], pace: Pace
    ) -> None:
        rows, file_bytes = size
        before = rows_of(target, keys)
        after = merged(before, newest, self.columns)
        if after is None:
            # an earlier fold that was killed has done this slice
            pace.lap()
            return
        files = max(math.ceil(after.num_rows / rows / FULL), 1)
        even = max(int(after.num_rows / files * file_bytes / rows * 1.1), LEAST_FILE_BYTES)
        replace_rows(target, keys, after, even, self.gate)
        pace.done()

    def _clear(self, staged: DeltaTable) -> None:
        """Clear the rows that were folded; what was staged since then stays."""
        self.gate()
        staged.delete()


def without_sequence(staged: pa.Schema) -> pa.Schema:
    """Give the columns that staged rows have in their table."""
    return pa.schema([each for each in staged if each.name != SEQUENCE])


def merged(before: pa.Table, newest: pa.Table, columns: Sequence[str]) -> pa.Table | None:
    """Give the rows of both, the newest of each key, sorted by key; None if all of `newest` is there already."""
    schema = united(before.schema, newest.schema)
    both = pa.concat_tables([aligned(before, schema), aligned(newest, schema)])
    origin = pa.array([False] * before.num_rows + [True] * newest.num_rows)
    order = sorted_by(both.append_column(ORIGIN, origin), [*columns, LOAD_ID, ORIGIN])
    rows, is_staged = both.take(order), origin.take(order)
    kept = last_of_each(rows, columns)
    # of one key and package, what is in the table is what was staged
    news = pc.and_not(pc.and_(kept, is_staged), same_as_before(rows, [*columns, LOAD_ID]))
    return as_strict_as(before.schema, rows.filter(kept)) if pc.any(news).as_py() else None


def newest_of_each_key(rows: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Give the newest staged row of each key, sorted by key, and without its number in the package."""
    in_order = rows.take(sorted_by(rows, [*columns, LOAD_ID, SEQUENCE]))
    return in_order.filter(last_of_each(in_order, columns)).drop_columns(SEQUENCE)


def sorted_by(rows: pa.Table, columns: Sequence[str]) -> pa.Array:
    """Give the order of rows by columns; a missing value comes first."""
    keys = [(column, "ascending", "at_start") for column in columns]
    return pc.sort_indices(rows.select(columns), sort_keys=keys)


def last_of_each(rows: pa.Table, columns: Sequence[str]) -> pa.Array:
    """Tell of each row, of rows that are sorted, whether it is the last with these values."""
    repeats = same_as_before(rows, columns)
    return pc.invert(pa.concat_arrays([repeats[1:], pa.array([False])])) if rows.num_rows else repeats


def same_as_before(rows: pa.Table, columns: Sequence[str]) -> pa.Array:
    """Tell of each row whether the one before it has the same values."""
    if not rows.num_rows:
        return pa.array([], pa.bool_())
    same = pa.array([True] * (rows.num_rows - 1), pa.bool_())
    for column in columns:
        values = rows[column].combine_chunks()
        same = pc.and_(same, pc.fill_null(pc.equal(values[1:], values[:-1]), fill_value=False))
    return pa.concat_arrays([pa.array([False]), same])


def keys_of(parts: Iterable[pa.RecordBatch], columns: Sequence[str]) -> Iterator[list[Key]]:
    """Give the keys of rows, batch by batch."""
    for batch in parts:
        yield list(zip(*(batch[column].to_pylist() for column in columns), strict=True))
