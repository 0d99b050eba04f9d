"""Commands of others than the gateway, on its connection: those of a channel layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import hiredis
from twisted.logger import Logger

from wsredis.brokers.redis.protocol import NoReply, Pipeline, Reply
from wsredis.brokers.redis.publishing import is_read_only
from wsredis.brokers.redis.queues import CommandSender
from wsredis.errors import BrokerUnavailable, PublishOutcomeUnknown

__all__ = ["Call", "Command", "Done"]

#: One command: its name and its arguments.
Command = tuple[bytes | str | int, ...]

#: Takes the replies, in which an error of Redis is an exception; or the one for which there are
#: none: BrokerUnavailable if nothing was sent, else PublishOutcomeUnknown.
Done = Callable[[Sequence[Any] | Exception], None]


class Call(Pipeline):
    """
    Commands that are sent together.

    Args:
        sender: Has the connection, and bounds what waits for an answer of Redis.
    """

    __slots__ = ("_count", "_done", "_replies", "_sender", "_size")

    _log = Logger()

    def __init__(self, sender: CommandSender, commands: Sequence[Command], done: Done) -> None:
        super().__init__()
        self._sender = sender
        self._done = done
        self._replies: list[Reply] = []
        self.remaining = self._count = len(commands)
        packed = b"".join(map(hiredis.pack_command, commands))
        self._size = len(packed)
        try:
            sender.check()
        except BrokerUnavailable as error:
            self._end(error)
            return
        assert sender.protocol is not None
        sender.backlog.add(self._count, self._size)
        sender.protocol.send_pipelines(packed, [self])

    def take(self, replies: Sequence[Reply]) -> None:
        """See `Pipeline.take`."""
        self._replies += replies
        self.remaining -= len(replies)
        if self.remaining:
            return
        self._sender.backlog.answered(self._count, self._size)
        # Replies come in order: if any is missing, the last one is.
        if isinstance(self._replies[-1], NoReply):
            self._end(PublishOutcomeUnknown("the connection to Redis was lost before the answer"))
            return
        if any(map(is_read_only, self._replies)):
            self._sender.read_only()
        self._end(self._replies)

    def _end(self, result: Sequence[Reply] | Exception) -> None:
        try:
            self._done(result)
        except Exception:
            # It must not cost the connection to Redis.
            self._log.failure(
                "a publisher failed over the answer of Redis", event="publish-callback-failed"
            )
