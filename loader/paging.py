"""One place per kind of paginator: where its next page is, and how to go on there.

dlt has no hook for going on in the middle. A paginator of dlt's is wrapped: the wrapper restores the place before the
first request, keeps it after each page, and ends the reading when the chunk is full.
"""

import copy
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from dlt.sources.helpers.rest_client.detector import PaginatorFactory
from dlt.sources.helpers.rest_client.paginators import (
    BaseNextUrlPaginator,
    BasePaginator,
    BaseReferencePaginator,
    HeaderCursorPaginator,
    HeaderLinkPaginator,
    JSONLinkPaginator,
    JSONResponseCursorPaginator,
    OffsetPaginator,
    PageNumberPaginator,
    RangePaginator,
    SinglePagePaginator,
)
from requests import Request, Response

from loader import redaction
from loader.body import is_more_promised, is_the_last, nonsense, total_of
from loader.identity import PrimaryKey, content_hashes, key_hashes
from loader.log import logger
from loader.rounds import Rounds
from loader.session import MovedError
from loader.verdict import Evidence, Tally
from loader.walk import SamePageError

Place = Mapping[str, Any]

SAME_PAGE = "the same page comes again: what asks for the next one is ignored"
SAME_OFFSET_PAGE = "the same full page comes again for another offset: the offset is ignored"


class Listener(Protocol):
    """Who is told of the pages."""

    def starting_place(self) -> Place | None:
        """Give the place to begin at, or None for the beginning."""

    def rows_so_far(self) -> int:
        """Give the rows of the pass that were counted before."""

    def page_read(self, rows: int, evidence: Evidence, token: object) -> None:
        """Take note of a page, and of what has been seen with it in this reading; a dependent resource has many."""

    def ask_again(self, problem: str) -> None:
        """Wait before the same page is asked for again, or raise if that has been done often enough."""

    def next_place(self, place: Place | None) -> None:
        """Take note of where the next page is; None where there is no next page."""

    def follow(self, following: Iterator[Request]) -> None:
        """Take note of what will be asked for next, if all goes on as it did."""

    def is_ahead(self) -> bool:
        """Tell whether the page at hand was asked for before the one before it had come."""

    def is_older(self) -> bool:
        """Tell whether the page at hand came well before the one before it."""

    def page_ended(self) -> bool:
        """Take note that a page is through; tell whether reading ends here for this time, though there are more."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the wrapper must know of the resource."""

    listener: Listener
    primary_key: PrimaryKey = None
    selector: str | None = None
    """Where the rows are in an answer; None where dlt finds it."""
    pages_in_flight: int = 1
    """So many pages may be asked for at once."""


def kind_of(paginator: BasePaginator) -> str:
    """Give the type of a paginator, as a configuration has it."""
    return _NAMES.get(type(paginator)) or type(paginator).__name__


def place_is_known(paginator: BasePaginator | None) -> bool:
    """Tell whether a run can go on in the middle of what this paginator reads (None: found by dlt)."""
    return paginator is None or type(paginator) in _NAMES


def guarded(paginator: BasePaginator | None, reading: Reading) -> BasePaginator:
    """Give the wrapper that fits a paginator of dlt's (None: found by dlt)."""
    if isinstance(paginator, OffsetPaginator):
        return OffsetGuard(paginator, reading)
    return PlacedPaginator(paginator, reading)


