"""Opening handshakes, right and wrong, and the rules for origins."""

from __future__ import annotations

import asyncio
import re

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from tests.support.case import FreshGatewayCase
from tests.support.children import until
from tests.support.raw import CLOSE, KEY, TEXT, RawClient, frame, handshake, response
from tests.support.require import missing
from tests.support.wire import Monitor, WireCase, memory_growth, settle

_MEBIBYTE = 1048576

#: The lines of a correct handshake, by name.
_LINES = {
    "request": "GET /ws/x?subscribe-broadcast HTTP/1.1",
    "host": "Host: localhost",
    "upgrade": "Upgrade: websocket",
    "connection": "Connection: Upgrade",
    "key": f"Sec-WebSocket-Key: {KEY}",
    "version": "Sec-WebSocket-Version: 13",
}


def _request(**changed: str | tuple[str, ...]) -> bytes:
    """
    Return a handshake with some lines changed.

    Args:
        changed: By the names in _LINES; a tuple stands for so many lines. Others are added.
    """
    lines: list[str] = []
    for line in {**_LINES, **changed}.values():
        lines += [line] if isinstance(line, str) else line
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


class RequestTests(WireCase):
    """Requests that open a WebSocket, and requests that do not."""

    skip = missing("redis")

    def test_right(self) -> None:
        """The handshake that the other tests spoil is accepted as it is."""
        with RawClient(self.gateway.port) as client:
            client.send(_request())
            head = client.head()
        self.assertTrue(head.startswith("HTTP/1.1 101 "), head)
        # The key and its answer are the example of RFC 6455, 1.3.
        self.assertIn("\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=", head.lower())

    def test_header_forms(self) -> None:
        """Case, further tokens and blanks that the RFC allows do no harm."""
        for changed in (
            {"upgrade": "UPGRADE: WebSocket"},
            {"upgrade": "Upgrade: h2c, websocket"},
            {"upgrade": "Upgrade:websocket"},
            {"upgrade": "Upgrade: \t websocket \t "},
            {"connection": "Connection: keep-alive, Upgrade"},
            {"connection": "connection: UPGRADE"},
            {"host": "Host: [::1]:8080"},
            {"host": "Host: example.com:443"},
            {"more": "X-Empty:"},
            {"more": "X-Latin: caf\xe9"},
        ):
            with RawClient(self.gateway.port) as client:
                client.send(_request(**changed))
                self.assertIn(" 101 ", client.head(), changed)

    def test_byte_by_byte(self) -> None:
        """A handshake may come in any pieces."""
        client = self.connect()
        for byte in handshake("/ws/pieces?subscribe-broadcast"):
            client.send(bytes([byte]))
        self.assertIn(" 101 ", client.head())

    def test_methods(self) -> None:
        """Only GET opens a WebSocket."""
        for method in ("POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "TRACE", "get", "X"):
            self.refused(_request(request=f"{method} /ws/x HTTP/1.1"), 400)
        _, body = self.refused(_request(request="POST /ws/x HTTP/1.1"), 400)
        self.assertIn(b"must be a GET", body)
        self.refused(_request(request="CONNECT localhost:80 HTTP/1.1"), 400)

    def test_http_versions(self) -> None:
        """Only HTTP/1.1 opens a WebSocket."""
        for version in ("1.0", "0.9", "1.2", "2.0", "3.0", "9.9"):
            _, body = self.refused(_request(request=f"GET /ws/x HTTP/{version}"), 400)
            self.assertIn(b"protocol must be 1.1", body)

    def test_request_lines(self) -> None:
        """A request line in another form is refused."""
        for line in (
            "GET /ws/x",
            "GET  /ws/x HTTP/1.1",
            "GET /ws/x  HTTP/1.1",
            " GET /ws/x HTTP/1.1",
            "GET\t/ws/x\tHTTP/1.1",
            "GET /ws/x HTTP/1.1 ",
            "GET /ws/x HTTP/1.1.1",
            "GET /ws/x HTTP/11",
            "GET /ws/x http/1.1",
            "GET /ws/x WS/13",
            "GET /ws/caf\xe9 HTTP/1.1",
            "GET /ws/\x1b[31m HTTP/1.1",
            "GET /ws/x\x00 HTTP/1.1",
            "/ws/x",
        ):
            self.refused(_request(request=line), 400)
        # A name without a path and a fragment name nothing here.
        for target in ("*", "ws/x", "/ws/x#fragment"):
            self.refused(_request(request=f"GET {target} HTTP/1.1"), 400, 404)

    def test_other_protocols(self) -> None:
        """Bytes of another protocol get an error, or the connection ends; the gateway goes on."""
        for data in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(517),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
            b"*1\r\n$4\r\nPING\r\n",
            b"PING\r\n\r\n",
            b"EVAL return 1\r\n\r\n",
            bytes(range(256)),
            b"\x00" * 4096,
            b"\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
            b"<policy-file-request/>\x00",
        ):
            status, head, _ = response(self.gateway.port, data)
            self.assertTrue(status == 0 or status >= 400, (data, head))

    def test_upgrade(self) -> None:
        """Without the access for a WebSocket it is plain HTTP, and the answer says so."""
        for upgrade in ((), "Upgrade: h2c", "Upgrade: websockets", "X-Upgrade: websocket"):
            _, body = self.refused(_request(upgrade=upgrade), 400)
            self.assertIn(b"upgrade to a websocket", body)

    def test_connection(self) -> None:
        """The Connection header must name the upgrade."""
        for connection in ((), "Connection: keep-alive", "Connection:", "Connection: Upgraded"):
            self.refused(_request(connection=connection), 400, 426)

    def test_host(self) -> None:
        """There must be exactly one Host."""
        for host in ((), ("Host: localhost", "Host: localhost"), ("Host: a", "Host: b")):
            self.refused(_request(host=host), 400)
        self.refused(_request(host="Host: localhost:port"), 400)

    def test_key(self) -> None:
        """There must be exactly one key, of 16 bytes in base64."""
        for key in (
            (),
            "Sec-WebSocket-Key:",
            "Sec-WebSocket-Key: abc",
            f"Sec-WebSocket-Key: {KEY}AAAA",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ!==",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA",
            (f"Sec-WebSocket-Key: {KEY}",) * 2,
        ):
            self.refused(_request(key=key), 400)

    def test_version(self) -> None:
        """Any version but 13 is refused, and the answer names 13."""
        values = ("", "0", "8", "12", "14", "13.0", "-13", "10" * 10, "13, 8", "x")
        lines = [(f"Sec-WebSocket-Version: {value}",) for value in values]
        for version in ((), *lines, ("Sec-WebSocket-Version: 13",) * 2):
            head, _ = self.refused(_request(version=version), 400, 426)
            self.assertIn("\r\nSec-WebSocket-Version: 13", head)

    def test_smuggling(self) -> None:
        """Headers that another server would read otherwise are refused."""
        for line in (
            "X-Folded: a\r\n b",
            "X-Folded: a\r\n\tb",
            "X-Blank : a",
            " X-Blank: a",
            "X-Bare: a\nOrigin: http://evil.example",
            "X-Bare: a\rOrigin: http://evil.example",
            "X-Next: a\x85Origin: http://evil.example",
            "X-Separator: a\x0bOrigin: http://evil.example",
            "X-Separator: a\x0cOrigin: http://evil.example",
            "X-Separator: a\x1cOrigin: http://evil.example",
            "X-Null: a\x00",
            "X-Escape: \x1b[31m",
            "X Name: a",
            "X-No-Colon",
            ": no name",
            "X-\xe9: a",
        ):
            self.refused(_request(more=line), 400)
            self.refused(_request(upgrade=(), more=line), 400)
        self.refused(_request().replace(b"\r\n", b"\n") + b"\r\n\r\n", 400)

    def test_extensions(self) -> None:
        """An extension that is offered is declined; without offer there is no such header."""
        for offer in ("", "permessage-deflate; client_max_window_bits", "x-unknown, x-other; a=1"):
            more = f"Sec-WebSocket-Extensions: {offer}" if offer else ()
            with RawClient(self.gateway.port) as client:
                client.send(_request(more=more))
                head = client.head()
            self.assertIn(" 101 ", head)
            self.assertNotIn("extensions", head.lower())

    def test_answers_are_plain(self) -> None:
        """A rejection is a complete HTTP answer that no browser takes for a page."""
        head, body = self.refused(_request(key=()), 400)
        self.assertIn("\r\nContent-Type: text/plain", head)
        self.assertIn("\r\nX-Content-Type-Options: nosniff", head)
        self.assertIn("\r\nConnection: close", head)
        self.assertIn(f"\r\nContent-Length: {len(body)}\r\n", head + "\r\n")

    def test_other_paths(self) -> None:
        """Only the prefix leads to WebSockets."""
        for path in ("/", "/health/live", "/favicon.ico", "/wss/x", "/ws", "/%2e/ws/x"):
            self.refused(handshake(path), 404)

    def test_redirect(self) -> None:
        """Autobahn's parameters for a status page, a redirect among them, mean nothing here."""
        query = "subscribe-broadcast&redirect=http://evil.example/&after=1"
        head, body = self.refused(
            f"GET /ws/x?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode("ascii"), 400
        )
        self.assertNotIn(b"evil", body)
        self.assertNotIn("evil", head)
        with RawClient(self.gateway.port) as client:
            client.send(handshake(f"/ws/x?{query}"))
            head = client.head()
        self.assertIn(" 101 ", head)
        self.assertNotIn("evil", head)

    def test_response_splitting(self) -> None:
        """Nothing that a client sends becomes a header of the answer."""
        for path in ("/ws/x%0d%0aX-Injected:%201", "/x%0d%0aX-Injected:%201"):
            for request in (handshake(path), f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()):
                head, _ = self.refused(request, 400, 404)
                self.assertNotIn("injected", head.lower())
        for line in (
            "Sec-WebSocket-Protocol: a%0d%0aX-Injected: 1",
            "Sec-WebSocket-Protocol: a\x85X-Injected: 1",
            "Sec-WebSocket-Version: 13\r\n X-Injected: 1",
        ):
            _, head, _ = response(self.gateway.port, _request(more=line) + frame(CLOSE))
            self.assertNotIn("\r\nx-injected", head.lower())

    def test_subprotocol_tokens(self) -> None:
        """A subprotocol is one of those offered, and a token; else the handshake fails."""
        for offered, chosen in (("a, b", "a"), (" a ,b", "a")):
            with RawClient(self.gateway.port) as client:
                client.send(_request(more=f"Sec-WebSocket-Protocol: {offered}"))
                self.assertIn(f"\r\nsec-websocket-protocol: {chosen}\r\n", client.head().lower())
        for offered in ("a, a", "a b", "", ",", "caf\xe9", "a;b"):
            with RawClient(self.gateway.port) as client:
                client.send(_request(more=f"Sec-WebSocket-Protocol: {offered}"))
                head = client.head().lower()
            self.assertTrue(
                head.startswith("http/1.1 400 ") or "sec-websocket-protocol" not in head,
                (offered, head),
            )

    def test_two_requests_in_one_packet(self) -> None:
        """A second request after a handshake is not a frame: one 101, then 1002."""
        client = self.connect()
        client.send(handshake("/ws/x") * 2)
        self.assertIn(" 101 ", client.head())
        self.assertEqual(1002, client.closing())
        self.assertNotIn(b"HTTP", client.rest())

    def test_frames_after_the_handshake(self) -> None:
        """Frames in the packet of the handshake are read once it is answered."""
        listener = self.open("/ws/early?subscribe-broadcast")
        client = self.connect()
        client.send(handshake("/ws/early?publish-broadcast") + frame(TEXT, b"early"))
        self.assertIn(" 101 ", client.head())
        self.assertEqual(b"early", listener.message())

    def test_body(self) -> None:
        """A handshake with a body is refused, and what follows is not taken for frames."""
        for more in ("Content-Length: 5", "Transfer-Encoding: chunked"):
            client = self.connect()
            client.send(_request(more=more) + b"5\r\nhello\r\n0\r\n\r\n")
            self.assertIn(" 400 ", client.head())
            self.assertEqual(b"a handshake has no body", client.rest())

    def test_leaving_before_the_answer(self) -> None:
        """Nothing is left of a client that leaves at once."""
        before = self.gateway.descriptors()
        for _ in range(20):
            with RawClient(self.gateway.port) as client:
                client.send(handshake("/ws/leaving?subscribe-broadcast"))
        until(lambda: self.gateway.descriptors() <= before)
        witness = self.open("/ws/leaving?subscribe-broadcast")
        self.assertEqual(1, self.publish("broadcast:leaving", "end"))
        self.assertEqual(b"end", witness.message())


