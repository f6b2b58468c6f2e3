"""A whole pass over a list that is read by offset: one walk to its end, and the closing laps.

A row that is touched while it is unread may go to the front, where the walk has been. So at the end the beginning is
looked at once more, until rows are met that are there as they were; what comes before them is new. A lap of several
pages took time, too, and is followed by another one. Pure, like the walk.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from loader.verdict import Tally
from loader.walk import Walk

MAX_LAPS = 10
"""So many laps are made at most."""


@dataclass(slots=True)
class Rounds:
    """What was read of the list, and where to go on."""

    walk: Walk
    """The way through the whole list."""
    lap: Walk | None = None
    """The lap under way, if one is."""
    anchors: dict[str, str] = field(default_factory=dict)
    """Rows that a lap may meet: the hash of the key by that of the whole row."""
    lap_anchors: dict[str, str] = field(default_factory=dict)
    """The rows on the first page of this lap, for the next one."""
    laps: int = 0
    """Laps begun."""
    total: int | None = None
    """How many rows the list had, as the API said with the last page of the walk."""
    beginning: bool | None = None
    """Whether the last lap met the beginning; None where there was none."""
    is_done: bool = False
    """Whether all of it was read."""
    tally: Tally = field(default_factory=Tally)
    """The rows seen."""

    @classmethod
    def begin(cls, start: int, limit: int, *, has_keys: bool = True) -> "Rounds":
        """Give a pass that begins at an offset; rows may have no keys to tell them apart."""
        rounds = cls(Walk.begin(start, limit))
        rounds.walk.has_keys = has_keys
        if not has_keys:
            rounds.tally.seen = None
        return rounds

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "Rounds":
        """Give the pass that `state` has written down."""
        read = dict(state)
        read["walk"] = Walk.of(read["walk"])
        read["lap"] = Walk.of(read["lap"]) if read["lap"] else None
        read["tally"] = Tally(**read["tally"], seen=None)
        return cls(**read)

    def state(self) -> dict[str, Any]:
        """Write the pass down, as JSON; which keys were seen is too much for it."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        tally = {"rows": self.tally.rows, "is_certain": self.tally.is_certain}
        return {**values, "walk": self.walk.state(), "lap": self.lap.state() if self.lap else None, "tally": tally}

    @property
    def offset(self) -> int:
        """The offset to ask for next."""
        return (self.lap or self.walk).offset

    def offsets_ahead(self, maximum: int | None = None) -> Iterator[int]:
        """Give the offset to ask for next, and those that follow while all is calm; none if all was read.

        Args:
            maximum: offset behind the last row that is to be read, if there is one.
        """
        if self.is_done:
            return
        yield self.offset
        if not self.lap:
            ends = [end for end in (maximum, self.total) if end is not None]
            yield from self.walk.offsets_ahead(min(ends, default=None))

    @property
    def neighbours(self) -> bool | None:
        """Whether every page met its neighbour; None where there was none, or it could not be told."""
        if self.walk.is_lost:
            return False
        return True if self.walk.has_met and not self.walk.is_unchecked else None

    def page(
        self,
        keys: Sequence[str],
        contents: Sequence[str],
        total: int | None,
        *,
        ends_when_empty: bool = True,
        is_ahead: bool = False,
        is_older: bool = False,
    ) -> list[int]:
        """Take a page; give the indexes of the rows to deliver.

        Args:
            keys: a hash of each row's key.
            contents: a hash of each row, with all that is in it.
            total: how many rows the list has, as the API says; None where it does not.
            ends_when_empty: whether a page without new rows is the last.
            is_ahead: whether the page was asked for before the one before it had come.
            is_older: whether it came well before that one, too.

        Raises:
            SamePageError: the API ignores the offset.
        """
        if self.lap:
            return self._lap_page(self.lap, keys, contents)
        fewer = 0 if total is None or self.total is None else total - self.total
        deleted = max(fewer, 0) if is_older else None
        self.total = total
        new = self.walk.page(keys, contents, total, ends_when_empty=ends_when_empty, is_ahead=is_ahead, deleted=deleted)
        if new and self.walk.pages & (self.walk.pages - 1) == 0:
            # all rows of the first page, and the last one of the 2nd, 4th, 8th ...
            first = 0 if self.walk.pages == 1 else -1
            self.anchors |= dict(zip(contents[first:], keys[first:], strict=True))
        self.tally.add([keys[index] for index in new], may_be_old=not self.walk.is_calm)
        if self.walk.is_over:
            self.stop()
        return new

    def stop(self) -> None:
        """End the walk here; the closing lap follows, where time has passed since the first page."""
        self.walk.is_over = True
        if self.walk.requests > 1 and self.walk.pages and not self.walk.is_lost:
            self._begin_lap()
        else:
            self.is_done = True

    def _begin_lap(self) -> None:
        self.laps += 1
        self.lap, self.lap_anchors = Walk.begin(self.walk.start, self.walk.limit), {}
        self.lap.is_volatile, self.lap.has_keys = self.walk.is_volatile, self.walk.has_keys

    def _lap_page(self, lap: Walk, keys: Sequence[str], contents: Sequence[str]) -> list[int]:
        new = lap.page(keys, contents, None)
        if lap.steps:
            # it does not follow on the page before
            return []
        if lap.requests <= 1:
            self.lap_anchors = dict(zip(contents, keys, strict=True))
        rows, anchors = (keys, {*self.anchors.values()}) if lap.is_volatile else (contents, {*self.anchors})
        met = [index for index, row in enumerate(rows) if row in anchors]
        if met:
            new = [index for index in new if index < met[-1] and rows[index] not in anchors]
        self.tally.add([keys[index] for index in new], may_be_old=True)
        if met or lap.is_over:
            self._end_lap(lap, has_met=bool(met))
        return new

    def _end_lap(self, lap: Walk, *, has_met: bool) -> None:
        is_short = lap.requests <= 1
        self.beginning = has_met and (is_short or self.laps < MAX_LAPS)
        if is_short or not self.beginning:
            self.lap, self.is_done = None, True
            if lap.is_volatile and self.beginning:
                # a row that has moved to the front can't be told from one that was there
                self.beginning = None
        else:
            # it took time, in which more rows may have come to the front
            self.anchors |= self.lap_anchors
            self._begin_lap()
