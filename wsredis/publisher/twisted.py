"""Publish from a Twisted program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import txredisapi
from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.python.failure import Failure

from wsredis.brokers.redis.connection import SILENCE, RedisConnection, RedisProtocol, Reply
from wsredis.brokers.redis.url import CONNECT_TIMEOUT, Target, parse
from wsredis.config import RedisConfig
from wsredis.errors import BrokerUnavailable, ConfigError
from wsredis.publisher.sync import BasePublisher, Command, receivers, redis_of_environment

__all__ = ["TwistedRedisPublisher"]

#: Bytes; a longer reply than this means that something is wrong. Redis' own bound of a value.
_MAX_REPLY = 536870912


class TwistedRedisPublisher(BasePublisher):
    """
    As `wsredis.publisher.RedisPublisher`, with Deferreds, through txredisapi.

    Where many publishers are made, make one connection for all of them and give it to each. A
    publisher that was given none connects when it is made, connects again when the connection is
    lost, and goes on until `close`.

    Args:
        connection: What `txredisapi.Connection` and its like return or fire with. Those with
            ``convertNumbers`` can publish, but not fetch every message. It is not closed. Or where
            Redis is: a URL, or a `wsredis.RedisConfig`. None: where ``WSREDIS_REDIS`` of the
            environment says, else at ``redis://localhost:6379``.
        reactor: For a connection of its own. None: the global one.
        names: The arguments of `wsredis.publisher.BasePublisher`.
    Raises:
        ConfigError: The URL cannot be used.
    """

    def __init__(
        self,
        *,
        connection: txredisapi.ConnectionHandler | RedisConfig | str | None = None,
        reactor: Any = None,
        **names: Any,
    ) -> None:
        super().__init__(**names)
        if connection is None:
            connection = redis_of_environment()
        elif isinstance(connection, str):
            connection = RedisConfig(url=connection)
        if isinstance(connection, RedisConfig):
            connection = _target(connection)
        self._redis: _Given | _Own
        if isinstance(connection, Target):
            # txredisapi has installed the global one when it was imported.
            self._redis = _Own(reactor or txredisapi.reactor, connection)
        else:
            self._redis = _Given(connection)

    def publish_message(self, message: str | bytes, expire: int | None = None) -> Deferred[int]:
        """
        Publish, and keep the message for those who come later. One write.

        The Deferred fails with `wsredis.errors.BrokerUnavailable` where Redis cannot be reached
        within 5 seconds or the connection is lost, and with txredisapi's errors where Redis
        refuses, or where a connection that was given is lost.

        Args:
            expire: Seconds that it is kept. 0 or less: it is not. None: as the publisher was told.
        Returns: Fires with the number of subscribers that heard it, summed over the channels.
        Raises:
            ValueError: *message* is none, or the heartbeat; *expire* is no whole number.
        """
        commands = self._commands(message, expire)
        if not commands:
            return succeed(0)
        return self._redis.send(commands).addCallback(lambda got: receivers(commands, got))

    def fetch_message(
        self, request: Any, facility: str, audience: str = "any"
    ) -> Deferred[bytes | None]:
        """
        Read the message that is kept for a visitor. The Deferred fails as that of publishing.

        Args:
            request: The visitor's. None: nobody's.
            audience: ``session``, ``user``, ``group`` or ``broadcast``; ``any`` looks at all, in
                this order. Another word finds nothing.
        Returns: Fires with the first that is there and not empty, else with None.
        """
        names = self._candidates(request, facility, audience)
        if not names:
            return succeed(None)
        return self._redis.send([("MGET", *names)]).addCallback(_first)

    def close(self) -> Deferred[None]:
        """Close the connection, unless it was given. Fires when it is closed."""
        return self._redis.close()


def _target(config: RedisConfig) -> Target:
    if config.url == "embedded":
        raise ConfigError("redis: 'embedded' is for the gateway; name the URL that it logs")
    return parse(config)


def _first(replies: Sequence[Reply]) -> bytes | None:
    (values,) = replies
    if isinstance(values, Exception):
        raise values
    for value in values:
        if isinstance(value, (int, float)):
            raise ConfigError(
                "the connection turns messages into numbers: make it with convertNumbers=False"
            )
        if value:
            return value.encode() if isinstance(value, str) else bytes(value)
    return None


class _Given:
    """A connection of txredisapi that belongs to somebody else."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def send(self, commands: Sequence[Command]) -> Deferred[list[Reply]]:
        """Send all in one write. Fires with the replies, errors among them."""
        return Deferred.fromCoroutine(self._send(commands))

    async def _send(self, commands: Sequence[Command]) -> list[Reply]:
        protocol = await self._connection.pipeline()
        replies: list[Reply] = []

        def answered(reply: Reply) -> None:
            # A refusal is a reply as well: the others count all the same.
            replies.append(reply.value if isinstance(reply, Failure) else reply)

        for words in commands:
            protocol.execute_command(*words).addBoth(answered)
        await protocol.execute_pipeline()
        return replies

    def close(self) -> Deferred[None]:
        """It is not ours to close."""
        return succeed(None)


class _Own:
    """A connection as that of the gateway: TLS is verified, a server that falls silent is left."""

    def __init__(self, reactor: Any, target: Target) -> None:
        self._reactor = reactor
        self._name = target.name
        self._reason = "there was no time to connect"
        self._waiting: list[Deferred[None]] = []
        self._link = RedisConnection(
            reactor,
            target,
            ping_interval=SILENCE / 2,
            max_reply=_MAX_REPLY,
            established=self._established,
            lost=lambda: None,
            failed=self._failed,
        )
        self._link.start(reactor)

    def send(self, commands: Sequence[Command]) -> Deferred[list[Reply]]:
        """Send all in one write, as soon as there is a connection. Fires with the replies."""
        return Deferred.fromCoroutine(self._send(commands))

    async def _send(self, commands: Sequence[Command]) -> list[Reply]:
        if self._link.protocol is None:
            waiter: Deferred[None] = Deferred(self._waiting.remove)
            self._waiting.append(waiter)
            try:
                await waiter.addTimeout(CONNECT_TIMEOUT, self._reactor)
            except TimeoutError:
                raise BrokerUnavailable(f"{self._name}: {self._reason}") from None
        protocol = self._link.protocol
        assert protocol is not None
        done: Deferred[list[Reply]] = Deferred()
        replies: list[Reply] = []

        def answered(reply: Reply) -> bool:
            replies.append(reply)
            if len(replies) == len(commands):
                done.callback(replies)
            return True

        for words in commands:
            protocol.send(answered, *words)
        return await done

    def close(self) -> Deferred[None]:
        """Close it. Who waits for a connection is told at once."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.errback(BrokerUnavailable("the publisher was closed"))
        return self._link.stop()

    def _established(self, protocol: RedisProtocol) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    def _failed(self, reason: str) -> None:
        self._reason = reason
