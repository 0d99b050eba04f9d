"""Tests of answers of a WSGI application, on a clock and sockets in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.support.children import PATIENCE
from tests.support.memory_gateway import Socket
from tests.unit.web.case import GET, WSGICase
from wsredis.errors import ConfigError
from wsredis.web.wsgi import check_twisted


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
            (no_status, AttributeError),
            (no_status_but_body, RuntimeError),
            (bad_status, ValueError),
        ):
            self.answer = answer
            self.assertEqual((b"500", b"f\r\ninternal error\n\r\n0\r\n\r\n"), self.body())
            self.assertEqual(1, len(self.flushLoggedErrors(error)), answer)

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
            return [b"abc", b"HTTP/1.1 200 smuggled"]

        def short(start_response: Any) -> Any:
            start_response("200 OK", [("Content-Length", "30")])
            return [b"abc"]

        self.answer = long
        client = self.ask()
        self.assertTrue(client.take().endswith(b"\r\n\r\nabc"))
        self.assertFalse(client.closed)
        self.answer = short
        with capturedLogs() as events:
            self.assertTrue(self.ask().closed)
        self.assertIn(27, [event.get("left") for event in events])

    def test_no_body(self) -> None:
        """HEAD and 304 have a Content-Length and no body."""
        self.assertEqual((b"200", b""), self.body(GET.replace(b"GET", b"HEAD")))

        def answer(start_response: Any) -> Any:
            start_response("304 Not Modified", [("Content-Length", "5")])
            return []

        self.answer = answer
        self.assertEqual((b"304", b""), self.body())

    def test_slow_client(self) -> None:
        """The application waits for a client that does not read, and goes on when it does."""
        made = []

        def answer(start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            for number in range(100):
                made.append(number)
                yield bytes(65536)

        self.answer = answer
        client = Socket(self.site)
        client.reading = False
        client.send(GET)
        self.reactor.run_until(lambda: len(made) == 6)
        # It waits; the clock does not.
        self.reactor.advance(29)
        self.assertEqual(6, len(made))
        client.read()
        self.done()
        self.assertEqual(100, len(made))
        self.assertGreater(len(client.take()), 6_553_600)
        self.reactor.advance(29)
        self.assertFalse(client.closed)

    def test_client_that_never_reads(self) -> None:
        """After 30 s its connection is aborted, and the thread is free."""

        def answer(start_response: Any) -> Iterator[bytes]:
            start_response("200 OK", [])
            while True:
                yield bytes(65536)

        self.answer = answer
        client = Socket(self.site)
        client.reading = False
        client.send(GET)
        self.reactor.run_until(lambda: client.protocol._waitingForTransport)
        self.reactor.advance(29.9)
        self.assertFalse(client.aborted)
        self.reactor.advance(0.1)
        self.assertTrue(client.aborted)
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
        self.assertGreater(len(client.take()), 400_000)


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
