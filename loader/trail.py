"""What is remembered of the rows read last, to find one's way in a list that moves under the reader.

A row is remembered by a hash and its ordinal, the number of rows read before it. The last rows are all remembered,
those before them ever more sparsely: enough to tell, from almost any page of what was read, how far away its end is.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

DENSE = 100
"""So many of the last rows are all remembered."""

ZONES = ((1_000, 10), (10_000, 100), (100_000, 1_000))
"""Further back than that: rows up to so many before the end, one of so many."""

LEAST_SHARE = 0.5
"""Of the remembered rows that a page ought to show, so many must be there, or it does not follow ..."""

IN_ORDER = 6
"""... unless it shows so many, each of them in its order: then the others have vanished."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where a page meets the end of what was read."""

    index: int
    """Of the last row in the page that was read before; the rows behind it are new."""
    inserted: tuple[int, ...]
    """Indexes of rows before it that are new: they came in between."""
    known: int
    """How many of the densely remembered rows the page shows again."""


@dataclass(slots=True)
class Trail:
    """The rows read last."""

    length: int = 0
    """How many rows were read."""
    ordinals: dict[str, int] = field(default_factory=dict)
    """Ordinal by hash of a row's key."""

    def state(self) -> dict[str, Any]:
        """Write it down, as JSON."""
        return {"length": self.length, "ordinals": dict(self.ordinals)}

    def add(self, keys: Sequence[str]) -> None:
        """Remember rows that were read, in their order."""
        for key in keys:
            self.ordinals[key] = self.length
            self.length += 1
        if len(self.ordinals) > 8 * DENSE:
            self.thin()

    def thin(self) -> None:
        """Forget what need not be remembered."""
        dense = self.length - DENSE
        # almost all are asked, at each page
        self.ordinals = {
            key: ordinal
            for key, ordinal in self.ordinals.items()
            if ordinal >= dense or (ordinal % ZONES[0][1] == 0 and self._is_in_a_zone(ordinal))
        }

    def meet(self, keys: Sequence[str]) -> Meeting | None:
        """Find where a page follows on what was read; None where it does not show the end of it."""
        dense = [(index, ordinal) for index, ordinal in self._matches(keys) if ordinal >= self.length - DENSE]
        if not dense:
            return None
        first_index, first_ordinal = dense[0]
        all_in_order = len(dense) >= IN_ORDER and len(dense) == sum(key in self.ordinals for key in keys[first_index:])
        # a row that stands behind others that were not read has moved on, and is not where reading ended
        oldest = max(first_ordinal - first_index, self.length - DENSE, 0)
        if len(dense) < LEAST_SHARE * (self.length - oldest) and not all_in_order:
            return None
        return self._meeting(keys, dense)

    def meet_exactly(self, keys: Sequence[str]) -> Meeting | None:
        """Find where a page of rows without keys follows: it begins with the very rows that were read last.

        Such rows may be equal to others, so one that is known says nothing by itself.
        """
        order = {ordinal: key for key, ordinal in self.ordinals.items()}
        for known in range(min(len(keys), DENSE, self.length), 0, -1):
            first = self.length - known
            if all(order.get(first + number) == keys[number] for number in range(known)):
                return Meeting(known - 1, (), known)
        return None

    def _meeting(self, keys: Sequence[str], dense: Sequence[tuple[int, int]]) -> Meeting:
        met = {index for index, _ in dense}
        first_index, first_ordinal = dense[0]
        # a row before the first one that is known was read before, too, unless it ought to be remembered
        oldest = max(self.length - DENSE // 2, 0)
        first_new = max(first_index - max(first_ordinal - oldest, 0), 0)
        between = range(first_new, dense[-1][0])
        inserted = tuple(index for index in between if index not in met and keys[index] not in self.ordinals)
        return Meeting(dense[-1][0], inserted, len(dense))

    def last_met(self, keys: Sequence[str]) -> Meeting | None:
        """Find the last row in a page that is among the last ones read, however few of them are there."""
        dense = [(index, ordinal) for index, ordinal in self._matches(keys) if ordinal >= self.length - DENSE]
        return self._meeting(keys, dense) if dense else None

    def rows_to_end(self, keys: Sequence[str]) -> int | None:
        """Estimate how many rows lie between the beginning of a page and the end of what was read.

        Returns:
            None where nothing in the page is remembered, or too little for rows that stand where they were.
        """
        matches = self._matches(keys)
        if not matches:
            return None
        (first_index, first_ordinal), (index, ordinal) = matches[0], matches[-1]
        # nothing that was read stands before the first row but what came in there
        remembered = sum(first_ordinal - first_index <= each <= ordinal for each in self.ordinals.values())
        ought = remembered + max(first_index - first_ordinal, 0)
        if len(matches) <= LEAST_SHARE * ought:
            return None
        return index + self.length - ordinal

    def _matches(self, keys: Sequence[str]) -> list[tuple[int, int]]:
        """Give index and ordinal of the page's remembered rows, as far as they come in the order of reading.

        One that comes out of order has moved: it is not where it was, and says nothing.
        """
        matches = [(index, self.ordinals[key]) for index, key in enumerate(keys) if key in self.ordinals]
        return longest_increasing(matches)

    def _is_in_a_zone(self, ordinal: int) -> bool:
        age = self.length - ordinal
        return any(age <= furthest and ordinal % step == 0 for furthest, step in ZONES)


def longest_increasing(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Give the longest subsequence of pairs whose second numbers increase (patience sorting)."""
    tops: list[int] = []
    ends: list[int] = []
    before: list[int | None] = []
    for number, (_, value) in enumerate(pairs):
        pile = bisect_left(tops, value)
        before.append(ends[pile - 1] if pile else None)
        tops[pile : pile + 1] = [value]
        ends[pile : pile + 1] = [number]
    chosen: list[tuple[int, int]] = []
    here = ends[-1] if ends else None
    while here is not None:
        chosen.append(pairs[here])
        here = before[here]
    return chosen[::-1]
