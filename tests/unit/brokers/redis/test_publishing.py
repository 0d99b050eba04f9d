"""Tests of the commands that publish one publisher's messages, and of those that are not stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hiredis
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsredis.brokers.redis.commands import Commands
from wsredis.brokers.redis.publishing import PublishPipeline, is_read_only
from wsredis.brokers.redis.stored import StoredKeys, StoredSettings
from wsredis.config import Limits
from wsredis.gateway.metrics import Metrics


class _Waiter:
    """See `wsredis.gateway.broker.PublishWaiter`."""

    origin = "192.0.2.1"

    def __init__(self) -> None:
        self.heard: list[object] = []

    def published(self, count: int, size: int) -> None:
        """Remember it."""
        self.heard.append((count, size))

    def not_published(self, error: Exception, size: int) -> None:
        """Remember it."""
        self.heard.append((str(error), size))


class PublishPipelineTests(SynchronousTestCase):
    """Messages become commands, one reply each."""

    def setUp(self) -> None:
        """Messages of ten bytes are stored, four bytes a second after some hundred."""
        self.clock = Clock()
        self.metrics = Metrics()
        settings = StoredSettings(60, max_stored=10, rate=4)
        self.keys = StoredKeys(self.clock, settings, self.metrics)
        self.owner = Commands(self.clock, self.keys, Limits(), self.metrics, lambda: None)
        self.waiter = _Waiter()

    def pack(self, channels: Sequence[bytes], *payloads: bytes) -> list[Any]:
        """Pack messages, and read the commands."""
        self.pipeline = PublishPipeline(self.owner, channels, self.waiter)
        for payload in payloads:
            self.pipeline.payloads.append(payload)
            self.pipeline.remaining += self.pipeline.commands
        size = self.pipeline.size()
        parts: list[bytes] = []
        self.pipeline.pack(parts)
        reader = hiredis.Reader()
        data = b"".join(parts)
        self.assertLessEqual(len(data), size + 50)
        reader.feed(data)
        return list(iter(reader.gets, False))

    def test_stored(self) -> None:
        """A message that may be stored is."""
        self.assertEqual(
            [[b"SETEX", b"a", b"60", b"x"], [b"PUBLISH", b"a", b"x"]], self.pack([b"a"], b"x")
        )
        self.assertEqual(0, self.metrics.unpersisted)

    def test_too_large(self) -> None:
        """A larger one is published; the older message, which is not the last any more, goes."""
        self.assertEqual(
            [
                [b"SETEX", b"a", b"1", b""],
                [b"PUBLISH", b"a", b"x" * 11],
                [b"SETEX", b"a", b"60", b"y"],
                [b"PUBLISH", b"a", b"y"],
            ],
            self.pack([b"a"], b"x" * 11, b"y"),
        )
        self.assertEqual(1, self.metrics.unpersisted)
        self.pipeline.take([b"OK", 1, b"OK"])
        self.pipeline.take([1])
        self.assertEqual([(1, 11), (1, 1)], self.waiter.heard)

    def test_too_fast(self) -> None:
        """Messages above the rate are published only."""
        self.pack([b"a"], b"x")
        self.pack([b"c"], b"x")
        self.assertEqual(
            [[b"SETEX", b"b", b"1", b""], [b"PUBLISH", b"b", b"x"]] * 2,
            self.pack([b"b"], b"x", b"x"),
        )
        self.assertEqual(2, self.metrics.unpersisted)

    def test_of_the_application(self) -> None:
        """A key of the application is not touched; each command still has one reply."""
        self.keys.checked(b"user:ann:f", -1, b"string")
        self.assertEqual(
            [
                [b"PING"],
                [b"PUBLISH", b"user:ann:f", b"x"],
                [b"SETEX", b"a", b"60", b"x"],
                [b"PUBLISH", b"a", b"x"],
            ],
            self.pack([b"user:ann:f", b"a"], b"x"),
        )
        self.pipeline.take([b"PONG", 0, b"OK", 0])
        self.assertEqual([(1, 1)], self.waiter.heard)

    def test_nothing_is_stored(self) -> None:
        """Without an expire time there is no limit of what is stored."""
        self.keys = StoredKeys(self.clock, StoredSettings(0), self.metrics)
        self.owner = Commands(self.clock, self.keys, Limits(), self.metrics, lambda: None)
        self.assertEqual([[b"PUBLISH", b"a", b"x" * 99]], self.pack([b"a"], b"x" * 99))

    def test_refused(self) -> None:
        """Messages that are not sent are reported one by one."""
        pipeline = PublishPipeline(self.owner, [b"a"], self.waiter)
        pipeline.payloads += [b"x", b"yy"]
        pipeline.remaining = 4
        pipeline.refuse("too many")
        self.assertEqual([("too many", 1), ("too many", 2)], self.waiter.heard)

    def test_is_read_only(self) -> None:
        """Only one refusal is that of a replica."""
        self.assertTrue(is_read_only(ValueError("READONLY You can't write")))
        for reply in (ValueError("OOM"), b"READONLY", 1):
            self.assertFalse(is_read_only(reply))
