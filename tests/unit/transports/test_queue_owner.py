"""
Tests for `wsredis.transports.queue_owner`: a client that reads slowly.

What it means for a WebSocket is in the tests of its protocol.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fakes import FakeStreamTransport, queued_bytes
from wsredis.config import GatewayConfig, Limits
from wsredis.gateway.client import PauseReason
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.metrics import Metrics
from wsredis.transports.queue_owner import QueueOwner
from wsredis.transports.selective_queue import SelectiveQueue


class _Behind(set[Any]):
    """Stands for the timeouts of the registry, and for the registry."""

    @property
    def behind(self) -> _Behind:
        """Itself."""
        return self


class _Connection:
    """The part of a connection that is used."""

    is_open = True

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """See `wsredis.gateway.connection.Connection.note`."""
        self.notes.append(text)

    def drained(self) -> None:
        """See `wsredis.gateway.connection.Connection.drained`."""
        self.notes.append("drained")

    def select(self, put: object) -> None:
        """See `wsredis.gateway.connection.Connection.select`."""
        self.notes.append("one by one" if put else "in any way")


class _Client(QueueOwner):
    """A client that remembers its end."""

    peer = "192.0.2.1:4711"
    connection_id = "a-1"

    def __init__(self, config: GatewayConfig) -> None:
        self.config = config
        self.clock = Clock()
        self.registry: Any = _Behind()
        self.metrics = Metrics()
        self.queued = queued_bytes(clock=self.clock)
        self.losses = LogThrottle(self.clock, at_once=10)
        self.transport = FakeStreamTransport(100)
        self.connection: Any = _Connection()
        self.ends: list[object] = []

    def is_served(self) -> bool:
        """Until its end."""
        return not self.ends

    def close(self, code: int, reason: str) -> None:
        """Remember it."""
        self.ends.append((code, reason))

    def cut(self, cause: str) -> None:
        """Remember it."""
        self.ends.append(cause)

    def pause(self, why: PauseReason) -> None:
        """Remember it."""
        self.pause_reasons |= why

    def resume(self, why: PauseReason) -> None:
        """Remember it."""
        self.pause_reasons &= ~why


class QueueOwnerTests(SynchronousTestCase):
    """What a transport need not know about slow clients."""

    def client(self, *policies: str) -> _Client:
        """A client with a queue of 1000 bytes, whose transport takes 100."""
        limits = Limits(max_queue=1000, max_queue_hard=1000)
        client = _Client(GatewayConfig(limits=limits, slow_policy=policies))
        client.make_queue("news")
        return client

    def test_closed(self) -> None:
        """A client whose queue is full is closed once, counted, and named in the log."""
        client = self.client()
        with capturedLogs() as logs:
            for _ in range(20):
                client.write(b"x" * 200)
        self.assertEqual([(1008, "slow consumer")], client.ends)
        self.assertEqual(
            (1, 1), (client.metrics.slow_consumers, client.metrics.limits["max-queue"])
        )
        self.assertEqual(
            ["slow consumer 192.0.2.1:4711 (a-1): its queue is full, closing"],
            [formatEvent(each) for each in logs],
        )
        self.assertEqual(["slow consumer: its queue is full, closing"], client.connection.notes)

    def test_grace(self) -> None:
        """The registry is told of a client for which more than the limit waits, and of its end."""
        client = self.client()
        client.config = GatewayConfig(limits=Limits(max_queue=500, max_queue_hard=5000))
        client.transport.unregisterProducer()
        client.make_queue("news")
        for _ in range(8):
            client.write(b"x" * 200)
        self.assertEqual({client}, client.registry)
        client.queue_overdue()
        self.assertEqual([(1008, "slow consumer")], client.ends)
        self.assertEqual(set(), client.registry)

    def test_evicted(self) -> None:
        """The slowest of all is closed; one that cannot be told any more is cut."""
        for is_cut, end in ((False, (1008, "slow consumer")), (True, "slow consumer")):
            client = self.client()
            client.send_queue_evicted(is_cut)
            self.assertEqual([end], client.ends)
            self.assertEqual(1, client.metrics.limits["max-queues"])
            client.send_queue_evicted(False)
            self.assertEqual([end, "slow consumer"], client.ends)
            self.assertEqual(1, client.metrics.slow_consumers)

    def test_policy(self) -> None:
        """A facility with a policy gets the queue of the policy, and one line tells of it."""
        client = self.client("n*=conflate")
        queue = client.queue
        assert isinstance(queue, SelectiveQueue)
        with capturedLogs() as logs:
            for _ in range(20):
                queue.put(b"broadcast:news", b"x" * 200)
        self.assertEqual([], client.ends)
        self.assertEqual(1, len(logs))
        self.assertGreater(client.metrics.conflated, 10)
        self.assertIn("one by one", client.connection.notes)

    def test_oldest(self) -> None:
        """Messages that are left out as the oldest have a counter of their own."""
        client = self.client("drop-oldest")
        queue = client.queue
        assert isinstance(queue, SelectiveQueue)
        for _ in range(20):
            queue.put(b"broadcast:news", b"x" * 200)
        self.assertEqual(0, client.metrics.conflated)
        self.assertGreater(client.metrics.dropped_oldest, 5)

    def test_no_policy(self) -> None:
        """A client without a facility is closed when it is slow, whatever the policies are."""
        client = _Client(GatewayConfig(slow_policy=("conflate",)))
        client.make_queue(None)
        self.assertNotIsInstance(client.queue, SelectiveQueue)

    def test_congestion(self) -> None:
        """A client for which much waits is not read, and one that takes some of it is alive."""
        client = self.client()
        client.config = GatewayConfig()
        client.transport.unregisterProducer()
        client.make_queue("news")
        for _ in range(5):
            client.write(b"x" * 65000)
        self.assertTrue(client.is_paused)
        client.heard = False
        for _ in range(5):
            client.transport.drain()
        self.assertFalse(client.is_paused)
        self.assertTrue(client.heard)
        self.assertIn("drained", client.connection.notes)

    def test_gone(self) -> None:
        """Whatever is written to a client without a queue is dropped."""
        client = self.client()
        client.queue = client.connection = None
        client.write(b"x")
        client.queue_overdue()
        client.send_queue_over()
        client.send_queue_selects(None)
        client.log_slow("it is gone")
        self.assertEqual(b"", client.transport.written)
