"""Tests of answers of a WSGI application, on a clock and sockets in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.support.children import PATIENCE
from tests.support.memory_gateway import Socket
from tests.unit.web.case import GET, WSGICase
from wsredis.config.networks import Networks
from wsredis.errors import ConfigError
from wsredis.web.wsgi import WSGIResponse, check_twisted


class WSGIResponseTests(WSGICase):
    """Requests arrive at the application, and its answers at the client."""

    def test_page(self) -> None:
        """The pieces of an answer are sent, and the connection stays open."""
        client = self.ask()
        self.assertTrue(client.take().endswith(b"\r\n\r\nhello"))
        self.assertFalse(client.closed)
        client.send(GET)
        self.done()
        self.assertTrue(client.take().endswith(b"hello"))

    def test_environment(self) -> None:
        """Headers with an underscore, and those that are no longer true, are not passed on."""
        self.ask(
            b"POST /a HTTP/1.1\r\nHost: x\r\nX_A: 1\r\nX-A: 2\r\nCookie: a=1\r\nCookie: b=2\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        )
        self.assertEqual("2", self.environ["HTTP_X_A"])
        self.assertEqual("a=1; b=2", self.environ["HTTP_COOKIE"])
        self.assertEqual("3", self.environ["CONTENT_LENGTH"])
        self.assertNotIn("HTTP_TRANSFER_ENCODING", self.environ)
        self.assertIs(False, self.environ["wsgi.multiprocess"])

    def test_forwarded_host(self) -> None:
        """Where proxies are named, nobody else gives the name by which the site is reached."""
        request = b"GET /a HTTP/1.1\r\nHost: x\r\nX-Forwarded-Host: y\r\n\r\n"
        for trusted, passed in (((), "y"), (("192.0.2.1",), "y"), (("10.0.0.1",), None)):
            self.site.trusted = Networks(trusted)
            self.ask(request)
            self.assertEqual(passed, self.environ.get("HTTP_X_FORWARDED_HOST"), trusted)

    def test_bytes_that_are_not_utf8(self) -> None:
        """Each byte of a header, cookies too, is one character of the environment."""
        for headers in (b"Cookie: a=Z\xfcrich", b"Cookie: a=Z\xfcrich\r\nCookie: b=\xff\xfe"):
            line = b"GET /%FC HTTP/1.1\r\nHost: \xfc\r\nContent-Type: \xfc\r\n"
            self.assertEqual((b"200", b"hello"), self.body(line + headers + b"\r\n\r\n"))
            self.assertIn("a=Z\xfcrich", self.environ["HTTP_COOKIE"])
        self.assertEqual("a=Z\xfcrich; b=\xff\xfe", self.environ["HTTP_COOKIE"])
        self.assertEqual(0, self.resource.busy)

    def test_file_wrapper(self) -> None:
        """Files are read in large blocks."""
        path = Path(self.mktemp())
        path.write_bytes(bytes(100_000))

        def answer(start_response: Any) -> Any:
            start_response("200 OK", [])
            return self.environ["wsgi.file_wrapper"](path.open("rb"), 4096)

        self.answer = answer
        self.assertEqual(b"200", self.body()[0])
        found = self.environ["wsgi.file_wrapper"](path.open("rb"), 4096)
        self.addCleanup(found.close)
        self.assertEqual([65536, 34464], [len(block) for block in found])

    def test_write(self) -> None:
        """The write callable works, and the close method of the iterable is called."""
        closed = []

        class Answer(list[bytes]):
            def close(self) -> None:
                closed.append(True)

        def answer(start_response: Any) -> Any:
            start_response("200 OK", [("Content-Length", "5")])(b"hello")
            return Answer()

        self.answer = answer
        self.assertEqual((b"200", b"hello"), self.body())
        self.assertEqual([True], closed)

    def test_wrong_answers(self) -> None:
        """A mistake of the application is a 500, and logged; the answer does not show it."""

        def raises(start_response: Any) -> Any:
            raise ZeroDivisionError("secret")

        def text(start_response: Any) -> Any:
            start_response("200 OK", [])
            return ["text"]

        def no_status(start_response: Any) -> Any:
            return []

        def no_status_but_body(start_response: Any) -> Any:
            return [b"x"]

        def bad_status(start_response: Any) -> Any:
            start_response("fine", [("Content-Length", "1")])
            return [b"x"]

        for answer, error in (
            (raises, ZeroDivisionError),
            (text, TypeError),
            (no_status, RuntimeError),
            (no_status_but_body, RuntimeError),
            (bad_status, ValueError),
        ):
            self.answer = answer
            self.assertEqual((b"500", b"f\r\ninternal error\n\r\n0\r\n\r\n"), self.body())
            self.assertEqual(1, len(self.flushLoggedErrors(error)), answer)

    def test_characters_that_end_a_line(self) -> None:
        """A status and headers cannot add a line to the head; the answer is a 500, and logged."""
        for status, headers in (
            ("200 OK\r\nX: 1", []),
            ("200 OK\nX: 1", []),
            ("200 O\0K", []),
            ("200 O\x7fK", []),
            ("20", []),
            ("2000", []),
            ("101 Switching Protocols", []),
            ("20\u0660 OK", []),
            ("200 OK", [("X-A", "b\r\nX: 1")]),
            ("200 OK", [("X-A", "b\x01")]),
            ("200 OK", [("X-A\r\nX", "1")]),
            ("200 OK", [("X A", "1")]),
            ("200 OK", [("", "1")]),
            ("200 OK", [("Content-Length", "x")]),
            ("200 OK", [("Content-Length", "-1")]),
            ("200 OK", [("Content-Length", "1"), ("content-length", "1")]),
        ):

            def answer(
                start_response: Any, status: str = status, headers: Any = headers
            ) -> list[bytes]:
                start_response(status, headers)
                return [b"x"]

            self.answer = answer
            self.assertEqual(b"500", self.body()[0], (status, headers))
            self.assertEqual(1, len(self.flushLoggedErrors(ValueError)), (status, headers))

    def test_no_reason(self) -> None:
        """A status without its reason, as of a response of Django with an empty one, gets one."""
        for status, line in (
            ("200", b"200 OK"),
            ("404 ", b"404 Not Found"),
            ("299 ", b"299 Unknown"),
            ("200 So it is", b"200 So it is"),
        ):
            self.answer = lambda start_response, status=status: start_response(status, []) and []
            self.assertEqual(b"HTTP/1.1 " + line, self.ask().take().partition(b"\r\n")[0])

    def test_started_again(self) -> None:
        """Another status is taken until the first bytes, and a mistake after them."""

        def answer(start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [("X-A", "1")])
            start_response("404 Not Found", [])
            yield b"x"
            start_response("200 OK", [])

        self.answer = answer
        client = self.ask()
        self.assertTrue(client.closed)
        data = client.take()
        self.assertTrue(data.startswith(b"HTTP/1.1 404 "), data)
        self.assertNotIn(b"X-A", data)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))

    def test_headers_that_cannot_be_sent(self) -> None:
        """A header of other characters than those of Latin-1 is a 500."""

        def answer(start_response: Any) -> list[bytes]:
            start_response("200 OK", [("X-A", "\u0660")])
            return [b"x"]

        self.answer = answer
        for request in (GET, GET.replace(b"GET", b"HEAD")):
            self.assertEqual(b"500", self.body(request)[0])
            self.assertEqual(1, len(self.flushLoggedErrors(UnicodeEncodeError)))

    def test_headers_of_the_connection(self) -> None:
        """Headers that only the server may set are left out."""

        def answer(start_response: Any) -> list[bytes]:
            headers = [("Transfer-Encoding", "chunked"), ("Upgrade", "h2c"), ("X-A", "a\tb")]
            start_response("200 OK", [*headers, ("Content-Length", "1")])
            return [b"x"]

        self.answer = answer
        head = self.ask().take()
        self.assertTrue(head.endswith(b"\r\n\r\nx"), head)
        self.assertIn(b"X-A: a\tb\r\n", head)
        self.assertNotIn(b"Transfer-Encoding", head)
        self.assertNotIn(b"h2c", head)

    def test_connection(self) -> None:
        """An application may have the connection closed; any other wish about it is left out."""
        for value, closed in (("close", True), ("x, Close", True), ("keep-alive", False)):

            def answer(start_response: Any, value: str = value) -> list[bytes]:
                start_response("200 OK", [("Connection", value), ("Content-Length", "1")])
                return [b"x"]

            self.answer = answer
            client = self.ask()
            self.assertEqual(closed, client.closed)
            data = client.take()
            self.assertEqual(int(closed), data.lower().count(b"connection: "), data)
            self.assertEqual(closed, b"Connection: close\r\n" in data)

    def test_many_failures(self) -> None:
        """Failures are logged one by one, and then counted."""

        def answer(start_response: Any) -> list[bytes]:
            raise ZeroDivisionError

        self.answer = answer
        with capturedLogs() as events:
            for _ in range(60):
                self.ask()
            self.reactor.advance(61)
        self.assertEqual(50, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual(51, len(events))
        self.assertIn("ZeroDivisionError", events[-1]["line"])

    def test_breaks_half_way(self) -> None:
        """The connection ends without the end of the answer, and the iterable is closed."""

        def answer(start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            yield b"half"
            raise ZeroDivisionError

        self.answer = answer
        client = self.ask()
        self.assertTrue(client.closed)
        self.assertNotIn(b"\r\n0\r\n", client.take())
        self.flushLoggedErrors(ZeroDivisionError)

    def test_length(self) -> None:
        """No more than Content-Length is sent; an answer that is shorter ends the connection."""

        def long(start_response: Any) -> Any:
            start_response("200 OK", [("Content-Length", "3")])
            return [b"ab", b"cHTTP/1.1 200 smuggled"]

        def longer(start_response: Any) -> Any:
            start_response("200 OK", [("Content-Length", "3")])
            return [b"abc", b"d"]

        def short(start_response: Any) -> Any:
            start_response("200 OK", [("Content-Length", "30")])
            return [b"abc"]

        for answer in (long, longer):
            self.answer = answer
            with capturedLogs() as events:
                client = self.ask()
            self.assertTrue(client.take().endswith(b"\r\n\r\nabc"))
            self.assertFalse(client.closed)
            self.reactor.advance(61)
            self.assertEqual(["answer-too-long"], [each["event"] for each in events])
            self.resource.throttle.reset()
        self.answer = short
        with capturedLogs() as events:
            self.assertTrue(self.ask().closed)
        self.assertIn(27, [event.get("left") for event in events])

    def test_length_exact(self) -> None:
        """An answer as long as its Content-Length is made to its end."""
        made = []

        def answer(start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [("Content-Length", "3")])
            yield b"abc"
            yield b""
            made.append(True)

        self.answer = answer
        with capturedLogs() as events:
            self.assertEqual((b"200", b"abc"), self.body())
        self.assertEqual(([True], []), (made, events))

    def test_no_body(self) -> None:
        """HEAD and 304 have a Content-Length and no body."""
        self.assertEqual((b"200", b""), self.body(GET.replace(b"GET", b"HEAD")))

        def answer(start_response: Any) -> Any:
            start_response("304 Not Modified", [("Content-Length", "5")])
            return []

        self.answer = answer
        self.assertEqual((b"304", b""), self.body())

    def test_endless(self) -> None:
        """An iterable is closed after the head or Content-Length bytes, even if it has no end."""
        head = GET.replace(b"GET", b"HEAD")
        for request, status, headers in (
            (head, "200 OK", []),
            (head, "200 OK", [("Content-Length", "5")]),
            (GET, "204 No Content", [("Content-Length", "5")]),
            (GET, "304 Not Modified", []),
            (GET, "200 OK", [("Content-Length", "0")]),
        ):
            ended = []

            def answer(
                start_response: Any,
                status: str = status,
                headers: Any = headers,
                ended: list[bool] = ended,
            ) -> Iterator[bytes]:
                write = start_response(status, headers)
                write(b"data")
                try:
                    while True:
                        yield b"data"
                finally:
                    ended.append(True)

            self.answer = answer
            client = self.ask(request)
            found, _, body = client.take().partition(b"\r\n\r\n")
            self.assertEqual(b"", body)
            self.assertEqual([True], ended)
            self.assertFalse(client.closed)
            # RFC 9110, 8.6.
            length = bool(headers) and not status.startswith("204")
            self.assertEqual(length, b"Content-Length" in found)

    def _closing(self, close: Callable[[], object]) -> None:
        """Let the application answer with an iterable that has this ``close()``."""

        class Answer(list[bytes]):
            def close(self) -> None:
                close()

        def answer(start_response: Any) -> Any:
            start_response("200 OK", [])
            return Answer([b"hello"])

        self.answer = answer

    def test_slow_close(self) -> None:
        """The client has its answer before the iterable is closed; the thread is busy with that."""
        began, go = threading.Event(), threading.Event()
        self._closing(lambda: began.set() or go.wait(PATIENCE))  # type: ignore[func-returns-value]
        client = Socket(self.site)
        client.send(GET)
        self.assertTrue(began.wait(PATIENCE))
        self.reactor.run_until(lambda: client.protocol.requests == [])
        self.assertTrue(client.take().endswith(b"5\r\nhello\r\n0\r\n\r\n"))
        self.assertEqual(1, self.resource.busy)
        go.set()
        self.done()

    def test_close_fails(self) -> None:
        """A mistake in the ``close()`` of an answer is logged; the client has all of it."""

        def close() -> None:
            raise ZeroDivisionError

        self._closing(close)
        client = self.ask()
        self.assertTrue(client.take().endswith(b"5\r\nhello\r\n0\r\n\r\n"))
        self.assertFalse(client.closed)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual(0, self.resource.busy)

    def _pieces(self, count: int) -> list[int]:
        """Let the application answer with pieces of 64 KiB. Returns: Those that it has made."""
        made = []

        def answer(start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            for number in range(count):
                made.append(number)
                yield bytes(65536)

        self.answer = answer
        return made

    def _slow_client(self) -> Socket:
        client = Socket(self.site)
        client.reading = False
        client.send(GET)
        return client

    def test_spooled(self) -> None:
        """An answer waits for a client that does not read, and its thread does not."""
        self._pieces(4)
        client = self._slow_client()
        self.done()
        self.assertEqual(0, self.resource.busy)
        self.assertGreater(self.spool.held, 0)
        self.assertEqual((b"200", b"hello"), self._hello_again())
        self.reactor.advance(29)
        client.read()
        self.assertEqual(0, self.spool.held)
        self.assertEqual(4 * 65536, client.take().count(0))
        self.assertFalse(client.closed)

    def _hello_again(self) -> tuple[bytes, bytes]:
        self.answer = self._hello
        return self.body()

    def test_spooled_for_a_client_that_left(self) -> None:
        """The bytes that wait are forgotten."""
        self._pieces(4)
        client = self._slow_client()
        self.done()
        client.leave()
        self.assertEqual(0, self.spool.held)

    def test_slow_client(self) -> None:
        """With a full spool the application waits, and goes on when the client reads."""
        made = self._pieces(100)
        client = self._slow_client()
        self.reactor.run_until(lambda: len(made) == 6)
        # It waits; the clock does not.
        self.reactor.advance(29)
        self.assertLessEqual(self.spool.held, self.max_spool)
        self.assertEqual(6, len(made))
        client.read()
        self.done()
        self.assertEqual(100, len(made))
        self.assertGreater(len(client.take()), 6_553_600)
        self.reactor.advance(29)
        self.assertFalse(client.closed)

    def test_large_piece(self) -> None:
        """A piece that is larger than the spool arrives whole."""

        def answer(start_response: Any) -> Any:
            start_response("200 OK", [("Content-Length", "1000000")])
            return [b"x" * 1_000_000]

        self.answer = answer
        client = self._slow_client()
        self.reactor.run_until(lambda: client.protocol._waitingForTransport)
        client.read()
        self.done()
        self.assertEqual(1_000_000, client.take().count(b"x"))

    def test_spool_of_others(self) -> None:
        """With a spool that others have filled, an answer of any size passes its window."""
        self.assertTrue(self.spool.take("198.51.100.1", self.max_spool))

        def answer(start_response: Any) -> Any:
            start_response("200 OK", [("Content-Length", "300000")])
            return [b"x" * 100_000, b"x" * 32768, b"x" * 167_232]

        self.answer = answer
        self.assertEqual(300_000, self.ask().take().count(b"x"))
        self.spool.release("198.51.100.1", self.max_spool)

    def test_client_that_never_reads(self) -> None:
        """After 30 s its connection is aborted, and the thread is free."""
        self._pieces(1000)
        client = self._slow_client()
        self.reactor.run_until(lambda: client.protocol._waitingForTransport)
        self.reactor.advance(29.9)
        self.assertFalse(client.aborted)
        with capturedLogs() as events:
            self.reactor.advance(0.1)
        self.assertTrue(client.aborted)
        self.assertEqual(["the client does not read"], [event["reason"] for event in events])
        self.done()

    def test_client_leaves(self) -> None:
        """An answer for a client that left is dropped; a request that still waits is not begun."""
        began, go = threading.Event(), threading.Event()
        calls = []

        def answer(start_response: Any) -> Any:
            calls.append(1)
            began.set()
            go.wait(PATIENCE)
            start_response("200 OK", [])
            return [b"x", b"y"]

        self.answer = answer
        clients = [Socket(self.site), Socket(self.site)]
        for client in clients:
            client.send(GET)
        self.assertTrue(began.wait(PATIENCE))
        for client in clients:
            client.leave()
        go.set()
        self.done()
        self.assertEqual([1], calls)

    def test_reads_for_a_client_that_left(self) -> None:
        """The application can read a body whose client has left; it is closed afterwards."""
        began, go = threading.Event(), threading.Event()
        read = []

        def answer(start_response: Any) -> Any:
            began.set()
            go.wait(PATIENCE)
            read.append(len(self.environ["wsgi.input"].read()))
            start_response("200 OK", [])
            return []

        self.answer = answer
        clients = [Socket(self.site), Socket(self.site)]
        for client in clients:
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n")
            client.send(bytes(60_000))
        self.assertTrue(began.wait(PATIENCE))
        self.assertEqual(120_000, self.spool.held)
        for client in clients:
            client.leave()
        # The other one was not begun.
        self.assertEqual(60_000, self.spool.held)
        go.set()
        self.done()
        self.assertEqual([60_000], read)
        self.assertEqual(0, self.spool.held)

    def test_fails_for_a_client_that_left(self) -> None:
        """A mistake of the application is logged although the client left."""
        began, go = threading.Event(), threading.Event()

        def answer(start_response: Any) -> Any:
            began.set()
            go.wait(PATIENCE)
            raise ZeroDivisionError

        self.answer = answer
        client = Socket(self.site)
        client.send(GET)
        self.assertTrue(began.wait(PATIENCE))
        client.leave()
        go.set()
        self.done()
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_next_answer_for_a_slow_client(self) -> None:
        """While an answer is unread, the next one on the connection waits too."""

        def answer(start_response: Any) -> Any:
            start_response("200 OK", [("Content-Length", "200000")])
            return [bytes(200_000)]

        self.answer = answer
        client = Socket(self.site)
        client.reading = False
        client.send(GET + GET)
        self.done()
        self.assertFalse(client.closed)
        client.read()
        self.reactor.advance(0)
        self.done()
        self.assertGreater(len(client.take()), 400_000)


class BlockedTests(WSGICase):
    """Threads that wait for slow clients are freed when others wait for a thread."""

    threads, queue, max_spool = 2, 8, 65536

    def setUp(self) -> None:
        """Two clients that do not read a large page."""
        super().setUp()
        self.made = [0, 0]
        self.clients: list[Socket] = []
        for number in range(2):
            self.answer = self._endless(number)
            client = Socket(self.site)
            client.reading = False
            client.send(GET)
            self.clients.append(client)
            self.reactor.run_until(lambda: len(self.resource._blocked) == len(self.clients))
        self.answer = self._hello

    def _endless(self, number: int) -> Any:
        def answer(start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            while True:
                yield bytes(65536)

        return answer

    def _leave(self) -> None:
        for client in self.clients:
            client.leave()
        self.done()

    def test_nobody_waits(self) -> None:
        """They are not disturbed while nobody else waits."""
        self.reactor.advance(29)
        self.assertEqual([False, False], [client.aborted for client in self.clients])
        self._leave()

    def test_others_wait(self) -> None:
        """One of them is dropped half a second after another request had to wait."""
        other = Socket(self.site)
        other.send(GET)
        self.reactor.advance(0.4)
        self.assertNotIn(True, [client.aborted for client in self.clients])
        with capturedLogs() as events:
            self.reactor.advance(0.1)
        self.assertEqual(1, [client.aborted for client in self.clients].count(True))
        self.assertIn("others wait", events[-1]["reason"])
        self.reactor.run_until(lambda: b"hello" in other.received)
        self.reactor.advance(5)
        self.assertEqual(1, [client.aborted for client in self.clients].count(True))
        self._leave()

    def test_slowest(self) -> None:
        """It is the slower one; one that is not slow may go on."""
        self.reactor.advance(1)
        self._take(self.clients[0], 300_000)
        for _ in range(2):
            Socket(self.site).send(GET)
        self.reactor.advance(0.5)
        self.assertEqual([False, True], [client.aborted for client in self.clients])
        self._take(self.clients[0], 300_000)
        self.reactor.advance(0.5)
        self.assertFalse(self.clients[0].aborted)
        self._leave()

    def _take(self, client: Socket, size: int) -> None:
        """Let a client read some bytes, and then no more."""
        end = len(client.received) + size
        while len(client.received) < end:
            client.read()
            client.reading = False
            self.reactor.take()


class OneThreadTests(WSGICase):
    """The only thread is freed of a slow client, and not of a fast one."""

    threads, queue = 1, 8

    def test_rates(self) -> None:
        """A client that takes a megabyte a second keeps it, however many requests wait."""
        for rate, is_dropped in ((1_000_000.0, False), (1000.0, True)):
            client = mock.Mock(key="192.0.2.1")
            with mock.patch.object(WSGIResponse, "rate", lambda each: each.measured):
                client.measured, client.rate.return_value = rate, rate
                self.resource._blocked = {client}
                with mock.patch.object(self.resource, "_turns", [client]):
                    self.resource._relieve()
            self.assertEqual(is_dropped, client.drop.called)
            self.resource._relief.cancel()
        self.resource._blocked = set()
        self.resource._relief = None
        self.done()


class CheckTests(SynchronousTestCase):
    """A version of Twisted that cannot be used is named at start."""

    def test_installed(self) -> None:
        """The installed version can be used."""
        check_twisted()

    def test_missing(self) -> None:
        """The text of the error names what is missing."""

        class Response:
            _requestFinished = _finished = _log = None

        for classes, missing in (
            ({"channel": Response}, "Response._waitingForTransport"),
            ({"response": Response}, "Response._sendResponseHeaders"),
        ):
            text = str(self.assertRaises(ConfigError, check_twisted, **classes))
            expected = rf"\Awsredis cannot work with Twisted [0-9.]+\w*: {missing} is missing\Z"
            self.assertRegex(text, expected)