class SizeTests(WireCase):
    """Heads that are large, and too large."""

    skip = missing("redis")

    def test_cookies(self) -> None:
        """8 KiB of cookies are nothing unusual."""
        cookies = "; ".join(f"cookie{n}={'x' * 100}" for n in range(75))
        self.assertGreater(len(cookies), 8192)
        self.open("/ws/cookies?subscribe-broadcast", f"Cookie: {cookies}")
        self.assertEqual(1, self.publish("broadcast:cookies", "heard"))

    def test_limit(self) -> None:
        """A head of 16 KiB passes, one of a byte more is 431."""
        empty = len(_request(more="X: "))
        with RawClient(self.gateway.port) as client:
            client.send(_request(more=f"X: {'x' * (16384 - empty)}"))
            self.assertIn(" 101 ", client.head())
        self.refused(_request(more=f"X: {'x' * (16385 - empty)}"), 431)

    def test_too_large(self) -> None:
        """If any part of the head is too large, the client gets the answer 431."""
        for request in (
            _request(more=f"X: {'x' * 200 * 1024}"),
            _request(more=tuple(f"X-{n}: y" for n in range(20000))),
            _request(more=f"Cookie: {'x' * 100 * 1024}"),
            _request(request=f"GET /ws/{'x' * 70 * 1024} HTTP/1.1"),
            _request(request=f"GET /ws/x?{'x' * 70 * 1024} HTTP/1.1"),
            _request(request=f"GET /{'x' * 70 * 1024} HTTP/1.1", upgrade=()),
        ):
            self.refused(request, 431, 414)

    def test_endless(self) -> None:
        """A head without end is answered and cut off long before 8 MiB, and not kept."""
        before = self.gateway.memory()
        with RawClient(self.gateway.port) as client:
            client.send(b"GET /ws/x HTTP/1.1\r\nHost: x\r\n")
            sent = 0
            with self.assertRaises((BrokenPipeError, ConnectionResetError)):
                while sent < 8 * _MEBIBYTE:
                    client.send(b"X-Endless: " + b"x" * 16373 + b"\r\n")
                    sent += 16386
        self.assertLess(sent, 8 * _MEBIBYTE)
        self.gateway.child.wait_for(" 431 ")
        self.assertLess(memory_growth(self.gateway, before), 16)


