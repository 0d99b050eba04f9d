"""
Several processes behind the same ports: ``--workers``.

The parent binds the ports and takes no connection. Each worker is a gateway of its own, with its
own links to Redis, that inherits the listening sockets; the kernel gives a connection to whoever
takes it first. The parent and a worker are joined by two pipes:

* Standard input of the worker brings its settings, then one byte whenever the workers are all
  ready (``+``) or not any more (``-``), or are to read their certificates again (``r``). Its end
  is the order to stop, and it ends with the parent however that dies.
* Descriptor 3 of the worker takes its log and its own readiness back, one JSON object a line.

Passwords travel through the pipe: the command line of a process is for everybody to read.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from twisted.application.service import Service
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.endpoints import wrapServerTLS
from twisted.internet.error import ProcessExitedAlready, ReactorNotRunning
from twisted.internet.fdesc import readFromFD, setNonBlocking
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.tcp import Port
from twisted.internet.unix import Port as UNIXPort
from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    eventAsText,
    globalLogBeginner,
)
from twisted.protocols.haproxy import proxyEndpoint
from twisted.python.failure import Failure
from twisted.python.reflect import namedAny
from zope.interface import implementer

from wsredis.config import GatewayConfig
from wsredis.config.redis_url import target_of
from wsredis.errors import ConfigError
from wsredis.gateway.timers import PeriodicTask
from wsredis.service.service import GatewayService

__all__ = ["Workers", "main"]

#: Becomes a worker. What a terminal sends reaches all processes; the parent tells the workers.
_LAUNCHER = """
import pickle, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
sys.path[:] = pickle.load(sys.stdin.buffer)
from wsredis.service.workers.parent import main
main()
"""

#: Descriptors of a worker. From the last one on it has its listening sockets.
_ORDERS, _REPORTS, _SOCKETS = 0, 3, 4

#: Seconds to wait before a worker that died is replaced: at first, and at most.
_RESTART, _MAX_RESTART = 0.5, 30.0

#: A worker that lived for so many seconds was sound: the next wait is the first one again.
_SOUND = 60.0

#: Seconds beyond the time to drain that a worker has to stop before it is killed.
_PATIENCE = 3.0

#: Seconds between two looks of a worker at its own readiness.
_LOOK = 0.1

#: Bytes of a line that a worker prints outside of the log; a longer one is broken.
_MAX_LINE = 65536

#: Kinds of endpoints whose listening socket is all that a worker needs.
_SHAREABLE = ("tcp", "tcp6", "unix", "systemd")


class _Shared(NamedTuple):
    """
    One listening socket.

    Attributes:
        proxied: A proxy speaks first, and says who the client is.
        secure: TLS is spoken.
    """

    descriptor: int
    family: int
    proxied: bool
    secure: bool


class _Task(NamedTuple):
    """All that a worker is told when it starts."""

    reactor: str
    config: GatewayConfig
    sockets: list[_Shared]


class _Worker(ProcessProtocol):
    """
    One worker as the parent sees it; the process is replaced when it ends.

    Attributes:
        ready: What it said last.
    """

    _log = Logger()

    def __init__(
        self,
        number: int,
        reactor: Any,
        spawn: Callable[[_Worker], Any],
        changed: Callable[[], None],
    ) -> None:
        self.ready = False
        self._ended: Deferred[None] | None = None
        self._number = number
        self._reactor = reactor
        self._spawn = spawn
        self._changed = changed
        self._process: Any = None
        self._pid = 0
        self._began = 0.0
        self._delay = _RESTART
        self._again: Any = None
        self._unread: dict[int, bytes] = {}

    def start(self) -> None:
        """Start a process."""
        self._unread = {}
        self._began = self._reactor.seconds()
        try:
            self._process = self._spawn(self)
        except OSError as error:
            self._start_later(f"did not start ({error.strerror})")
            return
        self._pid = self._process.pid
        self._log.info("worker {number} is process {pid}", number=self._number, pid=self._pid)

    def tell(self, order: bytes) -> None:
        """
        Send an order, if there is a process.

        One that still starts may miss it: it is not ready, and reads what there is to read later.
        """
        if self._process is not None and self._ended is None:
            self._process.writeToChild(_ORDERS, order)

    def stop(self) -> Deferred[None]:
        """Let it say goodbye to its clients. Fires when it has ended."""
        if self._again is not None and self._again.active():
            self._again.cancel()
        if self._process is None:
            return succeed(None)
        self._ended = Deferred()
        self._process.closeChildFD(_ORDERS)
        return self._ended

    def kill(self) -> None:
        """End it if it still runs."""
        if self._process is not None:
            self._log.warn("worker {number} does not stop, and is killed", number=self._number)
            try:
                self._process.signalProcess("KILL")
            except ProcessExitedAlready:
                pass

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Take reports, and whatever it printed."""
        *lines, rest = (self._unread.pop(childFD, b"") + data).split(b"\n")
        if childFD != _REPORTS and len(rest) > _MAX_LINE:
            lines.append(rest)
            rest = b""
        self._unread[childFD] = rest
        for line in lines:
            self._take(childFD, line)

    def processEnded(self, reason: Failure) -> None:
        """The process is gone, and all that it wrote was read."""
        self._process = None
        for descriptor, rest in self._unread.items():
            # Half a report is of no use; half a line of a traceback is.
            if rest and descriptor != _REPORTS:
                self._take(descriptor, rest)
        if self._ended is not None:
            self._ended.callback(None)
            return
        self._start_later(f"(process {self._pid}) ended {_how(reason)}")
        self._report(False)

    def _start_later(self, why: str) -> None:
        if self._reactor.seconds() - self._began >= _SOUND:
            self._delay = _RESTART
        self._log.warn(
            "worker {number} {why}; another one starts in {delay} s",
            number=self._number,
            why=why,
            delay=self._delay,
        )
        self._again = self._reactor.callLater(self._delay, self.start)
        self._delay = min(2 * self._delay, _MAX_RESTART)

    def _take(self, descriptor: int, line: bytes) -> None:
        if descriptor != _REPORTS:
            self._say(self._log, LogLevel.warn, line.decode("utf-8", "replace"))
            return
        report = json.loads(line)
        if "ready" in report:
            self._report(report["ready"])
        else:
            level = LogLevel.lookupByName(report["level"])
            self._say(Logger(report["namespace"]), level, report["text"])

    def _say(self, log: Logger, level: Any, text: str) -> None:
        log.emit(level, "worker {number}: {text}", number=self._number, text=text)

    def _report(self, ready: bool) -> None:
        self.ready = ready
        self._changed()


