import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment import (
    BASH,
    BUCKET,
    KEY,
    OTHERS,
    PROJECT,
    Deployment,
    stubbed_deployment,
)


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with stubbed_deployment(tmp_path, OTHERS) as deployment:
        yield deployment


PROJECT_OPTION = ("--project", PROJECT)
OPTIONS = (
    *("--project", "--region", "--name", "--destination", "--bucket"),
    *("--dataset", "--secret", "--base-url", "--memory"),
)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((), id="nothing"),
        pytest.param(("--dry-run",), id="no-project"),
        *(pytest.param((*PROJECT_OPTION, option), id=f"{option}-without-value") for option in OPTIONS),
        *(pytest.param((*PROJECT_OPTION, option, ""), id=f"{option}-empty") for option in OPTIONS),
        *(pytest.param((*PROJECT_OPTION, option, "--dry-run"), id=f"{option}-eats-no-option") for option in OPTIONS),
        pytest.param((*PROJECT_OPTION, "--regoin", "us-central1"), id="unknown-option"),
        pytest.param((*PROJECT_OPTION, "destroy"), id="unknown-word"),
        pytest.param((*PROJECT_OPTION, ""), id="empty-word"),
        *(
            pytest.param(("--project", value), id=f"project-{value}")
            for value in (
                "short",
                "9starts",
                "Upper-case",
                "ends-with-",
                "a" * 31,
                "with_underscore",
                "projects/abcdef",
            )
        ),
        *(
            pytest.param((*PROJECT_OPTION, "--region", value), id=f"region-{value}")
            for value in ("us", "us-central", "us_central1", "US-CENTRAL1", "us-central1-a", "us-central1 ")
        ),
        *(
            pytest.param((*PROJECT_OPTION, "--name", value), id=f"name-{value}")
            for value in ("a", "A-name", "1name", "name-", "a_name", "a" * 25)
        ),
        *(
            pytest.param((*PROJECT_OPTION, "--memory", value), id=f"memory-{value}")
            for value in ("2", "2GB ", "Gi", "0Gi", "-1Gi", "2.5Gi", "lots")
        ),
        *(
            pytest.param((*PROJECT_OPTION, "--dataset", value), id=f"dataset-{value}")
            for value in (
                "with-dash",
                "Upper",
                "1st",
                "two__underscores",
                "ends_",
                "_starts",
                "p.d",
                "a" * 1001,
            )
        ),
        *(
            pytest.param((*PROJECT_OPTION, "--secret", value), id=f"secret-{value}")
            for value in ("projects/p/secrets/s", "a secret", "s:1", "s.s", "s" * 256)
        ),
        *(
            pytest.param((*PROJECT_OPTION, "--base-url", value), id=f"base-url-{value}")
            for value in (
                *("api.example.com", "ftp://api.example.com", "https://", "https:///path", "https://a b"),
                *(
                    "https://user:key@api.example.com",
                    "https://a.b/|X=1",
                    "https://a.b/\nX=1",
                    "https://a.b:port/",
                ),
            )
        ),
        pytest.param((*PROJECT_OPTION, "--destination", "duckdb"), id="unknown-destination"),
        pytest.param((*PROJECT_OPTION, "--destination", "filesystem"), id="filesystem-without-bucket"),
        pytest.param((*PROJECT_OPTION, "--bucket", "a-bucket"), id="bucket-with-bigquery"),
        *(
            pytest.param((*PROJECT_OPTION, *BUCKET[:3], value), id=f"bucket-{value}")
            for value in ("gs://a-bucket", "A-Bucket", "a bucket", "b", "-bucket", "a/b")
        ),
        pytest.param((*PROJECT_OPTION, "--yes"), id="yes-without-destroy"),
        pytest.param((*PROJECT_OPTION, "--destroy", "--yes", "--rotate-key"), id="rotate-and-destroy"),
    ],
)
def test_a_wrong_argument_is_answered_with_the_usage_before_anything_else(
    deployment: Deployment, arguments: tuple[str, ...]
) -> None:
    run = deployment.run_bare(*arguments, key=KEY)
    assert run.status == 2
    assert run.messages.startswith(" !     ")
    assert "Usage: ./deploy.sh --project P" in run.messages
    assert run.output == ""
    assert run.calls == []


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("--region", "northamerica-northeast1"), id="long-region"),
        pytest.param(("--region", "europe-west10"), id="two-digits"),
        pytest.param(("--name", "ab"), id="short-name"),
        pytest.param(("--name", "a23456789012345678901234"), id="long-name"),
        pytest.param(("--memory", "512Mi"), id="little-memory"),
        pytest.param(("--dataset", "crm_2026_raw"), id="dataset"),
        pytest.param(("--base-url", "http://127.0.0.1:8080"), id="address-with-port"),
        pytest.param(("--base-url", "https://[::1]:8080/a/?b=c,d&e=%20"), id="address-with-query"),
        pytest.param((*BUCKET[:3], "a.bucket_1-b"), id="bucket"),
    ],
)
def test_a_right_argument_is_taken(deployment: Deployment, arguments: tuple[str, ...]) -> None:
    for regions in deployment.cloud.regions.values():
        regions += ["northamerica-northeast1", "europe-west10"]
    deployment.deploy(*arguments, "--dry-run")


def test_help_is_printed_without_anything_else(deployment: Deployment) -> None:
    run = deployment.run_bare("--help")
    assert run.status == 0
    assert run.messages == ""
    assert run.calls == []
    for option in (*OPTIONS, "--rotate-key", "--dry-run", "--destroy", "--yes", "--help"):
        assert option in run.output


def test_it_runs_from_anywhere(deployment: Deployment) -> None:
    finished = subprocess.run(
        [BASH, "deploy.sh", *PROJECT_OPTION],
        input=KEY.encode(),
        env=deployment.environment,
        cwd=deployment.source,
        check=False,
    )
    assert finished.returncode == 0
