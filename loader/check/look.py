"""A short reading of a resource: a page or a few, by the reader's own rules, with a bound on requests, kept nowhere."""

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import requests
from dlt.common import jsonpath
from dlt.extract import DltResource
from dlt.extract.exceptions import ResourceExtractionError
from dlt.sources.helpers.rest_client.detector import find_response_page_data
from requests import PreparedRequest, Response

from loader.chunk import Bounds, Commit
from loader.errors import ApiError, LoaderError, SettingsError
from loader.exchange import TimeIsUpError
from loader.failures import causes_of
from loader.paging import SAME_OFFSET_PAGE, SAME_PAGE, Place
from loader.place import Pass, Record
from loader.reader import End, NonsenseError, Reader, explained, now
from loader.session import Session
from loader.verdict import Evidence

MAX_REQUESTS = 8
"""So many requests are made for a resource at most, retries and redirects included."""


SEVERAL = 3
"""Where no more may be asked, so many refusals in a row say that there is no getting on; fewer, that it is busy."""


class EnoughError(Exception):
    """All that may be asked for was asked for."""


class Counted(requests.Session):
    """Sends through another session, so often at most, and keeps the last answer."""

    def __init__(self, inner: requests.Session, limit: int = MAX_REQUESTS) -> None:
        super().__init__()
        self.inner = inner
        self.limit = limit
        self.sent = 0
        self.refused = 0
        """Requests in a row that were not answered, or refused."""
        self.last: Response | None = None
        self.is_enough = False
        """Whether no more is to be asked for, for now."""

    @property
    def left(self) -> int:
        """Requests that may still be made."""
        return self.limit - self.sent

    def prepare_request(self, request: requests.Request) -> PreparedRequest:
        """Prepare a request, as the inner session does."""
        return self.inner.prepare_request(request)

    def merge_environment_settings(self, *args: Any, **kwargs: Any) -> Any:
        """Give proxies and certificates, as the inner session has them."""
        return self.inner.merge_environment_settings(*args, **kwargs)

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        """Send a request.

        Raises:
            EnoughError: no more is to be asked for.
        """
        if self.is_enough or not self.left:
            raise EnoughError
        self.sent += 1
        self.refused += 1
        self.last, self.inner.max_redirects = None, self.left
        try:
            response = self.inner.send(request, **kwargs)
        except requests.TooManyRedirects:
            self.sent = self.limit
            raise
        self.sent += len(response.history)
        self.refused = 0 if response.ok else self.refused
        self.last = response
        return response


@dataclass(slots=True)
class Page:
    """One page, as it came and as it is loaded."""

    response: Response | None
    """None where the resource is not of `rest_api`'s making."""
    delivered: int = 0
    """Rows of it that are new: an overlap is taken out."""
    rows: list[Any] = field(default_factory=list)
    """What is loaded of it, after all the steps of the configuration."""

    def received(self, selector: str | None) -> list[Any]:
        """Give the rows as they came."""
        return rows_in(self.body(), selector) or []

    def body(self) -> Any:
        """Parse the answer."""
        return body_of(self.response)


@dataclass(slots=True)
class Look:
    """What a short reading has shown."""

    pages: list[Page] = field(default_factory=list)
    evidence: Evidence = field(default_factory=Evidence)
    is_whole: bool = False
    """Whether it came to the end of the list."""
    failure: ApiError | None = None
    """What it ended with, where it failed."""
    cause: BaseException | None = None
    """What is behind it."""
    last: Response | None = None
    """The last answer, whatever it was."""
    problem: str = ""
    """What made no sense in the last answer."""
    found: str = ""
    """The type of the paginator that dlt has found."""

    @property
    def rows(self) -> list[Any]:
        """What is loaded of all pages."""
        return [row for page in self.pages for row in page.rows]

    @property
    def status(self) -> int | None:
        """The status code that the API refused with; None where it did not answer, or did so with success."""
        response = getattr(self.cause, "response", None)
        return response.status_code if isinstance(response, Response) and not response.ok else None


