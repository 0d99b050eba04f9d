"""Tests for `wsredis.dialects.forwarding`: what clients say, as events for workers."""

from __future__ import annotations

from ast import literal_eval
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.support.connections import (
    BROADCAST,
    CHANNEL,
    JOHN,
    SESSION,
    USER,
    ConnectionCase,
    encode_event,
)
from tests.support.fake_enrolment import FakeEnrolment
from tests.support.fakes import FakeClient
from wsredis import dialects
from wsredis.channels import Access
from wsredis.config import ForwardConfig, GatewayConfig, RedisConfig
from wsredis.dialects.forwarding import Forwarder, reply_group
from wsredis.dialects.plain import PlainDialect
from wsredis.errors import PublishOutcomeUnknown
from wsredis.gateway.broker import WorkerQueue
from wsredis.gateway.client import PauseReason
from wsredis.gateway.connection import Connection, ConnectionParts
from wsredis.gateway.handler import Handler
from wsredis.gateway.identity import Identity

KEY = b"asgi:queue:orders"


class ForwarderTests(SynchronousTestCase):
    """`Forwarder`, and the dialect that asks it."""

    def test_queue(self) -> None:
        """The first pattern that fits names the list; the settings bound it."""
        config = ForwardConfig(channels=("a/*=one", "*=two"), capacity=5, expiry=7, prefix="x")
        forwarder = Forwarder(config, encode_event)
        one = WorkerQueue(b"x:queue:one", b"x:queue:one", 5, 7.0)
        self.assertEqual(one, forwarder.queue("a/1"))
        two = WorkerQueue(b"x:queue:two", b"x@3:queue:two", 5, 7.0)
        self.assertEqual(two, Forwarder(config, encode_event, 3).queue("b"))
        forwarder = Forwarder(ForwardConfig(channels=("a/*=one",)), encode_event)
        self.assertIsNone(forwarder.queue("b"))

    def test_database(self) -> None:
        """The bell is that of the database of the gateway."""
        forward = ForwardConfig(channels=("*=one",))
        config = GatewayConfig(forward=forward, redis=RedisConfig(url="redis://localhost:1/5"))
        (dialect,) = dialects.from_config(config, encode_event)
        assert isinstance(dialect, PlainDialect) and dialect.forwarder is not None
        queue = dialect.forwarder.queue("a")
        assert queue is not None
        self.assertEqual(b"asgi@5:queue:one", queue.bell)

    def test_parsed(self) -> None:
        """An access has the right where a pattern fits, with or without flags, each time."""
        config = GatewayConfig(forward=ForwardConfig(channels=("orders/*=orders",)))
        (dialect,) = dialects.from_config(config, encode_event)
        for _ in range(2):
            self.assertEqual(Access("orders/1", forward=True), dialect.parse("/ws/orders/1", ""))
            self.assertEqual(Access("orders"), dialect.parse("/ws/orders", ""))
            flagged = dialect.parse("/ws/orders/2", "subscribe-user&echo")
            self.assertEqual(
                Access("orders/2", frozenset({USER}), echo=True, forward=True), flagged
            )

    def test_none(self) -> None:
        """Without a setting there is no forwarder, and nobody has the right."""
        (dialect,) = dialects.from_config(GatewayConfig())
        assert isinstance(dialect, PlainDialect)
        self.assertIsNone(dialect.forwarder)
        self.assertEqual(Access("orders/1"), dialect.parse("/ws/orders/1", ""))


class ReplyTests(SynchronousTestCase):
    """`reply_group`."""

    def reply(self, *subscribe: Any, identity: Identity = JOHN, facility: str = "a/b") -> Any:
        """The group for a client that hears these audiences."""
        return reply_group(identity, Access(facility, frozenset(subscribe)))

    def test_narrowest(self) -> None:
        """It is the session before the user, and one that the client hears before the other."""
        self.assertEqual("ws.session.s3ss10n.a_2Fb", self.reply(BROADCAST, USER, SESSION))
        self.assertEqual("ws.user.john.a_2Fb", self.reply(BROADCAST, USER))
        self.assertEqual("ws.session.s3ss10n.a_2Fb", self.reply(BROADCAST))

    def test_without_a_name(self) -> None:
        """A client without a session, and without a name, has none."""
        john = Identity("john")
        self.assertEqual("ws.user.john.a_2Fb", self.reply(USER, SESSION, identity=john))
        self.assertIsNone(self.reply(USER, SESSION, identity=Identity()))
        self.assertIsNone(self.reply(USER, identity=Identity("j:n")))

    def test_long(self) -> None:
        """A name that Channels would not take is none; the shorter one of the user may do."""
        identity = Identity("j", session="s" * 60)
        self.assertEqual(
            f"ws.user.j.{'f' * 40}", self.reply(USER, SESSION, identity=identity, facility="f" * 40)
        )
        self.assertIsNone(self.reply(USER, SESSION, identity=identity, facility="f" * 100))


