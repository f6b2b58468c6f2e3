"""dlt's BigQuery destination, on our client: what it loads, merges and widens."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from dlt.common.destination.client import FollowupJobRequest, LoadJob, PreparedTableSchema
from dlt.common.schema import Schema
from dlt.common.schema.typing import (
    C_DLT_ID,
    C_DLT_LOAD_ID,
    LOADS_TABLE_NAME,
    PIPELINE_STATE_TABLE_NAME,
    TSchemaTables,
    TTableSchemaColumns,
)
from dlt.common.storages.load_package import load_package_state
from dlt.destinations import bigquery
from dlt.destinations.exceptions import DatabaseTerminalException, DatabaseTransientException, DatabaseUndefinedRelation
from dlt.destinations.impl.bigquery.bigquery import BigQueryClient, BigQueryLoadJob, BigQueryMergeJob
from dlt.destinations.impl.bigquery.configuration import BigQueryClientConfiguration
from dlt.destinations.impl.bigquery.sql_client import BigQuerySqlClient
from dlt.destinations.job_client_impl import SqlLoadJob
from dlt.destinations.sql_client import SqlClientBase
from google.api_core.exceptions import Conflict, GoogleAPICallError, NotFound
from tenacity import Retrying, retry_if_exception_type, wait_random

from loader.deadline import Deadline
from loader.destination.bigquery_client import NEVER, BoundedClient, RefusedError, refusals, refused
from loader.errors import SettingsError
from loader.exactness import MOST_EXACT

SCHEMA_TRIES = 5
"""So often tables are made or widened, where others do the same at the same moment."""

SCHEMA_WAIT_SECONDS = (1.0, 4.0)
"""Least and most seconds between two tries."""

BEYOND_DOUBLE = f"{{column}} NOT BETWEEN -{MOST_EXACT} AND {MOST_EXACT}"
"""A whole number that a FLOAT64 may not hold."""

WIDER = {("bigint", "double"), ("bigint", "decimal"), ("bigint", "wei")}
"""What BigQuery can make of a column, in dlt's words."""

KEPT: dict[str, tuple[str, ...]] = {"bigint": (), "double": ("bigint",), "bool": ()}
"""Columns whose type matters, with the types that may be loaded into them all the same."""

STATE_ROWS = 25
"""As long as `_dlt_pipeline_state` has no more rows, of all resources together, nothing is tidied up."""

LOADS_KEPT_DAYS = 30
"""So long a row stays in `_dlt_loads`, which tells when rows with its `_dlt_load_id` came."""


class BoundedBigQuery(bigquery):
    """dlt's BigQuery destination, with our clients."""

    deadline: Deadline
    before_write: Callable[[BoundedClient], None]
    before_merge: Callable[[str], None]

    @property
    def destination_type(self) -> str:
        """Give dlt's own type: what is committed can be read by plain dlt."""
        return "dlt.destinations.bigquery"

    @property
    def client_class(self) -> type[BigQueryClient]:
        """Give our client."""
        return Client

    def client(
        self,
        schema: Schema,
        initial_config: BigQueryClientConfiguration = None,  # type: ignore[assignment]
    ) -> "Client":
        """Give a client whose waits end by the deadline."""
        client = super().client(schema, initial_config)
        assert isinstance(client, Client)  # noqa: S101 - of `client_class`
        client.sql_client.bind(self.deadline, self.before_write)
        client.deadline, client.before_merge = self.deadline, self.before_merge
        return client


class SqlClient(BigQuerySqlClient):
    """dlt's SQL client of it, connected through ours."""

    def bind(self, deadline: Deadline, before_write: Callable[[BoundedClient], None]) -> None:
        """Say when waits end, and what comes before each writing."""
        self._deadline = deadline
        self._before_write = before_write

    def open_connection(self) -> BoundedClient:
        """Open the connection; it asks nothing yet."""
        credentials = self.credentials.to_native_credentials()
        self._client = BoundedClient(self.project_id, credentials, self.location, self._deadline, self._before_write)
        return self._client

    @property
    def native_connection(self) -> BoundedClient:
        """Give Google's client."""
        assert isinstance(self._client, BoundedClient)  # noqa: S101 - of `open_connection`
        return self._client

    def has_dataset(self) -> bool:
        """Tell whether the data set exists.

        Raises:
            RefusedError: it does, but elsewhere.
        """
        name = self.fully_qualified_dataset_name(quote=False)
        try:
            with refusals(unless=NotFound):
                dataset = self.native_connection.get_dataset(name, retry=NEVER)
        except NotFound:
            return False
        if dataset.location and dataset.location.upper() != self.location.upper():
            raise RefusedError(
                f"The data set {name} is in {dataset.location}, but DESTINATION__BIGQUERY__LOCATION is "
                f"{self.location}. Set it to where the data set is, or take another DATASET_NAME. "
                "The place stays where it is."
            )
        return True

    def create_dataset(self) -> None:
        """Make the data set; that somebody else has just made it is fine."""
        try:
            super().create_dataset()
        except (DatabaseTerminalException, DatabaseTransientException) as error:
            if not isinstance(error.args[0], Conflict) and not self.has_dataset():
                raise

    def truncate_tables_if_exist(self, *tables: str) -> None:
        """Empty tables; without any, don't ask with an empty script, as dlt does three times per package."""
        if tables:
            super().truncate_tables_if_exist(*tables)

    @classmethod
    def _make_database_exception(cls, ex: Exception) -> Exception:
        error = super()._make_database_exception(ex)
        if isinstance(error, DatabaseTransientException) and isinstance(ex.args[0], GoogleAPICallError):
            # what passes by itself was waited for; dlt would try again at once
            return refused(ex.args[0])
        return error


