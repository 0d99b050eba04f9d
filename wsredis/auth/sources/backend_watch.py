"""Finds out whether the backend of a source is away, and when it is back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from wsredis.auth.sources.availability import Report
from wsredis.errors import HandshakeRejected

__all__ = ["RETRY", "BackendWatch"]

#: Seconds between two questions of the watch.
RETRY = 2.0


class BackendWatch:
    """
    Asks a question of its own when one of a client got no answer, until it gets one.

    The client itself may be the cause: its cookie may be one that makes the application fail, and
    nobody may turn the gateway red by that. And once no client is sent here any more, nobody else
    would notice that the backend is back.

    Args:
        clock: Runs the timer.
        ask: Asks. It fails with HandshakeRejected, and 503 if the backend cannot be asked; with any
            other status it can.
        report: Told whether the backend is away.
        text: See `wsredis.gateway.health.Problem`.
        is_blocking: Whether no client is let in without the backend.
    """

    def __init__(
        self,
        clock: IReactorTime,
        ask: Callable[[], Any],
        report: Report,
        text: str,
        *,
        is_blocking: bool,
    ) -> None:
        self._clock = clock
        self._ask = ask
        self._report = report
        self._text = text
        self._is_blocking = is_blocking
        self._asked: float | None = None
        self._asking: Deferred[Any] | None = None
        self._next: IDelayedCall | None = None
        self._stopped = False

    def answered(self) -> None:
        """Take note that the backend has answered."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._report(None)

    def failed(self) -> None:
        """Take note that a question got no answer: ask, but not more often than every 2 seconds."""
        if self._stopped or self._asking is not None or self._next is not None:
            return
        since = RETRY if self._asked is None else self._clock.seconds() - self._asked
        if since >= RETRY:
            self._begin()
        else:
            self._next = self._clock.callLater(RETRY - since, self._begin)

    def stop(self) -> None:
        """Ask no more, and cancel the question that is under way. Harmless when repeated."""
        self._stopped = True
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._asking is not None:
            self._asking.cancel()

    def _begin(self) -> None:
        self._next = None
        self._asked = self._clock.seconds()
        asking = self._asking = maybeDeferred(self._ask)
        asking.addCallbacks(self._good, self._bad)

    def _good(self, _: object) -> None:
        self._asking = None
        self.answered()

    def _bad(self, failure: Failure) -> None:
        self._asking = None
        if self._stopped:
            return
        error = failure.value
        if isinstance(error, HandshakeRejected) and error.status != 503:
            self.answered()
            return
        self._report(self._text, is_blocking=self._is_blocking)
        self._next = self._clock.callLater(RETRY, self._begin)
