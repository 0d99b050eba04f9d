"""Tests of the HTTP channel: timeouts, limits, addresses, and the check of twisted.web."""

from __future__ import annotations

import tempfile
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import HTTPChannel

from tests.support.memory_gateway import MemoryGatewayCase, Socket
from tests.unit.web.case import ApplicationCase, SiteCase, make_request
from wsredis.config import GatewayConfig, Limits
from wsredis.errors import ConfigError
from wsredis.web.channel import check_twisted
from wsredis.web.spool import Spool, SpooledBody


class OneRequestTests(SiteCase):
    """Without an application a connection serves one short request."""

    def test_one_request_per_connection(self) -> None:
        """It is closed then: the next request might be a handshake."""
        client = Socket(self.site)
        client.reading = False
        client.send(make_request("GET /health/live") + make_request("GET /health/live"))
        client.read()
        answer = client.take()
        self.assertEqual(1, answer.count(b"HTTP/1.1 200"))
        self.assertIn(b"connection: close", answer.lower())
        self.assertTrue(client.closed)

    def test_large_body(self) -> None:
        """A body that no resource uses is read up to a limit; then the connection is aborted."""
        client = Socket(self.site)
        client.send(make_request("POST /ws/a", "Content-Length: 1000000", body=b"x" * 60000))
        self.assertFalse(client.closed)
        client.send(b"x" * 60000)
        self.assertTrue(client.aborted)

    def test_slowrequest(self) -> None:
        """A request has a limited time to arrive."""
        client = Socket(self.site)
        client.send(b"GET / HTTP/1.1\r\n")
        for _ in range(60):
            self.clock.advance(1)
        self.assertTrue(client.closed)


class TimeTests(MemoryGatewayCase):
    """Without an application a plain request has the time and the place of a handshake."""

    config = GatewayConfig(limits=Limits(handshake_timeout=5, max_handshakes=2))

    def test_no_end(self) -> None:
        """A body that does not end is a connection that ends after 5 s."""
        client = self.connect()
        client.send(make_request("POST /x", "Content-Length: 60000", body=bytes(20000)))
        for _ in range(4):
            self.wait(1)
            client.send(bytes(8000))
        self.assertFalse(client.closed)
        self.assertEqual(1, len(self.factory.registry.handshakes))
        self.wait(2)
        self.assertTrue(client.closed)
        self.nothing_left()


