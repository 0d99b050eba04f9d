"""Tests for `wsredis.transports.stream.streams`: the transport as a whole."""

from __future__ import annotations

from tests.support.memory_gateway import MemoryGateway, MemoryGatewayCase
from tests.unit.transports.stream.case import LISTEN, SPEAK, StreamCase, request
from wsredis.config import GatewayConfig
from wsredis.gateway.identity import Handshake, Identity


class OffTests(MemoryGatewayCase):
    """With --no-streams a gateway has WebSockets only."""

    def test_off(self) -> None:
        """Each request is answered as before there was anything else, also a later one."""
        self.use(MemoryGateway(GatewayConfig(no_streams=True)))
        self.assertIsNone(self.factory.streams)
        for data in (
            request("GET", LISTEN, "Accept: text/event-stream"),
            request("POST", SPEAK, body=b"x"),
            request("GET", f"{LISTEN}&wait=5"),
        ):
            status, answer = self.answer(data)
            self.assertEqual(400, status)
            self.assertIn(b"upgrade to a websocket", answer)
        self.open()
        self.factory.drain()


class StrangerTests(StreamCase):
    """A foreign page comes as a stranger."""

    class _Login:
        def identify(self, handshake: Handshake) -> Identity | None:
            return Identity("john") if "cookie" in handshake.headers else None

    def setUp(self) -> None:
        """Start a gateway with users."""
        self.start(GatewayConfig(), authenticator=self._Login())

    def test_cookies(self) -> None:
        """The cookies of its visitor do not count, whether the page is named or not."""
        path = "/ws/a?subscribe-broadcast"
        for header in ("Origin: https://evil.example", "Sec-Fetch-Site: cross-site"):
            self.source(path, "Cookie: a=b", header)
            *_, member = self.factory.registry.connections
            self.assertIsNone(member.user)
        self.source(path, "Cookie: a=b")
        *_, member = self.factory.registry.connections
        self.assertEqual("john", member.user)

    def test_rights(self) -> None:
        """It may hear broadcasts only."""
        source = self.source("/ws/a?subscribe-user", "Origin: https://evil.example")
        self.assertEqual(403, source.status)


class GapTests(StreamCase):
    """A loss between Redis and the gateway."""

    def test_told(self) -> None:
        """All streams are told, WebSockets are not."""
        sources, socket = [self.source() for _ in range(3)], self.open()
        self.gateway.broker.disconnect()
        self.gateway.broker.connect()
        self.assertEqual([["open", "gap"]] * 3, [source.types() for source in sources])
        self.assertEqual([], socket.frames())
        sources[0].socket.leave()
        self.publish(b"x")

    def test_closing(self) -> None:
        """One that was sent its goodbye is told nothing more."""
        source = self.source()
        source.socket.reading = False
        self.publish(b"x" * 200_000)
        (member,) = self.factory.registry.connections
        member.close(1012, "")
        self.gateway.broker.disconnect()
        self.gateway.broker.connect()
        source.socket.read()
        self.assertEqual(["open", "message", "close"], source.types())
