"""One invocation: a run that is waited for until the deadline, and continued by a task if it paused."""

import threading
from collections.abc import Callable
from datetime import datetime
from types import ModuleType

from loader import continuation, log
from loader.deadline import SECONDS_TO_ANSWER, Deadline, in_time
from loader.errors import BusyError, DestinationError, LoaderError, SettingsError
from loader.report import Report
from loader.run import Order, Run
from loader.settings import Settings

GRACE_SECONDS = SECONDS_TO_ANSWER / 2
"""A run that is just about to end is worth a part of the time kept back for the answer."""

_abandoned: list[threading.Thread] = []
"""Threads of runs that were given up and still live in this process."""


def invoke(
    order: Order,
    settings: Settings,
    module: ModuleType,
    deadline: Deadline,
    report: Report,
    *,
    progress: Callable[[Report], None] = lambda _: None,
    task_name: str | None = None,
) -> None:
    """Run, and fill the report; it is true also when an error is raised.

    Args:
        order: what to run.
        settings: the environment, checked.
        module: source_config.py.
        deadline: when the answer must be ready.
        report: what to fill.
        progress: called after each chunk.
        task_name: the task that has delivered the order, if one has.

    Raises:
        LoaderError: whose class says whose fault it is.
    """
    log.label(source=str(module.NAME), resource=order.resource)
    try:
        _invoke(order, settings, module, deadline, report, progress, task_name)
    finally:
        _tell_end(report, deadline.clock.time())


def _invoke(
    order: Order,
    settings: Settings,
    module: ModuleType,
    deadline: Deadline,
    report: Report,
    progress: Callable[[Report], None],
    task_name: str | None,
) -> None:
    _abandoned[:] = [thread for thread in _abandoned if thread.is_alive()]
    if _abandoned:
        raise BusyError(
            "A run that hung and was abandoned still lives in this process, so nothing new is begun here. "
            "Try again; it ends with whatever it waits for."
        )
    continuation.prepare(settings)
    run_deadline = deadline.earlier(continuation.seconds_needed(settings, deadline))
    # an abandoned run goes on writing into its report, so what is answered is a copy
    run = Run(order, settings, module, run_deadline, progress)
    try:
        in_time(run.work, run_deadline.earlier(-GRACE_SECONDS), late=lambda thread: _abandon(run, thread))
    finally:
        report.take(run.report)
    if report.status == "paused":
        last_moment = deadline.earlier(-GRACE_SECONDS)
        report.continued = continuation.enqueue(settings, module.NAME, report, last_moment, task_name)


def _tell_end(report: Report, now: float) -> None:
    """Log the line on which alerts are built; `now` is seconds since 1970."""
    since = report.waiting_since
    log.tell(
        "%s: the run ends %s: %d rows, %d pages and %d chunks in %.1f s%s.",
        report.resource,
        report.status,
        report.rows,
        report.pages,
        report.chunks,
        report.seconds,
        f"; {report.reason}" if report.reason else "",
        resource=report.resource,
        status=report.status,
        verified=(report.current_pass or {}).get("verified"),
        rows=report.rows,
        seconds_since_complete=max(round(now - datetime.fromisoformat(since).timestamp()), 0) if since else None,
    )


def _abandon(run: Run, thread: threading.Thread) -> LoaderError:
    """Give a run up: it hangs in something that can't be ended."""
    run.abandon()
    _abandoned.append(thread)
    message = (
        f"The run did not end in time: it was still {run.report.phase}. It was abandoned and commits nothing more; "
        "what it had committed stays, and the next run goes on there."
    )
    if run.report.phase == "fetching the key":
        return SettingsError(message + " Look at Secret Manager and this function's service account.")
    return DestinationError(message + " Look at the destination.")
