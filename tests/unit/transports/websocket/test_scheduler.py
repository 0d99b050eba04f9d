"""Tests for `wsredis.transports.websocket.scheduler`."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsredis.config import Limits
from wsredis.gateway.client import PauseReason
from wsredis.transports.websocket.scheduler import Scheduler

_RATE = PauseReason.RATE


class _Client:
    """A client that has *input* left, in turns."""

    def __init__(self, scheduler: Scheduler, address: str = "", left: int = 0) -> None:
        self.scheduler = scheduler
        self.address = address
        self.left = left
        self.turns = 0
        self.events: list[object] = []

    def pause(self, why: PauseReason) -> None:
        self.events.append(("pause", why))

    def resume(self, why: PauseReason) -> None:
        self.events.append(("resume", why))

    def overdrawn(self) -> None:
        self.events.append("overdrawn")

    def take_turn(self) -> None:
        self.turns += 1
        self.left -= 1
        if self.left > 0:
            self.scheduler.add(self)


class TurnTests(SynchronousTestCase):
    """Clients with input that is left have their turns one after the other."""

    def setUp(self) -> None:
        """Make a scheduler whose reactor is turned by hand."""
        self.later: list[Callable[[], None]] = []
        self.scheduler = Scheduler(Clock(), Limits(), self.later.append)

    def test_round_robin(self) -> None:
        """Each has one turn before any has two, and the reactor comes in between."""
        clients = [_Client(self.scheduler, left=3) for _ in range(20)]
        for client in clients:
            self.scheduler.add(client)
        rounds = 0
        while self.later:
            (step,) = self.later
            self.later.clear()
            step()
            rounds += 1
            turns = [client.turns for client in clients]
            self.assertLessEqual(max(turns) - min(turns), 1)
        self.assertEqual([3] * 20, turns)
        self.assertEqual(8, rounds)

    def test_alone(self) -> None:
        """One that is alone has several turns before the reactor has its own."""
        client = _Client(self.scheduler, left=20)
        self.scheduler.add(client)
        for turns in (8, 16, 20):
            (step,) = self.later
            self.later.clear()
            step()
            self.assertEqual(turns, client.turns)
        self.assertEqual([], self.later)
        self.scheduler.add(client)
        self.assertEqual(1, len(self.later))

    def test_failure(self) -> None:
        """Even if a turn of one fails, the others have theirs, and so has who comes later."""
        clients = [_Client(self.scheduler, left=1) for _ in range(3)]
        clients[0].scheduler = cast(Scheduler, None)
        clients[0].left = 2
        for client in clients[:2]:
            self.scheduler.add(client)
        self.assertRaises(AttributeError, self.later.pop())
        self.later.pop()()
        self.assertEqual([1, 1, 0], [client.turns for client in clients])
        self.scheduler.add(clients[2])
        self.later.pop()()
        self.assertEqual(([], 1), (self.later, clients[2].turns))

    def test_at_once(self) -> None:
        """Without a reactor a turn has no end, and comes at once."""
        scheduler = Scheduler(Clock(), Limits())
        client = _Client(scheduler, left=2)
        scheduler.add(client)
        self.assertEqual(2, client.turns)
        self.assertGreater(scheduler.turn, 1 << 40)


class RateTests(SynchronousTestCase):
    """A client that works faster than the limits allow is delayed, then closed."""

    def setUp(self) -> None:
        """Make a scheduler."""
        self.clock = Clock()
        limits = Limits(max_rate=1000, max_rate_per_address=2000)
        self.scheduler = Scheduler(self.clock, limits, lambda step: None)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds * 100)):
            self.clock.advance(0.01)

    def test_burst(self) -> None:
        """A second's work may come at once."""
        client = _Client(self.scheduler, "a")
        self.scheduler.charge(client, 1000)
        self.assertEqual([], client.events)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_delay(self) -> None:
        """A client that is overdrawn is paused for as long as it owes."""
        client = _Client(self.scheduler)
        self.scheduler.charge(client, 1500)
        self.assertEqual([("pause", _RATE)], client.events)
        self.wait(0.49)
        self.assertEqual([("pause", _RATE)], client.events)
        self.wait(0.2)
        self.assertEqual([("pause", _RATE), ("resume", _RATE)], client.events)
        self.wait(2)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_more_while_paused(self) -> None:
        """Work that comes while it is paused makes the pause longer."""
        client = _Client(self.scheduler)
        self.scheduler.charge(client, 1500)
        self.scheduler.charge(client, 1000)
        self.wait(1.4)
        self.assertEqual([("pause", _RATE)], client.events)

    def test_address(self) -> None:
        """Clients of one address share its rate; others, and those without one, do not."""
        some = [_Client(self.scheduler, "a") for _ in range(5)]
        others = [_Client(self.scheduler, address) for address in ("b", "", "")]
        for client in [*some, *others]:
            self.scheduler.charge(client, 1000)
        # The address may use two seconds of its rate in advance.
        self.assertEqual([0, 0, 0, 0, 1], [len(client.events) for client in some])
        self.assertEqual([0, 0, 0], [len(client.events) for client in others])
        self.wait(0.45)
        self.assertEqual([("pause", _RATE)], some[4].events)
        self.wait(0.15)
        self.assertEqual([("pause", _RATE), ("resume", _RATE)], some[4].events)

    def test_little_work(self) -> None:
        """A client that works little waits for a moment, whatever its address owes."""
        hostile = [_Client(self.scheduler, "a") for _ in range(20)]
        for client in hostile:
            self.scheduler.charge(client, 1000)
        quiet = _Client(self.scheduler, "a")
        self.scheduler.charge(quiet, 1)
        self.assertEqual([("pause", _RATE)], quiet.events)
        self.wait(0.06)
        self.assertEqual([("pause", _RATE), ("resume", _RATE)], quiet.events)
        self.assertEqual([("pause", _RATE)], hostile[-1].events)

    def test_average_of_an_address(self) -> None:
        """Clients that always send are held to the rate of their address, each to its part."""
        clients = [_Client(self.scheduler, "a") for _ in range(10)]
        work = [0] * 10
        for _ in range(3000):
            for number, client in enumerate(clients):
                while not client.events or client.events[-1] != ("pause", _RATE):
                    self.scheduler.charge(client, 64)
                    work[number] += 64
            self.clock.advance(0.01)
        # Two seconds of the rate came in advance.
        self.assertLess(abs(sum(work) - 64_000), 5000)
        self.assertLess(max(work) - min(work), 4500)

    def test_average(self) -> None:
        """A client that always sends is held to its rate."""
        client = _Client(self.scheduler)
        work = 0
        for _ in range(1000):
            while not client.events or client.events[-1] != ("pause", _RATE):
                self.scheduler.charge(client, 64)
                work += 64
            self.clock.advance(0.01)
        self.assertLess(abs(work - 11_000), 500)

    def test_closed_in_the_end(self) -> None:
        """A client that does not stop for a minute is closed, one that makes a pause is not."""
        for pause, closed in ((0.0, True), (1.5, False)):
            client = _Client(self.scheduler)
            for _ in range(100):
                self.scheduler.charge(client, 2000)
                while client.events[-1:] == [("pause", _RATE)]:
                    self.wait(0.1)
                self.wait(pause)
                if "overdrawn" in client.events:
                    break
            self.assertEqual(closed, "overdrawn" in client.events)
            self.scheduler.forget(client)

    def test_neighbours(self) -> None:
        """A client is not closed for what others of its address owe: it only waits."""
        hostile = [_Client(self.scheduler, "a") for _ in range(4)]
        quiet = _Client(self.scheduler, "a")
        # Once it is too fast itself.
        self.scheduler.charge(quiet, 1100)
        for _ in range(350):
            for client, work in (*((each, 200) for each in hostile), (quiet, 100)):
                if client.events[-1:] != [("pause", _RATE)]:
                    self.scheduler.charge(client, work)
            self.wait(0.2)
        self.assertGreater(quiet.events.count(("pause", _RATE)), 100)
        self.assertFalse(any("overdrawn" in each.events for each in [*hostile, quiet]))

    def test_forgotten(self) -> None:
        """A client that is gone is not resumed, and the next one owes nothing."""
        client = _Client(self.scheduler, "a")
        self.scheduler.charge(client, 1500)
        self.scheduler.forget(client)
        self.scheduler.forget(client)
        self.scheduler.charge(client, 100)
        self.wait(3)
        self.assertEqual([("pause", _RATE)], client.events)
        self.assertEqual({}, self.scheduler._paused)

    def test_stop(self) -> None:
        """No timer is left."""
        self.scheduler.charge(_Client(self.scheduler), 1500)
        self.scheduler.stop()
        self.scheduler.stop()
        self.assertEqual([], self.clock.getDelayedCalls())
