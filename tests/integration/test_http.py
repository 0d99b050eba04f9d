"""Plain HTTP on the port of the WebSockets."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime

from tests.support.case import FreshGatewayCase
from tests.support.children import until
from tests.support.raw import CLOSE, RawClient, frame, handshake, response
from tests.support.require import missing
from tests.support.wire import LIVE, WireCase, memory_growth

_MEBIBYTE = 1048576


def _request(path: str, *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
    """Make a request of HTTP/1.1, with a Content-Length if it has a body."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class _HttpCase(WireCase):
    """Requests, and checks that hold for each answer."""

    def ask(
        self, path: str, *headers: str, method: str = "GET", body: bytes = b""
    ) -> tuple[int, str, bytes]:
        """Send a request. Returns: Status, head in lower case, body."""
        request = _request(path, *headers, method=method, body=body)
        status, head, answer = response(self.gateway.port, request)
        head = head.lower()
        length = re.search(r"\r\ncontent-length: (\d+)", head)
        if method != "HEAD" and length is not None:
            self.assertEqual(int(length[1]), len(answer), head)
        return status, head, answer


class HealthTests(_HttpCase):
    """Health checks of supervisors and load balancers."""

    skip = missing("redis")

    def test_live(self) -> None:
        """A live process answers with 200, which no cache keeps."""
        status, head, body = self.ask("/health/live")
        self.assertEqual((200, LIVE), (status, body))
        self.assertIn("\r\ncontent-type: application/json\r\n", head)
        self.assertIn("\r\ncache-control: no-store", head)

    def test_ready(self) -> None:
        """With Redis the gateway is ready. A query changes nothing."""
        self.assertEqual(200, self.ask("/health/ready")[0])
        self.assertEqual(200, self.ask("/health/ready?verbose=1")[0])

    def test_old_clients(self) -> None:
        """A load balancer may use HTTP/1.0 without Host."""
        _, head, body = response(self.gateway.port, b"GET /health/live HTTP/1.0\r\n\r\n")
        self.assertRegex(head, r"^HTTP/1\.[01] 200 ")
        self.assertEqual(LIVE, body)

    def test_head(self) -> None:
        """HEAD gets the same head without a body."""
        status, head, body = self.ask("/health/live", method="HEAD")
        self.assertEqual((200, b""), (status, body))
        self.assertIn(f"\r\ncontent-length: {len(LIVE)}", head)

    def test_other_methods(self) -> None:
        """Other methods are refused, with or without a body, known or not."""
        for method in ("POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW", "get"):
            for body in (b"", b"x" * 1000):
                status, _, answer = self.ask(
                    "/health/live", "X-Mark: reflected", method=method, body=body
                )
                self.assertIn(status, (400, 404, 405, 501), method)
                self.assertNotIn(b"reflected", answer)


class ReadyTests(_HttpCase, FreshGatewayCase):
    """Readiness while Redis comes and goes."""

    skip = missing("redis")

    def test_redis_away(self) -> None:
        """Without Redis the gateway is live and not ready, and says so; with Redis it is again."""
        before = time.time()
        self.redis.kill()
        self.gateway.child.wait_for("lost the connection")
        status, _, body = self.ask("/health/ready")
        answer = json.loads(body)
        self.assertEqual((503, False), (status, answer["ready"]))
        (problem,) = (each for each in answer["problems"] if each["name"] == "redis")
        self.assertTrue(problem["blocking"])
        began = datetime.fromisoformat(problem["since"]).timestamp()
        self.assertLessEqual(int(before), began)
        self.assertLessEqual(problem["seconds"], round(time.time() - began))
        self.assertNotIn(self.redis.path, body.decode())
        head = self.ask("/health/ready", method="HEAD")
        self.assertEqual((503, b""), head[::2])
        self.assertEqual(200, self.ask("/health/live")[0])
        self.redis.start()
        until(lambda: self.ask("/health/ready")[0] == 200)


