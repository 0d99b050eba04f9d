"""Tests for `wsredis.service.printable`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.service.printable import printable


class PrintableTests(SynchronousTestCase):
    """`printable`."""

    def test_escaped(self) -> None:
        """What a terminal would obey is escaped; all else stays, and what is to be kept."""
        self.assertEqual("caf\xe9", printable("caf\xe9"))
        self.assertEqual("\\x1b[2J\\n\\u2028", printable("\x1b[2J\n\u2028"))
        self.assertEqual("a\n\\t", printable("a\n\t", "\n"))
