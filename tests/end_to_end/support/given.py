"""An API that has just the rows that a test gives it, as `things`, paged by offset."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
