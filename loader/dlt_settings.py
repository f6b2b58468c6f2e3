"""How dlt is set up here: defaults under the user's own variables, and one second less sleep per load."""

import importlib
from typing import Any

from dlt.common.configuration.container import Container
from dlt.common.configuration.providers import CustomLoaderDocProvider
from dlt.common.configuration.specs import PluggableRunContext
from dlt.common.runtime.telemetry import stop_telemetry
from dlt.load import Load

PROVIDER = "loader defaults"

DEFAULTS: dict[str, Any] = {
    "runtime": {"dlthub_telemetry": False, "log_level": "ERROR"},
    "extract": {"next_item_mode": "fifo", "workers": 1},
    # finished packages would stay in the working folder, which is memory in a function
    "load": {"delete_completed_jobs": True, "raise_on_max_retries": 5},
}
"""dlt's settings; a variable of the user's, like LOAD__DELETE_COMPLETED_JOBS, wins."""

POLL_SECONDS = 0.02
"""How often dlt looks whether a load job is done. Its own value is 1.0, slept in every load."""


class QuickLoad(Load):
    """dlt's load step, which looks for finished jobs more often."""

    @property
    def _run_loop_sleep_duration(self) -> float:
        return POLL_SECONDS

    @_run_loop_sleep_duration.setter
    def _run_loop_sleep_duration(self, seconds: float) -> None:
        """Ignore what dlt sets."""


def apply() -> None:
    """Set dlt up, once per process; doing it again changes nothing."""
    context = Container()[PluggableRunContext]
    if PROVIDER not in context.providers:
        context.providers.add_provider(
            CustomLoaderDocProvider(PROVIDER, lambda: DEFAULTS, supports_secrets=False, locations=[])
        )
        # dlt has started with its own defaults by now, so its telemetry is on: start again
        stop_telemetry()
        context.initialize_runtime()
    # by name: `dlt.pipeline` is a function to the outside
    importlib.import_module("dlt.pipeline.pipeline").Load = QuickLoad  # type: ignore[attr-defined]
