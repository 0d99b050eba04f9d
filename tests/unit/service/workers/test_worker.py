"""Tests of a worker: its gateway, its commands, and its reports."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.memory_gateway import Socket
from tests.unit.service.workers.case import FakeReactor
from wsredis.brokers.memory import MemoryBroker, MemoryServer
from wsredis.config import GatewayConfig, RedisConfig
from wsredis.gateway.health import Problem
from wsredis.service.workers.sockets import SharedSocket
from wsredis.service.workers.worker import (
    CommandReader,
    Reporter,
    WorkerGateway,
    WorkerTask,
    keep_from_children,
)


class GatewayTests(SynchronousTestCase):
    """The gateway in a worker."""

    def setUp(self) -> None:
        """Start one, with one socket."""
        self.make()

    def make(self, **settings: Any) -> None:
        """Start one, with other settings."""
        self.reactor = FakeReactor()
        self.reports: list[dict[str, Any]] = []
        self.redis = MemoryServer(self.reactor)
        self.broker = MemoryBroker(self.redis)
        descriptor, other = os.pipe()
        os.close(other)
        config = GatewayConfig(port=(), redis=RedisConfig(url="unix:///x"), **settings)
        task = WorkerTask(1, "", config, [SharedSocket(descriptor, socket.AF_INET, True, False)])
        self.descriptor = descriptor
        self.stops = 0
        self.service = WorkerGateway(
            task, self.reactor, self.reports.append, self.stop, self.broker
        )
        self.service.startService()
        for port in self.reactor.ports:
            self.addCleanup(port.socket.close)

    def stop(self) -> None:
        """Count that the process is to stop."""
        self.stops += 1

    def test_adopts(self) -> None:
        """It takes connections from the socket of its task."""
        self.assertEqual([(self.descriptor, socket.AF_INET)], self.reactor.adopted)
        self.assertEqual(1, len(self.service._ports))
        self.assertRaises(OSError, os.fstat, self.descriptor)

    def problems(self) -> list[list[str]]:
        """Take the problems of the reports that were sent since the last call."""
        found = [list(each["problems"]) for each in self.reports]
        self.reports.clear()
        return found

    def tell(self, situation: Any) -> None:
        """Tell it the state of all processes, as the parent does."""
        self.service.command_received(b"state " + json.dumps(situation).encode())

    def answer(self, path: str) -> tuple[int, Any]:
        """Ask over HTTP. Returns: Status and problems: name, number of the worker."""
        client = Socket(self.service.factory)
        client.send(f"GET /health/{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head, _, body = client.take().partition(b"\r\n\r\n")
        problems = json.loads(body)["problems"]
        found = [(each["name"], each.get("worker")) for each in problems]
        return int(head.split(b" ")[1]), found

    def test_reports(self) -> None:
        """It reports each change at once, and every second."""
        self.assertEqual([], self.reports)
        self.reactor.advance(0.1)
        self.assertEqual([{"alive": 0.1, "lag": 0.0, "problems": {}}], self.reports)
        self.problems()
        for _ in range(30):
            self.reactor.advance(0.1)
        self.assertEqual([[]] * 3, self.problems())
        self.broker.disconnect()
        self.reactor.advance(0.1)
        self.assertEqual([["redis"]], self.problems())

    def test_lag(self) -> None:
        """Reports have the lag of the event loop."""
        self.reactor.advance(1.25)
        self.reactor.advance(1)
        self.assertIn(0.25, [each["lag"] for each in self.reports])

    def test_commands(self) -> None:
        """A reload without certificates changes nothing; a line that is no command neither."""
        self.tell({0: {}})
        before = self.service.readiness()
        for line in (b"reload", b"", b"nonsense", b"reloaded"):
            self.service.command_received(line)
        self.assertEqual(before, self.service.readiness())

    def test_told_to_stop(self) -> None:
        """The command stops the process; the end of the pipe after it makes haste."""
        self.make(drain_delay=60.0)
        self.service.command_received(b"stop")
        self.assertEqual(1, self.stops)
        done = self.service.stopService()
        self.reactor.advance(1)
        (port,) = self.reactor.ports
        self.assertIsNone(port.stopped)
        self.service.commands_ended()
        self.reactor.advance(0.5)
        assert port.stopped is not None
        port.stopped.callback(None)
        self.successResultOf(done)
        self.assertEqual(1, self.stops)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_parent_died(self) -> None:
        """The end of the pipe alone stops the process."""
        self.service.commands_ended()
        self.assertEqual(1, self.stops)

    def test_ready(self) -> None:
        """It is ready if it is ready itself, and as far as it was told, all others are."""
        self.assertEqual((503, [("workers", None)]), self.answer("ready"))
        self.tell({0: {}, 1: {}, 2: {}})
        self.assertEqual((200, []), self.answer("ready"))
        bad, note = Problem("is bad", 1.0, True), Problem("is odd", 1.0, False)
        self.tell({0: {}, 1: {"full": bad}, 2: {"unproven": note}, 3: {"full": bad}})
        expected = [("full", 3), ("unproven", 2)]
        self.assertEqual((503, expected), self.answer("ready"), "it knows itself better")
        self.tell({0: {"draining": bad}, 1: {}, 2: {}})
        self.broker.disconnect()
        self.assertEqual((503, [("draining", None), ("redis", 1)]), self.answer("ready"))

    def test_silent_parent(self) -> None:
        """
        A parent that says nothing is a problem, and for long one that only a restart cures.

        Nobody else replaces a worker that hangs.
        """
        self.tell({0: {}, 1: {}, 2: {}})
        self.pass_by(2.9)
        self.assertEqual((200, []), self.answer("ready"))
        self.pass_by(0.2)
        self.assertEqual((503, [("workers", None)]), self.answer("ready"))
        self.assertEqual((200, []), self.answer("live"))
        self.pass_by(7.5)
        self.assertEqual((503, [("workers", 1)]), self.answer("live"))
        self.tell({0: {}, 1: {}, 2: {}})
        self.assertEqual((200, []), self.answer("ready"))
        self.assertEqual((200, []), self.answer("live"))

    def test_worker_was_stopped(self) -> None:
        """Time in which the worker itself did not run is not the silence of its parent."""
        self.tell({0: {}})
        self.reactor.advance(100)
        self.assertEqual((200, []), self.answer("ready"))

    def test_drain(self) -> None:
        """It reports as long as it drains, and does not expect a word of its parent."""
        self.tell({0: {}})
        self.service.stopService()
        self.reports.clear()
        self.pass_by(20)
        self.assertEqual([["draining"]] * 20, self.problems()[-20:])
        self.assertEqual((200, []), self.answer("live"))

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds * 10)):
            self.reactor.advance(0.1)

    def test_stop(self) -> None:
        """It stops as any gateway, and leaves no timer."""
        done = self.service.stopService()
        self.reactor.advance(0.25)
        (port,) = self.reactor.ports
        assert port.stopped is not None
        port.stopped.callback(None)
        self.successResultOf(done)
        self.assertEqual([], self.reactor.getDelayedCalls())


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
        self.reporter.report_unless_full({"alive": 1})
        self.assertNotIn(b"alive", os.read(self.parent, 1 << 20))
        self.reporter.report_unless_full({"alive": 2})
        self.assertEqual([{"alive": 2}], self.read())

    def test_parent_is_gone(self) -> None:
        """A report to a parent that has ended is lost, and raises nothing."""
        os.close(self.parent)
        self.reporter.report({"alive": 1})
        # The file still has what it could not write.
        self.assertRaises(BrokenPipeError, self.reporter._file.close)
