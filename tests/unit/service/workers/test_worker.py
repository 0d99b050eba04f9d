"""Tests of a worker: its gateway, its commands, and its reports."""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from tests.support.memory_gateway import Socket
from tests.unit.service.workers.case import FakeReactor
from wsredis.brokers.memory import MemoryBroker, MemoryServer
from wsredis.config import GatewayConfig, RedisConfig
from wsredis.gateway.health import Problem
from wsredis.gateway.numbers import EXPORTED, PROCESS, checked
from wsredis.gateway.publication import Publication
from wsredis.service.workers.sockets import SharedSocket
from wsredis.service.workers.worker import (
    WorkerGateway,
    WorkerTask,
)


class _Asker:
    """Collects answers, as the listener of a broker."""

    def __init__(self, answers: list[Any]) -> None:
        self._answers = answers

    def deliver(self, batch: list[Publication]) -> None:
        self._answers += [json.loads(each.payload) for each in batch]

    def restore(self, stored: Any) -> None:
        """Nothing is stored."""

    def gap(self, gap: Any) -> None:
        """There is none."""

    def forbid(self, channel: bytes) -> None:
        """Everything is allowed."""


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
        self.service = WorkerGateway(task, self.reactor, self.report, self.stop, self.broker)
        self.service.startService()
        for port in self.reactor.ports:
            self.addCleanup(port.socket.close)

    def report(self, report: dict[str, Any], may_wait: bool) -> None:
        """Take a report."""
        self.reports.append(report)
        self.may_wait = may_wait

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
        del self.reports[0]["numbers"]
        self.assertEqual([{"alive": 0.1, "problems": {}}], self.reports)
        self.problems()
        for _ in range(30):
            self.reactor.advance(0.1)
        self.assertEqual([[]] * 3, self.problems())
        self.broker.disconnect()
        self.reactor.advance(0.1)
        self.assertEqual([["redis"]], self.problems())

    def test_numbers(self) -> None:
        """A report has all numbers if prometheus-client is there."""
        with patch.dict(sys.modules, {"wsredis.web.metrics": None}):
            self.make()
        self.reactor.advance(0.1)
        self.assertNotIn("numbers", self.reports[0])
        for settings in ({}, {"metrics": True}, {"metrics_port": "0"}):
            self.make(**settings)
            self.reactor.advance(0.1)
            found = checked(json.loads(json.dumps(self.reports[0]["numbers"])))
            self.assertEqual({*(each.name for each in EXPORTED), PROCESS}, {*found})
            self.assertEqual(1, found["ready"])

    def test_serves_numbers(self) -> None:
        """It answers with the numbers of all workers, which the parent has sent."""
        self.make(metrics=True)
        self.service.command_received(
            b'numbers [{"connections": 5}, {"1": {"connections": 2}, "2": {"connections": 3}}]'
        )
        client = Socket(self.service.factory)
        client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        page = client.take().decode()
        for line in (
            "wsredis_connections 5.0",
            'wsredis_worker_connections{worker="1"} 2.0',
            'wsredis_worker_connections{worker="2"} 3.0',
        ):
            self.assertIn(f"\n{line}\n", page)

    def test_asked_over_redis(self) -> None:
        """Its answer to ``gateways`` has what is wrong here, and with the parent."""
        self.tell({0: {}, 1: {}})
        answers: list[Any] = []
        asker = MemoryBroker(self.redis)
        asker.start(_Asker(answers))
        asker.connect()
        asker.subscribe([b"wsredis-answers:01234567"])
        for name in ("proof", "workers"):
            self.service.health.report("proof", "nothing comes back")
            if name == "workers":
                self.service.health.report("proof", None)
                self.tell({0: {"workers": ["a parent that waits", 1.0, True]}})
            self.service._inspector.received(b'{"answer": "01234567"}')
            self.reactor.advance(0)
            answer = answers.pop()
            self.assertEqual((False, [name]), (answer["ready"], [*answer["problems"]]))

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
        self.assertTrue(self.may_wait)
        self.pass_by(1)
        self.assertFalse(self.may_wait, "it is not caught in a pipe that nobody reads")
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
