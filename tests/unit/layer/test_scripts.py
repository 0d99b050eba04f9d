"""Tests for `wsredis.layer.scripts`. A real Redis executes them in tests/integration/test_layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.layer import Error, MemoryCarrier, MemoryRedis
from wsredis.layer import LayerUnavailable
from wsredis.layer.scripts import PUSH, popped, popping


class _Deaf:
    """Hears nothing."""

    def heard(self, channel: bytes, payload: bytes) -> None:
        """See `Sink`."""

    def gap(self, seconds: float) -> None:
        """See `Sink`."""


class ScriptTests(SynchronousTestCase):
    """Running a script."""

    def setUp(self) -> None:
        """Make a Redis."""
        self.redis = MemoryRedis()
        self.carrier = MemoryCarrier(self.redis, _Deaf())
        self.replies: list[Sequence[Any] | Exception] = []

    def push(self) -> Any:
        """Push a message and return the reply."""
        PUSH.run(self.carrier, b"q", (2, 1000, b"bell", b"message"), self.replies.append)
        return self.replies.pop()

    def test_unknown(self) -> None:
        """A Redis that does not know the script yet gets its text, once."""
        self.assertEqual([1], self.push())
        self.assertEqual([b"EVALSHA", b"EVAL", b"PUBLISH"][:2], self.redis.names())
        self.assertEqual([1], self.push())
        self.assertEqual([b"EVALSHA"], self.redis.names())
        self.assertEqual([0], self.push())

    def test_errors(self) -> None:
        """Other errors of Redis, and its absence, are handed on."""
        self.redis.refuse[b"EVALSHA"] = "OOM command not allowed"
        [error] = self.push()
        self.assertEqual("OOM command not allowed", str(error))
        self.redis.away = True
        self.assertIsInstance(self.push(), LayerUnavailable)


class PoppedTests(SynchronousTestCase):
    """Taking the oldest entry."""

    def test_commands(self) -> None:
        """Plain commands: a script would cost Redis more."""
        self.assertEqual([(b"LPOP", b"q"), (b"LLEN", b"q"), (b"TIME",)], popping(b"q"))

    def test_entry(self) -> None:
        """The message is the entry without its time, unless that is over by the clock of Redis."""
        entry = b"0000001000500message"
        now = [b"1000", b"499000"]
        found = popped([entry, 3, now])
        self.assertEqual((entry, b"message", 3), (found.entry, found.payload, found.left))
        found = popped([entry, 3, [b"1000", b"500000"]])
        self.assertEqual((entry, None, 3), (found.entry, found.payload, found.left))
        found = popped([None, 0, now])
        self.assertEqual((None, None, 0), (found.entry, found.payload, found.left))

    def test_foreign(self) -> None:
        """What somebody else has put into the list is dropped."""
        for entry in (b"", b"short", b"not-a-number-!message"):
            self.assertIsNone(popped([entry, 0, [b"1000", b"0"]]).payload)

    def test_refused(self) -> None:
        """An error of Redis is raised."""
        self.assertRaises(Error, popped, [Error("WRONGTYPE"), 0, [b"1000", b"0"]])
