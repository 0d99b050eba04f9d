"""Hands WebSocket handshakes to an application, and joins the two sides of each WebSocket."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred

from wsredis.errors import HandshakeRejected
from wsredis.gateway.connection import ConnectionParts
from wsredis.transports.websocket.applications import Answer, ApplicationClient
from wsredis.transports.websocket.lean import Request
from wsredis.transports.websocket.unfinished import UnfinishedInput
from wsredis.web.asgi.failures import FailureLog
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
        max_input: Bytes of messages of all clients that the application has not taken.
        link: Runs the application.
        application: An ASGI 3 application, see `wsredis.web.asgi.application.call_of`.
        room: Bounds the handshakes under way.

    Attributes:
        place: What all scopes have in common.
        link, room: As given.
        waiting: The messages that the application has not taken.
        failures: Logs what goes wrong in the application.
    """

    def __init__(
        self,
        reactor: Any,
        max_input: int,
        link: Link,
        application: Callable[..., Coroutine[Any, Any, None]],
        room: Room,
        place: Place,
    ) -> None:
        self.link = link
        self._call = application
        self.room = room
        self.waiting = UnfinishedInput(reactor, max_input)
        self.failures = FailureLog(reactor)
        self.place = place

    def decide(
        self, client: ApplicationClient, request: Request, target: str, parts: ConnectionParts
    ) -> Deferred[Answer]:
        """See `wsredis.transports.websocket.applications.Applications.decide`."""
        if not self.room.enter():
            raise HandshakeRejected(
                "try again later", 503, "--asgi-concurrency", cause="asgi-concurrency"
            )
        connection = client.connection = AsgiConnection(
            parts,
            client,
            self,
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
