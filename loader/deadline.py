"""The moment by which the invocation must have answered, and what is left until then."""

import contextvars
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from loader.clock import Clock

SECONDS_TO_ANSWER = 2.0
"""Kept back from every time box for sending the answer ..."""

SHARE_TO_ANSWER = 0.02
"""... and this share of it: the platform counts from the dispatch, a cold start included."""


_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the clock. Waits are cut to what is left until then."""

    clock: Clock
    at: float
    """The moment, in the clock's monotonic seconds."""

    @classmethod
    def of(cls, timeout_seconds: float, clock: Clock, started: float | None = None) -> "Deadline":
        """Give the deadline of an invocation that the platform ends after `timeout_seconds`.

        Args:
            timeout_seconds: what the platform gives one invocation.
            clock: the clock to measure with.
            started: when the request came in (monotonic seconds); now, if not given.
        """
        box = max(timeout_seconds - SECONDS_TO_ANSWER - SHARE_TO_ANSWER * timeout_seconds, 0.1)
        return cls(clock, (clock.monotonic() if started is None else started) + box)

    def left(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(self.at - self.clock.monotonic(), 0.0)

    def earlier(self, seconds: float) -> "Deadline":
        """Give the moment that lies so many seconds before this one."""
        return Deadline(self.clock, self.at - seconds)


def in_time(
    work: Callable[[], _Result], deadline: Deadline, late: Callable[[threading.Thread], BaseException]
) -> _Result:
    """Do the work in a thread of its own, and wait for it no longer than until the deadline.

    For what nothing else bounds: a name look-up, a header that comes letter by letter, a query that is never answered.
    Work that is given up goes on until it notices; it must not be able to do harm by then.

    Args:
        work: what to do; it sees the context variables of the caller.
        deadline: when to give up.
        late: called when giving up, with the thread that goes on; gives the error to raise.
    """
    outcome: list[_Result] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            failure.append(error)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name="loader-work", daemon=True)
    thread.start()
    thread.join(deadline.left())
    if failure:
        raise failure[0]
    if outcome:
        return outcome[0]
    raise late(thread)
