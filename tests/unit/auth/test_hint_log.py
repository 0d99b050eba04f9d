"""Tests of `wsredis.auth.hint_log`, with a gateway in memory around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from twisted.logger import capturedLogs, formatEvent

from tests.support.memory_gateway import MemoryGateway
from tests.unit.auth.case import ALL, JOHN, AuthCase
from wsredis.auth.hint_log import HintLog
from wsredis.channels import Access
from wsredis.gateway.handler import Handler
from wsredis.gateway.identity import Handshake, Identity


class _Policy:
    """A policy that the test decides."""

    def __init__(self) -> None:
        self.decide: Callable[[Access], Access] = lambda access: access

    def allow(self, identity: Identity, handshake: Handshake) -> Access:
        """See `wsredis.gateway.identity.Policy.allow`."""
        return self.decide(handshake.requested)


class DeafTests(AuthCase):
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
        for number, query in enumerate(("", "echo", "token=xyz&next=/&" + "subscribe" * 20)):
            self.wait(61 * number)
            self.check(
                "no flag: this socket hears nothing; add ?subscribe-broadcast", f"/ws/a?{query}"
            )

    def test_misspelt(self) -> None:
        """A flag that is nearly right is told, with the right one."""
        for word, flag in (
            ("subscribe-brodcast", "subscribe-broadcast"),
            ("a=b&subscribe-usr=1", "subscribe-user"),
            ("publish-grup&echo", "publish-group"),
        ):
            self.check(f"did you mean {flag}?", f"/ws/a?{word}")

    def test_text_of_the_client(self) -> None:
        """Whatever the client wrote is quoted."""
        (line,) = self.logged("/ws/a%E2%80%AEb%E2%80%A8c?x=1&subscribe-broadcast%0A%1B[31m=SECRET")
        self.assertIn(r"'a\u202eb\u2028c'", line)
        self.assertIn(r"subscribe-broadcast\n\x1b[31m", line)
        self.assertNotIn("SECRET", line)

    def test_no_identity(self) -> None:
        """Without a user there is nothing for a user."""
        self.check("subscribe-user has no effect: nobody is logged in", "/ws/a?subscribe-user")
        self.register.known["ann"] = Identity("ann")
        self.check("this user is in no group", "/ws/a?subscribe-group", "ann")

    def test_no_channel(self) -> None:
        """If nothing is known to be wrong, the line says that there is no channel."""
        self.policy.decide = lambda access: Access("")
        self.register.known["ann"] = Identity("ann", granted=Access("", frozenset()))
        client = self.come("ann", "/ws/a?subscribe-user")
        assert client.protocol.connection is not None
        client.protocol.connection.granted = client.protocol.connection.granted.with_hints(())
        with capturedLogs() as logs:
            HintLog(self.clock, self.gateway.hub.incidents).opened(client.protocol.connection)
        self.assertIn("it has no channel", str(formatEvent(logs[0])))

    def test_denied(self) -> None:
        """A policy may take all rights away."""
        self.policy.decide = lambda access: Access(access.facility)
        self.check(
            "subscribe-broadcast and publish-user were not granted",
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
            self.assertNotIn("hears nothing", "".join(self.logged(path)))
        self.assertEqual(0, self.gateway.metrics.deaf)
        self.use(MemoryGateway(self.config, handler=Handler()))
        self.assertEqual([], self.logged("/ws/a"))
        self.assertEqual(0, self.gateway.metrics.deaf)

    def test_once_a_minute(self) -> None:
        """Each mistake of each facility is one line a minute, and all are counted."""
        with capturedLogs() as logs:
            for _ in range(5):
                for path in ("/ws/a?subscribe-user", "/ws/a", "/ws/b"):
                    self.come("nobody", path)
            self.assertEqual(3, len(logs))
            self.gateway.auth.stop()
        self.assertEqual(6, len(logs))
        self.assertIn("3 more of this kind", str(formatEvent(logs[-1])))
        self.assertEqual(15, self.gateway.metrics.deaf)

    def test_many_facilities(self) -> None:
        """Clients that make up facilities fill no log."""
        with capturedLogs() as logs:
            for number in range(100):
                self.come("nobody", f"/ws/{number}")
        self.assertEqual(21, len(logs))


class HintTests(AuthCase):
    """A socket that hears something gets a line if it asks for more than it has."""

    def test_line(self) -> None:
        """The line names the client, the facility and the mistake, and so does the question why."""
        with capturedLogs() as logs:
            for _ in range(3):
                self.come("nobody", "/ws/a?subscribe-broadcast&subscribe-user")
        (line,) = [each for each in logs if each.get("event") == "socket-hint"]
        self.assertRegex(
            str(formatEvent(line)),
            r"\A192\.0\.2\.1:54321 \(\S+\) on 'a': subscribe-user has no effect: nobody is",
        )
        (incident,) = self.gateway.hub.incidents.of("a")
        self.assertEqual((line["hints"], 3), (incident.text, incident.times))

    def test_nothing_wrong(self) -> None:
        """A socket that has what it asks for, or has parameters of its own, gives no line."""
        with capturedLogs() as logs:
            self.come("john", ALL)
            self.come("nobody", "/ws/a?subscribe-broadcast&token=abc&_=17")
        self.assertEqual([], logs)

    def test_connection(self) -> None:
        """The connection knows its hints, and has others after a check of its identity."""
        client = self.come("john", "/ws/a?subscribe-broadcast&subscribe-group&subscribe-usr")
        connection = client.protocol.connection
        assert connection is not None
        slip = 'unknown flag "subscribe-usr": did you mean subscribe-user?'
        self.assertEqual((slip,), connection.hints)
        self.register.known["john"] = replace(JOHN, groups=())
        self.command({"recheck": {"user": "john"}})
        self.assertEqual(
            (slip, "subscribe-group has no effect: this user is in no group"), connection.hints
        )