class _ForwardCase(ConnectionCase):
    """Connections whose messages workers hear."""

    forward = ForwardConfig(channels=("chat=orders",), capacity=3)

    def speaker(self, *args: Any, **kwargs: Any) -> tuple[Connection, FakeClient]:
        """An open connection with the right."""
        return self.opened(*args, forward=True, **kwargs)

    def counted(self) -> tuple[int, int, int]:
        """The numbers of messages that were forwarded, not forwarded, and not published."""
        metrics = self.metrics
        return metrics.forwarded, metrics.unforwarded, metrics.unpublished

    def events(self) -> list[dict[str, Any]]:
        """The events that wait for a worker."""
        found = self.server.queues.get(KEY, [])
        self.assertEqual({60.0} if found else set(), {end for end, _ in found})
        return [literal_eval(each.decode()) for _, each in found]


class ForwardTests(_ForwardCase):
    """What becomes of a message."""

    def test_event(self) -> None:
        """A worker hears the message, its facility, who said it, and how to answer."""
        connection, client = self.speaker((SESSION,))
        connection.receive(b"hello", False)
        self.assertEqual(
            [
                {
                    "type": "gateway.receive",
                    "facility": "chat",
                    "text": "hello",
                    "user": "john",
                    "groups": ["admins", "users"],
                    "session": "s3ss10n",
                    "reply": "ws.session.s3ss10n.chat",
                }
            ],
            self.events(),
        )
        self.assertEqual((1, 0), (self.metrics.forwarded, self.metrics.discarded))
        self.assertIsNone(client.closed)

    def test_nobody(self) -> None:
        """Of an anonymous client there is nothing to say."""
        connection, _ = self.speaker((), identity=Identity())
        connection.receive(b"hello", False)
        (event,) = self.events()
        self.assertEqual(
            (None, [], None, None),
            tuple(event[key] for key in ("user", "groups", "session", "reply")),
        )

    def test_bytes(self) -> None:
        """A message that is not UTF-8 is bytes, whatever frame it came in; others are text."""
        connection, _ = self.speaker()
        connection.receive(b"\xff", True)
        connection.receive("é".encode(), True)
        first, second = self.events()
        self.assertEqual((b"\xff", False), (first["bytes"], "text" in first))
        self.assertEqual(("é", False), (second["text"], "bytes" in second))

    def test_published_as_well(self) -> None:
        """Flags to publish have the effect that they have without a worker."""
        connection, _ = self.speaker((), (BROADCAST,))
        _, listener = self.opened()
        connection.receive(b"hello", False)
        self.assertEqual([b"hello"], listener.got)
        self.assertEqual(b"hello", self.server.value(CHANNEL))
        self.assertEqual(1, len(self.events()))

    def test_only_forwarded(self) -> None:
        """Without such flags a message is forwarded only: it is not discarded."""
        connection, _ = self.speaker(())
        _, listener = self.opened()
        connection.receive(b"hello", False)
        self.assertEqual(([], 0, 1), (listener.got, self.metrics.discarded, len(self.events())))

    def test_without_the_right(self) -> None:
        """A client that a policy has taken the right from is not heard."""
        connection, _ = self.opened(())
        connection.receive(b"hello", False)
        self.assertEqual((1, []), (self.metrics.discarded, self.events()))

    def test_other_facility(self) -> None:
        """A policy may give the right with another facility, which nothing is forwarded from."""
        client = FakeClient()
        encoding = self.encodings[self.dialect, 0]
        access = Access("other", forward=True)
        parts = ConnectionParts(self.hub, self.limits, None, client, encoding, JOHN, access)
        client.connection = self.dialect.connection(parts)
        client.connection.opened(self.successResultOf(self.opening(client.connection)))
        client.connection.receive(b"hello", False)
        self.assertEqual((1, []), (self.metrics.discarded, self.events()))

    def test_not_deaf(self) -> None:
        """A client that only talks to workers is not deaf; one that wants to hear as well is."""
        self.assertFalse(self.speaker(())[0].is_deaf)
        self.assertTrue(self.opened(())[0].is_deaf)
        self.assertTrue(self.speaker((USER,), identity=Identity())[0].is_deaf)

    def test_may_speak(self) -> None:
        """A message by POST is good for something if a worker hears it."""
        self.assertTrue(self.speaker(())[0].may_speak)
        self.assertFalse(self.opened(())[0].may_speak)

    def test_full(self) -> None:
        """If as many as may wait do so, the client is closed with 1013, with a line in the log."""
        connection, client = self.speaker()
        connection.receive_all([b"1", b"2", b"3"])
        with capturedLogs() as events:
            connection.receive_all([b"4", b"5"])
        self.assertEqual((1013, 3), (client.closed, len(self.events())))
        (line,) = [each for each in events if each.get("event") == "not-forwarded"]
        self.assertEqual(
            ("asgi:queue:orders", "the workers do not keep up", 1013),
            (line["channel"], line["error"], line["code"]),
        )
        self.assertNotIn("s3ss10n", repr(line))
        self.assertEqual(
            (3, 1, 0), (self.metrics.forwarded, self.metrics.unforwarded, self.metrics.unpublished)
        )
        self.assertEqual(1, self.metrics.limits["forward-capacity"])

    def test_full_and_published(self) -> None:
        """A message that closes its client is not published."""
        connection, client = self.speaker((), (BROADCAST,))
        _, listener = self.opened()
        connection.receive_all([b"1", b"2", b"3", b"4"])
        self.assertEqual(([b"1", b"2", b"3"], 1013), (listener.got, client.closed))

    def test_away(self) -> None:
        """The same if Redis is away; if it forbids the list, the code is 1008."""
        for break_it, code in (
            (self.broker.disconnect, 1013),
            (lambda: self.server.forbidden.add(KEY), 1008),
        ):
            connection, client = self.speaker()
            break_it()
            connection.receive(b"1", False)
            self.assertEqual((code, []), (client.closed, self.events()))
            self.broker.connect()
        self.assertEqual(2, self.metrics.unforwarded)

    def test_late(self) -> None:
        """An answer that comes when the client has gone is counted, and closes nothing."""
        self.broker.slow.add("push")
        connection, client = self.speaker()
        connection.receive_all([b"1", b"2"])
        connection.closed()
        self.broker.answer()
        self.broker.refuse(PublishOutcomeUnknown("lost"))
        self.assertEqual(
            (None, 1, 1), (client.closed, self.metrics.forwarded, self.metrics.unforwarded)
        )

    def test_bug(self) -> None:
        """An error that nobody thought of is logged, and closes with 1011."""
        self.broker.slow.add("push")
        connection, client = self.speaker()
        connection.receive(b"1", False)
        self.broker.refuse(ZeroDivisionError())
        self.assertEqual(1011, client.closed)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_not_read_further(self) -> None:
        """A client that says more than Redis confirms is not read until it has caught up."""
        self.broker.slow.add("push")
        connection, client = self.speaker()
        for number in range(256):
            self.assertEqual(0, client.held, number)
            connection.receive(b"x", False)
        self.assertEqual(PauseReason.PUBLISH, client.held)
        self.assertFalse(connection.is_settled())
        self.server.queues.clear()
        for _ in range(256):
            self.broker.answer()
            self.server.queues.clear()
        self.assertEqual((0, 256), (client.held, self.metrics.forwarded))
        self.assertTrue(connection.is_settled())

    def test_bytes_are_bounded(self) -> None:
        """Large messages count by their size."""
        self.broker.slow.add("push")
        connection, client = self.speaker()
        connection.receive(b"x" * 1048576, False)
        self.assertEqual(PauseReason.PUBLISH, client.held)

    def test_charged(self) -> None:
        """What a worker hears counts against the rate of the client."""
        connection, client = self.speaker()
        connection.receive(b"x", False)
        self.assertEqual(1, client.charged)

    def test_origin(self) -> None:
        """Bounds that are shared are shared by users, or by addresses."""
        self.broker.slow.add("push")
        origins: list[str] = []
        self.patch(
            self.broker, "push", lambda queue, payload, waiter: origins.append(waiter.origin)
        )
        for identity in (JOHN, Identity()):
            self.speaker(identity=identity)[0].receive(b"x", False)
        self.assertEqual(["user john", "192.0.2.1"], origins)

    def test_changed(self) -> None:
        """After a check of the identity, events have the new groups, or there are none."""
        connection, _ = self.speaker((USER,))
        staff = Identity("john", ("staff",), "s3ss10n")
        granted = Access("chat", frozenset({USER}), forward=True)
        self.change(connection, staff, granted)
        connection.receive(b"1", False)
        self.change(connection, staff, Access("chat", frozenset({USER})))
        connection.receive(b"2", False)
        (event,) = self.events()
        self.assertEqual(("1", ["staff"]), (event["text"], event["groups"]))
        self.assertEqual(1, self.metrics.discarded)

    def change(self, connection: Connection, identity: Identity, granted: Access) -> None:
        """Check its identity again, with this result."""
        self.successResultOf(Deferred.fromCoroutine(connection.change(identity, granted)))

    def test_handler(self) -> None:
        """A handler of the embedding program comes first, and forwards what it publishes."""

        class Shouts(Handler):
            def on_message(self, connection: Connection, payload: bytes, is_binary: bool) -> None:
                if payload != b"secret":
                    connection.publish(payload.upper())

        self.handler = Shouts()
        connection, _ = self.speaker()
        connection.receive_all([b"hello", b"secret"])
        self.assertEqual(["HELLO"], [event["text"] for event in self.events()])