class OriginTests(WireCase):
    """The rights of pages, without ``--allow-origin``."""

    skip = missing("redis")
    options: tuple[str, ...] = ()
    path = "/ws/page?publish-broadcast"

    def allowed(self, *headers: str, host: str = "gateway.example", path: str = "") -> None:
        """Check that a handshake with these headers is accepted."""
        with RawClient(self.gateway.port) as client:
            client.send(handshake(path or self.path, *headers, host=host))
            head = client.head()
        self.assertIn(" 101 ", head, headers)

    def denied(self, *headers: str, host: str = "gateway.example", path: str = "") -> bytes:
        """Check that a handshake with these headers is refused. Returns: The body of the answer."""
        _, body = self.refused(handshake(path or self.path, *headers, host=host), 403, 400)
        return body

    def test_no_origin(self) -> None:
        """A client without Origin is not a browser, and may do everything."""
        self.allowed()

    def test_same_origin(self) -> None:
        """A page from the host of the gateway may publish, over http or a TLS proxy."""
        self.allowed("Origin: http://gateway.example")
        self.allowed("Origin: https://gateway.example")
        self.allowed("Origin: http://gateway.example:80")
        self.allowed("Origin: http://GATEWAY.example", host="Gateway.Example")
        self.allowed("Origin: https://gateway.example:8080", host="gateway.example:8080")
        self.allowed("Origin: http://gateway:8080", host="gateway:8080")
        self.allowed("Origin: https://gateway.example", host="gateway.example:443")
        self.allowed("Origin: http://[::1]:8080", host="[::1]:8080")

    def test_rebinding(self) -> None:
        """A page may not, by a name of its own that it leads to the gateway."""
        host = "rebind.evil.example:8080"
        status, _, _ = response(
            self.gateway.port,
            handshake("/ws/page?publish-broadcast", f"Origin: http://{host}", host=host),
        )
        self.assertEqual(403, status)
        self.gateway.child.wait_for("--allow-host rebind.evil.example would allow it")

    def test_foreign_page_hears_broadcast(self) -> None:
        """A page from elsewhere may open a socket that only listens to broadcast, or is mute."""
        for query in ("subscribe-broadcast", "subscribe-broadcast&echo", ""):
            for origin in ("http://evil.example", "null", "file://"):
                self.allowed(f"Origin: {origin}", path=f"/ws/page?{query}")

    def test_foreign_page(self) -> None:
        """A page from elsewhere may neither publish nor ask for anything private."""
        for flag in (
            "publish-broadcast",
            "publish-user",
            "publish-group",
            "publish-session",
            "subscribe-user",
            "subscribe-group",
            "subscribe-session",
            "subscribe-broadcast&PUBLISH-broadcast=0",
            "publish=broadcast",
        ):
            self.refused(handshake(f"/ws/page?{flag}", "Origin: http://evil.example"), 403)

    def test_lookalikes(self) -> None:
        """A name that only resembles the host is another host."""
        for origin in (
            "null",
            "file://",
            "http://gateway.example.evil.example",
            "http://evil-gateway.example",
            "http://evil.example/gateway.example",
            "http://gateway.example@evil.example",
            "http://evil.example#gateway.example",
            "http://evil.example?gateway.example",
            "http://gateway.example:8080",
            "http://gateway.example.",
            "http://sub.gateway.example",
            "http://example",
            "http://gateway_example",
            "gateway.example",
            "//gateway.example",
            "://gateway.example",
            "http:gateway.example",
            "http://gateway.example http://evil.example",
            "http://gateway.example, http://evil.example",
            "http://xn--gatewy-9ta.example",
            "http://gateway.\xe9xample",
            "chrome-extension://gateway",
            "javascript:alert(1)",
            "http://",
            "*",
            "",
        ):
            self.denied(f"Origin: {origin}")

    def test_two_origins(self) -> None:
        """Two Origin headers are refused, even where both would do."""
        self.denied("Origin: http://gateway.example", "Origin: http://evil.example")
        self.denied("Origin: http://gateway.example", "Origin: http://gateway.example")

    def test_other_headers_do_not_help(self) -> None:
        """The old origin header and the headers of proxies name neither the origin nor the host."""
        self.denied("Origin: http://evil.example", "Sec-WebSocket-Origin: http://gateway.example")
        self.denied("Origin: http://evil.example", "X-Forwarded-Host: evil.example")
        self.denied("Origin: http://evil.example", "Forwarded: host=evil.example")

    def test_refusal(self) -> None:
        """A refusal is 403, and one log line that names the option and the origin."""
        _, body = self.refused(handshake(self.path, "Origin: https://shop.example"), 403)
        self.assertNotIn(b"--", body)
        log = self.log
        lines = [line for line in log.splitlines() if "--allow-origin" in line]
        self.assertEqual(1, len(lines), log)
        self.assertIn("--allow-origin https://shop.example", lines[0])
        self.assertIn("403", lines[0])

    def test_nothing_happens_in_redis(self) -> None:
        """A page that is refused has subscribed to nothing and written nothing."""
        with Monitor(self.redis) as monitor:
            self.denied(
                "Origin: http://evil.example", path="/ws/denied?subscribe-broadcast&publish-user"
            )
            self.publish("broadcast:page", "end")
            self.assertEqual([], monitor.until('"end"', about="denied"))

    def test_independent_client(self) -> None:
        """The `websockets` client sees the same: 403 from elsewhere, a socket from here."""

        async def status(origin: str) -> int:
            try:
                async with connect(self.gateway.url(self.path), origin=Origin(origin)) as client:
                    return 101 if client.response else 0
            except InvalidStatus as error:
                return error.response.status_code

        self.assertEqual(403, asyncio.run(status("http://evil.example")))
        self.assertEqual(101, asyncio.run(status(f"http://127.0.0.1:{self.gateway.port}")))


