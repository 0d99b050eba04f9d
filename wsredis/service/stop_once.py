"""A reactor that may be told to stop more than once: by signals, by its parent, in any order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["StopOnce", "stop_once"]

#: Seconds after which another signal is a second wish. A supervisor may send the same one twice at
#: the same moment: to the process, and to its group.
_APART = 0.05


class StopOnce:
    """
    Takes the place of ``reactor.stop``, which the handlers of signals call.

    Attributes:
        hurry: Called when a stop is under way and a second signal says that it takes too long. If
            None, the second signal changes nothing.
    """

    def __init__(self, reactor: Any) -> None:
        self.hurry: Callable[[], object] | None = None
        self._stop = reactor.stop
        self._clock = reactor
        self._has_begun = False
        self._signalled_at: float | None = None

    def __call__(self) -> None:
        """Stop, or make haste if an earlier call has begun it."""
        now = self._clock.seconds()
        if self._signalled_at is None:
            self.gently()
            self._signalled_at = now
        elif now - self._signalled_at >= _APART and self.hurry is not None:
            self.hurry()

    def gently(self) -> None:
        """Stop. If it has begun, nothing changes. If it raises, the next call tries it again."""
        if not self._has_begun:
            self._stop()
            self._has_begun = True


def stop_once(reactor: Any) -> StopOnce:
    """
    Make further stops of *reactor* harmless, except for a second signal, which makes haste.

    A supervisor may send a signal to the whole group of processes, so that a worker gets it beside
    the order of its parent. Twisted logs a traceback for each stop but the first.

    Returns:
        What ``reactor.stop`` is now; the same object if this was done before.
    """
    if not isinstance(reactor.stop, StopOnce):
        reactor.stop = StopOnce(reactor)
    stop: StopOnce = reactor.stop
    return stop
