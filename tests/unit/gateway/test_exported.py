"""Tests for `wsredis.gateway.exported`."""

from __future__ import annotations

from dataclasses import dataclass

from twisted.trial.unittest import SynchronousTestCase

from wsredis.gateway.exported import Histogram, counter, counters, exported, gauge, latency


@dataclass(slots=True)
class _Numbers:
    some: int = counter("some", "Some.")
    several: dict[str, int] = counters("several", "Several.", "a,b", ["x,1", "x,2"])
    level: int = gauge("level", "A level.", max)
    time: Histogram = latency("time_seconds", "A time.")


class DeclarationTests(SynchronousTestCase):
    """A field says how it is exported."""

    def test_kinds(self) -> None:
        """Each function is for one kind of number."""
        some, several, level, time = exported(_Numbers)
        self.assertEqual(
            [
                "wsredis_some_total",
                "wsredis_several_total",
                "wsredis_level",
                "wsredis_time_seconds",
            ],
            [each.full_name for each in (some, several, level, time)],
        )
        kinds = [each.kind for each in (some, several, level, time)]
        self.assertEqual(["counter", "counter", "gauge", "histogram"], kinds)
        self.assertEqual(((), ("a", "b")), (some.labels, several.labels))
        self.assertEqual((4, 7), (level.combine([3, 4]), some.combine([3, 4])))

    def test_start(self) -> None:
        """Labels have all their values from the start, and no two objects share numbers."""
        first, second = _Numbers(), _Numbers()
        self.assertEqual({"x,1": 0, "x,2": 0}, first.several)
        first.several["x,1"] += 1
        first.time.observe(1.0)
        self.assertEqual(0, second.several["x,1"])
        self.assertEqual(0, sum(second.time.counts))

    def test_not_exported(self) -> None:
        """A field without a declaration is refused, with the line to write."""

        @dataclass
        class Wrong:
            lost: int = 0

        error = self.assertRaises(TypeError, exported, Wrong)
        self.assertIn('lost: int = counter("lost", "Its meaning.")', str(error))


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