class ShortReader(Reader):
    """The reader, of a few pages."""

    def __init__(
        self,
        look: Look,
        session: Session,
        counted: Counted,
        pages: int,
        *,
        asks_again: bool,
        only_if: Callable[[Page], bool],
    ) -> None:
        clock, left = session.deadline.clock, session.deadline.left()
        # nothing is committed, so hardly any time is kept back for it
        bounds = Bounds(session.deadline, left, Commit(0.0, 1), 0.0, left, 1)
        record = Record("").began(Pass(now(clock)))
        super().__init__(record, session, bounds, lambda: 0, lambda _: None, may_pause=False, is_first=True)
        self.look = look
        self._counted = counted
        self._pages = pages
        self._asks_again = asks_again
        self._only_if = only_if

    def page_read(self, rows: int, evidence: Evidence, token: object) -> None:
        """Keep the page."""
        super().page_read(rows, evidence, token)
        self.look.problem = ""
        self.look.pages.append(Page(self._counted.last, rows))

    def ask_again(self, problem: str) -> None:
        """Ask again as the reader does; but once only for a page that came twice, and not where the rows are elsewhere.

        Raises:
            NonsenseError: it is of no use.
        """
        self.look.problem = problem
        is_known = self._asked_again > 0 if problem in (SAME_PAGE, SAME_OFFSET_PAGE) else bool(self._elsewhere())
        if is_known or not self._asks_again:
            raise NonsenseError(problem)
        super().ask_again(problem)

    def _elsewhere(self) -> str:
        return path_of_rows(body_of(self._counted.last))

    def next_place(self, place: Place | None) -> None:
        """Note which paginator dlt has found."""
        super().next_place(place)
        self.look.found = (place or {}).get("found", {}).get("type", self.look.found)

    def page_ended(self) -> bool:
        """Tell whether so many pages were read, or the first shows that no more are wanted."""
        is_unwanted = len(self.look.pages) == 1 and not self._only_if(self.look.pages[0])
        if self.pages_read >= self._pages or is_unwanted:
            self.end = End.FULL
            # a dependent resource would go on with the next row of its parent
            self._counted.is_enough = True
        return self.end is End.FULL


def look_at(
    resource: Callable[[Reader], DltResource],
    session: Session,
    counted: Counted,
    pages: int,
    *,
    asks_again: bool,
    only_if: Callable[[Page], bool],
) -> Look:
    """Read so many pages of a resource.

    Args:
        resource: makes the resource that reads through a reader.
        session: what asks.
        counted: what counts.
        pages: so many are read at most.
        asks_again: whether an answer that makes no sense is asked for again, as the reader does.
        only_if: decides by the first page whether those behind it are read, too.

    Raises:
        SettingsError: code of the configuration failed.
    """
    look = Look()
    counted.is_enough = False
    reader = ShortReader(look, session, counted, pages, asks_again=asks_again, only_if=only_if)
    try:
        with closing(iter(resource(reader))) as rows:
            for row in rows:
                if not look.pages:
                    look.pages.append(Page(None))
                look.pages[-1].rows.append(row)
        look.is_whole = reader.end is End.OF_PASS
    except ResourceExtractionError as error:
        _failed(look, error, session, counted)
    look.evidence, look.last = reader.evidence, counted.last
    return look


def _failed(look: Look, error: BaseException, session: Session, counted: Counted) -> None:
    """Keep what a reading failed with, if it did not just have enough."""
    causes = [_refusal(counted) if isinstance(cause, EnoughError) else cause for cause in causes_of(error)]
    if None in causes or (look.pages and 0 < counted.refused < SEVERAL and not counted.left):
        return
    for cause in causes:
        if isinstance(cause, LoaderError) and not isinstance(cause, ApiError):
            raise cause from error
        if isinstance(cause, TimeIsUpError):
            look.failure, look.cause = ApiError(f"The API was too slow: {cause.reason}."), cause
            return
        if isinstance(cause, requests.RequestException | NonsenseError):
            look.failure, look.cause = explained(cause, session.policy), cause
            return
    if any(isinstance(cause, ApiError) for cause in causes):
        look.failure = next(cause for cause in causes if isinstance(cause, ApiError))
        look.cause = causes[-1]
        return
    raise SettingsError(
        f"The code that source_config.py adds failed: {type(causes[-1]).__name__}. "
        "Look at its processing_steps, response_actions and incremental settings."
    ) from error


def _refusal(counted: Counted) -> requests.RequestException | None:
    """Give the failure of the last request, if no more was to be asked for while the API still refused."""
    if counted.is_enough or (counted.last is not None and counted.last.ok):
        return None
    if counted.last is None:
        return requests.ConnectionError()
    return requests.HTTPError(response=counted.last)


def body_of(response: Response | None) -> Any:
    """Parse an answer, None where it is no JSON; what the session has parsed is changed by those who read it."""
    try:
        return json.loads(response.text) if response is not None else None
    except ValueError:
        return None


def path_of_rows(body: Any) -> str:
    """Give the path to a list of objects in an answer; empty where there is none, or it speaks of errors."""
    path, found = find_response_page_data(body)
    is_list = isinstance(found, list) and bool(found) and all(isinstance(row, dict) for row in found)
    return ".".join(path) if is_list and not any("error" in part.lower() for part in path) else ""


def rows_in(body: Any, selector: str | None) -> list[Any] | None:
    """Give the list of rows in an answer; None where there is no list."""
    if not selector:
        _, found = find_response_page_data(body)
        return found if isinstance(found, list) else None
    values = jsonpath.find_values(selector.removesuffix("[*]"), body)
    if len(values) == 1:
        return values[0] if isinstance(values[0], list) else None
    return values or None
