"""An API that has just the rows that a test gives it, as `things`, paged by offset."""

import json
import random
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from dlt.sources.rest_api import RESTAPIConfig

from tests.end_to_end.support.loading import Loading, offset_paged
from tests.end_to_end.support.places import BigQueryLoading
from tests.local_server import Answer, LocalServer, Request, json_answer
from tests.sample_api import Row

NAME = "things"


class GivenRows(LocalServer):
    """The API."""

    def __init__(self, *rows: Row) -> None:
        super().__init__()
        self.rows = list(rows)

    def answer(self, request: Request) -> Answer:
        """Give a page."""
        offset, limit = (int(request.query[name]) for name in ("offset", "limit"))
        return json_answer({"data": self.rows[offset : offset + limit], "total": len(self.rows)})


def numbered(*fields: Mapping[str, Any]) -> list[Row]:
    """Give rows with these fields, each with a key."""
    return [{"id": number, **each} for number, each in enumerate(fields, 1)]


@dataclass
class Given:
    """The API, loaded to a folder, or to a data set of BigQuery."""

    api: GivenRows
    bucket: Path
    dataset: str | None = None
    """Of BigQuery, if it is to be loaded there."""
    limit: int = 100
    """Rows of a page."""
    hints: dict[str, Any] = field(default_factory=dict)
    """Of the resource, as source_config.py would have them."""

    def put(self, change: Mapping[str, Any]) -> None:
        """Put the line that cures a split field into source_config.py, as a person would."""
        for name, value in json.loads(f"{{{change['fix'].rstrip(',')}}}").items():
            self.hints.setdefault(name, {}).update(value)

    @property
    def loading(self) -> Loading:
        """Give what runs."""
        config: Callable[[], RESTAPIConfig] = self._config
        if self.dataset:
            return BigQueryLoading(self.bucket, config, dataset=self.dataset)
        return Loading(self.bucket, config)

    def _config(self) -> Any:
        return {
            "client": {"base_url": self.api.url},
            "resource_defaults": {"primary_key": "id", "write_disposition": "merge"},
            "resources": [offset_paged(NAME, self.limit, **self.hints)],
        }


def generated(chosen: random.Random, fields: int, rows: int) -> list[Row]:
    """Give rows with many fields, each of a nature of its own."""
    natures: list[Callable[[], Any]] = [
        lambda: chosen.randrange(-(2**53), 2**53),
        lambda: chosen.randrange(4_000) / 4,
        lambda: chosen.choice([chosen.randrange(1_000), chosen.randrange(4_000) / 4, None]),
        lambda: chosen.choice([2**53 + chosen.randrange(1_000), chosen.randrange(9)]),
        lambda: chosen.choice([2**53 + 1 + chosen.randrange(1_000), chosen.randrange(9) / 4]),
        lambda: chosen.choice([2**64 + chosen.randrange(1_000), chosen.randrange(9)]),
    ]
    found: list[Row] = [{} for _ in range(rows)]
    for number in range(fields):
        names = [f"f{number}Value", f"f{number}_value"] if chosen.random() < 0.1 else [f"f{number}"]
        for name in names:
            nature = chosen.choice(natures[: chosen.choice([4, 6])])
            for row in found:
                row[name] = nature()
    return numbered(*found)


def wrong_sums(
    given: Given, rows: Sequence[Row], changes: Iterable[Mapping[str, Any]], but: Container[str]
) -> list[str]:
    """Give the fields whose sum in a table is not the API's.

    Args:
        given: the API.
        rows: of the table.
        changes: all that was told, with the names of renamed fields.
        but: columns that are not looked at.
    """
    renamed = {each["field"]: each["column"] for each in changes if each["change"] == "renamed"}
    columns = {name: renamed.get(name, name.replace("Value", "_value")) for name in given.api.rows[0]}
    return [
        name
        for name, column in columns.items()
        if column not in but and _sum(row[column] for row in rows) != _sum(row[name] for row in given.api.rows)
    ]


def _sum(values: Iterable[Any]) -> Fraction:
    return sum((Fraction(value) for value in values if value is not None), Fraction())
