"""``/metrics``: the numbers of a gateway, in the formats that Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from twisted.web.resource import Resource
from twisted.web.server import Request

from wsredis import __version__
from wsredis.gateway.exported import Exported, Histogram
from wsredis.gateway.numbers import EXPORTED, PROCESS, Families, Numbers, Snapshot

__all__ = ["GatewayCollector", "MetricsResource", "process_families"]

_FAMILIES: dict[str, Any] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}

#: The start of the names of the numbers of one worker.
_WORKER = "wsredis_worker_"

#: The upper ends of the ranges of a histogram, as labels.
_ENDS = [*map(str, Histogram.bounds), "+Inf"]


class GatewayCollector(Collector):
    """
    Gives prometheus_client the numbers of a gateway, and those of this Python process.

    Args:
        snapshot: Returns the numbers of this moment.
    """

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Return all numbers, each with its name, help, type and labels."""
        total, workers = self._snapshot()
        yield InfoMetricFamily("wsredis", "The version.", {"version": __version__})
        for each in EXPORTED:
            family = _family(f"wsredis_{each.name}", each, ())
            if each.name in total:
                _add(family, each, (), total[each.name])
            yield family
        if workers:
            yield from _families_of(workers)
        yield from _restored(total.get(PROCESS, ()), "", {})


def process_families() -> Families:
    """Return what prometheus_client knows about this Python process."""
    return [
        [
            family.name,
            family.type,
            family.documentation,
            [[sample.name, sample.labels, sample.value] for sample in family.samples],
        ]
        for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR)
        for family in collector.collect()
    ]


def _families_of(workers: Mapping[str, Numbers]) -> Iterator[Metric]:
    """Make one family of each number of all workers."""
    for each in EXPORTED:
        family = _family(f"{_WORKER}{each.name}", each, ("worker",))
        for number, report in workers.items():
            if each.name in report:
                _add(family, each, (number,), report[each.name])
        yield family
    families: dict[str, Metric] = {}
    for number, report in workers.items():
        for family in _restored(report.get(PROCESS, ()), _WORKER, {"worker": number}):
            known = families.setdefault(family.name, family)
            if known is not family:
                known.samples += family.samples
    yield from families.values()


def _family(name: str, each: Exported, labels: tuple[str, ...]) -> Any:
    help = each.help.replace("``", "")
    return _FAMILIES[each.kind](name, help, labels=(*labels, *each.labels))


def _restored(families: Iterable[Any], prefix: str, labels: Mapping[str, str]) -> Iterator[Metric]:
    """Make families of the result of `process_families`, of this process or another one."""
    for name, kind, help, samples in families:
        family = Metric(f"{prefix}{name}", help, kind)
        for sample, own, value in samples:
            family.add_sample(f"{prefix}{sample}", {**labels, **own}, value)
        yield family


def _add(family: Any, each: Exported, worker: tuple[str, ...], value: Any) -> None:
    if each.kind == "histogram":
        counts, total = value
        family.add_metric(worker, [*zip(_ENDS, accumulate(counts), strict=True)], total)
    elif each.labels:
        for labels, n in value:
            family.add_metric((*worker, *labels), n)
    else:
        family.add_metric(worker, value)


def _encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    """Choose a format. A client that wishes for one in words that mean nothing gets the usual."""
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):
        # The library compares versions that it could not read.
        return choose_encoder("")


class MetricsResource(Resource):
    """
    The page ``/metrics``.

    Args:
        snapshot: See `GatewayCollector`.

    Attributes:
        process: Returns what the library knows about this Python process, for a `Snapshot`.
    """

    process = staticmethod(process_families)

    isLeaf = True

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        super().__init__()
        self._collector = GatewayCollector(snapshot)

    def render_GET(self, request: Request) -> bytes:
        """Answer in the format that the client prefers."""
        encode, content_type = _encoder(request.getHeader("accept") or "")
        request.setHeader("content-type", content_type)
        request.setHeader("cache-control", "no-store")
        request.setHeader("x-content-type-options", "nosniff")
        page: bytes = encode(self._collector)
        return page
