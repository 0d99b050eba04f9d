"""
The worker: a gateway in a process of its own, with sockets, settings and commands of its parent.

See `wsredis.service.workers.parent` for the pipes between them.
"""

from __future__ import annotations

import json
import pickle
import sys
import time
from collections.abc import Callable
from io import BufferedReader
from typing import Any, NamedTuple, cast

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import wrapServerTLS
from twisted.internet.fdesc import setNonBlocking
from twisted.logger import globalLogBeginner
from twisted.python.reflect import namedAny

from wsredis.config import GatewayConfig
from wsredis.config.networks import Networks
from wsredis.errors import ConfigError
from wsredis.gateway.broker import Broker
from wsredis.gateway.health import Health, Problems, Situation
from wsredis.gateway.numbers import Snapshot
from wsredis.gateway.timers import PeriodicTask
from wsredis.service import garbage
from wsredis.service.service import GatewayService
from wsredis.service.stop_once import stop_once
from wsredis.service.workers.pipes import CommandReader, Reporter, keep_from_children
from wsredis.service.workers.reports import FATAL, INTERVAL, MUTE, Silence, load_situation
from wsredis.service.workers.sockets import SharedEndpoint, SharedSocket
from wsredis.transports.proxied import ProxiedEndpoint

__all__ = [
    "COMMANDS",
    "FIRST_SOCKET",
    "NUMBERS",
    "RELOAD",
    "REPORTS",
    "STATE",
    "STOP",
    "WorkerGateway",
    "WorkerTask",
    "main",
]

#: Descriptors of a worker: the pipe with its task and its commands, the pipe for its reports, and
#: the first of its listening sockets.
COMMANDS, REPORTS, FIRST_SOCKET = 0, 3, 4

#: Commands of the parent, the first word of a line each: files are to be read again; the
#: state of the parent and of all workers follows in JSON, or their numbers; stop.
RELOAD, STATE, NUMBERS, STOP = b"reload", b"state", b"numbers", b"stop"

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
            the seconds since the start; ``problems``, as in `wsredis.gateway.health.Problems`;
            ``numbers``, as in `wsredis.gateway.numbers.Numbers`, if they are served anywhere. The
            second argument tells whether it may wait for the parent.
        stop: Called when the parent wants this worker to stop; maybe more than once.
        broker: See `GatewayService`.
    """

    def __init__(
        self,
        task: WorkerTask,
        reactor: Any,
        report: Callable[[dict[str, Any], bool], None],
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
        self._numbers = Snapshot({}, {})
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

    def snapshot(self) -> Snapshot:
        """Return the numbers of all workers, as the parent has last sent them."""
        return self._numbers

    def _bind(self) -> None:
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
        elif command == NUMBERS:
            self._numbers = Snapshot(*json.loads(rest))

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
            report: dict[str, Any] = {"alive": round(alive, 1), "problems": problems}
            if self._has_page:
                report["numbers"] = self._readings.numbers()
            # A parent that has just spoken reads, however much the log has to say.
            self._report(report, self._silence.seconds < MUTE)


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
        gateway = WorkerGateway(task, reactor, reporter.report_state, stop.gently)
    except ConfigError as error:
        # The settings were good when the parent started, but files may have changed since, or may
        # not be readable any more.
        sys.exit(f"wsredis: {error}")
    stop.hurry = gateway.stop_now
    failures: list[str] = []

    def give_up(reason: str) -> None:
        failures.append(reason)
        reporter.report_state({"failed": reason}, True)
        stop.gently()

    gateway.give_up = give_up
    reader = CommandReader(reactor, commands, gateway.command_received, gateway.commands_ended)
    reactor.callWhenRunning(reactor.addReader, reader)
    reactor.callWhenRunning(gateway.startService)
    reactor.callWhenRunning(reader.feed, first_commands)
    reactor.callWhenRunning(garbage.freeze)
    reactor.addSystemEventTrigger("before", "shutdown", gateway.stopService)
    reactor.run()
    if failures:
        sys.exit(1)
