"""
Publish from any Python program, through redis-py.

`RedisPublisher` has the constructor, the methods and the keys in Redis of the publisher of
django-websocket-redis. It talks to Redis and never to a gateway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsredis.publisher.base import BasePublisher, count_receivers
from wsredis.publisher.redis_py import shared_client

if TYPE_CHECKING:
    import redis

__all__ = ["RedisPublisher"]


class RedisPublisher(BasePublisher):
    """
    Publishes through redis-py. It takes the arguments of `BasePublisher` and *connection*.

    A view may make a new one for each message: the connections belong to the process, which has one
    pool of them for each Redis, and outlive the publisher. Threads may share a publisher.

    Nothing is sent twice. If the connection breaks, or no answer comes within 5 seconds, an
    exception of redis-py is raised, and the message may or may not have been published.

    Args:
        connection: A client of redis-py, or a URL such as ``redis://host:port/db``. If None, it is
            ``WS4REDIS_CONNECTION`` of the Django project that is running, if it has one; else
            ``WSREDIS_REDIS`` of the environment, with ``WSREDIS_REDIS_PASSWORD``,
            ``WSREDIS_REDIS_PASSWORD_FILE`` and ``WSREDIS_REDIS_CA``; else
            ``redis://localhost:6379``.

    Raises:
        ValueError: An argument cannot be used.
        ConfigError: A setting cannot be used, or redis-py is missing.
    """

    def __init__(self, *, connection: redis.Redis | str | None = None, **names: Any) -> None:
        super().__init__(**names)
        if connection is None or isinstance(connection, str):
            connection = shared_client(connection)
        self._connection: Any = connection

    def publish_message(self, message: str | bytes, expire: int | None = None) -> int:
        """
        Store the message for clients that connect later, and publish it. One round trip.

        A gateway is one subscriber of a channel, however many clients it has there.

        Args:
            expire: Seconds that it is stored. 0 or less does not store it. If None, it is the
                setting of the publisher.

        Returns:
            The number of subscribers that heard it, summed over the channels.

        Raises:
            ValueError: *message* is not a message, or is the heartbeat, or *expire* is not a whole
                number. Nothing was sent.
            redis.RedisError: Redis could not be reached, did not answer, or refused to publish. The
                message may have been stored, and published on some of the channels.
        """
        return self.pipeline_publish_message(message, expire, transaction=False)

    def pipeline_publish_message(
        self, message: str | bytes, expire: int | None = None, transaction: bool = True
    ) -> int:
        """
        Do the same as `publish_message`, by default in a transaction.

        Args:
            transaction: Whether Redis executes all commands together, and none of them if it
                refuses one for want of memory or rights.
        """
        commands = self._commands(message, expire)
        if not commands:
            return 0
        with self._connection.pipeline(transaction=transaction) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return count_receivers(commands, pipeline.execute(raise_on_error=False))

    def fetch_message(self, request: Any, facility: str, audience: str = "any") -> bytes | None:
        """
        Read the message that is stored for a visitor. One round trip.

        Args:
            request: The request of the visitor. If None, only the broadcast message can be found.
            audience: ``session``, ``user``, ``group`` or ``broadcast``; ``any`` looks at all, in
                this order. Another word finds nothing.

        Returns:
            The first message that is there and not empty, else None.

        Raises:
            redis.RedisError: Redis could not be reached, did not answer, or refused.
        """
        names = self._candidates(request, facility, audience)
        if not names:
            return None
        # A client that decodes replies gives bytes all the same: a message may be any bytes.
        values = self._connection.execute_command("MGET", *names, NEVER_DECODE=[])
        return next(filter(None, values), None)
