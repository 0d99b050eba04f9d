"""Tests for `wsredis.layer.quiet`."""

from __future__ import annotations

import logging

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsredis.layer.quiet import Quiet


class _Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(record.getMessage())


class QuietTests(SynchronousTestCase):
    """Few lines of the same kind."""

    def setUp(self) -> None:
        """Make a logger of its own."""
        self.clock = Clock()
        log = logging.Logger("test")
        self.handler = _Lines()
        log.addHandler(self.handler)
        self.quiet = Quiet(log, 60, self.clock.seconds)

    def test_counted(self) -> None:
        """The first line of a kind is logged, the others are counted for the next one."""
        for number in range(3):
            self.quiet.line(logging.WARNING, "full", "number %s", number)
        self.quiet.line(logging.WARNING, "bad", "another kind")
        self.clock.advance(60)
        self.quiet.line(logging.WARNING, "full", "number %s", 3)
        expected = ["number 0", "another kind", "number 3 (and 2 more of this kind)"]
        self.assertEqual(expected, self.handler.lines)
        self.clock.advance(60)
        self.quiet.line(logging.WARNING, "full", "number %s", 4)
        self.assertEqual("number 4", self.handler.lines[-1])

    def test_bounded(self) -> None:
        """Thousands of kinds log twenty lines, and later one with the number of the others."""
        for number in range(2500):
            self.quiet.line(logging.WARNING, number, "x")
        self.assertEqual(["x"] * 20, self.handler.lines)
        self.assertEqual(20, len(self.quiet._left_out))
        self.clock.advance(60)
        self.quiet.line(logging.WARNING, 5, "y")
        self.assertEqual(["2480 more lines were left out", "y"], self.handler.lines[20:])
