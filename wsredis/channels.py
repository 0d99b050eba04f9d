"""
Names: audiences, the access that a client asks for and is granted, flags, and channels of Redis.

They are those of django-websocket-redis. A channel is ``[PREFIX:]AUDIENCE[:NAME]:FACILITY``, used
alike as the name to SUBSCRIBE to and, unless there is a prefix for keys, as the key of the stored
message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import lru_cache
from urllib.parse import unquote_plus

__all__ = [
    "FLAGS",
    "Access",
    "Audience",
    "answers_channel",
    "audiences_of",
    "channel_name",
    "channel_names",
    "control_channel",
    "ended_log",
    "loggable_channel",
    "matches",
    "parse_flags",
    "proof_channel",
    "read_flag",
    "stored_key",
]


#: Accesses with hints that are remembered.
_MAX_HINTED = 1024


class Audience(Enum):
    """The addressees of a publication. The order of the members is the order of stored messages."""

    BROADCAST = "broadcast"
    GROUP = "group"
    USER = "user"
    SESSION = "session"

    # Enum's own is written in Python, and each handshake looks audiences up some twenty times.
    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True)
class Access:
    """
    The rights of a client on one facility: requested in the URL of its handshake, or granted.

    Attributes:
        facility: The topic. May be empty, may contain slashes and colons.
        subscribe: Audiences to hear.
        publish: Audiences to publish to.
        echo: The client wants to hear its own messages.
        own: Flags that only the subscriber class of a Django project knows, in the order of the
            URL.
        forward: What the client says is handed to the worker channel that ``--forward`` has for the
            facility. Without such a setting, it is False.
        hints: Sentences for people: about mistakes in the URL that asked for it; and, of an access
            that was granted, about what else is missing. They quote no value, and no word that does
            not resemble a flag: it may be a secret. They are few and short, and are no part of what
            is compared.
    """

    facility: str
    subscribe: frozenset[Audience] = frozenset()
    publish: frozenset[Audience] = frozenset()
    echo: bool = False
    own: tuple[str, ...] = ()
    forward: bool = False
    hints: tuple[str, ...] = field(default=(), compare=False)

    def with_hints(self, hints: tuple[str, ...]) -> Access:
        """Return the same access with other hints. Many connections share it."""
        return self if hints == self.hints else _with_hints(self, hints)

    @property
    def only_listens_to_broadcast(self) -> bool:
        """
        Tells whether it publishes nothing and hears nothing private: strangers may have it.

        What they say must not be forwarded, but that is no reason to refuse them.
        """
        return not self.publish and self.subscribe <= _BROADCAST and not self.own

    @property
    def flags(self) -> list[str]:
        """The rights on audiences as flags of a URL, in a fixed order; without ``echo``."""
        asked = (("subscribe", self.subscribe), ("publish", self.publish))
        return [f"{verb}-{each.value}" for verb, some in asked for each in Audience if each in some]


@lru_cache(_MAX_HINTED)
def _with_hints(access: Access, hints: tuple[str, ...]) -> Access:
    return replace(access, hints=hints)


_AUDIENCES = {audience.value: audience for audience in Audience}

_BROADCAST = frozenset({Audience.BROADCAST})

#: The word for each audience in the name of a channel, and as text.
_KINDS = [(audience.value.encode(), audience.value) for audience in Audience]

#: The key of a session in the name of a channel. Anyone who has the key can act as its user.
_SESSION_KEY = re.compile(r"(^|:)session:[^:]*")

#: Characters of the name of a channel that go into one line of the log.
_LOGGED = 200

#: Each of the 16 sets of audiences, once: connections and rights share them.
_SETS: dict[frozenset[Audience], frozenset[Audience]] = {}

#: Names of broadcast channels that are remembered, and characters of a facility among them.
_MAX_NAMES = 4096
_MAX_FACILITY = 255

#: All rights on audiences, as flags of a URL.
FLAGS = frozenset(f"{verb}-{name}" for verb in ("subscribe", "publish") for name in _AUDIENCES)


def read_flag(parameter: str) -> str:
    """
    Read one parameter of a query string as a flag, such as ``subscribe-broadcast`` or ``echo``.

    Only the key counts, without regard to case and surrounding blanks; but ``subscribe=broadcast``
    is understood as ``subscribe-broadcast``.

    Returns:
        The flag. It may be one that nobody knows.
    """
    key, _, value = parameter.partition("=")
    flag = unquote_plus(key).strip().lower()
    if value and flag in ("subscribe", "publish"):
        return f"{flag}-{unquote_plus(value).strip().lower()}"
    return flag


def parse_flags(flags: Iterable[str]) -> tuple[frozenset[Audience], frozenset[Audience]]:
    """
    Read rights that are written as the flags of a URL.

    Args:
        flags: Each as ``subscribe-broadcast``; ``subscribe`` or ``publish`` alone stands for all
            audiences.
    Returns: The audiences to subscribe to, and those to publish to.
    Raises:
        ValueError: One of them is not such a flag.
    """
    found: dict[str, set[Audience]] = {"subscribe": set(), "publish": set()}
    for flag in flags:
        verb, dash, audience = flag.partition("-")
        if verb in found and not dash:
            found[verb] |= set(Audience)
        elif verb in found and audience in _AUDIENCES:
            found[verb].add(_AUDIENCES[audience])
        else:
            raise ValueError(f"{flag!r} is neither subscribe-AUDIENCE nor publish-AUDIENCE")
    subscribe, publish = frozenset(found["subscribe"]), frozenset(found["publish"])
    return _SETS.setdefault(subscribe, subscribe), _SETS.setdefault(publish, publish)


def control_channel(prefix: str) -> bytes:
    """The channel on which the application speaks to the gateway; that of no client."""
    return f"{prefix}:wsredis-control".lstrip(":").encode()


def ended_log(prefix: str) -> bytes:
    """The stream in which Redis keeps the commands of the control channel that end sessions."""
    return f"{prefix}:wsredis-ended".lstrip(":").encode()


def answers_channel(prefix: str, token: str) -> bytes:
    """
    The channel on which gateways answer one question; that of no client.

    Args:
        token: Hard to guess, and chosen for this question.
    """
    return f"{prefix}:wsredis-answers:{token}".lstrip(":").encode()


def proof_channel(prefix: str, token: str) -> bytes:
    """
    The channel on which a gateway proves that messages arrive; that of no client.

    Args:
        token: A name that no other gateway has.
    """
    return f"{prefix}:wsredis-proof:{token}".lstrip(":").encode()


def loggable_channel(channel: bytes) -> str:
    """Return the name of a channel for the log: without the key of a session, and not too long."""
    return _SESSION_KEY.sub(r"\1session:...", channel.decode("utf-8", "replace"))[:_LOGGED]


def stored_key(stored_prefix: str, channel: bytes) -> bytes:
    """Name the key of the stored message of *channel*. An empty *stored_prefix* puts nothing."""
    return f"{stored_prefix}:".encode() + channel if stored_prefix else channel


def matches(pattern: str, facility: str) -> bool:
    """Whether all of *facility* fits *pattern*, in which ``*`` is any run of characters."""
    first, *rest = pattern.split("*")
    if not rest:
        return facility == first
    last = rest.pop()
    if len(facility) < len(first) + len(last):
        return False
    if not (facility.startswith(first) and facility.endswith(last)):
        return False
    # The leftmost place for each part leaves most room for the next: no way back is needed.
    position, end = len(first), len(facility) - len(last)
    for part in rest:
        position = facility.find(part, position, end)
        if position < 0:
            return False
        position += len(part)
    return True


def channel_name(prefix: str, facility: str, audience: Audience, owner: str = "") -> bytes | None:
    """
    Name one channel.

    Args:
        prefix: Put before the name, with a colon. Empty puts nothing.
        owner: The group, user or session; nothing for a broadcast.
    Returns: The name, or None where *owner* is empty or has a colon: ``user:a:b`` of facility
        ``c`` would be the channel of user ``a`` and facility ``b:c``.
    """
    start = f"{prefix}:" if prefix else ""
    if audience is Audience.BROADCAST:
        return f"{start}broadcast:{facility}".encode()
    if not owner or ":" in owner:
        return None
    return f"{start}{audience.value}:{owner}:{facility}".encode()


def channel_names(
    prefix: str,
    facility: str,
    audiences: Iterable[Audience],
    *,
    user: str | None,
    groups: Sequence[str],
    session: str | None,
) -> tuple[bytes, ...]:
    """
    Name the channels that *audiences* of *facility* stand for, for one identity.

    An audience for which the identity has no name gives no channel. Neither does a user, group
    or session with a colon in its name; see `channel_name`.

    Args:
        prefix: Put before every name, with a colon. Empty puts nothing.
    Returns: The names as bytes, each once, in the order broadcast, group, user, session.
    """
    chosen = frozenset(audiences)
    names: tuple[bytes, ...] = ()
    if Audience.BROADCAST in chosen:
        make = _broadcast if len(facility) <= _MAX_FACILITY else _broadcast.__wrapped__
        names = make(prefix, facility)
    if user is session is None and not groups:
        return names
    found = dict.fromkeys(names)
    for audience, owners in (
        (Audience.GROUP, groups),
        (Audience.USER, (user,)),
        (Audience.SESSION, (session,)),
    ):
        if audience in chosen:
            for owner in owners:
                name = channel_name(prefix, facility, audience, owner or "")
                if name is not None:
                    found[name] = None
    return tuple(found)


def audiences_of(prefix: str, names: Iterable[bytes]) -> list[str]:
    """
    Name the audiences of channels, each once, in the order broadcast, group, user, session.

    Args:
        prefix: See `channel_names`.
        names: A channel that does not begin as those of audiences do belongs to none.
    """
    if prefix:
        start = f"{prefix}:".encode()
        names = [name[len(start) :] for name in names if name.startswith(start)]
    kinds = {name.partition(b":")[0] for name in names}
    return [word for kind, word in _KINDS if kind in kinds]


@lru_cache(_MAX_NAMES)
def _broadcast(prefix: str, facility: str) -> tuple[bytes, ...]:
    """
    Name the channel that most clients share. All of them share the object, too.

    Other names are those of identities, and are not kept longer than their connections.
    """
    name = channel_name(prefix, facility, Audience.BROADCAST)
    assert name is not None
    return (name,)
