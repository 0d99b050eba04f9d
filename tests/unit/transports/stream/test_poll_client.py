"""Tests for `wsredis.transports.stream.poll_client`: a poll from its head to its answer."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred

from tests.support.memory_gateway import Socket
from tests.unit.transports.stream.case import LISTEN, StreamCase, request
from tests.unit.transports.websocket.case import SlowAuthenticator
from wsredis.config import GatewayConfig, Limits
from wsredis.gateway.connection import Connection
from wsredis.gateway.handler import Handler
from wsredis.gateway.identity import Handshake, Identity


class PollCase(StreamCase):
    """Clients that poll."""

    def poll(self, fields: str = "wait=0", *headers: str, path: str = LISTEN) -> Socket:
        """Send a poll on a connection of its own. Returns: The connection."""
        socket = self.connect()
        socket.send(request("GET", f"{path}&{fields}", *headers))
        return socket

    def head(self, socket: Socket) -> tuple[str, bytes]:
        """The head of the answer, and its body."""
        head, _, body = socket.take().partition(b"\r\n\r\n")
        return head.decode("latin-1"), body

    def status(self, socket: Socket) -> int:
        """The status of the answer. 0 if there is none yet."""
        head, _ = self.head(socket)
        return int(head.split(" ")[1]) if head else 0

    def found(self, socket: Socket) -> dict[str, Any]:
        """The body of an answer with messages."""
        head, body = self.head(socket)
        self.assertIn(" 200 ", head.split("\r\n", maxsplit=1)[0])
        found: dict[str, Any] = json.loads(body)
        return found

    def messages(self, socket: Socket) -> list[str]:
        """The messages of an answer without a gap."""
        found = self.found(socket)
        self.assertIs(False, found["gap"])
        heard: list[str] = found["messages"]
        return heard

    def cursor(self) -> str:
        """The cursor of a client that has just polled for the first time."""
        cursor: str = self.found(self.poll())["cursor"]
        return cursor


class FirstPollTests(PollCase):
    """A poll without a cursor."""

    def test_at_once(self) -> None:
        """It is answered at once, with the stored message and the cursor after it."""
        self.gateway.redis.store(b"broadcast:a", 60, b"stored")
        head, body = self.head(self.poll("wait=25"))
        cursor = self.streams.ring.cursor()
        found = json.loads(body)
        hello = found.pop("hello")
        self.assertEqual({"cursor": cursor, "gap": False, "messages": ["stored"]}, found)
        self.assertEqual((["broadcast"], None), (hello["subscribe"], hello["heartbeat"]))
        for line in (
            "HTTP/1.1 200 OK",
            "Content-Type: application/json",
            "Cache-Control: no-store",
            "Vary: Origin",
            f"Content-Length: {len(body)}",
            "Connection: keep-alive",
        ):
            self.assertIn(line, head.split("\r\n"))

    def test_nothing_stored(self) -> None:
        """It is answered at once without a message, too."""
        self.assertEqual([], self.messages(self.poll("wait=25")))

    def test_types(self) -> None:
        """A message that is not UTF-8 is Base64."""
        self.gateway.redis.store(b"broadcast:a", 60, b"\xff")
        self.assertEqual([{"base64": "/w=="}], self.found(self.poll())["messages"])

    def test_held_back(self) -> None:
        """What comes while a client is being admitted is told once, in order."""
        authenticator = SlowAuthenticator()
        self.start(GatewayConfig(), authenticator=authenticator)
        self.gateway.redis.store(b"broadcast:a", 60, b"stored")
        self.gateway.broker.pause()
        socket = self.poll()
        authenticator.asked.pop().callback(Identity())
        self.publish(b"live")
        self.gateway.broker.resume()
        found = self.found(socket)
        again = self.poll(f"wait=0&cursor={found['cursor']}")
        authenticator.asked.pop().callback(Identity())
        heard = [*found["messages"], *self.found(again)["messages"]]
        self.assertEqual(["stored", "live"], heard)

    def test_bad_wait(self) -> None:
        """A time that is no number is refused."""
        for value in ("", "x", "-1", "1e9", "nan"):
            self.assertEqual(400, self.status(self.poll(f"wait={value}")), value)

    def test_elsewhere(self) -> None:
        """Refusals are those of a handshake."""
        self.assertEqual(
            403,
            self.status(self.poll("wait=0", "Origin: http://x", path=f"{LISTEN}&subscribe-user")),
        )
        self.assertEqual(
            403,
            self.status(
                self.poll("wait=0", "Sec-Fetch-Site: cross-site", path=f"{LISTEN}&subscribe-user")
            ),
        )


class CursorTests(PollCase):
    """A poll with a cursor."""

    def test_waits(self) -> None:
        """It is answered as soon as there is something, with all that came in one turn."""
        socket = self.poll(f"wait=25&cursor={self.cursor()}")
        self.clock.advance(0)
        self.assertEqual(0, self.status(socket))
        self.publish(b"1")
        self.publish(b"2")
        self.clock.advance(0)
        self.assertEqual(["1", "2"], self.messages(socket))
        self.assertFalse(socket.closed)

    def test_nothing(self) -> None:
        """When its time is up, the answer is empty and has the next cursor."""
        socket = self.poll(f"wait=25&cursor={self.cursor()}")
        self.wait(24.9)
        self.assertEqual(0, self.status(socket))
        self.wait(0.2)
        head, body = self.head(socket)
        self.assertEqual(("HTTP/1.1 204 No Content", b""), (head.split("\r\n")[0], body))
        self.assertIn(f"Wsredis-Cursor: {self.streams.ring.cursor()}", head)
        self.assertNotIn("Content-Length", head)

    def test_longest(self) -> None:
        """No poll waits longer than a minute."""
        socket = self.poll(f"wait=3600&cursor={self.cursor()}")
        self.wait(59.9)
        self.assertEqual(0, self.status(socket))
        self.wait(0.2)
        self.assertEqual(204, self.status(socket))

    def test_between(self) -> None:
        """What came between two polls is told at once, and once; the stored message is not."""
        cursor = self.cursor()
        for each in (b"1", b"2"):
            self.gateway.redis.store(b"broadcast:a", 60, each)
            self.publish(each)
        found = self.found(self.poll(f"wait=25&cursor={cursor}"))
        self.assertEqual((False, ["1", "2"]), (found["gap"], found["messages"]))
        self.assertEqual(204, self.status(self.poll(f"wait=0&cursor={found['cursor']}")))

    def test_costs(self) -> None:
        """What a client has missed counts as stored messages do."""
        sizes: list[int] = []
        cursor = self.cursor()
        self.patch(self.factory.registry, "read_stored", lambda _, size: sizes.append(size))
        self.publish(b"12345")
        self.poll(f"wait=0&cursor={cursor}")
        self.assertEqual([5], sizes)

    def test_one_connection(self) -> None:
        """One connection is enough for any number of polls, also if they come all at once."""
        socket = self.connect()
        cursor = self.cursor()
        polls = request("GET", f"{LISTEN}&wait=0&cursor={cursor}") * 3
        socket.send(polls)
        for _ in range(3):
            self.clock.advance(0)
        self.assertEqual(3, socket.take().count(b" 204 "))
        self.assertEqual(4, self.metrics.polls)

    def test_gap(self) -> None:
        """A cursor that is worth nothing is a gap, and the stored messages follow at once."""
        self.cursor()
        self.gateway.redis.store(b"broadcast:a", 60, b"stored")
        for cursor in ("00000000-1", "x", "%0D%0AX:%20y", f"{self.streams.ring.prefix}0"):
            found = self.found(self.poll(f"wait=25&cursor={cursor}"))
            self.assertEqual((True, ["stored"]), (found["gap"], found["messages"]))
            self.assertEqual(self.streams.ring.cursor(), found["cursor"])

    def test_header(self) -> None:
        """The cursor may come as Last-Event-ID."""
        self.assertEqual(204, self.status(self.poll("wait=0", f"Last-Event-ID: {self.cursor()}")))

    def test_redis_lost(self) -> None:
        """A loss between Redis and the gateway ends the poll, and the next one is told of a gap."""
        socket = self.poll(f"wait=25&cursor={self.cursor()}")
        self.gateway.redis.store(b"broadcast:a", 60, b"stored")
        self.gateway.broker.disconnect()
        self.gateway.broker.connect()
        self.clock.advance(0)
        cursor = self.found(socket)["cursor"]
        found = self.found(self.poll(f"wait=25&cursor={cursor}"))
        self.assertEqual((True, ["stored"]), (found["gap"], found["messages"]))

    def test_many_listeners(self) -> None:
        """No cursor stands for a publication that the hub has not delivered yet."""
        cursor = self.cursor()
        hub = self.gateway.hub
        socket = self.poll(f"wait=25&cursor={cursor}")
        waiting: list[Any] = [1]
        self.patch(hub, "_waiting", waiting)
        self.publish(b"1")
        self.clock.advance(0)
        late = self.poll(f"wait=0&cursor={cursor}")
        first = self.poll()
        self.clock.advance(0)
        for each in (socket, late, first):
            self.assertEqual(b"", each.take())
        waiting.clear()
        self.clock.advance(0.01)
        self.assertEqual(["1"], self.messages(socket))
        self.assertEqual(["1"], self.messages(late))
        self.assertEqual([], self.messages(first))


class EndTests(PollCase):
    """Polls that end in another way."""

    def test_left(self) -> None:
        """A client that leaves is forgotten, and its channel is heard for a while."""
        socket = self.poll(f"wait=25&cursor={self.cursor()}")
        self.assertEqual(1, self.metrics.connections)
        socket.leave()
        self.assertEqual(0, self.metrics.connections)
        self.assertEqual(1, self.metrics.closed["client,1006"])

    def test_counted(self) -> None:
        """A poll counts as a client that comes and goes, and has a place while it waits."""
        self.start(GatewayConfig(limits=Limits(max_connections=4, max_connections_per_address=1)))
        cursor = self.cursor()
        self.assertEqual((1, 1), (self.metrics.opened, self.metrics.closed["gateway,1000"]))
        socket = self.poll(f"wait=25&cursor={cursor}")
        self.assertEqual(429, self.status(self.poll()))
        socket.leave()
        self.assertEqual(200, self.status(self.poll()))

    def test_closed(self) -> None:
        """A close code is a status; a client that may come back at once gets an empty answer."""
        for code, status in (
            (1001, 204),
            (1012, 204),
            (1013, 503),
            (1011, 500),
            (1008, 403),
            (4401, 401),
            (4403, 403),
            (4000, 503),
        ):
            socket = self.poll(f"wait=25&cursor={self.cursor()}")
            self.factory.registry.close_all(code, "because", 0.0)
            head, body = self.head(socket)
            self.assertIn(f" {status} ", head.split("\r\n", maxsplit=1)[0])
            self.assertEqual(b"" if status == 204 else b"because", body)

    def test_come_back(self) -> None:
        """A client that is sent away while it gets something has it, and goes on behind it."""
        socket = self.poll(f"wait=25&cursor={self.cursor()}")
        self.publish(b"1")
        self.factory.registry.close_all(1012, "", 0.0)
        found = self.found(socket)
        self.assertEqual(["1"], found["messages"])
        self.assertEqual(204, self.status(self.poll(f"wait=0&cursor={found['cursor']}")))

    def test_come_back_while_busy(self) -> None:
        """If the hub has more for it, it goes on where it was."""
        cursor = self.cursor()
        socket = self.poll(f"wait=25&cursor={cursor}")
        self.patch(self.gateway.hub, "_waiting", [1])
        self.factory.registry.close_all(1012, "", 0.0)
        head, _ = self.head(socket)
        self.assertIn(f"Wsredis-Cursor: {cursor}", head)

    def test_stopping(self) -> None:
        """A gateway that stops answers its polls, and ends their connections."""
        socket = self.poll(f"wait=25&cursor={self.cursor()}")
        self.factory.registry.refuse_handshakes()
        self.factory.drain()
        head, _ = self.head(socket)
        self.assertIn(" 204 ", head)
        self.assertIn("Connection: close", head)
        self.assertTrue(socket.closed)

    def test_no_room(self) -> None:
        """A gateway that lost Redis during the decision refuses."""
        authenticator = SlowAuthenticator()
        self.start(GatewayConfig(), authenticator=authenticator)
        socket = self.poll()
        self.factory.registry.refuse_handshakes()
        authenticator.asked[0].callback(Identity())
        self.assertEqual(503, self.status(socket))

    def test_logged_out(self) -> None:
        """An identity that ends while a poll waits ends the poll with 401."""

        class _Login:
            def identify(self, handshake: Handshake) -> Identity:
                return Identity("john", session="s")

        self.start(GatewayConfig(), authenticator=_Login())
        socket = self.poll(f"wait=25&cursor={self.cursor()}")
        self.gateway.auth.sessions.end("user", "john")
        self.assertEqual(401, self.status(socket))


class HandlerTests(PollCase):
    """Polls of a gateway with a handler."""

    def test_greeting(self) -> None:
        """The answer waits for a handler that greets the client, but no longer than it may."""
        greetings: list[Deferred[None]] = []

        class _Handler(Handler):
            def on_connect(self, connection: Connection) -> Deferred[None]:
                done: Deferred[None] = Deferred()
                done.addCallback(lambda _: connection.send("welcome"))
                done.addCallback(lambda _: connection.send(b"x"))
                greetings.append(done)
                return done

        self.start(GatewayConfig(), handler=_Handler())
        socket = self.poll("wait=25")
        self.clock.advance(0)
        self.assertEqual(b"", socket.take())
        greetings.pop().callback(None)
        self.clock.advance(0)
        self.assertEqual(["welcome", {"base64": "eA=="}], self.found(socket)["messages"])
        socket = self.poll("wait=25")
        self.wait(25.1)
        self.assertEqual([], self.messages(socket))
        greetings.pop().callback(None)
        self.clock.advance(0)
        self.assertEqual(b"", socket.take())

    def test_busy_handler(self) -> None:
        """A handler that is slow to greet keeps no more from the client than a queue may hold."""

        class _Handler(Handler):
            def on_connect(self, connection: Connection) -> Deferred[None]:
                return Deferred()

        self.start(
            GatewayConfig(limits=Limits(max_queue=10_000, max_publication=10_000)),
            handler=_Handler(),
        )
        socket = self.poll("wait=25")
        for payload in (b"x" * 9000, b"y" * 9000):
            self.clock.advance(0)
            self.assertEqual(0, self.status(socket))
            self.publish(payload)
        self.clock.advance(0)
        self.assertEqual(2, len(self.messages(socket)))

    def test_closes(self) -> None:
        """A handler may send the client away at once."""

        class _Handler(Handler):
            def on_connect(self, connection: Connection) -> None:
                connection.close(4000, "go away")

        self.start(GatewayConfig(), handler=_Handler())
        self.assertEqual(503, self.status(self.poll()))
