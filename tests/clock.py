"""A clock that tests drive: nobody waits, and every wait is written down."""

import threading

EPOCH = 1_800_000_000.0
"""Where it begins, in seconds since 1970: some time in 2027."""


class DrivenClock:
    """A `loader.clock.Clock` that stands still until somebody sleeps or advances it; safe to share between threads."""

    def __init__(self, *, time: float = EPOCH) -> None:
        self._lock = threading.Lock()
        self._began = time
        self._elapsed = 0.0
        self.sleeps: list[float] = []
        """Every sleep so far, in seconds."""

    def monotonic(self) -> float:
        """Seconds since it was made."""
        with self._lock:
            return self._elapsed

    def time(self) -> float:
        """Seconds since 1970."""
        with self._lock:
            return self._began + self._elapsed

    def sleep(self, seconds: float) -> None:
        """Advance at once, and remember it."""
        with self._lock:
            self.sleeps.append(seconds)
            self._elapsed += seconds

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass."""
        with self._lock:
            self._elapsed += seconds
