"""Tests of `wsredis.auth.sources.availability`."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsredis.auth.sources.availability import Availability, SourceAway, nobody
from wsredis.gateway.health import Health, Problem


class AvailabilityTests(SynchronousTestCase):
    """Several sources are one problem."""

    def setUp(self) -> None:
        """Two sources."""
        self.clock = Clock()
        self.health = Health(self.clock.seconds)
        availability = Availability(self.health)
        self.one, self.two = availability.of("one"), availability.of("two")

    def problem(self) -> Problem | None:
        """Return the problem, if there is one."""
        self.assertLessEqual(set(self.health.problems), {"identities"})
        return self.health.problems.get("identities")

    def test_one(self) -> None:
        """A source that is away is a problem from then on, until it answers."""
        self.one(None)
        self.assertIsNone(self.problem())
        self.clock.advance(5)
        self.one("it is away")
        self.clock.advance(5)
        self.one("it is away")
        self.assertEqual(Problem("it is away", 5.0, False), self.problem())
        self.assertTrue(self.health.is_ready)
        self.one(None)
        self.assertIsNone(self.problem())

    def test_both(self) -> None:
        """The answer of one proves nothing about the other."""
        self.one("one is away")
        self.clock.advance(5)
        self.two("two is away")
        self.assertEqual(Problem("one is away; two is away", 0.0, False), self.problem())
        self.one(None)
        self.assertEqual(Problem("two is away", 0.0, False), self.problem())
        self.two(None)
        self.assertIsNone(self.problem())

    def test_blocking(self) -> None:
        """One that blocks is enough."""
        self.one("it has no keys", is_blocking=True)
        self.two("it is away")
        self.assertFalse(self.health.is_ready)
        self.one(None)
        self.assertTrue(self.health.is_ready)

    def test_not_the_only_one(self) -> None:
        """One beside which clients are let in by another source never blocks."""
        report = Availability(self.health).of("one", is_only=False)
        report("it is away", is_blocking=True)
        self.assertEqual(Problem("it is away", 0.0, False), self.problem())

    def test_error(self) -> None:
        """A client of a source that is away may try again."""
        error = SourceAway("the reason")
        self.assertEqual(
            (503, "try again later", "the reason"), (error.status, error.reason, error.hint)
        )

    def test_nobody(self) -> None:
        """A report that interests nobody changes nothing."""
        nobody("it is away")
        self.assertIsNone(self.problem())
