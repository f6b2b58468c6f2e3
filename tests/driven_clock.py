"""A clock that is driven: who sleeps on it moves it on, and nobody waits."""

import time


class DrivenClock:
    """The clock of this machine, and what was slept on it: at once."""

    def __init__(self) -> None:
        self.sleeps: list[float] = []
        """Seconds of each sleep, in their order."""

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return time.monotonic() + sum(self.sleeps)

    def time(self) -> float:
        """Seconds since 1970."""
        return time.time() + sum(self.sleeps)

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.sleeps.append(seconds)
