"""Applications of Django, Channels, FastAPI and none at all, served by the real program."""

from __future__ import annotations

import atexit
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from twisted.trial.unittest import SynchronousTestCase
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.support.children import PATIENCE, Gateway, RedisServer
from tests.support.raw import RawClient
from tests.support.require import missing

_ROOT = Path(__file__).parents[2]
_EXAMPLES = _ROOT / "examples" / "asgi"


def _path(*folders: Path) -> dict[str, str]:
    return {"PYTHONPATH": ":".join(map(str, [_ROOT, *folders]))}


@cache
def _redis() -> RedisServer:
    server = RedisServer()
    atexit.register(server.stop)
    return server


@cache
def _gateway(application: str, folder: Path | None, *options: str) -> Gateway:
    redis = _redis()
    place = tempfile.mkdtemp(prefix="wsredis-test-")
    atexit.register(shutil.rmtree, place)
    environ = {
        **_path(*([folder] if folder else [])),
        "ASGI_DATABASE": f"{place}/db.sqlite3",
        "ASGI_REDIS": redis.url,
        "WSREDIS_REDIS": redis.url,
    }
    gateway = Gateway("--asgi", application, *options, environ=environ)
    atexit.register(gateway.stop)
    return gateway


class _Served(SynchronousTestCase):
    """An application that all tests of a class share."""

    application = ""
    folder: Path | None = None
    options: tuple[str, ...] = ()
    #: Tracebacks in the log are a mistake, unless a test wants one.
    may_fail = False

    def setUp(self) -> None:
        """Start it, if it does not run yet."""
        self.gateway = _gateway(self.application, self.folder, *self.options)
        self.seen = len(self.gateway.log)
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.gateway.port}", timeout=PATIENCE, trust_env=False
        )
        self.addCleanup(self.http.close)

    def tearDown(self) -> None:
        """Look for tracebacks."""
        if not self.may_fail:
            self.assertNotIn("Traceback", self.gateway.log[self.seen :])

    def open(self, path: str, **options: Any) -> ClientConnection:
        """Open a WebSocket, which is closed after the test."""
        url = f"ws://127.0.0.1:{self.gateway.port}{path}"
        return self.enterContext(connect(url, open_timeout=PATIENCE, **options))

    def refused(self, path: str) -> int:
        """Return the status with which a handshake is refused."""
        with self.assertRaises(InvalidStatus) as caught:
            self.open(path)
        return caught.exception.response.status_code


class PingPongTests(_Served):
    """The application without a framework."""

    skip = missing("redis")
    application = "pingpong:application"
    folder = _EXAMPLES
    options = ("--asgi-lifespan", "on")

    def test_request(self) -> None:
        """A request for /ping is answered, another one is not found, both on one connection."""
        answer = self.http.get("/ping")
        self.assertEqual((200, "pong!"), (answer.status_code, answer.text))
        self.assertEqual(404, self.http.get("/pong").status_code)
        self.assertEqual("pong!", self.http.get("/ping").text)

    def test_websocket(self) -> None:
        """A message "ping" is answered, others are not, and another path is refused."""
        socket = self.open("/ping")
        for word in ("what", "ping", "ping"):
            socket.send(word)
        self.assertEqual(["pong!", "pong!"], [socket.recv(PATIENCE) for _ in range(2)])
        self.assertEqual(403, self.refused("/pong"))

    def test_beside_the_gateway(self) -> None:
        """The gateway's own sockets, below /ws/, are open as before."""
        with RawClient.opened(self.gateway.port, "/ws/news?subscribe-broadcast") as client:
            _redis().command("PUBLISH", "broadcast:news", "hello")
            self.assertEqual(b"hello", client.message())


