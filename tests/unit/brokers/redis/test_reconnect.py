"""Tests of connecting again, and of the self-test of the libraries."""

from __future__ import annotations

from typing import Any

import hiredis
import txredisapi
from twisted.application.internet import ClientService
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.brokers.redis.case import LinkCase
from wsredis.brokers.redis.protocol import RedisFactory, RedisProtocol
from wsredis.brokers.redis.reconnect import MAX_DELAY, _SilentOwner, retry_delay, self_test
from wsredis.errors import ConfigError


class ReconnectTests(LinkCase):
    """A link connects again for ever, soon, and not at the same time as others."""

    def test_server_is_not_there_yet(self) -> None:
        """The first attempts fail silently; then the reason is reported."""
        self.server.down = True
        self.start()
        # The third attempt comes within 0.3 seconds, the fourth within 0.7.
        self.clock.pump([0.01] * 15)
        self.assertEqual([], self.owner.reasons)
        self.clock.pump([0.01] * 60)
        self.assertIn("no server is listening", self.owner.reasons[0])
        self.server.down = False
        self.wait(MAX_DELAY)
        self.assertEqual(["up"], self.owner.events)

    def test_quiet_attempts(self) -> None:
        """ClientService says nothing for each attempt: an outage of hours must not fill a log."""
        self.server.down = True
        with capturedLogs() as events:
            self.start()
            self.wait(30)
        self.assertEqual([], list(events))

    def test_delay(self) -> None:
        """The wait grows from a moment to at most three seconds, however long the outage."""
        for attempt in (1, 5, 10, 1000, 10**6):
            delays = [retry_delay(attempt) for _ in range(50)]
            self.assertTrue(all(0 < delay <= 3.0 for delay in delays), delays)
            self.assertGreater(len(set(delays)), 1, "all gateways would come back at once")
        self.assertLess(max(retry_delay(1) for _ in range(50)), 0.2)

    def test_backoff_survives_refused_logins(self) -> None:
        """A server that accepts and then refuses is not hammered."""
        self.server.users = {"default": "x"}
        self.start(password="y")
        self.wait(60)
        # At most one attempt in half of the longest delay, after the first few quick ones.
        self.assertLess(self.server.accepted, 60 / (MAX_DELAY / 2) + 10)

    def test_back_soon_after_each_loss(self) -> None:
        """The wait is short again after a successful login."""
        self.start()
        for _ in range(12):
            self.server.kill()
            self.wait(0.5)
        self.assertEqual(["up", *["down", "up"] * 12], self.owner.events)


class SelfTestTests(SynchronousTestCase):
    """The self-test passes with the installed libraries, and names one that behaves otherwise."""

    def _refusal(self) -> str:
        # Not cached: the libraries are as the test made them.
        text = str(self.assertRaises(ConfigError, self_test.__wrapped__))
        self.assertNotIn("\n", text)
        return text

    def test_installed_libraries(self) -> None:
        """Nothing is wrong with those that are installed."""
        self_test.__wrapped__()

    def test_kind_of_the_protocol(self) -> None:
        """The protocol and its factory are those of a subscriber of txredisapi."""
        factory = RedisFactory(lambda: RedisProtocol(_SilentOwner(), 1))
        self.assertIsInstance(factory, txredisapi.SubscriberFactory)
        protocol = factory.buildProtocol(None)
        self.assertIsInstance(protocol, txredisapi.SubscriberProtocol)
        self.assertIs(factory, protocol.factory)
        # Neither numbers nor text are made of what is read, should txredisapi ever read.
        self.assertEqual((None, False), (protocol.charset, protocol.convertNumbers))

    def test_twisted(self) -> None:
        """Without the logger that we replace, an outage would fill the log."""
        self.patch(ClientService, "_log", None)
        self.assertRegex(self._refusal(), r"cannot work with Twisted [0-9.]+: .*logger")

    def test_hiredis(self) -> None:
        """A reader that raises error replies, or commands that look otherwise."""
        self.patch(hiredis, "pack_command", lambda args: b"")
        self.assertRegex(self._refusal(), r"cannot work with hiredis [0-9.]+: .*pack_command")

        class Reader:
            def __init__(self, **classes: object) -> None:
                raise TypeError("unexpected keyword")

        self.patch(hiredis, "Reader", Reader)
        self.assertRegex(self._refusal(), r"cannot work with hiredis [0-9.]+: .*keyword")

    def test_hiredis_error_replies(self) -> None:
        """Error replies that are not of the class that we asked for."""
        real = hiredis.Reader
        self.patch(hiredis, "Reader", lambda **classes: real())
        self.assertRegex(self._refusal(), r"cannot work with hiredis [0-9.]+: .*returned")

    def test_txredisapi(self) -> None:
        """A protocol that takes other arguments, or that sends a login of its own."""

        def makeConnection(protocol: RedisProtocol, transport: Any) -> None:
            protocol.transport = transport
            transport.write(b"AUTH")

        self.patch(txredisapi.SubscriberProtocol, "makeConnection", makeConnection)
        self.assertRegex(self._refusal(), r"cannot work with txredisapi [0-9.]+: .*sent \[b'AUTH'")

        def __init__(protocol: RedisProtocol, *, replyTimeout: float) -> None:
            """Take an argument that we do not give."""

        self.patch(txredisapi.SubscriberProtocol, "__init__", __init__)
        self.assertRegex(self._refusal(), r"cannot work with txredisapi [0-9.]+: .*charset")