class PathTests(_HttpCase):
    """Paths, and their answers."""

    skip = missing("redis")

    def test_not_found(self) -> None:
        """Any other path is a 404 for any method; the answer repeats nothing of the request."""
        for path in (
            "/",
            "//",
            "/ws",
            "/wsx",
            "/favicon.ico",
            "/robots.txt",
            "/health",
            "/health/",
            "/health/other",
            "/health/live/more",
            "/health/live/",
            "/HEALTH/live",
            "/health%2flive",
            "/<script>alert(1)</script>",
            "/../../etc/passwd",
            "/%2e%2e/%2e%2e/etc/passwd",
            "/.git/config",
            "/demo.html",
            "/metrics/secret",
            "/%ff%00",
            "/x" * 2000,
        ):
            for method in ("GET", "POST", "DELETE"):
                status, head, body = self.ask(path, method=method)
                self.assertEqual(404, status, (method, path[:100]))
                self.assertIn("\r\ncontent-type: text/plain", head, path[:100])
                self.assertLess(len(body), 200, path[:100])
                self.assertNotIn(b"script", body)

    def test_no_page(self) -> None:
        """Without ``--demo`` the gateway has no page."""
        status, _, body = self.ask("/")
        self.assertEqual(404, status)
        self.assertNotIn(b"<", body)

    def test_script(self) -> None:
        """The browser script is served, and not sent again to a browser that has it."""
        for path in ("/wsredis.js", "/wsredis.mjs"):
            status, head, body = self.ask(path)
            self.assertEqual(200, status)
            self.assertIn(b"WS4Redis", body)
            self.assertIn("\r\ncontent-type: text/javascript; charset=utf-8", head)
            tag = re.search(r"\r\netag: (\S+)", head)
            assert tag is not None
            status, _, body = self.ask(path, f"If-None-Match: {tag[1]}")
            self.assertEqual((304, b""), (status, body))
        for path in ("/wsredis.js/", "/wsredis.d.ts", "/wsredis.js/../wsredis.mjs", "/WSREDIS.JS"):
            self.assertEqual(404, self.ask(path)[0], path)

    def test_facility(self) -> None:
        """The answer to a plain request for a facility names the reason."""
        for path in ("/ws/x", "/ws/", "/ws/a/b?subscribe-broadcast", "/ws/%ff"):
            status, head, body = self.ask(path)
            self.assertEqual(400, status, path)
            self.assertIn(b"upgrade to a websocket", body)
            self.assertIn("\r\nsec-websocket-version: 13", head)

    def test_facility_with_other_methods(self) -> None:
        """The same holds for any other method that means nothing here, with any body."""
        for method in ("PUT", "DELETE", "OPTIONS"):
            for body in (b"", b"a=1&b=2", b"x" * 60000):
                status, _, answer = self.ask("/ws/x", method=method, body=body)
                self.assertEqual(400, status)
                self.assertIn(b"upgrade to a websocket", answer)

    def test_head(self) -> None:
        """HEAD gets no body on any path."""
        for path, expected in (("/", 404), ("/ws/x", 400), ("/health/ready", 200), ("/x", 404)):
            status, _, body = self.ask(path, method="HEAD")
            self.assertEqual((expected, b""), (status, body), path)


