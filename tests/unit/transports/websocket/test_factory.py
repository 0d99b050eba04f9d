"""Tests for `wsredis.transports.websocket.factory`."""

from __future__ import annotations

from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from tests.support.memory_gateway import MemoryGateway, MemoryGatewayCase, Socket
from tests.support.raw import CLOSE
from wsredis.config import GatewayConfig, Limits
from wsredis.gateway.gap import Gap
from wsredis.gateway.handler import Handler
from wsredis.transports.websocket.protocol import GatewayProtocol


class FactoryTests(MemoryGatewayCase):
    """The parts and options that all connections share."""

    def test_alpn(self) -> None:
        """On TLS, HTTP/1.1 is selected of what a client offers."""
        verifyObject(IProtocolNegotiationFactory, self.factory)
        self.assertEqual(
            [b"http/1.1"], IProtocolNegotiationFactory(self.factory).acceptableProtocols()
        )

    def test_options_that_matter(self) -> None:
        """
        The dangerous defaults are off: unlimited sizes, the status page, drops instead of codes.

        `setProtocolOptions` changes `allowNullOrigin` when it is not named.
        """
        made = self.protocol(self.connect())
        self.assertEqual(1048576, made.maxMessagePayloadSize)
        self.assertEqual(1048576, made.maxFramePayloadSize)
        self.assertFalse(made.webStatus)
        self.assertFalse(made.failByDrop)
        self.assertTrue(made.allowNullOrigin)
        self.assertEqual([13], made.versions)
        self.assertEqual(0, made.openHandshakeTimeout)
        self.assertEqual(0, made.trustXForwardedFor)
        self.assertTrue(made.tcpNoDelay)
        self.assertIsNone(made.perMessageCompressionAccept([]))

    def test_options_of_simple_handshakes(self) -> None:
        """
        Autobahn refuses nothing, and answers with nothing, that a simple handshake would pass by.

        Whoever changes one of these has to change `wsredis.transports.websocket.head` as well.
        """
        made = self.protocol(self.connect())
        self.assertEqual(["*"], made.allowedOrigins)
        self.assertEqual(0, made.maxConnections)
        self.assertIsNone(self.factory.externalPort)
        self.assertEqual(("", {}), (self.factory.server, self.factory.headers))

    def test_shared_parts(self) -> None:
        """Connections find the shared parts on their class; another gateway has its own class."""
        first, second = self.connect(), self.connect()
        self.assertIs(self.protocol(first).registry, self.factory.registry)
        self.assertIs(type(first.protocol), type(second.protocol))
        for name in ("config", "factory", "handshaker", "metrics", "registry", "sessions", "site"):
            self.assertNotIn(name, vars(first.protocol))
            self.assertFalse(hasattr(GatewayProtocol, name) and name != "factory", name)
        other = MemoryGateway(self.config)
        self.assertIsNot(other.connect().protocol.registry, self.factory.registry)

    def test_gap(self) -> None:
        """The handler hears of each gap, when the stored messages have been sent."""
        heard: list[Gap] = []

        class Watching(Handler):
            def on_gap(self, gap: Gap) -> None:
                heard.append(gap)

        self.use(MemoryGateway(handler=Watching()))
        client = self.open()
        self.gateway.broker.disconnect()
        self.gateway.redis.store(b"broadcast:a", 10, b"missed")
        self.gateway.wait(2.0)
        self.gateway.broker.connect()
        self.assertEqual([b"missed"], [each.payload for each in client.frames() if each.payload])
        ((number, channels),) = [(gap.generation, gap.channels) for gap in heard]
        self.assertEqual((1, 1), (number, channels))

    def lose(self) -> None:
        """Lose the link to Redis for a moment."""
        self.gateway.broker.disconnect()
        self.gateway.broker.connect()

    def codes(self, *clients: Socket) -> list[list[int | None]]:
        """Return the close codes that came to each of the clients."""
        return [
            [each.close_code for each in client.frames() if each.opcode == CLOSE]
            for client in clients
        ]

    def test_close_after_gap(self) -> None:
        """With ``on-gap``, all that may have lost a message are closed with 1012, one by one."""
        self.use(MemoryGateway(GatewayConfig(on_gap="close", drain_spread=3.0)))
        clients = [self.open() for _ in range(3)]
        speaker, deaf = self.open("/ws/a?publish-broadcast"), self.open("/ws/a")
        self.assertEqual([[]] * 3, self.codes(*clients))
        with capturedLogs() as logs:
            self.lose()
        self.assertEqual([3], [each["count"] for each in logs if each["event"] == "gap-closing"])
        late = self.open()
        self.assertEqual([[1012], [], []], self.codes(*clients))
        self.wait(1.2)
        self.assertEqual([[], [1012], []], self.codes(*clients))
        self.wait(2)
        self.assertEqual([[], [], [1012]], self.codes(*clients))
        self.assertEqual([[], [], []], self.codes(speaker, deaf, late))
        self.lose()
        self.assertEqual([[], [], [1012]], self.codes(speaker, deaf, late))

    def test_keep_after_gap(self) -> None:
        """By default they stay."""
        client = self.open()
        self.lose()
        self.wait(5)
        self.assertEqual([[]], self.codes(client))

    def test_limits_of_the_configuration(self) -> None:
        """Autobahn gets the limits that the configuration names."""
        self.use(MemoryGateway(GatewayConfig(limits=Limits(max_frame=5, max_message=7))))
        made = self.protocol(self.connect())
        self.assertEqual((5, 7), (made.maxFramePayloadSize, made.maxMessagePayloadSize))
