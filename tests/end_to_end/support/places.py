"""Where tests load to, and how they look at what is there: so that one test can be told for each destination."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from loader.settings import Settings
from tests.end_to_end.support.loading import Loading
from tests.end_to_end.support.tables import Difference, compared, rows_of
from tests.fakes.bigquery import PROJECT, BigQueryFront
from tests.sample_api import Row


class TableReader(Protocol):
    """A place whose tables can be read."""

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which the function loads to this place."""

    def rows(self, table: str, columns: str = "*") -> list[Row]:
        """Give the rows of a table; none where there is no table."""


def difference(place: TableReader, living: list[Row], resource: str = "contacts") -> Difference:
    """Compare a resource's table with the API's living rows, by key and revision."""
    return compared(place.rows(resource, "id, revision"), living)


@dataclass
class FolderPlace:
    """A local folder with Delta tables."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which the function loads to this place."""
        return {"BUCKET_URL": str(self.folder)}

    def rows(self, table: str, columns: str = "*") -> list[Row]:
        """Give the rows of a table; none where there is no table."""
        return rows_of(self.folder, table, columns)


@dataclass
class BigQueryPlace:
    """A data set in the emulator."""

    front: BigQueryFront
    """What the product talks to."""
    dataset: str

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which the function loads to this place."""
        return {
            "DESTINATION": "bigquery",
            "DATASET_NAME": self.dataset,
            "BIGQUERY_EMULATOR_HOST": self.front.url,
            # the emulator does not read gzip
            "NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION": "true",
        }

    @property
    def staging(self) -> str:
        """The data set beside it."""
        return f"{self.dataset}_staging"

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

    def items(self, table: str, columns: list[str]) -> "Items":
        """Give what a child table holds: items by the key of the row that has them, and those of no row."""
        parent = table.split("__", 1)[0]
        chosen = ", ".join(f"c.{column}" for column in columns)
        rows = self.select(
            f"SELECT p.id AS parent, c._dlt_list_idx AS place, {chosen} FROM {self.dataset}.{table} AS c "  # noqa: S608
            f"LEFT JOIN {self.dataset}.{parent} AS p ON p._dlt_id = c._dlt_parent_id"
        )
        return Items(
            Counter((row.pop("parent"), row.pop("place"), *row.values()) for row in rows if row["parent"] is not None),
            sum("parent" in row for row in rows),
        )


@dataclass(frozen=True)
class Items:
    """Items of lists, in a child table."""

    of_rows: Counter[tuple[Any, ...]]
    """Key of the row, place in its list, and the values."""
    orphans: int
    """Items whose row is not there."""


def items_of(living: list[Row], name: str, columns: list[str]) -> Items:
    """Give what a child table ought to hold."""
    return Items(
        Counter(
            (row["id"], place, *((item[column] for column in columns) if isinstance(item, dict) else (item,)))
            for row in living
            for place, item in enumerate(row[name])
        ),
        orphans=0,
    )


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
