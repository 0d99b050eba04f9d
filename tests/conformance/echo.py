"""The gateway in a program whose handler sends each message back: ``twistd -n -y`` runs it."""

from __future__ import annotations

from twisted.application.service import Application

from wsredis import Connection, GatewayService, Handler, load


class Echo(Handler):
    """Sends text as text and binary messages as binary ones, also empty ones."""

    def on_message(self, connection: Connection, payload: bytes, is_binary: bool) -> None:
        """See `wsredis.Handler.on_message`."""
        connection.send(payload if is_binary else payload.decode())


application = Application("echo")
GatewayService(load({}), handler=Echo()).setServiceParent(application)
