"""Reads the pages of one chunk: from the place on, until the chunk is full, the time is up, or the pass ends."""

import enum
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests

from loader import incremental
from loader.chunk import Bounds
from loader.clock import Clock
from loader.deadline import Deadline
from loader.errors import ApiError
from loader.exchange import TimeIsUpError
from loader.paging import Place
from loader.place import Completed, Pass, Record
from loader.session import MovedError, RetryPolicy, Session
from loader.verdict import Evidence, checks, combined, verified

_Page = TypeVar("_Page")


class NonsenseError(Exception):
    """The API answers nonsense, again and again."""


class End(enum.Enum):
    """How the reading of a chunk ended."""

    OF_PASS = "the last page was read"  # noqa: S105 - a pass, not a password
    FULL = "the chunk is full"
    TIME = "the time was up"
    FAILED = "a page failed for good"


class Reader:
    """The reading of one chunk, and the record that is committed with its rows.

    It listens to the paginator (`paging.Listener`) and stands around dlt's page generator (`pages`).
    """

    def __init__(
        self,
        record: Record,
        session: Session,
        bounds: Bounds,
        folder_bytes: Callable[[], int],
        on_page: Callable[[int], None],
        *,
        may_pause: bool,
        is_first: bool,
    ) -> None:
        self.record = record
        """What is committed with this chunk."""
        self.may_pause = may_pause
        """False: the pass is read in this chunk, whole, or not at all."""
        self.folds = False
        """True: a pass that is read is not complete yet: what it staged is to be folded, or its table looked at."""
        self.templates: Sequence[str] = ()
        """Paths of dependent resources: what is between braces in them is a row's key, and is not to be seen."""
        self.choose: incremental.Furthest = max
        """Which of two values of an incremental cursor is further: dlt's `last_value_func`."""
        self.end = End.OF_PASS
        self.reason: str | None = None
        """Why it ended before the pass did, for a person."""
        self.wake_at: float | None = None
        """When the API may be asked again, seconds since 1970, where it has said so."""
        self.failure: ApiError | None = None
        """What failed, where a page failed for good."""
        self.completed: Completed | None = None
        """The pass, where this chunk completes it."""
        self.evidence = Evidence()
        """What the pass has seen."""
        self.pages_read = 0
        """Pages of this chunk."""
        self.seconds = 0.0
        """Spent in it."""
        self.page_seconds = 0.0
        """What the last page took."""
        self._session = session
        self._bounds = bounds
        self._folder_bytes = folder_bytes
        self._bytes = folder_bytes()
        self._on_page = on_page
        self._asked_again = 0
        self._seen: dict[object, Evidence] = {}
        self._of_parents: Evidence | None = None
        self._is_first = is_first
        self._clock: Clock = session.deadline.clock
        self._began = self._clock.monotonic()
        self._asked_at = self._began
        self._state: MutableMapping[str, Any] = {}
        self._beginning: dict[str, Any] = {}

    @property
    def current(self) -> Pass:
        """The pass that is read."""
        assert self.record.current is not None  # noqa: S101 - a run begins with a pass
        return self.record.current

    def pages(self, read: Callable[[], Iterator[_Page]], state: MutableMapping[str, Any]) -> Iterator[_Page]:
        """Yield the pages that dlt's generator reads, up to where this chunk ends; keep the record in `state`."""
        self._state = state
        beginning = incremental.snapshot(state)
        self._keep()
        try:
            with self._session.until(self._next_page_until()):
                yield from read()
        except TimeIsUpError as error:
            self.end, self.reason, self.wake_at = End.TIME, error.reason, error.wake_at
            if not self.may_pause:
                raise
        except (requests.RequestException, ValueError, NonsenseError) as error:
            self.failure = explained(
                error, self._session.policy, is_at_reference=self._is_at_reference(), templates=self.templates
            )
            self.end, self.reason = End.FAILED, str(self.failure)
            if not self.may_pause:
                raise self.failure from error
        finally:
            self.seconds = self._clock.monotonic() - self._began
            self._change(seconds=self.current.seconds + self.seconds)
            if self.may_pause or self.current.sweep:
                self._settle_cursors(beginning)
            self._keep()

    def leave_open(self) -> None:
        """Let the pass be read, but not complete: something is to be done before that."""
        self.folds = True
        self._change(finished=self.completed)
        self.completed = None

    # what the paginator tells

    def starting_place(self) -> Place | None:
        """Give the place to begin at, or None for the beginning."""
        return self.current.place

    def rows_so_far(self) -> int:
        """Give the rows of the pass that were counted before."""
        return self.current.rows

    def ask_again(self, problem: str) -> None:
        """Wait as after a refusal, before the same page is asked for again.

        Raises:
            NonsenseError: that has been done as often as the retry policy has it.
        """
        self._asked_again += 1
        if self._asked_again > self._session.policy.max_retries:
            raise NonsenseError(problem)
        self._session.pause(self._asked_again, f"the API answers nonsense ({problem})")

    def parent_read(self, evidence: Evidence) -> None:
        """Take note of what the pass has seen of a parent: what is missed there is missed here."""
        verdict = verified(checks(evidence))
        self._of_parents = Evidence(neighbours=verdict, beginning=verdict)

    def page_read(self, rows: int, evidence: Evidence, token: object) -> None:
        """Count a page and its rows."""
        self.pages_read += 1
        self._asked_again = 0
        self._seen[token] = evidence
        self.evidence = combined([*self._seen.values()], self._of_parents)
        self._is_first = False
        self._session.deadline = self._next_page_until()
        self._change(pages=self.current.pages + 1, rows=self.evidence.rows)
        self._on_page(rows)

    def next_place(self, place: Place | None) -> None:
        """Keep the place; where there is none, this was the last page."""
        self._change(place=place)
        if not self.may_pause:
            # the pages of a dependent resource may come after its parent's generator has ended
            self._keep()

    def follow(self, following: Iterator[requests.Request]) -> None:
        """Let the next pages be asked for ahead."""
        self._session.follow(following)

    def is_ahead(self) -> bool:
        """Tell whether the page at hand was asked for before the one before it had come."""
        return self._session.was_ahead

    def is_older(self) -> bool:
        """Tell whether the page at hand came well before the one before it."""
        return self._session.was_older

    def page_ended(self) -> bool:
        """Take note that a page is through, once after each; tell whether reading ends here for this time."""
        asked_at, self._asked_at = self._asked_at, self._clock.monotonic()
        self.page_seconds = self._asked_at - asked_at
        if not self.may_pause:
            return False
        self._bytes = self._folder_bytes()
        is_late = self.page_seconds >= self._next_page_until().left()
        is_long = self._asked_at - self._began >= self._bounds.chunk_seconds
        if is_late or is_long or self._bytes >= self._bounds.chunk_bytes:
            self.end = End.FULL
            if not is_late:
                self._read_on()
        return self.end is End.FULL

    def _read_on(self) -> None:
        """Let pages of the next chunk come while this one is committed: as many as the last commit had time for."""
        commit, seconds = self._bounds.last_commit, self._asked_at - self._began
        if commit and seconds:
            self._session.read_on(int(commit.seconds * self.pages_read / seconds))

    def _next_page_until(self) -> Deadline:
        """Give the moment until which the next page is waited for."""
        if not self.may_pause:
            return self._bounds.read_until(0)
        return self._bounds.first_page_until() if self._is_first else self._bounds.read_until(self._bytes)

    def _is_at_reference(self) -> bool:
        return not self.pages_read and bool({"cursor", "url"} & {*(self.current.place or {})})

    def _change(self, **changes: Any) -> None:
        self.record = replace(self.record, current=replace(self.current, **changes))

    def _settle_cursors(self, beginning: Mapping[str, Any]) -> None:
        """Let the incremental cursors count if the pass is complete, else put them back to its beginning."""
        seen = incremental.furthest(self.current.cursors, incremental.snapshot(self._state), self.choose)
        if self.current.sweep and self.end is End.OF_PASS:
            incremental.restore(self._state, self.current.aside)
        elif self.end is End.OF_PASS:
            incremental.advance(self._state, seen)
        else:
            incremental.put_back(self._state, beginning)
            self._change(cursors=seen)

    def _keep(self) -> None:
        """Write the record into the state, as it is to be committed with the rows read so far."""
        is_read = self.end is End.OF_PASS
        # a package that splits a field is not committed with it
        evidence = replace(self.evidence, columns=True)
        self.completed = self.current.completed(now(self._clock), evidence) if is_read else None
        if self.folds:
            self.leave_open()
        kept = replace(self.record, current=None, last=self.completed) if self.completed else self.record
        kept.write(self._state)


