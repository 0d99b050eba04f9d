"""Tests for `wsredis.gateway.log_throttle`."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, LogLevel, LogPublisher, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from wsredis.gateway.log_throttle import LogThrottle


class LogThrottleTests(SynchronousTestCase):
    """A line is allowed once in its interval."""

    def setUp(self) -> None:
        """A throttle of one minute."""
        self.clock = Clock()
        self.throttle = LogThrottle(self.clock)

    def test_once(self) -> None:
        """The same key is allowed again after the interval, and not before."""
        self.assertTrue(self.throttle.take("a"))
        self.assertFalse(self.throttle.take("a"))
        self.clock.advance(59.9)
        self.assertFalse(self.throttle.take("a"))
        self.clock.advance(0.1)
        self.assertTrue(self.throttle.take("a"))
        self.assertFalse(self.throttle.take("a"))

    def test_keys(self) -> None:
        """One key does not hold up another."""
        self.assertTrue(self.throttle.take("a"))
        self.assertTrue(self.throttle.take(("a", 1)))

    def test_reset(self) -> None:
        """After a reset each line is new."""
        self.throttle.take("a")
        self.throttle.reset()
        self.assertTrue(self.throttle.take("a"))

    def test_bounded(self) -> None:
        """However many keys come, 64 are remembered at most."""
        for number in range(64):
            self.throttle.take(number)
        self.assertFalse(self.throttle.take(0))
        self.assertTrue(self.throttle.take("one more"))
        self.assertTrue(self.throttle.take(0))


class LogTests(SynchronousTestCase):
    """Lines that are not logged are counted, and their number is logged."""

    def setUp(self) -> None:
        """A throttle of one minute, and the lines that it let through."""
        self.clock = Clock()
        self.events: list[LogEvent] = []
        self.logger = Logger(observer=LogPublisher(self.events.append))
        self.throttle = LogThrottle(self.clock)

    @property
    def lines(self) -> list[str]:
        """The lines so far."""
        return [formatEvent(event) for event in self.events]

    def log(self, number: int, kind: str = "a") -> None:
        """Log a line."""
        self.throttle.log(
            self.logger, LogLevel.warn, kind, "line {number}", event="a-line", number=number
        )

    def test_fields(self) -> None:
        """The line with the number says which kind of line it counts, for programs."""
        for number in range(3):
            self.log(number)
        self.clock.advance(60)
        first, last = self.events
        self.assertEqual(("a-line", 0), (first["event"], first["number"]))
        self.assertEqual(("a-line", 2), (last["event"], last["left_out"]))

    def test_first_and_count(self) -> None:
        """The first line is logged at once, and the others as a number after a minute."""
        for number in range(10):
            self.log(number)
        self.assertEqual(self.lines, ["line 0"])
        self.clock.advance(59)
        self.assertEqual(len(self.lines), 1)
        self.clock.advance(1)
        self.assertEqual(self.lines[1:], ["line 1 (and 8 more of this kind)"])

    def test_every_minute(self) -> None:
        """While lines come, there is one a minute; after a quiet minute the next is logged."""
        for number in range(181):
            self.log(number)
            self.clock.advance(1)
        self.assertEqual(len(self.lines), 4)
        self.clock.advance(60)
        self.clock.advance(60)
        self.log(999)
        self.assertEqual(self.lines[-1], "line 999")

    def test_kinds_apart(self) -> None:
        """Each kind is counted by itself."""
        self.log(1, "a")
        self.log(2, "b")
        self.log(3, "b")
        self.assertEqual(self.lines, ["line 1", "line 2"])

    def test_at_once(self) -> None:
        """More than one line may go through before counting begins."""
        self.throttle = LogThrottle(self.clock, at_once=3)
        for number in range(5):
            self.log(number)
        self.assertEqual(self.lines, ["line 0", "line 1", "line 2"])

    def test_reset(self) -> None:
        """A reset reports what was counted, and leaves no timer."""
        self.log(1)
        self.log(2)
        self.throttle.reset()
        self.assertEqual(self.lines[1:], ["line 2"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_failures(self) -> None:
        """The first failure has its traceback; the others are counted, without."""
        for number in range(3):
            failure = Failure(ValueError(f"number {number}"))
            self.throttle.failure(self.logger, "a", "a client {number}", failure, number=number)
        self.assertEqual(["a client 0"], self.lines)
        self.clock.advance(60)
        self.assertEqual(["a client 0", "a client 1 (and 1 more of this kind)"], self.lines)
        self.clock.advance(60)
        try:
            raise ValueError("now")
        except ValueError:
            self.throttle.failure(self.logger, "a", "again")
        self.assertEqual("again", self.lines[-1])

    def test_most(self) -> None:
        """Of kinds that clients choose some are told apart, and all others are one more."""
        self.throttle = LogThrottle(self.clock, most=2)
        for number in range(6):
            self.log(number, number)
        self.log(6, 0)
        self.assertEqual(["line 0", "line 1", "line 2"], self.lines)
        self.clock.advance(60)
        self.assertEqual({"line 3 (and 2 more of this kind)", "line 6"}, {*self.lines[3:]})
        # The kind 1 is over, and makes room.
        self.log(7, "new")
        self.assertEqual("line 7", self.lines[-1])
        self.clock.advance(121)
        for number in range(3):
            self.log(number, f"newer {number}")
        self.assertEqual(["line 0", "line 1", "line 2"], self.lines[-3:])
