"""Tests for `wsredis.gateway.connection`: a hub, a broker in memory, a client that records."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import capturedLogs

from tests.support.connections import (
    ALL,
    BROADCAST,
    CHANNEL,
    GROUP,
    HEARTBEAT,
    JOHN,
    USER,
    ConnectionCase,
)
from tests.support.fakes import FakeClient, messages
from wsredis.channels import Access, Audience
from wsredis.config import Limits
from wsredis.errors import BrokerUnavailable, LimitExceeded, PermissionDenied
from wsredis.gateway.client import PauseReason
from wsredis.gateway.connection import Connection, ConnectionParts
from wsredis.gateway.handler import Handler
from wsredis.gateway.identity import Identity
from wsredis.gateway.publication import Publication
from wsredis.transports.websocket import frames


class OpenTests(ConnectionCase):
    """From the subscription to the first frames."""

    def test_mute(self) -> None:
        """A connection that asks for nothing needs no broker and gets nothing."""
        self.broker.disconnect()
        _, client = self.opened(())
        self.assertEqual([], client.events)
        self.assertEqual(0, len(self.hub))

    def test_stored_in_order(self) -> None:
        """Stored messages come first: broadcast, groups, user, session; in one write."""
        for number, name in enumerate(("session:s3ss10n", "user:john", "group:users", "broadcast")):
            self.server.store(f"{name}:chat".encode(), 10, b"%d" % number)
        _, client = self.opened(ALL)
        self.assertEqual([b"3", b"2", b"1", b"0"], client.got)
        self.assertEqual(1, len(client.events))

    def test_stored_before_live(self) -> None:
        """A message that comes during the handshake follows the stored one, once, in order."""
        self.server.store(CHANNEL, 10, b"0")
        self.broker.slow = {"fetch"}
        connection, client = self.new()
        opening = self.opening(connection)
        self.stranger_says(b"1")
        self.broker.answer()
        self.stranger_says(b"2")
        stored = self.successResultOf(opening)
        self.stranger_says(b"3")
        self.assertEqual([], client.got)
        connection.opened(stored)
        self.stranger_says(b"4")
        self.assertEqual([b"0", b"1", b"2", b"3", b"4"], client.got)

    def test_no_duplicate(self) -> None:
        """A message stored and published meanwhile comes once, at its place among the live ones."""
        self.broker.slow = {"fetch"}
        connection, client = self.new()
        opening = self.opening(connection)
        for payload in (b"1", b"2"):
            self.server.store(CHANNEL, 10, payload)
            self.stranger_says(payload)
        self.broker.answer()
        self.stranger_says(b"3")
        connection.opened(self.successResultOf(opening))
        self.assertEqual([b"1", b"2", b"3"], client.got)

    def test_equal_text_on_another_channel(self) -> None:
        """A live message on one channel does not replace an equal stored one of another."""
        self.server.store(b"user:john:chat", 10, b"same")
        self.broker.slow = {"fetch"}
        connection, client = self.new({BROADCAST, USER})
        opening = self.opening(connection)
        self.stranger_says(b"same")
        self.broker.answer()
        connection.opened(self.successResultOf(opening))
        self.assertEqual([b"same", b"same"], client.got)

    def test_no_gap_while_subscribing(self) -> None:
        """A message that is published right after the broker's confirmation is not missed."""
        self.broker.slow = {"subscribe"}
        connection, client = self.new()
        opening = self.opening(connection)
        self.stranger_says(b"too early")
        self.broker.answer()
        self.stranger_says(b"1")
        connection.opened(self.successResultOf(opening))
        self.assertEqual([b"1"], client.got)

    def test_stored_for_the_silent(self) -> None:
        """A stored message is sent whatever the echo rule says."""
        self.server.store(CHANNEL, 10, b"text")
        for echo in (False, True):
            _, client = self.opened((BROADCAST,), (BROADCAST,), echo=echo)
            self.assertEqual([b"text"], client.got)

    def test_large_stored(self) -> None:
        """The bytes of a large message are written by themselves: all its clients share them."""
        large = b"x" * 4500
        for name, payload in (("user:john", large), ("group:users", b"g"), ("broadcast", b"b")):
            self.server.store(f"{name}:chat".encode(), 10, payload)
        self.server.store(b"session:s3ss10n:chat", 10, b"s")
        written: list[bytes] = []
        for _ in range(2):
            connection, client = self.new(ALL)
            client.record = written.append
            connection.opened(self.successResultOf(self.opening(connection)), b"answer ")
        small = b"answer " + frames.text(b"b") + frames.text(b"g")
        self.assertEqual([small, frames.text(large), frames.text(b"s")] * 2, written)
        self.assertIs(written[1], written[4])

    def test_empty_stored(self) -> None:
        """An empty stored message is none."""
        connection, client = self.new()
        self.successResultOf(self.opening(connection))
        connection.opened({CHANNEL: b""})
        self.assertEqual([], client.events)

    def test_too_large_stored(self) -> None:
        """A stored message larger than any publication may be is left out."""
        self.server.store(CHANNEL, 10, b"x" * 5001)
        _, client = self.opened()
        self.assertEqual([], client.got)

    def test_held_messages_are_bounded(self) -> None:
        """More than the queue may hold at once, before the first byte, refuses the client."""
        connection, client = self.new()
        self.successResultOf(self.opening(connection))
        for _ in range(21):
            self.stranger_says(b"x" * 100)
        self.assertEqual(1013, client.closed)
        self.assertEqual([], client.got)
        self.assertEqual(0, len(self.hub))

    def test_broker_away(self) -> None:
        """If the broker is away, opening fails; closing leaves no listener in the hub."""
        self.broker.disconnect()
        connection, _ = self.new()
        self.failureResultOf(self.opening(connection), BrokerUnavailable)
        connection.closed()
        self.assertEqual(0, len(self.hub))

    def test_broker_lost_while_fetching(self) -> None:
        """Losing the broker between subscription and fetch fails, too."""
        self.broker.slow = {"fetch"}
        connection, _ = self.new()
        opening = self.opening(connection)
        self.broker.disconnect()
        self.broker.answer()
        self.failureResultOf(opening, BrokerUnavailable)

    def test_forbidden(self) -> None:
        """A channel that the broker forbids fails the opening."""
        self.server.forbidden.add(CHANNEL)
        connection, _ = self.new()
        self.failureResultOf(self.opening(connection), PermissionDenied)

    def test_client_leaves_meanwhile(self) -> None:
        """A client that leaves while it is accepted leaves no subscription."""
        self.broker.slow = {"fetch"}
        connection, _ = self.new()
        opening = self.opening(connection)
        self.stranger_says(b"held")
        opening.cancel()
        connection.closed()
        self.failureResultOf(opening, CancelledError)
        self.assertEqual(0, len(self.hub))

    def test_stored_counts_as_seen(self) -> None:
        """After an outage a client gets the stored message if it is not the one it was given."""
        self.server.store(CHANNEL, 10, b"1")
        _, client = self.opened()
        self.broker.disconnect()
        self.broker.connect()
        self.assertEqual([b"1"], client.got)
        self.broker.disconnect()
        self.server.store(CHANNEL, 10, b"2")
        self.broker.connect()
        self.assertEqual([b"1", b"2"], client.got)

    def test_restored_only_when_open(self) -> None:
        """Before the handshake is answered nothing is restored: the fetch comes later anyway."""
        _, client = self.new()
        connection = client.connection
        self.successResultOf(self.opening(connection))
        self.broker.disconnect()
        self.server.store(CHANNEL, 10, b"1")
        self.broker.connect()
        self.assertEqual([], client.events)

    def test_forbidden_later(self) -> None:
        """A channel that Redis forbids later closes those that listen to it, with 1008."""
        _, client = self.opened()
        _, other = self.opened({USER})
        waiting, pending = self.new()
        self.successResultOf(self.opening(waiting))
        self.hub.forbid(CHANNEL)
        self.assertEqual((1008, "Redis forbids a channel"), (client.closed, client.reason))
        self.assertIsNone(other.closed)
        self.assertIsNone(pending.closed)

    def test_closed(self) -> None:
        """After the end nothing is taken, sent or published, and the hub knows nobody."""
        connection, client = self.opened((BROADCAST,), (BROADCAST,))
        connection.closed()
        connection.closed()
        connection.receive(b"text", False)
        connection.send("text")
        connection.publish(b"text")
        connection.close()
        connection.forbid()
        self.assertEqual([], client.events)
        self.assertEqual(0, len(self.hub))
        self.assertIsNone(self.server.value(CHANNEL))

    def test_closed_in_the_middle_of_a_fan_out(self) -> None:
        """A connection that is closed while a batch is fanned out gets nothing of it any more."""
        _, first = self.opened()
        second, client = self.opened()
        first.record = lambda data: second.close()
        self.stranger_says(b"text")
        self.assertEqual([("close", 1000)], client.events)

    def test_restored_after_the_end(self) -> None:
        """A connection that is closed while messages are restored gets none of them."""
        _, first = self.opened()
        second, client = self.opened()
        first.record = lambda data: second.close()
        self.hub.restore({CHANNEL: b"text"})
        self.assertEqual([("close", 1000)], client.events)

    def test_direct(self) -> None:
        """A client that never speaks is written to without a detour, once it is open."""
        connection, _ = self.new()
        self.successResultOf(self.opening(connection))
        self.assertIsNone(connection.direct)
        connection.opened({})
        self.assertIsNotNone(connection.direct)
        connection.closed()
        self.assertIsNone(connection.direct)


