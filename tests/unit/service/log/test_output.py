"""Tests of the places that a log goes to."""

from __future__ import annotations

import logging
import os
import sys
import syslog
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.logger import Logger, LogPublisher
from twisted.trial.unittest import SynchronousTestCase

from wsredis.errors import ConfigError
from wsredis.service.log.output import LineObserver, LogFile, capture_logging, observer_for


class LoggingTests(SynchronousTestCase):
    """Python's logging."""

    def test_captured(self) -> None:
        """Handlers that were made for a terminal write to the log; others stay as they are."""
        now, other = StringIO(), StringIO()
        self.patch(sys, "stderr", now)
        logger = logging.getLogger(f"{__name__}.{self.id()}")
        logger.propagate = False
        handlers = [logging.StreamHandler(each) for each in (sys.__stderr__, other)]
        for handler in (*handlers, logging.NullHandler()):
            logger.addHandler(handler)
            self.addCleanup(logger.removeHandler, handler)
        capture_logging()
        capture_logging()
        logger.warning("hello")
        self.assertEqual(("hello\n", "hello\n"), (now.getvalue(), other.getvalue()))
        self.assertIs(now, handlers[0].stream)


class OutputTests(SynchronousTestCase):
    """The observer follows the options of twistd."""

    def observer(self, format: str = "text", **options: Any) -> LineObserver | None:
        """Make the observer for these options of twistd; standard output is a string."""
        self.stdout = StringIO()
        options = {"nodaemon": False, "logfile": None, **options}
        observer = observer_for(format, options, self.stdout)
        if observer is not None and isinstance(observer._output, LogFile):
            self.addCleanup(os.close, observer._output._descriptor)
        return observer

    def log(self, observer: LineObserver | None, text: str) -> None:
        """Log a line."""
        assert observer is not None
        Logger("a", observer=LogPublisher(observer)).warn("{text}", text=text)

    def test_stdout(self) -> None:
        """A process in the foreground logs to standard output, also if a file named - is asked."""
        for logfile in (None, "-"):
            for format, start in (("text", "20"), ("json", '{"time": "20'), ("", "20")):
                self.log(self.observer(format, nodaemon=True, logfile=logfile), "hello")
                self.assertTrue(self.stdout.getvalue().startswith(start), self.stdout.getvalue())

    def test_people(self) -> None:
        """A terminal gets short lines, if the program is for people and no format was chosen."""
        for format, terminal, for_people, start in (
            (None, True, True, r"\d\d:\d\d:\d\d "),
            (None, False, True, "20"),
            (None, True, False, "20"),
            ("text", True, True, "20"),
            ("short", False, False, r"\d\d:\d\d:\d\d "),
        ):
            self.stdout = StringIO()
            self.patch(self.stdout, "isatty", lambda terminal=terminal: terminal)
            options = {"nodaemon": True}
            observer = observer_for(format, options, self.stdout, for_people=for_people)
            self.log(observer, "hello")
            self.assertRegex(self.stdout.getvalue(), rf"\A{start}")

    def test_colours(self) -> None:
        """A terminal gets colours, unless they are not wanted."""
        for variable, expected in (("", True), ("1", False)):
            self.patch(os, "environ", {"NO_COLOR": variable})
            self.stdout = StringIO()
            self.patch(self.stdout, "isatty", lambda: True)
            observer = observer_for("short", {"nodaemon": True}, self.stdout)
            self.log(observer, "hello")
            self.assertIs(expected, "\x1b[33m" in self.stdout.getvalue())

    def test_file(self) -> None:
        """Lines are appended, also when the file was cut to nothing by somebody else."""
        path = Path(self.mktemp())
        path.write_text("before\n")
        observer = self.observer(logfile=str(path))
        self.log(observer, "caf\xe9 \ud800")
        self.assertRegex(path.read_text("utf-8"), r"\Abefore\n.* \[a#warn\] caf\xe9 \\ud800\n\Z")
        os.truncate(path, 0)
        self.log(observer, "two")
        self.assertRegex(path.read_text("utf-8"), r"\A20.*two\n\Z")

    def test_default_file(self) -> None:
        """In the background it is twistd's file."""
        folder = self.mktemp()
        os.mkdir(folder)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder)
        self.log(self.observer(), "x")
        self.assertTrue(os.path.getsize("twistd.log"))

    def test_reopened(self) -> None:
        """After a rename the log goes on in a new file, wherever the process is then."""
        path = Path(self.mktemp()).absolute()
        observer = self.observer(logfile=os.path.relpath(path))
        assert observer is not None
        self.log(observer, "one")
        path.chmod(0o640)
        path.rename(f"{path}.1")
        self.log(observer, "two")
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir("/")
        observer.reopen()
        self.log(observer, "three")
        self.assertIn("three", path.read_text())
        self.assertNotIn("two", path.read_text())
        self.assertEqual(0o640, path.stat().st_mode & 0o777, "its readers can go on")

    def test_made_by_others(self) -> None:
        """A file that the rotation has made keeps its rights."""
        path = Path(self.mktemp()).absolute()
        observer = self.observer(logfile=str(path))
        assert observer is not None
        path.rename(f"{path}.1")
        path.touch()
        path.chmod(0o604)
        observer.reopen()
        self.log(observer, "x")
        self.assertIn("x", path.read_text())
        self.assertEqual(0o604, path.stat().st_mode & 0o777)

    def test_not_reopened(self) -> None:
        """If the file cannot be opened again, the old one is used on."""
        folder = Path(self.mktemp())
        folder.mkdir()
        observer = self.observer(logfile=str(folder / "log"))
        assert observer is not None
        moved = folder.rename(f"{folder}.1")
        self.assertRaises(OSError, observer.reopen)
        self.log(observer, "more")
        self.assertIn("more", (moved / "log").read_text())

    def test_syslog(self) -> None:
        """Syslog gets the priority of a line, and adds the time by itself."""
        found: list[Any] = []
        self.patch(syslog, "openlog", lambda *arguments: found.append(arguments))
        self.patch(syslog, "syslog", lambda *arguments: found.append(arguments))
        observer = self.observer(syslog=True, prefix="gw")
        assert observer is not None
        self.log(observer, "x\ny")
        observer.reopen()
        self.assertEqual(
            [
                ("gw", syslog.LOG_PID, syslog.LOG_DAEMON),
                (syslog.LOG_WARNING, "[a#warn] x"),
                (syslog.LOG_WARNING, "\ty"),
            ],
            found,
        )

    def test_nothing_to_say(self) -> None:
        """An event without a text makes no line."""
        observer = self.observer(nodaemon=True)
        assert observer is not None
        observer({"log_format": ""})
        self.assertEqual("", self.stdout.getvalue())

    def test_stream_stays(self) -> None:
        """Standard output is nothing to open again."""
        observer = self.observer(nodaemon=True)
        assert observer is not None
        observer.reopen()
        self.log(observer, "x")
        self.assertIn("x\n", self.stdout.getvalue())

    def test_left_to_twistd(self) -> None:
        """Another observer, another program, and options that twistd refuses."""
        self.assertIsNone(self.observer(logger=StringIO))
        self.assertIsNone(self.observer("json", logfile="-"))
        self.assertIsNone(observer_for("text", {"logFile": StringIO()}, StringIO()))

    def test_refused(self) -> None:
        """JSON that nobody would write, and a file that cannot be opened."""
        for options, problem in (
            ({"logger": StringIO}, "log-format: needs twistd"),
            ({"logfile": "/no/where"}, "logfile: cannot open /no/where: "),
        ):
            error = self.assertRaises(ConfigError, self.observer, "json", **options)
            self.assertTrue(str(error).startswith(problem), error)
        self.assertRaises(ConfigError, observer_for, "json", {"logFile": StringIO()}, StringIO())
