"""Tests of `wsredis.config.other_settings`."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from wsredis.config.other_settings import moved_settings, unknown_settings
from wsredis.config.ws4redis import SUBSCRIBER


class UnknownTests(SynchronousTestCase):
    """`unknown_settings`."""

    def found(self, *names: str) -> dict[str, str]:
        """The settings of a project with these names that nobody knows."""
        return unknown_settings(SimpleNamespace(**dict.fromkeys(names)))

    def test_known(self) -> None:
        """Settings of wsredis and of ws4redis are known; others do not look like them."""
        self.assertEqual({}, self.found("WS4REDIS_PREFIX", "WS4REDIS_STORED_PREFIX"))
        self.assertEqual({}, self.found("WEBSOCKET_URL", "DEBUG", "REDIS_URL", "ws4redis_x"))

    def test_slip(self) -> None:
        """A name with a slip is found, with the one that was meant."""
        for slip, meant in (
            ("WS4REDIS_ALLOWED_CHANELS", "WS4REDIS_ALLOWED_CHANNELS"),
            ("WS4REDIS_ALLOWED_CHANNEL", "WS4REDIS_ALLOWED_CHANNELS"),
            ("WS4REDIS_PROCESS_REQUESTS", "WS4REDIS_PROCESS_REQUEST"),
            ("WS4REDIS_SUBSCRIBERS", "WS4REDIS_SUBSCRIBER"),
            ("WS4REDIS_EXPIRES", "WS4REDIS_EXPIRE"),
            ("WEBSOCKETS_URL", "WEBSOCKET_URL"),
            # A name of the first versions.
            ("WS4REDIS_STORE", "WS4REDIS_SUBSCRIBER"),
        ):
            self.assertEqual({slip: meant}, self.found(slip))

    def test_own(self) -> None:
        """A setting of the project's own is like none, or the project has the other one as well."""
        self.assertEqual({}, self.found("WEBSOCKET_TIMEOUT", "WEBSOCKET_URI", "WEBSOCKET_URL"))
        both = self.found("WS4REDIS_EXPIRES", "WS4REDIS_EXPIRE", "WS4REDIS_STORE")
        self.assertEqual({"WS4REDIS_EXPIRES": "", "WS4REDIS_STORE": "WS4REDIS_SUBSCRIBER"}, both)
        self.assertEqual({"WS4REDIS_APPS": ""}, self.found("WS4REDIS_APPS"))
        self.assertEqual(
            {"WS4REDIS_EMULATION_INTERVAL": ""}, self.found("WS4REDIS_EMULATION_INTERVAL")
        )


class MovedTests(SynchronousTestCase):
    """`moved_settings`."""

    def found(self, module: dict[str, object], **settings: object) -> dict[str, object]:
        """The settings that are taken from ``ws4redis.settings`` with these contents."""
        copied = ModuleType("ws4redis.settings")
        copied.__dict__.update(module)
        with mock.patch.dict(sys.modules, {"ws4redis.settings": copied}):
            return moved_settings(SimpleNamespace(**settings))

    def test_same(self) -> None:
        """Values that are only copies, or defaults, are not moved."""
        defaults = {"WS4REDIS_ALLOWED_CHANNELS": None, "WS4REDIS_SUBSCRIBER": SUBSCRIBER}
        self.assertEqual({}, self.found(defaults))
        copies = {"WS4REDIS_ALLOWED_CHANNELS": len, "WS4REDIS_SUBSCRIBER": "site.Subscriber"}
        self.assertEqual({}, self.found(copies, **copies))

    def test_assigned(self) -> None:
        """Values that are only there, or are others there, are moved."""
        assigned = {"WS4REDIS_ALLOWED_CHANNELS": len, "WS4REDIS_SUBSCRIBER": "site.Subscriber"}
        self.assertEqual(assigned, self.found(assigned))
        self.assertEqual(assigned, self.found(assigned, WS4REDIS_ALLOWED_CHANNELS=print))

    def test_none(self) -> None:
        """A project that never imports ws4redis has none."""
        with mock.patch.dict(sys.modules):
            sys.modules.pop("ws4redis.settings", None)
            self.assertEqual({}, moved_settings(SimpleNamespace()))
