"""Marks the rows of a BigQuery table that are gone at the API, in one UPDATE: a pass writes anew what it sees."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dlt
from google.api_core.exceptions import NotFound

from loader.deleted import COLUMN, Found, moment_of
from loader.place import Pass


@dataclass(frozen=True, slots=True)
class BigQueryMarks:
    """The marks of one resource, after one pass."""

    pipeline: dlt.Pipeline
    resource: str
    current: Pass
    """The pass."""

    def find(self) -> Found:
        """Count what the table holds, in one query over two columns."""
        with self._table() as (sql, table, has_marks):
            if not table:
                return Found()
            mark = COLUMN if has_marks else "CAST(NULL AS TIMESTAMP)"
            with sql.execute_query(
                f"SELECT COUNTIF({mark} IS NULL), COUNTIF({mark} IS NULL AND _dlt_load_id < %s), COUNTIF({mark} = %s), "  # noqa: S608
                f"COUNTIF({mark} <> %s) FROM {table}",
                self.current.since,
                moment_of(self.current),
                moment_of(self.current),
            ) as answer:
                return Found(*answer.fetchone())

    def set(self) -> tuple[bool, int]:
        """Mark what is gone; a wait that does not fit raises."""
        with self._table() as (sql, table, has_marks):
            if table and not has_marks:
                sql.execute_sql(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {COLUMN} TIMESTAMP")
            if table:
                sql.execute_sql(
                    f"UPDATE {table} SET {COLUMN} = %s WHERE {COLUMN} IS NULL AND _dlt_load_id < %s",  # noqa: S608
                    moment_of(self.current),
                    self.current.since,
                )
        return True, 1

    @contextmanager
    def _table(self) -> Iterator[tuple[Any, str, bool]]:
        """Give a SQL client, the table's name (empty where there is none), and whether it has the column."""
        client: Any = self.pipeline.destination_client()
        with client:
            sql = client.sql_client
            table = sql.make_qualified_table_name(client.schema.naming.normalize_table_identifier(self.resource))
            try:
                fields = sql.native_connection.get_table(table.replace("`", "")).schema
            except NotFound:
                yield sql, "", False
            else:
                yield sql, table, COLUMN in {field.name for field in fields}
