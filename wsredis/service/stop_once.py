"""A reactor that may be told to stop more than once: by signals, by a closed pipe, in any order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["stop_once"]


class _StopOnce:
    """
    Calls a function once, and ignores further calls.

    Args:
        stop: The function.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._done = False

    def __call__(self) -> None:
        """Stop. If the function raises, the next call calls it again."""
        if not self._done:
            self._stop()
            self._done = True


def stop_once(reactor: Any) -> None:
    """
    Make the second stop of *reactor* harmless.

    A supervisor may send a signal to the whole group of processes, so that a worker gets it beside
    the order of its parent; an impatient operator presses Ctrl-C twice. Twisted logs a traceback
    for each stop but the first. Harmless if it was done before.
    """
    if not isinstance(reactor.stop, _StopOnce):
        reactor.stop = _StopOnce(reactor.stop)
