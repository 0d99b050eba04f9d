"""Tests for `wsredis.gateway.metrics`."""

from __future__ import annotations

import re
from dataclasses import fields

from twisted.trial.unittest import SynchronousTestCase

from wsredis.gateway.exported import Histogram, exported
from wsredis.gateway.metrics import Metrics, State


class MetricsTests(SynchronousTestCase):
    """The table of counters."""

    def test_starts_at_zero(self) -> None:
        """A new gateway has counted nothing."""
        for each in fields(Metrics):
            value = getattr(Metrics(), each.name)
            if isinstance(value, Histogram):
                value = sum(value.counts) + value.sum
            elif isinstance(value, dict):
                self.assertTrue(value, f"{each.name} has all its labels from the start")
                value = sum(value.values())
            self.assertEqual(0, value, each.name)

    def test_exported(self) -> None:
        """Every field is exported at /metrics, and so explained in the documentation."""
        for cls in (Metrics, State):
            try:
                found = exported(cls)
            except TypeError as error:
                self.fail(str(error))
            self.assertEqual([each.name for each in fields(cls)], [x.attribute for x in found])

    def test_names(self) -> None:
        """A name is one that Prometheus takes, has no unit twice, and is there once."""
        found = [*exported(Metrics), *exported(State)]
        for each in found:
            self.assertRegex(each.name, r"\A[a-z][a-z_]+[a-z]\Z")
            self.assertNotRegex(each.name, r"_(total|count|sum|bucket|info)\Z")
            self.assertTrue(each.help.endswith("."), each.name)
        self.assertEqual(len(found), len({each.name for each in found}))

    def test_no_others(self) -> None:
        """A counter that is misspelt is an error, not a new counter."""
        self.assertRaises(AttributeError, setattr, Metrics(), "recieved", 1)

    def test_labels(self) -> None:
        """Labels have few values, without a character that would need care."""
        for each in fields(Metrics):
            value = getattr(Metrics(), each.name)
            if isinstance(value, dict):
                self.assertLess(len(value), 100, each.name)
                for key in value:
                    self.assertTrue(re.fullmatch(r"[a-z0-9_,-]*", key), key)


class CountTests(SynchronousTestCase):
    """Events whose label depends on something that a client can choose."""

    def setUp(self) -> None:
        """Nothing is counted."""
        self.metrics = Metrics()

    def test_refusals(self) -> None:
        """A refusal has the reason that is given, else a word for the status, else "other"."""
        for status, cause, reason in (
            (503, "redis-away", "redis-away"),
            (503, "", "unavailable"),
            (403, "", "forbidden"),
            (418, "", "other"),
            (403, "a text of an application", "other"),
        ):
            before = self.metrics.handshakes[f"refused,{reason}"]
            self.metrics.count_refusal(status, cause)
            self.assertEqual(before + 1, self.metrics.handshakes[f"refused,{reason}"], cause)
        self.assertEqual(5, self.metrics.refused)
        self.assertEqual(0, sum(self.metrics.limits.values()))

    def test_limits(self) -> None:
        """A refusal for a limit counts as a limit that was met, too."""
        self.metrics.count_refusal(503, "max-connections")
        self.metrics.count_refusal(431, "")
        for name in ("max-connections", "max-head"):
            self.assertEqual(1, self.metrics.limits[name])
            self.assertEqual(1, self.metrics.handshakes[f"refused,{name}"])

    def test_close_codes(self) -> None:
        """A code is counted for the side that began; those that a client makes up are one."""
        for code in (3000, 4999, 2, 1014):
            self.metrics.count_close("client", code)
        self.metrics.count_close("client", 1000)
        self.metrics.count_close("gateway", 1001)
        self.metrics.count_close("gateway", 3999)
        counted = {key: count for key, count in self.metrics.closed.items() if count}
        self.assertEqual(
            {"client,other": 4, "client,1000": 1, "gateway,1001": 1, "gateway,other": 1}, counted
        )

    def test_too_large(self) -> None:
        """A message that is too large is a limit that was met."""
        self.metrics.count_close("gateway", 1009)
        self.metrics.count_close("client", 1009)
        self.assertEqual(1, self.metrics.limits["max-message"])
