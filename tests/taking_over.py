"""A fold that has lost its lease unknowingly: `python -m tests.taking_over URL FOLDER` prints what came of it."""

import json
import os
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from deltalake.exceptions import CommitFailedError
from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from loader.deadline import Deadline
from loader.destination import fold
from loader.destination.bucket_lease import NumberedFiles
from loader.errors import BusyError
from loader.lease import Lease
from tests.clock import DrivenClock
from tests.folding import Folding, Row

ROWS = 1_000
SLICE_BYTES = 20_000
"""For several slices (of `loader.destination.fold`)."""
COMMITS = 2
"""So many commits the first fold makes before the other takes over."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    refused_by: str
    """What stopped the first fold."""
    commits_since: int
    """Of the first, after the other took over."""
    revisions: dict[str, int]
    """How many rows have which revision in the end."""


def taken_over(folder: Path, url: str = "", *, passes_gate: bool) -> Outcome:
    """Let a fold stop in the middle, another take its lease, stage and fold, and the first go on then.

    Args:
        folder: for files, and for the tables if there is no URL.
        url: of the tables.
        passes_gate: whether the first stops after it was let through to commit, or before.
    """
    files, path = url_to_fs(f"{url or folder}/_loader_leases/analytics/rows")
    clock = DrivenClock()
    first, second = Folding(folder, url=url), Folding(folder, url=url, packages=10)
    first.stage(rows(range(ROWS), 1))
    first.run()
    first.stage(rows(range(ROWS), 2))
    lease = taken(files, path, clock)
    gates, version = 0, 0

    def take_over() -> None:
        nonlocal version
        clock.advance(3600.0)
        second.gate.guard(taken(files, path, clock).check)
        second.stage(rows(range(0, ROWS, 2), 3))
        assert second.run()[0]
        version = version_of(second)

    def gate() -> None:
        nonlocal gates
        gates += 1
        if gates > COMMITS and passes_gate:
            lease.check()
        if gates == COMMITS + 1:
            take_over()
        if not passes_gate:
            lease.check()

    first.gate.guard(gate)
    try:
        first.run()
        refused_by = "nothing"
    except (BusyError, CommitFailedError) as error:
        refused_by = type(error).__name__
    found = Counter(str(row["revision"]) for row in second.rows("id, revision"))
    return Outcome(refused_by, version_of(second) - version, dict(found))


def rows(keys: range, revision: int) -> list[Row]:
    return [{"id": key, "revision": revision, "text": f"row {key} " * 3} for key in keys]


def taken(files: AbstractFileSystem, path: str, clock: DrivenClock) -> Lease:
    lease = Lease.take(NumberedFiles(files, path, clock), Deadline(clock, clock.monotonic() + 540.0))
    assert lease is not None
    return lease


def version_of(folding: Folding) -> int:
    table = folding.target.open()
    assert table is not None
    return table.version()


if __name__ == "__main__":
    fold.SLICE_BYTES = SLICE_BYTES
    for passes_gate in (False, True):
        part = f"passes-gate-{passes_gate}"
        outcome = taken_over(Path(sys.argv[2]) / part, f"{sys.argv[1]}/{part}", passes_gate=passes_gate)
        print(json.dumps(asdict(outcome)), flush=True)
    os._exit(0)