class AllowedOriginTests(OriginTests):
    """The rights of pages, with other pages that ``--allow-origin`` lets in."""

    skip = missing("redis")
    options = (
        *("--allow-origin", "https://Shop.Example/"),
        *("--allow-origin", "http://shop.example:8080"),
        *("--allow-origin", "*.wild.example"),
    )

    def test_refusal(self) -> None:
        """The log line names the origin that is missing in the list."""
        self.denied("Origin: https://shop.example:444")
        self.assertIn("--allow-origin https://shop.example:444", self.log)

    def test_listed(self) -> None:
        """An origin of the list may publish, from any Host."""
        self.allowed("Origin: https://shop.example")
        self.allowed("Origin: https://shop.example:443")
        self.allowed("Origin: HTTPS://SHOP.EXAMPLE")
        self.allowed("Origin: http://shop.example:8080")
        self.allowed("Origin: https://shop.example", path="/ws/page?subscribe-user")

    def test_not_listed(self) -> None:
        """Scheme, host and port must all be those of the list."""
        for origin in (
            "http://shop.example",
            "https://shop.example:8080",
            "http://shop.example:80",
            "https://www.shop.example",
            "https://shop.example.evil.example",
            "https://evilshop.example",
            "null",
        ):
            self.denied(f"Origin: {origin}")

    def test_wildcard(self) -> None:
        """A wildcard stands for hosts below, with any scheme and port; not for the host itself."""
        for origin in (
            "http://a.wild.example",
            "https://a.b.wild.example",
            "http://a.wild.example:8080",
            "http://A.Wild.Example",
        ):
            self.allowed(f"Origin: {origin}")
        for origin in (
            "http://wild.example",
            "http://evilwild.example",
            "http://.wild.example",
            "http://a.wild.example.evil.example",
            "http://evil.example/.wild.example",
            "http://evil.example:80.wild.example",
            "http://evil.example@a.wild.example:x",
            "http://a.wild.example.",
        ):
            self.denied(f"Origin: {origin}")


