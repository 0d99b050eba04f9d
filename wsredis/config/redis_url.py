"""
Redis URLs: the one place that reads and writes them, for the gateway and for publishers.

Neither Twisted nor redis-py is loaded. `wsredis.brokers.redis.endpoint` makes an endpoint of a
target.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import parse_qs, quote, unquote, urlsplit

from wsredis.errors import ConfigError

__all__ = [
    "DEFAULT_URL",
    "RedisSettings",
    "RedisTarget",
    "error_text",
    "format_url",
    "parse_url",
    "target_of",
]

#: The URL that counts where none is given.
DEFAULT_URL = "redis://localhost:6379"

_DEFAULT_PORT = 6379

#: A host with a port, and perhaps a database, without a scheme: there is no password in it.
_ADDRESS = re.compile(r"[A-Za-z0-9.-]+:[0-9]{1,5}(?:/[0-9]{1,5})?")


class RedisSettings(Protocol):
    """The part of `wsredis.RedisConfig` that says where Redis is."""

    @property
    def url(self) -> str | None:
        """The URL. If None, it is `DEFAULT_URL`."""

    @property
    def ca(self) -> str | None:
        """Path of a PEM file with the CA. If None, the CAs of the system are trusted."""

    def read_password(self) -> str | None:
        """Return the password that counts where the URL has none. If None, there is none."""


#: Names of this machine. Two programs may have been told different ones.
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class RedisTarget:
    """
    One Redis server, and the login there.

    Attributes:
        name: The URL without credentials, for logs.
        host: Host name. None for a UNIX socket.
        port: TCP port. None for a UNIX socket.
        path: Path of the UNIX socket. None for TCP.
        tls: Whether TLS is used. The certificate of the server is verified.
        ca: Path of a PEM file with the CA of the server. If None, the CAs of the system are
            trusted.
        username: ACL user. If None, it is the default user.
        password: The password. If None, no AUTH is sent.
        read_password: Reads the password, which may have changed. If None, it cannot change.
        database: Number for SELECT. If 0, no SELECT is sent.
    """

    name: str
    host: str | None = None
    port: int | None = None
    path: str | None = None
    tls: bool = False
    ca: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    read_password: Callable[[], str | None] | None = field(default=None, repr=False, compare=False)

    @property
    def place(self) -> tuple[str | None, int | None, str | None, bool, int]:
        """Which server and database it is. The names of this machine are one and the same."""
        host = "localhost" if self.host in _LOCAL else self.host
        return host, self.port, self.path, self.tls, self.database

    def current_password(self) -> str | None:
        """
        Return the password of the next login. If None, no AUTH is sent.

        Raises:
            ConfigError: The file with the password cannot be read now.
        """
        return self.password if self.read_password is None else self.read_password()

    @property
    def cli_arguments(self) -> str:
        """The arguments with which redis-cli gets there, without the password."""
        if self.path is not None:
            args = ["-s", self.path]
        else:
            args = [] if self.host == "localhost" else ["-h", str(self.host)]
            args += [] if self.port == _DEFAULT_PORT else ["-p", str(self.port)]
            args += ["--tls"] if self.tls else []
        args += ["-n", str(self.database)] if self.database else []
        args += ["--user", self.username] if self.username else []
        args += ["--askpass"] if self.password is not None else []
        return shlex.join(args)


def parse_url(url: str, *, with_options: bool = False) -> RedisTarget:
    """
    Read a redis://, rediss:// or unix:// URL. User, password and path are percent-decoded.

    Args:
        with_options: Whether any URL may have a query, where redis-py takes options; they are not
            checked. Otherwise only ``?db=1`` of a unix:// URL is allowed.

    Raises:
        ConfigError: The URL cannot be used. The text shows no part of it, since a part of a
            password that is not percent-encoded may be anywhere; but a mere host with a port.
    """
    if url == "embedded":
        raise ConfigError("redis: 'embedded' is for the gateway; name the URL that it logs")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError("redis: this is not a URL") from None
    if parts.scheme not in ("redis", "rediss", "unix"):
        address = _ADDRESS.fullmatch(url)
        meant = f"; did you mean redis://{address[0]}?" if address else ""
        raise ConfigError(f"redis: a URL starts with redis://, rediss:// or unix://{meant}")
    if parts.fragment or (parts.query and parts.scheme != "unix" and not with_options):
        raise ConfigError("redis: the URL has a '?' or '#' where none belongs: write %3F or %23")
    username = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    if parts.scheme == "unix":
        if not parts.path or parts.hostname:
            raise ConfigError("redis: a unix:// URL needs the path of a socket, as unix:///path")
        return RedisTarget(
            name=f"unix://{parts.path}",
            path=unquote(parts.path),
            username=username,
            password=password,
            database=_database(parse_qs(parts.query).get("db", ["0"])[-1]),
        )
    host = parts.hostname or "localhost"
    return RedisTarget(
        name=f"{parts.scheme}://{_in_brackets(host)}:{port or _DEFAULT_PORT}",
        host=host,
        port=port or _DEFAULT_PORT,
        tls=parts.scheme == "rediss",
        username=username,
        password=password,
        database=_database(parts.path.strip("/") or "0"),
    )


def target_of(settings: RedisSettings) -> RedisTarget:
    """
    Read the settings of Redis. A password in the URL goes before the one of the settings.

    Raises:
        ConfigError: A setting cannot be used, or the file with the password cannot be read. No
            password shows.
    """
    target = parse_url(settings.url or DEFAULT_URL)
    if settings.ca is not None and not target.tls:
        raise ConfigError("redis-ca: only a rediss:// URL has use for it")
    password = target.password or settings.read_password()
    if target.username is not None and password is None:
        raise ConfigError("redis: the URL has a user, but there is no password")
    reader = None if target.password is not None else settings.read_password
    return replace(target, password=password, ca=settings.ca, read_password=reader)


def format_url(
    *,
    host: str = "localhost",
    port: int = _DEFAULT_PORT,
    path: str | None = None,
    tls: bool = False,
    username: str | None = None,
    database: int = 0,
) -> str:
    """
    Write the URL of a server, without a password.

    Args:
        path: Path of a UNIX socket. If None, it is TCP, to *host* and *port*.
        username: ACL user. If None or empty, it is the default user.
    """
    user = f"{quote(username, safe='')}@" if username else ""
    if path is not None:
        return f"unix://{user}{quote(path)}?db={database}"
    return f"{'rediss' if tls else 'redis'}://{user}{_in_brackets(host)}:{port}/{database}"


def _in_brackets(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _database(text: str) -> int:
    # Python reads no number of several thousand digits.
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        # The text may be a part of a password with a slash.
        raise ConfigError("redis: the URL does not end with the number of a database")
    return int(text)


def error_text(error: object) -> str:
    """
    Return the text of an error reply of Redis, for the log.

    Redis quotes the arguments of a command that it does not know. They are left out: they may be a
    message, or the name of a channel with the key of a session in it.
    """
    return str(error).partition(", with args")[0]
