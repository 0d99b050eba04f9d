"""Tests of `wsredis.gateway.threads`, with real threads."""

from __future__ import annotations

import sys
from threading import Event, Thread, current_thread

from twisted.trial.unittest import SynchronousTestCase

from wsredis.gateway.threads import DaemonThreadPool, SwitchInterval

PATIENCE = 20.0


def _refuse(thread: Thread) -> None:
    raise RuntimeError("can't start new thread")


class DaemonThreadPoolTests(SynchronousTestCase):
    """`DaemonThreadPool`."""

    def test_no_thread(self) -> None:
        """A thread that the system cannot start is not waited for."""
        pool = DaemonThreadPool(0, 1, "test")
        pool.start()
        refusing = self.patch(Thread, "start", _refuse)
        self.assertRaises(RuntimeError, pool.callInThread, int)
        refusing.restore()
        done = Event()
        pool.callInThread(done.set)
        self.assertTrue(done.wait(PATIENCE))
        pool.stop()

    def test_leave(self) -> None:
        """A busy thread is a daemon, is not waited for, and finishes its call."""
        pool = DaemonThreadPool(0, 1, "test")
        pool.start()
        event, done = Event(), Event()
        self.addCleanup(event.set)
        threads: list[Thread] = []

        def work() -> None:
            threads.append(current_thread())
            assert event.wait(PATIENCE)
            done.set()

        pool.callInThread(work)
        pool.leave()
        event.set()
        self.assertTrue(done.wait(PATIENCE))
        self.assertTrue(threads[0].daemon)
        threads[0].join(PATIENCE)
        self.assertFalse(threads[0].is_alive())


class SwitchIntervalTests(SynchronousTestCase):
    """How often Python switches between threads."""

    def test_shorter(self) -> None:
        """It is shorter for a while, and then as it was before."""
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(0.004)
        interval = SwitchInterval()
        interval.restore()
        interval.shorten()
        self.assertAlmostEqual(0.0001, sys.getswitchinterval(), 5)
        sys.setswitchinterval(0.002)
        interval.restore()
        self.assertAlmostEqual(0.004, sys.getswitchinterval(), 5)
        interval.restore()

    def test_shorter_already(self) -> None:
        """One that is shorter already stays as it is."""
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(0.00005)
        SwitchInterval().shorten()
        self.assertAlmostEqual(0.00005, sys.getswitchinterval(), 5)