def _how(reason: Failure) -> str:
    """How a process ended, in words."""
    number = getattr(reason.value, "signal", None)
    if number is not None:
        return f"by signal {number}"
    return f"with status {getattr(reason.value, 'exitCode', None)}"


def _check_shareable(option: str, text: str) -> None:
    kind = text.removeprefix("haproxy:").partition(":")[0]
    if not (text.isdigit() or kind in _SHAREABLE):
        raise ConfigError(
            f"{option}: {text!r} cannot be used with --workers: "
            f"only numbers and {', '.join(_SHAREABLE)} and haproxy endpoints can"
        )


class Workers(GatewayService):
    """
    A gateway whose work is done by ``config.workers`` processes.

    It binds the ports as any gateway does, and hands them to the workers. A worker that dies is
    replaced. Stopping tells all workers to stop, and waits for them.

    Raises:
        ConfigError: A setting cannot be used, or an endpoint cannot be shared.
    """

    _log = Logger()

    def __init__(self, config: GatewayConfig, *, reactor: Any) -> None:
        for option, texts in (("port", config.port), ("tls-port", config.tls_port)):
            for text in texts:
                _check_shareable(option, text)
        super().__init__(config, reactor=reactor)
        # Read here: twistd may give up the right to read the file before the workers start.
        password = target_of(config.redis).password
        redis = replace(config.redis, password=password, password_file=None)
        # The ports come as sockets. A tls-port is only to say that certificates are wanted.
        secure = ("0",) if config.tls_port else ()
        self._task_config = replace(config, port=(), tls_port=secure, redis=redis)
        self._workers = [
            _Worker(number, reactor, self._spawn, self._look)
            for number in range(1, config.workers + 1)
        ]
        self._all_ready = False

    def is_ready(self) -> bool:
        """Whether all workers are."""
        return self._all_ready

    def reload_certificates(self) -> None:
        """Let every worker read its certificates again."""
        for worker in self._workers:
            worker.tell(b"r")

    def privilegedStartService(self) -> None:
        """
        Bind the ports.

        Raises:
            CannotListenError: As `GatewayService.privilegedStartService`.
        """
        super().privilegedStartService()
        port: Any
        for port in self._ports:
            port.stopReading()
            # A shutdown reaches all who share the socket: their ports would fail, not close.
            port._shouldShutdown = False

    def startService(self) -> None:
        """Start the workers. Binds the ports if that was not done."""
        Service.startService(self)
        if not self._ports:
            self.privilegedStartService()
        for worker in self._workers:
            worker.start()

    def stopService(self) -> Deferred[None]:
        """
        Stop all workers; each closes the ports, says goodbye to its clients and lets go of Redis.

        Returns: Fires when none is left, a little after the time to drain at the latest.
        """
        Service.stopService(self)
        ports, self._ports = self._ports, []
        last = self._reactor.callLater(self._config.drain + _PATIENCE, self._kill)
        ends: list[Deferred[Any]] = [worker.stop() for worker in self._workers]
        ends += [self._close(port) for port in ports]

        def done(_: object) -> None:
            if last.active():
                last.cancel()

        return gatherResults(ends).addCallback(done)

    def _kill(self) -> None:
        for worker in self._workers:
            worker.kill()

    def _spawn(self, worker: _Worker) -> Any:
        descriptors: dict[int, int | str] = {_ORDERS: "w", 1: "r", 2: "r", _REPORTS: "r"}
        sockets = []
        port: Any
        for number, ((text, _, secure), port) in enumerate(
            zip(self._endpoints, self._ports, strict=True), _SOCKETS
        ):
            descriptors[number] = port.fileno()
            proxied = text.startswith("haproxy:")
            sockets.append(_Shared(number, port.socket.family, proxied, secure))
        task = _Task(type(self._reactor).__module__, self._task_config, sockets)
        process = self._reactor.spawnProcess(
            worker,
            sys.executable,
            [sys.executable, "-P", "-c", _LAUNCHER, "wsredis", "worker"],
            env=None,
            childFDs=descriptors,
        )
        process.writeToChild(_ORDERS, pickle.dumps(sys.path) + pickle.dumps(task))
        return process

    def _look(self) -> None:
        """A worker said something new about its readiness."""
        all_ready = all(worker.ready for worker in self._workers)
        if all_ready == self._all_ready or not self.running:
            return
        self._all_ready = all_ready
        for worker in self._workers:
            worker.tell(b"+" if all_ready else b"-")
        if all_ready:
            self._log.info("all {count} workers are ready", count=len(self._workers))
        else:
            self._log.warn("not all {count} workers are ready", count=len(self._workers))


