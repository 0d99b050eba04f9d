"""Tests of the files that an application lets the server send."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from wsredis.web.asgi.files import open_part, open_path


class FileTests(SynchronousTestCase):
    """`open_path` and `open_part`."""

    def setUp(self) -> None:
        """Make a file of ten bytes."""
        self.path = self.mktemp()
        with open(self.path, "wb") as file:
            file.write(b"0123456789")

    def test_path(self) -> None:
        """All of the file, in blocks; it is closed at the end."""
        part = open_path({"path": self.path})
        self.assertEqual(10, part.size)
        self.assertEqual((b"012", b"89", b""), (part.read(0, 3), part.read(8, 3), part.read(10, 3)))
        part.done()
        self.assertRaises(OSError, os.fstat, part.descriptor)

    def test_no_path(self) -> None:
        """What is no path, and what cannot be opened, raises."""
        for bad in ({}, {"path": None}, {"path": 3}, {"path": b"x"}):
            self.assertRaises(TypeError, open_path, bad)
        self.assertRaises(FileNotFoundError, open_path, {"path": self.path + "x"})

    def test_part(self) -> None:
        """A part begins where the file is, or at its offset, and ends with the file at last."""
        with open(self.path, "rb") as file:
            file.read(2)
            part = open_part({"file": file, "count": 3})
            self.assertEqual(b"234", part.read(0, 9))
            part.done()
            self.assertEqual(5, file.tell())
            part = open_part({"file": file, "offset": 1, "count": 99})
            self.assertEqual((9, b"123456789"), (part.size, part.read(0, 99)))
            part.done()
            self.assertEqual(5, file.tell())
            self.assertEqual(0, open_part({"file": file, "offset": 11}).size)

    def test_descriptor(self) -> None:
        """A descriptor is as good as a file."""
        descriptor = os.open(self.path, os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        open_part({"file": descriptor, "count": 7}).done()
        self.assertEqual(b"789", open_part({"file": descriptor}).read(0, 9))

    def test_wrong_part(self) -> None:
        """An offset or a count that is no number raises."""
        for more in ({"offset": -1}, {"count": "5"}, {"offset": 1.5}):
            self.assertRaises(TypeError, open_part, {"file": 0, **more})

    def test_shorter(self) -> None:
        """A file that has become shorter raises: its length was promised."""
        part = open_path({"path": self.path})
        os.truncate(self.path, 5)
        self.assertEqual(b"01234", part.read(0, 9))
        self.assertRaises(RuntimeError, part.read, 5, 9)
        part.done()
