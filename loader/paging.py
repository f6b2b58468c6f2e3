"""One place per kind of paginator: where its next page is, and how to go on there.

dlt has no hook for going on in the middle. A paginator of dlt's is wrapped: the wrapper restores the place before the
first request, keeps it after each page, and ends the reading when the chunk is full.
"""

import copy
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from dlt.common import jsonpath
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

Place = Mapping[str, Any]


class Listener(Protocol):
    """Who is told of the pages."""

    def starting_place(self) -> Place | None:
        """Give the place to begin at, or None for the beginning."""

    def page_read(self, rows: int) -> None:
        """Take note of a page."""

    def next_place(self, place: Place | None) -> None:
        """Take note of where the next page is; None where there is no next page."""

    def is_full(self) -> bool:
        """Tell whether reading ends here for this time, though there are more pages."""


def place_is_known(paginator: BasePaginator | None) -> bool:
    """Tell whether a run can go on in the middle of what this paginator reads (None: found by dlt)."""
    return paginator is None or type(paginator) in _NAMES


class PlacedPaginator(BasePaginator):
    """A paginator of dlt's, and the place where its next page is."""

    def __init__(self, inner: BasePaginator | None, listener: Listener) -> None:
        super().__init__()
        self.inner = inner
        """None until dlt's detector has seen a page."""
        self.listener = listener
        self.is_found = inner is None
        """Whether dlt finds the paginator; then its kind is part of the place."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "PlacedPaginator":
        # dlt copies a client's paginator for each reading; who listens stays the same
        return PlacedPaginator(copy.deepcopy(self.inner, memo), self.listener)

    @property
    def has_next_page(self) -> bool:
        """Whether there is a next page and it may be asked for in this chunk."""
        return self.inner is not None and self.inner.has_next_page and not self.listener.is_full()

    def init_request(self, request: Request) -> None:
        """Make the first request: of the first page, or of the place."""
        place = self.listener.starting_place()
        if place and self.inner is None:
            self.inner = found_again(place)
        if self.inner is None:
            return
        # an instance from a configuration may have been through a reading already
        if isinstance(self.inner, BaseReferencePaginator):
            self.inner._next_reference = None  # noqa: SLF001 - see docs/dlt.md
        self.inner._has_next_page = True  # noqa: SLF001 - see docs/dlt.md
        self.inner.init_request(request)
        if place:
            go_on(self.inner, place, request)

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        """Learn from a page where the next one is."""
        if self.inner is None:
            self.inner = PaginatorFactory().create_paginator(response)[0]
        if isinstance(self.inner, OffsetPaginator):
            _follow_rows(self.inner, response, data or [])
        else:
            self.inner.update_state(response, data)
        self.listener.page_read(len(data or []))

    def update_request(self, request: Request) -> None:
        """Turn the request into that of the next page."""
        assert self.inner is not None  # noqa: S101 - `update_state` comes first
        self.inner.update_request(request)
        if not self.inner.has_next_page:
            self.listener.next_place(None)
            return
        place = place_of(self.inner, request)
        self.listener.next_place({**place, "found": described(self.inner)} if self.is_found else place)


def _follow_rows(paginator: OffsetPaginator, response: Response, rows: list[Any]) -> None:
    """Let the next offset follow the rows received: an API may send fewer than the limit.

    A `total` that the answer does not have is not missed: the last page then is the one without rows.
    """
    total_path = paginator.total_path
    if total_path and jsonpath.find_values(total_path, response.json())[:1] in ([], [None]):
        paginator.total_path = None
    paginator.value_step = len(rows)
    paginator.update_state(response, rows)
    if not rows:
        paginator._has_next_page = False  # noqa: SLF001 - see docs/dlt.md
    paginator.total_path = total_path


def place_of(paginator: BasePaginator, request: Request) -> dict[str, Any]:
    """Give the place of the page that `request` asks for."""
    if isinstance(paginator, OffsetPaginator):
        return {"offset": paginator.current_value}
    if isinstance(paginator, RangePaginator):
        return {"page": paginator.current_value}
    if isinstance(paginator, BaseNextUrlPaginator):
        return {"url": without_secrets(request.url)}
    if isinstance(paginator, BaseReferencePaginator):
        return {"cursor": paginator._next_reference}  # noqa: SLF001 - see docs/dlt.md
    return {}


def go_on(paginator: BasePaginator, place: Place, request: Request) -> None:
    """Make `request` ask for the page at `place`."""
    if isinstance(paginator, RangePaginator):
        paginator.current_value = place["offset"] if "offset" in place else place["page"]
    elif isinstance(paginator, BaseReferencePaginator):
        paginator._next_reference = place["url"] if "url" in place else place["cursor"]  # noqa: SLF001
    paginator.update_request(request)


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
