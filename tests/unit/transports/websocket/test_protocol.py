"""Tests of the WebSocket protocol: admission, frames, the end; and of what Autobahn gives."""

from __future__ import annotations

import socket as sockets
import sys
from collections.abc import Callable
from typing import Any

import txaio
from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from autobahn.websocket.types import ConnectionRequest
from twisted.internet import tcp
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs
from twisted.test import iosim

from tests.support.deflate import OFFER, compressed, inflated, squeezed
from tests.support.memory_gateway import MemoryGateway, MemoryGatewayCase, Socket
from tests.support.raw import BINARY, CLOSE, PING, PONG, TEXT, Frame, frame, handshake
from wsredis.channels import Access
from wsredis.config import GatewayConfig, Limits
from wsredis.dialects.plain import PlainDialect
from wsredis.errors import BrokerUnavailable, HandshakeRejected, LimitExceeded, PermissionDenied
from wsredis.gateway.client import PauseReason
from wsredis.gateway.connection import Connection
from wsredis.gateway.handler import Handler
from wsredis.gateway.identity import Handshake, Identity
from wsredis.transports.websocket.protocol import GatewayProtocol

_BOTH = "/ws/a?subscribe-broadcast&publish-broadcast&echo"
_LISTEN = "/ws/a?subscribe-broadcast"


class _Slow:
    """An authenticator that answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Deferred[Identity]] = []

    def identify(self, handshake: Handshake) -> Deferred[Identity]:
        self.asked.append(Deferred())
        return self.asked[-1]


class _Stubborn:
    """An authenticator that takes no notice of being cancelled."""

    def __init__(self) -> None:
        self.answer: Deferred[Identity] = Deferred(lambda answer: answer.callback(Identity()))

    def identify(self, handshake: Handshake) -> Deferred[Identity]:
        return self.answer


class _Failing:
    """An authenticator that fails in the way that it is told."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def identify(self, handshake: Handshake) -> Identity:
        raise self.error


class _Own:
    """A policy that grants what its function says."""

    def __init__(self, grant: Callable[[Identity, Handshake], Any]) -> None:
        self.allow = grant


def _codes(frames: list[Frame]) -> list[int | None]:
    return [each.close_code for each in frames if each.opcode == CLOSE]


class OpenTests(MemoryGatewayCase):
    """A correct handshake is answered with 101, and what follows are frames."""

    def test_answer(self) -> None:
        """The key is answered as in RFC 6455, and the software is not named."""
        client = self.connect()
        client.send(handshake(_LISTEN))
        head = client.take().decode()
        self.assertTrue(head.startswith("HTTP/1.1 101 "), head)
        self.assertIn("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", head)
        self.assertNotIn("\r\nServer:", head)

    def test_one_byte_at_a_time(self) -> None:
        """The borders of reads do not matter, in the head and in frames."""
        client = self.connect()
        for byte in handshake(_BOTH) + frame(TEXT, b"hello"):
            client.send(bytes([byte]))
        _, _, rest = client.take().partition(b"\r\n\r\n")
        self.assertEqual(b"\x81\x05hello", rest)

    def test_all_in_one_segment(self) -> None:
        """Frames right behind the head are not lost."""
        client = self.connect()
        client.send(handshake(_BOTH) + frame(TEXT, b"1") + frame(TEXT, b"2"))
        _, _, rest = client.take().partition(b"\r\n\r\n")
        self.assertEqual(b"\x81\x011\x81\x012", rest)

    def test_autobahn_client(self) -> None:
        """An independent client library speaks with it, in both directions, to the end."""
        self.patch(txaio.config, "loop", self.clock)
        heard: list[Any] = []

        class Client(WebSocketClientProtocol):  # type: ignore[misc]
            def onOpen(self) -> None:
                self.sendMessage("grüß".encode())
                self.sendMessage(b"\xff\x00", isBinary=True)

            def onMessage(self, payload: bytes, isBinary: bool) -> None:
                heard.append((payload, isBinary))

            def onClose(self, wasClean: bool, code: int, reason: str) -> None:
                heard.append((wasClean, code))

        factory = WebSocketClientFactory(f"ws://localhost{_BOTH}", reactor=self.clock)
        factory.protocol = Client
        client = factory.buildProtocol(None)
        server = self.factory.buildProtocol(None)
        pump = iosim.connect(
            server,
            iosim.FakeTransport(server, isServer=True, peerAddress=UNIXAddress(None)),
            client,
            iosim.FakeTransport(client, isServer=False),
        )
        self._flush(pump)
        self.assertEqual([("grüß".encode(), False), (b"\xff\x00", True)], heard)
        self.factory.drain()
        self._flush(pump)
        self.assertEqual((True, 1001), heard[-1])
        self.nothing_left_of_ours()

    def nothing_left_of_ours(self) -> None:
        """As `nothing_left`, but for timers of Autobahn's client."""
        self.assertEqual(set(), self.factory.connections)
        self.assertEqual(0, len(self.gateway.hub))

    def _flush(self, pump: iosim.IOPump) -> None:
        for _ in range(3):
            pump.flush()
            self.clock.advance(0)

    def test_small(self) -> None:
        """Open connections share the table of their attributes, which is 500 bytes for each."""
        size = sys.getsizeof(self.protocol(self.open("/ws/a?subscribe-broadcast")).__dict__)
        self.assertLess(size, 400)

    def test_stored_then_live(self) -> None:
        """The stored message comes right after the answer, and live ones behind it."""
        self.gateway.redis.store(b"broadcast:a", 60, b"stored")
        client = self.open()
        self.publish(b"live")
        self.assertEqual([b"stored", b"live"], [each.payload for each in client.frames()])

    def test_subprotocol(self) -> None:
        """The first of those offered is chosen, and none where none is offered."""
        for offered, chosen in (("chat", "chat"), ("b, a", "b"), (None, None)):
            client = self.connect()
            headers = [] if offered is None else [f"Sec-WebSocket-Protocol: {offered}"]
            client.send(handshake(_LISTEN, *headers))
            line = f"\r\nSec-WebSocket-Protocol: {chosen}\r\n".encode()
            self.assertEqual(chosen is not None, line in client.take(), offered)

    def test_subprotocol_with_a_token(self) -> None:
        """A token is not echoed, unless a page offers nothing else and would fail without."""
        for offered, chosen in (
            ("bearer.a.b.c, wsredis", "wsredis"),
            ("wsredis, bearer.a.b.c", "wsredis"),
            ("bearer.a.b.c", "bearer.a.b.c"),
            ("bearer.a, bearer.b", "bearer.a"),
            ("bearer, bearer.a", "bearer"),
        ):
            client = self.connect()
            client.send(handshake(_LISTEN, f"Sec-WebSocket-Protocol: {offered}"))
            line = f"\r\nSec-WebSocket-Protocol: {chosen}\r\n".encode()
            self.assertIn(line, client.take(), offered)

    def test_token_twice(self) -> None:
        """A token that is offered twice is repeated neither in the answer nor in the log."""
        with capturedLogs() as events:
            status, answer = self.answer(
                handshake(_LISTEN, "Sec-WebSocket-Protocol: bearer.s3cret, bearer.s3cret")
            )
        self.assertEqual(400, status)
        self.assertIn(b"a subprotocol is offered twice", answer)
        self.assertNotIn("s3cret", f"{answer!r} {events}")

    def test_rubbish_as_subprotocol(self) -> None:
        """What is no token is not echoed into our answer."""
        status, answer = self.answer(handshake(_LISTEN, "Sec-WebSocket-Protocol: a;b=<c>"))
        self.assertEqual(400, status)
        self.assertNotIn(b"<c>", answer)

    def test_no_compression(self) -> None:
        """permessage-deflate is not negotiated where it is not switched on."""
        client = self.connect()
        client.send(handshake(_LISTEN, "Sec-WebSocket-Extensions: permessage-deflate"))
        self.assertNotIn(b"Extensions", client.take())

    def test_alpn(self) -> None:
        """On TLS, HTTP/1.1 is selected of what a client offers."""
        self.assertEqual(
            [b"http/1.1"], IProtocolNegotiationFactory(self.factory).acceptableProtocols()
        )

    def test_counted_and_forgotten(self) -> None:
        """An open connection is counted; after its end nothing is left."""
        client = self.open()
        self.assertEqual((1, 1), (self.metrics.connections, self.metrics.opened))
        self.assertEqual(1, len(self.gateway.hub))
        client.leave()
        self.nothing_left()

    def test_leftovers_of_the_handshake(self) -> None:
        """What Autobahn keeps of the handshake is let go: it is a third of a connection."""
        client = self.open()
        self.assertEqual(
            set(),
            {name for name in self.protocol(client).__dict__ if name.startswith("http_")},
        )

    def test_every_connection_has_its_own_state(self) -> None:
        """What stands on the class is shared by all, so nothing of one may get there."""
        first, second = self.open(_BOTH), self.open(_BOTH)
        first.send(frame(TEXT, b"a", fin=False))
        second.send(frame(TEXT, b"b"))
        first.send(frame(0, b"a"))
        self.assertEqual([b"b", b"aa"], [each.payload for each in second.frames()])
        self.close(first, 4000)
        self.assertIsNone(self.protocol(second).remoteCloseCode)
        self.assertIsNone(GatewayProtocol.remoteCloseCode)


