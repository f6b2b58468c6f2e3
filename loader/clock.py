"""One clock for everything that waits or expires, so that tests can drive it."""

import time
from typing import Protocol


class Clock(Protocol):
    """What the product knows of time."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes backwards. Deadlines are measured with it."""

    def time(self) -> float:
        """Seconds since 1970 (UTC). What other machines must understand is written with it."""

    def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""


class SystemClock:
    """The clock of this machine."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes backwards."""
        return time.monotonic()

    def time(self) -> float:
        """Seconds since 1970 (UTC)."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        time.sleep(seconds)
