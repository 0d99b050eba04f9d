"""Tests of the playground: the page, its files, and the question about one's own socket."""

from __future__ import annotations

import json
import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.support.memory_gateway import MemoryGateway, MemoryGatewayCase, Socket
from tests.unit.auth.case import Register
from wsredis.config import GatewayConfig
from wsredis.errors import HandshakeRejected
from wsredis.gateway.identity import Identity
from wsredis.web.playground import make_page

#: The page of the gateway itself.
OWN = ("Sec-Fetch-Site: same-origin", "Host: localhost")


class PageTests(SynchronousTestCase):
    """The page gets its settings safely."""

    def _settings(self, page: str) -> Any:
        found = re.search(r'<script type="application/json" id="settings">(.*?)</script>', page)
        assert found is not None
        return json.loads(found[1])

    def test_settings(self) -> None:
        """All of them arrive."""
        settings = {"uri": "/ws/", "heartbeat": "--hb--", "prefix": ""}
        self.assertEqual(settings, self._settings(make_page(settings)))

    def test_hostile_settings(self) -> None:
        """A setting cannot end the element."""
        evil = "</script><script>alert(1)//<!--"
        page = make_page({"heartbeat": evil})
        self.assertNotIn(evil, page)
        self.assertEqual(evil, self._settings(page)["heartbeat"])

    def test_no_code_in_the_page(self) -> None:
        """The page has no script, no style and no handler of its own: the policy forbids them."""
        page = make_page({})
        self.assertNotRegex(page, r"<style|\sstyle=|\son\w+=")
        scripts = re.findall(r"<script([^>]*)>([^<]*)", page)
        for attributes, code in scripts:
            self.assertTrue("src=" in attributes or "application/json" in attributes, attributes)
            self.assertEqual("" if "src=" in attributes else "{}", code)

    def test_nothing_from_elsewhere(self) -> None:
        """The page loads nothing from elsewhere."""
        for found in re.findall(r"(?:src|href)=[\"']([^\"']*)", make_page({})):
            self.assertRegex(found, r"\A(/[a-z]|/\Z|data:image/svg)", found)


