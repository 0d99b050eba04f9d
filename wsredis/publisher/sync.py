"""
Publish from any Python program: to everybody, to users, groups and sessions.

`RedisPublisher` has the constructor, the methods and the names in Redis of the one of
django-websocket-redis. It talks to Redis and never to a gateway, and needs redis-py (the extra
``publisher``); Twisted is not loaded. Django is only where a project is running already.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from wsredis.channels import Audience, channel_name
from wsredis.config import DEFAULT_URL, RedisConfig, all_settings
from wsredis.config.ws4redis import MEMBER_OF, project_value
from wsredis.errors import ConfigError

if TYPE_CHECKING:
    from typing import Self

    import redis
    import redis.asyncio

__all__ = ["SELF", "AsyncRedisPublisher", "BasePublisher", "RedisMessage", "RedisPublisher"]

#: Seconds for one attempt to connect, and for one answer of Redis.
TIMEOUT = 5.0

_log = logging.getLogger(__name__)

_SETTINGS = {setting.name: setting for setting in all_settings()}

#: The words of one command of Redis.
Command = tuple[str | bytes, ...]


class _SelfType:
    def __repr__(self) -> str:
        return "SELF"


#: Stands among users for that of the request, among groups for its groups, among sessions for its
#: session.
SELF = _SelfType()


class RedisMessage(bytes):
    """
    A message as it is published: text as UTF-8, bytes as they are.

    It is not needed, since publishers take `str` and `bytes`. Called with the text of the
    heartbeat, or with what is no text and no bytes, it gives None, as in django-websocket-redis.
    """

    def __new__(cls, value: object) -> RedisMessage | None:  # type: ignore[misc]
        """Make one, or None."""
        return _message(value, _setting("heartbeat"))


def _message(value: object, heartbeat: str | None) -> RedisMessage | None:
    if isinstance(value, list):
        # What a subscriber of redis-py reads. Nobody's heartbeat comes this way.
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
    What publishers have in common: who is meant, and which commands reach them.

    A name is a `str`, or anything whose ``str()`` is the name, such as a user of Django. *groups*,
    *users* and *sessions* take any iterable of names, or one name alone. `SELF` among them, or True
    alone, stands for the user, the groups or the session of *request*; where there is none, as for
    an anonymous visitor, it stands for nothing. None and the empty name stand for nothing either. A
    name with a colon gets no channel, and a logged warning: it could be mistaken for another.

    Args:
        request: Django's, or one with ``user`` and ``session`` like it. Only used for `SELF`.
        facility: The topic. Not given: the literal text ``{facility}``, to which nobody listens.
        broadcast: Whether everybody who listens is meant.
        groups: Whose members are meant.
        users: Who are meant, by their names.
        sessions: Which sessions are meant, by their keys.
        prefix: Put before every name, with a colon; the gateway must have the same. Empty puts
            nothing. None: see below.
        expire: Seconds that messages are kept where `publish_message` is not told. 0 or less keeps
            none. None: see below.
        heartbeat: The text that is no message. Empty: there is none. None: see below.

    What is None is taken from ``WS4REDIS_PREFIX``, ``WS4REDIS_EXPIRE`` (where None is 0) and
    ``WS4REDIS_HEARTBEAT`` of the Django project that is running, if it has them; else from
    ``WSREDIS_PREFIX``, ``WSREDIS_EXPIRE`` and ``WSREDIS_HEARTBEAT`` of the environment; else it is
    no prefix, 3600 seconds, no heartbeat.

    Attributes:
        channels: The names of the channels that are published to, each once.

    Raises:
        ValueError: An argument is of no use.
        ConfigError: A setting is of no use; the text names it.
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
        expire: int | None = None,
        heartbeat: str | None = None,
    ) -> None:
        self._prefix: str = _checked("prefix", prefix)
        self._expire: int = _setting("expire") if expire is None else _whole(expire)
        self._heartbeat: str | None = _checked("heartbeat", heartbeat)
        wanted = [(Audience.BROADCAST, "")] if broadcast else []
        for audience, names, own in (
            (Audience.GROUP, groups, _groups_of),
            (Audience.USER, users, _user_of),
            (Audience.SESSION, sessions, _session_of),
        ):
            named = _names(f"{audience.value}s", names, own, request)
            wanted += [(audience, name) for name in named]
        self.channels = self._named(facility, wanted)

    def get_prefix(self) -> str:
        """What all names begin with: the prefix and a colon, or nothing."""
        return f"{self._prefix}:" if self._prefix else ""

    def _commands(self, message: object, expire: int | None) -> list[Command]:
        """
        What to send to Redis.

        A message is stored before it is published: a client that connects in between has it.

        Raises:
            ValueError: *message* is none, or *expire* is no whole number.
        """
        payload = message if isinstance(message, RedisMessage) else self._converted(message)
        seconds = self._expire if expire is None else _whole(expire)
        commands: list[Command] = []
        for channel in self.channels:
            if seconds > 0:
                commands.append(("SETEX", channel, str(seconds), payload))
            commands.append(("PUBLISH", channel, payload))
        return commands

    def _candidates(self, request: Any, facility: str, audience: str) -> tuple[bytes, ...]:
        """The names under which a message for *request* may be stored, the narrowest first."""
        wanted = []
        for each, own in (
            (Audience.SESSION, _session_of),
            (Audience.USER, _user_of),
            (Audience.GROUP, _groups_of),
            (Audience.BROADCAST, lambda _: [""]),
        ):
            if audience in (each.value, "any"):
                wanted += [(each, name) for name in own(request)]
        return self._named(facility, wanted)

    def _named(self, facility: str, wanted: Iterable[tuple[Audience, str]]) -> tuple[bytes, ...]:
        found: dict[bytes, None] = {}
        for audience, owner in wanted:
            name = channel_name(self._prefix, facility, audience, owner)
            if name is None:
                _log.warning("no channel for %s %r: a name has no colon", audience.value, owner)
            else:
                found[name] = None
        return tuple(found)

    def _converted(self, message: object) -> RedisMessage:
        converted = None if isinstance(message, list) else _message(message, self._heartbeat)
        if converted is None:
            if isinstance(message, (str, bytes, bytearray, memoryview)):
                raise ValueError("this is the text of the heartbeat, clients would not see it")
            what = type(message).__name__
            raise ValueError(f"a message is str, bytes or RedisMessage, not {what}")
        return converted


def receivers(commands: Sequence[Command], replies: Sequence[object]) -> int:
    """
    Read what Redis answered.

    A Redis that refuses to store, for want of memory or rights, has published all the same: that is
    worth a warning.

    Returns: How many subscribers heard it, summed over the channels. A gateway is one subscriber.
    Raises:
        Exception: The first refusal of PUBLISH.
    """
    heard = 0
    refused = None
    for words, reply in zip(commands, replies, strict=True):
        if words[0] == "PUBLISH":
            if isinstance(reply, Exception):
                raise reply
            heard += int(str(reply))
        elif isinstance(reply, Exception):
            refused = reply
    if refused is not None:
        _log.warning("Redis refuses to store messages, they are published only: %s", refused)
    return heard


class RedisPublisher(BasePublisher):
    """
    Publishes through redis-py. Arguments are those of `BasePublisher` and one more, all by keyword.

    It may be made anew for each message, as is usual in views: connections belong to the process,
    which has one pool of them for each Redis, and outlive it. Threads may share it.

    Nothing is sent twice: where the connection breaks, redis-py's exception says so, and whether
    the message was published is then not known. An answer is awaited for 5 seconds.

    Args:
        connection: A client of redis-py, or a URL as ``redis://host:port/db``. None: Redis is
            where ``WS4REDIS_CONNECTION`` of the Django project says, if it does; else where
            ``WSREDIS_REDIS`` of the environment says; else at ``redis://localhost:6379``.
            ``WSREDIS_REDIS_PASSWORD``, ``WSREDIS_REDIS_PASSWORD_FILE`` and ``WSREDIS_REDIS_CA``
            belong to ``WSREDIS_REDIS``.
    """

    def __init__(self, *, connection: redis.Redis | str | None = None, **names: Any) -> None:
        super().__init__(**names)
        if connection is None or isinstance(connection, str):
            connection = _shared(_target(connection))
        self._connection: Any = connection

    def publish_message(self, message: str | bytes, expire: int | None = None) -> int:
        """
        Publish, and keep the message for those who come later. One round trip.

        A gateway is one subscriber of a channel, however many clients it has there.

        Args:
            expire: Seconds that it is kept. 0 or less: it is not. None: as the publisher was told.
        Returns: How many subscribers heard it, summed over the channels.
        Raises:
            ValueError: *message* is none, or the heartbeat; *expire* is no whole number.
            redis.RedisError: Redis could not be reached, did not answer, or refused to publish.
        """
        return self.pipeline_publish_message(message, expire, transaction=False)

    def pipeline_publish_message(
        self, message: str | bytes, expire: int | None = None, transaction: bool = True
    ) -> int:
        """
        As `publish_message`.

        Args:
            transaction: Whether Redis does all of it at once, or nothing where it refuses a part.
        """
        commands = self._commands(message, expire)
        if not commands:
            return 0
        with self._connection.pipeline(transaction=transaction) as together:
            for words in commands:
                together.execute_command(*words)
            return receivers(commands, together.execute(raise_on_error=False))

    def fetch_message(self, request: Any, facility: str, audience: str = "any") -> bytes | None:
        """
        Read the message that is kept for a visitor. One round trip.

        Args:
            request: The visitor's. None: nobody's.
            audience: ``session``, ``user``, ``group`` or ``broadcast``; ``any`` looks at all, in
                this order. Another word finds nothing.
        Returns: The first that is there and not empty, else None.
        """
        names = self._candidates(request, facility, audience)
        values = self._connection.mget(names) if names else []
        return next(filter(None, values), None)


class AsyncRedisPublisher(BasePublisher):
    """
    As `RedisPublisher`, for asyncio, through redis.asyncio.

    Clients of asyncio belong to one event loop. A publisher that was not given one has its own, to
    be closed with `aclose`, or by ``async with``. Where many publishers are made, make one
    client for all of them and give it to each.

    In a coroutine Django allows no access to its database: give names rather than `SELF`.

    Args:
        connection: A client of redis.asyncio, or a URL. None: as for `RedisPublisher`.
    """

    def __init__(self, *, connection: redis.asyncio.Redis | str | None = None, **names: Any):
        super().__init__(**names)
        self._owned = connection is None or isinstance(connection, str)
        if connection is None or isinstance(connection, str):
            connection = _client(_target(connection), asynchronous=True)
        self._connection: Any = connection

    async def publish_message(self, message: str | bytes, expire: int | None = None) -> int:
        """See `RedisPublisher.publish_message`."""
        return await self.pipeline_publish_message(message, expire, transaction=False)

    async def pipeline_publish_message(
        self, message: str | bytes, expire: int | None = None, transaction: bool = True
    ) -> int:
        """See `RedisPublisher.pipeline_publish_message`."""
        commands = self._commands(message, expire)
        if not commands:
            return 0
        async with self._connection.pipeline(transaction=transaction) as together:
            for words in commands:
                together.execute_command(*words)
            return receivers(commands, await together.execute(raise_on_error=False))

    async def fetch_message(
        self, request: Any, facility: str, audience: str = "any"
    ) -> bytes | None:
        """See `RedisPublisher.fetch_message`."""
        names = self._candidates(request, facility, audience)
        values = await self._connection.mget(names) if names else []
        return next(filter(None, values), None)

    async def aclose(self) -> None:
        """Close the connections, unless they were given. Harmless when done twice."""
        if self._owned:
            await self._connection.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def connect(config: RedisConfig) -> redis.Redis:
    """
    A client of redis-py for the Redis of these settings. Nothing is sent yet.

    Raises:
        ConfigError: A setting is of no use, or redis-py is missing. No password shows.
    """
    client: redis.Redis = _client(_arguments(config), asynchronous=False)
    return client


def connect_as_project(timeout: float) -> redis.Redis:
    """
    This process's client of redis-py for the Redis to which a `RedisPublisher` publishes.

    Args:
        timeout: Seconds for one attempt to connect, and for one answer.
    Raises:
        ConfigError: A setting is of no use, or redis-py is missing. No password shows.
    """
    patience = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    client: redis.Redis = _shared({**_target(None), **patience})
    return client


def redis_of_environment() -> RedisConfig:
    """
    Where the variables ``WSREDIS_REDIS...`` say that Redis is.

    Raises:
        ConfigError: One is of no use; the text names it.
    """
    return RedisConfig(
        url=_variable("redis"),
        ca=_variable("redis-ca"),
        password_file=_variable("redis-password-file"),
        password=_variable("redis-password"),
    )


def _names(
    label: str, names: object, own: Callable[[Any], Iterable[object]], request: Any
) -> list[str]:
    if names is None or names is False:
        return []
    if names is True:
        names = (SELF,)
    elif isinstance(names, str) or _is_self(names):
        names = (names,)
    if isinstance(names, (bytes, bytearray)) or not isinstance(names, Iterable):
        raise ValueError(f"{label} must be a list of names, not {type(names).__name__}")
    found: dict[str, None] = {}
    for name in names:
        if isinstance(name, (bytes, bytearray)):
            raise ValueError(f"{label}: a name is text, not bytes")
        for each in own(request) if _is_self(name) else (name,):
            if each is not None and each != "":
                found[str(each)] = None
    return list(found)


def _is_self(name: object) -> bool:
    # That of django-websocket-redis is a stranger, and means the same.
    return name is SELF or type(name).__name__ == "SELF_TYPE"


def _user(request: Any) -> Any:
    """The user, or None for an anonymous one, as without a request or a login."""
    user = getattr(request, "user", None)
    return user if getattr(user, "is_authenticated", False) else None


def _user_of(request: Any) -> list[str]:
    user = _user(request)
    return [] if user is None else [user.get_username()]


def _groups_of(request: Any) -> list[str]:
    user = _user(request)
    if user is None:
        return []
    session = getattr(request, "session", None)
    kept = None if session is None else session.get(MEMBER_OF)
    if kept is not None:
        return list(kept)
    groups = getattr(user, "groups", None)
    return [] if groups is None else [group.name for group in groups.all()]


def _session_of(request: Any) -> list[str]:
    key = getattr(getattr(request, "session", None), "session_key", None)
    return [key] if key else []


def _whole(value: object) -> int:
    """
    Check seconds.

    Raises:
        ValueError: Redis keeps for whole seconds; 0.5 would have to become 0 or 1.
    """
    if type(value) is not int:
        raise ValueError(f"expire: {value!r} is not a whole number of seconds")
    return value


def _checked(name: str, given: str | None) -> Any:
    return _setting(name) if given is None else _SETTINGS[name].read(given, name)


def _setting(name: str) -> Any:
    """Return the value of Django, else of the environment, else the default of the gateway."""
    project, name_there = _project(), f"WS4REDIS_{name.upper()}"
    if hasattr(project, name_there):
        return project_value(project, name_there)
    return _variable(name)


def _variable(name: str) -> Any:
    setting = _SETTINGS[name]
    value = os.environ.get(setting.variable)
    return setting.read(value, setting.variable) if value else setting.default


def _project() -> Any:
    """The settings of the Django project that this is a part of. None: of none."""
    chosen = bool(os.environ.get("DJANGO_SETTINGS_MODULE"))
    if not chosen and "django.conf" not in sys.modules:
        return None
    try:
        from django.conf import settings
    except ImportError:
        return None
    return settings if chosen or settings.configured else None


def _target(url: str | None) -> dict[str, Any]:
    """Arguments of redis-py, with the URL as ``url``: of *url*, else of Django, else of ours."""
    if url is not None:
        return {"url": url}
    connection = project_value(_project(), "WS4REDIS_CONNECTION")
    if connection is not None:
        return dict(connection)
    return _arguments(redis_of_environment())


def _arguments(config: RedisConfig) -> dict[str, Any]:
    arguments: dict[str, Any] = {"url": config.url or DEFAULT_URL}
    password = config.read_password()
    if password is not None:
        arguments["password"] = password
    if config.ca is not None:
        arguments["ssl_ca_certs"] = config.ca
    return arguments


#: The clients of this process, each with its pool, by their arguments.
_clients: dict[str, Any] = {}


def _shared(arguments: dict[str, Any]) -> Any:
    key = repr(sorted(arguments.items()))
    if key not in _clients:
        # Two threads may come at once; the pool that is dropped has no connection yet.
        _clients.setdefault(key, _client(arguments, asynchronous=False))
    return _clients[key]


def _library(asynchronous: bool) -> tuple[Any, dict[str, Any]]:
    """redis-py or its half for asyncio, and what its clients are told if nobody says otherwise."""
    library: Any
    retrying: Any
    try:
        if asynchronous:
            import redis.asyncio as library
            import redis.asyncio.retry as retrying
        else:
            import redis as library
            import redis.retry as retrying
        from redis.backoff import NoBackoff
    except ImportError:
        raise ConfigError("redis-py is missing: pip install 'wsredis[publisher]'") from None
    return library, {
        "socket_timeout": TIMEOUT,
        "socket_connect_timeout": TIMEOUT,
        # A command that is sent again may be executed twice.
        "retry": retrying.Retry(NoBackoff(), 0),
        "protocol": 2,
    }


def _client(arguments: dict[str, Any], *, asynchronous: bool) -> Any:
    """
    A client of redis-py.

    Raises:
        ConfigError: *arguments* make none, or redis-py is missing. No password shows.
    """
    library, defaults = _library(asynchronous)
    url = arguments.get("url")
    if url is None:
        try:
            return library.Redis(**{**defaults, **arguments})
        except TypeError as error:
            raise ConfigError(f"WS4REDIS_CONNECTION: {error}") from None
    if url == "embedded":
        raise ConfigError("redis: 'embedded' is for the gateway; name the URL that it logs")
    if url.startswith("rediss://"):
        defaults["ssl_check_hostname"] = True
    elif "ssl_ca_certs" in arguments:
        raise ConfigError("redis-ca: only a rediss:// URL has use for it")
    try:
        parts = urlsplit(url)
        database = "" if parts.scheme == "unix" else parts.path.strip("/")
        # redis-py would take 0 for what is no number.
        int(database or 0)
        client = library.Redis.from_url(**{**defaults, **arguments})
        # Else a wrong parameter would be found when the first message is sent.
        client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)
    except (TypeError, ValueError):
        raise ConfigError(
            "redis: this is not a redis://, rediss:// or unix:// URL, or has a wrong parameter"
        ) from None
    return client
