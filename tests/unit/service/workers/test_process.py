"""Tests of a worker as its parent sees it: its log lines, and its restarts."""

from __future__ import annotations

import json
from typing import Any

from twisted.logger import LogEvent, Logger, capturedLogs, formatEvent

from tests.unit.service.workers.case import WorkersCase
from wsredis.service.log.records import json_line


def _report(**fields: object) -> bytes:
    """A line of the log as a worker sends it."""
    record = {"time": "1", "level": "info", "logger": "a", "event": "other", "message": "x"}
    return json.dumps({"log": {**record, **fields}}).encode()


class LogTests(WorkersCase):
    """The log of the parent has the lines of its workers."""

    def logged(self, descriptor: int, *parts: bytes) -> list[tuple[str, str, str]]:
        """Level, namespace and text of the lines that *parts* of output make."""
        with capturedLogs() as events:
            for part in parts:
                self.two.protocol.childDataReceived(descriptor, part)
        return [
            (each["log_level"].name, each["log_namespace"], formatEvent(each)) for each in events
        ]

    def test_reports(self) -> None:
        """A line keeps its level and logger, in whatever parts it comes; braces are text."""
        line = _report(level="error", logger="a.b", message="x {y}\nz")
        found = self.logged(3, line[:5], line[5:] + b"\n" + line, b"\n")
        self.assertEqual([("error", "a.b", "worker 2: x {y}\nz")] * 2, found)

    def test_fields(self) -> None:
        """The fields of a line, and its traceback, come out as the worker has written them."""
        line = _report(event="some-event", size=5, traceback="Traceback\n  x", worker=7)
        with capturedLogs() as events:
            self.two.protocol.childDataReceived(3, line + b"\n")
        (event,) = events
        self.assertEqual(
            {**json.loads(line)["log"], "worker": 2}, json.loads(json_line(event)), event
        )
        self.assertEqual("worker 2: x\nTraceback\n  x", formatEvent(event))

    def test_not_a_report(self) -> None:
        """A line that is not a report is dropped with one log line, and the pipe goes on."""
        own = "wsredis.service.workers.process.WorkerProcess"
        good = _report() + b"\n"
        dropped = (
            "worker 2: dropped a line that is not a report: something in the application "
            "writes to descriptor 3"
        )
        bad = (
            b"junk",
            b"{}",
            b"[]",
            b"1",
            b"null",
            b'{"log": "junk"}',
            _report(level="loud"),
            _report(level=[]),
            _report(message=5),
            _report(traceback=None),
            b'"alive"',
            b'{"alive": 1}',
            b'{"alive": 1, "problems": []}',
            b'{"alive": 1, "problems": {"redis": ["x"]}}',
            b'{"alive": 1, "problems": {"redis": 1}}',
            b'{"alive": 1, "problems": {}, "numbers": {"connections": {}}}',
            b'{"alive": 1, "problems": {}, "numbers": {"process": [1]}}',
            b"\xff",
            b"[" * 100000,
        )
        found = self.logged(3, *(line + b"\n" + good for line in bad))
        self.assertEqual(("warn", own, dropped), found.pop(1 if found[0][0] == "info" else 0))
        self.assertEqual([("info", "a", "worker 2: x")] * len(bad), found)
        with capturedLogs() as events:
            self.reactor.advance(60)
        more = len(bad) - 2
        self.assertEqual(
            [f"{dropped} (and {more} more of this kind)"], [formatEvent(each) for each in events]
        )

    def test_endless_report(self) -> None:
        """A report without an end is not kept."""
        found = self.logged(3, *[b"x" * 65536] * 40)
        self.assertEqual(1, len(found))
        kept = self.service._workers[1]._partial[3]
        self.assertLessEqual(len(kept), 1 << 20)
        self.two.end()
        self.assertEqual([], [call for call in self.reactor.getDelayedCalls() if call.time > 1])

    def test_printed(self) -> None:
        """A line that is printed outside of the log is a warning."""
        found = self.logged(2, b"a\nb", b"\xff\n")
        own = "wsredis.service.workers.process.WorkerProcess"
        self.assertEqual(
            [("warn", own, "worker 2: a"), ("warn", own, "worker 2: b\N{REPLACEMENT CHARACTER}")],
            found,
        )

    def test_endless_line(self) -> None:
        """A line without an end is split."""
        # Logged past the global log: `trial -j` cannot send a line of 64 KiB to its parent.
        events: list[LogEvent] = []
        log = Logger("x", observer=events.append)
        self.service._workers[1]._log = log  # type: ignore[misc]
        for part in (b"x" * 65536, b"x", b"y\n"):
            self.two.protocol.childDataReceived(1, part)
        self.assertEqual([65547, 11], [len(formatEvent(event)) for event in events])

    def test_unfinished_line(self) -> None:
        """Half a line of a worker that ended is logged; half a report is not."""
        with capturedLogs() as events:
            self.two.protocol.childDataReceived(2, b"Segmentation fault")
            self.two.protocol.childDataReceived(3, b'{"level": "in')
            self.two.end(signal=11)
        lines = [formatEvent(event) for event in events]
        self.assertEqual("worker 2: Segmentation fault", lines[0])
        self.assertIn("worker 2 (process 1000) ended by signal 11 (SIGSEGV)", lines[1])
        self.assertEqual(2, len(lines))


class ReplaceTests(WorkersCase):
    """A worker that ends is replaced, each time later."""

    def end(self, expected: str, **how: Any) -> None:
        """End the newest process, which logs one line."""
        with capturedLogs() as events:
            self.reactor.processes[-1].end(**how)
        (event,) = events
        self.assertEqual(expected, formatEvent(event))

    def test_delays(self) -> None:
        """The wait grows from half a second to half a minute."""
        self.reactor.processes.append(self.one)
        for delay in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
            self.end(
                f"worker 1 (process 1000) ended with status 1; another one starts in {delay} s",
                status=1,
            )
            count = len(self.reactor.processes)
            self.reactor.advance(delay - 0.25)
            self.assertEqual(count, len(self.reactor.processes))
            self.reactor.advance(0.25)
            self.assertEqual(count + 1, len(self.reactor.processes))

    def test_sound(self) -> None:
        """After a worker that lived for a minute, the wait is the first one again."""
        self.reactor.processes.append(self.one)
        for _ in range(2):
            self.reactor.advance(60)
            self.end(
                "worker 1 (process 1000) ended with status 0; another one starts in 0.5 s",
            )
            self.reactor.advance(0.5)

    def test_no_process(self) -> None:
        """If the system has no process left, it is tried again."""
        self.reactor.refuses = True
        self.one.end()
        with capturedLogs() as events:
            self.reactor.advance(0.5)
        (event,) = events
        self.assertIn("did not start (Resource temporarily unavailable)", formatEvent(event))
        self.reactor.refuses = False
        self.reactor.advance(1)
        self.assertEqual(3, len(self.reactor.processes))
