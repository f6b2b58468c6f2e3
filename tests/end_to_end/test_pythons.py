"""What is deployed installs from its lock, and loads, on every Python that it promises."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests import interpreters
from tests.end_to_end.support import ids_of
from tests.function import ROOT
from tests.sample_api import KEY, SampleApi, World

DEPLOYED = "3.13"


@pytest.mark.long
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_a_load_from_an_empty_environment(tmp_path: Path, version: str) -> None:
    python = interpreters.find(version)
    if python is None:
        # a workflow has them all, and the deployed one is what matters most
        assert not (version == DEPLOYED and os.environ.get("CI")), f"No Python {version} was found, and CI needs it."
        pytest.skip(f"no Python {version} on this machine")
    with tempfile.TemporaryDirectory() as folder, SampleApi(World({"contacts": 250})) as api:
        run(python, "-m", "venv", folder)
        run(f"{folder}/bin/pip", "install", "--quiet", "--require-hashes", "-r", "requirements.txt")
        settings = {"API_KEY": KEY, "BASE_URL": api.url, "BUCKET_URL": str(tmp_path / "data"), "HOME": str(tmp_path)}
        output = run(f"{folder}/bin/python", "main.py", "contacts", "--json", PATH=os.environ["PATH"], **settings)
    answer = json.loads(output)
    assert (answer["status"], answer["rows"], answer["pass"]["verified"]) == ("complete", 250, True)
    assert ids_of(tmp_path / "data", "contacts") == list(range(1, 251))


def run(*command: str, **environment: str) -> str:
    """Run a command, in an environment of its own if one is given; give what it wrote to standard output."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment or None,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
