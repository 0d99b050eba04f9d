"""Tests of what a worker and its parent say to each other."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from wsredis.gateway.health import Problem
from wsredis.service.workers.reports import Silence, load_situation


class SilenceTests(SynchronousTestCase):
    """The time for which the other has said nothing."""

    def test_passed(self) -> None:
        """Intervals add up until a word comes."""
        silence = Silence(0.5)
        silence.passed(1)
        silence.passed(1)
        self.assertEqual(1.0, silence.seconds)
        silence.heard()
        self.assertEqual(0.0, silence.seconds)

    def test_late(self) -> None:
        """A listener that was away for long counts a second of it."""
        silence = Silence(0.5)
        silence.passed(1000)
        self.assertEqual(1.0, silence.seconds)


class SituationTests(SynchronousTestCase):
    """A situation goes through a pipe."""

    def test_same(self) -> None:
        """It is the same at the other end."""
        situation = {0: {}, 2: {"a": Problem("is bad", 1.5, True), "b": Problem("", 0.0, False)}}
        self.assertEqual(situation, load_situation(json.loads(json.dumps(situation))))

    def test_nonsense(self) -> None:
        """Anything else raises one of three errors."""
        for value in (None, [], 1, {"x": {}}, {"1": []}, {"1": {"a": 1}}, {"1": {"a": ["b"]}}):
            self.assertRaises((ValueError, TypeError, AttributeError), load_situation, value)