class BodyTests(_HttpCase):
    """Bodies that no resource uses."""

    skip = missing("redis")

    def test_forms(self) -> None:
        """Forms and documents of any kind are harmless."""
        part = (
            b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\nhello\r\n--b--'
        )
        for kind, body in (
            ("application/x-www-form-urlencoded", b"a=1&b=2&%ff=%zz&&=="),
            ("application/json", b'{"a": '),
            ("multipart/form-data; boundary=b", part),
            ("multipart/form-data; boundary=b", part[:40]),
            ("multipart/form-data", part),
            ("multipart/form-data; boundary=", part),
            ("multipart/form-data; boundary=\xff", part),
            ("\xff/\xfe; charset=x", b"\xff"),
        ):
            # A POST publishes its body, whatever that is, and this URL asks for no right to.
            for path, expected in (("/ws/x", 403), ("/other", 404)):
                status, _, _ = self.ask(path, f"Content-Type: {kind}", method="POST", body=body)
                self.assertIn(status, (expected, 400), (path, kind))

    def test_chunked(self) -> None:
        """A body in chunks is read like any other."""
        status, _, body = response(
            self.gateway.port,
            _request("/ws/x", "Transfer-Encoding: chunked", method="PUT")
            + b"5\r\nhello\r\n6; x=y\r\n world\r\n0\r\n\r\n",
        )
        self.assertEqual(400, status)
        self.assertIn(b"upgrade to a websocket", body)

    def test_expect(self) -> None:
        """A client with Expect: 100-continue gets that, or an answer."""
        with RawClient(self.gateway.port) as client:
            client.send(
                _request("/ws/x", "Expect: 100-continue", "Content-Length: 5", method="POST")
            )
            head = client.head()
            if head.startswith("HTTP/1.1 100 "):
                client.send(b"hello")
                head = client.head()
            self.assertTrue(head.startswith("HTTP/1.1 4"), head)

    def test_bad_lengths(self) -> None:
        """Lengths and codings that servers read in different ways are refused."""
        for headers in (
            ("Content-Length: -1",),
            ("Content-Length: +5",),
            ("Content-Length: 5 5",),
            ("Content-Length: 0x5",),
            ("Content-Length: five",),
            ("Content-Length: 5", "Content-Length: 6"),
            ("Content-Length: 5, 6",),
            ("Content-Length: 5", "Transfer-Encoding: chunked"),
            ("Transfer-Encoding: gzip",),
            ("Transfer-Encoding: chunked, identity",),
        ):
            request = _request("/health/live", *headers, method="POST")
            status, head, _ = response(self.gateway.port, request + b"hello")
            self.assertTrue(status == 0 or 400 <= status < 600, (headers, head))
            self.assertEqual(1, (head + "HTTP/1.1").count("HTTP/1.1") - bool(status), headers)

    def test_bad_chunks(self) -> None:
        """Malformed chunks end the connection."""
        request = _request("/health/live", "Transfer-Encoding: chunked", method="POST")
        for chunks in (
            b"hello",
            b"-5\r\nhello\r\n",
            b"g\r\nhello\r\n",
            b"5\r\nhello world\r\n",
            b"f" * 2000,
            b"5;" + b"x" * 70000,
            b"0\r\n" + b"x" * 70000,
        ):
            with RawClient(self.gateway.port) as client:
                try:
                    client.send(request + chunks + b"\r\n\r\n")
                except ConnectionError:
                    pass
                answer = client.rest()
            self.assertNotIn(b" 200 ", answer.partition(b"\r\n")[0], chunks[:20])

    def test_large(self) -> None:
        """Large bodies are neither read nor kept, and disturb no other client."""
        before = self.gateway.memory()
        for path in ("/ws/x", "/health/live", "/other"):
            for header, start in (
                (f"Content-Length: {2**40}", b""),
                ("Transfer-Encoding: chunked", b"%x\r\n" % 2**40),
            ):
                with RawClient(self.gateway.port) as client:
                    client.send(_request(path, header, method="POST") + start)
                    self._pour(client)
                    client.rest()
                self.assertEqual(200, self.ask("/health/live")[0])
        self.assertLess(memory_growth(self.gateway, before), 16)

    def _pour(self, client: RawClient) -> None:
        """Send until the gateway closes the connection."""
        piece = bytes(65536)
        for _ in range(256):
            try:
                client.send(piece)
            except ConnectionError:
                return
        self.fail("16 MiB of a body were taken")


class ConnectionTests(_HttpCase):
    """Requests that share a connection, or never end."""

    skip = missing("redis")

    def test_one_request_a_connection(self) -> None:
        """The connection is closed after the answer, which says so, even with keep-alive."""
        for path in ("/health/live", "/other", "/ws/x"):
            _, head, _ = self.ask(path, "Connection: keep-alive")
            self.assertIn("\r\nconnection: close", head)

    def test_pipelined(self) -> None:
        """Of several requests in one packet only the first is answered."""
        data = _request("/health/live") + _request("/other") + _request("/ws/x", method="POST")
        with RawClient(self.gateway.port) as client:
            client.send(data)
            answer = client.rest()
        self.assertEqual(1, answer.count(b"HTTP/1.1 "), answer)
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer)

    def test_handshake_after_a_request(self) -> None:
        """A handshake in the body of a request, or after it, opens no WebSocket."""
        shake = handshake("/ws/smuggled?subscribe-broadcast")
        for data in (
            _request("/health/live") + shake,
            _request("/ws/x", method="POST", body=shake),
            _request("/ws/x", method="POST", body=b"hello") + shake,
            _request("/ws/x", "Upgrade: h2c") + shake,
        ):
            with RawClient(self.gateway.port) as client:
                client.send(data)
                answer = client.rest()
            self.assertNotIn(b" 101 ", answer)
        self.assertEqual(0, self.publish("broadcast:smuggled", "anybody?"))

    def test_request_after_a_handshake(self) -> None:
        """A request after a handshake gets no HTTP answer."""
        with RawClient(self.gateway.port) as client:
            client.send(handshake("/ws/x") + _request("/health/live"))
            self.assertIn(" 101 ", client.head())
            self.assertEqual(1002, client.closing())
            client.send(frame(CLOSE))
            self.assertNotIn(b"HTTP", client.rest())

    def test_in_pieces(self) -> None:
        """A request may come in any pieces."""
        client = self.connect()
        for byte in _request("/health/live"):
            client.send(bytes([byte]))
        self.assertTrue(client.head().startswith("HTTP/1.1 200 "))

    def test_junk(self) -> None:
        """Bytes that are not a request are refused, or the connection is closed."""
        for data in (
            b"GET /health/live\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET /health/live HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET /health/live HTTP/1.1\r\n: no name\r\n\r\n",
            b"GET /health/live HTTP/1.1\r\nHost : localhost\r\n\r\n",
            b"GET /health/live HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
            b"GET /health/live HTTP/1.1\r\nX: \x00\r\n\r\n",
            b"GET /health/live HTTP/1.1\nHost: localhost\n\n\r\n\r\n",
            b"GET /health/live HTTP/x\r\n\r\n",
            b"GET /health live HTTP/1.1\r\n\r\n",
            b"\x80\x81\x82\r\n\r\n",
        ):
            status, head, _ = response(self.gateway.port, data)
            self.assertTrue(status == 0 or status >= 400, (data, head))

    def test_nothing_left(self) -> None:
        """Hundreds of requests, answered or broken off, leave no descriptor open."""
        before = self.gateway.descriptors()
        for n in range(100):
            self.assertEqual(404, self.ask(f"/{n}")[0])
            with RawClient(self.gateway.port) as client:
                client.send(_request("/ws/x", "Content-Length: 100", method="POST"))
            with RawClient(self.gateway.port) as client:
                client.send(b"GET /health")
        until(lambda: self.gateway.descriptors() <= before)


