"""
The open sockets and what each has asked for, so that a page can be told about its own socket.

It is kept only where the playground is served: others have no use for the handshakes of anonymous
clients.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from wsredis.auth.admission import Accepted
from wsredis.auth.socket_report import ReportedConnection, socket_report
from wsredis.channels import Access
from wsredis.gateway.identity import Handshake, Identity

__all__ = ["Asker", "OpenSockets"]


class Asker(Protocol):
    """The part of `wsredis.auth.admission.Admission` that is needed."""

    async def decide(
        self, handshake: Handshake, opened: Identity | None = None
    ) -> tuple[Identity, Access]:
        """See `wsredis.auth.admission.Admission.decide`."""

    def is_foreign(self, handshake: Handshake) -> bool:
        """See `wsredis.auth.admission.Admission.is_foreign`."""


class _Entry(NamedTuple):
    connection: ReportedConnection
    handshake: Handshake
    #: See `socket_report`.
    stranger: str


class OpenSockets:
    """
    Finds the socket of a page by its name.

    The name of a connection is in the log and easy to guess, so it is no key: a socket that has an
    identity is shown only to a request that has the same one. One without an identity is shown to
    anybody who has come by the same Host: a page of another site that has made its own name lead
    here (DNS rebinding) has no other way to learn the facilities of others.

    Args:
        prefix: Put before the names of all channels.
        knows_identities: Tells whether anybody is asked who a client is.

    Attributes:
        prefix, knows_identities: As given.
    """

    def __init__(self, admission: Asker, prefix: str, *, knows_identities: bool) -> None:
        self._admission = admission
        self.prefix = prefix
        self.knows_identities = knows_identities
        self._entries: dict[str, _Entry] = {}

    def __len__(self) -> int:
        """The number of sockets that are known."""
        return len(self._entries)

    def opened(self, connection: ReportedConnection, accepted: Accepted) -> None:
        """Remember a socket that is open now."""
        entry = _Entry(connection, accepted.handshake, accepted.stranger)
        self._entries[connection.id] = entry

    def lost(self, connection: ReportedConnection) -> None:
        """Forget a socket that is closed. Harmless if it is not known."""
        self._entries.pop(connection.id, None)

    def is_foreign(self, asking: Handshake) -> bool:
        """Tell whether a request comes from a page of a foreign origin."""
        return self._admission.is_foreign(asking)

    async def report(self, name: str, asking: Handshake) -> dict[str, Any] | None:
        """
        Report on a socket.

        Args:
            name: The name of its connection.
            asking: The request, whose headers tell who asks.

        Returns:
            See `wsredis.auth.socket_report.socket_report`. None if there is no such socket, or if
            it is somebody else's.

        Raises:
            HandshakeRejected: It cannot be told who asks.
        """
        entry = self._entries.get(name)
        if entry is None:
            return None
        connection, handshake, stranger = entry
        if asking.headers.get("host") != handshake.headers.get("host"):
            return None
        if not connection.identity.is_anonymous:
            # The query may hold a token, which would speak for whoever asks.
            same = replace(asking, requested=handshake.requested, path=handshake.path, query="")
            identity, _ = await self._admission.decide(same, connection.identity)
            own = connection.identity
            if (identity.user, identity.session) != (own.user, own.session):
                return None
            if self._entries.get(name) is not entry:
                # It was closed meanwhile.
                return None
        return socket_report(connection, handshake.requested, self, stranger)
