"""Never out of time, nothing lost: a pass of any length finishes over as many invocations as it needs."""

import math
import shutil
from pathlib import Path

from tests.end_to_end.support import difference, read_again, serving
from tests.end_to_end.support.tables import EXACT
from tests.sample_api import Behaviour, SampleApi, World


def test_a_run_that_is_out_of_time_goes_on_in_the_next_one_on_another_machine(tmp_path: Path) -> None:
    world = World({"contacts": 2_000}, Behaviour(latency=0.5))
    with SampleApi(world) as api:
        # the first invocation has 10 seconds, and twenty pages take longer than it may read
        with serving(api, tmp_path, TIMEOUT_SECONDS=10) as function:
            first = function.load("contacts")
            asked_first = api.offsets("contacts")
        assert (first.code, first["status"]) == (200, "paused")
        assert first.seconds < 10
        assert 0 < first["rows"] < 2_000
        assert first["rows"] - 20 <= first["place"]["offset"] <= first["rows"]

        # that machine is gone, and its disk with it
        shutil.rmtree(tmp_path / "function")
        world.behave(Behaviour())
        with serving(api, tmp_path, TIMEOUT_SECONDS=60) as function:
            second = function.load("contacts")
            asked_second = api.offsets("contacts")[len(asked_first) :]
        assert (second.code, second["status"]) == (200, "complete")
        assert second["pass"]["started_at"] == first["pass"]["started_at"]

        # it went on where the first had stopped, and nothing was read again
        assert asked_first[0] == 0
        assert first["rows"] - 100 < asked_second[0] <= first["rows"]
        assert set(read_again(api)) <= {0}
        assert second["pass"]["rows"] == 2_000
    assert difference(tmp_path / "bucket", world.snapshot("contacts")) == EXACT


def test_a_pass_that_takes_longer_than_the_time_box_is_exact_and_reads_no_page_twice(tmp_path: Path) -> None:
    world = World({"contacts": 6_000}, Behaviour(latency=0.6))
    with SampleApi(world) as api, serving(api, tmp_path, TIMEOUT_SECONDS=15) as function:
        answers = [function.load("contacts")]
        while answers[-1]["status"] == "paused" and len(answers) < 10:
            answers.append(function.load("contacts"))
        asked = len(api.offsets("contacts"))
        again = read_again(api)
    assert [answer["status"] for answer in answers] == ["paused"] * (len(answers) - 1) + ["complete"]
    assert len(answers) >= 3
    assert max(answer.seconds for answer in answers) < 15
    assert sum(answer["pages"] for answer in answers) == asked
    assert asked <= 1.2 * math.ceil(6_000 / 100)
    assert set(again) <= {0}
    # at least 60 % of the time box is spent reading
    for answer in answers[:-1]:
        assert answer["pages"] * 0.6 >= 0.6 * 15
    assert difference(tmp_path / "bucket", world.snapshot("contacts")) == EXACT


def test_a_run_in_which_no_page_fits_says_so_and_asks_for_nothing_else(tmp_path: Path) -> None:
    world = World({"contacts": 500}, Behaviour(latency=30.0))
    with SampleApi(world) as api, serving(api, tmp_path, TIMEOUT_SECONDS=4) as function:
        answer = function.load("contacts")
        assert len(api.requests) == 1
    assert (answer.code, answer["status"], answer["rows"]) == (200, "paused", 0)
    assert answer.seconds < 4
    assert "not one page fitted" in answer["reason"]
