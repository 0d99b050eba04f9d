"""Tests of the lines of the log: text and JSON."""

from __future__ import annotations

import json
from typing import Any

from twisted.logger import LogEvent, Logger, LogLevel, capturedLogs
from twisted.python import log
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from wsredis.service.log.records import (
    forwarded,
    is_repetition,
    json_line,
    record_of,
    short_line,
    text_line,
)

#: Characters that move the cursor, end lines somewhere, or turn the direction of writing.
_NASTY = "a\r\n\x1b[31m\u2028\u202e\x00b"


def _event(format: str, level: Any = LogLevel.warn, **fields: Any) -> LogEvent:
    events: list[LogEvent] = []
    Logger("a.b", observer=events.append).emit(level, format, **fields)
    events[0]["log_time"] = 1795948186.9626057
    return events[0]


def _failure() -> Failure:
    try:
        raise ValueError("bad\x1b")
    except ValueError:
        return Failure()


class JsonTests(SynchronousTestCase):
    """A line of JSON."""

    def test_ours(self) -> None:
        """It has time, level, logger, event and message, and the fields of the event."""
        event = _event("x {n} {_part}", event="some-event", n=1, _part="y", worker=2)
        self.assertEqual(
            '{"time": "2026-11-29T10:29:46.962Z", "level": "warn", "logger": "a.b", '
            '"event": "some-event", "message": "x 1 y", "n": 1, "worker": 2}\n',
            json_line(event),
        )

    def test_others(self) -> None:
        """An event of others has no further fields, since nobody looked at them for secrets."""
        record = json.loads(json_line(_event("x", LogLevel.info, password="secret")))
        self.assertEqual("other", record["event"])
        self.assertEqual({"time", "level", "logger", "event", "message"}, {*record})

    def test_bare(self) -> None:
        """Events without level, logger and time, as of old programs, have a line, too."""
        record = json.loads(json_line({"log_format": "bare"}))
        self.assertEqual(
            ("info", "-", "bare"), (record["level"], record["logger"], record["message"])
        )
        self.assertEqual("", json_line({"log_format": ""}))

    def test_old_names(self) -> None:
        """What Twisted adds for observers of old is not a field."""
        old = {"message": (), "time": 1, "system": "-", "format": "x", "isError": 0}
        event = {**_event("hello", event="e"), **old}
        self.assertEqual("hello", record_of(event)["message"])
        self.assertEqual({"time", "level", "logger", "event", "message"}, {*record_of(event)})

    def test_values(self) -> None:
        """Values stay what they are if JSON knows them; all others become text."""
        values = [None, True, 1, 1.5, "x"]
        others = [
            (1.23456, 1.235),
            (b"a\xff", "a\\xff"),
            (float("nan"), "nan"),
            (LogLevel.info, "<LogLevel=info>"),
        ]
        event = _event("", event="e", all=(*values, *(each for each, _ in others)))
        self.assertEqual([*values, *(text for _, text in others)], record_of(event)["all"])

    def test_traceback(self) -> None:
        """A traceback is one string; the message does not have it."""
        record = json.loads(json_line(_event("oh", event="e", log_failure=_failure())))
        self.assertEqual("oh", record["message"])
        self.assertIn("\nbuiltins.ValueError: bad\x1b", record["traceback"])

    def test_nasty_text(self) -> None:
        """Whatever a client has chosen, the line is one line of printable ASCII."""
        line = json_line(_event("x {name} {name!r}", event="e", name=_NASTY))
        self.assertTrue(line.endswith("\n"))
        self.assertTrue(line[:-1].isascii() and line[:-1].isprintable(), line)
        self.assertEqual(_NASTY, json.loads(line)["name"])


class RepetitionTests(SynchronousTestCase):
    """Lines that say what another line says."""

    def test_port(self) -> None:
        """Twisted's line about a port of the gateway is one, and nothing else is."""
        for name in ("GatewayFactory", "GatewayFactory (TLS)", "GatewaySite"):
            self.assertTrue(self.is_repetition(f"{name} starting on 80"))
        for text in ("Site starting on 80", "GatewayFactory failed"):
            self.assertFalse(self.is_repetition(text))
        self.assertFalse(is_repetition(_event("GatewayFactory starting on 80")))

    def is_repetition(self, text: str) -> bool:
        """Log *text* in Twisted's way of old."""
        with capturedLogs() as events:
            log.msg(text)
        return is_repetition(events[-1])


