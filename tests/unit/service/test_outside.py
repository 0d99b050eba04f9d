"""Tests for `wsredis.service.outside`."""

from __future__ import annotations

import argparse

from twisted.trial.unittest import SynchronousTestCase

from wsredis.service.cli import COMMANDS
from wsredis.service.outside import GROUPS, take_all_words


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
