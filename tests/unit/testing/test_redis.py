"""Tests for `wsredis.testing.redis`; tests/contract compares its answers with a real Redis."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from wsredis.publisher import TwistedRedisPublisher
from wsredis.testing.redis import FakeRedis


class _Client(Protocol):
    """Keeps the bytes that arrive, and the reason of the end."""

    received = b""
    lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.lost = reason


class FakeRedisTests(SynchronousTestCase):
    """The server in memory, and its connections."""

    def setUp(self) -> None:
        """Make one."""
        self.clock = MemoryReactorClock()
        self.redis = FakeRedis(self.clock)

    def connect(self) -> _Client:
        """Connect a client."""
        client = self.successResultOf(self.redis.endpoint().connect(Factory.forProtocol(_Client)))
        assert isinstance(client, _Client)
        return client

    def test_example(self) -> None:
        """The example of the documentation: a program that publishes."""
        publisher = TwistedRedisPublisher(
            facility="news",
            broadcast=True,
            connection=self.redis.endpoint(),
            reactor=self.clock,
        )
        heard = publisher.publish_message("hello")
        self.redis.pump()
        self.assertEqual([(b"PUBLISH", b"broadcast:news", b"hello")], self.redis.sent(b"PUBLISH"))
        self.assertEqual(b"hello", self.redis.value(b"broadcast:news"))
        self.assertEqual(0, self.successResultOf(heard))
        publisher.close()

    def test_bytes_move_when_the_test_says_so(self) -> None:
        """Nothing is executed and nothing arrives before `pump`."""
        client = self.connect()
        client.transport.writeSequence([b"*1\r\n", b"$4\r\nPING\r\n"])
        self.assertEqual(([], b""), (self.redis.commands, client.received))
        self.redis.pump()
        self.assertEqual(([(b"PING",)], b"+PONG\r\n"), (self.redis.commands, client.received))

    def test_frozen(self) -> None:
        """Frozen as a whole, or on one connection, it neither reads nor answers."""
        one, two = self.connect(), self.connect()
        self.redis.sessions[0].frozen = True
        for client in (one, two):
            client.transport.write(b"*1\r\n$4\r\nPING\r\n")
        self.redis.pump()
        self.assertEqual((b"", b"+PONG\r\n"), (one.received, two.received))
        self.redis.sessions[0].frozen = False
        self.redis.frozen = True
        self.redis.pump()
        self.assertEqual(b"", one.received)
        self.redis.frozen = False
        self.redis.pump()
        self.assertEqual(b"+PONG\r\n", one.received)

    def test_down(self) -> None:
        """A server that is down refuses new connections and keeps the others."""
        client = self.connect()
        self.redis.down = True
        refused = self.redis.endpoint().connect(Factory.forProtocol(_Client))
        self.failureResultOf(refused, ConnectionRefusedError)
        client.transport.write(b"*1\r\n$4\r\nPING\r\n")
        self.redis.pump()
        self.assertEqual(b"+PONG\r\n", client.received)

    def test_paused(self) -> None:
        """A client that does not read leaves the bytes where they are."""
        client = self.connect()
        client.transport.pauseProducing()
        self.redis.sessions[0].push(b"+abc\r\n")
        self.redis.pump()
        self.assertEqual((b"", 6), (client.received, self.redis.sessions[0].unread))
        client.transport.resumeProducing()
        self.redis.pump()
        self.assertEqual((b"+abc\r\n", 0), (client.received, self.redis.sessions[0].unread))

    def test_close(self) -> None:
        """A client that closes is gone in the next turn; later bytes are lost."""
        client = self.connect()
        client.transport.loseConnection()
        client.transport.write(b"*1\r\n$4\r\nPING\r\n")
        self.assertIsNone(client.lost)
        self.clock.advance(0)
        assert client.lost is not None
        self.assertTrue(client.lost.check(ConnectionDone))
        self.assertEqual(([], []), (self.redis.sessions, self.redis.commands))

    def test_kill(self) -> None:
        """A connection that is cut is reported once, and the next one works."""
        client = self.connect()
        self.redis.kill()
        assert client.lost is not None
        self.redis.kill()
        self.assertEqual(([], 1), (self.redis.sessions, self.redis.accepted))
        self.connect()
        self.assertEqual(2, self.redis.accepted)
