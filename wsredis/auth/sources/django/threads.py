"""Blocking calls of a Django project in threads, so that the reactor never waits for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from wsredis.errors import HandshakeRejected
from wsredis.gateway.threads import DaemonThreadPool

__all__ = ["BoundedThreads"]

T = TypeVar("T")

#: Calls that may wait for each thread.
_WAITING = 16


class BoundedThreads:
    """
    Calls functions in a bounded number of threads, with a bounded number of calls that wait.

    Args:
        reactor: Takes the results from the threads.
        count: Threads at most. They start when they are needed. For each of them 16 calls may
            wait.
        at_end: Called in each thread that ends.
    """

    def __init__(self, reactor: Any, count: int, at_end: Callable[[], object]) -> None:
        self._reactor = reactor
        self._count = count
        self._pool = DaemonThreadPool(0, count, "auth", at_end)
        self._pool.start()
        self._busy = 0
        #: The calls that have no thread yet, in the order of their arrival.
        self._waiting: dict[Deferred[Any], Callable[[], Any]] = {}
        #: All results that somebody still waits for.
        self._results: set[Deferred[Any]] = set()
        self._stopped = False

    def call(self, function: Callable[[], T]) -> Deferred[T]:
        """
        Call *function* in a thread.

        Returns:
            Fires with the result of *function*, or fails with its exception. Cancelling it drops
            the result; a call that still waits for a thread is then never made.
        Raises:
            HandshakeRejected: With 503 if too many calls wait, after `stop`, or if the system
                cannot start a thread. *function* is not called.
        """
        if self._stopped or len(self._waiting) >= _WAITING * self._count:
            raise HandshakeRejected(
                "try again later",
                503,
                "too many handshakes wait for a thread (--auth-concurrency)",
            )
        result: Deferred[T] = Deferred(self._forget)
        if self._busy < self._count:
            self._begin(result, function)
        else:
            self._waiting[result] = function
        self._results.add(result)
        return result

    def stop(self) -> None:
        """
        Make no more calls, and fail all results with 503.

        Idle threads end at once, busy ones after their call. A thread that hangs is not waited
        for. Repeating it is harmless.
        """
        if self._stopped:
            return
        self._stopped = True
        self._waiting.clear()
        while self._results:
            self._results.pop().errback(
                HandshakeRejected("try again later", 503, "the gateway stops")
            )
        self._pool.leave()

    def _begin(self, result: Deferred[Any], function: Callable[[], Any]) -> None:
        def work() -> None:
            outcome: Any
            try:
                outcome = function()
            except BaseException as error:
                outcome = Failure(error)
                # The frames hold data of the client.
                outcome.cleanFailure()
            self._reactor.callFromThread(self._finished, result, outcome)

        try:
            self._pool.callInThread(work)
        except RuntimeError:
            # The system has no thread now, and may have one the next time.
            self._pool.threads.pop()
            raise HandshakeRejected("try again later", 503, "no thread can be started") from None
        self._busy += 1

    def _finished(self, result: Deferred[Any], outcome: Any) -> None:
        self._busy -= 1
        if result in self._results:
            self._results.discard(result)
            result.callback(outcome)
        if self._waiting and not self._stopped:
            first = next(iter(self._waiting))
            self._begin(first, self._waiting.pop(first))

    def _forget(self, result: Deferred[Any]) -> None:
        self._results.discard(result)
        self._waiting.pop(result, None)
