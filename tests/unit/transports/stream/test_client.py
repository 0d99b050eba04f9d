"""Tests for `wsredis.transports.stream.client`: what all clients without WebSockets do alike."""

from __future__ import annotations

from typing import Any

from tests.support.memory_gateway import Socket
from tests.unit.transports.stream.case import LISTEN, SPEAK, StreamCase, request
from tests.unit.transports.websocket.case import SlowAuthenticator
from wsredis.config import GatewayConfig, Limits
from wsredis.errors import HandshakeRejected
from wsredis.gateway.client import PauseReason
from wsredis.gateway.identity import Identity
from wsredis.transports.stream.client import State, StreamClient


class ClientTests(StreamCase):
    """A client that waits for its decision."""

    def setUp(self) -> None:
        """Let one wait."""
        self.slow = SlowAuthenticator()
        self.start(GatewayConfig(), authenticator=self.slow)

    def waiting(self) -> tuple[StreamClient, Socket]:
        """Let a client come."""
        socket = self.connect()
        socket.send(request("POST", SPEAK, body=b"x"))
        (channel,) = self.streams.channels
        assert channel._client is not None
        return channel._client, socket

    def test_refused_once(self) -> None:
        """A request gets one answer."""
        client, socket = self.waiting()
        client.refuse(HandshakeRejected("no", 403))
        client.refuse(HandshakeRejected("no", 401))
        client.close(1000, "")
        self.assertEqual(1, socket.take().count(b"HTTP/1.1 "))
        self.assertIs(State.ENDED, client.state)
        self.assertTrue(self.slow.asked[0].called)

    def test_closed_while_pending(self) -> None:
        """Whoever closes it before it is open refuses it, for now."""
        client, socket = self.waiting()
        client.close(1013, "too much")
        self.assertIn(b" 503 ", socket.take())

    def test_gone_in_other_ways(self) -> None:
        """The registry may cut it at any time."""
        for cut in ("dropped", "input_refused"):
            client, socket = self.waiting()
            getattr(client, cut)("a reason")
            self.assertTrue(socket.aborted)
        client, socket = self.waiting()
        client.close_timed_out()
        self.assertTrue(socket.aborted)
        self.assertEqual(1, self.metrics.limits["close-timeout"])

    def test_nothing_to_read(self) -> None:
        """It has nothing more to say: a pause only holds its answer up."""
        client, socket = self.waiting()
        client.pause(PauseReason.RATE)
        self.assertTrue(client.is_paused)
        client.take_turn()
        client.send_heartbeat()
        client.check_alive()
        client.queue_overdue()
        client.write(b"x")
        self.slow.asked[0].callback(Identity())
        self.assertEqual(b"", socket.take())
        client.resume(PauseReason.RATE)
        self.assertIn(b" 202 ", socket.take())
        self.assertFalse(client.is_paused)

    def test_no_place_later(self) -> None:
        """While a message was read, others may have taken the places at the door."""
        self.start(GatewayConfig(limits=Limits(max_handshakes=2)), authenticator=self.slow)
        speaker = self.connect()
        speaker.send(request("POST", SPEAK, "Content-Length: 5"))
        for _ in range(2):
            self.connect().send(request("GET", SPEAK, "Accept: text/event-stream"))
        speaker.send(b"hello")
        self.assertIn(b" 503 ", speaker.take())

    def test_no_place(self) -> None:
        """One for which there is no place at the door is refused at once."""
        self.start(GatewayConfig(limits=Limits(max_handshakes=2)), authenticator=self.slow)
        sockets = [self.connect() for _ in range(2)]
        for socket in sockets:
            socket.send(request("GET", SPEAK, "Accept: text/event-stream"))
        last: Any = self.connect()
        last.send(request("GET", SPEAK, "Accept: text/event-stream"))
        self.assertIn(b" 503 ", last.take())
        for socket in sockets:
            socket.leave()


class EvenTests(StreamCase):
    """A hub that has not yet delivered all that it has."""

    def test_behind(self) -> None:
        """A client that hears is admitted when the hub is even, one that publishes at once."""
        waiting: list[Any] = [1]
        self.patch(self.gateway.hub, "_waiting", waiting)
        socket = self.connect()
        socket.send(request("GET", LISTEN, "Accept: text/event-stream"))
        self.wait(0.1)
        self.assertEqual(b"", socket.take())
        self.assertEqual(202, self.post(b"x")[0])
        waiting.clear()
        self.wait(0.1)
        self.assertIn(b" 200 ", socket.take())

    def test_left(self) -> None:
        """A client that leaves meanwhile is forgotten."""
        self.patch(self.gateway.hub, "_waiting", [1])
        socket = self.connect()
        socket.send(request("GET", LISTEN, "Accept: text/event-stream"))
        socket.leave()
        self.assertEqual(1, self.metrics.handshakes["abandoned,"])
