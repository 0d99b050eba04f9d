"""Tests of handing connections over, from twisted.web to WebSockets and back."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.support.memory_gateway import MemoryGatewayCase, SiteGateway, Socket
from tests.support.raw import CLOSE, TEXT, frame, handshake
from tests.unit.web.case import BOTH, ApplicationCase, make_request
from wsredis.gateway.identity import Handshake
from wsredis.web.handover import request_head, wants_stream, wants_websocket
from wsredis.web.resources import GatewayResource


class HeadTests(SynchronousTestCase):
    """A request is read from its headers, and its head is written again."""

    def make(self, **headers: list[str]) -> Any:
        """Make a request with these headers."""
        raw = Headers({name.replace("_", "-"): values for name, values in headers.items()})
        return SimpleNamespace(
            method=b"GET",
            uri=b"/ws/a%2Fb?x",
            clientproto=b"HTTP/1.1",
            requestHeaders=raw,
            getHeader=lambda name: (raw.getRawHeaders(name) or [None])[-1],
        )

    def test_wants_websocket(self) -> None:
        """One of the names in any Upgrade header has to be websocket, in any case."""
        for values, wanted in (
            ([], False),
            (["websocket"], True),
            (["h2c,\tWebSocket "], True),
            (["h2c", "websocket"], True),
            (["websockets"], False),
            (["web socket"], False),
        ):
            self.assertEqual(wanted, wants_websocket(self.make(upgrade=values)), values)

    def test_request_head(self) -> None:
        """The target is that of the request line; a header that came twice is there twice."""
        head = request_head(self.make(host=["x"], origin=["a", "b"]))
        self.assertTrue(head.startswith(b"GET /ws/a%2Fb?x HTTP/1.1\r\n"), head)
        self.assertTrue(head.endswith(b"\r\n\r\n"), head)
        lines = [line.lower() for line in head.split(b"\r\n")]
        self.assertEqual([b"", b"", b"host: x", b"origin: a", b"origin: b"], sorted(lines[1:]))


class _Page(Resource):
    """A resource of a foreign site."""

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
        """A site with another resource."""
        super().setUp()
        root = Resource()
        root.putChild(b"ws", GatewayResource(self.factory))
        root.putChild(b"page", _Page())
        self.site = Site(root, reactor=self.clock)

    def _shake_hands(self, client: Socket, path: str = BOTH) -> None:
        client.send(handshake(path))
        head, _, rest = client.take().partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 101 "), head)
        client.received = rest

    def test_socket(self) -> None:
        """A WebSocket works from the handshake to the close, and leaves nothing."""
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
        """Under TLS the transport calls its protocol by another name."""
        client = _TlsSocket(self.site)
        self._shake_hands(client)
        client.send(frame(TEXT, b"hello"))
        self.assertEqual([b"hello"], [each.payload for each in client.frames()])

    def test_client_leaves(self) -> None:
        """A client that disappears leaves nothing, and does not disturb twisted.web."""
        client = Socket(self.site)
        self._shake_hands(client)
        client.leave()
        self._nothing_left()

    def test_long_life(self) -> None:
        """The site's request timeout does not end a WebSocket."""
        client = Socket(self.site)
        self._shake_hands(client)
        for _ in range(30):
            self.wait(10)
            for _ in client.frames():
                client.send(frame(10))
        self.assertFalse(client.closed)

    def test_slow_client(self) -> None:
        """The send queue, not the channel of twisted.web, is the producer of the transport."""
        client = Socket(self.site)
        self._shake_hands(client)
        client.reading = False
        for _ in range(5):
            self.publish(b"x" * 100_000)
        client.read()
        self.assertEqual(5, len(client.frames()))

    def test_other_pages(self) -> None:
        """Other resources work, also on the same connection before a handshake."""
        client = Socket(self.site)
        client.send(make_request("GET /page"))
        self.assertIn(b"another page", client.take())
        self._shake_hands(client)

    def test_facility_with_slashes_and_escapes(self) -> None:
        """The path is that of the request line, not what twisted.web made of it."""
        client = Socket(self.site)
        self._shake_hands(client, "/ws/a/b%2Fc%20d?subscribe-broadcast")
        self.publish(b"x", b"broadcast:a/b/c d")
        self.assertEqual([b"x"], [each.payload for each in client.frames()])

    def test_headers(self) -> None:
        """The protocol sees all headers, also those that come several times."""
        client = Socket(self.site)
        client.send(handshake(BOTH, "Origin: https://evil.example"))
        self.assertTrue(client.take().startswith(b"HTTP/1.1 403 "))
        client = Socket(self.site)
        client.send(handshake(BOTH, "Origin: http://localhost", "Origin: http://evil.example"))
        self.assertFalse(client.take().startswith(b"HTTP/1.1 101 "))

    def test_refusals(self) -> None:
        """A bad handshake is refused with the same status as on a port of the gateway."""
        good = handshake(BOTH)
        for request, status in (
            (good.replace(b"Version: 13", b"Version: 8"), b"426"),
            (good.replace(b"GET", b"POST", 1), b"400"),
            (good.replace(b"/ws/a", b"/ws/%ff"), b"400"),
            (make_request("GET /ws/a"), b"400"),
            (make_request("POST /ws/a", "Content-Length: 0"), b"400"),
        ):
            client = Socket(self.site)
            client.send(request)
            self.assertEqual(status, client.take().split(b" ", 2)[1], request)
        self.assertEqual(0, len(self.factory.registry.connections))

    def test_stream(self) -> None:
        """A stream of events works as on a port of the gateway."""
        client = Socket(self.site)
        client.send(make_request("GET /ws/a?subscribe-broadcast", "Accept: text/event-stream"))
        self.publish(b"hello")
        data = client.take()
        self.assertTrue(data.startswith(b"HTTP/1.1 200 OK\r\n"), data)
        self.assertIn(b"\ndata: hello\n\n", data)
        client.leave()
        self.factory.stop()
        self._nothing_left()

    def test_publish(self) -> None:
        """A message by POST is published; the connection ends, since it was lent."""
        for headers, body in (
            (("Content-Length: 5",), b"hello"),
            (("Transfer-Encoding: chunked",), b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
        ):
            client = Socket(self.site)
            client.send(make_request("POST /ws/b?publish-broadcast", *headers) + body)
            answer = client.take()
            self.assertTrue(answer.startswith(b"HTTP/1.1 202 "), answer)
            self.assertIn(b"Connection: close", answer)
            self.assertTrue(client.closed)
            self.assertEqual(b"hello", self.gateway.redis.value(b"broadcast:b"))
        self._nothing_left()

    def test_large_body(self) -> None:
        """A message that is too large is refused with 413, and not read once more."""
        size = self.factory.config.limits.max_message + 1
        client = Socket(self.site)
        client.send(make_request("POST /ws/b?publish-broadcast", f"Content-Length: {size}"))
        client.send(b"x" * size)
        self.assertTrue(client.take().startswith(b"HTTP/1.1 413 "))

    def test_preflight(self) -> None:
        """A browser's question is answered."""
        client = Socket(self.site)
        headers = ("Origin: http://x", "Access-Control-Request-Method: POST")
        client.send(make_request("OPTIONS /ws/b", *headers))
        self.assertTrue(client.take().startswith(b"HTTP/1.1 204 "))

    def test_no_streams(self) -> None:
        """With --no-streams, or as a resource of nobody, there are none."""
        self.factory.streams = None
        for resource in (GatewayResource(self.factory), GatewayResource()):
            client = Socket(Site(resource, reactor=self.clock))
            client.send(make_request("GET /ws/a", "Accept: text/event-stream"))
            self.assertTrue(client.take().startswith(b"HTTP/1.1 400 "))

    def test_http_2(self) -> None:
        """A stream of HTTP/2 is not the whole connection, and is not taken."""
        request = HeadTests().make(accept=["text/event-stream"])
        self.assertTrue(wants_stream(request))
        request.clientproto = b"HTTP/2"
        self.assertFalse(wants_stream(request))

    def test_smuggled_header(self) -> None:
        """A header that twisted.web accepts and Autobahn would split is refused."""
        client = Socket(self.site)
        client.send(handshake(BOTH, "User-Agent: a\x85X-Evil: 1"))
        self.assertTrue(client.take().startswith(b"HTTP/1.1 400 "))


class _Never:
    """An authenticator that does not come to an end."""

    def identify(self, handshake: Handshake) -> Deferred[None]:
        return Deferred()


class GiveBackTests(ApplicationCase):
    """A handshake that follows plain requests goes back to the WebSocket protocol."""

    def test_handshake(self) -> None:
        """A handshake may follow other requests, and bytes after it are not lost."""
        client = self.connect()
        self.ask(client, make_request("GET /x"))
        client.send(handshake(BOTH) + frame(TEXT, b"hello"))
        head, _, client.received = client.take().partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 101 "))
        self.assertEqual([b"hello"], [each.payload for each in client.frames()])
        self.assertEqual([], [*self.site.channels])
        self.assertEqual(1, self.metrics.connections)
        self.wait(100)
        self.assertTrue(client.closed, "the pings are those of any WebSocket")
        self.assert_nothing_left()

    def test_handshake_behind_an_answer_that_is_late(self) -> None:
        """A handshake waits for the answer to the request before it."""
        client = self.connect()
        client.send(make_request("GET /later") + handshake(BOTH) + frame(TEXT, b"hello"))
        self.assertEqual(b"", client.take())
        self.application.later.finish()
        self.clock.advance(0)
        self.assertEqual([b"200", b"101"], re.findall(rb"HTTP/1.1 (\d+)", client.take()))
        self.close(client)
        self.assert_nothing_left()

    def test_slow_handshake(self) -> None:
        """A handshake that is never decided is answered in time."""
        self.use(SiteGateway(self.config, application=self.application, authenticator=_Never()))
        self.site = self.gateway.site
        client = self.connect()
        self.ask(client, make_request("GET /x"))
        client.send(handshake(BOTH))
        self.wait(6)
        self.assertIn(b" 503 ", client.take())
        self.assertTrue(client.closed)
        self.assert_nothing_left()

    def test_too_many_handshakes(self) -> None:
        """Handshakes that come back count against the same limit."""
        client = self.connect()
        self.ask(client, make_request("GET /x"))
        others = [self.connect(f"192.0.2.{number}") for number in range(4)]
        for other in others:
            other.send(b"GET")
        self.assertEqual(503, self.ask(client, handshake(BOTH))[0])
        for other in others:
            other.leave()
        self.wait(5)
        self.assert_nothing_left()

    def test_other_paths(self) -> None:
        """A handshake outside of the prefix is refused, as it is on a new connection."""
        client = self.connect()
        self.ask(client, make_request("GET /x"))
        self.assertEqual(404, self.ask(client, handshake("/x"))[0])
        self.assertEqual(404, self.ask(self.connect(), handshake("/x"))[0])

    def test_body(self) -> None:
        """A handshake with a body is refused: a proxy may see the end of it elsewhere."""
        for line, status in (
            ("Content-Length: 1", 400),
            ("content-length:1", 400),
            ("Transfer-Encoding: chunked", 400),
            ("Content-Length: 0", 101),
        ):
            client = self.connect()
            self.ask(client, make_request("GET /x"))
            self.assertEqual(status, self.ask(client, handshake(BOTH, line))[0], line)
