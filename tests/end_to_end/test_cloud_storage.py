"""Cloud Storage, where it differs from a folder: buckets that refuse, writers at once, and who may commit."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.support.at_once import AT_ONCE
from tests.fakes import FakeMetadata, google_environment
from tests.fakes.gcs import FakeGcs, binary
from tests.fakes.google_error import google_error
from tests.function import ROOT
from tests.local_server import Answer, Request
from tests.sample_api import KEY, SampleApi, World

pytestmark = pytest.mark.skipif(binary() is None, reason="fake-gcs-server comes for Linux on x86-64 only")

TWENTY_RESOURCES = (
    (ROOT / "source_config.py").read_text()
    + """
of_one = source_config
def source_config():
    config = of_one()
    contacts = next(each for each in config["resources"] if each["name"] == "contacts")
    config["resources"] = [{**contacts, "name": f"contacts_{number}"} for number in range(20)]
    return config
"""
)
"""A source_config.py whose twenty resources have the same rows."""

REVISIONS = """
import json, os, sys
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder
for name in sys.argv[1:]:
    query = QueryBuilder().register("t", DeltaTable("gs://lake/raw/analytics/" + name))
    rows = pa.table(query.execute("SELECT id, revision FROM t ORDER BY id").read_all()).to_pylist()
    print(json.dumps([[row["id"], row["revision"]] for row in rows]), flush=True)
os._exit(0)
"""


class Gcs(FakeGcs):
    """Cloud Storage in which this account may read the bucket `shut`, and no more; and nothing of `hidden`."""

    def answer(self, request: Request) -> Answer:
        """Refuse it, or answer."""
        path = request.path + "/"
        if "/hidden/" in path or ("/shut/" in path and request.method != "GET"):
            return google_error(403, "runner does not have storage.objects.create access to the object.")
        return super().answer(request)


@pytest.fixture
def gcs() -> Iterator[Gcs]:
    with Gcs() as server:
        for name in ("lake", "shut", "hidden"):
            server.make_bucket(name)
        yield server


@pytest.fixture
def environment(gcs: Gcs, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Give the environment of a function on a Google machine."""
    with FakeMetadata() as metadata:
        yield {
            **google_environment(tmp_path, metadata),
            **gcs.environment(),
            "PATH": os.environ["PATH"],
            "API_KEY": KEY,
            "BUCKET_URL": "gs://lake/raw",
            "TIMEOUT_SECONDS": "540",
        }


def python(environment: dict[str, str], *arguments: str, folder: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False
    )


def printed(environment: dict[str, str], *arguments: str, folder: Path = ROOT) -> list[Any]:
    """Run, and give what is printed, a JSON value a line."""
    done = python(environment, *arguments, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        pytest.param("gs://nowhere/raw", "There is no bucket for nowhere/raw", id="no bucket"),
        pytest.param("gs://shut/raw", "grant this function's service account roles/storage.objectUser", id="no rights"),
        pytest.param(
            "gs://hidden",
            "and roles/storage.legacyBucketReader on the bucket",
            id="no rights at all",
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_bucket_that_refuses_is_told_of_before_the_api_is_asked(
    environment: dict[str, str], url: str, message: str
) -> None:
    with SampleApi(World({"contacts": 10})) as api:
        done = python({**environment, "BASE_URL": api.url, "BUCKET_URL": url}, "main.py", "contacts", "--json")
        assert not api.requests
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["error"]["type"]) == (1, "destination")
    assert message in answer["error"]["message"]
    assert "the place stays where it is" in answer["error"]["message"].lower()


@pytest.mark.long
def test_a_fold_that_has_lost_its_lease_commits_no_slice(environment: dict[str, str], tmp_path: Path) -> None:
    before_the_gate, behind_it = printed(environment, "-m", "tests.taking_over", "gs://lake", str(tmp_path))
    assert before_the_gate == {"refused_by": "BusyError", "commits_since": 0, "revisions": {"2": 500, "3": 500}}
    assert behind_it == {"refused_by": "CommitFailedError", "commits_since": 0, "revisions": {"2": 500, "3": 500}}


@pytest.mark.long
def test_twenty_functions_at_once_on_an_empty_bucket_all_succeed(environment: dict[str, str], tmp_path: Path) -> None:
    resources = [f"contacts_{number}" for number in range(20)]
    (tmp_path / "source_config.py").write_text(TWENTY_RESOURCES)
    world = World({"contacts": 250})
    with SampleApi(world) as api:
        environment = {**environment, "BASE_URL": api.url, "PYTHONPATH": str(ROOT)}
        answers = printed(environment, "-c", AT_ONCE, *resources, folder=tmp_path)
    assert {answer["resource"]: answer["status"] for answer in answers} == dict.fromkeys(resources, "complete")
    living = [[row["id"], row["revision"]] for row in world.snapshot("contacts")]
    assert printed(environment, "-c", REVISIONS, *resources) == [living] * 20
