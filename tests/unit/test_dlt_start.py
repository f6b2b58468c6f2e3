"""How dlt is set up, in a new process: it has started with settings of its own before ours can be seen."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.function import ROOT

PROGRAM = """
import importlib, logging
from loader import shell
assert shell.main(["--status", "--json"]) == 0
from dlt.common.runtime import anon_tracker
print(anon_tracker._ANON_TRACKER_ENDPOINT)
print(logging.getLevelName(logging.getLogger("dlt").level))
print(importlib.import_module("dlt.pipeline.pipeline").Load._run_loop_sleep_duration.fget(None))
"""


@pytest.mark.parametrize(
    ("variables", "level"),
    [
        pytest.param({}, "ERROR", id="by_itself"),
        pytest.param({"RUNTIME__LOG_LEVEL": "CRITICAL"}, "CRITICAL", id="a_variable_wins"),
    ],
)
def test_telemetry_is_off_dlt_is_quiet_and_its_load_step_quick(
    tmp_path: Path, variables: dict[str, str], level: str
) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "BUCKET_URL": str(tmp_path / "data"), **variables}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1:] == ["None", level, "0.02"]
