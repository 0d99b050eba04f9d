"""Tests of the workers: what the parent starts, hears, tells and ends; what a worker says."""

from __future__ import annotations

import json
import os
import pickle
import socket
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import Logger, LogLevel, LogPublisher, capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.memory_gateway import Socket
from wsredis.brokers.memory import MemoryBroker, MemoryServer
from wsredis.config import GatewayConfig, RedisConfig
from wsredis.errors import ConfigError
from wsredis.service.workers.parent import Workers, _Gateway, _Reporter, _Shared, _Task, _Worker


class _Process:
    """A worker that does nothing."""

    def __init__(self, protocol: _Worker, words: list[str], descriptors: dict[int, Any]) -> None:
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

    def say(self, **report: object) -> None:
        """Send a report."""
        self.protocol.childDataReceived(3, json.dumps(report).encode() + b"\n")

    def end(self, status: int | None = None, signal: int | None = None) -> None:
        """End."""
        self.gone = True
        done = status is None and signal is None
        reason = ProcessDone(0) if done else ProcessTerminated(status, signal)
        self.protocol.processEnded(Failure(reason))


class _Port:
    """A port with a real socket, that takes its time to close."""

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


class _Reactor(MemoryReactorClock):  # type: ignore[misc]
    """A clock that starts workers, and ports."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[_Process] = []
        self.ports: list[_Port] = []
        self.adopted: list[tuple[int, int]] = []
        self.refuses = False

    def spawnProcess(
        self, protocol: Any, executable: str, args: list[str], env: object, childFDs: Any
    ) -> _Process:
        assert executable == args[0] and env is None
        if self.refuses:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        self.processes.append(_Process(protocol, args, childFDs))
        return self.processes[-1]

    def listenTCP(self, *words: Any, **more: Any) -> _Port:
        self.ports.append(_Port())
        return self.ports[-1]

    def adoptStreamPort(self, descriptor: int, family: int, factory: Any) -> _Port:
        self.adopted.append((descriptor, family))
        self.ports.append(_Port())
        return self.ports[-1]


class _WorkersCase(SynchronousTestCase):
    """Two workers on one port."""

    password_file: str | None = None

    def setUp(self) -> None:
        """Start them."""
        self.reactor = _Reactor()
        redis = RedisConfig(url="unix:///x", password_file=self.password_file)
        config = GatewayConfig(port=("haproxy:tcp:1", "2"), redis=redis, workers=2, drain=5)
        self.service = Workers(config, reactor=self.reactor)
        self.service.startService()
        self.one, self.two = self.reactor.processes
        self.addCleanup(lambda: [port.socket.close() for port in self.reactor.ports])
        self.tasks = len(self.one.written)

    def told(self, process: _Process) -> bytes:
        """What a worker was told after its task."""
        return process.written[self.tasks :]

    def all_ready(self) -> None:
        """Both say so."""
        self.one.say(ready=True)
        self.two.say(ready=True)


class StartTests(_WorkersCase):
    """Workers get the sockets and the settings."""

    def test_parent_takes_no_connections(self) -> None:
        """It only holds the ports, and closes them without disturbing the others."""
        for port in self.reactor.ports:
            self.assertFalse(port.reading)
            self.assertFalse(port._shouldShutdown)

    def test_sockets(self) -> None:
        """Each worker inherits all of them, behind its pipes."""
        one, two = (port.fileno() for port in self.reactor.ports)
        for process in self.reactor.processes:
            expected = {0: "w", 1: "r", 2: "r", 3: "r", 4: one, 5: two}
            self.assertEqual(expected, process.descriptors)

    def test_ports_bound_before(self) -> None:
        """What was bound with privileges is not bound again."""
        reactor = _Reactor()
        config = GatewayConfig(port=("1",), redis=RedisConfig(url="unix:///x"), workers=2)
        service = Workers(config, reactor=reactor)
        service.privilegedStartService()
        service.startService()
        (port,) = reactor.ports
        port.socket.close()
        self.assertEqual(2, len(reactor.processes))


class TaskTests(_WorkersCase):
    """What a worker is told when it starts."""

    def setUp(self) -> None:
        """There is a password, which only the parent can read."""
        self.password_file = self.mktemp()
        Path(self.password_file).write_text("geheim\n")
        super().setUp()

    def test_task(self) -> None:
        """Path, settings with the password itself, and the sockets; nothing of it in the words."""
        path = pickle.dumps(sys.path)
        self.assertTrue(self.one.written.startswith(path))
        task: _Task = pickle.loads(self.one.written[len(path) :])
        self.assertEqual(_Reactor.__module__, task.reactor)
        self.assertEqual((), task.config.port)
        self.assertEqual(("geheim", None), (task.config.redis.password, self.file_of(task)))
        self.assertEqual(5, task.config.drain)
        family = int(socket.AF_INET)
        self.assertEqual(
            [_Shared(4, family, True, False), _Shared(5, family, False, False)], task.sockets
        )
        self.assertNotIn("geheim", " ".join(self.one.words))
        self.assertEqual(["wsredis", "worker"], self.one.words[-2:])

    def file_of(self, task: _Task) -> str | None:
        """The file of the password."""
        return task.config.redis.password_file


class RefusedTests(SynchronousTestCase):
    """Endpoints that are more than a socket."""

    def test_endpoints(self) -> None:
        """They are named, in one line."""
        for text in ("ssl:443", "tls:/x:port=1", "haproxy:ssl:443", "nosuch:1"):
            config = GatewayConfig(port=(text,), workers=2)
            error = self.assertRaises(ConfigError, Workers, config, reactor=_Reactor())
            self.assertIn(f"port: {text!r} cannot be used with --workers", str(error))
            self.assertNotIn("\n", str(error))

    def test_endpoints_with_tls(self) -> None:
        """The same for those of the other setting."""
        config = GatewayConfig(port=(), tls_port=("nosuch:1",), tls_cert="/x", workers=2)
        error = self.assertRaises(ConfigError, Workers, config, reactor=_Reactor())
        self.assertIn("tls-port: 'nosuch:1' cannot be used with --workers", str(error))


class ReadyTests(_WorkersCase):
    """Ready when all are."""

    def test_all(self) -> None:
        """They are told when the last one is, and when one is not any more."""
        with capturedLogs() as events:
            self.one.say(ready=True)
            self.assertFalse(self.service.is_ready())
            self.assertEqual((b"", b""), (self.told(self.one), self.told(self.two)))
            self.two.say(ready=True)
            self.assertTrue(self.service.is_ready())
            self.assertEqual((b"+", b"+"), (self.told(self.one), self.told(self.two)))
            self.one.say(ready=False)
            self.assertFalse(self.service.is_ready())
            self.assertEqual((b"+-", b"+-"), (self.told(self.one), self.told(self.two)))
            self.two.say(ready=False)
        self.assertEqual(
            ["all 2 workers are ready", "not all 2 workers are ready"],
            [formatEvent(event) for event in events],
        )

    def test_one_ends(self) -> None:
        """The other is told; its replacement is told when it is ready, and not before."""
        self.all_ready()
        self.one.end(signal=9)
        self.assertEqual(b"+-", self.told(self.two))
        self.reactor.advance(0.5)
        third = self.reactor.processes[-1]
        self.assertEqual((b"", b"+-"), (self.told(third), self.told(self.two)))
        third.say(ready=True)
        self.assertEqual((b"+", b"+-+"), (self.told(third), self.told(self.two)))


class CertificateTests(_WorkersCase):
    """Workers have the certificates, and read them again when the parent is told to."""

    def test_reload(self) -> None:
        """Each is told, unless it is away or stops."""
        self.service.reload_certificates()
        self.assertEqual((b"r", b"r"), (self.told(self.one), self.told(self.two)))
        self.one.end()
        self.service.stopService()
        self.service.reload_certificates()
        self.assertEqual((b"r", b"r"), (self.told(self.one), self.told(self.two)))


class LogTests(_WorkersCase):
    """What workers say is in the log of the parent."""

    def said(self, descriptor: int, *parts: bytes) -> list[tuple[str, str, str]]:
        """Level, namespace and text of what comes of *parts*."""
        with capturedLogs() as events:
            for part in parts:
                self.two.protocol.childDataReceived(descriptor, part)
        return [
            (each["log_level"].name, each["log_namespace"], formatEvent(each)) for each in events
        ]

    def test_reports(self) -> None:
        """With their level and origin, in whatever parts they come; braces are only text."""
        line = json.dumps({"level": "error", "namespace": "a.b", "text": "x {y}\nz"}).encode()
        found = self.said(3, line[:5], line[5:] + b"\n" + line, b"\n")
        self.assertEqual([("error", "a.b", "worker 2: x {y}\nz")] * 2, found)

    def test_printed(self) -> None:
        """What is printed is a warning for each line."""
        found = self.said(2, b"a\nb", b"\xff\n")
        own = "wsredis.service.workers.parent._Worker"
        self.assertEqual(
            [("warn", own, "worker 2: a"), ("warn", own, "worker 2: b\N{REPLACEMENT CHARACTER}")],
            found,
        )

    def test_endless_line(self) -> None:
        """A line without an end is not kept for ever."""
        found = self.said(1, b"x" * 65536, b"x", b"y\n")
        self.assertEqual([65547, 11], [len(text) for _, _, text in found])

    def test_last_words(self) -> None:
        """Half a line of a worker that ended is told; half a report is not."""
        with capturedLogs() as events:
            self.two.protocol.childDataReceived(2, b"Segmentation fault")
            self.two.protocol.childDataReceived(3, b'{"level": "in')
            self.two.end(signal=11)
        told = [formatEvent(event) for event in events]
        self.assertEqual("worker 2: Segmentation fault", told[0])
        self.assertIn("worker 2 (process 1000) ended by signal 11", told[1])
        self.assertEqual(2, len(told))


class ReplaceTests(_WorkersCase):
    """A worker that ends is replaced, each time later."""

    def end(self, expected: str, **how: Any) -> None:
        """The first worker ends, which is one line."""
        with capturedLogs() as events:
            self.reactor.processes[-1].end(**how)
        (event,) = events
        self.assertEqual(expected, formatEvent(event))

    def test_delays(self) -> None:
        """From half a second to half a minute."""
        self.reactor.processes.append(self.one)
        for delay in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
            self.end(
                f"worker 1 (process 1000) ended with status 1; another one starts in {delay} s",
                status=1,
            )
            count = len(self.reactor.processes)
            self.reactor.advance(delay - 0.25)
            self.assertEqual(count, len(self.reactor.processes))
            self.reactor.advance(0.25)
            self.assertEqual(count + 1, len(self.reactor.processes))

    def test_sound(self) -> None:
        """One that lived for a minute is replaced as the first."""
        self.reactor.processes.append(self.one)
        for _ in range(2):
            self.reactor.advance(60)
            self.end(
                "worker 1 (process 1000) ended with status 0; another one starts in 0.5 s",
            )
            self.reactor.advance(0.5)

    def test_no_process(self) -> None:
        """Where the system has no process left it is tried again."""
        self.reactor.refuses = True
        self.one.end()
        with capturedLogs() as events:
            self.reactor.advance(0.5)
        (event,) = events
        self.assertIn("did not start (Resource temporarily unavailable)", formatEvent(event))
        self.reactor.refuses = False
        self.reactor.advance(1)
        self.assertEqual(3, len(self.reactor.processes))


class StopTests(_WorkersCase):
    """All are told to stop, and waited for."""

    def close_ports(self) -> None:
        """The ports are closed."""
        for port in self.reactor.ports:
            assert port.stopped is not None
            port.stopped.callback(None)

    def test_stop(self) -> None:
        """Closing the pipe is the order; nothing is said about readiness any more."""
        self.all_ready()
        with capturedLogs() as events:
            done = self.service.stopService()
            self.assertEqual(([0], [0]), (self.one.closed, self.two.closed))
            self.one.say(ready=False)
            self.one.end()
            self.close_ports()
            self.assertNoResult(done)
            self.two.end()
        self.successResultOf(done)
        self.assertEqual([], list(events))
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_hangs(self) -> None:
        """Who does not end is killed, some seconds after the time to drain."""
        done = self.service.stopService()
        self.close_ports()
        self.one.end()
        self.reactor.advance(7.5)
        self.assertEqual([], self.two.signals)
        self.reactor.advance(0.5)
        self.assertEqual(([], ["KILL"]), (self.one.signals, self.two.signals))
        self.two.end(signal=9)
        self.successResultOf(done)

    def test_ends_when_killed(self) -> None:
        """One that has just ended is not an error."""
        done = self.service.stopService()
        self.close_ports()
        self.one.gone = True
        self.reactor.advance(8)
        self.one.end()
        self.two.end()
        self.successResultOf(done)

    def test_while_one_is_away(self) -> None:
        """One that was to be replaced is not."""
        self.one.end(status=1)
        done = self.service.stopService()
        self.close_ports()
        self.two.end()
        self.successResultOf(done)
        self.assertEqual([], self.reactor.getDelayedCalls())
        self.assertEqual(2, len(self.reactor.processes))


class GatewayTests(SynchronousTestCase):
    """The gateway in a worker."""

    def setUp(self) -> None:
        """Start one, with one socket."""
        self.reactor = _Reactor()
        self.reports: list[dict[str, Any]] = []
        self.redis = MemoryServer(self.reactor)
        self.broker = MemoryBroker(self.redis)
        descriptor, other = os.pipe()
        os.close(other)
        config = GatewayConfig(port=(), redis=RedisConfig(url="unix:///x"))
        task = _Task("", config, [_Shared(descriptor, socket.AF_INET, True, False)])
        self.descriptor = descriptor
        self.service = _Gateway(task, self.reactor, self.reports.append)
        self.service._broker = self.broker
        self.service.startService()
        self.addCleanup(lambda: [port.socket.close() for port in self.reactor.ports])

    def test_adopts(self) -> None:
        """It takes connections from the socket that it was given."""
        self.assertEqual([(self.descriptor, socket.AF_INET)], self.reactor.adopted)
        self.assertEqual(1, len(self.service._ports))
        self.assertRaises(OSError, os.fstat, self.descriptor)

    def test_reports(self) -> None:
        """It says what changes, once."""
        self.assertEqual([], self.reports)
        for up in (True, True, False, True):
            (self.broker.connect if up else self.broker.disconnect)()
            self.reactor.advance(0.1)
        self.assertEqual([{"ready": True}, {"ready": False}, {"ready": True}], self.reports)

    def test_told(self) -> None:
        """Orders may come together; certificates that nobody has are no trouble."""
        for orders, all_ready in ((b"+", True), (b"-r", False), (b"r-+r", True)):
            self.service.told(orders)
            self.assertEqual(all_ready, self.service.all_ready)

    def test_ready(self) -> None:
        """It is ready when it is itself, and all are."""
        client = Socket(self.service.factory)
        self.assertFalse(self.service.is_ready())
        client.send(b"GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = client.take()
        self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer)
        self.assertTrue(answer.endswith(b"not ready\n"), answer)
        self.service.all_ready = True
        self.assertTrue(self.service.is_ready())
        self.broker.disconnect()
        self.assertFalse(self.service.is_ready())

    def test_stop(self) -> None:
        """It stops as any gateway, and looks no more."""
        done = self.service.stopService()
        (port,) = self.reactor.ports
        assert port.stopped is not None
        port.stopped.callback(None)
        self.successResultOf(done)
        self.assertEqual([], self.reactor.getDelayedCalls())


class ReporterTests(SynchronousTestCase):
    """The way to the parent."""

    def setUp(self) -> None:
        """A pipe."""
        self.parent, child = os.pipe()
        self.reporter = _Reporter(child)
        self.addCleanup(self.reporter._file.close)

    def read(self) -> list[dict[str, Any]]:
        """What the parent reads."""
        return [json.loads(line) for line in os.read(self.parent, 65536).splitlines()]

    def test_events(self) -> None:
        """One line each, with text, level and origin; a traceback is a part of the text."""
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
        """Without a parent nobody is told, and nothing fails."""
        os.close(self.parent)
        self.reporter.report({"ready": True})
        # What could not be written is dropped with the file.
        self.assertRaises(BrokenPipeError, self.reporter._file.close)
