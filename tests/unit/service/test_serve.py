"""Tests for `wsredis.service.serve`."""

from __future__ import annotations

import os
import socket
import sys
from io import StringIO
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.service.case import TapCase
from wsredis.config import GatewayConfig
from wsredis.service import serve as module
from wsredis.service.serve import DemoOptions, ServeOptions, free_port, parse, serve
from wsredis.service.signals import Signals


class ServeCase(TapCase):
    """Command lines of ``serve``."""

    make: type[ServeOptions] = ServeOptions

    def options(self, *words: str) -> Any:
        """Parse a command line. Returns: The options of twistd."""
        return parse(self.make, words, Signals())

    def config(self, *words: str) -> GatewayConfig:
        """The settings of a command line."""
        config: GatewayConfig = self.options(*words).subOptions.load()
        return config

    def refused(self, *words: str) -> str:
        """The line with which the program ends."""
        end = self.assertRaises(SystemExit, self.options, *words)
        self.assertIsInstance(end.code, str)
        return str(end.code)


class ServeTests(ServeCase):
    """``serve``."""

    def test_defaults(self) -> None:
        """It has the settings of twistd wsredis, stays in the foreground, and has no pid file."""
        options = self.options()
        self.assertEqual(GatewayConfig(), options.subOptions.load())
        self.assertEqual((1, ""), (options["nodaemon"], options["pidfile"]))
        self.assertTrue(options.subOptions.for_people)

    def test_mixed(self) -> None:
        """Options of twistd and of the gateway come in any order and in any form."""
        folder = self.mktemp()
        os.mkdir(folder)
        options = self.options(
            *("--port", "1", "-l", "x.log", "--expire=5", "--rundir", folder, "-n", "--umask=22"),
            *("--demo", "--uid", str(os.getuid()), "--prefix", "-l", "--pidfile=x.pid"),
        )
        config = options.subOptions.load()
        self.assertEqual(
            (("1",), 5, True, "-l"), (config.port, config.expire, config.demo, config.prefix)
        )
        self.assertEqual(
            ("x.log", folder, 0o22, os.getuid(), os.path.abspath("x.pid")),
            tuple(options[each] for each in ("logfile", "rundir", "umask", "uid", "pidfile")),
        )

    def test_values(self) -> None:
        """The word after an option with a value is its value, whatever it looks like."""
        options = self.options("--config", "-n", "--heartbeat", "--pidfile", "--logfile", "--port")
        own = options.subOptions
        self.assertEqual(("-n", "--pidfile"), (own["config"], own["heartbeat"]))
        self.assertEqual(("--port", ""), (options["logfile"], options["pidfile"]))

    def test_refused(self) -> None:
        """A mistake is one line with the command that shows all options."""
        for words, part in (
            (("--nosuch",), "nosuch"),
            (("stray",), "'stray' is not an option"),
            (("--port",), "--port"),
            (("--logfile",), "logfile"),
            (("--uid", "nosuch-user"), "nosuch-user"),
            (("--umask", "x"), "x"),
            (("--reactor", "nosuch"), "nosuch"),
        ):
            line = self.refused(*words)
            self.assertIn(part, line)
            self.assertTrue(line.endswith(" (wsredis serve --help shows all options)"), line)
            self.assertNotIn("\n", line)

    def test_help(self) -> None:
        """The usage line is that of the command, and all options are explained."""
        self.patch(sys, "stdout", StringIO())
        end = self.assertRaises(SystemExit, self.options, "--help")
        self.assertEqual(0, end.code)
        lines = sys.stdout.getvalue().splitlines()  # type: ignore[attr-defined]
        self.assertEqual("Usage: wsredis serve [options]", lines[0])
        self.assertIn("  -l, --logfile FILE", lines)
        self.assertIn("Connections:", lines)

    def test_signals(self) -> None:
        """The signals that were caught at the begin are those that are followed."""
        signals = Signals()
        self.assertIs(signals, parse(ServeOptions, [], signals).subOptions.signals)

    def test_service(self) -> None:
        """The service is that of twistd wsredis."""
        options = self.options("--redis", "unix:///nosuch", "--port", "0")
        maker = options.loadedPlugins[options.subCommand]
        services = maker.makeService(options.subOptions)
        self.assertEqual(["wsredis"], [each.name for each in services])

    def test_run(self) -> None:
        """The command line is run by twistd's own parts."""
        run: list[Any] = []
        self.patch(module, "runApp", run.append)
        self.assertEqual(0, serve(ServeOptions, ["--port", "1"], Signals()))
        self.assertEqual(("1",), run[0].subOptions.load().port)


class DemoTests(ServeCase):
    """``demo``."""

    make = DemoOptions

    def setUp(self) -> None:
        """A certain port is free."""
        super().setUp()
        self.patch(module, "free_port", lambda: 8085)
        self.patch(sys, "stderr", StringIO())

    def test_defaults(self) -> None:
        """A page, a private Redis, a log of connections, and nothing for the network."""
        config = self.config()
        self.assertEqual(("127.0.0.1:8085",), config.port)
        self.assertEqual((True, True, "embedded"), (config.demo, config.verbose, config.redis.url))

    def test_port_taken(self) -> None:
        """A port that is not the first one is told, unless it was asked for."""
        for free, words, told in (
            (8081, [], "port 8080 is taken, perhaps by another gateway: this one"),
            (8080, [], ""),
            (8081, ["--port", "8082"], ""),
        ):
            self.patch(module, "free_port", lambda free=free: free)
            stderr = StringIO()
            self.patch(sys, "stderr", stderr)
            self.config(*words)
            said = stderr.getvalue()
            self.assertEqual((bool(told), True), (bool(said), told in said))

    def test_given(self) -> None:
        """What is given holds, but a number alone is still a port of this machine only."""
        os.environ["WSREDIS_VERBOSE"] = "no"
        config = self.config("--port", "9000", "--port=tcp:9001", "--redis", "redis://h")
        self.assertEqual(("127.0.0.1:9000", "tcp:9001"), config.port)
        self.assertEqual((False, "redis://h"), (config.verbose, config.redis.url))

    def test_tls(self) -> None:
        """A port with TLS takes the place of the other one."""
        self.assertEqual((), self.config("--tls-port", "1", "--tls-cert", "x").port)

    def test_help(self) -> None:
        """The help is its own."""
        self.patch(sys, "stdout", StringIO())
        self.assertRaises(SystemExit, self.options, "--help")
        text = sys.stdout.getvalue()  # type: ignore[attr-defined]
        self.assertTrue(text.startswith("Usage: wsredis demo [options]\n"))
        self.assertIn("wsredis demo --help", self.refused("--nosuch"))


class PortTests(SynchronousTestCase):
    """`free_port`."""

    def listener(self, host: str = "127.0.0.1") -> int:
        """Listen. Returns: The port."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family)
        self.addCleanup(listener.close)
        listener.bind((host, 0))
        listener.listen()
        port: int = listener.getsockname()[1]
        return port

    def test_taken(self) -> None:
        """A port on which somebody listens is skipped; if all are, the system chooses one."""
        taken = self.listener()
        self.assertEqual(0, free_port(taken, 1))
        self.assertIn(free_port(taken, 50), range(taken + 1, taken + 50))

    def test_other_localhost(self) -> None:
        """So is one of ::1: a browser would open the page of the other server."""
        try:
            taken = self.listener("::1")
        except OSError:
            # There is no IPv6 here: nobody can listen there.
            return
        self.assertEqual(0, free_port(taken, 1))
