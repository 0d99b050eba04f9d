"""Tests for `wsredis.service.check_config`: its report of settings and of rights."""

from __future__ import annotations

import os
import sys
from io import StringIO
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import Authority
from wsredis.channels import Access, Audience
from wsredis.gateway.identity import Handshake, Identity
from wsredis.service.check_config import run

REDIS = ("--redis", "unix:///nonexistent/redis.sock")

#: Where the functions below are.
HERE = __name__

RULES = """
[[rule]]
facility = "chat.*"
right = "publish"
who = ["group:staff", "user:john"]
allow = true

[[rule]]
facility = "chat.*"
right = "publish"
allow = false
"""

waiting: Deferred[bool] = Deferred()


async def waits(identity: Identity, handshake: Handshake) -> bool:
    """It waits, once for all questions."""
    await waiting
    return True


def never(identity: Identity, handshake: Handshake) -> Deferred[bool]:
    """It has no answer."""
    return Deferred()


def fails(identity: Identity, handshake: Handshake) -> bool:
    """It has a mistake, but for publishing."""
    if handshake.requested.publish:
        return True
    raise KeyError("line\nbreak")


def staff_only(identity: Identity, handshake: Handshake) -> bool:
    """It knows one group."""
    return "staff" in identity.groups


def elsewhere(identity: Identity, handshake: Handshake) -> Access:
    """It lets everybody listen to something else, and nothing more."""
    return Access("elsewhere", frozenset({Audience.BROADCAST}))


class _Reactor(Clock):
    """A reactor that runs until somebody stops it; it has some time to pass."""

    running = False

    def run(self) -> None:
        """Go on to the next thing to do."""
        self.running = True
        while self.running:
            if not waiting.called:
                waiting.callback(True)
            else:
                self.advance(1)

    def crash(self) -> None:
        """Run no more."""
        self.running = False


class _CheckCase(SynchronousTestCase):
    """An environment without settings."""

    def setUp(self) -> None:
        """No setting is made; the output is caught."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("WSREDIS_")}
        self.patch(os, "environ", clean)
        self.patch(sys, "stdout", StringIO())
        self.patch(sys, "stderr", StringIO())

    def file(self, text: str) -> str:
        """The path of a TOML file with *text*."""
        path = Path(self.mktemp())
        path.write_text(text, "utf-8")
        return str(path)

    def printed(self, *words: str, reactor: _Reactor | None = None) -> list[str]:
        """The lines that are printed below OK, but for the one of Redis; the status is 0."""
        self.patch(sys, "stdout", StringIO())
        self.assertEqual(0, run([*REDIS, *words], reactor))
        lines = sys.stdout.getvalue().splitlines()  # type: ignore[attr-defined]
        self.assertEqual("OK", lines.pop(0))
        lines.remove('redis = "unix:///nonexistent/redis.sock"')
        return list(lines)

    def fails(self, *words: str) -> str:
        """The one line with which the program ends; nothing else is said."""
        end = self.assertRaises(SystemExit, run, [*REDIS, *words])
        self.assertIsInstance(end.code, str)
        self.assertTrue(end.code.startswith("wsredis: "), end.code)
        self.assertEqual(1, len(end.code.splitlines()), end.code)
        self.assertEqual("", sys.stdout.getvalue())  # type: ignore[attr-defined]
        return str(end.code)


class SettingTests(_CheckCase):
    """The whole configuration."""

    def test_default(self) -> None:
        """A setting that has its default is not shown."""
        self.assertEqual([], self.printed())

    def test_changed(self) -> None:
        """A setting that differs is shown as it would stand in a file, from any source."""
        os.environ["WSREDIS_PREFIX"] = "caf\u00e9"
        path = self.file("max-queue = 5\ndemo = true\ndrain = 1.5\n[[rule]]\nallow = true")
        self.assertEqual(
            [
                'port = ["8081", "unix:/x"]',
                "drain = 1.5",
                'prefix = "caf\u00e9"',
                "max-queue = 5",
                "demo = true",
                "rules: 1",
            ],
            self.printed("--port", "8081", "--port", "unix:/x", "--config", path),
        )

    def test_secrets(self) -> None:
        """Passwords are not shown, and neither is the query of a URL."""
        os.environ["WSREDIS_REDIS_PASSWORD"] = "hunter1"
        for url in ("redis://bob:hunter2@h/1", "redis://:hunter2@h:2@h", "unix://:hunter2@/x"):
            self.patch(sys, "stdout", StringIO())
            run(["--redis", url, "--auth-url", "http://a/?key=hunter3"])
            text = sys.stdout.getvalue()  # type: ignore[attr-defined]
            self.assertNotIn("hunter", text)
            self.assertIn(":***@", text)
            self.assertIn('redis-password = "***"', text)
            self.assertIn('auth-url = "http://a/?***"', text)

    def test_wrong(self) -> None:
        """A mistake that the start would refuse is refused in the same words."""
        rules = self.file("[[rule]]\naudience = 'all'\nallow = true")
        for words, part in (
            (("--expire", "soon"), "--expire: 'soon'"),
            (("--nosuch",), "--nosuch"),
            (("--nosuch",), "check-config --help"),
            (("stray",), "'stray'"),
            (("--redis", "http://x"), "redis: "),
            (("--port", "nosuch:1"), "nosuch:1"),
            (("--tls-port", "1"), "tls-port: "),
            (("--tls-port", "1", "--tls-cert", "/nosuch.pem"), "/nosuch.pem"),
            (("--workers", "2", "--port", "ssl:1"), "--workers"),
            (("--policy", "nosuch_module:may"), "policy: nosuch_module:may: "),
            (("--config", "/nosuch.toml"), "/nosuch.toml"),
            (("--config", rules), f"{rules}: rule 1: audience: 'all'"),
        ):
            self.assertIn(part, self.fails(*words))

    def test_workers(self) -> None:
        """Several workers are not a reason to complain."""
        self.assertEqual(["workers = 2"], self.printed("--workers", "2"))

    def test_systemd(self) -> None:
        """A socket of systemd is there only when systemd starts the gateway."""
        port = "systemd:domain=INET:index=0"
        self.assertEqual([f'port = ["{port}"]'], self.printed("--port", port))

    def test_help(self) -> None:
        """The help explains the options of its own, and those of the gateway."""
        end = self.assertRaises(SystemExit, run, ["--help"])
        self.assertEqual(0, end.code)
        text = " ".join(sys.stdout.getvalue().split())  # type: ignore[attr-defined]
        self.assertIn("Usage: wsredis check-config", text)
        for option in ("user", "group", "session", "facility", "origin", "config", "max-queue"):
            self.assertIn(f"--{option} ", text)


class RightTests(_CheckCase):
    """The rights of an identity."""

    def test_table(self) -> None:
        """Each facility has a table of rights, denials with their rules; then come the channels."""
        path = self.file(RULES)
        words = ("--config", path, "--facility", "chat.x", "--facility", "", "--prefix", "p")
        lines = self.printed(*words, "--user", "john", "--group", "a", "--group", "b")
        table = """
