"""Tests for `wsredis.layer.errors`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.errors import BrokerUnavailable, PublishOutcomeUnknown
from wsredis.layer import LayerOutcomeUnknown, LayerUnavailable


class ErrorTests(SynchronousTestCase):
    """Two ways in which Redis is away."""

    def test_operating_system(self) -> None:
        """Programs catch them as errors of the system, or as those of wsredis."""
        for error, ours in (
            (LayerUnavailable("away"), BrokerUnavailable),
            (LayerOutcomeUnknown("away"), PublishOutcomeUnknown),
        ):
            self.assertIsInstance(error, OSError)
            self.assertIsInstance(error, ours)
            self.assertEqual("away", str(error))
