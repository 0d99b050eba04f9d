"""Blocking calls of a Django project in threads, so that the reactor never waits for them."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from wsredis.errors import HandshakeRejected
from wsredis.gateway.threads import DaemonThreadPool

__all__ = ["BoundedThreads"]

T = TypeVar("T")

#: Calls that may wait for each thread.
_WAITING = 16

#: Calls that a thread makes before it cleans up, although others wait.
_RUN = 64


class BoundedThreads:
    """
    Calls functions in a bounded number of threads, with a bounded number of calls that wait.

    A crowd costs few changes of threads: a thread that has made a call takes the next one that
    waits, and the reactor takes all results that there are by then.

    Args:
        reactor: Takes the results from the threads.
        count: Threads at most. They start when they are needed. For each of them 16 calls may
            wait.
        at_end: Called in each thread that ends.
        clean_up: Called in a thread before its first call, and after its last one, when no other
            waits; or after 64 calls. It must not raise.
    """

    def __init__(
        self,
        reactor: Any,
        count: int,
        at_end: Callable[[], object],
        clean_up: Callable[[], object] = lambda: None,
    ) -> None:
        self._reactor = reactor
        self._count = count
        self._clean_up = clean_up
        self._pool = DaemonThreadPool(0, count, "auth", at_end)
        self._pool.start()
        #: Held for all access to `_busy`, `_waiting` and `_outcomes`, and never for long.
        self._lock = Lock()
        self._busy = 0
        #: The calls that have no thread yet, in the order of their arrival.
        self._waiting: dict[Deferred[Any], Callable[[], Any]] = {}
        #: Results and failures that the reactor has not taken yet.
        self._outcomes: list[tuple[Deferred[Any], Any]] = []
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
        result: Deferred[T] = Deferred(self._forget)
        with self._lock:
            if self._stopped or len(self._waiting) >= _WAITING * self._count:
                raise HandshakeRejected(
                    "try again later",
                    503,
                    "too many handshakes wait for a thread (--auth-concurrency)",
                )
            has_thread = self._busy < self._count
            if has_thread:
                self._busy += 1
            else:
                self._waiting[result] = function
        if has_thread:
            self._begin(result, function)
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
        with self._lock:
            self._waiting.clear()
        while self._results:
            self._results.pop().errback(
                HandshakeRejected("try again later", 503, "the gateway stops")
            )
        self._pool.leave()

    def _begin(self, result: Deferred[Any], function: Callable[[], Any]) -> None:
        try:
            self._pool.callInThread(self._work, result, function)
        except RuntimeError:
            # The system has no thread now, and may have one the next time.
            self._pool.threads.pop()
            with self._lock:
                self._busy -= 1
            raise HandshakeRejected("try again later", 503, "no thread can be started") from None

    def _work(self, result: Deferred[Any], function: Callable[[], Any]) -> None:
        """Make a call, and those that wait by then, in a thread."""
        following: tuple[Deferred[Any], Callable[[], Any]] | None = (result, function)
        made = 0
        self._clean_up()
        while following is not None:
            result, function = following
            outcome: Any = None
            try:
                # It may have been cancelled while another call, or the cleaning up, took long.
                if not result.called:
                    outcome = function()
            except BaseException as error:
                outcome = Failure(error)
                # The frames hold data of the client.
                outcome.cleanFailure()
            made += 1
            with self._lock:
                following = next(iter(self._waiting.items()), None)
                if following is None:
                    self._busy -= 1
                else:
                    del self._waiting[following[0]]
            if following is None or not made % _RUN:
                self._clean_up()
            with self._lock:
                self._outcomes.append((result, outcome))
                is_first = len(self._outcomes) == 1
            if is_first:
                self._reactor.callFromThread(self._take_outcomes)

    def _take_outcomes(self) -> None:
        with self._lock:
            outcomes, self._outcomes = self._outcomes, []
        for result, outcome in outcomes:
            if result in self._results:
                self._results.discard(result)
                result.callback(outcome)

    def _forget(self, result: Deferred[Any]) -> None:
        self._results.discard(result)
        with self._lock:
            self._waiting.pop(result, None)
