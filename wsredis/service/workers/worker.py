"""
The worker: a gateway in a process of its own, with sockets, settings and commands of its parent.

See `wsredis.service.workers.parent` for the pipes between them.
"""

from __future__ import annotations

import json
import os
import pickle
import select
import sys
import time
from collections.abc import Callable, Iterable
from io import BufferedReader
from typing import Any, NamedTuple, cast

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import wrapServerTLS
from twisted.internet.fdesc import readFromFD, setNonBlocking
from twisted.logger import ILogObserver, LogEvent, globalLogBeginner
from twisted.python.failure import Failure
from twisted.python.reflect import namedAny
from zope.interface import implementer

from wsredis.config import GatewayConfig
from wsredis.config.networks import Networks
from wsredis.errors import ConfigError
from wsredis.gateway.broker import Broker
from wsredis.gateway.health import Health, Problems, Situation
from wsredis.gateway.timers import PeriodicTask
from wsredis.service import garbage
from wsredis.service.log.records import is_repetition, record_of
from wsredis.service.service import GatewayService
from wsredis.service.stop_once import stop_once
from wsredis.service.workers.reports import FATAL, INTERVAL, MUTE, Silence, load_situation
from wsredis.service.workers.sockets import SharedEndpoint, SharedSocket
from wsredis.transports.proxied import ProxiedEndpoint

