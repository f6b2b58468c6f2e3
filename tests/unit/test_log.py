"""The log: JSON lines for Cloud Logging, plain lines for a person, and no secret in either."""

import json
import logging

import pytest

from loader import log, redaction

pytestmark = pytest.mark.usefixtures("own_log")


@pytest.fixture(autouse=True)
def a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_forms", ())
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
