"""Tests for `wsredis.service.connect.command`."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from wsredis.service.cli import main
from wsredis.service.connect import program
from wsredis.service.connect.program import Wishes
from wsredis.service.connect.target import Target
from wsredis.service.outside import Outside


class CommandTests(SynchronousTestCase):
    """The arguments of ``connect``."""

    def setUp(self) -> None:
        """Nothing is connected."""
        self.runs: list[tuple[Target, Wishes]] = []
        self.stderr = io.StringIO()

        def run(reactor: Any, target: Target, wishes: Wishes, outside: Outside) -> int:
            self.runs.append((target, wishes))
            return 7

        self.patch(program, "run", run)

    def connect(self, *words: str) -> object:
        """Run the command. Returns: The status."""
        outside = Outside(io.BytesIO(), io.BytesIO(), self.stderr)
        with mock.patch.object(sys, "stderr", self.stderr):
            try:
                return main(["connect", *words], outside)
            except SystemExit as end:
                return end.code

    def test_plain(self) -> None:
        """A URL alone has no further wishes, and the status is that of the connection."""
        self.assertEqual(7, self.connect("/ws/x"))
        self.assertEqual([(read_path(), Wishes(protocols=[], headers={}))], self.runs)

    def test_all(self) -> None:
        """Every option arrives; headers of one name are joined."""
        path = Path(self.mktemp())
        path.write_text("token\nmore")
        self.connect(
            *("--subprotocol", "a", "--subprotocol", "b", "--cookie", "x=1=2", "--cookie", "y="),
            *("--header", "X-A: 1", "--header", "x-a:2", "--header", "cookie: z=3"),
            *("--token-file", str(path), "--origin", "http://page.example", "--wait", "1.5"),
            *("--ca", "ca.pem", "--insecure", "--unix", "/run/x", "--verbose", "/ws/x"),
        )
        ((_, wishes),) = self.runs
        expected = Wishes(
            protocols=["a", "b"],
            headers={
                "X-A": "1, 2",
                "cookie": "z=3; x=1=2; y=",
                "Authorization": "Bearer token",
            },
            origin="http://page.example",
            wait=1.5,
            ca="ca.pem",
            is_insecure=True,
            unix="/run/x",
            is_verbose=True,
        )
        self.assertEqual(expected, wishes)
        self.connect("--token", "abc", "/ws/x")
        self.assertEqual({"Authorization": "Bearer abc"}, self.runs[1][1].headers)

    def test_refused(self) -> None:
        """A mistake is one line with status 2, and never a header that says something else."""
        missing, binary = self.mktemp(), Path(self.mktemp())
        binary.write_bytes(b"\xff")
        for words, part in (
            ((), "URL"),
            (("ftp://x",), "ftp://"),
            (("--cookie", "x", "/"), "NAME=VALUE"),
            (("--cookie", "x=\r\nY: z", "/"), "NAME=VALUE"),
            (("--header", "X", "/"), "NAME: VALUE"),
            (("--header", "X Y: z", "/"), "NAME: VALUE"),
            (("--header", "X: \xe9", "/"), "NAME: VALUE"),
            (("--subprotocol", "a b", "/"), "subprotocol"),
            (("--origin", "http://a\r\nX: y", "/"), "origin"),
            (("--token", "", "/"), "the token is empty"),
            (("--token", "a\nb", "/"), "the token is empty"),
            (("--token-file", missing, "/"), "No such file"),
            (("--token-file", str(binary), "/"), "not UTF-8"),
            (("--wait", "nan", "/"), "seconds"),
            (("--wait", "-1", "/"), "seconds"),
            (("--wait", "x", "/"), "seconds"),
        ):
            self.stderr.seek(0)
            self.stderr.truncate()
            self.assertEqual(2, self.connect(*words), words)
            self.assertIn(part, self.stderr.getvalue(), words)
            self.assertEqual(1, self.stderr.getvalue().count("\n"), words)
        self.assertEqual([], self.runs)


def read_path() -> Target:
    """The server of the path alone."""
    return Target("ws://localhost:8080/ws/x", "localhost", 8080, False)
