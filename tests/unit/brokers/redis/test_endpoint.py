"""Tests of endpoints: the way to the Redis of a target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from wsredis.brokers.redis.endpoint import CONNECT_TIMEOUT, make_endpoint
from wsredis.config import RedisConfig
from wsredis.config.redis_url import target_of
from wsredis.errors import ConfigError

# A certificate without its key: nothing can be signed or proved with it. Valid until 2126.
_CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBNDCB2qADAgECAgEBMAoGCCqGSM49BAMCMBgxFjAUBgNVBAMMDXdzcmVkaXMg
dGVzdHMwIBcNMjYwMTAxMDAwMDAwWhgPMjEyNjAxMDEwMDAwMDBaMBgxFjAUBgNV
BAMMDXdzcmVkaXMgdGVzdHMwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQkJSl/
FpV/F4wMCdU+5OP+FOblKKzsfMKqUNpXJ1wfTe87xvVtdC6PezeGjwbvcMiiJWVk
ZRSk55Rru74rNGBFoxMwETAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0kA
MEYCIQDBgfitdAdqcrlVGUxqYwwcDbqF/9iQ+7rDwTQooMJATwIhAMMTQrXAhqRV
h6UkJ2CryLs+O7yGVoCU4uMHbqWqBPUO
-----END CERTIFICATE-----
"""


def _endpoint(reactor: Any, url: str, **more: Any) -> IStreamClientEndpoint:
    return make_endpoint(target_of(RedisConfig(url=url, **more)), reactor)


class EndpointTests(SynchronousTestCase):
    """A target leads somewhere."""

    def test_unix(self) -> None:
        """A path is a UNIX socket."""
        reactor = MemoryReactorClock()
        endpoint = _endpoint(reactor, "unix:///run/x.sock")
        self.assertIsInstance(endpoint, UNIXClientEndpoint)

    def test_tcp(self) -> None:
        """A host is resolved at each attempt."""
        endpoint = _endpoint(MemoryReactorClock(), "redis://h:7000")
        verifyObject(IStreamClientEndpoint, endpoint)
        self.assertIn("h", repr(endpoint))

    def test_address_that_swallows_packets(self) -> None:
        """An attempt that is not answered ends after five seconds, on either kind of address."""
        reactor = MemoryReactorClock()
        _endpoint(reactor, "redis://127.0.0.1:7000").connect(Factory())
        _endpoint(reactor, "rediss://127.0.0.1:7000").connect(Factory())
        self.assertEqual([CONNECT_TIMEOUT] * 2, [each[3] for each in reactor.tcpClients])
        _endpoint(reactor, "unix:///run/x.sock").connect(Factory())
        self.assertEqual([CONNECT_TIMEOUT], [each[2] for each in reactor.unixClients])

    def test_tls(self) -> None:
        """With the CAs of the system, or with one's own."""
        reactor = MemoryReactorClock()
        verifyObject(IStreamClientEndpoint, _endpoint(reactor, "rediss://h"))
        path = self.mktemp()
        # Text around certificates is usual.
        Path(path).write_text(f"My CA\n{_CERTIFICATE}another\n{_CERTIFICATE}")
        verifyObject(IStreamClientEndpoint, _endpoint(reactor, "rediss://h", ca=path))

    def test_unusable_ca(self) -> None:
        """Missing, empty or junk: one line that names the file."""
        path = self.mktemp()
        error = self.assertRaises(
            ConfigError, _endpoint, MemoryReactorClock(), "rediss://h", ca=path
        )
        self.assertIn(f"redis-ca: {path}: No such file", str(error))
        for junk in (
            b"",
            b"junk",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ):
            Path(path).write_bytes(junk)
            error = self.assertRaises(
                ConfigError, _endpoint, MemoryReactorClock(), "rediss://h", ca=path
            )
            self.assertIn("not a certificate", str(error))
