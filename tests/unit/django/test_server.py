"""Tests of what runserver is made of; the server itself is tested with the real command."""

from __future__ import annotations

import atexit
import os
import socket
from collections.abc import Callable
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any

from django.test import override_settings
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, LogEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import provider

from tests.support.children import RedisServer, reserve_port
from tests.support.django_project import configured, missing_django
from tests.support.require import missing
from wsredis.django.server import (
    AsgiApplication,
    GatewayServer,
    logged,
    logged_asgi,
    needs_redis,
    socket_lines,
)


class RedisTests(SynchronousTestCase):
    """A private Redis for those who have none."""

    skip = missing("redis") or missing_django()

    def setUp(self) -> None:
        """Set Django up."""
        configured()

    def test_named(self) -> None:
        """It is needed unless the environment or the project names one."""
        port = reserve_port(self)
        self.assertTrue(needs_redis(port))
        with override_settings(WS4REDIS_CONNECTION={"host": "x"}):
            self.assertFalse(needs_redis(port))
        self.patch(os, "environ", {**os.environ, "WSREDIS_REDIS": "unix:///x"})
        self.assertFalse(needs_redis(port))

    def test_answers(self) -> None:
        """None is needed where one answers."""
        redis = RedisServer(tcp=True)
        self.addCleanup(redis.stop)
        self.assertFalse(needs_redis(redis.port))


