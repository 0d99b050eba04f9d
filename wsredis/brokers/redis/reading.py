"""Reading stored messages: first their sizes, then the messages, a bounded size at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence

import hiredis
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel

from wsredis.brokers.redis.protocol import (
    NoReply,
    Pipeline,
    RedisProtocol,
    Reply,
    unexpected,
)
from wsredis.brokers.redis.stored import StoredKeys, is_of_application
from wsredis.config.redis_url import error_text
from wsredis.errors import BrokerUnavailable
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.metrics import Metrics

__all__ = ["Replies", "StoredReader"]

#: Bytes and keys in one MGET. A reply is a sign of life only when it is complete, and what one
#: reader asks for must not keep the others waiting. A larger message is read alone.
_BATCH_BYTES = 1048576
_BATCH_KEYS = 256

#: Bytes; messages of no more are read before the others.
_SMALL = 4096

#: Bytes that are assumed for a message where Redis does not tell its size.
_UNKNOWN = 65536


class Replies(Pipeline):
    """
    The replies to commands that are sent together.

    Args:
        protocol: Sends them.
        commands: At least one, each with one reply.
        kinds: The types of replies that are no errors. Another one ends the connection.

    Attributes:
        done: Fires with all replies, errors of Redis among them. It fails with BrokerUnavailable if
            the connection is lost first.
    """

    __slots__ = ("_kinds", "_replies", "done")

    def __init__(
        self,
        protocol: RedisProtocol,
        commands: Sequence[tuple[bytes | str, ...]],
        kinds: tuple[type, ...],
    ) -> None:
        super().__init__()
        self.done: Deferred[list[Reply]] = Deferred()
        self._replies: list[Reply] = []
        self._kinds = (*kinds, Exception)
        self.remaining = len(commands)
        protocol.send_pipelines(b"".join(map(hiredis.pack_command, commands)), [self])

    def take(self, replies: Sequence[Reply]) -> None:
        """See `Pipeline.take`."""
        for reply in replies:
            if not isinstance(reply, self._kinds):
                raise unexpected("a command", reply)
        self._replies += replies
        self.remaining -= len(replies)
        if self.remaining or self.done.called:
            return
        # Replies come in order: if any is missing, the last one is.
        if isinstance(self._replies[-1], NoReply):
            self.done.errback(BrokerUnavailable("the connection to Redis was lost"))
        else:
            self.done.callback(self._replies)


class StoredReader:
    """
    Reads stored messages. Those that are missing, empty, unreadable or too large are left out.

    Args:
        max_value: Bytes of the largest message that is read. Larger ones are counted and logged.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, keys: StoredKeys, max_value: int, metrics: Metrics
    ) -> None:
        self._keys = keys
        self._max_value = max_value
        self._metrics = metrics
        self._throttle = LogThrottle(clock)
        #: The connection whose user may not ask for sizes.
        self._silent: RedisProtocol | None = None
        self._refusals = 0

    async def read(
        self,
        protocol: RedisProtocol,
        channels: Sequence[bytes],
        take: Callable[[dict[bytes, bytes]], Awaitable[None] | None],
        sized: Callable[[Collection[bytes]], None] | None = None,
    ) -> bool:
        """
        Read the stored messages of *channels*, one batch after the other.

        Args:
            take: Called with each batch, by channel; the next one is read when it is done.
            sized: Called before that with the channels that have a message.

        Returns:
            Whether Redis has refused none of them meanwhile.

        Raises:
            BrokerUnavailable: The connection was lost. Safe to repeat.
        """
        refusals = self._refusals
        sizes = await self._sizes(protocol, channels)
        if sized is not None:
            sized(sizes)
        for batch in self._batches(sizes):
            taken = take(await self._values(protocol, batch))
            if taken is not None:
                await taken
        return self._refusals == refusals

    def stop(self) -> None:
        """Log what was counted."""
        self._throttle.reset()

    async def _sizes(self, protocol: RedisProtocol, channels: Sequence[bytes]) -> dict[bytes, int]:
        """Ask for the size of each stored message that there is and that may be read."""
        if protocol is self._silent:
            return dict.fromkeys(channels, _UNKNOWN)
        key, is_guarded = self._keys.key, self._keys.is_guarded
        commands: list[tuple[bytes | str, ...]] = [("STRLEN", key(each)) for each in channels]
        guarded = [each for each in channels if is_guarded(each)]
        commands += [("TTL", key(each)) for each in guarded]
        replies = await Replies(protocol, commands, (int,)).done
        sizes = {}
        for channel, reply in zip(channels, replies, strict=False):
            if isinstance(reply, Exception):
                # A key of another type is none of ours.
                if not str(reply).startswith("WRONGTYPE"):
                    sizes[channel] = _UNKNOWN
                    self._ask_no_more(protocol, reply)
            elif reply > self._max_value:
                self._leave_out(reply)
            elif reply:
                sizes[channel] = reply
        for channel, reply in zip(guarded, replies[len(channels) :], strict=True):
            if is_of_application(reply, None):
                sizes.pop(channel, None)
        return sizes

    def _ask_no_more(self, protocol: RedisProtocol, refusal: Exception) -> None:
        if "'strlen'" in str(refusal).lower():
            # The user lacks the command. Redis keeps a record of each refusal: one is enough.
            self._silent = protocol

    @staticmethod
    def _batches(sizes: dict[bytes, int]) -> Iterator[list[bytes]]:
        batch: list[bytes] = []
        total = 0
        # Those who wait for a small message do not wait for the large ones of others.
        for channel, size in sorted(sizes.items(), key=lambda item: item[1] > _SMALL):
            if batch and (total + size > _BATCH_BYTES or len(batch) == _BATCH_KEYS):
                yield batch
                batch, total = [], 0
            batch.append(channel)
            total += size
        if batch:
            yield batch

    async def _values(
        self, protocol: RedisProtocol, channels: Sequence[bytes]
    ) -> dict[bytes, bytes]:
        reply = await _mget(protocol, [self._keys.key(each) for each in channels])
        if not isinstance(reply, Exception):
            return {
                channel: value
                for channel, value in zip(channels, reply, strict=True)
                if value and len(value) <= self._max_value
            }
        if str(reply).startswith("NOPERM") and len(channels) > 1:
            # One key that is forbidden takes the whole command with it.
            values: dict[bytes, bytes] = {}
            for channel in channels:
                values.update(await self._values(protocol, [channel]))
            return values
        self._refusals += 1
        self._throttle.log(
            self._log,
            LogLevel.warn,
            "refused",
            "Redis refuses to read stored messages: {error}",
            event="stored-read-refused",
            error=error_text(reply),
        )
        return {}

    def _leave_out(self, size: int) -> None:
        self._metrics.oversized += 1
        self._metrics.limits["max-publication"] += 1
        self._throttle.log(
            self._log,
            LogLevel.warn,
            "oversized",
            "left out a stored message of {size} bytes: max-publication is {limit}",
            event="stored-oversized",
            size=size,
            limit=self._max_value,
        )


def _are_values(reply: Reply, count: int) -> bool:
    """Tell whether *reply* can be that to an MGET of so many keys."""
    return (
        isinstance(reply, list)
        and len(reply) == count
        and all(value is None or isinstance(value, bytes) for value in reply)
    )


def _mget(protocol: RedisProtocol, keys: Sequence[bytes]) -> Deferred[Reply]:
    """
    Read several values.

    Returns:
        Fires with the list of values, or with the error of Redis. It fails with BrokerUnavailable
        if the connection is lost.
    """
    done: Deferred[Reply] = Deferred()

    def answered(reply: Reply) -> bool:
        if done.called:
            # Nobody waits any more.
            pass
        elif isinstance(reply, NoReply):
            done.errback(BrokerUnavailable("the connection to Redis was lost"))
        elif isinstance(reply, Exception) or _are_values(reply, len(keys)):
            done.callback(reply)
        else:
            raise unexpected("MGET", reply)
        return True

    # MGET, unlike GET, passes over a key that does not hold a string.
    protocol.send(answered, "MGET", *keys, values=len(keys))
    return done
