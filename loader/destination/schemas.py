"""Columns that change: new ones are added, an integer becomes a float where the rows have floats."""

from collections.abc import Callable

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from loader.destination.delta import batches, schema_of, streamed
from loader.errors import DestinationError


def united(first: pa.Schema, second: pa.Schema) -> pa.Schema:
    """Give the columns of both, each as wide as the wider of the two.

    Raises:
        DestinationError: a column is of kinds that don't fit each other.
    """
    try:
        both = pa.unify_schemas([nullable(first), nullable(second)], promote_options="permissive")
        if lost := [each.name for each in both if _loses(each.type, first, second, each.name)]:
            raise pa.ArrowTypeError(f"decimals in {', '.join(lost)} would become floats")  # noqa: TRY301 - as Arrow does
    except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
        kinds = [
            f"{name} ({first.field(name).type} and {second.field(name).type})"
            for name in first.names
            if name in second.names and first.field(name).type != second.field(name).type
        ]
        raise DestinationError(
            f"Columns are of one type in the table and of another in the new rows: {', '.join(kinds)}. Somebody has "
            "changed the table, or the type of the column in source_config.py. Put it back as it was; or remove the "
            "table's folder, and run with restart."
        ) from error
    return both


def _loses(kind: pa.DataType, first: pa.Schema, second: pa.Schema, name: str) -> bool:
    kinds = [schema.field(name).type for schema in (first, second) if name in schema.names]
    return bool(pa.types.is_floating(kind)) and any(pa.types.is_decimal(each) for each in kinds)


def nullable(schema: pa.Schema) -> pa.Schema:
    """Give the columns, each of which may be null: old rows lack what is new."""
    return pa.schema([each.with_nullable(True) for each in schema])  # noqa: FBT003 - pyarrow's own


def widen(table: DeltaTable, schema: pa.Schema, gate: Callable[[], None]) -> None:
    """Rewrite a table, in one commit, if rows of a schema need wider columns than it has.

    Raises:
        DestinationError: a column is of kinds that don't fit each other.
    """
    before = schema_of(table)
    wider = united(before, schema)
    if all(wider.field(each.name).type == each.type for each in before):
        return
    target = pa.schema([wider.field(each.name).with_nullable(each.nullable) for each in before])
    rows = streamed((batch.cast(target) for batch in batches(table)), target)
    gate()
    write_deltalake(table, rows, mode="overwrite", schema_mode="overwrite")


def aligned(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give the rows with the columns of a schema; what they lack is null."""
    columns = [
        rows[each.name].cast(each.type) if each.name in rows.column_names else pa.nulls(rows.num_rows, each.type)
        for each in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def as_strict_as(schema: pa.Schema, rows: pa.Table) -> pa.Table:
    """Give the rows with the columns that may not be null in a schema, and are not, marked so."""
    fields = [
        schema.field(each.name) if each.name in schema.names and not rows[each.name].null_count else each
        for each in rows.schema
    ]
    return rows.cast(pa.schema(fields))
