"""Processes that load to BigQuery at once, are killed, or run out of time: exact in the end."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.end_to_end.support.function import serving
from tests.end_to_end.support.places import BigQueryPlace, difference, items_of
from tests.end_to_end.support.tables import EXACT
from tests.fakes import FakeMetadata, google_environment
from tests.fakes.bigquery import Call, refusal
from tests.function import ROOT
from tests.local_server import Answer, Request
from tests.sample_api import KEY, RESOURCES, Behaviour, SampleApi, World

LISTS: dict[str, dict[str, list[str]]] = {
    "conversations": {"tags": ["id", "name"], "participant_ids": ["value"]},
    "contacts": {"segments": ["value"], "companies": ["id", "role"]},
    "conversation_parts": {"attachments": ["name", "bytes"]},
    "teams": {"member_ids": ["value"], "office_hours": ["day"]},
    "companies": {"tags": ["id", "name"], "domains": ["value"]},
}

AT_ONCE = """
import os, sys
import dlt.sources.rest_api
import loader.destination.bigquery
from loader import shell
children = []
for resource in sys.argv[1:]:
    child = os.fork()
    if not child:
        code = 1
        try:
            code = shell.main([resource, "--json"])
            sys.stdout.flush()
        finally:
            os._exit(code)
    children.append(child)
sys.exit(sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children))
"""
"""Loads resources at once, each in a process of its own, but with one import for all of them."""


@pytest.fixture
def environment(bigquery: BigQueryPlace, google: FakeMetadata, tmp_path: Path) -> dict[str, str]:
    """Give the environment of a function on a Google machine."""
    return {**google_environment(tmp_path, google), **bigquery.environment}


def load_at_once(environment: dict[str, str], api: SampleApi, resources: list[str]) -> list[dict[str, Any]]:
    """Load each of these; give what they answer."""
    done = subprocess.run(
        [sys.executable, "-c", AT_ONCE, *resources],
        cwd=ROOT,
        env={**environment, "API_KEY": KEY, "BASE_URL": api.url, "TIMEOUT_SECONDS": "540"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_exact(place: BigQueryPlace, world: World, resource: str) -> None:
    """Each living row is there once, as it is now, and the child tables hold the items of its lists and no others."""
    living = world.snapshot(resource)
    assert difference(place, living, resource) == EXACT
    for name, columns in LISTS[resource].items():
        assert place.items(f"{resource}__{name}", columns) == items_of(living, name, columns)


def test_resources_that_make_the_data_sets_at_once_all_succeed(
    bigquery: BigQueryPlace, environment: dict[str, str]
) -> None:
    # all five, and twenty functions, take minutes: see below
    resources = list(RESOURCES[2:4])
    world = World(dict.fromkeys(resources, 40))
    with SampleApi(world) as api:
        answers = load_at_once(environment, api, resources)
    assert {answer["resource"]: answer["status"] for answer in answers} == dict.fromkeys(resources, "complete")
    for resource in resources:
        assert_exact(bigquery, world, resource)


@pytest.mark.long
def test_twenty_functions_at_once_on_an_empty_project_all_succeed(
    bigquery: BigQueryPlace, environment: dict[str, str]
) -> None:
    world = World(dict.fromkeys(RESOURCES, 400))
    with SampleApi(world) as api:
        answers = load_at_once(environment, api, list(RESOURCES) * 4)
        assert len(answers) == 20
        assert {answer["status"] for answer in answers} <= {"complete", "skipped"}
        assert {answer["resource"] for answer in answers if answer["status"] == "complete"} == set(RESOURCES)
        for resource in RESOURCES:
            for key in range(1, 401, 7):
                world.touch(resource, key, **{name: [] for name in LISTS[resource]})
        load_at_once(environment, api, list(RESOURCES))
    for resource in RESOURCES:
        assert_exact(bigquery, world, resource)
    assert {row["status"] for row in bigquery.rows("_dlt_loads")} == {0}


@pytest.mark.long
def test_a_load_that_is_killed_six_times_is_exact(
    bigquery: BigQueryPlace, environment: dict[str, str], tmp_path: Path
) -> None:
    world, front = World({"conversations": 300}), bigquery.front
    staged = f"{bigquery.staging}.conversations"
    moments: list[tuple[Callable[[Call], bool], bool]] = [
        (lambda call: "CREATE TABLE" in call.sql, True),
        (lambda call: call.kind == "upload", False),
        (lambda call: call.kind == "load" and call.table == staged, True),
        (lambda call: call.is_merge, False),
        (lambda call: call.is_merge, True),
        (lambda call: "_dlt_loads" in call.sql and "INSERT" in call.sql, False),
    ]
    with SampleApi(world) as api:
        for is_moment, comes_through in moments:
            with serving(api, tmp_path, environment=environment, TIMEOUT_SECONDS=120) as function:

                def die(
                    call: Call,
                    request: Request,
                    *,
                    kill: Callable[[], None] = function.kill,
                    is_moment: Callable[[Call], bool] = is_moment,
                    comes_through: bool = comes_through,
                ) -> Answer | None:
                    if not is_moment(call):
                        return None
                    if comes_through:
                        front.pass_on(request)
                    kill()
                    raise ConnectionAbortedError

                front.meddle = die
                with pytest.raises(requests.RequestException):
                    function.load("conversations")
            front.reset()
            # its lease expires
            with bigquery.client() as client:
                client.delete_table(f"{bigquery.staging}._loader_lease_conversations")
            for key in range(2, 301, 5):
                world.touch("conversations", key, tags=[])
            world.insert("conversations", "front")
        with serving(api, tmp_path, environment=environment, TIMEOUT_SECONDS=120) as function:
            assert function.load("conversations")["status"] == "complete"
    assert_exact(bigquery, world, "conversations")
    assert {row["status"] for row in bigquery.rows("_dlt_loads")} == {0}


@pytest.mark.long
def test_a_pass_over_several_invocations_is_exact_and_stays_under_a_quota(
    bigquery: BigQueryPlace, environment: dict[str, str], tmp_path: Path
) -> None:
    world, front = World({"conversations": 5_000}, Behaviour(latency=1.0)), bigquery.front
    loads: Counter[str] = Counter()

    def quota(call: Call, request: Request) -> Answer | None:
        del request
        if call.kind == "upload":
            loads[call.table] += 1
        return refusal("quotaExceeded") if call.kind == "upload" and loads[call.table] > 10 else None

    front.meddle = quota
    with (
        SampleApi(world) as api,
        serving(api, tmp_path, environment=environment, TIMEOUT_SECONDS=60) as function,
    ):
        answers = [function.load("conversations")]
        while answers[-1]["status"] == "paused" and len(answers) < 8:
            answers.append(function.load("conversations"))
    assert [answer["status"] for answer in answers] == ["paused"] * (len(answers) - 1) + ["complete"]
    assert len(answers) >= 2
    assert max(answer.seconds for answer in answers) < 60
    # one chunk in each
    assert loads[f"{bigquery.dataset}._dlt_pipeline_state"] <= len(answers) + 1
    assert_exact(bigquery, world, "conversations")
