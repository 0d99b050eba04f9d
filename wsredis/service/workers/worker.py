"""
The worker: a gateway in a process of its own, with sockets, settings and commands of its parent.

See `wsredis.service.workers.parent` for the pipes between them.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import wrapServerTLS
from twisted.internet.fdesc import readFromFD, setNonBlocking
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogBeginner
from twisted.python.failure import Failure
from twisted.python.reflect import namedAny
from zope.interface import implementer

from wsredis.config import GatewayConfig
from wsredis.config.networks import Networks
from wsredis.errors import ConfigError
from wsredis.gateway.broker import Broker
from wsredis.gateway.health import Situation, is_good
from wsredis.gateway.timers import PeriodicTask
from wsredis.service import garbage
from wsredis.service.service import GatewayService
from wsredis.service.stop_once import stop_once
from wsredis.service.workers.sockets import SharedEndpoint, SharedSocket
from wsredis.transports.proxied import ProxiedEndpoint

__all__ = [
    "ALL_READY",
    "COMMANDS",
    "FIRST_SOCKET",
    "NOT_ALL_READY",
    "RELOAD",
    "REPORTS",
    "CommandReader",
    "Reporter",
    "WorkerGateway",
    "WorkerTask",
    "keep_from_children",
    "main",
]

#: Descriptors of a worker: the pipe with its task and its commands, the pipe for its reports, and
#: the first of its listening sockets.
COMMANDS, REPORTS, FIRST_SOCKET = 0, 3, 4

#: Commands of the parent, one byte each: all workers are ready; one of them is not any more; the
#: certificates are to be read again.
ALL_READY, NOT_ALL_READY, RELOAD = b"+", b"-", b"r"

#: Seconds between two checks of a worker whether it is ready.
_CHECK_INTERVAL = 0.1


class WorkerTask(NamedTuple):
    """
    All that a worker needs to start.

    Attributes:
        reactor: Name of the module whose ``install`` makes the reactor.
        config: The settings, without ports and with the password of Redis itself.
        sockets: Where to take connections.
    """

    reactor: str
    config: GatewayConfig
    sockets: list[SharedSocket]


class WorkerGateway(GatewayService):
    """
    The gateway in a worker.

    Args:
        report: Called with ``{"ready": True}`` or ``{"ready": False}`` when that changes.
        broker: See `GatewayService`.

    Attributes:
        all_ready: Whether all workers were ready when the parent last sent a command about it.
    """

    def __init__(
        self,
        task: WorkerTask,
        reactor: Any,
        report: Callable[[dict[str, Any]], None],
        broker: Broker | None = None,
    ) -> None:
        super().__init__(task.config, reactor=reactor, broker=broker)
        self.all_ready = False
        self._sockets = task.sockets
        self._trusted = Networks(task.config.trusted_proxy)
        self._report = report
        self._reported = False
        self._ready_check = PeriodicTask(reactor, _CHECK_INTERVAL, self._check_ready)

    def readiness(self) -> Situation:
        """Return what is wrong here, and whether another worker is not ready."""
        others = "" if self.all_ready else "not all workers are ready"
        self.health.report("workers", others or None)
        return super().readiness()

    def privilegedStartService(self) -> None:
        """Take connections from the sockets of the parent."""
        for shared in self._sockets:
            endpoint: Any = SharedEndpoint(self._reactor, shared)
            if shared.proxied:
                endpoint = ProxiedEndpoint(endpoint, self._trusted, self._reactor)
            if shared.secure:
                assert self._certificates is not None
                endpoint = wrapServerTLS(self._certificates, endpoint, self._reactor)
            endpoint.listen(self.factory).addCallback(self._bound)

    def startService(self) -> None:
        """Start, and report from now on."""
        super().startService()
        self._ready_check.start()

    def stopService(self) -> Deferred[None]:
        """Stop reporting, and then as any gateway."""
        self._ready_check.stop()
        return super().stopService()

    def commands_received(self, commands: bytes) -> None:
        """Follow one or more commands of the parent."""
        for number in commands:
            command = bytes((number,))
            if command == RELOAD:
                self.reload_certificates()
            else:
                self.all_ready = command == ALL_READY

    def _check_ready(self, _: int) -> None:
        problems = self._vitals.look()
        ready = is_good({0: {name: problems[name] for name in problems if name != "workers"}})
        if ready != self._reported:
            self._reported = ready
            self._report({"ready": ready})


class CommandReader(FileDescriptor):
    """
    Reads the commands of the parent from a pipe.

    Args:
        descriptor: The pipe. It is made non-blocking.
        received: Called with one or more commands.
        ended: Called when the pipe is closed: the parent wants this worker to stop, or has ended.
    """

    def __init__(
        self,
        reactor: Any,
        descriptor: int,
        received: Callable[[bytes], None],
        ended: Callable[[], None],
    ) -> None:
        super().__init__(reactor)
        self._descriptor = descriptor
        self._received = received
        self._ended = ended
        setNonBlocking(descriptor)

    def fileno(self) -> int:
        """Return the descriptor of the pipe."""
        return self._descriptor

    def doRead(self) -> Any:
        """Read what is there."""
        return readFromFD(self._descriptor, self._received)

    def connectionLost(self, reason: Failure) -> None:
        """Notify: the pipe is closed."""
        super().connectionLost(reason)
        self._ended()


@implementer(ILogObserver)
class Reporter:
    """Sends reports and log events to the parent. It blocks while the parent does not read."""

    def __init__(self, descriptor: int) -> None:
        self._file = open(descriptor, "w", encoding="ascii")  # noqa: SIM115 (open until the end)

    def report(self, report: dict[str, Any]) -> None:
        """Send one report. It is lost if the parent has ended."""
        try:
            # A line of its own, also after something that an application wrote without an end.
            print(f"\n{json.dumps(report)}", file=self._file, flush=True)
        except OSError:
            pass

    def __call__(self, event: LogEvent) -> None:
        """Send one log event."""
        level = event.get("log_level", LogLevel.info)
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        namespace = str(event.get("log_namespace", "-"))
        self.report({"level": level.name, "namespace": namespace, "text": text})


def keep_from_children(commands: int, others: Iterable[int]) -> int:
    """
    Keep descriptors from the programs that an application starts.

    A child that holds them would take connections from the gateway's clients for ever, or read the
    orders of the parent.

    Args:
        commands: The descriptor of the commands, which children have as their standard input. It is
            at the end of an empty file afterwards.
        others: Other descriptors; they stay as they are for this process.

    Returns:
        Another descriptor for the commands.
    """
    for each in others:
        os.set_inheritable(each, False)
    # os.dup makes one that children do not inherit, and os.dup2 one that they do.
    own = os.dup(commands)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, commands)
    os.close(nothing)
    return own


def main() -> None:
    """Run a worker until the parent closes the pipe. Standard input begins with its task."""
    task: WorkerTask = pickle.load(sys.stdin.buffer)
    commands = keep_from_children(COMMANDS, [REPORTS, *(each.descriptor for each in task.sockets)])
    # The old one may have read commands ahead.
    sys.stdin = open(COMMANDS, closefd=False)  # noqa: SIM115 (open until the end)
    namedAny(f"{task.reactor}.install")()
    from twisted.internet import reactor as installed

    reactor: Any = installed
    reactor.seconds = time.monotonic
    stop_once(reactor)
    reporter = Reporter(REPORTS)
    globalLogBeginner.beginLoggingTo([reporter], redirectStandardIO=False)
    try:
        gateway = WorkerGateway(task, reactor, reporter.report)
    except ConfigError as error:
        # The settings were good when the parent started, but files may have changed since, or may
        # not be readable any more.
        sys.exit(f"wsredis: {error}")
    reader = CommandReader(reactor, commands, gateway.commands_received, reactor.stop)
    reactor.callWhenRunning(reactor.addReader, reader)
    reactor.callWhenRunning(gateway.startService)
    reactor.callWhenRunning(garbage.freeze)
    reactor.addSystemEventTrigger("before", "shutdown", gateway.stopService)
    reactor.run()
