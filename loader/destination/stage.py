"""Staging: a package of rows is appended beside its table, sorted by key so that a part of it can be read alone."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
from deltalake import WriterProperties, write_deltalake
from dlt.common.libs.deltalake import ensure_delta_compatible_arrow_data

from loader.destination.delta import STATISTICS_BYTES, Place, rows_in, schema_of
from loader.destination.fold import LOAD_ID, SEQUENCE, sorted_by
from loader.destination.schemas import aligned, nullable, united, widen
from loader.errors import SettingsError
from loader.lease import Gate

RUN_ROWS = 25_000
"""So many rows are sorted together: a chunk's, as a rule."""

GROUP_ROWS = 2048
"""So many rows lie together in a file: what is read at least."""

KEPT = {"delta.logRetentionDuration": "interval 1 day", "delta.deletedFileRetentionDuration": "interval 1 day"}
"""For staged rows that are folded: nobody but a run reads them, and none lasts so long."""


def stage(place: Place, name: str, files: Sequence[str], columns: Sequence[str], load_id: str, gate: Gate) -> None:
    """Append the rows of a package's Parquet files, in one commit.

    Args:
        place: of the staged rows.
        name: of the table, for messages.
        files: paths.
        columns: the key, by the names of its columns.
        load_id: of the package.
        gate: passed before the commit.

    Raises:
        SettingsError: a row has no value in a column of the key; nothing is staged then.
    """
    data = pads.dataset(files)
    check_keys(data, name, columns)
    schema = _schema(data.schema)
    table = place.open()
    # what is left of a fold has no rows, and may have columns of other types
    is_empty = table is not None and not rows_in(table)
    if table is not None and not is_empty:
        widen(table, schema, gate.pass_through)
        schema = united(schema_of(table), schema)
    rows = pa.RecordBatchReader.from_batches(schema, _in_runs(data, schema, columns, load_id))
    gate.pass_through()
    write_deltalake(
        place.location if table is None else table,
        rows,
        mode="overwrite" if is_empty else "append",
        schema_mode="overwrite" if is_empty else "merge",
        storage_options=dict(place.options),
        configuration=KEPT if table is None else None,
        writer_properties=WriterProperties(max_row_group_size=GROUP_ROWS, statistics_truncate_length=STATISTICS_BYTES),
    )


def check_keys(data: pads.Dataset, name: str, columns: Sequence[str]) -> None:
    """Make sure that each row has a key.

    Raises:
        SettingsError: a row has none.
    """
    for column in columns:
        absent = data.count_rows() if column not in data.schema.names else data.count_rows(pads.field(column).is_null())
        if absent:
            raise no_key(name, column, absent)


def no_key(name: str, column: str, rows: int = 1) -> SettingsError:
    """Say that rows have no key."""
    return SettingsError(
        f"{rows} row(s) of {name} have no value in {column}, which is its primary key: rows are told apart by it. "
        "Nothing of them was loaded. Look at primary_key in source_config.py, and at the API's rows."
    )


def with_key(name: str, key: Sequence[str], normalized: Callable[[str], str]) -> Callable[[Any], Any]:
    """Give a function that gives a row back, if it has a value in each field of its key.

    Args:
        name: of the resource, for the message.
        key: names of the fields.
        normalized: gives the column that dlt makes of a field: `userId` may be what `user_id` means.
    """

    def check(row: Any) -> Any:
        for field in key:
            if not isinstance(row, dict) or row.get(field) is not None or "__" in field:
                continue
            if not any(value is not None and normalized(other) == normalized(field) for other, value in row.items()):
                raise no_key(name, field)
        return row

    return check


def _schema(schema: pa.Schema) -> pa.Schema:
    schema = ensure_delta_compatible_arrow_data(schema.empty_table()).schema
    for name, kind in ((LOAD_ID, pa.string()), (SEQUENCE, pa.int64())):
        if name not in schema.names:
            schema = schema.append(pa.field(name, kind))
    return nullable(schema)


def _in_runs(data: pads.Dataset, schema: pa.Schema, columns: Sequence[str], load_id: str) -> Iterator[pa.RecordBatch]:
    """Give the rows in runs that are sorted by key, each row with its number in the package."""
    first = 0
    run: list[pa.RecordBatch] = []
    for batch in data.to_batches(batch_size=GROUP_ROWS, batch_readahead=1, fragment_readahead=1):
        run.append(batch)
        if sum(each.num_rows for each in run) >= RUN_ROWS:
            yield from _sorted(run, schema, columns, load_id, first)
            first += sum(each.num_rows for each in run)
            run = []
    if run:
        yield from _sorted(run, schema, columns, load_id, first)


def _sorted(
    run: list[pa.RecordBatch], schema: pa.Schema, columns: Sequence[str], load_id: str, first: int
) -> list[pa.RecordBatch]:
    rows = pa.Table.from_batches(run)
    if LOAD_ID not in rows.column_names:
        rows = rows.append_column(LOAD_ID, pa.repeat(load_id, rows.num_rows))
    rows = rows.append_column(SEQUENCE, pa.array(range(first, first + rows.num_rows), pa.int64()))
    rows = aligned(rows, schema)
    in_order: list[pa.RecordBatch] = rows.take(sorted_by(rows, [*columns, SEQUENCE])).to_batches(
        max_chunksize=GROUP_ROWS
    )
    return in_order
