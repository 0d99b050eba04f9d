"""Child processes for integration and functional tests: they announce themselves, nobody sleeps."""

from __future__ import annotations

import os
import re
import shutil
import signal as signals
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.require import find_redis_server

__all__ = [
    "Child",
    "Gateway",
    "RedisServer",
    "ReservedPort",
    "clean_environment",
    "reserve_port",
    "until",
]

#: Seconds that anything may take before the test fails. A failing test waits so long, no other.
PATIENCE = 60.0

_ROOT = Path(__file__).parents[2]


class ReservedPort:
    """
    A TCP port on localhost that nobody else is given until `close`.

    It refuses connections until a server with that number listens on it: the kernel lets a
    second socket bind a port that is only bound, if both have SO_REUSEADDR, as servers do.

    Attributes:
        number: The port.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    def close(self) -> None:
        """Let others have the port. Harmless when done twice."""
        self._socket.close()


def reserve_port(case: SynchronousTestCase) -> int:
    """Reserve a port until the test is over; see `ReservedPort`."""
    port = ReservedPort()
    case.addCleanup(port.close)
    return port.number


class Child:
    """
    A process whose output is read as it comes.

    Args:
        user: Number of the user and the group as whom it runs. If None, ours.

    Attributes:
        output: All that it wrote so far, standard output and error together.
    """

    def __init__(
        self,
        words: list[str],
        *,
        env: dict[str, str] | None = None,
        cwd: str | None = None,
        user: int | None = None,
    ) -> None:
        self.output = ""
        self._changed = threading.Condition()
        self._closed = False
        self.process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self.process.pid

    def wait_for(self, pattern: str, *, since: int = 0, timeout: float = PATIENCE) -> re.Match[str]:
        """
        Wait until the output from position *since* on matches the regular expression.

        Raises:
            AssertionError: It did not in time, or the process ended before.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                match = re.search(pattern, self.output[since:])
                if match is not None:
                    return match
                left = deadline - time.monotonic()
                if self._closed or left <= 0:
                    why = "ended" if self._closed else "did not say so in time"
                    raise AssertionError(f"waiting for {pattern!r}: the child {why}\n{self.output}")
                self._changed.wait(left)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for the end, and for the last of the output. Returns: The status."""
        status = self.process.wait(timeout)
        self._reader.join(timeout)
        return status

    def stop(self, number: int = signals.SIGTERM) -> int:
        """End it, if it still runs. Returns: The status."""
        if self.process.poll() is None:
            self.process.send_signal(signals.SIGCONT)
            self.process.send_signal(number)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
        status = self.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in iter(self.process.stdout.readline, b""):
            with self._changed:
                self.output += line.decode("utf-8", "replace")
                self._changed.notify_all()
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class RedisServer:
    """
    A redis-server child on a UNIX socket, that can be stopped, frozen and started again.

    Args:
        port: A TCP port on which it listens too. If 0, it does not.
        tcp: Listen on a TCP port that nobody else uses.
        options: More options of redis-server, as words.

    Attributes:
        path: The UNIX socket.
        url: The URL of it for ``--redis``.
        port: The TCP port. 0 if there is none.
    """

    def __init__(self, *options: str, port: int = 0, tcp: bool = False) -> None:
        self.directory = tempfile.mkdtemp(prefix="wsredis-test-")
        self.path = f"{self.directory}/redis.sock"
        self.url = f"unix://{self.path}"
        self._reserved = ReservedPort() if tcp else None
        self.port = port if self._reserved is None else self._reserved.number
        self._options = options
        self._child: Child | None = None
        self.start()

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        executable = find_redis_server()
        assert executable is not None
        self._child = Child(
            [
                executable,
                *("--port", str(self.port), "--unixsocket", self.path, "--dir", self.directory),
                *("--save", "", "--appendonly", "no", *self._options),
            ]
        )
        self._child.wait_for("eady to accept connections")

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._child is not None
        self._child.stop(signals.SIGKILL)

    def freeze(self) -> None:
        """It stays connected, and does nothing."""
        assert self._child is not None
        self._child.signal(signals.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        assert self._child is not None
        self._child.signal(signals.SIGCONT)

    def stop(self) -> None:
        """End it, and remove its directory."""
        assert self._child is not None
        self._child.stop()
        if self._reserved is not None:
            self._reserved.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def version(self) -> int:
        """The major version."""
        info = self.command("INFO", "server")
        assert isinstance(info, dict)
        return int(info["redis_version"].split(".")[0])

    def channels(self) -> list[bytes]:
        """Return the channels that have a subscriber, without those of the gateways themselves."""
        found = self.command("PUBSUB", "CHANNELS")
        assert isinstance(found, list)
        return sorted(each for each in found if b"wsredis-proof:" not in each)

    def command(self, *words: str | bytes | int) -> object:
        """Send one command on a connection of its own. Returns: The reply; errors are raised."""
        import redis

        with redis.Redis(unix_socket_path=self.path, socket_timeout=PATIENCE) as client:
            return client.execute_command(*words)

    def pipeline(self, *commands: tuple[str | bytes | int, ...]) -> list[object]:
        """Send many commands in one write, not in a transaction."""
        import redis

        with redis.Redis(unix_socket_path=self.path, socket_timeout=PATIENCE) as client:
            pipe = client.pipeline(transaction=False)
            for words in commands:
                pipe.execute_command(*words)
            replies: list[object] = pipe.execute()
            return replies


class Gateway:
    """
    ``twistd -n wsredis`` as a child.

    Args:
        options: Arguments after ``wsredis``. Without a port it listens on a free local one, and
            without a time limit for handshakes a busy machine has a minute for each.
        environ: Added to the environment.
        ready: Wait until it is connected to Redis.
        twistd: Arguments for twistd itself.

    Attributes:
        port: The TCP port on which it listens. If 0, there is none.
        child: The process.
    """

    def __init__(
        self,
        *options: str,
        environ: dict[str, str] | None = None,
        ready: bool = True,
        twistd: tuple[str, ...] = (),
    ) -> None:
        words = list(options)
        if not {"--port", "--tls-port"} & set(words):
            words += ["--port", "tcp:0:interface=127.0.0.1:backlog=1024"]
        if "--handshake-timeout" not in words:
            words += ["--handshake-timeout", str(PATIENCE)]
        self.directory = tempfile.mkdtemp(prefix="wsredis-test-")
        self.child = Child(
            [
                *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()"),
                *(*twistd, "-n", "--pidfile=", "wsredis", *words),
            ],
            env=clean_environment(environ),
            cwd=self.directory,
        )
        self.port = 0
        try:
            listening = self.child.wait_for(r"listening on (?:\S*:(\d+)\b|unix:)")
            self.port = int(listening[1] or 0)
            if ready:
                self.child.wait_for("connected to ")
        except AssertionError:
            self.stop()
            raise

    def url(self, path: str = "/ws/test?subscribe-broadcast", scheme: str = "ws") -> str:
        """The URL of a path on this gateway."""
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    @property
    def log(self) -> str:
        """All that it logged so far."""
        return self.child.output

    def memory(self) -> int:
        """Resident memory in bytes."""
        pages = Path(f"/proc/{self.child.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        """The number of its open file descriptors."""
        return len(os.listdir(f"/proc/{self.child.pid}/fd"))

    def stop(self, number: int = signals.SIGTERM) -> int:
        """End it. Returns: Its status."""
        status = self.child.stop(number)
        shutil.rmtree(self.directory, ignore_errors=True)
        return status


def clean_environment(more: dict[str, str] | None = None) -> dict[str, str]:
    """
    The environment of a child: ours without settings of our libraries, the checkout first.

    The commands of the environment that runs the tests, such as wsredis, are found by their names.
    """
    ours = ("WSREDIS_", "DJANGO_", "TEST_PROJECT", "PYTHON")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), environ.get("PYTHONPATH")]))
    commands = str(Path(sys.executable).parent)
    environ["PATH"] = os.pathsep.join(filter(None, [commands, environ.get("PATH")]))
    return {**environ, **(more or {})}


def until(condition: Callable[[], object], timeout: float = PATIENCE) -> None:
    """
    Wait for something that announces itself nowhere, such as another process' open descriptors.

    Raises:
        AssertionError: It did not become true in time.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it did not become true in time")
        time.sleep(0.02)
