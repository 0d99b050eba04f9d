"""The pages of a Django project beside the sockets: ``--wsgi``."""

from __future__ import annotations

import json
import re
import signal
import socket
import ssl
from pathlib import Path
from tempfile import mkdtemp

from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import Authority
from tests.support.children import Gateway, RedisServer, until
from tests.support.odd_pages import ANSWERS
from tests.support.pages import site_environment
from tests.support.raw import CLOSE, TEXT, RawClient, frame, handshake
from tests.support.require import missing
from tests.support.wire import LIVE, memory_growth

_WSGI = ("--wsgi", "mysite.wsgi:application")
_BOTH = "/ws/pages?subscribe-broadcast&publish-broadcast&echo"


def _request(path: str, *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def _chunk(client: RawClient) -> bytes:
    line = b""
    while not line.endswith(b"\r\n"):
        line += client.take(1)
    return client.take(int(line, 16) + 2)[:-2]


def _answer(client: RawClient, *, has_body: bool = True) -> tuple[int, str, bytes]:
    """Read one answer from a kept connection. Returns: Status, head in lower case, body."""
    head = client.head().lower()
    status = int(head.split(" ", 2)[1])
    body = b""
    length = re.search(r"\r\ncontent-length: (\d+)", head)
    if has_body and length is not None:
        body = client.take(int(length[1]))
    elif has_body and "transfer-encoding: chunked" in head:
        while piece := _chunk(client):
            body += piece
    return status, head, body


class _PagesCase(SynchronousTestCase):
    """A gateway with a WSGI application."""

    skip = missing("redis")
    options: tuple[str, ...] = ()
    environ: dict[str, str] = {}

    def setUp(self) -> None:
        """Start a Redis and the gateway."""
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)
        self.gateway = Gateway(
            *("--redis", self.redis.url, *_WSGI, *self.options),
            environ={**site_environment(), **self.environ},
        )
        self.addCleanup(self.gateway.stop)

    def connect(self) -> RawClient:
        """Make a connection; it is closed after the test."""
        client = RawClient(self.gateway.port)
        self.addCleanup(client.socket.close)
        return client

    def ask(
        self, path: str, *headers: str, method: str = "GET", body: bytes = b""
    ) -> tuple[int, str, bytes]:
        """Send a request on a connection of its own."""
        with RawClient(self.gateway.port) as client:
            client.send(_request(path, *headers, method=method, body=body))
            return _answer(client, has_body=method != "HEAD")


