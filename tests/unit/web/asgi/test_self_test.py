"""Tests of `wsredis.web.asgi.self_test`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.errors import ConfigError
from wsredis.web.asgi.loop import ReactorLoop
from wsredis.web.asgi.self_test import self_test


class SelfTestTests(SynchronousTestCase):
    """The names of asyncio that the loop relies on."""

    def test_passes(self) -> None:
        """The asyncio of this Python is as it has to be."""
        self_test()

    def test_names_the_version(self) -> None:
        """Another asyncio is refused with one line that names the version of Python."""
        for name in ("_process_events", "_asyncgen_firstiter_hook"):
            self.patch(ReactorLoop, name, None)
            error = self.assertRaises(ConfigError, self_test)
            self.assertRegex(str(error), r"\Awsredis cannot work with Python 3\.[^\n]+\Z")
