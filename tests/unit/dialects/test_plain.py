"""Tests for `wsredis.dialects.plain`."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.connections import (
    ALL,
    BROADCAST,
    CHANNEL,
    GROUP,
    HEARTBEAT,
    JOHN,
    SESSION,
    USER,
    ConnectionCase,
)
from tests.support.fake_enrolment import FakeEnrolment
from tests.support.fakes import FakeClient
from wsredis.channels import Access, Audience
from wsredis.dialects.plain import PlainDialect
from wsredis.dialects.urls import MAX_FACILITY_BYTES
from wsredis.errors import (
    BadRequest,
    BrokerUnavailable,
    HandshakeRejected,
    LimitExceeded,
    PermissionDenied,
)
from wsredis.gateway.client import PauseReason
from wsredis.gateway.connection import Connection, ConnectionParts
from wsredis.gateway.handler import Handler
from wsredis.gateway.identity import Identity
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.publication import Publication


class PlainDialectTests(SynchronousTestCase):
    """The payload and nothing else."""

    def test_encode(self) -> None:
        """A message is the payload itself; text or binary is decided by its content."""
        payload = b"\xff"
        dialect = PlainDialect()
        self.assertIs(payload, dialect.encode(Publication(b"a", payload)))
        self.assertIsNone(dialect.is_binary)

    def test_heartbeat(self) -> None:
        """There is none, or the text agreed upon, in UTF-8."""
        self.assertIsNone(PlainDialect().heartbeat)
        self.assertEqual("\u00e9".encode(), PlainDialect("\u00e9").heartbeat)

    def test_subprotocol_of_its_own(self) -> None:
        """``wsredis`` is chosen wherever it stands: whoever offers it can speak it."""
        choose = PlainDialect().choose_subprotocol
        for offered in (["wsredis"], ["chat", "wsredis"], ["bearer.a", "b", "wsredis"]):
            self.assertEqual("wsredis", choose(offered))
        self.assertEqual("wsredis2", choose(["wsredis2", "Wsredis"]))

    def test_subprotocol(self) -> None:
        """The first offer is chosen, and a token only if there is nothing else."""
        choose = PlainDialect().choose_subprotocol
        self.assertIsNone(choose([]))
        self.assertEqual("a", choose(["a", "b"]))
        self.assertEqual("b", choose(["bearer.x", "b"]))
        self.assertEqual("bearer.x", choose(["bearer.x", "bearer.y"]))

    def test_other_urls(self) -> None:
        """A path outside the prefix belongs to somebody else."""
        self.assertIsNone(PlainDialect().parse("/other/chat", ""))
        self.assertEqual(
            Access("chat"), PlainDialect(url_prefix="/other/").parse("/other/chat", "")
        )

    def test_query(self) -> None:
        """The query says the rest."""
        access = PlainDialect().parse("/ws/chat", "subscribe-user&echo")
        self.assertEqual(Access("chat", frozenset({Audience.USER}), echo=True), access)


class RememberedUrlTests(SynchronousTestCase):
    """The access that a URL asks for is remembered, in bounds and without secrets."""

    def setUp(self) -> None:
        """Nothing is remembered yet."""
        self.dialect = PlainDialect()

    def parsed(self, path: str, query: str = "subscribe-user&echo") -> Access:
        """Parse a URL."""
        access = self.dialect.parse(path, query)
        assert access is not None
        return access

    def test_once(self) -> None:
        """All clients with one URL share one access."""
        self.assertIs(self.parsed("/ws/chat"), self.parsed("/ws/chat"))

    def test_shared_sets(self) -> None:
        """Those with other URLs share the sets of audiences."""
        some, other = self.parsed("/ws/a?"), self.parsed("/ws/b", "subscribe-user&token=x")
        self.assertIs(some.subscribe, other.subscribe)
        self.assertIs(some.publish, other.publish)

    def test_secrets(self) -> None:
        """A query that may hold a secret is not kept."""
        for query in ("subscribe-user&token=x", "subscribe-user=x", "x", "echo&%65cho"):
            self.parsed("/ws/chat", query)
        self.assertEqual({}, self.dialect._parsed)

    def test_long(self) -> None:
        """A long URL is not kept."""
        query = "subscribe-user"
        self.parsed("/ws/" + "x" * (253 - len(query)), query)
        self.assertEqual({}, self.dialect._parsed)
        self.parsed("/ws/" + "x" * (252 - len(query)), query)
        self.assertEqual(1, len(self.dialect._parsed))

    def test_many(self) -> None:
        """Of many URLs, the oldest is forgotten first."""
        for number in range(1025):
            self.parsed(f"/ws/{number}")
        self.assertEqual(1024, len(self.dialect._parsed))
        self.assertNotIn("/ws/0", [path for path, _ in self.dialect._parsed])


class FacilityTests(SynchronousTestCase):
    """The path of a URL."""

    def facility(self, path: str, url_prefix: str) -> str | None:
        """The facility that a path means, None if it is not for this dialect."""
        access = PlainDialect(url_prefix=url_prefix).parse(path, "")
        return None if access is None else access.facility

    def check(self, path: str, facility: str | None, url_prefix: str = "/ws/") -> None:
        """*path* means *facility*."""
        self.assertEqual(facility, self.facility(path, url_prefix), path)

    def refuse(self, path: str, word: str) -> None:
        """*path* is refused; the reason has *word* and nothing of the path."""
        error = self.assertRaises(BadRequest, self.facility, path, "/ws/")
        self.assertIn(word, str(error))
        self.assertNotIn("secret", str(error))

    def test_as_the_original(self) -> None:
        """Slashes stay, percent-encoding is decoded once, and nothing is normalised."""
        for path, facility in {
            "/ws/foobar": "foobar",
            "/ws/foobar/": "foobar/",
            "/ws/": "",
            "/ws/a/b/c": "a/b/c",
            "/ws/a%20b": "a b",
            "/ws/a+b": "a+b",
            "/ws/a%2Fb": "a/b",
            "/ws/a%2fb": "a/b",
            "/ws/%C3%A9": "é",
            "/ws/%F0%9F%98%80": "\N{GRINNING FACE}",
            "/ws/e%CC%81": "e\u0301",
            "/ws//x": "/x",
            "/ws/x/ws/y": "x/ws/y",
            "/ws/x*": "x*",
            "/ws/[a-z]?\\": "[a-z]?\\",
            "/ws/a%2525b": "a%25b",
            "/ws/a%b": "a%b",
            "/ws/a%zz": "a%zz",
            "/ws/../ws/y": "../ws/y",
            "/ws/%2e%2e/y": "../y",
            "/ws/x:user:admin:y": "x:user:admin:y",
            "/ws/%s%$(id)'\"{}": "%s%$(id)'\"{}",
            "/ws/Chat": "Chat",
        }.items():
            self.check(path, facility)

    def test_outside(self) -> None:
        """Other paths than those under the prefix name no facility."""
        for path in ("/ws", "/", "", "/other", "/WS/x", "/pre/ws/y", "ws/x", "/%77s/x", "*"):
            self.check(path, None)

    def test_other_prefixes(self) -> None:
        """The prefix may be anything between slashes, also a single one."""
        self.check("/chat", "chat", "/")
        self.check("/", "", "/")
        self.check("/a/b/c", "c", "/a/b/")

    def test_not_utf8(self) -> None:
        """A path that is not UTF-8 is refused, and so are overlong forms and surrogates."""
        for path in ("%ff", "%C3", "%C0%AF", "%ED%A0%80", "secret%F5%80%80%80"):
            self.refuse(f"/ws/{path}", "UTF-8")

    def test_control_characters(self) -> None:
        """Control characters are refused: CR, LF, NUL, ESC, DEL and those of C1."""
        for path in ("x%0d%0aPING", "x%0A", "%00", "secret%1b[31m", "%7F", "%C2%85", "%09"):
            self.refuse(f"/ws/{path}", "control character")

    def test_length(self) -> None:
        """255 bytes are the limit, counted after decoding, and are still allowed."""
        self.check(f"/ws/{'x' * MAX_FACILITY_BYTES}", "x" * MAX_FACILITY_BYTES)
        self.check(f"/ws/{'%78' * MAX_FACILITY_BYTES}", "x" * MAX_FACILITY_BYTES)
        self.check(f"/ws/{'%C3%A9' * 127}", "é" * 127)
        self.refuse(f"/ws/{'x' * (MAX_FACILITY_BYTES + 1)}", "255 bytes")
        self.refuse(f"/ws/{'%C3%A9' * 128}", "255 bytes")


class ChannelTests(ConnectionCase):
    """Which channels a connection is on."""

    prefix = "app"

    def test_names(self) -> None:
        """All audiences of an identity, under the prefix, in the order of stored messages."""
        connection, _ = self.new(ALL)
        names = ["broadcast:", "group:admins:", "group:users:", "user:john:", "session:s3ss10n:"]
        self.assertEqual([f"app:{name}chat".encode() for name in names], [*connection.channels])

    def test_nobody(self) -> None:
        """Nobody has no user, group or session channel, to hear and to publish on."""
        connection, client = self.opened({USER, GROUP, SESSION}, ALL, identity=Identity())
        self.assertEqual((), connection.channels)
        connection.receive(b"text", False)
        self.assertEqual(b"text", self.server.value(b"app:broadcast:chat"))
        self.assertIsNone(client.closed)

    def test_address(self) -> None:
        """A connection knows the address of its client."""
        connection, client = self.new()
        self.assertEqual(client.peer, connection.peer)

    def test_too_many(self) -> None:
        """More channels than allowed are refused, to hear and to publish; nothing changed."""
        groups = Identity(groups=tuple(f"g{number}" for number in range(9)))
        for wanted in (({GROUP}, ()), ((), {GROUP})):
            connection, _ = self.new(*wanted, identity=groups)
            error = self.failureResultOf(self.opening(connection), LimitExceeded).value
            self.assertEqual("more than 8 channels", str(error))
        self.assertEqual(0, len(self.hub))


class EchoTests(ConnectionCase):
    """Messages that a client must not hear back."""

    def both(self, **kwargs: Any) -> tuple[Connection, FakeClient]:
        """A connection that hears and publishes on broadcast."""
        return self.opened((BROADCAST,), (BROADCAST,), **kwargs)

    def delayed(self, *payloads: bytes, **kwargs: Any) -> tuple[Connection, FakeClient]:
        """One that has sent *payloads*, none of which Redis has seen yet."""
        connection, client = self.both(**kwargs)
        self.broker.slow = {"publish"}
        for payload in payloads:
            connection.receive(payload, False)
        return connection, client

    def test_echo(self) -> None:
        """A client that asks for an echo gets every message, also its own."""
        connection, client = self.both(echo=True)
        connection.receive(b"1", False)
        connection.receive(b"2", False)
        self.stranger_says(b"2")
        self.assertEqual([b"1", b"2", b"2"], client.got)
        self.assertIsNotNone(connection.direct)

    def test_no_echo(self) -> None:
        """A client that does not ask for an echo gets only the messages of others."""
        _, other = self.opened()
        connection, client = self.both()
        connection.receive(b"mine", False)
        self.stranger_says(b"theirs")
        self.assertEqual([b"theirs"], client.got)
        self.assertEqual([b"mine", b"theirs"], other.got)

    def test_equal_text_of_others(self) -> None:
        """A message that equals one's own last one is not delivered, for as long as it is that."""
        connection, client = self.both()
        connection.receive(b"same", False)
        self.stranger_says(b"same")
        self.stranger_says(b"same")
        self.assertEqual([], client.got)
        connection.receive(b"another", False)
        self.stranger_says(b"same")
        self.assertEqual([b"same"], client.got)

    def test_heartbeat_and_empty_message_forget(self) -> None:
        """An empty message is not published, and ends the memory of the last one."""
        connection, client = self.both()
        connection.receive(b"same", False)
        connection.receive(b"", False)
        self.assertEqual(b"same", self.server.value(CHANNEL))
        self.stranger_says(b"same")
        self.assertEqual([b"same"], client.got)
        self.assertIsNotNone(connection.direct)

    def test_empty_message_for_a_handler(self) -> None:
        """An empty message ends that memory also where a handler keeps it for itself."""

        class Silent(Handler):
            def on_message(self, connection: Connection, payload: bytes, is_binary: bool) -> None:
                if payload:
                    connection.publish(payload)

        self.handler = Silent()
        connection, client = self.both()
        connection.receive(b"same", False)
        self.stranger_says(b"same")
        connection.receive(b"", False)
        self.stranger_says(b"same")
        self.assertEqual([b"same"], client.got)

    def test_listener_that_may_not_publish(self) -> None:
        """The comparison is with what was received, not with what was published."""
        connection, client = self.opened()
        connection.receive(b"text", False)
        self.stranger_says(b"text")
        self.stranger_says(b"more")
        self.assertEqual([b"more"], client.got)
        self.assertIsNone(self.server.value(CHANNEL))

    def test_several_in_flight(self) -> None:
        """Several own messages on their way to Redis are each kept from coming back."""
        _, client = self.delayed(b"x", b"y", b"z")
        self.stranger_says(b"theirs")
        self.broker.answer(3)
        self.assertEqual([b"theirs"], client.got)

    def test_each_own_copy_once(self) -> None:
        """An own message keeps back one copy; an equal one of somebody else passes later."""
        _, client = self.delayed(b"x", b"y")
        self.broker.answer(2)
        self.stranger_says(b"x")
        self.assertEqual([b"x"], client.got)

    def test_same_text_twice_in_flight(self) -> None:
        """The same text sent twice keeps back two copies, and not three."""
        _, client = self.delayed(b"x", b"x", b"y")
        self.broker.answer(3)
        self.assertEqual([], client.got)
        self.stranger_says(b"x")
        self.assertEqual([b"x"], client.got)

    def test_forgetting_spares_those_in_flight(self) -> None:
        """An empty message does not bring back own messages that are still on their way."""
        connection, client = self.delayed(b"x", b"")
        self.assertIsNone(connection.direct)
        self.broker.answer()
        self.assertEqual([], client.got)
        self.stranger_says(b"x")
        self.assertEqual([b"x"], client.got)

    def test_several_channels(self) -> None:
        """An own message comes back once for each channel in common, and never gets through."""
        connection, client = self.opened({BROADCAST, USER}, {BROADCAST, USER, SESSION})
        self.broker.slow = {"publish"}
        connection.receive(b"x", False)
        connection.receive(b"y", False)
        self.broker.answer(2)
        self.assertEqual([], client.got)
        self.stranger_says(b"x")
        self.assertEqual([b"x"], client.got)
        self.assertEqual(b"y", self.server.value(b"session:s3ss10n:chat"))

    def test_channels_apart(self) -> None:
        """A client that publishes where it does not listen waits for no copy."""
        connection, client = self.opened({BROADCAST}, {USER})
        connection.receive(b"x", False)
        connection.receive(b"y", False)
        self.stranger_says(b"x")
        self.assertEqual([b"x"], client.got)

    def test_batch(self) -> None:
        """In one batch, own messages are taken out and the rest is sent in one write."""
        _, client = self.delayed(b"b", b"d")
        self.hub.deliver(
            [Publication(CHANNEL, payload) for payload in (b"a", b"b", b"c", b"d", b"e")]
        )
        self.assertEqual([("write", [(1, b"a"), (1, b"c"), (1, b"e")])], client.events)

    def test_nothing_but_own(self) -> None:
        """A batch of own messages sends nothing at all."""
        _, client = self.delayed(b"a")
        self.hub.deliver([Publication(CHANNEL, b"a")] * 2)
        self.assertEqual([], client.events)

    def test_memory_is_bounded(self) -> None:
        """Of very many own messages in flight the oldest are forgotten, not the newest."""
        payloads = [b"%d" % number for number in range(1100)]
        _, client = self.delayed(*payloads)
        self.hub.deliver([Publication(CHANNEL, payload) for payload in payloads])
        self.assertEqual(payloads[:76], client.got)


