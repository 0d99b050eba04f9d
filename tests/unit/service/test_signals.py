"""Tests of the signals that ask a running program for something."""

from __future__ import annotations

import signal
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from wsredis.service.signals import SIGNALS, Signals


class _Reactor:
    """Calls functions when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], object]] = []

    def callFromThread(self, function: Callable[[], object]) -> None:
        self.waiting.append(function)

    def run(self) -> None:
        """Call all that waits."""
        waiting, self.waiting = self.waiting, []
        for function in waiting:
            function()


class SignalsTests(SynchronousTestCase):
    """No signal ends the process, whenever it comes."""

    def setUp(self) -> None:
        """The handlers of the process are put back after the test."""
        for each in SIGNALS:
            self.addCleanup(signal.signal, each, signal.getsignal(each))
        self.done: list[str] = []
        self.reactor = _Reactor()
        self.signals = Signals()
        self.signals.catch()
        self.actions = {
            signal.SIGHUP: lambda: self.done.append("reload"),
            signal.SIGUSR1: lambda: self.done.append("reopen"),
        }

    def test_follow(self) -> None:
        """Each has its action, in the thread of the reactor; one without an action has none."""
        self.signals.follow(self.reactor, self.actions)
        for each in SIGNALS:
            signal.raise_signal(each)
        self.assertEqual([], self.done)
        self.reactor.run()
        self.assertEqual(["reload", "reopen"], self.done)

    def test_early(self) -> None:
        """Those that come before the program is ready are followed once, and then."""
        for each in (*SIGNALS, *SIGNALS):
            signal.raise_signal(each)
        self.signals.follow(self.reactor, self.actions)
        self.reactor.run()
        self.assertEqual(["reload", "reopen"], self.done)
        self.signals.follow(self.reactor, self.actions)
        self.reactor.run()
        self.assertEqual(2, len(self.done))
