"""The hook for programs that embed the gateway and want a say in each connection."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsredis.gateway.connection import Connection

__all__ = ["Handler"]


class Handler:
    """
    What happens on each connection. Override what you want to change.

    A method may be a coroutine or return a Deferred: the next message of that client waits until
    it is done. What a method raises is logged, and closes that connection with 1011.
    """

    def on_connect(self, connection: Connection) -> Awaitable[None] | None:
        """The WebSocket is open; stored messages have been sent."""
        return None

    def on_message(
        self, connection: Connection, payload: bytes, is_binary: bool
    ) -> Awaitable[None] | None:
        """A client sent *payload*, neither empty nor a heartbeat. The default publishes it."""
        connection.publish(payload)
        return None

    def on_disconnect(self, connection: Connection) -> Awaitable[None] | None:
        """The WebSocket is gone. Called once for each `on_connect`."""
        return None
