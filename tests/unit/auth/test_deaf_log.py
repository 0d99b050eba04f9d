"""Tests of `wsredis.auth.deaf_log`, with a gateway in memory around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.support.memory_gateway import MemoryGateway
from tests.unit.auth.case import ALL, JOHN, AuthCase
from wsredis.auth.admission import Accepted
from wsredis.auth.deaf_log import DeafLog
from wsredis.channels import Access, Audience
from wsredis.gateway.handler import Handler
from wsredis.gateway.identity import Handshake, Identity
from wsredis.gateway.incidents import Incidents


class _Policy:
    """A policy that the test decides."""

    def __init__(self) -> None:
        self.decide: Callable[[Access], Access] = lambda access: access

    def allow(self, identity: Identity, handshake: Handshake) -> Access:
        """See `wsredis.gateway.identity.Policy.allow`."""
        return self.decide(handshake.requested)


class DeafLogTests(AuthCase):
    """A socket that will hear nothing is counted, and the log says why."""

    def setUp(self) -> None:
        """Start a gateway with a policy, too."""
        super().setUp()
        self.policy = _Policy()
        self.use(MemoryGateway(self.config, authenticator=self.register, policy=self.policy))

    def logged(self, path: str, name: str = "nobody") -> list[str]:
        """Open a WebSocket, and return the lines of the log."""
        with capturedLogs() as logs:
            self.come(name, path)
        return [str(formatEvent(each)) for each in logs]

    def check(self, reason: str, path: str, name: str = "nobody") -> None:
        """Such a WebSocket is deaf for a reason."""
        before = self.gateway.metrics.deaf
        (line,) = self.logged(path, name)
        self.assertRegex(line, r"\A192\.0\.2\.1:54321 \(\S+\) hears nothing on 'a': ")
        self.assertIn(reason, line)
        self.assertEqual(before + 1, self.gateway.metrics.deaf)
        self.wait(61)

    def test_no_flag(self) -> None:
        """Without a flag, or with parameters that resemble none, there is nothing to hear."""
        self.check("no flag, such as 'subscribe-broadcast'", "/ws/a")
        self.check("no flag", "/ws/a?echo")
        self.check("no flag", "/ws/a?token=xyz&next=/&" + "subscribe" * 20)

    def test_misspelt(self) -> None:
        """A flag that is nearly right is told, with the right one."""
        for word, flag in (
            ("subscribe-brodcast", "subscribe-broadcast"),
            ("subscribe_broadcast", "subscribe-broadcast"),
            ("a=b&subscribe-usr=1", "subscribe-user"),
            ("publish-grup&echo", "publish-group"),
            ("subscribe-broadcast,echo", "subscribe-broadcast"),
        ):
            self.check(f"is it {flag!r}?", f"/ws/a?{word}")

    def test_text_of_the_client(self) -> None:
        """Whatever the client wrote is quoted, and neither values nor secrets are told."""
        (line,) = self.logged("/ws/a%E2%80%AEb%E2%80%A8c?x=1&subscribe-broadcast%0A%1B[31m=SECRET")
        self.assertIn(r"'a\u202eb\u2028c'", line)
        self.assertIn(r"'subscribe-broadcast\n\x1b[31m'", line)
        self.wait(61)
        for path in (
            "/ws/a?subscribe=SECRETSE",
            "/ws/a?SECRETSE",
            "/ws/a?subscribe-broadcst=SECRETSE",
        ):
            (line,) = self.logged(path)
            self.assertNotIn("secret", line.lower())
            self.wait(61)

    def test_no_identity(self) -> None:
        """Without a user there is nothing for a user."""
        self.check("subscribe-user, and nobody is logged in", "/ws/a?subscribe-user")
        self.check("publish-broadcast, and nobody", "/ws/a?subscribe-user&publish-broadcast")
        self.check("publish-session, and nobody is logged in", "/ws/a?publish-session")
        self.register.known["ann"] = Identity("ann")
        self.check("has no group and no session", "/ws/a?subscribe-group&publish-session", "ann")

    def test_colon(self) -> None:
        """A name with a colon gives no channel."""
        self.register.known["a:b"] = Identity("a:b")
        with capturedLogs() as logs:
            self.come("a:b", "/ws/a?subscribe-user")
        self.assertIn("the name of its user has a colon", str(formatEvent(logs[-1])))

    def test_denied(self) -> None:
        """A policy may take all rights away."""
        self.policy.decide = lambda access: Access(access.facility)
        self.check(
            "asks for subscribe-broadcast, publish-user, and nothing",
            "/ws/a?publish-user&subscribe-broadcast",
        )

    def test_recheck(self) -> None:
        """An open socket that loses its last channel is told, and counted until it has one."""
        client = self.come("john", "/ws/a?subscribe-group")
        metrics = self.gateway.metrics
        for groups, deaf, lines in (((), 1, 1), ((), 1, 0), (("chatters",), 0, 0), ((), 1, 1)):
            self.register.known["john"] = replace(JOHN, groups=groups)
            with capturedLogs() as logs:
                self.command({"recheck": {"user": "john"}})
            self.assertEqual(lines, len(logs), groups)
            self.assertEqual(deaf, metrics.deaf)
            self.wait(61)
        client.leave()
        self.assertEqual(0, metrics.deaf)

    def test_not_deaf(self) -> None:
        """A socket with a channel, or one that only publishes, is not; nor is one of a handler."""
        for path in ("/ws/a?subscribe-broadcast", "/ws/a?publish-broadcast", ALL):
            self.assertEqual([], self.logged(path))
        self.assertEqual(0, self.gateway.metrics.deaf)
        self.use(MemoryGateway(self.config, handler=Handler()))
        self.assertEqual([], self.logged("/ws/a"))
        self.assertEqual(0, self.gateway.metrics.deaf)

    def test_once_a_minute(self) -> None:
        """Many of them are one line a minute for each kind, and all are counted."""
        with capturedLogs() as logs:
            for _ in range(5):
                self.come("nobody", "/ws/a?subscribe-user")
                self.come("nobody", "/ws/a")
            self.assertEqual(2, len(logs))
            self.gateway.auth.stop()
        self.assertEqual(4, len(logs))
        self.assertIn("3 more of this kind", str(formatEvent(logs[-1])))
        self.assertEqual(10, self.gateway.metrics.deaf)

    def test_searched_now_and_then(self) -> None:
        """Flags that might be misspelt are looked for once a second, since that takes long."""
        lines = self.logged("/ws/a?x") + self.logged("/ws/a?subscribe-brodcast")
        self.assertEqual(1, len(lines))
        self.wait(1.1)
        (line,) = self.logged("/ws/a?subscribe-brodcast")
        self.assertIn("is it 'subscribe-broadcast'?", line)


class ForeignTests(SynchronousTestCase):
    """A page of a foreign origin, whose cookies do not count."""

    def test_foreign(self) -> None:
        """If a policy of the operator then grants it nothing, the origin is the reason."""
        log = DeafLog(Clock(), lambda handshake: "cookie" in handshake.headers, Incidents())

        class Deaf:
            id = "k7x2f-1"
            peer = "192.0.2.1:4711"
            identity = Identity()
            granted = Access("a")

        requested = Access("a", frozenset({Audience.BROADCAST}))
        headers = {"origin": "https://evil.example", "cookie": "sessionid=SECRET"}
        handshake = Handshake(requested, "/ws/a", headers, Deaf.peer, "subscribe-broadcast")
        with capturedLogs() as logs:
            log.opened(Deaf(), Accepted(handshake, Deaf.identity, Deaf.granted, 0.0))
        (line,) = map(str, map(formatEvent, logs))
        self.assertIn("its page is foreign", line)
        self.assertNotIn("SECRET", line)
