"""Tests of a stop that may be asked for more than once."""

from __future__ import annotations

from twisted.internet.base import ReactorBase
from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsredis.service.stop_once import stop_once


class _Reactor(Clock):
    """
    A reactor that runs until it is stopped.

    Attributes:
        stopped: How often it was stopped.
    """

    def __init__(self, running: bool = True) -> None:
        super().__init__()
        self.running = running
        self.stopped = 0

    def stop(self) -> None:
        """Stop, as Twisted's reactor does."""
        if not self.running:
            raise ReactorNotRunning("Can't stop reactor that isn't running.")
        self.running = False
        self.stopped += 1


class StopOnceTests(SynchronousTestCase):
    """The first stop counts."""

    def test_twice(self) -> None:
        """A second stop changes nothing and raises nothing, also if the care is taken twice."""
        reactor = _Reactor()
        stop = stop_once(reactor)
        self.assertIs(stop, stop_once(reactor))
        for _ in range(3):
            reactor.stop()
            reactor.advance(1)
        self.assertEqual(1, reactor.stopped)

    def test_second_signal(self) -> None:
        """It makes haste, unless it comes at the same moment as the first one."""
        reactor = _Reactor()
        hurried: list[float] = []
        stop_once(reactor).hurry = lambda: hurried.append(reactor.seconds())
        reactor.stop()
        reactor.advance(0.04)
        reactor.stop()
        self.assertEqual([], hurried)
        reactor.advance(1)
        reactor.stop()
        self.assertEqual([1.04], hurried)
        self.assertEqual(1, reactor.stopped)

    def test_order_and_signal(self) -> None:
        """An order beside a signal is no second signal, whichever comes first."""
        for signal_first in (True, False):
            reactor = _Reactor()
            hurried: list[float] = []
            stop = stop_once(reactor)
            stop.hurry = lambda: hurried.append(reactor.seconds())  # noqa: B023 (called here)
            for order in (reactor.stop, stop.gently)[:: 1 if signal_first else -1]:
                order()
                reactor.advance(1)
            self.assertEqual((1, []), (reactor.stopped, hurried))
            reactor.stop()
            self.assertEqual(1, len(hurried))

    def test_not_running(self) -> None:
        """A stop of a reactor that does not run yet is the mistake that it was."""
        reactor = _Reactor(running=False)
        stop_once(reactor)
        self.assertRaises(ReactorNotRunning, reactor.stop)
        reactor.running = True
        reactor.stop()
        self.assertEqual(1, reactor.stopped)

    def test_signals(self) -> None:
        """The handlers of Twisted's signals use the attribute, so they are covered."""
        names = ReactorBase.sigTerm.__code__.co_names + ReactorBase.sigInt.__code__.co_names
        self.assertEqual(2, names.count("stop"))
