"""Tests of ``/metrics``, with the parser of prometheus-client."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.support.memory_gateway import Socket
from tests.unit.gateway.test_numbers import state
from tests.unit.web.case import PROBES, make_request
from wsredis import web
from wsredis.config import GatewayConfig
from wsredis.config.settings import all_settings
from wsredis.errors import ConfigError
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.numbers import EXPORTED, PROCESS, Snapshot, combined, numbers
from wsredis.web.metrics import MetricsResource, process_families

_DOCS = Path(__file__).parents[3] / "docs"


class MetricsCase(SynchronousTestCase):
    """A private port."""

    def setUp(self) -> None:
        """A gateway that has counted little."""
        self.metrics = Metrics(connections=2, opened=3)
        own = {**numbers(self.metrics, state(ready=1)), PROCESS: process_families()}
        self.snapshot = Snapshot(own, {})
        page = MetricsResource(lambda: self.snapshot)
        self.site = web.private_site(MemoryReactorClock(), PROBES, page)

    def use_workers(self) -> None:
        """Have two workers, which have counted differently."""
        each = {
            "1": numbers(Metrics(connections=2, opened=3), state(ready=1)),
            "2": numbers(Metrics(opened=4), state()),
        }
        process = {PROCESS: process_families()}
        total = {**combined([*each.values()]), **process}
        self.snapshot = Snapshot(total, {name: {**each[name], **process} for name in each})

    def ask(self, path: str = "/metrics", *headers: str) -> tuple[int, str, str]:
        """Returns: Status, head and body of the answer."""
        client = Socket(self.site)
        client.send(make_request(f"GET {path}", *headers))
        head, _, body = client.take().partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), head.decode().lower(), body.decode()


class PageTests(MetricsCase):
    """One page with all numbers."""

    def test_numbers(self) -> None:
        """Each has its name, its type and its help."""
        status, head, body = self.ask()
        self.assertEqual(200, status)
        self.assertIn("content-type: text/plain; version=0.0.4; charset=utf-8", head)
        self.assertIn("cache-control: no-store", head)
        self.assertIn(
            "# HELP wsredis_connections Clients that are open now: WebSockets, streams, and polls "
            "that wait.\n"
            "# TYPE wsredis_connections gauge\n"
            "wsredis_connections 2.0\n",
            body,
        )
        self.assertIn(
            "# TYPE wsredis_connections_opened_total counter\nwsredis_connections_opened_total 3.0",
            body,
        )
        self.assertNotIn("``", body)
        self.assertNotIn("wsredis_worker_", body)

    def test_complete(self) -> None:
        """Everything that is declared has a sample, and nothing has two."""
        samples = [
            (sample.name, tuple(sorted(sample.labels.items())))
            for family in parse(self.ask()[2])
            for sample in family.samples
        ]
        self.assertEqual(len(samples), len(set(samples)))
        names = {name.removesuffix("_bucket") for name, _ in samples}
        self.assertEqual(set(), {each.full_name for each in EXPORTED} - names)

    def test_openmetrics(self) -> None:
        """A client that prefers OpenMetrics gets it, and its parser finds no fault."""
        self.use_workers()
        for accept in (
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
            "application/openmetrics-text",
        ):
            _, head, body = self.ask("/metrics", f"Accept: {accept}")
            self.assertIn("content-type: application/openmetrics-text", head)
            self.assertTrue(body.endswith("# EOF\n"))
            families = {family.name for family in parse_openmetrics(body)}
            self.assertIn("wsredis_connections_opened", families)

    def test_many_descriptors(self) -> None:
        """With many clients the numbers of the process take time, and are read less often."""
        clock = Clock()
        reads: list[float] = []

        def read() -> list[object]:
            reads.append(clock.seconds())
            clock.advance(0.05)
            return [len(reads)]

        page = MetricsResource(lambda: self.snapshot, read, clock.seconds)
        clock.advance(1)
        for _ in range(60):
            found = page.process()
            self.assertEqual([len(reads)], found)
            clock.advance(0.25)
        self.assertEqual(3, len(reads), reads)

    def test_odd_wishes(self) -> None:
        """A client that asks for a version that is none gets the usual format, and no error."""
        for wish in (
            "application/openmetrics-text; version=abc",
            "text/plain; version=x.y; escaping=dots",
            "application/openmetrics-text; version=1.0.0.0-\xe9",
        ):
            status, head, body = self.ask("/metrics", f"Accept: {wish}")
            self.assertEqual(200, status, wish)
            self.assertIn("wsredis_connections 2.0", body)
            self.assertNotIn("abc", head)
        self.assertEqual([], self.flushLoggedErrors())

    def test_workers(self) -> None:
        """The sum has the usual name, so that nothing counts twice; each worker has a label."""
        self.use_workers()
        body = self.ask()[2]
        for line in (
            "wsredis_connections_opened_total 7.0",
            'wsredis_worker_connections_opened_total{worker="1"} 3.0',
            'wsredis_worker_connections_opened_total{worker="2"} 4.0',
            "wsredis_ready 0.0",
            'wsredis_worker_ready{worker="1"} 1.0',
        ):
            self.assertIn(f"{line}\n", body)
        for start in (
            "process_resident_memory_bytes ",
            'wsredis_worker_process_resident_memory_bytes{worker="1"} ',
            'wsredis_worker_process_resident_memory_bytes{worker="2"} ',
            'wsredis_worker_python_gc_collections_total{generation="0",worker="2"} ',
        ):
            self.assertIn(f"\n{start}", body)
        kinds = re.findall(r"(?m)^# TYPE (\w+)", body)
        self.assertEqual(len(kinds), len(set(kinds)), "each name has one type")

    def test_reference(self) -> None:
        """The page of the reference has a row for each number of the process, and no other."""
        page = _DOCS / "reference" / "metrics.rst"
        if not page.exists():
            raise SkipTest("the documentation is not part of an installed package")
        _, _, process = page.read_text("utf-8").partition("The process\n---")
        named = set(re.findall(r"(?m)^   \* - ``(\w+)``$", process))
        live = {sample.name for family in parse(self.ask()[2]) for sample in family.samples} - {
            f"wsredis_{each.name}" for each in EXPORTED
        }
        live = {name for name in live if not name.startswith("wsredis_")}
        self.assertEqual(
            live, named, "rows for numbers of our own are made from wsredis/gateway/metrics.py"
        )

    def test_reasons(self) -> None:
        """It has a row for each reason of a refusal that is not a setting."""
        page = _DOCS / "reference" / "metrics.rst"
        if not page.exists():
            raise SkipTest("the documentation is not part of an installed package")
        _, _, reasons = page.read_text("utf-8").partition("Reasons of refusals\n---")
        named = set(
            re.findall(r"(?m)^   \* - ``([a-z-]+)``$", reasons.partition("The process\n")[0])
        )
        known = {key.partition("refused,")[2] for key in Metrics().handshakes} - {""}
        self.assertEqual(known - {each.name for each in all_settings()}, named)


class PrivateSiteTests(MetricsCase):
    """The port for an operator."""

    def test_paths(self) -> None:
        """It has health and metrics, and nothing for clients."""
        for path, expected in {
            "/metrics": 200,
            "/health/live": 200,
            "/health/ready": 200,
            "/": 404,
            "/wsredis.js": 404,
            "/ws/a": 404,
            "/metrics/": 404,
        }.items():
            self.assertEqual(expected, self.ask(path)[0], path)


class MetricsPageTests(MetricsCase):
    """Where /metrics is served."""

    def public(self, config: GatewayConfig, application: Any = None) -> int:
        """Returns: The status of /metrics on a port of clients, for a stranger."""
        page = web.metrics_page(config, lambda: self.snapshot)
        self.site = web.from_config(config, MemoryReactorClock(), PROBES, application, page)
        return self.ask()[0]

    def test_public(self) -> None:
        """Strangers see it only if that was asked for."""
        self.assertEqual(404, self.public(GatewayConfig()))
        self.assertEqual(404, self.public(GatewayConfig(metrics_port="9100")))
        self.assertEqual(200, self.public(GatewayConfig(metrics=True)))

    def test_local(self) -> None:
        """Programs on this machine see it, and nobody who comes through a proxy or a false name."""
        self.public(GatewayConfig())
        for peer, headers, status in (
            ("127.0.0.1", "Host: localhost:8080", 200),
            ("127.0.0.1", "Host: 127.0.0.1", 200),
            ("::1", "Host: [::1]:8080", 200),
            ("::ffff:127.0.0.1", "Host: localhost", 200),
            ("127.0.0.1", "Host: example.com", 404),
            ("127.0.0.1", "Host: 127.0.0.1.example.com", 404),
            ("192.0.2.1", "Host: localhost", 404),
            ("127.0.0.1", "Host: localhost\r\nX-Forwarded-For: 192.0.2.1", 404),
            ("127.0.0.1", "Host: localhost\r\nVia: 1.1 proxy", 404),
        ):
            with self.subTest(peer=peer, headers=headers):
                head = f"GET /metrics HTTP/1.1\r\n{headers}\r\n\r\n"
                client = Socket(self.site, peer)
                client.send(head.encode())
                self.assertEqual(f"HTTP/1.1 {status}", client.take()[:12].decode())

    def test_application(self) -> None:
        """An application has its own page, if any, unless ours was asked for."""

        def application(environ: Any, start_response: Any) -> list[bytes]:
            raise AssertionError

        self.assertEqual(200, self.public(GatewayConfig(metrics=True), application))
        page = web.metrics_page(GatewayConfig(), lambda: self.snapshot)
        self.assertIsNone(web._public_metrics(GatewayConfig(), page, True))

    def test_not_installed(self) -> None:
        """It is missing; or one line names the option that needs it, and the remedy."""
        with patch.dict(sys.modules, {"wsredis.web.metrics": None}):
            self.assertIsNone(web.metrics_page(GatewayConfig(), lambda: self.snapshot))
        for config, option in (
            (GatewayConfig(metrics=True), "metrics"),
            (GatewayConfig(metrics_port="9100"), "metrics-port"),
        ):
            with patch.dict(sys.modules, {"wsredis.web.metrics": None}):
                error = self.assertRaises(
                    ConfigError, web.metrics_page, config, lambda: self.snapshot
                )
            self.assertEqual(
                f"{option}: needs prometheus-client: pip install 'wsredis[metrics]'", str(error)
            )


class ExampleTests(MetricsCase):
    """The dashboard and the alert rules of the documentation."""

    def setUp(self) -> None:
        """A gateway with workers, and the files."""
        super().setUp()
        self.use_workers()
        folder = _DOCS / "examples"
        if not folder.exists():
            raise SkipTest("the documentation is not part of an installed package")
        self.dashboard = json.loads((folder / "grafana-dashboard.json").read_text("utf-8"))
        shown = [
            target["expr"]
            for panel in self.dashboard["panels"]
            for target in panel.get("targets", ())
        ]
        rules = (folder / "alerts.yml").read_text("utf-8")
        # An expression may go on in a further line.
        alerts = re.findall(r"(?m)^        expr: ((?:.|\n(?=          ))*)", rules)
        self.expressions = [*shown, *alerts]
        self.assertGreater(len(shown), 30)
        self.assertEqual(rules.count("- alert:"), len(alerts))
        self.page = self.ask()[2]

    def test_names(self) -> None:
        """Each name is one of the live endpoint."""
        live = set(re.findall(r"(?m)^([a-z]\w+)", self.page))
        text = " ".join(self.expressions) + json.dumps(self.dashboard["templating"])
        named = set(re.findall(r"\b(?:wsredis|process|python)_\w+", text))
        self.assertEqual(set(), named - live)

    def test_labels(self) -> None:
        """Each value of a label of ours can occur."""
        known = set(re.findall(r'"([^"]*)"', self.page))
        for text in self.expressions:
            for name, operator, value in re.findall(r'(\w+)(=~?)"([^"$]+)"', text):
                if name != "job":
                    values = value.split("|") if operator == "=~" else [value]
                    self.assertEqual(set(), set(values) - known, text)
