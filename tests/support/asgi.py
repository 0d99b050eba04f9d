"""A gateway in memory with an ASGI application, for tests of its WebSockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.support.raw import BINARY, CLOSE, TEXT, frame
from wsredis.config import GatewayConfig
from wsredis.testing import MemoryGateway, Socket
from wsredis.testing.wire import handshake
from wsredis.transports.websocket.applications import Applications
from wsredis.web.asgi import AsgiServer, from_config

__all__ = ["AsgiCase", "AsgiGateway", "Script"]

#: Turns in which everything that is due has happened.
_TURNS = 8


class AsgiGateway(MemoryGateway):
    """
    A gateway with an application, which runs only in `settle`.

    Attributes:
        asgi: Its server.
    """

    asgi: AsgiServer

    def __init__(self, application: Any, config: GatewayConfig | None = None) -> None:
        self._application = application
        super().__init__(config)
        self.asgi.start()
        self.settle()

    def make_applications(self, config: GatewayConfig) -> Applications:
        """Make the server."""
        asgi = from_config(config, self.clock, self.metrics, self._application)
        assert asgi is not None
        self.asgi = asgi
        return asgi.websockets

    def settle(self) -> None:
        """Let everything happen that is due."""
        for _ in range(_TURNS):
            self.clock.advance(0)


class Script:
    """
    An application that does what the test says.

    Each call of it waits for the test, which has its scope, and runs its receive and send.

    Attributes:
        scopes: The scopes of the calls.
        results: What came of all that was done.
        error: Raised by calls when they are told to leave. If None, they return.
        cancelled: The number of calls that were cancelled.
    """

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []
        self.results: list[Any] = []
        self.error: BaseException | None = None
        self._todo: list[Any] = []
        self.cancelled = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Do what the test says, until it says that the call ends."""
        if scope["type"] != "websocket":
            raise NotImplementedError(scope["type"])
        self.scopes.append(scope)
        queue: asyncio.Queue[Callable[..., Any] | None] = asyncio.Queue()
        self._todo.append(queue)
        try:
            while True:
                what = await queue.get()
                if what is None:
                    break
                try:
                    self.results.append(await what(receive, send))
                except Exception as error:
                    self.results.append(error)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error

    def do(self, what: Callable[..., Any], call: int = -1) -> None:
        """Let a call await this, given its receive and send."""
        self._todo[call].put_nowait(what)

    def leave(self, call: int = -1) -> None:
        """Let a call end."""
        self._todo[call].put_nowait(None)


class AsgiCase(SynchronousTestCase):
    """Tests with a `Script` as the application."""

    #: No ping comes between: the time of the first one is another in each run.
    config = GatewayConfig(ping_interval=100000.0)

    def setUp(self) -> None:
        """Start the gateway."""
        self.app = Script()
        self.gateway = AsgiGateway(self.app, self.config)
        self.addCleanup(self._stop)

    def _stop(self) -> None:
        self.gateway.factory.stop()
        self.gateway.auth.stop()
        stopped = Deferred.fromCoroutine(self.gateway.asgi.stop(is_hurried=True))
        for _ in range(40):
            self.gateway.settle()
            self.gateway.clock.advance(0.1)
        self.successResultOf(stopped)

    def send(self, **event: Any) -> Any:
        """Let the application send an event; the outcome: None, an exception, or "waits"."""
        return self.outcome(lambda receive, send: send(event))

    def receive(self) -> Any:
        """Let the application receive; the event, or "waits"."""
        return self.outcome(lambda receive, send: receive())

    def outcome(self, what: Callable[..., Any]) -> Any:
        """Let the application await this."""
        before = len(self.app.results)
        self.app.do(what)
        self.gateway.settle()
        return self.app.results[-1] if len(self.app.results) > before else "waits"

    def connect(self, path: str = "/app", *headers: str) -> Socket:
        """Begin a handshake; the application has been called."""
        socket = self.gateway.connect()
        socket.send(handshake(path, *headers))
        self.gateway.settle()
        return socket

    def opened(self, path: str = "/app", *headers: str) -> Socket:
        """A WebSocket that the application has accepted."""
        socket = self.connect(path, *headers)
        self.assertEqual({"type": "websocket.connect"}, self.receive())
        self.assertIsNone(self.send(type="websocket.accept"))
        self.assertTrue(socket.take().startswith(b"HTTP/1.1 101 "))
        return socket

    def say(self, socket: Socket, message: str | bytes) -> None:
        """Let the client send a message."""
        if isinstance(message, str):
            socket.send(frame(TEXT, message.encode()))
        else:
            socket.send(frame(BINARY, message))
        self.gateway.settle()

    def leave(self, socket: Socket, payload: bytes = b"\x03\xe8") -> None:
        """Let the client send a close frame."""
        socket.send(frame(CLOSE, payload))
        self.gateway.settle()