class KeptTests(ApplicationCase):
    """With an application a connection is kept, for a limited time and for limited bodies."""

    def test_of_another(self) -> None:
        """A later request that no resource of the site answers is read by the gateway again."""
        client = self.connect()
        self.assertEqual(200, self.ask(client, make_request("GET /x"))[0])
        returned: list[object] = []
        (channel,) = self.site.channels
        channel.returned = lambda *each: returned.append(each)
        self.patch(self.site, "serves", lambda found: found.target != "/y")
        client.send(make_request("GET /x"))
        self.clock.advance(0)
        self.assertEqual([], returned)
        client.send(make_request("GET /y") + b"rest")
        self.clock.advance(0)
        self.assertEqual([(make_request("GET /y"), b"rest", 0, "")], returned)
        self.assertEqual([], [*self.site.channels])

    def test_targets(self) -> None:
        """A target may have scheme and host; anything else starts with a slash."""
        client = self.connect()
        for target, status, body in (
            ("http://a:1/x?q", 200, b"/x "),
            ("HTTPS://a", 200, b"/ "),
            ("http://a?q", 200, b"/ "),
            ("x", 400, b"the request target is malformed\n"),
        ):
            self.assertEqual(
                (status, body), self.ask(client, make_request(f"GET {target}")), target
            )

    def test_large_body(self) -> None:
        """A body over the limit is a 413 and ends the connection; up to the limit it is read."""
        size = self.config.limits.max_body
        for request in (
            make_request("POST /x", f"Content-Length: {size + 1}"),
            make_request("POST /x", f"Content-Length: {size + 1}", "Expect: 100-continue"),
            make_request("POST /x", "Transfer-Encoding: chunked")
            + b"%x\r\n" % (size + 1)
            + bytes(size + 1)
            + b"rubbish\r\n",
        ):
            client = self.connect()
            self.assertEqual(413, self.ask(client, request)[0])
            self.wait(4)
            self.assertTrue(client.closed)
        client = self.connect()
        request = make_request("POST /x", f"Content-Length: {size}", body=bytes(size))
        self.assertEqual(3 + size, len(self.ask(client, request)[1]))
        client.leave()
        self.assert_nothing_left()

    def test_large_body_with_an_end(self) -> None:
        """Bytes after the part that is too large change nothing."""
        size = self.config.limits.max_body
        client = self.connect()
        chunk = b"%x\r\n%s\r\n" % (size + 1, bytes(size + 1))
        request = make_request("POST /x", "Transfer-Encoding: chunked")
        self.assertEqual(413, self.ask(client, request + chunk + b"1\r\nx\r\n0\r\n\r\n")[0])

    def test_bad_chunks(self) -> None:
        """A malformed chunk is a 400."""
        client = self.connect()
        request = make_request("POST /x", "Transfer-Encoding: chunked")
        self.assertEqual(400, self.ask(client, request + b"rubbish\r\n")[0])
        self.assertTrue(client.closed)

    def test_heads(self) -> None:
        """A later request is judged as the first one of a connection is."""
        for line in (
            *("X-A: b\r\n c: d", "X-A : b", "X-A: b\nX-B: c", "X-A: b\rX-B: c", "X-A"),
            *("X-A: b\0c", ": b", "X\x0bA: b", "X-A: \x01", "X-A: b\x85"),
            *("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",),
            *("Transfer-Encoding: identity", "Transfer-Encoding: gzip, chunked"),
            *("Transfer-Encoding: chunked\r\nContent-Length: 1",),
            *("Content-Length: 1\r\nTransfer-Encoding: chunked",),
            *("Transfer-Encoding:\r\n chunked", "Content-Length: +1", "Content-Length: 1, 1"),
            *("X: " + "y" * 16384, "X: y\r\n" * 4000),
        ):
            request = make_request("POST /x", line, body=b"1\r\na\r\n0\r\n\r\n")
            first, later = self.connect(), self.connect()
            self.ask(later, make_request("GET /x"))
            answers = [self.ask(client, request) for client in (first, later)]
            self.assertEqual(answers[0], answers[1], line)
            self.assertIn(answers[0][0], (400, 431), line)
            self.assertTrue(first.closed and later.closed)
            self.assertEqual(1, self.ask_again(later).count(b"HTTP/1.1"), line)

    def ask_again(self, client: Socket) -> bytes:
        """Send a request after a refusal. Returns: One line, and what was answered."""
        client.send(make_request("GET /x"))
        return b"HTTP/1.1" + client.take()

    def test_empty_lines(self) -> None:
        """An empty line before a later request is skipped; many of them are too large a head."""
        client = self.connect()
        self.ask(client, make_request("GET /x"))
        self.assertEqual(200, self.ask(client, b"\r\n" + make_request("GET /x"))[0])
        self.assertEqual(431, self.ask(client, b"\r\n" * 9000)[0])
        self.assertTrue(client.closed)

    def test_shares(self) -> None:
        """One address does not get all places, nor all bytes of bodies."""
        self.site.spool = Spool(3000)
        size = make_request("POST /x", "Content-Length: 1500", body=bytes(1500))
        first = self.connect()
        first.send(size[:-1])
        self.assertEqual(1499, self.site.spool.held)
        self.assertEqual(429, self.ask(self.connect(), size)[0])
        chunked = make_request("POST /x", "Transfer-Encoding: chunked")
        chunk = b"5dc\r\n" + bytes(1500) + b"\r\n"
        self.assertEqual(429, self.ask(self.connect(), chunked + chunk)[0])
        self.site.spool.take("", 1500)
        self.assertEqual(503, self.ask(self.connect(), chunked + chunk)[0])
        self.site.spool.release("", 1500)
        other = self.connect()
        other.send(make_request("GET /later"))
        self.assertEqual(1499, len(self.ask(first, size[-1:])[1]) - 4)
        self.assertEqual(0, self.site.spool.held)
        self.application.later.finish()
        first.send(size[:-1])
        first.leave()
        self.assertEqual(0, self.site.spool.held)

    def test_disk_is_full(self) -> None:
        """A body that cannot be kept is refused."""

        def write(body: SpooledBody, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        self.patch(SpooledBody, "write", write)
        client = self.connect()
        self.assertEqual(
            503, self.ask(client, make_request("POST /x", "Content-Length: 2", body=b"ab"))[0]
        )
        self.assertEqual(1, len(self.flushLoggedErrors(OSError)))

    def test_close(self) -> None:
        """The option close may stand anywhere in the lists of Connection."""
        for line, closed in (
            ("Connection: keep-alive", False),
            ("Connection: close", True),
            ("Connection: x,Close", True),
            ("Connection: x\r\nConnection: y , close", True),
            ("Connection: closed", False),
        ):
            client = self.connect()
            self.assertEqual(200, self.ask(client, make_request("GET /x", line))[0])
            self.assertEqual(closed, client.closed, line)
            client.leave()

    def test_places(self) -> None:
        """An address has a share of the connections; one without an address counts by itself."""
        half = make_request("POST /x", "Content-Length: 2", body=b"a")
        clients = [self.connect() for _ in range(3)]
        for client in clients:
            client.send(half)
        reason = b"too many connections of one client"
        self.assertEqual((429, reason), self.ask(self.connect(), half))
        other = self.connect()
        other._address = UNIXAddress(b"")  # type: ignore[assignment]
        other.send(half)
        self.assertEqual(b"", other.take())
        for client in [*clients, other]:
            self.assertEqual((200, b"/x ab"), self.ask(client, b"b"))
            client.leave()
        self.assertEqual(0, self.site.places.held)

    def test_requests_at_once(self) -> None:
        """Of requests that come together, one is answered in a turn, and nothing else is read."""
        client = self.connect()
        client.send(make_request("GET /x") * 3)
        self.assertEqual((1, True), (client.take().count(b"HTTP/1.1 200"), client.paused))
        self.clock.advance(0)
        self.assertEqual((2, False), (client.take().count(b"HTTP/1.1 200"), client.paused))
        self.assertEqual(200, self.ask(client, make_request("GET /x"))[0])

    def test_more_in_between(self) -> None:
        """Bytes that a transport had read already are read in their order."""
        client = self.connect()
        client.send(make_request("GET /1") + b"GET /2 HTT")
        client.protocol.dataReceived(b"P/1.1\r\nHost: x\r\n\r\n")
        self.clock.advance(0)
        self.assertIn(b"/2 ", client.take())
        client.send(make_request("GET /1") * 2)
        client.leave()
        self.clock.advance(0)
        self.assert_nothing_left()

    def test_tiny_chunks(self) -> None:
        """A body in tiny chunks takes several turns; it arrives whole, and so does what follows."""
        client = self.connect()
        body = b"1\r\na\r\n" * 2000 + b"fa0\r\n" + b"b" * 4000 + b"\r\n0\r\n\r\n"
        request = make_request("POST /x", "Transfer-Encoding: chunked", body=body)
        client.send(request + make_request("GET /y"))
        self.assertTrue(client.paused)
        self.assertLess(self.site.spool.held, 400)
        self.clock.advance(0)
        answer = client.take()
        self.assertIn(b"a" * 2000 + b"b" * 4000 + b"HTTP/1.1 200", answer)
        self.assertTrue(answer.endswith(b"/y "))
        client.send(request[:5000])
        client.leave()
        self.clock.advance(0)
        self.assert_nothing_left()

    def test_sends_while_it_does_not_read(self) -> None:
        """Nothing is read of a client that does not take its answer."""
        client = self.connect()
        client.reading = False
        client.send(make_request("GET /later"))
        self.application.later.write(bytes(70000))
        self.assertTrue(client.protocol._channel._waitingForTransport)
        client.send(bytes(65536))
        self.assertTrue(client.paused)
        client.leave()
        self.assert_nothing_left()

    def test_sends_on(self) -> None:
        """A client that sends on after the end of its answer is not read for ever."""
        client = self.connect()
        client.reading = False
        client.send(make_request("GET /x", "Connection: close"))
        client.send(bytes(65536))
        self.assertFalse(client.aborted)
        client.send(b"x")
        self.assertTrue(client.aborted)

    def test_idle(self) -> None:
        """A connection is kept for 75 s without a request, and for 15 s with half a request."""
        client = self.connect()
        for _ in range(2):
            self.ask(client, make_request("GET /x"))
            self.clock.advance(74.9)
            self.assertFalse(client.closed)
        self.clock.advance(0.1)
        self.assertTrue(client.closed)
        client = self.connect()
        self.ask(client, make_request("GET /x"))
        self.clock.advance(70)
        client.send(b"GET /x")
        self.clock.advance(14.9)
        self.assertFalse(client.closed)
        self.clock.advance(0.1)
        self.assertTrue(client.closed)
        self.assert_nothing_left()

    def test_slow_body(self) -> None:
        """A body may take its time as long as much of it comes, and not byte by byte."""
        client = self.connect()
        client.send(make_request("POST /x", "Content-Length: 100000"))
        for _ in range(4):
            self.wait(10)
            client.send(bytes(20000))
        self.assertFalse(client.closed)
        for _ in range(15):
            self.wait(1.1)
            client.send(b"x")
        self.assertTrue(client.closed)
        self.assert_nothing_left()

    def test_client_that_does_not_read(self) -> None:
        """A client has a limited time to read the last answer."""
        client = self.connect()
        client.reading = False
        client.send(make_request("GET /x", "Connection: close"))
        self.wait(76)
        self.assertTrue(client.aborted)
        client.send(make_request("GET /x"))
        self.assert_nothing_left()

    def test_slow_end(self) -> None:
        """A drain does not give more time to a connection that is already being closed."""
        client = self.connect()
        client.reading = False
        client.send(make_request("GET /x", "Connection: close"))
        self.wait(50)
        self.site.drain()
        self.wait(26)
        self.assertTrue(client.aborted)

    def test_nothing_is_taken_while_it_closes(self) -> None:
        """A request after the last one is not answered."""
        client = self.connect()
        client.reading = False
        client.send(make_request("GET /x", "Connection: close"))
        client.send(make_request("GET /y"))
        client.read()
        self.assertEqual(1, client.take().count(b"HTTP/1.1 "))

    def test_addresses(self) -> None:
        """A client of a UNIX socket has an address that applications can show."""
        client = self.connect()
        client.send(make_request("GET /later"))
        self.assertEqual("192.0.2.1", self.application.later.getClientAddress().host)
        self.assertEqual(80, self.application.later.getHost().port)
        client._address = UNIXAddress(b"")  # type: ignore[assignment]
        client.getHost = lambda: client._address  # type: ignore[method-assign]
        self.application.later.finish()
        client.send(make_request("GET /later"))
        self.assertEqual("", self.application.later.getClientAddress().host)
        self.assertEqual(80, self.application.later.getHost().port)


class ProxyTests(ApplicationCase):
    """Behind a trusted proxy each request has a client of its own."""

    config = GatewayConfig(
        trusted_proxy=("192.0.2.1",), limits=Limits(max_handshakes=4, max_connections=10)
    )

    def test_places(self) -> None:
        """Connections count for the client of their latest request."""
        places = self.site.places
        client = self.connect()
        self.ask(client, make_request("GET /x", "X-Forwarded-For: 198.51.100.1"))
        self.assertEqual(1, places.held_by("198.51.100.1"))
        self.ask(client, make_request("GET /x", "X-Forwarded-For: 198.51.100.2"))
        self.assertEqual([0, 1], [places.held_by(f"198.51.100.{n}") for n in (1, 2)])
        self.ask(client, make_request("GET /x"))
        self.assertEqual(1, places.held_by("192.0.2.1"))
        client.leave()
        self.assertEqual(0, places.held)

    def test_log(self) -> None:
        """A refusal of a later request names the client of that request."""
        client = self.connect()
        self.ask(client, make_request("GET /x", "X-Forwarded-For: 198.51.100.1"))
        with capturedLogs() as events:
            request = make_request("POST /x", "X-Forwarded-For: 198.51.100.2", "Content-Length: -")
            self.ask(client, request)
        self.assertIn("198.51.100.2", [event.get("peer") for event in events])


class CheckTests(SynchronousTestCase):
    """A version of Twisted that cannot be used is named at start."""

    def test_installed(self) -> None:
        """The installed version can be used."""
        check_twisted()

    def test_no_temporary_files(self) -> None:
        """No folder for temporary files is needed: in a locked-down container there is none."""

        def refuse(*args: object, **more: object) -> None:
            raise FileNotFoundError(2, "No usable temporary directory")

        self.patch(tempfile, "TemporaryFile", refuse)
        check_twisted()

    def refused(self, base: type[HTTPChannel]) -> str:
        """Check *base*. Returns: The text of the error."""
        text = str(self.assertRaises(ConfigError, check_twisted, base))
        self.assertRegex(text, r"\Awsredis cannot work with Twisted [0-9.]+\w*: [^\n]+\Z")
        return text

    def test_missing(self) -> None:
        """The text of the error names what is missing or works in another way."""

        class AnotherCall(HTTPChannel):
            _abortingCall = ()

        class KeepsCall(HTTPChannel):
            def connectionLost(self, reason: Any) -> None:
                self.setTimeout(None)

        class KeepsNothing(HTTPChannel):
            def rawDataReceived(self, data: bytes) -> None:
                if not self._handlingRequest:
                    super().rawDataReceived(data)

        class OtherChunks(HTTPChannel):
            def rawDataReceived(self, data: bytes) -> None:
                super().rawDataReceived(data)
                if self._transferDecoder is not None:
                    self._transferDecoder.state = "body"

        class AnotherTimeout(HTTPChannel):
            def requestDone(self, request: Any) -> None:
                self._savedTimeOut = None
                super().requestDone(request)

        class AnotherAnswer(HTTPChannel):
            def dataReceived(self, data: bytes) -> None:
                if data.startswith(b"this is not"):
                    return
                super().dataReceived(data)

        for base, name in (
            (AnotherCall, "_abortingCall"),
            (KeepsCall, "_abortingCall"),
            (KeepsNothing, "_dataBuffer"),
            (OtherChunks, "_transferDecoder"),
            (AnotherTimeout, "_savedTimeOut"),
            (AnotherAnswer, "_respondToBadRequestAndDisconnect"),
        ):
            self.assertIn(f"HTTPChannel.{name} ", self.refused(base), base)
