"""Tests of what follows from the head of a request."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.transports.websocket.head import parse
from wsredis.web.asgi.bodies import BadBody, ChunkedBody, SizedBody
from wsredis.web.asgi.http_request import Headers, Request
from wsredis.web.asgi.scopes import Place, Whereabouts

_NOWHERE = Whereabouts(None, None, False, None)


def headers(*lines: str, version: str = "HTTP/1.1") -> Headers:
    """What follows from these headers."""
    raw = "\r\n".join([f"GET / {version}", *lines, "", ""]).encode()
    return Headers(parse(raw, 9999), raw, _NOWHERE, Place(), 1000)


class RequestTests(SynchronousTestCase):
    """`Request`."""

    def test_name(self) -> None:
        """The name has no query, which may be a secret."""
        request = Request(headers(), b"", "GET", "/a?token=secret")
        self.assertEqual("GET /a", request.name)

    def test_name_is_harmless(self) -> None:
        """The name is a short one, and has nothing but visible characters and one blank."""
        request = Request(headers(), b"", "GET", "/a%0A%1b[2J" + 300 * "x")
        self.assertEqual("GET /a%0A%1b[2J" + 185 * "x", request.name)

    def test_scope(self) -> None:
        """Each scope is a new one, with all parts of the request."""
        request = Request(headers("Host: x"), b"", "get", "/a?b")
        scope = request.make_scope()
        self.assertEqual(
            ("GET", "/a", b"b", "1.1", [(b"host", b"x")]),
            tuple(
                scope[key] for key in ("method", "path", "query_string", "http_version", "headers")
            ),
        )
        self.assertIsNot(scope, request.make_scope())


class HeadersTests(SynchronousTestCase):
    """`Headers`."""

    def test_connection(self) -> None:
        """HTTP/1.1 goes on if the client does not say otherwise, HTTP/1.0 does not."""
        self.assertTrue(headers().keeps)
        self.assertTrue(headers("Connection: keep-alive, closed").keeps)
        self.assertFalse(headers("Connection: keep-alive,  CLOSE ").keeps)
        self.assertFalse(headers("Connection: keep-alive", version="HTTP/1.0").keeps)

    def test_body(self) -> None:
        """A body has a reader of its kind, a new one each time."""
        self.assertFalse(headers().has_body)
        self.assertFalse(headers("Content-Length: 0").has_body)
        sized = headers("Content-Length: 5")
        self.assertIsInstance(sized.make_body(), SizedBody)
        self.assertIsNot(sized.make_body(), sized.make_body())
        chunked = headers("Transfer-Encoding: chunked")
        self.assertTrue(chunked.has_body)
        self.assertIsInstance(chunked.make_body(), ChunkedBody)
        self.assertRaises(BadBody, headers, "Content-Length: 1001")

    def test_expects(self) -> None:
        """Only a client with a body, and of HTTP/1.1, waits; another expectation is a 417."""
        length, expect = "Content-Length: 5", "Expect: 100-Continue"
        self.assertTrue(headers(length, expect).expects)
        self.assertFalse(headers(expect).expects)
        self.assertFalse(headers(length, expect, version="HTTP/1.0").expects)
        error = self.assertRaises(BadBody, headers, length, "Expect: tea")
        self.assertEqual(417, error.status)

    def test_extensions(self) -> None:
        """Trailers are offered to those who take them."""
        plain = headers().template.make("http", "", ("", b"", b""))["extensions"]
        self.assertEqual(
            {f"http.response.{name}" for name in ("early_hint", "pathsend", "zerocopysend")},
            {*plain},
        )
        found = headers("TE: gzip, Trailers")
        self.assertTrue(found.takes_trailers)
        self.assertIn(
            "http.response.trailers", found.template.make("http", "", ("", b"", b""))["extensions"]
        )
        self.assertFalse(headers("TE: trailers", version="HTTP/1.0").takes_trailers)
