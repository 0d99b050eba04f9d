"""The page of the reference about limits agrees with the settings, and its tests exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from wsredis.config.settings import all_settings

_PAGE = Path(__file__).parents[2] / "docs" / "reference" / "limits.rst"


class LimitsPageTests(SynchronousTestCase):
    """``docs/reference/limits.rst``."""

    def setUp(self) -> None:
        """Read the rows of all tables: what, one address, all together, setting, test."""
        if not _PAGE.exists():
            raise SkipTest("the documentation is not part of an installed package")
        text = _PAGE.read_text("utf-8")
        rows = re.findall(r"(?m)^   \* - (.*)\n((?:     - .*\n){4})", text)
        self.rows = [[what, *re.findall(r"(?m)^     - (.*)$", rest)] for what, rest in rows]
        self.rows = [row for row in self.rows if row[0] != "What"]

    def test_has_rows(self) -> None:
        """Every line of a table was understood."""
        text = _PAGE.read_text("utf-8")
        tables = text.count("   * - What\n")
        limits = text.partition("Memory of the process")[0]
        self.assertEqual(limits.count("   * - "), len(self.rows) + tables)
        self.assertGreater(len(self.rows), 25)

    def test_settings_exist(self) -> None:
        """Every setting that a row names is one."""
        known = {each.name for each in all_settings()}
        for row in self.rows:
            for name in re.findall(r"``(.+?)``", row[3]):
                self.assertIn(name, known)

    def test_each_limit_has_a_row(self) -> None:
        """Every setting that bounds something is on the page."""
        named = {name for row in self.rows for name in re.findall(r"``(.+?)``", " ".join(row))}
        for each in all_settings():
            if each.name.startswith("max-"):
                self.assertIn(each.name, named)

    def test_tests_exist(self) -> None:
        """Every test that a row names exists."""
        for row in self.rows:
            for name in re.findall(r"``(.+?)``", row[4]):
                path, case = re.fullmatch(r"([a-z_.]+)\.(\w+\.\w+)", name).groups()
                file = Path(__file__).parents[1].joinpath(*path.split(".")).with_suffix(".py")
                tree = ast.parse(file.read_text("utf-8"))
                found = {
                    f"{each.name}.{test.name}"
                    for each in tree.body
                    if isinstance(each, ast.ClassDef)
                    for test in each.body
                    if isinstance(test, ast.FunctionDef)
                }
                self.assertIn(case, found)

    def test_rows_are_tested(self) -> None:
        """Only the memory of the kernel has a row without a test."""
        untested = [row[0] for row in self.rows if row[4] == "none"]
        self.assertEqual(1, len(untested), untested)
        self.assertIn("kernel", untested[0])
