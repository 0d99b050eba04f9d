"""Each client sends numbers, and receives the total of its own numbers."""

from __future__ import annotations

from twisted.application.service import Application

from wsredis import Connection, GatewayService, Handler, load


class RunningTotal(Handler):
    def on_connect(self, connection: Connection) -> None:
        connection.data = 0

    def on_message(self, connection: Connection, payload: bytes, is_binary: bool) -> None:
        try:
            connection.data += int(payload)
            connection.send(str(connection.data))
        except ValueError:
            connection.send("this is not a number")


application = Application("running-total")
GatewayService(load({}), handler=RunningTotal()).setServiceParent(application)
