"""A fold whose lease another run has taken: it commits no slice any more."""

from pathlib import Path

import pytest

from loader.destination import fold
from tests import taking_over
from tests.taking_over import Outcome, taken_over

TAKEN_OVER = {"2": 500, "3": 500}
"""The rows of the first fold that the second brings to its end, and its own."""


@pytest.mark.parametrize(
    ("passes_gate", "refused_by"),
    [
        pytest.param(False, "BusyError", id="it stops before it asks for the lease"),
        pytest.param(True, "CommitFailedError", id="it stops between that and its commit"),
    ],
)
def test_a_fold_that_has_lost_its_lease_commits_no_slice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, passes_gate: bool, refused_by: str
) -> None:
    monkeypatch.setattr(fold, "SLICE_BYTES", taking_over.SLICE_BYTES)
    assert taken_over(tmp_path, passes_gate=passes_gate) == Outcome(refused_by, 0, TAKEN_OVER)