class NoticeTests(ConnectionCase):
    """A client that is told of itself in binary messages."""

    def told(self, *args: Any) -> tuple[Connection, FakeClient]:
        """One that is open."""
        connection, client = self.opened(*args)
        client.takes_notices = True
        return connection, client

    def test_sign_of_life(self) -> None:
        """An empty message of it is no message: it is neither counted nor published."""
        connection, _ = self.told((), (BROADCAST,))
        connection.receive(b"", True)
        self.assertEqual((0, 0), (connection.messages, self.metrics.received))
        self.assertEqual(2, connection.receive_all([b"", b""]))
        self.assertEqual((0, 0), (connection.messages, self.metrics.received))
        self.assertEqual(3, connection.receive_all([b"", b"a", b""]))
        self.assertEqual((1, 1), (connection.messages, self.metrics.received))
        self.assertEqual(b"a", self.server.value(CHANNEL))

    def test_echo(self) -> None:
        """A sign of life between two messages does not change what the client hears."""
        connection, client = self.told((BROADCAST,), (BROADCAST,))
        connection.receive_all([b"a"])
        connection.receive_all([b""])
        connection.receive(b"", True)
        self.stranger_says(b"a")
        self.assertEqual([], client.got)

    def test_handler(self) -> None:
        """A handler does not see it."""
        heard: list[bytes] = []

        class Hearing(Handler):
            def on_message(self, connection: Connection, payload: bytes, is_binary: bool) -> None:
                heard.append(payload)

        self.handler = Hearing()
        connection, client = self.opened()
        connection.receive(b"", True)
        client.takes_notices = True
        connection.receive(b"", True)
        connection.receive(b"a", True)
        self.assertEqual([b"", b"a"], heard)

    def test_nothing_looks_like_a_notice(self) -> None:
        """Bytes of a handler that are UTF-8 are sent as text, as those of publications are."""
        connection, client = self.told()
        written: list[bytes] = []
        client.record = written.append
        for message in (b'{"hello": 1}', b"", b"\xff", "text"):
            connection.send(message)
        client.takes_notices = False
        connection.send(b"a")
        found = [each for data in written for each in messages(data)]
        self.assertEqual(
            [(1, b'{"hello": 1}'), (1, b""), (2, b"\xff"), (1, b"text"), (2, b"a")], found
        )

    def test_rights(self) -> None:
        """A change of its rights is told when it is in force."""
        connection, client = self.told((BROADCAST,))
        self.server.store(b"user:john:chat", 10, b"stored")
        access = Access("chat", frozenset({USER, GROUP}), frozenset({BROADCAST}))
        self.successResultOf(Deferred.fromCoroutine(connection.change(JOHN, access)))
        self.assertEqual(("rights", (["group", "user"], ["broadcast"])), client.events[0])
        self.assertEqual([b"stored"], client.got)

    def test_rights_without_redis(self) -> None:
        """It is told as well while Redis is away, and not if Redis forbids what is new."""
        connection, client = self.told((BROADCAST,))
        self.broker.disconnect()
        access = Access("chat", frozenset({USER}))
        self.successResultOf(Deferred.fromCoroutine(connection.change(JOHN, access)))
        self.assertEqual([("rights", (["user"], []))], client.events)