class AnyOriginTests(WireCase):
    """``--allow-origin '*'``."""

    skip = missing("redis")
    options = ("--allow-origin", "*")

    def test_everybody(self) -> None:
        """Every page may publish, also one without an origin of its own."""
        for origin in ("http://evil.example", "https://a.b:1", "null", "file://"):
            self.open("/ws/any?publish-broadcast&subscribe-session", f"Origin: {origin}")


class LogTests(WireCase):
    """Bytes of clients, and the parts of them that a log may show."""

    skip = missing("redis")
    options = ("--verbose",)

    def test_secrets(self) -> None:
        """Query strings, cookies, credentials and payloads of good and bad clients stay out."""
        headers = (
            "Cookie: sessionid=SECRET-COOKIE",
            "Authorization: Bearer SECRET-BEARER",
            "Sec-WebSocket-Protocol: chat, SECRET-PROTOCOL",
        )
        page = self.open("/ws/opened?publish-broadcast&token=SECRET-QUERY", *headers)
        page.send_text("SECRET-PAYLOAD")
        settle(page)
        page.send(frame(3, b"SECRET-FRAME"))
        page.rest()
        origin = "Origin: http://evil.example"
        path = "/ws/x?publish-broadcast&token=SECRET-QUERY"
        self.refused(handshake(path, *headers, origin), 403)
        self.refused(handshake("/other?token=SECRET-QUERY", *headers), 404)
        self.refused(handshake("/ws/%ff?token=SECRET-QUERY", *headers), 400)
        self.refused(handshake(path, *headers, "Sec-WebSocket-Version: 13"), 400)
        self.refused(handshake(path, *headers, "X-Malformed : SECRET"), 400)
        self.refused(handshake(path, *headers, f"X-Long: {'SECRET' * 5000}"), 431)
        self.refused(handshake(path, "Sec-WebSocket-Key: SECRET-KEY"), 400)
        bare = _request(request="GET /ws/x HTTP/1.1", host=headers).replace(b"\r\n", b"\n")
        self.refused(bare + b"\r\n\r\n", 400)
        self.refused(
            b"GET /x?token=SECRET-QUERY HTTP/1.1\r\nHost: x\r\nCookie: SECRET-COOKIE\r\n\r\n", 404
        )
        log = self.log
        self.assertIn("refused", log)
        self.assertNotIn("SECRET", log)

    def test_control_characters(self) -> None:
        """No client writes control characters, or a line of its own, into the log."""
        forged = "2030-01-01T00:00:00+0000 [forged#info]"
        self.refused(handshake(f"/ws/a%0a{forged.replace(' ', '%20')}"), 400)
        self.refused(handshake("/ws/b%1b[31m%c2%9b31m"), 400)
        self.refused(handshake("/x\x1b[31m\x07"), 400)
        self.refused(handshake("/x", f"X-Bare: \n{forged}"), 400)
        self.refused(
            handshake("/ws/x?publish-user", "Origin: http://\x9b31m\xe2\x80\xa8"), 400, 403
        )
        self.refused(handshake("/ws/x", "Sec-WebSocket-Key: \x9b31m"), 400)
        self.refused(handshake("/ws/x", host="\x9b31m\xe2\x80\xa8:x"), 400)
        self.refused(b"\x1b[31m\x07\r\n\r\n", 400)
        self.open("/ws/separators%e2%80%a8%e2%80%a9%e2%80%ae?subscribe-broadcast")
        log = self.log
        self.assertIn("separators", log)
        for line in log.split("\n"):
            self.assertNotRegex(line, "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e]")
            self.assertFalse(line.startswith(forged), line)

    def test_format_characters(self) -> None:
        """Braces and percent signs of a client are text, not a format."""
        self.open("/ws/%7Bpeer%7D%25s%7B0%7D?subscribe-broadcast")
        self.refused(handshake("/{log_source}%s{0.__class__}"), 404)
        log = self.log
        self.assertIn("{peer}%s{0}", log)
        self.assertIn("/{log_source}%s{0.__class__}", log)
        self.assertNotIn("format", log.lower())

    def test_long_lines(self) -> None:
        """The log line about a long path or a long origin is short."""
        self.refused(handshake(f"/{'x' * 15000}"), 404)
        host = ".".join(["x" * 60] * 200)
        self.refused(handshake("/ws/x?publish-broadcast", f"Origin: http://{host}"), 400, 403)
        log = self.log
        self.assertIn("refused", log)
        self.assertLess(max(len(line) for line in log.splitlines()), 2000)

    def test_connections(self) -> None:
        """Opening and closing are logged, with the address and the code."""
        client = self.open("/ws/logged?subscribe-broadcast")
        address = f"127.0.0.1:{client.socket.getsockname()[1]}"
        client.send(frame(CLOSE, (4002).to_bytes(2, "big")))
        client.rest()
        self.gateway.child.wait_for(rf"opened {re.escape(address)} .*logged")
        self.gateway.child.wait_for(rf"closed {re.escape(address)}.*4002")


