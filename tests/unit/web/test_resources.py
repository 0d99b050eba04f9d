"""Tests of the resources on a gateway's port: health, scripts, pages, short errors."""

from __future__ import annotations

import json
import re

from tests.support.raw import handshake
from tests.unit.web.case import PROBES, ApplicationCase, SiteCase, make_request
from wsredis.gateway.health import Problem, Situation
from wsredis.web.site import GatewaySite


class ResourceTests(SiteCase):
    """Paths that the gateway itself answers for."""

    def test_page(self) -> None:
        """The page is at the root only."""
        status, head, body = self.ask(make_request("GET /"))
        self.assertEqual((200, b"<p>the page</p>"), (status, body))
        self.assertIn("content-type: text/html; charset=utf-8", head)
        self.assertIn("cache-control: no-store", head)
        self.assertEqual(404, self.ask(make_request("GET /x"))[0])

    def test_query(self) -> None:
        """A query changes nothing."""
        self.assertEqual(200, self.ask(make_request("GET /?x=1"))[0])

    def test_without_page(self) -> None:
        """Without a page, the root is not found, and says where the sockets are, if anywhere."""
        for prefixes, words in (
            (("/ws/",), b"sockets are below /ws/; --demo has a page here\n"),
            (("/a/", "/b/"), b"sockets are below /a/ or /b/; --demo has a page here\n"),
            ((), b"there is nothing here\n"),
        ):
            self.site = GatewaySite(self.clock, prefixes, PROBES, None)
            status, _, body = self.ask(make_request("GET /"))
            self.assertEqual((404, words), (status, body))

    def test_health(self) -> None:
        """Each question about health has an answer of its own."""
        for name in ("live", "ready"):
            status, _, body = self.ask(make_request(f"GET /health/{name}"))
            self.assertEqual((200, {name: True, "problems": []}), (status, json.loads(body)))
        broken = {"live": dict, "ready": lambda: {0: {"a": Problem("is odd", 0.0, True)}}}
        self.site = GatewaySite(self.clock, ("/ws/",), broken, None)
        self.assertEqual(200, self.ask(make_request("GET /health/live"))[0])
        self.assertEqual(503, self.ask(make_request("GET /health/ready"))[0])

    def test_head(self) -> None:
        """HEAD is a GET without a body."""
        status, head, body = self.ask(make_request("HEAD /"))
        self.assertEqual((200, b""), (status, body))
        self.assertIn("content-length: 15", head)

    def test_scripts(self) -> None:
        """The browser script and its module are served to pages of any origin."""
        for path, word in (("/wsredis.js", b"globalThis.WS4Redis"), ("/wsredis.mjs", b"export")):
            status, head, body = self.ask(make_request(f"GET {path}"))
            self.assertEqual(200, status)
            self.assertIn(word, body)
            for header in (
                "content-type: text/javascript; charset=utf-8",
                "cache-control: no-cache",
                "x-content-type-options: nosniff",
                "access-control-allow-origin: *",
            ):
                self.assertIn(f"\r\n{header}\r\n", head)

    def test_known_script(self) -> None:
        """A browser that has the script gets 304; one with another version gets the script."""
        _, head, _ = self.ask(make_request("GET /wsredis.js"))
        found = re.search(r'etag: ("[^"]+")', head)
        assert found is not None
        same = self.ask(make_request("GET /wsredis.js", f"If-None-Match: {found[1]}"))
        self.assertEqual((304, b""), same[::2])
        other = self.ask(make_request("GET /wsredis.js", 'If-None-Match: "0123456789abcdef"'))
        self.assertEqual(200, other[0])

    def test_exact_paths(self) -> None:
        """A path that only resembles one of the gateway is not found."""
        for path in ("/health", "/health/", "/health/live/", "/health/live/x", "//", "/ws", "/."):
            status, _, body = self.ask(make_request(f"GET {path}"))
            self.assertEqual((404, b"there is nothing here\n"), (status, body), path)

    def test_facility(self) -> None:
        """The answer to a plain request on a facility names the reason, for any method."""
        for method in ("GET", "POST", "DELETE"):
            status, head, body = self.ask(make_request(f"{method} /ws/a?subscribe-broadcast"))
            self.assertEqual(400, status)
            self.assertIn(b"upgrade to a websocket", body)
            self.assertIn("sec-websocket-version: 13", head)
        self.assertIn(b"HTTP method must be a GET", body)

    def test_handshake_is_not_for_this_site(self) -> None:
        """This site upgrades nothing by itself: the WebSocket protocol does."""
        self.assertEqual(400, self.ask(handshake("/ws/a"))[0])

    def test_nothing_of_the_client_comes_back(self) -> None:
        """No answer contains a part of the request."""
        for path in ("/<script>", "/ws/<script>", "/health/<script>"):
            status, head, body = self.ask(make_request(f"GET {path}", "X: <script>"))
            self.assertNotIn(b"<script>", body)
            self.assertIn("text/plain", head)
            self.assertNotEqual(200, status)

    def test_bug_shows_no_traceback(self) -> None:
        """An error in the gateway is a 500 that does not show it."""

        def fail() -> Situation:
            raise ZeroDivisionError("secret")

        self.site = GatewaySite(self.clock, ("/ws/",), {"ready": fail}, None)
        status, _, body = self.ask(make_request("GET /health/ready"))
        self.assertEqual(500, status)
        self.assertNotIn(b"secret", body)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))


class ApplicationTests(ApplicationCase):
    """Requests that do not reach the application."""

    def test_two_hosts(self) -> None:
        """A request with two Host headers is refused."""
        request = b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"
        self.assertEqual((400, b"there is more than one Host\n"), self.ask(self.connect(), request))

    def test_no_host(self) -> None:
        """HTTP/1.1 needs a Host; older clients, and checks of health, do not."""
        for line, status in (
            ("/x HTTP/1.1", 400),
            ("/x HTTP/1.0", 200),
            ("/health/live HTTP/1.1", 200),
        ):
            request = f"GET {line}\r\n\r\n".encode()
            self.assertEqual(status, self.ask(self.connect(), request)[0], line)
        target = b"GET http://a/x HTTP/1.1\r\n\r\n"
        self.assertEqual((200, b"/x "), self.ask(self.connect(), target))