class ChangeTests(ConnectionCase):
    """The identity or the rights of an open connection change."""

    def change(
        self, connection: Connection, groups: tuple[str, ...], *publish: Audience
    ) -> Deferred[None]:
        """John has other groups, and may publish elsewhere."""
        access = Access("chat", frozenset({GROUP}), frozenset(publish))
        identity = Identity("john", groups, "s3ss10n")
        return Deferred.fromCoroutine(connection.change(identity, access))

    def test_follows(self) -> None:
        """New channels are heard, old ones are not, and those that stay are not disturbed."""
        connection, client = self.opened(subscribe=(GROUP,))
        self.successResultOf(self.change(connection, ("users", "new")))
        for name in (b"admins", b"users", b"new"):
            self.stranger_says(name, b"group:" + name + b":chat")
        self.assertEqual([b"users", b"new"], client.got)
        self.assertEqual(("users", "new"), connection.identity.groups)

    def test_publishes(self) -> None:
        """It publishes where it may now, and does not hear itself there."""
        connection, client = self.opened(subscribe=(GROUP,))
        self.successResultOf(self.change(connection, ("users",), GROUP, BROADCAST))
        connection.receive(b"x", False)
        self.assertEqual(b"x", self.server.value(b"group:users:chat"))
        self.assertEqual(b"x", self.server.value(CHANNEL))
        self.assertEqual([], client.got)

    def test_stored(self) -> None:
        """The stored message of a new channel is sent, unless a newer one came meanwhile."""
        connection, client = self.opened(subscribe=(GROUP,))
        self.server.store(b"group:a:chat", 60, b"old a")
        self.server.store(b"group:b:chat", 60, b"old b")
        self.server.store(b"group:c:chat", 60, b"c" * 5001)
        self.broker.slow.add("fetch")
        changed = self.change(connection, ("a", "b", "c"))
        self.stranger_says(b"new b", b"group:b:chat")
        self.broker.answer()
        self.successResultOf(changed)
        self.assertEqual([b"new b", b"old a"], client.got)

    def test_too_many(self) -> None:
        """More channels than allowed change nothing."""
        connection, client = self.opened(subscribe=(GROUP,))
        changed = self.change(connection, tuple(f"g{number}" for number in range(9)))
        self.failureResultOf(changed, LimitExceeded)
        self.stranger_says(b"x", b"group:admins:chat")
        self.assertEqual([b"x"], client.got)
        self.assertEqual(JOHN, connection.identity)

    def test_redis_away(self) -> None:
        """Without Redis it is changed all the same, and hears its channels when Redis is back."""
        connection, client = self.opened(subscribe=(GROUP,))
        self.broker.disconnect()
        self.successResultOf(self.change(connection, ("new",)))
        self.broker.connect()
        self.stranger_says(b"x", b"group:new:chat")
        self.assertEqual([b"x"], client.got)

    def test_closed_meanwhile(self) -> None:
        """Messages found for a client that left are thrown away; nothing of the client stays."""
        connection, client = self.opened(subscribe=(GROUP,))
        self.server.store(b"group:new:chat", 60, b"x")
        self.broker.slow.add("fetch")
        changed = self.change(connection, ("new",))
        connection.closed()
        self.broker.answer()
        self.successResultOf(changed)
        self.assertEqual([], client.got)
        self.assertEqual(0, len(self.hub))


