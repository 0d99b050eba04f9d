"""
The numbers of a gateway: plain attributes, since counting must cost next to nothing.

Each is declared with the name and the text under which ``/metrics`` exports it; page, dashboard and
documentation are made from, or compared with, these declarations.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, Literal

__all__ = [
    "Exported",
    "Histogram",
    "Metrics",
    "State",
    "counter",
    "counters",
    "exported",
    "gauge",
    "latency",
]

#: The key of a declaration in the metadata of its field.
_EXPORTED = "exported"

#: Upper ends of the buckets of a latency, in seconds.
_LATENCIES = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Exported:
    """
    One number, as ``/metrics`` shows it.

    Attributes:
        attribute: The field that holds it.
        name: Its name after ``wsredis_``; for a counter, without ``_total``.
        kind: A counter only grows, as long as the process lives.
        help: One or more sentences, with the unit.
        labels: The names of its labels. Their values are known in advance: a client can choose
            none.
        combine: Makes one number of those of several workers. It is not used for histograms.
    """

    attribute: str
    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    combine: Callable[[Iterable[float]], float]

    @property
    def full_name(self) -> str:
        """The name on the page."""
        return f"wsredis_{self.name}{'_total' if self.kind == 'counter' else ''}"


class Histogram:
    """
    How often a time fell into each of some ranges.

    Attributes:
        counts: The numbers of the ranges; the last one has no upper end.
        sum: The sum of all times, in seconds.
    """

    __slots__ = ("counts", "sum")

    #: The upper ends of all ranges but the last, in seconds.
    bounds: Sequence[float] = _LATENCIES

    def __init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        """Count a time, as that of so many events."""
        self.counts[bisect_left(self.bounds, seconds)] += times
        self.sum += seconds * times


def _declare(
    default: Any,
    kind: Kind,
    name: str,
    help: str,
    labels: tuple[str, ...] = (),
    combine: Callable[[Iterable[float]], float] = sum,
) -> Any:
    def exported(attribute: str) -> Exported:
        return Exported(attribute, name, kind, help, labels, combine)

    metadata = {_EXPORTED: exported}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def counter(name: str, help: str) -> Any:
    """
    Declare a number that only grows.

    Args:
        name: See `Exported.name`.
        help: See `Exported.help`.
    """
    return _declare(0, "counter", name, help)


def counters(name: str, help: str, label: str, values: Iterable[str]) -> Any:
    """
    Declare several numbers that only grow: a dictionary, with all its keys from the start.

    Args:
        name: See `Exported.name`.
        help: See `Exported.help`.
        label: See `Exported.labels`. Several names have commas between them.
        values: The keys: all values that the label may have. With several labels, the values of
            one key have commas between them, too.
    """
    keys = tuple(values)
    return _declare(lambda: dict.fromkeys(keys, 0), "counter", name, help, (*label.split(","),))


def gauge(name: str, help: str, combine: Callable[[Iterable[float]], float] = sum) -> Any:
    """
    Declare a number that goes up and down.

    Args:
        name: See `Exported.name`.
        help: See `Exported.help`.
        combine: See `Exported.combine`.
    """
    return _declare(0, "gauge", name, help, combine=combine)


def latency(name: str, help: str) -> Any:
    """Declare a `Histogram` of times. See `counter` for the arguments."""
    return _declare(Histogram, "histogram", name, help)


@dataclass(slots=True)
class Metrics:
    """
    Everything that one gateway has counted since it started.

    A field has the value 0 at the start. Its declaration says what it counts.
    """

    connections: int = gauge("connections", "WebSockets that are open now.")
    opened: int = counter("connections_opened", "WebSockets that were opened.")
    refused: int = counter(
        "requests_refused",
        "Requests that were answered with an HTTP error before a WebSocket was open; answers of "
        "plain HTTP do not count.",
    )
    slowed: int = counter(
        "handshakes_slowed",
        "Handshakes that waited, because their address sends more than ``handshake-rate``.",
    )
    dropped: int = counter(
        "connections_dropped",
        "TCP connections that were reset before they said anything, because others needed their "
        "place, or because their address had been refused too often.",
    )
    publications: int = counter(
        "publications",
        "Messages that came from Redis on a channel with at least one subscriber here.",
    )
    oversized: int = counter(
        "publications_oversized",
        "Messages from Redis that the gateway did not deliver, because they are larger than "
        "``max-publication``.",
    )
    unwanted: int = counter(
        "publications_unwanted",
        "Messages that came from Redis on a channel to which no client listens any more; a channel "
        "stays subscribed for two seconds after its last client.",
    )
    received: int = counter(
        "messages_received", "Messages that came from clients, heartbeats included."
    )
    unpublished: int = counter(
        "messages_unpublished", "Messages from clients that Redis did not confirm."
    )
    unpersisted: int = counter(
        "messages_unpersisted",
        "Messages that were published, but not stored: Redis refused, a limit was reached, or the "
        "key is one of an application.",
    )
    slow_consumers: int = counter(
        "slow_consumers",
        "Connections that were closed because their queue was full, because they took nothing of "
        "it for a ping interval, or as the slowest when the queues of all clients were full.",
    )
    shed: int = counter(
        "connections_shed",
        "Connections that were closed because they sent faster than ``max-rate`` for a minute, "
        "because they did not go on with a message, or because their address had most of the "
        "unfinished input when there was more than ``max-input``.",
    )
    timeouts: int = counter("ping_timeouts", "Connections that were dropped because no pong came.")
    broker_losses: int = counter("redis_losses", "Times that the connection to Redis was lost.")
    generation: int = counter(
        "redis_generations",
        "Times that messages may have been lost between Redis and the gateway, each counted when "
        "it is over.",
    )
    lost_seconds: float = counter("redis_gap_seconds", "The seconds of all those times together.")
    loop_lag: float = gauge(
        "event_loop_lag_seconds",
        "Seconds by which the last timer of each second came late: the event loop was busy.",
        max,
    )
    loop_lag_max: float = gauge(
        "event_loop_lag_max_seconds", "The largest of them in the last minute.", max
    )


@dataclass(frozen=True, slots=True)
class State:
    """The numbers of one gateway that are not counted, but read from its parts when needed."""

    ready: int = gauge("ready", "1 if the gateway accepts clients, else 0.", min)
    redis_up: int = gauge("redis_up", "1 if the connections to Redis are up, else 0.", min)
    channels: int = gauge(
        "channels",
        "Channels with at least one subscriber. With workers, a channel counts once in each.",
    )
    queued_bytes: int = gauge(
        "queued_bytes",
        "Memory in bytes of all that waits in the queues of clients, as ``max-queued`` counts it.",
    )


def exported(cls: Any) -> tuple[Exported, ...]:
    """
    Return the declarations of the fields of `Metrics` or `State`, in their order.

    Raises:
        TypeError: A field has none.
    """
    each: Field[Any]
    found = []
    for each in fields(cls):
        if _EXPORTED not in each.metadata:
            raise TypeError(
                f"{cls.__name__}.{each.name} is not exported: declare it in wsredis/gateway/"
                f'metrics.py, as in {each.name}: int = counter("{each.name}", "Its meaning.")'
            )
        found.append(each.metadata[_EXPORTED](each.name))
    return tuple(found)
