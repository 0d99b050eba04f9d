"""Threads beside the reactor: for blocking calls, and for applications."""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import Thread
from typing import Any

from twisted.python.threadpool import ThreadPool

__all__ = ["DaemonThreadPool", "SwitchInterval"]

#: Seconds that a thread may keep the interpreter while others wait, instead of Python's 0.005.
_SWITCH_INTERVAL = 0.0001


class SwitchInterval:
    """
    How often Python switches between threads, while those of an application compute.

    With Python's own interval each of the reactor's calls to the kernel might wait for 5 ms.
    """

    def __init__(self) -> None:
        self._before: float | None = None

    def shorten(self) -> None:
        """Switch more often, until `restore`."""
        self._before = sys.getswitchinterval()
        sys.setswitchinterval(min(_SWITCH_INTERVAL, self._before))

    def restore(self) -> None:
        """Switch as often as before. Harmless if nothing was changed."""
        if self._before is not None:
            sys.setswitchinterval(self._before)
            self._before = None


class DaemonThreadPool(ThreadPool):
    """
    Twisted's pool, with threads that do not keep the process from ending.

    Args:
        minimum: Threads that are started at once.
        maximum: Threads that are started as they are needed.
        name: Stands in the names of the threads.
        at_end: Called in each thread that ends, if it is given.
    """

    def __init__(
        self,
        minimum: int,
        maximum: int,
        name: str,
        at_end: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(minimum, maximum, name)
        self._at_end = at_end

    def threadFactory(  # type: ignore[override]
        self, *, target: Callable[[], object], name: str
    ) -> Thread:
        """Make a daemon thread. Twisted calls this."""

        def run() -> None:
            target()
            if self._at_end is not None:
                self._at_end()

        return Thread(target=run, name=name, daemon=True)

    def callInThread(self, func: Callable[..., object], *args: Any, **kw: Any) -> None:
        """
        Call a function in a thread.

        Raises:
            RuntimeError: The system cannot start a thread. Nothing is called.
        """
        try:
            super().callInThread(func, *args, **kw)
        except RuntimeError:
            # `stop` would join the thread that did not start.
            self.threads.pop()
            raise

    def leave(self) -> None:
        """Stop, and wait for no thread: each ends after the call that it is busy with."""
        # Twisted's own `stop` joins those in this list.
        self.threads = []
        self.stop()
