"""Requests for pages: none of them leaves anything behind, whatever it says and however it ends."""

from __future__ import annotations

import sys
import threading
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support.memory_gateway import MemoryGatewayCase, SiteGateway, Socket
from tests.support.odd_pages import ANSWERS, OddPages
from tests.support.search import search
from tests.support.threads import ThreadReactor
from wsredis.config import GatewayConfig, Limits
from wsredis.web.application import WSGIResource
from wsredis.web.spool import Spool

_THREADS = 2

_METHOD = st.sampled_from(
    [*b"GET GET HEAD POST OPTIONS TRACE CONNECT PRI get G!T G(T G\xfcT".split(), b"", b"A" * 300]
)

_TARGETS = b"""
/ /page //x /// /a%00b /%ff /%zz /../x /a;b /a#b * x /\xfc /ws/x /ws/ /ws //ws/x
/health/live /wsredis.js /metrics h:80 http:// http:///x http://h/x HTTP://h?x http://u:p@h/
ftp://h/ http://[::1]:8/%2f
""".split()

_TARGET = st.one_of(
    st.sampled_from([*_TARGETS, b"", b"/a b", *[b"/?" + b"q" * size for size in (1, 700, 1500)]]),
    st.binary(max_size=12).map(lambda rest: b"/" + rest),
)

_VERSION = st.sampled_from([*[b"HTTP/1.1"] * 5, b"HTTP/1.0", b"HTTP/2.0", b"http/1.1", b"", b"X"])

_HEADERS = b"""\
Host: h
Host:
Host: \xfc
Host: a, b
Host: [::1]:80
hOST: h
Cookie: a=Z\xfcrich
Cookie: a=1
Cookie: \xff\xfe
Cookie:
Content-Type: \xfc
Content-Type: a
X_A: 1
X-A: 1
X-A:
X-A: \0
X-A: \r1
 folded
X-A : 1
: 1
none
\xfc: 1
Content-Length: 0
Content-Length: 3
Content-Length: +3
Content-Length: 3, 3
Content-Length:
Content-Length: 99999999999999999999
Transfer-Encoding: chunked
Transfer-Encoding: gzip, chunked
Transfer-Encoding: identity
Transfer-Encoding: \xfc
TE: trailers
Expect: 100-continue
Expect: 100-Continue
Expect: x
Connection: close
Connection: keep-alive
Connection: Upgrade
Upgrade: h2c
Upgrade: websocket
Sec-WebSocket-Version: 13
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==
HTTP2-Settings: x
X-Forwarded-For: 1.2.3.4, \xfc
Authorization: Basic \xfc
Proxy: http://x
Range: bytes=0-1,5-
""".split(b"\n")

_HEADER = st.one_of(
    st.sampled_from([*_HEADERS, b"X-A: a\nX: b", b"X-Long: " + b"x" * 700]),
    st.binary(max_size=12),
)

_BODY = st.sampled_from(
    [
        *(b"", b"abc", b"abcde", b"3\r\nabc\r\n0\r\n\r\n", b"0\r\n", bytes(900)),
        *(b"3;a=b\r\nabc\r\n0\r\nX-T: 1\r\n\r\n", b"zz\r\n", b"-3\r\nabc\r\n"),
        *(b"3\r\nabcde\r\n", b"fffffffffffffffffff\r\nx", b"\r\n\r\n", b"\x16\x03\x01\x02"),
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    ]
).map(lambda body: ([], body))


_ODD_LINE = st.tuples(_METHOD, _TARGET, _VERSION).map(b" ".join)

_LINE = st.sampled_from(
    [b"GET /page HTTP/1.1", b"HEAD / HTTP/1.1", b"POST /page?a=b HTTP/1.1", b"GET / HTTP/1.0"]
)

#: Bodies with the headers that announce them, rightly or not.
_FRAMED = st.sampled_from(
    [
        *(([], b""), ([b"Content-Length: 3"], b"abc"), ([b"Content-Length: 5"], b"abc")),
        ([b"Expect: 100-continue", b"Content-Length: 3"], b"abc"),
        ([b"Transfer-Encoding: chunked"], b"3;a=b\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"),
        ([b"Transfer-Encoding: chunked"], b"3\r\nabcde\r\n0\r\n\r\n"),
        ([b"Content-Length: 700"], bytes(900)),
        ([], b"GET /page HTTP/1.1\r\nHost: h\r\n\r\n"),
    ]
)


