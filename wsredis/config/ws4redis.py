"""
What a Django project says about WebSockets, in the words of django-websocket-redis.

Neither Django nor Twisted is loaded: publishers, pages and the gateway read the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from wsredis.config.redis_url import format_url

__all__ = ["MEMBER_OF", "SUBSCRIBER", "redis_settings"]

#: The session variable in which ws4redis keeps the groups of the user.
MEMBER_OF = "ws4redis:memberof"

#: The class of which ws4redis makes its subscribers. It is not imported: all channels are its own.
SUBSCRIBER = "ws4redis.subscriber.RedisSubscriber"

_HOST = re.compile(r"[\w.-]+|[0-9A-Fa-f:.]+")


def redis_settings(connection: Any) -> tuple[dict[str, Any], list[str]]:
    """
    Translate ``WS4REDIS_CONNECTION``: arguments of redis-py. What is missing is as it has it.

    Returns: Values by the names of settings of the gateway, and the arguments without a meaning
        there.
    Raises:
        ValueError: One of them cannot be understood. Its value does not show.
    """
    if not isinstance(connection, Mapping):
        raise ValueError("this is not a dictionary")
    left = {str(name): value for name, value in connection.items() if value is not None}
    password = left.pop("password", None)
    username = left.pop("username", None)
    database = _number("db", left.pop("db", 0))
    path = left.pop("unix_socket_path", None)
    host = str(left.pop("host", "localhost"))
    port = _number("port", left.pop("port", 6379))
    tls = bool(left.pop("ssl", False))
    ca = left.pop("ssl_ca_certs", None)
    if path is None and not _HOST.fullmatch(host):
        raise ValueError("'host' is not the name of a host")
    url = format_url(
        host=host,
        port=port,
        path=None if path is None else str(path),
        tls=tls,
        username=str(username) if username else None,
        database=database,
    )
    found: dict[str, Any] = {"redis": url}
    if password:
        found["redis-password"] = _text("password", password)
    if tls and ca is not None and path is None:
        found["redis-ca"] = str(ca)
    return found, sorted(left)


def _number(name: str, value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = -1
    if not 0 <= number <= 65535:
        raise ValueError(f"{name!r} is not a number from 0 to 65535")
    return number


def _text(name: str, value: Any) -> str:
    try:
        text = value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        text = None
    if not isinstance(text, str):
        raise ValueError(f"{name!r} is not a text")
    return text
