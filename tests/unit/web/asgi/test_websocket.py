"""Tests for `wsredis.web.asgi.websocket`: a client and an application, and what is between them."""

from __future__ import annotations

import asyncio
import gc
import zlib
from typing import Any

from twisted.logger import capturedLogs

from tests.support.asgi import AsgiCase
from tests.support.raw import BINARY, CLOSE, PING, PONG, TEXT, Frame, frame
from wsredis.config import AsgiConfig, GatewayConfig, Limits
from wsredis.testing import Socket
from wsredis.testing.wire import handshake
from wsredis.web.asgi.events import ClientDisconnected
from wsredis.web.asgi.websocket import AsgiConnection
from wsredis.web.asgi.websocket_cycle import WebSocketCycle


def closing(code: int, reason: str = "") -> list[Frame]:
    """The close frame that a client gets."""
    return [Frame(CLOSE, code.to_bytes(2, "big") + reason.encode(), True, 0)]


def events(logs: Any) -> list[str]:
    """The events of a captured log."""
    return [each["event"] for each in logs if "event" in each]


class HandshakeTests(AsgiCase):
    """The handshake, on which the application decides."""

    def answer(self, socket: Socket) -> tuple[int, dict[str, str], bytes]:
        """The status, the headers and the body that a client got."""
        head, _, body = socket.take().partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(each.lower().split(": ", 1) for each in lines)
        return int(first.split()[1]), headers, body

    def test_accepted(self) -> None:
        """The application hears of the client first, and nothing is answered before it accepts."""
        socket = self.connect("/a%20b?c=%20", "Sec-WebSocket-Protocol: x, y", "Cookie: a=b")
        scope = self.app.scopes[0]
        self.assertEqual(
            ("websocket", "/a b", b"/a%20b", b"c=%20"),
            (scope["type"], scope["path"], scope["raw_path"], scope["query_string"]),
        )
        self.assertEqual(["x", "y"], scope["subprotocols"])
        self.assertIn((b"cookie", b"a=b"), scope["headers"])
        self.assertEqual({"websocket.http.response": {}}, scope["extensions"])
        self.assertEqual({"type": "websocket.connect"}, self.receive())
        self.assertEqual(b"", socket.take())
        headers = [(b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=\xe9")]
        self.assertIsNone(self.send(type="websocket.accept", subprotocol="y", headers=headers))
        head = socket.take()
        self.assertTrue(head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n"), head)
        for line in (b"Set-Cookie: a=1", b"Set-Cookie: b=\xe9", b"Sec-WebSocket-Protocol: y"):
            self.assertIn(b"\r\n" + line + b"\r\n", head)

    def test_early_messages(self) -> None:
        """What a client sends with its handshake is received after it was accepted."""
        socket = self.gateway.connect()
        socket.send(handshake("/app") + frame(TEXT, b"early"))
        self.gateway.settle()
        self.assertEqual({"type": "websocket.connect"}, self.receive())
        self.assertIsNone(self.send(type="websocket.accept"))
        self.assertEqual("early", self.receive()["text"])

    def test_wrong_accept(self) -> None:
        """A mistake raises out of ``send``; the application may do it right then."""
        socket = self.connect("/app", "Sec-WebSocket-Protocol: x")
        for kind, event in (
            (ValueError, {"subprotocol": "y"}),
            (TypeError, {"subprotocol": b"x"}),
            (TypeError, {"headers": [("a", "b")]}),
            (TypeError, {"headers": "a"}),
            (ValueError, {"headers": [(b"a", b"b\r\nc: d")]}),
            (ValueError, {"headers": [(b"a b", b"c")]}),
            (ValueError, {"headers": [(b"Sec-WebSocket-Protocol", b"x")]}),
            (ValueError, {"headers": [(b"sec-websocket-accept", b"x")]}),
            (ValueError, {"headers": [(b"Content-Length", b"0")]}),
        ):
            outcome = self.send(type="websocket.accept", **event)
            self.assertIsInstance(outcome, kind, event)
        for event_type in ("websocket.send", "websocket.http.response.body", "http.response.start"):
            self.assertIsInstance(self.send(type=event_type), RuntimeError)
        self.assertIsInstance(self.send(), TypeError)
        self.assertEqual(b"", socket.take())
        self.assertIsNone(self.send(type="websocket.accept", subprotocol="x"))
        self.assertIn(b"Sec-WebSocket-Protocol: x\r\n", socket.take())
        self.assertIsInstance(self.send(type="websocket.accept"), RuntimeError)

    def test_subprotocol_of_the_gateway(self) -> None:
        """``wsredis`` is a name like any other to an application: its clients are not told more."""
        socket = self.connect("/x", "Sec-WebSocket-Protocol: wsredis")
        self.receive()
        self.assertIsNone(self.send(type="websocket.accept", subprotocol="wsredis"))
        self.assertTrue(socket.take().endswith(b"\r\n\r\n"))
        socket.send(frame(BINARY, b""))
        self.assertEqual({"type": "websocket.receive", "bytes": b""}, self.receive())

    def test_refused(self) -> None:
        """A close before the handshake is answered refuses it with 403."""
        socket = self.connect()
        self.receive()
        self.assertIsNone(self.send(type="websocket.close", code=4000))
        self.assertEqual(403, self.answer(socket)[0])
        self.assertTrue(socket.closed)
        self.assertEqual(1006, self.receive()["code"])
        self.assertIsInstance(self.send(type="websocket.accept"), RuntimeError)
        self.assertEqual(1, self.gateway.metrics.handshakes["refused,application"])

    def test_raised(self) -> None:
        """An exception is a 500 and a line in the log, and so is a return without an answer."""
        for error, expected in ((ValueError("oops"), "asgi-failed"), (None, "asgi-unanswered")):
            self.app.error = error
            socket = self.connect()
            with capturedLogs() as logs:
                self.app.leave()
                self.gateway.settle()
            self.assertEqual(500, self.answer(socket)[0])
            self.assertEqual([expected, "handshake-refused"], events(logs))
            self.flushLoggedErrors(ValueError)

    def test_page(self) -> None:
        """A handshake may be refused with a page; a whole one has a length."""
        socket = self.connect()
        self.receive()
        start = {"type": "websocket.http.response.start", "status": 401}
        self.assertIsNone(self.send(**start, headers=[(b"x-a", b"b")]))
        self.assertEqual(b"", socket.take())
        self.assertIsInstance(self.send(**start), RuntimeError)
        self.assertIsInstance(self.send(type="websocket.accept"), RuntimeError)
        self.assertIsNone(self.send(type="websocket.http.response.body", body=b"who?"))
        expected = {"x-a": "b", "connection": "close", "content-length": "4"}
        self.assertEqual((401, expected, b"who?"), self.answer(socket))
        self.assertTrue(socket.closed)
        self.assertEqual(1006, self.receive()["code"])
        outcome = self.send(type="websocket.http.response.body", body=b"more")
        self.assertIsInstance(outcome, RuntimeError)

    def test_page_in_parts(self) -> None:
        """A page in parts is sent as it comes, and ends with the connection."""
        socket = self.connect()
        self.send(type="websocket.http.response.start", status=200)
        body = {"type": "websocket.http.response.body", "more_body": True}
        self.assertIsNone(self.send(**body, body=b"one"))
        self.assertEqual((200, {"connection": "close"}, b"one"), self.answer(socket))
        self.assertFalse(socket.closed)
        self.assertIsNone(self.send(type="websocket.http.response.body", body=b"two"))
        self.assertEqual(b"two", socket.take())
        self.assertTrue(socket.closed)

    def test_page_of_known_length(self) -> None:
        """The length that the application gives is passed on."""
        socket = self.connect()
        headers = [(b"content-length", b"6"), (b"connection", b"keep-alive")]
        self.send(type="websocket.http.response.start", status=503, headers=headers)
        self.send(type="websocket.http.response.body", body=b"one", more_body=True)
        expected = {"connection": "close", "content-length": "6"}
        self.assertEqual((503, expected, b"one"), self.answer(socket))

    def test_page_of_wrong_length(self) -> None:
        """A page of another length is the application's mistake, and no byte of it is sent."""
        for length, bodies in ((2, [b"one"]), (4, [b"one"]), (5, [b"one", b"two"])):
            socket = self.connect()
            headers = [(b"content-length", b"%d" % length)]
            self.send(type="websocket.http.response.start", status=403, headers=headers)
            for body in bodies[:-1]:
                self.send(type="websocket.http.response.body", body=body, more_body=True)
            sent = socket.take()
            outcome = self.send(type="websocket.http.response.body", body=bodies[-1])
            self.assertIsInstance(outcome, RuntimeError)
            self.assertEqual(len(bodies) > 1, bool(sent))
            self.assertEqual(b"", socket.take())
            self.app.leave()
            self.gateway.settle()

    def test_page_without_body(self) -> None:
        """An answer that has no body has no length either."""
        for status in (204, 304):
            socket = self.connect()
            self.send(type="websocket.http.response.start", status=status)
            outcome = self.send(type="websocket.http.response.body", body=b"one")
            self.assertIsInstance(outcome, RuntimeError)
            self.assertIsNone(self.send(type="websocket.http.response.body"))
            self.assertEqual((status, {"connection": "close"}, b""), self.answer(socket))

    def test_page_cut_off(self) -> None:
        """A page that its application does not end, or not in time, never looks complete."""
        for error in (ValueError("oops"), None):
            self.app.error = error
            socket = self.connect()
            self.send(type="websocket.http.response.start", status=401)
            self.send(type="websocket.http.response.body", body=b"one", more_body=True)
            self.app.leave()
            self.gateway.settle()
            self.assertTrue(socket.aborted)
            self.flushLoggedErrors(ValueError)
        socket = self.connect()
        self.send(type="websocket.http.response.start", status=401)
        self.send(type="websocket.http.response.body", body=b"one", more_body=True)
        socket.take()
        self.gateway.wait(6)
        self.assertTrue(socket.aborted)
        self.assertEqual(b"", socket.take())

    def test_large_page(self) -> None:
        """A large page waits for the client."""
        socket = self.connect()
        socket.reading = False
        self.send(type="websocket.http.response.start", status=401)
        body = {"type": "websocket.http.response.body", "more_body": True, "body": bytes(100_000)}
        self.assertEqual("waits", self.send(**body))
        socket.read()
        self.gateway.settle()
        self.assertEqual([None], self.app.results[-1:])
        self.assertGreater(len(socket.take()), 100_000)

    def test_late(self) -> None:
        """An application that does not decide in time is overruled, and hears of it."""
        socket = self.connect()
        self.receive()
        self.gateway.wait(6)
        self.assertEqual(503, self.answer(socket)[0])
        self.assertEqual(
            {"type": "websocket.disconnect", "code": 1006, "reason": ""}, self.receive()
        )
        self.assertIsInstance(self.send(type="websocket.accept"), ClientDisconnected)

    def test_left(self) -> None:
        """A client that leaves before the answer ends the call."""
        socket = self.connect()
        self.receive()
        socket.leave()
        self.gateway.settle()
        self.assertEqual(1006, self.receive()["code"])
        self.app.leave()
        self.gateway.settle()
        self.assertEqual(0, self.gateway.metrics.opened)

    def test_below_our_prefix(self) -> None:
        """A URL of the plain dialect that asks for nothing is the application's, and no other."""
        for path in ("/ws/chat/lobby/", "/ws/", "/ws/a?echo&x=subscribe-me", f"/ws/{'x' * 300}"):
            before = len(self.app.scopes)
            self.connect(path)
            self.assertEqual(before + 1, len(self.app.scopes), path)
        before = len(self.app.scopes)
        for path, status in (
            ("/ws/a?subscribe-broadcast", 101),
            ("/ws/a?x&publish-user", 101),
            (f"/ws/{'x' * 300}?publish-broadcast", 400),
        ):
            self.assertEqual(status, self.answer(self.connect(path))[0], path)
        self.assertEqual(before, len(self.app.scopes))

    def test_not_for_others(self) -> None:
        """Neither Redis nor the rule about origins keeps a client from an application."""
        self.gateway.broker.disconnect()
        socket = self.opened("/app", "Origin: https://elsewhere.example")
        self.say(socket, "hello")
        self.assertEqual("hello", self.receive()["text"])
        self.assertEqual(404, self.gateway.answer(b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n")[0])


class FullTests(AsgiCase):
    """An application that has enough to do."""

    config = GatewayConfig(asgi=AsgiConfig(concurrency=2))

    def test_concurrency(self) -> None:
        """Handshakes beyond the limit are answered with 503; open WebSockets do not count."""
        first, second = self.connect(), self.connect()
        third = self.connect()
        self.assertIn(b" 503 ", third.take())
        self.assertEqual(1, self.gateway.metrics.limits["asgi-concurrency"])
        self.app.do(lambda receive, send: send({"type": "websocket.accept"}), 0)
        self.gateway.settle()
        self.assertIn(b" 101 ", first.take())
        fourth = self.connect()
        self.assertEqual(b"", fourth.take())
        # Each way to the end gives the place back, once.
        second.leave()
        self.app.do(lambda receive, send: send({"type": "websocket.close"}))
        self.gateway.settle()
        self.assertIn(b" 403 ", fourth.take())
        for _ in range(3):
            socket = self.connect()
            self.app.leave()
            self.gateway.settle()
            self.assertIn(b" 500 ", socket.take())
        self.app.error = None
        self.assertEqual([b"", b""], [self.connect().take(), self.connect().take()])
        self.assertIn(b" 503 ", self.connect().take())


class MessageTests(AsgiCase):
    """Messages of an open WebSocket, in both directions."""

    def test_received(self) -> None:
        """Whole messages come in order, each of its kind; empty ones count, pings do not come."""
        socket = self.opened()
        for each in ("é", b"\xff\0", "", b""):
            self.say(socket, each)
            key = "text" if isinstance(each, str) else "bytes"
            self.assertEqual({"type": "websocket.receive", key: each}, self.receive())
        socket.send(frame(TEXT, b"o", fin=False) + frame(PING, b"x") + frame(0, b"ne"))
        self.assertEqual([Frame(PONG, b"x", True, 0)], socket.frames())
        socket.send(frame(TEXT, b"two") + frame(BINARY, b"three"))
        self.gateway.settle()
        self.assertEqual(["one", "two"], [self.receive()["text"] for _ in range(2)])
        self.assertEqual(b"three", self.receive()["bytes"])
        self.assertEqual("waits", self.receive())
        self.say(socket, "four")
        self.assertEqual("four", self.app.results[-1]["text"])
        self.assertEqual(8, self.gateway.metrics.received)

    def test_sent(self) -> None:
        """Messages go out whole and in order; the other key may be there and be None."""
        socket = self.opened()
        for event, expected in (
            ({"text": "é"}, Frame(TEXT, "é".encode(), True, 0)),
            ({"text": "", "bytes": None}, Frame(TEXT, b"", True, 0)),
            ({"bytes": b"\xff"}, Frame(BINARY, b"\xff", True, 0)),
            ({"bytes": b"", "text": None}, Frame(BINARY, b"", True, 0)),
            ({"bytes": bytearray(b"a")}, Frame(BINARY, b"a", True, 0)),
            ({"text": "x" * 5000}, Frame(TEXT, b"x" * 5000, True, 0)),
        ):
            self.assertIsNone(self.send(type="websocket.send", **event))
            self.assertEqual([expected], socket.frames())

    def test_sent_together(self) -> None:
        """Messages of one turn are one write, but large ones are not copied."""
        socket = self.opened()
        written: list[int] = []
        protocol: Any = socket.protocol
        write = protocol.queue.send

        def send(data: bytes) -> int:
            written.append(len(data))
            return int(write(data))

        protocol.queue.send = send

        async def several(receive: Any, send: Any) -> None:
            for size in (1, 2, 5000, 3, 4):
                await send({"type": "websocket.send", "text": "x" * size})

        self.outcome(several)
        self.assertEqual([2 + 1 + 2 + 2, 4 + 5000, 2 + 3 + 2 + 4], written)
        self.assertEqual([1, 2, 5000, 3, 4], [len(each.payload) for each in socket.frames()])

    def test_wrong_messages(self) -> None:
        """A mistake raises out of ``send``, and nothing is sent."""
        socket = self.opened()
        for kind, event in (
            (ValueError, {}),
            (ValueError, {"text": None, "bytes": None}),
            (ValueError, {"text": "a", "bytes": b"a"}),
            (TypeError, {"text": b"a"}),
            (TypeError, {"bytes": "a"}),
            (TypeError, {"text": 5}),
            (ValueError, {"text": "\udc80"}),
        ):
            self.assertIsInstance(self.send(type="websocket.send", **event), kind, event)
        for event_type in ("websocket.connect", "websocket.receive", "x"):
            self.assertIsInstance(self.send(type=event_type), RuntimeError)
        self.assertIsInstance(self.outcome(lambda receive, send: send("x")), TypeError)
        self.assertEqual([], socket.frames())
        self.assertIsNone(self.send(type="websocket.send", text="right", unknown=1))
        self.assertEqual(b"right", socket.frames()[0].payload)

    def test_client_that_does_not_read(self) -> None:
        """An application that sends waits until the client has taken what was sent before."""
        socket = self.opened()
        socket.reading = False
        self.assertEqual("waits", self.send(type="websocket.send", bytes=bytes(70_000)))
        socket.read()
        self.gateway.settle()
        self.assertIsNone(self.app.results[-1])
        # It starts again: this much is taken without a wait.
        socket.reading = False
        self.assertIsNone(self.send(type="websocket.send", bytes=bytes(60_000)))
        self.assertEqual("waits", self.send(type="websocket.send", bytes=bytes(60_000)))
        socket.leave()
        self.gateway.settle()
        self.assertIsNone(self.app.results[-1])
        self.assertIsInstance(self.send(type="websocket.send", text="x"), ClientDisconnected)

    def test_client_that_reads(self) -> None:
        """Nobody waits for a client that takes all."""
        socket = self.opened()
        for _ in range(5):
            self.assertIsNone(self.send(type="websocket.send", bytes=bytes(70_000)))
        self.assertEqual(5, len(socket.frames()))

    def test_application_that_does_not_receive(self) -> None:
        """A client is not read while the application is far behind it, and then again."""
        socket = self.opened()
        sent = 0
        while not socket.paused:
            socket.send(frame(TEXT, b"x"))
            sent += 1
        self.assertEqual(256, sent)
        self.assertEqual(256 * 1024, self.gateway.asgi.websockets.waiting.total)
        taken = 0
        while socket.paused:
            self.assertEqual("x", self.receive()["text"])
            taken += 1
        self.assertLess(taken, 200)
        while taken < sent:
            self.assertEqual("x", self.receive()["text"])
            taken += 1
        self.assertEqual("waits", self.receive())
        self.assertEqual(0, self.gateway.asgi.websockets.waiting.total)
        self.say(socket, "y")
        self.assertEqual("y", self.app.results[-1]["text"])

    def test_large_messages(self) -> None:
        """Large messages count for more: after one, the client is not read."""
        socket = self.opened()
        self.say(socket, bytes(300_000))
        self.assertTrue(socket.paused)
        self.assertEqual(300_000, len(self.receive()["bytes"]))
        self.assertEqual("waits", self.receive())
        self.assertFalse(socket.paused)

    def test_application_that_keeps_up(self) -> None:
        """A client is never paused by an application that receives what comes."""
        socket = self.opened()

        async def receive_all(receive: Any, send: Any) -> None:
            while True:
                await receive()

        self.app.do(receive_all)
        self.gateway.settle()
        for _ in range(1000):
            socket.send(frame(TEXT, b"x"))
            self.gateway.clock.advance(0)
            self.gateway.clock.advance(0)
            self.assertFalse(socket.paused)

    def test_receive_cancelled(self) -> None:
        """A ``receive`` that is cancelled loses nothing, and two at a time get one event each."""
        socket = self.opened()

        async def twice(receive: Any, send: Any) -> Any:
            lost = asyncio.ensure_future(receive())
            await asyncio.sleep(0)
            lost.cancel()
            return await asyncio.gather(receive(), receive())

        self.assertEqual("waits", self.outcome(twice))
        socket.send(frame(TEXT, b"one") + frame(TEXT, b"two"))
        self.gateway.settle()
        self.assertEqual(["one", "two"], sorted(each["text"] for each in self.app.results[-1]))


class CrowdTests(AsgiCase):
    """All clients together."""

    config = GatewayConfig(limits=Limits(max_input=1_000_000))

    def test_bound(self) -> None:
        """When too much waits for applications, those with most of it are closed with 1013."""
        sockets = [self.opened() for _ in range(5)]
        with capturedLogs() as logs:
            for each in sockets:
                self.say(each, bytes(250_000))
        self.assertEqual(["connection-shed"] * 2, events(logs))
        self.assertEqual(2, self.gateway.metrics.shed)
        expected = [closing(1013, "too much waits for the application")] * 2 + [[]] * 3
        self.assertEqual(expected, [each.frames() for each in sockets])
        # It does not hear what it has not taken.
        self.app.do(lambda receive, send: receive(), 0)
        self.gateway.settle()
        self.assertEqual(
            {"type": "websocket.disconnect", "code": 1013, "reason": ""}, self.app.results[-1]
        )


class CompressedTests(AsgiCase):
    """Messages with permessage-deflate."""

    config = GatewayConfig(compress=True, compress_threshold=100)

    def test_both_ways(self) -> None:
        """They are compressed if the client offers it."""
        socket = self.connect("/app", "Sec-WebSocket-Extensions: permessage-deflate")
        self.send(type="websocket.accept", headers=[(b"x-a", b"b")])
        head = socket.take()
        self.assertIn(b"\r\nSec-WebSocket-Extensions: permessage-deflate", head)
        self.assertIn(b"\r\nx-a: b\r\n", head)
        self.send(type="websocket.send", text="x" * 1000)
        found = socket.take()
        self.assertEqual(0xC1, found[0])
        self.assertLess(len(found), 100)
        deflater = zlib.compressobj(wbits=-15)
        data = deflater.compress(b"y" * 1000) + deflater.flush(zlib.Z_SYNC_FLUSH)
        self.receive()
        socket.send(frame(TEXT, data[:-4], rsv=4))
        self.gateway.settle()
        self.assertEqual("y" * 1000, self.receive()["text"])


class EndTests(AsgiCase):
    """The end of a WebSocket, whoever ends it."""

    config = GatewayConfig(asgi=AsgiConfig(shutdown=2.0), ping_interval=10.0)

    def test_client_leaves(self) -> None:
        """The application gets the code and the reason of the client, after what came before."""
        for payload, code, reason in (
            (b"\x03\xe8", 1000, ""),
            (b"\x0f\xa0bye", 4000, "bye"),
            (b"", 1005, ""),
        ):
            socket = self.opened()
            socket.send(frame(TEXT, b"last"))
            self.leave(socket, payload)
            self.assertEqual("last", self.receive()["text"])
            self.assertEqual(
                {"type": "websocket.disconnect", "code": code, "reason": reason}, self.receive()
            )
            self.assertEqual("waits", self.receive())

    def test_connection_lost(self) -> None:
        """Without a close frame the code is 1006, and what came before is received."""
        socket = self.opened()
        self.say(socket, "last")
        socket.leave()
        self.gateway.settle()
        self.assertEqual("last", self.receive()["text"])
        self.assertEqual(1006, self.receive()["code"])

    def test_protocol_error(self) -> None:
        """A client that breaks the protocol is closed; the application gets that code."""
        socket = self.opened()
        socket.send(frame(3, b""))
        self.gateway.settle()
        self.assertEqual(1002, self.receive()["code"])

    def test_application_closes(self) -> None:
        """Its code and reason are sent, and it hears of the end once; nothing may follow."""
        for event, code, reason in (
            ({}, 1000, ""),
            ({"code": None, "reason": None}, 1000, ""),
            ({"code": 4321, "reason": "é"}, 4321, "é"),
            ({"code": 1012}, 1012, ""),
        ):
            socket = self.opened()
            self.send(type="websocket.send", text="last")
            self.assertIsNone(self.send(type="websocket.close", **event))
            self.assertEqual(
                [Frame(TEXT, b"last", True, 0), *closing(code, reason)], socket.frames()
            )
            self.say(socket, "not heard")
            self.assertEqual(code, self.receive()["code"])
            for kind in ("websocket.send", "websocket.close", "websocket.accept"):
                self.assertIsInstance(self.send(type=kind, text="x"), RuntimeError)
            self.leave(socket)
            self.assertEqual("waits", self.receive())

    def test_wrong_close(self) -> None:
        """A code or a reason that no close frame may have raises out of ``send``."""
        socket = self.opened()
        for kind, event in (
            (TypeError, {"code": "1000"}),
            (ValueError, {"code": 999}),
            (ValueError, {"code": 1005}),
            (ValueError, {"code": 1006}),
            (ValueError, {"code": 1015}),
            (ValueError, {"code": 2999}),
            (ValueError, {"code": 5000}),
            (TypeError, {"reason": b"x"}),
            (ValueError, {"reason": "é" * 62}),
        ):
            self.assertIsInstance(self.send(type="websocket.close", **event), kind, event)
        self.assertEqual([], socket.frames())
        self.assertIsNone(self.send(type="websocket.close", reason="x" * 123))
        self.assertEqual(closing(1000, "x" * 123), socket.frames())

    def test_application_returns(self) -> None:
        """A client does not stay without an application: 1000, and 1011 after an exception."""
        for error, frames in ((None, closing(1000)), (OSError(), closing(1011, "internal error"))):
            self.app.error = error
            socket = self.opened()
            with capturedLogs() as logs:
                self.app.leave()
                self.gateway.settle()
            self.assertEqual(frames, socket.frames())
            self.assertEqual([] if error is None else ["asgi-failed"], events(logs))
            self.flushLoggedErrors(OSError)

    def test_not_logged(self) -> None:
        """The error about a client that has gone is nobody's mistake."""
        socket = self.opened()
        socket.leave()
        self.gateway.settle()
        outcome = self.send(type="websocket.send", text="x")
        self.assertIsInstance(outcome, OSError)
        self.app.error = outcome
        with capturedLogs() as logs:
            self.app.leave()
            self.gateway.settle()
        self.assertEqual([], events(logs))

    def test_stays(self) -> None:
        """A call that goes on after its client has left is cancelled after a time."""
        socket = self.opened()
        socket.leave()
        self.gateway.settle()
        self.gateway.wait(1.5)
        self.assertEqual(0, self.app.cancelled)
        with capturedLogs() as logs:
            self.gateway.wait(1.5)
            self.gateway.settle()
        self.assertEqual(1, self.app.cancelled)
        self.assertEqual(["asgi-cancelled"], events(logs))

    def test_stop(self) -> None:
        """A stop closes all with 1012, of which the application hears at once."""
        socket = self.opened()
        self.gateway.factory.drain()
        self.gateway.settle()
        self.assertEqual(closing(1012, "the gateway stops"), socket.frames())
        self.assertEqual(
            {"type": "websocket.disconnect", "code": 1012, "reason": "the gateway stops"},
            self.receive(),
        )

    def test_stop_during_handshake(self) -> None:
        """A client that waits for an answer when the gateway ends gets one."""
        socket = self.connect()
        self.receive()
        self.gateway.factory.drain()
        self.gateway.settle()
        self.assertEqual(b"", socket.take())
        self.gateway.factory.stop()
        self.gateway.settle()
        self.assertTrue(socket.take().startswith(b"HTTP/1.1 503 "))
        self.assertTrue(socket.closed)
        self.assertEqual(1006, self.receive()["code"])

    def test_silent_client(self) -> None:
        """Pings keep a WebSocket open; a client that answers none is gone."""
        socket = self.opened()
        waited = 0
        while not socket.closed:
            self.gateway.wait(1)
            waited += 1
        self.assertGreater(waited, 10)
        self.assertEqual(1006, self.receive()["code"])

    def test_no_garbage(self) -> None:
        """Both sides are freed at once, whichever ends first, and whatever may still be called."""
        gc.collect()
        self.addCleanup(gc.garbage.clear)
        self.addCleanup(gc.set_debug, gc.get_debug())
        for is_client_first in (True, False):
            socket = self.opened()
            protocol: Any = socket.protocol
            cycle = protocol.connection.cycle
            if is_client_first:
                self.leave(socket)
                self.app.leave()
                self.gateway.settle()
            else:
                self.app.leave()
                self.gateway.settle()
                self.leave(socket)
            del socket, protocol
            self.gateway.settle()
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            kinds = (AsgiConnection, WebSocketCycle)
            self.assertEqual([], [each for each in gc.garbage if isinstance(each, kinds)])
            gc.set_debug(0)
            gc.garbage.clear()
        late = cycle.send({"type": "websocket.send", "text": "x"})
        self.assertRaises(ClientDisconnected, late.send, None)

    def test_nothing_left(self) -> None:
        """Of a client that has left, and a call that has ended, nothing is left."""
        socket = self.opened()
        self.say(socket, "not received")
        self.leave(socket)
        self.app.leave()
        self.gateway.settle()
        self.assertEqual(0, self.gateway.metrics.connections)
        self.assertEqual([], [*self.gateway.factory.registry.connections])
        self.assertEqual(0, self.gateway.asgi.websockets.waiting.total)
        self.assertIsNone(self.gateway.factory.registry.slots.sockets.held or None)
