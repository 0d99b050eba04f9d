"""Tests of plain HTTP: pages, health, words for lost browsers, and sockets in a foreign site."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.support.memory_gateway import MemoryGateway, MemoryGatewayCase, Socket
from tests.support.raw import CLOSE, TEXT, frame, handshake
from wsredis.config import GatewayConfig, Limits
from wsredis.gateway.identity import Handshake
from wsredis.web.site import GatewayResource, GatewaySite, demo_page

_BOTH = "/ws/a?subscribe-broadcast&publish-broadcast&echo"


def _request(line: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"{line} HTTP/1.1", "Host: x", *headers, "", ""]).encode() + body


class SiteTests(SynchronousTestCase):
    """What is on the port of a gateway besides WebSockets."""

    def setUp(self) -> None:
        """A site that is ready."""
        self.clock = MemoryReactorClock()
        self.ready = True
        self.site = GatewaySite(self.clock, "/ws/", lambda: self.ready, "<p>the page</p>")

    def ask(self, request: bytes) -> tuple[int, str, bytes]:
        """Returns: Status, head and body of the answer."""
        client = Socket(self.site)
        client.send(request)
        head, _, body = client.take().partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), head.decode().lower(), body

    def test_page(self) -> None:
        """The page is at the root, and nowhere else."""
        status, head, body = self.ask(_request("GET /"))
        self.assertEqual((200, b"<p>the page</p>"), (status, body))
        self.assertIn("content-type: text/html; charset=utf-8", head)
        self.assertIn("cache-control: no-store", head)
        self.assertEqual(404, self.ask(_request("GET /x"))[0])

    def test_query(self) -> None:
        """A query does not matter."""
        self.assertEqual(200, self.ask(_request("GET /?x=1"))[0])

    def test_without_page(self) -> None:
        """Without a page there is nothing."""
        self.site = GatewaySite(self.clock, "/ws/", lambda: True, None)
        self.assertEqual(404, self.ask(_request("GET /"))[0])

    def test_health(self) -> None:
        """Alive always, ready while it is."""
        self.assertEqual((200, b"ok\n"), self.ask(_request("GET /health/live"))[::2])
        self.assertEqual((200, b"ok\n"), self.ask(_request("GET /health/ready"))[::2])
        self.ready = False
        self.assertEqual(200, self.ask(_request("GET /health/live"))[0])
        self.assertEqual(503, self.ask(_request("GET /health/ready"))[0])

    def test_head(self) -> None:
        """HEAD is a GET without a body."""
        status, head, body = self.ask(_request("HEAD /"))
        self.assertEqual((200, b""), (status, body))
        self.assertIn("content-length: 15", head)

    def test_scripts(self) -> None:
        """The browser script and its module are there, as scripts, for pages of any origin."""
        for path, word in (("/wsredis.js", b"globalThis.WS4Redis"), ("/wsredis.mjs", b"export")):
            status, head, body = self.ask(_request(f"GET {path}"))
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
        """A browser that has the script is told so; one that has another one gets it."""
        _, head, _ = self.ask(_request("GET /wsredis.js"))
        found = re.search(r'etag: ("[^"]+")', head)
        assert found is not None
        same = self.ask(_request("GET /wsredis.js", f"If-None-Match: {found[1]}"))
        self.assertEqual((304, b""), same[::2])
        other = self.ask(_request("GET /wsredis.js", 'If-None-Match: "0123456789abcdef"'))
        self.assertEqual(200, other[0])

    def test_exact_paths(self) -> None:
        """What looks like a path that there is, is not there."""
        for path in ("/health", "/health/", "/health/live/", "/health/live/x", "//", "/ws", "/."):
            status, _, body = self.ask(_request(f"GET {path}"))
            self.assertEqual((404, b"there is nothing here\n"), (status, body), path)

    def test_facility(self) -> None:
        """A plain request on a facility says what is missing, whatever the method."""
        for method in ("GET", "POST", "DELETE"):
            status, head, body = self.ask(_request(f"{method} /ws/a?subscribe-broadcast"))
            self.assertEqual(400, status)
            self.assertIn(b"upgrade to a websocket", body)
            self.assertIn("sec-websocket-version: 13", head)
        self.assertIn(b"HTTP method must be a GET", body)

    def test_handshake_is_not_for_this_site(self) -> None:
        """The site behind a gateway's port upgrades nothing: the protocol in front does."""
        self.assertEqual(400, self.ask(handshake("/ws/a"))[0])

    def test_nothing_of_the_client_comes_back(self) -> None:
        """No page has a word of the request in it."""
        for path in ("/<script>", "/ws/<script>", "/health/<script>"):
            status, head, body = self.ask(_request(f"GET {path}", "X: <script>"))
            self.assertNotIn(b"<script>", body)
            self.assertIn("text/plain", head)
            self.assertNotEqual(200, status)

    def test_one_request_per_connection(self) -> None:
        """The next request might be a handshake, which this site cannot take."""
        client = Socket(self.site)
        client.reading = False
        client.send(_request("GET /health/live") + _request("GET /health/live"))
        client.read()
        answer = client.take()
        self.assertEqual(1, answer.count(b"HTTP/1.1 200"))
        self.assertIn(b"connection: close", answer.lower())
        self.assertTrue(client.closed)

    def test_large_body(self) -> None:
        """A body that nobody needs is read up to a bound, then the connection is reset."""
        client = Socket(self.site)
        client.send(_request("POST /ws/a", "Content-Length: 1000000", body=b"x" * 60000))
        self.assertFalse(client.closed)
        client.send(b"x" * 60000)
        self.assertTrue(client.aborted)

    def test_slow_request(self) -> None:
        """A request that does not come is not waited for."""
        client = Socket(self.site)
        client.send(b"GET / HTTP/1.1\r\n")
        for _ in range(60):
            self.clock.advance(1)
        self.assertTrue(client.closed)

    def test_bug_shows_no_traceback(self) -> None:
        """An error on our side is 500 without a word of it."""

        def fail() -> bool:
            raise ZeroDivisionError("secret")

        self.site = GatewaySite(self.clock, "/ws/", fail, None)
        status, _, body = self.ask(_request("GET /health/ready"))
        self.assertEqual(500, status)
        self.assertNotIn(b"secret", body)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))


