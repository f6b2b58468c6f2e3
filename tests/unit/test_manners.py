"""An API is asked for fewer pages at once when it refuses, for more as it answers, and never before it wants to be."""

from itertools import pairwise

import pytest

from loader.manners import TRIAL_ANSWERS, Manners, Turn


def turns(manners: Manners) -> list[Turn]:
    """Take as many turns as there are."""
    taken = []
    while turn := manners.enter():
        taken.append(turn)
    return taken


def give_back(manners: Manners, taken: list[Turn], borne: int = 99) -> int:
    """Let an API that bears so many at once answer; give how many it refused."""
    refused = 0
    for turn in taken:
        refused += turn.level > borne
        manners.leave(turn, 429 if turn.level > borne else 200)
    return refused


def test_never_more_than_the_most_are_under_way() -> None:
    manners = Manners(8)
    assert len(turns(manners)) == 8


def test_never_more_than_the_most_are_under_way_however_long_all_is_calm() -> None:
    manners = Manners(8)
    give_back(manners, turns(manners), borne=7)
    widths = []
    for _ in range(100):
        taken = turns(manners)
        widths.append(len(taken))
        give_back(manners, taken)
    assert max(widths) == 8


def test_an_api_that_refuses_all_is_asked_for_one_page_at_a_time() -> None:
    manners = Manners(4)
    for _ in range(5):
        give_back(manners, turns(manners), borne=0)
    assert len(turns(manners)) == 1


@pytest.mark.parametrize("refused", [1, 2, 4])
@pytest.mark.parametrize("status", [429, 503])
def test_after_a_refusal_half_as_many_are_under_way_however_many_were_refused_together(
    status: int, refused: int
) -> None:
    manners = Manners(8)
    for turn in turns(manners)[-refused:]:
        manners.leave(turn, status)
    assert int(manners.allowed) == 4


@pytest.mark.parametrize("status", [200, 404, 500, None])
def test_other_answers_and_broken_connections_are_no_refusals(status: int | None) -> None:
    manners = Manners(8)
    for turn in turns(manners):
        manners.leave(turn, status)
    assert len(turns(manners)) == 8


def test_more_are_under_way_again_as_they_succeed() -> None:
    manners = Manners(8)
    give_back(manners, turns(manners), borne=7)
    widths = []
    for _ in range(12):
        taken = turns(manners)
        widths.append(len(taken))
        give_back(manners, taken)
    assert widths[0] == 4
    assert widths[4] == 7
    # what was refused before is tried again after a while
    assert widths[-1] == 8


@pytest.mark.parametrize("borne", [1, 3, 5])
@pytest.mark.parametrize("most", [4, 8, 16])
def test_a_limit_of_requests_at_once_is_found_and_kept_to(most: int, borne: int) -> None:
    manners = Manners(most)
    refused = answered = 0
    while answered < 1_000:
        taken = turns(manners)
        refused += give_back(manners, taken, borne)
        answered += len(taken)
    assert refused <= most - borne + 6


def test_each_trial_that_fails_makes_the_next_one_come_later() -> None:
    manners, trials = Manners(2), []
    for number in range(TRIAL_ANSWERS * 16):
        taken = turns(manners)
        if give_back(manners, taken, borne=1):
            trials.append(number)
    waits = [later - earlier for earlier, later in pairwise(trials)]
    assert waits == sorted(waits)
    assert waits[0] >= TRIAL_ANSWERS
    assert waits[-1] >= 2 * waits[0] - 1


def test_the_longest_wait_that_was_said_holds() -> None:
    manners = Manners(4)
    manners.hold(30.0)
    manners.hold(10.0)
    assert manners.held(12.0) == 18.0
    assert manners.held(31.0) == 0.0