class SelectTests(ConnectionCase):
    """Publications are written one by one while some may be left out."""

    limits = Limits(max_publication=10_000)

    def selecting(self, **kwargs: Any) -> tuple[Connection, FakeClient]:
        """An open connection of which something waits; `put` has what was put."""
        connection, client = self.opened(**kwargs)
        self.put: list[tuple[bytes, bytes]] = []
        connection.select(lambda channel, data: self.put.append((channel, messages(data)[0][1])))
        return connection, client

    def test_one_by_one(self) -> None:
        """Each comes with its channel; the connection is not direct meanwhile."""
        connection, client = self.selecting(subscribe=(BROADCAST, USER))
        self.assertIsNone(connection.direct)
        self.hub.deliver(
            [
                Publication(CHANNEL, b"1"),
                Publication(b"user:john:chat", b"2"),
                Publication(CHANNEL, b"3" * 5000),
            ]
        )
        self.assertEqual(
            [(CHANNEL, b"1"), (b"user:john:chat", b"2"), (CHANNEL, b"3" * 5000)], self.put
        )
        self.hub.restore({CHANNEL: b"4"})
        self.assertEqual((CHANNEL, b"4"), self.put[-1])
        connection.send("handler")
        self.assertEqual([b"handler"], client.got)
        connection.select(None)
        self.assertIs(client, connection.direct)
        self.stranger_says(b"5")
        self.assertEqual([b"handler", b"5"], client.got)

    def test_own_messages(self) -> None:
        """The echo rule comes first, and the connection is not direct afterwards."""
        connection, _ = self.selecting(publish=(BROADCAST,))
        connection.receive(b"mine", False)
        self.stranger_says(b"other")
        self.assertEqual([(CHANNEL, b"other")], self.put)
        connection.select(None)
        self.assertIsNone(connection.direct)

    def test_from_the_first_large_one(self) -> None:
        """If a large stored message has to wait, those after it are written one by one."""
        for name in ("broadcast", "user:john", "session:s3ss10n"):
            self.server.store(f"{name}:chat".encode(), 10, name.encode() * 600)
        connection, client = self.new(ALL)
        put: list[bytes] = []

        def write(data: bytes) -> None:
            connection.select(lambda channel, data: put.append(channel))

        client.record = write
        connection.opened(self.successResultOf(self.opening(connection)))
        self.assertEqual([b"user:john:chat", b"session:s3ss10n:chat"], put)

    def test_before_the_first_byte(self) -> None:
        """Something may wait before the connection is open: the end of a TLS handshake."""
        self.server.store(CHANNEL, 10, b"stored")
        connection, client = self.new()
        put: list[bytes] = []
        connection.select(lambda channel, data: put.append(data[2:]))
        connection.opened(self.successResultOf(self.opening(connection)), b"")
        self.stranger_says(b"live")
        self.assertEqual(([b"stored", b"live"], []), (put, client.got))

    def test_after_the_end(self) -> None:
        """A connection that is closed keeps no way to write."""
        connection, client = self.selecting()
        connection.closed()
        connection.select(self.fail)
        connection.deliver([Publication(CHANNEL, b"1")])
        self.assertEqual(([], []), (self.put, client.got))


class SendTests(ConnectionCase):
    """Messages that a handler sends to one client."""

    def test_text_and_bytes(self) -> None:
        """Text goes as a text message, bytes as a binary one."""
        connection, client = self.opened()
        connection.send("é")
        connection.send(b"\x00\xff")
        self.assertEqual(
            [("write", [(1, "é".encode())]), ("write", [(2, b"\x00\xff")])], client.events
        )

    def test_close(self) -> None:
        """Closing passes code and reason on; the default is 1000."""
        connection, client = self.opened()
        connection.close(4001, "enough")
        self.assertEqual((4001, "enough"), (client.closed, client.reason))
        connection, client = self.opened()
        connection.close()
        self.assertEqual(1000, client.closed)


