"""An incremental cursor moves with the pass, not with the pages, over however many runs a pass is read."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader import incremental

PATH = "updated_at"


def cursor(value: int | None, hashes: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"initial_value": 0, "last_value": value, "unique_hashes": sorted(hashes)}


def state(value: int | None = None) -> dict[str, Any]:
    return {incremental.DLT_KEY: {} if value is None else {PATH: cursor(value)}, "loader": {"kept": True}}


def read(here: dict[str, Any], values: list[int]) -> None:
    """Do what dlt's step does: keep the highest value seen, and the hashes of the rows that have it."""
    known = here[incremental.DLT_KEY].setdefault(PATH, cursor(0))
    for value in values:
        if value > known["last_value"]:
            known.update(last_value=value, unique_hashes=[])
        if value == known["last_value"]:
            known["unique_hashes"] = sorted({*known["unique_hashes"], f"row {value}"})


runs = st.lists(st.lists(st.integers(1, 20), max_size=5), min_size=1, max_size=5)


@given(runs, st.none() | st.integers(0, 20))
def test_within_a_pass_every_run_begins_at_the_same_value_and_the_next_pass_at_the_highest(
    pages: list[list[int]], before: int | None
) -> None:
    kept = state(before)
    aside: dict[str, Any] = {}
    beginning = incremental.snapshot(kept)
    for values in pages:
        assert incremental.snapshot(kept) == beginning
        read(kept, values)
        aside = incremental.furthest(aside, incremental.snapshot(kept))
        incremental.put_back(kept, beginning)
    # the last run of the pass reads nothing more
    read(kept, [])
    incremental.advance(kept, incremental.furthest(aside, incremental.snapshot(kept)))

    at_once = state(before)
    read(at_once, [value for values in pages for value in values])
    assert kept == at_once


@given(runs)
def test_nothing_but_the_cursors_is_touched(pages: list[list[int]]) -> None:
    kept = state(3)
    beginning = incremental.snapshot(kept)
    for values in pages:
        read(kept, values)
    incremental.put_back(kept, beginning)
    assert kept == state(3)


def test_the_object_that_dlt_holds_on_to_stays_the_same() -> None:
    kept = state(3)
    held = kept[incremental.DLT_KEY][PATH]
    incremental.put_back(kept, {PATH: cursor(1)})
    incremental.advance(kept, {PATH: cursor(9)})
    assert kept[incremental.DLT_KEY][PATH] is held
    assert held == cursor(9)


def test_a_cursor_that_went_down_is_the_furthest_where_the_resource_says_so() -> None:
    merged = incremental.furthest({PATH: cursor(2)}, {PATH: cursor(5)}, min)
    assert merged == {PATH: cursor(2)}


@pytest.mark.parametrize(
    ("aside", "now"),
    [
        pytest.param({PATH: cursor(5)}, {}, id="this run has none"),
        pytest.param({PATH: cursor(5)}, {PATH: cursor(None)}, id="this run has seen nothing"),
        pytest.param({PATH: cursor(None)}, {PATH: cursor(5)}, id="those before have seen nothing"),
    ],
)
def test_a_cursor_that_has_seen_nothing_hides_none_that_has(aside: dict[str, Any], now: dict[str, Any]) -> None:
    assert incremental.furthest(aside, now) == {PATH: cursor(5)}


def test_what_is_merged_is_not_changed() -> None:
    aside, now = {PATH: cursor(5, ("a",))}, {PATH: cursor(5, ("b",))}
    before = copy.deepcopy((aside, now))
    assert incremental.furthest(aside, now) == {PATH: cursor(5, ("a", "b"))}
    assert (aside, now) == before