class HeartbeatTests(ConnectionCase):
    """The text that both sides send as a sign of life."""

    heartbeat = HEARTBEAT

    def test_after_stored(self) -> None:
        """A client gets a heartbeat when it is open, after the stored messages."""
        self.server.store(CHANNEL, 10, b"text")
        _, client = self.opened()
        self.assertEqual([b"text", HEARTBEAT.encode()], client.got)

    def test_answered(self) -> None:
        """That of a client is answered at once, and not published."""
        connection, client = self.opened((BROADCAST,), (BROADCAST,))
        connection.receive(HEARTBEAT.encode(), False)
        self.assertEqual([HEARTBEAT.encode()] * 2, client.got)
        self.assertIsNone(self.server.value(CHANNEL))

    def test_forgets(self) -> None:
        """That of a client ends the memory of its last message."""
        connection, client = self.opened((BROADCAST,), (BROADCAST,))
        connection.receive(b"same", False)
        self.stranger_says(b"same")
        connection.receive(HEARTBEAT.encode(), False)
        self.stranger_says(b"same")
        self.assertEqual([HEARTBEAT.encode(), HEARTBEAT.encode(), b"same"], client.got)

    def test_exact(self) -> None:
        """Only that very text is a heartbeat."""
        connection, _ = self.opened((BROADCAST,), (BROADCAST,))
        connection.receive(HEARTBEAT.encode() + b" x", False)
        self.assertEqual(b"--heartbeat-- x", self.server.value(CHANNEL))

    def test_from_redis(self) -> None:
        """One that somebody publishes is delivered like any text."""
        _, client = self.opened()
        self.stranger_says(HEARTBEAT.encode())
        self.assertEqual([HEARTBEAT.encode()] * 2, client.got)


