"""One exchange with the API: a request sent, and its answer read to the last byte, in a thread beside its reader."""

import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress

from requests import PreparedRequest, Response

from loader.deadline import Deadline
from loader.manners import Turn


class TimeIsUpError(Exception):
    """What was asked for did not come, or may not be asked for, before the time was up."""

    def __init__(self, reason: str, wake_at: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wake_at = wake_at
        """When the API may be asked again (seconds since 1970), where it has said so."""


class Exchange:
    """An exchange. Some thread runs it; another one may wait for its answer, or drop it."""

    def __init__(
        self,
        request: PreparedRequest,
        send: Callable[[PreparedRequest], Response],
        ended: Callable[["Exchange", Response | None], None],
    ) -> None:
        """Prepare it.

        Args:
            request: what to send.
            send: sends it, and gives the answer when its headers are there.
            ended: called in the thread that runs it, with the answer if a whole one came.
        """
        self.request = request
        self.turn: Turn | None = None
        """The right to be under way; None: it has not begun."""
        self.ended_at = 0.0
        """When it ended, for `ended` to note (monotonic seconds)."""
        self._send = send
        self._ended = ended
        self._opened: Response | None = None
        self._failure: BaseException | None = None
        self.is_dropped = False
        """Whether nobody waits for it any more."""
        self._is_done = threading.Event()
        self._context = contextvars.copy_context()

    def run(self) -> None:
        """Do it; it sees the context variables of who prepared it, and whoever waits for its answer gets its errors."""
        try:
            self._context.run(self._run)
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            self._failure = error
        finally:
            self._is_done.set()

    def _run(self) -> None:
        whole = None
        try:
            if self.is_dropped:
                raise TimeIsUpError("nobody waited for a page any more")
            response = self._opened = self._send(self.request)
            if self.is_dropped:
                self._shut()
            # reads the body, and turns what goes wrong in it into an error of requests
            _ = response.content
            whole = response
        finally:
            self._ended(self, whole)

    @property
    def has_failed(self) -> bool:
        """Whether it has ended without an answer that is all right."""
        return self._is_done.is_set() and (self._opened is None or not self._opened.ok or self._failure is not None)

    def answer(self, deadline: Deadline) -> Response:
        """Wait for the answer.

        Raises:
            TimeIsUpError: it did not come in time; nobody waits for it any more.
            requests.RequestException: there was none.
        """
        if not self._is_done.wait(deadline.left()):
            self.drop()
            raise TimeIsUpError("a page did not come in time")
        if self._failure is not None:
            raise self._failure
        assert self._opened is not None  # noqa: S101 - it has not failed
        return self._opened

    def drop(self) -> None:
        """Let nobody wait for it any more: it ends as soon as the API answers at all."""
        self.is_dropped = True
        self._shut()

    def _shut(self) -> None:
        if self._opened is not None:
            # a body that drips would keep its thread for ever; one that has just ended has nothing left to shut
            with suppress(AttributeError, OSError, RuntimeError, ValueError):
                self._opened.raw.shutdown()
