"""``twistd wsredis --asgi``: the program, an application in it, and clients of both."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import ssl
import sys
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

from tests.support.case import FreshGatewayCase, GatewayCase
from tests.support.certificates import Authority
from tests.support.children import (
    Child,
    Gateway,
    RedisServer,
    clean_environment,
    reserve_port,
)
from tests.support.raw import RawClient, handshake, response
from tests.support.require import missing

_APP = ("--asgi", "tests.support.asgi_app:application")


def ask(address: int, *headers: str, path: str = "/x") -> dict[str, Any]:
    """What the application is told about a request."""
    lines = [f"GET {path} HTTP/1.1", "Host: x", "Connection: close", *headers]
    status, _, body = response(address, "\r\n".join(lines).encode() + b"\r\n\r\n")
    assert status == 200, (status, body)
    found: dict[str, Any] = json.loads(body)
    return found


class _ServedTests(GatewayCase):
    """What the program promises in both modes."""

    def test_beside_each_other(self) -> None:
        """Pages and WebSockets of the application are on the port of the gateway's own sockets."""
        told = ask(self.gateway.port, "X-Forwarded-For: 198.51.100.7, 203.0.113.9")
        self.assertEqual("198.51.100.7", told["client"][0])
        self.assertEqual(("/r/x", "/r"), (told["path"], told["root_path"]))
        self.assertEqual(told["here"], told["state"]["process"])
        own = self.open("/ws/beside?subscribe-broadcast&publish-broadcast&echo")
        theirs = self.open("/theirs")
        for each in (own, theirs):
            each.send_text("hello")
            self.assertEqual(b"hello", each.message())
        self.assertIn(
            b'"ready": true',
            response(
                self.gateway.port,
                b"GET /health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            )[2],
        )

    def test_other_client(self) -> None:
        """A client that is not ours is served as well: texts, bytes, large and empty messages."""
        messages: list[str | bytes] = ["é", b"\xff", "", b"", "x" * 300_000]

        async def talk() -> list[str | bytes]:
            answers = []
            async with connect(f"ws://127.0.0.1:{self.gateway.port}/b") as client:
                for each in messages:
                    await client.send(each)
                    answers.append(await client.recv())
            return answers

        self.assertEqual(messages, asyncio.run(talk()))

    def test_after_pages(self) -> None:
        """A connection that had a page may become a WebSocket."""
        with RawClient(self.gateway.port) as client:
            client.send(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
            size = int(re.findall("(?i)content-length: ([0-9]+)", client.head())[0])
            client.take(size)
            client.send(handshake("/b"))
            self.assertTrue(client.head().startswith("HTTP/1.1 101 "))
            client.send_text("hello")
            self.assertEqual(b"hello", client.message())


class ReactorTests(_ServedTests):
    """In the thread of the gateway."""

    options = (
        *_APP,
        "--trusted-proxy",
        "127.0.0.1",
        "--trusted-proxy",
        "203.0.113.9",
        "--asgi-root-path",
        "/r",
    )


class ThreadTests(_ServedTests):
    """In a thread of its own."""

    options = (*ReactorTests.options, "--asgi-loop", "thread")


del _ServedTests


class LifeTests(FreshGatewayCase):
    """Start and stop."""

    options = (*_APP, "--drain-spread", "0")

    def test_stop(self) -> None:
        """A stop closes its clients with 1012 and tells it so, and it is the last to hear of it."""
        self.gateway.child.wait_for("application started in ")
        client = self.open("/theirs")
        client.send_text("x")
        client.message()
        self.gateway.child.signal(signal.SIGTERM)
        self.assertEqual(1012, client.closing())
        client.socket.close()
        self.gateway.stop()
        log = self.gateway.log
        order = ["listening on ", "client left with 1012", "application stopped", "Server Shut"]
        places = [log.index(each) for each in ("application started", *order)]
        self.assertEqual(sorted(places), places, log)


class WorkerTests(FreshGatewayCase):
    """With several processes, over TLS."""

    def setUp(self) -> None:
        """Start them."""
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        self.authority = Authority(folder)
        key, certificate = self.authority.issue()
        self.gateway = Gateway(
            *("--redis", self.redis.url, *_APP, "--workers", "2"),
            *("--tls-port", "tcp:0:interface=127.0.0.1", "--tls-cert", str(certificate)),
            *("--tls-key", str(key)),
        )
        self.addCleanup(self.gateway.stop)

    def test_workers(self) -> None:
        """Each of them runs the application, and starts and stops it; their parent does not."""
        self.gateway.child.wait_for("all 2 workers are ready")
        started = set(re.findall("application started in ([0-9]+)", self.gateway.log))
        workers = set(re.findall("worker [0-9] is process ([0-9]+)", self.gateway.log))
        self.assertEqual(workers, started)
        trust = ssl.create_default_context(cafile=self.authority.path)
        trust.check_hostname = False

        async def talk() -> str | bytes:
            url = f"wss://127.0.0.1:{self.gateway.port}/b"
            async with connect(url, ssl=trust) as client:
                await client.send("hello")
                return await client.recv()

        self.assertEqual("hello", asyncio.run(talk()))
        self.gateway.stop()
        stopped = set(re.findall("application stopped in ([0-9]+)", self.gateway.log))
        self.assertEqual(workers, stopped)


class FailureTests(FreshGatewayCase):
    """An application that cannot start."""

    skip = missing("redis")

    def setUp(self) -> None:
        """Start Redis alone."""
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)

    def test_ends(self) -> None:
        """The program ends with status 1 and one line, and its port was never bound."""
        for more in ((), ("--workers", "2")):
            port = reserve_port(self)
            child = Child(
                [
                    *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()"),
                    *("-n", "--pidfile=", "wsredis", "--port", str(port)),
                    *("--redis", self.redis.url, "--asgi", "tests.support.asgi_app:fails", *more),
                ],
                env=clean_environment(),
            )
            self.addCleanup(child.stop)
            child.wait_for("wsredis: asgi: the application could not start: no database\n")
            self.assertEqual(1, child.wait())
            if not more:
                self.assertNotIn("listening on ", child.output)
