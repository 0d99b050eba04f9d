"""The log of a real gateway: every line is JSON, nothing is secret, and files can be moved away."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.children import (
    Child,
    Gateway,
    RedisServer,
    clean_environment,
    reserve_port,
    until,
)
from tests.support.raw import CLOSE, TEXT, RawClient, frame, response
from tests.support.require import missing

_TWISTD = [
    sys.executable,
    "-c",
    "from twisted.scripts.twistd import run; run()",
    "-n",
    "--pidfile=",
]

#: The names that each record has, in their order, but for ``worker``.
_FIRST = ["time", "level", "logger", "event", "message"]

_APPLICATION = """
import logging, sys, warnings

# As Django does for a project with a handler for the console.
logging.getLogger("console").addHandler(logging.StreamHandler())
logging.getLogger("console").propagate = False

def application(environ, start_response):
    print("printed by a page")
    print("an error printed by a page", file=sys.stderr)
    warnings.warn("a warning of a page")
    logging.getLogger("console").warning("a line for the console")
    logging.getLogger("x").warning("a line\\nof Python's logging")
    if environ["PATH_INFO"] == "/fail":
        raise ValueError("a failure\\nof a page")
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


class LogCase(SynchronousTestCase):
    """A gateway with an application that prints, warns and fails."""

    skip = missing("redis")

    def setUp(self) -> None:
        """Start Redis, and write the application."""
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        (self.folder / "printing.py").write_text(_APPLICATION)

    def start(self, *options: str, twistd: tuple[str, ...] = ()) -> Gateway:
        """Start a gateway."""
        gateway = Gateway(
            *("--redis", self.redis.url, "--ping-interval", "600", "--verbose"),
            *("--wsgi", "printing:application", "--access-log", *options),
            environ={"PYTHONPATH": f"{self.folder}:{clean_environment()['PYTHONPATH']}"},
            twistd=twistd,
        )
        self.addCleanup(gateway.stop)
        return gateway

    def visit(self, gateway: Gateway) -> None:
        """Do all that is logged, with a secret wherever there may be one, and nasty names."""
        port = gateway.port
        client = RawClient.opened(
            port,
            "/ws/chat%E2%80%AE%22?subscribe-broadcast&publish-broadcast&echo&token=SECRET",
            "Cookie: sessionid=SECRET",
            "Authorization: Bearer SECRET",
        )
        client.send(frame(TEXT, b"SECRET"))
        self.assertIn(b"SECRET", client.message())
        client.send(frame(CLOSE, b"\x03\xe9bye\xe2\x80\xae"))
        client.socket.close()
        head = (
            "HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: sessionid=SECRET\r\n"
            "Referer: https://x/?token=SECRET\r\nUser-Agent: \x9b31m\r\n\r\n"
        )
        for path in ("/?token=SECRET", "/fail?token=SECRET"):
            response(port, f"GET {path} {head}".encode("latin-1"))
        response(
            port,
            b"GET /ws/%0a%1b?token=SECRET HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        )
        for event in ("connection-closed", "handshake-refused"):
            gateway.child.wait_for(event if "{" in gateway.log else "closed |refused ")


class JsonTests(LogCase):
    """``--log-format json``."""

    def records(self, text: str) -> list[dict[str, Any]]:
        """Read the log; each line has to be a record."""
        found = []
        for line in text.splitlines():
            self.assertTrue(line.isascii() and line.isprintable(), line)
            record = json.loads(line)
            self.assertEqual(_FIRST, [name for name in record if name != "worker"][:5], line)
            self.assertRegex(record["time"], r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
            found.append(record)
        return found

    def check(self, *options: str) -> None:
        """Check the log from the start to the end."""
        gateway = self.start("--log-format", "json", *options)
        self.visit(gateway)
        gateway.stop()
        self.assertNotIn("SECRET", gateway.log)
        records = self.records(gateway.log)
        by_event = {record["event"]: record for record in records}
        closed = by_event["connection-closed"]
        self.assertEqual(
            ("client", 1001, "bye\u202e"), tuple(closed[n] for n in ("by", "code", "reason"))
        )
        self.assertEqual(1, closed["messages"])
        self.assertEqual('chat\u202e"', closed["facility"])
        self.assertEqual(by_event["connection-opened"]["id"], closed["id"])
        self.assertEqual("/ws/%0a%1b", by_event["handshake-refused"]["path"])
        self.assertEqual("/fail?...", by_event["page"]["path"])
        failed = by_event["application-failed"]
        self.assertIn("ValueError: a failure\nof a page", failed["traceback"])
        messages = "\n".join(record["message"] for record in records)
        for text in (
            *("printed by a page", "an error printed by a page", "a warning of a page"),
            *("a line", "of Python's logging", "a line for the console", "Main loop terminated."),
        ):
            self.assertIn(text, messages)

    def test_one_process(self) -> None:
        """Every line is a record: ours, Twisted's, and what an application prints and raises."""
        self.check()

    def test_workers(self) -> None:
        """The lines of workers are the same, with their number."""
        self.check("--workers", "2")

    def test_warned_of(self) -> None:
        """A wrong setting is one line of text, since the log has not begun."""
        words = [*_TWISTD, "wsredis", "--log-format", "xml"]
        child = Child(words, env=clean_environment(), cwd=str(self.folder))
        self.addCleanup(child.stop)
        self.assertEqual(1, child.wait())
        self.assertEqual(
            "wsredis: --log-format: 'xml' is not one of text, json, short\n", child.output
        )


class TextTests(LogCase):
    """The text format."""

    def test_nothing_to_obey(self) -> None:
        """Nothing in the log moves a cursor or turns text around, and nothing is secret."""
        gateway = self.start()
        self.visit(gateway)
        gateway.stop()
        self.assertNotIn("SECRET", gateway.log)
        for line in gateway.log.split("\n"):
            self.assertTrue(line.removeprefix("\t").isprintable(), repr(line))
            self.assertRegex(line, r"\A(\t|\d{4}-\d\d-\d\dT[\d:+-]+ \[|\Z)")

    def test_said_once(self) -> None:
        """At the start no line says what another one has said."""
        gateway = self.start()
        found = re.findall(r"\S+:\d+\b", "\n".join(gateway.log.splitlines()))
        self.assertEqual(1, sum(each.endswith(f":{gateway.port}") for each in found), gateway.log)
        self.assertNotIn("starting on", gateway.log)


class FileTests(LogCase):
    """``twistd --logfile``."""

    def test_moved_away(self) -> None:
        """After SIGUSR1 the log goes on in a new file; a file that was cut begins anew."""
        path = self.folder / "gateway.log"
        port = reserve_port(self)
        words = [*_TWISTD, f"--logfile={path}", "wsredis", "--redis", self.redis.url]
        words += ["--port", f"tcp:{port}:interface=127.0.0.1"]
        child = Child(words, env=clean_environment(), cwd=str(self.folder))
        self.addCleanup(child.stop)
        until(lambda: path.exists() and "connected to" in path.read_text())
        path.rename(f"{path}.1")
        child.signal(signal.SIGUSR1)
        until(lambda: path.exists() and "opened again" in path.read_text())
        self.assertNotIn("opened again", Path(f"{path}.1").read_text())
        os.truncate(path, 0)
        child.signal(signal.SIGTERM)
        child.wait()
        self.assertRegex(path.read_text(), r"\A20[^\0]*Shut Down\.\n\Z")