class HeadTests(MemoryGatewayCase):
    """What is no clean head of a request is refused before anybody parses it."""

    def test_smuggled_headers(self) -> None:
        """Everything that one reader takes for a new header and another does not is refused."""
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
            "User-Agent: a\r\n folded",
            "User-Agent: a\r\n\tfolded",
            "User-Agent : blank before the colon",
            " User-Agent: blank before the name",
            "no colon",
            ": no name",
            "Na(me: x",
        ):
            status, answer = self.answer(handshake(_LISTEN, line))
            self.assertEqual(400, status, line)
            self.assertNotIn(b"Evil", answer)
        self.assertEqual(0, self.metrics.opened)

    def test_harmless_headers(self) -> None:
        """Bytes above ASCII, tabs and empty values are nobody's business."""
        self.open(_LISTEN, "X-A: gr\xfc\xdfe\tx", "X-B:", "X-C:no blank")

    def test_request_line(self) -> None:
        """A request line that is none is refused."""
        good = handshake(_LISTEN)
        for line in (
            b"GET  /ws/a HTTP/1.1",
            b"GET /ws/a b HTTP/1.1",
            b"GET /ws/a",
            b"GET /ws/a HTTP/1.1 ",
            b"GET /ws/\xff HTTP/1.1",
            b"GET /ws/a\x00 HTTP/1.1",
            b"G@T /ws/a HTTP/1.1",
            b"GET /ws/a HTTP/11",
        ):
            self.assertEqual(400, self.answer(line + good[good.index(b"\r\n") :])[0], line)

    def test_other_methods_and_versions(self) -> None:
        """A handshake is a GET of HTTP/1.1."""
        good = handshake(_LISTEN)
        self.assertEqual(400, self.answer(good.replace(b"GET", b"POST", 1))[0])
        for version in (b"HTTP/1.0", b"HTTP/2.0"):
            self.assertEqual(400, self.answer(good.replace(b"HTTP/1.1", version, 1))[0])

    def test_not_http(self) -> None:
        """Binary protocols are refused with the first byte."""
        for data in (b"\x16\x03\x01\x02\x00", b"*1\r\n$4\r\n", b"\r\n", b"\x00"):
            self.assertEqual(400, self.answer(data)[0], data)

    def test_http2_preface(self) -> None:
        """The preface of HTTP/2 is refused."""
        self.assertEqual(400, self.answer(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")[0])

    def test_too_large(self) -> None:
        """A head beyond the limit is 431, whether it has an end or not."""
        for size in (16384, 10**6):
            line = "X: " + "x" * size
            self.assertEqual(431, self.answer(handshake(_LISTEN, line))[0])
            self.assertEqual(431, self.answer(handshake(_LISTEN, line)[:-4])[0])

    def test_limit_is_inclusive(self) -> None:
        """A head of exactly the limit passes, one byte more does not."""
        padding = 16384 - len(handshake(_LISTEN, "X: "))
        self.open(_LISTEN, "X: " + "x" * padding)
        self.assertEqual(431, self.answer(handshake(_LISTEN, "X: " + "x" * (padding + 1)))[0])

    def test_endless_head_in_small_parts(self) -> None:
        """The limit holds however the head comes, and nothing is kept after it."""
        client = self.connect()
        client.send(b"GET /ws/a HTTP/1.1\r\n")
        for _ in range(100):
            if not client.closed:
                client.send(b"X: " + b"x" * 300 + b"\r\n")
        self.assertTrue(client.take().startswith(b"HTTP/1.1 431 "))
        self.assertEqual(b"", self.protocol(client).data)

    def test_what_autobahn_refuses(self) -> None:
        """The parts of a handshake are checked, and a wrong version is told the right one."""
        good = handshake(_LISTEN)
        for old, new, status in (
            (b"Host: localhost\r\n", b"", 400),
            (b"Connection: Upgrade", b"Connection: close", 400),
            (b"dGhlIHNhbXBsZSBub25jZQ==", b"short", 400),
            (b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 8", 426),
            (b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: x", 400),
        ):
            got, answer = self.answer(good.replace(old, new))
            self.assertEqual(status, got, new)
            self.assertIn(b"\r\nSec-WebSocket-Version: 13\r\n", answer)

    def test_answer_is_whole(self) -> None:
        """An error has a length, closes the connection, and its text is the body."""
        status, answer = self.answer(handshake("/elsewhere"))
        head, _, body = answer.partition(b"\r\n\r\n")
        self.assertEqual(404, status)
        self.assertIn(b"\r\nConnection: close", head)
        self.assertIn(b"\r\nContent-Length: %d" % len(body), head)
        self.assertEqual(b"there is nothing here", body)

    def test_path_cannot_split_the_answer(self) -> None:
        """A facility with line ends is refused, and does not come back as a header."""
        status, answer = self.answer(handshake("/ws/x%0d%0aX-Injected:%201?subscribe-broadcast"))
        self.assertEqual(400, status)
        self.assertNotIn(b"Injected", answer)

    def test_what_follows_an_error(self) -> None:
        """Bytes behind a refused request are thrown away: there is one answer."""
        client = self.connect()
        client.reading = False
        client.send(b"\x00")
        client.send(handshake(_LISTEN))
        client.read()
        self.assertEqual(1, client.take().count(b"HTTP/1.1"))

    def test_log(self) -> None:
        """One line, without the query, without headers, and not longer than a client may like."""
        with capturedLogs() as events:
            self.answer(handshake("/" + "x" * 1000 + "?token=secret", "Cookie: secret"))
            self.answer(b"GET /ws/a?token=secret HTTP/1.1\r\nbad\r\n\r\n")
            self.answer(b"GET /ws/a?token=secret\r\nCookie: secret\r\n\r\n")
            self.answer(handshake("/ws/%ff?token=secret"))
        self.assertEqual(4, len(events))
        for event in events:
            self.assertNotIn("secret", repr(event))
            self.assertLess(len(repr(event["path"])), 300)
        self.assertEqual(4, self.metrics.refused)


class TimeoutTests(MemoryGatewayCase):
    """The time for a handshake is bounded, whatever the client does in it."""

    def test_silence(self) -> None:
        """A client that says nothing is told 408, and is gone."""
        client = self.connect()
        self.clock.advance(6)
        self.assertTrue(client.take().startswith(b"HTTP/1.1 408 "))
        self.assertTrue(client.closed)
        self.nothing_left()

    def test_byte_by_byte(self) -> None:
        """A client that is slow on purpose gains no time."""
        client = self.connect()
        for byte in handshake(_LISTEN)[:20]:
            if not client.closed:
                client.send(bytes([byte]))
                self.clock.advance(0.5)
        self.assertTrue(client.closed)

    def test_quick_enough(self) -> None:
        """An open WebSocket has no such limit any more."""
        client = self.open()
        self.clock.advance(6)
        self.protocol(client).handshake_timed_out()
        self.assertFalse(client.closed)

    def test_slow_authentication(self) -> None:
        """A handshake that cannot be decided in time is 503, and its question is cancelled."""
        slow = _Slow()
        self.use(MemoryGateway(self.config, authenticator=slow))
        client = self.connect()
        client.send(handshake(_LISTEN))
        self.clock.advance(6)
        self.assertTrue(client.take().startswith(b"HTTP/1.1 503 "))
        self.assertTrue(slow.asked[0].called)
        self.nothing_left()

    def test_gone_before(self) -> None:
        """A client that leaves in the middle of the head leaves nothing."""
        client = self.connect()
        client.send(b"GET /")
        client.leave()
        self.nothing_left()


class AdmissionTests(MemoryGatewayCase):
    """The decision on a handshake may take time, and much may happen meanwhile."""

    def setUp(self) -> None:
        """Somebody slow has to be asked."""
        self.slow = _Slow()
        self.use(MemoryGateway(self.config, authenticator=self.slow))

    def _asking(self, rest: bytes = b"") -> Socket:
        client = self.connect()
        client.send(handshake(_BOTH) + rest)
        self.assertEqual(b"", client.take())
        return client

    def test_answered_later(self) -> None:
        """The handshake goes on with the answer."""
        client = self._asking()
        self.slow.asked[0].callback(Identity())
        self.assertTrue(client.take().startswith(b"HTTP/1.1 101 "))

    def test_client_leaves(self) -> None:
        """No onOpen on a dead transport, no hub entry, no timer; the question is cancelled."""
        client = self._asking()
        client.leave()
        self.assertTrue(self.slow.asked[0].called)
        self.assertEqual(0, self.metrics.opened)
        self.nothing_left()

    def test_client_leaves_and_the_answer_comes_all_the_same(self) -> None:
        """Somebody who cannot be cancelled may answer late: nobody listens."""
        client = self._asking()
        protocol = self.protocol(client)
        client.leave()
        protocol.succeedHandshake(None)
        protocol.failHandshake("too late")
        self.assertEqual(0, self.metrics.opened)
        self.nothing_left()

    def test_client_leaves_and_the_question_is_not_cancelled(self) -> None:
        """An authenticator that answers all the same opens nothing."""
        self.use(MemoryGateway(self.config, authenticator=_Stubborn()))
        client = self.connect()
        client.send(handshake(_BOTH))
        client.leave()
        self.assertEqual([], self.flushLoggedErrors())
        self.nothing_left()

    def test_full_meanwhile(self) -> None:
        """Many may ask at once; only so many are accepted."""
        config = GatewayConfig(limits=Limits(max_connections=1))
        self.use(MemoryGateway(config, authenticator=self.slow))
        clients = [self._asking(), self._asking()]
        for each in self.slow.asked:
            each.callback(Identity())
        statuses = [client.take().split(b" ", 2)[1] for client in clients]
        self.assertEqual([b"101", b"503"], statuses)
        self.assertEqual(1, len(self.factory.connections))

    def test_second_request_meanwhile(self) -> None:
        """A second request is not parsed as one; behind the answer it is a broken frame."""
        client = self._asking(handshake(_BOTH))
        client.send(handshake(_BOTH))
        self.assertEqual(1, len(self.slow.asked))
        self.slow.asked[0].callback(Identity())
        head, _, rest = client.take().partition(b"\r\n\r\n")
        self.assertEqual(1, head.count(b"HTTP/1.1 101 "))
        client.received = rest
        self.assertEqual([1002], _codes(client.frames()))
        self.assertEqual(1, self.metrics.opened)

    def test_early_frames(self) -> None:
        """Frames that come before the answer are kept, in order."""
        client = self._asking(frame(TEXT, b"1"))
        client.send(frame(TEXT, b"2"))
        self.slow.asked[0].callback(Identity())
        _, _, rest = client.take().partition(b"\r\n\r\n")
        self.assertEqual(b"\x81\x011\x81\x012", rest)

    def test_too_many_early_bytes(self) -> None:
        """They are bounded."""
        client = self._asking()
        client.send(b"x" * 65536)
        self.assertFalse(client.closed)
        client.send(b"x")
        self.assertTrue(client.aborted)
        self.nothing_left()

    def test_gateway_stops_meanwhile(self) -> None:
        """A client that is accepted too late is sent away."""
        client = self._asking()
        self.factory.drain()
        self.slow.asked[0].callback(Identity())
        self.assertTrue(client.take().startswith(b"HTTP/1.1 503 "))
        # The admission still hears the application.
        self.assertEqual(1, len(self.gateway.hub))

    def test_redis_leaves_meanwhile(self) -> None:
        """Redis may be gone when the answer comes."""
        client = self._asking()
        self.gateway.broker.disconnect()
        self.slow.asked[0].callback(Identity())
        self.assertTrue(client.take().startswith(b"HTTP/1.1 503 "))
        client.leave()
        self.nothing_left()

    def test_published_meanwhile(self) -> None:
        """
        Too much for the queue of a client that is not there yet refuses it.

        Here the subscription stands, and the stored messages are still being fetched.
        """
        fetching: Deferred[dict[bytes, bytes]] = Deferred()
        self.patch(self.gateway.broker, "fetch", lambda channels: fetching)
        client = self._asking()
        self.slow.asked[0].callback(Identity())
        for _ in range(3):
            self.publish(b"x" * 600_000)
        self.assertTrue(client.take().startswith(b"HTTP/1.1 503 "))
        self.assertTrue(fetching.called)
        self.nothing_left()

    def test_held_and_then_sent(self) -> None:
        """What is published meanwhile comes behind the stored message."""
        fetching: Deferred[dict[bytes, bytes]] = Deferred()
        self.patch(self.gateway.broker, "fetch", lambda channels: fetching)
        client = self._asking()
        self.slow.asked[0].callback(Identity())
        self.publish(b"live")
        fetching.callback({b"broadcast:a": b"stored"})
        _, _, rest = client.take().partition(b"\r\n\r\n")
        client.received = rest
        self.assertEqual([b"stored", b"live"], [each.payload for each in client.frames()])


class RefusalTests(MemoryGatewayCase):
    """A refusal has a status, a text that cannot hurt, and a line in the log."""

    def _refused_by(self, error: Exception) -> tuple[int, bytes]:
        self.use(MemoryGateway(self.config, authenticator=_Failing(error)))
        status, answer = self.answer(handshake(_LISTEN))
        self.nothing_left()
        return status, answer

    def test_by_the_authenticator(self) -> None:
        """Its status and its words are the answer; its hint is for the log alone."""
        with capturedLogs() as events:
            status, answer = self._refused_by(HandshakeRejected("not today", 403, "use --magic"))
        self.assertEqual(403, status)
        self.assertTrue(answer.endswith(b"\r\n\r\nnot today"))
        self.assertNotIn(b"magic", answer)
        self.assertIn("--magic", events[0]["hint"])

    def test_words_cannot_split_the_answer(self) -> None:
        """Whatever the words are, they stand in the body."""
        reason = "a\r\nX-Evil: 1\r\n\r\n<script>\ud800"
        status, answer = self._refused_by(HandshakeRejected(reason))
        head, _, body = answer.partition(b"\r\n\r\n")
        self.assertEqual(403, status)
        self.assertNotIn(b"Evil", head)
        self.assertIn(b"Content-Type: text/plain", head)
        self.assertIn(b"nosniff", head)
        self.assertIn(b"Content-Length: %d\r\n" % len(body), head)

    def test_by_a_bug(self) -> None:
        """The text of an unexpected exception is for the log, not for the client."""
        status, answer = self._refused_by(ValueError("the password is hunter2"))
        self.assertEqual(500, status)
        self.assertNotIn(b"hunter2", answer)
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))

    def test_by_rights_and_limits(self) -> None:
        """What Redis or a limit forbids is 403."""
        for error in (PermissionDenied("no"), LimitExceeded("no")):
            self.assertEqual(403, self._refused_by(error)[0])

    def test_unavailable(self) -> None:
        """What is away is 503, with the time to wait."""
        status, answer = self._refused_by(BrokerUnavailable("Redis has gone"))
        self.assertEqual(503, status)
        self.assertIn(b"\r\nRetry-After: ", answer)
        self.assertNotIn(b"gone", answer)

    def test_redis_is_away(self) -> None:
        """Without Redis nobody is accepted."""
        self.gateway.broker.disconnect()
        self.assertEqual(503, self.answer(handshake(_LISTEN))[0])

    def test_forbidden_channel(self) -> None:
        """A channel that Redis forbids is 403, and leaves nothing in the hub."""
        self.gateway.redis.forbidden.add(b"broadcast:a")
        self.assertEqual(403, self.answer(handshake(_LISTEN))[0])
        self.nothing_left()

    def test_other_paths(self) -> None:
        """Outside of the prefix there is nothing."""
        for path in ("/", "/ws", "/wsx/a", "/x/ws/a"):
            self.assertEqual(404, self.answer(handshake(path))[0], path)

    def test_foreign_origin(self) -> None:
        """A page from elsewhere may not publish."""
        self.assertEqual(403, self.answer(handshake(_BOTH, "Origin: https://evil.example"))[0])

    def test_seams_of_any_kind(self) -> None:
        """Authenticator and policy may answer at once, with a Deferred, or as coroutines."""

        class Authenticator:
            async def identify(self, handshake: Handshake) -> Identity:
                return Identity(user="joe")

        def policy(identity: Identity, handshake: Handshake) -> Deferred[Access]:
            return succeed(handshake.requested)

        self.use(
            MemoryGateway(
                self.config,
                authenticator=Authenticator(),  # type: ignore[arg-type]
                policy=_Own(policy),
            )
        )
        client = self.open("/ws/a?subscribe-user")
        self.publish(b"hello", b"user:joe:a")
        self.assertEqual([b"hello"], [each.payload for each in client.frames()])

    def test_handler_that_fails_in_on_connect(self) -> None:
        """A bug of the embedding program closes with 1011, after a proper answer."""

        class Bad(Handler):
            def on_connect(self, connection: Connection) -> None:
                raise ZeroDivisionError

        self.use(MemoryGateway(self.config, handler=Bad()))
        client = self.open()
        self.assertEqual([1011], _codes(client.frames()))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_bug_behind_the_answer(self) -> None:
        """If the opening itself fails, the connection is dropped and the bug is logged."""
        client = self.connect()

        def fail(stored: object) -> None:
            raise ZeroDivisionError

        self.patch(Connection, "opened", lambda connection, stored: fail(stored))
        client.send(handshake(_LISTEN))
        self.assertTrue(client.aborted)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.nothing_left()


class LimitTests(MemoryGatewayCase):
    """How many there may be."""

    config = GatewayConfig(limits=Limits(max_connections=2, max_handshakes=3))

    def test_connections(self) -> None:
        """One more is answered with 503; one that leaves makes room."""
        clients = [self.open(), self.open()]
        self.assertEqual(503, self.answer(handshake(_LISTEN))[0])
        clients[0].leave()
        self.open()

    def test_handshakes(self) -> None:
        """So many may be under way; one more is answered at once."""
        waiting = [self.connect() for _ in range(3)]
        late = self.connect()
        answer = late.take()
        self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer)
        self.assertIn(b"Retry-After", answer)
        self.assertTrue(late.closed)
        waiting[0].leave()
        self.assertEqual(b"", self.connect().take())

    def test_sockets(self) -> None:
        """Sockets that are neither, such as plain HTTP, are bounded as well."""
        for _ in range(5):
            self.connect().send(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        self.assertTrue(self.connect().take().startswith(b"HTTP/1.1 503 "))

    def test_nothing_left(self) -> None:
        """All counts return to nothing."""
        clients = [self.connect() for _ in range(6)]
        clients.append(self.connect())
        for client in clients:
            client.leave()
        self.nothing_left()


class FrameTests(MemoryGatewayCase):
    """Frames in: messages, control frames, and what is forbidden."""

    config = GatewayConfig(limits=Limits(max_message=1000, max_frame=800))

    def _closed_with(self, data: bytes) -> int | None:
        client = self.open(_BOTH)
        with capturedLogs() as events:
            client.send(data)
        self.assertEqual([], list(events), "what a client does is not worth a line each")
        (code,) = _codes(client.frames())
        self.close(client, code or 1000)
        self.assertTrue(client.closed)
        self.assertNotIn(self.protocol(client), self.factory.connections)
        return code

    def test_messages(self) -> None:
        """Text and binary, whole and in fragments, with a ping in between."""
        client = self.open(_BOTH)
        client.send(
            frame(TEXT, b"one")
            + frame(BINARY, b"\xff\x00")
            + frame(TEXT, b"tw", fin=False)
            + frame(PING, b"p")
            + frame(0, b"", fin=False)
            + frame(0, b"o")
        )
        got = [(each.opcode, each.payload) for each in client.frames()]
        self.assertEqual([(TEXT, b"one"), (BINARY, b"\xff\x00"), (PONG, b"p"), (TEXT, b"two")], got)
        self.assertEqual(3, self.metrics.received)

    def test_message_limit(self) -> None:
        """The limit is inclusive; beyond it is 1009, also in fragments."""
        client = self.open(_BOTH)
        client.send(frame(TEXT, b"x" * 500, fin=False) + frame(0, b"x" * 500))
        self.assertEqual([1000], [len(each.payload) for each in client.frames()])
        code = self._closed_with(frame(TEXT, b"x" * 500, fin=False) + frame(0, b"x" * 501))
        self.assertEqual(1009, code)

    def test_frame_limit(self) -> None:
        """The limit of a frame is inclusive; beyond it is 1009, before the payload comes."""
        client = self.open(_BOTH)
        client.send(frame(TEXT, b"x" * 800))
        self.assertEqual(1, len(client.frames()))
        self.assertEqual(1009, self._closed_with(frame(TEXT, b"x" * 801)))
        for length in (2**30, 2**62):
            client = self.open(_BOTH)
            client.send(frame(BINARY, b"", length=length))
            self.assertEqual([1009], _codes(client.frames()))

    def test_not_utf8(self) -> None:
        """A text message that is not UTF-8 is 1007, before its end."""
        client = self.open(_BOTH)
        client.send(frame(TEXT, b"a\xff", fin=False))
        self.assertEqual([1007], _codes(client.frames()))
        self.assertEqual(1007, self._closed_with(frame(TEXT, b"\xed\xa0\x80")))
        self.assertEqual(1007, self._closed_with(frame(TEXT, b"\xc3", fin=False) + frame(0, b"a")))

    def test_next_text_starts_clean(self) -> None:
        """The check of one message knows nothing of the one before."""
        client = self.open(_BOTH)
        for _ in range(2):
            client.send(frame(TEXT, "ü".encode()[:1], fin=False) + frame(0, "ü".encode()[1:]))
        self.assertEqual(["ü".encode()] * 2, [each.payload for each in client.frames()])

    def test_violations(self) -> None:
        """What RFC 6455 forbids is 1002."""
        for data in (
            frame(TEXT, b"x", masked=False),
            frame(PING, b"x", masked=False),
            frame(TEXT, b"x", rsv=4),
            frame(PING, b"x", rsv=1),
            frame(3, b"x"),
            frame(11, b"x"),
            frame(PING, b"x", fin=False),
            frame(PING, b"x" * 126),
            frame(0, b"x"),
            frame(TEXT, b"x", fin=False) + frame(TEXT, b"x"),
        ):
            self.assertEqual(1002, self._closed_with(data), data)

    def test_pings(self) -> None:
        """Each ping is answered with its payload, in order."""
        client = self.open()
        client.send(b"".join(frame(PING, b"%d" % number) for number in range(50)))
        got = client.frames()
        self.assertEqual([b"%d" % number for number in range(50)], [each.payload for each in got])

    def test_unasked_pong(self) -> None:
        """A pong that nobody asked for is nothing."""
        client = self.open()
        client.send(frame(PONG, b"x"))
        self.assertEqual([], client.frames())


class ShortMessageTests(MemoryGatewayCase):
    """Short messages are read without Autobahn, and nobody can tell."""

    _facilities = 0

    def _heard(self, *pieces: bytes) -> list[tuple[int, bytes]]:
        # A facility that has no stored message yet.
        self._facilities += 1
        client = self.open(_BOTH.replace("/a?", f"/{self._facilities}?"))
        for piece in pieces:
            client.send(piece)
        return [(each.opcode, each.payload) for each in client.frames()]

    def test_lengths(self) -> None:
        """Every length around a border of the format or of the short way arrives unchanged."""
        for size in (1, 2, 125, 126, 127, 128, 255, 256, 1023, 1024, 1025, 70_000):
            text = (b"0123456789" * 7001)[:size]
            data = bytes(n % 256 for n in range(size))
            expected = [(TEXT, text)] if size < 3 else [(TEXT, text), (BINARY, data + b"\xff")]
            sent = frame(TEXT, text) + (b"" if size < 3 else frame(BINARY, data + b"\xff"))
            self.assertEqual(expected, self._heard(sent), size)

    def test_any_cut(self) -> None:
        """It does not matter where a read ends."""
        whole = frame(TEXT, b"short") + frame(TEXT, b"x" * 130) + frame(PING, b"p")
        expected = [(TEXT, b"short"), (TEXT, b"x" * 130), (PONG, b"p")]
        for cut in range(1, len(whole)):
            self.assertEqual(expected, self._heard(whole[:cut], whole[cut:]), cut)

    def test_lengths_in_the_wrong_form(self) -> None:
        """A length in more bytes than it needs is refused as Autobahn refuses it."""
        for head in (b"\x81\xfe\x00\x05", b"\x81\xff" + bytes(7) + b"\x05"):
            client = self.open(_BOTH)
            client.send(head + bytes(4) + b"hello")
            self.assertEqual([1002], _codes(client.frames()))

    def test_inside_a_message(self) -> None:
        """A whole message between two fragments is refused, and no fragment is taken for whole."""
        client = self.open(_BOTH)
        client.send(frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"))
        self.assertEqual([1002], _codes(client.frames()))

    def test_not_utf8(self) -> None:
        """Text that is not UTF-8 is refused with 1007, surrogates as well."""
        for payload in (b"\xff", b"\xed\xa0\x80", b"x" * 200 + b"\xc3"):
            client = self.open(_BOTH)
            client.send(frame(TEXT, payload))
            self.assertEqual([1007], _codes(client.frames()))

    def test_after_the_close_frame(self) -> None:
        """What a client sends behind its close frame is not published."""
        client = self.open(_BOTH)
        client.send(frame(CLOSE, b"\x03\xe8") + frame(TEXT, b"late"))
        self.assertEqual(0, self.metrics.received)


class SmallLimitTests(MemoryGatewayCase):
    """Limits below the length of a short message hold."""

    config = GatewayConfig(limits=Limits(max_message=100, max_frame=50))

    def test_limits(self) -> None:
        """A frame beyond its limit is refused."""
        client = self.open(_BOTH)
        client.send(frame(TEXT, b"x" * 50))
        self.assertEqual([b"x" * 50], [each.payload for each in client.frames()])
        client.send(frame(TEXT, b"x" * 51))
        self.assertEqual([1009], _codes(client.frames()))


class CloseTests(MemoryGatewayCase):
    """The closing handshake, from both sides, in bounded time."""

    def test_client_closes(self) -> None:
        """Its code comes back, and the connection is closed, not reset."""
        for code in (1000, 1001, 1003, 1011, 3000, 4999):
            client = self.open(_BOTH)
            self.close(client, code)
            self.assertEqual([code], _codes(client.frames()))
            self.assertTrue(client.closed)
            self.assertFalse(client.aborted)
        self.nothing_left()

    def test_without_code(self) -> None:
        """A close frame without a body is answered."""
        client = self.open()
        client.send(frame(CLOSE))
        (answer,) = client.frames()
        self.assertEqual(CLOSE, answer.opcode)
        self.assertTrue(client.closed)

    def test_bad_close_frames(self) -> None:
        """Codes that may not be sent, and broken bodies, are 1002."""
        for body in (b"\x03", b"\x03\xee", b"\x03\xed", b"\x00\x00", b"\x07\xcf", b"\xff\xff"):
            client = self.open()
            client.send(frame(CLOSE, body))
            self.assertEqual([1002], _codes(client.frames()), body)

    def test_nothing_after_close(self) -> None:
        """Data behind a close frame is ignored, and nothing is delivered after ours."""
        client = self.open(_BOTH)
        other = self.open()
        client.send(frame(CLOSE, b"\x03\xe8") + frame(TEXT, b"late"))
        self.assertEqual([], other.frames())
        other_protocol = self.protocol(other)
        other_protocol.close(1001, "bye")
        self.publish(b"late")
        other_protocol.write(b"")
        self.assertEqual([CLOSE], [each.opcode for each in other.frames()])

    def test_gateway_closes_once(self) -> None:
        """A second close changes nothing."""
        client = self.open()
        protocol = self.protocol(client)
        protocol.close(1001, "bye")
        protocol.close(1013, "again")
        self.assertEqual([1001], _codes(client.frames()))
        self.close(client, 1001)
        self.assertTrue(client.closed)
        protocol.close(1001, "bye")
        self.nothing_left()

    def test_reason_is_bounded(self) -> None:
        """A reason longer than a frame bears is cut, to valid UTF-8."""
        client = self.open()
        self.protocol(client).close(1008, "a" + "ü" * 100)
        (answer,) = client.frames()
        self.assertLessEqual(len(answer.payload), 125)
        answer.payload[2:].decode("utf-8")

    def test_client_that_does_not_answer(self) -> None:
        """After the time to close it is reset."""
        client = self.open()
        self.protocol(client).close(1001, "bye")
        self.clock.advance(2)
        self.assertFalse(client.closed)
        self.clock.advance(2)
        self.assertTrue(client.aborted)
        self.nothing_left()

    def test_client_leaves_without_a_word(self) -> None:
        """A vanished client leaves nothing, and says nothing in the log."""
        client = self.open(_BOTH)
        with capturedLogs() as events:
            client.leave()
        self.assertEqual([], list(events))
        self.nothing_left()

    def test_late_data(self) -> None:
        """Bytes that the transport still hands over after the end are ignored."""
        client = self.open(_BOTH)
        protocol = self.protocol(client)
        self.close(client)
        protocol.dataReceived(frame(TEXT, b"x"))
        self.assertEqual(0, self.metrics.received)

    def test_data_between_close_and_end(self) -> None:
        """The same while the answer to the close frame waits to be read."""
        client = self.open(_BOTH)
        client.reading = False
        self.close(client)
        client.send(frame(TEXT, b"x"))
        self.assertEqual(0, self.metrics.received)
        client.read()
        self.assertEqual([1000], _codes(client.frames()))
        self.nothing_left()


class HoldTests(MemoryGatewayCase):
    """A client that is held is not read, and has no further frame taken from it."""

    def test_until_the_last_reason_is_gone(self) -> None:
        """Reading goes on when nobody holds any more."""
        client = self.open()
        protocol = self.protocol(client)
        protocol.pause(PauseReason.PUBLISH)
        protocol.pause(PauseReason.HANDLER)
        self.assertTrue(client.paused)
        protocol.resume(PauseReason.PUBLISH)
        protocol.resume(PauseReason.PUBLISH)
        self.assertTrue(client.paused)
        protocol.resume(PauseReason.HANDLER)
        self.assertFalse(client.paused)

    def test_frames_of_the_same_read(self) -> None:
        """Frames that were read already wait, and are taken in order afterwards."""
        answers: list[Deferred[None]] = []
        taken: list[bytes] = []

        class Slow(Handler):
            def on_message(
                self, connection: Connection, payload: bytes, is_binary: bool
            ) -> Deferred[None]:
                taken.append(payload)
                answers.append(Deferred())
                return answers[-1]

        self.use(MemoryGateway(self.config, handler=Slow()))
        client = self.open(_BOTH)
        client.send(frame(TEXT, b"1") + frame(TEXT, b"2") + frame(TEXT, b"3"))
        self.assertEqual([b"1"], taken)
        self.assertTrue(client.paused)
        answers[0].callback(None)
        self.assertEqual([b"1", b"2"], taken)
        self.assertTrue(client.paused)
        answers[1].callback(None)
        answers[2].callback(None)
        self.assertEqual([b"1", b"2", b"3"], taken)
        self.assertFalse(client.paused)

    def test_released_after_the_end(self) -> None:
        """Whoever held a client that is gone may let it go."""
        client = self.open()
        protocol = self.protocol(client)
        protocol.pause(PauseReason.HANDLER)
        client.leave()
        protocol.resume(PauseReason.HANDLER)
        self.assertTrue(client.paused)

    def test_closed_by_a_frame_that_waited(self) -> None:
        """The frame that waited may be the close frame: nobody reads on after it."""
        client = self.open()
        protocol = self.protocol(client)
        protocol.pause(PauseReason.HANDLER)
        protocol.dataReceived(frame(CLOSE, b"\x03\xe8"))
        protocol.resume(PauseReason.HANDLER)
        self.assertEqual([1000], _codes(client.frames()))
        self.assertTrue(client.closed)
        self.nothing_left()

    def test_unanswered_publications(self) -> None:
        """A client that publishes faster than Redis answers is not read."""
        answers: list[Deferred[None]] = []

        def publish(channels: object, payload: bytes) -> Deferred[None]:
            answers.append(Deferred())
            return answers[-1]

        self.patch(self.gateway.broker, "publish", publish)
        client = self.open(_BOTH)
        client.send(frame(TEXT, b"x") * 1000)
        self.assertTrue(client.paused)
        self.assertLess(len(answers), 1000)
        for answer in answers:
            answer.callback(None)
        self.assertEqual(1000, len(answers))
        self.assertFalse(client.paused)


class SlowConsumerTests(MemoryGatewayCase):
    """A client that does not read costs a bounded queue, and nobody else."""

    config = GatewayConfig(limits=Limits(max_queue=200_000))

    def _flood(self, count: int) -> None:
        for number in range(count):
            self.publish(b"%06d" % number + b"x" * 10_000)

    def test_closed_with_1008(self) -> None:
        """It is closed once, logged once and counted once; what is under way is finished first."""
        deaf, good = self.open(), self.open()
        deaf.reading = False
        with capturedLogs() as events:
            self._flood(100)
        self.assertEqual(["warn"], [event["log_level"].name for event in events])
        self.assertEqual(1, self.metrics.slow_consumers)
        self.assertEqual(100, len(good.frames()))
        deaf.read()
        frames = deaf.frames()
        self.assertEqual([1008], _codes(frames))
        self.assertEqual(CLOSE, frames[-1].opcode)
        numbers = [int(each.payload[:6]) for each in frames[:-1]]
        self.assertEqual(list(range(len(numbers))), numbers)

    def test_reset_in_the_end(self) -> None:
        """If it does not even read the close frame, it is reset, and its memory is free."""
        deaf = self.open()
        deaf.reading = False
        self._flood(100)
        self.clock.advance(4)
        self.assertTrue(deaf.aborted)
        self.nothing_left()

    def test_slow_but_alive(self) -> None:
        """Whoever reads in time gets everything."""
        client = self.open()
        for _ in range(10):
            client.reading = False
            self._flood(10)
            client.read()
        self.assertEqual(100, len(client.frames()))
        self.assertEqual(0, self.metrics.slow_consumers)

    def test_not_read_while_it_does_not_read(self) -> None:
        """A client with a long queue is not read, so its pings and echoes cannot pile up."""
        client = self.open(_BOTH)
        client.reading = False
        self._flood(15)
        self.assertTrue(client.paused)
        self._flood(1)
        client.read()
        self.assertFalse(client.paused)

    def test_closes_while_it_does_not_read(self) -> None:
        """Its own close frame is answered when it reads again."""
        client = self.open()
        client.reading = False
        self._flood(8)
        protocol = self.protocol(client)
        protocol.dataReceived(frame(CLOSE, b"\x03\xe8"))
        client.read()
        frames = client.frames()
        self.assertEqual([1000], _codes(frames))
        self.assertTrue(client.closed)
        self.assertFalse(client.aborted)

    def test_overflow_after_close(self) -> None:
        """A connection that is being closed is not closed again."""
        client = self.open()
        protocol = self.protocol(client)
        protocol.close(1001, "bye")
        protocol.send_queue_overflowed()
        self.assertEqual(0, self.metrics.slow_consumers)


class SweepTests(MemoryGatewayCase):
    """Pings find clients that vanished; a text heartbeat keeps old clients content."""

    config = GatewayConfig(ping_interval=20, heartbeat="--hb--")

    def test_pinged_and_answering(self) -> None:
        """A client that answers stays, and each interval has one ping."""
        client = self.open()
        pings = 0
        for _ in range(200):
            self.wait(1)
            for got in client.frames():
                if got.opcode == PING:
                    pings += 1
                    client.send(frame(PONG, got.payload))
        self.assertFalse(client.closed)
        self.assertIn(pings, (9, 10, 11))

    def test_no_pong(self) -> None:
        """A client that is silent is dropped within two intervals of the last sign of life."""
        client = self.open()
        with capturedLogs() as events:
            self.wait(41)
        self.assertTrue(client.aborted)
        self.assertEqual(1, self.metrics.timeouts)
        self.assertEqual(1, len(events))
        self.nothing_left()

    def test_late_reactor(self) -> None:
        """A reactor that is late, with other work, must not make heartbeats rare."""
        client = self.open()
        client.take()
        for _ in range(20):
            self.clock.advance(1)
        self.assertIn(sum(got.opcode == TEXT for got in client.frames()), (4, 5, 6))

    def test_any_byte_is_a_sign_of_life(self) -> None:
        """A client in the middle of a long message needs no pong."""
        client = self.open()
        data = frame(BINARY, b"x" * 500)
        for position in range(100):
            self.wait(1)
            client.send(data[position : position + 1])
        self.assertFalse(client.closed)

    def test_held_client(self) -> None:
        """A client that we do not read cannot answer, and is not blamed for it."""
        client = self.open()
        self.protocol(client).pause(PauseReason.HANDLER)
        self.wait(100)
        self.assertFalse(client.closed)
        self.protocol(client).resume(PauseReason.HANDLER)
        self.wait(41)
        self.assertTrue(client.aborted)

    def test_client_that_only_reads_slowly(self) -> None:
        """Taking bytes is a sign of life, too."""
        client = self.open()
        for _ in range(5):
            client.reading = False
            self.publish(b"x" * 100_000)
            self.wait(15)
            client.read()
        self.assertFalse(client.closed)

    def test_heartbeat(self) -> None:
        """The text goes out at once, then every few seconds, and is answered at once."""
        client = self.open(_BOTH)
        self.assertEqual([b"--hb--"], [each.payload for each in client.frames()])
        self.wait(PlainDialect.heartbeat_interval * 5)
        texts = [each.payload for each in client.frames() if each.opcode == TEXT]
        self.assertEqual({b"--hb--"}, set(texts))
        self.assertIn(len(texts), (4, 5, 6))
        client.send(frame(TEXT, b"--hb--"))
        self.assertEqual([b"--hb--"], [each.payload for each in client.frames()])


class DrainTests(MemoryGatewayCase):
    """The end of a gateway: goodbye to all, in bounded time."""

    def test_goodbye(self) -> None:
        """All get 1001, behind what is already on its way; it fires when the last one is gone."""
        clients = [self.open() for _ in range(3)]
        self.publish(b"last")
        done = self.factory.drain()
        for client in clients:
            frames = client.frames()
            self.assertEqual([TEXT, CLOSE], [each.opcode for each in frames])
            self.assertEqual([1001], _codes(frames))
        self.assertNoResult(done)
        for client in clients:
            self.close(client, 1001)
        self.successResultOf(done)
        self.nothing_left()

    def test_nobody_there(self) -> None:
        """Without clients there is nothing to wait for."""
        self.successResultOf(self.factory.drain())

    def test_cancelled(self) -> None:
        """Who does not wait any longer is not told, and the rest is reset by `stop`."""
        client, waiting = self.open(), self.connect()
        done = self.factory.drain()
        done.addErrback(lambda failure: None)
        done.cancel()
        self.factory.stop()
        self.assertTrue(client.aborted)
        self.assertTrue(waiting.aborted)
        self.nothing_left()

    def test_no_new_clients(self) -> None:
        """Meanwhile nobody is accepted."""
        self.open()
        self.factory.drain()
        status, answer = self.answer(handshake(_LISTEN))
        self.assertEqual(503, status)
        self.assertIn(b"Retry-After", answer)

    def test_deaf_clients(self) -> None:
        """A client that does not read is reset by `stop`."""
        deaf = self.open()
        deaf.reading = False
        self.publish(b"x" * 100_000)
        done = self.factory.drain()
        self.factory.stop()
        self.assertTrue(deaf.aborted)
        self.successResultOf(done)
        self.nothing_left()


class HttpTests(MemoryGatewayCase):
    """A request that is no handshake is twisted.web's, with all that was read of it."""

    def test_get(self) -> None:
        """The page, and the end of the connection."""
        client = self.connect()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = client.take()
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 "))
        self.assertTrue(answer.endswith(b"the page"))
        self.assertTrue(client.closed)
        self.nothing_left_but_http()

    def nothing_left_but_http(self) -> None:
        """Nothing of it is counted as ours any more."""
        self.assertEqual(0, self.factory._sockets)
        self.assertEqual([], list(self.factory.handshakes))

    def test_in_small_parts(self) -> None:
        """The borders of reads do not matter."""
        client = self.connect()
        for byte in b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n":
            client.send(bytes([byte]))
        self.assertTrue(client.take().startswith(b"HTTP/1.1 200 "))

    def test_method_and_body(self) -> None:
        """The method is kept, and the body is read, also what comes later."""
        client = self.connect()
        client.send(b"POST /ws/a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        self.assertEqual(b"", client.take())
        client.send(b"67890")
        answer = client.take()
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)
        self.assertIn(b"HTTP method must be a GET", answer)

    def test_plain_get_of_a_facility(self) -> None:
        """The words that ws4redis' own tests look for."""
        status, answer = self.answer(b"GET /ws/a?subscribe-broadcast HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(400, status)
        self.assertIn(b"upgrade to a websocket", answer)

    def test_other_upgrades(self) -> None:
        """Only an upgrade to a websocket, in any writing, is a handshake."""
        good = handshake(_LISTEN)
        for value in (b"h2c", b"websockets", b"xwebsocket", b"web socket"):
            status, _ = self.answer(good.replace(b"Upgrade: websocket", b"Upgrade: " + value))
            self.assertEqual(400, status, value)
        for value in (b"WebSocket", b" websocket ", b"h2c, websocket", b"websocket,h2c"):
            client = self.connect()
            client.send(good.replace(b"Upgrade: websocket", b"UPGRADE:" + value))
            self.assertTrue(client.take().startswith(b"HTTP/1.1 101 "), value)

    def test_client_leaves(self) -> None:
        """twisted.web learns of the end, and nothing is left."""
        client = self.connect()
        client.send(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        self.assertEqual(1, self.factory._sockets)
        client.leave()
        self.nothing_left_but_http()

    def test_second_request(self) -> None:
        """A connection serves one request: the next might be a handshake, and must not be lost."""
        client = self.connect()
        client.reading = False
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + handshake(_LISTEN))
        client.read()
        self.assertEqual(1, client.take().count(b"HTTP/1.1 "))
        self.assertTrue(client.closed)


class LogTests(MemoryGatewayCase):
    """With ``verbose`` every connection is told."""

    config = GatewayConfig(verbose=True)

    def test_opened_and_closed(self) -> None:
        """One line each, with the codes of both sides and without the payload."""
        with capturedLogs() as events:
            client = self.open(_BOTH)
            client.send(frame(TEXT, b"secret"))
            self.close(client, 4000)
        self.assertEqual(2, len(events))
        self.assertEqual("a", events[0]["facility"])
        self.assertEqual((4000, 4000), (events[1]["received"], events[1]["sent"]))
        self.assertNotIn("secret", repr(list(events)))

    def test_never_opened(self) -> None:
        """What never opened does not close."""
        with capturedLogs() as events:
            self.connect().leave()
        self.assertEqual([], list(events))


class _FakeKernelSocket:
    """As much of a socket as a transport of Twisted needs, and a memory of what was done."""

    def __init__(self) -> None:
        self.options: list[tuple[Any, ...]] = []
        self.sent = b""
        self.shut: list[int] = []
        self.no_options = False

    def setblocking(self, flag: bool) -> None:
        pass

    def fileno(self) -> int:
        return -1

    def setsockopt(self, *words: Any) -> None:
        if self.no_options:
            raise OSError("not here")
        self.options.append(words)

    def send(self, data: bytes) -> int:
        self.sent += bytes(data)
        return len(data)

    def shutdown(self, how: int) -> None:
        self.shut.append(how)

    def close(self) -> None:
        pass


class TcpTests(MemoryGatewayCase):
    """What is done to a real TCP socket."""

    def setUp(self) -> None:
        """A connection on Twisted's own transport."""
        super().setUp()
        self.socket = _FakeKernelSocket()

    def _connected(self) -> tcp.Server:
        protocol = self.factory.buildProtocol(None)
        transport = tcp.Server(
            self.socket,
            protocol,
            ("192.0.2.1", 5),
            None,
            1,
            self.clock,  # type: ignore[arg-type]
        )
        protocol.makeConnection(transport)
        return transport

    def test_options(self) -> None:
        """Nagle's delay is off, and the send buffer has our size."""
        self._connected()
        self.assertIn(
            (sockets.SOL_SOCKET, sockets.SO_SNDBUF, self.config.limits.send_buffer),
            self.socket.options,
        )
        self.assertIn((sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1), self.socket.options)

    def test_without_options(self) -> None:
        """A socket that knows no such options is served all the same."""
        self.socket.no_options = True
        transport = self._connected()
        transport.protocol.dataReceived(handshake(_LISTEN))
        self.assertTrue(self.socket.sent.startswith(b"HTTP/1.1 101 "))

    def test_address(self) -> None:
        """The log names host and port."""
        self.assertEqual("192.0.2.1:5", self._connected().protocol.peer)

    def test_refused_in_the_middle_of_a_head(self) -> None:
        """
        Only the write side is closed, so that unread input does not reset the answer away.

        The rest follows within the time to close.
        """
        transport = self._connected()
        protocol = transport.protocol
        protocol.dataReceived(b"\x00")
        transport.doWrite()
        self.assertTrue(self.socket.sent.startswith(b"HTTP/1.1 400 "))
        self.assertEqual([1], self.socket.shut)
        self.assertTrue(transport.connected)
        self.assertIn(protocol, list(self.factory.closing))
        for _ in range(5):
            self.clock.advance(1)
        self.assertFalse(transport.connected)
        self.nothing_left()


class CompressTests(MemoryGatewayCase):
    """permessage-deflate (RFC 7692), where it is switched on."""

    config = GatewayConfig(compress=True, heartbeat="--hb--", limits=Limits(max_message=2000))
    large = b"0123456789" * 100

    def opened(self, *headers: str) -> Socket:
        """A client that has read the heartbeat which it is greeted with."""
        client = self.open(_BOTH, *(headers or (OFFER,)))
        self.assertEqual([Frame(TEXT, b"--hb--")], client.frames())
        return client

    def fails(self, data: bytes) -> int | None:
        """Send what is wrong. Returns: The code that this is answered with, and nothing else."""
        client = self.opened()
        listener = self.opened()
        client.send(data)
        (code,) = _codes(client.frames())
        self.assertEqual([], listener.frames())
        self.close(client)
        self.close(listener)
        self.nothing_of(client)
        return code

    def nothing_of(self, client: Socket) -> None:
        """The closing handshake was finished, whatever came before."""
        self.assertTrue(client.closed)
        self.assertFalse(client.aborted)

    def test_answer(self) -> None:
        """The answer names what was agreed; without an offer that is in order it does not."""
        for offer, answer in (
            ("permessage-deflate; server_max_window_bits=10", b"; server_max_window_bits=10\r\n"),
            ("permessage-deflate; client_max_window_bits", b"; client_no_context_takeover\r\n"),
            ("permessage-deflate; nonsense", None),
            ("x-other", None),
        ):
            client = self.connect()
            client.send(handshake(_LISTEN, f"Sec-WebSocket-Extensions: {offer}"))
            head = client.take()
            self.assertTrue(head.startswith(b"HTTP/1.1 101 "), head)
            self.assertEqual(answer is not None, b"\r\nSec-WebSocket-Extensions: " in head)
            if answer is not None:
                self.assertIn(answer, head)

    def test_both_ways(self) -> None:
        """Large messages go compressed to whom it was agreed with, small ones do not."""
        deflating, narrow = self.opened(), self.opened(f"{OFFER}; server_max_window_bits=9")
        plain = self.opened("X-Nothing: 1")
        for payload, rsv in ((self.large, 4), (b"small", 0)):
            deflating.send(compressed(payload))
            for client, window in ((deflating, 15), (narrow, 9)):
                (got,) = client.frames()
                self.assertEqual((TEXT, rsv), (got.opcode, got.rsv))
                self.assertEqual(payload, inflated(got, window))
            self.assertEqual([Frame(TEXT, payload)], plain.frames())

    def test_mixed(self) -> None:
        """A client may send plain messages as well, binary ones, in pieces and in fragments."""
        client = self.opened()
        client.send(frame(TEXT, b"plain") + compressed(b"\xff\xfe", BINARY))
        data = squeezed(b"fragments")
        parts = [frame(TEXT, data[:4], fin=False, rsv=4), frame(PING, b"x"), frame(0, data[4:])]
        for byte in b"".join(parts):
            client.send(bytes([byte]))
        client.send(frame(TEXT, b"plain"))
        got = [each for each in client.frames() if each.opcode != PONG]
        self.assertEqual(
            [(TEXT, b"plain"), (BINARY, b"\xff\xfe"), (TEXT, b"fragments"), (TEXT, b"plain")],
            [(each.opcode, each.payload) for each in got],
        )

    def test_heartbeat(self) -> None:
        """A compressed heartbeat is one, and is answered with a plain one."""
        client = self.opened()
        client.send(compressed(b"--hb--"))
        self.assertEqual([Frame(TEXT, b"--hb--")], client.frames())

    def test_too_large(self) -> None:
        """What is too large when it is inflated closes with 1009, in one frame or in many."""
        for size in (2001, 10_000_000):
            data = squeezed(b"x" * size)
            self.assertEqual(1009, self.fails(frame(TEXT, data[:1900], rsv=4)), size)
            middle = len(data) // 2
            first = frame(TEXT, data[:middle], fin=False, rsv=4)
            self.assertEqual(1009, self.fails(first + frame(0, data[middle : middle + 1900])))
        client = self.opened()
        client.send(compressed(b"x" * 2000))
        self.assertEqual([b"x" * 2000], [inflated(each) for each in client.frames()])

    def test_garbage(self) -> None:
        """What cannot be inflated, and text that is not UTF-8, close with 1007."""
        self.assertEqual(1007, self.fails(frame(TEXT, b"\xff\xff\xff", rsv=4)))
        self.assertEqual(1007, self.fails(frame(BINARY, squeezed(b"cut off")[:-3], rsv=4)))
        self.assertEqual(1007, self.fails(frame(TEXT, b"", rsv=4)))
        self.assertEqual(1007, self.fails(compressed(b"caf\xe9!")))

    def test_reserved_bits(self) -> None:
        """Other bits, or this one on a control frame or a continuation, close with 1002."""
        for opcode in (PING, PONG, CLOSE):
            self.assertEqual(1002, self.fails_hard(frame(opcode, rsv=4)))
        for rsv in (1, 2, 3, 5, 6, 7):
            self.assertEqual(1002, self.fails_hard(frame(TEXT, squeezed(b"a"), rsv=rsv)))
        for rsv in (0, 4):
            start = frame(TEXT, squeezed(b"a"), fin=False, rsv=rsv)
            self.assertEqual(1002, self.fails_hard(start + frame(0, b"", rsv=4)))

    def fails_hard(self, data: bytes) -> int | None:
        """As `fails`; the rest cannot be read, so that the client is not heard any more."""
        client = self.opened()
        client.send(data)
        (code,) = _codes(client.frames())
        return code

    def test_not_offered(self) -> None:
        """A compressed message of a client that did not offer it closes with 1002."""
        client = self.opened("X-Nothing: 1")
        client.send(compressed(b"a"))
        self.assertEqual([1002], _codes(client.frames()))

    def test_idle(self) -> None:
        """An idle connection holds no state of zlib, and Autobahn sees no extension of its own."""
        client = self.opened()
        client.send(compressed(self.large))
        inflater: Any = self.protocol(client)._perMessageCompress
        self.assertIsNone(inflater._stream)
        self.assertFalse(hasattr(inflater, "__dict__"))


class AutobahnTests(MemoryGatewayCase):
    """
    What we rely on in Autobahn 26.10 that it does not promise.

    A failure here means that wsredis/protocol.py has to be read again beside the new release.
    """

    def _plain(self) -> WebSocketServerProtocol:
        """A connection on Autobahn's own class."""
        factory = WebSocketServerFactory(reactor=self.clock)
        factory.protocol = WebSocketServerProtocol
        factory.setProtocolOptions(openHandshakeTimeout=0)
        plain = factory.buildProtocol(None)
        plain.makeConnection(StringTransport())
        return plain

    def test_attributes_of_a_connection(self) -> None:
        """
        Every attribute that Autobahn sets when a connection is made exists on ours.

        Ours never calls Autobahn's `connectionMade`; a new attribute would be an AttributeError in
        the middle of a frame.
        """
        ours = self.protocol(self.open())
        missing = {name for name in vars(self._plain()) if not hasattr(ours, name)}
        self.assertEqual(set(), missing)

    def test_values_of_attributes(self) -> None:
        """Those that stand on our class have the value that Autobahn gives to each instance."""
        ours, plain = self.protocol(self.connect()), self._plain()
        for name, value in vars(plain).items():
            if value is None or isinstance(value, (bool, int)):
                if name in GatewayProtocol.CONFIG_ATTRS:
                    continue
                self.assertEqual(value, getattr(ours, name), name)

    def test_mutable_attributes_on_the_class(self) -> None:
        """What is shared by all connections must not be changed by one in place."""
        ours = self.protocol(self.open(_BOTH))
        for name in ("data", "utf8validator", "message_data"):
            self.assertIn(name, {*vars(ours), "message_data"}, name)
        self.assertEqual((), GatewayProtocol.send_queue)

    def test_options_are_on_the_class(self) -> None:
        """CONFIG_ATTRS names all options; on our class they have the factory's values."""
        self.assertIn("maxMessagePayloadSize", GatewayProtocol.CONFIG_ATTRS)
        made = self.protocol(self.connect())
        self.assertEqual((), made.CONFIG_ATTRS)
        for name in GatewayProtocol.CONFIG_ATTRS:
            if name == "tcpNoDelay":
                continue
            self.assertEqual(getattr(self.factory, name), getattr(made, name), name)
            self.assertNotIn(name, vars(made))

    def test_options_that_matter(self) -> None:
        """
        The dangerous defaults are off: unlimited sizes, the status page, drops instead of codes.

        `setProtocolOptions` changes `allowNullOrigin` when it is not named.
        """
        made = self.protocol(self.connect())
        self.assertEqual(1048576, made.maxMessagePayloadSize)
        self.assertEqual(1048576, made.maxFramePayloadSize)
        self.assertFalse(made.webStatus)
        self.assertFalse(made.failByDrop)
        self.assertTrue(made.allowNullOrigin)
        self.assertEqual([13], made.versions)
        self.assertEqual(0, made.openHandshakeTimeout)
        self.assertEqual(0, made.trustXForwardedFor)
        self.assertTrue(made.tcpNoDelay)
        self.assertIsNone(made.perMessageCompressionAccept([]))

    def test_hooks_exist(self) -> None:
        """The methods that we override or call are there, in a class of Autobahn."""
        for name in (
            "_dataReceived",
            "_closeConnection",
            "_onOpen",
            "consumeData",
            "failHandshake",
            "onMessageEnd",
            "processData",
            "processHandshake",
            "sendCloseFrame",
            "sendData",
            "succeedHandshake",
            "unregisterProducer",
        ):
            self.assertTrue(callable(getattr(WebSocketServerProtocol, name, None)), name)

    def test_handshake_reads_from_data(self) -> None:
        """`processHandshake` takes the head out of `data`, and leaves what follows."""
        client = self.connect()
        client.send(handshake(_LISTEN) + b"\x89")
        self.assertEqual(b"\x89", self.protocol(client).data)

    def test_on_connect_gets_the_request(self) -> None:
        """Headers are a dict with names in lower case, duplicates joined."""
        seen: list[Handshake] = []

        def policy(identity: Identity, asked: Handshake) -> Access:
            seen.append(asked)
            return asked.requested

        self.use(MemoryGateway(self.config, policy=_Own(policy)))
        self.open(_LISTEN, "X-Two: 1", "x-two: 2")
        self.assertEqual("1, 2", seen[0].headers["x-two"].replace(",2", ", 2"))
        self.assertIn("headers", ConnectionRequest.__slots__)

    def test_no_timer_of_its_own(self) -> None:
        """Autobahn's timers ignore the reactor that they are given; ours are sweeps."""
        loop = MemoryReactorClock()
        self.patch(txaio.config, "loop", loop)
        client = self.open(_BOTH)
        client.send(frame(TEXT, b"x"))
        self.protocol(client).close(1001, "bye")
        self.assertEqual([], loop.getDelayedCalls())
        self.assertEqual({}, self.factory._batched_timer._buckets)

    def test_send_data_is_the_only_way_out(self) -> None:
        """Pongs and close frames pass our `sendData`, or they would overtake what waits."""
        client = self.open()
        client.reading = False
        self.publish(b"x" * 100_000)
        client.send(frame(PING, b"p"))
        client.read()
        self.assertEqual([TEXT, PONG], [each.opcode for each in client.frames()])

    def test_nothing_to_send_to(self) -> None:
        """Without an send_queue, before the answer, nothing is sent."""
        client = self.connect()
        protocol = self.protocol(client)
        protocol.sendData(b"x")
        protocol.write(b"x")
        protocol.onMessage(b"x", False)
        self.assertEqual(b"", client.take())

    def test_close_before_open(self) -> None:
        """A connection without an send_queue is closed directly."""
        client = self.connect()
        self.protocol(client)._closeConnection()
        self.assertTrue(client.closed)

    def test_close_unclean(self) -> None:
        """Autobahn's access to reset is followed unless both sides have said goodbye."""
        client = self.open()
        self.protocol(client)._closeConnection(abort=True)
        self.assertTrue(client.aborted)

    def test_silent_log(self) -> None:
        """What stands in for Autobahn's logger and futures takes all that it does to them."""
        GatewayProtocol.log.debug("x", a=1)
        for name in ("info", "warn", "error", "critical", "failure", "trace"):
            getattr(GatewayProtocol.log, name)("x")
        txaio.resolve(GatewayProtocol.is_open, None)
