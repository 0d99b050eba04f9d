"""The page of the reference about options has the groups of the help, in the same order."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from wsredis.config.declare import GROUPS
from wsredis.config.settings import all_settings

_PAGE = Path(__file__).parents[2] / "docs" / "reference" / "options.rst"


class OptionsPageTests(SynchronousTestCase):
    """``docs/reference/options.rst``."""

    def setUp(self) -> None:
        """Read the names of settings in each section."""
        if not _PAGE.exists():
            raise SkipTest("the documentation is not part of an installed package")
        _, *parts = re.split(r"(?m)^(.+)\n-{3,}$", _PAGE.read_text("utf-8"))
        row = re.compile(r"(?m)^   \* - ``([a-z-]+)``$")
        self.sections = {
            title: row.findall(text) for title, text in zip(parts[::2], parts[1::2], strict=True)
        }

    def test_groups(self) -> None:
        """Each group is a section."""
        self.assertEqual([*GROUPS.values()], [*self.sections])

    def test_settings(self) -> None:
        """Each setting is in the section of its group."""
        for each in all_settings():
            self.assertIn(each.name, self.sections[GROUPS[each.group]])
