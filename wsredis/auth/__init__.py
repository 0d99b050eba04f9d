"""
Who a client is, and what it may do: two seams, each with one question.

An `Authenticator` is asked for the identity behind a handshake, a `Policy` for the rights of that
identity. Both fail closed: whatever else than the listed exceptions they raise refuses the client.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

from wsredis.channels import Wish, matches, parse_flags

__all__ = [
    "Authenticator",
    "Channels",
    "Handshake",
    "Identity",
    "Policy",
    "Refused",
    "Source",
    "granted",
    "read_channels",
]

#: What an identity is limited to: flags by patterns of facilities.
Channels = Mapping[str, frozenset[str]]


class Refused(Exception):
    """
    The handshake is answered with an HTTP error.

    Args:
        reason: For the client, in the body of the answer.
        status: The HTTP status, 400 to 599.
        hint: For the log only: what the operator could change. Empty says nothing.
    Raises:
        ValueError: *status* is none that HTTP knows for an error.
    """

    def __init__(self, reason: str, status: int = 403, hint: str = "") -> None:
        super().__init__(reason)
        HTTPStatus(status)
        if status < 400:
            raise ValueError(f"{status} does not refuse")
        self.reason = reason
        self.status = status
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Identity:
    """
    Who a connection belongs to. The default is nobody.

    Attributes:
        user: Name of the user. None: not logged in.
        groups: Names of the user's groups.
        session: Key of the session. None: there is none. Whoever has it is the user: never log it.
        expires: Unix time at which the connection is closed with 4401. None: never.
        wish: What is granted in place of what the handshake asks for. None: the policy decides on
            what was asked for.
    """

    user: str | None = None
    groups: tuple[str, ...] = ()
    session: str | None = field(default=None, repr=False)
    expires: float | None = None
    wish: Wish | None = None


@dataclass(frozen=True, slots=True)
class Handshake:
    """
    The request of a client that wants a WebSocket.

    Attributes:
        wish: The facility and the audiences that it asks for.
        path: The path of the request, percent-encoded, without the query.
        headers: Names in lower case; a header that came several times is joined with ", ".
        peer: The address it came from, for the log.
        query: The query of the request, percent-encoded. It may hold secrets: never log it.
        secure: Whether it came by TLS to the gateway itself; a proxy may have had it by TLS, too.
    """

    wish: Wish
    path: str
    headers: Mapping[str, str] = field(repr=False)
    peer: str
    query: str = field(default="", repr=False)
    secure: bool = False

    def cookies(self) -> dict[str, str]:
        """The cookies, as they stand in the header; the first of a name counts (RFC 6265, 5.4)."""
        found: dict[str, str] = {}
        for pair in self.headers.get("cookie", "").split(";"):
            name, sign, value = pair.partition("=")
            if sign:
                found.setdefault(name.strip(), value.strip())
        return found


class Authenticator(Protocol):
    """
    Tells who a client is.

    It is asked once more for the same handshake whenever the identity of an open connection is
    checked again.
    """

    def identify(self, handshake: Handshake) -> Awaitable[Identity | None] | Identity | None:
        """
        Returns: The identity, or None for a client that this authenticator knows nothing about.

        Raises:
            Refused: This client is not let in: 401 for credentials that are not valid, 403 for
                valid ones that do not suffice, 503 where it cannot be told now.
        """


class Source(Authenticator, Protocol):
    """An authenticator that has something to start and to stop, as threads or connections."""

    def start(self) -> None:
        """Begin. Called once, when the reactor runs."""

    def stop(self) -> None:
        """End, and wait for nothing. Called once."""

    def forget(self) -> None:
        """Ask anew about everybody: what was learnt of identities so far may be wrong."""


class Policy(Protocol):
    """Tells what an identity may do."""

    def allow(self, identity: Identity, handshake: Handshake) -> Awaitable[Wish] | Wish:
        """
        Returns: What is granted: the wish of the handshake, or another in its place.
        Raises:
            Refused: The wish is not granted.
        """


def read_channels(value: object) -> Channels:
    """
    Read the limit that came with an identity, from what was JSON.

    Args:
        value: Lists of flags, as `wsredis.channels.parse_flags` reads them, by patterns of
            facilities.
    Raises:
        ValueError: It is something else.
    """
    if not isinstance(value, dict):
        raise ValueError("it is not an object")
    found = {}
    for pattern, words in value.items():
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError("it has a value that is not a list of flags")
        found[pattern] = frozenset(Wish("", *parse_flags(words)).flags)
    return found


def granted(wish: Wish, channels: Channels) -> Wish:
    """
    Hold a wish against a limit. A facility has the rights of all patterns that fit it.

    Returns: The same wish.
    Raises:
        Refused: The wish goes beyond it.
    """
    fitting = [flags for pattern, flags in channels.items() if matches(pattern, wish.facility)]
    allowed = frozenset().union(*fitting)
    for flag in wish.flags:
        if flag not in allowed:
            raise Refused(f"you may not {flag} here")
    return wish
