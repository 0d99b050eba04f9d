"""
The settings of a Django project for WebSockets, under the names of django-websocket-redis.

Each setting has one meaning, and it is here. The gateway, publishers, pages and the system checks
of Django share it: what one of them takes, all of them take. Neither Django nor Twisted is
imported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib import import_module
from ssl import CERT_REQUIRED
from typing import Any
from urllib.parse import quote, urlsplit

from wsredis.config.project_hosts import (
    LOCAL_HOSTS,
    allowed_hosts,
    script_name,
    secure_header,
    trusted_origins,
)
from wsredis.config.redis_url import format_url, parse_url
from wsredis.config.subscriber import SubscriberClass, read_subscriber
from wsredis.config.values import (
    Check,
    channel_prefix,
    integer,
    optional_string,
    string,
    url_prefix,
)
from wsredis.errors import ConfigError

__all__ = [
    "MEANINGS",
    "MEMBER_OF",
    "SUBSCRIBER",
    "gateway_values",
    "is_of_ws4redis",
    "project_value",
    "redis_values",
]

#: The session variable in which ws4redis stores the groups of the user.
MEMBER_OF = "ws4redis:memberof"

#: The class of which ws4redis makes its subscribers. It is never imported here.
SUBSCRIBER = "ws4redis.subscriber.RedisSubscriber"

_HOST = re.compile(r"[\w.-]+|[0-9A-Fa-f:.]+")

_seconds = integer(-(2**63))


def is_of_ws4redis(application: object) -> bool:
    """Tell whether *application*, a dotted name, is a server of django-websocket-redis."""
    return isinstance(application, str) and application.partition(".")[0] == "ws4redis"


def project_value(project: object, name: str, default: Any = None) -> Any:
    """
    Read one setting of a project.

    Args:
        project: The settings of the project, or None if there is no project.
        name: One of `MEANINGS`.
        default: The value if the project does not have the setting.

    Returns:
        The value in the form that the function in `MEANINGS` gives it.

    Raises:
        ConfigError: The value is not allowed. The message begins with *name*, and contains neither
            a password nor a part of one.
    """
    if not hasattr(project, name):
        return default
    try:
        return MEANINGS[name](getattr(project, name))
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None


def gateway_values(project: object) -> tuple[dict[str, Any], list[str]]:
    """
    Read all settings of a project that are settings of the gateway too.

    Returns:
        The values by the names of settings of the gateway, checked; those that the project does
        not have are missing. And the arguments of ``WS4REDIS_CONNECTION`` that only redis-py
        understands.

    Raises:
        ConfigError: See `project_value`.
    """
    values: dict[str, Any] = {}
    for name, (setting, convert) in _GATEWAY.items():
        if hasattr(project, name):
            values[setting] = convert(project_value(project, name))
    if values.get("allow-host") == () and getattr(project, "DEBUG", False):
        values["allow-host"] = LOCAL_HOSTS
    ignored: list[str] = []
    if hasattr(project, "WS4REDIS_CONNECTION"):
        arguments = project_value(project, "WS4REDIS_CONNECTION")
        redis, ignored = redis_values(arguments)
        values.update(redis)
    return values, ignored


# -- Meanings: each function raises ValueError, without a password in its message


def _websocket_url(value: Any) -> str:
    """A path on the host of the page, or a whole URL. Facilities are appended to it."""
    text = string(value)
    parts = urlsplit(text)
    if (parts.scheme or parts.netloc) and (parts.scheme not in ("ws", "wss") or not parts.netloc):
        raise ValueError(f"{text!r} is neither a path nor a whole ws:// or wss:// URL")
    if parts.query or parts.fragment:
        raise ValueError(f"{text!r} has more than a path")
    if not (parts.path.startswith("/") and parts.path.endswith("/")):
        raise ValueError(f"{text!r} does not start and end with a slash")
    return text


def _prefix(value: Any) -> str:
    """The prefix of all channels. Anything false is no prefix; a number is its digits."""
    if isinstance(value, (bytes, bytearray)):
        raise ValueError(f"{value!r} is not a string")
    return str(channel_prefix(str(value or "")))


def _expire(value: Any) -> int:
    """Whole seconds, also as a string. None and less than 0 are 0, which stores no message."""
    if value is None:
        return 0
    try:
        return max(0, int(_seconds(value)))
    except ValueError:
        raise ValueError(f"{value!r} is not a whole number of seconds") from None


def _hook(value: Any) -> Callable[..., Any] | None:
    """Return a function that is given itself or by its dotted name. If None, there is no hook."""
    hook = _imported(value) if isinstance(value, str) else value
    if hook is not None and not callable(hook):
        raise ValueError("this is neither a function nor the name of one")
    found: Callable[..., Any] | None = hook
    return found


def _subscriber(value: Any) -> SubscriberClass | None:
    """Look at the named class. If None, it is the original's, which allows all flags."""
    if value == SUBSCRIBER:
        return None
    return read_subscriber(_imported(value) if isinstance(value, str) else value)


def _connection(value: Any) -> dict[str, Any]:
    """
    Arguments of redis-py. One that is missing or None has redis-py's default.

    Which other arguments there are is known to redis-py only: publishers find out.
    """
    if not isinstance(value, Mapping):
        raise ValueError("this is not a dictionary")
    given = {str(name): each for name, each in value.items() if each is not None}
    if "connection_pool" in given:
        raise ValueError("'connection_pool' is not known to the gateway: name 'host' and 'port'")
    if "ssl_cert_reqs" in value and value["ssl_cert_reqs"] is None:
        # The one argument whose None is not the default: it is ssl.CERT_NONE.
        given["ssl_cert_reqs"] = "none"
    if "url" in given:
        given = _without_url(given)
    for name in ("host", "unix_socket_path", "username", "ssl_ca_certs"):
        if not isinstance(given.get(name, ""), str):
            raise ValueError(f"{name!r} is not a string")
    for name in ("port", "db"):
        if name in given:
            given[name] = _number(name, given[name])
    if "password" in given:
        given["password"] = _password(given["password"])
    if "unix_socket_path" not in given and not _HOST.fullmatch(given.get("host", "localhost")):
        raise ValueError("'host' is not the name of a host")
    return given