class PageTests(_PagesCase):
    """Requests arrive at the application, and its answers at the client."""

    def test_page(self) -> None:
        """The application answers for all paths but the prefix and /health."""
        self.assertEqual((200, b"hello"), self.ask("/hello")[::2])
        self.assertEqual(404, self.ask("/nothing")[0])
        self.assertEqual((200, LIVE), self.ask("/health/live")[::2])
        self.assertEqual(400, self.ask("/ws/x")[0])

    def test_many_requests_on_one_connection(self) -> None:
        """The connection is kept, also for requests that come together."""
        client = self.connect()
        for _ in range(3):
            client.send(_request("/hello") + _request("/health/live"))
            self.assertEqual((200, b"hello"), _answer(client)[::2])
            self.assertEqual((200, LIVE), _answer(client)[::2])
        client.send(_request("/hello", "Connection: close"))
        _, head, _ = _answer(client)
        self.assertIn("\r\nconnection: close", head)
        self.assertEqual(b"", client.rest())

    def test_environment(self) -> None:
        """Path, query, address and headers arrive as with any WSGI server."""
        client = self.connect()
        client.send(
            _request(
                *("/environ/%C3%A9/a%2Fb//c?x=%41&y", "X-Real: 1", "X_Real: 2"),
                *("Cookie: a=1", "Cookie: b=2", "Content-Type: text/x"),
                *("Proxy-Thing: z",),
            )
        )
        environ = json.loads(_answer(client)[2])
        host, port = client.socket.getsockname()
        for name, value in {
            "PATH_INFO": "/environ/\xe9/a/b//c",
            "SCRIPT_NAME": "",
            "QUERY_STRING": "x=%41&y",
            "REMOTE_ADDR": host,
            "REMOTE_PORT": str(port),
            "SERVER_PORT": str(self.gateway.port),
            "HTTP_X_REAL": "1",
            "HTTP_COOKIE": "a=1; b=2",
            "CONTENT_TYPE": "text/x",
            "wsgi.url_scheme": "http",
            "wsgi.multiprocess": False,
        }.items():
            self.assertEqual(value, environ[name], name)
        self.assertNotIn("HTTP_CONTENT_TYPE", environ)

    def test_absolute_target(self) -> None:
        """A target with scheme and host is accepted, and its host counts."""
        environ = json.loads(self.ask("http://other:81/environ?x")[2])
        self.assertEqual(
            ("/environ", "x", "other:81"),
            (
                environ["PATH_INFO"],
                environ["QUERY_STRING"],
                environ["HTTP_HOST"],
            ),
        )
        self.assertEqual(400, self.ask("environ")[0])

    def test_bodies(self) -> None:
        """A body arrives whole, with a length or in chunks."""
        data = bytes(range(256)) * 1000
        for kind in (
            "application/octet-stream",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=b",
        ):
            header = f"Content-Type: {kind}"
            self.assertEqual(data, self.ask("/echo", header, method="POST", body=data)[2], kind)
        client = self.connect()
        client.send(
            _request("/echo", "Transfer-Encoding: chunked", method="POST")
            + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
        )
        self.assertEqual((200, b"hello world"), _answer(client)[::2])

    def test_head_and_not_modified(self) -> None:
        """After an answer without a body the connection is still usable."""
        client = self.connect()
        for path, method, status in (
            ("/hello", "HEAD", 200),
            ("/large?size=99", "HEAD", 200),
            ("/not_modified", "GET", 304),
        ):
            client.send(_request(path, method=method))
            self.assertEqual(status, _answer(client, has_body=False)[0])
        client.send(_request("/hello"))
        self.assertEqual((200, b"hello"), _answer(client)[::2])

    def test_file(self) -> None:
        """A file is sent as it is."""
        expected = (Path(__file__).parents[1] / "support" / "site" / "urls.py").read_bytes()
        self.assertEqual((200, expected), self.ask("/file")[::2])

    def test_no_static_files(self) -> None:
        """Without DEBUG static files are not served."""
        self.assertEqual(404, self.ask("/static/site/site.css")[0])


class StaticTests(_PagesCase):
    """Django in development."""

    environ = {"SITE_DEBUG": "1"}

    def test_static_files(self) -> None:
        """With DEBUG static files are served."""
        self.assertEqual(b"body { color: navy }\n", self.ask("/static/site/site.css")[2])
        self.assertEqual(200, self.ask("/hello")[0])


class SocketTests(_PagesCase):
    """WebSockets on connections that were used for pages."""

    def _count(self) -> int:
        return self.gateway.descriptors()

    def test_handshake_after_pages(self) -> None:
        """A handshake may be a later request, with frames right after it, and leaves nothing."""
        before = self._count()
        for together in (False, True):
            client = self.connect()
            shake = handshake(_BOTH) + frame(TEXT, b"hello")
            if together:
                client.send(_request("/sleeps") + shake)
                self.assertEqual((200, b"slept"), _answer(client)[::2])
            else:
                client.send(_request("/hello"))
                self.assertEqual((200, b"hello"), _answer(client)[::2])
                client.send(shake)
            self.assertIn(" 101 ", client.head())
            self.assertEqual(b"hello", client.message())
            client.send(frame(CLOSE, b"\x03\xe8"))
            self.assertEqual(1000, client.closing())
            self.assertEqual(b"", client.rest())
            client.socket.close()
        until(lambda: self._count() <= before)

    def test_refused_handshake_after_pages(self) -> None:
        """A later handshake is refused like a first one; with a body it is a plain request."""
        for shake, status in (
            (handshake("/ws/%ff"), 400),
            (handshake(_BOTH).replace(b"Version: 13", b"Version: 8"), 426),
            (handshake(_BOTH).replace(b"GET", b"POST", 1), 400),
            (handshake(_BOTH, "Content-Length: 3") + b"abc", 400),
            (handshake(_BOTH, "Origin: https://evil.example"), 403),
        ):
            client = self.connect()
            client.send(_request("/hello"))
            _answer(client)
            client.send(shake)
            self.assertEqual(status, _answer(client)[0], shake)

    def test_under_load(self) -> None:
        """A page that hangs and busy threads do not delay the messages of a socket."""
        client = RawClient.opened(self.gateway.port, _BOTH)
        self.addCleanup(client.socket.close)
        busy = [self.connect() for _ in range(30)]
        for each in busy:
            each.send(_request("/burns"))
        client.send_text("x")
        self.assertEqual(b"x", client.message())
        for each in busy:
            self.assertEqual((200, b"burnt"), _answer(each)[::2])


