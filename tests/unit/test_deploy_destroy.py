import copy
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment import (
    BUCKET,
    FUNCTION,
    NAME,
    ON_BIGQUERY,
    OTHERS,
    PROJECT,
    QUEUE,
    URL,
    Deployment,
    assert_destroyed,
    assert_stopped_at_once,
    at_a_terminal,
    bindings,
    fail_call,
    job,
    names,
    put_job,
    stubbed_deployment,
)


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with stubbed_deployment(tmp_path, OTHERS) as deployment:
        yield deployment


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        pytest.param((), "the BigQuery data sets analytics and analytics_staging", id="bigquery"),
        pytest.param(("--dataset", "crm"), "the BigQuery data sets crm and crm_staging", id="other-data-set"),
        pytest.param(BUCKET, "the bucket gs://sample-bucket", id="bucket"),
        pytest.param(("--secret", "of-its-own"), "the BigQuery data sets", id="other-secret"),
    ],
)
def test_destroying_leaves_nothing_but_what_was_loaded(
    deployment: Deployment, arguments: tuple[str, ...], kept: str
) -> None:
    before = deployment.cloud.state()
    deployment.deploy(*arguments)
    put_job(deployment.cloud, "nightly", job(URL, "{}"))
    theirs = put_job(deployment.cloud, f"{NAME}-theirs", job(f"{URL}-2", '{"resource": "users"}'))
    run = deployment.deploy("--destroy", "--yes", key=None)

    assert kept in run.output
    assert deployment.cloud.resources.pop(theirs["name"]) == theirs
    assert ("b/sample-bucket" in names(deployment.cloud)) == (arguments == BUCKET)
    assert_destroyed(deployment.cloud, before)
    commands = [call.words for call in run.calls if call.changes]
    last_right = max(position for position, words in enumerate(commands) if "iam-policy" in words)
    assert last_right < commands.index("iam service-accounts delete")


def test_destroying_again_changes_nothing(deployment: Deployment) -> None:
    deployment.deploy()
    deployment.deploy("--destroy", "--yes")
    assert deployment.deploy("--destroy", "--yes").changing == []


def test_a_deployment_right_after_destroying_works(deployment: Deployment) -> None:
    for _ in range(3):
        deployment.deploy()
        rights = bindings(deployment.cloud)
        [queue] = [name for name in names(deployment.cloud) if "/queues/" in name]
        rights[QUEUE] = rights.pop(queue)
        assert rights == ON_BIGQUERY
        deployment.deploy("--destroy", "--yes")


def test_destroying_needs_a_terminal_or_yes(deployment: Deployment) -> None:
    deployment.deploy()
    run = deployment.run("--destroy", key="yes\n")
    assert run.status == 1
    assert run.calls == []
    assert f"./deploy.sh --project {PROJECT} --destroy --yes" in run.messages


@pytest.mark.parametrize(
    ("typed", "destroyed"),
    [
        pytest.param(f"{NAME}\n".encode(), True, id="its-name"),
        pytest.param(b"yes\n", False, id="something-else"),
        pytest.param(b"\4", False, id="end-of-file"),
    ],
)
def test_at_a_terminal_destroying_is_confirmed_by_the_name(
    deployment: Deployment, typed: bytes, *, destroyed: bool
) -> None:
    deployment.deploy()
    status, _ = at_a_terminal(deployment, typed, "--destroy")
    assert status == (0 if destroyed else 1)
    assert (FUNCTION in names(deployment.cloud)) != destroyed


@pytest.mark.long
def test_destroying_that_fails_at_a_step_completes_the_next_time(deployment: Deployment) -> None:
    before = deployment.cloud.state()
    options = ("--secret", "of-its-own")
    deployment.deploy(*BUCKET, *options)
    standing = copy.deepcopy(deployment.cloud)
    steps = len(deployment.deploy("--destroy", "--yes").calls)
    for number in range(1, steps + 1):
        deployment.start_anew(copy.deepcopy(standing))
        deployment.stub.fail = fail_call(deployment, number, 403)
        run = deployment.run("--destroy", "--yes")
        assert_stopped_at_once(run, "get the right that is missing")
        deployment.stub.fail = None
        # The message repeats what the run had learned from the function, which may be gone by now.
        advised = shlex.split(run.messages.splitlines()[-1].removeprefix(" !       ./deploy.sh"))
        assert deployment.run_bare(*advised).status == 0
        assert_destroyed(deployment.cloud, before, f"after {run.calls[-1].arguments}")
