"""Tests of the builder: the site that a configuration describes."""

from __future__ import annotations

import json
import re
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.memory_gateway import Socket
from tests.unit.web.case import PROBES, make_request
from wsredis import __version__, web
from wsredis.auth.admission import Admission
from wsredis.auth.control_commands import RecentCommands
from wsredis.auth.open_sockets import OpenSockets
from wsredis.config import AsgiConfig, GatewayConfig, Limits, RedisConfig
from wsredis.errors import ConfigError
from wsredis.web.site import GatewaySite
from wsredis.web.spool import Spool


def named_application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """An application that is never called."""
    raise AssertionError


class FromConfigTests(SynchronousTestCase):
    """One function makes the site from the settings."""

    name = f"{__name__}:named_application"

    def make(self, config: GatewayConfig, **arguments: Any) -> GatewaySite:
        """Build a site that is ready."""
        self.reactor = MemoryReactorClock()
        return web.from_config(config, self.reactor, PROBES, **arguments)

    def ask(self, site: GatewaySite, path: str) -> tuple[int, str]:
        """Returns: Status and body of the answer."""
        client = Socket(site)
        client.send(make_request(f"GET {path}"))
        head, _, body = client.take().partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), body.decode()

    def test_plain(self) -> None:
        """By default there are health and facilities, and neither a page nor an application."""
        site = self.make(GatewayConfig(url_prefix="/sock/"))
        self.assertEqual(200, self.ask(site, "/health/ready")[0])
        self.assertEqual(400, self.ask(site, "/sock/a")[0])
        self.assertEqual(404, self.ask(site, "/")[0])
        self.assertFalse(site.has_application)
        self.assertEqual(0, site.max_channels)

    def test_demo(self) -> None:
        """The playground knows the prefix, the heartbeat, and the way to Redis, but no password."""
        redis = RedisConfig(url="redis://:secret@localhost:7000/3")
        config = GatewayConfig(demo=True, prefix="p", heartbeat="--hb--", redis=redis)
        admission = Admission(MemoryReactorClock(), [], [], RecentCommands(MemoryReactorClock()))
        sockets = OpenSockets(admission, "p", knows_identities=False)
        status, body = self.ask(self.make(config, sockets=sockets), "/")
        self.assertEqual(200, status)
        found = re.search('id="settings">(.*)</script>', body)
        assert found is not None
        self.assertEqual(
            {
                "version": __version__,
                "uri": "/ws/",
                "prefix": "p",
                "storedPrefix": "",
                "heartbeat": "--hb--",
                "redisCli": "-p 7000 -n 3 --askpass",
                "redisUrl": "redis://localhost:7000/3",
                "redisHasPassword": True,
                "streams": True,
                "workers": 1,
            },
            json.loads(found[1]),
        )

    def test_usual_redis(self) -> None:
        """Nobody has to be told where the Redis at localhost:6379 is; a socket is named."""
        for url, cli, shown in (
            (None, "", ""),
            ("unix:///tmp/a b.sock", "-s '/tmp/a b.sock'", "unix:///tmp/a%20b.sock"),
        ):
            settings = web.playground_settings(GatewayConfig(redis=RedisConfig(url=url)))
            self.assertEqual((cli, shown), (settings["redisCli"], settings["redisUrl"]))

    def test_application(self) -> None:
        """An argument comes before the setting; the limits are those of the settings."""
        limits = Limits(max_handshakes=7, max_body=70)
        config = GatewayConfig(wsgi="nosuch:nosuch", limits=limits)
        site = self.make(config, application=named_application)
        self.assertTrue(site.has_application)
        self.assertEqual((7, 70), (site.max_channels, site.max_body))

    def test_named(self) -> None:
        """The application may be named; one that cannot be imported is a ConfigError."""
        self.assertTrue(self.make(GatewayConfig(wsgi=self.name)).has_application)
        self.assertRaises(ConfigError, self.make, GatewayConfig(wsgi=f"{__name__}:nosuch"))

    def test_demo_and_application(self) -> None:
        """Both would be at the same path."""
        error = self.assertRaises(ConfigError, self.make, GatewayConfig(demo=True, wsgi=self.name))
        self.assertIn("demo: ", str(error))

    def test_two_applications(self) -> None:
        """An ASGI application excludes a WSGI one, given in any way, and the demo page."""
        asgi = AsgiConfig("nosuch:nosuch")
        for config, application in (
            (GatewayConfig(asgi=asgi, wsgi=self.name), None),
            (GatewayConfig(asgi=asgi), named_application),
        ):
            error = self.assertRaises(ConfigError, self.make, config, application=application)
            self.assertEqual("asgi: cannot be combined with wsgi: both serve /", str(error))
        error = self.assertRaises(ConfigError, self.make, GatewayConfig(demo=True, asgi=asgi))
        self.assertIn("demo: ", str(error))

    def test_body_that_never_fits(self) -> None:
        """A body of the allowed size fits into the share of a single client."""
        limits = Limits(max_body=100_000, max_spool=149_999)
        config = GatewayConfig(wsgi=self.name, limits=limits)
        error = self.assertRaises(ConfigError, self.make, config)
        self.assertIn("max-spool: must be at least 150000: ", str(error))
        self.make(GatewayConfig(limits=limits))
        self.make(GatewayConfig(wsgi=self.name, limits=Limits(max_body=100_000, max_spool=150_000)))
        spool = Spool(150_000)
        self.assertTrue(spool.take("a", 100_000))