class FaultTests(_PagesCase):
    """Mistakes of applications and of clients."""

    options = ("--wsgi-threads", "2", "--wsgi-queue", "2", "--max-body", "1000", "--drain", "1")

    def test_raises(self) -> None:
        """A mistake in the application is a 500 and is logged; the next request is served."""
        client = self.connect()
        client.send(_request("/fails"))
        status, _, body = _answer(client)
        self.assertEqual(500, status)
        self.assertNotIn(b"secret", body)
        self.assertEqual(200, self.ask("/hello")[0])

    def test_breaks_half_way(self) -> None:
        """Half an answer does not look like a whole one."""
        for path in ("/breaks", "/short"):
            client = self.connect()
            client.send(_request(path))
            data = client.rest()
            self.assertNotIn(b"\r\n0\r\n", data)
            self.assertNotIn(b"secret", data)
        self.gateway.child.wait_for("ZeroDivisionError")
        self.gateway.child.wait_for("5 bytes shorter than its Content-Length")

    def test_large_body(self) -> None:
        """A body over the limit is a 413, with or without a length; the rest is not read."""
        for request in (
            _request("/echo", "Content-Length: 1001", method="POST"),
            _request("/echo", "Content-Length: 1001", "Expect: 100-continue", method="POST"),
            _request("/echo", "Transfer-Encoding: chunked", method="POST")
            + b"3e9\r\n"
            + bytes(1001)
            + b"\r\nrubbish",
        ):
            client = self.connect()
            client.send(request)
            self.assertEqual(413, _answer(client)[0])
            client.rest()
        self.assertEqual(1000, len(self.ask("/echo", method="POST", body=bytes(1000))[2]))

    def test_hangs(self) -> None:
        """
        A page that never comes takes up its thread.

        Other pages are served, too many requests get a 429, and the process still ends in time.
        """
        self.connect().send(_request("/hangs"))
        self.gateway.child.wait_for("hanging")
        self.assertEqual(200, self.ask("/hello")[0])
        self.connect().send(_request("/hangs"))
        # Before that, the thread of the other page may still count as busy.
        self.gateway.child.wait_for("hanging\n(.|\n)*hanging")
        for _ in range(2):
            self.connect().send(_request("/hangs"))
        self.assertEqual(200, self.ask("/health/live")[0])
        status, head, _ = self.ask("/hello")
        self.assertEqual(429, status)
        self.assertIn("\r\nretry-after: ", head)
        with RawClient.opened(self.gateway.port, _BOTH) as client:
            client.send_text("x")
            self.assertEqual(b"x", client.message())
        self.assertEqual(-signal.SIGTERM, self.gateway.stop())
        self.assertIn("requests to the WSGI application were not finished", self.gateway.log)

    def test_clients_that_do_not_read(self) -> None:
        """As many slow clients as there are threads do not keep others waiting."""
        for size in (4_000_000, 50_000_000):
            slow = [self.connect() for _ in range(3)]
            for client in slow:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.send(_request(f"/large?size={size}"))
                self.assertTrue(client.head().startswith("HTTP/1.1 200 "))
            self.assertEqual(200, self.ask("/hello")[0])
            for client in slow:
                client.socket.close()

    def test_odd_cookie(self) -> None:
        """A cookie that is not UTF-8 arrives, and leaves nothing behind, however often it comes."""
        request = _request("/hello", "Cookie: town=Zrich").replace(b"Zrich", b"Z\xfcrich")
        for _ in range(10):
            client = self.connect()
            client.send(request)
            self.assertEqual(200, _answer(client)[0])
        self.assertEqual(200, self.ask("/hello")[0])

    def test_client_that_does_not_read(self) -> None:
        """A page of 500 MB waits in little memory, and ends when its client leaves."""
        before = self.gateway.memory()
        client = self.connect()
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send(_request("/large?size=500000000"))
        self.assertTrue(client.head().startswith("HTTP/1.1 200 "))
        self.assertEqual(200, self.ask("/hello")[0])
        self.assertLess(memory_growth(self.gateway, before), 16)
        client.socket.close()
        ended = self.gateway.child.wait_for(r"large ended at (\d+)")
        self.assertLess(int(ended[1]), 20_000_000)

    def test_large_download(self) -> None:
        """A page of 100 MB arrives whole, in little memory."""
        before = self.gateway.memory()
        client = self.connect()
        client.send(_request("/large?size=100000000", "Connection: close"))
        client.head()
        size = 0
        while piece := _chunk(client):
            size += len(piece)
        self.assertGreaterEqual(size, 100_000_000)
        self.assertLess(memory_growth(self.gateway, before), 16)