class PendingTests(WireCase, FreshGatewayCase):
    """Events while a handshake waits for Redis."""

    skip = missing("redis")

    def setUp(self) -> None:
        """Let Redis be silent, so that handshakes wait for it."""
        super().setUp()
        self.redis.freeze()
        self.addCleanup(self.redis.thaw)

    def _thaw(self) -> None:
        """Wait until the gateway has read what was sent before, and let Redis go on."""
        self.refused(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n", 200)
        self.redis.thaw()

    def test_second_request(self) -> None:
        """A second request meanwhile does not get a second answer."""
        client = self.connect()
        client.send(handshake("/ws/waiting?subscribe-broadcast"))
        client.send(handshake("/ws/waiting?subscribe-broadcast"))
        self._thaw()
        self.assertIn(" 101 ", client.head())
        self.assertEqual(1002, client.closing())
        self.assertNotIn(b"HTTP", client.rest())

    def test_early_frames(self) -> None:
        """Frames that come meanwhile are read afterwards, in order."""
        client = self.connect()
        client.send(handshake("/ws/waiting?subscribe-broadcast&publish-broadcast&echo"))
        client.send(frame(TEXT, b"one"))
        client.send(frame(TEXT, b"two"))
        self._thaw()
        self.assertIn(" 101 ", client.head())
        self.assertEqual([b"one", b"two"], [client.message() for _ in range(2)])

    def test_too_much_too_early(self) -> None:
        """A client that sends without end before the answer is cut off, and costs little."""
        before = self.gateway.memory()
        client = self.connect()
        client.send(handshake("/ws/waiting?subscribe-broadcast"))
        try:
            for _ in range(256):
                client.send(bytes(65536))
        except ConnectionError:
            pass
        self.assertEqual(b"", client.rest())
        self.assertLess(memory_growth(self.gateway, before), 16)
        self._thaw()

    def test_leaving(self) -> None:
        """Nothing is left of clients that leave meanwhile, and the others get in."""
        before = self.gateway.descriptors()
        for _ in range(20):
            with RawClient(self.gateway.port) as client:
                client.send(handshake("/ws/waiting?subscribe-broadcast"))
        until(lambda: self.gateway.descriptors() <= before)
        stays = self.connect()
        stays.send(handshake("/ws/waiting?subscribe-broadcast"))
        self._thaw()
        self.assertIn(" 101 ", stays.head())
        self.publish("broadcast:waiting", "end")
        self.assertEqual(b"end", stays.message())
