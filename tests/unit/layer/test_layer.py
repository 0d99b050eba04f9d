"""Tests for `wsredis.layer`: what is imported from it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

import wsredis.layer
from tests.unit.test_public import loaded


class LayerTests(SynchronousTestCase):
    """The public names."""

    def test_exist(self) -> None:
        """Each is there, and explained."""
        for name in wsredis.layer.__all__:
            self.assertTrue(getattr(wsredis.layer, name).__doc__, name)

    def test_light(self) -> None:
        """Neither Twisted nor a library of Redis comes with the errors and the names."""
        heavy = ("twisted", "redis", "txredisapi", "django", "channels")
        self.assertEqual([], loaded("import wsredis.layer, wsredis.layer.names", *heavy))

    def test_no_twisted(self) -> None:
        """The layer itself needs neither Twisted nor redis-py: it runs under any server."""
        code = "from wsredis.layer import ChannelLayer; ChannelLayer()"
        self.assertEqual([], loaded(code, "twisted", "autobahn", "redis", "txredisapi"))
