"""What a pass has seen, and whether that was everything: the rules that `verified` stands on, one by one."""

from dataclasses import replace

import pytest

from loader import verdict
from loader.verdict import Evidence, Tally, advice, checks, combined, verified

WHOLE = Evidence(rows=100, total=100, neighbours=True, beginning=True)
UNKNOWN = Evidence(rows=100)


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        pytest.param(WHOLE, True, id="all_is_well"),
        pytest.param(replace(WHOLE, total=None), True, id="pages_met_and_no_total"),
        pytest.param(replace(UNKNOWN, total=100), True, id="as_many_as_the_total_is_enough"),
        pytest.param(UNKNOWN, None, id="nothing_is_known"),
        pytest.param(replace(UNKNOWN, neighbours=True), None, id="without_the_closing_lap"),
        pytest.param(replace(UNKNOWN, beginning=True), None, id="without_neighbours"),
        pytest.param(replace(WHOLE, rows=99), False, id="a_row_less_than_the_total"),
        pytest.param(replace(WHOLE, neighbours=False), False, id="a_page_that_did_not_follow"),
        pytest.param(replace(WHOLE, beginning=False), False, id="a_beginning_that_was_not_met"),
        pytest.param(replace(WHOLE, columns=False), False, id="a_field_that_is_split_over_two_columns"),
        pytest.param(replace(WHOLE, rows=101), True, id="rows_that_vanished_after_they_were_read"),
        pytest.param(replace(UNKNOWN, rows=101, total=100), None, id="more_than_the_total_proves_nothing"),
        pytest.param(
            replace(UNKNOWN, total=100, is_certain=False), None, id="a_count_that_may_hold_a_row_twice_proves_nothing"
        ),
    ],
)
def test_verified_is_what_the_evidence_allows(evidence: Evidence, expected: bool | None) -> None:  # noqa: FBT001
    checked = checks(evidence)
    assert verified(checked) is expected
    assert bool(advice(checked)) is (expected is False)


def test_a_pass_of_several_lists_is_as_good_as_the_worst_of_them() -> None:
    assert combined([WHOLE, WHOLE], None) == replace(WHOLE, rows=200, total=200)
    assert combined([WHOLE, replace(WHOLE, neighbours=False)], None).neighbours is False
    assert combined([WHOLE, replace(WHOLE, beginning=None)], None).beginning is None
    assert combined([WHOLE, replace(WHOLE, total=None)], None).total is None
    assert combined([WHOLE, replace(WHOLE, is_certain=False)], None).is_certain is False


def test_what_was_missed_of_the_parents_is_missed_of_what_depends_on_them() -> None:
    missed = Evidence(neighbours=False, beginning=False)
    assert verified(checks(combined([WHOLE], missed))) is False
    assert verified(checks(combined([WHOLE], Evidence()))) is None
    assert combined([WHOLE], Evidence(neighbours=True, beginning=True)).is_certain is True


def test_a_row_counts_once_as_long_as_the_keys_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "MAX_SEEN", 3)
    tally = Tally()
    tally.add(["a", "b"])
    tally.add(["b", "c"], may_be_old=True)
    assert (tally.rows, tally.is_certain) == (3, True)
    # one key too many to keep them
    tally.add(["d"])
    tally.add([], may_be_old=True)
    tally.add(["e"])
    assert (tally.rows, tally.is_certain) == (5, True)
    tally.add(["e"], may_be_old=True)
    assert (tally.rows, tally.is_certain) == (6, False)
