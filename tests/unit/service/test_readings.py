"""Tests of `wsredis.service.readings`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.memory_gateway import Socket
from tests.support.raw import handshake
from wsredis import GatewayService
from wsredis.brokers.memory import MemoryBroker, MemoryServer
from wsredis.config import AuthUrlConfig, GatewayConfig
from wsredis.gateway.metrics import State


class ReadingsTests(SynchronousTestCase):
    """Numbers that nobody counts are read from the parts that have them."""

    def setUp(self) -> None:
        """A gateway in memory."""
        self.reactor: Any = MemoryReactorClock()
        self.redis = MemoryServer(self.reactor)
        self.broker = MemoryBroker(self.redis)
        self.service = GatewayService(GatewayConfig(), reactor=self.reactor, broker=self.broker)
        self.service.startService()

    def state(self) -> State:
        """The state of this moment."""
        return self.service._readings.state()

    def connect(self, path: str) -> Socket:
        """A client that has sent its handshake."""
        client = Socket(self.service.factory)
        client.send(handshake(path))
        return client

    def test_idle(self) -> None:
        """Without clients everything is 0, but that the gateway is ready."""
        for each in fields(State):
            expected = each.name in ("ready", "redis_up")
            self.assertEqual(expected, getattr(self.state(), each.name), each.name)

    def test_own_channels(self) -> None:
        """Channels of the gateway itself, such as that of commands, are not counted."""
        service = GatewayService(
            GatewayConfig(auth_url=AuthUrlConfig(url="http://127.0.0.1:1/")),
            reactor=self.reactor,
            broker=self.broker,
        )
        service.startService()
        self.assertGreater(service._hub.subscriptions, 0)
        state = service._readings.state()
        self.assertEqual((0, 0), (state.channels, state.subscriptions))

    def test_clients(self) -> None:
        """Clients, their channels and their subscriptions are counted, and counted off."""
        first = self.connect("/ws/a?subscribe-broadcast")
        second = self.connect("/ws/a?subscribe-broadcast")
        self.connect("/ws/b?publish-broadcast")
        state = self.state()
        self.assertEqual((3, 1, 2), (state.sockets, state.channels, state.subscriptions))
        first.leave()
        self.assertEqual((1, 1), (self.state().channels, self.state().subscriptions))
        second.leave()
        state = self.state()
        self.assertEqual((1, 0, 0), (state.sockets, state.channels, state.subscriptions))

    def test_waiting(self) -> None:
        """A request that is not answered yet, and a message that is not complete."""
        silent = Socket(self.service.factory)
        silent.send(b"GET /ws/a HTTP/1.1\r\n")
        client = self.connect("/ws/a?publish-broadcast")
        client.send(b"\x81\xfe\x10\x00\0\0\0\0" + bytes(2000))
        state = self.state()
        self.assertEqual((2, 1), (state.sockets, state.handshakes_open))
        self.assertGreaterEqual(state.unfinished_bytes, 2000)

    def test_away(self) -> None:
        """The gateway is not ready, and Redis is not up."""
        self.broker.disconnect()
        self.assertEqual((False, False), (self.state().ready, self.state().redis_up))
