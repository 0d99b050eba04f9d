"""Tests for `wsredis.gateway.timers`."""

from __future__ import annotations

from itertools import pairwise

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsredis.gateway.timers import PeriodicTask, SpreadVisits, StaggeredTimer, TimeoutQueue


class _Member:
    """Something to visit."""


class _Ending(BaseException):
    """An error that no function should catch."""


class PeriodicTaskTests(SynchronousTestCase):
    """One function, again and again."""

    def setUp(self) -> None:
        """Make one."""
        self.clock = Clock()
        self.calls: list[float] = []
        self.counts: list[int] = []
        self.task = PeriodicTask(self.clock, 2.0, self.called)

    def called(self, count: int) -> None:
        """Remember it."""
        self.calls.append(self.clock.seconds())
        self.counts.append(count)

    def test_interval(self) -> None:
        """The first call comes after one interval, the others follow."""
        self.task.start()
        self.clock.pump([1.0] * 7)
        self.assertEqual([2.0, 4.0, 6.0], self.calls)
        self.assertEqual([1, 1, 1], self.counts)

    def test_late(self) -> None:
        """A reactor that was busy makes one call for all that it missed, and says how many."""
        self.task.start()
        self.clock.advance(2)
        self.clock.advance(7)
        self.clock.advance(1)
        self.assertEqual([1, 3, 1], self.counts)

    def test_stop(self) -> None:
        """Stopping leaves no timer, may be repeated, and needs no start."""
        self.task.stop()
        self.task.start()
        self.clock.advance(2)
        self.task.stop()
        self.task.stop()
        self.clock.advance(10)
        self.assertEqual([2.0], self.calls)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_failure(self) -> None:
        """An error of the function is logged, and the function is called again."""

        def fail(count: int) -> None:
            self.called(count)
            raise ZeroDivisionError("a bug")

        task = PeriodicTask(self.clock, 2.0, fail)
        task.start()
        self.clock.pump([2.0] * 3)
        self.assertEqual([2.0, 4.0, 6.0], self.calls)
        self.assertEqual(3, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_other_failure(self) -> None:
        """An error that no function should catch does not end the task either."""

        def fail(count: int) -> None:
            self.called(count)
            raise _Ending

        task = PeriodicTask(self.clock, 2.0, fail)
        task.start()
        self.clock.pump([2.0] * 3)
        self.assertEqual([2.0, 4.0, 6.0], self.calls)
        self.assertEqual(3, len(self.flushLoggedErrors(_Ending)))
        self.assertTrue(task.is_running)

    def test_stop_from_within(self) -> None:
        """The function may stop its own task."""

        def once(count: int) -> None:
            self.called(count)
            task.stop()

        task = PeriodicTask(self.clock, 2.0, once)
        task.start()
        self.clock.pump([2.0] * 3)
        self.assertEqual(1, len(self.calls))


class StaggeredTimerTests(SynchronousTestCase):
    """Everybody once a period."""

    PERIOD = 97.0

    def setUp(self) -> None:
        """Make one."""
        self.clock = Clock()
        self.visits: list[tuple[float, _Member]] = []
        self.timer: StaggeredTimer[_Member] = StaggeredTimer(self.clock, self.PERIOD, self.visit)
        self.timer.start()
        self.members = [_Member() for _ in range(500)]

    def visit(self, member: _Member) -> None:
        """Remember it."""
        self.visits.append((self.clock.seconds(), member))

    def turn(self, seconds: float = PERIOD) -> None:
        """Let time pass, second by second."""
        self.clock.pump([1.0] * round(seconds))

    def test_once_a_period(self) -> None:
        """Each member is visited exactly once a period, first within the first one."""
        for member in self.members:
            self.timer.add(member)
        for _ in range(3):
            self.visits.clear()
            self.turn()
            self.assertEqual(len(self.members), len(self.visits))
            self.assertEqual(set(self.members), {member for _, member in self.visits})

    def test_steady(self) -> None:
        """Between two visits of a member lies one period."""
        self.timer.add(self.members[0])
        self.turn(5 * self.PERIOD)
        times = [time for time, _ in self.visits]
        self.assertEqual(5, len(times))
        steps = {round(after - before) for before, after in pairwise(times)}
        self.assertEqual({97}, steps)

    def test_spread(self) -> None:
        """Not all are visited at the same time."""
        for member in self.members:
            self.timer.add(member)
        self.turn()
        self.assertGreater(len({time for time, _ in self.visits}), 20)

    def test_membership(self) -> None:
        """It tells who is visited."""
        timer: StaggeredTimer[_Member] = StaggeredTimer(Clock(), 1.0, lambda _: None)
        first, second = _Member(), _Member()
        timer.add(first)
        self.assertEqual((True, False), (first in timer, second in timer))
        timer.discard(first)
        self.assertNotIn(first, timer)

    def test_discard(self) -> None:
        """A member that left is visited no more; strangers may leave, and members come twice."""
        first, second, stranger = self.members[:3]
        for member in (first, first, second):
            self.timer.add(member)
        self.timer.discard(second)
        self.timer.discard(second)
        self.timer.discard(stranger)
        self.turn()
        self.assertEqual([first], [member for _, member in self.visits])

    def test_discard_during_a_visit(self) -> None:
        """A visit may remove any member; a member that is gone is not visited any more."""

        def visit(member: _Member) -> None:
            self.visit(member)
            for each in self.members:
                timer.discard(each)

        timer: StaggeredTimer[_Member] = StaggeredTimer(self.clock, self.PERIOD, visit)
        for member in self.members:
            timer.add(member)
        timer.start()
        self.turn()
        self.assertEqual(1, len(self.visits))

    def test_failure(self) -> None:
        """A visit that fails is logged; those in the same place are visited all the same."""

        def visit(member: _Member) -> None:
            self.visit(member)
            raise ZeroDivisionError("a bug")

        timer: StaggeredTimer[_Member] = StaggeredTimer(self.clock, self.PERIOD, visit)
        for member in self.members:
            timer.add(member)
        timer.start()
        self.turn()
        self.assertEqual(len(self.visits), len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual(set(self.members), {member for _, member in self.visits})

    def test_late(self) -> None:
        """A reactor that was busy skips nobody, and visits nobody twice for it."""
        for member in self.members:
            self.timer.add(member)
        self.turn(10)
        self.clock.advance(self.PERIOD - 10)
        self.assertEqual(set(self.members), {member for _, member in self.visits})
        self.assertEqual(len(self.members), len(self.visits))
        self.visits.clear()
        self.clock.advance(10 * self.PERIOD)
        self.assertEqual(len(self.members), len(self.visits))

    def test_stop(self) -> None:
        """A stopped timer visits nobody and leaves no timer."""
        self.timer.add(self.members[0])
        self.timer.stop()
        self.turn()
        self.assertEqual([], self.visits)
        self.assertEqual([], self.clock.getDelayedCalls())


class SpreadVisitsTests(SynchronousTestCase):
    """Each once, and not all at once."""

    def setUp(self) -> None:
        """Make one."""
        self.clock = Clock()
        self.visits: list[tuple[float, int]] = []
        self.spread: SpreadVisits[int] = SpreadVisits(self.clock, self.visit)

    def visit(self, member: int) -> None:
        """Remember it."""
        self.visits.append((self.clock.seconds(), member))

    def turn(self, seconds: float) -> None:
        """Let time pass in small steps."""
        self.clock.pump([0.01] * round(seconds * 100))

    def test_even(self) -> None:
        """Each is visited once, in order, and each second has its share."""
        for count in (10_000, 97, 13, 4):
            self.visits.clear()
            begin = self.clock.seconds()
            self.spread.start(range(count), 4.0)
            self.turn(4.2)
            self.assertEqual(list(range(count)), [member for _, member in self.visits])
            for second in range(4):
                share = sum(second <= time - begin < second + 1 for time, _ in self.visits)
                # A slice may fall on either side of the border.
                self.assertTrue(abs(share - count / 4) <= count / 40 + 1, (count, second, share))
            self.assertEqual([], self.clock.getDelayedCalls())

    def test_at_once(self) -> None:
        """No time, or a single member, needs no timer."""
        self.spread.start(range(1000), 0)
        self.assertEqual(1000, len(self.visits))
        self.spread.start([7], 60.0)
        self.assertEqual(1001, len(self.visits))
        self.spread.start([], 60.0)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_late(self) -> None:
        """A reactor that was busy catches up, and the end is where it was."""
        self.spread.start(range(100), 10.0)
        self.clock.advance(5.0)
        self.assertTrue(50 <= len(self.visits) <= 52, len(self.visits))
        self.clock.advance(20.0)
        self.assertEqual(100, len(self.visits))

    def test_stop(self) -> None:
        """Stopped, it visits nobody, leaves no timer, and can be started again."""
        self.spread.stop()
        self.spread.start(range(100), 10.0)
        self.turn(1)
        self.spread.stop()
        visited = len(self.visits)
        self.turn(20)
        self.assertEqual(visited, len(self.visits))
        self.assertEqual([], self.clock.getDelayedCalls())
        self.visits.clear()
        self.spread.start(range(3), 0)
        self.assertEqual([0, 1, 2], [member for _, member in self.visits])

    def test_replaced(self) -> None:
        """A second start replaces the first one, also when a visit makes it."""
        self.spread.start(range(100), 10.0)
        self.spread.start(range(200, 203), 0)
        self.turn(20)
        self.assertEqual([0, 200, 201, 202], [member for _, member in self.visits])

        def restart(member: int) -> None:
            self.visit(member)
            if member == 1:
                spread.start([5], 0)

        self.visits.clear()
        spread: SpreadVisits[int] = SpreadVisits(self.clock, restart)
        spread.start(range(3), 3.0)
        self.turn(5)
        self.assertEqual([0, 1, 5], [member for _, member in self.visits])
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_failure(self) -> None:
        """A visit that fails is logged; the others are made all the same."""

        def fail(member: int) -> None:
            self.visit(member)
            raise ZeroDivisionError("a bug")

        self.spread = SpreadVisits(self.clock, fail)
        self.spread.start(range(5), 1.0)
        self.turn(2)
        self.assertEqual(5, len(self.visits))
        self.assertEqual(5, len(self.flushLoggedErrors(ZeroDivisionError)))


class TimeoutQueueTests(SynchronousTestCase):
    """The same time for each."""

    def setUp(self) -> None:
        """Make some."""
        self.clock = Clock()
        self.late: list[tuple[float, str]] = []
        self.queue: TimeoutQueue[str] = TimeoutQueue(self.clock, 5.0, self.expire)
        self.queue.start()

    def expire(self, member: str) -> None:
        """Remember it."""
        self.assertNotIn(member, list(self.queue))
        self.late.append((self.clock.seconds(), member))

    def wait(self, seconds: float) -> None:
        """Let time pass in small steps."""
        self.clock.pump([0.25] * round(seconds * 4))

    def test_expire(self) -> None:
        """A member that is late is reported once, soon after, and is not a member any more."""
        self.queue.add("a")
        self.wait(2)
        self.queue.add("b")
        self.wait(2.75)
        self.assertEqual([], self.late)
        self.wait(10)
        self.assertEqual(["a", "b"], [member for _, member in self.late])
        for due, (time, _) in zip((5.0, 7.0), self.late, strict=True):
            self.assertTrue(due <= time <= due + 0.5, time)
        self.assertEqual(0, len(self.queue))

    def test_off_the_grid(self) -> None:
        """A member that comes between two looks expires in time, and at most 0.5 s later."""
        for number in range(40):
            self.queue.add(str(number))
            self.clock.advance(0.07)
        self.clock.pump([0.01] * 600)
        self.assertEqual([str(number) for number in range(40)], [name for _, name in self.late])
        for number, (time, _) in enumerate(self.late):
            self.assertTrue(number * 0.07 + 5.0 - 1e-9 <= time <= number * 0.07 + 5.5, time)

    def test_exactly_due(self) -> None:
        """A member whose time is up at the moment of a look is late."""
        self.queue.add("a")
        self.clock.pump([0.5] * 10)
        self.assertEqual([(5.0, "a")], self.late)

    def test_short(self) -> None:
        """A timeout of less than 2 s is exceeded by a quarter of it at most."""
        for timeout in (0.1, 1.0, 1.9):
            self.late.clear()
            self.queue = TimeoutQueue(self.clock, timeout, self.expire)
            self.queue.start()
            self.clock.advance(timeout / 100)
            start = self.clock.seconds()
            self.queue.add("a")
            self.clock.pump([timeout / 100] * 130)
            ((time, _),) = self.late
            self.assertTrue(timeout <= time - start <= timeout * 1.25 + 1e-9, time - start)

    def test_few_looks(self) -> None:
        """A queue looks at most twice a second, and four times in a timeout that is short."""
        for timeout, least in ((5.0, 0.5), (1.0, 0.25)):
            clock = Clock()
            queue: TimeoutQueue[str] = TimeoutQueue(clock, timeout, self.expire)
            queue.start()
            (call,) = clock.getDelayedCalls()
            self.assertEqual(least, call.getTime())

    def test_in_time(self) -> None:
        """A member that finishes in time is not reported; strangers may leave as well."""
        self.queue.add("a")
        self.queue.discard("a")
        self.queue.discard("b")
        self.wait(10)
        self.assertEqual([], self.late)

    def test_add_twice(self) -> None:
        """Coming again does not give more time."""
        self.queue.add("a")
        self.wait(4)
        self.queue.add("a")
        self.wait(1.5)
        self.assertEqual(1, len(self.late))

    def test_come_back(self) -> None:
        """A member that left and comes back has all the time again, after the others."""
        self.queue.add("a")
        self.queue.add("b")
        self.wait(4)
        self.queue.discard("a")
        self.queue.add("a")
        self.assertEqual(["b", "a"], list(self.queue))
        self.wait(2)
        self.assertEqual(["b"], [member for _, member in self.late])

    def test_iterate(self) -> None:
        """Members can be counted and walked through, also while they leave."""
        for member in ("a", "b"):
            self.queue.add(member)
        self.assertEqual(2, len(self.queue))
        for member in self.queue:
            self.queue.discard(member)
        self.assertEqual([], list(self.queue))

    def test_crowd(self) -> None:
        """Many that are late at once expire in several turns of the reactor."""
        for number in range(100):
            self.queue.add(str(number))
        # What the reactor has to do then comes before the rest of them.
        seen: list[int] = []
        self.clock.callLater(5.0, lambda: self.clock.callLater(0, lambda: seen.append(self.done)))
        self.clock.advance(5.0)
        self.assertEqual([str(number) for number in range(100)], [name for _, name in self.late])
        self.assertLess(seen[0], 100)

    def test_stop_in_a_crowd(self) -> None:
        """Stopped between two turns, the rest stay."""
        for number in range(100):
            self.queue.add(str(number))
        self.clock.callLater(5.0, self.queue.stop)
        self.clock.advance(5.0)
        self.assertEqual((32, 68), (self.done, len(self.queue)))
        self.assertEqual([], self.clock.getDelayedCalls())

    @property
    def done(self) -> int:
        """The number of members that have expired."""
        return len(self.late)

    def test_discard_while_expiring(self) -> None:
        """A member that expires may take others with it: they are not reported as well."""

        def take_along(member: str) -> None:
            self.late.append((self.clock.seconds(), member))
            queue.discard("b")

        queue: TimeoutQueue[str] = TimeoutQueue(self.clock, 5.0, take_along)
        queue.start()
        for member in ("a", "b", "c"):
            queue.add(member)
        self.wait(10)
        self.assertEqual(["a", "c"], [member for _, member in self.late])

    def test_failure(self) -> None:
        """One that fails is logged, and does not save the others."""

        def fail(member: str) -> None:
            self.expire(member)
            raise ZeroDivisionError("a bug")

        self.queue: TimeoutQueue[str] = TimeoutQueue(self.clock, 5.0, fail)
        self.queue.start()
        for member in ("a", "b", "c"):
            self.queue.add(member)
        self.wait(10)
        self.assertEqual(["a", "b", "c"], [member for _, member in self.late])
        self.assertEqual(3, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_stop(self) -> None:
        """Stopped, nobody expires; members stay."""
        self.queue.add("a")
        self.queue.stop()
        self.wait(10)
        self.assertEqual(([], 1), (self.late, len(self.queue)))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_one_raises(self) -> None:
        """An error in the call for one member is logged; the others expire all the same."""
        expired = []

        def expire(member: str) -> None:
            expired.append(member)
            if member == "bad":
                raise RuntimeError("this member is broken")

        queue = TimeoutQueue(self.clock, 1.0, expire)
        queue.start()
        for member in ("first", "bad", "last"):
            queue.add(member)
        self.clock.pump([0.25] * 5)
        self.assertEqual(["first", "bad", "last"], expired)
        self.assertEqual(0, len(queue))
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
        queue.stop()
