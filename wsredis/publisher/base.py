"""The part that all publishers have in common: names of channels, commands, and reading replies."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from wsredis.channels import Audience, channel_name, stored_key
from wsredis.config.redis_url import error_text
from wsredis.publisher.recipients import Recipient, owners_of, recipients
from wsredis.publisher.settings import (
    check,
    check_seconds,
    configured_expire,
    configured_heartbeat,
    configured_prefix,
    configured_stored_prefix,
)

__all__ = ["BasePublisher", "Command", "RedisMessage", "count_receivers"]

_log = logging.getLogger(__name__)

#: One command of Redis: its name and its arguments.
Command = tuple[str | bytes, ...]


class RedisMessage(bytes):
    """
    A message as it is published: a string as UTF-8, bytes unchanged.

    Publishers take `str` and `bytes` as well, so programs do not need it. Called with the text of
    the heartbeat, or with a value that is neither a string nor bytes, it returns None, as in
    django-websocket-redis.
    """

    def __new__(cls, value: object) -> RedisMessage | None:  # type: ignore[misc]
        """Make a message, or None."""
        return _message(value, configured_heartbeat())


def _message(value: object, heartbeat: str | None) -> RedisMessage | None:
    if isinstance(value, list):
        # The form in which a subscriber of redis-py reads a message. It is never the heartbeat.
        known = len(value) > 2 and value[0] == b"message"
        return bytes.__new__(RedisMessage, value[2]) if known else None
    if isinstance(value, str):
        value = value.encode()
    if not isinstance(value, (bytes, bytearray, memoryview)):
        return None
    if heartbeat is not None and value == heartbeat.encode():
        return None
    return bytes.__new__(RedisMessage, value)


class BasePublisher:
    """
    Recipients and settings of a publisher.

    A name is a `str`, a user, group or session of Django, or any other object whose ``str()`` is
    the name. Of a user it is that of ``get_username()``, of a group ``name``, of a session its key.
    *groups*, *users* and *sessions* take any iterable of names, or one name alone. `SELF` among
    them, or True alone, stands for the user, the groups or the session of *request*. For an
    anonymous visitor, and without a request, `SELF` stands for nothing; None and the empty name do
    so as well. A name with a colon gets no channel, and a logged warning: its channel could be
    mistaken for another.

    Where *prefix*, *stored_prefix*, *expire* or *heartbeat* is None, it is ``WS4REDIS_PREFIX``,
    ``WS4REDIS_STORED_PREFIX``, ``WS4REDIS_EXPIRE`` (where None is 0) or ``WS4REDIS_HEARTBEAT`` of
    the Django project that is running, if it has the setting; else ``WSREDIS_PREFIX``,
    ``WSREDIS_STORED_PREFIX``, ``WSREDIS_EXPIRE`` or ``WSREDIS_HEARTBEAT`` of the environment; else
    no prefixes, 3600 seconds and no heartbeat.

    Args:
        request: A request of Django, or an object with ``user`` and ``session`` like it. Only
            `SELF` needs it.
        facility: The topic. If it is not given, it is the literal text ``{facility}``, to which no
            client listens.
        broadcast: Whether to publish to all clients that listen to the facility.
        groups: Names of groups, to whose members to publish.
        users: Names of users to publish to.
        sessions: Keys of sessions to publish to.
        prefix: Text before every name, followed by a colon; the gateway needs the same. An empty
            prefix adds nothing.
        stored_prefix: Text before the name of a channel, followed by a colon, to name the key of
            its stored message; the gateway needs the same. If empty, both have the same name.
        expire: Seconds that messages are stored, unless `publish_message` is given another number.
            0 or less stores none.
        heartbeat: The text that cannot be published, since clients take it for a heartbeat. If
            empty, there is none.

    Attributes:
        channels: The names of the channels to which it publishes, each once.

    Raises:
        ValueError: An argument cannot be used.
        ConfigError: A setting cannot be used; the text names it.
    """

    channels: tuple[bytes, ...]

    def __init__(
        self,
        *,
        request: Any = None,
        facility: str = "{facility}",
        broadcast: bool = False,
        groups: object = (),
        users: object = (),
        sessions: object = (),
        prefix: str | None = None,
        stored_prefix: str | None = None,
        expire: int | None = None,
        heartbeat: str | None = None,
    ) -> None:
        self._prefix: str = configured_prefix() if prefix is None else check("prefix", prefix)
        self._stored_prefix: str = (
            configured_stored_prefix()
            if stored_prefix is None
            else check("stored-prefix", stored_prefix)
        )
        self._expire = configured_expire() if expire is None else check_seconds(expire)
        self._heartbeat: str | None = (
            configured_heartbeat() if heartbeat is None else check("heartbeat", heartbeat)
        )
        self.channels = self._channel_names(
            facility,
            recipients(request, broadcast=broadcast, groups=groups, users=users, sessions=sessions),
        )

    def get_prefix(self) -> str:
        """Return the text with which all names begin: the prefix and a colon, or nothing."""
        return f"{self._prefix}:" if self._prefix else ""

    def _commands(self, message: object, expire: int | None) -> list[Command]:
        """
        List the commands that publish *message*.

        A message is stored before it is published, so a client that connects in between gets it.

        Raises:
            ValueError: *message* is not a message, or *expire* is not a whole number.
        """
        payload = message if isinstance(message, RedisMessage) else self._convert(message)
        seconds = self._expire if expire is None else check_seconds(expire)
        commands: list[Command] = []
        for channel in self.channels:
            if seconds > 0:
                key = stored_key(self._stored_prefix, channel)
                commands.append(("SETEX", key, str(seconds), payload))
            commands.append(("PUBLISH", channel, payload))
        return commands

    def _candidates(self, request: Any, facility: str, audience: str) -> tuple[bytes, ...]:
        """List the keys under which a message for *request* may be stored, narrowest first."""
        channels = self._channel_names(facility, owners_of(request, audience))
        return tuple(stored_key(self._stored_prefix, each) for each in channels)

    def _channel_names(self, facility: str, wanted: Iterable[Recipient]) -> tuple[bytes, ...]:
        found: dict[bytes, None] = {}
        for audience, owner in wanted:
            name = channel_name(self._prefix, facility, audience, owner)
            if name is None:
                # Anyone who has the key of a session can act as its user.
                shown = owner if audience is not Audience.SESSION else "..."
                _log.warning("no channel for %s %r: a name has no colon", audience.value, shown)
            else:
                found[name] = None
        return tuple(found)

    def _convert(self, message: object) -> RedisMessage:
        converted = None if isinstance(message, list) else _message(message, self._heartbeat)
        if converted is None:
            if isinstance(message, (str, bytes, bytearray, memoryview)):
                raise ValueError("this is the text of the heartbeat, clients would not see it")
            kind = type(message).__name__
            raise ValueError(f"a message is str, bytes or RedisMessage, not {kind}")
        return converted


def count_receivers(commands: Sequence[Command], replies: Sequence[object]) -> int:
    """
    Read the replies to the commands of a publisher.

    A refusal to store, for want of memory or rights, is logged as a warning: the message has been
    published all the same.

    Returns:
        The number of subscribers that heard it, summed over the channels. A gateway is one
        subscriber.

    Raises:
        Exception: The first error reply to PUBLISH.
    """
    heard = 0
    refusal = None
    for command, reply in zip(commands, replies, strict=True):
        if command[0] == "PUBLISH":
            if isinstance(reply, Exception):
                raise reply
            heard += int(str(reply))
        elif isinstance(reply, Exception):
            refusal = reply
    if refusal is not None:
        _log.warning(
            "Redis refuses to store messages, they are published only: %s", error_text(refusal)
        )
    return heard
