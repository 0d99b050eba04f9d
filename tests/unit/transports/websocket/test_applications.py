"""Tests for `wsredis.transports.websocket.applications`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.gateway.publication import Publication
from wsredis.transports.websocket.applications import ApplicationMessages
from wsredis.transports.websocket.encoding import Encodings


class MessageTests(SynchronousTestCase):
    """Messages of applications."""

    def test_as_they_are(self) -> None:
        """They go out as they are, each of its kind, and no heartbeat is added."""
        encoding = Encodings(0)[ApplicationMessages(), 0]
        self.assertIsNone(encoding.heartbeat)
        self.assertEqual(b"\x81\x02\xc3\xa9", encoding.message("é"))
        self.assertEqual(b"\x82\x01\xff", encoding.message(b"\xff"))
        self.assertEqual(b"\x81\x01a", encoding.encode(Publication(b"c", b"a")))
