"""Rows that are in the table already, word for word, are not staged: a pass that finds nothing new writes nothing.

Each row carries a hash of its key and one of all that is in it. A key that is staged is never passed over: a row that
goes from A to B and back to A within a pass would otherwise stay B.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable

from loader import deleted
from loader.destination.delta import Place, batches, rows_in, schema_of
from loader.identity import digest

COLUMN = "_loader_row_hash"
"""Of a table that is merged: 8 bytes of the key's hash, 8 of the row's."""

HALVES = Struct("=qq")
"""The two of them, as numbers."""

MOST_ROWS = 10_000_000
"""Of a larger table the hashes (8 bytes a row) are not held in memory: every row is staged."""

MARKS = 1 << 24
"""Bits to mark staged keys in (2 MiB). Keys may share one: then an unchanged row is staged, and nothing else."""


class Unchanged:
    """Knows the rows of a table, as one narrow scan has found them, and the keys that are staged."""

    def __init__(
        self,
        target: Place,
        staged: Place,
        key: Sequence[str],
        columns: Iterable[str],
        seen: Callable[[int], None],
        split: Sequence[str] = (),
    ) -> None:
        """Scan.

        Args:
            target: the table.
            staged: its staged rows.
            key: the fields that tell rows apart.
            columns: that the table must have; if one is gone, every row is staged, and brings it back.
            seen: called with the hash of each row's key.
            split: those with values that did not fit another column; such rows are staged, since they may fit now.
        """
        self._names = key
        self._seen = seen
        self._known: Sequence[int] = ()
        self._marks = bytearray(MARKS // 8)
        table = target.open()
        if table is None or not {COLUMN, *columns} <= set(schema_of(table).names) or rows_in(table) > MOST_ROWS:
            return
        known: Any = np.sort(_halves(table, 1, split))
        # its items are plain numbers, and are compared five times as fast as numpy's own
        self._known = memoryview(known)
        waiting = staged.open()
        if waiting is not None and COLUMN in schema_of(waiting).names:
            for hashed in _halves(waiting, 0).tolist():
                self._mark(hashed)

    def is_news(self, row: Any) -> bool:
        """Tell whether a row is to be staged; it gets its hash then."""
        if not isinstance(row, dict) or any(row.get(name) is None for name in self._names):
            return True
        data = digest([str(row[name]) for name in self._names]) + digest(row)
        key, content = HALVES.unpack(data)
        self._seen(key)
        if not self._is_marked(key) and self._knows(content):
            return False
        self._mark(key)
        # as dlt reads binary values from JSON
        row[COLUMN] = f"0x{data.hex()}"
        return True

    def _knows(self, content: int) -> bool:
        place = bisect_left(self._known, content)
        return place < len(self._known) and self._known[place] == content

    def _mark(self, key: int) -> None:
        self._marks[key % MARKS >> 3] |= 1 << (key & 7)

    def _is_marked(self, key: int) -> bool:
        return bool(self._marks[key % MARKS >> 3] & 1 << (key & 7))


def key_halves(hashes: pa.Array) -> Any:
    """Give the half of each hash that is of the key, 0 where there is none."""
    return np.frombuffer(b"".join(hashes.fill_null(bytes(16)).to_pylist()), np.int64)[::2]


def _halves(table: DeltaTable, which: int, split: Sequence[str] = ()) -> Any:
    """Read a half of each hash: 0, of the key; 1, of the row. Rows with a mark, or a value in `split`, are left out."""
    without = [name for name in (deleted.COLUMN, *split) if name in schema_of(table).names]
    parts = [_numbers(_bare(batch, without)[COLUMN])[which::2] for batch in batches(table, [COLUMN, *without])]
    return np.concatenate([np.empty(0, np.int64), *parts])


def _bare(rows: pa.RecordBatch, without: Sequence[str]) -> pa.RecordBatch:
    for name in without:
        rows = rows.filter(rows[name].is_null())
    return rows


def _numbers(hashes: pa.Array) -> Any:
    data = b"".join(hashes.drop_null().to_pylist())
    return np.frombuffer(data, np.int64)
