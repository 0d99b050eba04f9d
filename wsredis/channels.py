"""
Names: the facility in a URL, what a client accesses for, and the channels of Redis.

The grammar is that of django-websocket-redis: the path after the URL prefix is the facility,
the *keys* of the query say which audiences a connection subscribes to and publishes to,
and a channel is ``[PREFIX:]AUDIENCE[:NAME]:FACILITY``, used alike as the name to SUBSCRIBE to
and as the key of the stored message.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote_plus, unquote_to_bytes

from wsredis.errors import BadRequest

__all__ = [
    "MAX_FACILITY_BYTES",
    "Access",
    "Audience",
    "channel_name",
    "channel_names",
    "control_channel",
    "matches",
    "parse_access",
    "parse_facility",
    "parse_flags",
]

#: The longest facility, in bytes of UTF-8 after percent-decoding.
MAX_FACILITY_BYTES = 255

#: More parameters than this are refused; Django, which served this contract, has the same bound.
_MAX_PARAMETERS = 1000


class Audience(Enum):
    """Who hears a publication. The order of the members is the order of stored messages."""

    BROADCAST = "broadcast"
    GROUP = "group"
    USER = "user"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Access:
    """
    What one client asks for in the URL of its handshake.

    Attributes:
        facility: The topic. May be empty, may contain slashes and colons.
        subscribe: Audiences to hear.
        publish: Audiences to speak to.
        echo: Whether the client wants its own messages back.
    """

    facility: str
    subscribe: frozenset[Audience] = frozenset()
    publish: frozenset[Audience] = frozenset()
    echo: bool = False

    @property
    def only_listens_to_broadcast(self) -> bool:
        """Whether any stranger may be given this, for it hears nothing private and is silent."""
        return not self.publish and self.subscribe <= {Audience.BROADCAST}

    @property
    def flags(self) -> list[str]:
        """What it asks for as flags of a URL, in an order of their own."""
        asked = (("subscribe", self.subscribe), ("publish", self.publish))
        return [f"{verb}-{each.value}" for verb, some in asked for each in Audience if each in some]


def parse_facility(path: str, url_prefix: str) -> str | None:
    """
    Take the facility out of the path of a request.

    Args:
        path: The path as it stood in the request line, percent-encoded, without the query.
        url_prefix: What every WebSocket URL starts with; ends with a slash.
    Returns: The decoded facility, or None where *path* lies outside the prefix.
    Raises:
        BadRequest: Not UTF-8, too long, or with control characters.
    """
    if not path.startswith(url_prefix):
        return None
    raw = unquote_to_bytes(path[len(url_prefix) :])
    if len(raw) > MAX_FACILITY_BYTES:
        raise BadRequest(f"the facility is longer than {MAX_FACILITY_BYTES} bytes")
    try:
        facility = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest("the facility is not UTF-8") from None
    if any(unicodedata.category(character) == "Cc" for character in facility):
        raise BadRequest("the facility has a control character")
    return facility


def parse_access(facility: str, query: str) -> Access:
    """
    Read the flags of a query string.

    Only the key of a parameter counts, without regard to case and surrounding blanks; unknown
    keys are ignored. ``subscribe=broadcast`` is understood as ``subscribe-broadcast``.

    Raises:
        BadRequest: More than 1000 parameters.
    """
    parameters = query.split("&") if query else []
    if len(parameters) > _MAX_PARAMETERS:
        raise BadRequest("too many parameters")
    subscribe: set[Audience] = set()
    publish: set[Audience] = set()
    echo = False
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        flag = unquote_plus(key).strip().lower()
        if flag == "echo":
            echo = True
            continue
        verb, dash, audience = flag.partition("-")
        if not dash and value:
            audience = unquote_plus(value).strip().lower()
        wanted = {"subscribe": subscribe, "publish": publish}.get(verb)
        if wanted is not None and audience in _AUDIENCES:
            wanted.add(_AUDIENCES[audience])
    return Access(facility, frozenset(subscribe), frozenset(publish), echo)


_AUDIENCES = {audience.value: audience for audience in Audience}


def parse_flags(words: Iterable[str]) -> tuple[frozenset[Audience], frozenset[Audience]]:
    """
    Read rights that are written as the flags of a URL.

    Args:
        words: As ``subscribe-broadcast``; ``subscribe`` or ``publish`` alone stands for all
            audiences.
    Returns: The audiences to subscribe to, and those to publish to.
    Raises:
        ValueError: A word is no such flag.
    """
    found: dict[str, set[Audience]] = {"subscribe": set(), "publish": set()}
    for word in words:
        verb, dash, audience = word.partition("-")
        if verb in found and not dash:
            found[verb] |= set(Audience)
        elif verb in found and audience in _AUDIENCES:
            found[verb].add(_AUDIENCES[audience])
        else:
            raise ValueError(f"{word!r} is neither subscribe-AUDIENCE nor publish-AUDIENCE")
    return frozenset(found["subscribe"]), frozenset(found["publish"])


def control_channel(prefix: str) -> bytes:
    """The channel on which the application speaks to the gateway; that of no client."""
    return f"{prefix}:wsredis-control".lstrip(":").encode()


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
    groups: Iterable[str],
    session: str | None,
) -> list[bytes]:
    """
    Name the channels that *audiences* of *facility* stand for, for one identity.

    An audience for which the identity has no name gives no channel. Neither does a user, group
    or session with a colon in its name; see `channel_name`.

    Args:
        prefix: Put before every name, with a colon. Empty puts nothing.
    Returns: The names as bytes, each once, in the order broadcast, group, user, session.
    """
    chosen = frozenset(audiences)
    owners: dict[Audience, Iterable[str | None]] = {
        Audience.BROADCAST: ("",),
        Audience.GROUP: groups,
        Audience.USER: (user,),
        Audience.SESSION: (session,),
    }
    names: dict[bytes, None] = {}
    for audience in Audience:
        if audience in chosen:
            for owner in owners[audience]:
                name = channel_name(prefix, facility, audience, owner or "")
                if name is not None:
                    names[name] = None
    return list(names)
