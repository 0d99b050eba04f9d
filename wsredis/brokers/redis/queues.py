"""Messages of clients on their way to the lists from which workers take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import hiredis
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from wsredis.brokers.redis.protocol import Pipeline, RedisProtocol, Reply, unexpected
from wsredis.brokers.redis.publishing import as_broker_error, is_read_only
from wsredis.errors import BrokerUnavailable, PermissionDenied, QueueFull
from wsredis.gateway.broker import PublishWaiter, WorkerQueue
from wsredis.worker_queues import PUSH

__all__ = ["CommandBound", "Queues"]

#: What Redis says if its user may not do what the script does, in version 6 or 7, or in later ones.
_DENIED = ("The user executing the script", "ACL failure in script")

#: Messages of one command: a script blocks Redis while it runs.
_BATCH = 100


class CommandBound(Protocol):
    """The methods of `wsredis.brokers.redis.commands.Commands` that bound what waits."""

    protocol: RedisProtocol | None

    def problem(self) -> str:
        """Say why no command can be sent now. Empty if one can."""

    def count(self, commands: int, size: int) -> None:
        """Count commands that are collected or sent, and their bytes."""

    def answered(self, commands: int, size: int) -> None:
        """Count off commands that were answered, and their bytes."""

    def take_share(self, origin: str, commands: int, size: int) -> tuple[str, int] | None:
        """
        Take a share of the bound for a publisher, if it is needed.

        Returns:
            The share, for `release_share`. None if none is needed.

        Raises:
            BrokerUnavailable: There is none left.
        """

    def release_share(self, share: tuple[str, int] | None) -> None:
        """Give a share back."""

    def not_published(self, error: Exception) -> None:
        """Log an error of Redis."""

    def read_only(self) -> None:
        """Take note that Redis is a replica."""


class _Message:
    """One message, its publisher, and the share of the bound that it takes."""

    __slots__ = ("payload", "share", "waiter")

    def __init__(self, payload: bytes, waiter: PublishWaiter) -> None:
        self.payload, self.waiter = payload, waiter
        self.share: tuple[str, int] | None = None


class Queues:
    """
    Appends messages to lists; those of one turn of the reactor for one list go in one command.

    Args:
        clock: Ends the turn.
        bound: Bounds what waits for an answer of Redis, together with what is published.
    """

    def __init__(self, clock: IReactorTime, bound: CommandBound) -> None:
        self._clock = clock
        self._bound = bound
        self._collected: dict[WorkerQueue, list[_Message]] = {}
        self._flushing: IDelayedCall | None = None

    def push(self, queue: WorkerQueue, payload: bytes, waiter: PublishWaiter) -> None:
        """See `wsredis.gateway.broker.Broker.push`."""
        problem = self._bound.problem()
        if problem:
            waiter.not_published(BrokerUnavailable(problem), len(payload))
            return
        self._bound.count(1, len(payload))
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
        bound, sent = self._bound, []
        for message in messages:
            try:
                if bound.protocol is None:
                    raise BrokerUnavailable("Redis was lost")
                message.share = bound.take_share(message.waiter.origin, 1, len(message.payload))
            except BrokerUnavailable as error:
                _Push([message], bound).take([error])
            else:
                sent.append(message)
        if sent and bound.protocol is not None:
            arguments = (b"%d" % queue.capacity, b"%d" % (queue.expiry * 1000))
            command = ("EVAL", PUSH, b"1", queue.key, *arguments, *(each.payload for each in sent))
            bound.protocol.send_pipelines(hiredis.pack_command(command), [_Push(sent, bound)])


class _Push(Pipeline):
    """The answer to one command."""

    __slots__ = ("_bound", "_messages")

    _log = Logger()

    def __init__(self, messages: Sequence[_Message], bound: CommandBound) -> None:
        super().__init__()
        self._messages = messages
        self._bound = bound
        self.remaining = 1

    def take(self, replies: Sequence[Reply]) -> None:
        """See `Pipeline.take`."""
        (reply,) = replies
        if not isinstance(reply, (int, Exception)):
            raise unexpected("EVAL", reply)
        self.remaining = 0
        bound, taken, error = self._bound, 0, None
        if isinstance(reply, Exception):
            error = _as_broker_error(reply)
            bound.not_published(reply)
            if is_read_only(reply):
                bound.read_only()
        else:
            taken, error = reply, QueueFull("the workers do not keep up")
        for position, message in enumerate(self._messages):
            size = len(message.payload)
            bound.answered(1, size)
            bound.release_share(message.share)
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
