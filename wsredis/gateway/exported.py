"""
How a number is declared that ``/metrics`` exports: as a field of a dataclass, with its meaning.

The page, the documentation and the reports of workers are made from the declarations.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, Literal

__all__ = ["Exported", "Histogram", "counter", "counters", "exported", "gauge", "latency", "moment"]

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
        is_moment: Whether the field holds a moment, and the seconds since then are exported.
    """

    attribute: str
    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    combine: Callable[[Iterable[float]], float]
    is_moment: bool = False

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
    is_moment: bool = False,
) -> Any:
    def exported(attribute: str) -> Exported:
        return Exported(attribute, name, kind, help, labels, combine, is_moment)

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


def moment(name: str, help: str) -> Any:
    """
    Declare a moment, as seconds of the reactor's clock, of which the age is exported.

    The value 0 stands for none: the age is that of the gateway then. Of several workers, the oldest
    one counts. See `counter` for the arguments.
    """
    return _declare(0.0, "gauge", name, help, combine=max, is_moment=True)


def latency(name: str, help: str) -> Any:
    """Declare a `Histogram` of times. See `counter` for the arguments."""
    return _declare(Histogram, "histogram", name, help)


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
