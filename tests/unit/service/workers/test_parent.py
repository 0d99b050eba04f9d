"""Tests of the parent of the workers: sockets and settings, readiness, the end."""

from __future__ import annotations

import json
import pickle
import socket
import sys
from pathlib import Path

from twisted.internet.defer import fail
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.gateway.test_numbers import state
from tests.unit.service.workers.case import FakeProcess, FakeReactor, WorkersCase
from wsredis.config import GatewayConfig, RedisConfig
from wsredis.errors import ConfigError
from wsredis.gateway.health import Problem
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.numbers import numbers
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
        redis = task.config.redis
        self.assertEqual("geheim", redis.inherited_password)
        self.assertNotIn("geheim", repr(task))
        self.assertEqual("geheim", redis.read_password())
        assert self.password_file is not None
        Path(self.password_file).write_text("neu\n")
        self.assertEqual("neu", redis.read_password())
        Path(self.password_file).unlink()
        self.assertEqual("geheim", redis.read_password(), "it may not be readable for a worker")
        self.assertEqual(5, task.config.drain)
        family = int(socket.AF_INET)
        self.assertEqual(
            [SharedSocket(4, family, True, False), SharedSocket(5, family, False, False)],
            task.sockets,
        )
        self.assertNotIn("geheim", " ".join(self.one.words))
        self.assertEqual(["wsredis", "worker"], self.one.words[-2:])


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


class NumbersTests(WorkersCase):
    """The numbers of all workers."""

    def setUp(self) -> None:
        """They are served on the ports of the clients."""
        self.make(metrics=True)

    def reported(self, process: FakeProcess, *problems: str, **counted: int) -> None:
        """Let a worker report what it has counted."""
        process.report(*problems, numbers=numbers(Metrics(**counted), state(ready=1)))

    def test_sum(self) -> None:
        """They are added up; a worker is ready if the parent says so."""
        self.reported(self.one, opened=2, connections=1)
        self.reported(self.two, "redis", opened=3, connections=2)
        total, workers = self.service.snapshot()
        self.assertEqual((5, 3), (total["connections_opened"], total["connections"]))
        self.assertEqual((2, 3), tuple(workers[x]["connections_opened"] for x in "12"))
        self.assertEqual((1, 0), tuple(workers[x]["ready"] for x in "12"))
        self.assertEqual(0, total["ready"])

    def test_silent(self) -> None:
        """A worker that has reported nothing is there, and is not ready."""
        self.reported(self.one)
        total, workers = self.service.snapshot()
        self.assertEqual({"ready": 0}, workers["2"])
        self.assertEqual(0, total["ready"])
        self.reported(self.two)
        self.assertEqual(1, self.service.snapshot().total["ready"])

    def test_replaced(self) -> None:
        """A sum does not shrink when a worker is replaced: Prometheus takes that for a restart."""
        self.reported(self.one, opened=2, connections=1)
        self.reported(self.two, opened=3)
        self.one.end(signal=9)
        total, workers = self.service.snapshot()
        self.assertEqual((5, 0), (total["connections_opened"], total["connections"]))
        self.assertEqual({"ready": 0}, workers["1"])
        self.reactor.advance(1)
        self.reported(self.reactor.processes[-1], opened=1)
        total, workers = self.service.snapshot()
        self.assertEqual((6, 1), (total["connections_opened"], workers["1"]["connections_opened"]))

    def test_short_report(self) -> None:
        """A report without numbers leaves the last ones."""
        self.reported(self.one, opened=2)
        self.one.report()
        self.assertEqual(2, self.service.snapshot().total["connections_opened"])

    def test_sent(self) -> None:
        """Workers that serve them get them every second."""
        self.reported(self.one, opened=2)
        self.reported(self.two, opened=3)
        self.one.written = b""
        self.reactor.advance(0.5)
        self.reactor.advance(0.5)
        found = [x for x in self.one.written.split(b"\n") if x.startswith(b"numbers ")]
        self.assertEqual(1, len(found))
        line = found[0]
        total, workers = json.loads(line.removeprefix(b"numbers "))
        self.assertEqual(5, total["connections_opened"])
        self.assertEqual(["1", "2"], [*workers])

    def test_ready(self) -> None:
        """They have them before they are ready: the first scrape has every worker."""
        self.reported(self.one)
        self.one.written = b""
        self.reported(self.two)
        first, second = self.one.written.splitlines()
        _, workers = json.loads(first.removeprefix(b"numbers "))
        self.assertEqual([1, 1], [each["ready"] for each in workers.values()])
        self.assertTrue(second.startswith(b"state "))


