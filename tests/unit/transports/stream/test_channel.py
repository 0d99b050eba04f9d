"""Tests for `wsredis.transports.stream.channel`: requests on one connection, one by one."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import ISSLTransport
from twisted.logger import capturedLogs, formatEvent
from zope.interface import directlyProvides

from tests.support.raw import TEXT, frame, handshake
from tests.unit.transports.stream.case import LISTEN, SPEAK, StreamCase, request
from tests.unit.transports.websocket.case import SlowAuthenticator
from wsredis.config import GatewayConfig, Limits
from wsredis.gateway.client import PauseReason
from wsredis.gateway.identity import Identity
from wsredis.transports.stream import channel
from wsredis.transports.stream.channel import Caller, StreamChannel

ASKS = "Access-Control-Request-Method: POST"


class KeepAliveTests(StreamCase):
    """A connection stays for the next request, whoever answers it."""

    def test_kept(self) -> None:
        """An answer to a request of HTTP/1.1 says that the connection stays, and it does."""
        socket = self.connect()
        socket.send(request("POST", SPEAK, body=b"x"))
        self.assertIn(b"\r\nConnection: keep-alive\r\n", socket.take())
        self.wait(60)
        self.assertFalse(socket.closed)
        socket.send(request("POST", SPEAK, body=b"x"))
        self.assertIn(b" 202 ", socket.take())

    def test_not_kept(self) -> None:
        """It does not if the client, its version or the outcome says so."""
        for data in (
            request("POST", SPEAK, "Connection: x, Close", body=b"x"),
            request("POST", SPEAK, body=b"x", version="HTTP/1.0"),
            request("POST", LISTEN, body=b"x"),
        ):
            socket = self.connect()
            socket.send(data)
            self.assertIn(b"\r\nConnection: close\r\n", socket.take())
            self.assertTrue(socket.closed)

    def test_idle(self) -> None:
        """After a while without a request, it is closed."""
        socket = self.connect()
        socket.send(request("POST", SPEAK, body=b"x"))
        self.wait(90)
        self.assertTrue(socket.closed)
        self.assertFalse(socket.aborted)

    def test_drain(self) -> None:
        """A stop closes a connection that waits, and lets one that is served end."""
        slow = SlowAuthenticator()
        self.start(GatewayConfig(), authenticator=slow)
        idle, busy = self.connect(), self.connect()
        idle.send(request("OPTIONS", SPEAK, "Origin: http://localhost", ASKS))
        busy.send(request("POST", SPEAK, body=b"x"))
        done = self.factory.drain()
        self.assertEqual((True, False), (idle.closed, busy.closed))
        self.assertFalse(done.called)
        slow.asked[0].callback(Identity())
        self.assertIn(b" 503 ", busy.take())
        self.assertTrue(done.called)

    def test_stop(self) -> None:
        """What is left after that is reset."""
        socket = self.connect()
        socket.send(request("POST", SPEAK, "Content-Length: 5"))
        self.factory.stop()
        self.assertTrue(socket.aborted)

    def test_pipelined(self) -> None:
        """Requests that come together are answered in order, each in a turn of its own."""
        source, socket = self.source(), self.connect()
        socket.send(b"".join(request("POST", SPEAK, body=b"%d" % each) for each in range(20)))
        for _ in range(100):
            self.clock.advance(0)
        self.assertEqual(20, socket.take().count(b" 202 "))
        self.assertEqual([str(each) for each in range(20)], source.messages())

    def test_websocket_after_it(self) -> None:
        """The next request may be the handshake of a WebSocket, also in the same read."""
        socket = self.connect()
        path = "/ws/a?subscribe-broadcast&publish-broadcast&echo"
        socket.send(request("POST", SPEAK, body=b"x") + handshake(path) + frame(TEXT, b"hi"))
        self.wait(0.1)
        data = socket.take()
        self.assertIn(b" 202 ", data)
        self.assertIn(b" 101 ", data)
        self.assertTrue(data.endswith(b"\x81\x02hi"))
        socket.leave()

    def test_page_after_it(self) -> None:
        """Or a page, of which this gateway has few."""
        socket = self.connect()
        socket.send(request("POST", SPEAK, body=b"x"))
        socket.take()
        socket.send(request("GET", "/nothing"))
        self.assertIn(b" 404 ", socket.take())

    def test_bad_after_it(self) -> None:
        """Whatever follows is judged as if it came first."""
        socket = self.connect()
        socket.send(request("POST", SPEAK, body=b"x"))
        socket.take()
        socket.send(b"GET / HTTP/1.1\r\nbad\r\n\r\n")
        self.assertIn(b" 400 ", socket.take())

    def test_early(self) -> None:
        """What comes before an answer waits, up to a bound."""
        slow = SlowAuthenticator()
        self.start(GatewayConfig(), authenticator=slow)
        patient, greedy = self.connect(), self.connect()
        patient.send(request("POST", SPEAK, body=b"x") + request("GET", "/nothing"))
        greedy.send(request("POST", SPEAK, body=b"x"))
        greedy.send(b"x" * 20_000)
        self.assertTrue(greedy.aborted)
        slow.asked[0].callback(Identity())
        self.wait(0.1)
        data = patient.take()
        self.assertIn(b" 202 ", data)
        self.assertIn(b" 404 ", data)

    def test_lost_between(self) -> None:
        """A connection may be lost between an answer and the next request."""
        socket = self.connect()
        socket.send(request("POST", SPEAK, body=b"x") * 3)
        socket.leave()
        self.wait(0.1)
        self.assertIsNone(self.gateway.redis.value(b"broadcast:b"))

    def test_clients_of_a_proxy(self) -> None:
        """On a connection of a proxy each request may have another client."""
        self.start(GatewayConfig(trusted_proxy=("192.0.2.1",), access_log=True))
        socket = self.connect()
        with capturedLogs() as logs:
            for client in ("198.51.100.1", "198.51.100.2"):
                socket.send(request("POST", SPEAK, f"X-Forwarded-For: {client}", body=b"x"))
        self.assertEqual(["198.51.100.1", "198.51.100.2"], [each["peer"] for each in logs])

    def test_untrusted_proxy(self) -> None:
        """A proxy that nobody trusts is told of, once."""
        with capturedLogs() as logs:
            for _ in range(2):
                socket = self.connect("10.0.0.1")
                socket.send(request("POST", SPEAK, "X-Forwarded-For: 192.0.2.7", body=b"x"))
        self.assertEqual(["proxy-untrusted"], [each["event"] for each in logs])

    def test_guest(self) -> None:
        """A connection of a foreign site serves one request."""
        socket = self.connect()
        self.protocol(socket).is_guest = True
        socket.send(request("POST", SPEAK, body=b"x"))
        self.assertIn(b"\r\nConnection: close\r\n", socket.take())
        self.assertTrue(socket.closed)


class UnreadTests(StreamCase):
    """A client that does not read its answers gets no more of them."""

    def test_unread(self) -> None:
        """An answer that waits holds the next request up; if it waits for long, that is the end."""
        self.gateway.redis.store(b"broadcast:a", 60, b"x")
        socket = self.connect()
        socket.send(request("POST", SPEAK, body=b"x"))
        socket.take()
        socket.reading = False
        socket._unread.append(b"x" * 100_000)
        socket.send(request("POST", SPEAK, body=b"x"))
        socket.send(request("POST", SPEAK, body=b"y"))
        self.wait(0.2)
        self.assertEqual(b"x", self.gateway.redis.value(b"broadcast:a"))
        socket.read()
        self.wait(0.2)
        self.assertEqual(b"y", self.gateway.redis.value(b"broadcast:a"))
        self.assertEqual(2, socket.take().count(b" 202 "))

    def test_never_read(self) -> None:
        """A client that does not read within the time of an idle connection is reset."""
        socket = self.connect()
        socket.reading = False
        socket._unread.append(b"x" * 100_000)
        socket.send(request("POST", SPEAK, body=b"x"))
        self.wait(100)
        self.assertTrue(socket.aborted)

    def test_lost_while_waiting(self) -> None:
        """It may be lost meanwhile."""
        socket = self.connect()
        socket.reading = False
        socket._unread.append(b"x" * 100_000)
        socket.send(request("POST", SPEAK, body=b"x"))
        socket.leave()
        self.assertEqual(0, len(self.factory.queued))

    def test_evicted(self) -> None:
        """If too much waits for all, such a connection goes."""
        socket = self.connect()
        socket.send(request("POST", SPEAK, "Content-Length: 5"))
        (busy,) = self.streams.channels
        busy.send_queue_evicted(True)
        self.assertTrue(socket.aborted)

    def test_no_farewell(self) -> None:
        """There is no other farewell to a request than its answer."""
        socket = self.connect()
        socket.send(request("POST", SPEAK, "Content-Length: 5"))
        (busy,) = self.streams.channels
        busy.send_queue_overflowed()
        busy.close(1008, "slow consumer")
        busy.pause(PauseReason.RATE)
        busy.resume(PauseReason.RATE)
        self.assertEqual("", busy.connection_id)
        self.assertFalse(socket.closed)
        socket.leave()


class JudgeTests(StreamCase):
    """A request whose end is in doubt is refused, and nothing after it is read as a request."""

    def test_refused(self) -> None:
        """Two lengths, two hosts, chunks: 400 or 411, and the end."""
        for status, headers in (
            (400, ("Content-Length: 1", "Content-Length: 2")),
            (400, ("Content-Length: 5", "Transfer-Encoding: chunked")),
            (400, ("Host: other",)),
            (411, ("Transfer-Encoding: chunked",)),
        ):
            socket = self.connect()
            socket.send(request("POST", SPEAK, *headers) + b"5\r\nhello\r\n0\r\n\r\n")
            answer = socket.take()
            self.assertEqual(1, answer.count(b"HTTP/1.1 "))
            self.assertTrue(answer.startswith(b"HTTP/1.1 %d " % status), answer)
            self.assertIn(b"\r\nConnection: close\r\n", answer)
            socket.send(request("GET", "/nothing"))
            self.assertEqual(b"", socket.take())
            self.assertTrue(socket.closed)

    def test_half_closed(self) -> None:
        """A plain socket with unread input is closed on our side only: a reset loses the answer."""
        self.patch(channel, "is_plain", lambda transport: True)
        for data, is_half in (
            (request("POST", SPEAK, "Content-Length: 9999999"), True),
            (request("POST", SPEAK, "Transfer-Encoding: chunked"), True),
            (request("POST", LISTEN, body=b"x"), False),
        ):
            socket: Any = self.connect()
            halves: list[bool] = []
            socket.loseWriteConnection = lambda halves=halves: halves.append(True)
            socket.send(data)
            self.assertEqual((is_half, not is_half), (bool(halves), socket.closed), data)

    def test_told(self) -> None:
        """A refusal is counted and logged, as that of a handshake is."""
        with capturedLogs() as logs:
            self.ask(request("POST", SPEAK, "Transfer-Encoding: chunked"))
        self.assertEqual(["handshake-refused"], [each["event"] for each in logs])
        self.assertEqual(1, self.metrics.refused)

    def test_unread_input(self) -> None:
        """A client that sends on after the end is reset in the end."""
        self.start(GatewayConfig(limits=Limits(max_message=10)))
        socket = self.connect()
        socket.reading = False
        socket._unread.append(b"x" * 100)
        socket.send(request("POST", SPEAK, "Content-Length: 1000000"))
        socket.send(b"x" * 100_000)
        self.assertFalse(socket.aborted)
        socket.send(b"x" * 100_000)
        self.assertTrue(socket.aborted)


class SharingTests(StreamCase):
    """Pages of other origins (CORS)."""

    config = GatewayConfig(allow_origin=("https://ours.example",))

    def test_preflight(self) -> None:
        """A browser learns which pages may send what."""
        status, head, _ = self.ask(request("OPTIONS", SPEAK, "Origin: https://ours.example", ASKS))
        self.assertEqual(204, status)
        self.assertIn("Access-Control-Allow-Origin: https://ours.example", head)
        self.assertIn("Access-Control-Allow-Credentials: true", head)
        status, head, _ = self.ask(request("OPTIONS", SPEAK, "Origin: https://evil.example", ASKS))
        self.assertEqual(403, status)
        self.assertNotIn("Access-Control-Allow-Methods", head)

    def test_stream(self) -> None:
        """A page of ours reads what it may, any other what a stranger may."""
        head = self.source(LISTEN, "Origin: https://ours.example").head
        self.assertIn("Access-Control-Allow-Origin: https://ours.example", head)
        self.assertIn("Access-Control-Allow-Credentials: true", head)
        head = self.source(LISTEN, "Origin: https://evil.example").head
        self.assertIn("HTTP/1.1 200", head)
        self.assertIn("Access-Control-Allow-Origin: https://evil.example", head)
        self.assertIn("Access-Control-Allow-Credentials: true", head)

    def test_refusal(self) -> None:
        """A refusal can be read by the pages that could read an answer."""
        self.gateway.broker.disconnect()
        head = self.source(LISTEN, "Origin: https://ours.example").head
        self.assertIn("HTTP/1.1 503", head)
        self.assertIn("Access-Control-Allow-Origin: https://ours.example", head)
        self.assertIn("Retry-After", head)

    def test_publish(self) -> None:
        """A foreign page may not publish; a page of ours may, and so may a program."""
        self.assertEqual(403, self.post(b"x", SPEAK, "Origin: https://evil.example")[0])
        self.assertEqual(403, self.post(b"x", SPEAK, "Sec-Fetch-Site: cross-site")[0])
        self.assertEqual(403, self.post(b"x", SPEAK, "Referer: https://evil.example/")[0])
        self.assertEqual(202, self.post(b"x", SPEAK, "Origin: https://ours.example")[0])
        self.assertEqual(202, self.post(b"x")[0])

    def test_own_page(self) -> None:
        """A page of the gateway's own origin needs no name of it."""
        self.assertEqual(202, self.post(b"x", SPEAK, "Origin: http://localhost")[0])
        self.assertEqual(202, self.post(b"x", SPEAK, "Sec-Fetch-Site: same-origin")[0])


