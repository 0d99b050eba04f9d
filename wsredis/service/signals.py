"""
The signals that ask a running program for something: SIGHUP, SIGUSR1 and SIGUSR2.

By default each of them ends the process. Here none does, from the first line of the program on:
one that comes before the program is ready is followed when it is.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

__all__ = ["SIGNALS", "Signals"]

#: The signals that never end the process. SIGUSR2 asks for nothing.
SIGNALS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Signals:
    """Catches the signals, and follows them in the thread of the reactor."""

    def __init__(self) -> None:
        self._early: list[int] = []
        self._follow: Callable[[int], object] = self._early.append

    def catch(self) -> None:
        """Install the handlers. To be called in the main thread, as early as possible."""
        for each in SIGNALS:
            signal.signal(each, self._received)

    def follow(self, reactor: Any, actions: Mapping[int, Callable[[], object]]) -> None:
        """
        Call the actions from now on, those of earlier signals first.

        Args:
            actions: What each signal asks for. A signal that is missing asks for nothing.
        """

        def follow(number: int) -> None:
            if number in actions:
                reactor.callFromThread(actions[number])

        self._follow = follow
        # A program that is just starting need not do the same twice.
        for number in sorted(set(self._early)):
            follow(number)
        self._early.clear()

    def _received(self, number: int, frame: FrameType | None) -> None:
        self._follow(number)
