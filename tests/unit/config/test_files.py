"""Tests for `wsredis.config.files`."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from wsredis.config.files import file_stamp


class FileStampTests(SynchronousTestCase):
    """A stamp differs when a file does."""

    def test_change(self) -> None:
        """It differs after a write and after a replacement, and not otherwise."""
        path, other = Path(self.mktemp()), Path(self.mktemp())
        path.write_text("a")
        before = file_stamp(path)
        self.assertEqual(before, file_stamp(str(path)))
        path.write_text("ab")
        written = file_stamp(path)
        self.assertNotEqual(before, written)
        other.write_text("cd")
        os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
        other.replace(path)
        self.assertNotEqual(written, file_stamp(path))

    def test_missing(self) -> None:
        """No file and an impossible path have none."""
        self.assertIsNone(file_stamp(self.mktemp()))
        self.assertIsNone(file_stamp("a\0b"))
