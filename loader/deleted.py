"""Rows that are gone at the API: after a pass that is known to have seen everything, what it did not see is marked.

The table keeps them, with the moment in `_deleted_at`. A row that comes back is unmarked by its own merge.
"""

from dataclasses import dataclass
from datetime import datetime

from dlt.extract import DltResource

from loader.errors import SettingsError
from loader.place import Pass

COLUMN = "_deleted_at"
"""When a row was found to be gone; null in living ones."""

SHARE = 0.1
"""More than this share of the living rows is not marked at once ..."""

FEW = 10
"""... if it is more than so many rows."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a table holds when a pass has been read."""

    living: int = 0
    """Rows without a mark, those that are gone included."""
    gone: int = 0
    """Rows without a mark that the pass did not see."""
    marked: int = 0
    """Rows that this pass has marked: a run that was killed may have begun with it."""
    marked_before: int = 0
    """Rows with a mark of an earlier pass."""

    def __add__(self, other: "Found") -> "Found":
        """Add up what two tables hold."""
        return Found(
            self.living + other.living,
            self.gone + other.gone,
            self.marked + other.marked,
            self.marked_before + other.marked_before,
        )

    def is_too_much(self) -> bool:
        """Tell whether so much is gone at once that it is more likely a mistake of the API's.

        Where a run of this pass has begun to mark, that was decided, or accepted: the rest is marked as well.
        """
        return not self.marked and self.gone > FEW and self.gone > SHARE * self.living


def hint(resource: DltResource) -> None:
    """Give a resource's table the column.

    Raises:
        SettingsError: its rows go to several tables.
    """
    if callable(resource.table_name):
        raise SettingsError(
            f"{resource.name} goes to several tables (its table_name depends on the row), and DELETED_ROWS is "
            '"mark", which needs one. Set it to "keep" in source_config.py.'
        )
    resource.apply_hints(columns={COLUMN: {"data_type": "timestamp", "nullable": True}})


def moment_of(current: Pass) -> datetime:
    """Give what the marks after a pass say: when its last page was read."""
    assert current.finished is not None  # noqa: S101 - marks are set after it
    return datetime.fromisoformat(current.finished.completed_at)


def nothing() -> dict[str, int]:
    """Give the counts of a pass after which nothing is marked."""
    return {"marked": 0, "returned": 0, "held_back": 0}


def counts(found: Found, marks_before: int, *, accepted: bool) -> dict[str, int]:
    """Give the counts of the answer.

    Args:
        found: what the table holds.
        marks_before: rows that bore a mark after the pass before.
        accepted: whether the caller has said that so many rows may be gone.
    """
    returned = max(marks_before - found.marked_before, 0)
    if found.is_too_much() and not accepted:
        return {"marked": 0, "returned": returned, "held_back": found.gone}
    return {"marked": found.gone + found.marked, "returned": returned, "held_back": 0}
