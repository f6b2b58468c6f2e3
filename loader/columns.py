"""Which columns of a schema belong to one field, what cures that, and what is told of a change."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dlt.common.schema import Schema
from dlt.common.schema.utils import get_root_table
from dlt.common.typing import VARIANT_FIELD_FORMAT

from loader.fields import ADDED, SEPARATOR
from loader.history import TABLE

WIDER = {("bigint", "double"): "double", ("bigint", "decimal"): "decimal"}
"""What a column of numbers becomes, by its own type and that of what does not fit it."""

DECIMAL: dict[str, Any] = {"data_type": "decimal", "precision": 38, "scale": 18}
"""Holds every integer of 64 bits, and floats with 18 digits behind the point, without changing them."""


@dataclass(frozen=True, slots=True)
class Split:
    """A field with a second column, for values that do not fit the first."""

    table: str
    column: str
    data_type: str
    """Of the column, in dlt's words."""
    variant: str
    """Name of the second column."""
    variant_type: str
    """Its type."""

    @property
    def wider(self) -> str | None:
        """The type of a column that may hold both; None where there is none."""
        return WIDER.get((self.data_type, self.variant_type))


def is_data(table: str) -> bool:
    """Tell whether a table holds rows of the resource, and is none of dlt's or ours."""
    return not table.startswith("_dlt_") and table != TABLE


def splits(schema: Schema) -> list[Split]:
    """Give the fields of a schema that have two columns."""
    return [split for table in schema.tables if is_data(table) for split in _splits(schema, table)]


def _splits(schema: Schema, table: str) -> Iterator[Split]:
    columns = schema.tables[table]["columns"]
    for variant, hints in columns.items():
        if not hints.get("variant"):
            continue
        kind = str(hints["data_type"])
        # a long name is not just put together
        short = variant.rsplit(SEPARATOR, 1)[0]
        for column in [short] if short in columns else columns:
            if variant == schema.naming.shorten_fragments(column, VARIANT_FIELD_FORMAT % kind):
                yield Split(table, column, str(columns[column].get("data_type")), variant, kind)


def told_of_split(split: Split, schema: Schema, resource: str) -> dict[str, Any]:
    """Say that a field has two columns, which line of source_config.py cures it, and what to run then."""
    root = str(get_root_table(schema.tables, split.table)["name"])
    types = {split.data_type, split.variant_type}
    # what is too long for a decimal has no type but text
    is_number = types <= {"bigint", "double", "decimal"} and split.data_type != "decimal"
    cure = DECIMAL if is_number else {"data_type": "text"}
    line: dict[str, Any] = {"columns": {split.column: cure}}
    if split.table != root:
        # dlt completes the hints of the resource's own table only
        line = {"columns": {split.column: {"name": split.column, **cure}}}
        line = {"nested_hints": {split.table.removeprefix(f"{root}{SEPARATOR}"): line}}
    (name, value), *_ = line.items()
    is_widened = split.data_type == "bigint" and cure is DECIMAL
    # rows of lists would be left over without theirs
    tables = [name for name in schema.tables if name == root or name.startswith(f"{root}{SEPARATOR}")]
    removed = f"remove the table{'s' * (len(tables) > 1)} {', '.join(sorted(tables))} at the destination, then "
    first = "" if is_widened else removed
    return {
        "table": split.table,
        "column": split.column,
        "data_type": split.data_type,
        "change": "split",
        "variant": split.variant,
        "variant_data_type": split.variant_type,
        "fix": f'"{name}": {value},'.replace("'", '"'),
        "then": f"{first}python main.py {resource} --restart",
    }


def told_of_new(updates: Iterable[Mapping[str, Any]], schema: Schema, resource: str) -> list[dict[str, Any]]:
    """Say which columns packages have added to the resource's tables.

    Args:
        updates: tables with their new columns, as dlt reports them.
        schema: as it is now.
        resource: whose it is.
    """
    second = {(split.table, split.variant): split for split in splits(schema)}
    told = []
    for update in updates:
        for table, change in update.items():
            for name, column in change["columns"].items() if is_data(table) else ():
                if split := second.get((table, name)):
                    told.append(told_of_split(split, schema, resource))
                elif not name.startswith(ADDED):
                    told.append(
                        {"table": table, "column": name, "data_type": column.get("data_type"), "change": "added"}
                    )
    return told


def in_a_line(changes: Iterable[Mapping[str, Any]]) -> str:
    """Give changes of columns in one line, for the log."""
    return "; ".join(_in_words(change) for change in changes)


def _in_words(change: Mapping[str, Any]) -> str:
    words = f"{change['table']}.{change['column']} {change['change']}"
    if change["change"] == "split":
        return (
            f"{words} ({change['data_type']} and {change['variant_data_type']}); to cure it, put {change['fix']} into "
            f"the resource in source_config.py, then {change['then']}"
        )
    return f"{words} ({_HOW.get(change['change']) or change.get('data_type') or change.get('field')})"


_HOW = {"cut": "to microseconds: the API's values have more digits", "discarded": "as schema_contract has it"}
