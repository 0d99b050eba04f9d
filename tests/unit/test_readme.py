"""The README, and the page of the package index: what they show and link to is there."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

_ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"<([^<>\s]+)>`__|^\.\. image:: (\S+)$", re.MULTILINE)


class ReadmeTests(SynchronousTestCase):
    """``README.rst`` is read in the source tree, ``docs/package-page.rst`` far from it."""

    def setUp(self) -> None:
        """Read both."""
        if not (_ROOT / "README.rst").exists():
            raise SkipTest("the documentation is not part of an installed package")
        self.readme = (_ROOT / "README.rst").read_text("utf-8")
        self.page = (_ROOT / "docs" / "package-page.rst").read_text("utf-8")

    def links(self, text: str) -> list[str]:
        """All addresses of links and images."""
        return [one or other for one, other in _LINK.findall(text)]

    def test_links(self) -> None:
        """Each link and picture of the README that is not an address is a path that exists."""
        links = [each for each in self.links(self.readme) if not each.startswith("https://")]
        self.assertGreater(len(links), 10)
        self.assertEqual([], [each for each in links if not (_ROOT / each).exists()])

    def test_page_without_files(self) -> None:
        """The page of the package needs no file of the source tree: it has no relative link."""
        links = self.links(self.page)
        self.assertEqual([], [each for each in links if not each.startswith("https://")])

    def test_page_is_described(self) -> None:
        """The package has that page as its description."""
        self.assertIn("\nlong_description = file: docs/package-page.rst\n", self.settings())

    def settings(self) -> str:
        """The metadata of the package."""
        return (_ROOT / "setup.cfg").read_text("utf-8")

    def test_same_commands(self) -> None:
        """Both have the same commands, and the README has more."""

        def commands(text: str) -> set[str]:
            return set(re.findall(r"(?m)^    (\S.*)$", text.partition("A page of your own")[2]))

        self.assertTrue(commands(self.page))
        self.assertEqual(set(), commands(self.page) - commands(self.readme))
        for text in (self.readme, self.page):
            self.assertIn(".venv/bin/pip install 'wsredis[embedded]' && ", text)

    def test_example(self) -> None:
        """Both show the page of one's own that a test opens in a browser."""
        example = (_ROOT / "docs" / "examples" / "news.html").read_text("utf-8")
        shown = textwrap.indent(example, "   ")
        self.assertTrue(shown in self.readme)
        self.assertTrue(shown in self.page)

    def test_gate(self) -> None:
        """The last command of the gate is the one that the README has for the tests."""
        gate = _ROOT / ".ci" / "run"
        if not gate.exists():
            raise SkipTest("the gate is not part of a source distribution")
        command = gate.read_text("utf-8").rstrip().rpartition("\n")[2].replace(" -q", "")
        self.assertIn(f"    {command}\n", self.readme)
