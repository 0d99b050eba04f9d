"""Tests for `wsredis.transports.websocket.protocol`: one connection from its head to its end."""

from __future__ import annotations

import gc
import json
import socket as sockets
import sys
import weakref
from dataclasses import replace
from random import Random
from typing import Any

import txaio
from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
)
from twisted.internet import tcp
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ISSLTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.test import iosim
from zope.interface import implementer

from tests.support.deflate import OFFER, compressed, inflated
from tests.support.memory_gateway import MemoryGateway, MemoryGatewayCase, Socket
from tests.support.raw import BINARY, CLOSE, PING, PONG, TEXT, frame, handshake
from tests.unit.transports.websocket.case import BOTH, LISTEN, SlowAuthenticator, codes
from wsredis.channels import Access
from wsredis.config import GatewayConfig, Limits
from wsredis.errors import BrokerUnavailable, HandshakeRejected
from wsredis.gateway.broker import PublishWaiter
from wsredis.gateway.client import PauseReason
from wsredis.gateway.connection import Connection
from wsredis.gateway.handler import Handler
from wsredis.gateway.identity import Identity
from wsredis.transports.websocket import scheduler
from wsredis.transports.websocket.head import Head
from wsredis.transports.websocket.protocol import GatewayProtocol

SPOKEN = "Sec-WebSocket-Protocol: wsredis"


class OpenTests(MemoryGatewayCase):
    """A correct handshake is answered with 101, and what follows are frames."""

    def test_answer(self) -> None:
        """The key is answered as in RFC 6455, and the software is not named."""
        client = self.connect()
        client.send(handshake(LISTEN))
        head = client.take().decode()
        self.assertTrue(head.startswith("HTTP/1.1 101 "), head)
        self.assertIn("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", head)
        self.assertNotIn("\r\nServer:", head)

    def test_one_byte_at_a_time(self) -> None:
        """The borders of reads do not matter, in the head and in frames."""
        client = self.connect()
        for byte in handshake(BOTH) + frame(TEXT, b"hello"):
            client.send(bytes([byte]))
        _, _, rest = client.take().partition(b"\r\n\r\n")
        self.assertEqual(b"\x81\x05hello", rest)

    def test_all_in_one_segment(self) -> None:
        """Frames in the same read as the head are not lost."""
        client = self.connect()
        client.send(handshake(BOTH) + frame(TEXT, b"1") + frame(TEXT, b"2"))
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

        factory = WebSocketClientFactory(f"ws://localhost{BOTH}", reactor=self.clock)
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
        self.assertEqual(0, len(self.factory.registry.connections))
        self.assertEqual(0, len(self.gateway.hub))

    def _flush(self, pump: iosim.IOPump) -> None:
        for _ in range(3):
            pump.flush()
            self.clock.advance(0)

    def test_small(self) -> None:
        """Open connections share the table of their attributes, which is 500 bytes for each."""
        self.use(MemoryGateway(GatewayConfig(compress=True)))
        # Each kind of connection has attributes of its own. Together they must not be too many.
        self.connect().send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        busy = self.open(BOTH, OFFER)
        busy.send(compressed(b"x") + frame(TEXT, b"x", fin=False) + frame(PING) + frame(0, b"x"))
        self.protocol(busy).pause(PauseReason.HANDLER)
        self.close(self.open(BOTH), 1000)
        client = self.open(LISTEN)
        client.send(frame(PONG))
        self.assertLess(sys.getsizeof(self.protocol(client).__dict__), 400)
        self.assertLessEqual(len({*GatewayProtocol.frequent_attributes}), 29)

    def test_few_attributes(self) -> None:
        """An idle connection has an attribute for its transport and its parts, and few more."""
        self.assertEqual(
            {
                *("address", "connected", "connection", "data", "queue", "state", "transport"),
            },
            set(vars(self.protocol(self.open(LISTEN)))),
        )

    def test_stored_then_live(self) -> None:
        """The stored message follows the answer, and live messages follow it."""
        self.gateway.redis.store(b"broadcast:a", 60, b"stored")
        client = self.open()
        self.publish(b"live")
        self.assertEqual([b"stored", b"live"], [each.payload for each in client.frames()])

    def test_subprotocol(self) -> None:
        """The first one that is offered is chosen, and none if none is offered."""
        for offered, chosen in (("chat", "chat"), ("b, a", "b"), (None, None)):
            client = self.connect()
            headers = [] if offered is None else [f"Sec-WebSocket-Protocol: {offered}"]
            client.send(handshake(LISTEN, *headers))
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
            client.send(handshake(LISTEN, f"Sec-WebSocket-Protocol: {offered}"))
            line = f"\r\nSec-WebSocket-Protocol: {chosen}\r\n".encode()
            self.assertIn(line, client.take(), offered)

    def test_token_twice(self) -> None:
        """A token that is offered twice is repeated neither in the answer nor in the log."""
        with capturedLogs() as events:
            status, answer = self.answer(
                handshake(LISTEN, "Sec-WebSocket-Protocol: bearer.s3cret, bearer.s3cret")
            )
        self.assertEqual(400, status)
        self.assertIn(b"a subprotocol is offered twice", answer)
        self.assertNotIn("s3cret", f"{answer!r} {events}")

    def test_rubbish_as_subprotocol(self) -> None:
        """A subprotocol that is not a token does not come back in the answer."""
        status, answer = self.answer(handshake(LISTEN, "Sec-WebSocket-Protocol: a;b=<c>"))
        self.assertEqual(400, status)
        self.assertNotIn(b"<c>", answer)

    def test_no_compression(self) -> None:
        """permessage-deflate is not negotiated where it is not switched on."""
        client = self.connect()
        client.send(handshake(LISTEN, "Sec-WebSocket-Extensions: permessage-deflate"))
        self.assertNotIn(b"Extensions", client.take())

    def test_counted_and_forgotten(self) -> None:
        """An open connection is counted; after its end nothing is left."""
        client = self.open()
        self.assertEqual((1, 1), (self.metrics.connections, self.metrics.opened))
        self.assertEqual(1, len(self.gateway.hub))
        client.leave()
        self.nothing_left()

    def test_leftovers_of_the_handshake(self) -> None:
        """Attributes that Autobahn keeps of the handshake are deleted: a third of a connection."""
        client = self.open()
        self.assertEqual(
            set(),
            {name for name in self.protocol(client).__dict__ if name.startswith("http_")},
        )

    def test_every_connection_has_its_own_state(self) -> None:
        """Attributes of the class are shared by all connections; no connection changes them."""
        first, second = self.open(BOTH), self.open(BOTH)
        first.send(frame(TEXT, b"a", fin=False))
        second.send(frame(TEXT, b"b"))
        first.send(frame(0, b"a"))
        self.assertEqual([b"b", b"aa"], [each.payload for each in second.frames()])
        self.close(first, 4000)
        self.assertIsNone(self.protocol(second).remoteCloseCode)
        self.assertIsNone(GatewayProtocol.remoteCloseCode)


