"""Tests for `wsredis.gateway.numbers`."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsredis.gateway.exported import exported
from wsredis.gateway.metrics import Metrics, State
from wsredis.gateway.numbers import EXPORTED, Numbers, checked, combined, ended, numbers


def state(**more: Any) -> State:
    """A state in which everything is 0, but for *more*."""
    return State(**{**{each.attribute: 0 for each in exported(State)}, **more})


class NumbersTests(SynchronousTestCase):
    """The numbers of a process travel, and are put together."""

    def make(self, **counted: int) -> Numbers:
        """The numbers of a process that is ready, as its parent gets them."""
        metrics = Metrics(**counted)
        return checked(json.loads(json.dumps(numbers(metrics, state(ready=1)))))

    def test_complete(self) -> None:
        """Everything that is exported is there."""
        self.assertEqual([each.name for each in EXPORTED], [*self.make()])

    def test_sum(self) -> None:
        """What is counted is added up; ready are all if each of them is."""
        total = combined([self.make(opened=2), self.make(opened=3)])
        self.assertEqual(5, total["connections_opened"])
        self.assertEqual(1, total["ready"])
        self.assertEqual(0, combined([self.make(), numbers(Metrics(), state())])["ready"])

    def test_missing(self) -> None:
        """A worker of another version may know a number less."""
        report = {"connections_opened": 2, "unknown": "x"}
        self.assertEqual({"connections_opened": 2}, checked(report))
        total = combined([checked(report), self.make(opened=1, received=7)])
        self.assertEqual((3, 7), (total["connections_opened"], total["messages_received"]))

    def test_nothing(self) -> None:
        """No process has no numbers."""
        self.assertEqual({}, combined([]))

    def test_ended(self) -> None:
        """What a process has counted stays when it ends; what it held goes with it."""
        left = ended(self.make(opened=2, connections=1))
        self.assertEqual(2, left["connections_opened"])
        self.assertNotIn("connections", left)
        self.assertNotIn("ready", left)

    def test_malformed(self) -> None:
        """A report that is none is refused, whatever is wrong with it."""
        for value in ("x", [1], {}, None):
            self.assertRaises(ValueError, checked, {"connections_opened": value})
        for report in (None, 3):
            self.assertRaises(ValueError, checked, report)
