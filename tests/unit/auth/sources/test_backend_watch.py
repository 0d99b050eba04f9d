"""Tests of `wsredis.auth.sources.backend_watch`."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsredis.auth.sources.availability import Availability, SourceAway
from wsredis.auth.sources.backend_watch import RETRY, BackendWatch
from wsredis.errors import HandshakeRejected
from wsredis.gateway.health import Health, Problem


class BackendWatchTests(SynchronousTestCase):
    """The gateway asks for itself, once a client got no answer."""

    def setUp(self) -> None:
        """A backend that the test answers for."""
        self.clock = Clock()
        self.health = Health(self.clock.seconds)
        self.asked: list[Deferred[object]] = []
        self.watch = BackendWatch(
            self.clock,
            self.ask,
            Availability(self.health).of("source"),
            "it is away",
            is_blocking=True,
        )

    def ask(self) -> Deferred[object]:
        """Remember the question."""
        self.asked.append(Deferred())
        return self.asked[-1]

    def problem(self) -> Problem | None:
        """The problem, if there is one."""
        return self.health.problems.get("identities")

    def test_away(self) -> None:
        """Without an answer it is away; the same is asked again until there is one."""
        self.watch.failed()
        self.assertIsNone(self.problem())
        for number in range(3):
            self.assertEqual(number + 1, len(self.asked))
            self.asked[-1].errback(SourceAway("it is broken"))
            self.assertEqual(Problem("it is away", 0.0, True), self.problem())
            self.clock.advance(RETRY)
        self.asked[-1].callback("an answer")
        self.assertIsNone(self.problem())
        self.clock.advance(60)
        self.assertEqual((4, []), (len(self.asked), self.clock.getDelayedCalls()))

    def test_refusal(self) -> None:
        """A refusal is an answer."""
        self.watch.failed()
        self.asked[-1].errback(HandshakeRejected("you are not logged in", 401))
        self.assertIsNone(self.problem())

    def test_other_errors(self) -> None:
        """Any other error is none, also one that is raised."""
        self.watch.failed()
        self.asked[-1].errback(ZeroDivisionError("a bug"))
        self.assertIsNotNone(self.problem())

    def test_once(self) -> None:
        """Many clients without an answer cause one question in two seconds."""
        for _ in range(10):
            self.watch.failed()
        self.assertEqual(1, len(self.asked))
        self.asked[-1].callback("an answer")
        self.clock.advance(0.5)
        for _ in range(10):
            self.watch.failed()
        self.clock.advance(RETRY - 0.6)
        self.assertEqual(1, len(self.asked))
        self.clock.advance(0.1)
        self.assertEqual(2, len(self.asked))

    def test_answered(self) -> None:
        """An answer for a client ends it."""
        self.watch.failed()
        self.asked[-1].errback(SourceAway("it is broken"))
        self.watch.answered()
        self.assertIsNone(self.problem())
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_stop(self) -> None:
        """A stop cancels the question, or the wait for the next one."""
        self.watch.failed()
        self.watch.stop()
        self.assertTrue(self.asked[-1].called)
        self.watch.failed()
        self.assertEqual((1, []), (len(self.asked), self.clock.getDelayedCalls()))
        self.assertIsNone(self.problem())

    def test_stop_between(self) -> None:
        """The same while none is under way; it may be repeated."""
        self.watch.failed()
        self.asked[-1].errback(SourceAway("it is broken"))
        self.watch.stop()
        self.watch.stop()
        self.assertEqual([], self.clock.getDelayedCalls())
