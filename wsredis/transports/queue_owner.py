"""A client with a send queue, on any transport: what becomes of it if it reads slowly."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, cast

from twisted.logger import Logger, LogLevel

from wsredis.config import GatewayConfig
from wsredis.config.slow_policy import SlowPolicy, policy_for
from wsredis.gateway.client import PauseReason
from wsredis.gateway.connection import Connection
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.queued_bytes import QueuedBytes
from wsredis.transports.selective_queue import SelectiveQueue
from wsredis.transports.send_queue import SendQueue
from wsredis.transports.sockets import plain_socket, report_at_once
from wsredis.transports.websocket.registry import Registry

__all__ = ["QueueOwner"]


class QueueOwner:
    """
    The part of a client that owns its send queue. A transport makes a subclass.

    Attributes:
        connection: The connection of the hub. None before it is admitted, and when it is gone.
        queue: Takes everything that is written to the client. None while there is none.
        address: See `wsredis.gateway.identity.Handshake.address`.
        pause_reasons: The reasons for which the client is not read, added up.
        heard: Whether the client has given a sign of life since it was last looked after.
    """

    _log = Logger()

    config: GatewayConfig
    registry: Registry
    metrics: Metrics
    queued: QueuedBytes
    losses: LogThrottle
    transport: Any

    connection: Connection | None = None
    queue: SendQueue | None = None
    address = ""
    pause_reasons = 0
    heard = True
    #: Whether messages were left out, and the log has a line about it.
    _was_slow = False

    # -- For the subclass

    @property
    @abstractmethod
    def peer(self) -> str:
        """The address of the client, for logs."""

    @property
    @abstractmethod
    def connection_id(self) -> str:
        """See `Connection.id`. Empty before there is a connection, and after it has ended."""

    @abstractmethod
    def is_served(self) -> bool:
        """Tell whether the client is open: it hears publications, and was sent no farewell."""

    @abstractmethod
    def close(self, code: int, reason: str) -> None:
        """See `wsredis.gateway.client.Client.close`."""

    @abstractmethod
    def cut(self, cause: str) -> None:
        """Reset the connection, and forget what waits for it. *cause* is for the log."""

    @abstractmethod
    def pause(self, why: PauseReason) -> None:
        """See `wsredis.gateway.client.Client.pause`."""

    @abstractmethod
    def resume(self, why: PauseReason) -> None:
        """See `wsredis.gateway.client.Client.resume`."""

    def make_queue(self, facility: str | None) -> None:
        """
        Make the queue, which has all that is sent from now on.

        Args:
            facility: Decides which policy there is for a slow client. If None, it is closed.
        """
        transport, limits = self.transport, self.config.limits
        socket = plain_socket(transport)
        if socket is None:
            report_at_once(transport)
        bounds = (transport, limits.max_queue, self, self.queued, socket, limits.most_queued)
        policy = SlowPolicy.DISCONNECT
        if facility is not None:
            policy = policy_for(self.config.slow_policy, facility)
        if policy is SlowPolicy.DISCONNECT:
            self.queue = SendQueue(*bounds)
        else:
            self.queue = SelectiveQueue(*bounds, policy=policy)

    # -- wsredis.gateway.client.Client

    def write(self, data: bytes) -> None:
        """See `wsredis.gateway.client.Client.write`."""
        if self.queue is not None:
            self.queue.write(data)

    @property
    def is_paused(self) -> bool:
        """See `wsredis.gateway.client.Client.is_paused`."""
        return self.pause_reasons != 0

    # -- wsredis.transports.websocket.registry.Member

    def queue_overdue(self) -> None:
        """See `wsredis.transports.websocket.registry.Member.queue_overdue`."""
        if self.queue is not None and self.is_served():
            self.queue.overdue()

    # -- wsredis.transports.send_queue.SendQueueOwner

    def send_queue_over(self) -> None:
        """See `wsredis.transports.send_queue.SendQueueOwner.send_queue_over`."""
        # One that is being closed has a time limit already, and a farewell that may not go.
        if self.connection is not None and self.connection.is_open:
            self.registry.behind.add(cast(Any, self))

    def send_queue_within(self) -> None:
        """See `wsredis.transports.send_queue.SendQueueOwner.send_queue_within`."""
        self.registry.behind.discard(cast(Any, self))

    def send_queue_overflowed(self) -> None:
        """See `wsredis.transports.send_queue.SendQueueOwner.send_queue_overflowed`."""
        if not self.is_served():
            return
        self.metrics.limits["max-queue"] += 1
        self.log_slow("its queue is full, closing")
        self.close(1008, "slow consumer")

    def send_queue_evicted(self, is_cut: bool) -> None:
        """See `wsredis.transports.send_queue.SendQueueOwner.send_queue_evicted`."""
        is_served = self.is_served()
        if is_served:
            self.metrics.limits["max-queues"] += 1
            self.log_slow("the queues of all clients are full, and it is the slowest, closing")
        if is_served and not is_cut:
            self.close(1008, "slow consumer")
        else:
            self.cut("slow consumer")

    def send_queue_selects(self, put: Callable[[bytes, bytes], None] | None) -> None:
        """See `wsredis.transports.selective_queue.SelectiveOwner.send_queue_selects`."""
        if self.connection is not None:
            self.connection.select(put)

    def send_queue_dropped(self, policy: SlowPolicy, count: int) -> None:
        """See `wsredis.transports.selective_queue.SelectiveOwner.send_queue_dropped`."""
        if policy is SlowPolicy.CONFLATE:
            self.metrics.conflated += count
            kept = "only the newest message of each channel waits"
        else:
            self.metrics.dropped_oldest += count
            kept = "the oldest messages are left out"
        if not self._was_slow:
            self._was_slow = True
            self._note_slow(kept)
            self.losses.log(
                self._log,
                LogLevel.warn,
                policy,
                "slow consumer {peer} ({id}): its queue is full, {_kept}",
                event="slow-consumer-kept",
                peer=self.peer,
                id=self.connection_id,
                policy=policy.value,
                _kept=kept,
            )

    def send_queue_congested(self) -> None:
        """See `wsredis.transports.send_queue.SendQueueOwner.send_queue_congested`."""
        if not self.pause_reasons & PauseReason.SEND_QUEUE:
            self.pause(PauseReason.SEND_QUEUE)

    def send_queue_advanced(self) -> None:
        """See `wsredis.transports.send_queue.SendQueueOwner.send_queue_advanced`."""
        self.heard = True

    def send_queue_drained(self) -> None:
        """See `wsredis.transports.send_queue.SendQueueOwner.send_queue_drained`."""
        if self.connection is not None:
            self.connection.drained()
        self.resume(PauseReason.SEND_QUEUE)

    def log_slow(self, problem: str) -> None:
        """Count and log a client that goes since it does not read."""
        self.metrics.slow_consumers += 1
        self._note_slow(problem)
        self.losses.log(
            self._log,
            LogLevel.warn,
            problem,
            "slow consumer {peer} ({id}): {problem}",
            event="slow-consumer",
            peer=self.peer,
            id=self.connection_id,
            problem=problem,
        )

    def _note_slow(self, problem: str) -> None:
        if self.connection is not None:
            self.connection.note(f"slow consumer: {problem}")
