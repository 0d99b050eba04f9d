"""Tests for `wsredis.service.connect.program`; tests/integration/test_connect.py runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import Authority
from wsredis.errors import ConfigError
from wsredis.service.connect.program import Wishes, endpoint_of
from wsredis.service.connect.target import read_target


class EndpointTests(SynchronousTestCase):
    """`endpoint_of`."""

    def make(self, url: str, **wishes: Any) -> Any:
        """Make the endpoint of a server."""
        return endpoint_of(MemoryReactorClock(), read_target(url), Wishes(**wishes))

    def test_plain(self) -> None:
        """It leads to the host of the URL, or to a UNIX socket."""
        self.assertIsInstance(self.make("ws://h/"), HostnameEndpoint)
        self.assertIsInstance(self.make("ws://h/", unix="/run/x"), UNIXClientEndpoint)

    def test_tls(self) -> None:
        """With TLS it is another one, whatever is checked."""
        folder = Path(self.mktemp())
        folder.mkdir()
        path = Authority(folder).path
        for wishes in ({}, {"is_insecure": True}, {"ca": str(path)}):
            endpoint = self.make("wss://h/", **wishes)
            self.assertNotIsInstance(endpoint, HostnameEndpoint)

    def test_refused(self) -> None:
        """A file that has no certificate is named."""
        path = Path(self.mktemp())
        path.write_text("nothing")
        for ca, part in ((str(path), "no PEM certificate"), ("/nonexistent", "No such file")):
            error = self.assertRaises(ConfigError, self.make, "wss://h/", ca=ca)
            self.assertEqual(0, str(error).find(f"--ca: {ca}: "))
            self.assertIn(part, str(error))
