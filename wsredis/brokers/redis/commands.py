"""The commands connection: store and publish in one round trip, and fetch what is stored."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from wsredis.brokers.redis.protocol import NoReply, RedisProtocol, Reply, ReplyHandler
from wsredis.config import Limits
from wsredis.errors import BrokerUnavailable, PermissionDenied, PublishOutcomeUnknown
from wsredis.gateway.metrics import Metrics

__all__ = ["Commands"]

#: Keys in one MGET when many are read at once.
_BATCH = 500


class Commands:
    """
    Commands on one connection at a time, limited in number and size.

    Args:
        expire: Seconds that the last message of a channel is stored. 0 stores none.

    Attributes:
        protocol: The connection. If None, there is none, and commands fail at once.
    """

    _log = Logger()

    def __init__(self, expire: int, limits: Limits, metrics: Metrics) -> None:
        self._expire = str(expire) if expire else None
        self._limits = limits
        self._metrics = metrics
        #: Bytes of publish commands that are not answered yet.
        self._unanswered_bytes = 0
        #: The kind of the last refusal to store. If None, the last message was stored.
        self._refusal: str | None = None
        self.protocol: RedisProtocol | None = None

    def publish(self, channels: Sequence[bytes], payload: bytes) -> Deferred[None]:
        """
        Store *payload* on each channel, then publish it there.

        Returns:
            Fires when Redis has answered all commands. Cancelling it takes nothing back.

        Raises:
            BrokerUnavailable: Nothing was sent.
            PublishOutcomeUnknown: See `wsredis.gateway.broker.Broker.publish`.
            PermissionDenied: See there, too.
        """
        protocol = self.protocol
        if protocol is None:
            return fail(BrokerUnavailable("Redis is away"))
        if not channels:
            return succeed(None)
        if (
            protocol.unanswered >= self._limits.max_commands
            or self._unanswered_bytes >= self._limits.max_command_bytes
        ):
            return fail(BrokerUnavailable("too many commands wait for an answer of Redis"))
        done: Deferred[None] = Deferred()
        left = len(channels)
        size = 0
        error: Exception | None = None

        def published(reply: Reply) -> bool:
            nonlocal left, error
            left -= 1
            if isinstance(reply, Exception) and not isinstance(error, PublishOutcomeUnknown):
                error = _as_broker_error(reply)
            if not left:
                self._unanswered_bytes -= size
                if error is None:
                    done.callback(None)
                else:
                    done.errback(error)
            return True

        for channel in channels:
            if self._expire is not None:
                size += protocol.send(self._stored, "SETEX", channel, self._expire, payload)
            size += protocol.send(published, "PUBLISH", channel, payload)
        self._unanswered_bytes += size
        return done

    def fetch(self, channels: Sequence[bytes]) -> Deferred[dict[bytes, bytes]]:
        """
        Read the stored messages of *channels*; missing, empty and unreadable ones are left out.

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
        parts = [channels[start : start + _BATCH] for start in range(0, len(channels), _BATCH)]
        left = len(parts)
        lost = False

        def make_handler(names: Sequence[bytes]) -> ReplyHandler:
            def handler(reply: Reply) -> bool:
                nonlocal left, lost
                left -= 1
                if isinstance(reply, NoReply):
                    lost = True
                elif isinstance(reply, Exception):
                    self._log.warn(
                        "Redis refuses to read stored messages: {error}", error=str(reply)
                    )
                else:
                    values.update(
                        (name, value) for name, value in zip(names, reply, strict=True) if value
                    )
                if not left and not done.called:
                    if lost:
                        done.errback(BrokerUnavailable("the connection to Redis was lost"))
                    else:
                        done.callback(values)
                return True

            return handler

        for names in parts:
            # MGET, unlike GET, passes over a key that does not hold a string.
            protocol.send(make_handler(names), "MGET", *names, values=len(names))
        return done

    def _stored(self, reply: Reply) -> bool:
        if isinstance(reply, NoReply):
            return True
        if isinstance(reply, Exception):
            self._metrics.unpersisted += 1
            kind = str(reply).split(" ", 1)[0]
            if kind != self._refusal:
                self._refusal = kind
                self._log.warn(
                    "Redis refuses to store messages, they are published only: {error}",
                    error=str(reply),
                )
        elif self._refusal is not None:
            self._refusal = None
            self._log.info("Redis stores messages again")
        return True


def _as_broker_error(error: Exception) -> Exception:
    """Translate the failure of a command that was sent."""
    if isinstance(error, NoReply):
        return PublishOutcomeUnknown("the connection to Redis was lost before the answer")
    if str(error).startswith("NOPERM"):
        return PermissionDenied("Redis forbids this channel")
    return PublishOutcomeUnknown(f"Redis refused: {error}")