def _without_url(given: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the URL, which hosting platforms give, by the arguments that it stands for."""
    others = sorted({"host", "port", "db", "unix_socket_path", "ssl"} & given.keys())
    if others:
        raise ValueError(f"'url' and {others[0]!r} exclude each other")
    url = given["url"]
    try:
        target = parse_url(url if isinstance(url, str) else "")
    except ConfigError as error:
        raise ValueError(f"'url': {str(error).removeprefix('redis: ')}") from None
    found: dict[str, Any] = {"db": target.database}
    if target.path is not None:
        found["unix_socket_path"] = target.path
    else:
        found.update(host=target.host, port=target.port)
    if target.tls:
        found.update(ssl=True, ssl_check_hostname=True)
    if target.username is not None:
        found["username"] = target.username
    if target.password is not None:
        found["password"] = target.password
    return {**{name: each for name, each in given.items() if name != "url"}, **found}


#: Every setting of a project that is read, and the function that turns what the project gives into
#: the form that is used.
MEANINGS: dict[str, Check] = {
    "WEBSOCKET_URL": _websocket_url,
    "WS4REDIS_CONNECTION": _connection,
    "WS4REDIS_PREFIX": _prefix,
    "WS4REDIS_STORED_PREFIX": _prefix,
    "WS4REDIS_EXPIRE": _expire,
    "WS4REDIS_HEARTBEAT": optional_string,
    "WS4REDIS_ALLOWED_CHANNELS": _hook,
    "WS4REDIS_PROCESS_REQUEST": _hook,
    "WS4REDIS_SUBSCRIBER": _subscriber,
    "CSRF_TRUSTED_ORIGINS": trusted_origins,
    "ALLOWED_HOSTS": allowed_hosts,
    "USE_X_FORWARDED_HOST": bool,
    "SECURE_PROXY_SSL_HEADER": secure_header,
    "FORCE_SCRIPT_NAME": script_name,
}


# -- The gateway


def _path_of(url: str) -> str:
    # Percent-encoded in the way of browsers.
    return str(url_prefix(_quoted(urlsplit(url).path)))


def _quoted(path: str) -> str:
    return quote(path, safe="/!$&'()*+,;=:@~")


def _same(value: Any) -> Any:
    return value


#: Settings of a project by the setting of the gateway, and the change of form that it needs.
_GATEWAY: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "WEBSOCKET_URL": ("url-prefix", _path_of),
    "WS4REDIS_PREFIX": ("prefix", _same),
    "WS4REDIS_STORED_PREFIX": ("stored-prefix", _same),
    "WS4REDIS_EXPIRE": ("expire", _same),
    "WS4REDIS_HEARTBEAT": ("heartbeat", _same),
    "CSRF_TRUSTED_ORIGINS": ("allow-origin", _same),
    "ALLOWED_HOSTS": ("allow-host", _same),
    "USE_X_FORWARDED_HOST": ("forwarded-host", _same),
    "SECURE_PROXY_SSL_HEADER": ("secure-header", _same),
    "FORCE_SCRIPT_NAME": ("script-name", _quoted),
}


def redis_values(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """
    Read the settings of the gateway from arguments of redis-py.

    Args:
        arguments: ``WS4REDIS_CONNECTION``, as `project_value` returns it.

    Returns:
        The values by the names of settings, and the arguments that are no setting.
    """
    left = dict(arguments)
    password = left.pop("password", None)
    username = left.pop("username", None)
    database = left.pop("db", 0)
    path = left.pop("unix_socket_path", None)
    host = left.pop("host", "localhost")
    port = left.pop("port", 6379)
    tls = bool(left.pop("ssl", False))
    # The gateway always checks it.
    left.pop("ssl_check_hostname", None)
    ca = left.pop("ssl_ca_certs", None)
    if left.get("ssl_cert_reqs") in ("required", CERT_REQUIRED):
        del left["ssl_cert_reqs"]
    if not tls:
        # redis-py does not look at them either.
        left = {name: each for name, each in left.items() if not name.startswith("ssl_")}
    url = format_url(host=host, port=port, path=path, tls=tls, username=username, database=database)
    values: dict[str, Any] = {"redis": url}
    if password:
        values["redis-password"] = password
    if tls and ca is not None and path is None:
        values["redis-ca"] = ca
    return values, sorted(left)


def _number(name: str, value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = -1
    if not 0 <= number <= 65535:
        raise ValueError(f"{name!r} is not a number from 0 to 65535")
    return number


def _password(value: Any) -> str:
    try:
        # redis-py sends the digits of a number.
        text = str(value) if type(value) is int else value
        text = text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError:
        text = None
    if not isinstance(text, str):
        raise ValueError("'password' is not a string")
    return text


def _imported(path: str) -> Any:
    """Import ``package.module.name``, as Django does."""
    module, _, name = path.rpartition(".")
    try:
        if not module:
            raise ImportError("it is not written as package.module.name")
        found = import_module(module)
        if not hasattr(found, name):
            raise ImportError(f"the module has no {name}")
        return getattr(found, name)
    except (Exception, SystemExit) as error:
        # Other errors may quote values of other settings.
        text = f": {' '.join(str(error).split())}" if isinstance(error, ImportError) else ""
        kind = type(error).__name__
        raise ValueError(f"{path!r} cannot be imported ({kind}{text})") from None
