"""Tests for `wsredis.service.startup`: the order of stopping, signals, and file descriptors."""

from __future__ import annotations

import gc
import os
import resource
import signal
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.application.service import Application, IServiceCollection, Service
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import Authority
from tests.unit.service.case import TapCase
from wsredis.brokers.memory import MemoryBroker, MemoryServer
from wsredis.config import GatewayConfig, Limits, load
from wsredis.service.deadline import Deadline
from wsredis.service.log.output import LineObserver, LogFile, Stream
from wsredis.service.service import GatewayService
from wsredis.service.startup import OrderedServices, build
from wsredis.service.systemd import Notifier
from wsredis.service.tap import makeService


class _Slow(Service):
    """A service that takes its time to stop."""

    def __init__(self, error: Exception | None = None) -> None:
        self.stopped: Deferred[None] | None = None
        self._error = error

    def privilegedStartService(self) -> None:
        if self._error is not None:
            raise self._error

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self.stopped = Deferred()
        return self.stopped


class ServiceTests(SynchronousTestCase):
    """The services stop one after the other, and a port in use is one line."""

    def setUp(self) -> None:
        """Undo what a start does to garbage collection."""
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.addCleanup(gc.unfreeze)

    def test_garbage(self) -> None:
        """After the start nothing of what was made before is searched for garbage."""
        services = OrderedServices()
        services.startService()
        self.assertGreater(gc.get_freeze_count(), 1000)

    def test_observer(self) -> None:
        """The application that they become a part of logs with their observer, if they have one."""
        for observer in (None, LineObserver("json", Stream(StringIO()))):
            services, application = OrderedServices(), Application("x")
            services.observer = observer
            services.setServiceParent(application)
            self.assertIs(observer, application.getComponent(ILogObserver))
            self.assertEqual([services], [*IServiceCollection(application)])

    def test_reopen_log(self) -> None:
        """The log file is opened again; if it cannot be, the old one is used on, with an error."""
        path = Path(self.mktemp())
        services = OrderedServices()
        with capturedLogs() as events:
            services.reopen_log()
            services.observer = LineObserver("json", Stream(StringIO()))
            services.reopen_log()
            self.assertEqual([], [*events], "there is no file")
            path.mkdir()
            file = LogFile(str(path / "log"))
            self.addCleanup(os.close, file._descriptor)
            services.observer = LineObserver("json", file)
            services.reopen_log()
            path.rename(f"{path}.1")
            services.reopen_log()
        self.assertEqual(["log-reopened", "log-not-reopened"], [event["event"] for event in events])

    def test_stop_in_turn(self) -> None:
        """The last one first: Redis outlives the gateway."""
        services = OrderedServices()
        first, last = _Slow(), _Slow()
        first.setServiceParent(services)
        last.setServiceParent(services)
        services.startService()
        done = services.stopService()
        self.assertIsNone(first.stopped)
        assert last.stopped is not None
        last.stopped.callback(None)
        self.assertNoResult(done)
        assert first.stopped is not None
        first.stopped.callback(None)
        self.successResultOf(done)
        self.assertFalse(services.running)

    def test_stop_goes_on(self) -> None:
        """A service that fails to stop does not keep the others from it, such as the Redis."""
        services = OrderedServices()
        first, last = _Slow(), _Slow()
        first.setServiceParent(services)
        last.setServiceParent(services)
        services.startService()
        done = services.stopService()
        assert last.stopped is not None
        last.stopped.errback(ValueError("broken"))
        assert first.stopped is not None
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))
        first.stopped.callback(None)
        self.successResultOf(done)

    def _cannot_bind(self, error: Exception) -> str:
        services = OrderedServices()
        _Slow(error).setServiceParent(services)
        end = self.assertRaises(SystemExit, services.privilegedStartService)
        return str(end.code)

    def test_bind(self) -> None:
        """The line names where, and why."""
        denied = OSError(13, "Permission denied")
        for error, line in (
            (CannotListenError("", 80, denied), "port: *:80: Permission denied"),
            (CannotListenError("::1", 80, denied), "port: ::1:80: Permission denied"),
            (CannotListenError("/x", None, denied), "port: /x: Permission denied"),
            (CannotListenError("", 80, "words"), "port: *:80: words"),
            (PermissionError(13, "Permission denied"), "port: [Errno 13] Permission denied"),
        ):
            self.assertEqual(f"wsredis: {line}", self._cannot_bind(error))