class PlacedPaginator(BasePaginator):
    """A paginator of dlt's, and the place where its next page is."""

    def __init__(self, inner: BasePaginator | None, reading: Reading) -> None:
        super().__init__()
        self.inner = inner
        """None until dlt's detector has seen a page."""
        self.reading = reading
        self.token = object()
        """What tells this reading from others of the same resource."""
        self.listener = reading.listener
        self.is_found = inner is None
        """Whether dlt finds the paginator; then its kind is part of the place."""
        self.asks_again = False
        """Whether the page was nonsense, so that the same one is asked for again."""
        self.home = urlsplit("")
        """The address of the first request."""
        self.neighbours: bool | None = None
        self.tally = Tally()
        self.first_page: list[str] = []
        self.last_page: list[str] = []
        self.first_total: int | None = None
        self.end: int | None = None
        """The number behind that of the last page, where a paginator by page number is told how many there are."""
        self.following: dict[int, Request] = {}
        """The requests of the next pages, by their number."""
        self.page_size = 0
        """The most rows that a page had."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # dlt copies a client's paginator for each reading; who listens stays the same
        return type(self)(copy.deepcopy(self.inner, memo), self.reading)

    @property
    def has_next_page(self) -> bool:
        """Whether there is a next page and it may be asked for in this chunk."""
        if self.asks_again:
            return True
        return self.inner is not None and self.inner.has_next_page and not self.listener.page_ended()

    def init_request(self, request: Request) -> None:
        """Make the first request: of the first page, or of the place."""
        place = self.listener.starting_place()
        self.home = urlsplit(request.url)
        if place and self.inner is None:
            self.inner = found_again(place)
        if place:
            self.tally = Tally(self.listener.rows_so_far(), is_certain=False, seen=None)
        if self.inner is None:
            return
        # an instance from a configuration may have been through a reading already
        if isinstance(self.inner, BaseReferencePaginator):
            self.inner._next_reference = None  # noqa: SLF001 - see docs/dlt.md
        self.inner._has_next_page = True  # noqa: SLF001 - see docs/dlt.md
        self.inner.init_request(request)
        if place:
            self.go_on(self.inner, place, request)

    def go_on(self, inner: BasePaginator, place: Place, request: Request) -> None:
        """Make `request` ask for the page at `place`."""
        if isinstance(inner, RangePaginator):
            inner.current_value, inner.base_index = place["page"], place["first"]
        elif isinstance(inner, BaseReferencePaginator):
            inner._next_reference = place["url"] if "url" in place else place["cursor"]  # noqa: SLF001
        inner.update_request(request)
        self.stay(request)

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        """Learn from a page where the next one is; of its rows, those that were read before are taken out."""
        rows = data if data is not None else []
        problem = nonsense(response, self.reading.selector)
        self.asks_again = bool(problem)
        if problem:
            rows.clear()
            self.listener.ask_again(problem)
        else:
            self.take_page(response, rows)

    def take_page(self, response: Response, rows: list[Any]) -> None:
        """Learn from a page that makes sense."""
        if self.inner is None:
            self.inner = PaginatorFactory().create_paginator(response)[0]
            if isinstance(self.inner, SinglePagePaginator) and is_more_promised(response):
                self.neighbours = False
                logger.warning(
                    "The API says that there are more pages, but no way to them was found: only the first is loaded. "
                    "Give the resource a paginator in source_config.py."
                )
        keys = key_hashes(rows, self.reading.primary_key)
        is_same = len(keys) > 1 and keys == self.last_page
        if isinstance(self.inner, PageNumberPaginator) and self.inner.base_index == 0 and keys == self.first_page:
            # its pages begin at 1, and what it takes for page 0 is page 1
            self.inner.base_index = 1
            rows.clear()
            self.inner.update_state(response, [None])
            keys = []
        elif is_same:
            self.asks_again = True
            rows.clear()
            self.listener.ask_again(SAME_PAGE)
            return
        else:
            before = copy.copy(self.inner)
            self.inner.update_state(response, rows)
            if self.listener.is_ahead() and not self.inner.has_next_page:
                # what was asked for ahead shows no end: it may be older than the page before it
                self.inner, self.asks_again = before, True
                rows.clear()
                return
        if isinstance(self.inner, PageNumberPaginator) and self.inner.total_path:
            pages = total_of(response, str(self.inner.total_path))
            self.end = None if pages is None else pages + self.inner.base_index
        self.first_page, self.last_page = self.first_page or keys, keys
        self.page_size = max(self.page_size, len(keys))
        self.tally.add(keys)
        self.listener.page_read(len(rows), self._evidence(response), self.token)

    def _evidence(self, response: Response) -> Evidence:
        total = total_of(response, "total")
        if isinstance(self.inner, PageNumberPaginator) and str(self.inner.total_path) == "total":
            # there it counts pages
            total = None
        self.first_total = total if self.first_total is None else self.first_total
        # while rows vanish, as many may be missed as were counted too many
        is_certain = self.tally.is_certain and total == self.first_total
        return Evidence(self.tally.rows, is_certain, total, neighbours=self.neighbours)

    def update_request(self, request: Request) -> None:
        """Turn the request into that of the next page."""
        if self.asks_again:
            return
        assert self.inner is not None  # noqa: S101 - `update_state` comes first
        self.inner.update_request(request)
        if self.inner.has_next_page:
            self.stay(request)
        self.listener.next_place(self.next_place(self.inner, request) if self.inner.has_next_page else None)
        self.tell_what_follows(request)

    def stay(self, request: Request) -> None:
        """Let the link to a page stay with the API's host, and with https: the request is signed with the key.

        Raises:
            MovedError: it leads elsewhere.
        """
        link = urlsplit(request.url)
        if link.hostname != self.home.hostname:
            raise MovedError
        if self.home.scheme == "https" and link.scheme == "http":
            # behind a proxy an API may not know that it is asked by https, nor at which port
            request.url = urlunsplit(link._replace(scheme="https", netloc=self.home.netloc))

    def tell_what_follows(self, request: Request) -> None:
        """Tell the requests of the next pages: more than may be under way at once, where they are known to be there."""
        if isinstance(self.inner, RangePaginator):
            most = self.reading.pages_in_flight if self.told_end() is None else None
            self.listener.follow(self.requests_ahead(self.inner, request, islice(self.numbers_ahead(), most)))

    def requests_ahead(self, inner: RangePaginator, request: Request, numbers: Iterator[int]) -> Iterator[Request]:
        """Give the requests of pages; that of a page stays the same, however often it is told."""
        made, self.following = self.following, {}
        for number in numbers:
            self.following[number] = made.get(number) or asking_for(inner, request, number)
            yield self.following[number]

    def told_end(self) -> int | None:
        """Give the number behind the last page (the offset behind the last row), where the API has told it."""
        return self.end

    def numbers_ahead(self) -> Iterator[int]:
        """Give the number of the next page, and of those behind it; other paginators learn each from the one before."""
        inner = self.inner
        if type(inner) is not PageNumberPaginator or not inner.has_next_page:
            return
        yield inner.current_value
        if len(self.last_page) == self.page_size:
            # the last page that the API tells of is asked for alone
            told = None if self.end is None else self.end - 1
            ends = [end for end in (inner.maximum_value, told) if end is not None]
            yield from range(inner.current_value + 1, min(ends, default=sys.maxsize))

    def next_place(self, inner: BasePaginator, request: Request) -> dict[str, Any]:
        """Give the place of the page that `request` asks for."""
        place: dict[str, Any] = {}
        if isinstance(inner, RangePaginator):
            place = {"page": inner.current_value, "first": inner.base_index}
        elif isinstance(inner, BaseNextUrlPaginator):
            place = {"url": without_secrets(request.url)}
        elif isinstance(inner, BaseReferencePaginator):
            place = {"cursor": inner._next_reference}  # noqa: SLF001 - see docs/dlt.md
        return {**place, "found": described(inner)} if self.is_found else place


class OffsetGuard(PlacedPaginator):
    """Reads by offset as `rounds` has it: no row is missed while the list moves, and none is delivered twice."""

    inner: OffsetPaginator

    def __init__(self, inner: BasePaginator | None, reading: Reading) -> None:
        super().__init__(inner, reading)
        has_keys = bool(reading.primary_key)
        self.rounds = Rounds.begin(self.inner.initial_value, self.inner.limit, has_keys=has_keys)

    @property
    def has_next_page(self) -> bool:
        """Whether there is a next page and it may be asked for in this chunk."""
        return self.asks_again or (not self.rounds.is_done and not self.listener.page_ended())

    def go_on(self, inner: BasePaginator, place: Place, request: Request) -> None:
        """Make `request` ask for the page at `place`."""
        self.rounds = Rounds.of(place["rounds"])
        self.inner.current_value = self.rounds.offset
        inner.update_request(request)

    def take_page(self, response: Response, rows: list[Any]) -> None:
        """Take a page; rows that were delivered before are taken out of it."""
        path = str(self.inner.total_path) if self.inner.total_path else "total"
        total, maximum = total_of(response, path), self._maximum()
        if maximum is not None:
            del rows[max(maximum - self.rounds.offset, 0) :]
        # where the list does not end at an empty page, it ends at its total or at the maximum
        ends_when_empty = bool(self.inner.stop_after_empty_page) or (total is None and maximum is None)
        behind = self.rounds.offset + len(rows)
        keys = key_hashes(rows, self.reading.primary_key)
        try:
            new = self.rounds.page(
                keys,
                content_hashes(rows),
                total,
                ends_when_empty=ends_when_empty,
                is_ahead=self.listener.is_ahead(),
                is_older=self.listener.is_older(),
            )
        except SamePageError:
            self.asks_again = True
            rows.clear()
            self.listener.ask_again(SAME_OFFSET_PAGE)
            return
        rows[:] = [rows[index] for index in new]
        self._end_as_configured(response, behind)
        is_whole = self.inner.initial_value == 0 and maximum is None
        evidence = Evidence(
            self.rounds.tally.rows,
            self.rounds.tally.is_certain,
            self.rounds.total if is_whole else None,
            self.rounds.neighbours,
            self.rounds.beginning,
        )
        self.listener.page_read(len(rows), evidence, self.token)

    def _maximum(self) -> int | None:
        """Give the offset behind the last row that is to be read, if there is one.

        dlt's `maximum_offset` speaks of pages: the one that begins before it is read to its end.
        """
        if self.inner.maximum_value is None:
            return None
        pages = -(-(self.inner.maximum_value - self.inner.initial_value) // self.inner.limit)
        return int(self.inner.initial_value + pages * self.inner.limit)

    def _end_as_configured(self, response: Response, behind: int) -> None:
        """End the walk where the configuration says so, or where the API says that there is no more."""
        if self.rounds.lap or self.rounds.is_done or self.rounds.walk.steps or self.listener.is_ahead():
            # what was asked for ahead shows no end: see `walk`
            return
        ends = [self._maximum(), None if self.inner.stop_after_empty_page else self.rounds.total]
        is_behind = any(end is not None and behind >= end for end in ends)
        if is_behind or is_the_last(response, self.inner.has_more_path):
            self.rounds.stop()

    def update_request(self, request: Request) -> None:
        """Turn the request into that of the next page."""
        if self.asks_again:
            return
        self.inner.current_value = self.rounds.offset
        self.inner.update_request(request)
        place = {"offset": self.rounds.offset, "rounds": self.rounds.state()}
        self.listener.next_place(None if self.rounds.is_done else place)
        self.tell_what_follows(request)

    def told_end(self) -> int | None:
        """Give the offset behind the last row, where the API has told it; one that was passed is wrong."""
        total, walk = self.rounds.total, self.rounds.walk
        return total if total is not None and total > walk.offset and total >= walk.offset + walk.shared else None

    def numbers_ahead(self) -> Iterator[int]:
        """Give the offset to ask for next, and those behind it."""
        return self.rounds.offsets_ahead(self._maximum())


def asking_for(inner: RangePaginator, request: Request, number: int) -> Request:
    """Give a request that asks for another page than `request`."""
    other, paginator = copy.copy(request), copy.copy(inner)
    other.params, other.json = copy.copy(request.params), copy.deepcopy(request.json)
    paginator.current_value = number
    paginator.update_request(other)
    return other


def described(paginator: BasePaginator) -> dict[str, Any]:
    """Give the configuration of a paginator that dlt's detector has found."""
    names = ("total_path", "next_url_path", "cursor_path")
    paths = {name: getattr(paginator, name, None) for name in names}
    return {
        "type": _NAMES[type(paginator)],
        **{name: str(path) for name, path in paths.items() if path is not None},
    }


def found_again(place: Place) -> BasePaginator:
    """Make the paginator again that dlt's detector had found when the place was kept."""
    found = dict(place["found"])
    return _CLASSES[found.pop("type")](**found)


def without_secrets(url: str) -> str:
    """Drop the query parameters that hold a secret: an API may repeat the key in a link, and signing adds it again."""
    parts = urlsplit(url)
    fields = parse_qsl(parts.query, keep_blank_values=True)
    query = [(name, value) for name, value in fields if not redaction.is_secret(value)]
    return urlunsplit(parts._replace(query=urlencode(query)))


# the paginators whose place is known; what one of another class reads is read in one run
_NAMES: dict[type[BasePaginator], str] = {
    OffsetPaginator: "offset",
    PageNumberPaginator: "page_number",
    JSONResponseCursorPaginator: "cursor",
    HeaderCursorPaginator: "header_cursor",
    JSONLinkPaginator: "json_link",
    HeaderLinkPaginator: "header_link",
    SinglePagePaginator: "single_page",
}
_CLASSES = {name: kind for kind, name in _NAMES.items()}