class PrivateNumbersTests(WorkersCase):
    """The numbers at a private port alone."""

    def setUp(self) -> None:
        """They are served by the parent."""
        self.make(metrics_port="9100")

    def test_not_sent(self) -> None:
        """The parent serves them, and no worker gets those of others."""
        self.all_ready()
        self.one.written = b""
        self.reactor.advance(0.5)
        self.reactor.advance(0.5)
        self.assertNotIn(b"numbers", self.one.written)
        self.assertIn(b"state", self.one.written)

    def test_port(self) -> None:
        """The port is not one of the workers'; they only learn that numbers are wanted."""
        *public, private = self.reactor.ports
        self.assertTrue(private.reading)
        self.assertEqual([False] * len(public), [port.reading for port in public])
        self.assertNotIn(private.fileno(), self.one.descriptors.values())
        self.assertEqual("0", self.service._worker_config.metrics_port)


class ReadyTests(WorkersCase):
    """The gateway is ready if all workers are, and each worker knows the state of all."""

    def test_all(self) -> None:
        """The state of all goes to all when a problem begins or ends anywhere."""
        with capturedLogs() as events:
            self.one.report()
            self.assertFalse(self.service.is_ready())
            self.assertEqual({2: ["workers"]}, self.told(self.one))
            self.assertEqual([], self.sent(self.two), "it does not read yet")
            self.two.report()
            self.assertTrue(self.service.is_ready())
            self.assertEqual([{}, {}], [self.told(each) for each in (self.one, self.two)])
            self.one.report("redis")
            self.assertFalse(self.service.is_ready())
            self.two.report("redis", "full")
            expected = {1: ["redis"], 2: ["redis", "full"]}
            self.assertEqual([expected] * 2, [self.told(each) for each in (self.one, self.two)])
        self.assertEqual(
            ["all 2 workers are ready", "not all 2 workers are ready: worker 1: redis is bad"],
            [formatEvent(event) for event in events],
        )

    def test_notes(self) -> None:
        """A problem that does not block is told, and is no reason."""
        note = b'{"alive": 1, "problems": {"unproven": ["odd", 1, false]}}\n'
        self.one.protocol.childDataReceived(3, note)
        with capturedLogs() as events:
            self.two.report()
            self.assertTrue(self.service.is_ready())
            self.assertEqual({1: ["unproven"]}, self.told(self.two))
            both = note.replace(b"}}", b', "full": ["bad", 1, true]}}')
            self.one.protocol.childDataReceived(3, both)
        self.assertEqual(
            ["all 2 workers are ready", "not all 2 workers are ready: worker 1: bad"],
            [formatEvent(event) for event in events],
        )

    def test_every_second(self) -> None:
        """Without a change it goes to all once a second: the parent's silence has a meaning."""
        self.make(metrics_port="9100")
        self.all_ready()
        before = len(self.sent(self.one))
        for _ in range(8):
            self.reactor.advance(0.5)
            self.all_ready()
        self.assertEqual(before + 4, len(self.sent(self.one)))

    def test_reasons(self) -> None:
        """It has text, beginning and weight, as the worker has reported them."""
        self.one.report("full")
        self.assertEqual({"full": Problem("full is bad", 1.0, True)}, self.service.readiness()[1])

    def test_one_ends(self) -> None:
        """When a worker ends, the others are told; its successor is when it has reported."""
        self.all_ready()
        self.one.end(signal=9)
        self.assertEqual({1: ["workers"]}, self.told(self.two))
        self.reactor.advance(0.5)
        third = self.reactor.processes[-1]
        self.assertEqual([], self.sent(third))
        self.assertFalse(self.service.is_ready())
        third.report()
        self.assertEqual([{}, {}], [self.told(each) for each in (third, self.two)])
        self.assertTrue(self.service.is_ready())

    def test_stopping(self) -> None:
        """A gateway that stops is not ready."""
        self.all_ready()
        self.service.stopService()
        self.assertIn("draining", self.service.readiness()[0])


