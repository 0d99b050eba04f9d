"""
Timers for many connections at once, instead of several for each connection.

A timer for each connection costs more than a third of a core at 50,000 connections. One timer that
visits all of them costs a tenth of that, and spreads the visits evenly over its period.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

__all__ = ["PeriodicTask", "SpreadVisits", "StaggeredTimer", "TimeoutQueue"]

T = TypeVar("T")

#: Members of a `TimeoutQueue` that expire before the reactor gets its turn: about 3 ms of work.
_AT_ONCE = 32

#: Shortest time between two slices of `SpreadVisits`, in seconds.
_SLICE = 0.05


class PeriodicTask:
    """
    Calls a function again and again. An exception of any class is logged and does not end it.

    Args:
        interval: Seconds between two calls.
        function: Called with the number of intervals that have passed: more than 1 if the reactor
            was late.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, interval: float, function: Callable[[int], None]
    ) -> None:
        self._function = function
        self._interval = interval
        self._loop = LoopingCall.withCount(self._call)
        self._loop.clock = clock

    def start(self) -> None:
        """Make the first call one interval from now."""
        self._loop.start(self._interval, now=False)

    def stop(self) -> None:
        """Make no more calls. Harmless when not started."""
        if self._loop.running:
            self._loop.stop()

    @property
    def is_running(self) -> bool:
        """Tell whether it was started, and not stopped."""
        return bool(self._loop.running)

    def _call(self, count: int) -> None:
        try:
            self._function(count)
        except BaseException:
            # As in the reactor. Without its timers a gateway would go on, and nobody would notice.
            self._log.failure("periodic task failed; it will run again", event="timer-failed")


class StaggeredTimer(Generic[T]):
    """
    Visits each member once a period, the members spread evenly over it.

    The slot of a member follows from its address in memory, so nothing is stored for it. An
    exception in a visit is logged, and the other members are visited all the same.

    Args:
        period: Seconds between two visits of the same member; the first comes sooner.
        visit: Called with a member. It may discard any member.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, period: float, visit: Callable[[T], None]) -> None:
        # A prime number of slots, since addresses share their factors of two.
        self._slots: list[set[T]] = [set() for _ in range(97)]
        self._visit = visit
        self._next = 0
        self._task = PeriodicTask(clock, period / len(self._slots), self._visit_slots)

    def start(self) -> None:
        """Begin to visit."""
        self._task.start()

    def stop(self) -> None:
        """Visit nobody until the next `start`; members stay."""
        self._task.stop()

    def add(self, member: T) -> None:
        """Visit *member* from now on."""
        self._slot(member).add(member)

    def discard(self, member: T) -> None:
        """Visit *member* no more. Harmless if it is not a member."""
        self._slot(member).discard(member)

    def __contains__(self, member: T) -> bool:
        return member in self._slot(member)

    def _slot(self, member: T) -> set[T]:
        return self._slots[(id(member) >> 4) % len(self._slots)]

    def _visit_slots(self, count: int) -> None:
        for _ in range(min(count, len(self._slots))):
            slot = self._slots[self._next]
            self._next = (self._next + 1) % len(self._slots)
            for member in list(slot):
                # An earlier visit may have sent it away.
                if member in slot:
                    self._guarded(member)

    def _guarded(self, member: T) -> None:
        try:
            self._visit(member)
        except Exception:
            self._log.failure(
                "periodic visit of one connection failed; the others go on", event="timer-failed"
            )


class SpreadVisits(Generic[T]):
    """
    Visits some members once, in slices that are spread evenly over a number of seconds.

    An exception in a visit is logged, and the other members are visited all the same.

    Args:
        visit: Called with a member, also with one that has gone by itself meanwhile.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, visit: Callable[[T], None]) -> None:
        self._clock = clock
        self._visit = visit
        self._members: list[T] = []
        self._visited = 0
        self._began = 0.0
        self._seconds = 0.0
        self._next: IDelayedCall | None = None

    def start(self, members: Iterable[T], seconds: float) -> None:
        """
        Visit these members from now on, and those of an earlier call no more.

        Args:
            members: Kept until they are visited.
            seconds: Time from the first visit, which is made now, to the end of the last slice. 0
                makes all visits now.
        """
        self.stop()
        self._members = list(members)
        self._began = self._clock.seconds()
        self._seconds = seconds
        self._visit_slice()

    def stop(self) -> None:
        """Visit nobody any more. Harmless when not started."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._members = []
        self._visited = 0

    def _visit_slice(self) -> None:
        self._next = None
        members, seconds = self._members, self._seconds
        passed = self._clock.seconds() - self._began
        due = len(members)
        if passed < seconds:
            due = min(due, int(passed / seconds * len(members)) + 1)
        first, self._visited = self._visited, due
        if due == len(members):
            self._members, self._visited = [], 0
        else:
            delay = max(_SLICE, seconds * due / len(members) - passed)
            self._next = self._clock.callLater(delay, self._visit_slice)
        # At last, since a visit may call `stop` or `start`.
        for member in members[first:due]:
            try:
                self._visit(member)
            except Exception:
                self._log.failure(
                    "visit of one connection failed; the others go on", event="timer-failed"
                )


class TimeoutQueue(Generic[T]):
    """
    Members that all have the same time to finish something.

    Args:
        timeout: Seconds for each member.
        expire: Called with a member whose time is up; it is not a member any more. The call comes
            up to half a second, or a quarter of *timeout*, late. An exception is logged.

    When many are late at once, the reactor looks after everything else in between.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, timeout: float, expire: Callable[[T], None]) -> None:
        self._clock = clock
        self._timeout = timeout
        self._expire = expire
        self._due: dict[T, float] = {}
        self._more: IDelayedCall | None = None
        self._task = PeriodicTask(clock, min(0.5, timeout / 4), self._check)

    def __len__(self) -> int:
        return len(self._due)

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._due))

    def __contains__(self, member: T) -> bool:
        return member in self._due

    def start(self) -> None:
        """Begin to look for members whose time is up."""
        self._task.start()

    def stop(self) -> None:
        """Expire nobody until the next `start`; members stay."""
        self._task.stop()
        if self._more is not None:
            self._more.cancel()
            self._more = None

    def add(self, member: T) -> None:
        """Give *member* its time. Adding it twice changes nothing."""
        self._due.setdefault(member, self._clock.seconds() + self._timeout)

    def discard(self, member: T) -> None:
        """Remove *member*. Harmless if it is not a member."""
        self._due.pop(member, None)

    def _check(self, count: int) -> None:
        now = self._clock.seconds()
        late: list[T] = []
        for member, due in self._due.items():
            if due > now:
                break
            if len(late) == _AT_ONCE:
                if self._more is None:
                    self._more = self._clock.callLater(0, self._go_on)
                break
            late.append(member)
        for member in late:
            if self._due.pop(member, None) is not None:
                try:
                    self._expire(member)
                except Exception:
                    self._log.failure(
                        "timeout of one connection failed; the others go on", event="timer-failed"
                    )

    def _go_on(self) -> None:
        self._more = None
        self._check(1)
