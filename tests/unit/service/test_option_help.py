"""Tests for `wsredis.service.option_help`."""

from __future__ import annotations

import shutil
from os import terminal_size

from twisted.trial.unittest import SynchronousTestCase

from wsredis.config import GROUPS, Limits, RedisConfig, all_settings, setting_of
from wsredis.service.option_help import OptionHelp, help_text, setting_help


class HelpTests(SynchronousTestCase):
    """The text of the help."""

    def test_groups(self) -> None:
        """Each setting stands below the heading of its group, and secrets stand nowhere."""
        text = help_text("About.", [OptionHelp("config", "FILE", "A file.", "c")], 80)
        start, *groups = text.split("\n\n")[1:]
        self.assertEqual("Options:\n  -c, --config FILE\n      A file.", start)
        self.assertEqual([*GROUPS.values()], [each.partition(":")[0] for each in groups])
        for (name, heading), group in zip(GROUPS.items(), groups, strict=True):
            shown = [line.split()[0] for line in group.splitlines() if line.startswith("  --")]
            of_group = [each for each in all_settings() if each.group == name]
            self.assertEqual([each.option for each in of_group if not each.secret], shown, heading)

    def test_default(self) -> None:
        """The help of a setting ends with its default, unless there is none."""
        rate = setting_help(setting_of(Limits, "handshake_rate"))
        self.assertEqual(("handshake-rate", "NUMBER"), rate[:2])
        self.assertTrue(rate.about.endswith(" [default: 200]"), rate.about)
        url = setting_help(setting_of(RedisConfig, "url"))
        self.assertEqual("VALUE", url.metavar)
        self.assertNotIn("[default", url.about)

    def test_width(self) -> None:
        """Lines are as wide as the terminal, within limits, and no name is broken in two."""
        for columns, widest in ((10, 40), (60, 60), (500, 100)):
            self.patch(
                shutil, "get_terminal_size", lambda columns=columns: terminal_size((columns, 24))
            )
            lines = help_text("About " * 50, []).splitlines()
            self.assertLessEqual(max(map(len, lines)), widest)
            self.assertGreater(max(map(len, lines)), widest - 10)
            self.assertFalse([line for line in lines if line.endswith("-")])
