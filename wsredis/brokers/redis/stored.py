"""Stored messages: the names of their keys, whose keys those are, and what clients may store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel

from wsredis.brokers.redis.protocol import Reply
from wsredis.channels import stored_key
from wsredis.gateway.broker import PublishWaiter
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.shares import RateLimit

__all__ = ["StoredKeys", "StoredSettings", "is_of_application"]

#: Audiences whose channels have names that applications give to keys of their own, too.
_GUARDED = ("group:", "user:", "session:")

#: Bytes that Redis needs for a key beyond its name and its value, about.
_KEY_BYTES = 100

#: A client may store this many times the bytes of a second at once after a pause.
_BURST = 64

#: Seconds after which it is found out again whose key it is, and after which a message on a channel
#: that has a stored message counts again.
_RECHECK = 10.0
_RECHARGE = 60.0

#: Channels that are remembered for that. When there are more, all are forgotten.
_MAX_CHANNELS = 65536


@dataclass(frozen=True, slots=True)
class StoredSettings:
    """
    The settings of stored messages.

    Attributes:
        expire: Seconds that the last message of a channel is stored. 0 stores none.
        prefix: The prefix of channels. Empty puts nothing.
        stored_prefix: Put before the name of a channel, with a colon, to name its key. If empty,
            both have the same name.
        max_stored: Bytes of the largest message that is stored.
        rate: Bytes a second that one user, or one address, may store.
    """

    expire: int = 3600
    prefix: str = ""
    stored_prefix: str = ""
    max_stored: int = 1048576
    rate: int = 65536


def is_of_application(ttl: Reply, kind: Reply) -> bool:
    """
    Tell whether a key cannot be a stored message: it never expires, or is not a string.

    Args:
        ttl: The reply to TTL. An error does not tell.
        kind: The reply to TYPE. Likewise.
    """
    return ttl == -1 or (isinstance(kind, bytes) and kind not in (b"string", b"none"))


class StoredKeys:
    """
    Decides under which keys messages are stored, and which of them are.

    Where keys have the names of channels, a key of a user, group or session may be one that the
    application made: it is neither read nor written.

    Attributes:
        stores: Whether messages are stored.
        expire, max_stored: See `StoredSettings`.
        before: The text before the name of a channel in that of its key.
        guarded: The texts with which the names of channels begin whose keys may be those of the
            application.
        charged: Bytes of the largest message that counted in the last minute, by the hash of its
            channel.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, settings: StoredSettings, metrics: Metrics) -> None:
        self.expire = settings.expire
        self.stores = settings.expire > 0
        self.max_stored = settings.max_stored
        self._clock = clock
        self._metrics = metrics
        self._throttle = LogThrottle(clock)
        own = settings.stored_prefix
        self.before = stored_key(own, b"")
        start = f"{settings.prefix}:" if settings.prefix else ""
        self.guarded = () if own else tuple(f"{start}{each}".encode() for each in _GUARDED)
        burst = max(_BURST * settings.rate, settings.max_stored + 2 * _KEY_BYTES)
        self._rate = RateLimit(clock, settings.rate, burst)
        # Names may be secrets: hashes of them are remembered, not they themselves.
        self._checked: dict[int, tuple[float, bool]] = {}
        self.charged: dict[int, int] = {}
        self._recharge_at = 0.0

    def key(self, channel: bytes) -> bytes:
        """Return the name of the key with the stored message of *channel*."""
        return self.before + channel

    def is_guarded(self, channel: bytes) -> bool:
        """Tell whether the key of *channel* may be one of the application."""
        return channel.startswith(self.guarded)

    def must_be_checked(self, channel: bytes) -> bool:
        """Tell whether it has to be found out whose key it is, before a message is stored there."""
        if not (self.stores and channel.startswith(self.guarded)):
            return False
        due, _ = self._checked.get(hash(channel), (0.0, False))
        return due <= self._clock.seconds()

    def checked(self, channel: bytes, ttl: Reply, kind: Reply) -> None:
        """Take the replies to TTL and TYPE for the key of *channel*."""
        if len(self._checked) >= _MAX_CHANNELS:
            self._checked.clear()
        due = self._clock.seconds() + _RECHECK
        self._checked[hash(channel)] = (due, is_of_application(ttl, kind))

    def is_foreign(self, channel: bytes) -> bool:
        """Tell whether the key of *channel* is the application's, or was not checked."""
        if not channel.startswith(self.guarded):
            return False
        return self._checked.get(hash(channel), (0.0, True))[1]

    def begin_turn(self) -> None:
        """Forget what counted for longer than a minute. To be called before `admits`."""
        now = self._clock.seconds()
        if now >= self._recharge_at or len(self.charged) >= _MAX_CHANNELS:
            self._recharge_at = now + _RECHARGE
            self.charged.clear()

    def admits(self, waiter: PublishWaiter, channels: Sequence[bytes], size: int) -> bool:
        """
        Tell whether a message is within the rate of its publisher, and count it.

        A message on a channel that had one in the last minute counts by what it is larger.

        Args:
            size: The bytes of the message. The first of several together counts with the largest.
        """
        charged, cost = self.charged, 0
        for channel in channels:
            before = charged.get(hash(channel), 0)
            if size > before:
                # The key counts once.
                cost += size - before if before else size + len(channel) + _KEY_BYTES
        if not cost:
            return True
        origin = waiter.origin
        if origin and self._rate.spend(origin, cost):
            self._rate.spend(origin, -cost)
            return False
        for channel in channels:
            digest = hash(channel)
            charged[digest] = max(charged.get(digest, 0), size)
        return True

    def left_out(self, reason: str, waiter: PublishWaiter, size: int) -> None:
        """Count and log a message that is published, and not stored."""
        self._metrics.unpersisted += 1
        self._throttle.log(
            self._log,
            LogLevel.warn,
            reason,
            "a message of {size} bytes from {origin} is published, but not stored: {reason}",
            event="not-stored",
            size=size,
            origin=waiter.origin or "a client",
            reason=reason,
        )

    def stop(self) -> None:
        """Log what was counted."""
        self._throttle.reset()
