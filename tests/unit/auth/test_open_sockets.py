"""Tests of `wsredis.auth.open_sockets`, with a gateway in memory around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred

from tests.support.memory_gateway import MemoryGateway, Socket
from tests.unit.auth.case import AuthCase
from wsredis.channels import Access
from wsredis.config import GatewayConfig
from wsredis.errors import HandshakeRejected
from wsredis.gateway.identity import Handshake, Identity

#: Asks for all that a user can have.
BOTH = "/ws/a?subscribe-user&subscribe-broadcast"


class OpenSocketsTests(AuthCase):
    """A socket is shown to its own visitor only."""

    config = GatewayConfig(demo=True, ping_interval=100000.0)

    def setUp(self) -> None:
        """Start a gateway with a playground."""
        super().setUp()
        assert self.gateway.auth.sockets is not None
        self.sockets = self.gateway.auth.sockets

    def name(self, client: Socket) -> str:
        """Returns: The name of the connection of a client."""
        return self.protocol(client).connection_id

    def asking(self, headers: Mapping[str, str], query: str = "") -> Handshake:
        """Returns: A request with these headers."""
        headers = {"host": "localhost", **headers}
        return Handshake(Access(""), "/demo/socket", headers, "192.0.2.1", query)

    def ask(self, name: str, who: str = "", query: str = "") -> Any:
        """Returns: The report on a socket for somebody, or None."""
        headers = {"authorization": who} if who else {}
        report = self.sockets.report(name, self.asking(headers, query))
        return self.successResultOf(Deferred.fromCoroutine(report))

    def test_own(self) -> None:
        """The owner of a socket is told all about it."""
        name = self.name(self.come("john", BOTH))
        report = self.ask(name, "john")
        self.assertEqual((name, "john"), (report["id"], report["identity"]["user"]))
        self.assertEqual(["subscribe-broadcast", "subscribe-user"], report["asked"])

    def test_somebody_else(self) -> None:
        """Others are told as much as about a socket that does not exist."""
        self.register.known["mary"] = Identity("mary", session="key-of-mary")
        self.register.known["john2"] = Identity("john", session="another key")
        name = self.name(self.come("john", BOTH))
        for who in ("mary", "john2", "", "nobody"):
            self.assertIsNone(self.ask(name, who), who)
        self.assertIsNone(self.ask("nosuch-1", "john"))

    def test_token_in_the_url(self) -> None:
        """The token of a socket's own URL does not speak for whoever asks about it."""
        seen: list[str] = []
        identify = self.register.identify

        def by_query(handshake: Handshake) -> Any:
            seen.append(handshake.query)
            return replace(Identity("john")) if "token" in handshake.query else identify(handshake)

        self.register.identify = by_query  # type: ignore[method-assign]
        name = self.name(self.come("nobody", f"{BOTH}&token=secret"))
        self.assertIsNone(self.ask(name, query="id=x&token=secret"))
        self.assertEqual([f"{BOTH.partition('?')[2]}&token=secret", ""], seen)

    def test_nobody(self) -> None:
        """A socket of nobody is shown to anybody, and nobody is asked for that."""
        name = self.name(self.come("nobody", BOTH))
        asked = len(self.register.asked)
        report = self.ask(name, "john")
        self.assertEqual("nobody is logged in here", report["subscribe"][2]["why"])
        self.assertEqual(asked, len(self.register.asked))

    def test_rebinding(self) -> None:
        """A page whose own name leads here learns nothing of sockets that came by another one."""
        name = self.name(self.come("nobody", BOTH))
        self.assertIsNotNone(self.ask(name))
        for headers in ({"host": "evil.example:8080"}, {"host": ""}):
            report = self.sockets.report(name, self.asking(headers))
            self.assertIsNone(self.successResultOf(Deferred.fromCoroutine(report)))

    def test_rejected(self) -> None:
        """If it cannot be told who asks, that is the answer."""
        name = self.name(self.come("john", BOTH))
        self.register.known["john"] = HandshakeRejected("try again later", 503)
        report = self.sockets.report(name, self.asking({"authorization": "john"}))
        self.failureResultOf(Deferred.fromCoroutine(report), HandshakeRejected)

    def test_closed_meanwhile(self) -> None:
        """A socket that is closed while somebody is asked is no socket any more."""
        client = self.come("john", BOTH)
        name = self.name(client)
        pending: Deferred[Identity] = Deferred()
        john, self.register.known["john"] = self.register.known["john"], pending
        report = self.sockets.report(name, self.asking({"authorization": "john"}))
        answer = Deferred.fromCoroutine(report)
        self.assertNoResult(answer)
        client.leave()
        pending.callback(john)
        self.assertIsNone(self.successResultOf(answer))

    def test_foreign_page(self) -> None:
        """The page of another origin learns why its cookies did not count."""
        client = self.open(
            "/ws/a?subscribe-broadcast", "Cookie: a=b", "Origin: http://localhost:3000"
        )
        report = self.ask(self.name(client))
        self.assertEqual("not asked for", report["subscribe"][2]["why"])
        self.assertTrue(self.sockets.is_foreign(self.asking({"origin": "http://evil.example"})))
        self.assertFalse(self.sockets.is_foreign(self.asking({})))

    def test_foreign_page_with_a_wish(self) -> None:
        """It is told which option would change it."""
        # A policy of another program may grant more than ours.
        client = self.open("/ws/a?subscribe-broadcast", "Cookie: a=b", "Origin: null")
        connection = self.protocol(client).connection
        assert connection is not None
        connection.granted = Access("a", *self.flags("subscribe-user"))
        report = self.sockets.report(connection.id, self.asking({}))
        (entry,) = [
            each
            for each in self.successResultOf(Deferred.fromCoroutine(report))["subscribe"]
            if each["audience"] == "user"
        ]
        self.assertIn(
            "its cookies are ignored; a web server whose address --allow-origin names admits it",
            entry["why"],
        )

    def flags(self, *flags: str) -> Any:
        """Returns: The audiences of flags."""
        from wsredis.channels import parse_flags

        return parse_flags(flags)

    def test_nothing_left(self) -> None:
        """A socket that is closed is forgotten."""
        clients = [self.come("john", BOTH), self.come("nobody", BOTH)]
        self.assertEqual(2, len(self.sockets))
        for client in clients:
            client.leave()
        self.assertEqual(0, len(self.sockets))

    def test_only_with_demo(self) -> None:
        """Without the playground nothing is remembered."""
        self.use(MemoryGateway(GatewayConfig(), authenticator=self.register))
        self.assertIsNone(self.gateway.auth.sockets)
