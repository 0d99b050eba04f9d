"""Publish from a Twisted program, through txredisapi."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import txredisapi
from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.python.failure import Failure

from wsredis.brokers.redis.connection import SILENCE, RedisConnection
from wsredis.brokers.redis.endpoint import CONNECT_TIMEOUT, make_endpoint
from wsredis.brokers.redis.protocol import NoReply, Reply
from wsredis.config import RedisConfig
from wsredis.config.redis_url import RedisTarget, target_of
from wsredis.errors import BrokerUnavailable, ConfigError, PublishOutcomeUnknown
from wsredis.gateway.signal import Signal
from wsredis.publisher.base import BasePublisher, Command, count_receivers
from wsredis.publisher.settings import redis_of_environment, redis_of_project

__all__ = ["TwistedRedisPublisher"]

#: Largest reply in bytes. It is the limit of Redis itself for a value.
_MAX_REPLY = 536870912


class TwistedRedisPublisher(BasePublisher):
    """
    Does the same as `RedisPublisher` with Deferreds, through txredisapi.

    A publisher that was not given a connection of txredisapi connects when it is made, connects
    again when the connection is lost, and goes on until `close`. A program that makes many
    publishers should make one connection and give it to each.

    Args:
        connection: The object that `txredisapi.Connection` and its like return, or fire with; it is
            never closed. One with ``convertNumbers`` can publish, but cannot fetch every message.
            Or where Redis is, for a connection of its own: a URL, a `wsredis.RedisConfig`, or an
            endpoint that needs no login. If None, it is the Redis of `RedisPublisher`; arguments of
            ``WS4REDIS_CONNECTION`` that only redis-py knows are not used.
        reactor: The reactor for a connection of its own. If None, it is the global one.
        names: The arguments of `BasePublisher`.

    Raises:
        ValueError: An argument cannot be used.
        ConfigError: A setting cannot be used.
    """

    def __init__(
        self,
        *,
        connection: (
            txredisapi.ConnectionHandler | IStreamClientEndpoint | RedisConfig | str | None
        ) = None,
        reactor: Any = None,
        **names: Any,
    ) -> None:
        super().__init__(**names)
        # txredisapi installed the global reactor when it was imported.
        reactor = reactor or txredisapi.reactor
        if connection is None:
            connection = redis_of_project() or redis_of_environment()
        elif isinstance(connection, str):
            connection = RedisConfig(url=connection)
        self._redis: _Given | _Own
        if isinstance(connection, RedisConfig):
            target = target_of(connection)
            self._redis = _Own(reactor, make_endpoint(target, reactor), target)
        elif IStreamClientEndpoint.implementedBy(type(connection)):
            # The class is asked: an object of txredisapi has every attribute, as a command.
            self._redis = _Own(reactor, connection, RedisTarget(name=repr(connection)))
        else:
            self._redis = _Given(connection)

    def publish_message(self, message: str | bytes, expire: int | None = None) -> Deferred[int]:
        """
        Store the message for clients that connect later, and publish it. One write.

        Args:
            expire: Seconds that it is stored. 0 or less does not store it. If None, it is the
                setting of the publisher.

        Returns:
            Fires with the number of subscribers that heard it, summed over the channels. It fails
            with `wsredis.errors.BrokerUnavailable` if there is no connection within 5 seconds:
            nothing was sent. It fails with `wsredis.errors.PublishOutcomeUnknown` if the connection
            is lost before the answer, and with an error of txredisapi if Redis refuses: the message
            may have been stored, and published on some of the channels. A connection that was given
            fails with its own errors.

        Raises:
            ValueError: *message* is not a message, or is the heartbeat, or *expire* is not a whole
                number. Nothing was sent.
        """
        commands = self._commands(message, expire)
        if not commands:
            return succeed(0)
        return self._redis.send(commands).addCallbacks(
            lambda replies: count_receivers(commands, replies), _outcome_unknown
        )

    def fetch_message(
        self, request: Any, facility: str, audience: str = "any"
    ) -> Deferred[bytes | None]:
        """
        Read the message that is stored for a visitor.

        Args:
            request: The request of the visitor. If None, only the broadcast message can be found.
            audience: ``session``, ``user``, ``group`` or ``broadcast``; ``any`` looks at all, in
                this order. Another word finds nothing.

        Returns:
            Fires with the first message that is there and not empty, else with None. It fails with
            `wsredis.errors.BrokerUnavailable` if there is no connection within 5 seconds or it is
            lost, and with an error of txredisapi if Redis refuses.
        """
        names = self._candidates(request, facility, audience)
        if not names:
            return succeed(None)
        return self._redis.send([("MGET", *names)]).addCallbacks(_first, _unavailable)

    def close(self) -> Deferred[None]:
        """
        Close the connection, unless it was given. Messages that wait for it are not sent.

        Returns:
            Fires when it is closed.
        """
        return self._redis.close()


def _outcome_unknown(failure: Failure) -> NoReturn:
    failure.trap(NoReply)
    raise PublishOutcomeUnknown("the connection to Redis was lost before the answer")


def _unavailable(failure: Failure) -> NoReturn:
    failure.trap(NoReply)
    raise BrokerUnavailable("the connection to Redis was lost")


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
    """A connection of txredisapi that belongs to the program."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def send(self, commands: Sequence[Command]) -> Deferred[list[Reply]]:
        """
        Send all commands in one write.

        Returns:
            Fires with the replies, error replies among them.
        """
        return Deferred.fromCoroutine(self._send(commands))

    async def _send(self, commands: Sequence[Command]) -> list[Reply]:
        protocol = await self._connection.pipeline()
        replies: list[Reply] = []

        def answered(reply: Reply) -> None:
            # An error reply takes its place in the list: the replies after it are still expected.
            replies.append(reply.value if isinstance(reply, Failure) else reply)

        for command in commands:
            protocol.execute_command(*command).addBoth(answered)
        await protocol.execute_pipeline()
        return replies

    def close(self) -> Deferred[None]:
        """Leave the connection to its owner."""
        return succeed(None)


