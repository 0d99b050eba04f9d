"""The sentences that tell people why a client does not hear or say what it asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wsredis.channels import Access, Audience
from wsredis.gateway.identity import Handshake, Identity

__all__ = ["NOBODY", "NO_USERS", "hints_for"]

_NO_FLAG = "no flag: this socket hears nothing; add ?subscribe-broadcast"

#: The reason why nobody has a name, if nobody is asked for names.
NO_USERS = "this gateway knows no users, without --django, --auth-url or --jwt-key"

NOBODY = "nobody is logged in here"

#: Audiences that need a name, and the reason for which an identity has none.
_OWNERS = {
    Audience.GROUP: "this user is in no group",
    Audience.USER: NOBODY,
    Audience.SESSION: "there is no session here",
}


def hints_for(
    handshake: Handshake,
    identity: Identity,
    granted: Access,
    *,
    is_deaf: bool,
    nobody: str,
    chooses: bool = False,
) -> tuple[str, ...]:
    """
    List the mistakes of a client that was let in.

    Args:
        handshake: As it came.
        identity: Its identity.
        granted: What it may do.
        is_deaf: Tells whether it will hear nothing.
        nobody: The reason why a client has no identity.
        chooses: Tells whether a subscriber class has chosen its channels.

    Returns:
        Sentences, the most useful first. No secret is in them, no session's key and no value of
        the URL.
    """
    requested = handshake.requested
    # A subscriber class may know flags of its own.
    found = [each for each in requested.hints if not any(f'"{own}"' in each for own in granted.own)]
    wanted = requested.flags
    if is_deaf and not (wanted or granted.flags or found):
        found.append(_NO_FLAG)
    missing = [flag for flag in wanted if flag not in granted.flags]
    if missing:
        found.append(f"{_listed(missing)} {_was(missing)} not granted")
    if not chooses or is_deaf:
        found += _without_names(granted, identity, nobody)
    return tuple(found)


def _without_names(granted: Access, identity: Identity, nobody: str) -> Iterator[str]:
    """Say which flags have no channel, since the identity has no name for them."""
    reasons: dict[str, list[str]] = {}
    for verb, audiences in (("subscribe", granted.subscribe), ("publish", granted.publish)):
        for audience in Audience:
            if audience in audiences and audience in _OWNERS:
                reason = _reason(audience, identity, nobody)
                if reason:
                    reasons.setdefault(reason, []).append(f"{verb}-{audience.value}")
    for reason, flags in reasons.items():
        yield f"{_listed(flags)} {'has' if len(flags) == 1 else 'have'} no effect: {reason}"


def _reason(audience: Audience, identity: Identity, nobody: str) -> str:
    """Say why an audience has no name in an identity. Empty if it has one."""
    owners: dict[Audience, Iterable[str | None]] = {
        Audience.GROUP: identity.groups,
        Audience.USER: (identity.user,),
        Audience.SESSION: (identity.session,),
    }
    names = [each for each in owners[audience] if each]
    if any(":" not in each for each in names):
        return ""
    if names:
        return f"the name of its {audience.value} has a colon"
    if identity.is_anonymous:
        return nobody
    is_stranger = identity.user is None and audience is Audience.GROUP
    return NOBODY if is_stranger else _OWNERS[audience]


def _listed(flags: list[str]) -> str:
    *most, last = flags
    return f"{', '.join(most)} and {last}" if most else last


def _was(flags: list[str]) -> str:
    return "was" if len(flags) == 1 else "were"