def now(clock: Clock) -> str:
    """Give the time in UTC, ISO 8601."""
    return datetime.fromtimestamp(clock.time(), UTC).isoformat(timespec="milliseconds")


def explained(
    error: Exception, policy: RetryPolicy, *, is_at_reference: bool = False, templates: Sequence[str] = ()
) -> ApiError:
    """Say what an error in reading means; never what the API sent, which may be customers' rows.

    Args:
        error: what was raised.
        policy: how often it was tried.
        is_at_reference: whether it was the first request of a run, at a cursor or a link that an earlier run had kept.
        templates: paths with braces, around what is a row's key.
    """
    response = getattr(error, "response", None)
    if isinstance(error, requests.HTTPError) and response is not None:
        status, path = response.status_code, _without_keys(urlsplit(response.url).path, templates)
        tries = f" after {policy.max_retries} retries" if status in policy.status_codes else ""
        what = f"The API answered {status} {response.reason} to {response.request.method} {path}{tries}."
        advice = _ADVICE.get(status) or _ADVICE.get(status // 100, "")
        if is_at_reference and status // 100 == _REFUSED:
            advice += ' The cursor of the paused pass may have expired; then begin anew with "restart".'
        return ApiError(f"{what} {advice}")
    if isinstance(error, NonsenseError):
        return ApiError(
            f"The API answers nonsense, also after {policy.max_retries} retries: {error}. "
            "Look at the resource's path, data_selector and paginator in source_config.py, and at the API."
        )
    for kind, message in _MESSAGES.items():
        if isinstance(error, kind):
            return ApiError(message)
    if isinstance(error, requests.RequestException):
        return ApiError(
            f"The API could not be reached after {policy.max_retries} retries: {type(error).__name__}. "
            "Is the base URL right, and the API up?"
        )
    return ApiError(
        "The API's answer does not fit the paginator in source_config.py: a number or a reference that it needs is "
        "missing or of another kind. Look at the paginator's paths."
    )


def _without_keys(path: str, templates: Sequence[str]) -> str:
    for template in templates:
        literals = [re.escape(literal) for literal in re.split(r"\{[^}]*\}", template.strip("/"))]
        if re.fullmatch(rf"(.*/)?{'.+'.join(literals)}/?", path):
            return "/" + template.strip("/")
    return path


_MESSAGES = {
    requests.JSONDecodeError: (
        "The API answered with something that is no JSON. Look at the resource's path in source_config.py."
    ),
    requests.TooManyRedirects: (
        "The API redirects in a circle. Look at BASE_URL and at the resource's path in source_config.py."
    ),
    UnicodeEncodeError: (
        "The request could not be sent: a header has a character that HTTP does not allow there. Look at the key."
    ),
    MovedError: (
        "The API redirects to another host, or links to one, and the key is not sent there. "
        "If you trust it, put it into BASE_URL."
    ),
}
"""What to say of errors that are the same whatever the request was."""

_REFUSED = 4
"""Hundreds of the status codes that say that the request was wrong."""

_ADVICE = {
    401: "Look at the key: is it the right one, and still valid?",
    403: "The key is known but may not read this: look at what it is allowed to.",
    404: "Look at the resource's path in source_config.py.",
    429: "It limits its requests: lower PAGES_IN_FLIGHT in source_config.py, or run less often.",
    3: "Look at the base URL and the resource's path in source_config.py.",
    4: "Look at the resource's parameters in source_config.py.",
    5: "It is the API's own fault: the next run goes on at this page.",
}
"""What to do, by status code or its hundreds."""
