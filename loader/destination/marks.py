"""Marks a Delta table's rows that are gone at the API: slice by slice, each in one commit, and only where some are."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from loader.deleted import COLUMN, Found, moment_of
from loader.destination import slices
from loader.destination.delta import Place, batches, files_of, replace_rows, rows_of, schema_of
from loader.destination.fold import LEAST_FILE_BYTES, LOAD_ID, Pace
from loader.destination.key_range import KeyRange
from loader.destination.unchanged import COLUMN as HASH
from loader.destination.unchanged import key_halves
from loader.place import Pass

KIND = pa.timestamp("us", "UTC")


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks of one table, after one pass."""

    target: Place
    """The table."""
    columns: tuple[str, ...]
    """The key, by the names of its columns."""
    seen: Any
    """Hashes of the keys that the pass has seen, ascending (`seen.Seen`)."""
    current: Pass
    """The pass."""
    gate: Callable[[], None]
    """Passed before each commit."""

    def find(self) -> Found:
        """Count what the table holds, in one narrow scan."""
        table = self.target.open()
        found = Found()
        for batch in self._narrow(table, None) if table else ():
            marks = _marks(batch)
            living = pc.is_null(marks)
            mine = pc.fill_null(pc.equal(marks, self._moment), fill_value=False)
            found += Found(
                living=pc.sum(living).as_py() or 0,
                gone=pc.sum(self._gone(batch)).as_py() or 0,
                marked=pc.sum(mine).as_py() or 0,
                marked_before=pc.sum(pc.and_not(pc.invert(living), mine)).as_py() or 0,
            )
        return found

    def set(self, pace: Pace) -> bool:
        """Mark as far as the time goes; True if all that is gone is marked."""
        table = self.target.open()
        if table is None:
            return True
        # the least there is: a file, if the table was folded
        for here in slices.cut_between_files(files_of(table, self.columns), self.columns, 1):
            if not self._has_gone(table, here.keys):
                continue
            if not pace.fits():
                return False
            rows = rows_of(table, here.keys)
            rows = _with(rows, pc.if_else(self._gone(rows), self._moment, _marks(rows)))
            replace_rows(table, here.keys, rows, max(rows.nbytes, LEAST_FILE_BYTES), self.gate)
            pace.done()
        return True

    def _has_gone(self, table: DeltaTable, keys: KeyRange) -> bool:
        return any(pc.any(self._gone(batch)).as_py() for batch in self._narrow(table, keys))

    def _narrow(self, table: DeltaTable, keys: KeyRange | None) -> Iterator[pa.RecordBatch]:
        names = set(schema_of(table).names)
        return batches(table, [name for name in (HASH, COLUMN, LOAD_ID) if name in names], keys)

    @property
    def _moment(self) -> pa.Scalar:
        """What the marks of this pass say: the same in each run that sets them."""
        return pa.scalar(moment_of(self.current), KIND)

    def _gone(self, rows: pa.RecordBatch | pa.Table) -> Any:
        """Tell of each row whether it has no mark, was not seen, and was not written in this pass either."""
        old = pc.fill_null(pc.less(rows[LOAD_ID], self.current.since), fill_value=True)
        return pc.and_(pc.and_(pc.is_null(_marks(rows)), old), self._unseen(rows))

    def _unseen(self, rows: pa.RecordBatch | pa.Table) -> pa.Array:
        if HASH not in rows.schema.names:
            return pa.array(np.ones(rows.num_rows, bool))
        hashes = rows[HASH].combine_chunks() if isinstance(rows, pa.Table) else rows[HASH]
        here = key_halves(hashes)
        places = np.minimum(np.searchsorted(self.seen, here), max(len(self.seen) - 1, 0))
        known = self.seen[places] == here if len(self.seen) else np.zeros(len(here), bool)
        return pa.array(~known)


@dataclass(frozen=True, slots=True)
class TableMarks:
    """The marks of a resource, whose tables are these."""

    tables: Sequence[Marks]
    pace: Pace

    def find(self) -> Found:
        """Count what they hold."""
        return sum((table.find() for table in self.tables), Found())

    def set(self) -> tuple[bool, int]:
        """Mark as far as the time goes; give whether all that is gone is marked, and in how many commits."""
        is_done = all(table.set(self.pace) for table in self.tables)
        return is_done, self.pace.commits


def _marks(rows: pa.RecordBatch | pa.Table) -> Any:
    if COLUMN not in rows.schema.names:
        return pa.nulls(rows.num_rows, KIND)
    return rows[COLUMN].cast(KIND)


def _with(rows: pa.Table, marks: Any) -> pa.Table:
    if COLUMN in rows.column_names:
        return rows.set_column(rows.column_names.index(COLUMN), COLUMN, marks)
    return rows.append_column(COLUMN, marks)
