"""Tests of `wsredis.gateway.threads`, with real threads."""

from __future__ import annotations

from threading import Event, Thread, current_thread

from twisted.trial.unittest import SynchronousTestCase

from wsredis.gateway.threads import DaemonThreadPool

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
