import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment import (
    BUCKET,
    BUILD,
    CALL,
    FUNCTION,
    HERE,
    JOBS,
    KEY,
    MADE,
    NAME,
    ON_BIGQUERY,
    ON_BUCKET,
    OTHERS,
    OTHERS_IN_PROJECT,
    PROJECT,
    QUEUE,
    RUN,
    SCHEDULES,
    SECRET,
    SERVICE,
    URL,
    Deployment,
    bindings,
    data_sets_condition,
    job,
    jobs,
    names,
    put_job,
    stubbed_deployment,
)
from tests.fakes.google_cloud import SERVICES, Json


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with stubbed_deployment(tmp_path, OTHERS) as deployment:
        yield deployment


@pytest.mark.parametrize(
    ("arguments", "made", "rights"),
    [
        pytest.param((), MADE, ON_BIGQUERY, id="bigquery"),
        pytest.param(BUCKET, MADE | {"b/sample-bucket"}, ON_BUCKET, id="bucket"),
    ],
)
def test_an_empty_project_gets_everything_and_nothing_else(
    deployment: Deployment,
    arguments: tuple[str, ...],
    made: set[str],
    rights: dict[str, set[tuple[str, str, str]]],
) -> None:
    deployment.deploy(*arguments)

    assert names(deployment.cloud) == made
    assert bindings(deployment.cloud) == rights
    assert deployment.cloud.enabled == set(SERVICES)
    assert deployment.cloud.versions == {SECRET: [{"state": "ENABLED", "data": KEY}]}


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        pytest.param((), {"DESTINATION": "bigquery", "DESTINATION__BIGQUERY__LOCATION": "us-central1"}, id="bigquery"),
        pytest.param(BUCKET, {"DESTINATION": "filesystem", "BUCKET_URL": "gs://sample-bucket"}, id="bucket"),
        pytest.param(
            ("--base-url", "https://api.example.com/v2?a=b,c"),
            {
                "DESTINATION": "bigquery",
                "DESTINATION__BIGQUERY__LOCATION": "us-central1",
                "BASE_URL": "https://api.example.com/v2?a=b,c",
            },
            id="base-url",
        ),
    ],
)
def test_the_function_is_what_the_design_says(
    deployment: Deployment, arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    deployment.deploy(*arguments)

    function = deployment.cloud.resources[FUNCTION]
    assert function["buildConfig"] == {
        "runtime": "python313",
        "entryPoint": "load",
        "serviceAccount": f"{HERE}/serviceAccounts/{BUILD}",
    }
    assert function["serviceConfig"] == {
        "availableMemory": "2Gi",
        "timeoutSeconds": 1800,
        "maxInstanceCount": 6,
        "maxInstanceRequestConcurrency": 1,
        "serviceAccountEmail": RUN,
        "uri": "https://rest-api-loader-k7w5x2-uc.a.run.app",
        "service": SERVICE,
        "environmentVariables": {
            "API_KEY_SECRET": f"{SECRET}/versions/latest",
            "DATASET_NAME": "analytics",
            "TIMEOUT_SECONDS": "1800",
            "TASKS_QUEUE": QUEUE,
            "TASKS_SERVICE_ACCOUNT": CALL,
            "FUNCTION_URL": URL,
            "ARROW_DEFAULT_MEMORY_POOL": "system",
            "MALLOC_ARENA_MAX": "2",
            "MALLOC_MMAP_THRESHOLD_": "1048576",
        }
        | environment,
    }


def test_nobody_may_call_the_function_without_being_asked_who_it_is(deployment: Deployment) -> None:
    [deploy] = [call for call in deployment.deploy().calls if call.words == "functions deploy"]
    assert "no-allow-unauthenticated" in deploy.flags


def test_every_name_follows_the_options(deployment: Deployment) -> None:
    deployment.deploy(
        *("--region", "europe-west1", "--name", "crm", "--dataset", "crm_raw", "--secret", "Their_Key-1"),
        *("--memory", "4Gi"),
    )

    place = f"{HERE}/locations/europe-west1"
    assert names(deployment.cloud) == {
        *(f"{HERE}/serviceAccounts/crm-{part}@{PROJECT}.iam.gserviceaccount.com" for part in ("run", "call", "build")),
        f"{HERE}/secrets/Their_Key-1",
        f"{place}/queues/crm-tasks",
        f"{place}/functions/crm",
        f"{place}/services/crm",
        *(f"{place}/jobs/crm-{resource}" for resource in SCHEDULES),
    }
    service = deployment.cloud.resources[f"{place}/functions/crm"]["serviceConfig"]
    assert service["availableMemory"] == "4Gi"
    assert service["environmentVariables"]["DESTINATION__BIGQUERY__LOCATION"] == "europe-west1"
    assert service["environmentVariables"]["FUNCTION_URL"] == f"https://europe-west1-{PROJECT}.cloudfunctions.net/crm"
    conditions = {expression for _, _, expression in bindings(deployment.cloud)[HERE]}
    assert data_sets_condition("crm_raw") in conditions


def test_a_job_calls_the_function_for_one_resource(deployment: Deployment) -> None:
    deployment.deploy()

    made = jobs(deployment.cloud)
    assert {name: made[name]["schedule"] for name in made} == {
        f"{NAME}-{resource}": cron for resource, cron in SCHEDULES.items()
    }
    assert made[f"{NAME}-users"] == {
        "name": f"{JOBS}/{NAME}-users",
        "state": "ENABLED",
        "schedule": "22 3 * * *",
        "timeZone": "Etc/UTC",
        "attemptDeadline": "1800s",
        "retryConfig": {
            "retryCount": 3,
            "minBackoffDuration": "60s",
            "maxBackoffDuration": "600s",
            "maxDoublings": 5,
        },
        "httpTarget": {
            "uri": URL,
            "httpMethod": "POST",
            "headers": {"Content-Type": "application/json"},
            "body": "eyJyZXNvdXJjZSI6ICJ1c2VycyJ9",
            "oidcToken": {"serviceAccountEmail": CALL, "audience": URL},
        },
    }


def test_the_queue_sends_no_more_at_once_than_there_are_instances(deployment: Deployment) -> None:
    deployment.schedule({f"resource_{number}": "0 * * * *" for number in range(9)})
    deployment.deploy()

    queue = deployment.cloud.resources[QUEUE]
    instances = deployment.cloud.resources[FUNCTION]["serviceConfig"]["maxInstanceCount"]
    assert 9 <= queue["rateLimits"]["maxConcurrentDispatches"] <= instances == 18
    assert queue["retryConfig"] == {
        "maxAttempts": 10,
        "minBackoff": "10s",
        "maxBackoff": "300s",
        "maxDoublings": 5,
    }


def test_a_new_bucket_is_where_the_function_is_and_is_closed(deployment: Deployment) -> None:
    deployment.deploy(*BUCKET)
    assert deployment.cloud.resources["b/sample-bucket"] == {
        "name": "sample-bucket",
        "location": "us-central1",
        "iamConfiguration": {
            "publicAccessPrevention": "enforced",
            "uniformBucketLevelAccess": {"enabled": True},
        },
    }


def test_a_bucket_that_was_there_is_used_as_it_is(deployment: Deployment) -> None:
    theirs = {"name": "sample-bucket", "location": "US"}
    deployment.cloud.resources["b/sample-bucket"] = dict(theirs)
    deployment.cloud.policies["b/sample-bucket"] = [{"role": "roles/storage.admin", "members": ["user:a@example.com"]}]
    deployment.deploy(*BUCKET)

    assert deployment.cloud.resources["b/sample-bucket"] == theirs
    assert ("user:a@example.com", "roles/storage.admin", "") in bindings(deployment.cloud)["b/sample-bucket"]


STATUS_SETTINGS = (
    "DESTINATION=bigquery DATASET_NAME=analytics DESTINATION__BIGQUERY__LOCATION=us-central1"
    f" GOOGLE_CLOUD_PROJECT={PROJECT}"
)


def test_it_ends_by_saying_how_to_run_one_and_to_see_logs_status_and_schedule(deployment: Deployment) -> None:
    last_lines = deployment.deploy().output.splitlines()[-4:]
    for line, command in zip(
        last_lines,
        (
            f"gcloud scheduler jobs run {NAME}-contacts --location=us-central1 --project={PROJECT}",
            f"gcloud functions logs read {NAME} --gen2 --region=us-central1 --limit=50 --project={PROJECT}",
            f"{STATUS_SETTINGS} .venv/bin/python main.py --status",
            f"gcloud scheduler jobs list --location=us-central1 --project={PROJECT}",
        ),
        strict=True,
    ):
        assert line.endswith(f" {command}")


def test_a_function_that_got_another_address_is_told_it(deployment: Deployment) -> None:
    deployment.cloud.function_url = "https://elsewhere.example.com/f"
    deployment.deploy()

    variables = deployment.cloud.resources[FUNCTION]["serviceConfig"]["environmentVariables"]
    assert variables["FUNCTION_URL"] == "https://elsewhere.example.com/f"
    targets = [job["httpTarget"] for job in jobs(deployment.cloud).values()]
    assert {target["uri"] for target in targets} == {"https://elsewhere.example.com/f"}
    assert {target["oidcToken"]["audience"] for target in targets} == {"https://elsewhere.example.com/f"}
    assert deployment.deploy(key=None).commands == ["services enable", "functions deploy"]


# Again.


@pytest.mark.parametrize("arguments", [pytest.param((), id="bigquery"), pytest.param(BUCKET, id="bucket")])
def test_a_second_run_only_uploads_the_function(deployment: Deployment, arguments: tuple[str, ...]) -> None:
    deployment.deploy(*arguments)
    before = deployment.cloud.state()
    again = deployment.deploy(*arguments, key=None)

    assert again.commands == ["services enable", "functions deploy"]
    assert deployment.cloud.state() == before


def test_what_somebody_changed_by_hand_is_put_right(deployment: Deployment) -> None:
    deployment.deploy()
    before = deployment.cloud.state()
    deployment.cloud.resources[QUEUE]["rateLimits"]["maxConcurrentDispatches"] = 500
    deployment.cloud.resources[f"{JOBS}/{NAME}-users"]["attemptDeadline"] = "180s"
    deployment.cloud.resources[f"{JOBS}/{NAME}-contacts"]["httpTarget"]["oidcToken"]["audience"] = "https://x"
    deployment.cloud.policies[SERVICE] = []
    again = deployment.deploy()

    assert sorted(again.commands) == [
        "functions deploy",
        "run services add-iam-policy-binding",
        "scheduler jobs update http",
        "scheduler jobs update http",
        "services enable",
        "tasks queues update",
    ]
    assert deployment.cloud.state() == before


def test_a_paused_job_stays_paused(deployment: Deployment) -> None:
    deployment.deploy()
    deployment.cloud.resources[f"{JOBS}/{NAME}-users"]["state"] = "PAUSED"
    deployment.schedule(SCHEDULES | {"users": "1 1 * * *"})
    deployment.deploy()
    assert jobs(deployment.cloud)[f"{NAME}-users"]["state"] == "PAUSED"


@pytest.mark.parametrize(
    ("before", "after", "rights"),
    [
        pytest.param((), BUCKET, ON_BUCKET, id="from-bigquery-to-a-bucket"),
        pytest.param(
            BUCKET,
            (),
            ON_BIGQUERY | {"b/sample-bucket": set[tuple[str, str, str]]()},
            id="from-a-bucket-to-bigquery",
        ),
        pytest.param(("--dataset", "former"), (), ON_BIGQUERY, id="another-data-set"),
        pytest.param(("--destination", "filesystem", "--bucket", "former"), BUCKET, ON_BUCKET, id="another-bucket"),
        pytest.param(("--secret", "former"), (), ON_BIGQUERY, id="another-secret"),
    ],
)
def test_rights_follow_the_options(
    deployment: Deployment,
    before: tuple[str, ...],
    after: tuple[str, ...],
    rights: dict[str, set[tuple[str, str, str]]],
) -> None:
    deployment.deploy(*before)
    deployment.deploy(*after)
    assert bindings(deployment.cloud) == {name: members for name, members in rights.items() if members}


def test_rights_that_others_gave_our_accounts_stay_until_it_is_destroyed(deployment: Deployment) -> None:
    deployment.deploy()
    extra = {"role": "roles/bigquery.dataViewer", "members": [f"serviceAccount:{RUN}"]}
    deployment.cloud.policies[HERE].append(extra)
    deployment.deploy()
    assert (f"serviceAccount:{RUN}", "roles/bigquery.dataViewer", "") in bindings(deployment.cloud)[HERE]
    deployment.deploy("--destroy", "--yes")
    assert bindings(deployment.cloud)[HERE] == OTHERS_IN_PROJECT


# Resources that come and go.


def test_the_job_of_a_resource_that_is_gone_is_deleted(deployment: Deployment) -> None:
    deployment.deploy()
    kept = {name: cron for name, cron in SCHEDULES.items() if name != "users"}
    deployment.schedule(kept)
    again = deployment.deploy()

    assert again.commands.count("scheduler jobs delete") == 1
    assert jobs(deployment.cloud).keys() == {f"{NAME}-{resource}" for resource in kept}


def test_a_sweep_has_a_job_of_its_own_that_goes_with_it(deployment: Deployment) -> None:
    lines = [f"{name}\t{cron}" for name, cron in SCHEDULES.items()]
    deployment.print_schedules("\n".join([*lines, "users\t5 3 * * 0\tsweep"]))
    deployment.deploy()
    made = jobs(deployment.cloud)
    assert made.keys() == {f"{NAME}-{resource}" for resource in SCHEDULES} | {f"{NAME}-users-sweep"}
    swept = made[f"{NAME}-users-sweep"]
    assert swept["schedule"] == "5 3 * * 0"
    assert json.loads(base64.b64decode(swept["httpTarget"]["body"])) == {"resource": "users", "sweep": True}
    assert json.loads(base64.b64decode(made[f"{NAME}-users"]["httpTarget"]["body"])) == {"resource": "users"}

    deployment.schedule(SCHEDULES)
    again = deployment.deploy()
    assert again.commands.count("scheduler jobs delete") == 1
    assert jobs(deployment.cloud).keys() == {f"{NAME}-{resource}" for resource in SCHEDULES}


def test_another_cron_updates_that_job_alone(deployment: Deployment) -> None:
    deployment.deploy()
    deployment.schedule(SCHEDULES | {"users": "0 0 1 * *"})
    again = deployment.deploy()

    assert [call.subjects for call in again.calls if call.words == "scheduler jobs update http"] == [(f"{NAME}-users",)]
    assert jobs(deployment.cloud)[f"{NAME}-users"]["schedule"] == "0 0 1 * *"


@pytest.mark.parametrize(
    ("name", "described", "stays"),
    [
        pytest.param("nightly", job(URL, '{"resource": "gone"}'), False, id="ours-whatever-its-name"),
        pytest.param("nightly", job(f"{URL}/", '{\n "resource":\t"gone"}'), False, id="ours-however-it-is-spelled"),
        pytest.param(
            "nightly",
            job("https://rest-api-loader-k7w5x2-uc.a.run.app", '{"resource": "gone"}'),
            False,
            id="ours-by-its-other-address",
        ),
        pytest.param("nightly", job(URL, '{"resource": "users", "restart": true}'), True, id="for-a-living-resource"),
        pytest.param("nightly", job(URL, "ping"), True, id="for-no-resource"),
        pytest.param(f"{NAME}-gone", job("https://else.example.com", '{"resource": "gone"}'), True, id="theirs"),
        pytest.param(f"{NAME}-gone", job(f"{URL}-2", '{"resource": "gone"}'), True, id="of-a-longer-address"),
        pytest.param(f"{NAME}-gone", {"schedule": "* * * * *", "pubsubTarget": {}}, True, id="without-an-address"),
    ],
)
def test_whose_a_job_is_its_address_decides(deployment: Deployment, name: str, described: Json, *, stays: bool) -> None:
    deployment.deploy()
    put_job(deployment.cloud, name, described)
    before = jobs(deployment.cloud)
    deployment.deploy()
    assert jobs(deployment.cloud) == {key: value for key, value in before.items() if stays or key != name}


def test_a_name_that_is_taken_by_somebody_elses_job_is_left_to_them(deployment: Deployment) -> None:
    theirs = put_job(deployment.cloud, f"{NAME}-users", job("https://else.example.com", '{"resource": "users"}'))
    before = dict(theirs)
    deployment.deploy()

    assert jobs(deployment.cloud)[f"{NAME}-users"] == before
    assert jobs(deployment.cloud)[f"{NAME}-users-2"]["httpTarget"]["uri"] == URL
    assert deployment.deploy().commands == ["services enable", "functions deploy"]


def test_names_of_resources_may_be_anything(deployment: Deployment) -> None:
    deployment.schedule({"a.b": "1 * * * *", "a b": "2 * * * *", 'say "hi" \\o/': "3 * * * *", "größe": "4 * * * *"})
    deployment.deploy()

    made = jobs(deployment.cloud).values()
    bodies = {job["schedule"]: json.loads(base64.b64decode(job["httpTarget"]["body"])) for job in made}
    assert bodies == {
        "1 * * * *": {"resource": "a.b"},
        "2 * * * *": {"resource": "a b"},
        "3 * * * *": {"resource": 'say "hi" \\o/'},
        "4 * * * *": {"resource": "größe"},
    }
    assert deployment.deploy().commands == ["services enable", "functions deploy"]
