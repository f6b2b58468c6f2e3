"""What is promised of a list that moves while it is read: the pure rules, over a model of such an API."""

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.rounds import Rounds
from loader.verdict import Evidence, checks, verified
from loader.walk import SamePageError

Row = tuple[int, int]
"""Key and version."""


@dataclass
class Model:
    """A list that changes between two requests, and a reader of it."""

    count: int
    limit: int = 100
    cap: int | None = None
    has_total: bool = True
    seed: int = 0
    events: tuple[str, ...] = ()
    """What may happen."""
    every: int = 3
    """After each that many requests, something happens."""
    volatile: bool = False
    """Whether rows differ each time they are sent."""
    pause_every: int | None = None
    """After each that many requests, the reader is written down and read again."""
    unstable: bool = False
    in_flight: int = 1
    """So many pages are asked for at once; they are answered in any order."""
    rows: list[Row] = field(init=False)
    delivered: list[Row] = field(init=False, default_factory=list)
    requests: int = field(init=False, default=0)
    changes: int = field(init=False, default=0)
    changed_in_the_middle: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.rows = [(key, 0) for key in range(self.count)]
        self.at_first = {key for key, _ in self.rows}
        self.random = random.Random(self.seed)  # noqa: S311 - a model, repeatable
        self.next_key = self.count
        self.rounds = Rounds.begin(0, self.limit)
        self.ahead: dict[int, tuple[list[Row], int, bool]] = {}

    def read(self) -> "Model":
        while not self.rounds.is_done:
            assert self.requests < self.bound, "the reader does not come to an end"
            self.request()
        return self

    @property
    def bound(self) -> int:
        """Work is bounded, whatever the list does."""
        return 60 * self.in_flight * (self.count // min(self.limit, self.cap or self.limit) + 10)

    def request(self) -> None:
        self.ask()
        page, total, is_ahead = self.ahead.pop(self.rounds.offset)
        try:
            new = self.rounds.page(
                [str(key) for key, _ in page],
                [f"{key}:{version}" + (f":{self.requests}" if self.volatile else "") for key, version in page],
                total if self.has_total else None,
                is_ahead=is_ahead,
            )
        except SamePageError:
            # so many rows came in while several pages were under way that one is there again: it is asked for again
            assert self.in_flight > 1
            return
        self.delivered += [page[index] for index in new]
        if self.pause_every and self.requests % self.pause_every == 0:
            self.rounds, self.ahead = Rounds.of(json.loads(json.dumps(self.rounds.state()))), {}

    def ask(self) -> None:
        """Ask for the next pages; forget what was asked for in vain."""
        offsets = list(islice(self.rounds.offsets_ahead(), self.in_flight))
        assert offsets[0] == self.rounds.offset
        self.ahead = {offset: answer for offset, answer in self.ahead.items() if offset in offsets}
        missing = [offset for offset in offsets if offset not in self.ahead]
        for offset in self.random.sample(missing, len(missing)):
            self.ahead[offset] = (*self.answer(offset), offset != offsets[0])

    def answer(self, offset: int) -> tuple[list[Row], int]:
        if self.unstable:
            self.random.shuffle(self.rows)
        page, total = self.rows[offset : offset + min(self.limit, self.cap or self.limit)], len(self.rows)
        self.requests += 1
        if self.events and self.requests % self.every == 0 and self.changes < self.count // 2:
            self.changes += 1
            self.change(self.random.choice(self.events), offset + len(page))
        return page, total

    def change(self, event: str, read: int) -> None:
        read = min(read, len(self.rows))
        unread = len(self.rows) - read
        if event == "delete" and read:
            del self.rows[self.random.randrange(read)]
        elif event == "delete_ahead" and unread:
            del self.rows[self.random.randrange(read, len(self.rows))]
        elif event == "insert_front":
            self.insert(0)
        elif event == "insert_end":
            self.insert(len(self.rows))
        elif event == "move_front" and unread:
            self.move(self.random.randrange(read, len(self.rows)), 0)
        elif event == "move_read_front" and read:
            self.move(self.random.randrange(read), 0)
        elif event in ("move_end", "move_on") and read:
            is_touched = event == "move_end"
            to = len(self.rows) if is_touched else self.random.randrange(read, len(self.rows) + 1)
            self.move(self.random.randrange(read), to, is_touched=is_touched)
        elif event == "insert_middle" and read > 1:
            self.changed_in_the_middle = True
            self.insert(self.random.randrange(1, read))
        elif event == "move_middle" and read > 1 and unread:
            self.changed_in_the_middle = True
            self.move(self.random.randrange(read, len(self.rows)), self.random.randrange(1, read))

    def insert(self, index: int) -> None:
        self.rows.insert(index, (self.next_key, 0))
        self.next_key += 1

    def move(self, index: int, to: int, *, is_touched: bool = True) -> None:
        """Move a row that has not moved yet: one that goes to the front and on to the end is seen by nobody."""
        if self.rows[index][1]:
            return
        key, version = self.rows.pop(index)
        self.rows.insert(to, (key, version + is_touched))

    @property
    def missing(self) -> set[int]:
        """Keys that were there at the beginning, live at the end, and were never delivered."""
        living = {key for key, _ in self.rows}
        return (living & self.at_first) - {key for key, _ in self.delivered}

    @property
    def doubled(self) -> list[Row]:
        """Rows that were delivered twice as they are."""
        return [row for row, times in Counter(self.delivered).items() if times > 1]

    @property
    def verified(self) -> bool | None:
        tally = self.rounds.tally
        evidence = Evidence(
            tally.rows, tally.is_certain, self.rounds.total, self.rounds.neighbours, self.rounds.beginning
        )
        return verified(checks(evidence))

    @property
    def least(self) -> int:
        return max(-(-self.count // min(self.limit, self.cap or self.limit)), 1)


@pytest.mark.parametrize(
    ("model", "most"),
    [
        pytest.param(Model(20_000), 1.02, id="calm"),
        pytest.param(Model(20_000, events=("delete",)), 1.35, id="a row is deleted each three pages"),
        pytest.param(Model(20_000, events=("delete", "insert_front"), every=2), 1.35, id="deletes and inserts"),
        pytest.param(Model(20_000, events=("move_front",)), 1.35, id="a row moves to the front each three pages"),
        pytest.param(Model(20_000, events=("move_front",), has_total=False), 1.35, id="the same without a total"),
        pytest.param(Model(20_000, events=("move_end",)), 1.35, id="rows that were read move to the end"),
        pytest.param(Model(20_000, cap=50, events=("delete",)), 1.35, id="cap 50 with deletes"),
        pytest.param(Model(8_000, events=("delete",), every=4, pause_every=7), 1.6, id="many invocations"),
        pytest.param(Model(20_000, events=("move_front",), pause_every=7), 1.6, id="moves over many invocations"),
    ],
)
def test_no_row_is_missed_and_none_is_doubled_at_a_bounded_price(model: Model, most: float) -> None:
    model.read()
    assert model.missing == set()
    assert model.doubled == []
    assert model.verified is True
    assert model.requests <= most * model.least


@pytest.mark.parametrize("events", [(), ("delete",)], ids=["calm", "deletes"])
def test_rows_that_differ_each_time_they_are_sent_are_told_apart_by_their_keys(events: tuple[str, ...]) -> None:
    model = Model(5_000, volatile=True, events=events).read()
    assert model.missing == set()
    assert model.doubled == []
    assert model.verified is not False
    assert model.requests <= 1.35 * model.least


@pytest.mark.parametrize("has_total", [True, False], ids=["total", "no total"])
@pytest.mark.parametrize("count", [0, 1, 2, 99, 100, 101, 199, 200, 1_234])
@pytest.mark.parametrize("cap", [None, 50, 2, 1])
def test_a_calm_list_of_any_size_under_any_cap_is_read_once(count: int, cap: int | None, has_total: bool) -> None:  # noqa: FBT001
    model = Model(count, cap=cap, has_total=has_total).read()
    assert sorted(key for key, _ in model.delivered) == list(range(count))
    assert model.verified is not False
    if has_total:
        assert model.verified is True
    # one to see that nothing follows, one for the lap, and what consecutive pages share
    shared = model.least // 50 + 1 if cap is None else model.least + 1
    assert model.requests <= model.least + 2 + shared


@pytest.mark.parametrize("count", [150, 300, 2_000, 20_000])
def test_a_list_without_an_order_ends_in_bounded_work_and_is_not_verified(count: int) -> None:
    model = Model(count, unstable=True).read()
    assert model.verified is False
    assert model.requests <= 1.3 * model.least + 60


def test_a_total_that_is_too_small_ends_nothing() -> None:
    rounds, read = Rounds.begin(0, 10), 0
    while not rounds.is_done:
        page = [str(key) for key in range(rounds.offset, min(rounds.offset + 10, 95))]
        read += len(rounds.page(page, page, 20))
    assert read == 95


@pytest.mark.parametrize("total", [20, 60, None])
def test_a_total_that_is_too_small_ends_nothing_where_pages_differ_in_size(total: int | None) -> None:
    rounds, read = Rounds.begin(0, 10), 0
    while not rounds.is_done:
        size = 7 if rounds.offset % 2 else 10
        page = [str(key) for key in range(rounds.offset, min(rounds.offset + size, 95))]
        read += len(rounds.page(page, page, total))
    assert read == 95


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(lambda number: number % 150, id="again after a page"),
        pytest.param(lambda number: number // 2, id="twins"),
        pytest.param(lambda number: number // 5, id="five in a row"),
    ],
)
def test_rows_without_keys_may_be_equal_and_are_yet_all_delivered(value: Callable[[int], int]) -> None:
    rows = [str(value(number)) for number in range(251)]
    rounds, read = Rounds.begin(0, 100, has_keys=False), []
    while not rounds.is_done:
        page = rows[rounds.offset : rounds.offset + 100]
        read += [page[index] for index in rounds.page(page, page, 251)]
    assert sorted(read) == sorted(rows)
    assert rounds.tally.rows == 251


def test_a_list_of_one_row_that_comes_for_each_offset_ends() -> None:
    rounds = Rounds.begin(0, 10)
    assert rounds.page(["1"], ["1"], None) == [0]
    assert rounds.page(["1"], ["1"], None) == []
    assert rounds.is_done
    assert rounds.neighbours is False


def test_an_offset_that_is_ignored_is_an_error_not_an_end() -> None:
    rounds = Rounds.begin(0, 10)
    page = [str(key) for key in range(10)]
    rounds.page(page, page, None)
    with pytest.raises(SamePageError):
        rounds.page(page, page, None)


def test_a_short_page_that_comes_again_ends_the_list_unverified() -> None:
    rounds = Rounds.begin(0, 10)
    page = ["1", "2", "3"]
    rounds.page(page, page, None)
    assert rounds.page(page, page, None) == []
    assert rounds.is_done
    assert rounds.neighbours is False


AT_THE_ENDS = ("delete", "delete_ahead", "insert_front", "insert_end", "move_front", "move_read_front", "move_end")

models = st.builds(
    Model,
    count=st.integers(0, 250),
    limit=st.integers(10, 60),
    cap=st.none() | st.integers(8, 60),
    has_total=st.booleans(),
    seed=st.integers(0, 2**32),
    events=st.lists(st.sampled_from(AT_THE_ENDS), unique=True).map(tuple),
    every=st.integers(1, 6),
    in_flight=st.sampled_from([1, 1, 2, 4, 8]),
    pause_every=st.none() | st.integers(1, 9),
)


@settings(max_examples=1_000, deadline=None, derandomize=True)
@given(models)
def test_rows_that_live_through_the_pass_are_delivered_whatever_happens_at_the_ends(model: Model) -> None:
    model.read()
    assert model.missing == set()


@settings(max_examples=1_000, deadline=None, derandomize=True)
@given(models, st.sampled_from([("insert_middle",), ("move_middle",), ("insert_middle", "move_middle", "delete")]))
def test_verified_is_true_over_a_missing_row_only_in_the_masked_case(model: Model, events: tuple[str, ...]) -> None:
    model.events = (*model.events, *events)
    model.read()
    assert not (model.verified and model.missing) or model.changed_in_the_middle


def test_the_masked_case_is_what_verified_cannot_see() -> None:
    """A row moves into the middle of what was read while one that was read vanishes: who reads once can't see it."""
    model = Model(500, has_total=False)
    for _ in range(3):
        model.request()
    model.move(450, 150)
    del model.rows[120]
    model.read()
    assert model.missing == {450}
    assert model.verified is True
    # the next pass is a calm one
    model.rounds = Rounds.begin(0, model.limit)
    assert model.read().missing == set()


@pytest.mark.parametrize("pages", [1, 3, 12])
def test_a_row_that_moves_on_as_it_is_hides_no_other(pages: int) -> None:
    for row in range(pages * 100 - 1, -1, -7):
        for to in (*range(pages * 100 - 3, pages * 100 + 110, 8), 1_450):
            model = Model(1_500, has_total=False)
            while model.rounds.walk.pages < pages:
                model.request()
            model.move(row, to, is_touched=False)
            model.read()
            assert (model.missing, model.verified) == (set(), True), (row, to)


@pytest.mark.parametrize(
    "model",
    [
        Model(276, limit=11, seed=197, events=("move_on",), every=2),
        Model(398, limit=13, seed=86, events=("move_on",), every=1, pause_every=5),
    ],
)
def test_a_list_that_was_shuffled_is_not_gone_round_in_for_ever(model: Model) -> None:
    assert model.read().missing == set()


def test_however_often_the_reader_steps_back_it_begins_anew_only_where_that_leads_nowhere() -> None:
    model = Model(12_000)
    for _ in range(40):
        for _ in range(3):
            model.request()
        del model.rows[:60]
    model.read()
    assert model.missing == set()
    assert model.rounds.walk.restarts == 0


@settings(max_examples=1_000, deadline=None, derandomize=True)
@given(models)
def test_rows_that_move_on_as_they_are_hide_none_while_others_come_and_go(model: Model) -> None:
    model.in_flight, model.every = 1, max(model.every, 3)
    model.events = (*model.events, "move_on")
    assert model.read().missing == set()


def walked(*pages: Sequence[int]) -> Rounds:
    """Give a reading of pages of 100 rows, each asked for when the one before it had come."""
    rounds = Rounds.begin(0, 100)
    for page in pages:
        keys = [str(key) for key in page]
        rounds.page(keys, keys, None)
    return rounds


@pytest.mark.parametrize(
    ("is_older", "totals", "neighbours"),
    [
        pytest.param(True, (None, None), None, id="it may have moved past all that came early"),
        pytest.param(True, (9_000, 9_000), None, id="it is in the list still"),
        pytest.param(True, (8_999, 9_000), True, id="it was deleted"),
        pytest.param(False, (None, None), True, id="the page came later, or hardly earlier, so one may have come in"),
    ],
)
def test_where_a_row_has_left_the_page_before_one_that_came_early_a_pass_is_not_verified_by_its_pages(
    *, is_older: bool, totals: tuple[int | None, int | None], neighbours: bool | None
) -> None:
    # row 150 has left the second page, which is slow, when the third one has come already
    rounds = walked(range(100))
    second, third = [99, *range(100, 150), *range(151, 200)], range(198, 298)
    for page, total, came_early in ((second, totals[0], False), (third, totals[1], is_older)):
        keys = [str(key) for key in page]
        rounds.page(keys, keys, total, is_ahead=True, is_older=came_early)
    assert rounds.tally.rows == 297
    assert rounds.neighbours is neighbours


def test_a_page_that_came_early_before_others_came_in_at_the_end_has_met_its_neighbour() -> None:
    rounds = walked(range(100))
    for page, total, came_early in ((range(99, 199), 9_001, False), (range(198, 298), 9_000, True)):
        keys = [str(key) for key in page]
        rounds.page(keys, keys, total, is_ahead=True, is_older=came_early)
    assert rounds.neighbours


def test_what_is_asked_for_ahead_in_a_list_that_moves_does_not_depend_on_how_long_it_was_calm() -> None:
    told = []
    for calm_pages in (0, 19):
        rounds = walked(range(100))
        rounds.walk.overlap, rounds.walk.calm_pages = 3, calm_pages
        told.append([*islice(rounds.offsets_ahead(), 256)])
    assert told[0] == told[1]


def test_when_a_list_has_been_calm_for_long_fewer_rows_are_shared_again() -> None:
    rounds = walked(range(100))
    rounds.walk.overlap = 8
    offsets = [*islice(rounds.offsets_ahead(), 1200)]
    assert {100 - (after - before) for before, after in pairwise(offsets[1:])} == {8, 4, 2, 1}
