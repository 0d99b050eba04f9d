"""The commands connection: store and publish in one round trip, and fetch what is stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from wsredis.brokers.redis.protocol import (
    NoReply,
    Pipeline,
    RedisProtocol,
    Reply,
)
from wsredis.config import Limits
from wsredis.config.redis_url import error_text
from wsredis.errors import BrokerUnavailable, PermissionDenied, PublishOutcomeUnknown
from wsredis.gateway.broker import PublishWaiter
from wsredis.gateway.metrics import Metrics

__all__ = ["Commands"]

#: Keys in one MGET. A reply is a sign of life only when it is complete, and may be this many times
#: as large as the largest value.
_BATCH = 32

_PUBLISH = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$"

#: The types of replies to SETEX and PUBLISH without an error.
_SUCCESS = frozenset((bytes, int))


class Commands:
    """
    Commands on one connection at a time, limited in number and size.

    The messages of one turn of the reactor are sent in one write.

    Args:
        clock: Ends the turn.
        expire: Seconds that the last message of a channel is stored. 0 stores none.
        read_only: Called when Redis says that it is a replica.

    Attributes:
        stores: Whether messages are stored.
        protocol: The connection. If None, there is none, and commands fail at once.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        expire: int,
        limits: Limits,
        metrics: Metrics,
        read_only: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._read_only = read_only
        self.stores = expire > 0
        self._setex = b"*4\r\n$5\r\nSETEX\r\n$%%d\r\n%%b\r\n$%d\r\n%d\r\n$" % (
            len(str(expire)),
            expire,
        )
        self._limits = limits
        self._metrics = metrics
        #: Publish commands that are not answered yet, collected or sent, and their bytes.
        self._unanswered = 0
        self._unanswered_bytes = 0
        #: The parts of the commands that are not sent yet, and the takers of their replies.
        self._collected: list[bytes] = []
        self._pipelines: list[_PublishPipeline] = []
        #: The start of the commands for each channel of this turn. It is not kept for longer, since
        #: the name of a channel may be a secret.
        self._heads: dict[bytes, tuple[bytes, ...]] = {}
        self._flushing: IDelayedCall | None = None
        #: The kind of the last refusal to store. If None, the last message was stored.
        self._refusal: str | None = None
        self.protocol: RedisProtocol | None = None

    def publish(self, channels: Sequence[bytes], payload: bytes, waiter: PublishWaiter) -> None:
        """See `wsredis.gateway.broker.Broker.publish`."""
        problem = ""
        if self.protocol is None:
            problem = "Redis is away"
        elif (
            self._unanswered >= self._limits.max_commands
            or self._unanswered_bytes >= self._limits.max_command_bytes
        ):
            problem = "too many commands wait for an answer of Redis"
        if problem:
            waiter.not_published(BrokerUnavailable(problem), len(payload))
            return
        if not channels:
            waiter.published(1, len(payload))
            return
        pipeline = self._pipelines[-1] if self._pipelines else None
        if pipeline is None or pipeline.waiter is not waiter or pipeline.channels is not channels:
            pipeline = _PublishPipeline(self, channels, waiter)
            self._pipelines.append(pipeline)
            if self._flushing is None:
                self._flushing = self._clock.callLater(0, self.flush)
        size = len(payload)
        value = b"%d\r\n%b\r\n" % (size, payload)
        for head in pipeline.heads:
            self._collected += (head, value)
        pipeline.sizes.append(size)
        pipeline.remaining += pipeline.commands
        self._unanswered += pipeline.commands
        self._unanswered_bytes += pipeline.head_bytes + pipeline.commands * size

    def flush(self) -> None:
        """
        Send the messages of this turn of the reactor in one write.

        It is called by itself when the turn ends.
        """
        if self._flushing is not None and self._flushing.active():
            self._flushing.cancel()
        self._flushing = None
        pipelines, self._pipelines = self._pipelines, []
        collected, self._collected = self._collected, []
        self._heads.clear()
        if self.protocol is not None:
            if pipelines:
                self.protocol.send_pipelines(b"".join(collected), pipelines)
            return
        for pipeline in pipelines:
            pipeline.take([BrokerUnavailable("Redis was lost")] * pipeline.remaining)

    def fetch(self, channels: Sequence[bytes]) -> Deferred[dict[bytes, bytes]]:
        """
        Read the stored messages of *channels*; missing, empty and unreadable ones are left out.

        The commands for many channels are sent together.

        Returns:
            Fires with the messages by channel.

        Raises:
            BrokerUnavailable: There is no connection, or it was lost. Safe to repeat.
        """
        protocol = self.protocol
        if protocol is None:
            return fail(BrokerUnavailable("Redis is away"))
        if not channels:
            return succeed({})
        done: Deferred[dict[bytes, bytes]] = Deferred()
        values: dict[bytes, bytes] = {}
        remaining = 0
        lost = False
        refusal = ""

        def ask(names: Sequence[bytes]) -> None:
            nonlocal remaining
            remaining += 1
            # MGET, unlike GET, passes over a key that does not hold a string.
            protocol.send(partial(take, names), "MGET", *names, values=len(names))

        def take(names: Sequence[bytes], reply: Reply) -> bool:
            nonlocal remaining, lost, refusal
            remaining -= 1
            if isinstance(reply, NoReply):
                lost = True
            elif not isinstance(reply, Exception):
                values.update(
                    (name, value) for name, value in zip(names, reply, strict=True) if value
                )
            elif str(reply).startswith("NOPERM") and len(names) > 1 and not done.called:
                # One key that is forbidden takes the whole command with it.
                for name in names:
                    ask([name])
            else:
                refusal = error_text(reply)
            if not remaining and not done.called:
                if refusal:
                    self._log.warn("Redis refuses to read stored messages: {error}", error=refusal)
                if lost:
                    done.errback(BrokerUnavailable("the connection to Redis was lost"))
                else:
                    # These functions know each other: what they still hold waits for a garbage
                    # collection.
                    found = values.copy()
                    values.clear()
                    done.callback(found)
            return True

        for start in range(0, len(channels), _BATCH):
            ask(channels[start : start + _BATCH])
        return done

    def heads(self, channel: bytes) -> tuple[bytes, ...]:
        """Return the commands that publish on *channel*, packed up to the size of the payload."""
        heads = self._heads.get(channel)
        if heads is None:
            name = len(channel), channel
            heads = (_PUBLISH % name,)
            if self.stores:
                heads = (self._setex % name, *heads)
            self._heads[channel] = heads
        return heads

    def answered(self, commands: int, size: int) -> None:
        """Count off commands that were answered, and their bytes."""
        self._unanswered -= commands
        self._unanswered_bytes -= size

    def all_succeeded(self, replies: Sequence[Reply]) -> bool:
        """Tell whether *replies* have nothing to report: no error, and no end of errors."""
        return self._refusal is None and _SUCCESS.issuperset(map(type, replies))

    def stored(self, reply: Reply) -> None:
        """Take the answer to one SETEX."""
        if isinstance(reply, (NoReply, BrokerUnavailable)):
            return
        if is_read_only(reply):
            self._read_only()
            return
        if isinstance(reply, Exception):
            self._metrics.unpersisted += 1
            kind = str(reply).split(" ", 1)[0]
            if kind != self._refusal:
                self._refusal = kind
                self._log.warn(
                    "Redis refuses to store messages, they are published only: {error}",
                    error=error_text(reply),
                )
        elif self._refusal is not None:
            self._refusal = None
            self._log.info("Redis stores messages again")


