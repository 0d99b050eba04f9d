"""The errors that come out of applications, and the lines of the log about them."""

from __future__ import annotations

from asyncio import CancelledError

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from wsredis.gateway.log_throttle import LogThrottle
from wsredis.web.asgi.events import ClientDisconnected

__all__ = ["FailureLog", "is_leaving"]

#: Characters of the name of a call that go into one line of the log.
_LOGGED = 200

#: Lines that are logged one by one in a minute.
_AT_ONCE = 50

#: Errors in a row that were raised in place of each other.
_MAX_CHAIN = 10


def is_leaving(error: BaseException) -> bool:
    """
    Tell whether an error is about nothing but a client that has gone.

    The specification forbids to log such an error.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_leaving, error.exceptions))
    # Frameworks raise another one in its place.
    for _ in range(_MAX_CHAIN):
        if isinstance(error, ClientDisconnected):
            return True
        before = error.__cause__ or error.__context__
        if before is None:
            break
        error = before
    return False


class FailureLog:
    """
    Logs the failures of an application, by rate.

    Args:
        clock: Runs timers.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._throttle = LogThrottle(clock, at_once=_AT_ONCE)

    def failed(self, name: str, error: BaseException | None) -> None:
        """
        Log why a call has not answered.

        Args:
            name: The name of the call.
            error: The exception that ended it. If None, it has returned. CancelledError is not
                logged, nor is an error about a client that has gone.
        """
        if error is None:
            self._throttle.log(
                self._log,
                LogLevel.error,
                "unanswered",
                "the ASGI application returned without an answer to {request!r}",
                event="asgi-unanswered",
                request=name[:_LOGGED],
            )
        elif not (isinstance(error, CancelledError) or is_leaving(error)):
            self._throttle.failure(
                self._log,
                "failed",
                "the ASGI application failed to answer {request!r}",
                Failure(error),
                event="asgi-failed",
                request=name[:_LOGGED],
            )

    def stop(self) -> None:
        """Log how many lines were left out."""
        self._throttle.reset()
