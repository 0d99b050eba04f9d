"""Tests of a WSGI application as a resource: how it is found, and its threads."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.support.children import PATIENCE
from tests.support.memory_gateway import Socket
from tests.unit.web.case import GET, WSGICase
from wsredis.errors import ConfigError
from wsredis.web.application import load_application


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
        name = self.write("app = divmod")
        self.assertIs(divmod, load_application(f"{name}:app"))
        self.assertEqual(str(self.directory), sys.path[0])

    def test_refused(self) -> None:
        """The text of the error names the option."""
        error = self.assertRaises(ConfigError, load_application, "wsredis_nosuch:app")
        self.assertIn("wsgi: 'wsredis_nosuch:app' cannot be used: ", str(error))

    def test_no_wsgi(self) -> None:
        """An object that is no WSGI application is refused at start, not at the first request."""
        for text, reason in (
            ("async def app(scope, receive, send): ...", "it is an ASGI application"),
            ("async def app(environ, start_response): ...", "it is an ASGI application"),
            ("class A:\n async def __call__(self, a, b, c): ...\napp = A()", "ASGI application"),
            ("def app(scope): ...", "takes two arguments, environ and start_response"),
            ("def app(environ, start_response, more): ...", "takes two arguments"),
            (
                "class A:\n def __call__(self, a, b): ...\nA.__module__ = 'ws4redis.x'\napp = A()",
                "the WebSocket server of django-websocket-redis",
            ),
            (
                "def app(environ, start_response): ...\napp.__module__ = 'ws4redis.x'",
                "the WebSocket server of django-websocket-redis",
            ),
        ):
            error = self.assertRaises(ConfigError, load_application, f"{self.write(text)}:app")
            self.assertIn(reason, str(error))
            self.assertNotIn("\n", str(error))

    def test_wsgi(self) -> None:
        """Anything that takes the two arguments may be an application."""
        for text in (
            "def app(environ, start_response): ...",
            "def app(*args, **kwargs): ...",
            "app = lambda environ, start_response, more=1: []",
            "class A:\n def __call__(self, a, b): ...\napp = A()",
            "class app:\n def __init__(self, a, b): ...",
            "import functools\napp = functools.partial(lambda a, b, c: [], 1)",
            "app = type",
        ):
            load_application(f"{self.write(text)}:app")

    def test_static_files(self) -> None:
        """Static files are served too, only under Django with DEBUG and staticfiles."""
        name = self.write("app = divmod")
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
                self.assertEqual(wrapped, load_application(f"{name}:app") is not divmod)
        with patch.dict(sys.modules):
            sys.modules.pop("django.conf", None)
            self.assertIs(divmod, load_application(f"{name}:app"))


class TurnsTests(WSGICase):
    """Addresses have their turns."""

    queue = 8

    def test_turns(self) -> None:
        """A request does not wait for all those that another address has sent before."""
        began, go = threading.Event(), threading.Event()
        self.addCleanup(go.set)
        calls = []

        def answer(start_response: Any) -> Any:
            began.set()
            go.wait(PATIENCE)
            calls.append(self.environ["PATH_INFO"])
            return self._hello(start_response)

        self.answer = answer
        for path, host in (("/1", "a"), ("/2", "a"), ("/3", "a"), ("/4", "b"), ("/5", "a")):
            client = Socket(self.site)
            client.protocol.address = host
            client.send(GET.replace(b"/x", path.encode()))
            self.assertTrue(began.wait(PATIENCE))
        go.set()
        self.done()
        self.assertEqual(["/1", "/2", "/4", "/3", "/5"], calls)

    def test_share(self) -> None:
        """One address does not get all places of the queue."""
        go = threading.Event()
        self.addCleanup(go.set)

        def answer(start_response: Any) -> Any:
            go.wait(PATIENCE)
            return self._hello(start_response)

        self.answer = answer
        answers = []
        for host in "aaaaaaaab":
            client = Socket(self.site)
            client.protocol.address = host
            client.send(GET)
            answers.append(client.take()[9:12])
        self.assertEqual([b""] * 6 + [b"429", b"429", b""], answers)
        go.set()
        self.done()

    def test_client_leaves(self) -> None:
        """A request whose client leaves before it has a thread keeps no place."""
        began, go = self._hold_threads()
        clients = [Socket(self.site) for _ in range(4)]
        for client in clients:
            client.send(GET)
            self.assertTrue(began.wait(PATIENCE))
        for client in clients:
            client.leave()
        self.assertEqual(1, self.resource.busy)
        go.set()
        self.done()

    def test_clients_that_leave_again_and_again(self) -> None:
        """They let no more calls of threads wait than there are threads."""
        began, go = self._hold_threads()
        Socket(self.site).send(GET)
        self.assertTrue(began.wait(PATIENCE))
        for _ in range(9):
            client = Socket(self.site)
            client.send(GET)
            client.leave()
        self.assertEqual(1, self.resource._pool._team.statistics().backloggedWorkCount)
        last = Socket(self.site)
        last.send(GET)
        go.set()
        self.done()
        self.assertTrue(last.take().endswith(b"hello"))

    def _hold_threads(self) -> tuple[threading.Event, threading.Event]:
        """Let pages wait. Returns: Set when the first one has begun; to be set to let them end."""
        began, go = threading.Event(), threading.Event()
        self.addCleanup(go.set)

        def answer(start_response: Any) -> Any:
            began.set()
            go.wait(PATIENCE)
            return self._hello(start_response)

        self.answer = answer
        return began, go


class ThreadTests(WSGICase):
    """Each address has a share of the threads."""

    threads, queue = 4, 20

    def test_share(self) -> None:
        """Slow pages for one address do not take the last thread."""
        go = threading.Event()
        self.addCleanup(go.set)

        def answer(start_response: Any) -> Any:
            go.wait(PATIENCE)
            return self._hello(start_response)

        self.answer = answer
        for _ in range(8):
            Socket(self.site).send(GET)
        self.answer = self._hello
        other = Socket(self.site)
        other.protocol.address = "other"
        other.send(GET)
        self.reactor.run_until(lambda: b"hello" in other.received and self.resource.busy == 8)
        go.set()
        self.done()


class WSGIResourceTests(WSGICase):
    """Requests wait for a thread, and not more of them than the limit."""

    def test_answer(self) -> None:
        """A thread answers, and is free for the next request."""
        self.assertEqual((b"200", b"hello"), self.body())
        self.assertEqual(0, self.resource.busy)
        self.assertEqual((b"200", b"hello"), self.body())

    def test_fails_on_its_way(self) -> None:
        """A request that does not get as far as a thread keeps no place."""
        self.patch(self.resource._pool, "callInThread", None)
        for _ in range(3):
            self.assertIn(b" 500 ", self.ask().take())
            self.assertEqual(1, len(self.flushLoggedErrors(TypeError)))
        self.assertEqual(0, self.resource.busy)

    def test_taken_by_a_busy_thread(self) -> None:
        """A request without a thread of its own is answered if a busy one has taken it."""
        turns = self.resource._turns

        def refuse(*words: object) -> None:
            response = turns.take()
            assert response is not None
            response.run()
            turns.finished(response)
            raise RuntimeError("can't start new thread")

        self.patch(self.resource._pool, "callInThread", refuse)
        self.assertTrue(self.ask().take().endswith(b"hello"))
        self.assertEqual(0, self.resource.busy)

    def test_too_many(self) -> None:
        """One request more than may wait is a 503; a stop does not wait for a thread."""
        go = threading.Event()
        self.addCleanup(go.set)

        def answer(start_response: Any) -> Any:
            go.wait(PATIENCE)
            return []

        self.answer = answer
        for _ in range(2):
            Socket(self.site).send(GET)
        client = Socket(self.site)
        client.send(GET)
        answered = client.take()
        self.assertIn(b" 503 ", answered)
        self.assertIn(b"Retry-After: 2", answered)
        with capturedLogs() as events:
            self._stop()
        self.assertEqual([2], [event["count"] for event in events])


class PatchedTests(WSGICase):
    """An application whose page replaces Python's threads."""

    def test_reported(self) -> None:
        """The log says so, once."""
        self.patch(sys, "modules", dict(sys.modules))

        def answer(start_response: Any) -> list[bytes]:
            sys.modules["gevent.monkey"] = SimpleNamespace(  # type: ignore[assignment]
                is_module_patched=lambda name: name == "threading"
            )
            start_response("200 OK", [])
            return []

        with capturedLogs() as events:
            self.ask()
            self.assertEqual([], events)
            self.answer = answer
            for _ in range(2):
                self.ask()
            self.reactor.run_until(lambda: events)
        self.assertEqual(
            [("page-patched", "gevent")], [(each["event"], each["library"]) for each in events]
        )
