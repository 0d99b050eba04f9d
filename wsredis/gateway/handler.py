"""The hook for programs that embed the gateway and want a say in each connection."""

from __future__ import annotations

from collections.abc import Awaitable

from wsredis.gateway.connection import Connection
from wsredis.gateway.gap import Gap

__all__ = ["Handler"]


class Handler:
    """
    Called for each connection. Override the methods that you want to change.

    A method may be a coroutine or return a Deferred: the next message of that client waits until it
    is done. An exception in a method is logged, and closes that connection with 1011.
    """

    def on_connect(self, connection: Connection) -> Awaitable[None] | None:
        """Called when the connection is open and the stored messages have been sent."""
        return None

    def on_message(
        self, connection: Connection, payload: bytes, is_binary: bool
    ) -> Awaitable[None] | None:
        """
        Called with each message of a client. The default publishes it.

        Args:
            payload: The message. It may be empty, which the default dialect does not publish. A
                heartbeat does not come here.
            is_binary: Tells whether it came as a binary message.
        """
        connection.publish(payload)
        return None

    def on_disconnect(self, connection: Connection) -> Awaitable[None] | None:
        """Called when the connection is gone, once for each `on_connect`."""
        return None

    def on_gap(self, gap: Gap) -> Awaitable[None] | None:
        """
        Called when messages may have been lost between Redis and the gateway, once for each gap.

        Everything works again by then, and the stored messages that changed have been sent. An
        exception is logged, and closes no connection.
        """
        return None
