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
    Calls functions in a bounded number of threads, in turns of the addresses they are for.

    Those for one address begin in the order in which they came. Whoever calls bounds the number of
    calls that wait: those of open connections, for example.

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
        #: The address whose turn is next is the first one.
        self._waiting: dict[str, dict[Deferred[Any], Callable[[], Any]]] = {}
        self._is_starting = False

    def call(self, function: Callable[[], T], address: str = "") -> Deferred[T]:
        """
        Call *function* in a thread.

        Args:
            address: The address that it is done for. Clients without one take turns as one.
        Returns:
            Fires with the result of *function*, or fails with its exception. Cancelling it drops
            the result; a call that still waits for a thread is then never made.
        Raises:
            HandshakeRejected: With 503 after `stop`, or if the system cannot start a thread.
                *function* is not called.
        """
        result: Deferred[T] = Deferred(lambda result: self._forget(result, address))
        self._waiting.setdefault(address, {})[result] = function
        self._start()
        return result

    def stop(self) -> None:
        """Make no more calls, and fail all results with 503. Repeating it is harmless."""
        while self._waiting:
            result, _ = self._next()
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
            result, function = self._next()
            self._free -= 1
            maybeDeferred(self._threads.call, function).addBoth(self._done, result)
        self._is_starting = False

    def _next(self) -> tuple[Deferred[Any], Callable[[], Any]]:
        address = next(iter(self._waiting))
        calls = self._waiting.pop(address)
        result = next(iter(calls))
        function = calls.pop(result)
        if calls:
            # To the end: the others come first now.
            self._waiting[address] = calls
        return result, function

    def _forget(self, result: Deferred[Any], address: str) -> None:
        calls = self._waiting.get(address, {})
        calls.pop(result, None)
        if not calls:
            self._waiting.pop(address, None)

    def _done(self, outcome: Any, result: Deferred[Any]) -> None:
        self._free += 1
        if not result.called:
            result.callback(outcome)
        self._start()
