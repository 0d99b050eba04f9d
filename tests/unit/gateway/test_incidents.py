"""Tests for `wsredis.gateway.incidents`."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsredis.gateway.incidents import Incident, Incidents


class IncidentsTests(SynchronousTestCase):
    """What went wrong is counted by its kind, and the memory is bounded."""

    def setUp(self) -> None:
        """Nothing has happened."""
        self.clock = Clock()
        self.incidents = Incidents(self.clock.seconds)

    def test_counted(self) -> None:
        """Incidents of one kind are one entry; the newest kind comes first."""
        self.assertEqual([], self.incidents.of(b"a"))
        self.incidents.note(b"a", "one")
        self.incidents.note(b"a", "two")
        self.incidents.note("a", "of the facility")
        self.clock.advance(5)
        self.incidents.note(b"a", "one")
        self.assertEqual(
            [Incident("one", 2, 5.0), Incident("two", 1, 0.0)], self.incidents.of(b"a")
        )
        self.assertEqual([Incident("of the facility", 1, 0.0)], self.incidents.of("a"))

    def test_bounded(self) -> None:
        """Of each subject eight kinds are kept, of 200 characters; and a thousand of each sort."""
        for number in range(2000):
            self.incidents.note(b"busy", f"{number} {'x' * 5000}")
            self.incidents.note(b"%d" % number, "a")
        for number in range(2000):
            self.incidents.note(f"made up {number}", "a")
        kinds = self.incidents.of(b"busy")
        self.assertEqual([*range(1999, 1991, -1)], [int(each.text.split()[0]) for each in kinds])
        self.assertEqual({200}, {len(each.text) for each in kinds})
        self.assertEqual([], self.incidents.of(b"1000"))
        self.assertEqual(1, len(self.incidents.of(b"1001")))
