"""The brake of marking: what is counted, and when nothing is marked."""

from hypothesis import given
from hypothesis import strategies as st

from loader.deleted import Found, counts

FOUND = st.builds(
    lambda living, gone, marked, before: Found(living + gone, gone, marked, before),
    *(st.integers(0, 300) for _ in range(4)),
)


@given(FOUND, st.integers(0, 300), st.booleans())
def test_either_all_that_is_gone_is_marked_or_none_of_it(found: Found, before: int, accepted: bool) -> None:  # noqa: FBT001
    told = counts(found, before, accepted=accepted)
    gone = found.gone + found.marked
    living = found.living + found.marked
    if accepted or found.marked or gone <= 10 or gone <= living / 10:
        assert (told["marked"], told["held_back"]) == (gone, 0)
    else:
        assert (told["marked"], told["held_back"]) == (0, found.gone)
    assert told["returned"] == max(before - found.marked_before, 0)


@given(FOUND, st.integers(0, 300))
def test_what_a_run_has_begun_to_mark_is_marked_whole_though_the_next_one_was_told_nothing(
    found: Found, done: int
) -> None:
    """It was killed, or out of time: some of the rows that are gone have their mark already."""
    done = min(done, found.gone)
    later = Found(found.living - done, found.gone - done, found.marked + done, found.marked_before)
    told = counts(later, 0, accepted=not later.marked)
    assert told == counts(found, 0, accepted=True)
