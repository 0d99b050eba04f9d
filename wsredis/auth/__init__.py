"""
Who a client is, and what it may do: two seams, each with one question.

An `Authenticator` is asked for the identity behind a handshake, a `Policy` for the rights of that
identity. Both fail closed: whatever else than the listed exceptions they raise refuses the client.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from twisted.internet.defer import Deferred

from wsredis.channels import Wish

__all__ = ["Authenticator", "Handshake", "Identity", "Policy", "Refused"]


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
        session: Key of the session. None: there is none.
    """

    user: str | None = None
    groups: tuple[str, ...] = ()
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Handshake:
    """
    The request of a client that wants a WebSocket.

    Attributes:
        wish: The facility and the audiences that it asks for.
        path: The path of the request, percent-encoded, without the query.
        headers: Names in lower case; a header that came several times is joined with ", ".
        peer: The address it came from, for the log.
    """

    wish: Wish
    path: str
    headers: Mapping[str, str]
    peer: str


class Authenticator(Protocol):
    """Tells who a client is."""

    def identify(self, handshake: Handshake) -> Deferred[Identity] | Identity:
        """
        Raises:
            Refused: This client is not let in.
        """


class Policy(Protocol):
    """Tells what an identity may do."""

    def allow(self, identity: Identity, handshake: Handshake) -> Deferred[Wish] | Wish:
        """
        Returns: What is granted: the wish of the handshake, or another in its place.
        Raises:
            Refused: The wish is not granted.
        """
