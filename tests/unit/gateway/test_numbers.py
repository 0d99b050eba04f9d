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

    def test_moment(self) -> None:
        """A moment is exported as the seconds since then; of several, the oldest counts."""
        recent = numbers(Metrics(last_proof=90.0), state(), 100.0, 5.0)
        never = numbers(Metrics(), state(), 100.0, 5.0)
        self.assertEqual(10.0, recent["redis_last_proof_seconds"])
        self.assertEqual(95.0, never["redis_last_proof_seconds"])
        self.assertEqual(95.0, combined([recent, never])["redis_last_proof_seconds"])

    def test_labels(self) -> None:
        """Numbers with labels are added up for each label."""
        first, second = Metrics(), Metrics()
        first.count_close("client", 1000)
        second.count_close("client", 1000)
        second.count_close("gateway", 1001)
        reports = [checked(json.loads(json.dumps(numbers(x, state())))) for x in (first, second)]
        counted = {tuple(ls): n for ls, n in combined(reports)["connections_closed"] if n}
        self.assertEqual({("client", "1000"): 2, ("gateway", "1001"): 1}, counted)
        for wrong in ([[["client"], 1]], [[["a", "b", "c"], 1]], [["client", "1000"]], [1]):
            self.assertRaises(ValueError, checked, {"connections_closed": wrong})

    def test_histograms(self) -> None:
        """Each range is added up, and so are the times."""
        first, second = Metrics(), Metrics()
        first.publish_latency.observe(0.001)
        second.publish_latency.observe(0.001, 2)
        second.publish_latency.observe(100.0)
        reports = [checked(json.loads(json.dumps(numbers(x, state())))) for x in (first, second)]
        counts, total = combined(reports)["publish_seconds"]
        self.assertEqual((3, 1, 4), (counts[1], counts[-1], sum(counts)))
        self.assertAlmostEqual(100.003, total)
        for wrong in ([[1, 2], 3.0], [[], 0], ["x", 1], 3):
            self.assertRaises(ValueError, checked, {"publish_seconds": wrong})
