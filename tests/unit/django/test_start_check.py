"""Tests for `wsredis.django.start_check`."""

from __future__ import annotations

import os
import sys
from io import StringIO
from unittest import mock

from twisted.internet.task import Clock

from tests.support.django_project import SETTINGS
from tests.unit.django.case import AppCase
from wsredis.django.start_check import ProjectOptions, Start, try_start
from wsredis.errors import ConfigError


class OptionTests(AppCase):
    """`ProjectOptions`."""

    def test_module(self) -> None:
        """The settings module comes before the options, or after them."""
        for words in (("site.settings", "--port", "0"), ("--port", "0", "site.settings")):
            options = ProjectOptions(words)
            self.assertEqual("site.settings", options.module)
            self.assertEqual(["0"], options.repeated["port"])
            self.assertEqual("site.settings", options["django"])

    def test_wrong(self) -> None:
        """A mistake is an error of one line."""
        for words, text in (
            ((), "give one settings module, such as mysite.settings (--help shows all options)"),
            (("a.settings", "b.settings"), "give one settings module"),
            (("a.settings", "--no-such"), "option --no-such not recognized"),
        ):
            error = self.assertRaises(ConfigError, ProjectOptions, words)
            self.assertIn(text, str(error))

    def test_help(self) -> None:
        """``--help`` names the settings module."""
        with mock.patch.object(sys, "stdout", StringIO()) as printed:
            end = self.assertRaises(SystemExit, ProjectOptions, ["--help"])
        self.assertEqual(0, end.code)
        self.assertIn("wsredis check-project SETTINGS [options]", printed.getvalue())


class StartTests(AppCase):
    """`try_start`."""

    def setUp(self) -> None:
        """Have no settings of the gateway in the environment."""
        super().setUp()
        clean = {name: value for name, value in os.environ.items() if "WSREDIS_" not in name}
        environ = mock.patch.dict(os.environ, clean, clear=True)
        environ.start()
        self.addCleanup(environ.stop)

    def started(self, *words: str) -> Start:
        """The start with these options."""
        redis = ("--redis", "unix:///nonexistent/redis.sock")
        return try_start(ProjectOptions([SETTINGS, *redis, *words]), Clock())

    def test_starts(self) -> None:
        """A project that is right starts, without a Redis and without warnings."""
        start = self.started("--port", "0")
        self.assertIsNone(start.error)
        self.assertEqual([], start.warnings)

    def test_warnings(self) -> None:
        """Lines of the log that warn are kept with their events."""
        self.vary(WS4REDIS_CONNECTION={"host": "h", "retry": 1})
        text = "WS4REDIS_CONNECTION: retry is not used by the gateway"
        self.assertEqual([("ws4redis-setting-unused", text)], self.started().warnings)

    def test_refused(self) -> None:
        """The reason of a gateway that does not start is one line."""
        self.vary(WEBSOCKET_URL="ws")
        self.assertIn("django: WEBSOCKET_URL: 'ws' does not start and", self.started().error or "")
        self.vary(WEBSOCKET_URL="/ws/")
        start = self.started("--wsgi", "no_such_module:app")
        self.assertIn("'no_such_module:app' cannot be used: ModuleNotFound", start.error or "")