class SubprotocolTests(MemoryGatewayCase):
    """A client with the subprotocol ``wsredis`` is told what a page cannot see."""

    def spoken(self, path: str = BOTH) -> Socket:
        """Open a WebSocket with it."""
        return self.open(path, SPOKEN)

    def test_hello(self) -> None:
        """A binary message comes first, before stored ones, in the same write as the answer."""
        self.gateway.redis.store(b"broadcast:a", 60, b"stored")
        client = self.spoken()
        hello, stored = client.frames()
        self.assertEqual((BINARY, TEXT), (hello.opcode, stored.opcode))
        told = json.loads(hello.payload)["hello"]
        self.assertEqual(self.protocol(client).connection_id, told["id"])
        self.assertEqual(["broadcast"], told["subscribe"])
        self.assertEqual(25.0, told["heartbeat"])

    def test_others(self) -> None:
        """A client that does not offer it, or offers a longer name, is told nothing."""
        for headers in ([], ["Sec-WebSocket-Protocol: chat, wsredis2"]):
            client = self.open(BOTH, *headers)
            self.assertEqual([], client.frames())
            self.protocol(client).tell_rights()
            self.assertEqual([], client.frames())

    def test_heartbeat(self) -> None:
        """An empty binary message comes every 25 seconds in place of a ping, and is answered."""
        client = self.spoken()
        client.frames()
        for _ in range(4):
            self.clock.advance(25)
            self.assertEqual([(BINARY, b"")], [(e.opcode, e.payload) for e in client.frames()])
            client.send(frame(BINARY, b""))
        self.assertEqual(0, self.metrics.received)
        self.assertFalse(client.closed)

    def test_heartbeat_of_others(self) -> None:
        """The others get pings, as ever."""
        client = self.open(BOTH, "Sec-WebSocket-Protocol: chat")
        self.clock.advance(25)
        self.assertEqual([PING], [each.opcode for each in client.frames()])

    def test_interval(self) -> None:
        """It comes as often as pings do, and every 25 seconds if they are rarer."""
        for interval, seconds in ((10.0, 10.0), (300.0, 25.0)):
            self.use(MemoryGateway(GatewayConfig(ping_interval=interval)))
            client = self.spoken()
            (hello,) = client.frames()
            self.assertEqual(seconds, json.loads(hello.payload)["hello"]["heartbeat"])
            self.clock.advance(seconds)
            self.assertEqual([b""], [each.payload for each in client.frames()])

    def test_silence(self) -> None:
        """A client that does not answer it is dropped, and the log says which answer is missing."""
        client = self.spoken()
        with capturedLogs() as events:
            self.clock.advance(25)
            self.assertFalse(client.closed)
            self.clock.advance(25)
        self.assertTrue(client.aborted)
        self.assertEqual(1, self.metrics.timeouts)
        self.assertEqual("no-pong", events[-1]["event"])
        self.assertIn("no answer to the heartbeat of wsredis from", formatEvent(events[-1]))
        self.nothing_left()

    def test_in_the_middle_of_a_message(self) -> None:
        """It comes while the client sends a long message, too: a page gives up without it."""
        client = self.spoken()
        client.frames()
        client.send(frame(TEXT, b"a", fin=False))
        self.clock.advance(5)
        client.send(frame(0, b"a", fin=False))
        seen: list[bytes] = []
        for _ in range(26):
            self.clock.advance(1)
            client.send(frame(0, b"a" * 20000, fin=False))
            seen += [each.payload for each in client.frames()]
        self.assertEqual({b""}, {*seen})

    def test_rights(self) -> None:
        """When its rights change, it is told again; not when it is about to go."""
        client = self.spoken()
        client.frames()
        connection = self.protocol(client).connection
        assert connection is not None
        granted = Access("a", frozenset(), connection.granted.publish)
        for _ in range(2):
            change = connection.change(Identity("john"), granted)
            self.successResultOf(Deferred.fromCoroutine(change))
        told = [json.loads(each.payload)["hello"] for each in client.frames()]
        self.assertEqual([([], ["broadcast"])] * 2, [(e["subscribe"], e["publish"]) for e in told])
        self.protocol(client).close(4000, "")
        self.protocol(client).tell_rights()
        self.assertEqual([CLOSE], [each.opcode for each in client.frames()])

    def test_no_attribute(self) -> None:
        """It costs no attribute: a connection with it is as small as another one."""
        plain, spoken = self.open(BOTH), self.spoken()
        self.assertEqual(set(vars(self.protocol(plain))), set(vars(self.protocol(spoken))))
        spoken.leave()
        plain.leave()
        self.nothing_left()


class ToldRefusalTests(MemoryGatewayCase):
    """A client that offers the subprotocol ``wsredis`` learns why it is refused."""

    def told(self, path: str = LISTEN, *headers: str) -> tuple[int, str]:
        """Be refused. Returns: The code and the reason."""
        client = self.connect()
        client.send(handshake(path, SPOKEN, *headers))
        head, _, client.received = client.take().partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 101 "), head)
        self.assertIn(b"\r\nSec-WebSocket-Protocol: wsredis\r\n", head)
        self.assertIn(b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", head)
        (close,) = client.frames()
        self.assertTrue(client.closed)
        return close.close_code or 0, close.payload[2:].decode()

    def refused_with(self, rejection: Exception) -> tuple[int, str]:
        """Be refused by an authenticator."""

        class Refusing:
            def identify(self, handshake: object) -> None:
                raise rejection

        self.use(MemoryGateway(self.config, authenticator=Refusing()))
        return self.told()

    def test_codes(self) -> None:
        """The code says as much as the status, and the reason is what would be the body."""
        for status, code in ((400, 4400), (401, 4401), (403, 4403), (404, 4400), (503, 1013)):
            found = self.refused_with(HandshakeRejected("because", status, "use --magic"))
            self.assertEqual((code, "because"), found)
            self.nothing_left()

    def test_long_reason(self) -> None:
        """A reason is cut to what fits into a close frame, at a character."""
        self.assertEqual((4403, "ä" * 61), self.refused_with(HandshakeRejected("ä" * 100)))

    def test_urls(self) -> None:
        """A facility that is not allowed, and a URL where nothing is, are told."""
        self.assertEqual((4400, "the facility is not UTF-8"), self.told("/ws/%ff"))
        self.assertEqual(
            (4400, "there is nothing here: sockets are below /ws/"), self.told("/wss/a")
        )

    def test_advice(self) -> None:
        """Advice follows the reason; a hint is for the log alone."""
        rejection = HandshakeRejected("no", 403, "rule 3", advice="log in")
        self.assertEqual((4403, "no: log in"), self.refused_with(rejection))

    def test_failure(self) -> None:
        """The text of an exception is not told."""
        self.assertEqual((1011, "internal error"), self.refused_with(ValueError("s3cret")))
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))

    def test_away(self) -> None:
        """A client is told to come back if Redis is away, or the gateway stops."""
        self.gateway.broker.disconnect()
        self.assertEqual((1013, "try again later"), self.told())
        self.gateway.broker.connect()
        self.factory.registry.refuse_handshakes()
        self.assertEqual((1013, "try again later"), self.told())

    def test_head(self) -> None:
        """The head of a client that waits with its end takes no memory."""
        for lines in ([SPOKEN], []):
            client = self.connect()
            client.send(handshake("/nothing", *lines))
            self.assertNotIn("asked", vars(self.protocol(client)))

    def test_rate(self) -> None:
        """An address that sends too much is told, and at last not answered, as with HTTP."""
        self.use(MemoryGateway(replace(self.config, limits=Limits(handshake_rate=1))))
        answers = []
        for _ in range(120):
            client = self.connect()
            if client.aborted:
                break
            client.send(handshake(LISTEN, SPOKEN))
            answers.append(client.take()[-21:])
        told = answers.count(b"\x88\x15\x03\xf5too many handshakes"[-21:])
        self.assertGreater(told, 90)
        self.assertLess(len(answers), 120)

    def test_late(self) -> None:
        """A decision that takes too long is told, too, and its question is cancelled."""
        slow = SlowAuthenticator()
        self.use(MemoryGateway(self.config, authenticator=slow))
        client = self.connect()
        client.send(handshake(LISTEN, SPOKEN))
        self.clock.advance(6)
        self.assertIn(b"\x88\x11\x03\xf5try again later", client.take())
        self.assertTrue(slow.asked[0].called)
        self.nothing_left()

    def test_after_the_decision(self) -> None:
        """There may be no room when it is decided: nothing is subscribed then."""
        slow = SlowAuthenticator()
        limits = Limits(max_connections_per_user=1)
        self.use(MemoryGateway(replace(self.config, limits=limits), authenticator=slow))
        clients = [self.connect() for _ in range(2)]
        for client in clients:
            client.send(handshake(LISTEN, SPOKEN))
        for asked in slow.asked:
            asked.callback(Identity("john"))
        self.assertIn(b"too many connections of one client", clients[1].take())
        self.assertEqual(1, self.metrics.connections)
        clients[0].leave()
        self.nothing_left()

    def test_counted_as_others(self) -> None:
        """The log and the metrics are those of an HTTP answer: no WebSocket was open."""
        with capturedLogs() as events:
            self.told("/ws/a?subscribe-user", "Origin: http://evil.example")
        (event,) = events
        self.assertEqual(("handshake-refused", 403), (event["event"], event["status"]))
        self.assertEqual(1, self.metrics.handshakes["refused,foreign-page"])
        self.assertEqual(
            (0, {}), (self.metrics.opened, {k: v for k, v in self.metrics.closed.items() if v})
        )
        self.nothing_left()

    def test_other_clients(self) -> None:
        """Others get the HTTP status."""
        for headers in ([], ["Sec-WebSocket-Protocol: chat, wsredis2"]):
            self.assertEqual(404, self.answer(handshake("/wss/a", *headers))[0])

    def test_malformed(self) -> None:
        """A request that is not understood as a handshake is answered by HTTP."""
        request = handshake(LISTEN, SPOKEN).replace(b"Version: 13", b"Version: 12")
        self.assertEqual(426, self.answer(request)[0])

    def test_late_words(self) -> None:
        """Nothing that the client says then is read as a message, or kept."""
        client = self.connect()
        client.reading = False
        client.send(handshake("/wss/a", SPOKEN) + frame(TEXT, b"early"))
        client.send(frame(CLOSE, b"\x11\x30") + frame(TEXT, b"late"))
        self.assertEqual((0, b""), (self.metrics.received, self.protocol(client).data))
        client.read()
        self.nothing_left()


