"""Tests of what follows from the head of a request."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.transports.websocket.head import parse
from wsredis.web.asgi.bodies import BadBody, ChunkedBody, SizedBody
from wsredis.web.asgi.http_request import Request
from wsredis.web.asgi.scopes import Place, Whereabouts


def request(line: str, *headers: str, version: str = "HTTP/1.1") -> Request:
    """The request with this head."""
    raw = "\r\n".join([f"{line} {version}", *headers, "", ""]).encode()
    return Request(parse(raw, 9999), raw, Whereabouts(None, None, False, None), Place(), 1000)


class RequestTests(SynchronousTestCase):
    """`Request`."""

    def test_name(self) -> None:
        """The name has no query, which may be a secret."""
        self.assertEqual("GET /a", request("GET /a?token=secret").name)

    def test_connection(self) -> None:
        """HTTP/1.1 goes on if the client does not say otherwise, HTTP/1.0 does not."""
        self.assertTrue(request("GET /").keeps)
        self.assertTrue(request("GET /", "Connection: keep-alive, closed").keeps)
        self.assertFalse(request("GET /", "Connection: keep-alive,  CLOSE ").keeps)
        self.assertFalse(request("GET /", "Connection: keep-alive", version="HTTP/1.0").keeps)

    def test_body(self) -> None:
        """A body has a reader of its kind, a new one each time."""
        self.assertFalse(request("POST /").has_body)
        self.assertFalse(request("POST /", "Content-Length: 0").has_body)
        sized = request("GET /", "Content-Length: 5")
        self.assertIsInstance(sized.make_body(), SizedBody)
        self.assertIsNot(sized.make_body(), sized.make_body())
        chunked = request("POST /", "Transfer-Encoding: chunked")
        self.assertTrue(chunked.has_body)
        self.assertIsInstance(chunked.make_body(), ChunkedBody)
        self.assertRaises(BadBody, request, "POST /", "Content-Length: 1001")

    def test_expects(self) -> None:
        """Only a client with a body, and of HTTP/1.1, waits; another expectation is a 417."""
        length, expect = "Content-Length: 5", "Expect: 100-Continue"
        self.assertTrue(request("POST /", length, expect).expects)
        self.assertFalse(request("POST /", expect).expects)
        self.assertFalse(request("POST /", length, expect, version="HTTP/1.0").expects)
        error = self.assertRaises(BadBody, request, "POST /", length, "Expect: tea")
        self.assertEqual(417, error.status)

    def test_extensions(self) -> None:
        """Trailers are offered to those who take them."""
        plain = request("GET /").make_scope()["extensions"]
        self.assertEqual(
            {f"http.response.{name}" for name in ("early_hint", "pathsend", "zerocopysend")},
            {*plain},
        )
        found = request("GET /", "TE: gzip, Trailers")
        self.assertTrue(found.takes_trailers)
        self.assertIn("http.response.trailers", found.make_scope()["extensions"])
        self.assertFalse(request("GET /", "TE: trailers", version="HTTP/1.0").takes_trailers)
