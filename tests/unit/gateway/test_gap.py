"""Tests for `wsredis.gateway.gap`."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from wsredis.gateway.gap import Gap, GapReports, GapTimer
from wsredis.gateway.metrics import Metrics


class GapTimerTests(SynchronousTestCase):
    """The number and the time of gaps."""

    def setUp(self) -> None:
        """Make one."""
        self.clock = Clock()
        self.clock.advance(100)
        self.timer = GapTimer(self.clock)

    def test_none(self) -> None:
        """Nothing that did not begin can end, and nothing ends twice."""
        self.assertIsNone(self.timer.end(1, is_restored=True))
        self.timer.begin()
        self.assertIsNotNone(self.timer.end(1, is_restored=True))
        self.assertIsNone(self.timer.end(1, is_restored=True))

    def test_time(self) -> None:
        """A gap lasts from its beginning to its end, and each has a number."""
        self.timer.begin()
        self.clock.advance(2)
        self.assertEqual(Gap(1, 2.0, 3, False), self.timer.end(3, is_restored=False))
        self.clock.advance(7)
        self.timer.begin()
        self.clock.advance(1)
        self.assertEqual(Gap(2, 1.0, 4, True), self.timer.end(4, is_restored=True))

    def test_again(self) -> None:
        """A loss before the end of a gap is a part of it."""
        self.timer.begin()
        self.clock.advance(1)
        self.timer.begin()
        self.clock.advance(1)
        self.assertEqual(Gap(1, 2.0, 0), self.timer.end(0, is_restored=True))

    def test_since(self) -> None:
        """A gap that is noticed late begins when publications last arrived."""
        self.clock.advance(20)
        self.timer.begin(115)
        self.clock.advance(1)
        self.assertEqual(Gap(1, 6.0, 0), self.timer.end(0, is_restored=True))
        self.timer.begin(1000)
        self.assertEqual(Gap(2, 0.0, 0), self.timer.end(0, is_restored=True))

    def test_no_time_twice(self) -> None:
        """The time of one gap is no part of the next."""
        self.timer.begin()
        self.clock.advance(5)
        self.timer.end(0, is_restored=True)
        self.clock.advance(1)
        self.timer.begin(100)
        self.clock.advance(1)
        self.assertEqual(Gap(2, 2.0, 0), self.timer.end(0, is_restored=True))


class GapReportsTests(SynchronousTestCase):
    """Whatever is told of a gap."""

    def setUp(self) -> None:
        """Make them."""
        self.metrics = Metrics()
        self.reports = GapReports(self.metrics)

    def test_metrics(self) -> None:
        """The counters have the last number, and all the time."""
        self.reports.report(Gap(1, 2.0, 3))
        self.reports.report(Gap(2, 0.5, 3))
        self.assertEqual((2, 2.5), (self.metrics.generation, self.metrics.lost_seconds))

    def test_log(self) -> None:
        """One line has the number, the time and the channels, and tells of stored messages."""
        with capturedLogs() as logs:
            self.reports.report(Gap(7, 2.04, 31))
            self.reports.report(Gap(8, 1.0, 31, False))
        first, second = map(formatEvent, logs)
        for part in ("generation 7", "2.0 s", "31 channels", "are sent again"):
            self.assertIn(part, first)
        self.assertIn("not sent again", second)
        self.assertEqual({"warn"}, {each["log_level"].name for each in logs})

    def test_watchers(self) -> None:
        """All who watch are called in order, whether one before them fails or waits."""
        heard: list[tuple[str, Gap]] = []
        gap = Gap(1, 2.0, 3)

        def broken(gap: Gap) -> None:
            heard.append(("broken", gap))
            raise ZeroDivisionError("a bug")

        async def later(gap: Gap) -> None:
            heard.append(("later", gap))
            raise ZeroDivisionError("another bug")

        self.reports.watch(broken)
        self.reports.watch(later)
        self.reports.watch(lambda gap: heard.append(("last", gap)))
        self.reports.report(gap)
        self.assertEqual([("broken", gap), ("later", gap), ("last", gap)], heard)
        self.assertEqual(2, len(self.flushLoggedErrors(ZeroDivisionError)))
