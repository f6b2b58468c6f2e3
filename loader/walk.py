"""The rules of reading a list by offset while it changes: overlap, stepping back, and ends.

Pure: it knows neither HTTP nor dlt. A walk says which offset to ask for, is given the page, and says which of its rows
are new. Consecutive pages share rows. Where a page does not show the end of what was read, rows have vanished or come
in before it, and the walk goes back (or forth) until it does.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from loader.trail import DENSE, Meeting, Trail

FIRST_STEP = 10
"""The first step back, in rows: most often a row or two have vanished ..."""

STEP_GROWTH = 4
"""... and each further one is so many times as long."""

MAX_STEPS = 12
"""So many steps are made at most to find the end of what was read."""

MAX_RESTARTS = 20
"""So often the list is begun anew at most, ..."""

MAX_EARLY_RESTARTS = 2
"""... and so often after its first page, before its order is taken for unstable."""

CALM_PAGES = 300
"""After so many pages in which nothing vanished, half as many rows are shared. More than are ever asked for ahead: what
was told of them would be wrong whenever a row vanishes, and they would be asked for in vain."""

VOLATILE_ROWS = 3
"""If so many rows are seen again and none of them is as it was, rows differ each time they are sent."""


class SamePageError(Exception):
    """The same full page came for another offset: the API ignores it."""


@dataclass(slots=True)
class Walk:
    """One way through the list."""

    start: int
    """The first offset."""
    limit: int
    """So many rows are asked for."""
    offset: int
    """The offset to ask for next."""
    shared: int = 0
    """So many rows the next page is to show again."""
    overlap: int = 1
    """So many rows consecutive pages share, where the API's page size allows it."""
    trail: Trail = field(default_factory=Trail)
    page_size: int = 0
    """The most rows that a page had."""
    requests: int = 0
    """Pages taken."""
    pages: int = 0
    """Those among them that brought new rows."""
    calm_pages: int = 0
    """Pages in a row in which nothing had vanished."""
    steps: int = 0
    """Steps made since the end of what was read was lost; 0 when it is not."""
    barren_steps: int = 0
    """Steps made since a page brought new rows."""
    lost_at: int = 0
    """Where it was lost."""
    known_at: int | None = None
    """An offset that showed rows that were read, but not the last of them."""
    unknown_at: int | None = None
    """An offset that showed none ..."""
    unknown_page: tuple[str, ...] = ()
    """... and the keys of the page there."""
    has_met: bool = False
    """Whether a page has met its neighbour."""
    restarts: int = 0
    """How often the list was begun anew, because nothing of what was read was found in it."""
    early_restarts: int = 0
    """How often that was after the first page."""
    is_lost: bool = False
    """Whether neighbours are not looked for any more: the order is not stable."""
    is_unchecked: bool = False
    """Whether there were neighbours that could not be checked: pages of one row share none, and a page that came before
    the one before it may not show where a row of that has moved."""
    is_calm: bool = True
    """Whether the list stood still, as far as can be seen."""
    is_over: bool = False
    """Whether the list is at its end."""
    sizes_vary: bool = False
    """Whether a page before had fewer rows than another one."""
    has_keys: bool = True
    """Whether rows have keys; without, two rows may be equal and yet two."""
    is_volatile: bool = False
    """Whether rows differ each time they are sent (signed links, say); then only their keys tell them apart."""
    recent: dict[str, str] = field(default_factory=dict)
    """Content by key of the last rows read."""
    last_page: tuple[str, ...] = ()
    """Keys of the last page ..."""
    last_offset: int = -1
    """... and the offset that was asked for."""

    @classmethod
    def begin(cls, start: int, limit: int) -> "Walk":
        """Give a walk that begins at an offset."""
        return cls(start, limit, start)

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "Walk":
        """Give the walk that `state` has written down."""
        return cls(**{**state, "trail": Trail(**state["trail"])})

    def state(self) -> dict[str, Any]:
        """Write the walk down, as JSON."""
        # each page has a state, and `asdict` copies every row of it
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**values, "trail": self.trail.state(), "recent": dict(self.recent), "last_page": ()}

    def page(
        self,
        keys: Sequence[str],
        contents: Sequence[str],
        total: int | None,
        *,
        ends_when_empty: bool = True,
        is_ahead: bool = False,
        deleted: int | None = None,
    ) -> list[int]:
        """Take a page; give the indexes of its new rows, and set the offset to ask for next.

        Args:
            keys: a hash of each row's key.
            contents: a hash of each row, with all that is in it: a row that was touched is none that was read.
            total: how many rows the list has, as the API says; None where it does not.
            ends_when_empty: whether a page without new rows is the last.
            is_ahead: whether the page was asked for before the one before it had come. Where such a page does not
                simply go on, it is asked for again: it may be older than the one before it, and show an end to which
                rows have moved meanwhile.
            deleted: where the page came well before the one before it, so many rows were deleted between the two, as
                far as the API tells; None where it did not. If it shows more of what was read than that explains, rows
                have left the page before it since, and perhaps have moved past all that came early.

        Raises:
            SamePageError: the API ignores the offset.
        """
        if (is_ahead and tuple(keys) == self.last_page) or self._is_same(keys):
            return []
        self.requests += 1
        self.page_size = max(self.page_size, len(keys))
        new = self._new_rows(keys, contents, is_ahead=is_ahead, deleted=deleted)
        if new is not None and (new or not is_ahead):
            self._remember(keys, contents, new)
            # what was asked for ahead shows no end
            self._go_on(len(keys), None if is_ahead else total, has_new=bool(new), ends_when_empty=ends_when_empty)
        return new or []

    def offsets_ahead(self, end: int | None) -> Iterator[int]:
        """Give the offsets that follow the next one while all is calm.

        Args:
            end: offset behind the last row, as far as is known; the last page is not asked for ahead. One that was
                passed is wrong.
        """
        if self.steps or len(self.last_page) < self.page_size or not self.page_size:
            return
        offset, shared, overlap, calm_pages = self.offset, self.shared, self.overlap, self.calm_pages
        if end is None or end < offset + shared:
            end = sys.maxsize
        while True:
            if shared:
                overlap, calm_pages = self._calmer(overlap, calm_pages + 1)
            shared = self._shared(overlap)
            offset += self.page_size - shared
            if offset + self.page_size >= end:
                return
            yield offset

    def _new_rows(
        self, keys: Sequence[str], contents: Sequence[str], *, is_ahead: bool, deleted: int | None
    ) -> list[int] | None:
        """Give the indexes of a page's new rows; None where it does not follow on what was read."""
        if self.is_lost or not self.trail.length or not self.shared:
            self.is_unchecked |= bool(self.trail.length and keys) and not self.is_lost
            return list(range(len(keys)))
        if not is_ahead:
            self._look_for_volatility(keys, contents)
        rows = keys if self.is_volatile else contents
        meeting = (self.trail.meet(rows) or self._edge(rows)) if self.has_keys else self.trail.meet_exactly(rows)
        if meeting is None:
            if is_ahead:
                self._share(2 * self.overlap + 1)
            else:
                self._step(rows)
            return None
        self.has_met = True
        self.is_unchecked |= deleted is not None and meeting.known > self.shared + deleted
        self._adapt(meeting.known, is_shifted=bool(meeting.inserted))
        return [*meeting.inserted, *range(meeting.index + 1, len(keys))]

    def _look_for_volatility(self, keys: Sequence[str], contents: Sequence[str]) -> None:
        """Find out whether contents change by themselves; then rows are recognized by their keys."""
        if not self.is_volatile:
            pairs = zip(keys, contents, strict=True)
            again = [self.recent[key] == content for key, content in pairs if key in self.recent]
            if len(again) >= VOLATILE_ROWS and not any(again):
                self.is_volatile = True
                first = self.trail.length - len(self.recent)
                self.trail.ordinals = {key: first + number for number, key in enumerate(self.recent)}

    def _remember(self, keys: Sequence[str], contents: Sequence[str], new: Sequence[int]) -> None:
        rows = keys if self.is_volatile else contents
        self.trail.add([rows[index] for index in new])
        for index in new:
            self.recent.pop(keys[index], None)
            self.recent[keys[index]] = contents[index]
        for key in list(self.recent)[:-DENSE]:
            del self.recent[key]

    def _go_on(self, received: int, total: int | None, *, has_new: bool, ends_when_empty: bool) -> None:
        """Tell whether the list is at its end, and where to go on if it is not."""
        self.steps = 0
        if has_new:
            self.barren_steps = 0
        behind = self.offset + (received or self.limit)
        is_short = received < self.page_size
        if not has_new:
            # a full page without a new row is not the end: so many rows came in before it
            self.is_over = ends_when_empty and (is_short or not received)
        elif total == behind == self.trail.length and is_short and not self.sizes_vary:
            # a total may lie; here all that was read says the same
            self.is_over = True
        self.sizes_vary |= is_short
        self.pages += has_new
        goes_past = not has_new and not ends_when_empty
        self.shared = 0 if goes_past else self._shared(self.overlap)
        self.offset = behind - self.shared

    def _shared(self, overlap: int) -> int:
        return 0 if self.is_lost else max(min(overlap, self.page_size - 1, self.trail.length), 0)

    def _step(self, keys: Sequence[str]) -> None:
        """Go to where the end of what was read may be."""
        if not self.steps:
            self.lost_at, self.known_at, self.unknown_at = self.offset, None, None
            self._share(2 * self.overlap + 1)
        self.steps += 1
        self.barren_steps += 1
        self.is_calm, self.calm_pages = False, 0
        rows_to_end = self.trail.rows_to_end(keys)
        # a page may show the end of what was read, and the next one not follow on it, again and again
        goes_round = self.barren_steps > 2 * MAX_STEPS
        if self.steps > MAX_STEPS or goes_round or (self.offset <= self.start and rows_to_end is None):
            self._begin_anew()
        elif rows_to_end is None:
            self.unknown_at, self.unknown_page = self.offset, tuple(keys)
            far = self.lost_at - max(FIRST_STEP, self.page_size // 10) * STEP_GROWTH ** (self.steps - 1)
            self.offset = max(far, self.start) if self.known_at is None else self._between()
        else:
            self.known_at = self.offset
            margin = max(min(FIRST_STEP, self.page_size // 2), 1)
            guess = self.offset + rows_to_end - margin
            is_beyond = self.unknown_at is not None and guess >= self.unknown_at
            self.offset = max(self._between() if is_beyond else guess, self.start)

    def _edge(self, keys: Sequence[str]) -> Meeting | None:
        """Find the end of what was read where most of it has vanished.

        It is in this page if what follows there is what the page a little further on shows, which knows nothing of it.
        """
        if not self.steps or self.unknown_at is None:
            return None
        meeting = self.trail.last_met(keys)
        expected = self.offset + len(keys) - self.unknown_at
        if meeting is None or expected < 1:
            return None
        common = len({*keys[meeting.index + 1 :]} & {*self.unknown_page})
        return meeting if common >= expected / 2 else None

    def _between(self) -> int:
        """Give an offset between one that showed rows that were read and one that showed none."""
        assert self.known_at is not None and self.unknown_at is not None  # noqa: S101, PT018 - asked only then
        return max((self.known_at + self.unknown_at) // 2, self.known_at + 1)

    def _begin_anew(self) -> None:
        """Nothing of what was read is in the list: it is gone, or, if that happens often, the order is not stable."""
        self.restarts += 1
        # a list without an order is lost at its second page, again and again
        self.early_restarts += self.trail.length <= self.page_size
        self.is_lost = self.early_restarts > MAX_EARLY_RESTARTS or self.restarts > MAX_RESTARTS
        self.offset = self.lost_at if self.is_lost else self.start
        self.steps, self.trail, self.recent, self.last_page = 0, Trail(), {}, ()

    def _adapt(self, known: int, *, is_shifted: bool) -> None:
        """Share more rows while rows vanish, fewer again while all is calm."""
        if known == self.shared and not is_shifted:
            self.overlap, self.calm_pages = self._calmer(self.overlap, self.calm_pages + 1)
            return
        self.is_calm, self.calm_pages = False, 0
        if known < self.shared and not self.steps:
            self._share(max(self.overlap, 2 * (self.shared - known) + 1))

    @staticmethod
    def _calmer(overlap: int, calm_pages: int) -> tuple[int, int]:
        """Give the overlap after so many pages in which nothing vanished, and how many of them count on."""
        return (overlap // 2, 0) if calm_pages >= CALM_PAGES and overlap > 1 else (overlap, calm_pages)

    def _share(self, rows: int) -> None:
        self.overlap = max(min(rows, self.page_size // 4, DENSE // 2), 1)

    def _is_same(self, keys: Sequence[str]) -> bool:
        """Take note of the page; tell whether it is the one before again, for another offset: then the list ends."""
        is_same = tuple(keys) == self.last_page and self.offset != self.last_offset and len(keys) > self.shared
        if is_same and len(keys) == self.limit:
            raise SamePageError
        self.last_page, self.last_offset = tuple(keys), self.offset
        if not is_same or self.trail.length != len(keys):
            return False
        # the first page again: the whole list at once; or, where it is short, perhaps a part of it
        self.is_over, self.is_lost = True, len(keys) < self.limit
        return True