class SilenceTests(WorkersCase):
    """A worker that says nothing is not ready after three seconds, and killed after ten."""

    def setUp(self) -> None:
        """Both are ready."""
        super().setUp()
        self.all_ready()

    def pass_by(self, seconds: float, *speakers: FakeProcess) -> None:
        """Let time pass, in which some report."""
        for _ in range(round(seconds * 2)):
            self.reactor.advance(0.5)
            for each in speakers:
                each.report()

    def test_mute(self) -> None:
        """The others are told, and it is not; one word makes it ready again."""
        self.pass_by(2.5, self.two)
        self.assertTrue(self.service.is_ready())
        before = len(self.sent(self.one))
        with capturedLogs() as events:
            self.pass_by(5, self.two)
        expected = "not all 2 workers are ready: worker 1: the worker says nothing"
        self.assertEqual([expected], [formatEvent(event) for event in events])
        self.assertEqual({1: ["workers"]}, self.told(self.two))
        self.assertEqual(before, len(self.sent(self.one)))
        self.one.report()
        self.assertTrue(self.service.is_ready())
        self.assertEqual([], self.one.signals)

    def test_killed(self) -> None:
        """It is killed once, and replaced."""
        self.pass_by(9.5, self.two)
        self.assertEqual([], self.one.signals)
        with capturedLogs() as events:
            self.pass_by(5, self.two)
        self.assertEqual(["KILL"], self.one.signals)
        expected = "worker 1 has said nothing for 10 s; killing it"
        self.assertEqual([expected], [formatEvent(event) for event in events])
        self.one.end(signal=9)
        self.pass_by(0.5, self.two)
        third = self.reactor.processes[-1]
        self.assertEqual({1: ["workers"]}, self.told(self.two))
        third.report()
        self.assertTrue(self.service.is_ready())

    def test_has_just_ended(self) -> None:
        """A kill of one that ends this moment is not an error."""
        self.one.gone = True
        self.pass_by(12, self.two)
        self.assertEqual([], self.one.signals)

    def test_not_started(self) -> None:
        """A process that has reported nothing yet may take its time to start."""
        self.one.end(signal=9)
        self.pass_by(60, self.two)
        self.assertEqual([], self.reactor.processes[-1].signals)

    def test_parent_was_stopped(self) -> None:
        """Time in which the parent did not run is not the silence of a worker."""
        self.reactor.advance(100)
        self.assertTrue(self.service.is_ready())
        self.assertEqual(([], []), (self.one.signals, self.two.signals))


class ReloadTests(WorkersCase):
    """Workers read files again; the parent passes it on."""

    def test_reload(self) -> None:
        """Each worker gets the command, unless it has ended or stops."""
        self.make(file="/etc/wsredis.toml")
        self.service.reload()
        self.assertEqual((["reload"], ["reload"]), (self.sent(self.one), self.sent(self.two)))
        self.one.end()
        self.service.stopService()
        self.service.reload()
        self.assertEqual(["reload"], self.sent(self.one))
        self.assertEqual(["reload", "stop"], self.sent(self.two))


class StopTests(WorkersCase):
    """All workers are stopped, and waited for."""

    def close_ports(self) -> None:
        """Let the ports be closed, after their last moment."""
        self.reactor.advance(0.25)
        for port in self.reactor.ports:
            assert port.stopped is not None
            port.stopped.callback(None)

    def test_stop(self) -> None:
        """All get the command at once; changes of readiness are not logged any more."""
        self.all_ready()
        with capturedLogs() as events:
            done = self.service.stopService()
            for each in (self.one, self.two):
                self.assertEqual("stop", self.sent(each)[-1])
            self.assertFalse(self.service.is_ready())
            self.one.report("redis")
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
        self.reactor.advance(10.25)
        self.one.end()
        self.two.end()
        self.successResultOf(done)

    def test_delay(self) -> None:
        """The ports stay open for the delay, in which all workers answer that they stop."""
        self.make(drain_delay=4.0)
        self.service.stopService()
        self.assertEqual((["stop"], ["stop"]), (self.sent(self.one), self.sent(self.two)))
        self.reactor.advance(3.9)
        self.assertEqual([None, None], [port.stopped for port in self.reactor.ports])
        self.reactor.advance(0.1)
        self.assertNotIn(None, [port.stopped for port in self.reactor.ports])

    def test_hurry(self) -> None:
        """A second signal ends the delay, and closes the pipes; who still runs then is killed."""
        self.make(drain_delay=60.0)
        self.service.stop_now()
        done = self.service.stopService()
        self.reactor.advance(1)
        self.assertEqual(([], []), (self.one.closed, self.two.closed))
        self.service.stop_now()
        self.service.stop_now()
        self.assertEqual(([0], [0]), (self.one.closed, self.two.closed))
        self.reactor.advance(0.5)
        self.close_ports()
        self.one.end()
        self.reactor.advance(2.25)
        self.assertEqual(["KILL"], self.two.signals)
        self.two.end(signal=9)
        self.successResultOf(done)
        self.assertEqual([], self.reactor.getDelayedCalls())

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
        self.reactor.advance(0.25)
        assert second.stopped is not None
        second.stopped.callback(None)
        self.assertEqual(1, len(self.flushLoggedErrors(OSError)))
        self.assertEqual((["stop"], ["stop"]), (self.sent(self.one), self.sent(self.two)))
        self.one.end()
        self.assertNoResult(done)
        self.two.end()
        self.successResultOf(done)
        self.assertEqual([], self.reactor.getDelayedCalls())
