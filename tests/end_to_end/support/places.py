"""Where tests load to, and how they look at what is there: so that one test can be told for each destination."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from loader.settings import Settings
from tests.end_to_end.support.loading import Loading
from tests.end_to_end.support.tables import EXACT, Difference, compared, rows_of
from tests.fakes.bigquery import PROJECT, BigQueryFront, Call
from tests.fakes.gcs import FakeGcs
from tests.local_server import Answer, Request
from tests.sample_api import Row, World

LISTS: dict[str, dict[str, list[str]]] = {
    "conversations": {"tags": ["id", "name"], "participant_ids": ["value"]},
    "contacts": {"segments": ["value"], "companies": ["id", "role"]},
    "conversation_parts": {"attachments": ["name", "bytes"]},
    "teams": {"member_ids": ["value"], "office_hours": ["day"]},
    "companies": {"tags": ["id", "name"], "domains": ["value"]},
}
"""The lists of the sample API's rows, and what tells their items apart."""


@dataclass(frozen=True)
class Items:
    """Items of the lists that the rows of a table have."""

    of_rows: Counter[tuple[Any, ...]]
    """Key of the row, place in its list, and the values."""
    orphans: int = 0
    """Items whose row is not there."""


class Place(Protocol):
    """A place that is loaded to, and can be read."""

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a function that loads to this place, but for the API's variables."""

    def rows(self, table: str, columns: str = "*") -> list[Row]:
        """Give the rows of a table; none where there is no table."""

    def items(self, resource: str, name: str, columns: list[str]) -> Items:
        """Give the items of a list that the rows of a resource have."""


def difference(place: Place, living: list[Row], resource: str = "contacts") -> Difference:
    """Compare a resource's table with the API's living rows, by key and revision."""
    return compared(place.rows(resource, "id, revision"), living)


def assert_exact(place: Place, world: World, resource: str = "contacts") -> None:
    """Each living row is there once, as it is now, with the items of its lists and no others."""
    living = world.snapshot(resource)
    assert difference(place, living, resource) == EXACT
    for name, columns in LISTS[resource].items():
        assert place.items(resource, name, columns) == items_of(living, name, columns)


def items_of(living: list[Row], name: str, columns: list[str]) -> Items:
    """Give the items of a list that rows have."""
    return Items(
        Counter(
            (row["id"], place, *((item[column] for column in columns) if isinstance(item, dict) else (item,)))
            for row in living
            for place, item in enumerate(row[name])
        )
    )


@dataclass
class BucketPlace:
    """A local folder or a bucket, with Delta tables."""

    url: str
    google: Mapping[str, str] = field(default_factory=dict)
    """The environment that says where Google is."""
    options: Mapping[str, str] = field(default_factory=dict)
    """How the tables are read."""

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a function that loads to this place, but for the API's variables."""
        return {**self.google, "BUCKET_URL": self.url}

    def rows(self, table: str, columns: str = "*") -> list[Row]:
        """Give the rows of a table; none where there is no table."""
        return rows_of(self.url, table, columns, options=self.options)

    def items(self, resource: str, name: str, columns: list[str]) -> Items:
        """Give the items of a list that the rows of a resource have: it is text in a column of its own name."""
        rows = self.rows(resource, f"id, {name}")
        return items_of([{**row, name: json.loads(row[name] or "[]")} for row in rows], name, columns)


@dataclass
class CloudStoragePlace(BucketPlace):
    """A bucket of the Cloud Storage that is played."""

    front: FakeGcs = field(default_factory=FakeGcs)
    """What the product talks to."""

    @property
    def moments(self) -> list["Moment"]:
        """When a load is worst ended: as this object is written."""
        return [
            Moment(lambda written: "_loader_leases/" in written, comes_through=True),
            Moment(lambda written: "_staging/contacts/_delta_log/" in written, comes_through=True),
            Moment(lambda written: "_dlt_pipeline_state/" in written, comes_through=False),
            Moment(lambda written: "_dlt_pipeline_state/" in written, comes_through=True),
            Moment(lambda written: "analytics/contacts/_delta_log/" in written, comes_through=True),
            Moment(lambda written: "loader_passes/_delta_log/" in written, comes_through=False),
        ]

    def end_lease(self, resource: str) -> None:
        """Let the time of the lease be over."""
        bucket = self.url.removeprefix("gs://")
        *_, last = self.front.names(bucket, f"_loader_leases/analytics/{resource}/")
        self.front.write(bucket, last, b'{"holder": "dead", "expires_at": 0}')


