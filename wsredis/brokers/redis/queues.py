"""Messages of clients on their way to the lists from which workers take them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import hiredis
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from wsredis.brokers.redis.backlog import Backlog, Share
from wsredis.brokers.redis.protocol import Pipeline, RedisProtocol, Reply, unexpected
from wsredis.brokers.redis.publishing import as_broker_error, is_read_only
from wsredis.errors import BrokerUnavailable, PermissionDenied, QueueFull
from wsredis.gateway.broker import PublishWaiter, WorkerQueue
from wsredis.worker_queues import PUSH

__all__ = ["CommandSender", "Queues"]

#: What Redis says if its user may not do what the script does, in version 6 or 7, or in later ones.
_DENIED = ("The user executing the script", "ACL failure in script")

#: Messages of one command: a script blocks Redis while it runs.
_BATCH = 100


class CommandSender(Protocol):
    """
    The part of `wsredis.brokers.redis.commands.Commands` that others than clients share.

    Attributes:
        protocol: The connection. If None, there is none.
        backlog: Bounds what waits for an answer of Redis.
        read_only: To be called when Redis says that it is a replica.
    """

    protocol: RedisProtocol | None
    backlog: Backlog
    read_only: Callable[[], None]

    def check(self) -> None:
        """Raise BrokerUnavailable unless a command can be sent now."""

    def not_published(self, error: Exception) -> None:
        """Log an error of Redis."""


class _Message:
    """One message, its publisher, and the share of the bound that it takes."""

    __slots__ = ("payload", "share", "waiter")

    def __init__(self, payload: bytes, waiter: PublishWaiter) -> None:
        self.payload, self.waiter = payload, waiter
        self.share: Share | None = None


class Queues:
    """
    Appends messages to lists; those of one turn of the reactor for one list go in one command.

    Args:
        clock: Ends the turn.
        sender: Has the connection, and bounds what waits for an answer of Redis.
    """

    def __init__(self, clock: IReactorTime, sender: CommandSender) -> None:
        self._clock = clock
        self._sender = sender
        self._collected: dict[WorkerQueue, list[_Message]] = {}
        self._flushing: IDelayedCall | None = None

    def push(self, queue: WorkerQueue, payload: bytes, waiter: PublishWaiter) -> None:
        """See `wsredis.gateway.broker.Broker.push`."""
        try:
            self._sender.check()
        except BrokerUnavailable as error:
            waiter.not_published(error, len(payload))
            return
        self._sender.backlog.add(1, len(payload))
        self._collected.setdefault(queue, []).append(_Message(payload, waiter))
        if self._flushing is None:
            self._flushing = self._clock.callLater(0, self.flush)

    def flush(self) -> None:
        """Send the messages of this turn of the reactor. It is called by itself."""
        if self._flushing is not None and self._flushing.active():
            self._flushing.cancel()
        self._flushing = None
        collected, self._collected = self._collected, {}
        for queue, messages in collected.items():
            for start in range(0, len(messages), _BATCH):
                self._send(queue, messages[start : start + _BATCH])

    def _send(self, queue: WorkerQueue, messages: Sequence[_Message]) -> None:
        sender, sent = self._sender, []
        is_crowded = sender.backlog.is_crowded
        for message in messages:
            try:
                if sender.protocol is None:
                    raise BrokerUnavailable("Redis was lost")
                if is_crowded:
                    message.share = sender.backlog.take_share(
                        message.waiter.origin, 1, len(message.payload)
                    )
            except BrokerUnavailable as error:
                _Push([message], sender).take([error])
            else:
                sent.append(message)
        if sent and sender.protocol is not None:
            arguments = (queue.capacity, int(queue.expiry * 1000), queue.bell)
            command = ("EVAL", PUSH, 1, queue.key, *arguments, *(each.payload for each in sent))
            sender.protocol.send_pipelines(hiredis.pack_command(command), [_Push(sent, sender)])


class _Push(Pipeline):
    """The answer to one command."""

    __slots__ = ("_messages", "_sender")

    _log = Logger()

    def __init__(self, messages: Sequence[_Message], sender: CommandSender) -> None:
        super().__init__()
        self._messages = messages
        self._sender = sender
        self.remaining = 1

    def take(self, replies: Sequence[Reply]) -> None:
        """See `Pipeline.take`."""
        (reply,) = replies
        if not isinstance(reply, (int, Exception)):
            raise unexpected("EVAL", reply)
        self.remaining = 0
        sender, taken, error = self._sender, 0, None
        if isinstance(reply, Exception):
            error = _as_broker_error(reply)
            sender.not_published(reply)
            if is_read_only(reply):
                sender.read_only()
        else:
            taken, error = reply, QueueFull("the workers do not keep up")
        for position, message in enumerate(self._messages):
            size = len(message.payload)
            sender.backlog.answered(1, size)
            sender.backlog.release(message.share)
            try:
                if position < taken:
                    message.waiter.published(1, size)
                else:
                    message.waiter.not_published(error, size)
            except Exception:
                # It must not cost the connection to Redis.
                self._log.failure(
                    "a publisher failed over the answer of Redis", event="publish-callback-failed"
                )


def _as_broker_error(error: Exception) -> Exception:
    if any(each in str(error) for each in _DENIED):
        return PermissionDenied("Redis forbids this queue")
    return as_broker_error(error)