class ServerTests(SynchronousTestCase):
    """The interface that Django uses before it serves."""

    def test_port(self) -> None:
        """The port is bound at once; one in use is an OSError, as Django expects."""
        first = GatewayServer(("127.0.0.1", 0))
        self.addCleanup(first._socket.close)
        self.assertNotEqual(0, first.server_port)
        self.assertRaises(OSError, GatewayServer, ("127.0.0.1", first.server_port))
        sixth = GatewayServer(("::1", 0), ipv6=True)
        self.addCleanup(sixth._socket.close)
        self.assertEqual(socket.AF_INET6, sixth._socket.family)

    def test_logged(self) -> None:
        """A request is a line of Django's log, without its query and without control characters."""

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            start_response("204 No Content", [])
            return []

        started: list[Any] = []
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/a\n\xe9", "QUERY_STRING": "secret"}
        with self.assertLogs("django.server") as logs:
            logged(application)(environ, lambda *words: started.append(words))
        self.assertEqual([("204 No Content", [])], started)
        (record,) = logs.records
        self.assertEqual('"GET /a\\n\\xe9" 204 No Content', record.getMessage())
        self.assertEqual(204, record.status_code)  # type: ignore[attr-defined]

    def test_logged_asgi(self) -> None:
        """The requests and handshakes of an ASGI application are such lines, too."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            for each in scope["events"]:
                await send(each)

        sent: list[Any] = []

        async def send(event: Any) -> None:
            sent.append(event)

        start = {"type": "http.response.start", "status": 204}
        page = {"type": "websocket.http.response.start", "status": 401}
        accept = {"type": "websocket.accept"}
        others = [{"type": "http.response.body"}, {"type": "websocket.send", "text": "x"}]
        with self.assertLogs("django.server") as logs:
            for kind, *events in (
                ("http", start, *others),
                ("websocket", accept, *others),
                ("websocket", page),
                ("lifespan", {"type": "lifespan.startup.complete"}),
            ):
                scope = {"type": kind, "method": "GET", "path": "/a\né", "events": events}
                call = logged_asgi(application)(scope, None, send)
                self.assertRaises(StopIteration, call.send, None)
        self.assertEqual(8, len(sent))
        self.assertEqual(
            [
                '"GET /a\\n\\xe9" 204',
                '"WebSocket /a\\n\\xe9" 101',
                '"WebSocket /a\\n\\xe9" 401',
            ],
            [each.getMessage() for each in logs.records],
        )

    def test_socket_lines(self) -> None:
        """A socket that opens or closes is such a line; all else goes to the log of the gateway."""
        others: list[LogEvent] = []
        observe = socket_lines(provider(ILogObserver)(lambda event: others.append(event)))
        with self.assertLogs("django.server") as logs:
            for event in ("connection-opened", "connection-closed", "redis-connected"):
                observe({"log_format": "{what} done", "what": event, "event": event})
        self.assertEqual(
            ["WebSocket connection-opened done", "WebSocket connection-closed done"],
            [each.getMessage() for each in logs.records],
        )
        self.assertEqual(["redis-connected"], [each["event"] for each in others])


class _Reactor(MemoryReactorClock):
    """Runs until a thread asks it to stop; then it runs the triggers of its shutdown."""

    running = False

    def stop(self) -> None:
        """Nothing: it stops anyway."""

    def run(self, installSignalHandlers: bool = True) -> None:  # type: ignore[override]
        """Start, and stop."""
        self.has_handlers = installSignalHandlers
        super().run()
        for _ in range(10):
            self.advance(0)
        for port in self.adoptedPorts:
            self.protocol = port[2].buildProtocol(None)
        for function, words, more in self.triggers["before"]["shutdown"]:
            self.stopped = function(*words, **more)
        for _ in range(100):
            self.advance(0.1)

    def callFromThread(self, function: Any, *words: Any, **more: Any) -> None:
        """Call at once."""
        function(*words, **more)


def _page(environ: Any, start_response: Any) -> list[bytes]:
    """An application."""
    return []


class ServeTests(SynchronousTestCase):
    """It serves, with the settings of the project."""

    skip = missing_django()

    def setUp(self) -> None:
        """Set Django up."""
        configured()

    def serve(self, *bases: type, application: Any = _page, **settings: object) -> Any:
        """Serve, and stop. Returns: The server."""
        reactor = _Reactor()
        observers: list[Any] = []
        members = {"reactor": reactor, "begin_logging": observers.extend}
        made = type("Server", (*bases, GatewayServer), members)(("127.0.0.1", 0))
        self.addCleanup(made._socket.close)
        made.set_app(application)
        with override_settings(WS4REDIS_CONNECTION={"port": 1}, **settings):
            made.serve_forever()
        self.assertEqual(1, len(observers))
        self.successResultOf(reactor.stopped)
        return made

    def test_serves(self) -> None:
        """The port is the one that was bound, and the prefix that of the project."""
        made = self.serve(WEBSOCKET_URL="/sockets/")
        self.assertTrue(made.reactor.has_handlers)
        config = made._service.factory.config
        self.assertEqual(
            ("/sockets/", (), 1), (config.url_prefix, config.port, config.wsgi_threads)
        )

    def test_asgi(self) -> None:
        """Clients are accepted when an ASGI application has started."""
        said: list[str] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            while True:
                said.append((await receive())["type"])
                await send({"type": f"{said[-1]}.complete"})

        made = self.serve(application=AsgiApplication(application))
        self.assertEqual("lifespan.startup", said[0])
        self.assertEqual(1, len(made.reactor.adoptedPorts))

    def test_asgi_failed(self) -> None:
        """One that cannot start is what runserver shows as one line; nothing is accepted."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no database"})

        error = self.assertRaises(OSError, self.serve, application=AsgiApplication(application))
        self.assertEqual("asgi: the application could not start: no database", str(error))

    def test_threads(self) -> None:
        """Unless Django says otherwise several requests are worked on at a time."""
        self.assertEqual(10, self.serve(ThreadingMixIn)._service.factory.config.wsgi_threads)

    def test_in_a_thread(self) -> None:
        """Beside the reloader it has no signals, and is stopped when the process ends."""
        ends: list[Callable[[], None]] = []
        self.patch(atexit, "register", ends.append)
        made: list[Any] = []
        thread = Thread(target=lambda: made.append(self.serve()))
        thread.start()
        thread.join()
        self.assertFalse(made[0].reactor.has_handlers)
        stopped: list[bool] = []
        made[0].reactor.stop = lambda: stopped.append(True)
        ends[0]()
        self.assertEqual([True], stopped)

    def test_reactor(self) -> None:
        """Where nobody gives it a reactor it takes that of the process."""
        from twisted.internet import reactor

        made = GatewayServer(("127.0.0.1", 0))
        self.addCleanup(made._socket.close)
        made.set_app(lambda environ, start_response: [])
        # It is not started, since these settings are wrong.
        with override_settings(WEBSOCKET_URL="sockets"):
            self.assertRaises(OSError, made.serve_forever)
        self.assertIs(reactor, made.reactor)

    def test_wrong_settings(self) -> None:
        """They are what runserver shows as one line."""
        error = self.assertRaises(OSError, self.serve, WEBSOCKET_URL="sockets")
        self.assertIn("WEBSOCKET_URL: 'sockets' does not start and end with a slash", str(error))
