"""Tests for `wsredis.transports.stream.publish_client`: a message by POST, and its answer."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from tests.unit.transports.stream.case import LISTEN, SPEAK, StreamCase, request
from tests.unit.transports.websocket.case import SlowAuthenticator
from wsredis.config import GatewayConfig, Limits
from wsredis.errors import PublishOutcomeUnknown
from wsredis.gateway.broker import PublishWaiter
from wsredis.gateway.connection import Connection
from wsredis.gateway.handler import Handler
from wsredis.gateway.identity import Handshake, Identity


class PublishTests(StreamCase):
    """What is posted is published, as if a WebSocket with that URL had sent it."""

    def test_published(self) -> None:
        """202 says that Redis has taken the message; it is stored, too."""
        socket = self.open()
        status, head, body = self.post(b"hello")
        self.assertEqual((202, b""), (status, body))
        self.assertIn("Content-Length: 0", head)
        self.assertIn("Cache-Control: no-store", head)
        self.assertEqual([b"hello"], [each.payload for each in socket.frames()])
        self.assertEqual(b"hello", self.gateway.redis.value(b"broadcast:a"))
        self.assertEqual((1, 1), (self.metrics.posts, self.metrics.received))
        self.assertEqual(5, self.metrics.received_bytes)

    def test_in_pieces(self) -> None:
        """The message may come in any pieces."""
        source = self.source()
        socket = self.connect()
        for byte in request("POST", SPEAK, body=b"hello"):
            socket.send(bytes([byte]))
        self.assertIn(b" 202 ", socket.take())
        self.assertEqual(["hello"], source.messages())

    def test_keeps(self) -> None:
        """The connection stays for the next request, of any kind."""
        socket = self.connect()
        source = self.source()
        for number in range(3):
            socket.send(request("POST", SPEAK, body=b"%d" % number))
            self.assertIn(b" 202 ", socket.take())
            self.assertFalse(socket.closed)
        self.assertEqual(["0", "1", "2"], source.messages())

    def test_binary(self) -> None:
        """Bytes are published as they are; a handler is told the type."""
        types: list[tuple[bytes, bool]] = []

        class _Handler(Handler):
            def on_message(self, connection: Connection, payload: bytes, is_binary: bool) -> None:
                types.append((payload, is_binary))

        self.start(GatewayConfig(), handler=_Handler())
        for kind in ("Application/Octet-Stream; x=y", "text/plain"):
            self.post(b"\xff", SPEAK, f"Content-Type: {kind}")
        self.assertEqual([(b"\xff", True), (b"\xff", False)], types)

    def test_no_subscription(self) -> None:
        """Flags to subscribe mean nothing: a POST hears nothing, and takes no place."""
        status, _, _ = self.post(b"x", "/ws/a?subscribe-broadcast&publish-broadcast")
        self.assertEqual(202, status)
        self.assertEqual((0, 0), (self.metrics.opened, len(self.gateway.hub)))

    def test_full(self) -> None:
        """Who has all places may still publish."""
        limits = Limits(max_connections=4, max_connections_per_address=1)
        self.start(GatewayConfig(limits=limits))
        self.source()
        self.assertEqual(429, self.source().status)
        self.assertEqual(202, self.post(b"x")[0])

    def test_heartbeat(self) -> None:
        """The text of the heartbeat is not published, as on a WebSocket."""
        self.start(GatewayConfig(heartbeat="beat"))
        source = self.source()
        self.assertEqual(202, self.post(b"beat")[0])
        self.assertEqual([], source.messages())


class AnswerTests(StreamCase):
    """The answer tells what has become of the message."""

    def test_waits(self) -> None:
        """The answer waits for that of Redis."""
        waiters: list[tuple[PublishWaiter, int]] = []

        def publish(channels: Any, payload: bytes, waiter: PublishWaiter) -> None:
            waiters.append((waiter, len(payload)))

        self.patch(self.gateway.broker, "publish", publish)
        socket = self.connect()
        socket.send(request("POST", SPEAK, body=b"hello"))
        self.assertEqual(b"", socket.take())
        waiter, size = waiters.pop()
        waiter.published(1, size)
        self.assertIn(b" 202 ", socket.take())
        self.assertEqual(202, self.status_after(waiters, None))
        self.assertEqual(503, self.status_after(waiters, PublishOutcomeUnknown("lost")))
        self.assertEqual(500, self.status_after(waiters, RuntimeError("a bug")))
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))

    def status_after(self, waiters: list[tuple[Any, int]], error: Exception | None) -> int:
        """Post, let Redis answer, and return the status."""
        socket = self.connect()
        socket.send(request("POST", SPEAK, body=b"hello"))
        waiter, size = waiters.pop()
        if error is None:
            waiter.published(1, size)
        else:
            waiter.not_published(error, size)
        return int(socket.take().split(b" ")[1])

    def test_gone(self) -> None:
        """A client that leaves before the answer costs nothing more."""
        waiters: list[PublishWaiter] = []
        self.patch(self.gateway.broker, "publish", lambda _, __, waiter: waiters.append(waiter))
        socket = self.connect()
        socket.send(request("POST", SPEAK, body=b"hello"))
        socket.leave()
        waiters[0].published(1, 5)
        self.assertEqual(0, self.metrics.posts)

    def test_late(self) -> None:
        """If Redis does not answer in time, nobody knows what has become of it."""
        self.patch(self.gateway.broker, "publish", lambda *_: None)
        socket = self.connect()
        socket.send(request("POST", SPEAK, body=b"hello"))
        self.wait(8)
        self.assertIn(b" 503 ", socket.take())

    def test_redis_away(self) -> None:
        """Without Redis it is to be tried again."""
        self.gateway.broker.disconnect()
        status, head, _ = self.post(b"x")
        self.assertEqual(503, status)
        self.assertIn("Retry-After: 2", head)

    def test_empty(self) -> None:
        """An empty message is none."""
        self.assertEqual(400, self.ask(request("POST", SPEAK))[0])
        self.assertEqual(400, self.ask(request("POST", SPEAK, "Content-Length: 0"))[0])

    def test_no_right(self) -> None:
        """Without a flag, or without an audience, there is nowhere to publish."""
        nowhere = b"this client may publish nowhere: "
        for path, reason in (
            (LISTEN, b"its URL has no flag such as publish-broadcast"),
            ("/ws/a?publish-brodcast", b'unknown flag "publish-brodcast": did you mean'),
            ("/ws/a?publish-user", b"publish-user has no effect: this gateway knows no users"),
        ):
            status, _, body = self.post(b"x", path)
            self.assertEqual(403, status)
            self.assertTrue(body.startswith(nowhere + reason), body)

    def test_forbidden(self) -> None:
        """A channel that Redis forbids is one that nobody may publish on."""
        self.gateway.redis.forbidden.add(b"broadcast:a")
        self.assertEqual(403, self.post(b"x")[0])

    def test_refused(self) -> None:
        """An authenticator decides as on a handshake."""

        class _Login:
            def identify(self, handshake: Handshake) -> Identity:
                if handshake.headers.get("authorization") != "Bearer good":
                    from wsredis.errors import HandshakeRejected

                    raise HandshakeRejected("who are you", 401)
                return Identity("john")

        self.start(GatewayConfig(), authenticator=_Login())
        path = "/ws/a?publish-user"
        self.assertEqual(401, self.post(b"x", path)[0])
        self.assertEqual(202, self.post(b"x", path, "Authorization: Bearer good")[0])
        self.assertEqual(b"x", self.gateway.redis.value(b"user:john:a"))

    def test_too_large(self) -> None:
        """A message above max-message is refused before it is read."""
        self.start(GatewayConfig(limits=Limits(max_message=100)))
        self.assertEqual(202, self.post(b"x" * 100)[0])
        socket = self.connect()
        socket.send(request("POST", SPEAK, "Content-Length: 101"))
        self.assertIn(b" 413 ", socket.take())
        self.assertEqual(1, self.metrics.limits["max-message"])

    def test_stopping(self) -> None:
        """A gateway that stops takes no more messages."""
        self.factory.registry.refuse_handshakes()
        status, head, _ = self.post(b"x")
        self.assertEqual(503, status)
        self.assertIn("Connection: close", head)

    def test_stop_meanwhile(self) -> None:
        """A message that is under way when the gateway stops is answered; then it is the end."""
        waiters: list[PublishWaiter] = []
        self.patch(self.gateway.broker, "publish", lambda _, __, waiter: waiters.append(waiter))
        socket = self.connect()
        socket.send(request("POST", SPEAK, body=b"hello"))
        done = self.factory.drain()
        self.assertFalse(done.called)
        waiters[0].published(1, 5)
        answer = socket.take()
        self.assertTrue(answer.startswith(b"HTTP/1.1 202 "), answer)
        self.assertIn(b"\r\nConnection: close\r\n", answer)
        self.assertTrue(done.called)

    def test_handler(self) -> None:
        """The answer waits for a handler, and tells if it has failed or closed."""
        done: list[Deferred[None]] = []

        class _Handler(Handler):
            def on_message(
                self, connection: Connection, payload: bytes, is_binary: bool
            ) -> Deferred[None] | None:
                if payload == b"wait":
                    done.append(Deferred())
                    return done[-1]
                if payload == b"close":
                    connection.close(4403, "not you")
                    return None
                raise RuntimeError("a bug")

        self.start(GatewayConfig(), handler=_Handler())
        socket = self.connect()
        socket.send(request("POST", "/ws/a", body=b"wait"))
        self.assertEqual(b"", socket.take())
        done[0].callback(None)
        self.assertIn(b" 202 ", socket.take())
        status, _, body = self.post(b"close", "/ws/a")
        self.assertEqual((403, b"not you"), (status, body))
        self.assertEqual(500, self.post(b"fail", "/ws/a")[0])
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))

    def test_continue(self) -> None:
        """A client that asks whether to send its message is told so, before it sends it."""
        socket = self.connect()
        socket.send(request("POST", SPEAK, "Content-Length: 5", "Expect: 100-Continue"))
        self.assertEqual(b"HTTP/1.1 100 Continue\r\n\r\n", socket.take())
        socket.send(b"hello")
        self.assertIn(b" 202 ", socket.take())
        socket = self.connect()
        socket.send(request("POST", SPEAK, "Content-Length: 9999999", "Expect: 100-continue"))
        self.assertTrue(socket.take().startswith(b"HTTP/1.1 413 "))


class BoundTests(StreamCase):
    """Nothing is kept for long, and nobody publishes faster than a WebSocket may."""

    def test_slow_body(self) -> None:
        """A message that does not come costs its connection."""
        socket = self.connect()
        socket.send(request("POST", SPEAK, "Content-Length: 50000") + b"x")
        with capturedLogs() as logs:
            self.wait(24)
        self.assertTrue(socket.aborted)
        self.assertIn("connection-shed", [each["event"] for each in logs])

    def test_steady_body(self) -> None:
        """A large message on a slow line has its time."""
        socket = self.connect()
        socket.send(request("POST", SPEAK, "Content-Length: 100000"))
        for _ in range(10):
            self.wait(6)
            socket.send(b"x" * 10_000)
        self.assertIn(b" 202 ", socket.take())

    def test_unfinished_input(self) -> None:
        """Unfinished messages are bounded for all clients together."""
        self.start(GatewayConfig(limits=Limits(max_input=10_000)))
        sockets = [self.connect() for _ in range(4)]
        for socket in sockets:
            socket.send(request("POST", SPEAK, "Content-Length: 5000") + b"x" * 3000)
        self.assertEqual([True, True, False, False], [each.aborted for each in sockets])
        for socket in sockets[2:]:
            socket.leave()

    def test_rate(self) -> None:
        """Deliveries are charged to the address, and the answer waits until they are paid."""
        limits = Limits(max_rate=100, max_rate_per_address=100)
        self.start(GatewayConfig(limits=limits))
        for _ in range(300):
            self.open(LISTEN)
        socket = self.connect()
        socket.send(request("POST", SPEAK, body=b"x"))
        self.assertEqual(b"", socket.take())
        self.wait(5)
        self.assertIn(b" 202 ", socket.take())

    def test_many_requests(self) -> None:
        """Messages count as handshakes of their address."""
        self.start(GatewayConfig(limits=Limits(handshake_rate=1, handshake_timeout=0.5)))
        found = [self.post(b"x")[0] for _ in range(12)]
        self.assertEqual([202] * 10 + [0, 429], found)
        self.wait(2)

    def test_gone_while_deciding(self) -> None:
        """A client that leaves while it is being decided publishes nothing."""
        slow = SlowAuthenticator()
        self.start(GatewayConfig(), authenticator=slow)
        socket = self.connect()
        socket.send(request("POST", SPEAK, body=b"x"))
        socket.leave()
        self.assertTrue(slow.asked[0].called)
        self.assertIsNone(self.gateway.redis.value(b"broadcast:a"))

    def test_overdrawn(self) -> None:
        """One that is too fast for too long is refused with 429."""
        waiting: Deferred[None] = Deferred()

        class _Handler(Handler):
            def on_message(
                self, connection: Connection, payload: bytes, is_binary: bool
            ) -> Deferred[None]:
                connection._client.overdrawn()  # type: ignore[attr-defined]
                return waiting

        self.start(GatewayConfig(), handler=_Handler())
        self.assertEqual(429, self.post(b"x")[0])
        waiting.callback(None)
