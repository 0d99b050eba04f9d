"""Tests for `wsredis.service.private_folder`."""

from __future__ import annotations

import os
import tempfile
from fnmatch import fnmatch

from twisted.trial.unittest import SynchronousTestCase

from wsredis.errors import ConfigError
from wsredis.service.private_folder import FOLDER_PATTERN, new_folder, socket_of, url_of


class FolderTests(SynchronousTestCase):
    """The names."""

    def test_names(self) -> None:
        """Each folder has another name of the form that the commands look for."""
        folders = {new_folder() for _ in range(20)}
        self.assertEqual(20, len(folders))
        for folder in folders:
            self.assertTrue(fnmatch(os.path.basename(folder), FOLDER_PATTERN), folder)

    def test_long(self) -> None:
        """Where temporary files have a long path, the folder has a short one."""
        self.patch(tempfile, "gettempdir", lambda: "/x" * 40)
        self.assertTrue(new_folder().startswith("/tmp/wsredis-"))

    def test_nowhere(self) -> None:
        """Without a place for temporary files there is no private Redis, and no traceback."""

        def fail() -> str:
            raise FileNotFoundError(2, "No usable temporary directory")

        self.patch(tempfile, "gettempdir", fail)
        error = self.assertRaises(ConfigError, new_folder)
        self.assertIn("redis: no private Redis", str(error))

    def test_url(self) -> None:
        """The URL names the socket, with its odd characters written as URLs write them."""
        self.assertEqual("/tmp/a b/redis.sock", socket_of("/tmp/a b"))
        self.assertEqual("unix:///tmp/a%20b/redis.sock", url_of("/tmp/a b"))
