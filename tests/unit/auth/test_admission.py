"""Tests for `wsredis.auth.admission`, with a gateway in memory around it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import LogLevel, capturedLogs

from tests.support.memory_gateway import EPOCH, MemoryGateway, MemoryGatewayCase, Socket
from tests.support.raw import CLOSE, handshake
from wsredis.auth.admission import Accepted, Admission
from wsredis.channels import Access, Audience
from wsredis.config import GatewayConfig, Limits
from wsredis.errors import HandshakeRejected
from wsredis.gateway.identity import Handshake, Identity
from wsredis.gateway.publication import Publication

_ALL = "/ws/a?subscribe-broadcast&subscribe-user&subscribe-group&subscribe-session"

JOHN = Identity("john", ("chatters",), "key-of-john")


class _Register:
    """An authenticator that knows people by their Authorization header, until told otherwise."""

    def __init__(self) -> None:
        self.known: dict[str, Any] = {"john": JOHN}
        self.asked: list[str] = []

    def identify(self, handshake: Handshake) -> Any:
        """What is known, or what is to be raised."""
        name = handshake.headers.get("authorization", "")
        self.asked.append(name)
        answer = self.known.get(name)
        if isinstance(answer, Exception):
            raise answer
        return answer


class _DoorCase(MemoryGatewayCase):
    """A gateway with a register, and Redis in memory."""

    config = GatewayConfig(recheck=60.0, ping_interval=100000.0)

    def setUp(self) -> None:
        """Start it."""
        self.register = _Register()
        self.use(MemoryGateway(self.config, authenticator=self.register))
        self.admission = self.gateway.admission

    def come(self, name: str = "john", path: str = _ALL) -> Socket:
        """A WebSocket of a person."""
        return self.open(path, f"Authorization: {name}")

    def order(self, text: object, channel: bytes = b"wsredis-control") -> None:
        """The application says something."""
        payload = text if isinstance(text, bytes) else json.dumps(text).encode()
        self.gateway.redis.publish(channel, payload)

    def order_at_once(self, text: object) -> None:
        """The same, before whatever the broker still has to say."""
        self.gateway.hub.deliver([Publication(b"wsredis-control", json.dumps(text).encode())])

    def codes(self, client: Socket) -> list[int | None]:
        """Close codes that came."""
        return [each.close_code for each in client.frames() if each.opcode == CLOSE]

    def heard(self, client: Socket) -> list[bytes]:
        """Payloads that came."""
        return [each.payload for each in client.frames() if each.opcode != CLOSE and each.payload]

    def sorted_away(self, *clients: Socket) -> None:
        """Clients leave, and nothing of them stays."""
        for client in clients:
            client.leave()
        self.nothing_left()


class AdmitTests(_DoorCase):
    """Who is let in."""

    def refused(self, name: str, status: int, reason: bytes) -> None:
        """A person is not let in."""
        found, answer = self.answer(handshake(_ALL, f"Authorization: {name}"))
        self.assertEqual(status, found, answer)
        self.assertTrue(answer.endswith(reason), answer)

    def test_first_who_knows(self) -> None:
        """Authenticators are asked in turn until one knows the client."""
        first, second = _Register(), _Register()
        first.known = {"joe": Identity("joe of the first")}
        second.known = {"joe": Identity("joe of the second"), "ann": Identity("ann")}
        hub, clock = self.gateway.hub, self.clock
        admission = Admission(clock, hub, [first, second], [])
        for name, expected in (
            ("joe", Identity("joe of the first")),
            ("ann", Identity("ann")),
            ("bob", Identity()),
        ):
            question = Handshake(Access("a"), "/ws/a", {"authorization": name}, "peer")
            accepted = self.successResultOf(Deferred.fromCoroutine(admission.admit(question)))
            self.assertEqual(expected, accepted.identity)
            self.assertIs(question.requested, accepted.granted)
        self.assertEqual(["ann", "bob"], second.asked)

    def test_policies_in_turn(self) -> None:
        """Each policy decides on what the one before granted; it begins with the identity's own."""
        own = Access("of the identity")
        asked = []

        class Policy:
            def __init__(self, grant: Access) -> None:
                self.grant = grant

            def allow(self, identity: Identity, handshake: Handshake) -> Deferred[Access]:
                asked.append(handshake.requested)
                return succeed(self.grant)

        first, second = Access("first"), Access("second")
        self.register.known["joe"] = Identity("joe", granted=own)
        admission = Admission(
            self.clock, self.gateway.hub, [self.register], [Policy(first), Policy(second)]
        )
        question = Handshake(Access("a"), "/ws/a", {"authorization": "joe"}, "peer")
        accepted = self.successResultOf(Deferred.fromCoroutine(admission.admit(question)))
        self.assertEqual([own, first], asked)
        self.assertIs(second, accepted.granted)

    def test_foreign_pages(self) -> None:
        """What a browser sends along by itself says nothing about a page of another site."""
        headers = {"authorization": "john", "cookie": "a=b", "origin": "o", "host": "h"}
        question = Handshake(Access("a"), "/ws/a", headers, "peer")
        asked: list[Handshake] = []

        class Policy:
            def allow(self, identity: Identity, handshake: Handshake) -> Access:
                asked.append(handshake)
                return handshake.requested

        for is_foreign, expected in ((True, Identity()), (False, JOHN)):
            admission = Admission(
                *(self.clock, self.gateway.hub, [self.register], [Policy()]),
                is_foreign=lambda handshake, answer=is_foreign: answer,  # type: ignore[misc]
            )
            accepted = self.successResultOf(Deferred.fromCoroutine(admission.admit(question)))
            self.assertEqual(expected, accepted.identity)
        self.assertEqual([["origin", "host"], [*headers]], [[*each.headers] for each in asked])

    def test_expired(self) -> None:
        """Who has expired already is not let in."""
        self.register.known["joe"] = Identity("joe", expires=EPOCH)
        self.refused("joe", 401, b"the credentials have expired")
        self.nothing_left()

    def test_challenge(self) -> None:
        """A 401 says how one could identify oneself."""
        self.register.known["joe"] = HandshakeRejected("who are you?", 401)
        answer = self.answer(handshake(_ALL, "Authorization: joe"))[1]
        self.assertIn(b"\r\nWWW-Authenticate: Bearer\r\n", answer)

    def test_colons(self) -> None:
        """A name with a colon gets no channel and a line in the log, which tells no session."""
        self.register.known["joe"] = Identity("j:oe", ("g:1", "good"), "k:ey")
        with capturedLogs() as logs:
            client = self.come("joe")
        told = [(each["kind"], each["name"]) for each in logs if "kind" in each]
        self.assertEqual([("user", "j:oe"), ("session", "..."), ("group", "g:1")], told)
        connection = self.protocol(client).connection
        assert connection is not None
        self.assertEqual([b"broadcast:a", b"group:good:a"], list(connection.channels))
        with capturedLogs() as logs:
            other = self.come("joe", "/ws/a?subscribe-broadcast&publish-group")
        self.assertEqual(["g:1"], [each["name"] for each in logs if "kind" in each])
        self.sorted_away(client, other)

    def test_strangers_are_not_watched(self) -> None:
        """Nothing is kept of clients that belong to nobody."""
        self.register.known["guest"] = Identity(granted=Access("a"))
        clients = [self.come("nobody"), self.come("guest")]
        self.assertEqual({}, self.admission._members)
        self.sorted_away(*clients)

    def test_nobody_to_ask(self) -> None:
        """Without an authenticator the application is not listened to."""
        self.use(MemoryGateway(self.config))
        self.assertEqual(0, len(self.gateway.hub))
        self.sorted_away(self.open(_ALL))

    def test_closed_at_once(self) -> None:
        """Nothing is kept of a client that is sent away with the first byte."""
        self.use(
            MemoryGateway(GatewayConfig(limits=Limits(max_queue=1)), authenticator=_Register())
        )
        self.gateway.redis.store(b"broadcast:a", 60, b"x" * 500000)
        client = self.connect()
        client.reading = False
        client.send(handshake(_ALL, "Authorization: john"))
        self.sorted_away(client)


