"""When a chunk is full: the time kept back for its commit is never more than a run can spare, nor too little."""

from hypothesis import given
from hypothesis import strategies as st

from loader.chunk import MAX_SHARE, SHARE_UNTRIED, SLACK_SECONDS, Bounds, Commit
from loader.deadline import Deadline
from tests.clock import DrivenClock

commits = st.none() | st.builds(Commit, seconds=st.floats(0, 1_000), bytes=st.integers(0, 10**9))


def bounds(last_commit: Commit | None = None, box_seconds: float = 100.0, least_reserve: float = 0.0) -> Bounds:
    clock = DrivenClock()
    return Bounds(
        deadline=Deadline(clock, box_seconds),
        box_seconds=box_seconds,
        last_commit=last_commit,
        least_reserve=least_reserve,
        chunk_seconds=300.0,
        chunk_bytes=1 << 20,
    )


def test_for_a_first_commit_a_part_of_the_time_box_is_kept_back() -> None:
    assert bounds().reserve(0) == SHARE_UNTRIED * 100


def test_a_commit_may_take_longer_than_the_last_one() -> None:
    assert bounds(Commit(10.0, 1_000)).reserve(1_000) == 15.0 + SLACK_SECONDS


def test_a_chunk_four_times_as_large_may_take_twice_as_long() -> None:
    assert bounds(Commit(10.0, 1_000)).reserve(4_000) == 30.0 + SLACK_SECONDS


def test_where_a_run_died_with_too_little_more_is_kept_back() -> None:
    assert bounds(Commit(1.0, 1_000), least_reserve=44.0).reserve(1_000) == 44.0


@given(commits, st.floats(1, 10_000), st.floats(0, 10_000), st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_run_can_always_read_and_a_larger_chunk_never_gets_less_time(
    commit: Commit | None, box_seconds: float, least_reserve: float, some: int, more: int
) -> None:
    chunk = bounds(commit, box_seconds, least_reserve)
    small, large = sorted((some, more))
    assert 0 < chunk.reserve(small) <= chunk.reserve(large) <= MAX_SHARE * box_seconds
    assert chunk.read_until(large).at <= chunk.read_until(small).at < chunk.deadline.at


@given(commits, st.floats(5, 10_000), st.integers(0, 10**9))
def test_the_first_page_of_a_run_is_waited_for_at_least_as_long_as_the_others(
    commit: Commit | None, box_seconds: float, size: int
) -> None:
    chunk = bounds(commit, box_seconds)
    assert chunk.read_until(size).at <= chunk.first_page_until().at <= chunk.deadline.at
