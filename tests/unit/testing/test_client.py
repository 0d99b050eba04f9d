"""Tests for `wsredis.testing.client`: it is as strict as a real client and a real transport."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from wsredis import Connection, GatewayConfig, Handler
from wsredis.testing import Client, HandshakeFailed, MemoryGateway, Socket
from wsredis.testing.wire import CLOSE, PING, TEXT, frame


class _Producer:
    """Remembers what the transport asks for."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        """Remember it."""
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        """Remember it."""
        self.calls.append("resume")

    def stopProducing(self) -> None:
        """Remember it."""
        self.calls.append("stop")


class _Server(Protocol):
    """Remembers what happens to its connection."""

    def __init__(self) -> None:
        self.data = b""
        self.lost = 0

    def dataReceived(self, data: bytes) -> None:
        """Remember it."""
        self.data += data

    def connectionLost(self, reason: object = None) -> None:
        """Count it."""
        self.lost += 1


class SocketTests(SynchronousTestCase):
    """`Socket`, between a client and a protocol of Twisted."""

    def setUp(self) -> None:
        """Connect."""
        self.socket = Socket(Factory.forProtocol(_Server))
        self.server: _Server = self.socket.protocol

    def test_both_ways(self) -> None:
        """Bytes arrive at once in both directions; `take` gives them once."""
        self.socket.send(b"to the server")
        self.assertEqual(b"to the server", self.server.data)
        self.socket.write(b"to ")
        self.socket.writeSequence([b"the ", b"client"])
        self.assertEqual(b"to the client", self.socket.take())
        self.assertEqual(b"", self.socket.take())

    def test_slow_client(self) -> None:
        """The bytes for a client that does not read wait, and pause a producer at 64 KiB."""
        producer = _Producer()
        self.socket.registerProducer(producer, True)
        self.socket.reading = False
        self.socket.write(bytes(65536))
        self.assertEqual(([], b""), (producer.calls, self.socket.received))
        self.socket.write(b"x")
        self.assertEqual(["pause"], producer.calls)
        self.socket.read()
        self.assertEqual(["pause", "resume"], producer.calls)
        self.assertEqual(65537, len(self.socket.take()))
        self.socket.write(b"more")
        self.assertEqual(b"more", self.socket.take())

    def test_close_waits_for_a_slow_client(self) -> None:
        """The connection is closed when the client has read everything, and nothing is added."""
        self.socket.reading = False
        self.socket.write(b"last")
        self.socket.loseConnection()
        self.socket.write(b"too late")
        self.assertFalse(self.socket.closed)
        self.socket.read()
        self.assertTrue(self.socket.closed)
        self.assertEqual(b"last", self.socket.take())

    def test_abort(self) -> None:
        """An abort does not wait; the server's protocol learns of it once."""
        producer = _Producer()
        self.socket.registerProducer(producer, True)
        self.socket.reading = False
        self.socket.write(b"unread")
        self.socket.abortConnection()
        self.socket.abortConnection()
        self.socket.leave()
        self.assertTrue(self.socket.closed and self.socket.aborted)
        self.assertEqual(1, self.server.lost)
        self.assertEqual(["stop"], producer.calls)

    def test_leave(self) -> None:
        """A client that is gone sends and receives nothing."""
        self.socket.leave()
        self.assertEqual(1, self.server.lost)
        self.assertFalse(self.socket.aborted)
        self.socket.send(b"x")
        self.socket.write(b"y")
        self.assertEqual((b"", b""), (self.server.data, self.socket.take()))

    def test_strict(self) -> None:
        """Two producers, text, and bytes for a server that does not read are mistakes."""
        self.socket.registerProducer(_Producer(), False)
        self.assertRaises(AssertionError, self.socket.registerProducer, _Producer(), True)
        self.socket.unregisterProducer()
        self.socket.registerProducer(_Producer(), True)
        self.assertRaises(AssertionError, self.socket.write, "text")
        self.socket.pauseProducing()
        self.assertRaises(AssertionError, self.socket.send, b"x")
        self.socket.resumeProducing()
        self.socket.send(b"x")
        self.assertEqual(b"x", self.server.data)

    def test_stop_producing(self) -> None:
        """A server that wants nothing more closes the connection."""
        self.socket.stopProducing()
        self.assertTrue(self.socket.closed)

    def test_addresses(self) -> None:
        """Both ends have one, of those that are reserved for documentation."""
        addresses = (self.socket.getPeer().host, self.socket.getHost().host)
        self.assertEqual(("192.0.2.1", "192.0.2.2"), addresses)


class _Silent(Protocol):
    """Answers nothing."""


class _Waiting(Handler):
    """Is busy with the first message for good."""

    def on_message(self, connection: Connection, payload: bytes, is_binary: bool) -> Deferred[None]:
        """Take it and go on thinking."""
        return Deferred()