class FilesTests(MemoryGatewayCase):
    """The paths of the playground."""

    def setUp(self) -> None:
        """Start a gateway with a playground."""
        self.use(MemoryGateway(GatewayConfig(demo=True)))

    def ask(self, path: str, *headers: str, method: str = "GET") -> tuple[int, str, bytes]:
        """Returns: Status, head in lower case, and body."""
        request = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""])
        status, answer = self.answer(request.encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        return status, head.decode().lower(), body

    def test_policy(self) -> None:
        """The page says that it runs nothing but its own files, and is in no foreign frame."""
        status, head, _ = self.ask("/")
        self.assertEqual(200, status)
        (policy,) = re.findall(r"\r\ncontent-security-policy: (.*)", head)
        for part in (
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'self'",
            "require-trusted-types-for 'script'",
        ):
            self.assertIn(part, policy)
        self.assertNotIn("unsafe", policy)
        self.assertIn("\r\ncache-control: no-store", head)

    def test_files(self) -> None:
        """Style and script are there, for our own pages, and browsers may keep them."""
        for path, kind in (("playground.css", "text/css"), ("playground.js", "text/javascript")):
            status, head, body = self.ask(f"/demo/{path}")
            self.assertEqual(200, status)
            self.assertIn(f"\r\ncontent-type: {kind}; charset=utf-8", head)
            self.assertNotIn("access-control-allow-origin", head)
            self.assertGreater(len(body), 1000)
            (tag,) = re.findall(r'\r\netag: ("[^"]+")', head)
            again = self.ask(f"/demo/{path}", f"If-None-Match: {tag}")
            self.assertEqual((304, b""), (again[0], again[2]))

    def test_only_there(self) -> None:
        """Nothing else is below its folder, and without ``demo`` there is nothing at all."""
        for path in ("/demo", "/demo/", "/demo/playground.html", "/demo/../x", "/playground.js"):
            self.assertEqual(404, self.ask(path)[0], path)
        self.use(MemoryGateway(GatewayConfig()))
        for path in ("/", "/demo/playground.js", "/demo/playground.css", "/demo/socket?id=a-1"):
            self.assertEqual(404, self.ask(path)[0], path)


class SocketTests(MemoryGatewayCase):
    """``/demo/socket`` tells a page about its own socket."""

    def setUp(self) -> None:
        """Start a gateway with a playground and people."""
        self.register = Register()
        config = GatewayConfig(demo=True, ping_interval=100000.0, trusted_proxy=("unix",))
        self.use(MemoryGateway(config, authenticator=self.register))

    def come(self, *headers: str) -> str:
        """Open a WebSocket. Returns: The name of its connection."""
        client = self.open("/ws/a?subscribe-user&subscribe-broadcast", *headers)
        return self.protocol(client).connection_id

    def send(self, target: str, *headers: str, method: str = "GET") -> Socket:
        """Returns: A connection on which a request was sent."""
        client = self.connect()
        lines = [f"{method} /demo/socket{target} HTTP/1.1", *(headers or OWN), "", ""]
        client.send("\r\n".join(lines).encode())
        return client

    def ask(self, target: str, *headers: str) -> tuple[int, Any, str]:
        """Returns: Status, decoded body, and head in lower case."""
        return self.read(self.send(target, *headers))

    def read(self, client: Socket) -> tuple[int, Any, str]:
        """Returns: Status, decoded body, and head in lower case."""
        head, _, body = client.take().partition(b"\r\n\r\n")
        return int(head[9:12]), json.loads(body) if body else None, head.decode().lower()

    def test_nobody(self) -> None:
        """A visitor without an identity gets the report at once, and no cache keeps it."""
        name = self.come()
        status, report, head = self.ask(f"?id={name}")
        self.assertEqual((200, name), (status, report["id"]))
        self.assertEqual(["broadcast:a"], report["subscribe"][0]["channels"])
        for line in (
            "content-type: application/json",
            "cache-control: no-store",
            "x-content-type-options: nosniff",
            "cross-origin-resource-policy: same-origin",
        ):
            self.assertIn(f"\r\n{line}\r\n", head + "\r\n")
        self.assertNotIn("access-control", head)

    def test_user(self) -> None:
        """A user is recognized by what the request says, as a socket is by its handshake."""
        name = self.come("Authorization: john")
        status, report, _ = self.ask(f"?id={name}", *OWN, "Authorization: john")
        self.assertEqual((200, "john"), (status, report["identity"]["user"]))
        self.assertNotIn("key-of-john", json.dumps(report))
        self.assertEqual((200, None), self.ask(f"?id={name}")[:2])

    def test_asks_later(self) -> None:
        """The answer may have to wait for that of an application."""
        name = self.come("Authorization: john")
        john, pending = self.register.known["john"], Deferred[Identity]()
        self.register.known["john"] = pending
        client = self.send(f"?id={name}", *OWN, "Authorization: john")
        self.assertEqual(b"", client.take())
        pending.callback(john)
        status, report, head = self.read(client)
        self.assertEqual((200, "john"), (status, report["identity"]["user"]))
        self.assertIn("\r\ncontent-length: ", head)

    def test_leaves_early(self) -> None:
        """Whoever leaves before cancels the question."""
        name = self.come("Authorization: john")
        cancelled: list[object] = []
        self.register.known["john"] = Deferred(cancelled.append)
        client = self.send(f"?id={name}", *OWN, "Authorization: john")
        client.leave()
        self.assertEqual(1, len(cancelled))

    def test_rejected(self) -> None:
        """If it cannot be told who asks, the status says why."""
        name = self.come("Authorization: john")
        self.register.known["john"] = HandshakeRejected("try again later", 503)
        status, body, _ = self.ask(f"?id={name}", *OWN, "Authorization: john")
        self.assertEqual((503, {"error": "try again later"}), (status, body))

    def test_broken(self) -> None:
        """An error of an authenticator is logged once a minute, and shown to nobody."""
        name = self.come("Authorization: john")
        self.register.known["john"] = ZeroDivisionError("secret")
        for _ in range(3):
            status, body, _ = self.ask(f"?id={name}", *OWN, "Authorization: john")
            self.assertEqual((500, {"error": "internal error"}), (status, body))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_unknown(self) -> None:
        """For names that are none there is nothing to say, whatever they are."""
        for target in ("", "?", "?id=", "?id=nosuch-1", "?x=y", "?id=%00%ff", "?id=" + "x" * 9000):
            self.assertEqual((200, None), self.ask(target)[:2], target[:20])
        self.assertIn(b" 405 ", self.send("?id=a", method="POST").take())

    def test_foreign_page(self) -> None:
        """A page of another origin gets no answer, however it asks."""
        name = self.come()
        for headers in (
            ("Origin: http://evil.example",),
            ("Sec-Fetch-Site: cross-site",),
            ("Sec-Fetch-Site: same-site",),
            ("Referer: http://evil.example/",),
            ("Host: evil.example:8080", "Sec-Fetch-Site: same-origin"),
        ):
            hosts = () if headers[0].startswith("Host") else ("Host: localhost",)
            status, body, head = self.ask(f"?id={name}", *hosts, *headers)
            self.assertEqual(403, status, headers)
            self.assertNotIn("facility", body)
            self.assertNotIn("access-control", head)

    def test_rate(self) -> None:
        """An address gets 20 answers at once and 5 a second, and its neighbours theirs."""
        statuses = [self.ask("?id=x")[0] for _ in range(30)]
        self.assertEqual([200] * 20, statuses[:20])
        self.assertEqual(429, statuses[-1])
        _, body, head = self.ask("?id=x")
        self.assertEqual({"error": "too many questions"}, body)
        self.assertIn("\r\nretry-after: 1", head)
        other = self.connect("192.0.2.99")
        other.send("\r\n".join(["GET /demo/socket?id=x HTTP/1.1", *OWN, "", ""]).encode())
        self.assertEqual(200, self.read(other)[0])
        self.wait(2)
        self.assertEqual(200, self.ask("?id=x")[0])

    def test_rate_of_all(self) -> None:
        """All addresses together have a bound, too."""
        statuses = set()
        for number in range(250):
            client = self.connect(f"192.0.2.{number % 250}")
            client.send("\r\n".join(["GET /demo/socket?id=x HTTP/1.1", *OWN, "", ""]).encode())
            statuses.add(self.read(client)[0])
        self.assertEqual({200, 429}, statuses)
