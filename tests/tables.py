"""Tables as anybody reads them: Delta, without dlt and without the loader."""

from pathlib import Path
from typing import Any

import duckdb
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError


def select(table: Path, what: str = "*") -> list[tuple[Any, ...]]:
    """Give rows of a Delta table, or none where there is no table yet; what is selected may be any SQL expression."""
    try:
        rows = duckdb.from_arrow(DeltaTable(table).to_pyarrow_dataset())
    except TableNotFoundError:
        return []
    return rows.project(what).fetchall()


def ids(table: Path) -> list[Any]:
    """Give the keys in a table, sorted, each as often as it is there."""
    return sorted(key for (key,) in select(table, "id"))


def columns(table: Path) -> dict[str, tuple[str, bool]]:
    """Give the columns of a table as Delta has them: type, and whether they may be null."""
    return {field.name: (field.type.type, field.nullable) for field in DeltaTable(table).schema().fields}
