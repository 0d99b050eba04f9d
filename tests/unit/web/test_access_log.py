"""Tests of the access log."""

from __future__ import annotations

from twisted.logger import LogEvent, capturedLogs, formatEvent

from tests.support.memory_gateway import MemoryGatewayCase, SiteGateway
from wsredis.config import GatewayConfig
from wsredis.web.site import GatewaySite


class _LoggingGateway(SiteGateway):
    """A gateway with a page of one line, and an access log."""

    def make_site(self, config: GatewayConfig) -> GatewaySite:
        site = super().make_site(config)
        site._has_access_log = True
        return site


class AccessLogTests(MemoryGatewayCase):
    """One line for each answer."""

    def setUp(self) -> None:
        """Start a gateway that trusts one proxy."""
        self.use(_LoggingGateway(GatewayConfig(trusted_proxy=("192.0.2.1",))))

    def ask(self, *lines: bytes) -> list[LogEvent]:
        """Send a request. Returns: What is logged."""
        client = self.connect()
        with capturedLogs() as events:
            client.send(b"\r\n".join([*lines, b"Host: x", b"Connection: close", b"", b""]))
        self.assertTrue(client.take().startswith(b"HTTP/1.1 "))
        return list(events)

    def test_line(self) -> None:
        """The line is that of the combined format, without the date."""
        (event,) = self.ask(
            b"GET /?token=SECRET HTTP/1.1",
            b"Referer: https://john:SECRET@a.example/x?search=SECRET",
            b"User-Agent: Mozilla/5.0",
            b"Cookie: sessionid=SECRET",
        )
        self.assertEqual(
            '192.0.2.1 - - "GET /?... HTTP/1.1" 200 8 "https://a.example/x?..." "Mozilla/5.0"',
            formatEvent(event),
        )
        self.assertEqual(
            ("192.0.2.1", "GET", "/?...", 200, 8),
            tuple(event[name] for name in ("peer", "method", "path", "status", "bytes")),
        )
        self.assertGreaterEqual(event["seconds"], 0)
        self.assertLess(event["seconds"], 60)

    def test_bare(self) -> None:
        """Headers that are missing are a hyphen."""
        (event,) = self.ask(b"GET /nothing HTTP/1.1")
        self.assertEqual('192.0.2.1 - - "GET /nothing HTTP/1.1" 404 22 "-" "-"', formatEvent(event))

    def test_named(self) -> None:
        """Behind a trusted proxy the client is the one that it names."""
        (event,) = self.ask(b"GET / HTTP/1.1", b"X-Forwarded-For: 203.0.113.7, 2001:db8::1")
        self.assertEqual("[2001:db8::1]", event["peer"])

    def test_chosen_by_clients(self) -> None:
        """Nothing that a client sends ends a quotation or a line, or is longer than it may be."""
        (event,) = self.ask(
            b'GET /"x HTTP/1.1', b'User-Agent: a" \t\x9b31m\xe9' + b"x" * 500, b"Referer: \xff"
        )
        text = formatEvent(event)
        self.assertTrue(text.isascii() and text.isprintable(), text)
        self.assertEqual(6, text.replace('\\"', "").count('"'))
        self.assertLess(len(text), 400)

    def test_health(self) -> None:
        """What is asked every few seconds is not logged."""
        for path in (b"/health/live", b"/health/ready", b"/metrics"):
            self.assertEqual([], self.ask(b"GET %b HTTP/1.1" % path))

    def test_off(self) -> None:
        """Without the option there is no line."""
        self.use(SiteGateway(GatewayConfig()))
        self.assertEqual([], self.ask(b"GET / HTTP/1.1"))
