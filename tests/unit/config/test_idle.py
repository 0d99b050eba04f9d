"""Tests of `wsredis.config.idle`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.config import GatewayConfig, all_settings, load
from wsredis.config.idle import _NEEDS, idle_settings


class IdleTests(SynchronousTestCase):
    """`idle_settings`."""

    def idle(self, **given: object) -> dict[str, str]:
        """The idle settings of a configuration with these options."""
        options = {name.replace("_", "-"): value for name, value in given.items()}
        return dict(idle_settings(load(options, {})))

    def test_idle(self) -> None:
        """A setting that waits for another one is told with that one."""
        self.assertEqual({"asgi-loop": "asgi"}, self.idle(asgi_loop="thread"))
        self.assertEqual({"max-body": "wsgi or asgi"}, self.idle(max_body=5))
        self.assertEqual({"forward-capacity": "forward"}, self.idle(forward_capacity=5))
        self.assertEqual({"compress-threshold": "compress"}, self.idle(compress_threshold=5))

    def test_in_use(self) -> None:
        """One that has what it needs, and a default that was given, is not told."""
        self.assertEqual({}, dict(idle_settings(GatewayConfig())))
        self.assertEqual({}, self.idle(asgi_loop="reactor"))
        self.assertEqual({}, self.idle(asgi_loop="thread", asgi="a:b", max_body=5))
        self.assertEqual({}, self.idle(max_body=5, wsgi="a:b", wsgi_threads=3))
        self.assertEqual({}, self.idle(forward_capacity=5, forward=["a=b"]))

    def test_names(self) -> None:
        """All names are those of settings."""
        known = {each.name for each in all_settings()}
        self.assertLessEqual({*_NEEDS, *(each for some in _NEEDS.values() for each in some)}, known)
