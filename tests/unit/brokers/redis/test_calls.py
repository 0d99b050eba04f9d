"""Tests for `wsredis.brokers.redis.calls`: commands of a channel layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import hiredis
import txredisapi
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsredis.brokers.redis.calls import Call, Command
from wsredis.brokers.redis.commands import Commands
from wsredis.brokers.redis.protocol import NoReply, Pipeline
from wsredis.brokers.redis.stored import StoredKeys, StoredSettings
from wsredis.config import Limits
from wsredis.errors import BrokerUnavailable, PublishOutcomeUnknown
from wsredis.gateway.metrics import Metrics


class _Connection:
    """Keeps the commands that are sent, and the pipeline that waits for the replies."""

    def __init__(self) -> None:
        self.commands: list[list[bytes]] = []
        self.pipelines: list[Pipeline] = []

    def send_pipelines(self, commands: bytes, pipelines: Iterable[Pipeline]) -> None:
        """See `RedisProtocol.send_pipelines`."""
        reader = hiredis.Reader()
        reader.feed(commands)
        self.commands += iter(reader.gets, False)
        self.pipelines += pipelines


class CallTests(SynchronousTestCase):
    """`Call`."""

    limits = Limits(max_commands=3)

    def setUp(self) -> None:
        """Redis is there."""
        clock, metrics = Clock(), Metrics()
        self.read_only: list[int] = []
        keys = StoredKeys(clock, StoredSettings(0), metrics)
        self.sender = Commands(clock, keys, self.limits, metrics, lambda: self.read_only.append(1))
        self.connection = _Connection()
        self.sender.protocol = self.connection  # type: ignore[assignment]
        self.results: list[Any] = []

    def call(self, *commands: Command) -> Call:
        """Send commands."""
        return Call(self.sender, commands, self.results.append)

    def test_replies(self) -> None:
        """All commands go together, and the replies come together, whenever they arrive."""
        call = self.call(("ZRANGE", b"key", 0, -1), ("PUBLISH", "a", "b"))
        self.assertEqual(
            [[b"ZRANGE", b"key", b"0", b"-1"], [b"PUBLISH", b"a", b"b"]], self.connection.commands
        )
        self.assertEqual([call], self.connection.pipelines)
        call.take([[b"x"]])
        self.assertEqual(([], 1), (self.results, call.remaining))
        call.take([2])
        self.assertEqual(([[[b"x"], 2]], 0), (self.results, call.remaining))
        self.assertEqual((0, 0), (self.sender.backlog.commands, self.sender.backlog.size))

    def test_errors(self) -> None:
        """An error of Redis is one of the replies; a replica is left."""
        error = txredisapi.ResponseError("ERR no")
        self.call(("A",), ("B",)).take([error, None])
        self.call(("C",)).take([txredisapi.ResponseError("READONLY no")])
        self.assertEqual([error, None], self.results[0])
        self.assertEqual([1], self.read_only)

    def test_lost(self) -> None:
        """Without all of the replies nobody knows."""
        self.call(("A",), ("B",)).take([1, NoReply("lost")])
        (result,) = self.results
        self.assertIsInstance(result, PublishOutcomeUnknown)

    def test_away(self) -> None:
        """Without a connection nothing is sent."""
        self.sender.protocol = None
        self.call(("A",))
        (result,) = self.results
        self.assertIsInstance(result, BrokerUnavailable)
        self.assertEqual(0, self.sender.backlog.commands)

    def test_bound(self) -> None:
        """Commands without an answer are bounded, together with those of clients."""
        self.sender.backlog.add(2, 0)
        call = self.call(("A",))
        self.call(("B",))
        self.assertIsInstance(self.results.pop(), BrokerUnavailable)
        call.take([1])
        self.call(("C",))
        self.assertEqual([[1]], self.results)

    def test_failed(self) -> None:
        """One that fails over the outcome does not cost the connection to Redis."""

        def fail(result: Sequence[Any] | Exception) -> None:
            raise ZeroDivisionError

        Call(self.sender, [("A",)], fail).take([1])
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
