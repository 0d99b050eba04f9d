"""The page that goes from the symptom to the cause quotes what the program says, as it says it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

import wsredis

_PAGE = Path(__file__).parents[2] / "docs" / "howto" / "troubleshooting.rst"

#: Words that other programs say: browsers, Redis, twistd.
_OF_OTHERS = {
    "An insecure WebSocket connection may not be initiated",
    "Insufficient resources",
    "(integer) 0",
    "Another twistd server is running, PID 4711",
    "Address already in use",
    "Unknown command: wsredis",
}

#: What differs from line to line.
_VARIABLE = re.compile(r"\"[^\"]*\"|'[^']*'|\b(?:subscribe|publish)-\w+|\b\d+\b")


class TroubleshootingPageTests(SynchronousTestCase):
    """``docs/howto/troubleshooting.rst``."""

    def setUp(self) -> None:
        """Read the signs: the code in the first columns that has more than one word."""
        if not _PAGE.exists():
            raise SkipTest("the documentation is not part of an installed package")
        cells = re.findall(r"(?m)^   \* - (.+)$", _PAGE.read_text("utf-8"))
        quoted = [text for cell in cells for text in re.findall(r"``(.+?)``", cell)]
        self.signs = [text for text in quoted if " " in text and not text.startswith("wsredis ")]

    def test_words(self) -> None:
        """Each sign is in the source, but for what differs from line to line."""
        self.assertGreater(len(self.signs), 8)
        said = "\0".join(
            node.value
            for path in Path(wsredis.__file__).parent.rglob("*.py")
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        )
        for sign in set(self.signs) - _OF_OTHERS:
            parts = [part.strip(" :,") for part in _VARIABLE.split(sign)]
            self.assertEqual([], [part for part in parts if part not in said], sign)
