"""Tests of `wsredis.auth.session_monitor`, with a gateway in memory around it."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.support.memory_gateway import EPOCH, MemoryGateway
from tests.support.raw import handshake
from tests.unit.auth.case import ALL, JOHN, AuthCase, Register
from wsredis.auth.admission import Accepted
from wsredis.auth.control_commands import RecentCommands, all_names
from wsredis.auth.hint_log import HintLog
from wsredis.auth.session_monitor import SessionMonitor
from wsredis.channels import Access, Audience
from wsredis.config import GatewayConfig, Limits
from wsredis.errors import HandshakeRejected
from wsredis.gateway.identity import Handshake, Identity
from wsredis.gateway.incidents import Incidents


class ExpiryTests(AuthCase):
    """Identities that expire."""

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
        self.check_nothing_left(client, other)

    def test_prolonged(self) -> None:
        """A check can prolong an identity."""
        self.register.known["joe"] = Identity("joe", expires=EPOCH + 10.0)
        client = self.come("joe")
        self.register.known["joe"] = Identity("joe", expires=EPOCH + 20.0)
        self.command({"recheck": {"user": "joe"}})
        self.wait(15.0)
        self.assertEqual([], self.codes(client))
        self.wait(6.0)
        self.assertEqual([4401], self.codes(client))
        self.check_nothing_left(client)


class RecheckTests(AuthCase):
    """Open connections are checked again."""

    def recheck(self, target: dict[str, str] | None = None) -> None:
        """Command a check."""
        self.command({"recheck": target or {"user": "john"}})

    def test_periodically(self) -> None:
        """Each connection is checked once a period."""
        client = self.come()
        self.wait(61.0)
        self.assertIn(len(self.register.asked), (2, 3))
        self.assertEqual([], self.codes(client))
        self.register.known["john"] = None
        self.wait(60.0)
        self.assertEqual([4401], self.codes(client))
        self.check_nothing_left(client)

    def test_never(self) -> None:
        """With 0, only a command of the application makes a check."""
        self.use(MemoryGateway(replace(self.config, recheck=0.0), authenticator=self.register))
        client = self.come()
        self.wait(300.0)
        self.assertEqual(["john"], self.register.asked)
        self.recheck()
        self.assertEqual(["john"] * 2, self.register.asked)
        self.check_nothing_left(client)

    def test_whom_it_means(self) -> None:
        """A check can be commanded for a user, a group or a session."""
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
        self.check_nothing_left(*clients)

    def test_ends(self) -> None:
        """A client that is rejected now, or is another user, is closed with 4401 or 4403."""
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

    def test_check_fails(self) -> None:
        """While checks fail, connections stay; that is logged once a minute."""
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
        self.check_nothing_left(client)

    def test_groups_follow(self) -> None:
        """A new group is subscribed to, with its stored message; an old one is unsubscribed."""
        client = self.come()
        self.gateway.redis.store(b"group:admins:a", 60, b"kept")
        self.register.known["john"] = Identity("john", ("admins",), JOHN.session)
        self.recheck()
        self.publish(b"for admins", b"group:admins:a")
        self.publish(b"for chatters", b"group:chatters:a")
        self.publish(b"for john", b"user:john:a")
        self.assertEqual([b"kept", b"for admins", b"for john"], self.heard(client))
        self.check_nothing_left(client)

    def test_fixed_groups(self) -> None:
        """Groups that are fixed stay those of the handshake, also for the policies."""
        asked: list[tuple[str, ...]] = []

        class Policy:
            def allow(self, identity: Identity, handshake: Handshake) -> Access:
                asked.append(identity.groups)
                return handshake.requested

        self.use(
            MemoryGateway(self.config, authenticator=self.register, policy=Policy()),
        )
        one = Identity("joe", ("room a",), has_fixed_groups=True)
        self.register.known["joe"] = one
        client = self.come("joe")
        self.register.known["joe"] = replace(one, groups=("room b",))
        self.recheck({"user": "joe"})
        other = self.come("joe")
        self.gateway.redis.publish(b"group:room a:a", b"a")
        self.gateway.redis.publish(b"group:room b:a", b"b")
        self.assertEqual(([b"a"], [b"b"]), (self.heard(client), self.heard(other)))
        self.assertEqual([("room a",), ("room a",), ("room b",)], asked[:3])
        self.check_nothing_left(client, other)

    def test_lost_group(self) -> None:
        """The loss of a group ends its subscription, also of fixed groups, and for good."""
        one = Identity("joe", ("room", "staff"), has_fixed_groups=True, memberships=("staff",))
        self.register.known["joe"] = one
        client = self.come("joe")
        gone = replace(one, groups=("another",), memberships=())
        for now in (gone, one):
            self.register.known["joe"] = now
            self.recheck({"user": "joe"})
            for channel in (b"group:staff:a", b"group:another:a", b"group:room:a"):
                self.gateway.redis.publish(channel, b"on " + channel)
        self.assertEqual([b"on group:room:a"] * 2, self.heard(client))
        self.check_nothing_left(client)

    def test_joined_and_lost(self) -> None:
        """A group that a user joins while a socket is open can be lost as well."""
        one = Identity("joe", ("room",), has_fixed_groups=True)
        client = None
        for memberships in ((), ("room",), ()):
            self.register.known["joe"] = replace(one, memberships=memberships)
            if client is None:
                client = self.come("joe")
            else:
                self.recheck({"user": "joe"})
                self.gateway.redis.publish(b"group:room:a", str(len(memberships)).encode())
        assert client is not None
        self.assertEqual([b"1"], self.heard(client))
        self.check_nothing_left(client)

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
        self.check_nothing_left(client)

    def test_too_many_groups(self) -> None:
        """A client that gets more groups than channels are allowed is closed."""
        config = GatewayConfig(limits=Limits(max_channels=4))
        self.use(MemoryGateway(config, authenticator=self.register))
        client = self.come()
        self.register.known["john"] = Identity("john", ("a", "b"), JOHN.session)
        self.recheck()
        self.assertEqual([1008], self.codes(client))
        self.check_nothing_left(client)


class _Connection:
    """
    A connection without a gateway.

    Attributes:
        closed: The codes it was closed with.
    """

    peer = "192.0.2.1:4711"
    id = "k7x2f-1"
    is_deaf = False
    chooses_channels = False
    hints = ()

    def __init__(self, identity: Identity, *, broken: bool = False) -> None:
        self.identity = identity
        self.granted = Access("a")
        self.channels: list[bytes] = []
        self.publishes: list[bytes] = []
        self.hints = ()
        self.closed: list[int] = []
        self._broken = broken

    async def change(self, identity: Identity, granted: Access) -> None:
        """Take the changes."""
        self.identity, self.granted = identity, granted

    def close(self, code: int, reason: str) -> None:
        """Write down the code, or fail."""
        self.closed.append(code)
        if self._broken:
            raise ValueError("a broken connection")


class BrokenTests(SynchronousTestCase):
    """One broken connection does not keep the others from being closed."""

    def setUp(self) -> None:
        """Watch three connections, one of which is broken, whose identities expire."""
        self.clock = Clock()
        self.monitor = SessionMonitor(
            self.clock,
            self.decide,
            RecentCommands(self.clock),
            HintLog(self.clock, Incidents()),
            lambda *more: (),
            wall_clock=self.clock.seconds,
        )
        identity = replace(JOHN, expires=5.0)
        self.connections = [_Connection(identity, broken=number == 1) for number in range(3)]
        question = Handshake(Access("a"), "/ws/a", {}, "peer")
        for each in self.connections:
            accepted = Accepted(question, identity, each.granted, 0.5)
            self.monitor.connection_opened(each, accepted)

    async def decide(
        self, handshake: Handshake, groups: tuple[str, ...]
    ) -> tuple[Identity, Access]:
        """Reject the identity."""
        raise HandshakeRejected("no", 403)

    def check(self, code: int) -> None:
        """Check that each was closed once, with *code*, and that the error is in the log."""
        self.assertEqual([[code]] * 3, [each.closed for each in self.connections])
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))

    def test_end(self) -> None:
        """A command ends all connections of an identity."""
        for selector, name in all_names(JOHN):
            self.monitor.end(selector, name)
            self.check(4401)
            for each in self.connections:
                each.closed.clear()

    def test_recheck(self) -> None:
        """A check closes all connections of an identity that is not allowed any more."""
        self.monitor.recheck("user", "john")
        self.check(4403)

    def test_expiry(self) -> None:
        """All connections that expired are closed."""
        self.monitor.start()
        self.clock.advance(5.0)
        self.check(4401)
        self.monitor.stop()


class SlowTests(AuthCase):
    """Checks that take their time."""

    config = replace(AuthCase.config, recheck=0.0)

    def setUp(self) -> None:
        """Open six connections."""
        super().setUp()
        self.clients = [self.come() for _ in range(6)]
        self.answers: list[Deferred[Identity]] = []
        self.register.asked.clear()

    def slow(self, name: str = "john") -> None:
        """Answer no question from now on, until the test does."""
        identify = self.register.identify

        def wait(handshake: Handshake) -> Deferred[Identity]:
            identify(handshake)
            self.answers.append(Deferred())
            return self.answers[-1]

        self.register.identify = wait  # type: ignore[method-assign]

    def test_no_address(self) -> None:
        """A check has no share of an address, which the client could use up to escape it."""
        addresses = []

        class Watching(Register):
            def identify(self, handshake: Handshake) -> object:
                addresses.append(handshake.address)
                return super().identify(handshake)

        self.use(MemoryGateway(self.config, authenticator=Watching()))
        client = self.come()
        self.command({"recheck": {"user": "john"}})
        self.assertEqual(2, len(addresses))
        self.assertNotEqual("", addresses[0])
        self.assertEqual("", addresses[1])
        self.check_nothing_left(client)

    def test_few_at_a_time(self) -> None:
        """Four connections are checked at a time, each once, in the order of the requests."""
        self.slow()
        self.command({"recheck": {"user": "john"}})
        self.assertEqual(4, len(self.answers))
        self.answers[0].callback(JOHN)
        self.assertEqual(5, len(self.answers))
        for answer in self.answers[1:5]:
            answer.callback(JOHN)
        self.assertEqual(6, len(self.answers))
        self.answers[5].callback(JOHN)
        self.assertEqual(6, len(self.answers))
        self.check_nothing_left(*self.clients)

    def test_commanded_again_meanwhile(self) -> None:
        """A command during a check makes one more: the first may have read too early."""
        for client in self.clients[1:]:
            client.leave()
        self.slow()
        self.command({"recheck": {"user": "john"}})
        self.command({"recheck": {"user": "john"}})
        self.command({"recheck": {"user": "john"}})
        self.assertEqual(1, len(self.answers))
        self.answers[0].callback(JOHN)
        self.assertEqual(2, len(self.answers))
        self.answers[1].callback(JOHN)
        self.assertEqual(2, len(self.answers))
        self.check_nothing_left(self.clients[0])

    def test_leaves_meanwhile(self) -> None:
        """The answer for a client that left is dropped; clients that left are not asked about."""
        self.slow()
        self.command({"recheck": {"user": "john"}})
        for client in self.clients:
            client.leave()
        self.answers[0].callback(JOHN)
        self.answers[1].errback(HandshakeRejected("no", 401))
        # The other two are given up when the gateway stops.
        self.assertEqual(4, len(self.answers))
        self.nothing_left()

    def test_too_slow(self) -> None:
        """A check without an answer is cancelled: open connections stay, a new one gets 503."""
        self.slow()
        self.command({"recheck": {"user": "john"}})
        client = self.connect()
        client.send(handshake(ALL, "Authorization: john"))
        with capturedLogs() as logs:
            self.wait(3.1)
        self.assertTrue(client.take().startswith(b"HTTP/1.1 503 "))
        reasons = [each["reason"] for each in logs if "reason" in each]
        self.assertIn("no decision within --auth-timeout", reasons)
        # Two wait still, and have their turn now.
        self.assertEqual(4 + 1 + 2, len(self.answers))
        self.assertEqual([[]] * 6, [self.codes(each) for each in self.clients])
        self.wait(3.1)
        self.check_nothing_left(*self.clients)

    def test_opened_during_a_command(self) -> None:
        """A client that was identified before a command, and opened after it, is checked."""
        for client in self.clients:
            client.leave()
        self.gateway.broker.pause()
        client = self.connect()
        client.send(handshake(ALL, "Authorization: john"))
        self.register.asked.clear()
        self.command_at_once({"recheck": {"group": "chatters"}})
        self.assertEqual([], self.register.asked)
        self.gateway.broker.resume()
        self.assertEqual(["john"], self.register.asked)
        self.check_nothing_left(client)
