"""The server to connect to, as a person writes its URL."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from wsredis.errors import ConfigError

__all__ = ["Target", "read_target"]

#: The schemes that are understood, and whether they stand for TLS.
_SCHEMES = {"ws": False, "http": False, "wss": True, "https": True}

#: The server of a URL that begins with a slash.
_HERE = "localhost:8080"


@dataclass(frozen=True, slots=True)
class Target:
    """
    Where to connect.

    Attributes:
        url: The whole URL, with the scheme ws or wss.
        host: The name or the address, without brackets.
        port: The port.
        is_secure: Tells whether TLS is spoken.
    """

    url: str
    host: str
    port: int
    is_secure: bool


def read_target(text: str) -> Target:
    """
    Read a URL. Without a scheme it is ws://; one that begins with a slash is at localhost:8080.

    Raises:
        ConfigError: It is not the URL of a WebSocket.
    """
    full = f"ws://{_HERE}{text}" if text.startswith("/") else text
    parts = _split(full if "://" in full else f"ws://{full}")
    scheme = parts.scheme
    if scheme not in _SCHEMES:
        raise ConfigError(f"{text!r}: the scheme is {scheme}:// and not ws:// or wss://")
    if not parts.hostname:
        raise ConfigError(f"{text!r} names no host")
    if "@" in parts.netloc:
        # A browser would not send them either.
        raise ConfigError("the URL has a user in it: give --header 'Authorization: Basic ...'")
    if not text.isprintable() or " " in text:
        raise ConfigError(f"{text!r} has characters that no URL has; write them as %20")
    is_secure = _SCHEMES[scheme]
    port = _port(parts, text) or (443 if is_secure else 80)
    rest = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    url = f"{'wss' if is_secure else 'ws'}://{parts.netloc}{rest}"
    return Target(url, parts.hostname, port, is_secure)


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError as error:
        raise ConfigError(f"{text!r}: {error}") from None


def _port(parts: SplitResult, text: str) -> int | None:
    try:
        return parts.port
    except ValueError:
        raise ConfigError(f"{text!r}: the port is not a number from 0 to 65535") from None
