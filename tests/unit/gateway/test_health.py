"""Tests of `wsredis.gateway.health`."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

import wsredis
from wsredis.gateway.health import Health, Problem


class HealthTests(SynchronousTestCase):
    """Problems come and go, and each knows its beginning."""

    def setUp(self) -> None:
        """A gateway with which nothing is wrong."""
        self.clock = Clock()
        self.health = Health(self.clock.seconds)

    def test_ready(self) -> None:
        """It is ready until a problem blocks, and again when that is over."""
        self.assertTrue(self.health.is_ready)
        self.health.report("a", "is broken")
        self.assertFalse(self.health.is_ready)
        self.health.report("a", None)
        self.health.report("b", None)
        self.assertTrue(self.health.is_ready)
        self.assertEqual({}, dict(self.health.problems))

    def test_not_blocking(self) -> None:
        """A problem that does not block is only told."""
        self.health.report("a", "is odd", is_blocking=False)
        self.assertTrue(self.health.is_ready)
        self.assertEqual({"a": Problem("is odd", 0.0, False)}, dict(self.health.problems))

    def test_since(self) -> None:
        """A problem that goes on with other words keeps its beginning; a new one has its own."""
        self.health.report("a", "is broken")
        self.clock.advance(5)
        self.health.report("a", "is still broken")
        self.health.report("b", "is broken")
        self.assertEqual(
            {"a": Problem("is still broken", 0.0, True), "b": Problem("is broken", 5.0, True)},
            dict(self.health.problems),
        )
        self.health.report("a", None)
        self.health.report("a", "is broken")
        self.assertEqual(5.0, self.health.problems["a"].since)


class DocumentedTests(SynchronousTestCase):
    """The page about health explains each name."""

    def test_names(self) -> None:
        """Each name that the source reports has a row, and each row is the name of something."""
        root = Path(wsredis.__file__).parent
        source = "\n".join(path.read_text("utf-8") for path in root.rglob("*.py"))
        reported = set(re.findall(r'\breport\(\s*"([a-z]+)"', source))
        reported |= set(re.findall(r'\{"([a-z]+)": Problem\(', source))
        page = (root.parent / "docs/reference/health.rst").read_text("utf-8")
        tables = page.partition(".. _readiness:")[2]
        explained = set(re.findall(r"^   \* - ``([a-z]+)``$", tables, re.MULTILINE))
        self.assertEqual(reported, explained)