class _Own:
    """A connection like those of the gateway: it comes back, and notices when Redis is silent."""

    def __init__(self, reactor: Any, endpoint: IStreamClientEndpoint, target: RedisTarget) -> None:
        self._reactor = reactor
        self._name = target.name
        self._reason = "there was no time to connect"
        self._connected: Signal[None] = Signal()
        self._link = RedisConnection(
            reactor,
            endpoint,
            target,
            ping_interval=SILENCE / 2,
            max_reply=_MAX_REPLY,
            established=lambda protocol: self._connected.fire(None),
            lost=lambda: None,
            failed=self._failed,
        )
        self._link.start()

    def send(self, commands: Sequence[Command]) -> Deferred[list[Reply]]:
        """
        Send all commands in one write, as soon as there is a connection.

        Returns:
            Fires with the replies, error replies among them.

        Raises:
            BrokerUnavailable: There is no connection within 5 seconds. Nothing was sent.
            NoReply: The connection was lost before the last reply.
        """
        return Deferred.fromCoroutine(self._send(commands))

    async def _send(self, commands: Sequence[Command]) -> list[Reply]:
        if self._link.protocol is None:
            try:
                await self._connected.wait().addTimeout(CONNECT_TIMEOUT, self._reactor)
            except TimeoutError:
                raise BrokerUnavailable(f"{self._name}: {self._reason}") from None
        protocol = self._link.protocol
        assert protocol is not None
        done: Deferred[list[Reply]] = Deferred()
        replies: list[Reply] = []

        def handler(reply: Reply) -> bool:
            replies.append(reply)
            if len(replies) == len(commands):
                # Replies come in order: if any is missing, the last one is.
                if isinstance(reply, NoReply):
                    done.errback(reply)
                else:
                    done.callback(replies)
            return True

        for command in commands:
            protocol.send(handler, *command)
        return await done

    def close(self) -> Deferred[None]:
        """Close it. Calls that wait for a connection fail at once."""
        self._connected.fail(BrokerUnavailable("the publisher was closed"))
        return self._link.stop()

    def _failed(self, reason: str) -> None:
        self._reason = reason