class DemoTests(_HttpCase):
    """The page of ``--demo``, with settings that could break it."""

    skip = missing("redis")
    options = (
        "--demo",
        *("--heartbeat", "</script><script>alert(1)</script>"),
        *("--prefix", "<!--\"'"),
        *("--url-prefix", "/so%20ckets/"),
    )

    def test_page(self) -> None:
        """It is a whole page, which no cache keeps, and which may run its own files only."""
        status, head, body = self.ask("/")
        self.assertEqual(200, status)
        self.assertIn("\r\ncontent-type: text/html; charset=utf-8", head)
        self.assertIn("\r\ncache-control: no-store", head)
        self.assertIn("\r\nx-content-type-options: nosniff", head)
        self.assertIn("\r\ncontent-security-policy: default-src 'none'; ", head)
        page = body.decode("utf-8")
        self.assertTrue(page.startswith("<!doctype html>"))
        self.assertTrue(page.rstrip().endswith("</html>"))
        self.assertIn('name="viewport"', page)
        self.assertIn("/so%20ckets/", page)

    def test_no_external_assets(self) -> None:
        """It loads nothing from elsewhere."""
        page = self.ask("/")[2].decode("utf-8")
        self.assertNotRegex(page, r"(?i)<(?:iframe|img|object|embed)\b|@import|\burl\(")
        links = re.findall(r"(?i)\b(?:src|href|action)\s*=\s*[\"']?([^\"'\s>]*)", page)
        own = {each for each in links if each.startswith("/") and each != "/"}
        rest = {each.partition(",")[0] for each in set(links) - own}
        self.assertEqual({"/", "data:image/svg+xml"}, rest)
        for path in own:
            self.assertEqual(200, self.ask(path)[0], path)

    def test_settings_are_no_markup(self) -> None:
        """Settings are text in their element, whatever they contain."""
        page = self.ask("/")[2].decode("utf-8")
        self.assertEqual(3, page.lower().count("<script"))
        self.assertEqual(3, page.lower().count("</script"))
        self.assertNotIn("<!--", page)

    def test_head(self) -> None:
        """HEAD gets its length without a body."""
        length = len(self.ask("/")[2])
        status, head, body = self.ask("/", method="HEAD")
        self.assertEqual((200, b""), (status, body))
        self.assertIn(f"\r\ncontent-length: {length}", head)

    def test_only_there(self) -> None:
        """The page is at the root only, for GET, with any query."""
        self.assertEqual(200, self.ask("/?x=y")[0])
        self.assertEqual(405, self.ask("/", method="POST", body=b"x")[0])
        for path in ("/index.html", "/demo", "/demo/playground.html", "//", "/ws/"):
            self.assertEqual(404, self.ask(path)[0], path)
        self.assertEqual(400, self.ask("/so%20ckets/demo")[0])
