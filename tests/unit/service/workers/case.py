"""Fakes for the tests of the workers: processes that run nothing, ports that only close."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from wsredis.config import GatewayConfig, RedisConfig
from wsredis.gateway.health import Problem
from wsredis.service.workers.parent import Workers
from wsredis.service.workers.reports import load_situation

__all__ = ["FakePort", "FakeProcess", "FakeReactor", "WorkersCase"]


class FakeProcess:
    """A worker that does nothing."""

    def __init__(self, protocol: Any, words: list[str], descriptors: dict[int, Any]) -> None:
        self.protocol = protocol
        self.words = words
        self.descriptors = descriptors
        self.pid = 1000
        self.written = b""
        self.closed: list[int] = []
        self.signals: list[str] = []
        self.gone = False

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        assert descriptor == 0 and not self.closed
        self.written += data

    def closeChildFD(self, descriptor: int) -> None:
        self.closed.append(descriptor)

    def signalProcess(self, name: str) -> None:
        if self.gone:
            raise ProcessExitedAlready
        self.signals.append(name)

    def report(self, *problems: str, **more: Any) -> None:
        """Send a report to the parent: problems of these names have begun."""
        values = {each: Problem(f"{each} is bad", 1.0, True) for each in problems}
        report = {"alive": 1.0, "problems": values, **more}
        self.protocol.childDataReceived(3, json.dumps(report).encode() + b"\n")

    def end(self, status: int | None = None, signal: int | None = None) -> None:
        """End."""
        self.gone = True
        done = status is None and signal is None
        reason = ProcessDone(0) if done else ProcessTerminated(status, signal)
        self.protocol.processEnded(Failure(reason))


class FakePort:
    """A port with a real socket. The test fires `stopped` when it has closed."""

    def __init__(self, reading: bool = True) -> None:
        self.socket = socket.socket()
        self.fileno = self.socket.fileno
        self.reading = reading
        self._shouldShutdown = True
        self.stopped: Deferred[None] | None = None

    def getHost(self) -> None:
        return None

    def stopReading(self) -> None:
        self.reading = False

    def stopListening(self) -> Deferred[None]:
        self.socket.close()
        self.stopped = Deferred()
        return self.stopped


class FakeReactor(MemoryReactorClock):  # type: ignore[misc]
    """A clock that makes fake processes and ports."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []
        self.ports: list[FakePort] = []
        self.adopted: list[tuple[int, int]] = []
        self.refuses = False

    def spawnProcess(
        self, protocol: Any, executable: str, args: list[str], env: object, childFDs: Any
    ) -> FakeProcess:
        assert executable == args[0] and env is None
        if self.refuses:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        self.processes.append(FakeProcess(protocol, args, childFDs))
        return self.processes[-1]

    def listenTCP(self, *words: Any, **more: Any) -> FakePort:
        self.ports.append(FakePort())
        return self.ports[-1]

    def adoptStreamPort(self, descriptor: int, family: int, factory: Any) -> FakePort:
        self.adopted.append((descriptor, family))
        self.ports.append(FakePort())
        return self.ports[-1]


class WorkersCase(SynchronousTestCase):
    """Two workers on one port."""

    password_file: str | None = None

    def setUp(self) -> None:
        """Start them."""
        self.make()

    def make(self, **settings: Any) -> None:
        """Start them, with other settings."""
        self.reactor = FakeReactor()
        redis = RedisConfig(url="unix:///x", password_file=self.password_file)
        ports = ("haproxy:tcp:1", "2")
        config = GatewayConfig(port=ports, redis=redis, workers=2, drain=5, drain_spread=2)
        self.service = Workers(replace(config, **settings), reactor=self.reactor)
        self.service.startService()
        self.one, self.two = self.reactor.processes
        for port in self.reactor.ports:
            self.addCleanup(port.socket.close)
        self.tasks = len(self.one.written)

    def sent(self, process: FakeProcess) -> list[str]:
        """The commands that a worker has received after its task, without their values."""
        lines = process.written[self.tasks :].decode().splitlines()
        return [line.partition(" ")[0] for line in lines]

    def told(self, process: FakeProcess) -> dict[int, list[str]]:
        """The names of the problems of each process, as the worker was told last."""
        line = process.written[self.tasks :].splitlines()[-1]
        situation = load_situation(json.loads(line.removeprefix(b"state ")))
        return {number: list(problems) for number, problems in situation.items() if problems}

    def all_ready(self) -> None:
        """Let both report that they are ready."""
        self.one.report()
        self.two.report()
