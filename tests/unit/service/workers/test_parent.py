"""Tests of the parent of the workers: sockets and settings, readiness, the end."""

from __future__ import annotations

import pickle
import socket
import sys
from pathlib import Path

from twisted.internet.defer import fail
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.service.workers.case import FakeReactor, WorkersCase
from wsredis.config import GatewayConfig, RedisConfig
from wsredis.errors import ConfigError
from wsredis.service.workers.parent import Workers
from wsredis.service.workers.sockets import SharedSocket
from wsredis.service.workers.worker import WorkerTask


class StartTests(WorkersCase):
    """Workers get the sockets and the settings."""

    def test_parent_takes_no_connections(self) -> None:
        """It holds the ports, and will close them without a shutdown of the shared sockets."""
        for port in self.reactor.ports:
            self.assertFalse(port.reading)
            self.assertFalse(port._shouldShutdown)

    def test_sockets(self) -> None:
        """Each worker inherits all of them, with descriptors after those of its pipes."""
        one, two = (port.fileno() for port in self.reactor.ports)
        for process in self.reactor.processes:
            expected = {0: "w", 1: "r", 2: "r", 3: "r", 4: one, 5: two}
            self.assertEqual(expected, process.descriptors)

    def test_ports_bound_before(self) -> None:
        """A port that was bound with privileges is not bound again."""
        reactor = FakeReactor()
        config = GatewayConfig(port=("1",), redis=RedisConfig(url="unix:///x"), workers=2)
        service = Workers(config, reactor=reactor)
        service.privilegedStartService()
        service.startService()
        (port,) = reactor.ports
        port.socket.close()
        self.assertEqual(2, len(reactor.processes))


class TaskTests(WorkersCase):
    """The task that a worker gets when it starts."""

    def setUp(self) -> None:
        """Start with a password in a file."""
        self.password_file = self.mktemp()
        Path(self.password_file).write_text("geheim\n")
        super().setUp()

    def test_task(self) -> None:
        """It has path, sockets and settings with the password, which is not in an argument."""
        path = pickle.dumps(sys.path)
        self.assertTrue(self.one.written.startswith(path))
        task: WorkerTask = pickle.loads(self.one.written[len(path) :])
        self.assertEqual(FakeReactor.__module__, task.reactor)
        self.assertEqual((), task.config.port)
        self.assertEqual(("geheim", None), (task.config.redis.password, self.file_of(task)))
        self.assertEqual(5, task.config.drain)
        family = int(socket.AF_INET)
        self.assertEqual(
            [SharedSocket(4, family, True, False), SharedSocket(5, family, False, False)],
            task.sockets,
        )
        self.assertNotIn("geheim", " ".join(self.one.words))
        self.assertEqual(["wsredis", "worker"], self.one.words[-2:])

    def file_of(self, task: WorkerTask) -> str | None:
        """The password file of the task."""
        return task.config.redis.password_file


class RefusedTests(SynchronousTestCase):
    """Endpoints that need more than their socket are refused."""

    def test_endpoints(self) -> None:
        """The error names the endpoint, in one line."""
        for text in ("ssl:443", "tls:/x:port=1", "haproxy:ssl:443", "nosuch:1"):
            config = GatewayConfig(port=(text,), workers=2)
            error = self.assertRaises(ConfigError, Workers, config, reactor=FakeReactor())
            self.assertIn(f"port: {text!r} cannot be used with --workers", str(error))
            self.assertNotIn("\n", str(error))

    def test_endpoints_with_tls(self) -> None:
        """The same holds for tls-port."""
        config = GatewayConfig(port=(), tls_port=("nosuch:1",), tls_cert="/x", workers=2)
        error = self.assertRaises(ConfigError, Workers, config, reactor=FakeReactor())
        self.assertIn("tls-port: 'nosuch:1' cannot be used with --workers", str(error))