@dataclass
class BigQueryPlace:
    """A data set in the emulator."""

    front: BigQueryFront
    """What the product talks to."""
    dataset: str
    google: Mapping[str, str] = field(default_factory=dict)
    """The environment that says where Google is."""

    @property
    def variables(self) -> dict[str, str]:
        """Variables with which a process loads to this place, whose credentials are taken care of."""
        return {
            "DESTINATION": "bigquery",
            "DATASET_NAME": self.dataset,
            "BIGQUERY_EMULATOR_HOST": self.front.url,
            # the emulator does not read gzip
            "NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION": "true",
        }

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a function that loads to this place, but for the API's variables."""
        return {**self.google, **self.variables}

    @property
    def staging(self) -> str:
        """The data set beside it."""
        return f"{self.dataset}_staging"

    @property
    def moments(self) -> list["Moment"]:
        """When a load is worst ended: as this job is made."""
        staged = f"{self.staging}.contacts"
        return [
            Moment(lambda call: "CREATE TABLE" in call.sql, comes_through=True),
            Moment(lambda call: call.kind == "upload", comes_through=False),
            Moment(lambda call: call.kind == "load" and call.table == staged, comes_through=True),
            Moment(lambda call: call.is_merge, comes_through=False),
            Moment(lambda call: call.is_merge, comes_through=True),
            Moment(lambda call: "_dlt_loads" in call.sql and "INSERT" in call.sql, comes_through=False),
        ]

    def end_lease(self, resource: str) -> None:
        """Let the time of the lease be over."""
        with self.client() as client:
            client.delete_table(f"{self.staging}._loader_lease_{resource}", not_found_ok=True)

    def rows(self, table: str, columns: str = "*") -> list[Row]:
        """Give the rows of a table; none where there is no table."""
        return self.select(f"SELECT {columns} FROM {self.dataset}.{table}") if table in self.tables() else []  # noqa: S608

    def select(self, sql: str) -> list[Row]:
        """Give the rows of a query, past the front: what a test asks is not counted."""
        with self.client() as client:
            return [dict(row.items()) for row in client.query_and_wait(sql)]

    def tables(self) -> list[str]:
        """Give the names of the tables."""
        with self.client() as client:
            return [table.table_id for table in client.list_tables(self.dataset)]

    @contextmanager
    def client(self) -> Iterator[bigquery.Client]:
        """Give Google's client, past the front."""
        client = bigquery.Client(
            PROJECT,
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": f"http://127.0.0.1:{self.front.emulator_port}"},
        )
        with closing(client):
            yield client

    def items(self, resource: str, name: str, columns: list[str]) -> Items:
        """Give the items of a list that the rows of a resource have: they are rows of a child table."""
        chosen = ", ".join(f"c.{column}" for column in columns)
        rows = self.select(
            f"SELECT p.id AS parent, c._dlt_list_idx AS place, {chosen} "  # noqa: S608
            f"FROM {self.dataset}.{resource}__{name} AS c "
            f"LEFT JOIN {self.dataset}.{resource} AS p ON p._dlt_id = c._dlt_parent_id"
        )
        return Items(
            Counter((row.pop("parent"), row.pop("place"), *row.values()) for row in rows if row["parent"] is not None),
            sum("parent" in row for row in rows),
        )


ServerPlace = CloudStoragePlace | BigQueryPlace
"""A place behind a server, in which a test can meddle."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A request in the middle of a load."""

    is_there: Callable[[Any], bool]
    """Whether it is this one: of a `Call`, or of the name of the object that is written."""
    comes_through: bool
    """Whether the server does what it is asked for; the answer is lost in any case."""

    def strike(self, front: BigQueryFront | FakeGcs, kill: Callable[[], None]) -> None:
        """Kill when it comes."""

        def die(what: Call | str, request: Request) -> Answer | None:
            if not self.is_there(what):
                return None
            if self.comes_through:
                front.pass_on(request)
            kill()
            raise ConnectionAbortedError

        front.meddle = die


@dataclass
class BigQueryLoading(Loading):
    """Runs in this process that load to BigQuery."""

    dataset: str = field(default="analytics")

    @property
    def settings(self) -> Settings:
        """The environment that it stands for."""
        return Settings(destination="bigquery", dataset_name=self.dataset)


SERVICE_ACCOUNT = json.dumps(
    {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key": "none",
        "client_email": "runner@test-project.example.com",
    }
)
"""Where to load to, for runs in this process; their token is a fixed one."""
