"""Messages of clients as commands of Redis, and the replies to them."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Protocol

from twisted.logger import Logger

from wsredis.brokers.redis.protocol import NoReply, Pipeline, Reply, unexpected
from wsredis.brokers.redis.stored import StoredKeys
from wsredis.config.redis_url import error_text
from wsredis.errors import BrokerUnavailable, PermissionDenied, PublishOutcomeUnknown
from wsredis.gateway.broker import PublishWaiter

__all__ = ["PipelineOwner", "PublishPipeline", "as_broker_error", "is_read_only"]

#: So many messages are packed one by one.
_FEW = 8

#: Takes the place of a command that is left out, so that the number of replies stays the same.
_NOTHING = b"*1\r\n$4\r\nPING\r\n"


class PipelineOwner(Protocol):
    """The methods of `wsredis.brokers.redis.commands.Commands` that a pipeline calls."""

    @property
    def keys(self) -> StoredKeys:
        """Decides what is stored, and where."""

    @property
    def guarded(self) -> Set[bytes]:
        """The channels of this turn whose keys may be those of the application."""

    @property
    def timed(self) -> PublishPipeline | None:
        """The pipeline whose end is reported to `timed_answered`."""

    def timed_answered(self, has_succeeded: bool) -> None:
        """See `timed`. It is called before the publisher is."""

    def heads(self, channel: bytes) -> tuple[bytes, ...]:
        """Return the commands that publish on *channel*, packed up to the size of the payload."""

    def answered(self, commands: int, size: int) -> None:
        """Count off commands that were answered, and their bytes."""

    def give_back(self, pipeline: PublishPipeline) -> None:
        """Take back the share of a publisher whose messages are answered."""

    def all_succeeded(self, replies: Sequence[Reply]) -> bool:
        """Tell whether *replies* have nothing to report: no error, and no end of errors."""

    def stored(self, reply: Reply) -> None:
        """Take the answer to one SETEX."""

    def not_published(self, error: Exception) -> None:
        """Take the failure of one PUBLISH."""


class PublishPipeline(Pipeline):
    """
    Messages of one publisher on the same channels, one after the other in one turn.

    Attributes:
        channels, waiter: See `wsredis.gateway.broker.Broker.publish`.
        heads: The start of each command for one message, up to the size of the payload.
        commands, head_bytes: Their number, and their bytes.
        payloads: The messages, until they are packed.
        is_guarded: Whether a key of the channels may be one of the application.
        share: The publisher that holds a share of the bound, and the bytes of it. If None, none
            does.
    """

    __slots__ = (
        "_error",
        "_owner",
        "_position",
        "_sizes",
        "channels",
        "commands",
        "head_bytes",
        "heads",
        "is_guarded",
        "payloads",
        "share",
        "waiter",
    )

    _log = Logger()

    def __init__(
        self, owner: PipelineOwner, channels: Sequence[bytes], waiter: PublishWaiter
    ) -> None:
        super().__init__()
        self._owner = owner
        self.channels, self.waiter = channels, waiter
        heads = owner.heads(channels[0])
        for name in channels[1:]:
            heads += owner.heads(name)
        self.heads = heads
        self.is_guarded = bool(owner.guarded) and not owner.guarded.isdisjoint(channels)
        self.commands = len(heads)
        self.head_bytes = sum(map(len, heads))
        self.payloads: list[bytes] = []
        self.share: tuple[str, int] | None = None
        #: The bytes of each payload, once they are packed.
        self._sizes: Sequence[int] = ()
        #: The number of replies that have come.
        self._position = 0
        #: The error of the message that is being answered.
        self._error: Exception | None = None

    def size(self) -> int:
        """Return the bytes of all commands that are not packed yet."""
        payloads = self.payloads
        return len(payloads) * self.head_bytes + self.commands * sum(map(len, payloads))

    def refuse(self, problem: str) -> None:
        """Send nothing: tell the publisher about each message."""
        self._sizes, self.payloads = [*map(len, self.payloads)], []
        self.take([BrokerUnavailable(problem)] * self.remaining)

    def pack(self, parts: list[bytes]) -> None:
        """Add the commands to *parts*. The messages themselves are not kept."""
        payloads, self.payloads = self.payloads, []
        if len(payloads) == 1:
            largest = len(payloads[0])
            self._sizes = (largest,)
        else:
            self._sizes = [*map(len, payloads)]
            largest = max(self._sizes)
        keys = self._owner.keys
        if keys.stores:
            channels = self.channels
            if self.is_guarded and any(map(keys.is_foreign, channels)):
                self._pack_each(payloads, parts)
                return
            # As a rule the channel had such a message a moment ago, and it costs nothing.
            if len(channels) > 1 or largest > keys.charged.get(hash(channels[0]), -1):
                if largest > keys.max_stored:
                    self._pack_each(payloads, parts)
                    return
                if not keys.admits(self.waiter, channels, largest):
                    self._pack_each(payloads, parts, "the rate is above max-stored-rate")
                    return
        if len(payloads) < _FEW:
            for payload, size in zip(payloads, self._sizes, strict=True):
                value = b"%d\r\n%b\r\n" % (size, payload)
                for head in self.heads:
                    parts += (head, value)
            return
        values = [*map(b"%d\r\n%b\r\n".__mod__, zip(self._sizes, payloads, strict=True))]
        # Nothing else is done in Python for each.
        count, width = len(values), 2 * self.commands
        packed = [b""] * (count * width)
        for position, head in enumerate(self.heads):
            packed[2 * position :: width] = [head] * count
            packed[2 * position + 1 :: width] = values
        parts += packed

    def _pack_each(self, payloads: Sequence[bytes], parts: list[bytes], problem: str = "") -> None:
        """
        Do the same for messages of which some are not stored.

        Args:
            problem: The reason why none is stored. If empty, each may have its own.
        """
        keys = self._owner.keys
        for payload, size in zip(payloads, self._sizes, strict=True):
            value = b"%d\r\n%b\r\n" % (size, payload)
            reason = problem
            if size > keys.max_stored:
                reason = "it is larger than max-stored"
            elif not reason and not keys.admits(self.waiter, self.channels, size):
                reason = "the rate is above max-stored-rate"
            for position, channel in enumerate(self.channels):
                setex, publish = self.heads[2 * position : 2 * position + 2]
                if keys.is_foreign(channel):
                    parts.append(_NOTHING)
                    keys.left_out("its key is not one of wsredis", self.waiter, size)
                elif reason:
                    # An older message must not be taken for the last one.
                    parts.append(_forget(keys.key(channel)))
                    keys.left_out(reason, self.waiter, size)
                else:
                    parts += (setex, value)
                parts += (publish, value)

    def take(self, replies: Sequence[Reply]) -> None:
        """See `Pipeline.take`."""
        if self._error is None and self._owner.all_succeeded(replies):
            self._advance(len(replies))
            return
        for reply in replies:
            if not isinstance(reply, (bytes, int, Exception)):
                raise unexpected("SETEX or PUBLISH", reply)
            if self._owner.keys.stores and self._position % 2 == 0:
                self._owner.stored(reply)
                if is_read_only(reply):
                    # It is published among the clients of a replica only.
                    self._error = PublishOutcomeUnknown("this Redis is a replica")
            elif isinstance(reply, Exception) and not isinstance(
                self._error, PublishOutcomeUnknown
            ):
                self._error = as_broker_error(reply)
                self._owner.not_published(reply)
            self._advance(1)

    def _advance(self, replies: int) -> None:
        first = self._position // self.commands
        self._position += replies
        self.remaining -= replies
        end = self._position // self.commands
        if first == end:
            return
        count, size = end - first, sum(self._sizes[first:end])
        self._owner.answered(count * self.commands, count * self.head_bytes + self.commands * size)
        if self.share is not None and not self.remaining:
            self._owner.give_back(self)
        error, self._error = self._error, None
        if self._owner.timed is self and not self.remaining:
            self._owner.timed_answered(error is None)
        try:
            if error is None:
                self.waiter.published(count, size)
            else:
                self.waiter.not_published(error, size)
        except Exception:
            # It must not cost the connection to Redis.
            self._log.failure(
                "a publisher failed over the answer of Redis", event="publish-callback-failed"
            )


def _forget(key: bytes) -> bytes:
    """Return the command after which *key* has no message. It takes no right of its own."""
    return b"*4\r\n$5\r\nSETEX\r\n$%d\r\n%b\r\n$1\r\n1\r\n$0\r\n\r\n" % (len(key), key)


def is_read_only(reply: Reply) -> bool:
    """Tell whether *reply* is the refusal of a replica to store."""
    return isinstance(reply, Exception) and str(reply).startswith("READONLY")


def as_broker_error(error: Exception) -> Exception:
    """Translate the failure of a command."""
    if isinstance(error, BrokerUnavailable):
        return error
    if isinstance(error, NoReply):
        return PublishOutcomeUnknown("the connection to Redis was lost before the answer")
    if str(error).startswith("NOPERM"):
        return PermissionDenied("Redis forbids this channel")
    return PublishOutcomeUnknown(f"Redis refused: {error_text(error)}")
