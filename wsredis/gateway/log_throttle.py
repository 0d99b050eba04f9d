"""The same kind of log line not more often than once a minute, the others counted."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from constantly import NamedConstant  # type: ignore[import-untyped]
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger, LogLevel, formatEvent
from twisted.python.failure import Failure

__all__ = ["LogThrottle"]

#: Different kinds of lines that are remembered. When there are more, all are forgotten.
_MAX_KEYS = 64


class _Kind:
    """What was logged of one kind: how many lines, and how many were left out."""

    __slots__ = ("begin", "event", "left_out", "level", "line", "logged", "logger", "timer")

    #: Of the line that is reported.
    logger: Logger
    level: NamedConstant
    event: object

    def __init__(self, begin: float) -> None:
        self.begin = begin
        self.logged = 0
        self.left_out = 0
        self.line = ""
        self.timer: IDelayedCall | None = None


class _Others:
    """The kind of all lines that are not told apart."""


class LogThrottle:
    """
    Logs the first lines of a kind, and then one line a minute with the number of the others.

    Args:
        interval: Seconds between two lines of the same kind.
        at_once: Number of lines of one kind that are logged in an interval before counting begins.
        most: Number of kinds that are told apart at a time: all others together are one more. It is
            needed where clients choose the kind. If None, there are few kinds.
    """

    def __init__(
        self,
        clock: IReactorTime,
        interval: float = 60.0,
        at_once: int = 1,
        *,
        most: int | None = None,
    ) -> None:
        self._clock = clock
        self._most = most
        self._interval = interval
        self._at_once = at_once
        self._kinds: dict[Hashable, _Kind] = {}

    def take(self, key: Hashable) -> bool:
        """Take the right to log a line of the kind *key* now. If False, it was taken before."""
        return self._take(self._kind(key))

    def _take(self, kind: _Kind) -> bool:
        if kind.logged >= self._at_once:
            return False
        kind.logged += 1
        return True

    def log(
        self, logger: Logger, level: NamedConstant, key: Hashable, format: str, **fields: object
    ) -> None:
        """
        Log a line, or count it.

        The first of the lines that were counted is logged with their number when the interval is
        over. Only its text is kept until then, so *fields* are not kept alive.

        Args:
            key: The kind of the line. Its text may differ.
            format: As for `twisted.logger.Logger.emit`; *fields* are its fields, of which ``event``
                names the kind of line for those who read the log.
        """
        kind = self._kind(key)
        if self._take(kind):
            logger.emit(level, format, **fields)
        else:
            self._count(kind, logger, level, format, fields)

    def failure(
        self,
        logger: Logger,
        key: Hashable,
        format: str,
        failure: Failure | None = None,
        **fields: Any,
    ) -> None:
        """
        Log a failure with its traceback, or count it, without.

        Args:
            key, format: See `log`.
            failure: If None, it is the exception that is being handled.
        """
        kind = self._kind(key)
        if self._take(kind):
            logger.failure(format, failure=failure, **fields)
        else:
            self._count(kind, logger, LogLevel.critical, format, fields)

    def _count(
        self,
        kind: _Kind,
        logger: Logger,
        level: NamedConstant,
        format: str,
        fields: dict[str, object],
    ) -> None:
        kind.left_out += 1
        if kind.timer is None:
            # Only one of them is put into words: there may be thousands a second.
            kind.logger = logger
            kind.level = level
            kind.event = fields.get("event")
            kind.line = formatEvent({"log_format": format, **fields})
            delay = max(0.0, kind.begin + self._interval - self._clock.seconds())
            kind.timer = self._clock.callLater(delay, self._report, kind)

    def reset(self) -> None:
        """Report what was counted, and forget it: the next line of each kind is logged."""
        kinds, self._kinds = self._kinds, {}
        for kind in kinds.values():
            if kind.timer is not None:
                kind.timer.cancel()
                self._report(kind)

    def _kind(self, key: Hashable) -> _Kind:
        now = self._clock.seconds()
        kind = self._kinds.get(key)
        if kind is None or self._is_over(kind, now):
            if kind is None and self._most is not None and len(self._kinds) >= self._most:
                key = self._others(key, now)
                if key in self._kinds:
                    return self._kinds[key]
            elif kind is None and len(self._kinds) >= _MAX_KEYS:
                self.reset()
            kind = self._kinds[key] = _Kind(now)
        return kind

    def _is_over(self, kind: _Kind, now: float) -> bool:
        # A kind with a timer goes on being counted until its number has been logged.
        return kind.timer is None and now >= kind.begin + self._interval

    def _others(self, key: Hashable, now: float) -> Hashable:
        """Return *key* if there is room again, else that of the kind of all others."""
        assert self._most is not None
        for each in [name for name, kind in self._kinds.items() if self._is_over(kind, now)]:
            del self._kinds[each]
        return key if len(self._kinds.keys() - {_Others}) < self._most else _Others

    def _report(self, kind: _Kind) -> None:
        more = f" (and {kind.left_out - 1} more of this kind)" if kind.left_out > 1 else ""
        kind.logger.emit(
            kind.level,
            "{line}{more}",
            event=kind.event,
            line=kind.line,
            more=more,
            left_out=kind.left_out,
        )
        kind.timer = None
        kind.left_out = 0
        # The report is the first line of the next interval.
        kind.begin = self._clock.seconds()
        kind.logged = self._at_once
