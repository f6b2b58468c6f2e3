"""dlt is set up as the loader needs it, whatever it had set up by itself at its import."""

import inspect
import subprocess
import sys

import pytest
from dlt.common.data_writers.buffered import BufferedDataWriter
from dlt.load import Load

from loader import dlt_settings
from tests.function import ROOT

TELEMETRY = """
from dlt.common.runtime import anon_tracker
from loader import dlt_settings
from tests.function import ROOT
dlt_settings.apply("filesystem")
dlt_settings.apply("filesystem")
import dlt.common.configuration.container as container
from dlt.common.configuration.specs import PluggableRunContext
config = container.Container()[PluggableRunContext].context.runtime_config
print(config.dlthub_telemetry, anon_tracker._ANON_TRACKER_ENDPOINT, config.log_level)
"""


def test_telemetry_is_off_without_a_variable_that_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TELEMETRY], env={"HOME": "/"}, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["False", "None", "CRITICAL"], done.stderr


def test_dlt_still_has_the_names_that_are_set() -> None:
    assert "self._run_loop_sleep_duration" in inspect.getsource(inspect.getmodule(Load) or Load)
    assert {"buffer_max_items", "disable_compression"} <= set(inspect.signature(BufferedDataWriter).parameters)


@pytest.mark.parametrize(("destination", "is_packed"), [("filesystem", False), ("bigquery", True)])
def test_a_chunk_is_measured_by_the_memory_that_its_rows_take(destination: str, *, is_packed: bool) -> None:
    writer = dlt_settings.defaults(destination)["sources"]["data_writer"]
    assert writer == {"buffer_max_items": 1, "disable_compression": not is_packed}


PANDAS = """
import sys
from loader import dlt_settings
from tests.function import ROOT
dlt_settings.apply({destination!r})
import pyarrow
there = "pandas" in sys.modules
print(there, pyarrow.table({{"id": [1]}}).to_pandas().shape)
"""


@pytest.mark.parametrize(("destination", "is_there"), [("filesystem", False), ("bigquery", True)])
def test_pandas_is_imported_where_it_is_asked_for(destination: str, *, is_there: bool) -> None:
    program = PANDAS.format(destination=destination)
    done = subprocess.run(
        [sys.executable, "-c", program], env={"HOME": "/"}, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split("\n")[0] == f"{is_there} (1, 1)"


SLOW_TO_IMPORT = {"flask", "google.auth", "pyarrow", "deltalake", "loader.check"}


def test_a_shell_begins_without_what_only_others_use() -> None:
    program = "import main, sys, loader.shell; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={"HOME": "/"}, capture_output=True, text=True, check=True
    )
    assert SLOW_TO_IMPORT.isdisjoint(done.stdout.split())
