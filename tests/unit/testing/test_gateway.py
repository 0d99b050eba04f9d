"""Tests for `wsredis.testing.gateway`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis import Access, GatewayConfig, Handshake, Identity
from wsredis.config import ForwardConfig, Limits
from wsredis.layer.messages import Codec
from wsredis.testing import HandshakeFailed, MemoryGateway
from wsredis.testing.gateway import EPOCH
from wsredis.testing.wire import TEXT, Frame


class _Names:
    """Knows users by the header that a proxy would set."""

    def identify(self, handshake: Handshake) -> Identity | None:
        """Believe it."""
        name = handshake.headers.get("x-user")
        return Identity(name) if name else None


class _Until:
    """Knows everybody until a moment, as a token does."""

    def __init__(self, end: float) -> None:
        self._end = end

    def identify(self, handshake: Handshake) -> Identity:
        """Say who it is, and for how long."""
        return Identity("john", expires=self._end)


class _Silence:
    """Grants everybody to listen, and nobody to publish."""

    def allow(self, identity: Identity, handshake: Handshake) -> Access:
        """Take away what is published to."""
        requested = handshake.requested
        return Access(requested.facility, requested.subscribe)


class MemoryGatewayTests(SynchronousTestCase):
    """A gateway of the same parts as the service."""

    def test_defaults(self) -> None:
        """Without settings it is a gateway with the default ones."""
        gateway = MemoryGateway()
        client = gateway.client("/ws/a?subscribe-broadcast")
        gateway.redis.publish(b"broadcast:a", b"text")
        self.assertEqual(["text"], client.messages())
        self.assertEqual(1, gateway.metrics.connections)
        self.assertEqual(1, len(gateway.hub))

    def test_settings(self) -> None:
        """Settings count: the prefixes, the heartbeat, the limits, the seconds of storage."""
        config = GatewayConfig(
            url_prefix="/sock/",
            prefix="site",
            heartbeat="beat",
            expire=10,
            limits=Limits(max_connections=1),
        )
        gateway = MemoryGateway(config)
        client = gateway.client("/sock/a?subscribe-broadcast&publish-broadcast&echo")
        client.send("text")
        self.assertEqual(["beat", "text"], client.messages())
        self.assertEqual(b"text", gateway.redis.value(b"site:broadcast:a"))
        gateway.wait(11)
        self.assertIsNone(gateway.redis.value(b"site:broadcast:a"))
        error = self.assertRaises(HandshakeFailed, gateway.client, "/sock/a")
        self.assertEqual(503, error.status)

    def test_rules(self) -> None:
        """The policies of the settings are asked, unless there is another one."""
        path, page = "/ws/a?publish-broadcast", "Origin: https://evil.example"
        error = self.assertRaises(HandshakeFailed, MemoryGateway().client, path, page)
        self.assertEqual(403, error.status)
        self.assertTrue(MemoryGateway(policy=_Silence()).client(path, page).is_open)

    def test_authenticator_and_policy(self) -> None:
        """They decide as in the service."""
        gateway = MemoryGateway(authenticator=_Names(), policy=_Silence())
        john = gateway.client("/ws/a?subscribe-user&publish-user&echo", "X-User: john")
        stranger = gateway.client("/ws/a?subscribe-user")
        john.send("to nobody")
        gateway.redis.publish(b"user:john:a", b"to john")
        self.assertEqual((["to john"], []), (john.messages(), stranger.messages()))

    def test_outage(self) -> None:
        """Redis can go away and come back; messages stored meanwhile are sent."""
        gateway = MemoryGateway()
        client = gateway.client("/ws/a?subscribe-broadcast")
        gateway.broker.disconnect()
        self.assertEqual(503, gateway.answer(b"GET /health/ready HTTP/1.0\r\n\r\n")[0])
        gateway.redis.store(b"broadcast:a", 60, b"missed")
        gateway.broker.connect()
        self.assertEqual(["missed"], client.messages())
        self.assertEqual(200, gateway.answer(b"GET /health/ready HTTP/1.0\r\n\r\n")[0])

    def test_open(self) -> None:
        """At the level of frames, a handshake that fails is an AssertionError."""
        gateway = MemoryGateway()
        self.assertRaises(AssertionError, gateway.open, "/elsewhere")
        self.assertEqual([], gateway.open().frames())
        gateway.redis.store(b"broadcast:a", 60, b"stored")
        self.assertEqual([Frame(TEXT, b"stored")], gateway.open().frames())

    def test_answer(self) -> None:
        """A request has its status and its answer; one that is not complete has none yet."""
        gateway = MemoryGateway()
        status, answer = gateway.answer(b"GET /health/live HTTP/1.0\r\n\r\n")
        self.assertEqual(200, status)
        self.assertTrue(answer.startswith(b"HTTP/1."))
        self.assertEqual((0, b""), gateway.answer(b"GET /"))

    def test_wait(self) -> None:
        """Time passes as far as asked; clients that read stay, those that do not are dropped."""
        gateway = MemoryGateway(GatewayConfig(ping_interval=5))
        reads, sleeps = gateway.client("/ws/a"), gateway.client("/ws/a")
        sleeps.socket.reading = False
        gateway.wait(30)
        self.assertTrue(29.9 < gateway.clock.seconds() < 30.1)
        self.assertEqual((False, True), (reads.socket.closed, sleeps.socket.closed))
        # A handshake that is not finished in time is a timer of the gateway's, too.
        socket = gateway.connect()
        socket.send(b"GET /")
        gateway.wait(60)
        self.assertTrue(socket.closed)

    def test_time_of_day(self) -> None:
        """The wall clock of the gateway goes with its clock."""
        now = EPOCH + 10
        gateway = MemoryGateway(GatewayConfig(recheck=0), authenticator=_Until(now))
        client = gateway.client("/ws/a?subscribe-user")
        gateway.wait(9)
        self.assertTrue(client.is_open)
        gateway.wait(5)
        self.assertFalse(client.is_open)

    def test_forward(self) -> None:
        """What a client says to workers waits in a list, as the channel layer encodes it."""
        forward = ForwardConfig(channels=("orders/*=orders",))
        gateway = MemoryGateway(GatewayConfig(forward=forward))
        client = gateway.client("/ws/orders/pizza")
        client.send("hello")
        ((_, entry),) = gateway.redis.queues[b"asgi:queue:orders"]
        event = Codec().decode(entry)
        self.assertEqual(("gateway.receive", "hello"), (event["type"], event["text"]))

    def test_two_gateways(self) -> None:
        """Each has a Redis and a clock of its own."""
        first, second = MemoryGateway(), MemoryGateway()
        client = second.client("/ws/a?subscribe-broadcast")
        first.redis.publish(b"broadcast:a", b"text")
        first.wait(5)
        self.assertEqual([], client.messages())
        self.assertEqual(0, second.clock.seconds())
