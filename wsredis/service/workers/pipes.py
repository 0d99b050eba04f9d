"""The ends of the two pipes in a worker, which `wsredis.service.workers.parent` describes."""

from __future__ import annotations

import fcntl
import json
import os
import select
import termios
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.fdesc import readFromFD, setNonBlocking
from twisted.logger import ILogObserver, LogEvent, Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from wsredis.service.log.records import is_repetition, record_of

__all__ = ["CommandReader", "Reporter", "keep_from_children"]


class CommandReader(FileDescriptor):
    """
    Reads the commands of the parent from a pipe.

    Args:
        descriptor: The pipe. It is made non-blocking.
        received: Called with each command: a line without its end.
        ended: Called when the pipe is closed.
    """

    _log = Logger()

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
            try:
                self._received(line)
            except Exception:
                # The reactor would close the pipe, and the worker would end.
                self._log.failure("a command of the parent failed", event="command-failed")

    def connectionLost(self, reason: Failure) -> None:
        """Notify: the pipe is closed."""
        super().connectionLost(reason)
        self._ended()


@implementer(ILogObserver)
class Reporter:
    """Sends reports and log events to the parent. It blocks while the parent does not read."""

    def __init__(self, descriptor: int) -> None:
        self._file = open(descriptor, "w", encoding="ascii")  # noqa: SIM115 (open until the end)

    def report_state(self, report: dict[str, Any], may_wait: bool) -> None:
        """
        Send the report of a second.

        Args:
            may_wait: Whether it may block. If False, it is left out if it would: a parent that was
                stopped must not stop its workers, too.
        """
        if not may_wait:
            if not select.select([], [self._file], [], 0)[1]:
                return
            if self._has_unread():
                # A short line is sure to fit, and the numbers are not urgent.
                report = {name: report[name] for name in report if name != "numbers"}
        self.report(report)

    def _has_unread(self) -> bool:
        """Tell whether the pipe has anything in it."""
        unread = fcntl.ioctl(self._file, termios.FIONREAD, bytes(4))
        return any(unread)

    def report(self, report: dict[str, Any]) -> None:
        """Send one report. It is lost if the parent has ended."""
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
