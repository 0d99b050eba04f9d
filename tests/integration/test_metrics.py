"""``/metrics`` of the real program: what a scrape brings, with and without workers."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families as parse

from tests.integration.test_life import BOTH, NO_REDIS, LifeCase
from tests.integration.test_workers import WorkersCase
from tests.support.children import until
from tests.support.raw import response
from tests.support.require import missing
from wsredis.gateway.numbers import EXPORTED

_DOCS = Path(__file__).parents[2] / "docs"

#: The address of the private port in the log.
_PRIVATE = r"metrics and health on 127\.0\.0\.1:(\d+)"


def scrape(address: int | str) -> dict[str, float]:
    """
    Read ``/metrics``.

    Returns: Each number by its name and its labels, as ``name{a=1,b=2}``.
    """
    status, _, body = response(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status == 200, status
    found = {}
    for family in parse(body.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={sample.labels[name]}" for name in sorted(sample.labels))
            key = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


class MetricsTests(LifeCase):
    """One process."""

    skip = missing("redis")

    def test_numbers(self) -> None:
        """Clients, messages, bytes and the proof of delivery are there; clients see no metrics."""
        redis = self.redis_server()
        gateway = self.gateway("--redis", redis.url, "--metrics-port", "0", ready=True)
        private = int(gateway.child.wait_for(_PRIVATE)[1])
        client = self.open(gateway.port, f"/ws/a?{BOTH}")
        client.send_text("hello")
        self.assertEqual(b"hello", client.message())
        found = scrape(private)
        for name, least in {
            "wsredis_connections": 1,
            "wsredis_ready": 1,
            "wsredis_redis_up": 1,
            "wsredis_channels": 1,
            "wsredis_subscriptions": 1,
            "wsredis_connections_opened_total": 1,
            "wsredis_messages_received_total": 1,
            "wsredis_publications_total": 1,
            "wsredis_deliveries_total": 1,
            "wsredis_received_bytes_total": 11,
            "wsredis_sent_bytes_total": 7,
            "wsredis_handshakes_total{outcome=accepted,reason=}": 1,
            "wsredis_handshake_seconds_count": 1,
            "wsredis_publish_seconds_count": 1,
        }.items():
            self.assertEqual(least, found[name], name)
        self.assertGreater(found["wsredis_redis_proofs_total"], 0)
        self.assertLess(found["wsredis_redis_last_proof_seconds"], 10)
        self.assertGreater(found["process_resident_memory_bytes"], 1e6)
        status, _, _ = response(gateway.port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(404, status)

    def test_examples(self) -> None:
        """Everything that is declared, and all that dashboard and alerts name, is there."""
        path = self.directory / "metrics.sock"
        gateway = self.gateway(*NO_REDIS, "--metrics-port", f"unix:{path}")
        gateway.child.wait_for(f"metrics and health on unix:{path}")
        names = {key.partition("{")[0] for key in scrape(str(path))}
        names |= {name.removesuffix("_bucket") for name in names}
        self.assertEqual(set(), {each.full_name for each in EXPORTED} - names)
        for name in ("grafana-dashboard.json", "alerts.yml"):
            text = (_DOCS / "examples" / name).read_text("utf-8")
            # The names of workers are these with another start, which a unit test compares.
            named = set(re.findall(r"\b(?:wsredis|process|python)_(?!worker)\w+", text))
            self.assertEqual(set(), named - names)


class WorkersMetricsTests(WorkersCase):
    """Two workers."""

    def test_sum(self) -> None:
        """Any port has the sum and each worker; a sum does not shrink with its worker."""
        self.start("--metrics", "--metrics-port", "0")
        private = int(self.gateway_.child.wait_for(_PRIVATE)[1])
        clients = self.clients("sum", least=1)
        count = sum(map(len, clients.values()))
        opened = "wsredis_connections_opened_total"
        for port in (private, self.gateway_.port):
            until(lambda port=port: scrape(port).get(opened) == count)
            found = scrape(port)
            each = [found[f"wsredis_worker_connections_opened_total{{worker={x}}}"] for x in (1, 2)]
            self.assertEqual([len(clients[1]), len(clients[2])], each)
            self.assertEqual(1, found["wsredis_ready"])
            self.assertIn("wsredis_worker_process_resident_memory_bytes{worker=2}", found)
        os.kill(self.process(1), signal.SIGKILL)
        until(lambda: scrape(private)["wsredis_ready"] == 0)
        found = scrape(private)
        self.assertEqual(count, found[opened])
        self.assertEqual(len(clients[2]), found["wsredis_connections"])
        until(lambda: scrape(private)["wsredis_ready"] == 1)
        self.assertEqual(count, scrape(private)[opened])