class ExpiryTests(_DoorCase):
    """Identities that end by themselves."""

    def test_expires(self) -> None:
        """The connection is closed with 4401 when its time is over, and not before."""
        self.register.known["joe"] = Identity("joe", expires=EPOCH + 10.0)
        client, other = self.come("joe"), self.come("john")
        self.wait(9.9)
        self.assertEqual([], self.codes(client))
        with capturedLogs() as logs:
            self.wait(1.2)
        self.assertEqual([4401], self.codes(client))
        self.assertEqual(["the credentials have expired"], [each.get("reason") for each in logs])
        self.assertEqual([], self.codes(other))
        self.sorted_away(client, other)

    def test_prolonged(self) -> None:
        """A check can give it more time."""
        self.register.known["joe"] = Identity("joe", expires=EPOCH + 10.0)
        client = self.come("joe")
        self.register.known["joe"] = Identity("joe", expires=EPOCH + 20.0)
        self.order({"recheck": {"user": "joe"}})
        self.wait(15.0)
        self.assertEqual([], self.codes(client))
        self.wait(6.0)
        self.assertEqual([4401], self.codes(client))
        self.sorted_away(client)


class EndTests(_DoorCase):
    """The application ends identities."""

    def test_session(self) -> None:
        """All connections of a session are closed with 4401, and no other."""
        self.register.known["ann"] = Identity("ann", (), "key-of-ann")
        clients = [self.come(), self.come()]
        other = self.come("ann")
        self.order({"end": {"session": "key-of-john"}})
        self.assertEqual([[4401], [4401]], [self.codes(each) for each in clients])
        self.assertEqual([], self.codes(other))
        self.sorted_away(*clients, other)

    def test_user_and_group(self) -> None:
        """The connections of a user or of a group can be closed likewise, and may come back."""
        for target in ({"user": "john"}, {"group": "chatters"}):
            client = self.come()
            self.order({"end": target})
            self.assertEqual([4401], self.codes(client))
            client.leave()
            self.wait(0.1)
            client = self.come()
            self.assertEqual([], self.codes(client))
            client.leave()
        self.nothing_left()

    def test_comes_again(self) -> None:
        """A session that was ended is refused for a while, even if it is known still."""
        self.order({"end": {"session": "key-of-john"}})
        status, answer = self.answer(handshake(_ALL, "Authorization: john"))
        self.assertEqual(401, status)
        self.assertTrue(answer.endswith(b"the session has ended"))
        self.wait(31.0)
        self.sorted_away(self.come())

    def test_ended_meanwhile(self) -> None:
        """A session that ends while its client is being accepted is closed once that is open."""
        self.gateway.broker.pause()
        client = self.connect()
        client.send(handshake(_ALL, "Authorization: john"))
        self.order_at_once({"end": {"session": "key-of-john"}})
        self.gateway.broker.resume()
        client.received = client.take().partition(b"\r\n\r\n")[2]
        self.assertEqual([4401], self.codes(client))
        self.sorted_away(client)

    def test_user_ended_meanwhile(self) -> None:
        """A user or a group that is ended while a client is being accepted is closed likewise."""
        for target in ({"user": "john"}, {"group": "chatters"}):
            self.gateway.broker.pause()
            client = self.connect()
            client.send(handshake(_ALL, "Authorization: john"))
            self.order_at_once({"end": target})
            self.gateway.broker.resume()
            client.received = client.take().partition(b"\r\n\r\n")[2]
            self.assertEqual([4401], self.codes(client), target)
            client.leave()
            self.wait(0.1)
        self.nothing_left()

    def test_session_without_a_key(self) -> None:
        """An order about a session without a key does not mean those who have no session."""
        self.register.known["ann"] = Identity("ann")
        self.order({"end": {"session": ""}})
        clients = [self.come("ann"), self.come("nobody")]
        self.assertEqual([[], []], [self.codes(each) for each in clients])
        self.sorted_away(*clients)

    def test_few_orders_are_remembered(self) -> None:
        """Orders are forgotten after a while, and the oldest when there are too many."""
        for number in range(10010):
            self.order({"end": {"session": f"s{number}"}})
        self.assertEqual(10000, len(self.admission._orders))
        self.assertNotIn(("end", "session", "s9"), self.admission._orders)
        self.wait(31.0)
        for number in range(5010):
            self.order({"end": {"session": f"t{number}"}})
        self.assertEqual(5010, len(self.admission._orders))

    def test_nonsense(self) -> None:
        """What is no order is logged without its words, and changes nothing."""
        client = self.come()
        for text in (
            b"secret",
            b"\xff",
            b"[" * 100000,
            [],
            "end",
            5,
            {},
            {"end": "john"},
            {"end": {}},
            {"end": {"user": "john", "group": "x"}},
            {"end": {"user": "john"}, "recheck": {"user": "john"}},
            {"stop": {"user": "john"}},
            {"end": {"name": "john"}},
            {"end": {"user": 5}},
        ):
            with capturedLogs() as logs:
                self.order(text)
            self.assertEqual([LogLevel.warn], [each["log_level"] for each in logs], text)
            self.assertNotIn("secret", repr(logs))
        self.assertEqual([], self.codes(client))
        self.sorted_away(client)

    def test_told(self) -> None:
        """Whoever remembers identities is told of an order before anybody is asked for them."""
        told: list[int] = []
        admission = Admission(
            *(self.clock, self.gateway.hub, [self.register], []),
            ordered=lambda: told.append(len(self.register.asked)),
        )
        client = self.come()
        accepted = Accepted(Handshake(Access("a"), "/ws/a", {}, "peer"), JOHN, Access("a"), 0.0)
        connection = client.protocol.connection
        assert connection is not None
        admission.opened(connection, accepted)
        admission.deliver([Publication(b"wsredis-control", b'{"recheck": {"user": "john"}}')])
        self.assertEqual([1], told)
        self.assertEqual(2, len(self.register.asked))
        self.sorted_away(client)

    def test_prefix(self) -> None:
        """The control channel has the prefix of all channels."""
        config = GatewayConfig(prefix="mine")
        self.use(MemoryGateway(config, authenticator=self.register))
        client = self.come()
        self.order({"end": {"user": "john"}})
        self.assertEqual([], self.codes(client))
        self.order({"end": {"user": "john"}}, b"mine:wsredis-control")
        self.assertEqual([4401], self.codes(client))
        self.sorted_away(client)

    def test_stored_orders(self) -> None:
        """An order that somebody stored is not obeyed later."""
        client = self.come()
        self.gateway.hub.restore({b"wsredis-control": b'{"end": {"user": "john"}}'})
        self.assertEqual([], self.codes(client))
        self.sorted_away(client)

    def test_forbidden(self) -> None:
        """Where Redis forbids the channel, the log says what that means."""
        with capturedLogs() as logs:
            self.gateway.hub.forbid(b"wsredis-control")
        self.assertIn("--recheck", logs[0]["log_format"])
        self.nothing_left()


