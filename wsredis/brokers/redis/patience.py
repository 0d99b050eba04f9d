"""Waiting for Redis at the start and in a short outage, and not longer."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from wsredis.errors import BrokerUnavailable
from wsredis.gateway.signal import Signal

__all__ = ["Patience"]


class Patience:
    """
    The clients that wait for Redis, for a limited time since it went away.

    A handshake that waits for a Redis that does not come back has a place that another could use.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._up: Signal[None] = Signal()
        #: The end of the time. If None, nobody waits.
        self._end: IDelayedCall | None = None

    def begin(self, seconds: float) -> None:
        """Let clients wait for so long from now on."""
        self._cancel()
        self._end = self._clock.callLater(seconds, self.give_up)

    def end(self) -> None:
        """Redis is there: nobody has to wait any more."""
        self._cancel()
        self._up.fire(None)

    def give_up(self) -> None:
        """Let nobody wait any more."""
        self._cancel()
        self._up.fail(BrokerUnavailable("Redis is away"))

    def wait(self) -> Deferred[None]:
        """
        Wait for the end.

        Returns:
            Fires at `end`. Cancelling it changes nothing.

        Raises:
            BrokerUnavailable: The time is over.
        """
        return fail(BrokerUnavailable("Redis is away")) if self._end is None else self._up.wait()

    def _cancel(self) -> None:
        end, self._end = self._end, None
        if end is not None and end.active():
            end.cancel()