class PublishTests(ConnectionCase):
    """From the client to Redis."""

    def talker(self, **kwargs: Any) -> tuple[Connection, FakeClient]:
        """A connection that only publishes."""
        return self.opened((), (BROADCAST,), **kwargs)

    def test_charged(self) -> None:
        """A message is charged for each client here that hears it, and for its size."""
        connection, client = self.opened((BROADCAST,), (BROADCAST,))
        connection.receive(b"x", False)
        self.assertEqual(1, client.charged)
        for _ in range(4):
            self.opened()
        connection.receive(b"x" * 16384, False)
        self.assertEqual(1 + 5 * 2, client.charged)

    def waiting_for(self, size: int, count: int) -> tuple[Connection, FakeClient]:
        """One that has sent *count* messages of *size* bytes, none of them answered."""
        self.broker.slow = {"publish"}
        connection, client = self.talker()
        for _ in range(count):
            connection.receive(b"x" * size, False)
        return connection, client

    def test_stored_and_published(self) -> None:
        """A message is stored and published on all channels that were granted."""
        _, listener = self.opened({BROADCAST, USER})
        connection, _ = self.opened((), {BROADCAST, USER})
        connection.receive(b"\x00\xff", True)
        self.assertEqual([b"\x00\xff"] * 2, listener.got)
        self.assertEqual(b"\x00\xff", self.server.value(b"user:john:chat"))
        self.assertEqual(1, self.metrics.received)

    def test_no_right(self) -> None:
        """Without a channel to publish on, messages are read and dropped."""
        connection, client = self.opened()
        connection.receive(b"text", False)
        self.assertIsNone(self.server.value(CHANNEL))
        self.assertEqual([], client.events)

    def test_empty(self) -> None:
        """A handler that publishes nothing publishes nothing, and waits for no copy of it."""
        connection, _ = self.opened({BROADCAST}, {BROADCAST})
        connection.publish(b"")
        self.assertIsNone(self.server.value(CHANNEL))
        self.assertIsNotNone(connection.direct)

    def test_before_open(self) -> None:
        """Before the handshake is answered nothing is taken."""
        connection, _ = self.new((), (BROADCAST,))
        connection.receive(b"text", False)
        self.assertEqual(0, self.metrics.received)
        self.assertIsNone(self.server.value(CHANNEL))

    def test_redis_away(self) -> None:
        """A message that cannot be published closes its client with 1013, is counted and logged."""
        connection, client = self.talker()
        self.broker.disconnect()
        with capturedLogs() as logs:
            connection.receive(b"secret text", False)
            connection.receive(b"another", False)
        self.assertEqual(1013, client.closed)
        self.assertEqual(1, self.metrics.unpublished)
        (event,) = logs
        self.assertEqual((11, 1013), (event["size"], event["code"]))
        self.assertNotIn("secret", repr(event))

    def test_forbidden(self) -> None:
        """A message on a channel that Redis forbids closes its client with 1008."""
        connection, client = self.talker()
        self.server.forbidden.add(CHANNEL)
        connection.receive(b"text", False)
        self.assertEqual((1008, "this channel is forbidden"), (client.closed, client.reason))

    def test_unexpected(self) -> None:
        """Any other error closes with 1011, says nothing of itself, and is logged whole."""
        _, client = self.waiting_for(1, 1)
        self.broker.refuse(ZeroDivisionError("inner workings"))
        self.assertEqual((1011, "internal error"), (client.closed, client.reason))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_failure_after_the_end(self) -> None:
        """A failure that comes when the client is gone is counted, and closes nothing."""
        connection, client = self.waiting_for(1, 1)
        connection.closed()
        self.broker.refuse(BrokerUnavailable("lost"))
        self.assertEqual([], client.events)
        self.assertEqual(1, self.metrics.unpublished)

    def test_held_by_count(self) -> None:
        """A client with very many unanswered messages is not read until half are answered."""
        connection, client = self.waiting_for(1, 255)
        self.assertEqual(0, client.held)
        connection.receive(b"x", False)
        self.assertEqual(PauseReason.PUBLISH, client.held)
        self.broker.answer(127)
        self.assertEqual(PauseReason.PUBLISH, client.held)
        self.broker.answer()
        self.assertEqual(0, client.held)

    def test_answered_together(self) -> None:
        """Many messages that are answered at once count like as many answers."""
        connection, client = self.waiting_for(3, 256)
        connection.published(127, 381)
        self.assertEqual(PauseReason.PUBLISH, client.held)
        connection.published(2, 6)
        self.assertEqual(0, client.held)
        connection.published(127, 381)
        self.assertEqual(["pause", "resume"], [kind for kind, _ in client.events])

    def test_held_by_size(self) -> None:
        """A client with a megabyte unanswered is not read until half of it is answered."""
        connection, client = self.waiting_for(1 << 18, 3)
        self.assertEqual(0, client.held)
        connection.receive(b"x" * (1 << 18), False)
        self.assertEqual(PauseReason.PUBLISH, client.held)
        self.broker.answer()
        self.assertEqual(PauseReason.PUBLISH, client.held)
        self.broker.answer()
        self.assertEqual(0, client.held)

    def test_settled(self) -> None:
        """A client that takes leave is paused until all that it published is answered."""
        connection, client = self.waiting_for(1, 3)
        self.assertFalse(connection.is_settled())
        self.assertEqual(PauseReason.PUBLISH, client.held)
        self.broker.answer(2)
        self.assertEqual(PauseReason.PUBLISH, client.held)
        self.broker.answer()
        self.assertEqual(0, client.held)
        self.assertTrue(connection.is_settled())
        self.assertEqual(["pause", "resume"], [kind for kind, _ in client.events])

    def test_settled_at_once(self) -> None:
        """A client that published nothing, or whose messages are answered, is not paused."""
        connection, client = self.talker()
        self.assertTrue(connection.is_settled())
        connection.receive(b"x", False)
        self.assertTrue(connection.is_settled())
        self.assertEqual([], client.events)

    def test_decided_at_once(self) -> None:
        """A client whose message is published, or lost, at once is not paused for it."""
        for is_up in (True, False):
            connection, client = self.talker()
            if not is_up:
                self.broker.disconnect()
            connection.receive(b"x" * (1 << 20), False)
            self.assertEqual([] if is_up else [("close", 1013)], client.events)

    def test_closed_before_released(self) -> None:
        """A client whose message was lost is closed before it is read again."""
        _, client = self.waiting_for(1 << 20, 1)
        self.broker.refuse(BrokerUnavailable("lost"))
        self.assertEqual([("pause", PauseReason.PUBLISH), ("close", 1013)], client.events[:2])

    def test_answers_after_the_end(self) -> None:
        """Answers that come when the client is gone harm nobody."""
        connection, client = self.waiting_for(1, 3)
        connection.closed()
        self.broker.answer(3)
        self.assertEqual(b"x", self.server.value(CHANNEL))
        self.assertIsNone(client.closed)