class DemoPageTests(SynchronousTestCase):
    """The demo page is told where it is, safely."""

    def _settings(self, page: str) -> Any:
        found = re.search(r"= (\{.*\});", page)
        assert found is not None
        return json.loads(found[1])

    def test_settings(self) -> None:
        """All of them arrive, and the place for them is gone."""
        page = demo_page("/ws/", "p:broadcast:demo", "-p 7000", "--hb--")
        self.assertNotIn("/*SETTINGS*/", page)
        self.assertEqual(
            {
                "urlPrefix": "/ws/",
                "channel": "p:broadcast:demo",
                "redis": "-p 7000",
                "heartbeat": "--hb--",
            },
            self._settings(page),
        )

    def test_hostile_settings(self) -> None:
        """A setting cannot end the script."""
        evil = "</script><script>alert(1)//"
        page = demo_page("/ws/", evil, evil, evil)
        self.assertNotIn(evil, page)
        self.assertEqual(evil, self._settings(page)["channel"])

    def test_no_assets_from_elsewhere(self) -> None:
        """The page needs nothing but itself."""
        page = demo_page("/ws/", "c", "", None)
        for found in re.findall(r"(?:src|href)=[\"']([^\"']*)", page):
            self.assertFalse(found.startswith(("http", "//")), found)