def _request(parts: tuple[bytes, list[bytes], tuple[list[bytes], bytes]]) -> bytes:
    line, headers, framed = parts
    return b"\r\n".join([line, *headers, *framed[0], b"", framed[1]])


#: Odd in one way, so that most of them arrive at the application; or in all ways.
_REQUEST = st.one_of(
    st.tuples(_ODD_LINE, st.just([b"Host: h"]), _FRAMED),
    st.tuples(_LINE, st.just([b"Host: h"]), _FRAMED),
    st.tuples(_LINE, _HEADER.map(lambda odd: [b"Host: h", odd]), _FRAMED),
    st.tuples(_ODD_LINE, st.lists(_HEADER, max_size=6), _BODY),
).map(_request)


class OddRequestTests(MemoryGatewayCase):
    """A gateway with an application, and odd requests to it."""

    config = GatewayConfig(limits=Limits(max_handshakes=20, max_head=1024, max_body=800))

    def setUp(self) -> None:
        """A gateway whose application answers as each example says."""
        self.pages = OddPages()
        self.name = "hello"
        self.reactor = ThreadReactor()
        self.spool = Spool(400_000)
        self.resource = WSGIResource(self.reactor, self._application, _THREADS, 4, spool=self.spool)
        self.use(SiteGateway(self.config, application=self.resource))
        self.site = self.gateway.site
        self.resource.start()
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        self.threads = threading.active_count()

    def _application(self, environ: dict[str, Any], start_response: Any) -> Any:
        return self.pages.answer(self.name, environ, start_response)

    def settle(self) -> None:
        """Let the application and the gateway come to rest."""
        for _ in range(4):
            self.clock.advance(0)
            self.reactor.run_until(lambda: not self.resource.busy)
            self.reactor.advance(0)

    def send(self, client: Socket, data: bytes) -> None:
        """Send bytes as far as the gateway takes them."""
        if client.paused:
            self.settle()
        if not client.paused:
            client.send(data)

    def assert_at_rest(self) -> None:
        """Nothing is left of all clients so far, and a further one gets its page."""
        site, registry = self.site, self.factory.registry
        assert site.places is not None
        self.assertEqual((0, 0), (self.resource.busy, site.places.held))
        self.assertEqual((0, 0), (self.spool.held, site.spool.held))
        self.assertEqual(self.pages.opened, self.pages.closed)
        self.assertEqual([], [*site.channels, *registry.connections, *registry.handshakes])
        slots = registry.slots
        self.assertEqual(
            [0, 0, 0], [each.held for each in (slots.sockets, slots.handshakes, slots.websockets)]
        )
        self.assertLessEqual(threading.active_count(), self.threads + _THREADS)

    @search(500)
    @given(
        _REQUEST,
        st.sampled_from(sorted(ANSWERS)),
        st.lists(st.integers(0, 120), max_size=3).map(sorted),
        st.sampled_from(["reads", "reads", "reads", "leaves early", "does not read"]),
    )
    def test_leaves_nothing(self, data: bytes, name: str, cuts: list[int], how: str) -> None:
        """A request in any pieces, with any answer, of a client that stays, leaves or waits."""
        self.name = name
        client = self.connect()
        client.reading = how != "does not read"
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            self.send(client, data[start:end])
        if how == "reads":
            self.settle()
            found = client.take()
            self.assertTrue(not found or found.startswith(b"HTTP/1."), found[:40])
        client.leave()
        self.settle()
        self.flushLoggedErrors()
        self.assert_at_rest()
        self.name = "hello"
        client = self.connect()
        client.send(b"GET /hello HTTP/1.1\r\nHost: h\r\n\r\n")
        self.settle()
        self.assertTrue(client.take().endswith(b"\r\n\r\nhello"))
        client.leave()
        self.settle()
        self.assert_at_rest()

    def tearDown(self) -> None:
        """No timer is left either."""
        self.resource.stop()
        self.flushLoggedErrors()
        self.assertEqual([], self.reactor.getDelayedCalls())
        self.nothing_left()