class Client(BigQueryClient):
    """dlt's client of it."""

    sql_client: SqlClient
    deadline: Deadline
    before_merge: Callable[[str], None]

    def __init__(self, schema: Schema, config: Any, capabilities: Any) -> None:
        super().__init__(schema, config, capabilities)
        # dlt names the class where it makes the object
        self.sql_client.__class__ = SqlClient

    def create_load_job(self, table: PreparedTableSchema, file_path: str, *args: Any, **kwargs: Any) -> LoadJob:
        """Give the job that loads a file, or runs a merge script."""
        if SqlLoadJob.is_sql_job(file_path):
            return ScriptJob(file_path)
        job = super().create_load_job(table, file_path, *args, **kwargs)
        is_plain = type(job) is BigQueryLoadJob
        return FileJob(file_path, self.config.http_timeout, self.config.retry_deadline) if is_plain else job

    def initialize_storage(self, truncate_tables: Iterable[str] | None = None) -> None:
        """Make the data set, or empty staged tables."""
        with nothing_is_gone():
            super().initialize_storage(truncate_tables)  # type: ignore[arg-type]

    def update_stored_schema(self, *args: Any, **kwargs: Any) -> TSchemaTables | None:
        """Make and widen tables; where another run has just made the same ones, look again what is missing."""
        update = super().update_stored_schema
        retrying = Retrying(
            retry=retry_if_exception_type((DatabaseTerminalException, RefusedError)),
            stop=lambda state: state.attempt_number >= SCHEMA_TRIES or self._is_late(),
            wait=wait_random(*SCHEMA_WAIT_SECONDS),
            sleep=self.deadline.clock.sleep,
            reraise=True,
        )
        return retrying(lambda: update(*args, **kwargs))

    def _is_late(self) -> bool:
        return self.deadline.left() < SCHEMA_WAIT_SECONDS[1]

    def _create_merge_followup_jobs(self, table_chain: Sequence[PreparedTableSchema]) -> list[FollowupJobRequest]:
        return [MergeScript.from_table_chain(table_chain, self.sql_client)]

    def _build_schema_update_sql(
        self, storage_tables: Iterable[tuple[str, TTableSchemaColumns]]
    ) -> tuple[list[str], TSchemaTables]:
        """Add to dlt's statements, for new tables and columns, those for columns that are wider now.

        Raises:
            SettingsError: a column is of another type now, that its values can't become without being changed.
        """
        there = dict(storage_tables)
        first = [statement for name, columns in there.items() for statement in self._widening(name, columns)]
        for name in there:
            if f"DROP TABLE {self.sql_client.make_qualified_table_name(name)}" in first:
                there[name] = {}
        statements, update = super()._build_schema_update_sql(there.items())
        return [*first, *statements], update

    def _widening(self, name: str, columns: TTableSchemaColumns) -> Iterator[str]:
        """Give the statements that make columns of a table wider; a table of staged rows is made anew instead."""
        table: Any = self.prepare_load_table(name)
        target = self.sql_client.make_qualified_table_name(name)
        for column, before in columns.items():
            hints = table["columns"].get(column, {})
            change = (str(before.get("data_type")), str(hints.get("data_type")))
            if change[0] not in KEPT or change[1] in (change[0], *KEPT[change[0]], "None"):
                continue
            if self.sql_client.is_staging_dataset_active:
                yield f"DROP TABLE {target}"
                return
            if change not in WIDER or (change[1] == "double" and self.found(name, [column], BEYOND_DOUBLE)):
                raise SettingsError(
                    f"The column {column} of {name} is {change[0]}, but {change[1]} in source_config.py now, and its "
                    "values can't become that without being changed. Put it back as it was; or remove the table, and "
                    "run with restart."
                )
            kind = self.type_mapper.to_destination_type(hints, table).split("(")[0]
            yield f"ALTER TABLE {target} ALTER COLUMN {self.sql_client.escape_column_name(column)} SET DATA TYPE {kind}"

    def found(self, table: str, columns: Sequence[str], condition: str) -> set[str]:
        """Give those of some columns on which any row of a table fulfils a condition."""
        ((_, there),) = self.get_storage_tables([table])
        names = [column for column in columns if column in there]
        if not names:
            return set()
        sql = self.sql_client
        conditions = [condition.format(column=sql.escape_column_name(name)) for name in names]
        counts = ", ".join(f"COUNTIF({each})" for each in conditions)
        rows = sql.execute_sql(f"SELECT {counts} FROM {sql.make_qualified_table_name(table)}")  # noqa: S608
        assert rows  # noqa: S101 - it counts
        return {name for name, count in zip(names, rows[0], strict=True) if count}

    def tidy(self, pipeline_name: str) -> None:
        """Delete the states of a pipeline but for the last, if there are many, and its old rows of `_dlt_loads`."""
        sql = self.sql_client
        states, loads = (sql.make_qualified_table_name(name) for name in (PIPELINE_STATE_TABLE_NAME, LOADS_TABLE_NAME))
        table = sql.native_connection.get_table(states.replace("`", ""), retry=NEVER)
        if table.num_rows <= STATE_ROWS:
            return
        sql.execute_sql(
            f"DELETE FROM {states} WHERE pipeline_name = %s AND _dlt_load_id < (SELECT MAX(s._dlt_load_id) "  # noqa: S608
            f"FROM {states} AS s JOIN {loads} AS l ON l.load_id = s._dlt_load_id "
            "WHERE s.pipeline_name = %s AND l.status = 0); "
            f"DELETE FROM {loads} WHERE schema_name = %s AND inserted_at < %s "
            f"AND load_id NOT IN (SELECT _dlt_load_id FROM {states});",
            pipeline_name,
            pipeline_name,
            pipeline_name,
            datetime.now(UTC) - timedelta(days=LOADS_KEPT_DAYS),
        )