class _Hooks(Handler):
    """Remembers its calls, and answers what the test says."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.answers: dict[str, Any] = {}

    def _answer(self, name: str, *words: object) -> Any:
        self.calls.append((name, *words))
        answer = self.answers.get(name)
        return answer() if callable(answer) else answer

    def on_connect(self, connection: Connection) -> Awaitable[None] | None:
        """Remember it."""
        return self._answer("connect")

    def on_message(
        self, connection: Connection, payload: bytes, is_binary: bool
    ) -> Awaitable[None] | None:
        """Remember it."""
        return self._answer("message", payload, is_binary)

    def on_disconnect(self, connection: Connection) -> Awaitable[None] | None:
        """Remember it."""
        return self._answer("disconnect")


def crash() -> None:
    """Raise an error, as a handler with a bug does."""
    raise ZeroDivisionError("a bug")


class HandlerTests(ConnectionCase):
    """The hook of the embedding program."""

    heartbeat = HEARTBEAT

    def setUp(self) -> None:
        """Have a handler."""
        self.handler = self.hooks = _Hooks()
        super().setUp()

    def logged(self) -> int:
        """How many failures of the handler were logged."""
        return len(self.flushLoggedErrors(ZeroDivisionError))

    def test_life(self) -> None:
        """A handler is called at the beginning, for each message, and at the end, once."""
        connection, client = self.opened()
        connection.receive(b"1", False)
        connection.receive(b"\x02", True)
        connection.closed()
        connection.closed()
        self.assertEqual(
            [("connect",), ("message", b"1", False), ("message", b"\x02", True), ("disconnect",)],
            self.hooks.calls,
        )
        self.assertIsNone(client.closed)

    def test_instead_of_publishing(self) -> None:
        """With a handler, nothing is published by itself."""
        connection, _ = self.opened((), (BROADCAST,))
        connection.receive(b"text", False)
        self.assertIsNone(self.server.value(CHANNEL))

    def test_not_for_signs_of_life(self) -> None:
        """Heartbeats are not for the handler."""
        connection, _ = self.opened()
        connection.receive(HEARTBEAT.encode(), False)
        self.assertEqual([("connect",)], self.hooks.calls)

    def test_empty(self) -> None:
        """An empty message is a message, of the kind that it came as."""
        connection, _ = self.opened()
        connection.receive(b"", False)
        connection.receive(b"", True)
        expected = [("connect",), ("message", b"", False), ("message", b"", True)]
        self.assertEqual(expected, self.hooks.calls)

    def test_never_opened(self) -> None:
        """A connection that was never open is none of a handler's business."""
        connection, _ = self.new()
        self.successResultOf(self.opening(connection))
        connection.closed()
        self.assertEqual([], self.hooks.calls)

    def test_after_stored(self) -> None:
        """A message that a handler sends at the beginning comes after the stored ones."""
        self.server.store(CHANNEL, 10, b"stored")
        connection, client = self.new()
        self.hooks.answers["connect"] = lambda: connection.send("welcome")
        connection.opened(self.successResultOf(self.opening(connection)))
        self.assertEqual([b"stored", HEARTBEAT.encode(), b"welcome"], client.got)

    def test_waits(self) -> None:
        """While a handler works on a message, the client is not read."""
        connection, client = self.opened()
        work: Deferred[None] = Deferred()
        self.hooks.answers["message"] = work
        connection.receive(b"1", False)
        self.assertEqual(PauseReason.HANDLER, client.held)
        work.callback(None)
        self.assertEqual(0, client.held)

    def test_coroutine(self) -> None:
        """A coroutine is run, and waited for."""
        connection, client = self.opened()
        work: Deferred[None] = Deferred()
        done = []

        async def think() -> None:
            await work
            done.append(True)

        self.hooks.answers["message"] = think
        connection.receive(b"1", False)
        self.assertEqual((PauseReason.HANDLER, []), (client.held, done))
        work.callback(None)
        self.assertEqual((0, [True]), (client.held, done))

    def test_coroutine_that_waits_for_nothing(self) -> None:
        """A coroutine that is done at once holds nobody up, and neither does such a Deferred."""

        async def quick() -> None:
            pass

        connection, client = self.opened()
        self.hooks.answers["message"] = quick
        connection.receive(b"1", False)
        self.hooks.answers["message"] = succeed(None)
        connection.receive(b"2", False)
        self.assertNotIn("pause", [kind for kind, _ in client.events])

    def test_deferred_that_waits_for_another(self) -> None:
        """A Deferred that was fired, but waits for another, is waited for."""
        connection, client = self.opened()
        work: Deferred[None] = Deferred()
        self.hooks.answers["message"] = succeed(None).addCallback(lambda _: work)
        connection.receive(b"1", False)
        self.assertEqual(PauseReason.HANDLER, client.held)
        work.callback(None)
        self.assertEqual(0, client.held)

    def test_connect_waits(self) -> None:
        """A client is not read before its handler is done with the beginning; it hears already."""
        work: Deferred[None] = Deferred()
        self.hooks.answers["connect"] = work
        _, client = self.opened()
        self.assertEqual(PauseReason.HANDLER, client.held)
        self.stranger_says(b"live")
        self.assertEqual(b"live", client.got[-1])
        work.callback(None)
        self.assertEqual(0, client.held)

    def test_crash(self) -> None:
        """A handler that fails closes its client with 1011 and is logged; it hears of the end."""
        connection, client = self.opened()
        self.hooks.answers["message"] = crash
        connection.receive(b"1", False)
        self.assertEqual((1011, "internal error"), (client.closed, client.reason))
        self.assertEqual(1, self.logged())
        self.assertEqual(("disconnect",), self.hooks.calls[-1])

    def test_crash_at_the_beginning(self) -> None:
        """A handler may fail at once."""
        self.hooks.answers["connect"] = crash
        _, client = self.opened()
        self.assertEqual(1011, client.closed)
        self.assertEqual(1, self.logged())

    def test_crash_at_the_end(self) -> None:
        """A failure at the end is logged."""
        connection, client = self.opened()
        self.hooks.answers["disconnect"] = crash
        connection.closed()
        self.assertIsNone(client.closed)
        self.assertEqual(1, self.logged())

    def test_crash_later(self) -> None:
        """A coroutine that fails later does the same, and holds nobody."""
        connection, client = self.opened()
        work: Deferred[None] = Deferred()
        self.hooks.answers["message"] = work
        connection.receive(b"1", False)
        work.errback(ZeroDivisionError("a bug"))
        self.assertEqual(1011, client.closed)
        self.assertEqual(0, client.held)
        self.assertEqual(1, self.logged())

    def test_failed_deferred(self) -> None:
        """A Deferred that has failed already is a failure."""
        connection, client = self.opened()
        self.hooks.answers["message"] = lambda: fail(ZeroDivisionError("a bug"))
        connection.receive(b"1", False)
        self.assertEqual(1011, client.closed)
        self.assertEqual(1, self.logged())

    def test_end_while_it_works(self) -> None:
        """A client may leave while the handler works for it; a late failure is only logged."""
        connection, client = self.opened()
        work: Deferred[None] = Deferred()
        self.hooks.answers["message"] = work
        connection.receive(b"1", False)
        connection.closed()
        work.errback(ZeroDivisionError("a bug"))
        self.assertIsNone(client.closed)
        self.assertEqual(1, self.logged())

    def test_end_that_takes_time(self) -> None:
        """A slow `on_disconnect` does not keep the closing handshake from being read."""
        connection, client = self.opened()
        work: Deferred[None] = Deferred()
        self.hooks.answers["disconnect"] = work
        connection.close()
        self.assertEqual(0, client.held)
        work.errback(ZeroDivisionError("a bug"))
        self.assertEqual(1, self.logged())

    def test_keeps_what_it_likes(self) -> None:
        """A connection has room for something of the handler's."""
        connection, _ = self.opened()
        self.assertIsNone(connection.data)
        connection.data = 42
        self.assertEqual(42, connection.data)


