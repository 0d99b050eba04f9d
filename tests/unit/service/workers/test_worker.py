"""Tests of a worker: its gateway, its commands, and its reports."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.logger import Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.memory_gateway import Socket
from tests.unit.service.workers.case import FakeReactor
from wsredis.brokers.memory import MemoryBroker, MemoryServer
from wsredis.config import GatewayConfig, RedisConfig
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
        self.reactor = FakeReactor()
        self.reports: list[dict[str, Any]] = []
        self.redis = MemoryServer(self.reactor)
        self.broker = MemoryBroker(self.redis)
        descriptor, other = os.pipe()
        os.close(other)
        config = GatewayConfig(port=(), redis=RedisConfig(url="unix:///x"))
        task = WorkerTask("", config, [SharedSocket(descriptor, socket.AF_INET, True, False)])
        self.descriptor = descriptor
        self.service = WorkerGateway(task, self.reactor, self.reports.append, self.broker)
        self.service.startService()
        self.addCleanup(lambda: [port.socket.close() for port in self.reactor.ports])

    def test_adopts(self) -> None:
        """It takes connections from the socket of its task."""
        self.assertEqual([(self.descriptor, socket.AF_INET)], self.reactor.adopted)
        self.assertEqual(1, len(self.service._ports))
        self.assertRaises(OSError, os.fstat, self.descriptor)

    def test_reports(self) -> None:
        """It reports each change once."""
        self.assertEqual([], self.reports)
        for up in (True, True, False, True):
            (self.broker.connect if up else self.broker.disconnect)()
            self.reactor.advance(0.1)
        self.assertEqual([{"ready": True}, {"ready": False}, {"ready": True}], self.reports)

    def test_commands(self) -> None:
        """Commands may come together; a reload without certificates changes nothing."""
        for commands, all_ready in ((b"+", True), (b"-r", False), (b"r-+r", True)):
            self.service.commands_received(commands)
            self.assertEqual(all_ready, self.service.all_ready)

    def test_ready(self) -> None:
        """It is ready if its own broker is up and all workers are ready."""
        client = Socket(self.service.factory)
        self.assertFalse(self.service.is_ready())
        client.send(b"GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = client.take()
        self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer)
        self.assertIn(b'"workers"', answer)
        self.service.all_ready = True
        self.assertTrue(self.service.is_ready())
        self.broker.disconnect()
        self.assertFalse(self.service.is_ready())

    def test_stop(self) -> None:
        """It stops as any gateway, and leaves no timer."""
        done = self.service.stopService()
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
        os.write(parent, b"+r")
        reader.doRead()
        os.close(parent)
        lost = reader.doRead()
        self.assertIsInstance(lost, ConnectionDone)
        reader.connectionLost(Failure(lost))
        self.assertEqual([b"+r", "ended"], events)


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
        """Each is a line with text, level and namespace; a traceback is a part of the text."""
        log = Logger("a.b", observer=LogPublisher(self.reporter))
        log.warn("caf\xe9 {n}\n", n=1)
        try:
            raise ValueError("bad")
        except ValueError:
            log.failure("oh")
        self.reporter({"log_format": "bare", "log_time": 0.0})
        self.reporter.report({"ready": True})
        first, second, third, last = self.read()
        os.close(self.parent)
        self.assertEqual({"level": "warn", "namespace": "a.b", "text": "caf\xe9 1\n"}, first)
        self.assertEqual(LogLevel.critical.name, second["level"])
        self.assertIn("ValueError: bad", second["text"])
        self.assertEqual({"level": "info", "namespace": "-", "text": "bare"}, third)
        self.assertEqual({"ready": True}, last)

    def test_parent_is_gone(self) -> None:
        """A report to a parent that has ended is lost, and raises nothing."""
        os.close(self.parent)
        self.reporter.report({"ready": True})
        # The file still has what it could not write.
        self.assertRaises(BrokenPipeError, self.reporter._file.close)