@contextmanager
def nothing_is_gone() -> Iterator[None]:
    """Expect every table to be there.

    Raises:
        RefusedError: one is not.
    """
    try:
        yield
    except DatabaseUndefinedRelation as error:
        # Google's own error is in one of the DB-API, unless there was no query
        cause = next(iter(error.dbapi_exception.args), None)
        raise refused(cause if isinstance(cause, GoogleAPICallError) else error) from error


class FileJob(BigQueryLoadJob):
    """Loads a file. Our client waits for it; dlt would look again for ever, and first of all sleep a second."""

    _job_client: Client

    def run(self) -> None:
        """Load it."""
        self._bq_load_job = self._job_client._create_load_job(self._load_table, self._file_path)  # noqa: SLF001 - see docs/dlt.md


class ScriptJob(SqlLoadJob):
    """Runs a merge script; the next run of the resource can see whether it is done, also where this one dies."""

    _job_client: Client

    def run(self) -> None:
        """Run it."""
        self._job_client.sql_client.native_connection.before_script = self._job_client.before_merge
        with nothing_is_gone():
            super().run()


class MergeScript(BigQueryMergeJob):
    """dlt's merge, of what the living run has staged."""

    @classmethod
    def _gen_table_setup_clauses(
        cls, table_chain: Sequence[PreparedTableSchema], sql_client: SqlClientBase[Any]
    ) -> list[str]:
        clauses = super()._gen_table_setup_clauses(table_chain, sql_client)
        root = table_chain[0]
        if C_DLT_LOAD_ID in root["columns"]:
            # a load job that a dead run had begun may have landed here since
            load_id = sql_client.capabilities.escape_literal(load_package_state()["load_id"])
            _, staged = sql_client.get_qualified_table_names(str(root["name"]))
            clauses.append(f"DELETE FROM {staged} WHERE {C_DLT_LOAD_ID} <> {load_id}")  # noqa: S608
        return clauses

    @classmethod
    def gen_select_from_dedup_sql(
        cls,
        table_name: str,
        primary_keys: Sequence[str],
        columns: Sequence[str],
        dedup_sort: tuple[str, Any] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> str:
        """Select one row of each key; of rows of one package, the one that was read last."""
        if dedup_sort:
            column, order = dedup_sort
            dedup_sort = (f"{column} {order.upper()}, {C_DLT_ID}", "desc")
        return super().gen_select_from_dedup_sql(table_name, primary_keys, columns, dedup_sort, *args, **kwargs)  # type: ignore[arg-type]
