"""Where the next run goes on. It lives in dlt's resource state, so it is committed with the rows it speaks of."""

import hashlib
import json
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dlt.common.configuration.specs import BaseConfiguration

from loader.chunk import Commit
from loader.verdict import Evidence, checks, verified

FORMAT = 1
"""Version of what is kept; a record of another version begins a new pass."""

STATE_KEY = "loader"
"""Under this name, in the resource's state."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The last complete pass."""

    started_at: str
    """When it began, ISO 8601 in UTC."""
    completed_at: str
    """When it was complete, ISO 8601 in UTC."""
    rows: int
    """Rows seen in it, each once."""
    pages: int
    """Pages read in it."""
    runs: int
    """Runs that it took."""
    seconds: float
    """Spent in reading it."""
    verified: bool | None
    """Whether it saw everything; None where that is not to be known."""
    checks: Mapping[str, bool | None]
    """The checks behind `verified`."""


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass under way."""

    started_at: str
    """When it began, ISO 8601 in UTC."""
    place: Mapping[str, Any] | None = None
    """Where the next page is, as its paginator knows it (see `paging`); None before the first page."""
    rows: int = 0
    """Rows seen so far, each once."""
    pages: int = 0
    """Pages read so far."""
    runs: int = 1
    """Runs that worked on it so far."""
    seconds: float = 0.0
    """Spent in reading it so far."""
    cursors: Mapping[str, Any] = field(default_factory=dict)
    """Incremental cursors as far as they were seen; they count when the pass is complete (see `incremental`)."""
    sweep: bool = False
    """Whether it reads everything beside the incremental cursor, which stays where it was."""
    aside: Mapping[str, Any] = field(default_factory=dict)
    """In a sweep: dlt's incremental cursors, as they were before it."""
    since: str | None = None
    """The load ids of its packages are greater; None where nothing is marked after it (see `deleted`)."""
    accept_deletes: bool = False
    """Whether any number of rows may be marked after it."""
    finished: Completed | None = None
    """Once every page is read and committed, what it will be complete as: what is left of it is a fold."""

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "Pass":
        """Read a pass from what is kept of it."""
        finished = kept.get("finished")
        return cls(**{**kept, "finished": Completed(**finished) if finished else None})

    def folded(self, now: str, *, columns: bool) -> Completed:
        """Give the record of this pass, complete at `now`: every page was read before, and all of it is folded.

        Args:
            now: ISO 8601 in UTC.
            columns: whether each field has one column in the table.
        """
        assert self.finished is not None  # noqa: S101 - so the caller knows
        checked = {**self.finished.checks, "columns": columns}
        return replace(self.finished, completed_at=now, runs=self.runs, checks=checked, verified=verified(checked))

    def completed(self, now: str, evidence: Evidence) -> Completed:
        """Give the record of this pass, complete at `now`, having seen what `evidence` says."""
        checked = checks(evidence)
        return Completed(
            started_at=self.started_at,
            completed_at=now,
            rows=self.rows,
            pages=self.pages,
            runs=self.runs,
            seconds=round(self.seconds, 3),
            verified=verified(checked),
            checks=checked,
        )


@dataclass(frozen=True, slots=True)
class Record:
    """All that is committed for a resource besides its rows."""

    fingerprint: str
    """Of the configuration that the place depends on."""
    current: Pass | None = None
    """The pass under way, if one is paused."""
    last: Completed | None = None
    """The last complete pass, if there was one."""
    commit: Commit | None = None
    """What the last commit took: how much time to keep back for the next one."""
    marked: int = 0
    """Rows that bore a mark when marks were last set (see `deleted`)."""

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "Record | None":
        """Read the record from a resource's state; None if there is none, or one of another format."""
        kept = state.get(STATE_KEY)
        if not kept or kept.get("format") != FORMAT:
            return None
        return cls(
            fingerprint=kept["fingerprint"],
            current=Pass.of(kept["current"]) if kept["current"] else None,
            last=Completed(**kept["last"]) if kept["last"] else None,
            commit=Commit(**kept["commit"]) if kept["commit"] else None,
            marked=kept.get("marked", 0),
        )

    def write(self, state: MutableMapping[str, Any]) -> None:
        """Write the record into a resource's state."""
        state[STATE_KEY] = {"format": FORMAT, **asdict(self)}

    def began(self, new: Pass) -> "Record":
        """Give the record with a run begun on it: the paused pass goes on, or this new one begins."""
        if self.current is None:
            return replace(self, current=new)
        return replace(self, current=replace(self.current, runs=self.current.runs + 1))

    def accepting_deletes(self) -> "Record":
        """Give the record with a pass after which any number of rows may be marked."""
        assert self.current is not None  # noqa: S101 - a run begins with a pass
        return replace(self, current=replace(self.current, accept_deletes=True))


def resource_state(state: Any, source_name: str, resource: str) -> MutableMapping[str, Any]:
    """Give the state of a resource in the state of its pipeline, as dlt lays it out."""
    resources = state.setdefault("sources", {}).setdefault(source_name, {}).setdefault("resources", {})
    kept: MutableMapping[str, Any] = resources.setdefault(resource, {})
    return kept


def fingerprint(*parts: Any) -> str:
    """Hash what a place depends on; objects that are no JSON count by their type and attributes."""
    text = json.dumps(parts, sort_keys=True, default=_describe)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _describe(value: Any) -> Any:
    if isinstance(value, BaseConfiguration):
        # dlt's `incremental`: besides its configuration it holds what it has seen
        attributes = {name: getattr(value, name) for name in value.get_resolvable_fields()}
    else:
        attributes = getattr(value, "__dict__", {})
    texts = {name: _ADDRESS.sub("", str(item)) for name, item in sorted(attributes.items())}
    return [type(value).__qualname__, texts]


_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
"""What Python shows of an object that has no text of its own: another one in each process."""


def shown(place: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Give the place as it may be seen: an offset or a page number, else a hash (it may hold a key)."""
    if place is None:
        return None
    numbers = {name: place[name] for name in ("offset", "page") if name in place}
    return numbers or {name: fingerprint(place[name]) for name in ("cursor", "url") if name in place}
