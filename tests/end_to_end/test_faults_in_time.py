"""Every invocation answers in time, whatever hangs, and the next one goes on: nothing is lost."""

import time
from pathlib import Path

import pytest

from tests.end_to_end.support import Answer, Function, difference, serving
from tests.end_to_end.support.function import own_config
from tests.end_to_end.support.tables import EXACT
from tests.sample_api import CLIENT_ID, Behaviour, Failure, SampleApi, World

OAUTH2 = f"""
def source_config():
    return {{
        "client": {{
            "base_url": dlt.config.get("base_url"),
            "auth": {{
                "type": "oauth2_client_credentials",
                "access_token_url": dlt.config.get("base_url") + "/oauth/token",
                "client_id": "{CLIENT_ID}",
                "client_secret": dlt.secrets["api_key"],
            }},
        }},
        "resource_defaults": {{"primary_key": "id", "write_disposition": "merge"}},
        "resources": [
            {{
                "name": "contacts",
                "endpoint": {{
                    "path": "/v1/contacts",
                    "data_selector": "data",
                    "paginator": {{"type": "offset", "limit": 100}},
                }},
            }}
        ],
    }}
"""

DESTINATION = """
import os, time
from loader.destination import bucket_dlt

def wrap(owner, name):
    inner = getattr(owner, name)
    def call(*args, **kwargs):
        while os.path.exists("hang-" + name):
            time.sleep(0.02)
        if os.path.exists("slow-" + name):
            time.sleep(float(open("slow-" + name).read()))
        return inner(*args, **kwargs)
    setattr(owner, name, call)

wrap(bucket_dlt.WholeFiles, "ls")
wrap(bucket_dlt.DeltaClient, "complete_load")
wrap(bucket_dlt.DeltaClient, "get_stored_state")
"""
"""A file system that sleeps: as long as a file says so, or while it is there."""


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(Failure("hang"), id="a page that hangs"),
        pytest.param(Failure("drip", interval=0.5), id="a body that drips", marks=pytest.mark.long),
        pytest.param(Failure("drip_chunked", interval=0.5), id="a chunked body that drips", marks=pytest.mark.long),
        pytest.param(Failure(429, retry_after=600), id="Retry-After"),
        pytest.param(Failure(503), id="a backoff that does not fit", marks=pytest.mark.long),
    ],
)
def test_an_api_that_hangs_is_answered_in_time_and_the_next_run_goes_on(tmp_path: Path, failure: Failure) -> None:
    world = World({"contacts": 900}, Behaviour(fail_from=(4, failure)))
    with SampleApi(world) as api, serving(api, tmp_path, TIMEOUT_SECONDS=9) as function:
        first = function.load()
        assert (first.code, first["status"], first["pages"]) == (200, "paused", 3)
        assert first.seconds < 9
        assert first["reason"]
        world.recover()
        last = until_complete(function)
    assert last["pass"]["started_at"] == first["pass"]["started_at"]
    assert difference(tmp_path / "bucket", world.snapshot("contacts")) == EXACT


@pytest.mark.long
def test_a_token_server_that_hangs_is_answered_in_time_and_the_next_run_goes_on(tmp_path: Path) -> None:
    hanging = Behaviour(fail_from=(1, Failure("hang")))
    world = World({"contacts": 300}, Behaviour(auth="bearer"), overrides={"token": hanging})
    with SampleApi(world) as api, serving(api, tmp_path, config=own_config() + OAUTH2, TIMEOUT_SECONDS=8) as function:
        first = function.load()
        assert (first.code, first["status"], first["pages"]) == (200, "paused", 0)
        assert first.seconds < 8
        assert "not one page fitted" in first["reason"]
        world.recover()
        until_complete(function)
    assert difference(tmp_path / "bucket", world.snapshot("contacts")) == EXACT


@pytest.mark.parametrize(
    "what",
    [
        pytest.param("ls", id="when it is opened", marks=pytest.mark.long),
        pytest.param("complete_load", id="when the place is committed"),
    ],
)
def test_a_destination_that_hangs_is_abandoned_in_time_and_the_next_run_goes_on(tmp_path: Path, what: str) -> None:
    world = World({"contacts": 300})
    with (
        SampleApi(world) as api,
        serving(api, tmp_path, config=own_config() + DESTINATION, TIMEOUT_SECONDS=8) as function,
    ):
        flag = function.folder / f"hang-{what}"
        flag.touch()
        first = function.load()
        assert (first.code, first["error"]["type"], first["status"]) == (503, "destination", "failed")
        assert first.seconds < 8
        second = function.load()
        assert (second.code, second["error"]["type"]) == (503, "busy")
        flag.unlink()
        until_complete(function, patience=30)
    assert difference(tmp_path / "bucket", world.snapshot("contacts")) == EXACT


def test_a_status_that_hangs_is_answered_in_time(tmp_path: Path) -> None:
    with (
        SampleApi(World({})) as api,
        serving(api, tmp_path, config=own_config() + DESTINATION, TIMEOUT_SECONDS=4) as function,
    ):
        function.load()
        (function.folder / "hang-get_stored_state").touch()
        answer = function.status()
    assert (answer.code, answer["error"]["type"]) == (503, "destination")
    assert answer.seconds < 4


@pytest.mark.long
@pytest.mark.parametrize("seconds", [5, 7])
def test_a_slow_destination_still_makes_progress(tmp_path: Path, seconds: int) -> None:
    world = World({"contacts": 2_500}, Behaviour(latency=0.3))
    with (
        SampleApi(world) as api,
        serving(api, tmp_path, config=own_config() + DESTINATION, TIMEOUT_SECONDS=15) as function,
    ):
        (function.folder / "slow-complete_load").write_text(str(seconds))
        answers = until_complete_all(function, patience=150)
        runs = [answer for answer in answers if answer.body.get("status") not in (None, "skipped")]
        assert max(answer.seconds for answer in answers) < 15
        # the first may be given up, for nothing was known; what it died with is kept in mind
        assert {run.code for run in runs[1:]} == {200}
        # the last one may find all rows staged, and fold them
        assert all(run["chunks"] == 1 for run in runs[1:-1])
    assert difference(tmp_path / "bucket", world.snapshot("contacts")) == EXACT


def until_complete_all(function: Function, patience: float) -> list[Answer]:
    """Ask until the pass is complete, as a schedule does; give all answers."""
    answers, until = [function.load()], time.monotonic() + patience
    while answers[-1].body.get("status") != "complete":
        assert time.monotonic() < until, [answer.body for answer in answers[-3:]]
        if answers[-1].body.get("status") == "skipped" or answers[-1].code == 503:
            # until the lease of the dead has run out
            time.sleep(0.2)
        answers.append(function.load())
    return answers


def until_complete(function: Function, patience: float = 20.0) -> Answer:
    """Ask until the pass is complete; give the last answer."""
    return until_complete_all(function, patience)[-1]
