"""``--auth-url``: gateways that ask applications, all in processes of their own."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path
from threading import Event
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.application import Application
from tests.support.children import PATIENCE, Child, Gateway, RedisServer, clean_environment, until
from tests.support.health import health
from tests.support.raw import RawClient, handshake, response
from tests.support.require import missing

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

#: All that belongs to a user.
PRIVATE = "subscribe-user&subscribe-group&subscribe-session"


class AuthUrlCase(SynchronousTestCase):
    """A test case with Redis, and a gateway that asks at a URL."""

    skip = missing("redis")

    def setUp(self) -> None:
        """Start Redis."""
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)

    def start(self, url: str, *options: str) -> None:
        """Start the gateway."""
        self.gateway = Gateway("--redis", self.redis.url, "--auth-url", url, *options)
        self.addCleanup(self.gateway.stop)

    def open(self, path: str, *headers: str) -> RawClient:
        """Connect a client and shake hands."""
        client = RawClient.opened(self.gateway.port, path, *headers)
        self.addCleanup(client.socket.close)
        return client

    def refused(self, path: str, *headers: str) -> tuple[int, bytes]:
        """Try to connect, and return the status and the text."""
        status, _, body = response(self.gateway.port, handshake(path, *headers))
        return status, body

    def publish(self, channel: str, payload: str) -> None:
        """Publish, and check that the clients receive it."""
        self.assertEqual(1, self.redis.command("PUBLISH", channel, payload))


class ExampleCase(AuthUrlCase):
    """Tests that both examples share."""

    def start_application(self, *words: str, port: int = 0) -> None:
        """Start the application, and a gateway that asks it, if there is none yet."""
        environ = clean_environment({"SECRET_KEY": "for tests", "PYTHONUNBUFFERED": "1"})
        self.application = Child(
            [sys.executable, "-m", *words, "--host", "127.0.0.1", "--port", str(port)],
            env=environ,
            cwd=str(EXAMPLES),
        )
        self.addCleanup(self.application.stop)
        found = self.application.wait_for(r"[Rr]unning on http://127\.0\.0\.1:(\d+)")
        self.port = int(found[1])
        if port == 0:
            self.start(f"http://127.0.0.1:{self.port}/wsredis-auth")

    def post(self, path: str, value: object = None, cookie: str = "") -> str:
        """Use the application as a browser does, and return the cookie that it set, or nothing."""
        link = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        headers = {"Content-Type": "application/json", "Cookie": cookie}
        link.request("POST", path, json.dumps(value), headers)
        answer = link.getresponse()
        answer.read()
        link.close()
        self.assertEqual(200, answer.status)
        return (answer.getheader("Set-Cookie") or "").partition(";")[0]

    def check_users(self) -> str:
        """Check the channels of users, groups and sessions, and return a session cookie."""
        john = self.post("/login", {"user": "john"})
        mary = self.post("/login", {"user": "mary"})
        clients = {
            name: self.open(f"/ws/chat?{PRIVATE}", f"Cookie: other=1; {cookie}")
            for name, cookie in (("john", john), ("mary", mary))
        }
        for name, client in clients.items():
            self.publish(f"user:{name}:chat", f"for {name}")
            self.assertEqual(f"for {name}".encode(), client.message())
        self.publish("group:staff:chat", "for staff")
        self.assertEqual(b"for staff", clients["john"].message())
        channels = self.redis.command("PUBSUB", "CHANNELS", "session:*:chat")
        assert isinstance(channels, list)
        self.assertEqual(2, len(channels))
        return john

    def check_strangers(self) -> None:
        """Check that anonymous clients get broadcasts and nothing else."""
        stranger = self.open("/ws/chat?subscribe-broadcast")
        self.publish("broadcast:chat", "for all")
        self.assertEqual(b"for all", stranger.message())
        self.assertEqual(
            (403, b"you may not subscribe-user here"), self.refused("/ws/chat?subscribe-user")
        )
        self.assertEqual(
            (403, b"you may not publish-broadcast here"),
            self.refused("/ws/chat?subscribe-broadcast&publish-broadcast"),
        )
        self.assertEqual((401, b"log in first"), self.refused("/ws/private/a?subscribe-broadcast"))
        self.assertEqual(
            (401, b"log in first"),
            self.refused("/ws/private/a?subscribe-broadcast", "Cookie: session=x; sessionid=y"),
        )


class FlaskTests(ExampleCase):
    """The example for Flask."""

    def setUp(self) -> None:
        """Start the example as its first lines say."""
        super().setUp()
        self.words = ("flask", "--app", "auth_flask", "run")
        self.start_application(*self.words)

    def test_users(self) -> None:
        """Clients are known by the session of Flask."""
        self.check_users()

    def test_strangers(self) -> None:
        """Anonymous clients may do what the application allows."""
        self.check_strangers()

    def test_transcript(self) -> None:
        """The answers in the how-to are those of the example."""
        page = (EXAMPLES.parent / "howto" / "ask-the-application.rst").read_text("utf-8")
        shown = re.findall(
            r"^   \$ curl -i http://127\.0\.0\.1:5000(\S+) (.+)\n   HTTP/1\.1 (\d+) .+\n"
            r"   Content-Type: (.+)\n\n   (.+)$",
            page,
            re.MULTILINE,
        )
        self.assertEqual(2, len(shown))
        for path, words, status, kind, body in shown:
            link = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
            headers = shlex.split(words.replace("-H ", ""))
            link.request("GET", path, headers=dict(each.split(": ") for each in headers))
            answer = link.getresponse()
            self.assertEqual(
                (int(status), kind, json.loads(body)),
                (answer.status, answer.getheader("Content-Type"), json.loads(answer.read())),
            )
            link.close()

    def test_stopped(self) -> None:
        """While the application is away, nobody gets in, and open WebSockets stay."""
        john = f"Cookie: {self.post('/login', {'user': 'john'})}"
        client = self.open("/ws/chat?subscribe-user", john)
        self.application.stop()
        for _ in range(2):
            status, head, body = response(
                self.gateway.port, handshake("/ws/chat?subscribe-user", john)
            )
            self.assertEqual((503, b"try again later"), (status, body))
            self.assertIn("\r\nRetry-After: ", head)
        self.gateway.child.wait_for(r"503 .* \(--auth-url http://127\.0\.0\.1:\d+/wsredis-auth: ")
        self.assertNotIn(john.partition("=")[2], self.gateway.log)
        self.publish("user:john:chat", "still here")
        self.assertEqual(b"still here", client.message())
        # Nobody is let in.
        until(lambda: health(self.gateway.port)[0] == 503)
        self.assertEqual(["identities"], list(health(self.gateway.port)[1]))
        self.start_application(*self.words, port=self.port)
        # A balancer sends nobody until then.
        until(lambda: health(self.gateway.port) == (200, {}))
        self.open("/ws/other?subscribe-user", john)


class FastapiTests(ExampleCase):
    """The example for FastAPI."""

    def setUp(self) -> None:
        """Start the example as its first lines say."""
        super().setUp()
        self.start_application("uvicorn", "auth_fastapi:app")

    def test_users(self) -> None:
        """Clients are known by the session cookie of the application, until logout."""
        john = self.check_users()
        self.post("/logout", cookie=john)
        self.assertEqual(403, self.refused("/ws/chat?subscribe-user", f"Cookie: {john}")[0])

    def test_strangers(self) -> None:
        """Anonymous clients may do what the application allows."""
        self.check_strangers()

    def test_logout(self) -> None:
        """The application ends the WebSockets of a session by a command."""
        cookies = [self.post("/login", {"user": "john"}) for _ in range(2)]
        first, second = (
            self.open("/ws/chat?subscribe-user", f"Cookie: {cookie}") for cookie in cookies
        )
        _, _, key = cookies[0].partition("=")
        self.publish("wsredis-control", json.dumps({"end": {"session": key}}))
        self.assertEqual(4401, first.closing())
        self.publish("user:john:chat", "still here")
        self.assertEqual(b"still here", second.message())


class ApplicationCase(AuthUrlCase):
    """A test case with a gateway, and an application that the test controls."""

    options: tuple[str, ...] = ()

    def setUp(self) -> None:
        """Start both."""
        super().setUp()
        self.reply: tuple[int, Any] = (200, {"user": "john"})
        self.application = Application(self.answer)
        self.addCleanup(self.application.stop)
        url = f"http://127.0.0.1:{self.application.port}/who?key=query-secret"
        self.start(url, *self.options)

    def answer(self, headers: Mapping[str, str]) -> tuple[int, Any]:
        """Return the reply of the application."""
        return self.reply


class SocketTests(ApplicationCase):
    """Replies that change open WebSockets."""

    def test_expires(self) -> None:
        """A WebSocket is closed with 4401 when its identity expires."""
        self.application.answer = lambda headers: (
            200,
            {"user": "john", "expires": time.time() + 3},
        )
        self.assertEqual(4401, self.open("/ws/chat?subscribe-user").closing())

    def test_large_cookies(self) -> None:
        """8 KiB of cookies arrive complete."""
        cookies = "; ".join(f"cookie{n}={'x' * 100}" for n in range(75))
        self.open("/ws/chat?subscribe-user", f"Cookie: {cookies}")
        self.assertEqual(cookies, self.application.questions[-1]["cookie"])

    def test_recheck(self) -> None:
        """When asked again, the application may change groups, fail, or end the identity."""
        client = self.open("/ws/chat?subscribe-group")
        command = json.dumps({"recheck": {"user": "john"}})
        self.reply = (200, {"user": "john", "groups": ["new"]})
        self.publish("wsredis-control", command)
        until(lambda: self.redis.command("PUBSUB", "CHANNELS", "group:new:chat"))
        self.publish("group:new:chat", "welcome")
        self.assertEqual(b"welcome", client.message())
        self.reply = (500, {})
        self.publish("wsredis-control", command)
        self.gateway.child.wait_for("identity check failed; keeping connections: --auth-url ")
        self.publish("group:new:chat", "still here")
        self.assertEqual(b"still here", client.message())
        self.reply = (401, {})
        self.publish("wsredis-control", command)
        self.assertEqual(4401, client.closing())

    def test_another_user(self) -> None:
        """A cookie that belongs to another user by now closes the WebSocket."""
        client = self.open("/ws/chat?subscribe-user")
        self.reply = (200, {"user": "mary"})
        self.publish("wsredis-control", json.dumps({"recheck": {"user": "john"}}))
        self.assertEqual(4401, client.closing())


class LogTests(ApplicationCase):
    """Log lines."""

    options = ("--verbose",)

    def test_secrets(self) -> None:
        """No log line has a cookie, a token, the query of the URL or a reply."""
        headers = (
            "Cookie: sessionid=cookie-secret",
            "Authorization: Bearer token-secret",
            "Sec-WebSocket-Protocol: bearer.protocol-secret",
        )
        self.reply = (200, {"user": "john", "session": "session-secret"})
        with self.open("/ws/chat?subscribe-session&x=client-secret", *headers):
            pass
        for reply in ((200, ["body-secret"]), (500, "body-secret"), (200, {"user": 1})):
            self.reply = reply
            self.assertEqual(503, self.refused("/ws/chat", *headers)[0])
        for status in (401, 403):
            self.reply = (status, {})
            self.assertEqual(status, self.refused("/ws/chat", *headers)[0])
        self.assertEqual("Bearer token-secret", self.application.questions[-1]["authorization"])
        self.gateway.child.wait_for("closed ")
        self.assertNotIn("secret", self.gateway.log)
        self.assertNotIn("Traceback", self.gateway.log)
        self.assertNotIn("HTTP11ClientFactory", self.gateway.log)


class SlowTests(ApplicationCase):
    """A slow application."""

    options = ("--auth-concurrency", "2", "--auth-timeout", "60", "--handshake-timeout", "60")

    def setUp(self) -> None:
        """Start an application that delays clients with the user agent X."""
        self.go_on = Event()
        super().setUp()
        self.addCleanup(self.go_on.set)

    def answer(self, headers: Mapping[str, str]) -> tuple[int, Any]:
        """Wait with some answers until the test says so."""
        if headers.get("user-agent") == "slow":
            self.go_on.wait(PATIENCE)
        return self.reply

    def waiting(self, count: int) -> RawClient:
        """Connect a client whose reply is delayed, and wait until *count* questions were asked."""
        client = RawClient(self.gateway.port)
        self.addCleanup(client.socket.close)
        client.send(handshake("/ws/chat?subscribe-user", "User-Agent: slow"))
        until(lambda: len(self.application.questions) == count)
        return client

    def test_others(self) -> None:
        """Only the clients without an answer of the application yet wait."""
        first = self.open("/ws/chat?subscribe-user")
        slow = self.waiting(2)
        second = self.open("/ws/other?subscribe-user")
        self.publish("user:john:chat", "quick")
        self.assertEqual(b"quick", first.message())
        self.publish("user:john:other", "quick")
        self.assertEqual(b"quick", second.message())
        self.go_on.set()
        self.assertIn(" 101 ", slow.head())

    def test_leaving(self) -> None:
        """Clients that leave make room for the next ones."""
        for count in (1, 2):
            self.waiting(count).socket.close()
        for _ in range(3):
            self.open("/ws/chat?subscribe-user")


class TimeoutTests(ApplicationCase):
    """An application that never answers."""

    options = ("--auth-timeout", "0.1")

    def answer(self, headers: Mapping[str, str]) -> tuple[int, Any]:
        """Wait until the client gives up."""
        self.go_on.wait(PATIENCE)
        return self.reply

    def setUp(self) -> None:
        """Start an application that waits for the end of the test."""
        self.go_on = Event()
        super().setUp()
        self.addCleanup(self.go_on.set)

    def test_silence(self) -> None:
        """The client gets 503 with Retry-After."""
        self.assertEqual((503, b"try again later"), self.refused("/ws/chat"))
        self.gateway.child.wait_for(r"it did not answer within 0\.1 s \(--auth-timeout\)")


class CacheTests(ApplicationCase):
    """Answers that are kept."""

    options = ("--auth-cache", "3600")

    def test_cache(self) -> None:
        """One question is enough for all handshakes with the same credentials and access."""
        for _ in range(3):
            self.open("/ws/chat?subscribe-user", "Cookie: a=1")
        self.assertEqual(1, len(self.application.questions))
        self.open("/ws/chat?subscribe-user", "Cookie: a=2")
        self.open("/ws/chat", "Cookie: a=2")
        self.assertEqual(3, len(self.application.questions))

    def test_command(self) -> None:
        """A command to check a user makes the gateway ask again."""
        client = self.open("/ws/chat?subscribe-user")
        self.reply = (401, {})
        self.publish("wsredis-control", json.dumps({"recheck": {"user": "john"}}))
        self.assertEqual(4401, client.closing())


class StartTests(SynchronousTestCase):
    """Settings that cannot be used."""

    def test_bad_settings(self) -> None:
        """A bad setting ends the start with one line that names it, and status 1."""
        # The parser of the command line names the option, a later check names the setting.
        for words, why in (
            (("--auth-url", "example.com/who"), "--auth-url: this is not a URL"),
            (("--auth-url", "http://user:password@example.com/"), "--auth-url: this is not a URL"),
            (
                ("--auth-url", "http://example.com:99999/?key=secret"),
                "auth-url: this URL has no host, or an impossible port",
            ),
            (("--auth-url", "http://[::1]/?key=secret"), "auth-url: this URL has an IPv6 address"),
            (("--auth-cache", "-1"), "--auth-cache: '-1' is not a number of seconds"),
        ):
            run = subprocess.run(
                [
                    *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()"),
                    *("-n", "--pidfile=", "wsredis", "--port", "tcp:0:interface=127.0.0.1"),
                    *("--redis", "redis://localhost:1", *words),
                ],
                env=clean_environment(),
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                cwd=self.mktemp_folder(),
            )
            self.assertEqual(1, run.returncode, run.stderr)
            (line,) = run.stderr.splitlines()
            self.assertIn(f"wsredis: {why}", line)
            self.assertNotIn("secret", line)

    def mktemp_folder(self) -> str:
        """Make an empty folder the working directory."""
        path = Path(self.mktemp())
        path.mkdir(parents=True)
        return str(path)