class _Page(Resource):
    """A page of somebody else."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return b"another page"


class _TlsSocket(Socket):
    """A transport that calls its protocol `wrappedProtocol`, as that of TLS does."""

    @property
    def wrappedProtocol(self) -> Any:
        return self.protocol

    @wrappedProtocol.setter
    def wrappedProtocol(self, protocol: Any) -> None:
        self.protocol = protocol


class ResourceTests(MemoryGatewayCase):
    """The gateway as a resource in a foreign site."""

    def setUp(self) -> None:
        """A site that has other pages, too."""
        super().setUp()
        root = Resource()
        root.putChild(b"ws", GatewayResource(self.factory))
        root.putChild(b"page", _Page())
        self.site = Site(root, reactor=self.clock)

    def _shake_hands(self, client: Socket, path: str = _BOTH) -> None:
        client.send(handshake(path))
        head, _, rest = client.take().partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 101 "), head)
        client.received = rest

    def test_socket(self) -> None:
        """A WebSocket works from the handshake to the end, and leaves nothing."""
        client = Socket(self.site)
        self._shake_hands(client)
        client.send(frame(TEXT, b"hello"))
        self.publish(b"world")
        self.assertEqual([b"hello", b"world"], [each.payload for each in client.frames()])
        self.close(client)
        self.assertEqual([CLOSE], [each.opcode for each in client.frames()])
        self.assertTrue(client.closed)
        self._nothing_left()

    def _nothing_left(self) -> None:
        self.assertEqual(0, len(self.factory.registry.connections))
        self.assertEqual(0, self.factory.registry.sockets)
        self.assertEqual(0, len(self.gateway.hub))

    def test_tls(self) -> None:
        """Under TLS the transport's protocol has another name."""
        client = _TlsSocket(self.site)
        self._shake_hands(client)
        client.send(frame(TEXT, b"hello"))
        self.assertEqual([b"hello"], [each.payload for each in client.frames()])

    def test_client_leaves(self) -> None:
        """A client that vanishes leaves nothing, and twisted.web is not disturbed."""
        client = Socket(self.site)
        self._shake_hands(client)
        client.leave()
        self._nothing_left()

    def test_long_life(self) -> None:
        """The site's time for a request does not end a WebSocket."""
        client = Socket(self.site)
        self._shake_hands(client)
        for _ in range(30):
            self.wait(10)
            for _ in client.frames():
                client.send(frame(10))
        self.assertFalse(client.closed)

    def test_slow_client(self) -> None:
        """The send_queue is told of a full buffer, and not the channel of twisted.web."""
        client = Socket(self.site)
        self._shake_hands(client)
        client.reading = False
        for _ in range(5):
            self.publish(b"x" * 100_000)
        client.read()
        self.assertEqual(5, len(client.frames()))

    def test_other_pages(self) -> None:
        """The rest of the site goes on, on the same connection before a handshake, too."""
        client = Socket(self.site)
        client.send(_request("GET /page"))
        self.assertIn(b"another page", client.take())
        self._shake_hands(client)

    def test_facility_with_slashes_and_escapes(self) -> None:
        """The path is that of the request line, not what twisted.web made of it."""
        client = Socket(self.site)
        self._shake_hands(client, "/ws/a/b%2Fc%20d?subscribe-broadcast")
        self.publish(b"x", b"broadcast:a/b/c d")
        self.assertEqual([b"x"], [each.payload for each in client.frames()])

    def test_headers(self) -> None:
        """All headers of the request are seen, also those that come several times."""
        client = Socket(self.site)
        client.send(handshake(_BOTH, "Origin: https://evil.example"))
        self.assertTrue(client.take().startswith(b"HTTP/1.1 403 "))
        client = Socket(self.site)
        client.send(handshake(_BOTH, "Origin: http://localhost", "Origin: http://evil.example"))
        self.assertFalse(client.take().startswith(b"HTTP/1.1 101 "))

    def test_refusals(self) -> None:
        """What the gateway refuses is refused here with the same statuses."""
        good = handshake(_BOTH)
        for request, status in (
            (good.replace(b"Version: 13", b"Version: 8"), b"426"),
            (good.replace(b"GET", b"POST", 1), b"400"),
            (good.replace(b"/ws/a", b"/ws/%ff"), b"400"),
            (_request("GET /ws/a"), b"400"),
            (_request("POST /ws/a", "Content-Length: 0"), b"400"),
        ):
            client = Socket(self.site)
            client.send(request)
            self.assertEqual(status, client.take().split(b" ", 2)[1], request)
        self.assertEqual(0, len(self.factory.registry.connections))

    def test_smuggled_header(self) -> None:
        """What twisted.web lets pass and Autobahn would split is still refused."""
        client = Socket(self.site)
        client.send(handshake(_BOTH, "User-Agent: a\x85X-Evil: 1"))
        self.assertTrue(client.take().startswith(b"HTTP/1.1 400 "))


