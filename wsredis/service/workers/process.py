"""A worker as its parent sees it: commands go in, reports and log lines come out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import InvalidLogLevelError, Logger, LogLevel

from wsredis.gateway.log_throttle import LogThrottle
from wsredis.service.supervisor import ChildSupervisor, RestartPolicy
from wsredis.service.workers.worker import COMMANDS, REPORTS

__all__ = ["WorkerProcess"]

_RESTART = RestartPolicy(first=0.5, longest=30.0)

#: Bytes of a line that a worker prints outside of its log. A longer line is split.
_MAX_LINE = 65536

#: Bytes of a report, which may be a log line with a traceback. A longer one is dropped.
_MAX_REPORT = 1 << 20


class WorkerProcess:
    """
    One worker. It is started again when it ends.

    Args:
        number: Names the worker in the log.
        spawn: Starts a process with the given protocol.
        changed: Called when the worker reports whether it is ready, and when it has ended.
    """

    child_descriptors: tuple[int, ...] = (COMMANDS, 1, 2, REPORTS)
    _log = Logger()

    def __init__(
        self,
        number: int,
        reactor: Any,
        spawn: Callable[[ProcessProtocol], Any],
        changed: Callable[[], None],
    ) -> None:
        self._number = number
        self._spawn = spawn
        self._changed = changed
        self._supervisor = ChildSupervisor(reactor, self, _RESTART)
        #: The begin of a line whose end was not received yet, by descriptor.
        self._partial: dict[int, bytes] = {}
        self._throttle = LogThrottle(reactor)

    @property
    def ready(self) -> bool:
        """Tell whether the worker runs and has reported that it is ready."""
        return self._supervisor.ready

    def start(self) -> None:
        """Start a process."""
        self._supervisor.start()

    def send(self, command: bytes) -> None:
        """
        Send a command, if the process runs.

        A process that is still starting may miss it, which is harmless: it is not ready yet, and
        reads its certificates later.
        """
        self._supervisor.send(COMMANDS, command)

    def stop(self, patience: float) -> Deferred[None]:
        """
        Let the worker drain its clients and end.

        Args:
            patience: Seconds until it is killed.

        Returns:
            Fires when the process has ended.
        """
        return self._supervisor.stop(patience)

    # -- wsredis.service.supervisor.ChildOwner

    def spawn_child(self, protocol: ProcessProtocol) -> Any:
        """Start a process."""
        self._partial = {}
        return self._spawn(protocol)

    def child_started(self, pid: int) -> None:
        """Log the process."""
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
        """Close the pipe of the commands."""
        process.closeChildFD(COMMANDS)

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
            self._log_line(self._log, LogLevel.warn, line.decode("utf-8", "replace"))
            return
        if not line:
            return
        try:
            report = json.loads(line)
            if "ready" in report:
                self._supervisor.ready = bool(report["ready"])
                self._changed()
                return
            level = LogLevel.lookupByName(report["level"])
            namespace, text = str(report["namespace"]), str(report["text"])
        except (ValueError, TypeError, LookupError, RecursionError, InvalidLogLevelError):
            self._drop_line()
            return
        self._log_line(Logger(namespace), level, text)

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

    def _log_line(self, log: Logger, level: Any, text: str) -> None:
        log.emit(level, "worker {worker}: {text}", worker=self._number, text=text)
