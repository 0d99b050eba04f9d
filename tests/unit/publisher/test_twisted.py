"""Tests for `wsredis.publisher.twisted`."""

from __future__ import annotations

import os
from typing import Any
from unittest import mock

import txredisapi
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.publisher.case import SettingsCase, messages
from wsredis.config import RedisConfig
from wsredis.errors import BrokerUnavailable, ConfigError, PublishOutcomeUnknown
from wsredis.publisher import TwistedRedisPublisher
from wsredis.testing.redis import FakeRedis


class _OwnCase(SynchronousTestCase):
    """A publisher with a connection of its own to a Redis in memory."""

    def setUp(self) -> None:
        """To everybody and john, kept for 60 seconds."""
        self.clock = MemoryReactorClock()
        self.server = FakeRedis(self.clock)
        self.publisher = self.make()
        self.addCleanup(self.stop)

    def make(self, **names: Any) -> TwistedRedisPublisher:
        """A publisher on this Redis."""
        given = {"facility": "f", "broadcast": True, "users": ["john"], "expire": 60, **names}
        return TwistedRedisPublisher(
            connection=self.server.endpoint(), reactor=self.clock, prefix="", heartbeat="", **given
        )

    def stop(self) -> None:
        """Close it."""
        closed = self.publisher.close()
        self.server.pump()
        self.clock.advance(1)
        self.successResultOf(closed)


class PublishTests(_OwnCase):
    """The commands that are sent, with a connection and without one."""

    def test_publish(self) -> None:
        """Each channel is stored, then published; it waits for the connection."""
        heard = [self.publisher.publish_message(text) for text in ("one", "two")]
        self.assertNoResult(heard[0])
        self.server.pump()
        self.assertEqual([0, 0], [self.successResultOf(each) for each in heard])
        sent = self.server.sent(b"SETEX", b"PUBLISH")
        self.assertEqual(
            [
                (b"SETEX", b"broadcast:f", b"60", b"one"),
                (b"PUBLISH", b"broadcast:f", b"one"),
                (b"SETEX", b"user:john:f", b"60", b"one"),
                (b"PUBLISH", b"user:john:f", b"one"),
            ],
            sent[:4],
        )
        self.assertEqual(8, len(sent))

    def test_nobody(self) -> None:
        """Without a recipient nothing is sent, but a wrong message is refused."""
        publisher = self.make(broadcast=False, users=())
        self.assertEqual(0, self.successResultOf(publisher.publish_message("x")))
        with self.assertRaises(ValueError):
            publisher.publish_message(5)  # type: ignore[arg-type]
        publisher.close()

    def test_full(self) -> None:
        """Where Redis refuses to store, it publishes, and a warning tells."""
        self.server.refuse["SETEX"] = "OOM"
        with self.assertLogs("wsredis.publisher", "WARNING"):
            heard = self.publisher.publish_message("x")
            self.server.pump()
            self.assertEqual(0, self.successResultOf(heard))

    def test_refused(self) -> None:
        """Where Redis refuses to publish, its words are raised."""
        self.server.forbidden.add(b"user:john:f")
        heard = self.publisher.publish_message("x")
        self.server.pump()
        self.failureResultOf(heard, txredisapi.ResponseError)

    def test_away(self) -> None:
        """Without a connection it fails after five seconds, and says why."""
        self.server.down = True
        self.server.kill()
        publisher = self.make()
        heard = publisher.publish_message("x")
        self.clock.pump([0.5] * 9)
        self.assertNoResult(heard)
        self.clock.pump([0.5] * 2)
        why = self.failureResultOf(heard, BrokerUnavailable).getErrorMessage()
        self.assertRegex(why, "^<.*Endpoint.*>: .*refused")
        publisher.close()

    def test_lost(self) -> None:
        """A message without an answer fails when the connection is lost; the next one is sent."""
        self.server.pump()
        heard = self.publisher.publish_message("x")
        self.server.kill()
        self.failureResultOf(heard, PublishOutcomeUnknown)
        heard = self.publisher.publish_message("y")
        self.clock.advance(1)
        self.server.pump()
        self.assertEqual(0, self.successResultOf(heard))

    def test_lost_in_the_middle(self) -> None:
        """If one channel of two was published, the outcome on the other is unknown."""
        self.server.pump()
        heard = self.publisher.publish_message("x")
        link = self.publisher._redis._link  # type: ignore[union-attr]
        assert link.protocol is not None
        link.protocol.dataReceived(b"+OK\r\n:1\r\n+OK\r\n")
        self.assertNoResult(heard)
        self.server.kill()
        self.failureResultOf(heard, PublishOutcomeUnknown)

    def test_closed(self) -> None:
        """A call that waits for a connection fails at once when the publisher is closed."""
        publisher = self.make()
        heard = publisher.publish_message("x")
        publisher.close()
        self.failureResultOf(heard, BrokerUnavailable)

    def test_cancelled(self) -> None:
        """A cancelled call is not sent."""
        heard = self.publisher.publish_message("x")
        heard.cancel()
        self.failureResultOf(heard, CancelledError)
        self.server.pump()
        self.assertEqual([], self.server.sent(b"PUBLISH"))


