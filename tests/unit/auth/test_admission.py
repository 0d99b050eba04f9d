"""Tests of `wsredis.auth.admission`, with a gateway in memory around it."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import capturedLogs

from tests.support.memory_gateway import EPOCH, MemoryGateway
from tests.support.raw import handshake
from tests.unit.auth.case import ALL, JOHN, AuthCase, Register
from wsredis.auth.admission import Admission
from wsredis.auth.control_commands import RecentCommands
from wsredis.auth.hints import NO_USERS
from wsredis.auth.policies.origin import OriginPolicy
from wsredis.channels import Access, Audience
from wsredis.config import GatewayConfig, Limits
from wsredis.errors import HandshakeRejected
from wsredis.gateway.identity import Authenticator, Handshake, Identity, Policy


class AdmitTests(AuthCase):
    """`Admission`: which clients are let in, and with which access."""

    def make(
        self, authenticators: Sequence[Authenticator], *policies: Policy, **more: Any
    ) -> Admission:
        """An admission of its own, apart from that of the gateway."""
        return Admission(self.clock, authenticators, policies, RecentCommands(self.clock), **more)

    def check_rejected(self, name: str, status: int, reason: bytes) -> None:
        """Check how a client is rejected."""
        found, answer = self.answer(handshake(ALL, f"Authorization: {name}"))
        self.assertEqual(status, found, answer)
        self.assertTrue(answer.endswith(reason), answer)

    def test_first_who_knows(self) -> None:
        """Authenticators are asked in turn until one knows the client."""
        first, second = Register(), Register()
        first.known = {"joe": Identity("joe of the first")}
        second.known = {"joe": Identity("joe of the second"), "ann": Identity("ann")}
        admission = self.make([first, second])
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

        class Grants:
            def __init__(self, grant: Access) -> None:
                self.grant = grant

            def allow(self, identity: Identity, handshake: Handshake) -> Deferred[Access]:
                asked.append(handshake.requested)
                return succeed(self.grant)

        first, second = Access("first"), Access("second")
        self.register.known["joe"] = Identity("joe", granted=own)
        admission = self.make([self.register], Grants(first), Grants(second))
        question = Handshake(Access("a"), "/ws/a", {"authorization": "joe"}, "peer")
        accepted = self.successResultOf(Deferred.fromCoroutine(admission.admit(question)))
        self.assertEqual([own, first], asked)
        self.assertIs(second, accepted.granted)

    def test_enrolment(self) -> None:
        """A subscriber of a project is asked once, with what the policies granted, and in time."""
        asked: list[Access] = []
        enrolment: Any = object()
        waiting: list[Deferred[Any]] = []

        def enrol(granted: Access) -> Deferred[Any]:
            asked.append(granted)
            waiting.append(Deferred())
            return waiting[-1]

        class Grants:
            def allow(self, identity: Identity, handshake: Handshake) -> Access:
                return Access("granted")

        self.register.known["joe"] = Identity("joe", enrol=enrol)
        admission = self.make([self.register], Grants(), timeout=2.0)
        question = Handshake(Access("a"), "/ws/a", {"authorization": "joe"}, "peer")
        admitted = Deferred.fromCoroutine(admission.admit(question))
        waiting[0].callback(enrolment)
        accepted = self.successResultOf(admitted)
        self.assertIs(enrolment, accepted.enrolment)
        self.assertIsNone(accepted.identity.enrol, "it may hold the request")
        self.assertEqual([Access("granted")], asked)
        identity, _ = self.successResultOf(Deferred.fromCoroutine(admission.decide(question)))
        self.assertEqual(1, len(asked), "a check is no new client")
        self.assertIsNone(identity.enrol)
        late = Deferred.fromCoroutine(admission.admit(question))
        self.clock.advance(2.0)
        self.assertEqual(503, self.failureResultOf(late, HandshakeRejected).value.status)

    def test_foreign_pages(self) -> None:
        """Headers that a browser adds on its own do not count for a page of a foreign origin."""
        headers = {"authorization": "john", "cookie": "a=b", "origin": "o", "host": "h"}
        headers |= {"x-remote-user": "john", "sec-websocket-protocol": "bearer.x"}
        question = Handshake(Access("a"), "/ws/a", headers, "peer")
        asked: list[Handshake] = []

        class Grants:
            def allow(self, identity: Identity, handshake: Handshake) -> Access:
                asked.append(handshake)
                return handshake.requested

        for origins, expected in (
            (OriginPolicy(), Identity()),
            (OriginPolicy(secure_header="x-remote-user=john"), Identity()),
            (OriginPolicy(["*"]), JOHN),
            (None, JOHN),
        ):
            admission = self.make([self.register], Grants(), origins=origins)
            accepted = self.successResultOf(Deferred.fromCoroutine(admission.admit(question)))
            self.assertEqual(expected, accepted.identity)
        kept = ["origin", "host", "sec-websocket-protocol"]
        # The header by which a proxy tells of TLS takes rights away.
        secure = ["origin", "host", "x-remote-user", "sec-websocket-protocol"]
        found = [[*each.headers] for each in asked]
        self.assertEqual([kept, secure, [*headers], [*headers]], found)

    def test_foreign_names(self) -> None:
        """Nobody is asked about a handshake by a name that is not that of the gateway."""
        admission = self.make([self.register], origins=OriginPolicy(hosts=["own.example"]))
        for host, status in (("own.example", 0), ("evil.example", 400)):
            headers = {"authorization": "john", "host": host}
            question = Handshake(Access("a"), "/ws/a", headers, "peer")
            decided = Deferred.fromCoroutine(admission.admit(question))
            if status:
                self.assertEqual(status, self.failureResultOf(decided).value.status)
            else:
                self.assertEqual(JOHN, self.successResultOf(decided).identity)
        self.assertEqual(["john"], self.register.asked)

    def test_nobody(self) -> None:
        """A policy's denial says that nobody is logged in, if so, and if it says nothing better."""

        class Denies:
            error = HandshakeRejected("no")

            def allow(self, identity: Identity, handshake: Handshake) -> Access:
                raise self.error

        for authenticators, name, error, advice in (
            ([self.register], "nobody", HandshakeRejected("no"), "nobody is logged in here"),
            ([self.register], "john", HandshakeRejected("no"), ""),
            ([self.register], "nobody", HandshakeRejected("no", advice="eat"), "eat"),
            ([self.register], "nobody", HandshakeRejected("later", 503), ""),
            ([], "nobody", HandshakeRejected("no"), NO_USERS),
        ):
            policy = Denies()
            policy.error = error
            given = error.advice
            question = Handshake(Access("a"), "/ws/a", {"authorization": name}, "peer")
            admission = self.make(authenticators, policy)
            found = self.failureResultOf(Deferred.fromCoroutine(admission.admit(question))).value
            assert isinstance(found, HandshakeRejected)
            self.assertEqual(advice, found.advice)
            # It may be raised again, for another client.
            self.assertEqual(given, error.advice)

    def test_missing(self) -> None:
        """It is told which credentials did not come, if none did."""

        class Source(Register):
            def __init__(self, missing: str) -> None:
                super().__init__()
                self._missing = missing

            def missing(self, handshake: Handshake) -> str:
                return self._missing

        requested = Access("a", frozenset({Audience.USER}))
        question = Handshake(requested, "/ws/a", {"authorization": "nobody"}, "peer")
        connection: Any = SimpleNamespace(is_deaf=True, chooses_channels=False)
        for sources, came in (
            ([Source("cookie sessionid")], ": no cookie sessionid came"),
            ([Source("token"), Source("cookie")], ": no token and no cookie came"),
            ([Source("token"), Source("")], ""),
            ([Source("token"), Register()], ""),
            ([Register()], ""),
        ):
            admission = self.make(sources)
            (hint,) = admission.explain(connection, question, Identity(), requested)
            self.assertEqual(f"subscribe-user has no effect: nobody is logged in here{came}", hint)

    def test_page_elsewhere(self) -> None:
        """A page on another host is the reason why its cookies did not come."""

        class Source(Register):
            def missing(self, handshake: Handshake) -> str:
                return "cookie"

        requested = Access("a", frozenset({Audience.USER}))
        headers = {"origin": "http://127.0.0.1:5000", "host": "localhost:8080"}
        connection: Any = SimpleNamespace(is_deaf=True, chooses_channels=False)
        (hint,) = self.make([Source()]).explain(
            connection, Handshake(requested, "/ws/a", headers, "peer"), Identity(), requested
        )
        self.assertIn("no cookie came; the page is on 127.0.0.1, and cookies go to", hint)

    def test_expired(self) -> None:
        """A client whose identity has expired already is not let in."""
        self.register.known["joe"] = Identity("joe", expires=EPOCH)
        self.check_rejected("joe", 401, b"the credentials have expired")
        self.nothing_left()

    def test_challenge(self) -> None:
        """A response with 401 names the scheme to authenticate with."""
        self.register.known["joe"] = HandshakeRejected("who are you?", 401)
        answer = self.answer(handshake(ALL, "Authorization: joe"))[1]
        self.assertIn(b"\r\nWWW-Authenticate: Bearer\r\n", answer)

    def test_colons(self) -> None:
        """A name with a colon gets no channel and a log line, which does not show a session key."""
        self.register.known["joe"] = Identity("j:oe", ("g:1", "good"), "k:ey")
        with capturedLogs() as logs:
            client = self.come("joe")
        shown = [(each["kind"], each["name"]) for each in logs if "kind" in each]
        self.assertEqual([("user", "j:oe"), ("session", "..."), ("group", "g:1")], shown)
        connection = self.protocol(client).connection
        assert connection is not None
        self.assertEqual([b"broadcast:a", b"group:good:a"], list(connection.channels))
        with capturedLogs() as logs:
            other = self.come("joe", "/ws/a?subscribe-broadcast&publish-group")
        self.assertEqual(["g:1"], [each["name"] for each in logs if "kind" in each])
        self.check_nothing_left(client, other)

    def test_strangers_are_not_watched(self) -> None:
        """No state is kept of anonymous clients."""
        self.register.known["guest"] = Identity(granted=Access("a"))
        clients = [self.come("nobody"), self.come("guest")]
        self.assertEqual({}, self.sessions._watched)
        self.check_nothing_left(*clients)

    def test_nobody_to_ask(self) -> None:
        """Without an authenticator the control channel is not subscribed."""
        self.use(MemoryGateway(self.config))
        self.assertEqual(0, len(self.gateway.hub))
        self.check_nothing_left(self.open(ALL))

    def test_closed_at_once(self) -> None:
        """No state is kept of a client that is closed with its first byte."""
        self.use(
            MemoryGateway(
                GatewayConfig(limits=Limits(max_queue=1, max_queue_hard=1)),
                authenticator=Register(),
            )
        )
        self.gateway.redis.store(b"broadcast:a", 60, b"x" * 500000)
        client = self.connect()
        client.reading = False
        client.send(handshake(ALL, "Authorization: john"))
        self.check_nothing_left(client)
