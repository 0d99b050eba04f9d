"""A reactor on a fake clock that other threads can call: the test runs what they asked for."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from twisted.internet.testing import MemoryReactorClock

from tests.support.children import PATIENCE

__all__ = ["ThreadReactor"]


class ThreadReactor(MemoryReactorClock):
    """`callFromThread` waits until the test takes the call."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def callFromThread(self, function: Callable[..., object], *words: Any, **more: Any) -> None:
        """Take a call from any thread."""
        self._calls.put(lambda: function(*words, **more))

    def take(self) -> None:
        """
        Wait for a call of a thread, and make it.

        Raises:
            queue.Empty: No call came in time.
        """
        self._calls.get(timeout=PATIENCE)()

    def run_until(self, condition: Callable[[], object]) -> None:
        """Take calls as they come until *condition* is true."""
        while not condition():
            self.take()
