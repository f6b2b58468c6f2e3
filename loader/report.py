"""What a run has done so far: its answer, its log line, its row in a table on the terminal."""

import copy
from dataclasses import dataclass, field, fields
from typing import Any

from loader.place import Completed, Pass, shown
from loader.verdict import Evidence, checks


@dataclass(slots=True)
class Report:
    """Filled while the run works, so that it is true whenever it is looked at."""

    resource: str = ""
    status: str = "failed"
    """`paused`, `complete` or `skipped`; `failed` until it is known to be one of these."""
    rows: int = 0
    """Rows of the resource committed by this run, each once."""
    pages: int = 0
    """Pages read and committed by it."""
    chunks: int = 0
    """Commits."""
    folded: int = 0
    """Commits of a fold."""
    place: dict[str, Any] | None = None
    """Where the next run goes on, as it may be seen; None when the pass is complete."""
    current_pass: dict[str, Any] | None = None
    """The pass as committed: started_at, rows, pages, verified, checks."""
    schema_changes: list[dict[str, Any]] = field(default_factory=list)
    """Columns that are new, or wider, or that a field was split over (see `columns`)."""
    deleted: dict[str, int] | None = None
    """Counts of rows that are gone at the API (see `deleted`); None where they are kept as they are."""
    continued: bool = False
    """Whether a task was made that goes on with the pass."""
    reason: str | None = None
    """Why it paused or was skipped."""
    seconds: float = 0.0
    phase: str = "beginning"
    """What it is doing, for the message of a run that must be abandoned."""
    rows_read: int = 0
    """Rows read so far, committed or not; for a progress bar."""
    pages_read: int = 0
    """Pages read so far, committed or not."""
    pass_is_over: bool = False
    """Whether it was skipped because the pass that it was to go on with is over."""
    begins_with: dict[str, bool] = field(default_factory=dict)
    """Fields of the request that tell how its pass begins; a run that goes on with the pass needs them no more."""
    pass_is_kept: bool = False
    """Whether the pass is committed, if only its beginning, so that a later run can go on with it."""
    waiting_since: str | None = None
    """When a pass of it was last complete, or the one under way began if none was; None while that is not known."""
    lease: str = ""
    """The number of the lease that it held."""
    wake_at: float | None = None
    """When the API may be asked again, seconds since 1970, where it has said so."""

    @property
    def has_progressed(self) -> bool:
        """Whether something was committed, so that another run like this one is worth it."""
        return bool(self.chunks or self.folded)

    def take(self, other: "Report") -> None:
        """Take over all that another report says."""
        for each in fields(self):
            setattr(self, each.name, copy.deepcopy(getattr(other, each.name)))

    def add(self, later: "Report") -> None:
        """Take over what a later run of the same resource says; what is counted adds up."""
        rows, pages, chunks, seconds, changes = (
            self.rows,
            self.pages,
            self.chunks,
            self.seconds,
            self.schema_changes,
        )
        self.take(later)
        self.rows += rows
        self.pages += pages
        self.chunks += chunks
        self.seconds += seconds
        self.schema_changes = changes + self.schema_changes

    def passed(self, current: Pass, completed: Completed | None) -> None:
        """Take over what is committed of the pass."""
        self.place = None if completed else shown(current.place)
        if completed:
            self.waiting_since = completed.completed_at
        self.current_pass = {
            "started_at": current.started_at,
            "rows": current.rows,
            "pages": current.pages,
            "verified": completed.verified if completed else None,
            "checks": dict(completed.checks) if completed else checks(Evidence()),
        }

    def next_request(self) -> dict[str, Any]:
        """Give the request that goes on where this run stopped."""
        if self.pass_is_kept and self.current_pass:
            # it is committed only with the next chunk, if there is one
            accepted = {name: True for name in self.begins_with if name == "accept_deletes"}
            return {"resource": self.resource, "pass": self.current_pass["started_at"], **accepted}
        return {"resource": self.resource, **self.begins_with}

    def answer(self) -> dict[str, Any]:
        """Give the fields of the answer."""
        return {
            "resource": self.resource,
            "status": self.status,
            "rows": self.rows,
            "pages": self.pages,
            "chunks": self.chunks,
            "place": self.place,
            "pass": self.current_pass,
            "schema_changes": self.schema_changes,
            "deleted": self.deleted,
            "continued": self.continued,
            "reason": self.reason,
            "seconds": round(self.seconds, 3),
        }