class BatchTests(ConnectionCase):
    """Several messages of a client at once mean the same as one after the other."""

    heartbeat = "beat"

    def both(self, *payloads: bytes, echo: bool = False, subscribe: bool = True) -> None:
        """Let one client send one by one, and another all at once, and compare all that is seen."""
        seen = []
        for at_once in (False, True):
            self.setUp()
            channels = (BROADCAST,) if subscribe else ()
            connection, client = self.opened(channels, (BROADCAST,), echo=echo)
            _, listener = self.opened()
            self.broker.slow = {"publish"}
            if at_once:
                self.assertEqual(len(payloads), connection.receive_all(payloads))
            else:
                for payload in payloads:
                    connection.receive(payload, False)
            self.broker.answer(self.broker.pending)
            self.broker.slow.clear()
            for payload in (b"a", b"b", b"later"):
                self.broker.server.publish(b"broadcast:chat", payload)
            counted = {each.name: getattr(self.metrics, each.name) for each in fields(Metrics)}
            counters = {name: value for name, value in counted.items() if isinstance(value, int)}
            seen.append((client.got, listener.got, client.charged, counters))
        self.assertEqual(*seen)

    def test_same(self) -> None:
        """Publications, the echo rule, heartbeats, charges and counters are the same."""
        for payloads in (
            (b"a",),
            (b"a", b"b"),
            (b"a", b"", b"b", b""),
            (b"", b"", b"a"),
            (b"", b""),
            (b"a", b"beat", b"b"),
            (b"a",) * 300,
        ):
            for echo in (False, True):
                self.both(*payloads, echo=echo)
                self.both(*payloads, echo=echo, subscribe=False)

    def test_no_right_to_publish(self) -> None:
        """Messages of a client that may not publish are counted and logged, and are discarded."""
        connection, client = self.opened()
        with capturedLogs() as logs:
            self.assertEqual(3, connection.receive_all([b"a", b"", b"b"]))
            connection.receive(b"c", True)
            connection.receive(b"", False)
            connection.receive_all([b"beat", b"d"])
        self.assertEqual((7, 0), (self.metrics.received, client.charged))
        self.assertEqual(4, self.metrics.discarded)
        self.assertEqual(3, len(logs))
        for each in logs:
            self.assertIn("it may publish nowhere", str(formatEvent(each)))
            self.assertIn("its URL has no flag such as publish-broadcast", str(formatEvent(each)))

    def test_discarded_is_told(self) -> None:
        """A client that can be told hears once that nothing of what it sends is published."""
        connection, client = self.opened()
        connection.receive(b"a", False)
        self.assertEqual((), connection.hints)
        client.takes_notices = True
        with capturedLogs() as logs:
            connection.receive(b"b", False)
            connection.receive_all([b"c", b"d"])
        (hint,) = connection.hints
        self.assertIn("is discarded: its URL has no flag such as publish-broadcast", hint)
        self.assertEqual(1, [name for name, _ in client.events].count("rights"))
        self.assertNotIn(hint, "".join(str(formatEvent(each)) for each in logs))

    def test_reason_to_publish_nowhere(self) -> None:
        """The hints about what the client may publish say why it may not; others do not."""
        connection, _ = self.opened((), (USER,))
        self.assertEqual("", connection.publish_hints)
        hints = ("subscribe-user has no effect", "publish-user has no effect: nobody")
        connection.granted = connection.granted.with_hints(hints)
        self.assertEqual("publish-user has no effect: nobody", connection.publish_hints)

    def test_many_listeners(self) -> None:
        """If many hear a message, the next one is taken only while the client is not paused."""
        connection, client = self.opened((), (BROADCAST,))
        for _ in range(600):
            self.opened()
        charge = client.charge

        def pause(work: int) -> None:
            charge(work)
            if client.charged > 1000:
                client.pause(PauseReason.RATE)

        client.charge = pause  # type: ignore[method-assign]
        self.assertEqual(2, connection.receive_all([b"a", b"b", b"c"]))
        self.assertEqual(2, self.metrics.received)

    def test_paused_after_many(self) -> None:
        """A client is paused when as much as ever is unanswered."""
        self.broker.slow = {"publish"}
        connection, client = self.opened((), (BROADCAST,))
        connection.receive_all([b"a"] * 256)
        self.assertEqual(PauseReason.PUBLISH, client.held)
        self.broker.answer(128)
        self.assertEqual(0, client.held)

    def test_failure(self) -> None:
        """If Redis is away, the client is closed once, and the rest is not published."""
        connection, client = self.opened((), (BROADCAST,))
        self.broker.disconnect()
        connection.receive_all([b"a", b"b"])
        self.assertEqual(1013, client.closed)
        self.assertEqual(1, connection.receive_all([b"c", b"d"]))


