"""The page about losses names lines of the log, counters and close codes that there are."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

import wsredis
from wsredis.errors import CLOSE_CODES
from wsredis.gateway.numbers import EXPORTED

_PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "losses.rst"


class LossesPageTests(SynchronousTestCase):
    """``docs/explanation/losses.rst``."""

    def setUp(self) -> None:
        """Read the rows of the last table: event, loss, log, counter, client."""
        if not _PAGE.exists():
            raise SkipTest("the documentation is not part of an installed package")
        table = _PAGE.read_text("utf-8").rpartition("   * - What happens\n")[2]
        found = re.findall(r"(?m)^   \* - .*\n((?:     - .*\n){4})", table)
        self.rows = [re.findall(r"(?m)^     - (.*)$", row) for row in found]

    def named(self, column: int) -> set[str]:
        """Return all that is written as code in a column."""
        return {name for row in self.rows for name in re.findall(r"``(.+?)``", row[column])}

    def test_rows(self) -> None:
        """Every row was understood."""
        self.assertGreater(len(self.rows), 20)
        self.assertTrue(all(all(row) for row in self.rows))

    def test_log(self) -> None:
        """Each line of the log is written somewhere."""
        source = "".join(
            path.read_text("utf-8") for path in Path(wsredis.__file__).parent.rglob("*.py")
        )
        self.assertEqual([], [name for name in self.named(1) if f'"{name}"' not in source])

    def test_counters(self) -> None:
        """Each counter is one."""
        self.assertEqual(set(), self.named(2) - {each.full_name for each in EXPORTED})

    def test_codes(self) -> None:
        """Each close code is one that the gateway sends, or one that browsers make up."""
        codes = {int(code) for row in self.rows for code in re.findall(r"\b[14]\d{3}\b", row[3])}
        self.assertEqual(set(), codes - set(CLOSE_CODES) - {1006})
        self.assertLess({1001, 1008, 1012, 1013}, codes)
