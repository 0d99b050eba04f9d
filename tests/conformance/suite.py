"""
The cases of the Autobahn test suite against a gateway of its own.

Two programs run them. ``kosoku`` has the cases of the suite and a runner for a Python of today; its
cases 12 and 13, of compression, fail by themselves. ``wstest`` is the suite itself, and needs
Python 2.7.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from tests.support.children import Child, Gateway, RedisServer, clean_environment

__all__ = ["Result", "Server"]

#: Cases that an echo through Redis fails, since empty messages are neither published nor delivered.
_EMPTY = ("1.1.1", "1.2.1", "6.1.1", "6.1.2", "9.7.1", "9.8.1")

#: Among these it fails the cases that send text as a binary message: Redis carries no opcode.
_OPCODE = ("9.4.*", "12.2.*", "12.3.*", "12.5.*")

#: Nothing but the cases decides when a connection ends, and no ping comes between their frames.
_SETTINGS = {
    "max-message": 1 << 25,
    "max-frame": 1 << 25,
    "max-queue": 1 << 26,
    "max-rate": 10**9,
    "max-rate-per-address": 10**9,
    "handshake-rate": 10**6,
    "ping-interval": 600,
    "expire": 0,
}

_ROOT = Path(__file__).parents[2]

_PORT = "tcp:0:interface=127.0.0.1"

#: The verdicts with which a case has passed.
_GOOD = ("OK", "NON-STRICT", "INFORMATIONAL")

#: The verdict of cases about compression where the server does not compress.
_NOT_OFFERED = "UNIMPLEMENTED"


class Result(NamedTuple):
    """
    The verdict on one case.

    Attributes:
        case: Its number, as ``5.19``.
        behavior: The verdict on the messages.
        closing: The verdict on the end of the connection.
    """

    case: str
    behavior: str
    closing: str

    @property
    def has_passed(self) -> bool:
        """Tells whether the server does as the case wants."""
        return self.behavior in _GOOD and self.closing in _GOOD

    @property
    def needs_handler(self) -> bool:
        """Tells whether the case may fail where messages go through Redis."""
        return any(fnmatchcase(self.case, pattern) for pattern in (*_EMPTY, *_OPCODE))

    @property
    def is_of_no_use(self) -> bool:
        """Tells whether the case is about a thing that the server does not offer."""
        return self.behavior == _NOT_OFFERED


class Server:
    """
    A server that sends each message back.

    Args:
        is_compressing: Whether it is started with ``--compress``.
        is_through_redis: Whether messages go to Redis and come back, as those of a client that
            hears and publishes on one channel and asks for its echo. If False, a handler in an
            embedding program sends them back, or an application.
        is_asgi: Whether an ASGI application sends them back.

    Attributes:
        url: The start of its URLs, without a facility.
        child: The process.
    """

    def __init__(
        self, is_compressing: bool, is_through_redis: bool = False, is_asgi: bool = False
    ) -> None:
        self._redis = RedisServer()
        settings = {"redis": self._redis.url, "port": _PORT, **_SETTINGS}
        self._gateway: Gateway | None = None
        if is_through_redis or is_asgi:
            if is_asgi:
                settings["asgi"] = "tests.conformance.asgi_echo:app"
            options = [
                str(word) for name, value in settings.items() for word in (f"--{name}", value)
            ]
            self._gateway = Gateway(*options, *(["--compress"] if is_compressing else []))
            self.child, port = self._gateway.child, self._gateway.port
            self._query = "" if is_asgi else "?subscribe-broadcast&publish-broadcast&echo"
        else:
            settings["compress"] = int(is_compressing)
            environ = {
                f"WSREDIS_{name.upper().replace('-', '_')}": str(value)
                for name, value in settings.items()
            }
            run = "from twisted.scripts.twistd import run; run()"
            program = str(Path(__file__).with_name("echo.py"))
            self.child = Child(
                [sys.executable, "-c", run, "-n", "--pidfile=", "-y", program],
                env=clean_environment(environ),
                cwd=self._redis.directory,
            )
            port = int(self.child.wait_for(r"listening on \S*:(\d+)\b")[1])
            self.child.wait_for("connected to ")
            self._query = ""
        self.url = f"ws://127.0.0.1:{port}/ws"

    def run(self, cases: Sequence[str], wstest: str = "") -> list[Result]:
        """
        Run cases against it.

        A case that fails is run again, alone and on a channel of its own: on a channel that all
        cases share, it may have heard the message of the case before it.

        Args:
            cases: Their numbers, with ``*`` for any part of one. If empty, all that there are.
            wstest: The command of the suite itself. If empty, kosoku runs them.
        """
        results = _run(f"{self.url}/echo{self._query}", cases, wstest)
        for number, each in enumerate(results):
            if self._query and not each.has_passed and not each.needs_handler:
                (results[number],) = _run(
                    f"{self.url}/{each.case}{self._query}", [each.case], wstest
                )
        return results

    def stop(self) -> None:
        """End it and its Redis."""
        if self._gateway is not None:
            self._gateway.stop()
        else:
            self.child.stop()
        self._redis.stop()

    @classmethod
    @contextmanager
    def running(
        cls, is_compressing: bool, is_through_redis: bool = False, is_asgi: bool = False
    ) -> Iterator[Server]:
        """Start one, and stop it at the end."""
        server = cls(is_compressing, is_through_redis, is_asgi)
        try:
            yield server
        finally:
            server.stop()


def _run(url: str, cases: Sequence[str], wstest: str) -> list[Result]:
    return _by_wstest(shlex.split(wstest), url, cases) if wstest else _by_kosoku(url, cases)


def _by_kosoku(url: str, cases: Sequence[str]) -> list[Result]:
    words = [sys.executable, "-m", "tests.conformance.by_kosoku", url, *cases]
    done = subprocess.run(
        words, check=True, env=clean_environment(), stdout=subprocess.PIPE, cwd=_ROOT
    )
    return [Result(*each) for each in json.loads(done.stdout)]


def _by_wstest(command: Sequence[str], url: str, cases: Sequence[str]) -> list[Result]:
    with tempfile.TemporaryDirectory(prefix="wsredis-conformance-") as folder:
        spec = Path(folder, "spec.json")
        spec.write_text(
            json.dumps(
                {
                    "outdir": f"{folder}/reports",
                    "servers": [{"agent": "wsredis", "url": url}],
                    "cases": [*cases] or ["*"],
                    "exclude-cases": [],
                    "exclude-agent-cases": {},
                }
            )
        )
        words = [*command, "-m", "fuzzingclient", "-s", str(spec)]
        subprocess.run(words, check=True, cwd=folder, stdout=subprocess.DEVNULL)
        found = json.loads(Path(folder, "reports", "index.json").read_text())["wsredis"]
    results = [
        Result(case, each["behavior"], each["behaviorClose"]) for case, each in found.items()
    ]
    return sorted(results, key=lambda result: [*map(int, result.case.split("."))])
