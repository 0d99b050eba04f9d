"""The vitals of a process: what nobody reports is looked at every second, and when asked."""

from __future__ import annotations

import time
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from wsredis.config import Limits
from wsredis.gateway.broker import Broker
from wsredis.gateway.health import Health, Problem, Problems
from wsredis.gateway.lag import LagMeter
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.shares import SharedBound
from wsredis.gateway.timers import PeriodicTask

__all__ = ["Vitals"]

#: Seconds without a timer, after which only a restart helps.
_STUCK = 10.0

#: A gateway that was full is so until one place in so many is free: each client that leaves and
#: comes back would otherwise turn it ready and back again.
_SLACK = 20


class Vitals:
    """
    Looks after one process, and tells its health.

    Args:
        clock: Runs the timers.
        health: Told what is found.
        metrics: Get the lag of the event loop.
        limits: The number of WebSockets that there may be.
        websockets: Their places.
        broker: A broker that does not report to *health* itself. If None, it does.
        now: Returns the seconds since 1970.
    """

    def __init__(
        self,
        clock: IReactorTime,
        health: Health,
        metrics: Metrics,
        limits: Limits,
        websockets: SharedBound,
        broker: Broker | None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._health = health
        self._most = limits.max_connections
        self._websockets = websockets
        self._broker = broker
        self._now = now
        self._lag = LagMeter(clock, metrics)
        self._task = PeriodicTask(clock, 1.0, self._look_again)

    def start(self) -> None:
        """Look every second."""
        self._lag.start()
        self._task.start()

    def stop(self) -> None:
        """Look only when asked. Harmless when not started."""
        self._lag.stop()
        self._task.stop()

    def look(self) -> Problems:
        """Report what is found, and return all that is wrong with this process."""
        report = self._health.report
        if self._broker is not None:
            report("redis", None if self._broker.up else "there is no connection to Redis")
        most, held = self._most, self._websockets.held
        if held >= most:
            report("full", "max-connections is reached: no further client is accepted")
        elif held <= most - max(1, most // _SLACK):
            report("full", None)
        return self._health.problems

    def _look_again(self, _: int) -> None:
        self.look()

    def fatal(self) -> Problems:
        """Return what only a restart of the process can cure."""
        silence = self._lag.silence
        if silence < _STUCK:
            return {}
        return {"timers": Problem("timers do not run any more", self._now() - silence, True)}