class ReadyTests(WorkersCase):
    """The gateway is ready if all workers are."""

    def test_all(self) -> None:
        """Workers get a command when the last one is ready, and when one is not any more."""
        with capturedLogs() as events:
            self.one.report(ready=True)
            self.assertFalse(self.service.is_ready())
            self.assertEqual((b"", b""), (self.sent(self.one), self.sent(self.two)))
            self.two.report(ready=True)
            self.assertTrue(self.service.is_ready())
            self.assertEqual((b"+", b"+"), (self.sent(self.one), self.sent(self.two)))
            self.one.report(ready=False)
            self.assertFalse(self.service.is_ready())
            self.assertEqual((b"+-", b"+-"), (self.sent(self.one), self.sent(self.two)))
            self.two.report(ready=False)
        self.assertEqual(
            ["all 2 workers are ready", "not all 2 workers are ready"],
            [formatEvent(event) for event in events],
        )

    def test_one_ends(self) -> None:
        """When a worker ends, the others get a command; its successor gets the next one."""
        self.all_ready()
        self.one.end(signal=9)
        self.assertEqual(b"+-", self.sent(self.two))
        self.reactor.advance(0.5)
        third = self.reactor.processes[-1]
        self.assertEqual((b"", b"+-"), (self.sent(third), self.sent(self.two)))
        third.report(ready=True)
        self.assertEqual((b"+", b"+-+"), (self.sent(third), self.sent(self.two)))


class CertificateTests(WorkersCase):
    """Workers load the certificates; the parent passes a reload on."""

    def test_reload(self) -> None:
        """Each worker gets the command, unless it has ended or stops."""
        self.service.reload_certificates()
        self.assertEqual((b"r", b"r"), (self.sent(self.one), self.sent(self.two)))
        self.one.end()
        self.service.stopService()
        self.service.reload_certificates()
        self.assertEqual((b"r", b"r"), (self.sent(self.one), self.sent(self.two)))


class StopTests(WorkersCase):
    """All workers are stopped, and waited for."""

    def close_ports(self) -> None:
        """Let the ports be closed."""
        for port in self.reactor.ports:
            assert port.stopped is not None
            port.stopped.callback(None)

    def test_stop(self) -> None:
        """The pipe of the commands is closed; changes of readiness are not logged any more."""
        self.all_ready()
        with capturedLogs() as events:
            done = self.service.stopService()
            self.assertEqual(([0], [0]), (self.one.closed, self.two.closed))
            self.one.report(ready=False)
            self.one.end()
            self.close_ports()
            self.assertNoResult(done)
            self.two.end()
        self.successResultOf(done)
        self.assertEqual([], list(events))
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_hangs(self) -> None:
        """A worker that does not end is killed three seconds after the times to drain."""
        done = self.service.stopService()
        self.close_ports()
        self.one.end()
        self.reactor.advance(9.9)
        self.assertEqual([], self.two.signals)
        self.reactor.advance(0.1)
        self.assertEqual(([], ["KILL"]), (self.one.signals, self.two.signals))
        self.two.end(signal=9)
        self.successResultOf(done)

    def test_ends_when_killed(self) -> None:
        """A kill of a worker that has just ended is not an error."""
        done = self.service.stopService()
        self.close_ports()
        self.one.gone = True
        self.reactor.advance(10)
        self.one.end()
        self.two.end()
        self.successResultOf(done)

    def test_while_one_is_away(self) -> None:
        """A worker that waits for its restart is not started again."""
        self.one.end(status=1)
        done = self.service.stopService()
        self.close_ports()
        self.two.end()
        self.successResultOf(done)
        self.assertEqual([], self.reactor.getDelayedCalls())
        self.assertEqual(2, len(self.reactor.processes))

    def test_port_that_does_not_close(self) -> None:
        """A port whose close fails is logged, and delays neither workers nor other ports."""
        first, second = self.reactor.ports
        first.stopListening = lambda: fail(OSError("stuck"))  # type: ignore[method-assign]
        done = self.service.stopService()
        assert second.stopped is not None
        second.stopped.callback(None)
        self.assertEqual(1, len(self.flushLoggedErrors(OSError)))
        self.assertEqual(([0], [0]), (self.one.closed, self.two.closed))
        self.one.end()
        self.assertNoResult(done)
        self.two.end()
        self.successResultOf(done)
        self.assertEqual([], self.reactor.getDelayedCalls())
