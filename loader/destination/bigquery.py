"""BigQuery: few, large packages, merged by `delete-insert`, with the lists of rows as child tables."""

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

import dlt
from dlt.common.schema.typing import C_DLT_ID, C_DLT_LOAD_ID
from dlt.extract import DltResource
from google.api_core.exceptions import NotFound

from loader import deleted
from loader.deadline import Deadline
from loader.destination import client_of
from loader.destination.bigquery_client import NEVER, BoundedClient
from loader.destination.bigquery_dlt import BEYOND_DOUBLE, BoundedBigQuery, Client, SqlClient
from loader.destination.bigquery_lease import ExpiringTable
from loader.destination.bigquery_marks import BigQueryMarks
from loader.errors import SettingsError
from loader.lease import Gate, LeaseStore
from loader.log import logger
from loader.place import Pass

MEBIBYTE = 1 << 20

SECONDS_TO_STOP = 1.0
"""So much before the deadline of the run the last wait ends."""


class BigQuery:
    """A data set with a table per resource, and one beside it in which rows are staged."""

    chunk_bytes = 256 * MEBIBYTE
    """A package bills the whole table however few its rows are, so as much as the memory of the function allows."""

    def __init__(self, dataset_name: str, gate: Gate, deadline: Deadline) -> None:
        self._dataset_name = dataset_name
        self._gate = gate
        self._deadline = deadline
        self._box_seconds = deadline.left()
        self._lease: ExpiringTable | None = None
        self._is_settled = False

    def factory(self) -> BoundedBigQuery:
        """Give dlt's BigQuery destination; whatever it writes passes the gate."""
        return self._factory(self._deadline.earlier(SECONDS_TO_STOP))

    def try_out(self) -> None:
        """Look whether both data sets are there, or could be made, and tables in them.

        Raises:
            DestinationError: they could not.
        """
        sql = self._client(self._deadline.earlier(SECONDS_TO_STOP), "check").sql_client
        sql.open_connection()
        sql.native_connection.try_out(_making(sql))
        with sql.with_staging_dataset():
            sql.native_connection.try_out(_making(sql))

    def adapt(self, resource: DltResource, *, marks: bool = False) -> None:
        """Let the row that was read last win where a key is there twice.

        Raises:
            SettingsError: rows that are gone are to be marked, and nothing would tell them from discarded ones.
        """
        if marks and "discard_row" in str(resource.schema_contract):
            raise SettingsError(
                f'The schema_contract of {resource.name} says "discard_row", and DELETED_ROWS is "mark": a row that is '
                'discarded would be marked as gone. In source_config.py, set one to "discard_value", or the other to '
                '"keep".'
            )
        if marks:
            deleted.hint(resource)
        hints = resource.compute_table_schema() if not callable(resource.write_disposition) else {}
        is_replaced = hints.get("write_disposition") == "merge" and hints.get("x-merge-strategy") in (
            None,
            "delete-insert",
        )
        if is_replaced and not any("dedup_sort" in column for column in hints["columns"].values()):
            resource.apply_hints(columns={C_DLT_LOAD_ID: {"dedup_sort": "desc"}})
            resource.add_map(ascending_ids())

    def folds(self, resource: DltResource) -> bool:
        """Tell that it is not so: what is committed is merged."""
        del resource
        return False

    def begin(self, pipeline: dlt.Pipeline) -> None:
        """Do nothing."""
        del pipeline

    def fold(self, pipeline: dlt.Pipeline, *, if_due: bool) -> tuple[bool, int]:
        """Do nothing."""
        del pipeline, if_due
        return True, 0

    def fits(self, pipeline: dlt.Pipeline, table: str, column: str, data_type: str) -> bool:
        """Look through the column; what it costs is that of a query for it."""
        return data_type != "double" or not self._found(pipeline, table, [column], BEYOND_DOUBLE)

    def filled(self, pipeline: dlt.Pipeline, table: str, columns: Sequence[str]) -> set[str]:
        """Look through the columns, with one query."""
        return self._found(pipeline, table, columns, "{column} IS NOT NULL")

    def _found(self, pipeline: dlt.Pipeline, table: str, columns: Sequence[str], condition: str) -> set[str]:
        with pipeline.destination_client() as client:
            assert isinstance(client, Client)  # noqa: S101 - what `with` gives has dlt's type
            return client.found(table, columns, condition)

    def note_seen(self, current: Pass) -> None:
        """Do nothing: each row that was read is written anew."""

    def marks(self, pipeline: dlt.Pipeline, resource: str, current: Pass) -> BigQueryMarks:
        """Give the marks of the resource's table."""
        return BigQueryMarks(pipeline, resource, current)

    def chunk_seconds(self, resources: int) -> float:
        """Give so long that no day brings more load jobs than the table of states may take, which all share.

        (1,440 of 1,500, where all read around the clock; a run is cut evenly, for a rest would be a chunk, too.)
        """
        return self._box_seconds / max(self._box_seconds // max(300.0, 60.0 * resources), 1.0)

    def lease(self, resource: str) -> LeaseStore:
        """Give the lease of a resource: a table beside the staged rows."""
        # giving it back must be possible after the deadline of everything else
        sql = self._client(self._deadline.earlier(-SECONDS_TO_STOP / 2), resource).sql_client
        sql.open_connection()
        with sql.with_staging_dataset():
            if not sql.has_dataset():
                sql.create_dataset()
            name = sql.fully_qualified_dataset_name(quote=False)
        self._lease = ExpiringTable(sql.native_connection, name, resource)
        return self._lease

    def tidy(self, pipeline_name: str) -> None:
        """Delete states that newer ones have replaced, now and then: each run reads all of them."""
        try:
            with self._client(self._deadline.earlier(SECONDS_TO_STOP), pipeline_name) as client:
                assert isinstance(client, Client)  # noqa: S101 - what `with` gives has dlt's type
                client.tidy(pipeline_name)
        except Exception as error:  # noqa: BLE001 - a run is none the worse for it
            logger.warning("Old states could not be deleted: %s. The next run tries again.", error)

    def _factory(self, deadline: Deadline) -> BoundedBigQuery:
        factory = BoundedBigQuery()
        factory.deadline = deadline
        factory.before_write = self._before_write
        factory.before_merge = self._before_merge
        return factory

    def _client(self, deadline: Deadline, name: str) -> Client:
        client: Client = client_of(self._factory(deadline), self._dataset_name, name)
        return client

    def _before_write(self, client: BoundedClient) -> None:
        self._gate.pass_through()
        if self._is_settled or self._lease is None:
            return
        # two merges of one table at once could insert a row each
        if self._lease.script:
            with suppress(NotFound):
                client.wait_for(client.get_job(self._lease.script, retry=NEVER))
        self._is_settled = True

    def _before_merge(self, job_id: str) -> None:
        if self._lease:
            self._lease.note_script(job_id)


def _making(sql: SqlClient) -> str:
    """Give the statement that makes a table in the data set, or the data set where it is not there."""
    name = sql.fully_qualified_dataset_name()
    return f"CREATE TABLE {name}._loader_check (number INT64)" if sql.has_dataset() else f"CREATE SCHEMA {name}"


def ascending_ids() -> Callable[[Any], Any]:
    """Give a step that numbers rows: of two rows in one package, the one read later has the greater `_dlt_id`."""
    prefix, numbers = secrets.token_urlsafe(7), count()

    def numbered(row: Any) -> Any:
        if isinstance(row, dict):
            row.setdefault(C_DLT_ID, f"{prefix}{next(numbers):07x}")
        return row

    return numbered
