"""The same kind of log line not more often than once a minute, the others counted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from time import monotonic

__all__ = ["Quiet"]

#: Lines that are logged in an interval, of whatever kinds: there may be thousands of channels.
_MAX_LINES = 20


class Quiet:
    """
    Logs a line, and for a while no other of its kind, and not many of other kinds.

    Args:
        interval: Seconds that this lasts.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        log: logging.Logger,
        interval: float = 60.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._log = log
        self._clock = clock
        self._interval = interval
        self._begin = 0.0
        # By kind: how many lines were left out in this interval.
        self._left_out: dict[Hashable, int] = {}
        # The same of the interval before, as far as it was not told.
        self._before: dict[Hashable, int] = {}
        # Lines for whose kinds there was no room.
        self._others = 0

    def line(self, level: int, kind: Hashable, format: str, *args: object) -> None:
        """Log a line, or count it. The next one of its kind tells how many there were."""
        now = self._clock()
        if not self._left_out or now - self._begin >= self._interval:
            self._before, self._left_out = self._left_out, {}
            self._begin = now
            if self._others:
                self._log.log(level, "%s more lines were left out", self._others)
                self._others = 0
        if kind in self._left_out:
            self._left_out[kind] += 1
            return
        if len(self._left_out) >= _MAX_LINES:
            self._others += 1
            return
        self._left_out[kind] = 0
        left_out = self._before.pop(kind, 0)
        if left_out:
            format, args = f"{format} (and %s more of this kind)", (*args, left_out)
        self._log.log(level, format, *args)
