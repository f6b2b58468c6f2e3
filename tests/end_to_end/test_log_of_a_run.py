"""The log tells the story of a run: a line when it begins, one per chunk, and one at its end for alerts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest

import main
from loader.log import LABELS, TRACE
from tests.clock import DrivenClock
from tests.sample_api import KEY, RESOURCES, Behaviour, Failure, SampleApi, World

APP = flask.Flask(__name__)
pytestmark = pytest.mark.usefixtures("own_log")
DAY = 24 * 60 * 60


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> DrivenClock:
    driven = DrivenClock()
    monkeypatch.setattr(main, "SystemClock", lambda: driven)
    return driven


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SampleApi]:
    with SampleApi(World({"contacts": 250, "teams": 5})) as server:
        monkeypatch.setenv("API_KEY", KEY)
        monkeypatch.setenv("BASE_URL", server.url)
        monkeypatch.setenv("BUCKET_URL", str(tmp_path))
        yield server


def post(capsys: pytest.CaptureFixture[str], resource: str = "contacts", **headers: str) -> list[Any]:
    """Run a resource; give the lines of its log."""
    with APP.test_request_context("/", method="POST", json={"resource": resource}, headers=headers):
        main.load(flask.request)
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.usefixtures("api", "clock")
def test_a_run_is_a_line_at_its_beginning_one_per_chunk_and_one_at_its_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKS_QUEUE", "projects/my-project/locations/l/queues/q")
    monkeypatch.setenv("TASKS_SERVICE_ACCOUNT", "a@b.c")
    monkeypatch.setenv("FUNCTION_URL", "https://function.example.com")
    beginning, columns, chunk, end = post(capsys, **{"X-Cloud-Trace-Context": f"{'ab' * 16}/1;o=1"})
    assert beginning["message"] == "contacts: a run begins: a new pass."
    assert "contacts: chunk 1 committed: 250 rows, 4 pages" in chunk["message"]
    assert "4 requests so far, 0 of them retries" in chunk["message"]
    assert end["message"].startswith("contacts: the run ends complete: 250 rows, 4 pages and 1 chunks in")
    assert columns["message"].startswith("contacts: columns: contacts.id added (bigint); ")
    for line in (beginning, columns, chunk, end):
        assert line["severity"] == "INFO"
        assert line[TRACE] == f"projects/my-project/traces/{'ab' * 16}"
        assert (line[LABELS]["source"], line[LABELS]["resource"]) == ("analytics", "contacts")
        assert line[LABELS]["pass"].startswith("2027-")
    facts = {name: end[name] for name in ("resource", "status", "verified", "rows", "seconds_since_complete")}
    assert facts == {
        "resource": "contacts",
        "status": "complete",
        "verified": True,
        "rows": 250,
        "seconds_since_complete": 0,
    }


def test_the_last_line_tells_how_long_the_resource_has_not_been_complete(
    api: SampleApi, clock: DrivenClock, capsys: pytest.CaptureFixture[str]
) -> None:
    api.world.behave(Behaviour(fail_from=(2, Failure(404))))
    assert (end := ending(post(capsys)))["seconds_since_complete"] == 0
    assert end["status"] == "failed"
    clock.advance(DAY)
    # never complete: as long as the first pass goes on
    assert ending(post(capsys))["seconds_since_complete"] == DAY
    api.world.recover()
    assert ending(post(capsys))["seconds_since_complete"] == 0
    api.world.behave(Behaviour(fail_from=(1, Failure(404))))
    clock.advance(2 * DAY)
    assert ending(post(capsys))["seconds_since_complete"] == 2 * DAY


@pytest.mark.usefixtures("clock")
def test_a_run_that_did_not_get_that_far_does_not_know_it(
    api: SampleApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BUCKET_URL", str(tmp_path / "file" / "bucket"))
    end = ending(post(capsys))
    assert (end["status"], end["seconds_since_complete"], api.requests) == ("failed", None, [])


@pytest.mark.usefixtures("api", "clock")
def test_an_hour_of_five_resources_makes_fewer_than_a_hundred_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert sum(len(post(capsys, resource)) for resource in RESOURCES) < 100


def ending(lines: list[Any]) -> Any:
    [end] = [line for line in lines if "seconds_since_complete" in line]
    return end