class _Echo(Resource):
    """Pages of somebody else, on connections that are kept."""

    isLeaf = True

    def render(self, request: Any) -> Any:
        """Answer with the path and the body; ``/later`` is answered by the test."""
        if request.path == b"/later":
            self.later = request
            return NOT_DONE_YET
        return request.path + b" " + request.content.read()


class KeptTests(MemoryGatewayCase):
    """With pages connections are kept, bounded, and may become WebSockets."""

    config = GatewayConfig(limits=Limits(max_handshakes=4, max_connections=10))

    def setUp(self) -> None:
        """A gateway with pages."""
        self.pages = _Echo()
        self.use(MemoryGateway(self.config, pages=self.pages))
        self.site = self.gateway.site

    def ask(self, client: Socket, request: bytes) -> tuple[int, bytes]:
        """Returns: Status and body of the answer on a connection that there is."""
        client.send(request)
        head, _, body = client.take().partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), body

    def left(self) -> None:
        """Nothing is left of any connection."""
        self.assertEqual(set(), self.site.channels)
        self.nothing_left()

    def test_kept(self) -> None:
        """Several requests share a connection, whoever answers."""
        client = self.connect()
        self.assertEqual((200, b"/x "), self.ask(client, _request("GET /x")))
        self.assertEqual((200, b"ok\n"), self.ask(client, _request("GET /health/live")))
        self.assertEqual(400, self.ask(client, _request("GET /ws/a"))[0])
        self.assertFalse(client.closed)
        client.leave()
        self.left()

    def test_targets(self) -> None:
        """A target may have scheme and host; anything else starts with a slash."""
        client = self.connect()
        for target, status, body in (
            ("http://a:1/x?q", 200, b"/x "),
            ("HTTPS://a", 200, b"/ "),
            ("http://a?q", 200, b"/ "),
            ("x", 400, b"the request target is malformed\n"),
        ):
            self.assertEqual((status, body), self.ask(client, _request(f"GET {target}")), target)

    def test_two_hosts(self) -> None:
        """No application has to guess which host is meant."""
        request = b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"
        self.assertEqual((400, b"there is more than one Host\n"), self.ask(self.connect(), request))

    def test_handshake(self) -> None:
        """A handshake may follow pages, and what is behind it is not lost."""
        client = self.connect()
        self.ask(client, _request("GET /x"))
        client.send(handshake(_BOTH) + frame(TEXT, b"hello"))
        head, _, client.received = client.take().partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 101 "))
        self.assertEqual([b"hello"], [each.payload for each in client.frames()])
        self.assertEqual(set(), self.site.channels)
        self.assertEqual(1, self.metrics.connections)
        self.wait(100)
        self.assertTrue(client.closed, "the pings are those of any WebSocket")
        self.left()

    def test_handshake_behind_an_answer_that_is_late(self) -> None:
        """It waits for its turn."""
        client = self.connect()
        client.send(_request("GET /later") + handshake(_BOTH) + frame(TEXT, b"hello"))
        self.assertEqual(b"", client.take())
        self.pages.later.finish()
        self.assertEqual([b"200", b"101"], re.findall(rb"HTTP/1.1 (\d+)", client.take()))
        self.close(client)
        self.left()

    def test_slow_handshake(self) -> None:
        """A handshake that is not decided is still answered in time."""
        self.use(MemoryGateway(self.config, pages=self.pages, authenticator=_Never()))
        self.site = self.gateway.site
        client = self.connect()
        self.ask(client, _request("GET /x"))
        client.send(handshake(_BOTH))
        self.wait(6)
        self.assertIn(b" 503 ", client.take())
        self.assertTrue(client.closed)
        self.left()

    def test_too_many_handshakes(self) -> None:
        """They are bounded here as everywhere."""
        client = self.connect()
        self.ask(client, _request("GET /x"))
        others = [self.connect() for _ in range(4)]
        self.assertEqual(503, self.ask(client, handshake(_BOTH))[0])
        for other in others:
            other.leave()
        self.wait(5)
        self.left()

    def test_no_handshake(self) -> None:
        """With a body, or elsewhere than below the prefix, a handshake is a request."""
        client = self.connect()
        self.ask(client, _request("GET /x"))
        self.assertEqual(200, self.ask(client, handshake("/x"))[0])
        body = handshake(_BOTH, "Content-Length: 1") + b"x"
        self.assertEqual(400, self.ask(client, body)[0])
        chunked = handshake(_BOTH, "Transfer-Encoding: chunked") + b"0\r\n\r\n"
        self.assertEqual(400, self.ask(client, chunked)[0])
        self.assertEqual((200, b"/x "), self.ask(client, _request("GET /x")))

    def test_large_body(self) -> None:
        """A body over the bound is 413 and ends the connection; up to it, it is read."""
        size = self.config.limits.max_body
        for request in (
            _request("POST /x", f"Content-Length: {size + 1}"),
            _request("POST /x", f"Content-Length: {size + 1}", "Expect: 100-continue"),
            _request("POST /x", "Transfer-Encoding: chunked")
            + b"%x\r\n" % (size + 1)
            + bytes(size + 1)
            + b"rubbish\r\n",
        ):
            client = self.connect()
            self.assertEqual(413, self.ask(client, request)[0])
            self.wait(4)
            self.assertTrue(client.closed)
        client = self.connect()
        request = _request("POST /x", f"Content-Length: {size}", body=bytes(size))
        self.assertEqual(3 + size, len(self.ask(client, request)[1]))
        client.leave()
        self.left()

    def test_large_body_with_an_end(self) -> None:
        """What comes behind the part that is too large changes nothing."""
        size = self.config.limits.max_body
        client = self.connect()
        chunk = b"%x\r\n%s\r\n" % (size + 1, bytes(size + 1))
        request = _request("POST /x", "Transfer-Encoding: chunked")
        self.assertEqual(413, self.ask(client, request + chunk + b"1\r\nx\r\n0\r\n\r\n")[0])

    def test_bad_chunks(self) -> None:
        """Chunks that are none are 400."""
        client = self.connect()
        request = _request("POST /x", "Transfer-Encoding: chunked")
        self.assertEqual(400, self.ask(client, request + b"rubbish\r\n")[0])
        self.assertTrue(client.closed)

    def test_idle(self) -> None:
        """A connection without a request is kept for a while, one with half a request is not."""
        client = self.connect()
        self.ask(client, _request("GET /x"))
        self.wait(70)
        self.assertFalse(client.closed)
        self.ask(client, _request("GET /x"))
        self.wait(76)
        self.assertTrue(client.closed)
        client = self.connect()
        self.ask(client, _request("GET /x"))
        client.send(b"GET /x")
        self.wait(16)
        self.assertTrue(client.closed)
        self.left()

    def test_slow_body(self) -> None:
        """A body may take its time as long as much of it comes, and not byte by byte."""
        client = self.connect()
        client.send(_request("POST /x", "Content-Length: 100000"))
        for _ in range(4):
            self.wait(10)
            client.send(bytes(20000))
        self.assertFalse(client.closed)
        for _ in range(15):
            self.wait(1.1)
            client.send(b"x")
        self.assertTrue(client.closed)
        self.left()

    def test_client_that_does_not_read(self) -> None:
        """The end of an answer on a connection that is closed is not waited for without end."""
        client = self.connect()
        client.reading = False
        client.send(_request("GET /x", "Connection: close"))
        self.wait(76)
        self.assertTrue(client.aborted)
        client.send(_request("GET /x"))
        self.left()

    def test_slow_end(self) -> None:
        """Whoever is already on the way out is not given more time when it is to leave."""
        client = self.connect()
        client.reading = False
        client.send(_request("GET /x", "Connection: close"))
        self.wait(50)
        self.site.drain()
        self.wait(26)
        self.assertTrue(client.aborted)

    def test_nothing_is_taken_while_it_closes(self) -> None:
        """A request behind the last one has no answer."""
        client = self.connect()
        client.reading = False
        client.send(_request("GET /x", "Connection: close"))
        client.send(_request("GET /y"))
        client.read()
        self.assertEqual(1, client.take().count(b"HTTP/1.1 "))

    def test_bounds(self) -> None:
        """Half of the connections are kept; beyond all of them there is 503."""
        clients = [self.connect() for _ in range(3)]
        answers = []
        for client in clients:
            client.send(_request("GET /x"))
            answers.append(b"Connection: close" in client.take())
        self.assertEqual([False, False, True], answers)
        for _ in range(2):
            self.connect().send(_request("POST /x", "Content-Length: 5"))
        self.assertEqual(503, self.answer(_request("GET /x"))[0])
        self.open()

    def test_drain(self) -> None:
        """Idle connections are closed at once, others behind their answer."""
        idle, late, begun, half = (self.connect() for _ in range(4))
        self.ask(idle, _request("GET /x"))
        begun.send(_request("GET /later"))
        self.pages.later.write(b"x")
        first = self.pages.later
        late.send(_request("GET /later"))
        second = self.pages.later
        half.send(_request("POST /x", "Content-Length: 3") + b"ab")
        done = self.site.drain()
        self.assertTrue(idle.closed)
        self.assertIn(b"Connection: close", self._end(half, lambda: half.send(b"c")))
        self.assertIn(b"Connection: close", self._end(late, second.finish))
        self.assertNoResult(done)
        self._end(begun, first.finish)
        self.successResultOf(done)
        self.left()

    def _end(self, client: Socket, action: Callable[[], object]) -> bytes:
        action()
        self.assertTrue(client.closed)
        return client.take()

    def test_drain_and_stop(self) -> None:
        """Without connections there is nothing to wait for; with one it is cut."""
        self.successResultOf(MemoryGateway(self.config, pages=_Echo()).site.drain())
        client = self.connect()
        client.send(_request("GET /later"))
        done = self.site.drain()
        self.site.stop()
        self.assertTrue(client.aborted)
        self.successResultOf(done)

    def test_drain_of_idle_ones(self) -> None:
        """When the last one leaves at once, it is over at once."""
        client = self.connect()
        self.ask(client, _request("GET /x"))
        self.successResultOf(self.site.drain())
        self.assertTrue(client.closed)

    def test_addresses(self) -> None:
        """A UNIX socket has an address that applications can show."""
        client = self.connect()
        client.send(_request("GET /later"))
        self.assertEqual("192.0.2.1", self.pages.later.getClientAddress().host)
        self.assertEqual(80, self.pages.later.getHost().port)
        client._address = UNIXAddress(b"")  # type: ignore[assignment]
        client.getHost = lambda: client._address  # type: ignore[method-assign]
        self.pages.later.finish()
        client.send(_request("GET /later"))
        self.assertEqual("", self.pages.later.getClientAddress().host)
        self.assertEqual(80, self.pages.later.getHost().port)


class _Never:
    """An authenticator that does not come to an end."""

    def identify(self, handshake: Handshake) -> Deferred[None]:
        return Deferred()
