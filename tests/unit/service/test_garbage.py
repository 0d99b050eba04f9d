"""Tests for `wsredis.service.garbage`."""

from __future__ import annotations

import gc

from twisted.trial.unittest import SynchronousTestCase

from wsredis.service.garbage import freeze


class FreezeTests(SynchronousTestCase):
    """`freeze`, undone after each test."""

    def setUp(self) -> None:
        """Remember how it was."""
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.addCleanup(gc.unfreeze)

    def test_frozen(self) -> None:
        """What is there is not visited again; garbage that comes later is still found."""
        freeze()
        self.assertGreater(gc.get_freeze_count(), 1000)
        later: list[object] = []
        later.append(later)
        del later
        self.assertGreaterEqual(gc.collect(), 1)

    def test_threshold(self) -> None:
        """Young objects are looked through less often, old ones as seldom as before."""
        before = gc.get_threshold()
        freeze()
        self.assertEqual((10_000, *before[1:]), gc.get_threshold())
