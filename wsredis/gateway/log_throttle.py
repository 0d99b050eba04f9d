"""The same log line not more often than once a minute."""

from __future__ import annotations

from collections.abc import Hashable

from twisted.internet.interfaces import IReactorTime

__all__ = ["LogThrottle"]

#: Different lines that are remembered. When there are more, all are forgotten.
_MAX_KEYS = 64


class LogThrottle:
    """
    Tells whether a line may be logged, or was logged only a moment ago.

    Args:
        interval: Seconds between two lines with the same key.
    """

    def __init__(self, clock: IReactorTime, interval: float = 60.0) -> None:
        self._clock = clock
        self._interval = interval
        self._next: dict[Hashable, float] = {}

    def take(self, key: Hashable) -> bool:
        """Take the right to log the line *key* now. False if it was taken a moment ago."""
        now = self._clock.seconds()
        if now < self._next.get(key, now):
            return False
        if len(self._next) >= _MAX_KEYS:
            self._next.clear()
        self._next[key] = now + self._interval
        return True

    def reset(self) -> None:
        """Forget what was logged: the next line of each key is allowed."""
        self._next.clear()
