"""Tests of the latest moment for the end of the process."""

from __future__ import annotations

from queue import Queue
from threading import Event, Thread

from twisted.logger import Logger, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from wsredis.service import deadline
from wsredis.service.deadline import Deadline


class DeadlineTests(SynchronousTestCase):
    """A thread that goes on working does not hold the process."""

    def test_end(self) -> None:
        """When the time is over, one line names the threads, and the process ends with status 1."""
        statuses: Queue[int] = Queue()
        slept: list[float] = []
        done = Event()
        busy = Thread(target=done.wait, name="asks a mute server")
        busy.start()
        try:
            with capturedLogs() as events:
                Deadline(statuses.put, slept.append).start(14.25)
                self.assertEqual(1, statuses.get(timeout=10))
        finally:
            done.set()
            busy.join()
        self.assertEqual([14.25], slept)
        (line,) = [formatEvent(event) for event in events]
        self.assertIn("more than 14.25 seconds", line)
        self.assertIn("asks a mute server", line)

    def test_nobody(self) -> None:
        """Without such a thread it is the main one that does not end."""
        statuses: Queue[int] = Queue()
        with capturedLogs() as events:
            Deadline(statuses.put, lambda seconds: None).start(1)
            statuses.get(timeout=10)
        (line,) = [formatEvent(event) for event in events]
        self.assertTrue(line.endswith("none but the main one"), line)

    def test_log_that_blocks(self) -> None:
        """A log that nobody reads does not hold the process."""
        statuses: Queue[int] = Queue()
        reading = Event()
        self.addCleanup(reading.set)

        def block(event: object) -> None:
            reading.wait()

        self.patch(Deadline, "_log", Logger(observer=block))
        self.patch(deadline, "_LOG_TIME", 0.01)
        Deadline(statuses.put, lambda seconds: None).start(1)
        self.assertEqual(1, statuses.get(timeout=10))