class HeartbeatTests(_ForwardCase):
    """With a heartbeat of the dialect."""

    heartbeat = "--heartbeat--"

    def test_batch(self) -> None:
        """Messages that come together are heard in their order; heartbeats and empty ones not."""
        connection, client = self.speaker()
        self.assertEqual(4, connection.receive_all([b"1", b"", b"--heartbeat--", b"2"]))
        self.assertEqual(["1", "2"], [event["text"] for event in self.events()])
        self.assertEqual([b"--heartbeat--"] * 2, client.got)


class EnrolledTests(ConnectionCase):
    """Clients of a project with a subscriber class."""

    forward = ForwardConfig(channels=("chat=orders",), capacity=1)

    def enrolled(self, enrolment: FakeEnrolment) -> tuple[Connection, FakeClient]:
        """An open connection."""
        client = FakeClient()
        encoding = self.encodings[self.dialect, 0]
        access = Access("chat", frozenset({BROADCAST}), forward=True)
        parts = (self.hub, self.limits, None, client, encoding, JOHN, access, enrolment)
        client.connection = self.dialect.connection(ConnectionParts(*parts))
        client.connection.opened(self.successResultOf(self.opening(client.connection)))
        return client.connection, client

    def test_heard_by_both(self) -> None:
        """The worker hears what the client said, and the subscriber too, if there was room."""
        enrolment = FakeEnrolment([CHANNEL])
        enrolment.takes_messages = True
        connection, client = self.enrolled(enrolment)
        connection.receive_all([b"1"])
        self.assertEqual(([b"1"], 1), (enrolment.taken, len(self.server.queues[KEY])))
        enrolment.waiting[0].callback([])
        connection.receive_all([b"2"])
        self.assertEqual(([b"1"], 1013), (enrolment.taken, client.closed))

    def test_taken_away(self) -> None:
        """It follows a right that is lost."""
        connection, _ = self.enrolled(FakeEnrolment([CHANNEL]))
        granted = Access("chat", frozenset({BROADCAST}))
        self.successResultOf(Deferred.fromCoroutine(connection.change(JOHN, granted)))
        connection.receive_all([b"1"])
        self.assertEqual({}, self.server.queues)