__all__ = [
    "COMMANDS",
    "FIRST_SOCKET",
    "RELOAD",
    "REPORTS",
    "STATE",
    "STOP",
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

#: Commands of the parent, the first word of a line each: files are to be read again; the
#: state of the parent and of all workers follows in JSON; stop.
RELOAD, STATE, STOP = b"reload", b"state", b"stop"

#: Seconds between two checks of a worker for something to report.
_CHECK_INTERVAL = 0.1

#: Checks from one report to the next, if nothing changes.
_CHECKS = round(INTERVAL / _CHECK_INTERVAL)


class WorkerTask(NamedTuple):
    """
    All that a worker needs to start.

    Attributes:
        number: Names the worker in answers about health. It counts from 1.
        reactor: Name of the module whose ``install`` makes the reactor.
        config: The settings, without ports and with the password of Redis itself.
        sockets: Where to take connections.
    """

    number: int
    reactor: str
    config: GatewayConfig
    sockets: list[SharedSocket]


class WorkerGateway(GatewayService):
    """
    The gateway in a worker.

    Args:
        report: Called every second, and when a problem begins or ends, with a report: ``alive``,
            the seconds since the start; ``lag``, that of the event loop; ``problems``, as in
            `wsredis.gateway.health.Problems`.
        stop: Called when the parent wants this worker to stop; maybe more than once.
        broker: See `GatewayService`.
    """

    def __init__(
        self,
        task: WorkerTask,
        reactor: Any,
        report: Callable[[dict[str, Any]], None],
        stop: Callable[[], None],
        broker: Broker | None = None,
    ) -> None:
        super().__init__(task.config, reactor=reactor, broker=broker)
        self._number = task.number
        self._sockets = task.sockets
        self._trusted = Networks(task.config.trusted_proxy)
        self._report = report
        self._stop_reactor = stop
        self._is_told_to_stop = False
        self._reported: Problems | None = None
        self._checks = 0
        self._task = PeriodicTask(reactor, _CHECK_INTERVAL, self._check)
        self._began = 0.0
        #: What is known of the parent and of the other workers.
        self._all: Situation = {}
        self._parent = Health()
        self._parent.report("workers", "the other workers are not known yet")
        self._silence = Silence(_CHECK_INTERVAL)

    def readiness(self) -> Situation:
        """Return everything that is wrong here, with the parent, and in the other workers."""
        known = {**self._all.get(0, {}), **self._parent.problems}
        return {**self._all, 0: known, self._number: self._vitals.look()}

    def liveness(self) -> Situation:
        """Return what only a restart can cure. Nobody replaces workers if the parent hangs."""
        parent = self._parent.problems if self._silence.seconds >= FATAL else {}
        return {**super().liveness(), self._number: parent}

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
        self._began = self._reactor.seconds()
        self._task.start()

    def stopService(self) -> Deferred[None]:
        """Stop as any gateway, and report to the end: a drain may last longer than a silence."""
        return super().stopService().addBoth(self._stop_reports)

    def _stop_reports(self, result: Any) -> Any:
        self._task.stop()
        return result

    def command_received(self, line: bytes) -> None:
        """Follow a command of the parent. A line that is none is dropped."""
        command, _, rest = line.partition(b" ")
        if command == RELOAD:
            self.reload()
        elif command == STOP:
            self._is_told_to_stop = True
            self._stop_reactor()
        elif command == STATE:
            self._all = load_situation(json.loads(rest))
            self._silence.heard()
            self._parent.report("workers", None)

    def commands_ended(self) -> None:
        """Make haste if the parent has sent the command to stop; stop if it has just died."""
        if self._is_told_to_stop:
            self.stop_now()
        else:
            self._stop_reactor()

    def _check(self, count: int) -> None:
        if self.running:
            # A parent that waits for our end has nothing to say.
            self._silence.passed(count)
        if self._silence.seconds >= MUTE:
            self._parent.report("workers", "the parent process says nothing")
        problems = dict(self._vitals.look())
        self._checks += count
        if problems != self._reported or self._checks >= _CHECKS:
            self._reported = problems
            self._checks = 0
            alive = self._reactor.seconds() - self._began
            lag = self.metrics.loop_lag
            self._report({"alive": round(alive, 1), "lag": round(lag, 6), "problems": problems})


class CommandReader(FileDescriptor):
    """
    Reads the commands of the parent from a pipe.

    Args:
        descriptor: The pipe. It is made non-blocking.
        received: Called with each command: a line without its end.
        ended: Called when the pipe is closed.
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
        self._rest = b""
        setNonBlocking(descriptor)

    def fileno(self) -> int:
        """Return the descriptor of the pipe."""
        return self._descriptor

    def doRead(self) -> Any:
        """Read what is there."""
        return readFromFD(self._descriptor, self.feed)

    def feed(self, data: bytes) -> None:
        """Take bytes of the pipe, also those that others have read ahead."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._received(line)

    def connectionLost(self, reason: Failure) -> None:
        """Notify: the pipe is closed."""
        super().connectionLost(reason)
        self._ended()


@implementer(ILogObserver)
class Reporter:
    """Sends reports and log events to the parent. Most block while the parent does not read."""

    def __init__(self, descriptor: int) -> None:
        self._file = open(descriptor, "w", encoding="ascii")  # noqa: SIM115 (open until the end)

    def report(self, report: dict[str, Any]) -> None:
        """Send one report. It is lost if the parent has ended."""
        self._send(report)

    def report_unless_full(self, report: dict[str, Any]) -> None:
        """Send one report, unless it would have to wait: the parent does not read."""
        if select.select([], [self._file], [], 0)[1]:
            self._send(report)

    def _send(self, report: dict[str, Any]) -> None:
        try:
            # A line of its own, also after something that an application wrote without an end.
            print(f"\n{json.dumps(report)}", file=self._file, flush=True)
        except OSError:
            pass

    def __call__(self, event: LogEvent) -> None:
        """Send one log event."""
        if not is_repetition(event):
            self.report({"log": record_of(event)})


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
    stdin = cast(BufferedReader, sys.stdin.buffer)
    task: WorkerTask = pickle.load(stdin)
    setNonBlocking(COMMANDS)
    # Those that were read ahead.
    first_commands = stdin.read1()
    commands = keep_from_children(COMMANDS, [REPORTS, *(each.descriptor for each in task.sockets)])
    sys.stdin = open(COMMANDS, closefd=False)  # noqa: SIM115 (open until the end)
    namedAny(f"{task.reactor}.install")()
    from twisted.internet import reactor as installed

    reactor: Any = installed
    reactor.seconds = time.monotonic
    stop = stop_once(reactor)
    reporter = Reporter(REPORTS)
    globalLogBeginner.beginLoggingTo([reporter], redirectStandardIO=False)
    try:
        gateway = WorkerGateway(task, reactor, reporter.report_unless_full, stop.gently)
    except ConfigError as error:
        # The settings were good when the parent started, but files may have changed since, or may
        # not be readable any more.
        sys.exit(f"wsredis: {error}")
    stop.hurry = gateway.stop_now
    reader = CommandReader(reactor, commands, gateway.command_received, gateway.commands_ended)
    reactor.callWhenRunning(reactor.addReader, reader)
    reactor.callWhenRunning(gateway.startService)
    reactor.callWhenRunning(reader.feed, first_commands)
    reactor.callWhenRunning(garbage.freeze)
    reactor.addSystemEventTrigger("before", "shutdown", gateway.stopService)
    reactor.run()
