"""Tokens with a real gateway: their place, their claims, their expiry."""

from __future__ import annotations

import ssl
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.integration.test_life import NO_REDIS, LifeCase
from tests.support.case import GatewayCase
from tests.support.certificates import Authority
from tests.support.children import PATIENCE, Gateway, until
from tests.support.health import health
from tests.support.raw import RawClient, handshake, response
from tests.support.require import missing
from tests.support.tokens import jwk, jwk_set, private_key, private_pem, signed, verifier

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "issue_token.py"

#: The first second of 2001.
PAST = 978307200


class _KeyServer:
    """
    Serves a JWK Set over HTTP.

    Attributes:
        body: Body of the answers.
        status: HTTP status of the answers.
        asked: The number of requests so far.
    """

    def __init__(
        self, body: bytes = b"", status: int = 200, context: ssl.SSLContext | None = None
    ) -> None:
        self.body = body
        self.status = status
        self.asked = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.asked += 1
                self.send_response(owner.status)
                self.send_header("Content-Length", str(len(owner.body)))
                self.end_headers()
                self.wfile.write(owner.body)

            def log_message(self, *words: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        scheme = "http"
        if context is not None:
            scheme = "https"
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{scheme}://localhost:{self._server.server_address[1]}/keys.json"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join(PATIENCE)
        self._server.server_close()


class JwtCase(GatewayCase):
    """A test case with gateways that know clients by tokens."""

    skip = missing("redis")

    def file(self, content: bytes) -> str:
        """Write a file, and return its path."""
        folder = tempfile.mkdtemp(dir=".")
        path = Path(folder, "file").absolute()
        path.write_bytes(content)
        return str(path)

    def start(self, *options: str, environ: dict[str, str] | None = None) -> Gateway:
        """Start a gateway, which is stopped after the test."""
        # Clients that do not answer a close frame are not waited for.
        options = ("--redis", self.redis.url, "--prefix", self.id(), "--drain", "0", *options)
        gateway = Gateway(*options, environ=environ)
        self.addCleanup(gateway.stop)
        return gateway

    def client(self, gateway: Gateway, path: str, *headers: str) -> RawClient:
        """Connect and shake hands; it is closed after the test."""
        client = RawClient.opened(gateway.port, path, *headers)
        self.addCleanup(client.socket.close)
        return client

    def status(self, gateway: Gateway, token: str, path: str = "/ws/x?subscribe-user") -> int:
        """Return the answer to a handshake with a token in the header."""
        with RawClient(gateway.port) as client:
            client.send(handshake(path, f"Authorization: Bearer {token}"))
            return int(client.head().split()[1])

    def assertHears(self, client: RawClient, channel: str) -> None:
        """Check that the client is subscribed to a channel."""
        self.redis.command("PUBLISH", f"{self.id()}:{channel}", channel)
        self.assertEqual(channel.encode(), client.message())


class IdentityTests(JwtCase):
    """The access that tokens give; no token is logged."""

    def test_everything(self) -> None:
        """A token may come in four ways, and is never logged, whether it is valid or not."""
        key = self.file(verifier("RS256"))
        gateway = self.start(
            *("--jwt-key", key, "--jwt-cookie", "token", "--jwt-query", "token", "--verbose")
        )
        good = signed("RS256", groups=["staff", "admins"], sid="s1")
        bad = [
            signed("RS256", exp=PAST, sub="very-late"),
            signed("RS256", number=1, sub="forger"),
            signed("HS256", sub="confuser"),
            signed("RS256", channels={"x": ["rubbish"]}),
            f"{good[:-8]}changed1",
        ]
        flags = "subscribe-user&subscribe-group&subscribe-session"

        def ways(token: str) -> list[tuple[str, ...]]:
            return [
                (f"/ws/x?{flags}", f"Authorization: Bearer {token}"),
                (f"/ws/x?{flags}", f"Sec-WebSocket-Protocol: chat, bearer.{token}"),
                (f"/ws/x?{flags}", f"Sec-WebSocket-Protocol: bearer.{token}"),
                (f"/ws/x?{flags}", f"Cookie: other=1; token={token}"),
                (f"/ws/x?{flags}&token={token}",),
            ]

        for path, *headers in ways(good):
            client = self.client(gateway, path, *headers)
            for channel in ("user:john:x", "group:staff:x", "group:admins:x", "session:s1:x"):
                self.assertHears(client, channel)
        for token in bad:
            for path, *headers in ways(token):
                status, head, body = response(gateway.port, handshake(path, *headers))
                self.assertEqual(401, status)
                self.assertIn("\r\nwww-authenticate: bearer", head.lower())
                self.assertIn(body, (b"the token is not valid", b"the token expired"))
        for request in (
            handshake("/ws/x", f"Sec-WebSocket-Protocol: bearer.{good}, bearer.{good}"),
            handshake(f"/elsewhere?token={good}"),
            handshake(f"/ws/x?token={good}", "Sec-WebSocket-Version: 7"),
            f"GET /ws/x?token={good} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(),
            f"GET /ws/x?token={good} HTTP/1.1\r\nHost : x\r\n\r\n".encode(),
            f"GET /health/live?token={good} HTTP/1.0\r\n\r\n".encode(),
            handshake("/ws/x", f"Authorization: Bearer {good}", "X-Large: " + "x" * 20000),
        ):
            response(gateway.port, request)
        gateway.stop()
        self.assertIn("401 'the token expired'", gateway.log)
        self.assertIn("(its signature does not fit the key)", gateway.log)
        for token in (good, *bad):
            for part in token.split("."):
                self.assertNotIn(part, gateway.log)
        for claim in ("very-late", "forger", "confuser", "rubbish", "Traceback"):
            self.assertNotIn(claim, gateway.log)

    def test_algorithms(self) -> None:
        """A gateway for each algorithm accepts its own tokens and no others."""
        for algorithm in ("HS256", "ES256", "EdDSA"):
            gateway = self.start("--jwt-key", self.file(verifier(algorithm)))
            self.assertEqual(101, self.status(gateway, signed(algorithm)))
            self.assertEqual(401, self.status(gateway, signed(algorithm, number=1)))
            self.assertEqual(401, self.status(gateway, signed("RS256")))
            self.client(gateway, "/ws/x?subscribe-broadcast")
            gateway.stop()

    def test_channels(self) -> None:
        """A claim limits channels: another flag is rejected, and named."""
        gateway = self.start("--jwt-key", self.file(verifier("HS256")))
        token = signed(channels={"chat.*": ["subscribe", "publish-broadcast"]})
        for path, status in (
            ("/ws/chat.a?subscribe-user&publish-broadcast", 101),
            ("/ws/chat.a?publish-user", 403),
            ("/ws/news?subscribe-broadcast", 403),
            ("/ws/news", 101),
        ):
            self.assertEqual(status, self.status(gateway, token, path), path)
        gateway.child.wait_for("you may not publish-user here")

    def test_expiry(self) -> None:
        """The WebSocket is closed with 4401 when the token expires, and not before."""
        gateway = self.start("--jwt-key", self.file(verifier("HS256")), "--jwt-leeway", "0")
        token = signed(exp=int(time.time()) + 4)
        staying = self.client(gateway, "/ws/x?subscribe-user", f"Authorization: Bearer {signed()}")
        client = self.client(gateway, "/ws/x?subscribe-user", f"Authorization: Bearer {token}")
        self.assertHears(client, "user:john:x")
        self.assertEqual(4401, client.closing())
        self.assertEqual(401, self.status(gateway, token))
        self.assertEqual(b"user:john:x", staying.message())
        self.assertHears(staying, "user:john:x")

    def test_ended_unheard(self) -> None:
        """The end of a session is found in the log, although nothing was heard of it."""
        gateway = self.start("--jwt-key", self.file(verifier("HS256")))
        clients = [
            self.client(gateway, "/ws/x?subscribe-user", f"Authorization: Bearer {signed(sid=sid)}")
            for sid in ("s1", "s2")
        ]
        order = '{"end": {"session": "s1"}}'
        self.redis.command("XADD", f"{self.id()}:wsredis-ended", "*", "command", order)
        self.assertEqual(4401, clients[0].closing())
        self.assertEqual(401, self.status(gateway, signed(sid="s1")))
        self.assertHears(clients[1], "user:john:x")
        gateway.stop()
        # One that starts later knows it, too.
        gateway = self.start("--jwt-key", self.file(verifier("HS256")))
        until(lambda: self.status(gateway, signed(sid="s1")) == 401)

    def test_far_future(self) -> None:
        """An expiry in the far future does no harm."""
        gateway = self.start("--jwt-key", self.file(verifier("HS256")))
        for exp in (1e300, 10**18):
            token = signed(exp=exp)
            client = self.client(gateway, "/ws/x?subscribe-user", f"Authorization: Bearer {token}")
            self.assertHears(client, "user:john:x")

    def test_documented_example(self) -> None:
        """The program of the how-to issues a token that the gateway accepts."""
        secret = self.file(private_key("HS256") + b"\n")
        folder = Path(secret).parent
        Path(secret).rename(folder / "token.key")
        gateway = self.start("--jwt-key", str(folder / "token.key"))
        said = subprocess.run(
            [sys.executable, EXAMPLE, "john"],
            cwd=folder,
            capture_output=True,
            check=True,
            timeout=PATIENCE,
        )
        token = said.stdout.decode().strip()
        client = self.client(
            gateway,
            "/ws/x?subscribe-group",
            f"Sec-WebSocket-Protocol: chat, bearer.{token}",
        )
        self.assertHears(client, "group:staff:x")


class KeySetTests(JwtCase):
    """Keys from a JWK Set."""

    def serve(self, *words: Any) -> _KeyServer:
        """Start a server of keys."""
        server = _KeyServer(*words)
        self.addCleanup(server.stop)
        return server

    def fetching(self, server: _KeyServer, *options: str, **environ: str) -> Gateway:
        """Start a gateway that fetches its keys there."""
        words = ("--jwt-jwks-url", server.url, "--jwt-algorithm", "ES256", *options)
        return self.start(*words, environ=environ)

    def test_rotation(self) -> None:
        """New keys are fetched with one request; old ones are not accepted then."""
        server = self.serve(jwk_set(jwk("ES256", "old")))
        gateway = self.fetching(server, "--jwt-jwks-interval", "1")
        gateway.child.wait_for("the JWK Set has 1 keys for ES256")
        old = signed("ES256", headers={"kid": "old"})
        new = signed("ES256", number=1, headers={"kid": "new"})
        self.assertEqual(101, self.status(gateway, old))
        server.body = jwk_set(jwk("ES256", "new", 1))
        until(lambda: self.status(gateway, new) == 101)
        self.assertEqual(2, server.asked)
        self.assertEqual(401, self.status(gateway, old))

    def test_flood(self) -> None:
        """Tokens with unknown keys cause no more requests than the interval allows."""
        server = self.serve(jwk_set(jwk("ES256", "a")))
        gateway = self.fetching(server, "--jwt-jwks-interval", "3600")
        gateway.child.wait_for("the JWK Set has 1 keys for ES256")
        tokens = [signed("ES256", headers={"kid": f"kid{number}"}) for number in range(40)]
        with ThreadPoolExecutor(8) as pool:
            statuses = set(pool.map(lambda token: self.status(gateway, token), tokens))
        self.assertEqual({401}, statuses)
        self.assertEqual(1, server.asked)
        self.assertEqual(101, self.status(gateway, signed("ES256", headers={"kid": "a"})))

    def test_no_keys_yet(self) -> None:
        """Without keys a token leads to 503 until they are fetched; the gateway is not ready."""
        server = self.serve(b"sorry", 500)
        gateway = self.fetching(server)
        gateway.child.wait_for("cannot fetch the JWK Set: the answer has the status 500")
        token = signed("ES256", headers={"kid": "a"})
        self.assertEqual(503, self.status(gateway, token))
        self.client(gateway, "/ws/x?subscribe-broadcast")
        status, problems = health(gateway.port)
        self.assertEqual((503, ["identities"]), (status, list(problems)))
        server.body, server.status = jwk_set(jwk("ES256", "a")), 200
        until(lambda: health(gateway.port) == (200, {}))
        self.assertEqual(101, self.status(gateway, token))
        self.assertNotIn("Traceback", gateway.log)

    def test_tls(self) -> None:
        """Keys are not fetched from a server with an untrusted certificate."""
        authority = Authority(Path(tempfile.mkdtemp(dir=".")).absolute())
        key, certificate = authority.issue("localhost")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server = self.serve(jwk_set(jwk("ES256", "a")), 200, context)
        gateway = self.fetching(server)
        gateway.child.wait_for("cannot fetch the JWK Set: .*certificate verify failed")
        self.assertEqual(0, server.asked)
        trusting = self.fetching(server, SSL_CERT_FILE=str(authority.path))
        trusting.child.wait_for("the JWK Set has 1 keys for ES256")
        self.assertEqual(101, self.status(trusting, signed("ES256", headers={"kid": "a"})))

    def test_file(self) -> None:
        """A file is read again when it changes."""
        path = self.file(jwk_set(jwk("ES256", "a")))
        gateway = self.start("--jwt-jwks-file", path, "--jwt-algorithm", "ES256")
        self.assertEqual(101, self.status(gateway, signed("ES256", headers={"kid": "a"})))
        Path(path).write_bytes(jwk_set(jwk("ES256", "another", 1)))
        new = signed("ES256", number=1, headers={"kid": "another"})
        self.assertEqual(101, self.status(gateway, new))
        self.assertEqual(401, self.status(gateway, signed("ES256", headers={"kid": "a"})))


class SettingTests(LifeCase):
    """Settings that cannot be used."""

    def test_one_line(self) -> None:
        """The gateway does not start, and one line names the option."""
        files = {
            "secret": verifier("HS256"),
            "short": b"too short",
            "public": verifier("RS256"),
            "private": private_pem(private_key("RS256")),
            "empty": b"",
            "set": jwk_set(jwk("HS256", "a")),
        }
        for name, content in files.items():
            (self.directory / name).write_bytes(content)

        def key(name: str, *more: str) -> tuple[str, ...]:
            return ("--jwt-key", str(self.directory / name), *more)

        for options, part in (
            (key("missing"), "missing: No such file or directory"),
            (key("empty"), "jwt-key: "),
            (key("short"), "short: the secret is shorter than 32 bytes"),
            (key("private"), "private: this is a private key"),
            (key("set"), "set: this is not a shared secret"),
            (key("public", "--jwt-algorithm", "HS256"), "jwt-algorithm: HS256 does not fit "),
            (key("secret", "--jwt-algorithm", "none"), "--jwt-algorithm: 'none' is not one of"),
            (key("secret", "--jwt-jwks-url", "http://localhost/"), "jwt-key, jwt-jwks-url: only"),
            (("--jwt-issuer", "me"), "jwt-key, jwt-jwks-url, jwt-jwks-file: one of them"),
            (("--jwt-jwks-url", "http://localhost/"), "jwt-jwks-url: requires jwt-algorithm"),
            (("--jwt-jwks-url", "file:///etc/passwd"), "--jwt-jwks-url: "),
            (
                ("--jwt-jwks-file", str(self.directory / "set"), "--jwt-algorithm", "RS256"),
                "set: it has no key for RS256",
            ),
        ):
            self.assert_one_line(self.wrong(*NO_REDIS, *options), part)
