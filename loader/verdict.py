"""Whether a pass saw everything: the checks, and what they come to. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MAX_SEEN = 200_000
"""So many keys are kept to count each row once."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a pass has seen so far."""

    rows: int = 0
    """Rows, each once as far as that can be told."""
    is_certain: bool = True
    """Whether `rows` is exact."""
    total: int | None = None
    """How many there are, as the API says last; None where it does not, or the pass reads a part of the list."""
    neighbours: bool | None = None
    """Whether every page met its neighbour."""
    beginning: bool | None = None
    """Whether the closing lap met the beginning."""
    columns: bool | None = None
    """Whether each field has one column, and each column one field."""


@dataclass(slots=True)
class Tally:
    """Counts rows, each once as far as that can be told."""

    rows: int = 0
    is_certain: bool = True
    """Whether `rows` is exact."""
    seen: set[str] | None = field(default_factory=set)
    """Keys of all rows of the pass; None where they are not known any more."""

    def add(self, keys: Sequence[str], *, may_be_old: bool = False) -> None:
        """Count rows that are delivered.

        Args:
            keys: a hash of each row's key.
            may_be_old: whether one of them may have been counted before, as far as the list tells.
        """
        if self.seen is None:
            self.rows += len(keys)
            self.is_certain &= not (keys and may_be_old)
            return
        before = len(self.seen)
        self.seen.update(keys)
        self.rows += len(self.seen) - before
        if len(self.seen) > MAX_SEEN:
            self.seen = None


def combined(parts: Sequence[Evidence], parents: Evidence | None) -> Evidence:
    """Give what all parts of a pass have seen together: a dependent resource has one for each of its parents' rows."""
    if len(parts) == 1 and parents is None:
        return parts[0]
    totals = [part.total for part in parts if part.total is not None]
    judged = [*parts, parents] if parents else parts
    return Evidence(
        rows=sum(part.rows for part in parts),
        is_certain=all(part.is_certain for part in parts) and (parents is None or parents.neighbours is True),
        total=sum(totals) if len(totals) == len(parts) else None,
        neighbours=_all([part.neighbours for part in judged]),
        beginning=_all([part.beginning for part in judged]),
    )


def _all(answers: Sequence[bool | None]) -> bool | None:
    if False in answers:
        return False
    return None if None in answers else True


def checks(evidence: Evidence) -> dict[str, bool | None]:
    """Give each check: true, false, or None where it does not apply or is not to be known."""
    return {
        "neighbours": evidence.neighbours,
        "beginning": evidence.beginning,
        "count": _count(evidence),
        "columns": evidence.columns,
    }


def verified(checked: Mapping[str, bool | None]) -> bool | None:
    """Give what the checks come to: false if one is, true if enough of them are, else None."""
    if False in checked.values():
        return False
    return True if checked["count"] or (checked["neighbours"] and checked["beginning"]) else None


def advice(checked: Mapping[str, bool | None]) -> list[str]:
    """Say, for each check that is false, what was found and what to do."""
    return [_ADVICE[name] for name, value in checked.items() if value is False]


def _count(evidence: Evidence) -> bool | None:
    if evidence.total is None:
        return None
    if evidence.rows < evidence.total:
        return False
    # rows that vanished after they were read make it more
    return True if evidence.rows == evidence.total and evidence.is_certain else None


_ADVICE = {
    "neighbours": (
        "a page did not follow on the one before, however far the reader went back: the API's order is not stable, "
        "or it ignores the offset, or there are more pages than its paginator finds. Rows may be missing. "
        "Give the resource a sort parameter, or another paginator, in source_config.py."
    ),
    "beginning": (
        "the closing lap did not meet the rows that the pass began with: the list changed faster than it was read. "
        "Rows that moved to its front may be missing. Run again when the API is calm, or sort by a field that an "
        "update does not change."
    ),
    "count": (
        "the API says that there are more rows than it gave. Rows are missing, or its total is wrong. "
        "Look at what the key may see, and at total_path in source_config.py."
    ),
    "columns": (
        "a field has two columns, since not all of its values fit one; nothing is lost, but a sum of one of them is "
        "wrong. schema_changes in the answer gives the line for source_config.py that cures it, and what to run then."
    ),
}