class _Deadline(Deadline):
    """A deadline that only remembers its times."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def start(self, seconds: float) -> None:
        self.times.append(seconds)


class DeadlineTests(SynchronousTestCase):
    """The process ends in the time that the settings promise."""

    def test_times(self) -> None:
        """It is the sum of all that a stop may take, and five seconds when it makes haste."""
        deadline = _Deadline()
        services = OrderedServices(deadline)
        config = GatewayConfig(port=(), drain_delay=2, drain_spread=8, drain=5)
        reactor = MemoryReactorClock()
        broker = MemoryBroker(MemoryServer(reactor))
        GatewayService(config, reactor=reactor, broker=broker).setServiceParent(services)
        services.stopService()
        services.stop_now()
        self.assertEqual([21.0, 5.0], deadline.times)


class HangupTests(TapCase):
    """SIGHUP reads files again."""

    def setUp(self) -> None:
        """A file with a certificate."""
        super().setUp()
        directory = Path(self.mktemp())
        directory.mkdir()
        self.path = Authority(directory).bundle(directory / "a.pem", "a.example")
        self.calls: list[Any] = []
        self.patch(reactor, "callFromThread", self.calls.append)

    def lines(self, *words: str) -> list[str]:
        """The lines of the log about a signal that comes before the gateway is made."""
        options = self.parse("--redis=unix:///x", *words)
        options.signals._received(signal.SIGHUP, None)
        makeService(options)
        (reload,) = self.calls
        with capturedLogs() as events:
            reload()
        return [formatEvent(event) for event in events]

    def test_nothing(self) -> None:
        """Without files there is one line."""
        nothing = "there is nothing to read again: other settings need a restart"
        self.assertEqual([nothing], self.lines())

    def test_nothing_with_workers(self) -> None:
        """The parent says it, and not each worker."""
        self.assertEqual(1, len(self.lines("--workers", "2")))

    def test_systemd(self) -> None:
        """systemd hears of a reload."""
        options = self.parse("--redis=unix:///x")
        sent: list[str] = []
        self.patch(Notifier, "__init__", lambda self, address: None)
        self.patch(Notifier, "send", lambda self, *lines: sent.extend(lines))
        os.environ["NOTIFY_SOCKET"] = "@wsredis-test-nobody"
        services = makeService(options)
        self.assertNotIn("NOTIFY_SOCKET", os.environ)
        (supervision,) = [each for each in services if each.name == "systemd"]  # type: ignore
        supervision._is_started = True
        services.reload()  # type: ignore[attr-defined]
        self.assertEqual(["RELOADING=1", "READY=1"], [sent[0], sent[-1]])

    def test_reload(self) -> None:
        """The files are read in the reactor's own time, not where the signal strikes."""
        lines = self.lines("--tls-port=443", "--tls-cert", str(self.path))
        self.assertEqual("read again: certificates", lines[-1])


class IdleTests(SynchronousTestCase):
    """Settings without an effect."""

    def test_told(self) -> None:
        """Each is one line, with the setting that is missing."""
        config = load({"redis": "redis://h", "asgi-loop": "thread", "wsgi-threads": "9"}, {})
        with capturedLogs() as logs:
            build(config, MemoryReactorClock())
        self.assertEqual(
            ["asgi-loop has no effect without asgi", "wsgi-threads has no effect without wsgi"],
            [formatEvent(each) for each in logs],
        )


class DescriptorTests(TapCase):
    """File descriptors: as many as allowed, and no more clients than there are."""

    def _limits(self, *words: str) -> tuple[int, int]:
        with capturedLogs() as self.events:
            (gateway,) = makeService(self.parse("--redis", "unix:///x", *words))  # type: ignore
        limits = gateway._config.limits
        return limits.max_connections, limits.max_handshakes

    def test_raised(self) -> None:
        """The soft limit becomes the hard one."""
        self._limits()
        self.assertEqual((100_000, 100_000), self.limits)

    def test_enough(self) -> None:
        """With enough of them nothing changes."""
        default = Limits()
        for limits in ((100_000, 100_000), (resource.RLIM_INFINITY, resource.RLIM_INFINITY)):
            self.limits = limits
            self.assertEqual((default.max_connections, default.max_handshakes), self._limits())
            self.assertEqual([], list(self.events))

    def test_too_few(self) -> None:
        """With fewer the gateway admits fewer clients, and says so once."""
        self.limits = (1024, 1024)
        connections, handshakes = self._limits()
        self.assertLess(connections + handshakes, 1024)
        self.assertGreater(connections, 500)
        self.assertEqual(["warn"], [event["log_level"].name for event in self.events])

    def test_pages(self) -> None:
        """Connections for pages need theirs, too: as many as there may be handshakes."""
        self.limits = (18_000, 18_000)
        self.assertEqual(17_416, sum(self._limits()) + 32)
        for option in ("--wsgi", "--asgi"):
            connections, handshakes = self._limits(option, "tests.unit.service.test_service:Any")
            self.assertEqual(18_000, connections + 2 * handshakes + 32)

    def test_absurdly_few(self) -> None:
        """It never comes to nothing."""
        self.limits = (3, 3)
        self.assertEqual((1, 1), self._limits())
