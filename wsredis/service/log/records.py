"""
Events of the log as records of plain values, and as lines: of text or of JSON.

An event of wsredis has a field ``event``, which names its kind. Fields whose names begin with an
underscore are parts of its message only; all others are part of its record, too.
"""

from __future__ import annotations

import json
import math
import re
import time
from datetime import UTC, datetime
from typing import Any

from twisted.logger import (
    InvalidLogLevelError,
    LogEvent,
    Logger,
    LogLevel,
    eventAsText,
    formatTime,
)

from wsredis.service.printable import printable

__all__ = [
    "OTHER",
    "Record",
    "forwarded",
    "is_repetition",
    "json_line",
    "record_of",
    "short_line",
    "text_line",
]

#: Everything about one event: ``time``, ``level``, ``logger``, ``event`` and ``message``, then the
#: fields of this kind of event, and ``traceback`` if there is one.
Record = dict[str, Any]

#: The ``event`` of all lines that are not by wsredis: those of Twisted and of the application, and
#: everything that is printed.
OTHER = "other"

#: The field of an event of a worker in the log of its parent: the whole record.
_RECORD = "_record"

#: Names that are no fields: Twisted's own ones of old, which it adds when somebody listens in the
#: old way, and those that a record has anyway.
_NOT_FIELDS = frozenset(
    [
        *("message", "time", "system", "format", "isError", "failure", "why"),
        *("level", "logger", "event", "traceback"),
    ]
)


#: The loggers of what is printed.
_PRINTED = frozenset(["stdout", "stderr"])

#: Levels that a short line names, and their colours on a terminal: yellow and red.
_COLOURS = {LogLevel.warn: "33", LogLevel.error: "31", LogLevel.critical: "31"}
_NAMES = {LogLevel.warn: "warning: ", LogLevel.error: "error: ", LogLevel.critical: "error: "}

#: Events that people wait for, in bold.
_HIGHLIGHTS = {"demo-page": "1"}

#: The line of Twisted about a port of the gateway, which has a better line of its own.
_SAID_BETTER = re.compile(r"Gateway(?:Factory|Site)\b.* starting on ")


def is_repetition(event: LogEvent) -> bool:
    """Tell whether an event of Twisted says only what an event of wsredis says, too."""
    text = event.get("log_text") if event.get("log_namespace") == "log_legacy" else None
    return text is not None and _SAID_BETTER.match(str(text)) is not None


def record_of(event: LogEvent) -> Record:
    """
    Make a record of an event.

    Only events of wsredis have further fields: there is nobody who has looked through those of
    others for secrets.
    """
    if _RECORD in event:
        record: Record = event[_RECORD]
        return record
    kind = event.get("event", OTHER)
    when = datetime.fromtimestamp(event.get("log_time", time.time()), UTC)
    record = {
        "time": f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03}Z",
        "level": event.get("log_level", LogLevel.info).name,
        "logger": str(event.get("log_namespace", "-")),
        "event": str(kind),
        "message": _message(event),
    }
    if kind != OTHER:
        for name, value in event.items():
            if not name.startswith(("_", "log_")) and name not in _NOT_FIELDS:
                record[name] = _plain(value)
    traceback = _traceback(event)
    if traceback:
        record["traceback"] = traceback
    return record


def json_line(event: LogEvent) -> str:
    """
    Write an event as one JSON object, in ASCII, on a line.

    Returns:
        The line with its end. Empty if the event says nothing.
    """
    record = record_of(event)
    if not record["message"] and "traceback" not in record:
        return ""
    return f"{json.dumps(record)}\n"


def text_line(event: LogEvent, with_time: bool = True) -> str:
    """
    Write an event as Twisted does, but without anything that a terminal obeys.

    Further lines, such as those of a traceback, begin with a tab.

    Args:
        with_time: Begin with the time, in the time zone of the process.

    Returns:
        The line with its end. Empty if the event says nothing.
    """
    message, traceback = _message(event), _traceback(event)
    if not message and not traceback:
        return ""
    if traceback:
        message = f"{message}\n{traceback.rstrip()}"
    level = event.get("log_level", LogLevel.info).name
    system = event.get("log_system") or f"{event.get('log_namespace', '-')}#{level}"
    stamp = f"{formatTime(event.get('log_time'))} " if with_time else ""
    return printable(f"{stamp}[{system}] {message}", "\n\t").replace("\n", "\n\t") + "\n"


def short_line(event: LogEvent, has_colours: bool = False) -> str:
    """
    Write an event for people who look at a terminal: the time of day and the message.

    Lines of Twisted about its own start and stop are left out. Further lines are indented.

    Args:
        has_colours: Tells whether warnings and errors are coloured, and what people wait for is
            bold.

    Returns:
        The line with its end. Empty if the event says nothing to people.
    """
    message, traceback = _message(event), _traceback(event)
    level = event.get("log_level", LogLevel.info)
    logger = str(event.get("log_namespace", "-"))
    is_of_twisted = "event" not in event and logger.startswith("twisted.")
    if (is_of_twisted and level <= LogLevel.info) or not (message or traceback):
        return ""
    if traceback:
        message = f"{message}\n{traceback.rstrip()}"
    name = "" if logger in _PRINTED else _NAMES.get(level, "")
    text = printable(f"{name}{message}", "\n\t").replace("\n", f"\n{' ' * 9}")
    colour = _COLOURS[level] if name else _HIGHLIGHTS.get(event.get("event", ""), "")
    if has_colours and colour:
        text = f"\x1b[{colour}m{text}\x1b[0m"
    return f"{formatTime(event.get('log_time'), '%H:%M:%S')} {text}\n"


def forwarded(record: Record, worker: int) -> tuple[Logger, Any, dict[str, Any]]:
    """
    Prepare to log a record of a worker in its parent.

    Args:
        record: As the worker has made it, or anything else that is JSON.

    Returns:
        The logger, the level, and the other arguments of `twisted.logger.Logger.emit`.

    Raises:
        ValueError: It is not a record.
        TypeError: As ValueError.
        LookupError: As ValueError.
    """
    known = {name: record[name] for name in ("time", "level", "logger", "event")}
    message, traceback = record["message"], record.get("traceback", "")
    if not all(isinstance(each, str) for each in (*known.values(), message, traceback)):
        raise ValueError("not a record")
    try:
        level = LogLevel.levelWithName(known["level"])
    except InvalidLogLevelError as error:
        raise ValueError(str(error)) from None
    text = f"{message}\n{traceback}" if traceback else message
    # In the order in which readers of lines expect them.
    whole = {**known, "worker": worker, **record} | {"worker": worker}
    return (
        Logger(known["logger"]),
        level,
        {"format": "worker {worker}: {_text}", "worker": worker, "_text": text, _RECORD: whole},
    )


def _message(event: LogEvent) -> str:
    text = eventAsText(
        event, includeTraceback=False, includeTimestamp=False, includeSystem=False
    ).rstrip("\n")
    # No line of ours has more than one line, whatever is quoted in it.
    return text.replace("\n", "\\n") if "event" in event else text


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    try:
        return "" if failure is None else str(failure.getTraceback())
    except Exception as error:
        return f"(no traceback: {error!r})"


def _plain(value: object) -> Any:
    """Return *value* as JSON can have it. Anything unknown becomes its text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        # Milliseconds, if they are seconds.
        return round(value, 3) if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return str(value)
