"""How late the event loop is: the time for which everything else had to wait."""

from __future__ import annotations

from collections import deque

from twisted.internet.interfaces import IReactorTime

from wsredis.gateway.metrics import Metrics
from wsredis.gateway.timers import PeriodicTask

__all__ = ["INTERVAL", "LagMeter"]

#: Seconds between two measurements.
INTERVAL = 1.0

#: Measurements of which the largest counts: those of a minute.
_KEPT = 60


class LagMeter:
    """
    Measures each second how late a timer runs, and counts it in the metrics.

    Args:
        clock: Runs the timer.
        metrics: Gets ``loop_lag`` and ``loop_lag_max``.
    """

    def __init__(self, clock: IReactorTime, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._due = 0.0
        self._ran = 0.0
        self._lags: deque[float] = deque(maxlen=_KEPT)
        self._task = PeriodicTask(clock, INTERVAL, self._measure)

    @property
    def silence(self) -> float:
        """Seconds since the last measurement. 0 when it is stopped."""
        return self._clock.seconds() - self._ran if self._task.is_running else 0.0

    def start(self) -> None:
        """Measure from now on."""
        self._ran = self._clock.seconds()
        self._due = self._ran + INTERVAL
        self._task.start()

    def stop(self) -> None:
        """Measure no more. Harmless when not started."""
        self._task.stop()

    def _measure(self, _: int) -> None:
        self._ran = self._clock.seconds()
        # The timer keeps to the grid of its start, also after a call that came late.
        lag = max(0.0, self._ran - self._due)
        self._due = self._ran + INTERVAL - lag % INTERVAL
        self._lags.append(lag)
        self._metrics.loop_lag = lag
        self._metrics.loop_lag_max = max(self._lags)
