"""The numbers of a process at one moment, as they travel from a worker to its parent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from wsredis.gateway.exported import Exported, Histogram, exported
from wsredis.gateway.metrics import Metrics, State

__all__ = [
    "EXPORTED",
    "PROCESS",
    "Families",
    "Numbers",
    "Snapshot",
    "checked",
    "combined",
    "ended",
    "numbers",
]

_COUNTED, _READ = exported(Metrics), exported(State)

#: Everything that a gateway exports, in the order of the page.
EXPORTED: tuple[Exported, ...] = (*_COUNTED, *_READ)

#: By `Exported.name`, in a form that JSON can carry. A number; or, with labels, pairs of a list of
#: their values and a number; or, for a histogram, a list of the numbers of its ranges and the sum.
Numbers = Mapping[str, Any]


#: Numbers of a Python process that are not ours: each a list of name, type, help, and samples; each
#: sample a list of name, labels and value.
Families = list[Any]

#: The key of `Families` in `Numbers`. None of ours has that name.
PROCESS = "process"


class Snapshot(NamedTuple):
    """
    The numbers of a whole gateway at one moment.

    Attributes:
        total: Those of all its processes together. The `PROCESS` is the one that has the ports.
        workers: Those of each worker, by its number. Empty without workers.
    """

    total: Numbers
    workers: Mapping[str, Numbers]


def numbers(metrics: Metrics, state: State, now: float = 0.0, began: float = 0.0) -> Numbers:
    """
    Return all numbers of one process.

    Args:
        now: The time of the reactor's clock.
        began: The time at which the gateway was made.
    """
    found: dict[str, Any] = {}
    for each in _COUNTED:
        value = getattr(metrics, each.attribute)
        found[each.name] = now - (value or began) if each.is_moment else _plain(value)
    for each in _READ:
        found[each.name] = getattr(state, each.attribute)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return [[key.split(","), n] for key, n in value.items()]
    return [[*value.counts], value.sum] if isinstance(value, Histogram) else value


def checked(report: Any) -> Numbers:
    """
    Return what is usable of the numbers that another process has sent.

    Numbers that are missing are left out.

    Raises:
        ValueError: They are malformed.
    """
    try:
        found: dict[str, Any] = {
            each.name: _checked(each, report[each.name]) for each in EXPORTED if each.name in report
        }
        if PROCESS in report:
            found[PROCESS] = [_checked_family(*each) for each in report[PROCESS]]
        return found
    except (TypeError, LookupError) as error:
        raise ValueError(f"not the numbers of a worker: {error}") from None


def _checked(each: Exported, value: Any) -> Any:
    if each.kind == "histogram":
        counts, total = value
        ranges = [*map(int, counts)]
        if len(ranges) != len(Histogram.bounds) + 1:
            raise ValueError("another number of ranges")
        return [ranges, float(total)]
    if not each.labels:
        return float(value)
    found: list[tuple[list[str], float]] = [([*map(str, ls)], float(n)) for ls, n in value]
    if any(len(labels) != len(each.labels) for labels, _ in found):
        raise ValueError("another number of labels")
    return found


def _checked_family(name: str, kind: str, help: str, samples: Any) -> Any:
    found = [[str(label), dict(labels), float(value)] for label, labels, value in samples]
    return [str(name), str(kind), str(help), found]


def combined(reports: Sequence[Numbers]) -> Numbers:
    """Make one of the numbers of several processes; see `Exported.combine`."""
    found: dict[str, Any] = {}
    for each in EXPORTED:
        values = [report[each.name] for report in reports if each.name in report]
        if values:
            found[each.name] = _combined(each, values)
    return found


def _combined(each: Exported, values: Sequence[Any]) -> Any:
    if each.kind == "histogram":
        ranges = zip(*(counts for counts, _ in values), strict=True)
        return [[*map(sum, ranges)], sum(total for _, total in values)]
    if not each.labels:
        return each.combine(values)
    by_labels: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
    for value in values:
        for labels, n in value:
            by_labels[tuple(labels)].append(n)
    return [[[*labels], each.combine(several)] for labels, several in by_labels.items()]


def ended(report: Numbers) -> Numbers:
    """Return those numbers that stay when the process ends: all that only grow."""
    return {
        each.name: report[each.name]
        for each in EXPORTED
        if each.name in report and each.kind != "gauge"
    }
