"""Tests of a WSGI application in threads, on a clock and sockets in memory."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.support.children import PATIENCE
from tests.support.memory_gateway import Socket
from tests.support.threads import ThreadReactor
from wsredis.errors import ConfigError
from wsredis.web.site import GatewaySite
from wsredis.web.wsgi import WSGIResource, check_twisted, load_application

_GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"


class LoadTests(SynchronousTestCase):
    """Applications are found by name."""

    def setUp(self) -> None:
        """A directory with modules."""
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.patch(sys, "path", [*sys.path])
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.directory)

    def write(self, text: str) -> str:
        """Write a module. Returns: Its name, which nobody used before."""
        name = f"wsredis_test_{self.id().rpartition('.')[2]}_{len(os.listdir())}"
        (self.directory / f"{name}.py").write_text(text)
        self.addCleanup(sys.modules.pop, name, None)
        return name

    def test_working_directory(self) -> None:
        """Modules of the working directory are found before all others."""
        name = self.write("app = len")
        self.assertIs(len, load_application(f"{name}:app"))
        self.assertEqual(str(self.directory), sys.path[0])

    def test_refused(self) -> None:
        """The text of the error names the option."""
        error = self.assertRaises(ConfigError, load_application, "wsredis_nosuch:app")
        self.assertIn("wsgi: 'wsredis_nosuch:app' cannot be used: ", str(error))

    def test_static_files(self) -> None:
        """Static files are served too, only under Django with DEBUG and staticfiles."""
        name = self.write("app = len")
        handlers = SimpleNamespace(StaticFilesHandler=lambda application: (application,).__len__)
        for configured, debug, apps, wrapped in (
            (False, True, ["django.contrib.staticfiles"], False),
            (True, False, ["django.contrib.staticfiles"], False),
            (True, True, [], False),
            (True, True, ["django.contrib.staticfiles"], True),
        ):
            settings = SimpleNamespace(configured=configured, DEBUG=debug, INSTALLED_APPS=apps)
            modules: dict[str, Any] = {
                "django.conf": SimpleNamespace(settings=settings),
                "django.contrib.staticfiles.handlers": handlers,
            }
            with patch.dict(sys.modules, modules):
                self.assertEqual(wrapped, load_application(f"{name}:app") is not len)
        with patch.dict(sys.modules):
            sys.modules.pop("django.conf", None)
            self.assertIs(len, load_application(f"{name}:app"))


class WSGIResourceTests(SynchronousTestCase):
    """Requests and answers."""

    threads, queue = 1, 1

    def setUp(self) -> None:
        """A site whose application is chosen by the test."""
        self.reactor = ThreadReactor()
        self.environ: dict[str, Any] = {}
        self.answer: Callable[..., Any] = self._hello
        self.resource = WSGIResource(self.reactor, self._application, self.threads, self.queue)
        self.site = GatewaySite(self.reactor, "/ws/", lambda: True, None, self.resource)
        self.stopped = False
        self.before = sys.getswitchinterval()
        self.resource.start()
        self.addCleanup(self._stop)

    def _stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            self.resource.stop()
        self.assertEqual(self.before, sys.getswitchinterval())

    def _application(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.environ = environ
        return self.answer(start_response)

    def _hello(self, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "5")])
        return [b"he", b"", b"llo"]

    def done(self) -> None:
        """Let the application and the reactor come to an end."""
        self.reactor.run_until(lambda: not self.resource.busy)

    def ask(self, request: bytes = _GET) -> Socket:
        """Send a request and have it answered."""
        client = Socket(self.site)
        client.send(request)
        self.done()
        return client

    def body(self, request: bytes = _GET) -> tuple[bytes, bytes]:
        """Returns: Status and body of the answer."""
        head, _, body = self.ask(request).take().partition(b"\r\n\r\n")
        return head.split(b" ", 2)[1], body

    def test_page(self) -> None:
        """The pieces of an answer are sent, and the connection stays open."""
        client = self.ask()
        self.assertTrue(client.take().endswith(b"\r\n\r\nhello"))
        self.assertFalse(client.closed)
        client.send(_GET)
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
        self.assertEqual((b"200", b""), self.body(_GET.replace(b"GET", b"HEAD")))

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
        client.send(_GET)
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
        client.send(_GET)
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
            client.send(_GET)
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
        client.send(_GET)
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
        client.send(_GET + _GET)
        self.done()
        self.assertFalse(client.closed)
        client.read()
        self.assertGreater(len(client.take()), 400_000)

    def test_too_many(self) -> None:
        """One request more than may wait is a 503; a stop does not wait for a thread."""
        go = threading.Event()
        self.addCleanup(go.set)

        def answer(start_response: Any) -> Any:
            go.wait(PATIENCE)
            return []

        self.answer = answer
        for _ in range(2):
            Socket(self.site).send(_GET)
        client = Socket(self.site)
        client.send(_GET)
        answered = client.take()
        self.assertIn(b" 503 ", answered)
        self.assertIn(b"Retry-After: 2", answered)
        with capturedLogs() as events:
            self._stop()
        self.assertEqual([2], [event["count"] for event in events])


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
            expected = rf"\ATwisted [0-9.]+\w* cannot be used: {missing} is missing\Z"
            self.assertRegex(text, expected)