class CursorTests(MemoryGatewayCase):
    """A client that was without a WebSocket goes on where it was."""

    def poll(self) -> str:
        """Hear everything so far in another way. Returns: The cursor."""
        _, answer = self.answer(f"GET {LISTEN}&wait=0 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        cursor: str = json.loads(answer.partition(b"\r\n\r\n")[2])["cursor"]
        return cursor

    def payloads(self, socket: Socket) -> list[bytes]:
        """The messages of a WebSocket."""
        return [each.payload for each in socket.frames()]

    def test_resumed(self) -> None:
        """It gets what it has missed, and no stored message."""
        self.gateway.redis.store(b"broadcast:a", 60, b"stored")
        cursor = self.poll()
        self.publish(b"1")
        socket = self.open(f"{LISTEN}&cursor={cursor}")
        self.publish(b"2")
        self.assertEqual([b"1", b"2"], self.payloads(socket))

    def test_worthless(self) -> None:
        """With any other cursor it is a new client."""
        self.gateway.redis.store(b"broadcast:a", 60, b"stored")
        self.poll()
        for cursor in ("", "x", "00000000-1", self.factory.streams.ring.worthless):
            socket = self.open(f"{LISTEN}&cursor={cursor}")
            self.assertEqual([b"stored"], self.payloads(socket))
            socket.leave()

    def test_hub_behind(self) -> None:
        """It is answered when the hub has delivered all: else it would hear something twice."""
        cursor = self.poll()
        waiting: list[Any] = [1]
        self.patch(self.gateway.hub, "_waiting", waiting)
        socket = self.connect()
        socket.send(handshake(f"{LISTEN}&cursor={cursor}"))
        self.assertEqual(b"", socket.take())
        waiting.clear()
        self.wait(0.1)
        self.assertIn(b" 101 ", socket.take())

    def test_no_streams(self) -> None:
        """A gateway without such clients takes no cursor."""
        self.use(MemoryGateway(GatewayConfig(no_streams=True)))
        self.gateway.redis.store(b"broadcast:a", 60, b"stored")
        self.assertEqual([b"stored"], self.payloads(self.open(f"{LISTEN}&cursor=x")))


class HeadTests(MemoryGatewayCase):
    """A request whose head is not clean is refused before Autobahn or twisted.web parse it."""

    def test_smuggled_headers(self) -> None:
        """Bytes that only some readers take for the start of a new header are refused."""
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
            status, answer = self.answer(handshake(LISTEN, line))
            self.assertEqual(400, status, line)
            self.assertNotIn(b"Evil", answer)
        self.assertEqual(0, self.metrics.opened)

    def test_harmless_headers(self) -> None:
        """Bytes above ASCII, tabs and empty values are harmless."""
        self.open(LISTEN, "X-A: gr\xfc\xdfe\tx", "X-B:", "X-C:no blank")

    def test_request_line(self) -> None:
        """A malformed request line is refused."""
        good = handshake(LISTEN)
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
        good = handshake(LISTEN)
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
            self.assertEqual(431, self.answer(handshake(LISTEN, line))[0])
            self.assertEqual(431, self.answer(handshake(LISTEN, line)[:-4])[0])

    def test_limit_is_inclusive(self) -> None:
        """A head of exactly the limit passes, one byte more does not."""
        padding = 16384 - len(handshake(LISTEN, "X: "))
        self.open(LISTEN, "X: " + "x" * padding)
        self.assertEqual(431, self.answer(handshake(LISTEN, "X: " + "x" * (padding + 1)))[0])

    def test_endless_head_in_small_parts(self) -> None:
        """The limit holds however the head comes, and nothing is kept after it."""
        client = self.connect()
        client.send(b"GET /ws/a HTTP/1.1\r\n")
        for _ in range(100):
            if not client.closed:
                client.send(b"X: " + b"x" * 300 + b"\r\n")
        self.assertTrue(client.take().startswith(b"HTTP/1.1 431 "))
        self.assertEqual(b"", self.protocol(client).data)

    def test_parts(self) -> None:
        """The parts of a handshake are checked; a wrong version is answered with the right one."""
        good = handshake(LISTEN)
        for old, new, status in (
            (b"Host: localhost\r\n", b"", 400),
            (b"Connection: Upgrade", b"Connection: close", 400),
            (b"dGhlIHNhbXBsZSBub25jZQ==", b"short", 400),
            (b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 8", 426),
            (b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: x", 426),
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
        """Bytes after a refused request are thrown away: there is one answer."""
        client = self.connect()
        client.reading = False
        client.send(b"\x00")
        client.send(handshake(LISTEN))
        client.read()
        self.assertEqual(1, client.take().count(b"HTTP/1.1"))

    def test_flood_after_an_error(self) -> None:
        """What follows is thrown away up to a bound, and then the connection is reset."""
        client = self.connect()
        client.reading = False
        client.send(b"\x00")
        for _ in range(100):
            client.send(b"x" * 65536)
            if client.closed:
                break
        self.assertTrue(client.aborted)
        self.nothing_left()

    def test_too_early(self) -> None:
        """Frames before the answer wait, up to a bound, in whichever read they come."""
        self.use(MemoryGateway(self.config, authenticator=SlowAuthenticator()))
        for pieces, is_cut in (
            ([handshake(LISTEN), b"x" * 16384], False),
            ([handshake(LISTEN) + b"x" * 16384], False),
            ([handshake(LISTEN) + b"x" * 16385], True),
            ([handshake(LISTEN), b"x" * 16384, b"x"], True),
        ):
            client = self.connect()
            for piece in pieces:
                client.send(piece)
            self.assertEqual(is_cut, client.aborted)
            client.leave()
        self.nothing_left()

    def test_many_errors(self) -> None:
        """Refusals of one kind are logged one by one up to a number, and then counted."""
        with capturedLogs() as events:
            for number in range(1000):
                self.connect(f"192.0.2.{number % 250}").send(b"\x00")
            self.answer(handshake("/elsewhere"))
        self.assertLess(len(events), 100)
        self.assertIn(": 404 ", formatEvent(events[-1]))
        with capturedLogs() as events:
            self.nothing_left()
        (event,) = events
        self.assertIn("more of this kind", formatEvent(event))
        self.assertEqual(1001, self.metrics.refused)

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
        """A client that says nothing gets 408, and is gone."""
        client = self.connect()
        self.clock.advance(6)
        self.assertTrue(client.take().startswith(b"HTTP/1.1 408 "))
        self.assertTrue(client.closed)
        self.nothing_left()

    def test_byte_by_byte(self) -> None:
        """A client that is slow on purpose gains no time."""
        client = self.connect()
        for byte in handshake(LISTEN)[:20]:
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
        slow = SlowAuthenticator()
        self.use(MemoryGateway(self.config, authenticator=slow))
        client = self.connect()
        client.send(handshake(LISTEN))
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


class CloseTests(MemoryGatewayCase):
    """The closing handshake, from both sides, in bounded time."""

    def test_client_closes(self) -> None:
        """Its code comes back, and the connection is closed, not reset."""
        for code in (1000, 1001, 1003, 1011, 3000, 4999):
            client = self.open(BOTH)
            self.close(client, code)
            self.assertEqual([code], codes(client.frames()))
            self.assertTrue(client.closed)
            self.assertFalse(client.aborted)
        self.nothing_left()

    def test_after_the_last_message(self) -> None:
        """The answer to a close frame says that what the client published is published."""
        answers: list[PublishWaiter] = []

        def publish(channels: object, payload: bytes, waiter: PublishWaiter) -> None:
            answers.append(waiter)

        self.patch(self.gateway.broker, "publish", publish)
        client = self.open(BOTH)
        # Short ones and others are read in different ways.
        client.send(frame(TEXT, b"1") + frame(TEXT, b"2" * 5000) + frame(CLOSE, b"\x03\xe8"))
        self.assertEqual(2, len(answers))
        self.assertEqual([], client.frames())
        answers[0].published(1, 1)
        self.assertEqual([], client.frames())
        answers[1].published(1, 5000)
        self.assertEqual([1000], codes(client.frames()))
        self.assertTrue(client.closed)
        self.nothing_left()

    def test_last_message_lost(self) -> None:
        """A client whose last message is lost learns it, also if it has said goodbye."""
        answers: list[PublishWaiter] = []

        def publish(channels: object, payload: bytes, waiter: PublishWaiter) -> None:
            answers.append(waiter)

        self.patch(self.gateway.broker, "publish", publish)
        client = self.open(BOTH)
        client.send(frame(TEXT, b"1") + frame(CLOSE, b"\x03\xe8"))
        answers[0].not_published(BrokerUnavailable("lost"), 1)
        self.assertEqual([1013], codes(client.frames()))
        self.assertTrue(client.closed)
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
            self.assertEqual([1002], codes(client.frames()), body)

    def test_nothing_after_close(self) -> None:
        """Data after the client's close frame is ignored; nothing is delivered after ours."""
        client = self.open(BOTH)
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
        self.assertEqual([1001], codes(client.frames()))
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
        client = self.open(BOTH)
        with capturedLogs() as events:
            client.leave()
        self.assertEqual([], list(events))
        self.nothing_left()

    def test_late_data(self) -> None:
        """Bytes that the transport still hands over after the end are ignored."""
        client = self.open(BOTH)
        protocol = self.protocol(client)
        self.close(client)
        protocol.dataReceived(frame(TEXT, b"x"))
        self.assertEqual(0, self.metrics.received)

    def test_data_between_close_and_end(self) -> None:
        """The same while the answer to the close frame waits to be read."""
        client = self.open(BOTH)
        client.reading = False
        self.close(client)
        client.send(frame(TEXT, b"x"))
        self.assertEqual(0, self.metrics.received)
        client.read()
        self.assertEqual([1000], codes(client.frames()))
        self.nothing_left()


class CountTests(MemoryGatewayCase):
    """The events in the life of a connection are counted, by bounded labels."""

    def counted(self, name: str) -> dict[str, int]:
        """The labels of a counter that are not 0."""
        return {key: count for key, count in getattr(self.metrics, name).items() if count}

    def test_closes(self) -> None:
        """By the side that began, and the code of its frame."""
        for code in (1000, 1001, 4000):
            self.close(self.open(), code)
        self.open().send(frame(CLOSE))
        self.open().leave()
        client = self.open()
        self.protocol(client).close(1008, "bye")
        self.close(client, 1000)
        self.assertEqual(
            {
                "client,1000": 1,
                "client,1001": 1,
                "client,other": 1,
                "client,1005": 1,
                "network,1006": 1,
                "gateway,1008": 1,
            },
            self.counted("closed"),
        )

    def test_cut(self) -> None:
        """One that the gateway resets was closed by it, without a code."""
        client = self.open()
        self.protocol(client).cut("it is too slow")
        client.leave()
        self.assertEqual({"gateway,1006": 1}, self.counted("closed"))

    def test_not_opened(self) -> None:
        """What never was a WebSocket is none that was closed."""
        client = self.connect()
        client.send(b"nonsense\r\n\r\n")
        client.leave()
        self.connect().leave()
        self.assertEqual({}, self.counted("closed"))

    def test_handshakes(self) -> None:
        """Accepted, refused, or abandoned."""
        self.open()
        refused = self.connect()
        refused.send(handshake("/ws/%0a?subscribe-broadcast"))
        self.assertEqual({"accepted,": 1, "refused,bad-request": 1}, self.counted("handshakes"))
        self.assertEqual(1, self.metrics.refused)

    def test_abandoned(self) -> None:
        """A client that leaves before the answer has abandoned its handshake."""
        self.use(MemoryGateway(self.config, authenticator=SlowAuthenticator()))
        for _ in range(2):
            client = self.connect()
            client.send(handshake(LISTEN))
            client.leave()
        self.assertEqual({"abandoned,": 2}, self.counted("handshakes"))

    def test_time_of_handshakes(self) -> None:
        """From the request to the answer, with the wait for whom the gateway asks."""
        slow = SlowAuthenticator()
        self.use(MemoryGateway(self.config, authenticator=slow))
        client = self.connect()
        self.clock.advance(1)
        client.send(handshake(LISTEN))
        self.clock.advance(0.5)
        slow.asked[0].callback(Identity())
        self.assertEqual(b"101", client.take()[9:12])
        latency = self.metrics.handshake_latency
        self.assertEqual((1, 0.5), (sum(latency.counts), latency.sum))

    def test_bytes(self) -> None:
        """All bytes of frames from clients, and none of requests."""
        client = self.open(BOTH)
        self.assertEqual(0, self.metrics.received_bytes)
        data = frame(TEXT, b"hello") + frame(TEXT, b"x" * 70000)
        client.send(data[:10])
        client.send(data[10:])
        self.assertEqual(len(data), self.metrics.received_bytes)

    def test_limits(self) -> None:
        """A client that meets a limit counts for its setting."""
        client = self.open(BOTH)
        client.send(frame(TEXT, b"x" * (self.config.limits.max_message + 1)))
        client.leave()
        self.open()
        client = self.open()
        self.protocol(client).close(1001, "bye")
        silent = self.connect()
        self.clock.advance(6)
        self.assertTrue(silent.closed)
        self.assertEqual(
            {"max-message": 1, "close-timeout": 1, "handshake-timeout": 1}, self.counted("limits")
        )


class ReasonTests(MemoryGatewayCase):
    """The reason in a close frame."""

    def test_length(self) -> None:
        """It is at most 123 bytes, and is cut between characters."""
        for reason, expected in (
            ("", ""),
            ("a" * 123, "a" * 123),
            ("a" * 124, "a" * 123),
            ("\u00e9" * 62, "\u00e9" * 61),
            ("a" * 122 + "\u20ac", "a" * 122),
            ("\U0001f600" * 40, "\U0001f600" * 30),
            ("lone \ud800", "lone ?"),
        ):
            client = self.open()
            protocol = self.protocol(client)
            assert protocol.connection is not None
            protocol.connection.close(3000, reason)
            (frame,) = client.frames()
            self.assertEqual(expected, frame.payload[2:].decode(), reason)


class PauseTests(MemoryGatewayCase):
    """A client that is paused is not read, and has no further frame taken from it."""

    def test_until_the_last_reason_is_gone(self) -> None:
        """Reading goes on when the last reason is gone."""
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
        client = self.open(BOTH)
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

    def test_paused_for_a_moment_in_a_message(self) -> None:
        """A message that pauses its client and lets it go on at once is done before the next."""
        taken: list[bytes] = []

        class Brief(Handler):
            def on_message(self, connection: Connection, payload: bytes, is_binary: bool) -> None:
                taken.append(payload[-9:])
                protocol.pause(PauseReason.SEND_QUEUE)
                protocol.resume(PauseReason.SEND_QUEUE)
                taken.append(b"done")

        self.use(MemoryGateway(self.config, handler=Brief()))
        client = self.open(BOTH)
        protocol = self.protocol(client)
        # Short ones and others are read in different ways.
        messages = [b"1", b"x" * 5000 + b"2", b"x" * 5000 + b"3", b"4"]
        client.send(b"".join(frame(BINARY, each) for each in messages))
        expected = [each for one in messages for each in (one[-9:], b"done")]
        self.assertEqual(expected, taken)
        self.assertEqual([], client.frames())
        self.assertFalse(client.paused)

    def test_largest_message(self) -> None:
        """The largest message, which is decided at once, disturbs none after it."""
        largest = self.config.limits.max_message
        client = self.open("/ws/a?publish-broadcast")
        client.send(frame(BINARY, b"x" * largest) + frame(TEXT, b"after"))
        self.assertEqual([], client.frames())
        self.assertEqual(2, self.metrics.received)
        self.assertEqual(b"after", self.gateway.redis.value(b"broadcast:a"))
        self.assertFalse(client.paused)

    def test_largest_message_without_redis(self) -> None:
        """If the largest message is lost, the client is closed, and nothing after it published."""
        largest = self.config.limits.max_message
        client = self.open("/ws/a?publish-broadcast")
        self.gateway.broker.disconnect()
        client.send(frame(BINARY, b"x" * largest) + frame(TEXT, b"after"))
        self.assertEqual([1013], codes(client.frames()))
        self.assertEqual((1, 1), (self.metrics.received, self.metrics.unpublished))
        self.close(client, 1013)
        self.nothing_left()

    def test_released_after_the_end(self) -> None:
        """A pause that ends after the client has gone changes nothing."""
        client = self.open()
        protocol = self.protocol(client)
        protocol.pause(PauseReason.HANDLER)
        client.leave()
        protocol.resume(PauseReason.HANDLER)
        self.assertTrue(client.paused)

    def test_closed_by_a_frame_that_waited(self) -> None:
        """If the frame that waited is the close frame, nothing is read after it."""
        client = self.open()
        protocol = self.protocol(client)
        protocol.pause(PauseReason.HANDLER)
        protocol.dataReceived(frame(CLOSE, b"\x03\xe8"))
        protocol.resume(PauseReason.HANDLER)
        self.assertEqual([1000], codes(client.frames()))
        self.assertTrue(client.closed)
        self.nothing_left()

    def test_unanswered_publications(self) -> None:
        """A client that publishes faster than Redis answers is not read."""
        answers: list[PublishWaiter] = []

        def publish(channels: object, payload: bytes, waiter: PublishWaiter) -> None:
            answers.append(waiter)

        self.patch(self.gateway.broker, "publish", publish)
        client = self.open(BOTH)
        client.send(frame(TEXT, b"x") * 1000)
        self.assertTrue(client.paused)
        self.assertLess(len(answers), 1000)
        for answer in answers:
            answer.published(1, 1)
        self.assertEqual(1000, len(answers))
        self.assertFalse(client.paused)


class InputTests(MemoryGatewayCase):
    """Unfinished input is bounded, and so is the work that a client makes."""

    config = GatewayConfig(limits=Limits(max_input=100_000, max_rate=1000))

    def test_total(self) -> None:
        """When there is too much, the oldest of the address with most of it are reset."""
        begun = frame(BINARY, b"x" * 50_000)[:30_000]
        clients = [self.open(BOTH) for _ in range(3)]
        with capturedLogs() as events:
            for client in clients:
                client.send(begun)
            late = self.open(BOTH)
            late.send(begun)
        self.assertEqual([True, True, False, False], [each.aborted for each in [*clients, late]])
        self.assertEqual(2, self.metrics.shed)
        lines = [each for each in map(formatEvent, events) if each and "unfinished" in each]
        self.assertEqual([True, True], ["connection reset" in each for each in lines])
        for client in [*clients, late]:
            client.leave()
        self.assertEqual(0, self.protocol(late).inputs.total)
        self.nothing_left()

    def test_deadline(self) -> None:
        """A message that does not go on costs its connection, which gets no ping meanwhile."""
        stuck, whole = self.open("/ws/b?publish-broadcast"), self.open(BOTH)
        stuck.send(frame(BINARY, b"x", fin=False))
        whole.send(frame(BINARY, b"x", fin=False) + frame(0, b"y"))
        self.wait(20)
        self.assertEqual((True, b""), (stuck.aborted, stuck.take()))
        self.assertFalse(whole.closed)

    def test_progress(self) -> None:
        """A large message on a slow line has its time."""
        client = self.open(BOTH)
        data = frame(BINARY, b"x" * 90_000)
        for start in range(0, len(data), 2000):
            client.send(data[start : start + 2000])
            self.wait(1)
        self.assertFalse(client.closed)
        self.assertEqual(1, self.metrics.received)

    def test_empty_fragments(self) -> None:
        """Fragments without content are progress, and are paid by the rate."""
        self.use(MemoryGateway(GatewayConfig()))
        client = self.open(BOTH)
        client.send(frame(TEXT, b"", fin=False))
        for _ in range(30):
            client.send(frame(0, b"", fin=False) * 2000)
            self.wait(1)
        self.assertFalse(client.closed)

    def test_next_message(self) -> None:
        """A message that begins before the last read has its own time, as often as that happens."""
        client = self.open(BOTH)
        data = frame(BINARY, b"x" * 3000) * 40
        for start in range(0, len(data), 3100):
            client.send(data[start : start + 3100])
            self.wait(0.8)
        self.assertFalse(client.closed)
        self.assertEqual(40, self.metrics.received)
        client.send(frame(BINARY, b"x" * 3000)[:2000])
        self.wait(10)
        self.assertTrue(client.aborted)

    def test_paused(self) -> None:
        """A message whose client is paused need not go on."""
        client = self.open(BOTH)
        client.send(frame(BINARY, b"x", fin=False))
        self.protocol(client).pause(PauseReason.HANDLER)
        self.wait(40)
        self.assertFalse(client.closed)

    def test_delayed(self) -> None:
        """A client that is too fast is read again when it has paid."""
        client = self.open("/ws/a?publish-broadcast")
        client.send(frame(TEXT, b"x") * 1500)
        self.assertTrue(client.paused)
        self.wait(0.4)
        self.assertTrue(client.paused)
        self.wait(0.5)
        self.assertFalse(client.paused)
        self.assertEqual(1500, self.metrics.received)

    def test_too_fast_for_too_long(self) -> None:
        """A client that is too fast for a minute is closed."""
        client = self.open("/ws/a?publish-broadcast")
        for _ in range(65):
            if not client.paused:
                client.send(frame(TEXT, b"x") * 2000)
            self.wait(1)
        self.assertEqual([1008], codes(client.frames()))
        self.assertEqual(1, self.metrics.shed)

    def test_turns(self) -> None:
        """In a gateway with a reactor a client has one turn, and then the others have theirs."""
        self.patch(scheduler, "_TURNS", 2)
        one, other = self.open(BOTH), self.open(BOTH)
        later: list[Any] = []
        self.protocol(one).scheduler._later = later.append
        for client in (one, other):
            self.protocol(client).turn = 100
            client.send(frame(PING, b"1") * 250)
        self.assertEqual(100, len(one.frames()))
        (step,) = later
        later.clear()
        step()
        self.assertEqual((100, 200), (len(one.frames()), len(other.frames())))
        self.assertTrue(one.paused)
        one.leave()
        (step,) = later
        step()
        self.assertEqual((50, False), (len(other.frames()), other.paused))


class SlowConsumerTests(MemoryGatewayCase):
    """A client that does not read costs a bounded queue, and nobody else."""

    config = GatewayConfig(
        limits=Limits(max_queue=200_000, max_queue_hard=600_000),
        slow_policy=("b.*=conflate", "c=drop-oldest"),
    )

    def _flood(self, count: int, channel: bytes = b"broadcast:a") -> None:
        for number in range(count):
            self.publish(b"%06d" % number + b"x" * 10_000, channel)

    def test_closed_with_1008(self) -> None:
        """It is closed, logged and counted once; messages under way are finished first."""
        deaf, good = self.open(), self.open()
        deaf.reading = False
        with capturedLogs() as events:
            self._flood(100)
        self.assertEqual(["warn"], [event["log_level"].name for event in events])
        self.assertEqual(1, self.metrics.slow_consumers)
        self.assertEqual(100, len(good.frames()))
        deaf.read()
        frames = deaf.frames()
        self.assertEqual([1008], codes(frames))
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

    def test_burst(self) -> None:
        """A client that is behind for less than the grace gets everything, also several times."""
        client = self.open()
        for _ in range(3):
            client.reading = False
            self._flood(50)
            self.wait(1.8)
            client.read()
            self.wait(1)
        self.assertEqual(150, len([each for each in client.frames() if each.opcode == TEXT]))
        self.assertEqual(0, self.metrics.slow_consumers)
        self.assertEqual([], list(self.factory.registry.behind))

    def test_behind_for_longer_than_the_grace(self) -> None:
        """One that is behind for longer is closed, whether more comes or not."""
        deaf, reading = self.open(), self.open()
        deaf.reading = reading.reading = False
        self._flood(50)
        self.wait(1)
        reading.read()
        self._flood(1)
        self.assertEqual(0, self.metrics.slow_consumers)
        with capturedLogs() as events:
            self.wait(2)
        self.assertEqual(1, self.metrics.slow_consumers)
        self.assertIn("its queue is full, closing", formatEvent(events[-1]) or "")
        deaf.read()
        self.assertEqual(1008, deaf.frames()[-1].close_code)
        self.assertEqual([], list(self.factory.registry.behind))
        reading.leave()
        deaf.leave()
        self.nothing_left()

    def test_gone_within_the_grace(self) -> None:
        """One that leaves, or is closed, while it is behind is forgotten."""
        one, other = self.open(), self.open()
        one.reading = other.reading = False
        self._flood(50)
        one.leave()
        self.protocol(other).close(1001, "bye")
        self.assertEqual([], list(self.factory.registry.behind))
        self.wait(2.5)
        self.assertEqual(0, self.metrics.slow_consumers)
        other.read()
        self.assertEqual([1001], codes(other.frames()))

    def test_closed_while_too_much_waits(self) -> None:
        """A close frame behind a long queue is not given up after the grace."""
        client = self.open()
        client.reading = False
        self._flood(55)
        protocol = self.protocol(client)
        protocol.close(1001, "bye")
        self.assertEqual([], list(self.factory.registry.behind))
        protocol.queue_overdue()
        client.read()
        got = client.frames()
        self.assertEqual((56, 1001), (len(got), got[-1].close_code))

    def test_conflate(self) -> None:
        """Only the newest message waits; counted, logged once, and live again afterwards."""
        client, other = self.open("/ws/b.1?subscribe-broadcast"), self.open()
        client.reading = False
        channel = b"broadcast:b.1"
        with capturedLogs() as events:
            self._flood(50, channel)
            self.assertEqual(0, self.metrics.conflated)
            self.wait(3)
            self._flood(50, channel)
            self.assertGreater(self.metrics.conflated, 60)
            client.read()
            self._flood(3, channel)
        lines = [formatEvent(each) or "" for each in events]
        self.assertEqual(1, len(lines), lines)
        self.assertIn("only the newest message of each channel waits", lines[0])
        numbers = [int(each.payload[:6]) for each in client.frames() if each.opcode == TEXT]
        self.assertEqual([49, 0, 1, 2], numbers[-4:])
        self.assertEqual(103, len(numbers) + self.metrics.conflated)
        connection = self.protocol(client).connection
        assert connection is not None
        self.assertIs(self.protocol(client).queue, connection.direct)
        self.assertEqual(0, self.metrics.slow_consumers)
        for each in (client, other):
            each.leave()
        self.nothing_left()
        self.assertEqual(0, self.factory.protocol.queued.held)

    def test_compressed(self) -> None:
        """Compressed messages are left out as any others: none refers to an earlier one."""
        self.use(MemoryGateway(replace(self.config, compress=True)))
        client = self.open("/ws/c?subscribe-broadcast", OFFER)
        client.reading = False
        random = Random(11)
        text = [random.choices(b"0123456789abcdef", k=10_000) for _ in range(100)]
        for number in range(100):
            self.publish(b"%06d" % number + bytes(text[number]), b"broadcast:c")
        self.wait(3)
        for number in range(100):
            self.publish(b"%06d" % number + bytes(text[number]), b"broadcast:c")
        self.assertGreater(self.metrics.dropped_oldest, 50)
        client.read()
        frames_ = [each for each in client.frames() if each.opcode == TEXT]
        self.assertEqual({4}, {each.rsv for each in frames_})
        payloads = [inflated(each) for each in frames_]
        self.assertEqual(b"000099" + bytes(text[99]), payloads[-1])
        self.assertEqual(200, len(payloads) + self.metrics.dropped_oldest)
        self.assertEqual({10_006}, {len(each) for each in payloads})

    def test_drop_oldest(self) -> None:
        """The oldest are left out, counted and logged once."""
        client = self.open("/ws/c?subscribe-broadcast")
        client.reading = False
        with capturedLogs() as events:
            self._flood(100, b"broadcast:c")
            self.wait(3)
            self._flood(100, b"broadcast:c")
        self.assertIn("the oldest messages are left out", formatEvent(events[0]) or "")
        self.assertEqual(1, len(events))
        client.read()
        numbers = [int(each.payload[:6]) for each in client.frames() if each.opcode == TEXT]
        self.assertEqual(list(range(85, 100)), numbers[-15:])
        self.assertEqual(200, len(numbers) + self.metrics.dropped_oldest)
        self.assertEqual((0, 0), (self.metrics.slow_consumers, self.metrics.conflated))

    def test_own_messages(self) -> None:
        """The echo rule holds for a client that is slow, and its own messages are not counted."""
        client = self.open("/ws/b.1?subscribe-broadcast&publish-broadcast")
        client.send(frame(TEXT, b"mine"))
        client.reading = False
        self._flood(30, b"broadcast:b.1")
        self.publish(b"mine", b"broadcast:b.1")
        self._flood(1, b"broadcast:b.1")
        self.wait(3)
        client.read()
        payloads = [each.payload for each in client.frames() if each.opcode == TEXT]
        self.assertNotIn(b"mine", payloads)
        self.assertEqual(31, len(payloads) + self.metrics.conflated)

    def test_a_policy_needs_a_client_that_reads(self) -> None:
        """A client that takes nothing at all for a ping interval goes, whatever its policy."""
        client = self.open("/ws/b.1?subscribe-broadcast")
        client.reading = False
        self._flood(100, b"broadcast:b.1")
        self.wait(60)
        self.assertTrue(client.aborted)
        self.assertEqual(1, self.metrics.slow_consumers)

    def test_slow_but_alive(self) -> None:
        """A client that reads in time gets everything."""
        client = self.open()
        for _ in range(10):
            client.reading = False
            self._flood(10)
            client.read()
        self.assertEqual(100, len(client.frames()))
        self.assertEqual(0, self.metrics.slow_consumers)

    def test_not_read_while_it_does_not_read(self) -> None:
        """A client with a long queue is not read, so its pings and echoes cannot pile up."""
        client = self.open(BOTH)
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
        self.assertEqual([1000], codes(frames))
        self.assertTrue(client.closed)
        self.assertFalse(client.aborted)

    def test_slowest_of_all(self) -> None:
        """When too much waits for all together, the slowest is reset, and the memory is free."""
        limits = Limits(max_queues=1_000_000)
        self.use(MemoryGateway(GatewayConfig(ping_interval=600, limits=limits)))
        deaf, slow, good = (self.open() for _ in range(3))
        deaf.reading = False
        self.publish(b"x" * 400_000)
        self.wait(1)
        slow.reading = False
        with capturedLogs() as events:
            self.publish(b"y" * 400_000)
            self.publish(b"z" * 400_000)
        self.assertEqual(["warn"], [event["log_level"].name for event in events])
        self.assertEqual(1, self.metrics.slow_consumers)
        self.clock.advance(0)
        self.assertEqual([True, False, False], [each.aborted for each in (deaf, slow, good)])
        slow.read()
        self.assertEqual([400_000] * 3, [len(each.payload) for each in slow.frames()])
        for client in (slow, good):
            client.leave()
        self.nothing_left()
        self.assertEqual(0, self.factory.protocol.queued.held)

    def test_slowest_at_the_end_of_a_frame(self) -> None:
        """If little of it is under way, it gets that, and 1008."""
        client = self.open()
        client.reading = False
        self._flood(10)
        for number in range(3):
            self.protocol(client).queue.write(frame(TEXT, b"%d" % number * 500, masked=False))
        self.protocol(client).send_queue_evicted(False)
        self.assertEqual(1, self.metrics.slow_consumers)
        client.read()
        self.assertEqual([1008], codes(client.frames()))

    def test_slowest_while_it_is_closed(self) -> None:
        """One that is being closed already is reset, and counted no second time."""
        client = self.open()
        protocol = self.protocol(client)
        protocol.close(1001, "bye")
        protocol.send_queue_evicted(False)
        self.clock.advance(0)
        self.assertTrue(client.aborted)
        self.assertEqual(0, self.metrics.slow_consumers)

    def test_overflow_after_close(self) -> None:
        """A connection that is being closed is not closed again."""
        client = self.open()
        protocol = self.protocol(client)
        protocol.close(1001, "bye")
        protocol.send_queue_overflowed()
        self.assertEqual(0, self.metrics.slow_consumers)


class HttpTests(MemoryGatewayCase):
    """A request that is not a handshake goes to twisted.web, with all bytes that were read."""

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
        self.assertEqual(0, self.factory.registry.sockets)
        self.assertEqual([], list(self.factory.registry.handshakes))

    def test_in_small_parts(self) -> None:
        """The borders of reads do not matter."""
        client = self.connect()
        for byte in b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n":
            client.send(bytes([byte]))
        self.assertTrue(client.take().startswith(b"HTTP/1.1 200 "))

    def test_lost_upgrade(self) -> None:
        """A handshake whose Upgrade header a proxy has left out is told in the log, and no more."""
        plain = b"GET /ws/a?token=SECRET HTTP/1.0\r\nHost: x\r\n"
        with capturedLogs() as logs:
            status, answer = self.answer(plain + b"Sec-WebSocket-Key: x\r\n\r\n")
            self.assertEqual((status, answer), self.answer(plain + b"\r\n"))
        self.assertEqual(400, status)
        (line,) = [str(formatEvent(each)) for each in logs]
        self.assertIn("asks for a WebSocket at '/ws/a' without the Upgrade header", line)
        self.assertIn("a proxy in front must pass on Upgrade and Connection", line)

    def test_tls(self) -> None:
        """A client that speaks TLS to a port without is told apart, whatever comes of it first."""
        with capturedLogs() as logs:
            for data in (b"\x16", b"\x16\x03\x01\x02\x00"):
                self.assertEqual(400, self.answer(data)[0])
        for each in logs:
            self.assertIn("this is TLS, and this port has none", str(formatEvent(each)))
        self.assertEqual(2, len(logs))

    def test_failed_tls(self) -> None:
        """A TLS handshake that fails is told in the log; a client that just goes is not."""
        for arguments, words in (
            (([("SSL routines", "", "http request")],), ["wss:// in place of ws://"]),
            (([("SSL routines", "", "unexpected eof")],), []),
            ((), []),
        ):
            client = self.connect()
            with capturedLogs() as logs:
                client.protocol.connectionLost(Failure(ValueError(*arguments)))
            self.assertEqual(len(words), len(logs))
            for word, line in zip(words, logs, strict=True):
                self.assertIn("the TLS handshake of 192.0.2.1:54321 failed", str(formatEvent(line)))
                self.assertIn(word, str(formatEvent(line)))
        self.nothing_left()

    def test_method_and_body(self) -> None:
        """The method is kept, and the body is read, also what comes later."""
        client = self.connect()
        client.send(b"PUT /ws/a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
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
        good = handshake(LISTEN)
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
        self.assertEqual(1, self.factory.registry.sockets)
        client.leave()
        self.nothing_left_but_http()

    def test_second_request(self) -> None:
        """A connection serves one request: the next might be a handshake, and must not be lost."""
        client = self.connect()
        client.reading = False
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + handshake(LISTEN))
        client.read()
        self.assertEqual(1, client.take().count(b"HTTP/1.1 "))
        self.assertTrue(client.closed)


class _Channel:
    """A connection of plain HTTP that records what it gets."""

    returned: Any = None

    def __init__(self) -> None:
        self.got: list[object] = []

    def makeConnection(self, transport: Any) -> None:
        self.got.append(transport)

    def dataReceived(self, data: bytes) -> None:
        self.got.append(data)

    def connectionLost(self, reason: Failure) -> None:
        self.got.append("lost")


class _Site:
    """Plain HTTP with one channel."""

    max_channels = 1
    full = False

    def __init__(self) -> None:
        self.channel = _Channel()

    def is_full(self) -> bool:
        return self.full

    def channel_for(self, found: Head, peer: object) -> _Channel:
        return self.channel


class _OtherGateway(MemoryGateway):
    """A gateway whose plain HTTP is not twisted.web's."""

    def make_site(self, config: GatewayConfig) -> Any:
        """Make the stand-in."""
        self.stand_in = _Site()
        return self.stand_in


@implementer(ISSLTransport)
class _TlsSocket(Socket):
    """A connection by TLS."""


class TurnTests(MemoryGatewayCase):
    """An address beyond its rate of handshakes waits."""

    config = GatewayConfig(limits=Limits(handshake_rate=2))

    def test_wait(self) -> None:
        """Each waits for its turn, other addresses do not, and one that is too late is refused."""
        for _ in range(20):
            self.open().leave()
        clients = [self.connect() for _ in range(11)]
        for client in clients:
            client.send(handshake(LISTEN))
        statuses = [client.take()[9:12] for client in clients]
        self.assertEqual([b""] * 10 + [b"429"], statuses)
        other = self.connect("192.0.2.9")
        other.send(handshake(LISTEN))
        self.assertEqual(b"101", other.take()[9:12])
        self.wait(1.1)
        self.assertEqual([b"101"] * 2 + [b""] * 8, [each.take()[9:12] for each in clients[:10]])
        # One that leaves meanwhile is forgotten, with its timer.
        for client in [*clients, other]:
            client.leave()
        self.assertEqual(10, self.metrics.slowed)
        self.nothing_left()

    def test_stored_messages(self) -> None:
        """Handshakes that read large messages have fewer turns."""
        self.gateway.redis.store(b"broadcast:a", 3600, b"x" * 1048576)
        for _ in range(4):
            self.open().leave()
        client = self.connect()
        client.send(handshake(LISTEN))
        self.assertEqual(b"", client.take())
        client.leave()

    def test_tls(self) -> None:
        """TLS begins when it is the turn of the connection, and is counted once."""

        def connect() -> Socket:
            return _TlsSocket(self.factory)

        for _ in range(20):
            client = connect()
            client.send(handshake(LISTEN))
            self.assertEqual(b"101", client.take()[9:12])
            client.leave()
        clients = [connect() for _ in range(11)]
        self.assertEqual([True] * 10 + [False], [client.paused for client in clients])
        self.assertTrue(clients[10].aborted)
        self.wait(1.1)
        self.assertEqual([False] * 2 + [True] * 8, [client.paused for client in clients[:10]])
        clients[0].send(handshake(LISTEN))
        self.assertEqual(b"101", clients[0].take()[9:12])
        for client in clients:
            client.leave()
        self.nothing_left()

    def test_tls_of_a_proxy(self) -> None:
        """TLS of a trusted proxy is counted for nobody; its clients have their turns later."""
        self.use(MemoryGateway(replace(self.config, trusted_proxy=("10.0.0.1",))))

        def status(address: str) -> bytes:
            client = _TlsSocket(self.factory, "10.0.0.1")
            self.assertFalse(client.paused)
            client.send(handshake(LISTEN, f"X-Forwarded-For: {address}"))
            answer = client.take()[9:12]
            client.leave()
            return answer

        self.assertEqual([b"101"] * 20 + [b""], [status("192.0.2.1") for _ in range(21)])
        self.assertEqual(b"101", status("192.0.2.2"))
        self.nothing_left()

    def test_time_is_up(self) -> None:
        """The time for the handshake goes on meanwhile."""
        clients = [self.connect() for _ in range(10)]
        self.wait(2)
        for _ in range(20):
            self.open().leave()
        for client in clients:
            client.send(handshake(LISTEN))
        self.wait(6)
        statuses = [client.take()[9:12] for client in clients]
        self.assertEqual({b"101", b"503"}, {*statuses})


class HandOverTests(MemoryGatewayCase):
    """A connection goes to plain HTTP, and may come back."""

    config = GatewayConfig(limits=Limits(max_handshakes=1))
    request = b"GET / HTTP/1.1\r\n\r\n"

    def setUp(self) -> None:
        """Use a stand-in for the site."""
        gateway = _OtherGateway(self.config)
        self.use(gateway)
        self.site = gateway.stand_in
        self.channel = gateway.stand_in.channel

    def handed_over(self) -> Socket:
        """A client whose connection plain HTTP has."""
        client = self.connect()
        client.send(self.request + b"rest")
        self.assertEqual([client, self.request + b"rest"], self.channel.got)
        return client

    def test_handed_over(self) -> None:
        """The channel gets all bytes, and learns of the end."""
        client = self.handed_over()
        self.assertEqual([], list(self.factory.registry.handshakes))
        client.send(b"more")
        client.leave()
        self.assertEqual([b"more", "lost"], self.channel.got[2:])
        self.nothing_left()

    def test_full(self) -> None:
        """A site without room is 503, and gets nothing."""
        self.site.full = True
        with capturedLogs() as events:
            status, answer = self.answer(self.request)
        self.assertEqual(503, status)
        self.assertIn(b"\r\nRetry-After: ", answer)
        self.assertIn("for pages", events[0]["hint"])
        self.assertEqual([], self.channel.got)

    def test_handshake_comes_back(self) -> None:
        """A handshake that comes back is answered, with the frames that followed it."""
        client = self.handed_over()
        self.channel.returned(handshake(BOTH), frame(TEXT, b"x"), 0, "")
        head, _, rest = client.take().partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 101 "), head)
        self.assertEqual(b"\x81\x01x", rest)
        client.send(frame(PING))
        client.leave()
        self.assertEqual(2, len(self.channel.got))
        self.nothing_left()

    def test_time_starts_anew(self) -> None:
        """A connection that comes back without a whole head has the time of a new one."""
        client = self.handed_over()
        self.wait(100)
        self.channel.returned(b"GET /ws", b"", 0, "")
        self.wait(4)
        self.assertFalse(client.closed)
        self.wait(2)
        self.assertTrue(client.take().startswith(b"HTTP/1.1 408 "))

    def test_no_room_to_come_back(self) -> None:
        """Without room for another handshake it is 503."""
        client = self.handed_over()
        self.connect().send(b"GET")
        self.channel.returned(handshake(BOTH), b"", 0, "")
        self.assertTrue(client.take().startswith(b"HTTP/1.1 503 "))
        self.assertTrue(client.closed)

    def test_refused_request_comes_back(self) -> None:
        """A request that plain HTTP refuses is answered here, and its target is logged."""
        client = self.handed_over()
        with capturedLogs() as events:
            self.channel.returned(b"POST /form HTTP/1.1", b"", 413, "too large")
        self.assertTrue(client.take().startswith(b"HTTP/1.1 413 "))
        self.assertEqual(("POST /form HTTP/1.1", 413), (events[0]["path"], events[0]["status"]))
        self.nothing_left()


class LogTests(MemoryGatewayCase):
    """With ``verbose`` every connection is logged."""

    config = GatewayConfig(verbose=True)

    def test_opened_and_closed(self) -> None:
        """One line each, with everything about the connection and without its messages."""
        with capturedLogs() as events:
            client = self.open(BOTH)
            client.send(frame(TEXT, b"secret") * 3)
            self.clock.advance(1.5)
            self.close(client, 4000)
        opened, closed = events
        self.assertEqual(
            ("a", ["broadcast:a"], ["broadcast:a"]),
            (opened["facility"], opened["hears"], opened["publishes"]),
        )
        self.assertEqual(opened["id"], closed["id"])
        self.assertEqual(
            ("client", 4000, 1.5, 3, None),
            tuple(closed[name] for name in ("by", "code", "seconds", "messages", "bytes_in")),
        )
        self.assertNotIn("secret", repr([opened, closed]))

    def test_cut(self) -> None:
        """The line about a connection that the gateway cuts says why."""
        client = self.open(BOTH)
        with capturedLogs() as events:
            self.clock.pump([25.0, 25.0, 25.0])
        self.assertTrue(client.aborted)
        first, last = events
        self.assertEqual("no-pong", first["event"])
        self.assertEqual(("gateway", 1006, "no pong"), (last["by"], last["code"], last["reason"]))
        self.assertEqual(first["id"], last["id"])

    def test_no_id(self) -> None:
        """A connection without a handshake has no id."""
        client = self.connect()
        self.assertEqual("", self.protocol(client).connection_id)
        client.leave()

    def test_never_opened(self) -> None:
        """A connection that was never open has no line about its end."""
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
    """The options of a real TCP socket, and its end."""

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
        transport.protocol.dataReceived(handshake(LISTEN))
        self.assertTrue(self.socket.sent.startswith(b"HTTP/1.1 101 "))

    def test_no_reference_cycle(self) -> None:
        """A connection that is gone needs no garbage collection, whatever state it was in."""
        self.addCleanup(gc.enable)
        gc.disable()
        for data in (b"", b"GET / HT", handshake(LISTEN), handshake(LISTEN) + frame(TEXT, b"x")):
            transport = self._connected()
            transport.protocol.dataReceived(data)
            protocol = weakref.ref(transport.protocol)
            transport.connectionLost(Failure(ConnectionDone()))
            del transport
            self.assertIsNone(protocol())

    def test_address(self) -> None:
        """The log names host and port."""
        protocol = self._connected().protocol
        self.assertEqual(("192.0.2.1:5", "192.0.2.1"), (protocol.peer, protocol.address))

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
        self.assertIn(protocol, list(self.factory.registry.closing))
        for _ in range(5):
            self.clock.advance(1)
        self.assertFalse(transport.connected)
        self.nothing_left()
