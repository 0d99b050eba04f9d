"""The port to transports: one client, as the rest of the gateway sees it."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

__all__ = ["Client", "PauseReason", "Sink"]


class PauseReason(IntEnum):
    """Why a client is not read. Several reasons are added up, each a power of two."""

    SEND_QUEUE = 1
    PUBLISH = 2
    HANDLER = 4
    #: Others have their turn first.
    TURN = 8
    #: It works faster than the limits allow.
    RATE = 16
    #: The project's own subscriber works on its last message.
    SUBSCRIBER = 32
    #: The application does not take its messages.
    APPLICATION = 64


class Sink(Protocol):
    """The place for the bytes of one client. The hub calls it once for each client and message."""

    @property
    def send(self) -> Callable[[bytes], int]:
        """
        Take bytes as ``socket.send`` does, and often by that very method.

        Look it up for every call: once bytes wait, it is another one.

        Returns:
            The number of bytes that it took. The rest goes to `keep`, before anything else is sent.

        Raises:
            OSError: It took none.
        """

    def keep(self, data: bytes, taken: int) -> None:
        """Send the rest of *data* later; `send` has just taken its first *taken* bytes."""

    def write(self, data: bytes) -> None:
        """Do both."""


class Client(Protocol):
    """The part of a transport that a connection needs: one client's socket."""

    @property
    def queue(self) -> Sink | None:
        """The sink of encoded messages. If None, only `write` is called."""

    @property
    def peer(self) -> str:
        """The address of the client, for logs."""

    @property
    def address(self) -> str:
        """See `wsredis.gateway.identity.Handshake.address`."""

    def write(self, data: bytes) -> None:
        """Send encoded messages."""

    @property
    def takes_notices(self) -> bool:
        """
        Tells whether the client is told of itself in binary messages; see `wsredis.gateway.hello`.

        Then no other binary message to it is UTF-8, and an empty one from it is a sign of life.
        """

    def tell_rights(self) -> None:
        """Tell the client, if it can be told, what it may do now."""

    def close(self, code: int, reason: str) -> None:
        """
        Close the connection. *code* is a WebSocket close code.

        A transport without close codes translates it.
        """

    @property
    def is_paused(self) -> bool:
        """Tells whether there is a reason not to read the client."""

    def pause(self, why: PauseReason) -> None:
        """Take no further message from the client, not even one that was read already."""

    def resume(self, why: PauseReason) -> None:
        """Go on, unless there is another reason to pause."""

    def charge(self, work: int) -> None:
        """
        Count what the client has caused, in deliveries, against its rate.

        The client may be paused.
        """
