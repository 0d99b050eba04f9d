"""Tests of what runserver is made of; the server itself is tested with the real command."""

from __future__ import annotations

import atexit
import socket
from collections.abc import Callable
from socketserver import ThreadingMixIn
from threading import Thread
from types import SimpleNamespace
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.children import free_port, until
from tests.support.require import missing
from wsredis.config import load
from wsredis.django.server import (
    GatewayServer,
    logged,
    needs_redis,
    private_redis,
    project_settings,
)
from wsredis.redis import embedded


class SettingsTests(SynchronousTestCase):
    """The settings of the project become ours."""

    def test_nothing(self) -> None:
        """A project that says nothing has the defaults."""
        self.assertEqual({"expire": 3600}, project_settings(SimpleNamespace()))

    def test_all(self) -> None:
        """Everything that it says is taken over."""
        settings = SimpleNamespace(
            WEBSOCKET_URL="/sockets/",
            WS4REDIS_PREFIX="p",
            WS4REDIS_EXPIRE=None,
            WS4REDIS_HEARTBEAT="--h--",
            WS4REDIS_CONNECTION={"host": "redis", "port": 7000, "db": 3, "password": "a@b"},
        )
        config = load({"django": "x"}, {}, project=lambda _: project_settings(settings))
        self.assertEqual(
            ("/sockets/", "p", 0, "--h--", "redis://redis:7000/3", "a@b"),
            (
                *(config.url_prefix, config.prefix, config.expire, config.heartbeat),
                *(config.redis.url, config.redis.password),
            ),
        )

    def test_connections(self) -> None:
        """Sockets, users and TLS are part of the URL."""
        for connection, url in (
            ({"db": 1}, "redis://localhost:6379/1"),
            ({"unix_socket_path": "/s", "db": 2}, "unix:///s?db=2"),
            ({"username": "a b", "ssl": True}, "rediss://a%20b@localhost:6379/0"),
        ):
            settings = SimpleNamespace(WS4REDIS_CONNECTION=connection)
            self.assertEqual(url, project_settings(settings)["redis"])


class RedisTests(SynchronousTestCase):
    """A private Redis for those who have none."""

    skip = missing("redis")

    def test_private(self) -> None:
        """It is needed until it answers, or the project names one; it ends with the block."""
        port = free_port()
        self.assertTrue(needs_redis(SimpleNamespace(), port))
        named = SimpleNamespace(WS4REDIS_CONNECTION={"host": "x"})
        self.assertFalse(needs_redis(named, port))
        with private_redis(port):
            until(lambda: embedded.answers(port))
            self.assertFalse(needs_redis(SimpleNamespace(), port))
        self.assertFalse(embedded.answers(port))


class ServerTests(SynchronousTestCase):
    """What Django sees of it before it serves."""

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


class _Reactor(MemoryReactorClock):
    """Runs until it is told to stop, which is when a thread calls; keeps what is to come first."""

    running = False

    def run(self, installSignalHandlers: bool = True) -> None:  # type: ignore[override]
        """Start, and stop."""
        self.has_handlers = installSignalHandlers
        super().run()
        self.port = self.adoptedPorts[0]
        self.protocol = self.port[2].buildProtocol(None)
        for function, words, more in self.triggers["before"]["shutdown"]:
            self.stopped = function(*words, **more)

    def callFromThread(self, function: Any, *words: Any, **more: Any) -> None:
        """Call at once."""
        function(*words, **more)


class ServeTests(SynchronousTestCase):
    """It serves, with the settings of the project."""

    def serve(self, *bases: type, **settings: object) -> Any:
        """Serve, and stop. Returns: The server."""
        reactor = _Reactor()
        observers: list[Any] = []
        project = SimpleNamespace(
            SETTINGS_MODULE="mysite.settings", WS4REDIS_CONNECTION={"port": 1}, **settings
        )
        members = {"reactor": reactor, "settings": project, "begin_logging": observers.extend}
        made = type("Server", (*bases, GatewayServer), members)(("127.0.0.1", 0))
        self.addCleanup(made._socket.close)
        made.set_app(lambda environ, start_response: [])
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

    def test_wrong_settings(self) -> None:
        """They are what runserver shows as one line."""
        error = self.assertRaises(OSError, self.serve, WEBSOCKET_URL="sockets")
        self.assertIn("url-prefix: 'sockets' does not start and end with a slash", str(error))
