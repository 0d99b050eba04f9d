"""Tests of a stop that may be asked for more than once."""

from __future__ import annotations

from twisted.internet.base import ReactorBase
from twisted.internet.error import ReactorNotRunning
from twisted.trial.unittest import SynchronousTestCase

from wsredis.service.stop_once import stop_once


class _Reactor:
    """
    A reactor that runs until it is stopped.

    Attributes:
        stopped: How often it was stopped.
    """

    def __init__(self, running: bool = True) -> None:
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
        stop_once(reactor)
        stop_once(reactor)
        reactor.stop()
        reactor.stop()
        self.assertEqual(1, reactor.stopped)

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
