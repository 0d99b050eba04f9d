"""Tests of the files that dead processes leave."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from wsredis.service.leftovers import remove_dead_socket, remove_stale_pidfile


class _FolderCase(SynchronousTestCase):
    """A folder with a short path, since those of sockets are limited."""

    def setUp(self) -> None:
        """Make it."""
        self.folder = Path(tempfile.mkdtemp(prefix="wsredis-test-"))
        self.addCleanup(shutil.rmtree, self.folder)


class SocketTests(_FolderCase):
    """A socket whose owner is dead does not keep a successor out."""

    def setUp(self) -> None:
        """Bind a socket, with the lock of a process that lives."""
        super().setUp()
        self.path = self.folder / "socket"
        self.lock = self.folder / "socket.lock"
        self.lock.symlink_to(str(os.getpid()))
        self.socket = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.socket.close)
        self.socket.bind(str(self.path))

    def left(self) -> tuple[bool, bool]:
        """Remove what is dead. Returns: Whether the socket and the lock are still there."""
        remove_dead_socket(str(self.path))
        return self.path.exists(), self.lock.is_symlink()

    def test_dead(self) -> None:
        """Both files are removed if nobody listens."""
        self.socket.close()
        self.assertEqual((False, False), self.left())

    def test_alive(self) -> None:
        """Both stay while somebody listens."""
        self.socket.listen(4)
        self.assertEqual((True, True), self.left())

    def test_busy(self) -> None:
        """A server that does not take its connections is alive, and is not waited for."""
        self.socket.listen(0)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for client in clients:
            self.addCleanup(client.close)
            client.setblocking(False)
            client.connect_ex(str(self.path))
        self.assertEqual((True, True), self.left())

    def test_lock_alone(self) -> None:
        """A lock without a socket is left over."""
        self.path.unlink()
        self.assertEqual((False, False), self.left())

    def test_other_files(self) -> None:
        """A file that is not a socket stays, and so does a lock that is not Twisted's."""
        self.path.unlink()
        self.path.write_text("precious")
        self.assertEqual((True, True), self.left())
        self.path.unlink()
        self.lock.unlink()
        self.lock.write_text("precious")
        remove_dead_socket(str(self.path))
        self.assertTrue(self.lock.exists())

    def test_no_file(self) -> None:
        """An abstract name, and a path that leads nowhere, change nothing."""
        remove_dead_socket("\0wsredis")
        remove_dead_socket(f"{self.path}/nosuch")
        self.assertTrue(self.path.exists())


class PidfileTests(_FolderCase):
    """The id of a process that has another owner now proves nothing."""

    def is_removed(self, text: str, age: float = 0.0) -> bool:
        """Tell whether a file with this text is removed that was written *age* seconds ago."""
        path = self.folder / "twistd.pid"
        path.write_text(text)
        written = time.time() - age
        os.utime(path, (written, written))
        remove_stale_pidfile(str(path))
        return not path.exists()

    def test_own(self) -> None:
        """A file with our own id is from a process before us."""
        self.assertTrue(self.is_removed(f"{os.getpid()}\n"))

    def test_owner(self) -> None:
        """A process that is older than the file is its owner; a younger one got its id."""
        parent = str(os.getppid())
        self.assertFalse(self.is_removed(parent))
        self.assertTrue(self.is_removed(parent, age=time.clock_gettime(time.CLOCK_BOOTTIME) + 60))

    def test_unknown(self) -> None:
        """Everything else is left to twistd."""
        self.assertFalse(self.is_removed("many"))
        self.assertFalse(self.is_removed("4194305"))
        remove_stale_pidfile("")
        self.patch(sys, "platform", "other")
        self.assertFalse(self.is_removed(str(os.getppid()), age=1e9))

    if sys.platform != "linux":
        test_owner.skip = "only Linux tells when a process has started"  # type: ignore[attr-defined]