class CompressTests(ConnectionCase):
    """A connection that negotiated compression gets all that is worth it compressed."""

    window = 12
    heartbeat = HEARTBEAT
    old, held, live, small = b"o" * 200, b"h" * 300, b"l" * 400, b"small"

    def setUp(self) -> None:
        """Note what is written, byte for byte."""
        super().setUp()
        self.written: list[bytes] = []

    def compressing(self, *args: Any, **kwargs: Any) -> Connection:
        """A connection of which the handshake is answered now; something is held."""
        connection, client = self.new(*args, **kwargs)
        stored = self.successResultOf(self.opening(connection))
        self.stranger_says(self.held)
        self.stranger_says(self.small)
        client.record = self.written.append
        connection.opened(stored)
        return connection

    def wire(self, *payloads: bytes) -> bytes:
        """Return the bytes that go out for these payloads."""
        return b"".join(frames.deflated(frames.message(each), 12, 100) for each in payloads)

    def test_opened(self) -> None:
        """Stored and held messages, but not the heartbeat."""
        self.server.store(CHANNEL, 60, self.old)
        self.compressing()
        heartbeat = frames.text(HEARTBEAT.encode())
        self.assertEqual([self.wire(self.old, self.held, self.small) + heartbeat], self.written)

    def test_live(self) -> None:
        """Live and restored messages are compressed, also where the echo rule holds."""
        connection = self.compressing(publish=(BROADCAST,))
        del self.written[:]
        self.stranger_says(self.live)
        connection.receive(self.old, False)
        self.assertIsNone(connection.direct)
        self.stranger_says(self.old)
        self.stranger_says(self.held)
        self.hub.restore({CHANNEL: self.live})
        self.assertEqual(
            [self.wire(each) for each in (self.live, self.held, self.live)], self.written
        )

    def test_send(self) -> None:
        """Messages of a handler are compressed, as text and as bytes; small ones are not."""
        connection = self.compressing()
        del self.written[:]
        connection.send("t" * 200)
        connection.send(b"b" * 200)
        connection.send("small")
        expected = [
            frames.deflated(frames.text(b"t" * 200), 12, 100),
            frames.deflated(frames.binary(b"b" * 200), 12, 100),
            frames.text(b"small"),
        ]
        self.assertEqual(expected, self.written)


