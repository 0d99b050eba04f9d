"""Tests for `wsredis.django.check_project`."""

from __future__ import annotations

import io
import os
from unittest import mock

from tests.unit.django.test_project_report import ReportCase
from wsredis.django.check_project import CHECK_PROJECT
from wsredis.service.cli import main
from wsredis.service.outside import Outside


class CommandTests(ReportCase):
    """The command, from the command line to its status."""

    def run_command(self, *words: str) -> tuple[int, str, str]:
        """Returns: The status, and what was printed to both streams."""
        stdout, stderr = io.BytesIO(), io.StringIO()
        outside = Outside(io.BytesIO(), stdout, stderr)
        clean = {name: value for name, value in os.environ.items() if "WSREDIS_" not in name}
        # Django is set up, and the settings module is only looked for.
        clean["DJANGO_SETTINGS_MODULE"] = f"{self.package}.settings"
        with mock.patch.dict(os.environ, clean, clear=True):
            status = main(["check-project", *words], outside, {"check-project": CHECK_PROJECT})
        return status, stdout.getvalue().decode(), stderr.getvalue()

    def test_unchanged(self) -> None:
        """A project that is right has status 0."""
        status, printed, errors = self.run_command(f"{self.package}.settings")
        self.assertEqual((0, ""), (status, errors))
        lines = printed.splitlines()
        self.assertIn("works   WEBSOCKET_URL: the gateway serves WebSockets below this path", lines)
        self.assertIn("works   the gateway starts with this project", lines)
        self.assertRegex(lines[-1], r"\Aunchanged: \d+, to be changed: 0\Z")

    def test_change(self) -> None:
        """One that needs a change has status 1, and is told what to do."""
        self.vary(WS4REDIS_ALLOWED_CHANELS="site.hook")
        status, printed, _ = self.run_command(f"{self.package}.settings", "--port", "0")
        self.assertEqual(1, status)
        self.assertIn(
            "change  WS4REDIS_ALLOWED_CHANELS: there is no such setting for WebSockets, and it has "
            "no effect (wsredis.W050)\n        -> Is it WS4REDIS_ALLOWED_CHANNELS?\n",
            printed,
        )
        self.assertTrue(printed.endswith(", to be changed: 1\n"))

    def test_unreadable(self) -> None:
        """One that cannot be loaded, or is not given, has status 2 and one line."""
        for words, text in (
            ((), "give one settings module, such as mysite.settings (--help shows all options)"),
            (("no.settings",), "django: no.settings: this process has other settings of Django "),
        ):
            status, printed, errors = self.run_command(*words)
            self.assertEqual((2, ""), (status, printed))
            self.assertTrue(errors.startswith(f"wsredis check-project: {text}"), errors)
            self.assertEqual(1, errors.count("\n"))
