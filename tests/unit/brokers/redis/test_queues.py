"""Tests for `wsredis.brokers.redis.queues`: appending to the lists of workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import hiredis
import txredisapi
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fakes import push
from wsredis.brokers.redis.commands import Commands
from wsredis.brokers.redis.protocol import InvalidReply, NoReply, Pipeline
from wsredis.brokers.redis.queues import Queues
from wsredis.brokers.redis.stored import StoredKeys, StoredSettings
from wsredis.config import Limits
from wsredis.errors import (
    BrokerUnavailable,
    PermissionDenied,
    PublishOutcomeUnknown,
    QueueFull,
)
from wsredis.gateway.broker import WorkerQueue
from wsredis.gateway.metrics import Metrics
from wsredis.worker_queues import PUSH

QUEUE = WorkerQueue(b"asgi:queue:orders", b"asgi@1:queue:orders", 10, 60.0)


class _Connection:
    """Keeps the commands that are sent, and the pipelines that wait for the replies."""

    def __init__(self) -> None:
        self.commands: list[list[bytes]] = []
        self.pipelines: list[Pipeline] = []

    def send_pipelines(self, commands: bytes, pipelines: Iterable[Pipeline]) -> None:
        """See `RedisProtocol.send_pipelines`."""
        reader = hiredis.Reader()
        reader.feed(commands)
        self.commands += iter(reader.gets, False)
        self.pipelines += pipelines

    def answer(self, reply: Any) -> None:
        """Answer the oldest command."""
        self.pipelines.pop(0).take([reply])


class QueuesTests(SynchronousTestCase):
    """`Queues`, on the bound of real `Commands`."""

    limits = Limits(max_commands=8, max_command_bytes=1000)

    def setUp(self) -> None:
        """Redis is there."""
        self.clock, self.metrics = Clock(), Metrics()
        self.read_only: list[int] = []
        keys = StoredKeys(self.clock, StoredSettings(0), self.metrics)
        self.commands = Commands(
            self.clock, keys, self.limits, self.metrics, lambda: self.read_only.append(1)
        )
        self.connection = _Connection()
        self.commands.protocol = self.connection  # type: ignore[assignment]
        self.queues = Queues(self.clock, self.commands)

    def push(self, payload: bytes, queue: WorkerQueue = QUEUE, origin: str = "") -> Deferred[None]:
        """Hand over one message."""
        return push(self.queues, queue, payload, origin)

    def test_one_command(self) -> None:
        """The messages of one turn for one list go in one command, in their order."""
        other = QUEUE._replace(key=b"asgi:queue:chat", capacity=5, expiry=1.5)
        done = [self.push(b"1"), self.push(b"2"), self.push(b"3", other), self.push(b"4")]
        self.assertEqual([], self.connection.commands)
        self.clock.advance(0)
        script = [b"EVAL", PUSH.encode(), b"1"]
        self.assertEqual(
            [
                [
                    *script,
                    QUEUE.key,
                    b"10",
                    b"60000",
                    QUEUE.bell,
                    b"1",
                    b"2",
                    b"4",
                ],
                [*script, other.key, b"5", b"1500", other.bell, b"3"],
            ],
            self.connection.commands,
        )
        self.connection.answer(3)
        for each in (done[0], done[1], done[3]):
            self.successResultOf(each)
        self.assertNoResult(done[2])
        self.connection.answer(1)
        self.successResultOf(done[2])

    def test_long_turn(self) -> None:
        """A command has a hundred messages at most."""
        self.commands.backlog._most = 1000
        for number in range(250):
            self.push(b"%d" % number)
        self.clock.advance(0)
        self.assertEqual([107, 107, 57], [*map(len, self.connection.commands)])

    def test_full(self) -> None:
        """The first ones are in the list; those that had no room fail, and may be repeated."""
        done = [self.push(b"%d" % number) for number in range(3)]
        self.clock.advance(0)
        self.connection.answer(1)
        self.successResultOf(done[0])
        for each in done[1:]:
            self.failureResultOf(each, QueueFull)

    def test_away(self) -> None:
        """Without a connection it fails at once, or when the turn ends."""
        late = self.push(b"1")
        self.commands.protocol = None
        self.failureResultOf(self.push(b"2"), BrokerUnavailable)
        self.clock.advance(0)
        self.failureResultOf(late, BrokerUnavailable)
        self.assertEqual((0, 0), (self.commands.backlog.commands, self.commands.backlog.size))

    def test_lost(self) -> None:
        """If the answer never comes, nobody knows."""
        done = self.push(b"1")
        self.clock.advance(0)
        self.connection.answer(NoReply("lost"))
        self.failureResultOf(done, PublishOutcomeUnknown)

    def test_errors(self) -> None:
        """A right that is missing is told; so is a replica, and any other error."""
        for text, kind in (
            ("NOPERM no", PermissionDenied),
            ("ERR The user executing the script can't publish to the channel", PermissionDenied),
            ("ERR ACL failure in script: User x has no permissions", PermissionDenied),
            ("OOM command not allowed", PublishOutcomeUnknown),
            ("READONLY You can't write against a read only replica.", PublishOutcomeUnknown),
        ):
            done = self.push(b"1")
            self.clock.advance(0)
            self.connection.answer(txredisapi.ResponseError(text))
            self.failureResultOf(done, kind)
        self.assertEqual([1], self.read_only)

    def test_no_number(self) -> None:
        """Another reply is that to another command."""
        self.push(b"1")
        self.clock.advance(0)
        self.assertRaises(InvalidReply, self.connection.answer, b"OK")

    def test_bound(self) -> None:
        """Messages that wait for an answer are bounded, together with those that are published."""
        done = [self.push(b"1") for _ in range(9)]
        self.failureResultOf(done[8], BrokerUnavailable)
        self.assertEqual(1, self.metrics.limits["max-commands"])
        self.clock.advance(0)
        self.connection.answer(8)
        self.assertEqual((0, 0), (self.commands.backlog.commands, self.commands.backlog.size))
        done = [self.push(b"x" * 600), self.push(b"x" * 600), self.push(b"x")]
        self.failureResultOf(done[2], BrokerUnavailable)

    def test_shares(self) -> None:
        """When half of the bound is used, each publisher has a share of the rest."""
        self.commands.backlog.add(5, 0)
        greedy = [self.push(b"x" * 100, origin="a") for _ in range(3)]
        self.clock.advance(0)
        refused = [each for each in greedy if each.called]
        for each in refused:
            self.failureResultOf(each, BrokerUnavailable)
        self.assertTrue(0 < len(refused) < 3)
        self.connection.answer(3)
        self.assertEqual(0, self.commands.backlog.shared.held)

    def test_publisher_failed(self) -> None:
        """A publisher that fails over the outcome does not cost the connection to Redis."""

        class Broken:
            origin = ""
            published: Callable[[int, int], None] = staticmethod(lambda count, size: 1 / 0)  # type: ignore[assignment,return-value]

            def not_published(self, error: Exception, size: int) -> None:
                """Never."""

        self.queues.push(QUEUE, b"1", Broken())
        done = self.push(b"2")
        self.clock.advance(0)
        self.connection.answer(2)
        self.successResultOf(done)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_flush(self) -> None:
        """A stop sends what was collected; no timer is left."""
        self.push(b"1")
        self.queues.flush()
        self.assertEqual(1, len(self.connection.commands))
        self.assertEqual([], self.clock.getDelayedCalls())
