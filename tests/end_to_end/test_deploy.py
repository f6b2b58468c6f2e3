"""`deploy.sh` with the real gcloud, against a project in memory behind HTTP."""

import base64
import io
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from tests import interpreters
from tests.deployment import (
    BUCKET,
    CALL,
    FUNCTION,
    JOBS,
    KEY,
    NAME,
    ON_BIGQUERY,
    ON_BUCKET,
    OTHERS,
    PROJECT,
    QUEUE,
    ROOT,
    SECRET,
    SERVICE,
    URL,
    Deployment,
    assert_destroyed,
    bindings,
    stubbed_deployment,
)
from tests.fakes import FakeCloudTasks, FakeMetadata, FakeSecretManager, google_environment
from tests.fakes.cloud_storage import FakeCloudStorage
from tests.fakes.google_cloud import GoogleApis, GoogleCloud, Json
from tests.function import free_port
from tests.local_server import ADDRESS
from tests.sample_api import Behaviour, Failure, SampleApi, World

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not on the PATH"),
]

UPLOADED = ("main.py", "source_config.py", "requirements.txt")
NOT_UPLOADED = (
    *("README.md", ".env", ".dlt/secrets.toml", "data/contacts.jsonl", "tests/main.py", "main.pyc"),
    *("loader/notes.md", "loader/__pycache__/run.pyc", "loader/destination/__pycache__/x.pyc", "docs/loader/a.py"),
)


@dataclass
class RealGcloud:
    """deploy.sh in a copy of the project, with the real gcloud."""

    deployment: Deployment
    apis: GoogleApis
    leaks: list[str] = field(default_factory=list)
    """Arguments and environments of processes in which the key was seen."""

    @property
    def cloud(self) -> GoogleCloud:
        return self.apis.cloud

    def run(self, *arguments: str, key: str = "", environment: Mapping[str, str] | None = None) -> str:
        """Run deploy.sh, which must succeed; give its standard output."""
        process = subprocess.Popen(
            [self.deployment.source / "deploy.sh", "--project", PROJECT, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={
                **self.deployment.environment,
                **self.apis.environment(self.deployment.folder),
                **(environment or {}),
            },
        )
        watched = threading.Thread(target=self._watch, args=(process,))
        watched.start()
        output, messages = process.communicate(key.encode())
        watched.join()
        assert process.returncode == 0, messages.decode()
        assert KEY not in (output + messages).decode()
        return output.decode()

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        while process.poll() is None:
            for folder in Path("/proc").iterdir():
                facts = read(folder / "cmdline") + read(folder / "environ")
                if KEY in facts:
                    self.leaks.append(facts)
            time.sleep(0.1)


def read(path: Path) -> str:
    """Read what a process may take away at any moment."""
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""


@pytest.fixture
def real(tmp_path: Path) -> Iterator[RealGcloud]:
    deployment = Deployment(tmp_path, OTHERS)
    copy_product(deployment.source)
    with GoogleApis(deployment.cloud) as apis:
        yield RealGcloud(deployment, apis)


def copy_product(folder: Path) -> None:
    """Copy what is deployed, and put files beside it that are not to be."""
    shutil.copy(ROOT / ".gcloudignore", folder)
    for name in UPLOADED:
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "loader", folder / "loader", ignore=shutil.ignore_patterns("__pycache__"))
    for name in NOT_UPLOADED:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("# not to be uploaded")


def product_files(folder: Path) -> dict[str, bytes]:
    files = [*(folder / "loader").rglob("*.py"), *(folder / name for name in UPLOADED)]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def unpacked(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name: opened.read(name) for name in opened.namelist() if not name.endswith("/")}


def comparable(cloud: GoogleCloud) -> Json:
    """What exists, but for what gcloud adds by itself."""
    state = cloud.state()
    for name, resource in state["resources"].items():
        if name == FUNCTION:
            resource["buildConfig"].pop("source", None)
            resource["buildConfig"].pop("environmentVariables", None)
            resource.pop("labels", None)
        resource.pop("annotations", None)
    return state


