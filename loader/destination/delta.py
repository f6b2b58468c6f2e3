"""What is needed of Delta tables, in Arrow: rows of a range of keys, and which keys and how many rows a file holds."""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder, WriterProperties, write_deltalake

from loader.destination.key_range import Key, KeyRange, quoted

STATISTICS_BYTES = 1024
"""Keys of up to this length are compared whole; beyond it, files look as if they overlapped."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a Delta table is, or may be."""

    location: str
    """Its address, as `file://...` or `gs://...`."""
    options: Mapping[str, str]
    """What deltalake needs to get there."""

    def open(self) -> DeltaTable | None:
        """Open it as it is now; None if there is no table."""
        options = dict(self.options)
        if not DeltaTable.is_deltatable(self.location, options):
            return None
        return DeltaTable(self.location, storage_options=options)


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of a table, by what Delta's log says of it."""

    low: Key | None
    """No key in it is lower; None where the log does not say."""
    high: Key | None
    """No key in it is higher."""
    rows: int
    bytes: int


def schema_of(table: DeltaTable) -> pa.Schema:
    """Give the columns of a table."""
    return pa.schema(table.schema().to_arrow())


def files_of(table: DeltaTable, columns: Sequence[str]) -> list[DataFile]:
    """Give the files of a table, by their lowest keys; those of which nothing is known come first."""
    actions = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    files = [
        DataFile(
            _bound(action, "min", columns), _bound(action, "max", columns), action["num_records"], action["size_bytes"]
        )
        for action in actions
    ]
    return sorted(files, key=lambda file: (file.low is not None, file.low or (), file.high or ()))


def _bound(action: Mapping[str, Any], which: str, columns: Sequence[str]) -> Key | None:
    key = tuple(action.get(f"{which}.{column}") for column in columns)
    return None if None in key else key


def rows_in(table: DeltaTable) -> int:
    """Count the rows of a table, from its log."""
    counts = pa.table(table.get_add_actions(flatten=True))["num_records"].to_pylist()
    return sum(counts)


def nulls_in(table: DeltaTable, column: str) -> int:
    """Count the rows without a value in a column, as far as the log says."""
    counts = pa.table(table.get_add_actions(flatten=True))
    name = f"null_count.{column}"
    return sum(count or 0 for count in counts[name].to_pylist()) if name in counts.column_names else 0


def batches(
    table: DeltaTable, columns: Sequence[str] | None = None, keys: KeyRange | None = None
) -> Iterator[pa.RecordBatch]:
    """Read columns (all, if none are given) of the rows in a range of keys, piece by piece."""
    what = "*" if columns is None else ", ".join(quoted(column) for column in columns)
    condition = keys.sql() if keys else None
    query = f"SELECT {what} FROM here" + (f" WHERE {condition}" if condition else "")  # noqa: S608 - literals are quoted
    schema = schema_of(table)
    if columns is not None:
        schema = pa.schema([schema.field(column) for column in columns])
    for batch in QueryBuilder().register("here", table).execute(query):
        # the engine has text and bytes in a form of its own, that Arrow can't sort
        yield pa.record_batch(batch).cast(schema)


def column_of(place: Place, column: str) -> Iterator[pa.Array]:
    """Read a column, piece by piece; nothing, where there is no such table or column."""
    table = place.open()
    if table is not None and column in schema_of(table).names:
        for batch in batches(table, [column]):
            yield batch[column]


def rows_of(table: DeltaTable, keys: KeyRange) -> pa.Table:
    """Read the rows in a range of keys."""
    return pa.Table.from_batches(batches(table, None, keys), schema_of(table))


def replace_rows(
    table: DeltaTable, keys: KeyRange, rows: pa.Table | pa.RecordBatchReader, file_bytes: int, gate: Callable[[], None]
) -> None:
    """Put rows in the place of all those in a range of keys, in one commit; new columns are added.

    Args:
        table: open; it is moved on to the version that is written.
        keys: of the rows that are taken out, and of those that are put in.
        rows: what to put in.
        file_bytes: how large a file may become, compressed.
        gate: passed before the commit.
    """
    # of several batches, two writers would make files that overlap
    data = rows if isinstance(rows, pa.RecordBatchReader) else rows.combine_chunks()
    gate()
    write_deltalake(
        table,
        data,
        mode="overwrite",
        predicate=keys.sql(),
        schema_mode="merge",
        target_file_size=file_bytes,
        writer_properties=WriterProperties(statistics_truncate_length=STATISTICS_BYTES),
    )


def streamed(rows: Iterator[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatchReader:
    """Give rows that are read from Delta so that they can be written to Delta while they are read.

    They are read in a thread of their own: the library panics when it reads in one that it writes in
    ("Cannot start a runtime from within a runtime").
    """
    waiting: queue.Queue[pa.RecordBatch | BaseException | None] = queue.Queue(maxsize=2)

    def read() -> None:
        try:
            for batch in rows:
                waiting.put(batch)
            waiting.put(None)
        except BaseException as error:  # noqa: BLE001 - raised where the rows are taken
            waiting.put(error)

    def taken() -> Iterator[pa.RecordBatch]:
        threading.Thread(target=read, name="loader-rows", daemon=True).start()
        while (batch := waiting.get()) is not None:
            if isinstance(batch, BaseException):
                raise batch
            yield batch

    return pa.RecordBatchReader.from_batches(schema, taken())