class EnrolledTests(ConnectionCase):
    """A client whose channels a project's own subscriber chose."""

    def enrolled(
        self,
        enrolment: FakeEnrolment,
        subscribe: Any = (BROADCAST, GROUP),
        own: Any = (),
        publish: Any = (),
        identity: Identity = JOHN,
    ) -> tuple[Any, FakeClient]:
        """A connection that is not open yet."""
        client = FakeClient()
        access = Access("chat", frozenset(subscribe), frozenset(publish), own=own)
        encoding = self.encodings[self.dialect, 0]
        parts = (self.hub, self.limits, self.handler, client, encoding, identity, access)
        client.connection = self.dialect.connection(ConnectionParts(*parts, enrolment))
        return client.connection, client

    def opened_as(self, enrolment: FakeEnrolment, **more: Any) -> tuple[Any, FakeClient]:
        """An open connection."""
        connection, client = self.enrolled(enrolment, **more)
        connection.opened(self.successResultOf(self.opening(connection)))
        return connection, client

    def changed(self, connection: Any, identity: Identity, access: Access) -> None:
        """Go on with another identity or access."""
        self.successResultOf(Deferred.fromCoroutine(connection.change(identity, access)))

    def test_audiences(self) -> None:
        """The client is told of the audiences among the channels, when there are others."""
        enrolment = FakeEnrolment([b"room:1", b"user:x:y"], [CHANNEL])
        connection, client = self.enrolled(enrolment)
        client.takes_notices = True
        connection.opened(self.successResultOf(self.opening(connection)))
        self.assertEqual((["user"], ["broadcast"]), connection.audiences())
        enrolment.takes_messages = True
        for channels in ([b"room:1", b"user:x:y", b"user:z:y"], [b"room:1"]):
            enrolment.channels = channels
            connection.receive(b"a", False)
            enrolment.waiting.pop(0).callback([])
        self.assertEqual(
            [("rights", ([], ["broadcast"]))], [e for e in client.events if e[0] == "rights"]
        )

    def test_rights(self) -> None:
        """It is told when it loses a right."""
        connection, client = self.opened_as(FakeEnrolment([CHANNEL, b"group:users:chat"]))
        client.takes_notices = True
        less = Access("chat", frozenset({BROADCAST}))
        self.changed(connection, JOHN, less)
        self.assertEqual([("rights", (["broadcast"], []))], client.events)

    def test_channels(self) -> None:
        """The chosen channels take the place of those that the access stands for."""
        connection, client = self.opened_as(FakeEnrolment([b"room:1"], [b"room:2", b"room:1"]))
        self.stranger_says(b"not for it")
        self.stranger_says(b"hello", b"room:1")
        connection.receive(b"mine", False)
        self.assertEqual([b"hello"], client.got)
        self.assertEqual(b"mine", self.server.value(b"room:2"))

    def test_stored(self) -> None:
        """Without a choice the stored messages of the channels come first."""
        self.server.store(b"room:1", 10, b"stored")
        _, client = self.opened_as(FakeEnrolment([b"room:1"]))
        self.assertEqual([b"stored"], client.got)

    def test_first(self) -> None:
        """What it sends comes in place of the stored messages, before live ones, each once."""
        self.server.store(b"room:1", 10, b"stored")
        enrolment = FakeEnrolment([b"room:1"])
        enrolment.chooses_first = True
        enrolment.answer = Deferred()
        connection, client = self.enrolled(enrolment)
        opening = self.opening(connection)
        self.assertNoResult(opening)
        for live in (b"live", b"both"):
            self.stranger_says(live, b"room:1")
        enrolment.answer.callback([b"welcome", b"both"])
        connection.opened(self.successResultOf(opening))
        self.assertEqual([b"welcome", b"live", b"both"], client.got)

    def test_first_without_channels(self) -> None:
        """It is asked also for a client without a channel, and may refuse it."""
        enrolment = FakeEnrolment([])
        enrolment.chooses_first = True
        enrolment.answer = succeed([b"nothing here"])
        self.assertEqual([b"nothing here"], self.opened_as(enrolment)[1].got)
        enrolment.answer = Deferred()
        connection, _ = self.enrolled(enrolment)
        opening = self.opening(connection)
        enrolment.answer.errback(HandshakeRejected("no"))
        self.failureResultOf(opening, HandshakeRejected)

    def test_limits(self) -> None:
        """More channels than allowed are refused, in either direction."""
        many = [b"room:%d" % number for number in range(9)]
        for enrolment in (FakeEnrolment(many), FakeEnrolment([], many)):
            for enrolment.chooses_first in (False, True):
                connection, _ = self.enrolled(enrolment)
                self.failureResultOf(self.opening(connection), LimitExceeded)

    def test_take(self) -> None:
        """Its messages are handed over one by one, and it is not read meanwhile."""
        enrolment = FakeEnrolment([CHANNEL], [CHANNEL])
        enrolment.takes_messages = True
        connection, client = self.opened_as(enrolment)
        connection.receive_all([b"first"])
        connection.publish(b"second")
        connection.receive(b"", False)
        self.assertEqual([b"first"], enrolment.taken)
        self.assertEqual(PauseReason.SUBSCRIBER, client.held)
        enrolment.waiting[0].callback([b"answer"])
        self.assertEqual([b"first", b"second"], enrolment.taken)
        self.assertEqual(PauseReason.SUBSCRIBER, client.held)
        enrolment.waiting[1].callback([])
        self.assertEqual((0, [b"answer"]), (client.held, client.got))
        self.assertIsNone(self.server.value(CHANNEL), "the gateway publishes nothing")

    def test_echo(self) -> None:
        """Its last message is not heard again; the same one later from elsewhere is."""
        enrolment = FakeEnrolment([CHANNEL], [CHANNEL])
        enrolment.takes_messages = True
        connection, client = self.opened_as(enrolment)
        connection.receive(b"first", False)
        self.stranger_says(b"first")
        enrolment.waiting[0].callback([])
        connection.receive(b"second", False)
        self.stranger_says(b"first")
        self.assertEqual([b"first"], client.got)

    def test_handler(self) -> None:
        """A handler comes first, and what it publishes is handed over."""

        class Shouts(Handler):
            def on_message(self, connection: Connection, payload: bytes, is_binary: bool) -> None:
                for _ in range(2):
                    connection.publish(payload.upper())

        self.handler = Shouts()
        enrolment = FakeEnrolment([CHANNEL])
        enrolment.takes_messages = True
        connection, _ = self.opened_as(enrolment)
        connection.receive_all([b"a"])
        self.assertEqual([b"A"], enrolment.taken)
        enrolment.waiting[0].callback([])
        self.assertEqual([b"A", b"A"], enrolment.taken)

    def test_first_limit(self) -> None:
        """More channels than allowed are refused, also if they come with the first messages."""
        enrolment = FakeEnrolment([CHANNEL])
        enrolment.chooses_first = True
        connection, _ = self.enrolled(enrolment)
        enrolment.answer = Deferred()
        opening = self.opening(connection)
        enrolment.channels = [b"room:%d" % number for number in range(9)]
        enrolment.answer.callback([])
        self.failureResultOf(opening, LimitExceeded)

    def test_take_failed(self) -> None:
        """A message that it refuses, or that fails, closes the connection."""
        for error, code in (
            (PermissionDenied("too long"), 1008),
            (BrokerUnavailable("late"), 1013),
            (KeyError("bug"), 1011),
        ):
            enrolment = FakeEnrolment([CHANNEL])
            enrolment.takes_messages = True
            connection, client = self.opened_as(enrolment)
            connection.receive(b"x", False)
            enrolment.waiting[0].errback(error)
            self.assertEqual(code, client.closed)
            self.assertEqual(1, enrolment.released)
        self.assertEqual(3, self.metrics.unpublished)
        self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))

    def test_take_closed(self) -> None:
        """What becomes of a message after its client has gone is of no interest."""
        for outcome in (KeyError("bug"), [b"answer"]):
            enrolment = FakeEnrolment([CHANNEL])
            enrolment.takes_messages = True
            connection, client = self.opened_as(enrolment)
            connection.receive(b"x", False)
            connection.closed()
            enrolment.waiting[0].callback(
                Failure(outcome) if isinstance(outcome, Exception) else outcome
            )
            self.assertEqual((None, []), (client.closed, client.got))

    def test_follow(self) -> None:
        """A message may change the channels."""
        enrolment = FakeEnrolment([CHANNEL])
        enrolment.takes_messages = True
        connection, client = self.opened_as(enrolment)
        connection.receive(b"join", False)
        enrolment.channels, enrolment.publishes = (b"room:1",), (b"room:2",)
        enrolment.waiting[0].callback([])
        self.stranger_says(b"old")
        self.stranger_says(b"new", b"room:1")
        self.assertEqual([b"new"], client.got)
        self.assertEqual((b"room:2",), connection.publishes)
        connection.receive(b"more", False)
        enrolment.channels = [b"room:%d" % number for number in range(9)]
        enrolment.waiting[1].callback([])
        self.assertEqual(1008, client.closed)

    def test_follow_first(self) -> None:
        """The next message waits until the client hears its new channels."""
        enrolment = FakeEnrolment([CHANNEL])
        enrolment.takes_messages = True
        connection, client = self.opened_as(enrolment)
        connection.receive(b"join", False)
        enrolment.channels = (CHANNEL, b"room:1")
        self.broker.slow = {"subscribe"}
        enrolment.waiting[0].callback([])
        self.assertEqual(PauseReason.SUBSCRIBER, client.held)
        self.broker.answer()
        self.assertEqual(0, client.held)
        self.stranger_says(b"hello", b"room:1")
        self.assertEqual([b"hello"], client.got)

    def test_follow_away(self) -> None:
        """A channel that Redis forbids closes it; one that cannot be asked for now comes later."""
        for channel, closed in ((b"room:1", None), (b"room:2", 1008)):
            enrolment = FakeEnrolment([CHANNEL])
            enrolment.takes_messages = True
            connection, client = self.opened_as(enrolment)
            connection.receive(b"join", False)
            enrolment.channels = (CHANNEL, channel)
            self.server.forbidden.add(b"room:2")
            if closed is None:
                self.broker.disconnect()
            enrolment.waiting[0].callback([])
            if closed is None:
                self.broker.connect()
                self.stranger_says(b"hello", channel)
                self.assertEqual([b"hello"], client.got)
            self.assertEqual(closed, client.closed)

    def test_batches(self) -> None:
        """Without a method for messages several of them are published at once."""
        connection, _ = self.opened_as(FakeEnrolment([b"room:1"], [CHANNEL]))
        self.assertEqual(2, connection.receive_all([b"a", b"b"]))
        self.assertEqual(b"b", self.server.value(CHANNEL))

    def test_deaf(self) -> None:
        """A client without a channel hears nothing, unless its subscriber may answer it."""
        enrolment = FakeEnrolment([])
        self.assertTrue(self.opened_as(enrolment)[0].is_deaf)
        enrolment.takes_messages = True
        self.assertFalse(self.opened_as(enrolment)[0].is_deaf)

    def test_lost_group(self) -> None:
        """The default channels of a lost group are left, and nothing is added for a new one."""
        admins, users = b"group:admins:chat", b"group:users:chat"
        enrolment = FakeEnrolment([CHANNEL, admins, users], [])
        connection, client = self.opened_as(enrolment)
        self.changed(connection, replace(JOHN, groups=("users", "new")), connection.granted)
        self.assertEqual([CHANNEL, users], connection.channels)
        for channel in (admins, b"group:new:chat", users):
            self.stranger_says(channel, channel)
        self.assertEqual([users], client.got)
        self.assertIsNone(client.closed)

    def test_lost_rights(self) -> None:
        """A client with other channels than the default ones is closed if it lost anything."""
        fewer = replace(JOHN, groups=("users",))
        takes = FakeEnrolment([CHANNEL])
        takes.takes_messages = True
        for enrolment, identity, subscribe, own in (
            (FakeEnrolment([b"room:1"]), fewer, (BROADCAST, GROUP), ("subscribe-server",)),
            (FakeEnrolment([], [b"room:1"]), fewer, (BROADCAST, GROUP), ("subscribe-server",)),
            (FakeEnrolment([b"room:1"]), JOHN, (GROUP,), ("subscribe-server",)),
            (FakeEnrolment([b"room:1"]), JOHN, (BROADCAST, GROUP), ()),
            (takes, fewer, (BROADCAST, GROUP), ("subscribe-server",)),
        ):
            connection, client = self.opened_as(enrolment, own=("subscribe-server",))
            access = Access("chat", frozenset(subscribe), own=own)
            self.changed(connection, identity, access)
            self.assertEqual(1012, client.closed)
        connection, client = self.opened_as(FakeEnrolment([b"room:1"]))
        more = replace(JOHN, groups=(*JOHN.groups, "new"))
        self.changed(connection, more, replace(connection.granted, subscribe=ALL))
        self.assertIsNone(client.closed)

    def test_lost_direction(self) -> None:
        """A client that may only publish now hears no more, although the channel has one name."""
        for name, subscribe, publish, hears, says in (
            (b"group:users:chat", (), (GROUP,), False, True),
            (b"group:admins:chat", (GROUP,), (), True, False),
        ):
            enrolment = FakeEnrolment([name], [name])
            connection, client = self.opened_as(enrolment, subscribe=(GROUP,), publish=(GROUP,))
            access = Access("chat", frozenset(subscribe), frozenset(publish))
            self.changed(connection, JOHN, access)
            self.stranger_says(b"theirs", name)
            connection.receive(b"mine", False)
            self.assertEqual([b"theirs"] if hears else [], client.got)
            self.assertEqual(b"mine" if says else None, self.server.value(name))
            self.assertIsNone(client.closed)

    def test_lost_membership(self) -> None:
        """A client with other channels is closed also if its list of groups does not change."""
        fixed = replace(JOHN, has_fixed_groups=True, memberships=("staff", "users"))
        connection, client = self.opened_as(FakeEnrolment([b"room:1"]), identity=fixed)
        self.changed(
            connection, replace(fixed, memberships=("staff", "more", "users")), connection.granted
        )
        self.assertIsNone(client.closed)
        self.changed(connection, replace(fixed, memberships=("users",)), connection.granted)
        self.assertEqual(1012, client.closed)

    def test_outage(self) -> None:
        """A stored message that the subscriber did not send does not come after an outage."""
        for channel in (CHANNEL, b"room:1", b"room:2"):
            self.server.store(channel, 100, b"old")
        enrolment = FakeEnrolment([CHANNEL, b"room:1"])
        enrolment.chooses_first = enrolment.takes_messages = True
        enrolment.answer = succeed([b"welcome"])
        connection, client = self.opened_as(enrolment)
        connection.receive(b"join", False)
        enrolment.channels = [*enrolment.channels, b"room:2"]
        enrolment.waiting[0].callback([])
        self.broker.disconnect()
        self.server.store(b"room:1", 100, b"new")
        self.broker.connect()
        self.assertEqual([b"welcome", b"new"], client.got)

    def test_released(self) -> None:
        """It is told that the client has gone, also if the client was never open."""
        enrolment = FakeEnrolment([CHANNEL])
        self.enrolled(enrolment)[0].closed()
        self.assertEqual(1, enrolment.released)
