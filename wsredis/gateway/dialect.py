"""The port to dialects: how a URL names channels, and how messages look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from wsredis.channels import Access
from wsredis.gateway.connection import Connection, ConnectionParts
from wsredis.gateway.publication import Publication

__all__ = ["Dialect"]


class Dialect(Protocol):
    """
    A language between clients and gateway. One object serves all clients of a gateway.

    The state of a single client, and what its messages mean, belong to the subclass of
    `Connection` that the dialect makes.

    Attributes:
        is_binary: Tells whether encoded messages are binary. If None, each is a text message if it
            is valid UTF-8, else a binary one.
        heartbeat: The message that is sent to each client every `heartbeat_interval` seconds. If
            None, there is none.
        takes_batches: Tells whether a message of a client means the same as text and as binary, so
            that `Connection.receive_all` may be called.
    """

    is_binary: bool | None
    heartbeat: bytes | None
    heartbeat_interval: float
    takes_batches: bool

    def parse(self, path: str, query: str) -> Access | None:
        """
        Read the URL of a handshake.

        Args:
            path: Percent-encoded, as it stood in the request line, without the query.
            query: Percent-encoded, without the question mark. Empty if there is none.

        Returns:
            The access that the client asks for. None if the URL does not belong to this dialect.

        Raises:
            BadRequest: The URL belongs to this dialect and is malformed.
        """

    def choose_subprotocol(self, offered: Sequence[str]) -> str | None:
        """
        Choose one of the subprotocols that a client offers (RFC 6455, 4.2.2).

        If None, none is chosen.
        """

    def encode(self, publication: Publication) -> bytes:
        """Return the message with which clients of this dialect hear *publication*."""

    def connection(self, parts: ConnectionParts) -> Connection:
        """Make the connection of an accepted client."""
