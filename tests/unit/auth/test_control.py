"""Tests of `wsredis.auth.control`, with a gateway in memory around it."""

from __future__ import annotations

import json

from twisted.logger import LogLevel, capturedLogs

from tests.support.memory_gateway import MemoryGateway
from tests.support.raw import handshake
from tests.unit.auth.case import ALL, AuthCase
from wsredis.auth.control import ControlChannel
from wsredis.auth.control_commands import RecentCommands
from wsredis.config import GatewayConfig
from wsredis.gateway.identity import Identity
from wsredis.gateway.publication import Publication


class ControlChannelTests(AuthCase):
    """`ControlChannel`: the application ends identities."""

    def test_session(self) -> None:
        """All connections of a session are closed with 4401, and no others."""
        self.register.known["ann"] = Identity("ann", (), "key-of-ann")
        clients = [self.come(), self.come()]
        other = self.come("ann")
        self.command({"end": {"session": "key-of-john"}})
        self.assertEqual([[4401], [4401]], [self.codes(each) for each in clients])
        self.assertEqual([], self.codes(other))
        self.check_nothing_left(*clients, other)

    def test_user_and_group(self) -> None:
        """The connections of a user or of a group can be closed likewise, and may come back."""
        for target in ({"user": "john"}, {"group": "chatters"}):
            client = self.come()
            self.command({"end": target})
            self.assertEqual([4401], self.codes(client))
            client.leave()
            self.wait(0.1)
            client = self.come()
            self.assertEqual([], self.codes(client))
            client.leave()
        self.nothing_left()

    def test_comes_again(self) -> None:
        """A session that was ended is refused for a while, even if it is still known."""
        self.command({"end": {"session": "key-of-john"}})
        status, answer = self.answer(handshake(ALL, "Authorization: john"))
        self.assertEqual(401, status)
        self.assertTrue(answer.endswith(b"the session has ended"))
        self.wait(86500.0)
        self.check_nothing_left(self.come())

    def test_ended_meanwhile(self) -> None:
        """A session that ends while its client is being accepted is closed once that is open."""
        self.gateway.broker.pause()
        client = self.connect()
        client.send(handshake(ALL, "Authorization: john"))
        self.command_at_once({"end": {"session": "key-of-john"}})
        self.gateway.broker.resume()
        client.received = client.take().partition(b"\r\n\r\n")[2]
        self.assertEqual([4401], self.codes(client))
        self.check_nothing_left(client)

    def test_user_ended_meanwhile(self) -> None:
        """A user or a group that is ended while a client is being accepted is closed likewise."""
        for target in ({"user": "john"}, {"group": "chatters"}):
            self.gateway.broker.pause()
            client = self.connect()
            client.send(handshake(ALL, "Authorization: john"))
            self.command_at_once({"end": target})
            self.gateway.broker.resume()
            client.received = client.take().partition(b"\r\n\r\n")[2]
            self.assertEqual([4401], self.codes(client), target)
            client.leave()
            self.wait(0.1)
        self.nothing_left()

    def test_session_without_a_key(self) -> None:
        """A command about an empty session key does not mean clients without a session."""
        self.register.known["ann"] = Identity("ann")
        self.command({"end": {"session": ""}})
        clients = [self.come("ann"), self.come("nobody")]
        self.assertEqual([[], []], [self.codes(each) for each in clients])
        self.check_nothing_left(*clients)

    def test_nonsense(self) -> None:
        """A malformed command is logged without its content, and changes nothing."""
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
                self.command(text)
            self.assertEqual([LogLevel.warn], [each["log_level"] for each in logs], text)
            self.assertNotIn("secret", repr(logs))
        self.assertEqual([], self.codes(client))
        self.check_nothing_left(client)

    def test_notify(self) -> None:
        """Backends are notified of a command before it is carried out, whatever another raises."""
        calls: list[object] = []

        class Sessions:
            def end(self, selector: str, name: str, before: float | None = None) -> None:
                calls.append(("end", selector, name))

            def recheck(self, selector: str, name: str) -> None:
                calls.append(("recheck", selector, name))

        def fail() -> None:
            raise ValueError("a broken backend")

        control = ControlChannel(
            self.gateway.hub,
            "",
            Sessions(),
            RecentCommands(self.clock),
            [fail, lambda: calls.append("forgotten")],
        )
        for verb in ("end", "recheck"):
            payload = json.dumps({verb: {"user": "john"}}).encode()
            control.deliver([Publication(b"wsredis-control", payload)])
            self.assertEqual(["forgotten", (verb, "user", "john")], calls)
            calls.clear()
            self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))

    def test_prefix(self) -> None:
        """The control channel has the prefix of all channels."""
        config = GatewayConfig(prefix="mine")
        self.use(MemoryGateway(config, authenticator=self.register))
        client = self.come()
        self.command({"end": {"user": "john"}})
        self.assertEqual([], self.codes(client))
        self.command({"end": {"user": "john"}}, b"mine:wsredis-control")
        self.assertEqual([4401], self.codes(client))
        self.check_nothing_left(client)

    def test_stored_command(self) -> None:
        """A stored command is not carried out."""
        client = self.come()
        self.gateway.hub.restore({b"wsredis-control": b'{"end": {"user": "john"}}'})
        self.assertEqual([], self.codes(client))
        self.check_nothing_left(client)

    def test_forbidden(self) -> None:
        """If Redis forbids the channel, the log says which option remains."""
        with capturedLogs() as logs:
            self.gateway.hub.forbid(b"wsredis-control")
        self.assertIn("--recheck", logs[0]["log_format"])
        self.nothing_left()
