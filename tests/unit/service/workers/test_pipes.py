"""Tests of the ends of the two pipes in a worker."""

from __future__ import annotations

import json
import os
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.service.workers.case import FakeReactor
from wsredis.service.workers.pipes import CommandReader, Reporter, keep_from_children


class CommandReaderTests(SynchronousTestCase):
    """Commands come through a pipe, whose end stops the worker."""

    def test_commands(self) -> None:
        """Commands are passed on, and then the end."""
        descriptor, parent = os.pipe()
        self.addCleanup(os.close, descriptor)
        events: list[object] = []
        reader = CommandReader(
            FakeReactor(), descriptor, events.append, lambda: events.append("ended")
        )
        self.assertEqual(descriptor, reader.fileno())
        reader.doRead()
        self.assertEqual([], events, "it does not block")
        for part in (b"rel", b"oad\nstate {}\nsta"):
            os.write(parent, part)
            reader.doRead()
        os.close(parent)
        lost = reader.doRead()
        self.assertIsInstance(lost, ConnectionDone)
        reader.connectionLost(Failure(lost))
        self.assertEqual([b"reload", b"state {}", "ended"], events)

    def test_command_that_fails(self) -> None:
        """A command that fails, such as one to read files again, does not end the worker."""
        descriptor, parent = os.pipe()
        self.addCleanup(os.close, descriptor)
        self.addCleanup(os.close, parent)
        events: list[object] = []

        def receive(line: bytes) -> None:
            events.append(line)
            if line == b"reload":
                raise ValueError("a library has failed")

        reader = CommandReader(FakeReactor(), descriptor, receive, lambda: None)
        os.write(parent, b"reload\nstop\n")
        self.assertIsNone(reader.doRead())
        self.assertEqual([b"reload", b"stop"], events)
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))


class DescriptorTests(SynchronousTestCase):
    """Programs that an application starts get no descriptor of the worker."""

    def test_kept(self) -> None:
        """Commands come through another one, and children read an empty file in place of them."""
        commands, parent = os.pipe()
        socket_, other = os.pipe()
        for each in (commands, parent, socket_, other):
            self.addCleanup(os.close, each)
            os.set_inheritable(each, True)
        os.write(parent, b"+")
        own = keep_from_children(commands, [socket_])
        self.addCleanup(os.close, own)
        self.assertEqual(b"", os.read(commands, 10))
        self.assertEqual(b"+", os.read(own, 10))
        self.assertEqual(
            [False, True, False], [os.get_inheritable(each) for each in (own, commands, socket_)]
        )


class ReporterTests(SynchronousTestCase):
    """Reports are sent through a pipe."""

    def setUp(self) -> None:
        """A pipe."""
        self.parent, child = os.pipe()
        self.reporter = Reporter(child)
        self.addCleanup(self.reporter._file.close)

    def read(self) -> list[dict[str, Any]]:
        """Read as the parent does."""
        return [json.loads(line) for line in os.read(self.parent, 65536).split(b"\n") if line]

    def test_events(self) -> None:
        """Each is a line with the record of the event."""
        log = Logger("a.b", observer=LogPublisher(self.reporter))
        log.warn("caf\xe9 {n}\n", n=1)
        try:
            raise ValueError("bad")
        except ValueError:
            log.failure("oh")
        self.reporter({"log_format": "bare", "log_time": 0.0})
        self.reporter.report({"alive": 1})
        first, second, third, last = self.read()
        os.close(self.parent)
        shown = [
            (each["log"]["level"], each["log"]["logger"], each["log"]["message"])
            for each in (first, second, third)
        ]
        self.assertEqual(
            [("warn", "a.b", "caf\xe9 1"), ("critical", "a.b", "oh"), ("info", "-", "bare")], shown
        )
        self.assertIn("ValueError: bad", second["log"]["traceback"])
        self.assertEqual({"alive": 1}, last)

    def test_full(self) -> None:
        """A report that would wait is left out; those that come after it are not."""
        os.set_blocking(self.reporter._file.fileno(), False)
        size = 4096
        try:
            while True:
                os.write(self.reporter._file.fileno(), b"\n" * size)
        except BlockingIOError:
            pass
        self.reporter.report_state({"alive": 1}, False)
        self.assertNotIn(b"alive", os.read(self.parent, 1 << 20))
        self.reporter.report_state({"alive": 2}, False)
        self.assertEqual([{"alive": 2}], self.read())

    def test_numbers(self) -> None:
        """Numbers, which may not fit, are left out while the parent has not read all."""
        self.reporter.report_state({"alive": 1, "numbers": {"x": 1}}, False)
        self.reporter.report_state({"alive": 2, "numbers": {"x": 1}}, False)
        self.assertEqual([{"alive": 1, "numbers": {"x": 1}}, {"alive": 2}], self.read())
        for number in (3, 4):
            self.reporter.report_state({"alive": number, "numbers": {"x": 1}}, True)
        found = [each["alive"] for each in self.read() if "numbers" in each]
        self.assertEqual([3, 4], found, "a parent that reads gets all")

    def test_parent_is_gone(self) -> None:
        """A report to a parent that has ended is lost, and raises nothing."""
        os.close(self.parent)
        self.reporter.report({"alive": 1})
        # The file still has what it could not write.
        self.assertRaises(BrokenPipeError, self.reporter._file.close)
