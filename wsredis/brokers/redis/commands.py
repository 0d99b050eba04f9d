"""The commands connection: store and publish in one round trip, and fetch what is stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger, LogLevel

from wsredis.brokers.redis.backlog import Backlog
from wsredis.brokers.redis.protocol import NoReply, RedisProtocol, Reply
from wsredis.brokers.redis.publishing import PublishPipeline, is_read_only
from wsredis.brokers.redis.reading import Replies, StoredReader
from wsredis.brokers.redis.stored import StoredKeys
from wsredis.config import Limits
from wsredis.config.redis_url import error_text
from wsredis.errors import BrokerUnavailable
from wsredis.gateway.broker import PublishWaiter
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.metrics import Metrics

__all__ = ["Commands"]

_PUBLISH = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$"

#: The types of replies to SETEX and PUBLISH without an error.
_SUCCESS = frozenset((bytes, int))


class Commands:
    """
    Commands on one connection at a time, limited in number and size.

    The messages of one turn of the reactor are sent in one write.

    Args:
        clock: Ends the turn.
        keys: Decides what is stored, and where.
        read_only: Called when Redis says that it is a replica.

    Attributes:
        keys: As it was given.
        guarded: The channels of this turn whose keys may be those of the application.
        timed: The last messages of the batch whose time is measured. If None, none is.
        read_only: As it was given.
        backlog: The commands that are not answered yet, collected or sent.
        protocol: The connection. If None, there is none, and commands fail at once.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        keys: StoredKeys,
        limits: Limits,
        metrics: Metrics,
        read_only: Callable[[], None],
    ) -> None:
        self._clock = clock
        self.read_only = read_only
        self.keys = keys
        expire = b"$%d\r\n%d\r\n$" % (len(str(keys.expire)), keys.expire)
        self._setex = b"*4\r\n$5\r\nSETEX\r\n$%d\r\n%b\r\n" + expire
        self._metrics = metrics
        self._reader = StoredReader(clock, keys, limits.max_publication, metrics)
        self._throttle = LogThrottle(clock)
        self.backlog = Backlog(limits, metrics)
        #: Messages that are not sent yet.
        self._pipelines: list[PublishPipeline] = []
        #: Those that wait until it is known whose keys their channels have.
        self._held: list[PublishPipeline] = []
        #: The channels of messages that are not sent yet, whose keys must be checked before.
        self._unchecked: dict[bytes, None] = {}
        #: The start of the commands for each channel of this turn. It is not kept for longer, since
        #: the name of a channel may be a secret.
        self._heads: dict[bytes, tuple[bytes, ...]] = {}
        self.guarded: set[bytes] = set()
        self._flushing: IDelayedCall | None = None
        # One at a time: a clock that is read twice in a round trip costs nothing.
        self.timed: PublishPipeline | None = None
        self._sent_at = 0.0
        #: The kind of the last refusal to store. If None, the last message was stored.
        self._refusal: str | None = None
        self.protocol: RedisProtocol | None = None

    def publish(self, channels: Sequence[bytes], payload: bytes, waiter: PublishWaiter) -> None:
        """See `wsredis.gateway.broker.Broker.publish`."""
        backlog = self.backlog
        if self.protocol is None or backlog.is_full:
            try:
                self.check()
            except BrokerUnavailable as error:
                waiter.not_published(error, len(payload))
                return
        if not channels:
            waiter.published(1, len(payload))
            return
        pipeline = self._pipelines[-1] if self._pipelines else None
        if pipeline is None or pipeline.waiter is not waiter or pipeline.channels is not channels:
            pipeline = PublishPipeline(self, channels, waiter)
            self._pipelines.append(pipeline)
            if self._flushing is None:
                self._flushing = self._clock.callLater(0, self.flush)
        pipeline.payloads.append(payload)
        pipeline.remaining += pipeline.commands
        commands = pipeline.commands
        backlog.add(commands, pipeline.head_bytes + commands * len(payload))

    def check(self) -> None:
        """
        Check that a command can be sent now.

        Raises:
            BrokerUnavailable: Redis is away, or too many commands wait for its answer.
        """
        if self.protocol is None:
            raise BrokerUnavailable("Redis is away")
        self.backlog.check()

    def publish_all(
        self, channels: Sequence[bytes], payloads: Sequence[bytes], waiter: PublishWaiter
    ) -> None:
        """See `wsredis.gateway.broker.Broker.publish_all`."""
        self.publish(channels, payloads[0], waiter)
        more = payloads[1:]
        pipeline = self._pipelines[-1] if self._pipelines else None
        if (
            pipeline is not None
            and pipeline.waiter is waiter
            and pipeline.channels is channels
            and not self.backlog.is_full
        ):
            pipeline.payloads += more
            commands = pipeline.commands
            pipeline.remaining += commands * len(more)
            size = pipeline.head_bytes * len(more) + commands * sum(map(len, more))
            self.backlog.add(commands * len(more), size)
        else:
            for payload in more:
                self.publish(channels, payload, waiter)

    def flush(self, *, is_last: bool = False) -> None:
        """
        Send the messages of this turn of the reactor in one write.

        It is called by itself when the turn ends.

        Args:
            is_last: Whether to wait for nothing. Messages on channels whose keys were not checked
                are not stored then.
        """
        if self._flushing is not None and self._flushing.active():
            self._flushing.cancel()
        self._flushing = None
        self._heads.clear()
        self.guarded.clear()
        if is_last or self.protocol is None:
            pipelines, self._held = self._held + self._pipelines, []
            self._pipelines = []
            self._unchecked.clear()
            self._send(pipelines)
        elif self._held:
            # They keep their order: `_keys_checked` calls again.
            pass
        elif self._unchecked:
            self._held, self._pipelines = self._pipelines, []
            self._check_keys(self.protocol)
        else:
            pipelines, self._pipelines = self._pipelines, []
            self._send(pipelines)

    def stop(self) -> None:
        """Send what was collected, and log what was counted."""
        self.flush(is_last=True)
        self.keys.stop()
        self._reader.stop()
        self._throttle.reset()

    async def fetch_each(
        self,
        channels: Sequence[bytes],
        take: Callable[[dict[bytes, bytes]], Awaitable[None] | None],
        sized: Callable[[Collection[bytes]], None] | None = None,
    ) -> bool:
        """
        Read the stored messages of *channels*; missing, empty and unreadable ones are left out.

        Args:
            take: Called with each batch, by channel; the next one is read when it is done.
            sized: Called before that with the channels that have a message.

        Returns:
            Whether Redis has refused none of them.

        Raises:
            BrokerUnavailable: There is no connection, or it was lost. Safe to repeat.
        """
        if self.protocol is None:
            raise BrokerUnavailable("Redis is away")
        return not channels or await self._reader.read(self.protocol, channels, take, sized)

    def heads(self, channel: bytes) -> tuple[bytes, ...]:
        """Return the commands that publish on *channel*, packed up to the size of the payload."""
        heads = self._heads.get(channel)
        if heads is None:
            name = (len(channel), channel)
            heads = (_PUBLISH % name,)
            if self.keys.stores:
                if self.keys.before:
                    key = self.keys.key(channel)
                    name = (len(key), key)
                elif channel.startswith(self.keys.guarded):
                    self.guarded.add(channel)
                    if self.keys.must_be_checked(channel):
                        self._unchecked[channel] = None
                heads = (self._setex % name, heads[0])
            self._heads[channel] = heads
        return heads

    def answered(self, commands: int, size: int) -> None:
        """Count off commands that were answered, and their bytes."""
        self.backlog.answered(commands, size)

    def give_back(self, pipeline: PublishPipeline) -> None:
        """Take back the share of a publisher whose messages are answered."""
        self.backlog.release(pipeline.share)

    def all_succeeded(self, replies: Sequence[Reply]) -> bool:
        """Tell whether *replies* have nothing to report: no error, and no end of errors."""
        return self._refusal is None and _SUCCESS.issuperset(map(type, replies))

    def timed_answered(self, has_succeeded: bool) -> None:
        """Measure the time of the batch that ended with `timed`, and forget it."""
        self.timed = None
        if has_succeeded:
            self._metrics.publish_latency.observe(self._clock.seconds() - self._sent_at)

    def stored(self, reply: Reply) -> None:
        """Take the answer to one SETEX."""
        if isinstance(reply, (NoReply, BrokerUnavailable)):
            return
        if is_read_only(reply):
            self.read_only()
        elif isinstance(reply, Exception):
            self._metrics.unpersisted += 1
            kind = str(reply).split(" ", 1)[0]
            if kind != self._refusal:
                self._refusal = kind
                self._log.warn(
                    "Redis refuses to store messages, they are published only: {error}",
                    event="store-refused",
                    error=error_text(reply),
                )
        elif self._refusal is not None and reply != b"PONG":
            self._refusal = None
            self._log.info("Redis stores messages again", event="store-restored")

    def not_published(self, error: Exception) -> None:
        """Log the refusal of one PUBLISH: it names the right that is missing."""
        if not isinstance(error, (NoReply, BrokerUnavailable)):
            self._throttle.log(
                self._log,
                LogLevel.warn,
                "publish",
                "Redis refuses to publish: {error}",
                event="publish-refused",
                error=error_text(error),
            )

    def _check_keys(self, protocol: RedisProtocol) -> None:
        """Ask whose keys the channels of the held messages have."""
        channels, self._unchecked = list(self._unchecked), {}
        keys = [self.keys.key(channel) for channel in channels]
        asked = Replies(
            protocol, [(command, key) for key in keys for command in ("TTL", "TYPE")], (int, bytes)
        ).done

        def answered(replies: list[Reply]) -> None:
            for channel, ttl, kind in zip(channels, replies[::2], replies[1::2], strict=True):
                self.keys.checked(channel, ttl, kind)

        asked.addCallbacks(answered, lambda failure: failure.trap(BrokerUnavailable))
        asked.addCallback(self._keys_checked)
        asked.addErrback(
            lambda failure: self._log.failure(
                "checking keys failed", event="key-check-failed", failure=failure
            )
        )

    def _keys_checked(self, _: object) -> None:
        held, self._held = self._held, []
        self._send(held)
        if self._pipelines:
            self.flush()

    def _send(self, pipelines: Sequence[PublishPipeline]) -> None:
        if self.protocol is None:
            for pipeline in pipelines:
                pipeline.refuse("Redis was lost")
            return
        is_crowded = self.backlog.is_crowded
        parts: list[bytes] = []
        sent = []
        self.keys.begin_turn()
        for pipeline in pipelines:
            if is_crowded:
                try:
                    pipeline.share = self.backlog.take_share(
                        pipeline.waiter.origin, pipeline.remaining, pipeline.size()
                    )
                except BrokerUnavailable as error:
                    pipeline.refuse(str(error))
                    continue
            pipeline.pack(parts)
            sent.append(pipeline)
        if sent:
            if self.timed is None:
                self.timed, self._sent_at = sent[-1], self._clock.seconds()
            self.protocol.send_pipelines(b"".join(parts), sent)