class _Listening(Connection):
    """The least that a dialect has to add."""

    def __init__(self, parts: ConnectionParts) -> None:
        super().__init__(parts)
        self.channels = [CHANNEL]

    def received(self, payload: bytes, is_binary: bool) -> None:
        """Say it to the handler."""
        self.handle_message(payload, is_binary)

    def publish(self, payload: bytes) -> None:
        """Publish on everything that it hears, and trip over an error."""
        self.publish_on(self.channels, payload)

    def publish_failed(self, error: Exception, size: int) -> None:
        """A mistake of a dialect."""
        raise ZeroDivisionError("a bug")


class BaseTests(ConnectionCase):
    """The methods that every dialect gets from `Connection`."""

    def listening(self) -> tuple[_Listening, FakeClient]:
        """A connection that is not open yet."""
        client = FakeClient()
        encoding = self.encodings[self.dialect, 0]
        access = Access("chat", frozenset({Audience.BROADCAST}))
        parts = (self.hub, self.limits, None, client, encoding, JOHN, access)
        connection = _Listening(ConnectionParts(*parts))
        client.connection = connection
        return connection, client

    def open_one(self) -> tuple[_Listening, FakeClient]:
        """An open connection."""
        connection, client = self.listening()
        connection.opened(self.successResultOf(self.opening(connection)))
        return connection, client

    def subscribe(self, connection: Connection, *names: bytes) -> Deferred[None]:
        """Subscribe to more channels."""
        return Deferred.fromCoroutine(connection.subscribe(names))

    def test_hears_everything(self) -> None:
        """Publications that were held back come first; then it hears everything at once."""
        connection, client = self.listening()
        self.server.store(CHANNEL, 10, b"stored")
        stored = self.successResultOf(self.opening(connection))
        self.assertEqual({}, stored)
        self.stranger_says(b"1")
        self.assertIsNone(connection.direct)
        connection.opened(stored)
        self.stranger_says(b"2")
        self.assertEqual([b"1", b"2"], client.got)
        self.assertIsNotNone(connection.direct)
        connection.direct = None
        self.stranger_says(b"3")
        self.assertEqual([b"1", b"2", b"3"], client.got)

    def test_subscribe(self) -> None:
        """Channels come and go; a channel that it hears already is not subscribed twice."""
        connection, client = self.open_one()
        self.successResultOf(self.subscribe(connection, b"b", CHANNEL))
        self.assertEqual([CHANNEL, b"b"], connection.channels)
        self.stranger_says(b"1", b"b")
        connection.unsubscribe([b"b", b"unknown"])
        self.stranger_says(b"2", b"b")
        self.stranger_says(b"3")
        self.assertEqual([b"1", b"3"], client.got)
        self.assertEqual([CHANNEL], connection.channels)
        self.assertEqual(1, len(self.hub))

    def test_limit(self) -> None:
        """As many channels as allowed are taken; one more changes nothing."""
        connection, _ = self.open_one()
        names = [b"%d" % number for number in range(self.limits.max_channels - 1)]
        self.successResultOf(self.subscribe(connection, *names))
        self.failureResultOf(self.subscribe(connection, b"more"), LimitExceeded)
        self.assertEqual([CHANNEL, *names], connection.channels)
        self.assertEqual(self.limits.max_channels, len(self.hub))

    def test_held_back_to_the_limit(self) -> None:
        """As many bytes as the queue may hold at once wait for the end of the handshake."""
        connection, client = self.listening()
        stored = self.successResultOf(self.opening(connection))
        for _ in range(20):
            self.stranger_says(b"x" * (self.limits.most_queued // 20))
        connection.opened(stored)
        self.assertEqual(20, len(client.got))
        self.assertIsNone(client.closed)

    def test_failed_dialect(self) -> None:
        """A dialect that trips over a lost message closes the connection, and is logged."""
        connection, client = self.open_one()
        self.broker.slow = {"publish"}
        connection.receive(b"text", False)
        self.broker.refuse(BrokerUnavailable("lost"))
        self.assertEqual((1011, "internal error"), (client.closed, client.reason))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual(0, len(self.hub))
