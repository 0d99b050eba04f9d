"""Tests for `wsredis.service.outside`."""

from __future__ import annotations

import argparse
import sys

from twisted.trial.unittest import SynchronousTestCase

from wsredis.service.cli import COMMANDS
from wsredis.service.outside import GROUPS, outside_of_process, take_all_words


class CommandTests(SynchronousTestCase):
    """Commands, as they declare themselves."""

    def test_groups(self) -> None:
        """Each command is in a group that the help shows."""
        self.assertEqual(set(), {each.group for each in COMMANDS.values()} - set(GROUPS))

    def test_all_words(self) -> None:
        """Words that look like options are left to another parser, as they are."""
        parser = argparse.ArgumentParser()
        take_all_words(parser)
        words = ["--port", "1", "-n", "x=y"]
        self.assertEqual(words, parser.parse_args(words).args)


class ProcessTests(SynchronousTestCase):
    """`outside_of_process`."""

    def test_streams(self) -> None:
        """They are those of the process."""
        outside = outside_of_process()
        self.assertIs(sys.stderr, outside.stderr)

    def test_closed(self) -> None:
        """A stream that was closed before the start reads nothing, and writes to nobody."""
        for name in ("stdin", "stdout", "stderr"):
            self.patch(sys, name, None)
        outside = outside_of_process()
        self.addCleanup(sys.stdin.close)
        self.addCleanup(sys.stdout.close)
        self.addCleanup(sys.stderr.close)
        self.assertEqual(b"", outside.stdin.read())
        outside.stdout.write(b"x")
        outside.stderr.write("x")
        self.assertFalse(outside.stdin.isatty())
