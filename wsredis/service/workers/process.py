"""A worker as its parent sees it: commands go in, reports and log lines come out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger, LogLevel

from wsredis.gateway.health import Health, Problems, is_good
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.numbers import Numbers, checked, combined, ended
from wsredis.service.log.records import forwarded
from wsredis.service.supervisor import ChildSupervisor, RestartPolicy, write_to_child
from wsredis.service.workers.reports import FATAL, MUTE, Silence, load_situation
from wsredis.service.workers.worker import COMMANDS, REPORTS, STOP

__all__ = ["CHECK_INTERVAL", "WorkerProcess"]

_RESTART = RestartPolicy(first=0.5, longest=30.0)

#: Bytes of a line that a worker prints outside of its log. A longer line is split.
_MAX_LINE = 65536

#: Bytes of a report, which may be a log line with a traceback. A longer one is dropped.
_MAX_REPORT = 1 << 20

#: Seconds between two calls of `WorkerProcess.check`.
CHECK_INTERVAL = 0.5

_STARTS = "the worker has not started yet"

#: What a line that is no report may raise.
_NO_REPORT = (ValueError, TypeError, AttributeError, LookupError, RecursionError)


class WorkerProcess:
    """
    One worker. It is started again when it ends.

    Args:
        number: Names the worker in the log.
        spawn: Starts a process with the given protocol.
        changed: Called when a problem of the worker begins or ends, and when the worker has ended.
        failed: Called with the reason for which the worker cannot start, before it ends.

    Attributes:
        past: What the processes that have ended had counted.
    """

    child_descriptors: tuple[int, ...] = (COMMANDS, 1, 2, REPORTS)
    _log = Logger()

    def __init__(
        self,
        number: int,
        reactor: Any,
        spawn: Callable[[ProcessProtocol], Any],
        changed: Callable[[], None],
        failed: Callable[[str], None],
    ) -> None:
        self._number = number
        self._spawn = spawn
        self._changed = changed
        self._failed = failed
        self._supervisor = ChildSupervisor(reactor, self, _RESTART)
        #: The begin of a line whose end was not received yet, by descriptor.
        self._partial: dict[int, bytes] = {}
        self._throttle = LogThrottle(reactor)
        self._numbers: Numbers = {}
        self.past: Numbers = {}
        #: What the worker has reported. If None, the process has not reported anything.
        self._reported: Problems | None = None
        self._health = Health()
        self._health.report("workers", _STARTS)
        self._silence = Silence(CHECK_INTERVAL)

    @property
    def problems(self) -> Problems:
        """Everything that is wrong with the worker."""
        return {**self._health.problems, **(self._reported or {})}

    @property
    def numbers(self) -> Numbers:
        """The numbers of the last report, and whether the worker is ready now."""
        return {**self._numbers, "ready": int(self.is_ready)}

    @property
    def is_ready(self) -> bool:
        """Tell whether the worker serves clients."""
        return is_good({0: self.problems})

    @property
    def hears(self) -> bool:
        """Tell whether commands are read: the process has started, and is not mute."""
        return self._reported is not None and self._silence.seconds < MUTE

    def start(self) -> None:
        """Start a process."""
        self._supervisor.start()

    def send(self, command: bytes) -> None:
        """
        Send a command, if the process runs.

        A process that is still starting follows it later.
        """
        self._supervisor.send(COMMANDS, command)

    def check(self, count: int) -> None:
        """
        Count the silence of a process that has started; kill it when it has lasted too long.

        Args:
            count: The number of `CHECK_INTERVAL` that have passed since the last call.
        """
        if self._reported is None:
            return
        before = self._silence.seconds
        self._silence.passed(count)
        if before < MUTE <= self._silence.seconds:
            self._health.report("workers", "the worker says nothing")
            self._changed()
        if self._silence.seconds >= FATAL:
            self._log.warn(
                "worker {worker} has said nothing for {seconds:g} s; killing it",
                event="worker-mute",
                worker=self._number,
                seconds=FATAL,
            )
            self._reported = None
            self._supervisor.kill()

    def stop(self, patience: float) -> Deferred[None]:
        """
        Let the worker drain its clients and end.

        Args:
            patience: Seconds until it is killed.

        Returns:
            Fires when the process has ended.
        """
        return self._supervisor.stop(patience)

    def hurry(self, patience: float) -> None:
        """
        Let a worker that stops make haste. Harmless if it has ended.

        Args:
            patience: Seconds until it is killed.
        """
        self._supervisor.hurry(COMMANDS, patience)

    # -- wsredis.service.supervisor.ChildOwner

    def spawn_child(self, protocol: ProcessProtocol) -> Any:
        """Start a process."""
        self._partial = {}
        return self._spawn(protocol)

    def child_started(self, pid: int) -> None:
        """Log the process."""
        self._health.report("workers", _STARTS)
        self._log.info(
            "worker {worker} is process {pid}", event="worker-started", worker=self._number, pid=pid
        )

    def child_received(self, descriptor: int, data: bytes) -> None:
        """Split output into lines: reports, and whatever the process printed."""
        *lines, rest = (self._partial.pop(descriptor, b"") + data).split(b"\n")
        if descriptor != REPORTS and len(rest) > _MAX_LINE:
            lines.append(rest)
            rest = b""
        elif len(rest) > _MAX_REPORT:
            self._drop_line()
            rest = b""
        self._partial[descriptor] = rest
        for line in lines:
            self._line_received(descriptor, line)

    def ask_child_to_stop(self, process: Any) -> None:
        """Send the command to stop."""
        write_to_child(process, COMMANDS, STOP + b"\n")

    def child_is_killed(self) -> None:
        """Log it."""
        self._log.warn(
            "worker {worker} did not stop in time; killing it",
            event="worker-killed",
            worker=self._number,
        )

    def child_ended(self, how: str, restart: float | None) -> None:
        """Log the end of a process that was not stopped, and its unfinished line."""
        for descriptor, rest in self._partial.items():
            # Half a report is of no use; half a line of a traceback is.
            if rest and descriptor != REPORTS:
                self._line_received(descriptor, rest)
        self._partial = {}
        self._throttle.reset()
        self._reported = None
        self.past = combined([self.past, ended(self._numbers)])
        self._numbers = {}
        self._silence.heard()
        self._health.report("workers", "the worker has ended")
        if restart is not None:
            self._log.warn(
                "worker {worker} {how}; another one starts in {delay} s",
                event="worker-ended",
                worker=self._number,
                how=how,
                delay=restart,
            )
            self._changed()

    def _line_received(self, descriptor: int, line: bytes) -> None:
        if descriptor != REPORTS:
            self._log.warn(
                "worker {worker}: {_line}",
                event="worker-output",
                worker=self._number,
                _line=line.decode("utf-8", "replace"),
            )
            return
        if not line:
            return
        try:
            report = json.loads(line)
            if "alive" in report:
                situation = load_situation({self._number: report["problems"]})
                if "numbers" in report:
                    self._numbers = checked(report["numbers"])
                self._has_reported(situation[self._number])
                return
            if "failed" in report:
                self._failed(str(report["failed"]))
                return
            logger, level, fields = forwarded(report["log"], self._number)
        except _NO_REPORT:
            self._drop_line()
            return
        logger.emit(level, **fields)

    def _has_reported(self, problems: Problems) -> None:
        before = self.problems
        self._reported = problems
        self._silence.heard()
        self._health.report("workers", None)
        if self.problems != before:
            self._changed()

    def _drop_line(self) -> None:
        """Log that the application of the worker wrote to the pipe of the reports."""
        self._throttle.log(
            self._log,
            LogLevel.warn,
            "no report",
            "worker {worker}: dropped a line that is not a report: something in the application "
            "writes to descriptor {descriptor}",
            event="worker-report-dropped",
            worker=self._number,
            descriptor=REPORTS,
        )
