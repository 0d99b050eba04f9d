"""Blocking calls in few threads, for which any number may wait: nobody is turned away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred

from wsredis.auth.sources.django.threads import BoundedThreads
from wsredis.errors import HandshakeRejected

__all__ = ["WaitingThreads"]

T = TypeVar("T")


class WaitingThreads:
    """
    Calls functions in a bounded number of threads, in the order in which they came.

    Whoever calls bounds the number of calls that wait: those of open connections, for example.

    Args:
        reactor, count, at_end, clean_up: See `wsredis.auth.sources.django.threads.BoundedThreads`.
    """

    def __init__(
        self,
        reactor: Any,
        count: int,
        at_end: Callable[[], object],
        clean_up: Callable[[], object] = lambda: None,
    ) -> None:
        self._threads = BoundedThreads(reactor, count, at_end, clean_up)
        #: Calls that have a thread. As many never have to wait there, where a crowd is refused.
        self._free = count
        self._waiting: dict[Deferred[Any], Callable[[], Any]] = {}
        self._is_starting = False

    def call(self, function: Callable[[], T]) -> Deferred[T]:
        """
        Call *function* in a thread.

        Returns:
            Fires with the result of *function*, or fails with its exception. Cancelling it drops
            the result; a call that still waits for a thread is then never made.
        Raises:
            HandshakeRejected: With 503 after `stop`, or if the system cannot start a thread.
                *function* is not called.
        """
        result: Deferred[T] = Deferred(self._forget)
        self._waiting[result] = function
        self._start()
        return result

    def stop(self) -> None:
        """Make no more calls, and fail all results with 503. Repeating it is harmless."""
        while self._waiting:
            result, _ = self._waiting.popitem()
            result.errback(
                HandshakeRejected("try again later", 503, "the gateway stops", cause="stopping")
            )
        self._threads.stop()

    def _start(self) -> None:
        if self._is_starting:
            # A call failed at once, within the loop below.
            return
        self._is_starting = True
        while self._waiting and self._free:
            result = next(iter(self._waiting))
            function = self._waiting.pop(result)
            self._free -= 1
            maybeDeferred(self._threads.call, function).addBoth(self._done, result)
        self._is_starting = False

    def _forget(self, result: Deferred[Any]) -> None:
        self._waiting.pop(result, None)

    def _done(self, outcome: Any, result: Deferred[Any]) -> None:
        self._free += 1
        if not result.called:
            result.callback(outcome)
        self._start()