class FetchTests(_OwnCase):
    """The messages that are stored."""

    def test_fetch(self) -> None:
        """The message that is there, or None."""
        self.server.pump()
        self.server.store(b"broadcast:f", b"\xff")
        for audience, expected in (("any", b"\xff"), ("broadcast", b"\xff"), ("user", None)):
            found = self.publisher.fetch_message(None, "f", audience)
            self.server.pump()
            self.assertEqual(expected, self.successResultOf(found))
        found = self.publisher.fetch_message(None, "g")
        self.server.pump()
        self.assertIsNone(self.successResultOf(found))

    def test_lost(self) -> None:
        """A connection that is lost before the answer: reading is safe to repeat."""
        self.server.pump()
        found = self.publisher.fetch_message(None, "f")
        self.server.kill()
        self.failureResultOf(found, BrokerUnavailable)

    def test_refused(self) -> None:
        """Where Redis refuses, its words are raised."""
        self.server.pump()
        self.server.refuse["MGET"] = "NOPERM"
        found = self.publisher.fetch_message(None, "f")
        self.server.pump()
        self.failureResultOf(found, txredisapi.ResponseError)


class _FakeConnection:
    """The part of a connection of txredisapi that is used; it is its own protocol."""

    def __init__(self, **replies: object) -> None:
        self.replies = replies
        self.sent: list[tuple[bytes | str, ...]] = []
        self._pending: list[tuple[Deferred[Any], object]] | None = None

    def pipeline(self) -> Deferred[_FakeConnection]:
        """Collect commands from now on."""
        self._pending = []
        return succeed(self)

    def execute_command(self, *words: bytes | str) -> Deferred[Any]:
        """Collect one."""
        assert self._pending is not None
        self.sent.append(words)
        done: Deferred[Any] = Deferred()
        self._pending.append((done, self.replies[str(words[0])]))
        return done

    def execute_pipeline(self) -> Deferred[list[object]]:
        """Send them."""
        assert self._pending is not None
        pending, self._pending = self._pending, None
        for done, reply in pending:
            if isinstance(reply, Exception):
                done.errback(reply)
            else:
                done.callback(reply)
        return succeed([])


