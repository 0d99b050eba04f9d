"""
The identity of a client and what it may do: the types, and the ports that are asked for them.

An `Authenticator` is asked for the identity behind a handshake, a `Policy` for the rights of that
identity. Both fail closed: any exception that their methods do not list rejects the handshake.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from wsredis.channels import Access, Audience, channel_names
from wsredis.gateway.enrolment import Enrolment

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
    The owner of a connection. The default is an anonymous client.

    Attributes:
        user: Name of the user. None if nobody is logged in.
        groups: Names of the user's groups.
        session: Key of the session. None if there is no session. Anyone who has the key can act
            as the user: never log it.
        expires: Unix time in seconds at which the connection is closed with 4401. If None, the
            identity does not expire.
        granted: Access that the client starts with, in place of the access that the handshake
            requests. If None, the requested access. The policies decide on either.
        has_fixed_groups: Tells whether an open connection keeps the groups that it was opened with,
            although they may be others when it is checked again. It still loses a group of which
            the user was a member and no longer is.
        memberships: If the groups are fixed, the groups of which the user is a member at the
            moment, whether or not *groups* names them. Otherwise *groups* says so, and this is
            empty.
        enrol: Called once with the access of a new client, when all policies have granted it. It
            returns the channels in place of those that the access stands for. If None, those.
    """

    user: str | None = None
    groups: tuple[str, ...] = ()
    session: str | None = field(default=None, repr=False)
    expires: float | None = None
    granted: Access | None = None
    has_fixed_groups: bool = False
    memberships: tuple[str, ...] = ()
    enrol: Callable[[Access], Awaitable[Enrolment]] | None = field(
        default=None, repr=False, compare=False
    )

    @property
    def is_anonymous(self) -> bool:
        """Tells whether it is nobody's: then nothing about it can change or expire."""
        return not self.groups and (self.user, self.session, self.expires) == (None, None, None)

    def channels(self, prefix: str, facility: str, audiences: Iterable[Audience]) -> list[bytes]:
        """
        Name the channels that *audiences* of *facility* stand for, for this identity.

        Args:
            prefix: Put before every name, with a colon. An empty string puts nothing.
            facility: The topic.
            audiences: Those without a name in this identity give no channel.
        Returns:
            The names, each once; see `wsredis.channels.channel_names`.
        """
        names = channel_names(
            prefix,
            facility,
            audiences,
            user=self.user,
            groups=self.groups,
            session=self.session,
        )
        return list(names)

    def following(self, opened: Identity) -> Identity:
        """
        Return this identity as that of a connection which was opened with another one.

        Args:
            opened: The identity that the connection has had so far. If its groups or those of this
                identity are fixed, the connection keeps its groups, apart from those that the user
                has left since. Otherwise it follows the groups of this identity.
        """
        if not (opened.has_fixed_groups or self.has_fixed_groups):
            return self
        before = opened.memberships if opened.has_fixed_groups else opened.groups
        now = self.memberships if self.has_fixed_groups else self.groups
        lost = {*before}.difference(now)
        kept = tuple(each for each in opened.groups if each not in lost)
        return replace(self, groups=kept, has_fixed_groups=True, memberships=now)


@dataclass(frozen=True, slots=True)
class Handshake:
    """
    The HTTP request that asks for a connection.

    Attributes:
        requested: The facility and the audiences that the client asks for.
        path: The path of the request, percent-encoded, without the query.
        headers: Values by names in lower case. A header that came several times is joined
            with ", ".
        peer: Address of the client, for the log: ``192.0.2.1:5``, ``[2001:db8::1]:5``, or ``unix``.
            Behind a trusted proxy the port is not known, and left out.
        query: The query of the request, percent-encoded. It may hold secrets: never log it.
        secure: Tells whether the gateway itself received the request over TLS. If False, a proxy
            may still have received it over TLS.
        address: The `wsredis.gateway.shares.address_key` of the client, by which limits count. ""
            if it came by a UNIX socket and nobody names it: no limit for one address is for it.
    """

    requested: Access
    path: str
    headers: Mapping[str, str] = field(repr=False)
    peer: str
    query: str = field(default="", repr=False)
    secure: bool = False
    address: str = ""

    def cookies(self) -> dict[str, str]:
        """
        Read the cookies from the header.

        Returns:
            Values by names, not decoded. The first of several cookies with the same name counts
            (RFC 6265, 5.4).
        """
        found: dict[str, str] = {}
        for pair in self.headers.get("cookie", "").split(";"):
            name, sign, value = pair.partition("=")
            if sign:
                found.setdefault(name.strip(), value.strip())
        return found


class Authenticator(Protocol):
    """
    Finds out the identity of a client.

    It is asked again with the same handshake whenever an open connection is rechecked.
    """

    def identify(self, handshake: Handshake) -> Awaitable[Identity | None] | Identity | None:
        """
        Find out who sent *handshake*.

        Returns:
            The identity, or None if this authenticator does not know the client. The next
            authenticator is asked then.

        Raises:
            HandshakeRejected: The client is not let in: with 401 if its credentials are invalid,
                403 if they are valid and not sufficient, 503 if they cannot be checked now.
        """


class AuthBackend(Authenticator, Protocol):
    """An identity source: an authenticator that is started and stopped by the gateway."""

    def start(self) -> None:
        """Start. Called once, when the gateway starts."""

    def stop(self) -> None:
        """Stop without waiting for anything. Called once."""

    def missing(self, handshake: Handshake) -> str:
        """
        Name the credential that it looks for, for hints: "token", for example.

        Returns:
            A noun with what it needs. Empty if *handshake* has such a credential.
        """

    def forget(self) -> None:
        """Drop all remembered identities, since they may be out of date. Ask again for each."""


class Policy(Protocol):
    """Decides what an identity may do."""

    def allow(self, identity: Identity, handshake: Handshake) -> Awaitable[Access] | Access:
        """
        Decide what *identity* may do.

        Args:
            identity: The identity of the client.
            handshake: Its handshake. ``handshake.requested`` is what was granted so far.
        Returns:
            The granted access: that of the handshake, or another one in its place.
        Raises:
            HandshakeRejected: The access is denied.
        """
