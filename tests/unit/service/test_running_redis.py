"""Tests for `wsredis.service.running_redis`."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from wsredis.service.private_folder import url_of
from wsredis.service.running_redis import running_servers


class RunningTests(SynchronousTestCase):
    """`running_servers`."""

    def setUp(self) -> None:
        """Temporary files have a place of their own."""
        self.place = Path(tempfile.mkdtemp(prefix="wsredis-test-"))
        self.addCleanup(shutil.rmtree, self.place)
        self.patch(tempfile, "gettempdir", lambda: str(self.place))

    def server(self, name: str, mode: int = 0o700, *, listens: bool = True) -> str:
        """Make the folder of a server. Returns: Its URL."""
        folder = self.place / name
        folder.mkdir(mode=mode)
        folder.chmod(mode)
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(str(folder / "redis.sock"))
        if listens:
            listener.listen()
        return url_of(str(folder))

    def test_found(self) -> None:
        """Servers that take connections are found, in the order of their names."""
        second = self.server(f"wsredis-{'f' * 16}")
        first = self.server(f"wsredis-{'0' * 16}")
        self.assertEqual([first, second], running_servers())

    def test_others(self) -> None:
        """Dead servers, folders that others may enter, links and other files are left alone."""
        self.server(f"wsredis-{'1' * 16}", listens=False)
        self.server(f"wsredis-{'2' * 16}", 0o750)
        self.server("wsredis-test-3")
        self.server("elsewhere")
        (self.place / f"wsredis-{'4' * 16}").symlink_to(self.place / "elsewhere")
        (self.place / f"wsredis-{'5' * 16}").write_text("")
        (self.place / f"wsredis-{'6' * 16}").mkdir(0o700)
        self.assertEqual([], running_servers())

    def test_other_user(self) -> None:
        """The folder of another user is not entered: its messages would go to a stranger."""
        self.server(f"wsredis-{'1' * 16}")
        self.patch(os, "geteuid", lambda: os.getuid() + 1)
        self.assertEqual([], running_servers())

    def test_no_place(self) -> None:
        """Where there is no place for temporary files, there are none."""
        self.patch(tempfile, "gettempdir", lambda: "/nonexistent")
        self.assertEqual([], running_servers())

        def fail() -> str:
            raise FileNotFoundError(2, "No usable temporary directory")

        self.patch(tempfile, "gettempdir", fail)
        self.assertEqual([], running_servers())
