"""What is in a Delta table, read so that the reading process ends well (`QueryBuilder`, not `to_pyarrow_dataset`)."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import TableNotFoundError

from tests.sample_api import Row


def read(table: DeltaTable, columns: str = "*") -> pa.Table:
    """Read a table as it is."""
    return pa.table(QueryBuilder().register("rows", table).execute(f"SELECT {columns} FROM rows"))  # noqa: S608


def rows_of(
    bucket: Path | str,
    resource: str = "contacts",
    columns: str = "*",
    dataset: str = "analytics",
    options: Mapping[str, str] | None = None,
) -> list[Row]:
    """Give the rows of a resource's table; none if there is no table."""
    try:
        table = DeltaTable(f"{bucket}/{dataset}/{resource}", storage_options=dict(options or {}))
    except TableNotFoundError:
        return []
    rows: list[Row] = read(table, columns).to_pylist()
    return rows


def columns_of(bucket: Path, resource: str, dataset: str = "analytics") -> dict[str, tuple[str, bool]]:
    """Give the columns of a resource's table as Delta has them: type, and whether they may be null."""
    fields = DeltaTable(str(bucket / dataset / resource)).schema().fields
    return {field.name: (field.type.type, field.nullable) for field in fields}


def ids_of(bucket: Path, resource: str) -> list[Any]:
    """Give the keys in a resource's table, sorted, each as often as it is there."""
    return sorted(row["id"] for row in rows_of(bucket, resource, "id"))


@dataclass(frozen=True, slots=True)
class Difference:
    """What a table lacks, or has too much."""

    missing: list[Any]
    doubled: list[Any]
    stale: list[Any]
    """Keys of rows that are there in an older revision."""
    foreign: list[Any]
    """Keys that the API does not have."""


EXACT = Difference([], [], [], [])


def difference(bucket: Path, living: list[Row], resource: str = "contacts") -> Difference:
    """Compare a table with the API's living rows, by key and revision."""
    return compared(rows_of(bucket, resource, "id, revision"), living)


def compared(rows: list[Row], living: list[Row]) -> Difference:
    """Compare rows of a table with the API's living rows, by key and revision."""
    counted = Counter(row["id"] for row in rows)
    revisions = {row["id"]: row["revision"] for row in living}
    return Difference(
        missing=sorted(revisions.keys() - counted.keys()),
        doubled=sorted(key for key, count in counted.items() if count > 1),
        stale=sorted({row["id"] for row in rows if row["revision"] < revisions.get(row["id"], 0)}),
        foreign=sorted(counted.keys() - revisions.keys()),
    )
