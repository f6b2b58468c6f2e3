"""Answers that are asked for again: through the entry point and a real socket, on a clock that is driven."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest

import main
import source_config
from tests.clock import DrivenClock
from tests.end_to_end.support import ids_of
from tests.sample_api import KEY, Behaviour, Failure, SampleApi, World

APP = flask.Flask(__name__)
pytestmark = pytest.mark.usefixtures("own_log")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> DrivenClock:
    driven = DrivenClock()
    monkeypatch.setattr(main, "SystemClock", lambda: driven)
    monkeypatch.setattr(source_config, "PAGES_IN_FLIGHT", 1)
    return driven


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SampleApi]:
    with SampleApi(World({"contacts": 250})) as server:
        monkeypatch.setenv("API_KEY", KEY)
        monkeypatch.setenv("BASE_URL", server.url)
        monkeypatch.setenv("BUCKET_URL", str(tmp_path))
        yield server


def post(resource: str) -> tuple[int, Any]:
    with APP.test_request_context("/", method="POST", json={"resource": resource}):
        response = main.load(flask.request)
    return response.status_code, json.loads(response.data)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_page_that_fails_three_times_and_then_comes_is_loaded_after_2_4_and_8_seconds(
    api: SampleApi, clock: DrivenClock, tmp_path: Path, status: int
) -> None:
    api.world.behave(Behaviour(failures=dict.fromkeys((2, 3, 4), Failure(status))))
    code, answer = post("contacts")
    assert (code, answer["status"], answer["rows"]) == (200, "complete", 250)
    assert clock.sleeps == [2, 4, 8]
    first, *again = api.offsets("contacts")[:5]
    assert first == 0
    assert again == [again[0]] * 4
    assert ids_of(tmp_path, "contacts") == list(range(1, 251))


def test_a_page_that_fails_for_good_is_asked_for_four_times(api: SampleApi, clock: DrivenClock) -> None:
    api.world.behave(Behaviour(fail_from=(1, Failure(503))))
    code, answer = post("contacts")
    assert code == 502
    assert len(api.requests) == 4
    assert clock.sleeps == [2, 4, 8]
    error = answer.pop("error")
    assert error["type"] == "api"
    assert error["message"].startswith("The API answered 503 Service Unavailable to GET /v1/contacts after 3 retries.")
    assert (answer["resource"], answer["status"], answer["rows"], answer["chunks"]) == ("contacts", "failed", 0, 0)
    assert KEY not in json.dumps([answer, error])


def test_pages_before_one_that_fails_for_good_are_committed_and_the_next_run_goes_on_there(
    api: SampleApi, clock: DrivenClock, tmp_path: Path
) -> None:
    api.world.behave(Behaviour(fail_from=(2, Failure(503))))
    code, answer = post("contacts")
    assert (code, answer["rows"], clock.sleeps) == (502, 100, [2, 4, 8])
    failed_at = api.offsets("contacts")[-1]
    assert ids_of(tmp_path, "contacts") == list(range(1, 101))
    api.world.recover()
    code, answer = post("contacts")
    assert (code, answer["status"], answer["pass"]["rows"]) == (200, "complete", 250)
    assert api.offsets("contacts")[5] == failed_at
    assert ids_of(tmp_path, "contacts") == list(range(1, 251))


def test_an_api_that_is_not_there_is_tried_again_and_its_address_shows_no_key(
    api: SampleApi, clock: DrivenClock, capfd: pytest.CaptureFixture[str]
) -> None:
    api.stop()
    code, answer = post("contacts")
    api.start()
    assert (code, answer["error"]["type"]) == (502, "api")
    assert "could not be reached after 3 retries" in answer["error"]["message"]
    assert clock.sleeps == [2, 4, 8]
    assert KEY not in json.dumps(answer) + "".join(capfd.readouterr())
