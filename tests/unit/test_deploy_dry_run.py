import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deployment import (
    BUCKET,
    OTHERS,
    PROJECT,
    SCHEDULES,
    Deployment,
    stubbed_deployment,
)
from tests.fakes.google_cloud import SERVICES, ApiError


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with stubbed_deployment(tmp_path, OTHERS) as deployment:
        yield deployment


def nothing(_: Deployment) -> None:
    pass


def deployed(deployment: Deployment) -> None:
    deployment.deploy()


def deployed_to_a_bucket(deployment: Deployment) -> None:
    deployment.deploy(*BUCKET)


def deployed_with_other_resources(deployment: Deployment) -> None:
    deployment.schedule({"contacts": "59 * * * *", "gone": "0 * * * *"})
    deployment.deploy()
    deployment.schedule(SCHEDULES)


def deployed_in_part(deployment: Deployment) -> None:
    deployment.stub.fail = lambda call: ApiError(500, "Oh.") if call.words == "functions deploy" else None
    assert deployment.run().status == 1
    deployment.stub.fail = None


@pytest.mark.parametrize(
    ("prepare", "arguments"),
    [
        pytest.param(nothing, (), id="empty-project"),
        pytest.param(nothing, BUCKET, id="empty-project-bucket"),
        pytest.param(nothing, ("--destroy", "--yes"), id="destroy-nothing"),
        pytest.param(deployed_in_part, (), id="half-deployed"),
        pytest.param(deployed, (), id="again"),
        pytest.param(deployed, ("--rotate-key",), id="rotated-key"),
        pytest.param(deployed, BUCKET, id="other-destination"),
        pytest.param(deployed, ("--dataset", "other", "--secret", "other"), id="other-names"),
        pytest.param(deployed_to_a_bucket, (), id="from-a-bucket"),
        pytest.param(deployed_with_other_resources, (), id="other-resources"),
        pytest.param(deployed, ("--destroy", "--yes"), id="destroy"),
        pytest.param(deployed_to_a_bucket, ("--destroy", "--yes"), id="destroy-bucket"),
        pytest.param(deployed_in_part, ("--destroy", "--yes"), id="destroy-half-deployed"),
    ],
)
def test_a_dry_run_prints_exactly_what_a_real_run_does(
    deployment: Deployment, prepare: Callable[[Deployment], None], arguments: tuple[str, ...]
) -> None:
    prepare(deployment)
    if prepare is nothing and "--destroy" in arguments:
        deployment.cloud.enabled = set(SERVICES)
    before = deployment.cloud.state()
    dry = deployment.deploy(*arguments, "--dry-run")
    assert dry.changing == []
    assert deployment.cloud.state() == before
    assert len(dry.output.splitlines()) == len(dry.printed)

    real = deployment.deploy(*arguments)
    assert dry.printed == real.changing


@pytest.mark.parametrize("arguments", [(), ("--rotate-key",)], ids=["no-key-yet", "rotated-key"])
def test_a_dry_run_reads_no_key(deployment: Deployment, arguments: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"the key")
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        subprocess.run(
            [deployment.source / "deploy.sh", "--project", PROJECT, "--dry-run", *arguments],
            stdin=pipe,
            check=True,
            capture_output=True,
            env=deployment.environment,
        )
        assert pipe.read() == b"the key"
