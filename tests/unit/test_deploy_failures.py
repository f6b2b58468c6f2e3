import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment import (
    BUCKET,
    FUNCTION,
    ON_BIGQUERY,
    OTHERS,
    QUEUE,
    SCHEDULES,
    Deployment,
    assert_stopped_at_once,
    bindings,
    fail_call,
    names,
    stubbed_deployment,
    write_program,
)
from tests.fakes.google_cloud import LOCATED, SERVICES, ApiError


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with stubbed_deployment(tmp_path, OTHERS) as deployment:
        yield deployment


@pytest.mark.parametrize(
    ("code", "remedy", "arguments"),
    [
        pytest.param(403, "get the right that is missing", (), id="403", marks=pytest.mark.long),
        pytest.param(500, "wait a few minutes", BUCKET, id="500-bucket"),
    ],
)
def test_a_step_that_fails_stops_the_run_and_the_next_run_completes(
    deployment: Deployment, code: int, remedy: str, arguments: tuple[str, ...]
) -> None:
    steps = len(deployment.deploy(*arguments).calls)
    complete = deployment.cloud.state()
    for number in range(1, steps + 1):
        deployment.start_anew()
        deployment.stub.fail = fail_call(deployment, number, code)
        run = deployment.run(*arguments)
        assert len(run.calls) == number
        assert_stopped_at_once(run, remedy)
        deployment.stub.fail = None
        deployment.deploy(*arguments)
        assert deployment.cloud.state() == complete, f"after {run.calls[-1].arguments}"


def test_a_step_that_was_done_although_it_failed_is_not_done_twice(deployment: Deployment) -> None:
    calls = deployment.deploy().calls
    complete = deployment.cloud.state()
    for number in (number for number, call in enumerate(calls, start=1) if call.changes):
        deployment.start_anew()
        deployment.stub.fail_after = fail_call(deployment, number, 500)
        assert_stopped_at_once(deployment.run(), "wait a few minutes")
        deployment.stub.fail_after = None
        deployment.deploy()
        assert deployment.cloud.state() == complete, f"after {calls[number - 1].arguments}"


@pytest.mark.parametrize("service", LOCATED)
def test_a_region_that_a_service_lacks_is_refused_before_anything_is_made(deployment: Deployment, service: str) -> None:
    deployment.cloud.regions[service] = ["europe-west1", "us-central11"]
    run = deployment.run()
    assert run.status == 1
    assert run.commands == ["services enable"]
    assert "us-central1" in run.messages
    assert "europe-west1" in run.messages
    assert "choose another with --region" in run.messages


def test_a_right_for_an_account_that_is_not_known_yet_is_tried_again(deployment: Deployment) -> None:
    deployment.cloud.grants_refused_at_first = 4
    deployment.deploy()
    assert bindings(deployment.cloud) == ON_BIGQUERY
    assert deployment.slept == [2, 3, 5, 10]


def test_a_right_that_is_refused_for_a_minute_is_an_error(deployment: Deployment) -> None:
    deployment.cloud.grants_refused_at_first = 1000
    run = deployment.run()
    assert run.status == 1
    assert sum(deployment.slept) == 60
    assert "does not exist" in run.messages


def test_a_right_that_is_refused_for_another_reason_is_not_tried_again(deployment: Deployment) -> None:
    deployment.stub.fail = lambda call: (
        ApiError(400, "Role roles/x is not supported for this resource.") if "member" in call.flags else None
    )
    assert deployment.run().status == 1
    assert deployment.slept == []


def test_a_service_that_is_not_quite_enabled_yet_is_asked_again(deployment: Deployment) -> None:
    refusals = iter([True, True, False])
    deployment.stub.fail = lambda call: (
        ApiError(403, "It is disabled.", reason="SERVICE_DISABLED")
        if call.words == "secrets versions list" and next(refusals, False)
        else None
    )
    deployment.deploy()
    assert deployment.slept == [2, 3]


