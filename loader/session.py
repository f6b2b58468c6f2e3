"""One request of the API, from the first byte sent to the last byte read: retried, and never past the deadline."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from typing import Any, Self

import requests
from requests import PreparedRequest, Response
from tenacity import RetryCallState, Retrying, retry_if_exception, retry_if_result, stop_after_attempt

from loader.deadline import Deadline, in_time
from loader.log import logger

SOCKET_SECONDS = 60.0
"""Longest silence of a server that is borne, in seconds; dlt's own default."""

TRANSIENT = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
"""Errors of the network after which a request is tried again, like dlt does."""


class TimeIsUpError(Exception):
    """What was asked for did not come, or may not be asked for, before the time was up."""

    def __init__(self, reason: str, wake_at: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wake_at = wake_at
        """When the API may be asked again (seconds since 1970), where it has said so."""


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
        """Give the seconds to wait before retry number `retries` (from 1); `now` is seconds since 1970."""
        said = retry_after(response, now)
        return self.backoff_factor * 2 ** (retries - 1) if said is None else said


def retry_after(response: Response | None, now: float) -> float | None:
    """Give the seconds that a `Retry-After` header (RFC 9110: seconds, or a date) tells to wait, if any."""
    text = (response.headers.get("Retry-After") or "").strip() if response is not None else ""
    if text.isdigit():
        return float(text)
    date = parsedate_tz(text)
    return max(mktime_tz(date) - now, 0.0) if date else None


class Session(requests.Session):
    """The seat of all this in dlt: the `session` of a REST client.

    It sends through another session (dlt's own, or the one of the configuration), so that what goes over the wire is
    what that session sends.
    """

    def __init__(self, inner: requests.Session, policy: RetryPolicy, deadline: Deadline) -> None:
        super().__init__()
        self.inner = inner
        # requests takes only `Authorization` out before it follows; a key may stand in any header
        inner.rebuild_auth = self._stay  # type: ignore[method-assign]
        self.policy = policy
        self.deadline = deadline
        """When a request is given up; the reader moves it (see `until`)."""
        self.requests = 0
        """Requests sent so far, retries included."""
        self.retries = 0
        """Retries among them."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # dlt copies a configuration before it checks it
        return self

    @contextmanager
    def until(self, deadline: Deadline) -> Iterator[None]:
        """Give requests up at this moment, inside the block."""
        before, self.deadline = self.deadline, deadline
        try:
            yield
        finally:
            self.deadline = before

    def prepare_request(self, request: requests.Request) -> PreparedRequest:
        """Prepare a request; signing it may ask a token server, which ends by the deadline too."""
        return in_time(
            lambda: self.inner.prepare_request(request),
            self.deadline,
            late=lambda _: TimeIsUpError("a request could not be signed in time"),
        )

    def _stay(self, request: PreparedRequest, response: Response) -> None:
        """Let a redirect stay with its host.

        Raises:
            MovedError: it leads elsewhere.
        """
        if self.inner.should_strip_auth(response.request.url, request.url):  # type: ignore[no-untyped-call]
            raise MovedError(response=response)
        requests.Session.rebuild_auth(self.inner, request, response)  # type: ignore[no-untyped-call]

    def merge_environment_settings(self, *args: Any, **kwargs: Any) -> Any:
        """Give proxies and certificates, as the inner session has them."""
        return self.inner.merge_environment_settings(*args, **kwargs)

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
        # hooks judge a whole answer (dlt raises for its status in one), so they come after its body
        bare = request.copy()
        bare.hooks = {}
        self.requests += 1
        opened: list[Response] = []
        response = in_time(
            lambda: self._exchange(bare, kwargs, opened),
            self.deadline,
            late=lambda _: self._give_up(opened),
        )
        for hook in request.hooks.get("response", []):
            response = hook(response, **kwargs) or response
        _parse_once(response)
        return response

    def _exchange(self, request: PreparedRequest, kwargs: Mapping[str, Any], opened: list[Response]) -> Response:
        patience = max(min(SOCKET_SECONDS, self.deadline.left()), 0.001)
        response = self.inner.send(request, **{**kwargs, "timeout": patience, "stream": True})
        opened.append(response)
        # reads the body, and turns what goes wrong in it into an error of requests
        _ = response.content
        return response

    @staticmethod
    def _give_up(opened: list[Response]) -> TimeIsUpError:
        for response in opened:
            # a body that drips would keep its thread for ever; one that has just ended has nothing left to shut
            with suppress(AttributeError, OSError, RuntimeError, ValueError):
                response.raw.shutdown()
        return TimeIsUpError("a page did not come in time")

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
        self.deadline.clock.sleep(self._patience(retries, None, why))

    def _wait(self, state: RetryCallState) -> float:
        response = _answer(state)
        what = "did not answer" if response is None else f"answered {response.status_code}"
        return self._patience(state.attempt_number, response, f"the API {what}")

    def _patience(self, retries: int, response: Response | None, why: str) -> float:
        """Give the seconds to wait before retry number `retries`, if they fit."""
        now = self.deadline.clock.time()
        seconds = self.policy.wait(retries, response, now)
        left = self.deadline.left()
        if seconds >= left:
            raise TimeIsUpError(
                f"{why}: the next request may follow in {seconds:.0f} s, but {left:.0f} s are left",
                wake_at=now + seconds if retry_after(response, now) is not None else None,
            )
        self.retries += 1
        logger.info("%s; retry %d follows in %.0f s.", why[:1].upper() + why[1:], retries, seconds)
        return seconds


def _parse_once(response: Response) -> None:
    """Parse the answer now, where no JSON is an error that may pass; dlt asks for it several times."""
    if response.ok:
        parsed = response.json()
        response.json = lambda **_: parsed  # type: ignore[method-assign]


def _answer(state: RetryCallState) -> Response | None:
    """Give the answer of the last try, if there was one; a hook may have raised over it."""
    if state.outcome is None:
        return None
    error = state.outcome.exception()
    answer = state.outcome.result() if error is None else getattr(error, "response", None)
    return answer if isinstance(answer, Response) else None
