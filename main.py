"""The function: request -> run -> answer; and the same from a shell."""

from __future__ import annotations

import gc
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from loader import log
from loader.answers import answered
from loader.clock import SystemClock
from loader.configuration import description_without_key, settings_for_a_run, source_config
from loader.deadline import Deadline, in_time
from loader.errors import BusyError, MethodError
from loader.failures import silent
from loader.invocation import invoke
from loader.orders import parse
from loader.report import Report
from loader.secret import Placeholders
from loader.settings import Settings, read
from loader.status import status

if TYPE_CHECKING:
    import flask

TASK_HEADER = "X-CloudTasks-TaskName"
"""Set by Cloud Tasks on what it delivers."""


def load(request: flask.Request) -> flask.Response:
    """Answer a request: POST runs a resource, GET tells what is committed."""
    import flask  # noqa: PLC0415 - it is there where a request comes; a shell would wait for it

    started = SystemClock().monotonic()
    settings, _ = read(os.environ)
    log.install(settings.log_level)
    report = Report()
    with log.of_a_request(request.headers, settings.project):
        body, code = answered(lambda: _answer(request, started, report), report)
    return flask.Response(json.dumps(body) + "\n", code, mimetype="application/json")


def _answer(request: flask.Request, started: float, report: Report) -> dict[str, Any]:
    if request.method == "POST":
        return _run(request, started, report)
    if request.method in ("GET", "HEAD"):
        settings = Settings.from_env(os.environ)
        deadline = Deadline.of(settings.timeout_seconds, SystemClock(), started)
        return in_time(lambda: status(description_without_key(), settings), deadline, late=lambda _: silent())
    raise MethodError("This method means nothing here. Allowed: POST runs a resource, GET tells what is committed.")


def _run(request: flask.Request, started: float, report: Report) -> dict[str, Any]:
    asked = Placeholders()
    order = parse(request.get_data(), description_without_key(asked).resources())
    settings = settings_for_a_run(asked)
    task_name = request.headers.get(TASK_HEADER)
    deadline = Deadline.of(settings.timeout_seconds, SystemClock(), started)
    invoke(order, settings, source_config(), deadline, report, task_name=task_name)
    if report.status == "skipped" and task_name and not report.pass_is_over:
        raise BusyError(f"Skipped, because {report.reason}. This task is to be tried again.")
    return report.answer()


if __name__ == "__main__":
    from loader import shell

    code = shell.main(sys.argv[1:])
    # at its end Python would look three times for what could be freed, of all that was imported: 0.2 s
    gc.freeze()
    sys.exit(code)
