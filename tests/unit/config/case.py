"""A test case for settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsredis.errors import ConfigError

__all__ = ["ConfigCase"]


class ConfigCase(SynchronousTestCase):
    """Words for settings that are refused."""

    def refused(self, make: Any, *args: Any, **kwargs: Any) -> str:
        """The text of the refusal: one line."""
        text = str(self.assertRaises(ConfigError, make, *args, **kwargs))
        self.assertEqual(1, len(text.splitlines()), text)
        return text

    def file(self, text: str | bytes) -> str:
        """The path of a TOML file with *text*."""
        path = Path(self.mktemp())
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)