class GivenTests(SynchronousTestCase):
    """A connection of txredisapi that somebody else has made."""

    def make(self, connection: object, **names: Any) -> TwistedRedisPublisher:
        """A publisher to everybody on this connection."""
        given: Any = connection
        return TwistedRedisPublisher(
            connection=given, facility="f", broadcast=True, prefix="", expire=60, heartbeat=""
        )

    def test_publish(self) -> None:
        """The commands go in one pipeline."""
        connection = _FakeConnection(SETEX="OK", PUBLISH=2)
        publisher = self.make(connection)
        self.assertEqual(2, self.successResultOf(publisher.publish_message("x")))
        stored = ("SETEX", b"broadcast:f", "60", b"x")
        self.assertEqual([stored, ("PUBLISH", b"broadcast:f", b"x")], connection.sent)
        self.assertIsNone(self.successResultOf(publisher.close()))

    def test_refused(self) -> None:
        """A refusal to store is a warning, one to publish is raised."""
        error = txredisapi.ResponseError("OOM")
        with self.assertLogs("wsredis.publisher", "WARNING"):
            heard = self.make(_FakeConnection(SETEX=error, PUBLISH=1)).publish_message("x")
            self.assertEqual(1, self.successResultOf(heard))
        heard = self.make(_FakeConnection(SETEX="OK", PUBLISH=error)).publish_message("x")
        self.failureResultOf(heard, txredisapi.ResponseError)

    def test_lost(self) -> None:
        """A connection that is lost is the connection's own error."""
        connection = _FakeConnection()
        connection.pipeline = lambda: fail(txredisapi.ConnectionError())  # type: ignore[method-assign]
        heard = self.make(connection).publish_message("x")
        self.failureResultOf(heard, txredisapi.ConnectionError)

    def test_fetch(self) -> None:
        """The result is bytes, also if the connection decodes; a number is refused."""
        for values, expected in (([b"\xff"], b"\xff"), (["ü"], "ü".encode()), ([None], None)):
            found = self.make(_FakeConnection(MGET=values)).fetch_message(None, "f")
            self.assertEqual(expected, self.successResultOf(found))
        found = self.make(_FakeConnection(MGET=[7])).fetch_message(None, "f")
        why = self.failureResultOf(found, ConfigError).getErrorMessage()
        self.assertIn("convertNumbers=False", why)

    def test_nobody(self) -> None:
        """An audience without a recipient has no message, and Redis is not asked."""
        connection = _FakeConnection()
        found = self.make(connection).fetch_message(None, "f", "user")
        self.assertIsNone(self.successResultOf(found))
        self.assertEqual([], connection.sent)


class WhereTests(SettingsCase):
    """Where Redis is."""

    def test_places(self) -> None:
        """A URL, settings and the environment name the place; mistakes in them are reported."""
        url = "unix:///run/redis.sock"
        with mock.patch.dict(os.environ, {"WSREDIS_REDIS": url}):
            for place in (url, RedisConfig(url=url), None):
                clock = MemoryReactorClock()
                publisher = TwistedRedisPublisher(connection=place, reactor=clock)
                self.assertEqual(["/run/redis.sock"], [each[0] for each in clock.unixClients])
                publisher.close()

    def test_project(self) -> None:
        """In a Django project it is its Redis; arguments that only redis-py knows are named."""
        os.environ["WSREDIS_REDIS"] = "unix:///of/the/environment"
        connection = {"unix_socket_path": "/of/the/project", "password": "secret", "retry": "x"}
        self.use_django(WS4REDIS_CONNECTION=connection)
        clock = MemoryReactorClock()
        with self.assertLogs("wsredis.publisher", "WARNING") as logs:
            publisher = TwistedRedisPublisher(reactor=clock)
        self.assertEqual(["/of/the/project"], [each[0] for each in clock.unixClients])
        self.assertEqual(["WS4REDIS_CONNECTION: only redis-py uses retry"], messages(logs))
        publisher.close()

    def test_mistakes(self) -> None:
        """A URL that cannot be used is reported."""
        with self.assertRaisesRegex(ConfigError, "'embedded' is for the gateway"):
            TwistedRedisPublisher(connection="embedded")
        with self.assertRaisesRegex(ConfigError, "redis: a URL starts with"):
            TwistedRedisPublisher(connection="http://h")
