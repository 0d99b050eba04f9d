"""Tests for `wsredis.web.asgi.room`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.web.asgi.room import Room


class RoomTests(SynchronousTestCase):
    """A bound on what is under way."""

    def test_bound(self) -> None:
        """There are as many places as the limit says, and each may be taken again."""
        room = Room(2)
        self.assertEqual([True, True, False], [room.enter() for _ in range(3)])
        self.assertEqual(2, room.taken)
        room.leave()
        self.assertEqual([True, False], [room.enter() for _ in range(2)])
