"""One event that several coroutines wait for."""

from __future__ import annotations

from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["Signal"]

T = TypeVar("T")


class Signal(Generic[T]):
    """
    Wakes everyone who waits for it, each time that it is fired.

    Cancelling one waiting Deferred affects no other.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[Deferred[T]] = []

    def __len__(self) -> int:
        """The number of those who wait."""
        return len(self._waiting)

    def wait(self) -> Deferred[T]:
        """
        Wait for the next call of `fire` or `fail`.

        Returns: Fires with the value of `fire`, or fails with the error of `fail`.
        """
        waiter: Deferred[T] = Deferred(self._leave)
        self._waiting.append(waiter)
        return waiter

    def fire(self, value: T) -> None:
        """Wake all who wait now. Those who begin to wait meanwhile wait for the next time."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            # An earlier waiter may have cancelled this one.
            if not waiter.called:
                waiter.callback(value)

    def fail(self, error: Exception | Failure) -> None:
        """Make all who wait now fail with *error*."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.called:
                waiter.errback(error)

    def _leave(self, waiter: Deferred[T]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)