#: Requests, of each its first line, its other headers and its body. They are answered, and then the
#: connection is closed.
_ODD = (
    (b"GET /hello HTTP/1.1", b"Cookie: town=Z\xfcrich", b""),
    (b"GET /hello HTTP/1.1", b"Cookie: a=\xff\r\nCookie: b=\xfe", b""),
    (b"GET /hello HTTP/1.1", b"Content-Type: \xfc\r\nX-A:\r\nX_B: 1", b""),
    (b"GET /hello HTTP/1.1", b"Host: b", b""),
    (b"GET /hello HTTP/1.1", b"X-\xfc: 1", b""),
    (b"GET /hello HTTP/1.1", b"X-A: a\0", b""),
    (b"GET /hello HTTP/1.1", b"X-A: a\r\n folded", b""),
    (b"GET /hello HTTP/1.1", b"X-A: " + b"x" * 20000, b""),
    (b"GET /hello HTTP/1.1", b"Upgrade: h2c", b""),
    (b"GET /hello HTTP/1.1", b"Upgrade: websocket", b""),
    (b"get /hello HTTP/1.1", b"X-A: 1", b""),
    (b"G!T /hello HTTP/1.1", b"X-A: 1", b""),
    (b"G(T /hello HTTP/1.1", b"X-A: 1", b""),
    (b"GET http://b/hello HTTP/1.1", b"X-A: 1", b""),
    (b"GET ftp://b/hello HTTP/1.1", b"X-A: 1", b""),
    (b"GET hello HTTP/1.1", b"X-A: 1", b""),
    (b"CONNECT b:443 HTTP/1.1", b"X-A: 1", b""),
    (b"OPTIONS * HTTP/1.1", b"X-A: 1", b""),
    (b"GET //hello HTTP/1.1", b"X-A: 1", b""),
    (b"GET /a%00b%ff HTTP/1.1", b"X-A: 1", b""),
    (b"GET /\xfc HTTP/1.1", b"X-A: 1", b""),
    (b"GET /hello?" + b"q" * 9000 + b" HTTP/1.1", b"X-A: 1", b""),
    (b"GET /hello HTTP/1.0", b"X-A: 1", b""),
    (b"GET /hello HTTP/2.0", b"X-A: 1", b""),
    (b"POST /reads HTTP/1.1", b"Content-Length: 3", b"abc"),
    (b"POST /reads HTTP/1.1", b"Content-Length: 3\r\nContent-Length: 4", b"abcd"),
    (b"POST /reads HTTP/1.1", b"Content-Length: +3", b"abc"),
    (b"POST /reads HTTP/1.1", b"Content-Length: 9999", b""),
    (b"POST /reads HTTP/1.1", b"Expect: 100-continue\r\nContent-Length: 3", b"abc"),
    (b"POST /reads HTTP/1.1", b"Transfer-Encoding: chunked", b"3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"),
    (b"POST /reads HTTP/1.1", b"Transfer-Encoding: chunked", b"3\r\nabcde\r\n0\r\n\r\n"),
    (b"POST /reads HTTP/1.1", b"Transfer-Encoding: gzip, chunked", b"0\r\n\r\n"),
    *((b"GET /%s HTTP/1.1" % name.encode(), b"X-A: 1", b"") for name in ANSWERS),
    *((b"HEAD /%s HTTP/1.1" % name.encode(), b"X-A: 1", b"") for name in ANSWERS),
)


