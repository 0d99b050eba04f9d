"""The report on one socket: its identity, its channels, and why it lacks others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from wsredis.auth.control_commands import all_names
from wsredis.auth.hints import NO_USERS, NOBODY
from wsredis.channels import Access, Audience, loggable_channel
from wsredis.gateway.identity import Identity

__all__ = ["Circumstances", "ReportedConnection", "socket_report"]

#: The names of the owners of an audience, for sentences.
_OWNERS = {Audience.GROUP: "group", Audience.USER: "user", Audience.SESSION: "session"}


class ReportedConnection(Protocol):
    """
    The part of an open connection that a report is made of.

    Attributes:
        identity: Its identity.
        granted: What it may do.
        channels: The names of the channels that it subscribes to.
        publishes: The names of the channels that its messages are published on.
    """

    identity: Identity
    granted: Access
    channels: Sequence[bytes]
    publishes: Sequence[bytes]

    @property
    def hints(self) -> tuple[str, ...]:
        """See `wsredis.gateway.connection.Connection.hints`."""

    @property
    def id(self) -> str:
        """Name of the connection, for the log."""


class Circumstances(Protocol):
    """
    What a report says beside the connection.

    Attributes:
        prefix: Put before the names of all channels.
        knows_identities: Tells whether anybody is asked who a client is.
    """

    prefix: str
    knows_identities: bool


def socket_report(
    connection: ReportedConnection,
    requested: Access,
    where: Circumstances,
    stranger: str = "",
) -> dict[str, Any]:
    """
    Report on an open connection, for its own client.

    Args:
        requested: The access that the handshake asked for.
        stranger: The reason why headers of its handshake did not count. If empty, they did.

    Returns:
        An object for JSON. It has no key of a session, and no channel with one.
    """
    identity, granted = connection.identity, connection.granted
    reasons = _Reasons(identity, where, stranger)
    rights = (
        ("subscribe", requested.subscribe, granted.subscribe, connection.channels),
        ("publish", requested.publish, granted.publish, connection.publishes),
    )
    report: dict[str, Any] = {
        "id": connection.id,
        "facility": granted.facility,
        "identity": {
            "user": identity.user,
            "groups": list(identity.groups),
            "session": identity.session is not None,
        },
        "asked": _flags(requested),
        "granted": _flags(granted),
        "hints": list(connection.hints),
    }
    for verb, asked, given, names in rights:
        others = dict.fromkeys(names)
        entries = []
        for audience in Audience:
            wanted = identity.channels(where.prefix, granted.facility, [audience])
            held = [each for each in wanted if each in names]
            for each in held:
                others.pop(each, None)
            entry: dict[str, Any] = {
                "audience": audience.value,
                "asked": audience in asked,
                "channels": [*map(loggable_channel, held)],
            }
            if not held:
                entry["why"] = reasons.why(audience, asked, given)
            entries.append(entry)
        report[verb] = entries
        # Those that the subscriber class of a project chose.
        report[f"{verb}_others"] = [*map(loggable_channel, others)]
    return report


def _flags(access: Access) -> list[str]:
    return [*access.flags, *access.own, *(["echo"] if access.echo else [])]


class _Reasons:
    """The reasons for which one identity has no channel of an audience."""

    def __init__(self, identity: Identity, where: Circumstances, stranger: str) -> None:
        self._identity = identity
        self._knows_identities = where.knows_identities
        self._stranger = stranger

    def why(
        self, audience: Audience, asked: frozenset[Audience], given: frozenset[Audience]
    ) -> str:
        """Say why there is no channel, in one sentence without its full stop."""
        if audience not in asked | given:
            return "not asked for"
        if audience not in given:
            return "asked for and not granted; a policy or your application decided so"
        return self._missing_name(audience) or "the subscriber class of the project chose others"

    def _missing_name(self, audience: Audience) -> str:
        identity = self._identity
        if audience is Audience.BROADCAST:
            return ""
        kind = _OWNERS[audience]
        names = [name for selector, name in all_names(identity) if selector == kind]
        if names:
            with_colon = all(":" in name for name in names)
            return f"the name of its {kind} has a colon, so it has no channel" if with_colon else ""
        if identity.is_anonymous:
            return self._why_anonymous()
        if audience is Audience.GROUP:
            return f"{self._owner()} is in no group"
        if audience is Audience.SESSION:
            return f"{self._owner()} came without a session, as with a token"
        return f"{NOBODY}; there is only a session"

    def _owner(self) -> str:
        user = self._identity.user
        return "this identity" if user is None else user

    def _why_anonymous(self) -> str:
        if self._stranger:
            return self._stranger
        if not self._knows_identities:
            return NO_USERS
        return NOBODY
