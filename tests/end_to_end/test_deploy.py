"""`deploy.sh` with the real gcloud, against a project in memory behind HTTP."""

import io
import shutil
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.deployment import (
    BUCKET,
    FUNCTION,
    KEY,
    ON_BIGQUERY,
    ON_BUCKET,
    OTHERS,
    PROJECT,
    ROOT,
    SERVICE,
    Deployment,
    assert_destroyed,
    bindings,
    stubbed_deployment,
)
from tests.fakes.google_cloud import GoogleApis, GoogleCloud, Json

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

    def run(self, *arguments: str, key: str = "") -> str:
        """Run deploy.sh, which must succeed; give its standard output."""
        process = subprocess.Popen(
            [self.deployment.source / "deploy.sh", "--project", PROJECT, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.deployment.environment | self.apis.environment(self.deployment.folder),
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
        path.write_text("not to be uploaded")


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
