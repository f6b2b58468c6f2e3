"""How many requests may be under way at once: fewer after a refusal, more again while they succeed.

What an API bears is not told, so it is found: the level at which it refuses is remembered, and only after a long calm
is one more tried. Pure but for its lock: answers come from several threads.
"""

import math
import threading
from dataclasses import dataclass

REFUSALS = frozenset({429, 503})
"""Status codes by which an API says that it is asked too much."""

TRIAL_ANSWERS = 25
"""After so many answers at the level that is known to be borne, one more is tried; each refusal doubles it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to one request, until it is given back."""

    level: int
    """So many were under way with it."""
    refusals: int
    """So often the API had been found to refuse before."""


class Manners:
    """How many requests are under way, and how many may be."""

    def __init__(self, most: int) -> None:
        self.allowed = float(most)
        """So many may be under way; its fraction grows with each answer."""
        self.borne = most
        """So many the API bears, as far as is known."""
        self._most = most
        self._under_way = 0
        self._refusals = 0
        self._trial = TRIAL_ANSWERS
        self._calm_answers = 0
        self._held_until = -math.inf
        self._changed = threading.Condition()

    def enter(self, seconds: float = 0.0) -> Turn | None:
        """Take a turn, waiting for it so many seconds at most; None if there is none."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._under_way < int(self.allowed), seconds):
                return None
            self._under_way += 1
            return Turn(self._under_way, self._refusals)

    def has_room(self) -> bool:
        """Tell whether a turn could be taken now."""
        with self._changed:
            return self._under_way < int(self.allowed)

    def leave(self, turn: Turn, status: int | None) -> None:
        """Give a turn back, with the status code of the answer; None if there was none."""
        with self._changed:
            self._under_way -= 1
            if status in REFUSALS:
                self._refused(turn)
            elif status is not None:
                self._answered()
            self._changed.notify_all()

    def hold(self, until: float) -> None:
        """Let nothing be asked for before this moment (monotonic seconds): the API has said so."""
        with self._changed:
            self._held_until = max(self._held_until, until)

    def held(self, now: float) -> float:
        """Give the seconds until something may be asked for, at `now` (monotonic seconds)."""
        return max(self._held_until - now, 0.0)

    def _refused(self, turn: Turn) -> None:
        self.borne = max(min(self.borne, turn.level - 1), 1)
        self._calm_answers = 0
        # requests that were under way together are refused together: that is one refusal
        if turn.refusals == self._refusals:
            self._refusals += 1
            self._trial *= 2
            self.allowed /= 2
        self.allowed = max(min(self.allowed, float(self.borne)), 1.0)

    def _answered(self) -> None:
        self._calm_answers += 1
        if self.allowed < self.borne:
            self.allowed = min(self.allowed + 1 / self.allowed, float(self.borne))
        elif self.borne < self._most and self._calm_answers >= self._trial:
            self.borne, self._calm_answers = self.borne + 1, 0
