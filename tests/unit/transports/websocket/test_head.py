"""Tests for `wsredis.transports.websocket.head`: bytes in, outcome out."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.raw import handshake
from wsredis.transports.websocket.head import Kind, loggable_target, parse

_GOOD = handshake("/ws/a")
_LIMIT = 16384


def _with(line: str) -> bytes:
    return handshake("/ws/a", line)


class ParseTests(SynchronousTestCase):
    """`parse`."""

    def check(self, data: bytes, kind: Kind, status: int = 0, limit: int = _LIMIT) -> None:
        """Check one outcome. Every outcome with a status has a reason, and no other has one."""
        head = parse(data, limit)
        self.assertEqual((kind, status), (head.kind, head.status), data)
        self.assertEqual(status != 0, head.reason != "", data)

    def test_handshake(self) -> None:
        """An upgrade to a WebSocket is a handshake, in any notation of RFC 9110."""
        for value in (
            b"websocket",
            b"WebSocket",
            b" websocket ",
            b"\twebsocket",
            b"h2c, websocket",
            b"h2c,websocket",
            b"websocket,h2c",
            b"websocket , h2c",
        ):
            for name in (b"Upgrade:", b"upgrade:", b"UPGRADE:"):
                self.check(_GOOD.replace(b"Upgrade: websocket", name + value), Kind.HANDSHAKE)

    def test_http(self) -> None:
        """Every other well-formed request is plain HTTP, whatever its method and version."""
        for data in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.0\r\n\r\n",
            b"POST /x?y HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345",
            b"OPTIONS * HTTP/1.1\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET http://other/ HTTP/1.1\r\nHost: x\r\n\r\n",
        ):
            self.check(data, Kind.HTTP)
        for value in (b"h2c", b"websockets", b"xwebsocket", b"web socket", b""):
            self.check(_GOOD.replace(b"Upgrade: websocket", b"Upgrade: " + value), Kind.HTTP)
        self.check(_GOOD.replace(b"Upgrade: websocket", b"X-Upgrade: websocket"), Kind.HTTP)
        self.check(_with("X: upgrade: websocket").replace(b"Upgrade: w", b"Y: w"), Kind.HTTP)

    def test_after_the_head(self) -> None:
        """Bytes after the head do not count."""
        plain = b"GET / HTTP/1.1\r\n\r\n"
        self.check(plain + b"\r\nUpgrade: websocket\r\n\r\n", Kind.HTTP)
        self.check(plain + b"\xff" * 100, Kind.HTTP, limit=len(plain))
        self.check(_GOOD + b"\xff" * 100, Kind.HANDSHAKE, limit=len(_GOOD))

    def test_incomplete(self) -> None:
        """Every true beginning of a head is incomplete."""
        for end in range(1, len(_GOOD)):
            self.check(_GOOD[:end], Kind.INCOMPLETE)

    def test_in_parts(self) -> None:
        """The end is found wherever the reads end."""
        for first in range(1, len(_GOOD)):
            self.assertIs(Kind.HANDSHAKE, parse(_GOOD, _LIMIT, first).kind)

    def test_too_large(self) -> None:
        """The limit counts the whole head and nothing else, and includes the last byte."""
        size = len(_GOOD)
        self.check(_GOOD, Kind.HANDSHAKE, limit=size)
        self.check(_GOOD, Kind.TOO_LARGE, 431, limit=size - 1)
        self.check(_GOOD[:-1], Kind.INCOMPLETE, limit=size - 1)
        self.check(_GOOD[:-1], Kind.TOO_LARGE, 431, limit=size - 2)
        self.assertIn("20 bytes", parse(_GOOD, 20).reason)

    def test_not_http(self) -> None:
        """Binary protocols are malformed from the first byte on."""
        for data in (b"\x16\x03\x01\x02\x00", b"*1\r\n$4\r\n", b"\r\n", b"\x00", b" GET"):
            self.check(data, Kind.MALFORMED, 400)

    def test_request_line(self) -> None:
        """A malformed request line is refused."""
        for line in (
            b"GET  /ws/a HTTP/1.1",
            b"GET /ws/a b HTTP/1.1",
            b"GET /ws/a",
            b"GET /ws/a HTTP/1.1 ",
            b"GET /ws/\xff HTTP/1.1",
            b"GET /ws/a\x00 HTTP/1.1",
            b"G@T /ws/a HTTP/1.1",
            b"GET /ws/a HTTP/11",
            b"GET /ws/a http/1.1",
            b"GET\t/ws/a HTTP/1.1",
            b"GET /ws/a\nHTTP/1.1",
        ):
            self.check(line + _GOOD[_GOOD.index(b"\r\n") :], Kind.MALFORMED, 400)

    def test_smuggled_headers(self) -> None:
        """Bytes that some reader takes for the end of a line are refused, and so are bad names."""
        for line in (
            "User-Agent: a\x85X-Forwarded-For: 6.6.6.6",
            "User-Agent: a\x0bX-Evil: 1",
            "User-Agent: a\x0cX-Evil: 1",
            "User-Agent: a\x1cX-Evil: 1",
            "User-Agent: a\x1dX-Evil: 1",
            "User-Agent: a\x1eX-Evil: 1",
            "User-Agent: a\rX-Evil: 1",
            "User-Agent: a\nX-Evil: 1",
            "User-Agent: a\x00b",
            "User-Agent: a\x7f",
            "User-Agent: a\r\n folded",
            "User-Agent: a\r\n\tfolded",
            "User-Agent : blank before the colon",
            " User-Agent: blank before the name",
            "no colon",
            ": no name",
            "Na(me: x",
        ):
            self.check(_with(line), Kind.MALFORMED, 400)

    def test_harmless_headers(self) -> None:
        """Bytes above ASCII, tabs and empty values pass."""
        for line in ("X-A: gr\xfc\xdfe\tx", "X-B:", "X-C:no blank", "X-D: \x80\xff", "!#$%: x"):
            self.check(_with(line), Kind.HANDSHAKE)

    def test_method_and_version(self) -> None:
        """A handshake by another method or version is refused; the reason says which is right."""
        self.check(_GOOD.replace(b"GET", b"POST", 1), Kind.MALFORMED, 400)
        self.assertIn("GET", parse(_GOOD.replace(b"GET", b"POST", 1), _LIMIT).reason)
        for version in (b"HTTP/1.0", b"HTTP/2.0"):
            data = _GOOD.replace(b"HTTP/1.1", version, 1)
            self.check(data, Kind.MALFORMED, 400)
            self.assertIn("1.1", parse(data, _LIMIT).reason)


class SimpleTests(SynchronousTestCase):
    """Handshakes that need no further check: their parts, and what is none of them."""

    def test_all_of_it(self) -> None:
        """Target, headers, subprotocols, key and size are those of the head."""
        data = handshake("/ws/a?b=%20c", "X-A: \t1 ", "Sec-WebSocket-Protocol: b ,a")
        simple = parse(data + b"rest", _LIMIT).simple
        assert simple is not None
        self.assertEqual("/ws/a?b=%20c", simple.target)
        self.assertEqual("1", simple.headers["x-a"])
        self.assertEqual(["b", "a"], simple.protocols)
        self.assertEqual("dGhlIHNhbXBsZSBub25jZQ==", simple.key)
        self.assertEqual(len(data), simple.size)

    def test_no_subprotocol(self) -> None:
        """Nothing offered is an empty list."""
        simple = parse(_GOOD, _LIMIT).simple
        assert simple is not None
        self.assertEqual([], simple.protocols)

    def test_not_simple(self) -> None:
        """What is unusual is still a handshake here, and has to be checked further."""
        for data in (
            handshake("//ws/a"),
            handshake("/ws/a#b"),
            _with("X-A: 1\r\nX-A: 2"),
            _with("X-A: \xe9"),
            _with("Origin: null"),
            _with("Sec-WebSocket-Protocol: a, a"),
            _GOOD.replace(b"Version: 13", b"Version: 8"),
        ):
            head = parse(data, _LIMIT)
            self.assertEqual((Kind.HANDSHAKE, None), (head.kind, head.simple), data)


class LoggableTests(SynchronousTestCase):
    """`loggable_target`."""

    def test_no_secrets(self) -> None:
        """Neither the query nor a header is in it, whichever comes first."""
        for data, target in (
            (b"GET /a?token=secret HTTP/1.1\r\nCookie: secret", "GET /a"),
            (b"GET /a\r\nCookie: secret", "GET /a"),
            (b"GET /a\nCookie: secret", "GET /a"),
            (b"/ws/a?token=secret", "/ws/a"),
            (b"/ws/%ff", "/ws/%ff"),
            (b"", ""),
        ):
            self.assertEqual(target, loggable_target(data))

    def test_any_bytes(self) -> None:
        """Any bytes give a string, and a long one is cut."""
        self.assertEqual("\xff\x00", loggable_target(b"\xff\x00"))
        self.assertEqual(200, len(loggable_target(b"x" * 10_000)))
