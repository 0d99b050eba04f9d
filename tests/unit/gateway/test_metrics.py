"""Tests for `wsredis.gateway.metrics`."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from twisted.trial.unittest import SynchronousTestCase

from wsredis.gateway.metrics import Histogram, Metrics, State, exported


class MetricsTests(SynchronousTestCase):
    """The table of counters."""

    def test_starts_at_zero(self) -> None:
        """A new gateway has counted nothing."""
        for each in fields(Metrics):
            value = getattr(Metrics(), each.name)
            if isinstance(value, Histogram):
                value = sum(value.counts) + value.sum
            elif isinstance(value, dict):
                self.assertTrue(value, f"{each.name} has all its labels from the start")
                value = sum(value.values())
            self.assertEqual(0, value, each.name)

    def test_exported(self) -> None:
        """Every field is exported at /metrics, and so explained in the documentation."""
        for cls in (Metrics, State):
            try:
                found = exported(cls)
            except TypeError as error:
                self.fail(str(error))
            self.assertEqual([each.name for each in fields(cls)], [x.attribute for x in found])

    def test_names(self) -> None:
        """A name is one that Prometheus takes, has no unit twice, and is there once."""
        found = [*exported(Metrics), *exported(State)]
        for each in found:
            self.assertRegex(each.name, r"\A[a-z][a-z_]+[a-z]\Z")
            self.assertNotRegex(each.name, r"_(total|count|sum|bucket|info)\Z")
            self.assertTrue(each.help.endswith("."), each.name)
        self.assertEqual(len(found), len({each.name for each in found}))

    def test_not_exported(self) -> None:
        """A field without a declaration is refused, with the line to write."""

        @dataclass
        class Wrong:
            lost: int = 0

        error = self.assertRaises(TypeError, exported, Wrong)
        self.assertIn('lost: int = counter("lost", "Its meaning.")', str(error))

    def test_no_others(self) -> None:
        """A counter that is misspelt is an error, not a new counter."""
        self.assertRaises(AttributeError, setattr, Metrics(), "recieved", 1)

    def test_labels(self) -> None:
        """Labels have few values, without a character that would need care."""
        for each in fields(Metrics):
            value = getattr(Metrics(), each.name)
            if isinstance(value, dict):
                self.assertLess(len(value), 100, each.name)
                for key in value:
                    self.assertTrue(re.fullmatch(r"[a-z0-9_,-]*", key), key)


class HistogramTests(SynchronousTestCase):
    """Times are counted in ranges."""

    def test_ranges(self) -> None:
        """The upper end of a range belongs to it; the last range has none."""
        histogram = Histogram()
        first, second, *_, last = histogram.bounds
        histogram.observe(0.0)
        histogram.observe(first)
        histogram.observe((first + second) / 2, 3)
        histogram.observe(last * 100)
        self.assertEqual([2, 3], histogram.counts[:2])
        self.assertEqual(1, histogram.counts[-1])
        self.assertEqual(6, sum(histogram.counts))

    def test_sum(self) -> None:
        """All times are added up."""
        histogram = Histogram()
        histogram.observe(2.0, 3)
        histogram.observe(0.5)
        self.assertEqual(6.5, histogram.sum)
