"""``/metrics``: the numbers of a gateway, in the formats that Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
from wsredis.gateway.numbers import EXPORTED, Numbers, Snapshot

__all__ = ["GatewayCollector", "MetricsResource"]

_FAMILIES: dict[str, Any] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}

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
            yield _family("wsredis", each, [((), total)])
        if workers:
            for each in EXPORTED:
                yield _family(
                    "wsredis_worker",
                    each,
                    [((number,), workers[number]) for number in workers],
                )
        for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
            yield from collector.collect()


def _family(
    prefix: str, each: Exported, reports: Iterable[tuple[tuple[str, ...], Numbers]]
) -> Metric:
    """Make one family of a number of several processes, of which each may have a label."""
    reports = [*reports]
    label = ("worker",) if prefix == "wsredis_worker" else ()
    family = _FAMILIES[each.kind](
        f"{prefix}_{each.name}", each.help.replace("``", ""), labels=(*label, *each.labels)
    )
    for worker, report in reports:
        if each.name in report:
            _add(family, each, worker, report[each.name])
    made: Metric = family
    return made


def _add(family: Any, each: Exported, worker: tuple[str, ...], value: Any) -> None:
    if each.kind == "histogram":
        counts, total = value
        family.add_metric(worker, [*zip(_ENDS, accumulate(counts), strict=True)], total)
    elif each.labels:
        for labels, n in value:
            family.add_metric((*worker, *labels), n)
    else:
        family.add_metric(worker, value)


class MetricsResource(Resource):
    """
    The page ``/metrics``.

    Args:
        snapshot: See `GatewayCollector`.
    """

    isLeaf = True

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        super().__init__()
        self._collector = GatewayCollector(snapshot)

    def render_GET(self, request: Request) -> bytes:
        """Answer in the format that the client prefers."""
        encode, content_type = choose_encoder(request.getHeader("accept") or "")
        request.setHeader("content-type", content_type)
        request.setHeader("cache-control", "no-store")
        request.setHeader("x-content-type-options", "nosniff")
        page: bytes = encode(self._collector)
        return page
