"""Clients of redis-py, which is the extra ``publisher``; it is loaded when the first is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from wsredis.config import RedisConfig
from wsredis.config.redis_url import DEFAULT_URL, parse_url
from wsredis.errors import ConfigError
from wsredis.publisher.settings import redis_arguments_of_project, redis_of_environment

if TYPE_CHECKING:
    import redis
    import redis.asyncio

__all__ = ["TIMEOUT", "async_client", "connect", "connect_as_project", "shared_client"]

#: Seconds for one attempt to connect, and for one answer of Redis.
TIMEOUT = 5.0

#: The clients of this process, each with its connection pool, by their arguments.
_clients: dict[str, Any] = {}


def connect(config: RedisConfig) -> redis.Redis:
    """
    Make a client of redis-py. Nothing is sent yet.

    Raises:
        ConfigError: A setting cannot be used, or redis-py is missing. No password shows.
    """
    client: redis.Redis = _make(_arguments(config), asynchronous=False)
    return client


def connect_as_project(timeout: float) -> redis.Redis:
    """
    Return the client of this process for the Redis to which a `RedisPublisher` publishes.

    Args:
        timeout: Seconds for one attempt to connect, and for one answer.

    Raises:
        ConfigError: A setting cannot be used, or redis-py is missing. No password shows.
    """
    timeouts = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    client: redis.Redis = _shared({**_chosen(None), **timeouts})
    return client


def shared_client(url: str | None) -> redis.Redis:
    """
    Return the client of this process for a Redis.

    Args:
        url: If None, the Redis of the Django project, else of the environment, else at
            `DEFAULT_URL`.

    Raises:
        ConfigError: A setting cannot be used, or redis-py is missing. No password shows.
    """
    client: redis.Redis = _shared(_chosen(url))
    return client


def async_client(url: str | None) -> redis.asyncio.Redis:
    """
    Make a client of redis.asyncio, which belongs to one event loop.

    Args:
        url: See `shared_client`.

    Raises:
        ConfigError: A setting cannot be used, or redis-py is missing. No password shows.
    """
    client: redis.asyncio.Redis = _make(_chosen(url), asynchronous=True)
    return client


def _chosen(url: str | None) -> dict[str, Any]:
    """Return arguments of redis-py, with the URL as ``url``."""
    if url is not None:
        return {"url": url}
    arguments = redis_arguments_of_project()
    return _arguments(redis_of_environment()) if arguments is None else arguments


def _arguments(config: RedisConfig) -> dict[str, Any]:
    url = config.url or DEFAULT_URL
    arguments: dict[str, Any] = {"url": url}
    password = config.read_password()
    target = parse_url(url, with_options=True)
    # A password in the URL goes before all.
    if target.password is None and config.password_file is not None:
        arguments["url"] = _without_user(url)
        arguments["credential_provider"] = _PasswordFile(config, target.username)
    elif password is not None:
        arguments["password"] = password
    if config.ca is not None:
        arguments["ssl_ca_certs"] = config.ca
    return arguments


class _PasswordFile:
    """
    A credential provider of redis-py: the file is read for each connection that is made.

    Raises:
        ConfigError: The file cannot be read.
    """

    def __init__(self, config: RedisConfig, username: str | None) -> None:
        self._config = config
        self._username = username

    def __repr__(self) -> str:
        # Clients are told apart by it.
        return f"<password file {self._config.password_file!r} of {self._username!r}>"

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return the user, if there is one, and the password."""
        password = self._config.read_password()
        assert password is not None
        return (password,) if self._username is None else (self._username, password)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """Do the same for redis.asyncio."""
        return self.get_credentials()


def _without_user(url: str) -> str:
    netloc = urlsplit(url).netloc
    # Not put together again by urllib, which would take the slashes from unix:///path.
    return url.replace(f"//{netloc}", f"//{netloc.rpartition('@')[2]}", 1)


def _shared(arguments: dict[str, Any]) -> Any:
    key = repr(sorted(arguments.items()))
    if key not in _clients:
        # Two threads may come at once; the client that is dropped has no connection yet.
        _clients.setdefault(key, _make(arguments, asynchronous=False))
    return _clients[key]


def _library(asynchronous: bool) -> tuple[Any, dict[str, Any]]:
    """Load redis-py or its half for asyncio, and make the default arguments of its clients."""
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


def _make(arguments: dict[str, Any], *, asynchronous: bool) -> Any:
    """
    Make a client of redis-py.

    Raises:
        ConfigError: *arguments* cannot be used, or redis-py is missing. No password shows.
    """
    library, defaults = _library(asynchronous)
    url = arguments.get("url")
    if url is None:
        try:
            return library.Redis(**{**defaults, **arguments})
        except TypeError as error:
            raise ConfigError(f"WS4REDIS_CONNECTION: {error}") from None
    if parse_url(url, with_options=True).tls:
        defaults["ssl_check_hostname"] = True
    elif "ssl_ca_certs" in arguments:
        raise ConfigError("redis-ca: only a rediss:// URL has use for it")
    try:
        client = library.Redis.from_url(**{**defaults, **arguments})
        # Otherwise a wrong option would be found when the first message is sent.
        client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)
    except (TypeError, ValueError):
        raise ConfigError("redis: the URL has an option that redis-py does not know") from None
    return client
