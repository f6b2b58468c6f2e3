"""The same from a shell: each resource until its pass is complete; or a look, what is committed, the schedules."""

import argparse
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from loader import log
from loader.answers import OK, answered
from loader.clock import Clock, SystemClock
from loader.configuration import description_without_key, settings_for_a_run, source_config
from loader.continuation import MAX_STALLS
from loader.deadline import Deadline
from loader.errors import ApiError, RequestError
from loader.invocation import invoke
from loader.log import logger
from loader.report import Report
from loader.run import Order
from loader.schedules import cron_lines, sweep_lines
from loader.secret import Placeholders
from loader.settings import Settings, read
from loader.status import status
from loader.terminal import Terminal

LOAD_ONLY = ("restart", "sweep", "accept_deletes")
"""Options that say how a pass begins."""

LOOKS = ("check", "status", "schedules")
"""Options that load nothing."""


def main(arguments: list[str], clock: Clock | None = None) -> int:
    """Do what the arguments say; give the exit code."""
    options = _options(arguments)
    terminal = Terminal(as_json=options.json)
    # a line per chunk beside a progress bar would be twice the same
    quiet = terminal.is_interactive and not os.environ.get("LOG_LEVEL")
    log.install_for_a_person("WARNING" if quiet else read(os.environ)[0].log_level)
    if options.schedules:
        return _show(_schedules, terminal, terminal.schedules)
    if options.status:
        return _show(lambda: _status(options.resources), terminal, terminal.status)
    if options.check:
        return _check(options.resources, terminal, clock or SystemClock())
    order = partial(Order, restart=options.restart, sweep=options.sweep, accept_deletes=options.accept_deletes)
    return _load(options.resources, terminal, clock or SystemClock(), order)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python main.py",
        description="Load resources of source_config.py, each until its pass is complete.",
    )
    parser.add_argument("resources", nargs="*", metavar="RESOURCE", help="all of them, if none is named")
    parser.add_argument("--restart", action="store_true", help="forget where to go on, and read everything again")
    parser.add_argument("--sweep", action="store_true", help="read everything beside the incremental cursor")
    parser.add_argument("--accept-deletes", action="store_true", help="let any number of rows be marked as deleted")
    looks = parser.add_mutually_exclusive_group()
    looks.add_argument("--check", action="store_true", help="look what would cost rows later, and load nothing")
    looks.add_argument(
        "--status", action="store_true", help="show what is committed, of RESOURCE its columns too, and load nothing"
    )
    looks.add_argument("--schedules", action="store_true", help="print a cron line per resource")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line, and nothing else")
    options = parser.parse_args(arguments)
    look = next((name for name in LOOKS if getattr(options, name)), None)
    unused = [f"--{name.replace('_', '-')}" for name in LOAD_ONLY if look and getattr(options, name)]
    if look == "schedules" and options.resources:
        unused.append("RESOURCE")
    if unused:
        parser.error(f"{', '.join(unused)}: not allowed with --{look}, which loads nothing")
    return options


def _show(work: Callable[[], dict[str, Any]], terminal: Terminal, show: Callable[[dict[str, Any]], None]) -> int:
    body, code = answered(work)
    (show if code == OK else terminal.error)(body)
    return int(code != OK)


def _schedules() -> dict[str, Any]:
    from loader.check.configuration import look_at_configuration  # noqa: PLC0415 - a load has no use for it

    description = description_without_key()
    look_at_configuration(description)
    name, resources = description.name, description.resources()
    return {
        "runs": cron_lines(name, resources, description.schedules),
        "sweeps": sweep_lines(name, resources, description.sweeps),
    }


def _status(resources: list[str]) -> dict[str, Any]:
    _known(resources)
    return status(description_without_key(), Settings.from_env(os.environ), resources)


def _check(resources: list[str], terminal: Terminal, clock: Clock) -> int:
    body, code = answered(lambda: _chosen(resources))
    if code != OK:
        terminal.error(body)
        return 1
    answers = []
    for resource in body["resources"]:
        with terminal.looking(resource):
            answers.append(_look(resource, body["settings"], clock))
    terminal.checked(answers)
    return int(not all(answer.get("ok") for answer in answers))


def _look(resource: str, settings: Settings, clock: Clock) -> dict[str, Any]:
    """Look at a resource; give what is shown of it."""
    from loader.check import check  # noqa: PLC0415 - the same

    body, _ = answered(lambda: check(resource, settings, source_config(), clock).shown())
    return {"resource": resource, **body}


def _load(resources: list[str], terminal: Terminal, clock: Clock, order: Callable[[str], Order]) -> int:
    body, code = answered(lambda: _chosen(resources))
    if code != OK:
        terminal.error(body)
        return 1
    answers = []
    for resource in body["resources"]:
        with terminal.progress(resource) as progress:
            answers.append(_until_complete(order(resource), body["settings"], clock, progress))
    terminal.results(answers)
    return int(any("error" in answer for answer in answers))


def _chosen(resources: list[str]) -> dict[str, Any]:
    """Give the resources that are named, or all, and the settings.

    Raises:
        RequestError: one of them does not exist.
        SettingsError: the settings are wrong.
    """
    asked = Placeholders()
    known = _known(resources, asked)
    return {"resources": resources or known, "settings": settings_for_a_run(asked)}


def _known(resources: list[str], asked: Placeholders | None = None) -> list[str]:
    """Give all resources, if those that are named are among them."""
    known = description_without_key(asked).resources()
    if unknown := [name for name in resources if name not in known]:
        raise RequestError(f"There is no resource {', '.join(unknown)}. There are: {', '.join(known)}.")
    return known


def _until_complete(
    order: Order, settings: Settings, clock: Clock, progress: Callable[[Report], None]
) -> dict[str, Any]:
    """Run a resource until its pass is complete; give one answer for all its runs."""
    whole = Report(order.resource)
    body, _ = answered(lambda: _runs(order, settings, clock, whole, progress), whole)
    return body


def _runs(
    order: Order, settings: Settings, clock: Clock, whole: Report, progress: Callable[[Report], None]
) -> dict[str, Any]:
    stalls = 0
    while True:
        report = Report(order.resource)
        try:
            deadline = Deadline.of(settings.timeout_seconds, clock)
            invoke(order, settings, source_config(), deadline, report, progress=progress)
        finally:
            whole.add(report)
        if report.status != "paused":
            return whole.answer()
        stalls = 0 if report.has_progressed else stalls + 1
        if stalls > MAX_STALLS:
            raise ApiError(f"{MAX_STALLS} runs in a row brought nothing: {report.reason}. Try again later.")
        if report.wake_at is not None:
            seconds = max(report.wake_at - clock.time(), 0.0)
            logger.warning("%s: the API wants %.0f s before the next request; waiting.", order.resource, seconds)
            clock.sleep(seconds)
        if report.pass_is_kept:
            order = order.going_on()