class LogTests(StreamCase):
    """--access-log has a line for each answer."""

    config = GatewayConfig(access_log=True)

    def lines(self, *data: bytes) -> list[str]:
        """Send requests. Returns: The lines of the log."""
        with capturedLogs() as logs:
            for each in data:
                socket = self.connect()
                socket.send(each)
                socket.leave()
        return [formatEvent(each) for each in logs if each["event"] == "page"]

    def test_lines(self) -> None:
        """The line has no query, and the bytes of the body."""
        lines = self.lines(
            request("POST", SPEAK, "User-Agent: x", "Referer: http://localhost/?a", body=b"hi"),
            request("POST", LISTEN, body=b"hi"),
            request("GET", LISTEN, "Accept: text/event-stream"),
        )
        self.assertEqual(
            [
                '192.0.2.1 - - "POST /ws/a?... HTTP/1.1" 202 0 "http://localhost/?..." "x"',
                '192.0.2.1 - - "POST /ws/a?... HTTP/1.1" 403 78 "-" "-"',
                '192.0.2.1 - - "GET /ws/a?... HTTP/1.1" 200 0 "-" "-"',
            ],
            [each.replace(":54321", "") for each in lines],
        )

    def test_kept(self) -> None:
        """A stream keeps no more of its head than the log needs."""
        self.source(LISTEN, "User-Agent: x", "Cookie: a=b")
        (busy,) = self.streams.channels
        self.assertEqual({"user-agent": "x"}, busy.found.headers)
        self.assertEqual(((), {"user-agent": "x"}), (busy.found.pairs, busy.headers))

    def test_without(self) -> None:
        """Without the option there is none."""
        self.start(GatewayConfig())
        self.assertEqual([], self.lines(request("POST", SPEAK, body=b"hi")))


class TlsTests(StreamCase):
    """Requests by TLS."""

    def test_secure(self) -> None:
        """The gateway knows that the browser speaks TLS with it: http is another origin then."""
        for origin, status in (("https://localhost", b" 202 "), ("http://localhost", b" 403 ")):
            socket = self.connect()
            directlyProvides(socket, ISSLTransport)
            socket.send(request("POST", SPEAK, f"Origin: {origin}", body=b"x"))
            self.assertIn(status, socket.take())


class NobodyTests(StreamCase):
    """A channel by itself."""

    def test_nobody_takes_it_back(self) -> None:
        """If nobody takes the connection back, it does not stay."""
        from wsredis.transports.websocket.head import parse

        found = parse(request("POST", SPEAK, body=b"x"), 1000)
        made = self.streams.channel_for(found, Caller("192.0.2.1:1", "192.0.2.1"))
        self.assertIsInstance(made, StreamChannel)
        self.assertFalse(made.keeps)
