"""Tests for `wsredis.transports.websocket.head`: bytes in, outcome out."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.raw import handshake
from wsredis.transports.websocket.head import (
    HandshakeHead,
    Head,
    Kind,
    check_plain,
    loggable_target,
    parse,
    parse_line,
    path_of,
)

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
        for data in (b"\x16\x03\x01\x02\x00", b"*1\r\n$4\r\n", b"\r\n", b"\x00", b" GET", b"!GET"):
            self.check(data, Kind.MALFORMED, 400)
            # The same if the rest has come already, and is too large or not.
            for rest in (b" /ws/a HTTP/1.1\r\nHost: a\r\n\r\n", b"x" * 20_000):
                self.assertEqual(parse(data, 16384), parse(data + rest, 16384))

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
            "User-Agent: a\xc2\x85X-Forwarded-For: 6.6.6.6",
            "User-Agent: \xc3\x85\x85X-Forwarded-For: 6.6.6.6",
            "User-Agent: \xff\xc3\x85",
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

    def test_letters(self) -> None:
        """A letter in UTF-8 may have the byte that is refused by itself, and ends no line."""
        for letters in ("\xc5", "\u0445", "\u0105", "\u5145", "\U0001f605"):
            text = letters.encode().decode("latin-1")
            self.assertIn("\x85", text)
            head = parse(_with(f"Cookie: name={text}X-Evil: 1"), 8192)
            self.assertEqual(f"name={text}X-Evil: 1", head.headers["cookie"])
            self.assertNotIn("x-evil", head.headers)

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


class HandshakeTests(SynchronousTestCase):
    """The parts of a handshake, and what is wrong with them."""

    def parts(self, data: bytes) -> HandshakeHead:
        """The parts of a good handshake."""
        found = parse(data, _LIMIT)
        assert found.handshake is not None, found.reason
        self.assertEqual(found.headers, found.handshake.headers)
        return found.handshake

    def refused(self, data: bytes) -> tuple[int, str]:
        """The status and the reason of a bad one."""
        found = parse(data, _LIMIT)
        self.assertEqual((Kind.MALFORMED, None), (found.kind, found.handshake), data)
        return found.status, found.reason

    def test_all_of_it(self) -> None:
        """Target, headers, subprotocols, key and size are those of the head."""
        data = handshake("/ws/a?b=%20c", "X-A: \t1 ", "Sec-WebSocket-Protocol: b ,a")
        found = self.parts(data + b"rest")
        self.assertEqual("/ws/a?b=%20c", found.target)
        self.assertEqual("1", found.headers["x-a"])
        self.assertEqual(["b", "a"], found.protocols)
        self.assertEqual("dGhlIHNhbXBsZSBub25jZQ==", found.key)
        self.assertEqual(len(data), found.size)

    def test_no_subprotocol(self) -> None:
        """Nothing offered is an empty list, and so are empty elements."""
        self.assertEqual([], self.parts(_GOOD).protocols)
        self.assertEqual([], self.parts(_with("Sec-WebSocket-Protocol: , ,")).protocols)

    def test_repeated(self) -> None:
        """Headers that came several times are one list; cookies are joined as those of one."""
        found = self.parts(_with("X-A: 1\r\nCookie: a=b\r\nx-a: 2\r\nX-A: 3\r\nCookie: c=d"))
        self.assertEqual("1, 2, 3", found.headers["x-a"])
        self.assertEqual("a=b; c=d", found.headers["cookie"])
        found = self.parts(_with("Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b"))
        self.assertEqual(["a", "b"], found.protocols)
        self.parts(_with("Connection: close\r\nUpgrade: h2c"))

    def test_once(self) -> None:
        """A header that is not a list comes once."""
        for line in ("Host: b", "Origin: a://b\r\nOrigin: a://b", "Sec-WebSocket-Version: 13"):
            status, reason = self.refused(_with(line))
            self.assertEqual(400, status)
            self.assertIn("more than once", reason)

    def test_absolute(self) -> None:
        """A target with scheme and host is a path, and its host is in place of the header."""
        for target, host, path in (
            ("http://a.example:80/ws/a?b", "a.example:80", "/ws/a?b"),
            ("wss://a.example/ws/a", "a.example", "/ws/a"),
            ("WS://[2001:db8::1]:8080/", "[2001:db8::1]:8080", "/"),
            ("https://a.example", "a.example", "/"),
            ("http://a.example?b", "a.example", "/?b"),
            ("http://a.example:/x", "a.example", "/x"),
            ("http:///x", "", "/x"),
        ):
            found = self.parts(handshake(target))
            self.assertEqual((host, path), (found.headers["host"], found.target))

    def test_target(self) -> None:
        """Any other target that is not a path is refused."""
        for target in ("*", "ws/a", "a.example:80", "ftp://a/b", "http://u:p@a/b", "http:/b", "?"):
            self.assertEqual(400, self.refused(handshake(target))[0])
        for target in ("/ws/a#b", "/ws/a?#", "http://a/b#c"):
            self.assertIn("fragment", self.refused(handshake(target))[1])

    def test_host(self) -> None:
        """The port may be empty; nothing but a host and a port is a host."""
        for host, expected in (
            ("name:", "name"),
            ("name:0", "name:0"),
            ("[::1]:", "[::1]"),
            ("x%20y", "x%20y"),
            ("", ""),
            (":80", ":80"),
        ):
            self.assertEqual(expected, self.parts(handshake("/", host=host)).headers["host"])
        for host in ("a b", "a:port", "a:+80", "a:123456", "a/b", "u@a", "[::1", "a:1:2", "\xe9"):
            self.assertIn("host", self.refused(handshake("/", host=host))[1])
        missing = _GOOD.replace(b"Host: localhost\r\n", b"")
        self.assertEqual((400, "the header host is missing"), self.refused(missing))

    def test_connection(self) -> None:
        """It has to ask for an upgrade, among others."""
        for value in (b"upgrade", b"keep-alive,Upgrade", b"close , UPGRADE", b", upgrade"):
            self.parts(_GOOD.replace(b"Connection: Upgrade", b"Connection: " + value))
        for value in (b"close", b"", b"upgrades"):
            self.refused(_GOOD.replace(b"Connection: Upgrade", b"Connection: " + value))

    def test_version(self) -> None:
        """Another version is answered with 426."""
        for value in (b"8", b"", b"x", b"013", b"13, 8"):
            self.assertEqual(426, self.refused(_GOOD.replace(b" 13", b" " + value))[0])

    def test_key(self) -> None:
        """It is 16 bytes in base64."""
        for key in ("", "short", "A" * 24, "_" * 22 + "==", "A" * 22 + "==="):
            self.assertIn("key", self.refused(handshake("/", key=key))[1])

    def test_origin(self) -> None:
        """Each that has a scheme is one, and so is null."""
        for origin in (
            "null",
            "file://",
            "app://x",
            "chrome-extension://abc",
            "http://[::1]:99999",
        ):
            self.assertEqual(origin, self.parts(_with(f"Origin: {origin}")).headers["origin"])
        for origin in ("", "x", "x y", "http://a http://b", "://a", "http://\xe9"):
            self.assertIn("origin", self.refused(_with(f"Origin: {origin}"))[1])

    def test_subprotocols(self) -> None:
        """None may be offered twice; the reason does not tell which, since it may be a token."""
        status, reason = self.refused(_with("Sec-WebSocket-Protocol: secret, b, secret"))
        self.assertEqual((400, "a subprotocol is offered twice"), (status, reason))

    def test_body(self) -> None:
        """A handshake with a body is refused, however its length is written."""
        for line in ("Content-Length: 1", "content-length:", "Content-Length: 0, 0"):
            self.assertEqual((400, "a handshake has no body"), self.refused(_with(line)), line)
        self.assertEqual(400, self.refused(_with("Transfer-Encoding: chunked"))[0])

    def test_many_headers(self) -> None:
        """A request has a hundred headers at most, whatever it asks for."""
        count = _GOOD.count(b"\r\n") - 2
        for start in (_GOOD[:-4], b"GET / HTTP/1.1" + b"\r\na:" * count):
            self.assertNotEqual(
                Kind.TOO_LARGE, parse(start + b"\r\na:" * (100 - count) + b"\r\n\r\n", _LIMIT).kind
            )
            found = parse(start + b"\r\na:" * (101 - count) + b"\r\n\r\n", _LIMIT)
            self.assertEqual((Kind.TOO_LARGE, 431), (found.kind, found.status))

    def test_no_quotes(self) -> None:
        """No reason repeats what the client sent."""
        for old, new in (
            (b"/ws/a", b"secret"),
            (b"localhost", b"se cret"),
            (b"Connection: Upgrade", b"Connection: secret"),
            (b" 13", b" secret"),
            (b"dGhl", b"secret"),
            (b"\r\n\r\n", b"\r\nOrigin: secret\r\n\r\n"),
        ):
            self.assertNotIn("secret", self.refused(_GOOD.replace(old, new, 1))[1])

    def test_headers_of_a_page(self) -> None:
        """The headers of plain HTTP are there as well."""
        found = parse(b"GET / HTTP/1.1\r\nX-A: 1\r\nx-a: 2\r\n\r\n", _LIMIT)
        self.assertEqual({"x-a": "1, 2"}, found.headers)

    def test_all_of_a_page(self) -> None:
        """The request line is there in its parts, and each header as it came, in its order."""
        head = b"PoST http://a/b?c HTTP/1.0\r\nX-A: 1\r\nB:\r\nx-a:\t2 \r\n\r\n"
        found = parse(head + b"body", _LIMIT)
        self.assertEqual(("PoST", "http://a/b?c", "HTTP/1.0"), found[5:8])
        self.assertEqual([("X-A", " 1"), ("B", ""), ("x-a", "\t2 ")], found.pairs)
        self.assertEqual(len(head), found.size)
        found = parse(_with("X-A: 1"), _LIMIT)
        self.assertEqual(("X-A", " 1"), found.pairs[-1])
        self.assertEqual(("", "", "", len(_with("X-A: 1"))), (*found[5:8], found.size))


class SameHeadersTests(SynchronousTestCase):
    """`parse_line`."""

    def test_line(self) -> None:
        """A head with headers that are known is read as `parse` would read it, or not at all."""
        for known in (
            b"GET / HTTP/1.1\r\nHost: x\r\nA: \xc3\x85\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
        ):
            headers = known.partition(b"\r\n")[2]
            for line in (
                *(b"GET / HTTP/1.1", b"POST /a?b HTTP/1.0", b"x http://a/ HTTP/1.1", b"GET"),
                *(
                    b"GET /a b HTTP/1.1",
                    b"GET  / HTTP/1.1",
                    b"GET /\xff HTTP/1.1",
                    b" GET / HTTP/1.1",
                ),
                *(b"GET /\n HTTP/1.1", b"GET /\r HTTP/1.1", b"GET / HTTP/1.1\r", b"", b"\r\nGET"),
                *(
                    b"GET / HTTP/1.1 ",
                    b"GET / HTTP/11",
                    b"GET /\x85 HTTP/1.1",
                    b"GET /\x00 HTTP/1.1",
                ),
                *(b"GET / HTTP/1.1\r\nB: 1", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n\r\nX"),
            ):
                for rest in (b"", b"more", headers):
                    data = line + b"\r\n" + headers + rest
                    found, slow = parse_line(data, headers, _LIMIT), parse(data, _LIMIT)
                    same = data[: slow.size].partition(b"\r\n")[2] == headers
                    is_known = same and slow.kind is Kind.HTTP
                    self.assertEqual(is_known, found is not None, data)
                    if found is not None:
                        self.assertEqual((*slow[5:8], slow.size), found, data)

    def test_other_headers(self) -> None:
        """Other headers, half a head, and one that is too large are read by `parse`."""
        headers = b"Host: x\r\n\r\n"
        good = b"GET / HTTP/1.1\r\n" + headers
        self.assertEqual(("GET", "/", "HTTP/1.1", len(good)), parse_line(good, headers, len(good)))
        self.assertIsNone(parse_line(good, headers, len(good) - 1))
        self.assertIsNone(parse_line(good[:-1], headers, _LIMIT))
        self.assertIsNone(parse_line(good.replace(b"Host", b"host"), headers, _LIMIT))
        self.assertIsNone(parse_line(b"GET / HTTP/1.1", headers, _LIMIT))


class PlainTests(SynchronousTestCase):
    """`check_plain` and `path_of`."""

    def plain(self, line: str, *headers: str) -> Head:
        """Judge a request."""
        found = parse("\r\n".join([line, *headers, "", ""]).encode(), _LIMIT)
        self.assertEqual(Kind.HTTP, found.kind)
        return check_plain(found)

    def test_path(self) -> None:
        """A request for a path stays as it is."""
        found = self.plain("GET /a?b HTTP/1.1", "Host: x:80")
        self.assertEqual(
            (Kind.HTTP, "/a?b", {"host": "x:80"}), (found.kind, found.target, found.headers)
        )
        self.assertEqual(Kind.HTTP, self.plain("GET / HTTP/1.0").kind)
        self.assertEqual(Kind.HTTP, self.plain("GET / HTTP/1.1", "Host:").kind)

    def test_url(self) -> None:
        """The host of a URL is in the place of the header."""
        for target, path in (
            ("http://b:1", "/"),
            ("HTTP://b:1?c", "/?c"),
            ("https://b:1/c?d", "/c?d"),
        ):
            found = self.plain(f"GET {target} HTTP/1.1", "A: 1", "Host: x", "B: 2")
            self.assertEqual(path, found.target)
            self.assertEqual("b:1", found.headers["host"])
            self.assertEqual([("host", "b:1"), ("A", " 1"), ("B", " 2")], found.pairs)
            self.assertEqual(path.partition("?")[0], path_of(target))

    def test_refused(self) -> None:
        """What has two meanings, or none, is refused."""
        for status, line, headers in (
            (505, "GET / HTTP/2.0", ["Host: x"]),
            (505, "GET / HTTP/1.2", ["Host: x"]),
            (400, "GET / HTTP/1.1", []),
            (400, "GET / HTTP/1.1", ["Host: x", "Host: x"]),
            (400, "GET / HTTP/1.1", ["Host: x/y"]),
            (400, "GET / HTTP/1.1", ["Host: x, y"]),
            (400, "GET / HTTP/1.1", ["Host: u@x"]),
            (400, "GET /#a HTTP/1.1", ["Host: x"]),
            (400, "GET x HTTP/1.1", ["Host: x"]),
            (400, "OPTIONS * HTTP/1.1", ["Host: x"]),
            (400, "CONNECT x:1 HTTP/1.1", ["Host: x"]),
            (400, "GET http://u@x/ HTTP/1.1", ["Host: x"]),
            (400, "GET ftp://x/ HTTP/1.1", ["Host: x"]),
        ):
            found = self.plain(line, *headers)
            self.assertEqual((Kind.MALFORMED, status), (found.kind, found.status), (line, headers))

    def test_path_of(self) -> None:
        """A target without a path has an empty one."""
        self.assertEqual(
            ["/a", "", "", "/"], [path_of(each) for each in ("/a?b", "*", "x:1", "http://a")]
        )


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
            (b"GET /ws/a#secret", "GET /ws/a"),
            (b"GET /ws/a%3Ftoken=secret", "GET /ws/a"),
            (b"GET http://user:secret@host/ws/a HTTP/1.1", "GET http://host/ws/a HTTP/1.1"),
            (b"http://user:secret@host/ws/a", "http://host/ws/a"),
            (b"OPTIONS * HTTP/1.1", "OPTIONS * HTTP/1.1"),
            (b"", ""),
        ):
            self.assertEqual(target, loggable_target(data))

    def test_any_bytes(self) -> None:
        """Any bytes give a string, and a long one is cut."""
        self.assertEqual("\xff\x00", loggable_target(b"\xff\x00"))
        self.assertEqual(200, len(loggable_target(b"/x" * 10_000)))

    def test_no_request(self) -> None:
        """Of a line that is not that of a request only the start of the first word is in it."""
        for data, start in (
            (b"Cookie: session=secret", "Cookie"),
            (b"Authorization:secret", "Authoriz"),
            (b"session=secret; a=b", "session"),
            (b"0123456789abcdef", "01234567"),
            (b"\x16\x03\x01 secret", "\x16\x03\x01"),
            (b"CONNECT secret:443 HTTP/1.1", "CONNECT"),
            (b"GET secret HTTP/1.1", "GET"),
        ):
            self.assertEqual(start, loggable_target(data))
