"""Blocking calls of a Django project in threads, so that the reactor never waits for them."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from wsredis.auth.fair_queue import FairQueue
from wsredis.errors import HandshakeRejected
from wsredis.gateway.threads import DaemonThreadPool

__all__ = ["BoundedThreads"]

T = TypeVar("T")


class _Call:
    """A call: the function, the address that it is made for, and the result."""

    __slots__ = ("address", "function", "result")

    def __init__(self, function: Callable[[], Any], address: str, result: Deferred[Any]) -> None:
        self.function = function
        self.address = address
        self.result = result


#: Calls that may wait for each thread.
_WAITING = 16

#: Calls that a thread makes before it cleans up, although others wait.
_RUN = 64


class BoundedThreads:
    """
    Calls functions in a bounded number of threads, with a bounded number of calls that wait.

    A crowd costs few changes of threads: a thread that has made a call takes the next one that
    waits, and the reactor takes all results that there are by then. Addresses take turns, and none
    has more than its share of the threads and of the queue.

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
        self._clean_up = clean_up
        self._pool = DaemonThreadPool(0, count, "auth", at_end)
        self._pool.start()
        #: Held for all access to `_queue` and `_outcomes`, and never for long.
        self._lock = Lock()
        #: The calls that have a thread, and those that have none yet.
        self._queue: FairQueue[_Call] = FairQueue(count, _WAITING * count)
        #: Results and failures that the reactor has not taken yet.
        self._outcomes: list[tuple[Deferred[Any], Any]] = []
        #: All calls whose result somebody still waits for, by that result.
        self._calls: dict[Deferred[Any], _Call] = {}
        self._stopped = False

    def call(self, function: Callable[[], T], address: str = "") -> Deferred[T]:
        """
        Call *function* in a thread.

        Args:
            address: The address that it is done for; see `wsredis.auth.fair_queue.FairQueue`.
        Returns:
            Fires with the result of *function*, or fails with its exception. Cancelling it drops
            the result; a call that still waits for a thread is then never made.
        Raises:
            HandshakeRejected: With 503 if too many calls wait, of this address or in total, after
                `stop`, or if the system cannot start a thread. *function* is not called.
        """
        result: Deferred[T] = Deferred(self._forget)
        call = _Call(function, address, result)
        with self._lock:
            has_thread = not self._stopped and self._queue.begin(address, call)
            if not has_thread and (self._stopped or not self._queue.wait(address, call)):
                raise HandshakeRejected(
                    "try again later",
                    503,
                    "too many handshakes wait for a thread (--auth-concurrency)",
                    cause="busy",
                )
        if has_thread:
            self._begin(call)
        self._calls[result] = call
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
            self._queue.clear()
        while self._calls:
            result, _ = self._calls.popitem()
            result.errback(
                HandshakeRejected("try again later", 503, "the gateway stops", cause="stopping")
            )
        self._pool.leave()

    def _begin(self, call: _Call) -> None:
        try:
            self._pool.callInThread(self._work, call)
        except RuntimeError:
            # The system has no thread now, and may have one the next time.
            with self._lock:
                self._queue.cancel(call.address, call)
            raise HandshakeRejected(
                "try again later", 503, "no thread can be started", cause="busy"
            ) from None

    def _work(self, call: _Call) -> None:
        """Make a call, and those that wait by then, in a thread."""
        following: tuple[str, _Call] | None = (call.address, call)
        made = 0
        self._clean_up()
        while following is not None:
            call = following[1]
            outcome: Any = None
            try:
                # It may have been cancelled while another call, or the cleaning up, took long.
                if not call.result.called:
                    outcome = call.function()
            except BaseException as error:
                outcome = Failure(error)
                # The frames hold data of the client.
                outcome.cleanFailure()
            made += 1
            with self._lock:
                following = self._queue.next(call.address, call)
            if following is None or not made % _RUN:
                self._clean_up()
            with self._lock:
                self._outcomes.append((call.result, outcome))
                is_first = len(self._outcomes) == 1
            if is_first:
                self._reactor.callFromThread(self._take_outcomes)

    def _take_outcomes(self) -> None:
        with self._lock:
            outcomes, self._outcomes = self._outcomes, []
        for result, outcome in outcomes:
            if self._calls.pop(result, None) is not None:
                result.callback(outcome)

    def _forget(self, result: Deferred[Any]) -> None:
        call = self._calls.pop(result)
        with self._lock:
            self._queue.discard(call.address, call)
