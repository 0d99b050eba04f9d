"""Tests of what runserver is made of; the server itself is tested with the real command."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

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
