"""The port to plain HTTP: a request that is not a WebSocket handshake is handed over here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.python.failure import Failure

from wsredis.transports.websocket.head import Head

__all__ = ["GiveBack", "HttpChannel", "HttpSite"]

#: Gives a connection back. Its arguments are the head of a request, the bytes that came after it,
#: and the status and the reason with which the request is refused. With status 0 it is not
#: refused: it is a WebSocket handshake.
GiveBack = Callable[[bytes, bytes, int, str], None]


class HttpChannel(Protocol):
    """
    One connection, as a protocol of Twisted.

    Attributes:
        returned: Called to give the connection back. If None, nobody takes it back.
        address: See `wsredis.gateway.identity.Handshake.address`; that of the first request.
    """

    returned: GiveBack | None
    address: str

    def makeConnection(self, transport: Any) -> None:
        """Begin to use the transport."""

    def dataReceived(self, data: bytes) -> None:
        """Take bytes."""

    def connectionLost(self, reason: Failure) -> None:
        """Forget the transport."""


class HttpSite(Protocol):
    """
    The site behind the port.

    Attributes:
        max_channels: Connections that it may keep. If 0, it keeps none: each has the time of a
            handshake, and is counted as one.
    """

    max_channels: int

    def is_full(self) -> bool:
        """Tell whether it takes no further connection."""

    def channel_for(self, found: Head, peer: Any) -> HttpChannel:
        """
        Return the channel of a connection whose next request is not a WebSocket handshake.

        Args:
            found: The head of this request. The channel is given its bytes again, and all later
                requests of the connection: one that belongs to another channel it gives back.
            peer: The address of the transport.
        """
