"""Tests of the command line: its output, its refusals, and the services that it makes."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.logger import capturedLogs, formatEvent

from tests.support.django_project import SETTINGS, configured, missing_django
from tests.unit.service.case import TapCase
from wsredis import GatewayService, __version__
from wsredis.config import GatewayConfig, all_settings
from wsredis.service import embedded
from wsredis.service.embedded import EmbeddedRedis
from wsredis.service.tap import makeService
from wsredis.service.workers.parent import Workers


class ProjectTests(TapCase):
    """Settings of a Django project."""

    skip = missing_django()

    def setUp(self) -> None:
        """Django stays set up in the environment that comes back after the test."""
        configured()
        super().setUp()

    def test_values(self) -> None:
        """Settings of the project hold where no option says otherwise."""
        from django.test import override_settings

        with override_settings(WS4REDIS_PREFIX="site", WS4REDIS_EXPIRE=60):
            config = self.load("--django", SETTINGS, "--expire", "5")
        self.assertEqual(("site", 5, SETTINGS), (config.prefix, config.expire, config.django))

    def test_differences(self) -> None:
        """An option that parts the gateway from the pages of the project is warned about."""
        from django.test import override_settings

        connection = {"host": "a", "password": "hidden", "db": 1}
        for options, settings, expected in (
            ((), {"WS4REDIS_PREFIX": "p", "WS4REDIS_CONNECTION": connection}, []),
            (("--prefix", "p"), {"WS4REDIS_PREFIX": "p"}, []),
            (("--prefix", "p"), {"WS4REDIS_PREFIX": "q"}, ["the prefix is 'p' here, and 'q'"]),
            (("--prefix", "p"), {}, ["the prefix is 'p' here, and ''"]),
            (("--redis", "redis://127.0.0.1/3"), {}, []),
            (("--redis", "redis://:x@a:6379"), {"WS4REDIS_CONNECTION": connection}, []),
            (
                ("--redis", "redis://:x@b"),
                {"WS4REDIS_CONNECTION": connection},
                ["Redis is redis://b:6379 here, and redis://a:6379"],
            ),
            (
                ("--redis", "embedded"),
                {"WS4REDIS_CONNECTION": connection},
                ["Redis is a private one here, and redis://a:6379"],
            ),
            (("--redis", "embedded"), {}, []),
            (
                ("--redis", "redis://b"),
                {},
                ["Redis is redis://b:6379 here, and redis://localhost:6379"],
            ),
        ):
            with override_settings(**settings), capturedLogs() as events:
                self.load("--django", SETTINGS, *options)
            found = [e for e in events if e.get("event") == "project-setting-differs"]
            self.assertEqual(expected, [e["problem"] for e in found], (options, settings))
            self.assertNotIn("hidden", "".join(str(formatEvent(e)) for e in found))

    def test_wrong(self) -> None:
        """A setting that cannot be used ends the program with one line."""
        from django.test import override_settings

        with override_settings(WS4REDIS_EXPIRE="soon"):
            self.assertIn("django: WS4REDIS_EXPIRE: ", self.fails("--django", SETTINGS))


class OptionTests(TapCase):
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
        # A line may end after a hyphen.
        text = " ".join(str(self.parse()).split()).replace("- ", "-")
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


class RefusedTests(TapCase):
    """A mistake is reported in one line that names it, with status 1."""

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

    def test_slips(self) -> None:
        """An option that is nearly right is told with the right one."""
        for words, meant in (
            (("--hartbeat", "x"), "option --hartbeat not recognized; did you mean --heartbeat?"),
            (("-port", "80"), "option -port not recognized; did you mean --port?"),
            (("port", "80"), "'port' is not an option; did you mean --port?"),
            (("--allow_origin=x",), "did you mean --allow-origin?"),
            (("--log-format", "jason"), "is not one of text, json, short; did you mean json?"),
        ):
            self.assertIn(meant, self.fails(*words))

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


class MakeServiceTests(TapCase):
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

    def test_log(self) -> None:
        """The log follows the options of twistd, and a mistake among them is one line."""
        path = self.mktemp()
        options = self.parse("--redis", "unix:///nosuch", "--log-format", "json")
        options.parent = {"nodaemon": False, "logfile": path}
        services: Any = makeService(options)
        services.observer({"log_format": "x"})
        self.assertEqual("x", json.loads(Path(path).read_text())["message"])
        for parent, problem in (
            ({"nodaemon": False, "logfile": "/no/where"}, "logfile: cannot open /no/where"),
            ({"nodaemon": True, "logger": print}, "log-format: needs twistd"),
        ):
            options.parent = parent
            end = self.assertRaises(SystemExit, makeService, options)
            self.assertTrue(str(end.code).startswith(f"wsredis: {problem}"), end.code)

    def test_clock(self) -> None:
        """The reactor's clock is one that nobody can set back."""
        self._made("--redis", "unix:///nosuch")
        self.assertIs(time.monotonic, reactor.seconds)

    def test_embedded(self) -> None:
        """A private Redis has a socket of its own, and stops after the gateway."""
        self.path("redis-server")
        server, gateway = self._made("--redis", "embedded")
        self.assertIsInstance(server, EmbeddedRedis)
        self.assertTrue(server.url.startswith("unix://"))
        self.assertEqual(server.url, os.environ["WSREDIS_REDIS"], "for publishers of pages")
        self.assertEqual(server.url, gateway._config.redis.url)

    def test_redis_answers(self) -> None:
        """Without ``--redis``: the one at localhost, if it answers."""
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        theirs.sendall(b"+PONG\r\n")
        self.patch(socket, "create_connection", lambda *words, **more: ours)
        (gateway,) = self._made()
        self.assertEqual("redis://localhost:6379", gateway._config.redis.url)

    def test_no_redis_answers(self) -> None:
        """Else a private one; one with known holes is warned about in one line."""
        self.nobody_answers()
        self.path("redis-server")
        self.patch(embedded, "find_spec", lambda name: None)
        with capturedLogs() as events:
            server, gateway = self._made()
        self.assertEqual(server.url, gateway._config.redis.url)
        (line,) = [formatEvent(each) for each in events if "private Redis" in each["log_format"]]
        self.assertRegex(line, "^private Redis: /.*/redis-server does not tell its version: ")

    def test_no_redis_at_all(self) -> None:
        """Without any there is one line."""
        self.nobody_answers()
        self.path()
        self.patch(embedded, "find_spec", lambda name: None)
        self.assertIn("redis-server", self.fails())
