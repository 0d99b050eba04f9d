"""
The broker on Redis: one connection that subscribes and one that sends commands.

It is one module because whether the broker is up depends on the state of both.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Coroutine, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError, fail, gatherResults, succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsredis.brokers.redis.calls import Call, Command, Done
from wsredis.brokers.redis.commands import Commands
from wsredis.brokers.redis.connection import SILENCE, RedisConnection
from wsredis.brokers.redis.fetches import Fetches
from wsredis.brokers.redis.log_reader import read_log
from wsredis.brokers.redis.patience import Patience
from wsredis.brokers.redis.proof import PERIOD, Proof
from wsredis.brokers.redis.protocol import NoReply, RedisProtocol
from wsredis.brokers.redis.queues import Queues
from wsredis.brokers.redis.role import RoleWatch
from wsredis.brokers.redis.stored import StoredKeys, StoredSettings
from wsredis.brokers.redis.subscriptions import Subscriptions
from wsredis.brokers.redis.survey import start_survey
from wsredis.brokers.redis.unproven import Unproven
from wsredis.channels import proof_channel
from wsredis.config import Limits
from wsredis.config.redis_url import RedisTarget
from wsredis.errors import BrokerUnavailable
from wsredis.gateway.broker import BrokerListener, LogEntry, PublishWaiter, WorkerQueue
from wsredis.gateway.canary import Canary
from wsredis.gateway.gap import GapTimer
from wsredis.gateway.health import Health
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.publication import Publication
from wsredis.gateway.signal import Signal

__all__ = ["RedisBroker"]

#: Seconds between two PINGs of the subscriber; two without an answer end the connection.
_SUBSCRIBER_PING = SILENCE / 2

#: Seconds between two PINGs of the commands connection. The ``timeout`` of Redis can be as short as
#: one second; it ends connections that are idle for longer, except those of subscribers.
_COMMANDS_PING = 0.5

#: Bytes of publications that may wait while the stored messages are read after a loss; if there
#: are more, they go out without the stored messages.
_MAX_WAITING = 16777216

#: Times that the stored messages of an outage are read while the connection for it is lost.
_ATTEMPTS = 5

#: Seconds from the start, and from a loss, in which clients wait for Redis and are not refused.
#: A server that is restarted is back in about a second.
_PATIENCE_AT_START = 3.0
_PATIENCE = 1.5

#: A reply may be this many times larger than the largest publication that is delivered.
_REPLY_FACTOR = 4

#: Bytes that a reply may always have: a part of the log, or the names of keys.
_LEAST_REPLY = 1048576


class RedisBroker:
    """
    `wsredis.gateway.broker.Broker` on one Redis server.

    Args:
        endpoint: Leads to the server.
        target: Name and credentials of the server.
        stored: What is stored, and under which names.
        health: Told whether the server can be reached, and is of use.
        is_proving: Whether `canary` is a listener of the hub, and proves that messages arrive.
        is_any_role: Whether a replica is as good as a master.

    Raises:
        ConfigError: An installed library is of a version that this cannot work with.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        endpoint: IStreamClientEndpoint,
        target: RedisTarget,
        stored: StoredSettings,
        limits: Limits,
        metrics: Metrics,
        health: Health,
        *,
        is_proving: bool = False,
        is_any_role: bool = False,
    ) -> None:
        self._reactor = reactor
        self._name = target.name
        self._metrics = metrics
        self._health = health
        unproven = Unproven(health, metrics)
        self._role = RoleWatch(reactor, PERIOD, self._demoted, health, unproven, is_any=is_any_role)
        keys = StoredKeys(reactor, stored, metrics)
        self._commands = Commands(reactor, keys, limits, metrics, self._role.is_read_only)
        self._queues = Queues(reactor, self._commands)
        self._fetches = Fetches(reactor, self._commands.fetch_each, self._after_live)
        # With capital letters, so that a proxy that changes names is noticed.
        proof = proof_channel(stored.prefix, f"Gateway-{secrets.token_hex(8)}")
        self._subscriptions = Subscriptions(reactor, self._forbidden, quiet=proof)
        max_reply = max(limits.max_publication * _REPLY_FACTOR, _LEAST_REPLY)
        self._subscriber_link = RedisConnection(
            reactor,
            endpoint,
            target,
            ping_interval=_SUBSCRIBER_PING,
            max_reply=max_reply,
            established=self._subscriber_up,
            lost=self._subscriber_down,
            failed=self._failed,
            deliver=self._deliver,
            refuse=self._role.refuse,
        )
        self._commands_link = RedisConnection(
            reactor,
            endpoint,
            target,
            ping_interval=_COMMANDS_PING,
            max_reply=max_reply,
            established=self._commands_up,
            lost=self._commands_down,
            failed=self._failed,
            refuse=self._role.refuse,
        )
        self._links = (self._subscriber_link, self._commands_link)
        self._proof: Proof | None = None
        if is_proving:
            self._proof = Proof(
                reactor,
                proof,
                *self._links,
                self._subscriptions,
                health,
                metrics,
                unproven,
            )
        self._listener: BrokerListener | None = None
        self._commands_signal: Signal[None] = Signal()
        self._paused = False
        self._resume_signal: Signal[None] = Signal()
        #: Publications that wait for the stored messages of an outage. If None, none has to wait.
        self._waiting: list[Publication] | None = None
        self._waiting_bytes = 0
        #: The channels whose stored messages have not been read since the outage.
        self._owed: dict[bytes, None] = {}
        #: Takes publications while there is something to catch up with. If None, there is nothing.
        self._held: Callable[[Sequence[Publication]], None] | None = None
        #: Whether the subscriber is connected and has caught up.
        self._caught_up = False
        self._gap = GapTimer(reactor)
        #: The prefix of channels whose keys are looked at once. If None, they were, or need not be.
        self._surveyed = None if stored.stored_prefix else stored.prefix
        self._was_up = False
        self._logged_up = False
        self._throttle = LogThrottle(reactor)
        self._patience = Patience(reactor)

    @property
    def up(self) -> bool:
        """See `wsredis.gateway.broker.Broker.up`."""
        return self._caught_up and self._commands.protocol is not None

    @property
    def canary(self) -> Canary | None:
        """See `wsredis.gateway.broker.Broker.canary`."""
        return None if self._proof is None else self._proof.canary

    def when_up(self) -> Deferred[None]:
        """See `wsredis.gateway.broker.Broker.when_up`."""
        return succeed(None) if self.up else self._patience.wait()

    def start(self, listener: BrokerListener) -> None:
        """See `wsredis.gateway.broker.Broker.start`."""
        self._listener = listener
        self._health.report("redis", "there is no connection to Redis yet")
        if self._proof is not None:
            self._proof.start()
        self._patience.begin(_PATIENCE_AT_START)
        self._subscriptions.start()
        self._role.start()
        for link in self._links:
            link.start()

    def stop(self) -> Deferred[None]:
        """See `wsredis.gateway.broker.Broker.stop`."""
        self._listener = None
        self._patience.give_up()
        self._fetches.stop()
        self._subscriptions.stop()
        self._role.stop()
        if self._proof is not None:
            self._proof.stop()
        self._queues.flush()
        self._commands.stop()
        # From now on commands fail at once, although the connection is still there.
        self._commands.protocol = None
        self._commands_signal.fail(BrokerUnavailable("the gateway stops"))
        stopped = gatherResults([link.stop() for link in self._links])
        return stopped.addCallback(lambda _: None)

    def subscribe(self, channels: Sequence[bytes]) -> Deferred[None]:
        """See `wsredis.gateway.broker.Broker.subscribe`."""
        return self._subscriptions.want(channels)

    def unsubscribe(self, channels: Sequence[bytes]) -> None:
        """See `wsredis.gateway.broker.Broker.unsubscribe`."""
        self._subscriptions.drop(channels)

    def pause(self) -> None:
        """See `wsredis.gateway.broker.Broker.pause`."""
        # The commands connection is not paused, so that publishing does not wait.
        self._paused = True
        self._subscriber_link.pause()

    def resume(self) -> None:
        """See `wsredis.gateway.broker.Broker.resume`."""
        self._paused = False
        self._subscriber_link.resume()
        # The delivery of the backlog may have paused the broker again.
        if not self._paused:
            self._resume_signal.fire(None)

    def publish_all(
        self, channels: Sequence[bytes], payloads: Sequence[bytes], waiter: PublishWaiter
    ) -> None:
        """See `wsredis.gateway.broker.Broker.publish_all`."""
        self._commands.publish_all(channels, payloads, waiter)

    def publish(self, channels: Sequence[bytes], payload: bytes, waiter: PublishWaiter) -> None:
        """See `wsredis.gateway.broker.Broker.publish`."""
        self._commands.publish(channels, payload, waiter)

    def push(self, queue: WorkerQueue, payload: bytes, waiter: PublishWaiter) -> None:
        """See `wsredis.gateway.broker.Broker.push`."""
        self._queues.push(queue, payload, waiter)

    def call(self, commands: Sequence[Command], done: Done) -> None:
        """
        Send commands of somebody else together, in their order.

        Args:
            commands: At least one. Not to be changed afterwards.
            done: Called once with the outcome, maybe before this returns.
        """
        Call(self._commands, commands, done)

    def announce(self, channel: bytes, payload: bytes) -> None:
        """See `wsredis.gateway.broker.Broker.announce`."""
        if self._commands.protocol is not None:
            self._commands.protocol.send(lambda reply: True, "PUBLISH", channel, payload)

    def fetch(self, channels: Sequence[bytes]) -> Deferred[dict[bytes, bytes]]:
        """See `wsredis.gateway.broker.Broker.fetch`."""
        # `Commands.fetch` would find out too, but in the next turn.
        if self._commands.protocol is None:
            return fail(BrokerUnavailable("Redis is away"))
        return self._fetches.fetch(channels)

    def read_log(self, key: bytes, after: bytes) -> Deferred[list[LogEntry]]:
        """See `wsredis.gateway.broker.Broker.read_log`."""
        protocol = self._commands.protocol
        if protocol is None:
            return fail(BrokerUnavailable("Redis is away"))
        return Deferred.fromCoroutine(read_log(protocol, key, after))

    def _after_live(self, values: dict[bytes, bytes]) -> Deferred[dict[bytes, bytes]]:
        """
        Wait until the publications that preceded the read have come over the other connection.

        Without a stored message none can come twice, and only a pause has to be waited for.
        """
        if not values:
            return self._when_not_paused().addCallback(lambda _: values)
        protocol = self._subscriber_link.protocol
        if protocol is None:
            return fail(BrokerUnavailable("the connection to Redis was lost"))

        def lost(failure: Failure) -> dict[bytes, bytes]:
            if failure.check(NoReply):
                raise BrokerUnavailable("the connection to Redis was lost")
            # A refusal is an answer: it came after the publications, too.
            return values

        return protocol.call("PING").addCallbacks(lambda _: values, lost)

    def _when_not_paused(self) -> Deferred[None]:
        return self._resume_signal.wait() if self._paused else succeed(None)

    def _deliver(self, batch: Sequence[Publication]) -> None:
        if self._held is not None:
            self._held(batch)
        elif self._listener is not None:
            self._listener.deliver(batch)

    def _hold(self, batch: Sequence[Publication]) -> None:
        """Let publications wait for the stored messages of the outage, but not a proof."""
        if self._proof is not None and self._listener is not None:
            proof = self._proof.canary.channels[0]
            arrived = [each for each in batch if each.channel == proof]
            if arrived:
                self._listener.deliver(arrived)
                batch = [each for each in batch if each.channel != proof]
        if self._waiting is not None:
            self._waiting += batch
            self._waiting_bytes += sum(len(each.payload) for each in batch)
            if self._waiting_bytes > _MAX_WAITING:
                self._log.warn(
                    "too many publications arrived while reconnecting: "
                    "leaving out the stored messages of the outage",
                    event="outage-messages-left-out",
                )
                self._owed.clear()
                self._go_live(is_restored=False)

    def _pass_on(self, batch: Sequence[Publication]) -> None:
        """Deliver while stored messages are owed: those older than *batch* are not news."""
        for each in batch:
            self._owed.pop(each.channel, None)
        if self._listener is not None:
            self._listener.deliver(batch)

    def _forbidden(self, channel: bytes) -> None:
        if self._listener is not None:
            self._listener.forbid(channel)

    def _subscriber_up(self, protocol: RedisProtocol) -> None:
        self._start_catching_up(self._catch_up(protocol))

    def _start_catching_up(self, catching_up: Coroutine[Deferred[Any], Any, None]) -> None:
        self._waiting = []
        self._waiting_bytes = 0
        self._held = self._hold
        Deferred.fromCoroutine(catching_up).addErrback(
            lambda failure: self._log.failure(
                "catching up with Redis failed", event="catch-up-failed", failure=failure
            )
        )

    async def _catch_up(self, protocol: RedisProtocol) -> None:
        await self._subscriptions.connected(protocol)
        # The first connection has missed nothing.
        self._owed = dict.fromkeys(self._subscriptions.names() if self._was_up else ())
        is_restored = await self._read_owed(protocol)
        await self._when_not_paused()
        if protocol is self._subscriber_link.protocol and self._waiting is not None:
            self._go_live(is_restored=is_restored)

    async def _catch_up_later(self, protocol: RedisProtocol) -> None:
        """Read what could not be read before, now that commands are answered again."""
        if await self._read_owed(protocol) and protocol is self._subscriber_link.protocol:
            self._log.info(
                "the stored messages of the outage have been read after all",
                event="outage-messages-read",
            )
        await self._when_not_paused()
        if protocol is self._subscriber_link.protocol and self._waiting is not None:
            self._release()

    async def _read_owed(self, protocol: RedisProtocol) -> bool:
        """
        Hand over the stored messages that are owed.

        It goes on where it was when the commands connection is lost and comes back.

        Returns:
            Whether all of them could be read. If there was no connection, they are owed still.
        """
        is_restored = True
        try:
            for attempts_left in reversed(range(_ATTEMPTS)):
                if not self._owed or protocol is not self._subscriber_link.protocol:
                    break
                await self._when_commands_are_up().addTimeout(SILENCE, self._reactor)
                try:
                    # Without a time limit: a pause may last, and a silent connection is left.
                    is_restored &= await self._commands.fetch_each(
                        [*self._owed], partial(self._restore, protocol), self._sized
                    )
                    self._owed.clear()
                except BrokerUnavailable:
                    if not attempts_left:
                        raise
        except Exception as error:
            if protocol is self._subscriber_link.protocol and self._listener is not None:
                self._log.warn(
                    "cannot read the stored messages of the outage: {error!r}",
                    event="outage-messages-unread",
                    error=error,
                )
                if not isinstance(error, TimeoutError):
                    # They would not be read at the next attempt either.
                    self._owed.clear()
            return False
        return is_restored

    def _sized(self, names: Collection[bytes]) -> None:
        """Forget the channels that are owed and have no stored message."""
        self._owed = dict.fromkeys(names)

    def _restore(self, protocol: RedisProtocol, stored: dict[bytes, bytes]) -> Deferred[None]:
        """Hand over stored messages of the outage, before the publications that wait."""

        def hand_over(_: object) -> None:
            waiting = self._waiting
            if self._listener is None or waiting is None:
                return
            if protocol is self._subscriber_link.protocol:
                missed = stored.copy()
                for each in waiting:
                    if missed.get(each.channel) == each.payload:
                        del missed[each.channel]
                if missed:
                    self._listener.restore(missed)
                for name in stored:
                    self._owed.pop(name, None)

        return self._after_live(stored).addCallback(hand_over)

    def _go_live(self, *, is_restored: bool) -> None:
        """Tell of the gap that is over, and deliver the publications that waited."""
        self._caught_up = True
        self._was_up = True
        gap = self._gap.end(len(self._subscriptions.names()), is_restored=is_restored)
        if gap is not None and self._listener is not None:
            self._listener.gap(gap)
        self._release()
        self._log_change()
        if self._owed and self._commands.protocol is not None:
            self._commands_back()

    def _release(self) -> None:
        """Deliver the publications that waited, and let no more wait."""
        waiting, self._waiting = self._waiting or [], None
        self._held = self._pass_on if self._owed else None
        if waiting:
            self._deliver(waiting)

    def _commands_back(self) -> None:
        """Take up the catch-up that was interrupted."""
        protocol = self._subscriber_link.protocol
        if self._owed and self._waiting is None and protocol is not None:
            self._start_catching_up(self._catch_up_later(protocol))

    def _subscriber_down(self) -> None:
        if self._was_up:
            self._gap.begin(None if self._proof is None else self._proof.last_proof)
        self._waiting = self._held = None
        self._owed.clear()
        self._caught_up = False
        self._subscriptions.disconnected()
        self._log_change()

    def _commands_up(self, protocol: RedisProtocol) -> None:
        self._commands.protocol = protocol
        self._role.watch(protocol)
        self._commands_signal.fire(None)
        self._commands_back()
        self._log_change()
        if self._surveyed is not None:
            prefix, self._surveyed = self._surveyed, None
            start_survey(protocol, prefix)

    def _commands_down(self) -> None:
        self._commands.protocol = None
        self._role.watch(None)
        self._log_change()

    def _when_commands_are_up(self) -> Deferred[None]:
        if self._commands.protocol is not None:
            return succeed(None)
        return self._commands_signal.wait()

    def _demoted(self) -> None:
        """Leave a server that has become a replica: what is published there reaches nobody."""
        self._log.warn(
            "{redis} has become a replica: leaving it", event="redis-replica", redis=self._name
        )
        for link in self._links:
            link.leave()

    def _failed(self, reason: str) -> None:
        # Both links meet the same trouble at every attempt.
        if self._throttle.take(reason):
            self._log.warn(
                "no connection to {redis}: {reason}",
                event="redis-unreachable",
                redis=self._name,
                reason=reason,
            )

    def _log_change(self) -> None:
        """Log one line when the broker as a whole is lost or back."""
        if self.up == self._logged_up or self._listener is None:
            return
        self._logged_up = self.up
        if self._proof is not None:
            (self._proof.begin if self.up else self._proof.end)()
        self._throttle.reset()
        self._health.report("redis", None if self.up else "there is no connection to Redis")
        if self.up:
            self._role.accept()
            self._log.info(
                "connected to {redis}, {count} channels subscribed",
                event="redis-connected",
                redis=self._name,
                count=len(self._subscriptions.names()),
            )
            self._patience.end()
        else:
            self._patience.begin(_PATIENCE)
            self._metrics.broker_losses += 1
            ends = [link.last_end for link in self._links if link.protocol is None]
            self._log.warn(
                "lost the connection to {redis}: {reason}",
                event="redis-lost",
                redis=self._name,
                reason=ends[0] if ends else "",
            )
