"""A handler that waits, and then publishes a changed message."""

from __future__ import annotations

from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.task import deferLater

from wsredis import Connection, GatewayService, Handler, load


class Moderation(Handler):
    def on_connect(self, connection: Connection) -> None:
        connection.send("Welcome.")

    async def on_message(self, connection: Connection, payload: bytes, is_binary: bool) -> None:
        if is_binary:
            connection.close(4000, "text only")
            return
        # Here you would query a database. Meanwhile only this client waits.
        await deferLater(reactor, 0.01)
        connection.publish(payload.replace(b"darn", b"****"))


application = Application("moderation")
GatewayService(load({}), handler=Moderation()).setServiceParent(application)
