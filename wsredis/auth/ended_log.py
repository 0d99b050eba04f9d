"""
The log of ended identities: commands of the control channel that are kept for a day or longer.

A publication reaches only the gateways that are connected just then. So whoever ends a session
appends the command to the stream ``[PREFIX:]wsredis-ended`` as well, and each gateway reads what is
new there, every two seconds and from the beginning when it starts. The command may come twice, by
the channel and by the log: it ends nothing that began after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsredis.auth.control_commands import Command, parse_command
from wsredis.channels import ended_log
from wsredis.errors import BrokerUnavailable, PermissionDenied
from wsredis.gateway.broker import LOG_BATCH, LogEntry
from wsredis.gateway.timers import PeriodicTask

__all__ = ["EndedLog", "LogReader"]

#: Seconds between two reads.
_INTERVAL = 2.0

#: Reads that are left out after Redis refused one.
_LEFT_OUT = 29


class LogReader(Protocol):
    """The part of `wsredis.gateway.broker.Broker` that the log needs."""

    def read_log(self, key: bytes, after: bytes) -> Deferred[list[LogEntry]]:
        """See `wsredis.gateway.broker.Broker.read_log`."""

    def when_up(self) -> Deferred[None]:
        """See `wsredis.gateway.broker.Broker.when_up`."""


class EndedLog:
    """
    Reads the log, and has its commands carried out.

    Args:
        clock: Tells when to read.
        broker: Reads.
        prefix: Put before the name of the log, as before all channels.
        carry_out: Called with each command, and with the time at which it was given, in seconds of
            the reactor.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        broker: LogReader,
        prefix: str,
        carry_out: Callable[[Command, float], None],
    ) -> None:
        self._clock = clock
        self._broker = broker
        self._key = ended_log(prefix)
        self._carry_out = carry_out
        self._task = PeriodicTask(clock, _INTERVAL, self._read_again)
        #: The position of the last entry that was read.
        self._position = b""
        self._reading: Deferred[None] | None = None
        self._waiting: Deferred[None] | None = None
        self._left_out = 0
        self._is_refused = False

    def start(self) -> None:
        """Read, and go on reading."""
        self._task.start()
        # A client that was ended may come as soon as Redis is there.
        waiting = self._waiting = self._broker.when_up()
        waiting.addCallbacks(lambda _: self._read_again(1), lambda failure: None)

    def stop(self) -> None:
        """Stop reading. Harmless if not started."""
        self._task.stop()
        if self._waiting is not None:
            self._waiting.cancel()
        if self._reading is not None:
            self._reading.cancel()

    def _read_again(self, count: int) -> None:
        if self._left_out:
            self._left_out -= 1
        elif self._reading is None:
            reading = self._reading = Deferred.fromCoroutine(self._read())
            reading.addErrback(self._failed).addBoth(self._done)

    def _done(self, _: object) -> None:
        self._reading = None

    async def _read(self) -> None:
        entries = [LogEntry(b"", 0.0, b"")] * LOG_BATCH
        while len(entries) == LOG_BATCH:
            entries = await self._broker.read_log(self._key, self._position)
            now = self._clock.seconds()
            for entry in entries:
                self._position = entry.position
                command = parse_command(entry.payload)
                if command is not None and command.verb == "end":
                    self._carry_out(command, now - entry.age)
        self._is_refused = False

    def _failed(self, failure: Failure) -> None:
        if failure.check(PermissionDenied):
            self._left_out = _LEFT_OUT
            if not self._is_refused:
                self._is_refused = True
                self._log.warn(
                    "cannot read {key}: {error}; the end of a session is missed if it is ordered "
                    "while the connection to Redis is down",
                    event="ended-log-unreadable",
                    key=self._key.decode(),
                    error=str(failure.value),
                )
        elif not failure.check(BrokerUnavailable) and self._task.is_running:
            self._log.failure(
                "reading the log of ended sessions failed",
                event="ended-log-failed",
                failure=failure,
            )
