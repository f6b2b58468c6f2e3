"""Whatever is raised becomes an answer: whose fault it is, and no secret in it."""

import json
from typing import Any, NoReturn

import pytest

from loader import log, redaction
from loader.answers import answered
from loader.errors import (
    ApiError,
    BusyError,
    DestinationError,
    LoaderError,
    MethodError,
    RequestError,
    SettingsError,
)
from loader.report import Report

pytestmark = pytest.mark.usefixtures("own_log")


@pytest.fixture(autouse=True)
def a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_forms", frozenset())
    monkeypatch.setattr(redaction, "_pattern", None)
    redaction.remember(["hush-hush"])
    log.install("INFO")


def failing(error: Exception) -> Any:
    def work() -> NoReturn:
        raise error

    return work


def test_what_is_given_is_answered_with_200() -> None:
    assert answered(lambda: {"a": "hush-hush"}) == ({"a": "***"}, 200)


@pytest.mark.parametrize(
    ("error", "code", "kind", "severity"),
    [
        pytest.param(RequestError, 400, "request", "WARNING", id="request"),
        pytest.param(MethodError, 405, "request", "WARNING", id="method"),
        pytest.param(SettingsError, 500, "settings", "ERROR", id="settings"),
        pytest.param(ApiError, 502, "api", "ERROR", id="api"),
        pytest.param(DestinationError, 503, "destination", "ERROR", id="destination"),
        pytest.param(BusyError, 503, "busy", "WARNING", id="busy"),
    ],
)
def test_an_error_says_whose_fault_it_is(
    capsys: pytest.CaptureFixture[str], error: type[LoaderError], code: int, kind: str, severity: str
) -> None:
    body, found = answered(failing(error("It is about hush-hush.")))
    assert (found, body) == (code, {"error": {"type": kind, "message": "It is about ***."}})
    assert json.loads(capsys.readouterr().out) == {"severity": severity, "message": "It is about ***."}


def test_a_defect_is_answered_with_a_number_and_logged_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    body, code = answered(failing(KeyError("hush-hush")))
    number = body["error"]["message"].split("under ")[1].split(";")[0]
    logged = json.loads(capsys.readouterr().out)["message"]
    assert (code, body["error"]["type"]) == (500, "defect")
    assert logged.startswith(f"Defect {number}.\nTraceback")
    assert "KeyError: '***'" in logged
    assert "***" not in body["error"]["message"]


def test_the_fields_of_a_run_that_began_are_part_of_its_error() -> None:
    body, _ = answered(failing(ApiError("No.")), Report("teams", rows=5, chunks=1))
    assert (body["error"]["type"], body["resource"], body["status"], body["rows"]) == ("api", "teams", "failed", 5)
    body, _ = answered(failing(RequestError("No.")), Report())
    assert set(body) == {"error"}
