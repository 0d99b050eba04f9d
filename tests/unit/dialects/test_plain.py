"""Tests for `wsredis.dialects.plain`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.dialects.plain import PlainDialect
from wsredis.transports.websocket import frames


class PlainDialectTests(SynchronousTestCase):
    """The payload and nothing else."""

    def test_frame(self) -> None:
        """Text is a text frame, anything else a binary one."""
        dialect = PlainDialect()
        self.assertEqual(frames.text(b'{"a": 1}'), dialect.frame(b'{"a": 1}'))
        self.assertEqual(frames.binary(b"\xff"), dialect.frame(b"\xff"))

    def test_no_heartbeat(self) -> None:
        """Without a heartbeat there is no frame for it, and nothing is one."""
        dialect = PlainDialect()
        self.assertIsNone(dialect.heartbeat_frame)
        for payload in (b"", b"--heartbeat--", b"None"):
            self.assertFalse(dialect.is_heartbeat(payload))

    def test_heartbeat(self) -> None:
        """A heartbeat is exactly the text agreed upon, in UTF-8."""
        dialect = PlainDialect("é")
        self.assertEqual(frames.text("é".encode()), dialect.heartbeat_frame)
        self.assertTrue(dialect.is_heartbeat("é".encode()))
        for payload in (b"", "é ".encode(), "É".encode(), "é".encode("latin-1")):
            self.assertFalse(dialect.is_heartbeat(payload))
