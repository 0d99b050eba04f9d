"""
Who a client is, and what it may do: two seams, each with one question.

An `Authenticator` is asked for the identity behind a handshake, a `Policy` for the rights of that
identity. Both fail closed: whatever else than the listed exceptions they raise refuses the client.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from wsredis.channels import Access

__all__ = [
    "AuthBackend",
    "Authenticator",
    "Handshake",
    "Identity",
    "Policy",
]


@dataclass(frozen=True, slots=True)
class Identity:
    """
    Who a connection belongs to. The default is nobody.

    Attributes:
        user: Name of the user. None: not logged in.
        groups: Names of the user's groups.
        session: Key of the session. None: there is none. Whoever has it is the user: never log it.
        expires: Unix time at which the connection is closed with 4401. None: never.
        granted: What it may do, in place of what the handshake asks for. None: the policy
            decides on what was asked for.
    """

    user: str | None = None
    groups: tuple[str, ...] = ()
    session: str | None = field(default=None, repr=False)
    expires: float | None = None
    granted: Access | None = None


@dataclass(frozen=True, slots=True)
class Handshake:
    """
    The request of a client that wants a WebSocket.

    Attributes:
        requested: The facility and the audiences that it asks for.
        path: The path of the request, percent-encoded, without the query.
        headers: Names in lower case; a header that came several times is joined with ", ".
        peer: The address it came from, for the log.
        query: The query of the request, percent-encoded. It may hold secrets: never log it.
        secure: Whether it came by TLS to the gateway itself; a proxy may have had it by TLS, too.
    """

    requested: Access
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
            HandshakeRejected: This client is not let in: 401 for credentials that are not valid,
                403 for valid ones that do not suffice, 503 where it cannot be told now.
        """


class AuthBackend(Authenticator, Protocol):
    """An authenticator that has something to start and to stop, as threads or connections."""

    def start(self) -> None:
        """Begin. Called once, when the reactor runs."""

    def stop(self) -> None:
        """End, and wait for nothing. Called once."""

    def forget(self) -> None:
        """Ask anew about everybody: what was learnt of identities so far may be wrong."""


class Policy(Protocol):
    """Tells what an identity may do."""

    def allow(self, identity: Identity, handshake: Handshake) -> Awaitable[Access] | Access:
        """
        Returns: What is granted: the access of the handshake, or another in its place.
        Raises:
            HandshakeRejected: The access is not granted.
        """
