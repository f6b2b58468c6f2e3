"""Every request of the API: retried, never past the deadline, and some of them made before they are needed."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from itertools import islice
from typing import Any, Self
from urllib.parse import urlsplit

import orjson
import requests
from dlt.sources.helpers.rest_client.auth import APIKeyAuth, BearerTokenAuth, HttpBasicAuth
from requests import PreparedRequest, Response
from tenacity import RetryCallState, Retrying, retry_if_exception, retry_if_result, stop_after_attempt

from loader.deadline import Deadline, in_time
from loader.exchange import Exchange, TimeIsUpError
from loader.log import logger
from loader.manners import Manners

SOCKET_SECONDS = 60.0
"""Longest silence of a server that is borne, in seconds; dlt's own default."""

TRANSIENT = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
"""Errors of the network after which a request is tried again, like dlt does."""

ASK_NOBODY = (type(None), APIKeyAuth, BearerTokenAuth, HttpBasicAuth)
"""Kinds of authentication that sign a request with what they have."""

BYTES_AT_HAND = 16 << 20
"""Beyond those that are under way at once, pages that nobody has asked for yet take so much memory at most ..."""

MOST_AT_HAND = 256
"""... and are so many."""

LONGEST_WAIT_SECONDS = 30 * 86_400.0
"""A `Retry-After` beyond is none: some APIs send a date as a number. No task of Cloud Tasks may lie further ahead."""

STALE_SECONDS = 1.0
"""A page that came so long before the one before it shows the list as it was, and not only a little out of turn."""

EXCHANGES = "loader-exchanges"
"""Name of the threads in which requests are under way."""

DIGITS = bytes.maketrans(b"123456789", b"000000000")

LONG_NUMBER = b"0" * 19
"""An integer beyond 64 bits has at least so many digits, and would become a float."""


class MovedError(requests.RequestException):
    """The API redirects to another host, which must not get the key."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a request is tried again."""

    status_codes: frozenset[int]
    """Answers with one of these are asked for again."""
    backoff_factor: float
    """The n-th wait lasts this factor times 2 ** (n - 1) seconds, if the API does not say how long."""
    max_retries: int
    """So many times at most, after the first."""

    @classmethod
    def of(cls, retries: Mapping[str, Any]) -> "RetryPolicy":
        """Read `RETRIES` of source_config.py."""
        return cls(frozenset(retries["status_codes"]), float(retries["backoff_factor"]), int(retries["max_retries"]))

    def wait(self, retries: int, response: Response | None, now: float) -> float:
        """Give the seconds to wait, from when the answer came (seconds since 1970), before retry number `retries`."""
        said = retry_after(response, now)
        return self.backoff_factor * 2 ** (retries - 1) if said is None else said


def retry_after(response: Response | None, now: float) -> float | None:
    """Give the seconds that a `Retry-After` header (RFC 9110: seconds, or a date) tells to wait, if any."""
    text = (response.headers.get("Retry-After") or "").strip() if response is not None else ""
    seconds = None
    with suppress(ValueError, OverflowError):
        if text.isdecimal():
            seconds = float(text)
        elif date := parsedate_tz(text):
            seconds = max(mktime_tz(date) - now, 0.0)
    return None if seconds is None or seconds > LONGEST_WAIT_SECONDS else seconds


def pages_at_hand(pages_in_flight: int) -> int:
    """Give how many pages may be under way or wait to be read: half of them wait, so that others can be under way."""
    return 2 * pages_in_flight - 1


@dataclass(slots=True)
class Ahead:
    """A request that is under way before its page is needed, or waits for its turn."""

    request: requests.Request
    exchange: Exchange


def _is_same(one: requests.Request, other: requests.Request) -> bool:
    """Tell whether both ask for the same, before they are signed."""
    return one is other or all(getattr(one, name) == getattr(other, name) for name in _ASKS)


_ASKS = ("params", "json", "data", "url", "method")
"""Attributes of a request that say what it asks for."""


