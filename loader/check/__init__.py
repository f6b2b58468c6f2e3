"""Look before you load: what an API would cost rows by, found in a few requests, and the lines that cure it."""

from dataclasses import replace
from types import ModuleType

from loader import dlt_settings
from loader.check.examination import examined
from loader.check.findings import Checked, Finding
from loader.clock import Clock
from loader.deadline import Deadline, in_time
from loader.destination import open_destination
from loader.errors import DestinationError
from loader.failures import destination_errors, silent
from loader.lease import Gate
from loader.secret import SecretManager
from loader.settings import Settings
from loader.source import describe, open_session, plan

__all__ = ["Checked", "Finding", "check"]

SECONDS = 60.0
"""Longest look at one resource: retries of an API that refuses fit into it."""

SECONDS_FOR_DESTINATION = 20.0
"""Longest look at the destination."""


def check(resource: str, settings: Settings, module: ModuleType, clock: Clock) -> Checked:
    """Look at a resource, and whether its destination could be written to; nothing is written anywhere.

    Args:
        resource: its name.
        settings: the environment, checked.
        module: source_config.py.
        clock: what time goes by.

    Raises:
        SettingsError: the key can't be had, or source_config.py is wrong.
    """
    dlt_settings.apply(settings.destination)
    deadline = Deadline(clock, clock.monotonic() + SECONDS)
    description = describe(module, SecretManager(settings.api_key_secret, deadline))
    destination = open_destination(settings, Gate(), deadline)
    chosen = plan(description, resource)
    with open_session(replace(description, pages_in_flight=1), deadline) as session:
        checked = examined(chosen, session, destination)
    if problem := _wrong_with_destination(settings, clock):
        checked.findings.append(Finding("destination", problem))
    return checked


def _wrong_with_destination(settings: Settings, clock: Clock) -> str:
    """Say what is wrong with the destination; empty if nothing is."""
    # the API may have taken all of its own time
    deadline = Deadline(clock, clock.monotonic() + SECONDS_FOR_DESTINATION)
    try:
        with destination_errors():
            destination = open_destination(settings, Gate(), deadline)
            in_time(destination.try_out, deadline, late=lambda _: silent())
    except DestinationError as error:
        return str(error).replace(" The place stays where it is, and the next run goes on there.", "")
    return ""
