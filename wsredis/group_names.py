"""
Groups of Django Channels that are the gateway's channels, and their names.

The name is ``ws.AUDIENCE[.OWNER].FACILITY``. A group may only have letters, digits, ``-``, ``_``
and ``.`` in its name, so each other byte of the UTF-8 of owner and facility is written as ``_HH``,
and so are ``.`` and ``_`` themselves: two names never meet.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, overload

from wsredis.channels import Audience

__all__ = [
    "MAX_GROUP",
    "GatewayGroup",
    "gateway_group",
    "loggable_group",
    "parse_gateway_group",
]

#: The longest name of a group, in characters.
MAX_GROUP = 99

_AUDIENCES = {audience.value: audience for audience in Audience}

#: A byte that is written as itself stands for itself.
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-")

#: The key of a session in the name of a group. Anyone who has the key can act as its user.
_SESSION_KEY = re.compile(r"\Aws\.session\.[^.]*")

_ESCAPE = re.compile(rb"_([0-9A-F]{2})")


class GatewayGroup(NamedTuple):
    """
    The gateway's channel that a group stands for.

    Attributes:
        audience: Its audience.
        owner: The group, user or session. Empty for a broadcast.
        facility: The topic.
    """

    audience: Audience
    owner: str
    facility: str


@overload
def gateway_group(audience: Literal["broadcast"], facility: str, /) -> str: ...


@overload
def gateway_group(
    audience: Literal["user", "group", "session"], owner: str, facility: str, /
) -> str: ...


@overload
def gateway_group(audience: str, /, *names: str) -> str: ...


def gateway_group(audience: str, /, *names: str) -> str:
    """
    Name the group of Django Channels that is a channel of the gateway.

    Args:
        audience: ``broadcast``, ``user``, ``group`` or ``session``.
        names: The name of the user or group, or the key of the session, and the facility. For a
            broadcast only the facility.

    Returns:
        The name, such as ``ws.user.john.chat_2F1`` for user ``john`` and facility ``chat/1``.

    Raises:
        ValueError: There is no such channel: *audience* is another word, a name is missing, the
            owner is empty or has a colon. Or the name would have more than 99 characters.
    """
    known = _AUDIENCES.get(audience)
    if known is None:
        raise ValueError(f"{audience!r} is not one of {', '.join(_AUDIENCES)}")
    wanted = ("facility",) if known is Audience.BROADCAST else (audience, "facility")
    if len(names) != len(wanted):
        raise ValueError(f"{audience} takes {' and '.join(wanted)}, not {len(names)} names")
    for each in names:
        if not isinstance(each, str):
            raise ValueError(f"a name is a str, not {type(each).__name__}")
    # The key of a session is a secret.
    if known is not Audience.BROADCAST and (not names[0] or ":" in names[0]):
        raise ValueError(f"a {audience} whose name is empty or has a colon has no channel")
    group = ".".join(("ws", audience, *map(_escaped, names)))
    if len(group) > MAX_GROUP:
        raise ValueError(
            f"the name of the group would have {len(group)} characters, more than {MAX_GROUP}"
        )
    return group


def parse_gateway_group(group: str) -> GatewayGroup | None:
    """
    Read the name of a group.

    Returns:
        The channel of the gateway that it stands for. None if it is an ordinary group: its name
        does not begin with ``ws.`` and an audience.

    Raises:
        ValueError: It begins like that, but `gateway_group` never makes it.
    """
    start, _, rest = group.partition(".")
    audience, dot, rest = rest.partition(".")
    known = _AUDIENCES.get(audience)
    if start != "ws" or known is None or not dot:
        return None
    try:
        names = [*map(_unescaped, rest.split("."))]
        made = gateway_group(audience, *names)
    except ValueError:
        made = ""
    if made != group:
        owner = "" if known is Audience.BROADCAST else f"{known.name}."
        raise ValueError(
            f"a group that begins with ws.{audience}. is a channel of the gateway, of the form "
            f"ws.{audience}.{owner}FACILITY; gateway_group makes such names"
        )
    return GatewayGroup(known, *names) if len(names) > 1 else GatewayGroup(known, "", *names)


def loggable_group(group: str) -> str:
    """Return the name of a group for the log: without the key of a session."""
    return _SESSION_KEY.sub("ws.session...", group)


def _escaped(name: str) -> str:
    return "".join(chr(byte) if byte in _PLAIN else f"_{byte:02X}" for byte in name.encode())


def _unescaped(part: str) -> str:
    return _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), part.encode()).decode()
