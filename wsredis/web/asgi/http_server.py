"""
Plain HTTP of an ASGI application: its connections, its calls, their number, and their time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel

from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.timers import PeriodicTask
from wsredis.web.access_log import log_asgi_answer
from wsredis.web.asgi.failures import FailureLog
from wsredis.web.asgi.http_channel import AsgiChannel
from wsredis.web.asgi.http_cycle import Application, HttpCycle
from wsredis.web.asgi.http_ports import Kept, Room, Timed
from wsredis.web.asgi.http_request import Request
from wsredis.web.asgi.link import Link, Running
from wsredis.web.asgi.scopes import Place, Whereabouts

__all__ = ["HttpServer"]


class HttpServer:
    """
    Answers plain HTTP with an application.

    Args:
        clock: Runs timers.
        link: Runs the application.
        application: An ASGI 3 application, as `wsredis.web.asgi.application.call_of` returns it.
        room: Counts requests that are under way. Undecided handshakes may count there, too.
        place: What all scopes have in common.
        metrics: Counts answers.
        access_log: Log each answer.
        now: Returns the time of the day, in seconds.

    Attributes:
        link, place, room: As given. Until `start` the place may be replaced, since the lifespan of
            the application makes a part of it.
        tick: Seconds since the start, roughly.
        date: The line of the header Date.
        channels: The connections.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        link: Link,
        application: Application,
        room: Room,
        *,
        place: Place,
        metrics: Metrics,
        access_log: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.link = link
        self.room = room
        self.place = place
        self.tick = 0
        self.channels: dict[Timed, None] = {}
        self._application = application
        self._metrics = metrics
        self._has_access_log = access_log
        self._now = now
        self._throttle = LogThrottle(clock, at_once=50)
        self._failures = FailureLog(clock)
        self._task = PeriodicTask(clock, 1.0, self._passed)
        self.date = self._date()

    def channel(self, kept: Kept) -> AsgiChannel:
        """Return the channel of a new connection."""
        return AsgiChannel(self, kept)

    def start(self) -> None:
        """Begin to look after the time."""
        self.date = self._date()
        self._task.start()

    def stop(self) -> None:
        """End that. Connections and calls are ended elsewhere."""
        self._task.stop()
        self._throttle.reset()
        self._failures.stop()

    def _date(self) -> bytes:
        return f"Date: {formatdate(self._now(), usegmt=True)}\r\n".encode()

    def _passed(self, count: int) -> None:
        self.tick += count
        self.date = self._date()
        tick = self.tick
        for channel in [*self.channels]:
            try:
                channel.check(tick)
            except Exception:
                self._log.failure("a connection failed", event="connection-failed")

    # -- wsredis.web.asgi.http_ports.Serving

    def opened(self, channel: Timed) -> None:
        """See `wsredis.web.asgi.http_ports.Serving.opened`."""
        self.channels[channel] = None

    def lost(self, channel: Timed) -> None:
        """See `wsredis.web.asgi.http_ports.Serving.lost`."""
        self.channels.pop(channel, None)

    def call(self, cycle: HttpCycle) -> Running:
        """See `wsredis.web.asgi.http_ports.Serving.call`."""
        return self.link.spawn(cycle.request.name, cycle.call(self._application), cycle.ended)

    def failed(self, request: Request, error: BaseException | None) -> None:
        """See `wsredis.web.asgi.http_ports.Serving.failed`."""
        self._failures.failed(request.name, error)

    def cut_off(self, reason: str) -> None:
        """See `wsredis.web.asgi.http_ports.Serving.cut_off`."""
        self._throttle.log(
            self._log,
            LogLevel.warn,
            "cut off",
            "an answer was cut off: {reason}",
            event="answer-cut-off",
            reason=reason,
        )

    def answered(
        self, request: Request, where: Whereabouts, status: int, size: int, began: float
    ) -> None:
        """See `wsredis.web.asgi.http_ports.Serving.answered`."""
        metrics = self._metrics
        metrics.answers[_CLASSES[status // 100]] += 1
        metrics.answer_latency.observe(time.monotonic() - began)
        if self._has_access_log:
            peer = "" if where.client is None else where.client[0]
            log_asgi_answer(peer, request, self.place.trusted, status, size, began)


_CLASSES: Any = ("", "", "2xx", "3xx", "4xx", "5xx", "other", "other", "other", "other")
