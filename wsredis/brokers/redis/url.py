"""From a URL to an endpoint and credentials."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from twisted.internet import ssl
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint

from wsredis.config import DEFAULT_URL, RedisConfig
from wsredis.errors import ConfigError

__all__ = ["CONNECT_TIMEOUT", "Target", "parse"]

#: Seconds for one attempt to connect, name resolution included.
CONNECT_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Target:
    """
    One Redis server and how to log in to it.

    Attributes:
        name: For logs: the URL without credentials.
        host: Host name. None for a UNIX socket.
        port: TCP port. None for a UNIX socket.
        path: Path of the UNIX socket. None for TCP.
        tls: Whether TLS is spoken; the certificate is verified.
        ca: PEM text of the CA that must have signed it. None: one that the system trusts.
        username: ACL user. None: the default user.
        password: None: no AUTH is sent.
        database: Number for SELECT. 0 sends none.
    """

    name: str
    host: str | None = None
    port: int | None = None
    path: str | None = None
    tls: bool = False
    ca: bytes | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0

    @property
    def cli_arguments(self) -> str:
        """What redis-cli must be told to get here, without the password."""
        if self.path is not None:
            words = ["-s", self.path]
        else:
            words = [] if self.host == "localhost" else ["-h", str(self.host)]
            words += [] if self.port == 6379 else ["-p", str(self.port)]
            words += ["--tls"] if self.tls else []
        words += ["-n", str(self.database)] if self.database else []
        words += ["--user", self.username] if self.username else []
        words += ["--askpass"] if self.password is not None else []
        return shlex.join(words)

    def endpoint(self, reactor: Any) -> IStreamClientEndpoint:
        """A new endpoint; the host name is resolved at each attempt."""
        if self.path is not None:
            return UNIXClientEndpoint(reactor, self.path, timeout=CONNECT_TIMEOUT)
        assert self.host is not None and self.port is not None
        endpoint: IStreamClientEndpoint = HostnameEndpoint(
            reactor, self.host, self.port, timeout=CONNECT_TIMEOUT
        )
        if self.tls:
            root = (
                None if self.ca is None else ssl.trustRootFromCertificates(_certificates(self.ca))
            )
            endpoint = wrapClientTLS(ssl.optionsForClientTLS(self.host, trustRoot=root), endpoint)
        return endpoint


def parse(config: RedisConfig) -> Target:
    """
    Read the settings of Redis; the password comes from the URL, else the file, else the variable.

    Raises:
        ConfigError: A URL that cannot be used, or a file that cannot be read. No password shows.
    """
    url = config.url or DEFAULT_URL
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError("redis: this is not a URL") from None
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ConfigError("redis: a URL starts with redis://, rediss:// or unix://")
    # What is not understood may be a part of a password that was not percent-encoded.
    if parts.fragment or (parts.query and parts.scheme != "unix"):
        raise ConfigError("redis: the URL has a '?' or '#' where none belongs: write %3F or %23")
    if config.ca is not None and parts.scheme != "rediss":
        raise ConfigError("redis-ca: only a rediss:// URL has use for it")
    password = unquote(parts.password) if parts.password else config.read_password()
    username = unquote(parts.username) if parts.username else None
    if username is not None and password is None:
        raise ConfigError("redis: the URL has a user, but there is no password")
    if parts.scheme == "unix":
        if not parts.path or parts.hostname:
            raise ConfigError("redis: a unix:// URL needs the path of a socket, as unix:///path")
        database = _database(parse_qs(parts.query).get("db", ["0"])[-1])
        return Target(
            name=f"unix://{parts.path}",
            path=unquote(parts.path),
            username=username,
            password=password,
            database=database,
        )
    tls = parts.scheme == "rediss"
    host = parts.hostname or "localhost"
    shown = f"[{host}]" if ":" in host else host
    return Target(
        name=f"{parts.scheme}://{shown}:{port or 6379}",
        host=host,
        port=port or 6379,
        tls=tls,
        ca=_ca(config.ca),
        username=username,
        password=password,
        database=_database(parts.path.strip("/") or "0"),
    )


def _database(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        # The text may be a part of a password with a slash.
        raise ConfigError("redis: the URL ends in what is not the number of a database")
    return int(text)


def _ca(path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        pem = Path(path).read_bytes()
        _certificates(pem)
    except OSError as error:
        raise ConfigError(f"redis-ca: {path}: {error.strerror}") from None
    except Exception:
        raise ConfigError(f"redis-ca: {path}: not a certificate in PEM form") from None
    return pem


def _certificates(pem: bytes) -> list[Any]:
    end = b"-----END CERTIFICATE-----"
    found = [ssl.Certificate.loadPEM(part + end) for part in pem.split(end)[:-1]]
    if not found:
        raise ValueError("no certificate")
    return found