class RecheckTests(_DoorCase):
    """Identities are looked at again."""

    def recheck(self, target: dict[str, str] | None = None) -> None:
        """The application asks for it."""
        self.order({"recheck": target or {"user": "john"}})

    def test_periodically(self) -> None:
        """Each connection is checked once a period."""
        client = self.come()
        self.wait(61.0)
        self.assertIn(len(self.register.asked), (2, 3))
        self.assertEqual([], self.codes(client))
        self.register.known["john"] = None
        self.wait(60.0)
        self.assertEqual([4401], self.codes(client))
        self.sorted_away(client)

    def test_never(self) -> None:
        """With 0 only the application's order makes a check."""
        self.use(MemoryGateway(replace(self.config, recheck=0.0), authenticator=self.register))
        client = self.come()
        self.wait(300.0)
        self.assertEqual(["john"], self.register.asked)
        self.recheck()
        self.assertEqual(["john"] * 2, self.register.asked)
        self.sorted_away(client)

    def test_whom_it_means(self) -> None:
        """A check can be ordered for a user, a group or a session."""
        self.register.known["ann"] = Identity("ann", ("chatters",), "key-of-ann")
        clients = [self.come(), self.come("ann")]
        for target, expected in (
            ({"user": "john"}, ["john"]),
            ({"session": "key-of-ann"}, ["ann"]),
            ({"group": "chatters"}, ["john", "ann"]),
            ({"group": "nobody"}, []),
        ):
            self.register.asked.clear()
            self.recheck(target)
            self.assertEqual(expected, self.register.asked)
        self.sorted_away(*clients)

    def test_ends(self) -> None:
        """HandshakeRejected, or somebody else by now: 4401 or 4403."""
        for answer, code in (
            (HandshakeRejected("no", 401), 4401),
            (HandshakeRejected("no", 403), 4403),
            (None, 4401),
            (Identity("ann", JOHN.groups, JOHN.session), 4401),
            (Identity("john", JOHN.groups, "another"), 4401),
            (Identity("john", JOHN.groups, JOHN.session, expires=EPOCH - 1), 4401),
        ):
            self.register.known["john"] = JOHN
            client = self.come()
            self.register.known["john"] = answer
            self.recheck()
            self.assertEqual([code], self.codes(client), answer)
            client.leave()
        self.nothing_left()

    def test_cannot_be_told(self) -> None:
        """While it cannot be told, connections stay; the log says so once a minute."""
        client = self.come()
        self.register.known["john"] = HandshakeRejected(
            "try again later", 503, "the database is away"
        )
        with capturedLogs() as logs:
            self.recheck()
            self.recheck()
            self.wait(59.0)
        self.assertEqual(
            ["the database is away"], [each["reason"] for each in logs if "reason" in each]
        )
        self.assertEqual([], self.codes(client))
        self.register.known["john"] = ValueError("a bug")
        self.wait(2.0)
        self.recheck()
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))
        self.assertEqual([], self.codes(client))
        self.register.known["john"] = None
        self.recheck()
        self.assertEqual([4401], self.codes(client))
        self.sorted_away(client)

    def test_groups_follow(self) -> None:
        """A new group is subscribed to, with its stored message; an old one is left."""
        client = self.come()
        self.gateway.redis.store(b"group:admins:a", 60, b"kept")
        self.register.known["john"] = Identity("john", ("admins",), JOHN.session)
        self.recheck()
        self.publish(b"for admins", b"group:admins:a")
        self.publish(b"for chatters", b"group:chatters:a")
        self.publish(b"for john", b"user:john:a")
        self.assertEqual([b"kept", b"for admins", b"for john"], self.heard(client))
        self.sorted_away(client)

    def test_rights_follow(self) -> None:
        """A policy that grants less takes subscriptions away."""
        grants = [Access("a", frozenset(Audience)), Access("a", frozenset({Audience.BROADCAST}))]

        class Policy:
            def allow(self, identity: Identity, handshake: Handshake) -> Access:
                return grants.pop(0)

        self.use(MemoryGateway(self.config, authenticator=self.register, policy=Policy()))
        client = self.come()
        self.recheck()
        self.publish(b"for john", b"user:john:a")
        self.publish(b"for all")
        self.assertEqual([b"for all"], self.heard(client))
        self.sorted_away(client)

    def test_too_many_groups(self) -> None:
        """Who gets more groups than channels are allowed is closed."""
        config = GatewayConfig(limits=Limits(max_channels=4))
        self.use(MemoryGateway(config, authenticator=self.register))
        client = self.come()
        self.register.known["john"] = Identity("john", ("a", "b"), JOHN.session)
        self.recheck()
        self.assertEqual([1008], self.codes(client))
        self.sorted_away(client)


