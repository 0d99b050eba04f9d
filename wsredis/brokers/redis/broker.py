"""The broker on Redis: two links, one that subscribes and one that commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from wsredis.brokers.redis.commands import Commands
from wsredis.brokers.redis.connection import SILENCE, RedisConnection, RedisProtocol
from wsredis.brokers.redis.subscriptions import Subscriptions
from wsredis.brokers.redis.url import Target
from wsredis.config import Limits
from wsredis.errors import BrokerUnavailable
from wsredis.gateway.broker import BrokerListener
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.publication import Publication

__all__ = ["RedisBroker"]

#: Seconds between two PINGs of the subscriber; two without an answer end the connection.
_SUBSCRIBER_PING = SILENCE / 2

#: Seconds between two PINGs of the command connection. Redis' own ``timeout`` can be one second,
#: and ends connections that are idle for longer; subscribers are exempt from it.
_COMMAND_PING = 0.5

#: Bytes that may be held while stored messages are read after a loss; beyond it they go out.
_MAX_HELD = 16777216

#: Seconds between two log lines that say the same.
_REPEAT = 60.0

#: So many different reasons are remembered.
_REASONS = 16

#: Replies are at most this many times larger than the largest publication that is delivered.
_REPLY_FACTOR = 4


class RedisBroker:
    """
    `wsredis.gateway.broker.Broker` on one Redis server.

    Args:
        expire: Seconds that the last message of a channel is kept. 0 keeps none.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, target: Target, expire: int, limits: Limits, metrics: Metrics
    ) -> None:
        self._reactor = reactor
        self._target = target
        self._metrics = metrics
        self._store = Commands(expire, limits, metrics)
        self._subscriptions = Subscriptions(reactor, self._forbidden)
        max_reply = limits.max_publication * _REPLY_FACTOR
        self._subscriber = RedisConnection(
            reactor,
            target,
            ping_interval=_SUBSCRIBER_PING,
            max_reply=max_reply,
            established=self._subscriber_up,
            lost=self._subscriber_down,
            failed=self._failed,
            messages=self._messages,
        )
        self._commands = RedisConnection(
            reactor,
            target,
            ping_interval=_COMMAND_PING,
            max_reply=max_reply,
            established=self._commands_up,
            lost=self._commands_down,
            failed=self._failed,
        )
        self._listener: BrokerListener | None = None
        self._commands_wanted: list[Deferred[None]] = []
        #: Messages that wait for the stored ones of an outage. None: nothing is held.
        self._held: list[Publication] | None = None
        self._held_bytes = 0
        self._resumed = False
        self._was_up = False
        self._told_up = False
        #: What was said of failures, and when it may be said again.
        self._told: dict[str, float] = {}

    @property
    def up(self) -> bool:
        """See `wsredis.gateway.broker.Broker.up`."""
        return self._resumed and self._store.protocol is not None

    def start(self, listener: BrokerListener) -> None:
        """See `wsredis.gateway.broker.Broker.start`."""
        self._listener = listener
        self._subscriptions.start()
        self._subscriber.start(self._reactor)
        self._commands.start(self._reactor)

    def stop(self) -> Deferred[None]:
        """See `wsredis.gateway.broker.Broker.stop`."""
        self._listener = None
        self._subscriptions.stop()
        return gatherResults([self._subscriber.stop(), self._commands.stop()]).addCallback(
            lambda _: None
        )

    def subscribe(self, channels: Sequence[bytes]) -> Deferred[None]:
        """See `wsredis.gateway.broker.Broker.subscribe`."""
        return self._subscriptions.want(channels)

    def pause(self) -> None:
        """See `wsredis.gateway.broker.Broker.pause`."""
        if self._subscriber.protocol is not None:
            self._subscriber.protocol.pause()

    def resume(self) -> None:
        """See `wsredis.gateway.broker.Broker.resume`."""
        if self._subscriber.protocol is not None:
            self._subscriber.protocol.resume()

    def unsubscribe(self, channels: Sequence[bytes]) -> None:
        """See `wsredis.gateway.broker.Broker.unsubscribe`."""
        self._subscriptions.drop(channels)

    def publish(self, channels: Sequence[bytes], payload: bytes) -> Deferred[None]:
        """See `wsredis.gateway.broker.Broker.publish`."""
        return self._store.publish(channels, payload)

    def fetch(self, channels: Sequence[bytes]) -> Deferred[dict[bytes, bytes]]:
        """See `wsredis.gateway.broker.Broker.fetch`."""
        return self._store.fetch(channels).addCallback(self._after_live)

    def _after_live(self, values: dict[bytes, bytes]) -> Any:
        """
        Wait until what was published before the read has come over the other connection.

        Where nothing is stored nothing can come twice, and nobody needs to wait.
        """
        if not values:
            return values
        protocol = self._subscriber.protocol
        if protocol is None:
            raise BrokerUnavailable("the connection to Redis was lost")
        return protocol.call("PING").addCallback(lambda _: values)

    def _messages(self, batch: Sequence[Publication]) -> None:
        if self._held is not None:
            self._held += batch
            self._held_bytes += sum(len(each.payload) for each in batch)
            if self._held_bytes > _MAX_HELD:
                self._log.warn("too much to hold: stored messages of the outage are left out")
                self._resume({})
        elif self._listener is not None:
            self._listener.deliver(batch)

    def _forbidden(self, channel: bytes) -> None:
        if self._listener is not None:
            self._listener.forbid(channel)

    def _subscriber_up(self, protocol: RedisProtocol) -> None:
        self._held = []
        self._held_bytes = 0
        Deferred.fromCoroutine(self._catch_up(protocol)).addErrback(
            lambda failure: self._log.failure("catching up with Redis failed", failure=failure)
        )

    async def _catch_up(self, protocol: RedisProtocol) -> None:
        await self._subscriptions.connected(protocol)
        values: dict[bytes, bytes] = {}
        names = self._subscriptions.names() if self._was_up else []
        try:
            if names and protocol is self._subscriber.protocol:
                await self._when_commands_are_up().addTimeout(SILENCE, self._reactor)
                values = await self.fetch(names).addTimeout(SILENCE, self._reactor)
        except Exception as error:
            if protocol is self._subscriber.protocol:
                self._log.warn(
                    "stored messages of the outage could not be read: {error!r}", error=error
                )
        if protocol is self._subscriber.protocol and self._held is not None:
            self._resume(values)

    def _resume(self, values: dict[bytes, bytes]) -> None:
        """The link is up: first what was missed, as far as it is stored, then what came."""
        held, self._held = self._held or [], None
        self._resumed = True
        self._was_up = True
        if self._listener is not None:
            live = {(each.channel, each.payload) for each in held}
            missed = {name: value for name, value in values.items() if (name, value) not in live}
            if missed:
                self._listener.restore(missed)
            if held:
                self._listener.deliver(held)
        self._tell()

    def _subscriber_down(self) -> None:
        self._held = None
        self._resumed = False
        self._subscriptions.disconnected()
        self._tell()

    def _commands_up(self, protocol: RedisProtocol) -> None:
        self._store.protocol = protocol
        waiters, self._commands_wanted = self._commands_wanted, []
        for waiter in waiters:
            waiter.callback(None)
        self._tell()

    def _commands_down(self) -> None:
        self._store.protocol = None
        self._tell()

    def _when_commands_are_up(self) -> Deferred[None]:
        waiter: Deferred[None] = Deferred(self._commands_wanted_no_more)
        if self._store.protocol is not None:
            waiter.callback(None)
        else:
            self._commands_wanted.append(waiter)
        return waiter

    def _commands_wanted_no_more(self, waiter: Deferred[None]) -> None:
        self._commands_wanted.remove(waiter)

    def _failed(self, reason: str) -> None:
        """Both links meet the same trouble at every attempt: say it once a minute."""
        now = self._reactor.seconds()
        if len(self._told) > _REASONS:
            self._told.clear()
        if now >= self._told.get(reason, now):
            self._told[reason] = now + _REPEAT
            self._log.warn(
                "no connection to {redis}: {reason}", redis=self._target.name, reason=reason
            )

    def _tell(self) -> None:
        """One log line when the broker as a whole is lost or back."""
        if self.up == self._told_up or self._listener is None:
            return
        self._told_up = self.up
        self._told = {}
        if self.up:
            self._log.info(
                "connected to {redis}, {count} channels subscribed",
                redis=self._target.name,
                count=len(self._subscriptions.names()),
            )
        else:
            self._metrics.broker_losses += 1
            self._log.warn("lost the connection to {redis}", redis=self._target.name)
