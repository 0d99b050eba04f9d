"""The same kind of log line not more often than once a minute, the others counted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from time import monotonic

__all__ = ["Quiet"]

#: Kinds of lines that are remembered. When there are more, all are forgotten.
_MAX_KINDS = 1000


class Quiet:
    """
    Logs a line, and for a while no other of its kind.

    Args:
        interval: Seconds between two lines of a kind.
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
        # By kind: the time of the last line, and how many were left out since then.
        self._kinds: dict[Hashable, tuple[float, int]] = {}

    def line(self, level: int, kind: Hashable, format: str, *args: object) -> None:
        """Log a line, or count it. The next one of its kind tells how many there were."""
        now = self._clock()
        at, left_out = self._kinds.get(kind, (0.0, -1))
        if left_out >= 0 and now - at < self._interval:
            self._kinds[kind] = (at, left_out + 1)
            return
        if len(self._kinds) >= _MAX_KINDS:
            self._kinds.clear()
        self._kinds[kind] = (now, 0)
        if left_out > 0:
            format, args = f"{format} (and %s more of this kind)", (*args, left_out)
        self._log.log(level, format, *args)
