"""The port to applications, which answer the handshakes that belong to no dialect themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

from wsredis.auth import Accepted
from wsredis.gateway.client import Client
from wsredis.gateway.connection import Connection, ConnectionParts
from wsredis.gateway.publication import Publication
from wsredis.transports.websocket.lean import Request
from wsredis.transports.websocket.registry import Member

__all__ = [
    "Answer",
    "ApplicationClient",
    "ApplicationMessages",
    "Applications",
    "HandshakeClient",
]


class HandshakeClient(Client, Member, Protocol):
    """
    A client that waits for the answer to its handshake.

    Attributes:
        connection: Set as soon as there is one: whoever ends the client has to end it as well.
    """

    connection: Connection | None

    def is_pending(self) -> bool:
        """Tell whether the client still waits."""

    def is_secure(self) -> bool:
        """Tell whether the client speaks TLS with the gateway itself."""


class ApplicationClient(HandshakeClient, Protocol):
    """A client of an application, which may answer a handshake with a page of its own."""

    @property
    def has_waiting(self) -> bool:
        """Tells whether bytes wait for the client that the kernel has not taken."""

    def respond(self, data: bytes, status: int, is_last: bool) -> None:
        """
        Refuse the handshake with an HTTP response, or send more of it.

        Does nothing when the client does not wait for an answer any more.

        Args:
            data: The head, with the first bytes of the body; or more of the body.
            status: The HTTP status, for the counters.
            is_last: Tells whether the response is complete. The connection is closed then.
        """

    def cut(self, cause: str) -> None:
        """Reset the connection. *cause* is for the log."""


class Answer(NamedTuple):
    """
    The answer to an accepted handshake.

    Attributes:
        accepted: The outcome of the admission. None if an application has accepted the handshake:
            nobody watches over such a client, and it does not need Redis.
        stored: The stored messages by channel, for `Connection.opened`.
        subprotocol: The chosen one. None if there is none.
        headers: Names and values of further headers of the answer.
        is_compressed: Tells whether both sides may send compressed messages.
    """

    accepted: Accepted | None
    stored: Mapping[bytes, bytes]
    subprotocol: str | None
    headers: Sequence[tuple[str, str]]
    is_compressed: bool


class Applications(Protocol):
    """The application behind the port."""

    def decide(
        self, client: ApplicationClient, request: Request, target: str, parts: ConnectionParts
    ) -> Deferred[Answer]:
        """
        Hand a well-formed handshake to the application.

        Args:
            target: The request target, percent-encoded, with the query.
            parts: For the connection, which belongs to nobody and has no channels. It becomes that
                of *client* before this method returns.

        Returns:
            Fires with the answer when the application accepts the handshake, and with the refusal
            when it does not. It never fires if the client leaves, or if the application answers
            with a page.

        Raises:
            HandshakeRejected: The application has no time for it.
        """


class ApplicationMessages:
    """
    The messages of applications, in the place of a `wsredis.gateway.dialect.Dialect`.

    They are sent as they are. No URL belongs to them: an application gets all that is left.
    """

    is_binary: bool | None = None
    heartbeat: bytes | None = None
    heartbeat_interval = 0.0

    def encode(self, publication: Publication) -> bytes:
        """Return the message of a publication."""
        return publication.payload
