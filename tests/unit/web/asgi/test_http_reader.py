"""Tests of the heads of the requests of one connection."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.raw import handshake
from wsredis.transports.websocket.head import Head, Kind
from wsredis.web.asgi.bodies import BadBody
from wsredis.web.asgi.http_reader import RequestReader
from wsredis.web.asgi.http_request import Request
from wsredis.web.asgi.scopes import Place, Whereabouts


class _Kept:
    """A site."""

    channels: Any = None
    places: Any = None
    max_head = 300
    max_body = 1000

    def keeps_connections(self) -> bool:
        return True

    def is_own(self, path: str) -> bool:
        return path == "/own"

    def call_in_turn(self, function: Any) -> None:
        raise NotImplementedError


def _data(line: str, *headers: str, rest: str = "") -> bytes:
    return "\r\n".join([f"{line} HTTP/1.1", "Host: x", *headers, "", rest]).encode()


class ReaderTests(SynchronousTestCase):
    """`RequestReader`."""

    def setUp(self) -> None:
        """Make one."""
        self.reader = RequestReader(_Kept(), Whereabouts(None, None, False, None))

    def read(self, data: bytes) -> Request | Head | None:
        """Read."""
        return self.reader.read(data, Place())

    def request(self, data: bytes) -> Request:
        """Read a request."""
        found = self.read(data)
        assert isinstance(found, Request)
        return found

    def head(self, data: bytes) -> Head:
        """Read a head that is no request."""
        found = self.read(data)
        assert isinstance(found, Head)
        return found

    def test_parts(self) -> None:
        """A head is read when it is whole."""
        data = _data("GET /a?b")
        for end in range(1, len(data)):
            self.assertIsNone(self.read(data[:end]))
        found = self.request(data + b"more")
        self.assertEqual((data, "GET", "/a?b"), (found.raw, found.method, found.target))

    def test_again(self) -> None:
        """The same head is the same request, the same headers are worked out once."""
        first = self.request(_data("GET /a"))
        self.assertIs(first, self.request(_data("GET /a", rest="more")))
        second = self.request(_data("POST /b"))
        self.assertEqual(
            ("POST", "/b", _data("POST /b")), (second.method, second.target, second.raw)
        )
        self.assertIs(first.headers, second.headers)
        self.assertIsNot(first.headers, self.request(_data("GET /a", "X: y")).headers)

    def test_not_again(self) -> None:
        """A head with known headers that is no request of the application is none either way."""
        for _ in range(2):
            self.assertEqual((Kind.HTTP, 0), self.head(_data("GET /own?a"))[:2])
            self.assertEqual(400, self.head(_data("GET /a#b")).status)
            self.assertEqual(400, self.head(_data("GET x")).status)
            self.assertEqual(400, self.head(_data("GET  /a")).status)
            self.assertEqual(431, self.head(_data("GET /" + "a" * 300)).status)
            self.assertEqual(505, self.head(_data("GET /a").replace(b"1.1", b"1.2")).status)
            self.request(_data("GET /a"))

    def test_versions(self) -> None:
        """What follows from headers depends on the version."""
        self.assertFalse(self.request(_data("GET /a")).headers.is_old)
        self.assertTrue(self.request(_data("GET /a").replace(b"1.1", b"1.0")).headers.is_old)

    def test_urls(self) -> None:
        """The host of a URL is not that of a later request with the same headers."""
        for target, host in (("http://a/", "a"), ("/", "x"), ("http://b/", "b"), ("/c", "x")):
            found = self.request(_data(f"GET {target}"))
            self.assertEqual(host, found.headers.values["host"])

    def test_handshake(self) -> None:
        """A handshake is for another channel."""
        found = self.head(handshake("/ws/a"))
        self.assertEqual((Kind.HANDSHAKE, 0), found[:2])
        self.assertEqual(len(handshake("/ws/a")), found.size)

    def test_body(self) -> None:
        """A body that cannot be read raises."""
        self.assertRaises(BadBody, self.read, _data("POST /a", "Content-Length: 1001"))
