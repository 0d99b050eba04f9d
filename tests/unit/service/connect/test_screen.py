"""Tests for `wsredis.service.connect.screen`."""

from __future__ import annotations

import io
import os
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from wsredis.service.connect.screen import Screen
from wsredis.service.outside import Outside


class _Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


class _TextTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class ScreenTests(SynchronousTestCase):
    """What is written where."""

    def setUp(self) -> None:
        """Nobody has asked for black and white."""
        environ = mock.patch.dict(os.environ)
        environ.start()
        self.addCleanup(environ.stop)
        os.environ.pop("NO_COLOR", None)

    def screen(self, *, terminal: bool, typed: str | None = None) -> Screen:
        """Make a screen, on a terminal or in a pipe."""
        self.stdout: io.BytesIO = _Terminal() if terminal else io.BytesIO()
        self.stderr: io.StringIO = _TextTerminal() if terminal else io.StringIO()
        outside = Outside(io.BytesIO(), self.stdout, self.stderr)
        return Screen(outside, None if typed is None else lambda: typed)

    def test_pipe(self) -> None:
        """In a pipe a message is written as it is, and notes go to standard error."""
        screen = self.screen(terminal=False)
        screen.message(b"caf\xc3\xa9\x1b", False)
        screen.message(b"\x00\xff", True)
        screen.note("connected")
        self.assertEqual(b"caf\xc3\xa9\x1b\n\x00\xff\n", self.stdout.getvalue())
        self.assertEqual("connected\n", self.stderr.getvalue())

    def test_terminal(self) -> None:
        """On a terminal a message is marked, cannot control it, and is readable if it is binary."""
        screen = self.screen(terminal=True)
        screen.message("caf\xe9 \x1b[2J".encode(), False)
        screen.message(b"\x00\xff", True)
        screen.message(b"\xab" * 65, True)
        lines = self.stdout.getvalue().decode().splitlines()
        self.assertEqual(["< caf\xe9 \\x1b[2J", "< (binary, 2 bytes) 00 ff"], lines[:2])
        self.assertEqual(f"< (binary, 65 bytes) {'ab ' * 64}...", lines[2])

    def test_colours(self) -> None:
        """Notes are dim on a terminal, line by line, and plain if colours are not wanted."""
        self.screen(terminal=True).note("one\ntwo \x1b[2J")
        self.assertEqual("\x1b[2mone\x1b[0m\n\x1b[2mtwo \\x1b[2J\x1b[0m\n", self.stderr.getvalue())
        os.environ["NO_COLOR"] = "1"
        self.screen(terminal=True).note("one")
        self.assertEqual("one\n", self.stderr.getvalue())

    def test_typing(self) -> None:
        """The line that somebody is typing is taken away for another one, and comes back."""
        os.environ["NO_COLOR"] = "1"
        screen = self.screen(terminal=True, typed="> hel")
        screen.message(b"hi", False)
        screen.note("pong")
        self.assertEqual("\r\x1b[K< hi\n> hel", self.stdout.getvalue().decode())
        self.assertEqual("\r\x1b[Kpong\n> hel", self.stderr.getvalue())