chat.x
             broadcast   group       user        session
  subscribe  yes         yes         yes         no channel
  publish    yes         yes         yes         no channel
  subscribes to p:broadcast:chat.x
  subscribes to p:group:a:chat.x
  subscribes to p:group:b:chat.x
  subscribes to p:user:john:chat.x
  publishes to p:broadcast:chat.x
  publishes to p:group:a:chat.x
  publishes to p:group:b:chat.x
  publishes to p:user:john:chat.x

""
             broadcast   group       user        session
"""
        self.assertEqual(['prefix = "p"', "rules: 2", *table.splitlines()], lines[:18])

    def test_denied(self) -> None:
        """The number of the rule stands in the table, and no channel below it."""
        path = self.file(RULES)
        lines = self.printed("--config", path, "--facility", "chat.x", "--session", "abc")
        table = """
chat.x
             broadcast    group        user         session
  subscribe  yes          no channel   no channel   yes
  publish    no (rule 2)  no (rule 2)  no (rule 2)  no (rule 2)
  subscribes to broadcast:chat.x
  subscribes to session:abc:chat.x"""
        self.assertEqual(table.splitlines(), lines[1:])

    def test_forward(self) -> None:
        """Where clients are heard by workers, a line says whether this one is."""
        forward = ("--forward", "chat.*=talk", "--facility", "chat.a")
        self.assertIn("  forward    to talk", self.printed(*forward))
        rules = '[[rule]]\nright = "forward"\nwho = "users"\nallow = true\n'
        rules += '[[rule]]\nright = "forward"\nallow = false\n'
        path = self.file(rules)
        self.assertIn("  forward    no", self.printed("--config", path, *forward))
        told = self.printed("--config", path, *forward, "--user", "john")
        self.assertIn("  forward    to talk", told)
        told = self.printed("--policy", f"{HERE}:fails", *forward)
        self.assertIn("  forward    no", told)
        told = self.printed("--forward", "chat.*=talk", "--facility", "news")
        self.assertFalse([each for each in told if "forward " in each and "=" not in each])

    def test_colon(self) -> None:
        """A name with a colon gets no channel."""
        lines = self.printed("--facility", "x", "--user", "a:b")
        self.assertNotIn("user:a:b", "".join(lines))

    def test_origin(self) -> None:
        """A page of a foreign origin may only listen to what everybody hears."""
        lines = self.printed("--facility", "x", "--origin", "https://a.example")
        self.assertEqual(1, "".join(lines).count("yes"))
        self.assertEqual(7, "".join(lines).count("no (origin)"))
        words = ("--facility", "x", "--origin", "https://a.example", "--allow-origin", "*.example")
        self.assertNotIn("no (origin)", "".join(self.printed(*words)))

    def test_cookies_of_others(self) -> None:
        """With a user, it is said that a foreign page is not known by the cookie of its visitor."""
        said = "A page of this origin is identified by its token only: its cookies are ignored."
        words = ("--facility", "x", "--origin", "https://a.example")
        self.assertIn(said, self.printed(*words, "--user", "john"))
        self.assertNotIn(said, self.printed(*words))
        self.assertNotIn(
            said, self.printed(*words, "--user", "john", "--allow-origin", "*.example")
        )

    def test_function(self) -> None:
        """The function of ``policy`` is asked about each flag."""
        words = ("--facility", "x", "--policy", f"{HERE}:staff_only")
        self.assertEqual(8, "".join(self.printed(*words)).count("no (policy)"))
        self.assertNotIn("no (policy)", "".join(self.printed(*words, "--group", "staff")))

    def test_other_access(self) -> None:
        """A flag that the function does not grant is denied; another facility is shown."""
        words = ("--facility", "x", "--policy", f"{HERE}:elsewhere")
        lines = self.printed(*words)
        self.assertEqual(7, "".join(lines).count("no (policy)"))
        self.assertEqual(["  subscribes to broadcast:elsewhere"], lines[-1:])

    def test_waits(self) -> None:
        """The reactor runs while the function waits for something."""
        self.patch(sys.modules[HERE], "waiting", Deferred())
        reactor = _Reactor()
        lines = self.printed("--facility", "x", "--policy", f"{HERE}:waits", reactor=reactor)
        self.assertEqual(2, "".join(lines).count("yes"))
        self.assertFalse(reactor.running)
        self.assertEqual([], reactor.getDelayedCalls())

    def test_never(self) -> None:
        """A function that does not answer lets nobody in, here as in the gateway."""
        self.patch(sys.modules[HERE], "waiting", Deferred())
        reactor = _Reactor()
        lines = self.printed("--facility", "x", "--policy", f"{HERE}:never", reactor=reactor)
        self.assertEqual(8, "".join(lines).count("no (mistake)"))
        self.assertEqual(1, "".join(lines).count("TimeoutError"))

    def test_mistake(self) -> None:
        """A function that fails lets nobody in; the mistake is shown once."""
        lines = self.printed("--facility", "x", "--policy", f"{HERE}:fails")
        self.assertEqual(4, "".join(lines).count("no (mistake)"))
        self.assertEqual(
            ["  mistake: KeyError('line\\nbreak')"], [line for line in lines if "mistake:" in line]
        )

    def test_wrong(self) -> None:
        """Nobody can be called so, and no facility either."""
        broken = b"\xff".decode("utf-8", "surrogateescape")
        for words, part in (
            (("--user", "x"), "--facility: "),
            (("--group", "x"), "--facility: "),
            (("--user", ""), "--user: it is empty"),
            (("--facility", "x", "--group", ""), "--group: it is empty"),
            (("--facility", "x", "--session", broken), "--session: "),
            (("--facility", broken), "--facility: the facility is not UTF-8"),
            (("--facility", "a\nb"), "--facility: the facility has a control character"),
            (("--facility", "x" * 300), "--facility: the facility is longer"),
        ):
            self.assertIn(part, self.fails(*words))


class WarningTests(_CheckCase):
    """Warnings that the start would log."""

    def test_warnings(self) -> None:
        """They go to standard error, and do not fail the check."""
        directory = Path(self.mktemp())
        directory.mkdir()
        path = Authority(directory).bundle(directory / "a.pem", "a.example", days=-1)
        self.printed("--tls-port", "0", "--tls-cert", str(path))
        said = sys.stderr.getvalue()  # type: ignore[attr-defined]
        self.assertEqual(f"warning: {path.absolute()}: the certificate has expired\n", said)
