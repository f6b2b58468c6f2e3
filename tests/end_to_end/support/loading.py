"""Runs in this process, one after the other, each with an empty disk: what an invocation does, without the HTTP."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from dlt.sources.rest_api import RESTAPIConfig

from loader.clock import Clock, SystemClock
from loader.deadline import Deadline
from loader.invocation import invoke
from loader.report import Report
from loader.run import Order
from loader.settings import Settings
from tests.clock import DrivenClock
from tests.sample_api import KEY, SampleApi


def sample_config(api: SampleApi, resources: list[Any] | None = None, **client: Any) -> RESTAPIConfig:
    """Describe the sample API: `contacts`, paged by offset, unless other resources are given."""
    config: Any = {
        "client": {
            "base_url": api.url,
            "auth": {"type": "api_key", "name": "api_key", "api_key": KEY, "location": "query"},
            **client,
        },
        "resource_defaults": {"primary_key": "id", "write_disposition": "merge"},
        "resources": resources or [offset_paged()],
    }
    return config  # type: ignore[no-any-return]


def offset_paged(name: str = "contacts", limit: int = 100, **more: Any) -> dict[str, Any]:
    """Describe a resource paged by offset; `more` are fields of the resource, `params` those of its endpoint."""
    endpoint = {
        "path": f"/v1/{name}",
        "data_selector": "data",
        "paginator": {"type": "offset", "limit": limit},
        "params": more.pop("params", {}),
    }
    return {"name": name, "endpoint": endpoint, **more}


@dataclass
class Loading:
    """A source that is loaded into a folder, run by run."""

    bucket: Path
    config: Callable[[], RESTAPIConfig]
    """What source_config.py gives; called in each run."""
    clock: Clock = field(default_factory=SystemClock)
    name: str = "analytics"
    pages_in_flight: int = 1
    retries: Mapping[str, Any] = field(
        default_factory=lambda: {"status_codes": (429, 500, 502, 503, 504), "backoff_factor": 2, "max_retries": 3}
    )
    deleted_rows: str = "keep"
    reports: list[Report] = field(default_factory=list)
    """Of all runs so far."""

    def run(
        self,
        resource: str = "contacts",
        *,
        seconds: float = 540.0,
        restart: bool = False,
        sweep: bool = False,
        accept_deletes: bool = False,
        pass_started_at: str | None = None,
    ) -> Report:
        """Run once, as an invocation of so many seconds.

        Raises:
            LoaderError: as an invocation does; the report is kept all the same.
        """
        if isinstance(self.clock, DrivenClock):
            # no two runs begin at the same moment
            self.clock.advance(1.0)
        report = Report()
        self.reports.append(report)
        order = Order(resource, restart, sweep, accept_deletes, pass_started_at)
        invoke(order, self.settings, self.module(), Deadline.of(seconds, self.clock), report)
        return report

    def until_complete(self, resource: str = "contacts", *, seconds: float = 540.0, at_most: int = 20) -> list[Report]:
        """Run until the pass is complete; give the reports of these runs."""
        first = len(self.reports)
        for _ in range(at_most):
            if self.run(resource, seconds=seconds).status == "complete":
                return self.reports[first:]
        raise AssertionError(f"Not complete after {at_most} runs: {self.reports[-1].answer()}")

    @property
    def settings(self) -> Settings:
        """The environment that it stands for."""
        return Settings(bucket_url=str(self.bucket))

    def module(self) -> ModuleType:
        """Give what `import source_config` would."""
        module = ModuleType("source_config")
        vars(module).update(
            NAME=self.name,
            RETRIES=self.retries,
            PAGES_IN_FLIGHT=self.pages_in_flight,
            SCHEDULES={"default": "H * * * *"},
            DELETED_ROWS=self.deleted_rows,
            source_config=self.config,
        )
        return module
