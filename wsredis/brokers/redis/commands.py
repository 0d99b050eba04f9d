"""The command side: store and publish in one round trip, and fetch what is stored."""

from __future__ import annotations

from collections.abc import Sequence

import txredisapi
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from wsredis.brokers.redis.connection import RedisProtocol, Reply
from wsredis.config import Limits
from wsredis.errors import BrokerUnavailable, PermissionDenied
from wsredis.gateway.metrics import Metrics

__all__ = ["Commands"]

#: Keys in one MGET when many are read at once.
_BATCH = 500


class Commands:
    """
    Commands on one connection at a time, bounded in number and size.

    Args:
        expire: Seconds that the last message of a channel is kept. 0 keeps none.

    Attributes:
        protocol: The connection. None: there is none, and commands fail at once.
    """

    _log = Logger()

    def __init__(self, expire: int, limits: Limits, metrics: Metrics) -> None:
        self._expire = str(expire) if expire else None
        self._limits = limits
        self._metrics = metrics
        self._bytes_under_way = 0
        self._refusing: str | None = None
        self.protocol: RedisProtocol | None = None

    def publish(self, channels: Sequence[bytes], payload: bytes) -> Deferred[None]:
        """See `wsredis.gateway.broker.Broker.publish`."""
        protocol = self.protocol
        if protocol is None:
            return fail(BrokerUnavailable("Redis is away"))
        if not channels:
            return succeed(None)
        if (
            protocol.waiting >= self._limits.max_commands
            or self._bytes_under_way >= self._limits.max_command_bytes
        ):
            return fail(BrokerUnavailable("too many commands are under way to Redis"))
        done: Deferred[None] = Deferred()
        left = len(channels)
        size = 0
        error: Exception | None = None

        def published(reply: Reply) -> bool:
            nonlocal left, error
            left -= 1
            if isinstance(reply, Exception):
                error = reply
            if not left:
                self._bytes_under_way -= size
                if error is None:
                    done.callback(None)
                else:
                    done.errback(_explained(error))
            return True

        for channel in channels:
            if self._expire is not None:
                size += protocol.send(self._stored, "SETEX", channel, self._expire, payload)
            size += protocol.send(published, "PUBLISH", channel, payload)
        self._bytes_under_way += size
        return done

    def fetch(self, channels: Sequence[bytes]) -> Deferred[dict[bytes, bytes]]:
        """
        Read the stored messages of *channels*; missing, empty and unreadable ones are left out.

        Raises:
            BrokerUnavailable: There is no connection, or it was lost.
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
        lost: Exception | None = None

        def collector(names: Sequence[bytes]) -> None:
            def answered(reply: Reply) -> bool:
                nonlocal left, lost
                left -= 1
                if isinstance(reply, BrokerUnavailable):
                    lost = reply
                elif isinstance(reply, Exception):
                    self._log.warn(
                        "Redis does not hand out stored messages: {error}", error=str(reply)
                    )
                else:
                    values.update(
                        (name, value) for name, value in zip(names, reply, strict=True) if value
                    )
                if not left and not done.called:
                    if lost is None:
                        done.callback(values)
                    else:
                        done.errback(lost)
                return True

            # MGET, unlike GET, passes over a key that holds something else than a string.
            protocol.send(answered, "MGET", *names)

        for part in parts:
            collector(part)
        return done

    def _stored(self, reply: Reply) -> bool:
        if isinstance(reply, BrokerUnavailable):
            return True
        if isinstance(reply, Exception):
            self._metrics.unpersisted += 1
            kind = str(reply).split(" ", 1)[0]
            if kind != self._refusing:
                self._refusing = kind
                self._log.warn(
                    "Redis refuses to store messages, they are published only: {error}",
                    error=str(reply),
                )
        elif self._refusing is not None:
            self._refusing = None
            self._log.info("Redis stores messages again")
        return True


def _explained(error: Exception) -> Exception:
    if isinstance(error, txredisapi.ResponseError):
        if str(error).startswith("NOPERM"):
            return PermissionDenied("Redis forbids this channel")
        return BrokerUnavailable(f"Redis refused: {error}")
    return error