class _Gateway(GatewayService):
    """
    The gateway in a worker.

    Attributes:
        all_ready: What the parent said last.
    """

    def __init__(self, task: _Task, reactor: Any, report: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(task.config, reactor=reactor)
        self.all_ready = False
        self._sockets = task.sockets
        self._report = report
        self._reported = False
        self._sweep = PeriodicTask(reactor, _LOOK, self._look)

    def is_ready(self) -> bool:
        """Whether this worker and all others are."""
        return self.all_ready and super().is_ready()

    def privilegedStartService(self) -> None:
        """Adopt the ports."""
        for shared in self._sockets:
            endpoint: Any = _Adopted(self._reactor, shared)
            if shared.proxied:
                endpoint = proxyEndpoint(endpoint)
            if shared.secure:
                assert self._certificates is not None
                endpoint = wrapServerTLS(self._certificates, endpoint, self._reactor)
            endpoint.listen(self.factory).addCallback(self._ports.append)

    def startService(self) -> None:
        """Start, and report from now on."""
        super().startService()
        self._sweep.start()

    def stopService(self) -> Deferred[None]:
        """Stop."""
        self._sweep.stop()
        return super().stopService()

    def told(self, orders: bytes) -> None:
        """The parent wants something."""
        for order in orders.decode("ascii"):
            if order == "r":
                self.reload_certificates()
            else:
                self.all_ready = order == "+"

    def _look(self, _: int) -> None:
        ready = super().is_ready()
        if ready != self._reported:
            self._reported = ready
            self._report({"ready": ready})


class _Adopted:
    """An endpoint of a listening socket that belongs to the parent."""

    def __init__(self, reactor: Any, shared: _Shared) -> None:
        self._reactor = reactor
        self._shared = shared

    def listen(self, factory: Any) -> Deferred[Any]:
        """Take connections from it."""
        descriptor, family, *_ = self._shared
        if family == socket.AF_UNIX:
            port = _SharedUNIXPort(self._reactor, descriptor, factory)
            port.startListening()
            return succeed(port)
        port = self._reactor.adoptStreamPort(descriptor, family, factory)
        os.close(descriptor)
        return succeed(port)


class _SharedUNIXPort(UNIXPort):
    """
    A UNIX socket that the parent bound.

    What `adoptStreamPort` makes would set its mode and its backlog anew, and remove the file when
    this worker stops.
    """

    _shouldShutdown = False

    def __init__(self, reactor: Any, descriptor: int, factory: Any) -> None:
        self._adopted = socket.socket(fileno=descriptor)
        super().__init__(self._adopted.getsockname(), factory, reactor=reactor)

    def startListening(self) -> None:
        """Take connections."""
        assert self.factory is not None
        self.factory.doStart()
        self.connected = True
        self.socket = self._adopted
        self.fileno = self.socket.fileno  # type: ignore[method-assign]
        self.numberAccepts = 100
        self.startReading()

    def connectionLost(self, reason: Failure) -> None:
        """Leave the file to the parent."""
        Port.connectionLost(self, reason)


class _Orders(FileDescriptor):
    """
    What the parent says.

    Args:
        told: Called with one or more orders.
        ended: Called when the parent wants an end, or has ended itself.
    """

    def __init__(
        self, reactor: Any, told: Callable[[bytes], None], ended: Callable[[], None]
    ) -> None:
        super().__init__(reactor)
        self._told = told
        self._ended = ended
        setNonBlocking(_ORDERS)

    def fileno(self) -> int:
        """Standard input."""
        return _ORDERS

    def doRead(self) -> Any:
        """Take what came."""
        return readFromFD(_ORDERS, self._told)

    def connectionLost(self, reason: Failure) -> None:
        """The pipe is closed."""
        super().connectionLost(reason)
        self._ended()


@implementer(ILogObserver)
class _Reporter:
    """The way back to the parent. It waits while the parent does not read, as any log does."""

    def __init__(self, descriptor: int) -> None:
        self._file = open(descriptor, "w", encoding="ascii")  # noqa: SIM115 (to the end)

    def report(self, report: dict[str, Any]) -> None:
        """Send one report; without a parent it is lost."""
        try:
            print(json.dumps(report), file=self._file, flush=True)
        except OSError:
            pass

    def __call__(self, event: LogEvent) -> None:
        """Send one event of the log."""
        level = event.get("log_level", LogLevel.info)
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        namespace = str(event.get("log_namespace", "-"))
        self.report({"level": level.name, "namespace": namespace, "text": text})


def main() -> None:
    """Be a worker: standard input brings the task."""
    task: _Task = pickle.load(sys.stdin.buffer)
    namedAny(f"{task.reactor}.install")()
    from twisted.internet import reactor as installed

    reactor: Any = installed
    reactor.seconds = time.monotonic
    reporter = _Reporter(_REPORTS)
    globalLogBeginner.beginLoggingTo([reporter], redirectStandardIO=False)
    try:
        gateway = _Gateway(task, reactor, reporter.report)
    except ConfigError as error:
        # The parent could: files have changed, or may not be read any more.
        sys.exit(f"wsredis: {error}")

    def end() -> None:
        try:
            reactor.stop()
        except ReactorNotRunning:
            # A signal came first.
            pass

    orders = _Orders(reactor, gateway.told, end)
    reactor.callWhenRunning(reactor.addReader, orders)
    reactor.callWhenRunning(gateway.startService)
    reactor.addSystemEventTrigger("before", "shutdown", gateway.stopService)
    reactor.run()
