"""Tests of a connection with plain HTTP requests that an ASGI application answers."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from twisted.logger import capturedLogs

from tests.support.memory_gateway import Socket
from tests.support.raw import handshake
from tests.unit.web.asgi.http_case import GET, HttpCase, answers, request
from wsredis.config import GatewayConfig, Limits


class RequestTests(HttpCase):
    """Requests and their answers."""

    def test_kept(self) -> None:
        """Requests share a connection, and each has its own scope."""
        client = self.connect()
        for path in ("/a", "/a", "/b?c", "/a"):
            (answer,) = self.ask(client, request(f"GET {path}"))
            self.assertEqual((200, f"GET {path[:2]} ".encode()), (answer.status, answer.body))
            self.assertEqual("tue, 14 nov 2023 22:13:20 gmt", answer.headers["date"])
        self.assertEqual([b"", b"", b"c", b""], [each["query_string"] for each in self.scopes])
        self.assertEqual(4, len({id(each) for each in self.scopes}))
        self.assertFalse(client.closed)
        client.leave()

    def test_any_parts(self) -> None:
        """The borders of reads do not matter."""
        data = (
            request("POST /a", "Content-Length: 5", body=b"hello")
            + request(
                "POST /b", "Transfer-Encoding: chunked", body=b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
            )
            + b"\r\n"
            + GET
        )
        expected = [b"POST /a hello", b"POST /b hello", b"GET /x "]
        client = self.connect()
        self.assertEqual(expected, [each.body for each in self.ask(client, data)])
        for byte in data:
            client.send(bytes([byte]))
            self.turn()
        self.assertEqual(expected, [each.body for each in answers(client.take())])
        client.leave()

    def test_pipelined(self) -> None:
        """Pipelined requests are answered in order, one after the other."""
        order: list[str] = []
        release: list[Any] = []

        async def slow_first(scope: Any, receive: Any, send: Any) -> None:
            order.append(scope["path"])
            if scope["path"] == "/1":
                release.append(asyncio.get_running_loop().create_future())
                await release[0]
            await self.hello(scope, receive, send)

        self.application = slow_first
        client = self.connect()
        self.assertEqual([], self.ask(client, request("GET /1") + request("GET /2")))
        self.assertEqual(["/1"], order)
        release[0].set_result(None)
        self.turn()
        self.assertEqual([b"GET /1 ", b"GET /2 "], [each.body for each in answers(client.take())])
        client.leave()

    def test_close(self) -> None:
        """A client that wants to be the last gets its answer, and the end."""
        for data in (
            request("GET /x", "Connection: x, Close"),
            b"GET /x HTTP/1.0\r\n\r\n",
            b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        ):
            client = self.connect()
            (answer,) = self.ask(client, data)
            self.assertEqual("close", answer.headers["connection"])
            self.assertTrue(client.closed)
            self.assertFalse(client.aborted)

    def test_targets(self) -> None:
        """A target may be a URL, whose host counts; what is no path is refused."""
        client = self.connect()
        self.assertEqual(200, self.ask(client, request("GET http://a:1/x?q"))[0].status)
        self.assertEqual([(b"host", b"a:1")], self.scopes[-1]["headers"])
        self.assertEqual(("/x", b"q"), (self.scopes[-1]["path"], self.scopes[-1]["query_string"]))
        # The host of a URL is that of this request, whatever has the same headers.
        for target, host in (
            ("/x", b"x"),
            ("http://a:1/x", b"a:1"),
            ("http://b/x", b"b"),
            ("/", b"x"),
        ):
            self.ask(client, request(f"GET {target}"))
            self.assertEqual([(b"host", host)], self.scopes[-1]["headers"])
        client.leave()
        for line in ("GET x", "OPTIONS *", "GET /a#b", "CONNECT x:1", "GET ftp://a/b"):
            self.refused(400, request(line))

    def refused(self, status: int, data: bytes) -> None:
        """A request is refused, on a new connection and after another request."""
        for before in (b"", GET):
            client = self.connect()
            *_, answer = self.ask(client, before + data)
            self.assertEqual((status, "close"), (answer.status, answer.headers["connection"]), data)
            client.leave()

    def test_malformed(self) -> None:
        """Whatever two readers could read in two ways is refused, and the connection ends."""
        for status, data in (
            (400, b"GET /x HTTP/1.1\r\n\r\n"),
            (400, b"GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
            (400, b"GET /x HTTP/1.1\r\nHost: a b\r\n\r\n"),
            (400, b"GET /x HTTP/1.1\r\nHost: a\r\n b: c\r\n\r\n"),
            (400, b"GET /x HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
            (400, b"GET /x HTTP/1.1\r\nHost : a\r\n\r\n"),
            (505, b"GET /x HTTP/2.0\r\nHost: a\r\n\r\n"),
            (505, b"GET /x HTTP/0.9\r\nHost: a\r\n\r\n"),
            (
                400,
                request(
                    "POST /x", "Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"
                ),
            ),
            (400, request("POST /x", "Content-Length: 5", "Content-Length: 5", body=b"hello")),
            (400, request("POST /x", "Content-Length: 5", "Content-Length: 6", body=b"hello")),
            (400, request("POST /x", "Content-Length: +5", body=b"hello")),
            (400, request("POST /x", "Transfer-Encoding: gzip, chunked")),
            (400, request("POST /x", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked")),
            (400, request("POST /x", "Transfer-Encoding: chunked", body=b"x\r\n")),
            (413, request("POST /x", "Content-Length: 200001")),
            (413, request("POST /x", "Transfer-Encoding: chunked", body=b"30d41\r\n")),
            (417, request("POST /x", "Content-Length: 5", "Expect: tea")),
            (431, request("GET /x", "X: " + "y" * 20000)),
        ):
            self.refused(status, data)

    def test_other_channels(self) -> None:
        """Pages of the gateway and handshakes have their own channels, on the same connection."""
        client = self.connect()
        self.assertEqual(200, self.ask(client, GET)[0].status)
        (answer,) = self.ask(client, request("GET /health/live"))
        self.assertEqual((200, 1), (answer.status, len(self.scopes)))
        self.assertEqual(200, self.ask(client, GET)[0].status)
        self.assertEqual(2, len(self.scopes))
        (answer,) = self.ask(client, request("GET /ws/a"))
        self.assertEqual(400, answer.status)
        self.assertEqual(200, self.ask(client, GET)[0].status)
        client.send(handshake("/ws/a?subscribe-broadcast"))
        self.turn()
        self.assertTrue(client.take().startswith(b"HTTP/1.1 101 "))
        client.leave()


class BodyTests(HttpCase):
    """Bodies of requests."""

    def test_as_it_comes(self) -> None:
        """The application gets a body as it comes, and what it does not take is not read."""
        received: list[Any] = []

        async def wait(scope: Any, receive: Any, send: Any) -> None:
            while (event := await receive())["type"] == "http.request":
                received.append(event)
                self.waiter = asyncio.get_running_loop().create_future()
                await self.waiter

        self.application = wait
        client = self.connect()
        client.send(request("POST /x", "Content-Length: 190000", body=b"a"))
        self.turn()
        self.assertEqual([{"type": "http.request", "body": b"a", "more_body": True}], received)
        for _ in range(3):
            client.send(bytes(30000))
        self.turn()
        self.assertTrue(client.paused)
        self.waiter.set_result(None)
        self.turn()
        self.assertEqual(90000, len(received[-1]["body"]))
        self.assertFalse(client.paused)
        client.leave()
        self.waiter.set_result(None)
        self.turn()
        self.assertEqual(2, len(received))

    def test_continue(self) -> None:
        """A client that waits is told to go on when the application wants its body."""
        data = request("POST /x", "Content-Length: 5", "Expect: 100-continue")
        client = self.connect()
        (answer,) = self.ask(client, data)
        self.assertEqual(100, answer.status)
        (answer,) = self.ask(client, b"hello")
        self.assertEqual(b"POST /x hello", answer.body)
        # It has not waited.
        (answer,) = self.ask(client, data + b"hello")
        self.assertEqual(b"POST /x hello", answer.body)
        client.leave()

        async def uninterested(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 403})
            await send({"type": "http.response.body"})

        self.application = uninterested
        client = self.connect()
        (answer,) = self.ask(client, data)
        self.assertEqual((403, "close"), (answer.status, answer.headers["connection"]))
        client.leave()

    def test_unwanted(self) -> None:
        """A body that the application does not read is read to its end if it is a small one."""

        async def uninterested(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"no"})

        self.application = uninterested
        client = self.connect()
        self.assertEqual(
            b"no", self.ask(client, request("POST /x", "Content-Length: 60000"))[0].body
        )
        client.send(bytes(30000))
        (answer,) = self.ask(client, bytes(30000) + GET)
        self.assertEqual(b"no", answer.body)
        self.assertFalse(client.closed)
        self.assertEqual(
            200, self.ask(client, request("POST /x", "Content-Length: 190000"))[0].status
        )
        self.assertTrue(client.closed)
        client = self.connect()
        client.send(request("POST /x", "Transfer-Encoding: chunked", body=b"1388\r\n"))
        self.turn()
        for _ in range(20):
            client.send(bytes(5000) + b"\r\n1388\r\n")
            self.turn()
        self.assertTrue(client.closed)

    def test_too_large(self) -> None:
        """A body in chunks that becomes too large is a 413, and the application hears of it."""
        client = self.connect()
        client.send(request("POST /x", "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n"))
        self.turn()
        (answer,) = self.ask(client, b"fffff\r\n")
        self.assertEqual(413, answer.status)
        self.assertEqual({"type": "http.disconnect"}, self.events[-1])
        client.leave()

    def test_tiny_chunks(self) -> None:
        """Many tiny chunks are worked off in turns."""
        client = self.connect()
        client.send(request("POST /x", "Transfer-Encoding: chunked", body=b"1\r\nx\r\n" * 1000))
        self.assertTrue(client.paused)
        self.turn()
        self.assertFalse(client.paused)
        (answer,) = self.ask(client, b"0\r\n\r\n" + b"")
        self.assertEqual(b"POST /x " + b"x" * 1000, answer.body)
        client.leave()


class AnswerTests(HttpCase):
    """Answers, and clients that do not read them."""

    def test_backpressure(self) -> None:
        """An application that floods waits for its client; all that it has sent arrives."""
        sent: list[int] = []

        async def flood(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            for number in range(30):
                await send({"type": "http.response.body", "body": bytes(30000), "more_body": True})
                sent.append(number)
            await send({"type": "http.response.body"})

        self.application = flood
        client = self.connect()
        client.reading = False
        client.send(GET)
        self.turn()
        self.assertLess(len(sent), 10)
        while client._unread:
            self.read_some(client)
        self.assertEqual(30, len(sent))
        self.assertEqual(900000, len(answers(client.take())[0].body))
        client.leave()

    def test_large(self) -> None:
        """One large body goes in pieces; the next request waits until the client has taken it."""
        body = bytes(1_000_000)

        async def large(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": body})

        self.application = large
        client = self.connect()
        client.reading = False
        client.send(GET + GET)
        self.turn()
        self.assertEqual(1, len(self.scopes))
        while client._unread:
            self.read_some(client)
        self.assertEqual([body, body], [each.body for each in answers(client.take())])
        client.leave()

    def test_ahead(self) -> None:
        """Further requests wait with their client, except for a few."""
        release: list[Any] = []

        async def wait(scope: Any, receive: Any, send: Any) -> None:
            release.append(asyncio.get_running_loop().create_future())
            await release[-1]
            await self.hello(scope, receive, send)

        self.application = wait
        client = self.connect()
        client.send(GET)
        self.turn()
        client.send(GET * 500)
        self.assertFalse(client.paused)
        client.send(GET * 500)
        self.assertTrue(client.paused)
        while release:
            release.pop().set_result(None)
            self.turn()
        self.assertEqual(1001, len(answers(client.take())))
        self.assertFalse(client.paused)
        client.leave()

    def test_not_read(self) -> None:
        """A client that does not read for 30 seconds is cut off, one that reads a little is not."""

        async def large(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": bytes(500_000)})

        self.application = large
        client = self.connect()
        client.reading = False
        client.send(GET)
        self.turn()
        for _ in range(3):
            self.pass_time(25)
            while client._unread:
                before = len(client._unread)
                self.read_some(client)
                if before == 1:
                    break
        self.assertFalse(client.closed)
        with capturedLogs() as logs:
            self.pass_time(32)
        self.assertTrue(client.aborted)
        self.assertIn("answer-cut-off", [each.get("event") for each in logs])

    def test_left(self) -> None:
        """The application hears once and again that its client has left, and its sends fail."""
        seen: list[Any] = []

        async def stay(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "http.response.start", "status": 200})
            seen.append(await receive())
            seen.append(await receive())
            try:
                await send({"type": "http.response.body"})
            except OSError as error:
                seen.append(error)
                raise

        self.application = stay
        client = self.connect()
        client.send(GET)
        self.turn()
        client.leave()
        with capturedLogs() as logs:
            self.turn()
        self.assertEqual([{"type": "http.disconnect"}] * 2, seen[:2])
        self.assertEqual(3, len(seen))
        self.assertEqual([], logs)

    def test_stays(self) -> None:
        """One that does not end after its client has left is cancelled in time."""
        seen: list[Any] = []

        async def stay(scope: Any, receive: Any, send: Any) -> None:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        self.application = stay
        client = self.connect()
        client.send(GET)
        self.turn()
        client.leave()
        self.pass_time(9)
        self.assertEqual([], seen)
        self.pass_time(3)
        self.assertEqual(["cancelled"], seen)

    def test_failures(self) -> None:
        """An exception before the answer is a 500, after its begin half an answer that looks so."""

        async def early(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            raise ZeroDivisionError("early")

        async def late(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            raise ZeroDivisionError("late")

        async def silent(scope: Any, receive: Any, send: Any) -> None:
            pass

        for application, event in ((early, "asgi-failed"), (silent, "asgi-unanswered")):
            self.application = application
            for method in ("GET", "HEAD"):
                client = self.connect()
                with capturedLogs() as logs:
                    (answer,) = self.ask(client, request(f"{method} /x"), method)
                self.assertEqual((500, "close"), (answer.status, answer.headers["connection"]))
                self.assertTrue(client.closed)
                self.assertEqual([event], [each.get("event") for each in logs])
            self.flushLoggedErrors()
        self.application = late
        client = self.connect()
        client.send(GET)
        self.turn()
        self.assertTrue(client.aborted)
        self.assertNotIn(b"0\r\n\r\n", client.take())
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_background(self) -> None:
        """What an application does after its answer delays nobody; its failure is logged."""
        release: list[Any] = []

        async def busy(scope: Any, receive: Any, send: Any) -> None:
            await self.hello(scope, receive, send)
            release.append(asyncio.get_running_loop().create_future())
            await release[-1]
            raise ZeroDivisionError

        self.application = busy
        client = self.connect()
        for _ in range(2):
            self.assertEqual(200, self.ask(client, GET)[0].status)
        self.assertEqual(2, self.room.taken)
        client.leave()
        for each in release:
            each.set_result(None)
        self.turn()
        self.assertEqual(2, len(self.flushLoggedErrors(ZeroDivisionError)))


class TimeTests(HttpCase):
    """Times, places and the end."""

    def test_idle(self) -> None:
        """A connection without a request is kept for 75 seconds."""
        client = self.connect()
        self.ask(client, GET)
        self.pass_time(74)
        self.assertFalse(client.closed)
        self.ask(client, GET)
        self.pass_time(74)
        self.assertFalse(client.closed)
        self.pass_time(3)
        self.assertTrue(client.closed)

    def test_slow_head(self) -> None:
        """A later request has 15 seconds for its head."""
        client = self.connect()
        self.ask(client, GET)
        self.pass_time(50)
        client.send(GET[:5])
        self.pass_time(14)
        self.assertFalse(client.closed)
        client.send(GET[5:6])
        self.pass_time(3)
        self.assertTrue(client.closed)

    def test_slow_body(self) -> None:
        """A body has 15 seconds for each 16 KiB; the time of the application does not count."""
        client = self.connect()
        client.send(request("POST /x", "Content-Length: 100000"))
        for _ in range(3):
            self.pass_time(14)
            client.send(bytes(17000))
        self.assertFalse(client.closed)
        self.pass_time(14)
        client.send(bytes(100))
        self.pass_time(3)
        self.assertEqual(408, answers(client.take())[0].status)
        client.leave()

    def test_slow_application(self) -> None:
        """An application may take its time, also with a body."""

        async def never(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.get_running_loop().create_future()

        self.application = never
        clients = [self.connect(), self.connect()]
        clients[0].send(GET)
        clients[1].send(request("POST /x", "Content-Length: 190000", body=bytes(70000)))
        self.pass_time(200)
        for client in clients:
            self.assertFalse(client.closed)
            client.leave()
        self.pass_time(12)

    def test_left_unread(self) -> None:
        """A client that leaves while it is not read is noticed in a second or two."""

        async def never(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.get_running_loop().create_future()

        self.application = never
        for data in (
            request("POST /x", "Content-Length: 190000", body=bytes(70000)),
            GET * 1000,
        ):
            client = self.connect()
            client.send(data)
            self.turn()
            self.assertTrue(client.paused)
            ours, theirs = socket.socketpair()
            self.addCleanup(ours.close)
            client.socket = ours  # type: ignore[attr-defined]
            self.pass_time(3)
            self.assertFalse(client.closed)
            theirs.close()
            self.pass_time(2)
            self.assertTrue(client.aborted)
        self.pass_time(12)

    def test_answered_before(self) -> None:
        """An answer is whole, whatever becomes of the rest of its request."""

        async def uninterested(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": bytes(500_000)})

        self.application = uninterested
        head = request("POST /x", "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n")
        for rest in (b"zz\r\n", b"fffff\r\n", b"", b"5\r\nhello\r\n0\r\n\r\n"):
            client = self.connect()
            client.reading = False
            client.send(head)
            self.turn()
            client.send(rest)
            if rest.endswith(b"0\r\n\r\n"):
                self.site.drain()
            else:
                self.pass_time(17)
            while client._unread:
                self.read_some(client)
            (answer,) = answers(client.take())
            self.assertEqual((200, 500_000), (answer.status, len(answer.body)))
            self.assertTrue(client.closed)
            self.assertFalse(client.aborted)
            client.leave()

    def test_drain(self) -> None:
        """A drain closes idle connections at once, others after their answer."""
        idle, busy = self.connect(), self.connect()
        self.ask(idle, GET)
        busy.send(request("POST /x", "Content-Length: 5"))
        self.turn()
        drained: list[Any] = []
        self.site.drain().addCallback(drained.append)
        self.assertTrue(idle.closed)
        self.assertFalse(busy.closed)
        self.assertEqual([], drained)
        (answer,) = self.ask(busy, b"hello")
        self.assertEqual("close", answer.headers["connection"])
        self.assertTrue(busy.closed)
        self.assertEqual([None], drained)

    def test_scarce(self) -> None:
        """While more than half of the connections are open, they are closed after their answer."""
        clients = [self.connect(f"192.0.2.{number}") for number in range(3)]
        found = [self.ask(client, GET)[0].headers.get("connection") for client in clients]
        self.assertEqual([None, None, "close"], found)
        for client in clients:
            client.leave()

    def test_places(self) -> None:
        """One more than a share is a 429, one more than all a 503."""
        half = request("POST /x", "Content-Length: 5")
        for expected in (0, 0, 0, 429):
            client = self.connect()
            client.send(half)
            self.turn()
            found = answers(client.take())
            self.assertEqual(expected, found[0].status if found else 0)
        client = self.connect("192.0.2.8")
        client.send(half)
        self.turn()
        self.assertEqual(b"", client.take())
        (answer,) = self.ask(self.connect("192.0.2.9"), GET)
        self.assertEqual(503, answer.status)


class ProxyTests(HttpCase):
    """Behind a trusted proxy."""

    config = GatewayConfig(
        trusted_proxy=("192.0.2.1",), limits=Limits(max_handshakes=4, max_connections=10)
    )

    def test_clients(self) -> None:
        """Each request has the place of its own client, and its address in the scope."""
        client = self.connect()
        for address in ("198.51.100.1", "198.51.100.2", "198.51.100.2"):
            self.ask(client, request("GET /x", f"X-Forwarded-For: {address}"))
            self.assertEqual([address, 0], self.scopes[-1]["client"])
            assert self.site.places is not None
            self.assertEqual((1, 1), (self.site.places.held, self.site.places.held_by(address)))
        client.leave()


class FullTests(HttpCase):
    """The bound on what the application works on."""

    concurrency = 1

    def test_full(self) -> None:
        """One call too many is answered with 503 and the time to come again."""
        busy = self.connect()
        busy.send(request("POST /x", "Content-Length: 5"))
        (answer,) = self.ask(self.connect(), GET)
        self.assertEqual((503, "2"), (answer.status, answer.headers["retry-after"]))
        self.assertEqual(b"POST /x hello", self.ask(busy, b"hello")[0].body)
        self.assertEqual(200, self.ask(busy, GET)[0].status)
        busy.leave()


class UnixTests(HttpCase):
    """Clients of a UNIX socket."""

    def test_unix(self) -> None:
        """They have no address, and are served."""
        client = Socket(self.factory, "")
        self.assertEqual(200, self.ask(client, GET)[0].status)
        self.assertIsNone(self.scopes[-1]["client"])
        client.leave()