class Session(requests.Session):
    """The seat of all this in dlt: the `session` of a REST client.

    It sends through another session (dlt's own, or the one of the configuration), so that what goes over the wire is
    what that session sends. dlt asks for one page after the other; those that are known to follow are under way by
    then: a thread that has brought one goes on with the next that waits, while all is well. They are signed in the
    thread that asks, one after the other, so a token is never fetched twice; and whatever is wrong with one of them
    shows when dlt asks for it, as if it had been sent then.
    """

    def __init__(
        self, inner: requests.Session, policy: RetryPolicy, deadline: Deadline, *, pages_in_flight: int = 1
    ) -> None:
        super().__init__()
        self.inner = inner
        # requests takes only `Authorization` out before it follows; a key may stand in any header
        inner.rebuild_auth = self._stay  # type: ignore[method-assign]
        self.policy = policy
        self.deadline = deadline
        """When a request is given up; inside `until` the reader moves it after each page."""
        self.pages_in_flight = pages_in_flight
        """So many requests are under way at most."""
        self.requests = 0
        """Requests sent so far, retries included."""
        self.retries = 0
        """Retries among them."""
        self.was_ahead = False
        """Whether the last answer is to a request that was sent ahead ..."""
        self.was_older = False
        """... and came `STALE_SECONDS` or more before the answer before it."""
        self._manners = Manners(pages_in_flight)
        self._following: list[requests.Request] = []
        self._later: Iterator[requests.Request] = iter(())
        self._page_bytes = 1
        self._slowest_seconds = 0.0
        self._lead: PreparedRequest | None = None
        self._ahead: list[Ahead] = []
        self._goes_on = False
        self._is_in_turn = False
        self._lock = threading.Lock()
        """Guards what several threads change; which requests are in `_ahead` is changed by the reader's alone."""
        self._answered_at = 0.0
        self._environment: dict[Any, Any] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # dlt copies a configuration before it checks it
        return self

    def follow(self, following: Iterable[requests.Request]) -> None:
        """Say what will be asked for next, in this order; what is under way for anything else was asked for in vain."""
        self._later = iter(following)
        with self._lock:
            fits = max(BYTES_AT_HAND // self._page_bytes, self.pages_in_flight)
            at_hand = max(min(pages_at_hand(self.pages_in_flight), fits), len(self._ahead))
            self._following = [*islice(self._later, at_hand)]
            wanted = {*map(id, self._following)}
            vain = [ahead for ahead in self._ahead if not self._taken_over(ahead, wanted)]
            self._ahead = [ahead for ahead in self._ahead if ahead not in vain]
        for ahead in vain:
            ahead.exchange.drop()

    def _taken_over(self, ahead: Ahead, following: AbstractSet[int]) -> bool:
        """Tell whether it is among what follows; where that was told anew, let it go by the new request from now on."""
        if id(ahead.request) in following:
            return True
        same = next((request for request in self._following if _is_same(ahead.request, request)), None)
        ahead.request = same or ahead.request
        return same is not None

    def read_on(self, pages: int) -> None:
        """Let so many of the next pages come, but for the first, while nobody asks for them, if there is room."""
        if self.pages_in_flight == 1:
            return
        more = min(pages, MOST_AT_HAND, BYTES_AT_HAND // self._page_bytes) - len(self._following)
        self._following += islice(self._later, max(more, 0))
        self._send_ahead()

    def close(self) -> None:
        """Drop what is under way; the inner session is its owner's."""
        self.follow(())

    @contextmanager
    def until(self, deadline: Deadline) -> Iterator[None]:
        """Give requests up at this moment, inside the block."""
        before, self.deadline = self.deadline, deadline
        try:
            yield
        finally:
            self.deadline = before

    def prepare_request(self, request: requests.Request) -> PreparedRequest:
        """Prepare a request, unless it is under way already."""
        ahead = next((ahead.exchange.request for ahead in self._ahead if _is_same(ahead.request, request)), None)
        prepared = ahead or self._signed(request)
        if self._following and _is_same(self._following[0], request):
            self._lead = prepared
        return prepared

    def _signed(self, request: requests.Request) -> PreparedRequest:
        """Prepare a request; signing it may ask a token server (through this session), by the deadline too."""
        if type(request.auth or self.inner.auth) in ASK_NOBODY:
            return self.inner.prepare_request(request)
        return in_time(
            lambda: self.inner.prepare_request(request),
            self.deadline,
            late=lambda _: TimeIsUpError("a request could not be signed in time"),
        )

    def _may_wait(self, request: requests.Request) -> bool:
        """Tell whether a request may be signed long before it is sent: a token may expire, a time stamp get old."""
        is_plain = type(self.inner).prepare_request is requests.Session.prepare_request
        return is_plain and type(request.auth or self.inner.auth) in ASK_NOBODY

    def _stay(self, request: PreparedRequest, response: Response) -> None:
        """Let a redirect stay with its host.

        Raises:
            MovedError: it leads elsewhere.
        """
        if self.inner.should_strip_auth(response.request.url, request.url):  # type: ignore[no-untyped-call]
            raise MovedError(response=response)
        requests.Session.rebuild_auth(self.inner, request, response)  # type: ignore[no-untyped-call]

    def merge_environment_settings(self, url: Any, *args: Any, **kwargs: Any) -> Any:
        """Give proxies and certificates, as the inner session has them for a host; asked for once."""
        asked = urlsplit(url)[:2], *map(repr, args)
        if asked not in self._environment:
            self._environment[asked] = self.inner.merge_environment_settings(url, *args, **kwargs)
        return {**self._environment[asked]}

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        """Send a request, and again as the policy has it.

        Raises:
            TimeIsUpError: it did not end by the deadline, or would have to wait beyond it.
            requests.RequestException: it failed for good.
        """
        retrying = Retrying(
            stop=stop_after_attempt(self.policy.max_retries + 1),
            retry=retry_if_exception(self._is_transient) | retry_if_result(self._is_refused),
            wait=self._wait,
            sleep=self.deadline.clock.sleep,
            # what comes after the last try is for the caller to see
            retry_error_callback=lambda state: state.outcome.result(),  # type: ignore[union-attr]
        )
        response: Response = retrying(self._send_once, request, kwargs)
        return response

    def _send_once(self, request: PreparedRequest, kwargs: Mapping[str, Any]) -> Response:
        if not self.deadline.left():
            raise TimeIsUpError("the time was up before a page was asked for")
        ahead = self._under_way(request)
        exchange = ahead or self._begin_in_turn(request, kwargs)
        if request is self._lead and not exchange.has_failed:
            self._send_ahead()
        try:
            response = exchange.answer(self.deadline)
        finally:
            self.was_ahead = ahead is not None
            self.was_older = exchange.ended_at + STALE_SECONDS <= self._answered_at
            self._answered_at = exchange.ended_at
        # hooks judge a whole answer (dlt raises for its status in one), so they come after its body
        for hook in request.hooks.get("response", []):
            response = hook(response, **kwargs) or response
        _parse_once(response)
        return response

    def _under_way(self, request: PreparedRequest) -> Exchange | None:
        with self._lock:
            ahead = next((ahead for ahead in self._ahead if ahead.exchange.request is request), None)
            if ahead is None:
                return None
            self._ahead.remove(ahead)
            return ahead.exchange if ahead.exchange.turn else None

    def _begin_in_turn(self, request: PreparedRequest, kwargs: Mapping[str, Any]) -> Exchange:
        """Send a request as soon as that is allowed."""
        exchange = self._exchange(request, kwargs)
        # what comes after it is not to take its turn
        self._is_in_turn = True
        try:
            while exchange.turn is None:
                self._wait_while_held()
                exchange.turn = self._manners.enter(self.deadline.left())
                if exchange.turn is None:
                    raise TimeIsUpError("as many requests as are allowed at once were not answered in time")
                if self._held():
                    # an answer that came meanwhile asks to wait
                    self._manners.leave(exchange.turn, None)
                    exchange.turn = None
        finally:
            self._is_in_turn = False
        self._begin(exchange)
        return exchange

    def _held(self) -> float:
        """Give the seconds until something may be asked for, as the API has said."""
        return self._manners.held(self.deadline.clock.monotonic())

    def _wait_while_held(self) -> None:
        clock = self.deadline.clock
        held, left = self._held(), self.deadline.left()
        if held >= left:
            raise TimeIsUpError(
                f"the API asks to wait {held:.0f} s, but {left:.0f} s are left", wake_at=clock.time() + held
            )
        if held:
            clock.sleep(held)

    def _send_ahead(self) -> None:
        """Send what follows, but for the first of it, as far as that is allowed.

        Whether the first comes ahead is for the reader to know: an end that was asked for ahead is none.
        """
        # what failed ahead is for the reader to come to, before more is asked for
        if self._held() or any(ahead.exchange.has_failed for ahead in self._ahead):
            return
        under_way = {id(ahead.request) for ahead in self._ahead}
        self._goes_on = True
        for request in self._following[1:]:
            if id(request) not in under_way and not self._put_ahead(request):
                break
        self._begin_all()

    def _put_ahead(self, request: requests.Request) -> bool:
        """Sign a request, and send it or let it wait; tell whether another one may follow."""
        may_wait = self._may_wait(request)
        if not may_wait and not (self._may_begin() and self._manners.has_room()):
            return False
        try:
            prepared = self._signed(request)
            kwargs = self.merge_environment_settings(prepared.url, {}, None, None, None)
        except Exception:  # noqa: BLE001 - whatever is wrong with it will be raised when it is asked for
            return False
        ahead = Ahead(request, self._exchange(prepared, kwargs))
        with self._lock:
            self._ahead.append(ahead)
        self._begin_all()
        with self._lock:
            if may_wait or ahead.exchange.turn:
                return True
            self._ahead.remove(ahead)
            return False

    def _begin_all(self) -> None:
        """Begin what waits, as far as that is allowed."""
        while exchange := self._take_next():
            self._begin(exchange)

    def _may_begin(self) -> bool:
        """Tell whether what waits may be under way now, if there is room."""
        # what would not come in time would still be under way when the next run begins
        has_time = self.deadline.left() > self._slowest_seconds
        return self._goes_on and has_time and not self._held() and not self._is_in_turn

    def _take_next(self) -> Exchange | None:
        """Give the first that waits its turn, if it may be under way now."""
        with self._lock:
            waiting = (ahead.exchange for ahead in self._ahead if not ahead.exchange.turn)
            exchange = next(waiting, None) if self._may_begin() else None
            if exchange:
                exchange.turn = self._manners.enter()
            return exchange if exchange and exchange.turn else None

    def _begin(self, exchange: Exchange) -> None:
        threading.Thread(target=self._bring, args=(exchange,), name=EXCHANGES, daemon=True).start()

    def _bring(self, first: Exchange) -> None:
        """Run an exchange, and then those that wait; to start a thread for each would cost as much as to send it."""
        exchange: Exchange | None = first
        clock = self.deadline.clock
        while exchange:
            with self._lock:
                self.requests += 1
            began = clock.monotonic()
            exchange.run()
            with self._lock:
                self._slowest_seconds = max(self._slowest_seconds, clock.monotonic() - began)
            exchange = self._take_next()

    def _exchange(self, request: PreparedRequest, kwargs: Mapping[str, Any]) -> Exchange:
        clock = self.deadline.clock

        def send(prepared: PreparedRequest) -> Response:
            bare = prepared.copy()
            bare.hooks = {}
            silence = max(min(SOCKET_SECONDS, self.deadline.left()), 0.001)
            return self.inner.send(bare, **{**kwargs, "timeout": silence, "stream": True})

        def ended(exchange: Exchange, response: Response | None) -> None:
            exchange.ended_at = clock.monotonic()
            if response is not None:
                with self._lock:
                    self._page_bytes = max(self._page_bytes, len(response.content))
            if not exchange.is_dropped and (response is None or not response.ok):
                # what waits is for the reader to send
                self._goes_on = False
            if response is not None and not response.ok:
                self._manners.hold(exchange.ended_at + (retry_after(response, clock.time()) or 0.0))
            assert exchange.turn is not None  # noqa: S101 - it was under way
            self._manners.leave(exchange.turn, None if response is None else response.status_code)

        return Exchange(request, send, ended)

    def _is_transient(self, error: BaseException) -> bool:
        if isinstance(error, requests.HTTPError) and error.response is not None:
            return self._is_refused(error.response)
        return isinstance(error, (*TRANSIENT, requests.JSONDecodeError))

    def _is_refused(self, response: Response) -> bool:
        return response.status_code in self.policy.status_codes

    def pause(self, retries: int, why: str) -> None:
        """Wait before retry number `retries`, for a reason that was found in an answer.

        Raises:
            TimeIsUpError: the wait does not fit.
        """
        self.deadline.clock.sleep(self._seconds_to_retry(retries, None, why))

    def _wait(self, state: RetryCallState) -> float:
        response = _answer(state)
        what = "did not answer" if response is None else f"answered {response.status_code}"
        return self._seconds_to_retry(state.attempt_number, response, f"the API {what}")

    def _seconds_to_retry(self, retries: int, response: Response | None, why: str) -> float:
        """Give the seconds to wait before retry number `retries`, which is counted and logged.

        Raises:
            TimeIsUpError: they do not fit.
        """
        clock, left = self.deadline.clock, self.deadline.left()
        # an answer to what was asked ahead may have come a while ago
        ago = clock.monotonic() - self._answered_at
        now = clock.time()
        seconds = max(self.policy.wait(retries, response, now - ago) - ago, 0.0)
        if seconds >= left:
            raise TimeIsUpError(
                f"{why}: the next request may follow in {seconds:.0f} s, but {left:.0f} s are left",
                wake_at=now + seconds if retry_after(response, now) is not None else None,
            )
        if retries > self.policy.max_retries:
            # tenacity asks before it gives up
            return seconds
        self.retries += 1
        logger.info("%s; retry %d follows in %.0f s.", why[:1].upper() + why[1:], retries, seconds)
        return seconds


def _parse_once(response: Response) -> None:
    """Parse the answer now, where no JSON is an error that may pass; dlt asks for it several times."""
    if response.ok:
        parsed = parsed_json(response)
        response.json = lambda **_: parsed  # type: ignore[method-assign]


def parsed_json(response: Response) -> Any:
    """Parse an answer with the fastest parser; what that one refuses, or would round, as requests does it."""
    is_utf8 = (response.encoding or "utf-8").lower() == "utf-8"
    with suppress(orjson.JSONDecodeError):
        if is_utf8 and LONG_NUMBER not in response.content.translate(DIGITS):
            return orjson.loads(response.content)
    return response.json()


def _answer(state: RetryCallState) -> Response | None:
    """Give the answer of the last try, if there was one; a hook may have raised over it."""
    if state.outcome is None:
        return None
    error = state.outcome.exception()
    answer = state.outcome.result() if error is None else getattr(error, "response", None)
    return answer if isinstance(answer, Response) else None
