"""One run per resource; different resources side by side; what is committed can be asked for at any time."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.support import Answer, serving
from tests.end_to_end.support.at_once import AT_ONCE
from tests.end_to_end.support.places import Place, assert_exact
from tests.function import ROOT
from tests.sample_api import KEY, RESOURCES, Behaviour, Failure, SampleApi, World

EVERYWHERE = pytest.mark.parametrize(
    "place",
    ["folder", *(pytest.param(name, marks=pytest.mark.long) for name in ("cloud_storage", "bigquery"))],
    indirect=True,
)


@EVERYWHERE
def test_of_two_functions_on_one_resource_one_completes_and_one_is_skipped(place: Place, tmp_path: Path) -> None:
    world = World({"contacts": 500, "companies": 500}, Behaviour(latency=0.2))
    with (
        SampleApi(world) as api,
        serving(api, tmp_path / "one", environment=place.environment, TIMEOUT_SECONDS=60) as one,
        serving(api, tmp_path / "two", environment=place.environment, TIMEOUT_SECONDS=60) as two,
    ):
        answers: list[Answer] = []
        orders = [(one, "contacts"), (two, "contacts"), (one, "companies")]
        threads = [
            threading.Thread(target=lambda to=to, name=name: answers.append(to.load(name))) for to, name in orders
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {answer.code for answer in answers} == {200}, [answer.body for answer in answers] + [one.log]
        by_status = sorted((answer["resource"], answer["status"]) for answer in answers)
        assert by_status == [("companies", "complete"), ("contacts", "complete"), ("contacts", "skipped")]
        skipped = next(answer for answer in answers if answer["status"] == "skipped")
        assert (skipped["rows"], skipped["pages"], skipped["reason"]) == (0, 0, "another run is loading this resource")
    for resource in ("contacts", "companies"):
        assert_exact(place, world, resource)


@pytest.mark.parametrize(
    ("place", "resources", "times"),
    [
        pytest.param("bigquery", RESOURCES[2:4], 1, id="two on BigQuery"),
        *(
            pytest.param(name, RESOURCES, 4, id=f"twenty: {name}", marks=pytest.mark.long)
            for name in ("folder", "cloud_storage", "bigquery")
        ),
    ],
    indirect=["place"],
)
def test_functions_that_begin_at_once_where_nothing_is_all_succeed(
    place: Place, resources: tuple[str, ...], times: int
) -> None:
    world = World(dict.fromkeys(resources, 40))
    with SampleApi(world) as api:
        answers = load_at_once(place.environment, api, resources * times)
    assert len(answers) == len(resources) * times
    assert {answer["status"] for answer in answers} <= {"complete", "skipped"}
    assert {answer["resource"] for answer in answers if answer["status"] == "complete"} == set(resources)
    for resource in resources:
        assert_exact(place, world, resource)


@EVERYWHERE
def test_status_reads_what_is_committed_without_a_key_and_never_calls_the_api(place: Place, tmp_path: Path) -> None:
    waiting = Behaviour(failures={3: Failure(429, retry_after=6_000)})
    world = World({"contacts": 500, "companies": 50}, overrides={"contacts": waiting})
    environment = place.environment
    with (
        SampleApi(world) as api,
        serving(api, tmp_path, environment=environment, TIMEOUT_SECONDS=60) as function,
    ):
        paused, complete = function.load("contacts"), function.load("companies")
        asked = len(api.requests)
        answer = function.status()
        assert answer.code == 200
        assert answer["source"] == "analytics"
        assert answer["destination"] == environment.get("DESTINATION", "filesystem")
        assert answer["dataset"] == environment.get("DATASET_NAME", "analytics")
        assert answer["resources"]["contacts"] == {
            "status": "paused",
            "place": paused["place"],
            "pass_started_at": paused["pass"]["started_at"],
            "pass_rows": paused["pass"]["rows"],
            "verified": None,
            "checks": None,
            "completed_at": None,
        }
        companies = answer["resources"]["companies"]
        assert (companies["status"], companies["pass_rows"]) == ("complete", 50)
        assert companies["verified"] == complete["pass"]["verified"]
        assert companies["completed_at"]
        assert answer["resources"]["teams"]["status"] == "never"
        assert shell_status(environment) == answer.body
        assert len(api.requests) == asked


def shell_status(environment: dict[str, str]) -> Any:
    """Give what `--status --json` prints, without a key and an address."""
    done = subprocess.run(
        [sys.executable, "main.py", "--status", "--json"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout)


def load_at_once(environment: dict[str, str], api: SampleApi, resources: tuple[str, ...]) -> list[dict[str, Any]]:
    """Load each of these, in a process of its own; give what they answer."""
    done = subprocess.run(
        [sys.executable, "-c", AT_ONCE, *resources],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment, "API_KEY": KEY, "BASE_URL": api.url, "TIMEOUT_SECONDS": "540"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
