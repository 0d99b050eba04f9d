"""
Where the log of ``twistd wsredis`` goes: standard output, a file, or syslog.

twistd would open them itself, but knows one format, escapes nothing, and cuts its file into pieces
of a megabyte, all of which it keeps. A program that embeds a gateway has its own observers, and
none of this is used.
"""

from __future__ import annotations

import logging
import os
import stat
import sys
import syslog
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TextIO

from twisted.logger import ILogObserver, LogEvent, LogLevel
from zope.interface import implementer

from wsredis.errors import ConfigError
from wsredis.service.log.records import is_repetition, json_line, short_line, text_line

__all__ = [
    "LineObserver",
    "LogFile",
    "Output",
    "Stream",
    "Syslog",
    "capture_logging",
    "observer_for",
]

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT

#: Where twistd logs to if it runs in the background and nobody says more.
_DEFAULT_FILE = "twistd.log"

_PRIORITIES = {
    LogLevel.debug: syslog.LOG_DEBUG,
    LogLevel.info: syslog.LOG_INFO,
    LogLevel.warn: syslog.LOG_WARNING,
    LogLevel.error: syslog.LOG_ERR,
    LogLevel.critical: syslog.LOG_CRIT,
}


class Output(Protocol):
    """
    Something that takes lines.

    Attributes:
        has_time: It adds the time to each line by itself.
    """

    has_time: bool

    def write(self, line: str, level: Any) -> None:
        """
        Write a line at once.

        Args:
            line: One or more lines of text, with the end of the last one.
            level: A constant of `twisted.logger.LogLevel`.

        Raises:
            OSError: The line is lost.
        """

    def reopen(self) -> bool:
        """
        Open a file of the same name again, since somebody has moved the old one away.

        Returns:
            Whether there is a file.

        Raises:
            OSError: It cannot be opened. The old one is used on.
        """


class Stream:
    """Writes to a stream that is open already, such as standard output."""

    has_time = False

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: str, level: Any) -> None:
        """See `Output.write`."""
        self._stream.write(line)
        self._stream.flush()

    def reopen(self) -> bool:
        """Do nothing: there is no file."""
        return False


class LogFile:
    """
    Appends to a file, each line in one write: the file may be cut or moved away at any time.

    Raises:
        OSError: It cannot be opened.
    """

    has_time = False

    def __init__(self, path: str) -> None:
        # Here and now: twistd may change the working directory later.
        self._path = os.path.abspath(path)
        self._descriptor = self._open()

    def _open(self) -> int:
        return os.open(self._path, _FLAGS, 0o666)

    def write(self, line: str, level: Any) -> None:
        """See `Output.write`."""
        os.write(self._descriptor, line.encode("utf-8", "backslashreplace"))

    def reopen(self) -> bool:
        """See `Output.reopen`."""
        try:
            new = os.open(self._path, _FLAGS | os.O_EXCL, 0o600)
            # In the background twistd hides new files from users that may read the old one.
            os.fchmod(new, stat.S_IMODE(os.fstat(self._descriptor).st_mode))
        except FileExistsError:
            new = self._open()
        # The number stays, so that a line that is written meanwhile cannot get lost.
        os.dup2(new, self._descriptor, inheritable=False)
        os.close(new)
        return True


class Syslog:
    """
    Writes to the syslog of this machine, with the priority of each line.

    Args:
        prefix: The name of the program there.
    """

    has_time = True

    def __init__(self, prefix: str) -> None:
        syslog.openlog(prefix, syslog.LOG_PID, syslog.LOG_DAEMON)

    def write(self, line: str, level: Any) -> None:
        """See `Output.write`."""
        for each in line.splitlines():
            syslog.syslog(_PRIORITIES.get(level, syslog.LOG_INFO), each)

    def reopen(self) -> bool:
        """Do nothing: there is no file."""
        return False


@implementer(ILogObserver)
class LineObserver:
    """
    Writes each event as a line, at once.

    If it raises, Twisted drops the event and goes on: a log that cannot be written stops nobody.

    Args:
        format: ``"json"``, ``"short"``, or anything else for text.
        has_colours: Tells whether short lines may have colours.
    """

    def __init__(self, format: str | None, output: Output, has_colours: bool = False) -> None:
        self._output = output
        self._line: Callable[[LogEvent], str]
        if format == "json":
            self._line = json_line
        elif format == "short":
            self._line = lambda event: short_line(event, has_colours)
        else:
            self._line = lambda event: text_line(event, not output.has_time)

    def __call__(self, event: LogEvent) -> None:
        """Write one event."""
        line = "" if is_repetition(event) else self._line(event)
        if line:
            self._output.write(line, event.get("log_level", LogLevel.info))

    def reopen(self) -> bool:
        """See `Output.reopen`."""
        return self._output.reopen()


def capture_logging() -> None:
    """
    Let handlers of Python's logging that write to a terminal write to the log instead.

    Those that an application made while it was imported, as Django does, have the streams of that
    time. To be called when standard output and standard error lead to the log.
    """
    streams = {sys.__stdout__: sys.stdout, sys.__stderr__: sys.stderr}
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        # A name whose logger nobody has asked for has none.
        for handler in getattr(logger, "handlers", ()):
            if isinstance(handler, logging.StreamHandler) and handler.stream in streams:
                handler.setStream(streams[handler.stream])


def observer_for(
    format: str | None, twistd: Mapping[str, Any], stdout: TextIO, *, for_people: bool = False
) -> LineObserver | None:
    """
    Make the observer that twistd is to log with.

    Args:
        format: The setting ``log-format``.
        twistd: The options before ``wsredis`` on the command line.
        stdout: Standard output.
        for_people: Tells whether lines on a terminal are short if no format was chosen.

    Returns:
        None if it is twistd's own choice, or if twistd refuses its options by itself.

    Raises:
        ConfigError: The log file cannot be opened, or twistd got an observer of its own that would
            not care for *format*.
    """
    if twistd.get("logger") or "nodaemon" not in twistd:
        # Those who log in another way, as twist does, do so in its format.
        if format not in (None, "text"):
            raise ConfigError("log-format: needs twistd, without a logger of its own")
        return None
    path = twistd.get("logfile") or ""
    in_foreground = bool(twistd["nodaemon"])
    if twistd.get("syslog"):
        return LineObserver(format, Syslog(twistd.get("prefix") or "twisted"))
    if path == "-" and not in_foreground:
        return None
    if path == "-" or (in_foreground and not path):
        is_terminal = stdout.isatty()
        if for_people and is_terminal:
            format = format or "short"
        return LineObserver(format, Stream(stdout), is_terminal and not os.environ.get("NO_COLOR"))
    path = path or _DEFAULT_FILE
    try:
        return LineObserver(format, LogFile(path))
    except OSError as error:
        raise ConfigError(f"logfile: cannot open {path}: {error.strerror}") from None
