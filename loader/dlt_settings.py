"""How dlt is set up here: defaults under the user's own variables, and where its steps are ours."""

import importlib
import logging
import sys
import threading
from typing import Any

from dlt.common.configuration.container import Container
from dlt.common.configuration.providers import CustomLoaderDocProvider
from dlt.common.configuration.specs import PluggableRunContext
from dlt.common.runtime.telemetry import stop_telemetry
from dlt.load import Load

from loader import exactness, retyping

PROVIDER = "loader defaults"

POLL_SECONDS = 0.02
"""How often dlt looks whether a load job is done. Its own value is 1.0, slept in every load."""


def defaults(destination: str) -> dict[str, Any]:
    """Give dlt's settings for a destination; a variable of the user's, like LOAD__DELETE_COMPLETED_JOBS, wins."""
    return {
        # what dlt logs of an error repeats the values of rows; it is raised as well, and told by `failures`
        "runtime": {"dlthub_telemetry": False, "log_level": "CRITICAL"},
        "extract": {"next_item_mode": "fifo", "workers": 1},
        "sources": {
            "data_writer": {
                # each page is written at once: dlt would keep 5,000 rows in memory, where no bound of a chunk sees them
                "buffer_max_items": 1,
                # a bucket's chunk is bounded by the memory that its rows take, which packed bytes don't tell
                "disable_compression": destination == "filesystem",
            }
        },
        # finished packages would stay in the working folder, which is memory in a function
        "load": {"delete_completed_jobs": True, "raise_on_max_retries": 5},
    }


class QuickLoad(Load):
    """dlt's load step, which looks for finished jobs more often."""

    @property
    def _run_loop_sleep_duration(self) -> float:
        return POLL_SECONDS

    @_run_loop_sleep_duration.setter
    def _run_loop_sleep_duration(self, seconds: float) -> None:
        """Ignore what dlt sets."""


imports = threading.Lock()
"""Held while libraries are imported that dlt looks at, also to describe a source: half imported they are an error."""


def apply(destination: str) -> None:
    """Set dlt up for a destination; doing it again changes nothing."""
    with imports:
        if destination == "bigquery":
            # Google's client imports it
            importlib.import_module("pandas")
        _import_pyarrow()
        _apply(destination)


class _NoPandas:
    """Finds no pandas."""

    def find_spec(self, name: str, *_: object) -> None:
        """Look for a module as Python does.

        Raises:
            ModuleNotFoundError: it is pandas.
        """
        if name == "pandas":
            raise ModuleNotFoundError(name=name)


def _import_pyarrow() -> None:
    """Import pyarrow, which looks for pandas once, in there, and does without if it finds none.

    pandas would be a third of a second of each cold start, and 40 MiB, for what nothing here asks for. It can be
    imported afterwards, by source_config.py too, and pyarrow's own functions for it find it then.
    """
    finder: Any = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        importlib.import_module("pyarrow.dataset")
    finally:
        sys.meta_path.remove(finder)


def _apply(destination: str) -> None:
    context = Container()[PluggableRunContext]
    provider = CustomLoaderDocProvider(PROVIDER, lambda: defaults(destination), supports_secrets=False, locations=[])
    if PROVIDER in context.providers:
        context.providers[PROVIDER] = provider
    else:
        context.providers.add_provider(provider)
        # dlt has set itself up at its import, telemetry and all, before it could see this provider
        stop_telemetry()
        context.initialize_runtime()
        # what dlt has to say goes where all else goes, and not past it to standard error
        theirs = logging.getLogger("dlt")
        theirs.handlers.clear()
        theirs.propagate = True
    # by name: `dlt.pipeline` is a function to the outside
    steps = importlib.import_module("dlt.pipeline.pipeline")
    steps.Load, steps.Normalize = QuickLoad, retyping.Retyping  # type: ignore[attr-defined]
    exactness.install()
    retyping.install()