class OddTests(SynchronousTestCase):
    """Odd requests to an application that answers well and wrongly."""

    skip = missing("redis")

    def setUp(self) -> None:
        """Start a Redis and the gateway."""
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)
        self.gateway = Gateway(
            *("--redis", self.redis.url, "--wsgi", "tests.support.odd_pages:application"),
            *("--wsgi-threads", "2", "--wsgi-queue", "4", "--max-body", "1000"),
            environ=site_environment(),
        )
        self.addCleanup(self.gateway.stop)

    def counts(self) -> dict[str, int]:
        """What there is in the gateway."""
        with RawClient(self.gateway.port) as client:
            client.send(_request("/counts", "Connection: close"))
            status, _, body = _answer(client)
        self.assertEqual(200, status)
        found: dict[str, int] = json.loads(body)
        return found

    def test_leave_nothing(self) -> None:
        """No request leaves a place, a thread, a descriptor or an open iterable behind.

        Each comes once from a client that reads its answer, and twice from clients that leave: one
        at once, and one in the middle of its request.
        """
        self.gateway.child.wait_for("connected to ")
        before = self.counts()
        for line, headers, body in _ODD:
            head = b"\r\n".join([line, b"Host: a", b"Connection: close", headers, b"", b""])
            with RawClient(self.gateway.port) as client:
                client.send(head + body)
                self.assertIn(client.rest()[:7], (b"HTTP/1.",), line)
            for part in (head + body, (head + body)[: len(head) // 2]):
                with RawClient(self.gateway.port) as client:
                    client.send(part)

        def is_at_rest() -> bool:
            found = self.counts()
            # The gateway may need a few of its own meanwhile. A leak would be one of a hundred.
            return found["open"] == 0 and found["descriptors"] <= before["descriptors"] + 5

        until(is_at_rest)
        self.assertLessEqual(self.counts()["threads"], before["threads"] + 5)
        for _ in range(20):
            with RawClient(self.gateway.port) as client:
                client.send(_request("/hello", "Connection: close"))
                self.assertEqual((200, b"hello"), _answer(client)[::2])
        self.assertNotIn("a request failed", self.gateway.log)


class ConnectionTests(_PagesCase):
    """The number of connections for pages is limited."""

    options = ("--max-handshakes", "4", "--handshake-timeout", "600")

    def test_too_many(self) -> None:
        """Half of them are kept; one more than a share is a 429 for a page, not for a socket."""
        clients = [self.connect() for _ in range(4)]
        kept = []
        for client in clients:
            client.send(_request("/hello"))
            _, head, _ = _answer(client)
            kept.append("\r\nconnection: close" not in head)
        self.assertEqual([True, True, False, False], kept)
        slow = []
        for _ in range(2):
            client = self.connect()
            client.send(_request("/echo", "Content-Length: 5", method="POST"))
            slow.append(client)
        until(lambda: self.ask("/hello")[0] == 429)
        with RawClient.opened(self.gateway.port, _BOTH) as client:
            client.send_text("x")
            self.assertEqual(b"x", client.message())


class EndpointTests(SynchronousTestCase):
    """Other ports than TCP."""

    skip = missing("redis")

    def setUp(self) -> None:
        """A Redis, and a directory."""
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)
        self.directory = Path(mkdtemp(prefix="wsredis-test-"))

    def start(self, *options: str) -> Gateway:
        """Start a gateway."""
        gateway = Gateway("--redis", self.redis.url, *_WSGI, *options, environ=site_environment())
        self.addCleanup(gateway.stop)
        return gateway

    def test_tls(self) -> None:
        """Over TLS the scheme is https, and a handshake after a page works too."""
        path = Authority(self.directory).bundle(self.directory / "a.pem", "localhost")
        gateway = self.start("--tls-port", "tcp:0:interface=127.0.0.1", "--tls-cert", str(path))
        client = RawClient(gateway.port)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        client.socket = context.wrap_socket(client.socket, server_hostname="localhost")
        self.addCleanup(client.socket.close)
        client.send(_request("/environ"))
        self.assertEqual("https", json.loads(_answer(client)[2])["wsgi.url_scheme"])
        client.send(handshake(_BOTH) + frame(TEXT, b"x"))
        self.assertIn(" 101 ", client.head())
        self.assertEqual(b"x", client.message())

    def test_tls_client_that_does_not_read(self) -> None:
        """Over TLS a page waits for its client too."""
        path = Authority(self.directory).bundle(self.directory / "a.pem", "localhost")
        gateway = self.start("--tls-port", "tcp:0:interface=127.0.0.1", "--tls-cert", str(path))
        client = RawClient(gateway.port)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        client.socket = context.wrap_socket(client.socket, server_hostname="localhost")
        client.send(_request("/large?size=500000000"))
        self.assertTrue(client.head().startswith("HTTP/1.1 200 "))
        client.socket.close()
        ended = gateway.child.wait_for(r"large ended at (\d+)")
        self.assertLess(int(ended[1]), 20_000_000)

    def test_unix(self) -> None:
        """Clients of a UNIX socket have an empty address."""
        path = str(self.directory / "s")
        self.start("--port", f"unix:{path}")
        with RawClient(path) as client:
            client.send(_request("/environ"))
            environ = json.loads(_answer(client)[2])
        self.assertEqual(("", "80"), (environ["REMOTE_ADDR"], environ["SERVER_PORT"]))

    def test_proxy(self) -> None:
        """With the PROXY protocol the address is that of the client."""
        gateway = self.start("--port", "haproxy:tcp:0:interface=127.0.0.1")
        with RawClient(gateway.port) as client:
            client.send(b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 80\r\n" + _request("/environ"))
            environ = json.loads(_answer(client)[2])
            self.assertEqual(
                ("192.0.2.7", "4711"), (environ["REMOTE_ADDR"], environ["REMOTE_PORT"])
            )
            client.send(handshake(_BOTH) + frame(TEXT, b"x"))
            self.assertIn(" 101 ", client.head())
            self.assertEqual(b"x", client.message())

    def test_workers(self) -> None:
        """Every worker serves the pages."""
        gateway = self.start("--workers", "2")
        gateway.child.wait_for("all 2 workers are ready")
        for _ in range(5):
            with RawClient(gateway.port) as client:
                client.send(_request("/environ"))
                self.assertTrue(json.loads(_answer(client)[2])["wsgi.multiprocess"])


class WrongTests(SynchronousTestCase):
    """Applications that cannot be imported."""

    def test_one_line(self) -> None:
        """Each ends the program with one line that names the option, and status 1."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        (directory / "bad.py").write_text("1 / 0")
        (directory / "ends.py").write_text("import sys; sys.exit('two\\nlines')")
        (directory / "good.py").write_text("text = ''")
        (directory / "for_uwsgi.py").write_text("import uwsgi\napplication = None")
        for value, reason in (
            ("nosuch:application", "No module named 'nosuch'"),
            ("good:nosuch", "module 'good' has no attribute 'nosuch'"),
            ("good:text", "it is not callable"),
            ("bad:application", "ZeroDivisionError: division by zero"),
            ("ends:application", "SystemExit: two lines"),
            ("for_uwsgi:application", "the gateway takes the place of uWSGI"),
            # The parser of the command line rejects these two, and names the option.
            ("good", "'good' is not written as package.module:name"),
            ("../good:x", "is not written as package.module:name"),
        ):
            with self.assertRaises(AssertionError) as ended:
                Gateway(
                    *("--redis", "unix:///nosuch", "--wsgi", value),
                    environ={"PYTHONPATH": f"{Path(__file__).parents[2]}:{directory}"},
                ).stop()
            output = str(ended.exception).partition("the child ended\n")[2]
            name = "--wsgi" if "is not written" in reason else "wsgi"
            self.assertIn(f"wsredis: {name}: ", output)
            self.assertIn(reason, output)
            self.assertNotIn("Traceback", output)
            self.assertEqual(1, output.strip().count("\n") + 1, output)