class ClientTests(SynchronousTestCase):
    """`Client`: messages in, messages out."""

    def setUp(self) -> None:
        """Start a gateway that sends pings every ten seconds."""
        self.gateway = MemoryGateway(GatewayConfig(ping_interval=10))

    def test_messages(self) -> None:
        """Text arrives as strings, anything else as bytes, each once and in order."""
        client = self.gateway.client("/ws/a?subscribe-broadcast&publish-broadcast&echo")
        client.send("\u00e9")
        client.send(b"\xff")
        self.assertEqual(["\u00e9", b"\xff"], client.messages())
        self.assertEqual([], client.messages())

    def test_refused(self) -> None:
        """A refusal is an exception with the status of the answer and the answer itself."""
        error = self.assertRaises(HandshakeFailed, self.gateway.client, "/elsewhere")
        self.assertEqual(404, error.status)
        self.assertEqual("HTTP/1.1 404 Not Found", str(error))
        self.assertTrue(error.answer.startswith(b"HTTP/1.1 404 "))

    def test_no_answer(self) -> None:
        """A gateway that does not answer at once has not opened the WebSocket."""
        socket = Socket(Factory.forProtocol(_Silent))
        error = self.assertRaises(HandshakeFailed, Client, socket, "/ws/a")
        self.assertEqual((0, "there is no answer yet"), (error.status, str(error)))

    def test_subprotocol(self) -> None:
        """The client knows which subprotocol was chosen."""
        self.assertIsNone(self.gateway.client("/ws/a").subprotocol)
        client = self.gateway.client("/ws/a", "Sec-WebSocket-Protocol: chat, other")
        self.assertEqual("chat", client.subprotocol)

    def test_notices(self) -> None:
        """With ``wsredis`` it knows what it is told, and answers heartbeats."""
        client = self.gateway.client(
            "/ws/a?subscribe-broadcast&publish-broadcast&echo", "Sec-WebSocket-Protocol: wsredis"
        )
        self.assertEqual(["broadcast"], client.hello["subscribe"])
        self.gateway.wait(60)
        client.send(b"\xff")
        self.assertEqual([b"\xff"], client.messages())
        client.socket.pauseProducing()
        self.gateway.wait(10)
        self.assertEqual([], client.messages())
        self.assertEqual({}, self.gateway.client("/ws/a").hello)

    def test_close(self) -> None:
        """Closing ends in order, with the code that the gateway sends back, and may be repeated."""
        client = self.gateway.client("/ws/a")
        self.assertTrue(client.is_open)
        client.close()
        client.close(4000)
        self.assertTrue(client.socket.closed)
        self.assertFalse(client.is_open)
        self.assertEqual((1000, ""), (client.close_code, client.close_reason))
        client.send("dropped")

    def test_one_close_frame(self) -> None:
        """A client that has closed sends nothing more, even while the gateway has not answered."""
        sent: list[bytes] = []
        client = self.gateway.client("/ws/a")
        client.socket.protocol.dataReceived = sent.append
        client.close(4001)
        self.assertFalse(client.is_open)
        self.assertIsNone(client.close_code)
        client.close()
        client.socket.write(b"\x88\x02\x0f\xa1")
        self.assertFalse(client.is_open)
        self.assertEqual(4001, client.close_code)
        self.assertEqual(1, len(sent))

    def test_closed_without_a_code(self) -> None:
        """A close frame without a code is one of code 1005 (RFC 6455, 7.1.5)."""
        client = self.gateway.client("/ws/a")
        client.socket.write(b"\x88\x00")
        self.assertFalse(client.is_open)
        self.assertEqual((1005, ""), (client.close_code, client.close_reason))

    def test_closed_by_the_gateway(self) -> None:
        """The code and the reason are known, and the client answers as it should."""
        client = self.gateway.client("/ws/a")
        client.socket.protocol.close(4000, "enough")
        self.assertFalse(client.is_open)
        self.assertEqual((4000, "enough"), (client.close_code, client.close_reason))
        self.assertTrue(client.socket.closed)

    def test_lost(self) -> None:
        """A connection that is lost has no code."""
        client = self.gateway.client("/ws/a")
        client.socket.leave()
        self.assertFalse(client.is_open)
        self.assertIsNone(client.close_code)

    def test_pings(self) -> None:
        """Pings are answered while time passes: a client stays as long as it reads."""
        client, deaf = self.gateway.client("/ws/a"), self.gateway.open("/ws/a")
        self.gateway.wait(100)
        self.assertTrue(client.is_open)
        self.assertTrue(deaf.closed)
        self.assertIn(PING, {each.opcode for each in deaf.frames()})
        client.socket.reading = False
        self.gateway.wait(100)
        self.assertTrue(client.socket.closed)

    def test_busy_handler(self) -> None:
        """A client that is not read sends neither messages nor pongs, and hears messages."""
        gateway = MemoryGateway(GatewayConfig(ping_interval=10), handler=_Waiting())
        client = gateway.client("/ws/a?subscribe-broadcast")
        client.send("first")
        self.assertRaises(AssertionError, client.send, "second")
        gateway.redis.publish(b"broadcast:a", b"news")
        gateway.wait(9)
        self.assertEqual(["news"], client.messages())

    def test_misbehaving(self) -> None:
        """Bytes that a client should not send are sent on its socket."""
        client = self.gateway.client("/ws/a")
        client.socket.send(frame(TEXT, b"x", masked=False))
        self.assertEqual([CLOSE], [each.opcode for each in client.socket.frames()])