class ShortTests(SynchronousTestCase):
    """A line for people."""

    def test_line(self) -> None:
        """It has the time of day, and the level if that matters."""
        for level, expected in (
            (LogLevel.info, "x 1\n"),
            (LogLevel.warn, "warning: x 1\n"),
            (LogLevel.error, "error: x 1\n"),
            (LogLevel.critical, "error: x 1\n"),
        ):
            event = {**_event("x {n}", n=1, event="e"), "log_level": level}
            self.assertRegex(short_line(event), rf"\A\d\d:\d\d:\d\d {expected}\Z")
        self.assertEqual("", short_line({"log_format": ""}))

    def test_colours(self) -> None:
        """What matters is coloured, and a client cannot choose a colour."""
        event = _event("\x1b[31m {name}", event="e", name="\x1b[32m")
        self.assertIn("\x1b[33mwarning: \\x1b[31m \\x1b[32m\x1b[0m\n", short_line(event, True))
        event["log_level"] = LogLevel.info
        self.assertNotIn("\x1b", short_line(event, True))
        event["event"] = "demo-page"
        self.assertIn("\x1b[1m\\x1b[31m", short_line(event, True))

    def test_twisted(self) -> None:
        """The life of Twisted itself is left out; its warnings are not."""
        event = {**_event("x"), "log_namespace": "twisted.scripts.x", "log_level": LogLevel.info}
        self.assertEqual("", short_line(event))
        self.assertIn("warning: x", short_line({**event, "log_level": LogLevel.warn}))

    def test_printed(self) -> None:
        """What an application prints is shown as it prints it."""
        event = {**_event("x"), "log_namespace": "stderr", "log_level": LogLevel.error}
        self.assertRegex(short_line(event), r"\A\d\d:\d\d:\d\d x\n\Z")

    def test_traceback(self) -> None:
        """Its lines follow, indented."""
        lines = short_line(_event("oh", event="e", log_failure=_failure())).splitlines()
        self.assertTrue(all(each.startswith("         ") for each in lines[1:]), lines)
        self.assertEqual("         builtins.ValueError: bad\\x1b", lines[-1])


class TextTests(SynchronousTestCase):
    """A line of text."""

    def test_line(self) -> None:
        """It is written as Twisted writes it."""
        self.assertEqual("[a.b#warn] x 1\n", text_line(_event("x {n}", n=1), False))
        self.assertRegex(text_line(_event("x")), r"\A2026-11-29T\d\d:\d\d:\d\d[+-]\d{4} \[a.b#")
        self.assertEqual("- [-#info] bare\n", text_line({"log_format": "bare"}))
        self.assertEqual("[-] old\n", text_line({"log_format": "old", "log_system": "-"}, False))
        self.assertEqual("", text_line({"log_format": ""}))

    def test_traceback(self) -> None:
        """Its lines follow, each behind a tab."""
        event = _event("oh", event="e", log_failure=_failure())
        first, *others = text_line(event, False).splitlines()
        self.assertEqual("[a.b#warn] oh", first)
        self.assertTrue(all(each.startswith("\t") for each in others), others)
        self.assertEqual("\tbuiltins.ValueError: bad\\x1b", others[-1])

    def test_no_traceback(self) -> None:
        """A failure that cannot be shown does not cost the line."""
        self.assertIn("oh\n\t(no traceback: ", text_line(_event("oh", log_failure=5), False))

    def test_nasty_text(self) -> None:
        """Whatever a client has chosen, no terminal obeys it, and no line looks like another."""
        line = text_line(_event("x {name}", event="e", name=_NASTY), False)
        self.assertEqual(
            "[a.b#warn] x a\\r\\n\\x1b[31m\\u2028\\u202e\\x00b\n",
            line,
        )

    def test_lines_of_others(self) -> None:
        """A text of others may have several lines; the further ones begin with a tab."""
        self.assertEqual("[a.b#warn] x\n\ty\\x1b\n", text_line(_event("x\ny\x1b\n"), False))


class ForwardedTests(SynchronousTestCase):
    """The record of a worker in its parent."""

    def test_order(self) -> None:
        """The number of the worker stands in front of the message; the worker cannot choose it."""
        record = {**record_of(_event("x", event="e", n=1)), "worker": 9}
        logger, level, arguments = forwarded(record, 2)
        self.assertEqual(("a.b", LogLevel.warn), (logger.namespace, level))
        event = _event(arguments.pop("format"), level, **arguments)
        found = json.loads(json_line(event))
        self.assertEqual(
            ["time", "level", "logger", "event", "worker", "message", "n"], list(found)
        )
        self.assertEqual(2, found["worker"])
        self.assertEqual("[a.b#warn] worker 2: x\n", text_line(event, False))

    def test_not_a_record(self) -> None:
        """Anything else that an application may have written is refused."""
        record = record_of(_event("x"))
        for wrong in ({"message": 5}, {"traceback": None}, {"level": "loud"}, {"event": []}):
            self.assertRaises(ValueError, forwarded, {**record, **wrong}, 2)
        self.assertRaises(LookupError, forwarded, {}, 2)

    def test_traceback(self) -> None:
        """A traceback is a part of the text for everybody."""
        record = record_of(_event("oh", event="e", log_failure=_failure()))
        _, level, arguments = forwarded(record, 2)
        event = _event(arguments.pop("format"), level, **arguments)
        self.assertIn("\n\tbuiltins.ValueError: bad\\x1b\n", text_line(event, False))
