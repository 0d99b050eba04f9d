"""Tests for `wsredis.gateway.handler`."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fakes import FakeClient
from wsredis.brokers.memory import MemoryBroker, MemoryServer
from wsredis.channels import Access, Audience
from wsredis.config import Limits
from wsredis.dialects.plain import PlainDialect
from wsredis.gateway.connection import ConnectionParts
from wsredis.gateway.gap import Gap
from wsredis.gateway.handler import Handler
from wsredis.gateway.hub import Hub
from wsredis.gateway.identity import Identity
from wsredis.gateway.metrics import Metrics
from wsredis.transports.websocket.encoding import Encodings


class HandlerTests(SynchronousTestCase):
    """A handler that overrides nothing."""

    def test_changes_nothing(self) -> None:
        """It publishes what clients send, and waits for nothing."""
        server, metrics, limits = MemoryServer(Clock()), Metrics(), Limits()
        broker, dialect = MemoryBroker(server), PlainDialect()
        hub = Hub(broker, limits.max_publication, metrics)
        broker.start(hub)
        client = FakeClient()
        access = Access("chat", publish=frozenset({Audience.BROADCAST}))
        encoding = Encodings(0)[dialect, 0]
        connection = client.connection = dialect.connection(
            ConnectionParts(hub, limits, Handler(), client, encoding, Identity(), access)
        )
        connection.opened({})
        connection.receive(b"\x00text", True)
        connection.receive(b"", False)
        connection.closed()
        self.assertEqual(b"\x00text", server.value(b"broadcast:chat"))
        self.assertEqual([], client.events)

    def test_returns_none(self) -> None:
        """None of its methods gives anything to wait for."""
        handler = Handler()
        published: list[bytes] = []

        class Recorder:
            publish = staticmethod(published.append)

        connection = cast(Any, Recorder)
        self.assertIsNone(handler.on_connect(connection))
        self.assertIsNone(handler.on_message(connection, b"text", False))
        self.assertIsNone(handler.on_disconnect(connection))
        self.assertIsNone(handler.on_gap(Gap(1, 1.0, 1)))
        self.assertEqual([b"text"], published)
