"""The log of what is wrong with sockets that were let in: flags, identities, deafness."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel

from wsredis.channels import Access
from wsredis.gateway.incidents import Incidents
from wsredis.gateway.log_throttle import LogThrottle

__all__ = ["HintLog", "HintedConnection"]

#: Kinds of lines in a minute. Clients choose facilities, and so the kinds.
_MOST = 20

#: Characters of one line that tell of mistakes.
_LOGGED = 400


class HintedConnection(Protocol):
    """
    The part of a connection that is logged.

    Attributes:
        granted: What it may do.
    """

    granted: Access

    @property
    def hints(self) -> tuple[str, ...]:
        """See `wsredis.gateway.connection.Connection.hints`."""

    @property
    def peer(self) -> str:
        """Address of the client, for the log."""

    @property
    def id(self) -> str:
        """Name of the connection, for the log."""

    @property
    def is_deaf(self) -> bool:
        """See `wsredis.gateway.connection.Connection.is_deaf`."""


class HintLog:
    """
    Tells in the log what is wrong with sockets: one line a minute for each mistake of a facility.

    Sockets that are deaf, which are open and on which nothing will ever arrive, are a warning.

    Args:
        clock: Counts the minutes.
        incidents: Remember the mistakes, for those who ask.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, incidents: Incidents) -> None:
        self._incidents = incidents
        self._throttle = LogThrottle(clock, most=_MOST)

    def opened(self, connection: HintedConnection) -> None:
        """Log a connection that was opened, and has hints or is deaf."""
        hints = "; ".join(connection.hints)[:_LOGGED]
        if connection.is_deaf:
            self._deaf(connection, hints or "it has no channel")
        else:
            facility = connection.granted.facility
            self._incidents.note(facility, hints)
            self._throttle.log(
                self._log,
                LogLevel.info,
                (facility, hints),
                "{peer} ({id}) on {facility!r}: {hints}",
                event="socket-hint",
                peer=connection.peer,
                id=connection.id,
                facility=facility,
                hints=hints,
            )

    def changed(self, connection: HintedConnection) -> None:
        """Log that a check of its identity has made a connection deaf."""
        self._deaf(connection, "its groups or rights have changed since it was opened")

    def stop(self) -> None:
        """Log what was counted."""
        self._throttle.reset()

    def _deaf(self, connection: HintedConnection, reason: str) -> None:
        facility = connection.granted.facility
        self._incidents.note(facility, f"a client of this facility hears nothing: {reason}")
        self._throttle.log(
            self._log,
            LogLevel.warn,
            (facility, reason),
            "{peer} ({id}) hears nothing on {facility!r}: {reason}",
            event="deaf-socket",
            peer=connection.peer,
            id=connection.id,
            facility=facility,
            reason=reason,
        )