def test_the_real_gcloud_makes_what_the_stub_makes_and_takes_it_away(
    real: RealGcloud, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with stubbed_deployment(tmp_path_factory.mktemp("stub"), OTHERS) as stubbed:
        planned = stubbed.deploy("--dry-run")
        stubbed.deploy()
        empty = real.cloud.state()

        assert real.run("--dry-run") == planned.output
        assert real.cloud.state() == empty
        assert real.cloud.changes == []

        real.run(key=KEY)
        assert bindings(real.cloud) == ON_BIGQUERY
        assert comparable(real.cloud) == comparable(stubbed.cloud)
        assert unpacked(real.cloud.archives[-1]) == product_files(real.deployment.source)

        complete = comparable(real.cloud)
        real.cloud.changes.clear()
        real.run()
        assert {change.split()[1] for change in real.cloud.changes} == {"POST", "PATCH"}
        assert [change for change in real.cloud.changes if " POST " in change] == [
            f"serviceusage POST v1/projects/{PROJECT}/services:batchEnable",
            f"run POST v1/{SERVICE}:setIamPolicy",
        ]
        assert comparable(real.cloud) == complete

        real.run("--destroy", "--yes")
        assert_destroyed(real.cloud, empty)
    assert_no_leaks(real)


def test_the_real_gcloud_deploys_to_a_bucket_and_keeps_it(
    real: RealGcloud, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with stubbed_deployment(tmp_path_factory.mktemp("stub"), OTHERS) as stubbed:
        stubbed.deploy(*BUCKET)
        empty = real.cloud.state()
        real.run(*BUCKET, key=KEY)
        assert bindings(real.cloud) == ON_BUCKET
        assert comparable(real.cloud) == comparable(stubbed.cloud)

        real.run("--destroy", "--yes")
        assert "b/sample-bucket" in real.cloud.resources
        assert_destroyed(real.cloud, empty)
    assert_no_leaks(real)


def assert_no_leaks(real: RealGcloud) -> None:
    assert real.leaks == []
    files = [path for path in real.deployment.folder.rglob("*") if path.is_file()]
    assert [path for path in files if KEY in read(path)] == []


# A deployment without the cloud: what was uploaded, started with the environment that was recorded.


@contextmanager
def functions_framework(folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Serve the function as the platform does, with nothing but its requirements installed; give its address."""
    virtual = folder.parent / "virtual"
    subprocess.run([interpreters.find("3.13") or sys.executable, "-m", "venv", virtual], check=True)
    install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes")
    subprocess.run([virtual / "bin" / "python", *install, "-r", folder / "requirements.txt"], check=True)
    port = free_port()
    command = ("--target", "load", "--source", "main.py", "--host", ADDRESS, "--port", str(port))
    process = subprocess.Popen(
        [virtual / "bin" / "functions-framework", *command],
        cwd=folder,
        env=dict(environment),
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until_it_listens(process, port)
        yield f"http://{ADDRESS}:{port}"
    finally:
        process.terminate()
        process.wait()


def wait_until_it_listens(process: subprocess.Popen[bytes], port: int) -> None:
    while process.poll() is None:
        with suppress(ConnectionRefusedError), socket.create_connection((ADDRESS, port)):
            return
        time.sleep(0.05)
    pytest.fail(f"The function ended with exit code {process.returncode}.")


def unpack(archive: bytes, folder: Path) -> Path:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        opened.extractall(folder)
    return folder


def call_as_scheduler(address: str, job: Json) -> Json:
    target = job["httpTarget"]
    answer = requests.request(
        target["httpMethod"],
        address,
        data=base64.b64decode(target["body"]),
        headers=target["headers"],
        timeout=120,
    )
    assert answer.status_code == 200, answer.text
    reply: Json = answer.json()
    return reply


def test_what_was_uploaded_loads_a_resource_with_the_environment_that_was_recorded(
    real: RealGcloud, tmp_path: Path
) -> None:
    world = World({"contacts": 250})
    with (
        FakeMetadata(project=PROJECT) as metadata,
        FakeSecretManager() as secrets,
        FakeCloudTasks() as tasks,
        FakeCloudStorage({"sample-bucket"}) as storage,
        SampleApi(world, key=KEY) as api,
    ):
        python = {"PYTHON": sys.executable, "RUNTIME__DLTHUB_TELEMETRY": "false"}
        real.run(*BUCKET, "--base-url", api.url, key=f"{KEY}\n", environment=python)
        [version] = real.cloud.versions[SECRET]
        secrets.versions[f"{SECRET}/versions/latest"] = version["data"].encode()
        recorded = real.cloud.resources[FUNCTION]["serviceConfig"]["environmentVariables"]
        google = google_environment(tmp_path / "google", metadata, secret_manager=secrets, cloud_tasks=tasks)
        source = unpack(real.cloud.archives[-1], tmp_path / "unpacked")

        with functions_framework(source, google | storage.environment | recorded) as address:
            job = real.cloud.resources[f"{JOBS}/{NAME}-contacts"]
            loaded = call_as_scheduler(address, job)
            assert (loaded["status"], loaded["rows"]) == ("complete", 250)
            assert any("/contacts/_delta_log/" in name for _, name in storage.objects)

            # The API wants a longer wait than is left: the run continues itself through the queue.
            world.behave(Behaviour(fail_from=(1, Failure(429, retry_after=7200))))
            paused = call_as_scheduler(address, job)
            assert (paused["status"], paused["continued"]) == ("paused", True)
            [task] = tasks.tasks
            assert task.name.startswith(f"{QUEUE}/tasks/")
            assert (task.url, task.audience, task.service_account) == (URL, URL, CALL)

            world.behave(Behaviour())
            delivered = tasks.deliver(address, task)
            assert (delivered.status, delivered.json["status"]) == (200, "complete")
            assert tasks.tasks == []
