"""Never out of time, nothing lost: a pass of any length finishes over as many invocations as it needs."""

import math
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.end_to_end.support import difference, read_again, serving
from tests.end_to_end.support.places import BigQueryPlace, Place, assert_exact
from tests.end_to_end.support.tables import EXACT
from tests.sample_api import Behaviour, SampleApi, World


def test_a_run_that_is_out_of_time_goes_on_in_the_next_one_on_another_machine(tmp_path: Path) -> None:
    world = World({"contacts": 4_000}, Behaviour(latency=0.25))
    with SampleApi(world) as api:
        # the first invocation has 8 seconds, and forty pages take longer than that
        with serving(api, tmp_path, TIMEOUT_SECONDS=8) as function:
            first = function.load("contacts")
            asked_first = api.offsets("contacts")
        assert (first.code, first["status"]) == (200, "paused")
        assert first.seconds < 8
        assert 0 < first["rows"] < 4_000
        assert first["rows"] - 20 <= first["place"]["offset"] <= first["rows"]

        # that machine is gone, and its disk with it
        shutil.rmtree(tmp_path / "function")
        world.behave(Behaviour())
        with serving(api, tmp_path, TIMEOUT_SECONDS=60) as function:
            second = function.load("contacts")
            asked_second = api.offsets("contacts")[len(asked_first) :]
        assert (second.code, second["status"]) == (200, "complete")
        assert second["pass"]["started_at"] == first["pass"]["started_at"]

        # it went on where the first had stopped, and nothing was read again (but what was on its way when time was up)
        assert asked_first[0] == 0
        assert first["rows"] - 100 < asked_second[0] <= first["rows"]
        assert set(read_again(api)) <= {0, asked_second[0]}
        assert second["pass"]["rows"] == 4_000
    assert difference(tmp_path / "bucket", world.snapshot("contacts")) == EXACT


class Box(NamedTuple):
    """The time that a run has, and what must come of it."""

    seconds: int
    latency: float
    """Of a page, in seconds."""
    least_runs: int
    least_share: float
    """Of the time, for reading."""


@pytest.mark.parametrize(
    ("place", "box"),
    [
        pytest.param("folder", Box(15, 0.6, 3, 0.6), id="folder", marks=pytest.mark.long),
        pytest.param("cloud_storage", Box(15, 0.6, 3, 0.3), id="cloud_storage", marks=pytest.mark.long),
        pytest.param("bigquery", Box(60, 1.2, 2, 0.3), id="bigquery", marks=pytest.mark.long),
    ],
    indirect=["place"],
)
def test_a_pass_that_takes_longer_than_the_time_box_is_exact_and_reads_no_page_twice(
    place: Place, tmp_path: Path, box: Box
) -> None:
    world = World({"contacts": 6_000}, Behaviour(latency=box.latency))
    with (
        SampleApi(world) as api,
        serving(api, tmp_path, environment=place.environment, TIMEOUT_SECONDS=box.seconds) as function,
    ):
        answers = [function.load("contacts")]
        while answers[-1]["status"] == "paused" and len(answers) < 10:
            answers.append(function.load("contacts"))
        asked = len(api.offsets("contacts"))
        again, log = read_again(api), function.log
    assert [answer["status"] for answer in answers] == ["paused"] * (len(answers) - 1) + ["complete"]
    assert len(answers) >= box.least_runs
    assert max(answer.seconds for answer in answers) < box.seconds
    # a page that was on its way when the time was up is asked for again
    cut_off = asked - sum(answer["pages"] for answer in answers)
    assert cut_off <= len(answers) - 1
    assert asked <= 1.2 * math.ceil(6_000 / 100)
    assert len(set(again) - {0}) <= cut_off
    reading = sum(map(float, re.findall(r"read in ([\d.]+) s", log)))
    share = reading / (box.seconds * (len(answers) - 1) + answers[-1].seconds)
    print(f"{len(answers)} runs, {asked} requests, {share:.0%} of the time spent reading")
    assert share >= box.least_share
    if isinstance(place, BigQueryPlace):
        # one chunk in each run: a table takes 1,500 load jobs a day
        loads = Counter(job.table for job in place.front.loads)
        assert max(loads.values()) <= len(answers) + 1
    assert_exact(place, world)


def test_a_run_in_which_no_page_fits_says_so_and_asks_for_nothing_else(tmp_path: Path) -> None:
    world = World({"contacts": 500}, Behaviour(latency=30.0))
    with SampleApi(world) as api, serving(api, tmp_path, TIMEOUT_SECONDS=4) as function:
        answer = function.load("contacts")
        assert len(api.requests) == 1
    assert (answer.code, answer["status"], answer["rows"]) == (200, "paused", 0)
    assert answer.seconds < 4
    assert "not one page fitted" in answer["reason"]
