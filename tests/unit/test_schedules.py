"""Schedules: a cron line per resource, spread over the hour."""

import pytest

from loader.errors import SettingsError
from loader.schedules import cron_lines, minute_of, sweep_lines

NAMES = ["contacts", "teams"]


def test_h_is_a_minute_of_its_own_for_each_resource_and_always_the_same() -> None:
    lines = cron_lines("analytics", NAMES, {"default": "H * * * *"})
    assert lines == cron_lines("analytics", NAMES, {"default": "H * * * *"})
    assert lines["contacts"] != lines["teams"]
    assert all(line.endswith(" * * * *") and 0 <= int(line.split()[0]) < 60 for line in lines.values())


def test_minutes_are_spread_over_the_hour() -> None:
    assert len({minute_of("analytics", f"resource_{number}") for number in range(1000)}) == 60


def test_a_line_of_a_resource_wins_and_plain_cron_is_taken_as_it_is() -> None:
    schedules = {"default": "0 6 * * 1-5", "teams": "*/15 * * * *"}
    assert cron_lines("analytics", NAMES, schedules) == {"contacts": "0 6 * * 1-5", "teams": "*/15 * * * *"}


@pytest.mark.parametrize(
    ("schedules", "message"),
    [
        pytest.param({}, "no cron line of five fields for contacts", id="none"),
        pytest.param({"contacts": "H * * * *"}, "no cron line of five fields for teams", id="no_default"),
        pytest.param({"default": "H * * *"}, "found: 'H \\* \\* \\*'", id="four_fields"),
        pytest.param({"default": "H * * * *", "team": "H * * * *"}, "names team, which is no resource", id="unknown"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(schedules: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        cron_lines("analytics", NAMES, schedules)


def test_only_resources_that_are_named_are_swept_at_a_minute_of_their_own() -> None:
    assert sweep_lines("analytics", NAMES, {}) == {}
    minute = minute_of("analytics/sweep", "teams")
    assert sweep_lines("analytics", NAMES, {"teams": "H 3 * * 0"}) == {"teams": f"{minute} 3 * * 0"}
    assert set(sweep_lines("analytics", NAMES, {"default": "0 3 * * 0"})) == set(NAMES)


@pytest.mark.parametrize(
    ("sweeps", "told"),
    [({"nothing": "0 3 * * 0"}, f"nothing.*There are: {', '.join(NAMES)}"), ({"teams": "weekly"}, "teams.*'weekly'")],
)
def test_a_sweep_that_makes_no_sense_is_refused(sweeps: dict[str, str], told: str) -> None:
    with pytest.raises(SettingsError, match=f"SWEEPS.*{told}"):
        sweep_lines("analytics", NAMES, sweeps)
