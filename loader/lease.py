"""The right to load one resource, held by one run at a time.

It lives at the destination, where every instance of the function can see it. It expires by itself, so that a killed run
blocks nobody for long, and is renewed while the run works.
"""

import contextvars
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from loader.clock import Clock
from loader.deadline import Deadline
from loader.errors import BusyError
from loader.log import logger

MAX_SECONDS = 120.0
"""A lease lasts so long at most before it must be renewed ..."""

BEYOND_DEADLINE_SECONDS = 5.0
"""... and at most so long beyond the run's deadline."""

RENEW_SECONDS = 30.0
"""How often it is renewed."""


class LeaseStore(Protocol):
    """Where a destination keeps the lease of one resource."""

    @property
    def number(self) -> str:
        """What tells this lease from the ones before and after it; empty before it is taken."""

    def take(self, expires_at: float) -> Mapping[str, Any] | None:
        """Take the lease, if nobody holds it; None if somebody does.

        Args:
            expires_at: when it ends by itself, in seconds since 1970.

        Returns:
            What the holder before wrote down; empty if there was none, or the store forgets it with a release.
        """

    def renew(self, expires_at: float, note: Mapping[str, Any]) -> None:
        """Let it end later, and write something down for who takes it over."""

    def is_mine(self) -> bool:
        """Tell whether nobody else has taken it since."""

    def release(self) -> None:
        """Give it back."""


class Lease:
    """A lease that is held, from `take` to `release`."""

    def __init__(self, store: LeaseStore, deadline: Deadline, inherited: Mapping[str, Any]) -> None:
        self._store = store
        self._deadline = deadline
        self._clock: Clock = deadline.clock
        self.inherited = inherited
        """What the holder before had written down."""
        self._note: dict[str, Any] = {}
        self._released = threading.Event()
        self._expires_at = expiry(deadline)
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._keep_renewing,), name="loader-lease", daemon=True).start()

    @classmethod
    def take(cls, store: LeaseStore, deadline: Deadline) -> "Lease | None":
        """Take the lease until the deadline; None if another run holds it."""
        inherited = store.take(expiry(deadline))
        return None if inherited is None else cls(store, deadline, inherited)

    @property
    def number(self) -> str:
        """What tells this lease from the ones before and after it."""
        return self._store.number

    def note(self, **facts: Any) -> None:
        """Write something down, instead of what was there, for who takes the lease next."""
        self._note = facts
        self._renew()

    def check(self) -> None:
        """Make sure that it is still held.

        Raises:
            BusyError: it has expired, or another run has taken it.
        """
        if self._released.is_set() or self._clock.time() >= self._expires_at or not self._store.is_mine():
            raise BusyError(
                "Another run has taken over: this one was silent for too long. "
                "It commits nothing more; the other goes on at the last committed place."
            )

    def release(self) -> None:
        """Give it back, so that the next run need not wait until it expires; if that fails, it has to."""
        if self._released.is_set():
            return
        self._released.set()
        try:
            self._store.release()
        except Exception as error:  # noqa: BLE001 - what the run has done stays done
            logger.warning("The lease could not be given back: %s: %s", type(error).__name__, error)

    def abandon(self) -> None:
        """Stop renewing it: it is left to expire."""
        self._released.set()

    def _renew(self) -> None:
        self._expires_at = expiry(self._deadline)
        self._store.renew(self._expires_at, self._note)

    def _keep_renewing(self) -> None:
        while not self._released.wait(RENEW_SECONDS):
            try:
                self._renew()
            except Exception as error:  # noqa: BLE001 - `check` sees what comes of it
                logger.warning("The lease could not be renewed: %s: %s", type(error).__name__, error)


def expiry(deadline: Deadline) -> float:
    """Give the moment at which a lease taken or renewed now ends by itself, in seconds since 1970."""
    return deadline.clock.time() + min(MAX_SECONDS, deadline.left() + BEYOND_DEADLINE_SECONDS)


class Gate:
    """What every commit passes: it shuts for good when the run is abandoned or has lost its lease."""

    def __init__(self) -> None:
        self._is_shut = False
        self._check: Callable[[], None] = lambda: None

    def guard(self, check: Callable[[], None]) -> None:
        """Ask this before each commit."""
        self._check = check

    def shut(self) -> None:
        """Let nothing more through."""
        self._is_shut = True

    def pass_through(self) -> None:
        """Go through, before a commit.

        Raises:
            BusyError: it is shut, or the lease is lost.
        """
        if self._is_shut:
            raise BusyError("This run was abandoned at its deadline. It commits nothing more.")
        self._check()
