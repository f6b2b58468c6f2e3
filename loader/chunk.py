"""When a chunk is full: few, large commits, and each of them in time."""

from dataclasses import dataclass

from loader.deadline import Deadline

SHARE_UNTRIED = 0.4
"""Of the time box, kept back for a first commit of which nothing is known."""

MAX_SHARE = 0.8
"""Of the time box, kept back at most: a run must be able to read."""

CAUTION = 1.5
"""A commit may take so many times as long as the last one ..."""

SLACK_SECONDS = 0.5
"""... and so many seconds more."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What the last commit of a resource took."""

    seconds: float
    bytes: int
    """Of the working folder, when it began."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a chunk is full: at the first of these."""

    deadline: Deadline
    """Of the run."""
    box_seconds: float
    """The time that the run had when it began."""
    last_commit: Commit | None
    """What a commit took before; None where none is known."""
    least_reserve: float
    """To be kept back at any rate: a run before this one died with so little."""
    chunk_seconds: float
    """So long is read at most."""
    chunk_bytes: int
    """So much may lie in the working folder."""

    def reserve(self, folder_bytes: int) -> float:
        """Give the seconds to keep back for committing what lies in the working folder."""
        if self.last_commit is None:
            needed = SHARE_UNTRIED * self.box_seconds
        else:
            growth = max(folder_bytes / max(self.last_commit.bytes, 1), 1.0)
            # what a commit costs at all does not grow with it, so doubt grows slower than the chunk
            needed = CAUTION * self.last_commit.seconds * growth**0.5 + SLACK_SECONDS
        return min(max(needed, self.least_reserve), MAX_SHARE * self.box_seconds)

    def read_until(self, folder_bytes: int) -> Deadline:
        """Give the moment at which reading must have ended, so that the chunk can be committed in time."""
        return self.deadline.earlier(self.reserve(folder_bytes))

    def first_page_until(self) -> Deadline:
        """Give the moment for the first page of a run: a slow one would never be read otherwise."""
        known = self.last_commit.seconds if self.last_commit else SLACK_SECONDS
        return self.deadline.earlier(min(known + SLACK_SECONDS, self.reserve(0)))
