"""The sentences that tell people why a client does not hear or say what it asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from wsredis.channels import Access, Audience
from wsredis.config.origins import HOST_HEADER, ORIGIN
from wsredis.gateway.identity import Identity

__all__ = ["NOBODY", "NO_USERS", "hints_for", "page_elsewhere"]

_NO_FLAG = "no flag: this socket hears nothing; add ?subscribe-broadcast"

#: The reason why nobody has a name, if nobody is asked for names.
NO_USERS = "this gateway knows no users, without --django, --auth-url or --jwt-key"

NOBODY = "nobody is logged in here"

#: Characters of the name of a host.
_SHOWN = 100

_BROADCAST = frozenset({Audience.BROADCAST})

#: Sets of hints that are remembered, and shared by all connections that have the same.
_MAX_KNOWN = 1024


class _Lacks(NamedTuple):
    """The reasons for which an identity has no name for an audience. Empty if it has one."""

    group: str = ""
    user: str = ""
    session: str = ""


_NOTHING = _Lacks()


def hints_for(
    requested: Access,
    identity: Identity,
    granted: Access,
    *,
    is_deaf: bool,
    nobody: Callable[[], str],
    chooses: bool = False,
) -> tuple[str, ...]:
    """
    List the mistakes of a client that was let in.

    Args:
        requested: The access that it asked for.
        identity: Its identity.
        granted: What it may do.
        is_deaf: Tells whether it will hear nothing.
        nobody: Returns the reason why a client has no identity.
        chooses: Tells whether a subscriber class has chosen its channels.

    Returns:
        Sentences, the most useful first. No secret is in them, no session's key and no value of
        the URL.
    """
    lacks = _NOTHING
    is_personal = not (granted.subscribe <= _BROADCAST and granted.publish <= _BROADCAST)
    if is_personal and (is_deaf or not chooses):
        lacks = _lacks(identity, nobody)
    if granted is requested and lacks is _NOTHING and not (is_deaf or requested.hints):
        return ()
    rights = (requested.subscribe, requested.publish, granted.subscribe, granted.publish)
    return _sentences(requested.hints, *rights, granted.own, lacks, is_deaf)


def page_elsewhere(headers: Mapping[str, str]) -> str:
    """
    Tell that a page is on another host, whose cookies browsers do not send here.

    Args:
        headers: Those of a handshake without cookies.

    Returns:
        The end of a sentence. Empty if the page is on the same host, or there is none.
    """
    page = ORIGIN.fullmatch(headers.get("origin", "").strip().lower())
    own = HOST_HEADER.fullmatch(headers.get("host", "").strip().lower())
    if page is None or own is None or not page[2] or page[2] == own[1] or len(page[2]) > _SHOWN:
        return ""
    return f"; the page is on {page[2]}, and cookies go to the host of their page alone"


def _lacks(identity: Identity, nobody: Callable[[], str]) -> _Lacks:
    if identity.is_anonymous:
        return _Lacks(*3 * (nobody(),))
    is_user = identity.user is not None
    found = _Lacks(
        _lack("group", identity.groups, "this user is in no group" if is_user else NOBODY),
        _lack("user", (identity.user,), NOBODY),
        _lack("session", (identity.session,), "there is no session here"),
    )
    return found if any(found) else _NOTHING


def _lack(kind: str, names: Iterable[str | None], otherwise: str) -> str:
    some = [each for each in names if each]
    if not some:
        return otherwise
    return f"the name of its {kind} has a colon" if all(":" in each for each in some) else ""


@lru_cache(_MAX_KNOWN)
def _sentences(
    flag_hints: tuple[str, ...],
    asks_to_hear: frozenset[Audience],
    asks_to_speak: frozenset[Audience],
    hears: frozenset[Audience],
    speaks: frozenset[Audience],
    own: tuple[str, ...],
    lacks: _Lacks,
    is_deaf: bool,
) -> tuple[str, ...]:
    """Make the sentences; see `hints_for`. Many clients have the same, and share them."""
    wanted, granted = _flags(asks_to_hear, asks_to_speak), _flags(hears, speaks)
    # A subscriber class may know flags of its own.
    found = [each for each in flag_hints if not any(f'"{flag}"' in each for flag in own)]
    if is_deaf and not (wanted or granted or found):
        found.append(_NO_FLAG)
    missing = [flag for flag in wanted if flag not in granted]
    if missing:
        found.append(f"{_listed(missing)} {'was' if len(missing) == 1 else 'were'} not granted")
    reasons: dict[str, list[str]] = {}
    for flag, audience in granted.items():
        reason = getattr(lacks, audience.value, "")
        if reason:
            reasons.setdefault(reason, []).append(flag)
    for reason, flags in reasons.items():
        verb = "has" if len(flags) == 1 else "have"
        found.append(f"{_listed(flags)} {verb} no effect: {reason}")
    return tuple(found)


def _flags(hears: frozenset[Audience], speaks: frozenset[Audience]) -> dict[str, Audience]:
    asked = (("subscribe", hears), ("publish", speaks))
    return {
        f"{verb}-{each.value}": each for verb, some in asked for each in Audience if each in some
    }


def _listed(flags: list[str]) -> str:
    *most, last = flags
    return f"{', '.join(most)} and {last}" if most else last