def test_the_name_of_a_deleted_queue_is_passed_over(deployment: Deployment) -> None:
    deployment.cloud.blocked_queues = {QUEUE, f"{QUEUE}-2"}
    deployment.deploy()
    variables = deployment.cloud.resources[FUNCTION]["serviceConfig"]["environmentVariables"]
    assert variables["TASKS_QUEUE"] == f"{QUEUE}-3"
    assert f"{QUEUE}-3" in names(deployment.cloud)
    assert bindings(deployment.cloud)[f"{QUEUE}-3"] == ON_BIGQUERY[QUEUE]
    assert deployment.deploy().commands == ["services enable", "functions deploy"]


def test_when_all_names_of_queues_are_blocked_it_says_so(deployment: Deployment) -> None:
    deployment.cloud.blocked_queues = {QUEUE, *(f"{QUEUE}-{number}" for number in range(2, 6))}
    run = deployment.run()
    assert run.status == 1
    assert "existed too recently" in run.messages


def test_an_exit_code_of_gcloud_is_not_ours(deployment: Deployment) -> None:
    write_program(deployment.programs / "gcloud", "#!/usr/bin/env bash\nexit 2\n")
    run = deployment.run()
    assert run.status == 1
    assert "It ended without a message." in run.messages


def test_without_gcloud_it_says_what_to_install(deployment: Deployment) -> None:
    (deployment.programs / "gcloud").unlink()
    for name in ("bash", "dirname", "mktemp"):
        (deployment.programs / name).symlink_to(str(shutil.which(name)))
    run = deployment.run(environment={"PATH": str(deployment.programs)})
    assert run.status == 1
    assert "install the Google Cloud CLI" in run.messages


def test_a_function_of_the_first_generation_is_left_alone(deployment: Deployment) -> None:
    deployment.cloud.enabled = set(SERVICES)
    deployment.cloud.resources[FUNCTION] = {"name": FUNCTION, "environment": "GEN_1"}
    run = deployment.run()
    assert run.status == 1
    assert run.commands == ["services enable"]
    assert "choose another --name" in run.messages


# A mistake in source_config.py.


@pytest.mark.parametrize(
    ("status", "complaint", "text", "remedy"),
    [
        pytest.param(1, "source_config.py: no NAME", "", "correct source_config.py", id="wrong-configuration"),
        pytest.param(1, "ModuleNotFoundError: No module named 'dlt'", "", "run `make` first", id="without-dlt"),
        pytest.param(
            1,
            "source_config.py can't be imported in line 3: ModuleNotFoundError: No module named 'dtl'.",
            "",
            "correct source_config.py",
            id="wrong-import",
        ),
        pytest.param(0, "", "", "correct source_config.py", id="no-resources"),
        pytest.param(0, "", "contacts 5 * * * *", "correct source_config.py", id="no-tab"),
        pytest.param(0, "", "contacts\t5 * * * *\nusers\t", "correct source_config.py", id="no-cron"),
    ],
)
def test_a_mistake_in_the_configuration_is_found_before_gcloud_is_called(
    deployment: Deployment, status: int, complaint: str, text: str, remedy: str
) -> None:
    deployment.schedule(SCHEDULES, status=status, complaint=complaint)
    deployment.print_schedules(text)
    run = deployment.run()
    assert run.status == 1
    assert run.calls == []
    assert complaint in run.messages
    assert remedy in run.messages


def test_a_mistake_in_the_configuration_does_not_hinder_destroying(deployment: Deployment) -> None:
    deployment.deploy()
    deployment.schedule(SCHEDULES, status=1)
    deployment.deploy("--destroy", "--yes")


def test_the_python_is_that_of_the_project_and_else_any(deployment: Deployment) -> None:
    python = deployment.programs / "python"
    any_python = python.rename(deployment.programs / "python3")
    for path in ({}, {"PYTHON": ""}, {"PYTHON": "not-there"}):
        assert deployment.run(environment={"PYTHON": "", **path}).status == 0

    own = deployment.source / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    any_python.rename(own)
    write_program(any_python, "#!/usr/bin/env bash\nexit 1\n")
    assert deployment.run(environment={"PYTHON": ""}).status == 0
