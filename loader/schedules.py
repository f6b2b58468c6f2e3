"""When each resource runs by itself: cron lines, spread over the hour."""

import hashlib
from collections.abc import Mapping

from loader.errors import SettingsError

FIELDS = 5


def sweep_lines(source: str, resources: list[str], sweeps: Mapping[str, str]) -> dict[str, str]:
    """Give the cron line of each resource that is swept, as `cron_lines` does.

    Raises:
        SettingsError: a sweep has no resource, or a line has not five fields.
    """
    swept = [name for name in resources if name in sweeps or "default" in sweeps]
    _check_names("SWEEPS", resources, sweeps)
    return cron_lines(f"{source}/sweep", swept, sweeps, "SWEEPS")


def cron_lines(
    source: str, resources: list[str], schedules: Mapping[str, str], setting: str = "SCHEDULES"
) -> dict[str, str]:
    """Give the cron line of each resource, in UTC; H in the minute field becomes a minute of its own.

    Raises:
        SettingsError: a resource has no schedule, a schedule no resource, or a line has not five fields.
    """
    _check_names(setting, resources, schedules)
    lines = {}
    for resource in resources:
        line = schedules.get(resource) or schedules.get("default")
        if not line or len(line.split()) != FIELDS:
            raise SettingsError(
                f"{setting} in source_config.py has no cron line of five fields for {resource} (found: {line!r}). "
                'Give it one, or one for "default".'
            )
        minute, *others = line.split()
        lines[resource] = " ".join([minute_of(source, resource) if minute == "H" else minute, *others])
    return lines


def _check_names(setting: str, resources: list[str], schedules: Mapping[str, str]) -> None:
    if unknown := sorted(set(schedules) - {*resources, "default"}):
        raise SettingsError(
            f"{setting} in source_config.py names {', '.join(unknown)}, which is no resource. "
            f"There are: {', '.join(resources)}."
        )


def minute_of(source: str, resource: str) -> str:
    """Give the minute of a resource: always the same, and spread over the hour, as Jenkins does for H."""
    digest = hashlib.blake2b(f"{source}/{resource}".encode(), digest_size=8).digest()
    return str(int.from_bytes(digest) % 60)
