"""
Tests for `wsredis.transports.applicant`: a client that asks for admission.

The rules of admission are tested with handshakes of WebSockets.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fakes import FakeStreamTransport, queued_bytes
from wsredis.config.networks import Networks
from wsredis.errors import BrokerUnavailable, HandshakeRejected
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.metrics import Metrics
from wsredis.transports.applicant import Applicant
from wsredis.transports.websocket.applications import Answer
from wsredis.transports.websocket.lean import Request


class _Registry:
    """Gives turns as the test says."""

    def __init__(self) -> None:
        self.has_warned = False
        self.next: Deferred[None] | Exception | None = None
        self.turns = 0

    def turn(self, address: str) -> Deferred[None] | None:
        """See `wsredis.transports.websocket.registry.Registry.turn`."""
        self.turns += 1
        if isinstance(self.next, Exception):
            raise self.next
        return self.next


class _Transport(FakeStreamTransport):
    """Remembers a reset."""

    def abortConnection(self) -> None:
        """As ``ITCPTransport.abortConnection``."""
        self.lost = True


class _Client(Applicant):
    """A client that remembers the decision."""

    peer = "192.0.2.1:4711"
    address = "192.0.2.1"

    def __init__(self) -> None:
        clock = Clock()
        self.registry: Any = _Registry()
        self.metrics = Metrics()
        self.queued = queued_bytes(clock=clock)
        self.losses = LogThrottle(clock, at_once=10)
        self.trusted = Networks(("10.0.0.1",))
        self.transport = _Transport()
        self.decision: Deferred[Answer] = Deferred()
        self.asked: list[Request] = []
        self.outcome: list[object] = []
        self.error: Exception | None = None

    def is_pending(self) -> bool:
        """Until the outcome."""
        return not self.outcome

    def ask(self, request: Request) -> Deferred[Answer]:
        """Ask the test."""
        self.asked.append(request)
        return self.decision

    def go_live(self, answer: Answer, request: Request, began: float) -> None:
        """Remember it."""
        if self.error is not None:
            raise self.error
        self.outcome.append(answer)

    def refuse(self, rejection: HandshakeRejected) -> None:
        """Remember it."""
        self.outcome.append((rejection.status, rejection.reason))


ANSWER: Any = "an answer"


class ApplicantTests(SynchronousTestCase):
    """The way from a request to a decision."""

    def setUp(self) -> None:
        """Make a client."""
        self.client = _Client()

    def apply(self, peer: str = "192.0.2.1", is_counted: bool = False, **headers: str) -> None:
        """Let the client ask."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        self.client.apply(Request(self.client.peer, given, [], ""), peer, is_counted=is_counted)

    def test_accepted(self) -> None:
        """An answer lets the client in; a second one does nothing."""
        self.apply()
        self.client.decision.callback(ANSWER)
        self.assertEqual([ANSWER], self.client.outcome)

    def test_turn(self) -> None:
        """A client of a busy address waits for its turn, which the log tells."""
        turn: Deferred[None] = Deferred()
        self.client.registry.next = turn
        with capturedLogs() as logs:
            self.apply()
        self.assertEqual(["handshake-slowed"], [each["event"] for each in logs])
        self.assertEqual([], self.client.asked)
        turn.callback(None)
        self.assertEqual(1, len(self.client.asked))

    def test_counted(self) -> None:
        """One whose address was charged before does not wait for a turn."""
        self.apply(is_counted=True)
        self.assertEqual(0, self.client.registry.turns)
        self.assertEqual(1, len(self.client.asked))

    def test_no_turn(self) -> None:
        """One whose turn would not come in time is refused."""
        self.client.registry.next = HandshakeRejected("too many handshakes", 429)
        self.apply()
        self.assertEqual([(429, "too many handshakes")], self.client.outcome)

    def test_refused(self) -> None:
        """Each error is the refusal that it stands for; a bug is one of ours, and logged."""
        for error, status in (
            (HandshakeRejected("no", 401), 401),
            (BrokerUnavailable("away"), 503),
            (RuntimeError("a bug"), 500),
        ):
            self.client = _Client()
            self.client.decision = fail(error)
            self.apply()
            self.assertEqual(status, self.client.outcome[0][0])  # type: ignore[index]
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))

    def test_failed(self) -> None:
        """A client that cannot be served for a bug is reset, and the bug is logged."""
        self.client.error = RuntimeError("a bug")
        self.apply()
        self.client.decision.callback(ANSWER)
        self.assertTrue(self.client.transport.lost)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))

    def test_gone(self) -> None:
        """The decision on a client that is gone changes nothing, and can be cancelled."""
        self.client.stop_deciding()
        self.apply()
        self.client.outcome.append("gone")
        self.client.stop_deciding()
        self.assertEqual(["gone"], self.client.outcome)
        self.assertIsInstance(self.client.decision, Deferred)
        self.assertTrue(self.client.decision.called)
        self.client = _Client()
        self.apply()
        self.client.outcome.append("gone")
        self.client.decision.callback(ANSWER)
        self.assertEqual(["gone"], self.client.outcome)

    def test_cancelled(self) -> None:
        """Cancelling is no failure of ours once the client is gone."""
        self.apply()
        self.client.outcome.append("gone")
        self.client.decision.errback(CancelledError())
        self.assertEqual([], self.flushLoggedErrors())

    def test_foreign_name(self) -> None:
        """Where proxies are named, nobody else may name the gateway."""
        self.apply("192.0.2.1", x_forwarded_host="evil.example", host="gateway")
        self.apply("10.0.0.1", x_forwarded_host="good.example", host="gateway")
        self.client.trusted = Networks(())
        self.apply("192.0.2.1", x_forwarded_host="any.example", host="gateway")
        first, second, third = self.client.asked
        self.assertEqual({"host": "gateway"}, first.headers)
        self.assertEqual("good.example", second.headers["x-forwarded-host"])
        self.assertEqual("any.example", third.headers["x-forwarded-host"])

    def test_warning(self) -> None:
        """A private address that names clients and is not trusted is told of once."""
        client = self.client
        with capturedLogs() as logs:
            client.warn_of_proxy("192.0.2.1")
            client.warn_of_proxy("8.8.8.8")
            client.warn_of_proxy("10.0.0.1")
            client.warn_of_proxy("10.0.0.2")
            client.warn_of_proxy("10.0.0.3")
        self.assertEqual(["proxy-untrusted"], [each["event"] for each in logs])
        self.assertIn("--trusted-proxy 10.0.0.2", formatEvent(logs[0]))

    def test_log(self) -> None:
        """A refusal is counted, and its line has neither a query nor a long reason."""
        with capturedLogs() as logs:
            self.client.log_refused(
                b"/ws/a?token=secret", HandshakeRejected("x" * 300, 403, "a hint", cause="")
            )
        (line,) = map(formatEvent, logs)
        self.assertEqual(f"refused 192.0.2.1:4711 '/ws/a': 403 '{'x' * 200}' (a hint)", line)
        self.assertEqual(1, self.client.metrics.refused)

    def test_nobody(self) -> None:
        """A client that is not admitted has no user, and hears nothing."""
        self.assertEqual((None, False), (self.client.user, self.client.hears))
