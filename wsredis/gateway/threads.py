"""Threads for blocking calls, which do not keep the process from ending."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any

from twisted.python.threadpool import ThreadPool

__all__ = ["DaemonThreadPool"]


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