class SlowTests(_DoorCase):
    """Checks that take their time."""

    config = replace(_DoorCase.config, recheck=0.0)

    def setUp(self) -> None:
        """Let every question but the first of a client wait."""
        super().setUp()
        self.clients = [self.come() for _ in range(6)]
        self.answers: list[Deferred[Identity]] = []
        self.register.asked.clear()

    def slow(self, name: str = "john") -> None:
        """Wait from now on."""
        identify = self.register.identify

        def wait(handshake: Handshake) -> Deferred[Identity]:
            identify(handshake)
            self.answers.append(Deferred())
            return self.answers[-1]

        self.register.identify = wait  # type: ignore[method-assign]

    def test_few_at_a_time(self) -> None:
        """Four are checked at a time, each once, in the order of the access for it."""
        self.slow()
        self.order({"recheck": {"user": "john"}})
        self.assertEqual(4, len(self.answers))
        self.answers[0].callback(JOHN)
        self.assertEqual(5, len(self.answers))
        for answer in self.answers[1:5]:
            answer.callback(JOHN)
        self.assertEqual(6, len(self.answers))
        self.answers[5].callback(JOHN)
        self.assertEqual(6, len(self.answers))
        self.sorted_away(*self.clients)

    def test_ordered_again_meanwhile(self) -> None:
        """An order during a check makes one more: the first may have read too early."""
        for client in self.clients[1:]:
            client.leave()
        self.slow()
        self.order({"recheck": {"user": "john"}})
        self.order({"recheck": {"user": "john"}})
        self.order({"recheck": {"user": "john"}})
        self.assertEqual(1, len(self.answers))
        self.answers[0].callback(JOHN)
        self.assertEqual(2, len(self.answers))
        self.answers[1].callback(JOHN)
        self.assertEqual(2, len(self.answers))
        self.sorted_away(self.clients[0])

    def test_leaves_meanwhile(self) -> None:
        """The answer for a client that left is of no use, and those that wait are not asked for."""
        self.slow()
        self.order({"recheck": {"user": "john"}})
        for client in self.clients:
            client.leave()
        self.answers[0].callback(JOHN)
        self.answers[1].errback(HandshakeRejected("no", 401))
        # The other two are given up when the gateway stops.
        self.assertEqual(4, len(self.answers))
        self.nothing_left()

    def test_too_slow(self) -> None:
        """A question without an answer is given up: a 503 for who comes, and who is there stays."""
        self.slow()
        self.order({"recheck": {"user": "john"}})
        client = self.connect()
        client.send(handshake(_ALL, "Authorization: john"))
        with capturedLogs() as logs:
            self.wait(3.1)
        self.assertTrue(client.take().startswith(b"HTTP/1.1 503 "))
        reasons = [each["reason"] for each in logs if "reason" in each]
        self.assertIn("--auth-timeout is over", reasons)
        # Two wait still, and have their turn now.
        self.assertEqual(4 + 1 + 2, len(self.answers))
        self.assertEqual([[]] * 6, [self.codes(each) for each in self.clients])
        self.wait(3.1)
        self.sorted_away(*self.clients)

    def test_comes_during_an_order(self) -> None:
        """A client whose identity was read before an order, and opened after it, is checked."""
        for client in self.clients:
            client.leave()
        self.gateway.broker.pause()
        client = self.connect()
        client.send(handshake(_ALL, "Authorization: john"))
        self.register.asked.clear()
        self.order_at_once({"recheck": {"group": "chatters"}})
        self.assertEqual([], self.register.asked)
        self.gateway.broker.resume()
        self.assertEqual(["john"], self.register.asked)
        self.sorted_away(client)
