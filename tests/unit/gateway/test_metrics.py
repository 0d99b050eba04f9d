"""Tests for `wsredis.gateway.metrics`."""

from __future__ import annotations

from dataclasses import fields

from twisted.trial.unittest import SynchronousTestCase

from wsredis.gateway.metrics import Metrics


class MetricsTests(SynchronousTestCase):
    """The table of counters."""

    def test_starts_at_zero(self) -> None:
        """A new gateway has counted nothing."""
        metrics = Metrics()
        self.assertEqual({0}, {getattr(metrics, each.name) for each in fields(metrics)})

    def test_explained(self) -> None:
        """The docstring explains every counter."""
        for each in fields(Metrics):
            self.assertIn(f"    {each.name}: ", Metrics.__doc__ or "")

    def test_no_others(self) -> None:
        """A counter that is misspelt is an error, not a new counter."""
        self.assertRaises(AttributeError, setattr, Metrics(), "recieved", 1)
