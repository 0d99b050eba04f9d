"""Tests for `wsredis.transports.stream.event_client`: a stream from its head to its end."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.logger import capturedLogs

from tests.support.event_stream import Event
from tests.support.raw import handshake
from tests.unit.transports.stream.case import LISTEN, StreamCase
from tests.unit.transports.websocket.case import SlowAuthenticator
from wsredis.channels import Access
from wsredis.config import GatewayConfig, Limits
from wsredis.gateway.connection import Connection
from wsredis.gateway.handler import Handler
from wsredis.gateway.identity import Handshake, Identity


class BeginTests(StreamCase):
    """The first bytes of a stream."""

    def test_head(self) -> None:
        """The answer is an event stream that nobody on the way may keep or collect."""
        source = self.source()
        self.assertTrue(source.head.startswith("HTTP/1.1 200 OK\r\n"))
        for line in (
            "Content-Type: text/event-stream; charset=utf-8",
            "Cache-Control: no-cache, no-transform",
            "X-Accel-Buffering: no",
            "Vary: Origin",
            "Transfer-Encoding: chunked",
        ):
            self.assertIn(f"\r\n{line}", source.head)

    def test_first_event(self) -> None:
        """A first event comes at once, with the cursor, and the time to come back after a loss."""
        source = self.source()
        (event,) = source.events()
        self.assertEqual("open", event.type)
        found = json.loads(event.data)
        hello = found.pop("hello")
        self.assertEqual({"cursor": event.last_id, "ping": 25.0}, found)
        self.assertEqual((["broadcast"], 25.0), (hello["subscribe"], hello["heartbeat"]))
        self.assertEqual(self.streams.ring.cursor(), event.last_id)
        self.assertEqual(2000, source.reader.retry)

    def test_rights_change(self) -> None:
        """An open stream is told what it may do now; one that is closed is not."""
        source = self.source()
        source.events()
        (member,) = self.factory.registry.connections
        self.successResultOf(
            Deferred.fromCoroutine(member.connection.change(Identity(), Access("a")))
        )
        (event,) = source.events()
        self.assertEqual(("hello", []), (event.type, json.loads(event.data)["subscribe"]))
        member.close(1012, "")
        source.events()
        member.tell_rights()
        self.assertEqual([], source.events())

    def test_old_version(self) -> None:
        """To a client of HTTP/1.0 the body is not chunked, and ends with the connection."""
        source = self.source(version="HTTP/1.0")
        self.assertNotIn("chunked", source.head)
        self.publish(b"hello")
        self.assertEqual(["hello"], source.messages())
        self.factory.registry.close_all(1012, "", 0.0)
        self.assertEqual(1012, source.closed()["code"])
        self.assertTrue(source.socket.closed)

    def test_stored(self) -> None:
        """Stored messages come first; the cursor comes when they are there."""
        self.gateway.redis.store(b"broadcast:a", 60, b"stored")
        source = self.source()
        first, second, third = source.events()
        self.assertEqual(("open", ""), (first.type, first.last_id))
        self.assertIsNone(json.loads(first.data)["cursor"])
        self.assertEqual(Event("message", "stored", ""), second)
        self.assertEqual(("cursor", self.streams.ring.cursor()), (third.type, third.last_id))
        self.publish(b"live")
        self.assertEqual(["live"], source.messages())

    def test_held_back(self) -> None:
        """What comes while a client is being admitted is told once, in order."""
        self.gateway.redis.store(b"broadcast:a", 60, b"stored")
        self.gateway.broker.pause()
        socket = self.connect()
        socket.send(
            f"GET {LISTEN} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n".encode()
        )
        self.publish(b"1")
        self.gateway.broker.resume()
        self.publish(b"2")
        data = socket.take()
        places = [data.find(b"data: " + each) for each in (b"stored", b"1\n", b"2\n")]
        self.assertEqual(sorted(places), places)
        self.assertGreater(places[0], 0)
        self.assertEqual(1, data.count(b"data: 1\n"))

    def test_counts(self) -> None:
        """A stream counts as a client that is open, and as a stream."""
        source = self.source()
        self.open()
        self.assertEqual((2, 1), (self.metrics.connections, self.metrics.event_streams))
        self.assertEqual(2, self.metrics.handshakes["accepted,"])
        source.socket.leave()
        self.assertEqual((1, 0), (self.metrics.connections, self.metrics.event_streams))

    def test_both_transports(self) -> None:
        """WebSockets and streams hear the same publication."""
        socket, source = self.open(), self.source()
        self.publish(b"hello")
        self.assertEqual(["hello"], source.messages())
        self.assertEqual([b"hello"], [each.payload for each in socket.frames()])

    def test_kinds_of_messages(self) -> None:
        """Text, text with any line ends, and bytes arrive as they are."""
        source = self.source()
        for payload in (b"plain", b"a\nb", b"a\r\nb", "é".encode(), b"\xff\x00"):
            self.publish(payload)
        self.assertEqual(["plain", "a\nb", "a\r\nb", "é", b"\xff\x00"], source.messages())


class ResumeTests(StreamCase):
    """A client that comes back misses nothing and hears nothing twice."""

    def back(self, cursor: str, path: str = LISTEN) -> Any:
        """Connect again, as a browser does."""
        return self.source(path, f"Last-Event-ID: {cursor}")

    def test_resume(self) -> None:
        """It gets exactly what came since, and no stored message."""
        source = self.source()
        self.publish(b"1")
        self.assertEqual(["1"], source.messages())
        source.socket.leave()
        self.gateway.redis.store(b"broadcast:a", 60, b"2")
        self.publish(b"2")
        self.publish(b"3")
        again = self.back(source.cursor)
        self.publish(b"4")
        self.assertEqual(["2", "3", "4"], again.messages())

    def test_nothing_missed(self) -> None:
        """If nothing came, it gets nothing, not even the stored message again."""
        self.gateway.redis.store(b"broadcast:a", 60, b"stored")
        source = self.source()
        source.events()
        source.socket.leave()
        (event,) = self.back(source.cursor).events()
        self.assertEqual(("open", source.cursor), (event.type, event.last_id))

    def test_by_url(self) -> None:
        """The cursor may be in the URL."""
        source = self.source()
        source.events()
        source.socket.leave()
        self.publish(b"1")
        self.assertEqual(["1"], self.source(f"{LISTEN}&cursor={source.cursor}").messages())

    def test_during_admission(self) -> None:
        """What comes while it is being admitted again is told once."""
        source = self.source()
        source.events()
        source.socket.leave()
        self.publish(b"1")
        self.gateway.broker.pause()
        socket = self.connect()
        socket.send(
            f"GET {LISTEN} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
            f"Last-Event-ID: {source.cursor}\r\n\r\n".encode()
        )
        self.publish(b"2")
        self.gateway.broker.resume()
        self.publish(b"3")
        data = socket.take()
        for payload in (b"1", b"2", b"3"):
            self.assertEqual(1, data.count(b"data: " + payload + b"\n"), data)

    def test_much(self) -> None:
        """More than may wait for a client is a gap; what it gets counts as stored messages do."""
        self.start(GatewayConfig(limits=Limits(max_queue=300_000)))
        source = self.source()
        source.events()
        charged: list[int] = []
        self.patch(self.factory.registry, "read_stored", lambda _, size: charged.append(size))
        for payload in (b"x" * 200_000, b"y" * 100_000):
            source.socket.leave()
            self.publish(payload)
        self.assertEqual(["open", "message", "message"], self.back(source.cursor).types())
        self.assertEqual([300_000], charged)
        self.publish(b"z")
        self.assertEqual(["open", "gap"], self.back(source.cursor).types())

    def test_gap(self) -> None:
        """Where something may be missing it is told, and begins as a new client."""
        self.gateway.redis.store(b"broadcast:a", 60, b"stored")
        for cursor in ("0123abcd-5", "nonsense"):
            events = self.back(cursor).events()
            self.assertEqual(["open", "gap", "message", "cursor"], [each.type for each in events])

    def test_lost_link(self) -> None:
        """A loss between Redis and the gateway is told to streams that are open, and to later."""
        source, late = self.source(), self.source()
        late.events()
        source.events()
        late.socket.leave()
        self.gateway.broker.disconnect()
        self.gateway.redis.store(b"broadcast:a", 60, b"restored")
        self.gateway.broker.connect()
        message, gap = source.events()
        self.assertEqual(("restored", "gap"), (message.data, gap.type))
        self.assertEqual(self.streams.ring.cursor(), source.cursor)
        self.assertEqual(["open", "gap", "message", "cursor"], self.back(late.cursor).types())
        source.socket.leave()
        self.publish(b"1")
        self.assertEqual(["1"], self.back(source.cursor).messages())

    def test_restored_once(self) -> None:
        """One that has resumed does not get the message that it knows after an outage."""
        source = self.source()
        self.publish(b"1")
        source.events()
        self.gateway.redis.store(b"broadcast:a", 60, b"1")
        source.socket.leave()
        again = self.back(source.cursor)
        again.events()
        self.gateway.broker.disconnect()
        self.gateway.broker.connect()
        self.assertEqual(["gap"], again.types())

    def test_admitted_anew(self) -> None:
        """A cursor gives no right: who may not hear a channel any more gets nothing of it."""

        class _Login:
            """Knows one user, as long as it is there."""

            user: str | None = "john"

            def identify(self, handshake: Handshake) -> Identity | None:
                return None if self.user is None else Identity(self.user)

        login = _Login()
        self.start(GatewayConfig(), authenticator=login)
        path = "/ws/a?subscribe-user"
        source = self.source(path)
        source.events()
        source.socket.leave()
        self.publish(b"secret", b"user:john:a")
        login.user = None
        self.assertEqual([], self.back(source.cursor, path).messages())
        login.user = "jane"
        self.assertEqual(["open", "gap"], self.back(source.cursor, path).types())
        login.user = "john"
        self.assertEqual(["secret"], self.back(source.cursor, path).messages())


class LifeTests(StreamCase):
    """Signs of life, slow clients, and clients that are gone."""

    config = GatewayConfig(limits=Limits(max_queue=5000, max_queue_hard=5000), verbose=True)

    def test_comments(self) -> None:
        """A comment every ping interval keeps proxies from giving up."""
        source = self.source()
        source.events()
        self.wait(60)
        self.assertEqual([], source.events())
        self.assertGreaterEqual(source.reader.comments, 2)

    def test_slow(self) -> None:
        """A client that does not read is closed, as a WebSocket is."""
        source = self.source()
        source.socket.reading = False
        for _ in range(200):
            self.publish(b"x" * 1000)
        self.assertEqual(1, self.metrics.slow_consumers)
        self.assertEqual(1, self.metrics.limits["max-queue"])
        source.socket.read()
        closed = source.closed()
        self.assertEqual((1008, False), (closed["code"], closed["retry"]))
        self.assertTrue(source.ended)

    def test_stuck(self) -> None:
        """A client that takes nothing of what waits for a ping interval is cut."""
        source = self.source()
        source.socket.reading = False
        for _ in range(68):
            self.publish(b"x" * 1000)
        self.wait(55)
        self.assertTrue(source.socket.aborted)
        self.assertEqual(1, self.metrics.slow_consumers)

    def test_dead(self) -> None:
        """A client whose kernel takes nothing any more is gone."""
        source = self.source()
        (member,) = self.factory.registry.connections
        self.patch(
            __import__("wsredis.transports.stream.event_client", fromlist=["x"]),
            "acknowledged",
            lambda transport: 5,
        )
        member.check_alive()
        self.assertFalse(source.socket.closed)
        with capturedLogs() as logs:
            member.check_alive()
        self.assertTrue(source.socket.aborted)
        self.assertEqual(1, self.metrics.timeouts)
        self.assertEqual("no-pong", logs[0]["event"])
        self.assertEqual(1, self.metrics.closed["gateway,1006"])

    def test_nothing_to_say(self) -> None:
        """What a client sends meanwhile is dropped, up to a bound."""
        source = self.source()
        source.socket.send(b"x" * 100_000)
        self.assertFalse(source.socket.closed)
        source.socket.send(b"x" * 100_000)
        self.assertTrue(source.socket.aborted)

    def test_large_answer(self) -> None:
        """The stored message may be larger than the queue."""
        self.gateway.redis.store(b"broadcast:a", 60, b"x" * 50_000)
        self.assertEqual(["x" * 50_000], self.source().messages())

    def test_log(self) -> None:
        """--verbose tells the begin and the end of a stream, and that it is one."""
        with capturedLogs() as logs:
            source = self.source()
            source.socket._lose(ConnectionDone())
        self.assertEqual(
            [("connection-opened", "sse"), ("connection-closed", "sse")],
            [(each["event"], each["transport"]) for each in logs],
        )
        self.assertEqual(("client", 1005), (logs[1]["by"], logs[1]["code"]))

    def test_policy(self) -> None:
        """A policy for slow clients holds for streams, too."""
        limits = Limits(max_queue=5000, max_queue_hard=5000)
        self.start(GatewayConfig(limits=limits, slow_policy=("conflate",)))
        source = self.source()
        source.socket.reading = False
        for number in range(200):
            self.publish(b"%d" % number + b"x" * 1000)
        self.assertEqual(0, self.metrics.slow_consumers)
        source.socket.read()
        messages = source.messages()
        self.assertLess(len(messages), 100)
        self.assertEqual("199" + "x" * 1000, messages[-1])


class EndTests(StreamCase):
    """The ways in which the gateway ends a stream."""

    def test_close(self) -> None:
        """The last event tells the code of a WebSocket, and whether to come back."""
        for code, retry in ((1012, True), (4403, False), (3999, False)):
            source = self.source()
            (member,) = self.factory.registry.connections
            assert member.connection is not None
            member.connection.close(code, "a reason")
            self.assertEqual({"code": code, "reason": "a reason", "retry": retry}, source.closed())
            self.assertTrue(source.ended)
            self.assertTrue(source.socket.closed)
            self.publish(b"late")
            self.assertEqual(b"", source.socket.take())
        self.assertEqual(1, self.metrics.closed["gateway,4403"])

    def test_long_reason(self) -> None:
        """A reason is as long as in a close frame at most, and cut at a character."""
        source = self.source()
        (member,) = self.factory.registry.connections
        member.close(1011, "é" * 100)
        self.assertEqual("é" * 61, source.closed()["reason"])

    def test_drain(self) -> None:
        """A stop says goodbye to each stream, and waits for its end."""
        source = self.source()
        source.socket.reading = False
        done = self.factory.drain()
        self.assertFalse(done.called)
        source.socket.read()
        self.assertTrue(done.called)
        self.assertEqual((1001, True), source.goodbye())

    def test_close_timeout(self) -> None:
        """A client that does not read its goodbye is cut off."""
        source = self.source()
        source.socket.reading = False
        self.publish(b"x" * 200_000)
        self.publish(b"x")
        self.factory.drain()
        self.wait(4)
        self.assertTrue(source.socket.aborted)
        self.assertEqual(1, self.metrics.limits["close-timeout"])

    def test_gap_closes(self) -> None:
        """With on-gap close, a loss closes streams with 1012, for clients that begin anew."""
        self.start(GatewayConfig(on_gap="close", drain_spread=0.0))
        source = self.source()
        self.gateway.broker.disconnect()
        self.gateway.broker.connect()
        self.assertEqual((1012, True), source.goodbye())

    def test_expired(self) -> None:
        """The session monitor closes a stream whose identity has ended."""

        class _Login:
            def identify(self, handshake: Handshake) -> Identity:
                return Identity("john", expires=self.now() + 5.0)

        login: Any = _Login()
        login.now = lambda: self.gateway._now()
        self.start(GatewayConfig(), authenticator=login)
        source = self.source("/ws/a?subscribe-user")
        self.wait(10)
        self.assertEqual((4401, False), source.goodbye())

    def test_forbidden(self) -> None:
        """A channel that Redis forbids later closes the streams that hear it."""
        source = self.source()
        self.gateway.redis.forbidden.add(b"broadcast:a")
        self.gateway.broker.disconnect()
        self.gateway.broker.connect()
        self.assertEqual(1008, source.closed()["code"])


class RefusalTests(StreamCase):
    """A stream is refused as a handshake is."""

    def test_nothing_here(self) -> None:
        """A URL that is malformed is refused, before anything else is asked."""
        source = self.source("/ws/%ff")
        self.assertEqual(400, source.status)
        self.assertIn("Cache-Control: no-store", source.head)

    def test_redis_away(self) -> None:
        """Without Redis the client is asked to come back."""
        self.gateway.broker.disconnect()
        source = self.source()
        self.assertEqual(503, source.status)
        self.assertIn("Retry-After: 2", source.head)
        self.assertTrue(source.socket.closed)

    def test_stopping(self) -> None:
        """A gateway that stops takes no further stream."""
        self.factory.registry.refuse_handshakes()
        self.assertEqual(503, self.source().status)

    def test_places(self) -> None:
        """Streams and WebSockets share the places."""
        limits = Limits(max_connections=4, max_connections_per_address=2)
        self.start(GatewayConfig(limits=limits))
        self.open()
        source = self.source()
        self.assertEqual(429, self.source().status)
        source.socket.leave()
        self.assertEqual(200, self.source().status)

    def test_rate(self) -> None:
        """An address has one rate for all its handshakes."""
        self.start(GatewayConfig(limits=Limits(handshake_rate=1, handshake_timeout=0.5)))
        found = [self.source().status for _ in range(12)]
        self.assertEqual([200] * 10 + [0, 429], found)
        self.wait(2)

    def test_slow_decision(self) -> None:
        """A decision that takes too long is 503, and a client that leaves cancels it."""
        slow = SlowAuthenticator()
        self.start(GatewayConfig(limits=Limits(handshake_timeout=1.0)), authenticator=slow)
        source = self.source()
        self.assertEqual(0, source.status)
        self.wait(2)
        self.assertIn(b"503", source.socket.take())
        source = self.source()
        source.socket.leave()
        self.assertTrue(slow.asked[1].called)
        self.assertEqual(1, self.metrics.handshakes["abandoned,"])

    def test_room_is_gone(self) -> None:
        """The room may be gone when the decision is there."""
        slow = SlowAuthenticator()
        self.start(GatewayConfig(), authenticator=slow)
        source = self.source()
        self.gateway.broker.disconnect()
        slow.asked[0].callback(Identity())
        self.assertIn(b"503", source.socket.take())

    def test_place_is_gone(self) -> None:
        """And so may the place."""
        slow = SlowAuthenticator()
        limits = Limits(max_connections=8, max_connections_per_address=1)
        self.start(GatewayConfig(limits=limits), authenticator=slow)
        source = self.source()
        socket = self.connect()
        socket.send(handshake(LISTEN))
        slow.asked[1].callback(Identity())
        slow.asked[0].callback(Identity())
        self.assertIn(b" 429 ", source.socket.take())

    def test_overdrawn(self) -> None:
        """A handler that publishes too fast for a client has it closed."""
        source = self.source()
        (member,) = self.factory.registry.connections
        member.overdrawn()  # type: ignore[attr-defined]
        self.assertEqual((1008, False), source.goodbye())

    def test_closed_while_pending(self) -> None:
        """A client with too much to hold back is refused."""
        limits = Limits(max_queue=100, max_queue_hard=100)
        self.start(GatewayConfig(limits=limits))
        self.gateway.broker.pause()
        source = self.source()
        for _ in range(3):
            self.gateway.hub.deliver(_publications(b"x" * 100))
        self.gateway.broker.resume()
        self.assertIn(b"503", source.socket.take())

    def test_bug(self) -> None:
        """A bug of an authenticator is 500, and logged."""

        class _Broken:
            def identify(self, handshake: Handshake) -> Identity:
                raise RuntimeError("a bug")

        self.start(GatewayConfig(), authenticator=_Broken())
        self.assertEqual(500, self.source().status)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))


class HandlerTests(StreamCase):
    """A handler meets streams as it meets WebSockets."""

    def test_hooks(self) -> None:
        """It can send, publish and close."""
        seen: list[Any] = []

        class _Handler(Handler):
            def on_connect(self, connection: Connection) -> None:
                connection.send("welcome")
                connection.publish(b"somebody came")
                seen.append(connection)

            def on_disconnect(self, connection: Connection) -> None:
                seen.append("gone")

        self.start(GatewayConfig(), handler=_Handler())
        source = self.source("/ws/a?subscribe-broadcast&publish-broadcast&echo")
        self.assertEqual(["welcome", "somebody came"], source.messages())
        seen[0].close(3000, "enough")
        self.assertEqual(3000, source.closed()["code"])
        self.assertEqual("gone", seen[1])

    def test_slow_hook(self) -> None:
        """A hook that waits changes nothing for a client that says nothing."""
        waiting: Deferred[None] = Deferred()

        class _Handler(Handler):
            def on_connect(self, connection: Connection) -> Deferred[None]:
                return waiting

        self.start(GatewayConfig(), handler=_Handler())
        source = self.source()
        self.publish(b"x")
        self.assertEqual(["x"], source.messages())
        waiting.callback(None)

    def test_closed_at_once(self) -> None:
        """A handler may close a stream in the moment in which it opens."""

        class _Handler(Handler):
            def on_connect(self, connection: Connection) -> None:
                connection.close(3000)

        self.gateway.redis.store(b"broadcast:a", 60, b"stored")
        self.start(GatewayConfig(), handler=_Handler())
        self.gateway.redis.store(b"broadcast:a", 60, b"stored")
        source = self.source()
        self.assertEqual(["open", "message", "close"], source.types())
        self.assertTrue(source.ended)


def _publications(payload: bytes) -> list[Any]:
    from wsredis.gateway.publication import Publication

    return [Publication(b"broadcast:a", payload)]
