"""The log: JSON lines for Cloud Logging, plain lines for a person, and no secret in either."""

import contextvars
import io
import json
import logging
import sys
import threading
import warnings

import pytest

from loader import log, redaction

pytestmark = pytest.mark.usefixtures("own_log")


@pytest.fixture(autouse=True)
def a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_forms", frozenset())
    monkeypatch.setattr(redaction, "_pattern", None)
    redaction.remember(["hush-hush"])


def test_a_record_is_one_json_line_with_its_severity(capsys: pytest.CaptureFixture[str]) -> None:
    log.install("INFO")
    log.logger.info("two\nlines of %s", "hush-hush")
    log.logger.debug("too quiet")
    logging.getLogger("another").warning("from a library: hush-hush")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        {"severity": "INFO", "message": "two\nlines of ***"},
        {"severity": "WARNING", "message": "from a library: ***"},
    ]


def test_a_traceback_is_part_of_its_record_without_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    log.install("INFO")
    try:
        int("https://api.example.com/?api_key=hush-hush")
    except ValueError:
        log.logger.exception("It failed.")
    [line] = capsys.readouterr().out.splitlines()
    assert "https://api.example.com/?api_key=***" in json.loads(line)["message"]


def test_a_person_gets_plain_lines_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    log.install_for_a_person("WARNING")
    log.logger.warning("careful with hush-hush")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith(" WARNING careful with ***\n")


def test_installing_again_doubles_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        log.install("INFO")
    log.logger.info("once")
    assert len(capsys.readouterr().out.splitlines()) == 1


TRACE = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("headers", "project", "trace"),
    [
        pytest.param({"X-Cloud-Trace-Context": f"{TRACE}/123;o=1"}, "p", f"projects/p/traces/{TRACE}", id="legacy"),
        pytest.param({"X-Cloud-Trace-Context": TRACE}, None, TRACE, id="no_project"),
        pytest.param({"traceparent": f"00-{TRACE}-0123456789abcdef-01"}, "p", f"projects/p/traces/{TRACE}", id="w3c"),
        pytest.param({"X-Cloud-Trace-Context": f"{TRACE}/1\n; drop"}, "p", None, id="nonsense"),
        pytest.param({}, "p", None, id="none"),
    ],
)
def test_each_line_of_a_request_names_its_trace(
    capsys: pytest.CaptureFixture[str], headers: dict[str, str], project: str | None, trace: str | None
) -> None:
    log.install("INFO")
    with log.of_a_request(headers, project):
        log.logger.info("inside")
    log.logger.info("outside")
    inside, outside = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert inside == {"severity": "INFO", "message": "inside", **({log.TRACE: trace} if trace else {})}
    assert outside == {"severity": "INFO", "message": "outside"}


def test_labels_hold_from_where_they_are_known_on_also_in_threads_that_see_the_context(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.install("INFO")
    with log.of_a_request({}, None):
        log.label(source="analytics")
        context = contextvars.copy_context()
        log.label(**{"pass": "hush-hush"})
        thread = threading.Thread(target=context.run, args=(log.logger.info, "from a thread"))
        thread.start()
        thread.join()
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)[log.LABELS] == {"source": "analytics", "pass": "***"}


def test_fields_stand_beside_the_message(capsys: pytest.CaptureFixture[str]) -> None:
    log.install("INFO")
    log.tell("It ends %s.", "well", status="complete", verified=None)
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {"severity": "INFO", "message": "It ends well.", "status": "complete", "verified": None}


def test_a_handler_of_a_library_writes_no_secret_either() -> None:
    log.install("INFO")
    stream = io.StringIO()
    theirs = logging.getLogger("a library")
    handler = logging.StreamHandler(stream)
    theirs.addHandler(handler)
    try:
        int("hush-hush")
    except ValueError:
        theirs.exception("about %s", "hush-hush")
    theirs.removeHandler(handler)
    assert "about ***" in stream.getvalue()
    assert "invalid literal for int() with base 10: '***'" in stream.getvalue()
    assert "hush-hush" not in stream.getvalue()


@pytest.mark.parametrize("where", ["main", "thread", "warning"])
def test_what_nobody_catches_is_logged_without_a_secret(capsys: pytest.CaptureFixture[str], where: str) -> None:
    log.install("INFO")
    error = ValueError("hush-hush")
    if where == "main":
        sys.excepthook(ValueError, error, None)
    elif where == "thread":
        threading.excepthook(threading.ExceptHookArgs((ValueError, error, None, None)))
    else:
        warnings.showwarning("hush-hush", UserWarning, "a file", 1)
    captured = capsys.readouterr()
    assert json.loads(captured.out)["severity"] == ("WARNING" if where == "warning" else "CRITICAL")
    assert "***" in captured.out
    assert "hush-hush" not in captured.out + captured.err


def test_at_debug_the_requests_are_told_and_at_info_no_library_is(capsys: pytest.CaptureFixture[str]) -> None:
    for level, lines in (("INFO", 0), ("DEBUG", 1), ("INFO", 0)):
        log.install(level)
        logging.getLogger("urllib3.connectionpool").debug("GET /v1/contacts?api_key=hush-hush")
        logging.getLogger("another").debug("a row")
        assert capsys.readouterr().out.count("api_key=***") == lines
