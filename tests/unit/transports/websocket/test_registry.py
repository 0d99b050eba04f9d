"""Tests for `wsredis.transports.websocket.registry`."""

from __future__ import annotations

from twisted.logger import capturedLogs

from tests.support.memory_gateway import MemoryGatewayCase
from tests.support.raw import BINARY, CLOSE, PING, PONG, TEXT, frame, handshake
from tests.unit.transports.websocket.case import BOTH, LISTEN, codes
from wsredis.config import GatewayConfig, Limits
from wsredis.dialects.plain import PlainDialect
from wsredis.gateway.client import PauseReason


class LimitTests(MemoryGatewayCase):
    """How many there may be."""

    config = GatewayConfig(limits=Limits(max_connections=2, max_handshakes=3))

    def test_connections(self) -> None:
        """One more is answered with 503; one that leaves makes room."""
        clients = [self.open(), self.open()]
        self.assertEqual(503, self.answer(handshake(LISTEN))[0])
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
        client = self.open(BOTH)
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
            self.assertEqual([1001], codes(frames))
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
        status, answer = self.answer(handshake(LISTEN))
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
