"""Hands WebSocket handshakes to an application, and joins the two sides of each WebSocket."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from wsredis.config import GatewayConfig
from wsredis.errors import HandshakeRejected
from wsredis.gateway.connection import ConnectionParts
from wsredis.transports.websocket.applications import Answer, ApplicationClient
from wsredis.transports.websocket.lean import Request
from wsredis.transports.websocket.unfinished import UnfinishedInput
from wsredis.web.asgi.application import Application, call_of
from wsredis.web.asgi.link import Link
from wsredis.web.asgi.room import Room
from wsredis.web.asgi.scopes import Place, websocket_scope, whereabouts
from wsredis.web.asgi.websocket import AsgiConnection

__all__ = ["WebSocketServer"]

#: What the application may do beyond the specification.
_EXTENSIONS: dict[str, Any] = {"websocket.http.response": {}}

#: Characters of a path that stand in the name of a call.
_NAMED = 200


class WebSocketServer:
    """
    The WebSockets of an application: a `wsredis.transports.websocket.applications.Applications`.

    Args:
        reactor: Runs timers.
        link: Runs the application.
        application: An ASGI 3 application.
        room: Bounds the handshakes under way.

    Attributes:
        place: What all scopes have in common.
    """

    def __init__(
        self,
        reactor: Any,
        config: GatewayConfig,
        link: Link,
        application: Application,
        room: Room,
        place: Place,
    ) -> None:
        self._link = link
        self._call = call_of(application)
        self._room = room
        self._waiting = UnfinishedInput(reactor, config.limits.max_input)
        self.place = place

    def decide(
        self, client: ApplicationClient, request: Request, target: str, parts: ConnectionParts
    ) -> Deferred[Answer]:
        """See `wsredis.transports.websocket.applications.Applications.decide`."""
        if not self._room.enter():
            raise HandshakeRejected(
                "try again later", 503, "--asgi-concurrency", cause="asgi-concurrency"
            )
        connection = client.connection = AsgiConnection(
            parts,
            client,
            self._link,
            self._waiting,
            self._room,
            request.protocols,
            f"websocket {parts.granted.facility[:_NAMED]}",
        )
        scope = websocket_scope(
            target,
            # A list of its own: the application may change it.
            [*request.protocols],
            request.pairs,
            request.headers,
            whereabouts(client.transport),
            self.place,
            _EXTENSIONS,
        )
        cycle = connection.cycle
        connection.start(self._call(scope, cycle.receive, cycle.send))
        return connection.answer