class _PublishPipeline(Pipeline):
    """
    Messages of one publisher on the same channels, one after the other in one turn.

    Attributes:
        channels, waiter: See `wsredis.gateway.broker.Broker.publish`.
        heads: The start of each command for one message, up to the size of the payload.
        commands, head_bytes: Their number, and their bytes.
        sizes: The bytes of each payload.
    """

    __slots__ = (
        "_error",
        "_owner",
        "_position",
        "channels",
        "commands",
        "head_bytes",
        "heads",
        "sizes",
        "waiter",
    )

    _log = Logger()

    def __init__(self, owner: Commands, channels: Sequence[bytes], waiter: PublishWaiter) -> None:
        super().__init__()
        self._owner = owner
        self.channels, self.waiter = channels, waiter
        self.heads = owner.heads(channels[0])
        for name in channels[1:]:
            self.heads += owner.heads(name)
        self.commands = len(self.heads)
        self.head_bytes = sum(map(len, self.heads))
        self.sizes: list[int] = []
        #: The number of replies that have come.
        self._position = 0
        #: The error of the message that is being answered.
        self._error: Exception | None = None

    def take(self, replies: Sequence[Reply]) -> None:
        """See `Pipeline.take`."""
        if self._error is None and self._owner.all_succeeded(replies):
            self._advance(len(replies))
            return
        for reply in replies:
            if self._owner.stores and self._position % 2 == 0:
                self._owner.stored(reply)
                if is_read_only(reply):
                    # It is published among the clients of a replica only.
                    self._error = PublishOutcomeUnknown("this Redis is a replica")
            elif isinstance(reply, Exception) and not isinstance(
                self._error, PublishOutcomeUnknown
            ):
                self._error = _as_broker_error(reply)
            self._advance(1)

    def _advance(self, replies: int) -> None:
        first = self._position // self.commands
        self._position += replies
        self.remaining -= replies
        end = self._position // self.commands
        if first == end:
            return
        count, size = end - first, sum(self.sizes[first:end])
        self._owner.answered(count * self.commands, count * self.head_bytes + self.commands * size)
        error, self._error = self._error, None
        try:
            if error is None:
                self.waiter.published(count, size)
            else:
                self.waiter.not_published(error, size)
        except Exception:
            # It must not cost the connection to Redis.
            self._log.failure("a publisher failed over the answer of Redis")


def is_read_only(reply: Reply) -> bool:
    """Tell whether *reply* is the refusal of a replica to store."""
    return isinstance(reply, Exception) and str(reply).startswith("READONLY")


def _as_broker_error(error: Exception) -> Exception:
    """Translate the failure of a command."""
    if isinstance(error, BrokerUnavailable):
        return error
    if isinstance(error, NoReply):
        return PublishOutcomeUnknown("the connection to Redis was lost before the answer")
    if str(error).startswith("NOPERM"):
        return PermissionDenied("Redis forbids this channel")
    return PublishOutcomeUnknown(f"Redis refused: {error_text(error)}")
