"""The clients of the page "Connect from Python", run as it says."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from tests.support.case import GatewayCase
from tests.support.children import Child, Gateway, clean_environment
from tests.support.require import missing
from tests.support.scripted import ScriptedServer

_DOCS = Path(__file__).parents[2] / "docs"
_LISTEN = _DOCS / "examples" / "listen.py"
_PAGE = _DOCS / "howto" / "python-client.rst"

_FLAGS = "?subscribe-broadcast&publish-broadcast&echo"


class ListenTests(GatewayCase):
    """The program with the library websockets."""

    skip = missing("redis")

    def run_program(self, url: str) -> Child:
        """Run it."""
        child = Child([sys.executable, str(_LISTEN), url], env=clean_environment())
        self.addCleanup(child.stop)
        return child

    def test_messages(self) -> None:
        """It learns what it hears, says something, hears it, and what others publish."""
        child = self.run_program(self.gateway.url(f"/ws/listen-py{_FLAGS}"))
        child.wait_for("I hear broadcast\nhello from Python\n")
        self.redis.command("PUBLISH", "broadcast:listen-py", "hello from Redis")
        child.wait_for("hello from Redis\n")

    def test_heartbeat(self) -> None:
        """It answers heartbeats, and shows none."""
        server = ScriptedServer()
        self.addCleanup(server.stop)
        server.hello = {"subscribe": ["broadcast"]}
        child = self.run_program(server.url)
        accepted = server.accept()
        self.assertEqual("hello from Python", accepted.message())
        for _ in range(2):
            accepted.send(b"")
            self.assertEqual(b"", accepted.message())
        accepted.send("end")
        child.wait_for("end\n")
        self.assertEqual("I hear broadcast\nend\n", child.output)

    def test_restart(self) -> None:
        """After a restart of the gateway it comes back."""
        gateway = Gateway("--redis", self.redis.url)
        self.addCleanup(gateway.stop)
        child = self.run_program(gateway.url(f"/ws/listen-again{_FLAGS}"))
        child.wait_for("hello from Python\n")
        since = len(child.output)
        port = f"tcp:{gateway.port}:interface=127.0.0.1"
        gateway.stop()
        child.wait_for("closed: 10", since=since)
        again = Gateway("--redis", self.redis.url, "--port", port)
        self.addCleanup(again.stop)
        child.wait_for("hello from Python\n", since=since)

    def test_refused(self) -> None:
        """A refusal for good ends it, with the code and the reason."""
        gateway = Gateway("--redis", self.redis.url, "--allow-host", "example.org")
        self.addCleanup(gateway.stop)
        child = self.run_program(gateway.url(f"/ws/listen-refused{_FLAGS}"))
        child.wait_for("closed: 4400 .+\n")
        self.assertEqual(0, child.wait())


class ConnectTests(GatewayCase):
    """The command, by hand."""

    skip = missing("redis")

    def test_line(self) -> None:
        """The line of the page connects, and says what it hears; it ends with its input."""
        line = re.search(r"\$ wsredis (connect .*)\n", _PAGE.read_text("utf-8"))
        assert line is not None
        words = shlex.split(line[1].replace("localhost:8080", f"127.0.0.1:{self.gateway.port}"))
        child = Child([sys.executable, "-m", "wsredis", *words], env=clean_environment())
        self.addCleanup(child.stop)
        self.assertEqual(0, child.wait())
        self.assertIn("you hear broadcast", child.output)