class FastApiTests(_Served):
    """The example of FastAPI."""

    skip = missing("redis")
    application = "orders:app"
    folder = _EXAMPLES

    def test_order(self) -> None:
        """A background task of the application reaches a socket of the gateway."""
        with RawClient.opened(self.gateway.port, "/ws/orders?subscribe-broadcast") as client:
            answer = self.http.post("/orders/7")
            self.assertEqual(202, answer.status_code)
            self.assertEqual({"order": "7", "state": "taken"}, answer.json())
            self.assertEqual({"order": "7", "state": "done"}, json.loads(client.message()))

    def test_thread(self) -> None:
        """A route in a thread holds nobody: another one is answered while it sleeps."""
        with RawClient(self.gateway.port) as slow:
            slow.send(b"GET /slow?seconds=0.5 HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertEqual("0\n1\n2\n", self.http.get("/count").text)
            self.assertIn(" 200 ", slow.head())

    def test_stream_and_file(self) -> None:
        """A streamed answer comes whole, and a file that the gateway reads as it is."""
        answer = self.http.get("/count?to=500")
        self.assertEqual("chunked", answer.headers["transfer-encoding"])
        self.assertEqual([str(number) for number in range(500)], answer.text.split())
        source = self.http.get("/source")
        self.assertEqual((_EXAMPLES / "orders.py").read_bytes(), source.content)
        part = self.http.get("/source", headers={"Range": "bytes=5-14"})
        self.assertEqual(206, part.status_code)
        self.assertEqual(source.content[5:15], part.content)

    def test_websocket(self) -> None:
        """A WebSocket of the application itself."""
        socket = self.open("/echo")
        socket.send("ä" * 1000)
        self.assertEqual("ä" * 1000, socket.recv(PATIENCE))

    def test_bad_request(self) -> None:
        """The framework's own answers are passed on."""
        self.assertEqual(422, self.http.get("/slow?seconds=soon").status_code)
        self.assertEqual(404, self.http.get("/nowhere").status_code)
        self.assertEqual(405, self.http.get("/orders/7").status_code)
        self.assertEqual(403, self.refused("/nowhere"))
        self.assertIn("/orders/{order}", self.http.get("/openapi.json").json()["paths"])


class DjangoTests(_Served):
    """A project of Django and Channels."""

    skip = missing("redis")
    application = "tests.support.asgi_project:application"

    def test_views(self) -> None:
        """A synchronous view runs in a thread and uses the database, as an asynchronous one."""
        answer = self.http.get("/sync", params={"name": "John"}).json()
        self.assertIn("John", answer["known"])
        self.assertNotEqual("MainThread", answer["in thread"])
        self.assertGreaterEqual(self.http.get("/async").json()["count"], 1)

    def test_session(self) -> None:
        """A session is kept by its cookie."""
        self.assertEqual(["1", "2"], [self.http.get("/visits").text for _ in range(2)])

    def test_static(self) -> None:
        """A static file comes with its type."""
        answer = self.http.get("/static/site/site.css")
        self.assertEqual(200, answer.status_code)
        self.assertTrue(answer.headers["content-type"].startswith("text/css"))
        file = _ROOT / "tests" / "support" / "site" / "static" / "site" / "site.css"
        self.assertEqual(file.read_bytes(), answer.content)

    def test_stream(self) -> None:
        """A streamed answer comes whole."""
        lines = self.http.get("/stream").text.splitlines()
        self.assertEqual([f"line {number}" for number in range(5)], lines)

    def test_upload(self) -> None:
        """Some hundred kilobytes arrive whole, as a file of a form and as a body in chunks."""
        content = bytes(range(256)) * 2000
        wanted = {
            "name": "all.bin",
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        sent = self.http.post("/upload", files={"file": ("all.bin", content)})
        self.assertEqual(wanted, sent.json())

        def pieces() -> Iterator[bytes]:
            for start in range(0, len(content), 5000):
                yield content[start : start + 5000]

        # Django takes no form without a length.
        again = self.http.post("/body", content=pieces())
        self.assertEqual({"size": wanted["size"], "sha256": wanted["sha256"]}, again.json())

    def test_mistake(self) -> None:
        """A mistake in a view is Django's page, and the connection is kept."""
        self.may_fail = True
        self.assertEqual(500, self.http.get("/fails").status_code)
        self.assertEqual("1", self.http.get("/visits").text)

    def test_consumers(self) -> None:
        """A group reaches all its consumers: from a consumer, and from a view in a thread."""
        one, two = self.open("/crowd"), self.open("/crowd")
        one.send("from one")
        for socket in (one, two):
            self.assertEqual("from one", socket.recv(PATIENCE))
        self.assertEqual("told", self.http.get("/tell?text=from+a+view").text)
        for socket in (one, two):
            self.assertEqual("from a view", socket.recv(PATIENCE))

    def test_sync_consumer(self) -> None:
        """A synchronous consumer uses the database."""
        self.http.get("/sync", params={"name": "Mary"})
        socket = self.open("/users")
        for name, known in (("Mary", True), ("Nobody", False)):
            socket.send(json.dumps({"name": name}))
            self.assertEqual({"known": known}, json.loads(socket.recv(PATIENCE)))

    def test_refused(self) -> None:
        """A consumer that closes before it accepts refuses the handshake."""
        self.assertEqual(403, self.refused("/doorman"))


class DjangoInThreadTests(DjangoTests):
    """The same with a loop in a thread of its own."""

    options = ("--asgi-loop", "thread")
