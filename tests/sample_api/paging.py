"""How each style of paging asks for a page and tells of the next one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from tests.sample_api.world import Behaviour, Page, Style, World

DEFAULT_LIMIT = 100
CURSOR_HEADER = "X-Next-Cursor"


@dataclass(frozen=True, slots=True)
class Question:
    """A request for a page, without what belongs to HTTP alone."""

    resource: str
    address: str
    """Full URL without its query."""
    parameters: Mapping[str, Any]
    """The query, or the JSON body."""
    first_page: bool = False
    """Whether the first page is given, whatever is asked for."""

    def number(self, name: str, default: int) -> int:
        """Read a parameter that must be a number, not below zero."""
        value = int(self.parameters.get(name, default))
        if value < 0:
            raise ValueError(f"{name} must not be negative")
        return value

    @property
    def limit(self) -> int:
        """Most rows in the page."""
        return self.number("limit", DEFAULT_LIMIT)

    @property
    def offset(self) -> int:
        """Rows before the page."""
        return 0 if self.first_page else self.number("offset", 0)

    @property
    def cursor(self) -> str | None:
        """Cursor of the page; None: the first."""
        return None if self.first_page else self.parameters.get("cursor") or None

    @property
    def updated_since(self) -> datetime | None:
        """Moment after which a row must have been updated; without a time zone it is UTC."""
        value = self.parameters.get("updated_since")
        if not value:
            return None
        moment = datetime.fromisoformat(value)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def with_offset(self, offset: int) -> str:
        """Give the URL of another page, with all parameters of this one."""
        return f"{self.address}?{urlencode({**self.parameters, 'offset': offset})}"


@dataclass(frozen=True, slots=True)
class Reply:
    """A page in the API's words."""

    body: dict[str, Any]
    headers: dict[str, str]


def reply(world: World, question: Question) -> Reply:
    """Answer a question in the style of its resource.

    Raises:
        ValueError: a parameter is wrong.
    """
    behaviour = world.behaviour(question.resource)
    return STYLES[behaviour.style](world, question, behaviour)


def _offset(world: World, question: Question, behaviour: Behaviour) -> Reply:
    page = _page(world, question, offset=question.offset, limit=question.limit)
    return Reply(_body(page, behaviour), {})


def _page_number(world: World, question: Question, behaviour: Behaviour) -> Reply:
    size = max(1, question.number("per_page", DEFAULT_LIMIT))
    if behaviour.page_cap is not None:
        size = min(size, behaviour.page_cap)
    number = behaviour.first_page if question.first_page else question.number("page", behaviour.first_page)
    if number < behaviour.first_page:
        raise ValueError(f"page must be at least {behaviour.first_page}")
    page = _page(world, question, offset=(number - behaviour.first_page) * size, limit=size)
    body = _body(page, behaviour)
    if behaviour.total:
        body["total_pages"] = -(-body["total"] // size)
    return Reply(body, {})


def _cursor(world: World, question: Question, behaviour: Behaviour) -> Reply:
    page = _page(world, question, cursor=question.cursor, limit=question.limit)
    return Reply({**_body(page, behaviour), "cursors": {"next": page.next_cursor}}, {})


def _header_cursor(world: World, question: Question, behaviour: Behaviour) -> Reply:
    page = _page(world, question, cursor=question.cursor, limit=question.limit)
    return Reply(_body(page, behaviour), {CURSOR_HEADER: page.next_cursor} if page.next_cursor else {})


def _json_link(world: World, question: Question, behaviour: Behaviour) -> Reply:
    page = _page(world, question, offset=question.offset, limit=question.limit)
    link = question.with_offset(page.end) if page.next_cursor else None
    return Reply({**_body(page, behaviour), "next": link}, {})


def _header_link(world: World, question: Question, behaviour: Behaviour) -> Reply:
    page = _page(world, question, offset=question.offset, limit=question.limit)
    links = {"Link": f'<{question.with_offset(page.end)}>; rel="next"'} if page.next_cursor else {}
    return Reply(_body(page, behaviour), links)


def _single(world: World, question: Question, behaviour: Behaviour) -> Reply:
    return Reply(_body(_page(world, question, limit=None), behaviour), {})


STYLES: dict[Style, Callable[[World, Question, Behaviour], Reply]] = {
    "offset": _offset,
    "page_number": _page_number,
    "cursor": _cursor,
    "body_cursor": _cursor,
    "header_cursor": _header_cursor,
    "json_link": _json_link,
    "header_link": _header_link,
    "single": _single,
}


def _page(world: World, question: Question, *, limit: int | None, offset: int = 0, cursor: str | None = None) -> Page:
    sort_param = world.behaviour(question.resource).sort_param
    return world.page(
        question.resource,
        offset,
        limit,
        cursor=cursor,
        updated_since=question.updated_since,
        is_sorted=sort_param is not None and sort_param in question.parameters,
    )


def _body(page: Page, behaviour: Behaviour) -> dict[str, Any]:
    body: dict[str, Any] = {"data": page.rows}
    if behaviour.total:
        body["total"] = page.total + behaviour.total_error
    return body
