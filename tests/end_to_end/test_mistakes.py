"""A mistake in source_config.py is told in the same words wherever a person may meet it first."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.end_to_end.support import serving
from tests.end_to_end.support.function import own_config
from tests.function import ROOT
from tests.sample_api import SampleApi, World

WRONG = own_config().replace('"resource_defaults":', '"resource_default":')
LINE = next(number for number, line in enumerate(WRONG.splitlines(), 1) if "resource_default" in line)
TOLD = (
    f"source_config.py is wrong in line {LINE}: the configuration has no field 'resource_default' "
    "(resource_defaults?). Correct the file."
)


def test_over_http(tmp_path: Path) -> None:
    with SampleApi(World({"contacts": 1})) as api, serving(api, tmp_path, config=WRONG) as function:
        answers = [function.load("contacts"), function.status()]
        assert api.requests == []
    assert [(answer.code, answer["error"]) for answer in answers] == [(500, {"type": "settings", "message": TOLD})] * 2
    assert function.log.count(TOLD) == 2
    assert "Traceback" not in function.log


def test_from_a_shell_and_before_anything_is_deployed(tmp_path: Path) -> None:
    shutil.copy(ROOT / "main.py", tmp_path)
    shutil.copy(ROOT / "deploy.sh", tmp_path)
    (tmp_path / "loader").symlink_to(ROOT / "loader")
    (tmp_path / "source_config.py").write_text(WRONG)
    gcloud = tmp_path / "gcloud"
    gcloud.write_text("#!/bin/sh\nexit 1\n")
    gcloud.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PYTHON": sys.executable,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    for command in (
        [sys.executable, "main.py", "contacts"],
        [sys.executable, "main.py", "--schedules"],
        [sys.executable, "main.py", "--check"],
        ["./deploy.sh", "--project", "sample-project", "--dry-run"],
    ):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stdout) == (1, "")
        # a person's log has no more than the sentence, whatever the width of the terminal
        assert done.stderr.count(TOLD) == 1
        assert "Traceback" not in done.stderr
