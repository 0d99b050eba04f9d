"""Gaps: times in which publications may have been lost, and the ones who are told of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from wsredis.gateway.metrics import Metrics

__all__ = ["Gap", "GapReports", "GapTimer"]


@dataclass(frozen=True, slots=True)
class Gap:
    """
    A time in which publications may have been lost. It is over when there is such an object.

    Attributes:
        generation: The number of gaps of this gateway until now, this one included.
        seconds: Time from the last moment at which publications are known to have arrived, to the
            moment at which every channel was subscribed again.
        channels: Number of the channels that were subscribed then; the control channel and the
            like are among them.
        is_restored: Tells whether the stored message of each of them has been sent where it
            differs from the last one. If False, Redis did not tell them, or too many live messages
            were waiting meanwhile.
    """

    generation: int
    seconds: float
    channels: int
    is_restored: bool = True


class GapTimer:
    """
    Numbers the gaps of a broker, and measures them.

    Args:
        clock: Tells the time.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._generation = 0
        #: The time at which the gap began. If None, there is no gap now.
        self._since: float | None = None
        self._last_end = clock.seconds()

    def begin(self, since: float | None = None) -> None:
        """
        Begin a gap. While there is one already, another loss is a part of it.

        Args:
            since: The last moment at which publications are known to have arrived, in seconds of
                the clock. If None, it is now. The end of the last gap is such a moment, too.
        """
        if self._since is None:
            self._generation += 1
            self._since = self._clock.seconds() if since is None else max(since, self._last_end)

    def end(self, channels: int, *, is_restored: bool) -> Gap | None:
        """
        End the gap that there is.

        Returns:
            The gap. None if there was none.
        """
        if self._since is None:
            return None
        now = self._last_end = self._clock.seconds()
        seconds = max(0.0, now - self._since)
        self._since = None
        return Gap(self._generation, seconds, channels, is_restored)


class GapReports:
    """
    Counts and logs gaps, and tells all who want to know of them.

    Args:
        metrics: The counters of the gateway.
    """

    _log = Logger()

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._watchers: list[Callable[[Gap], Awaitable[None] | None]] = []

    def watch(self, watcher: Callable[[Gap], Awaitable[None] | None]) -> None:
        """Call *watcher* with each gap that ends from now on. Its exceptions are logged."""
        self._watchers.append(watcher)

    def report(self, gap: Gap) -> None:
        """Count *gap*, log it, and call the watchers in the order in which they came."""
        self._metrics.generation = gap.generation
        self._metrics.lost_seconds += gap.seconds
        self._log.warn(
            "generation {generation}: what was published within {seconds:.1f} s may be lost on "
            "{channels} channels; {_rest}",
            event="gap",
            generation=gap.generation,
            seconds=gap.seconds,
            channels=gap.channels,
            is_restored=gap.is_restored,
            _rest="stored messages that changed are sent again"
            if gap.is_restored
            else "the stored messages are not sent again",
        )
        for watcher in self._watchers:
            maybeDeferred(watcher, gap).addErrback(
                lambda failure: self._log.failure(
                    "telling of a gap failed", failure=failure, event="gap-watcher-failed"
                )
            )
