"""The two lines that ``--verbose`` logs for each WebSocket: opened, and closed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsredis.channels import Access, loggable_channel
from wsredis.errors import CLOSE_CODES
from wsredis.gateway.connection import Connection
from wsredis.transports.sockets import Traffic

__all__ = ["Ending", "code_in_words", "ending_of", "log_closed", "log_opened"]

#: Channels that one line names.
_CHANNELS = 8

#: Characters of a reason, a facility or a name, which the client may have chosen.
_LOGGED = 200

#: Close codes that the gateway never sends (RFC 6455, 7.4.1).
_OTHER_CODES = {
    1003: "unsupported data",
    1005: "no code",
    1006: "no close frame",
    1010: "extension missing",
    1012: "service restart",
    1014: "bad gateway",
}

_log = Logger()


class Ending(Protocol):
    """
    The end of a WebSocket, as Autobahn keeps it.

    Attributes:
        closedByMe: The gateway sent the first close frame.
        wasClean: Both sides sent a close frame.
        cause: The reason for which the gateway cut the connection. Empty if it did not.
    """

    closedByMe: bool
    wasClean: bool
    cause: str
    localCloseCode: int | None
    localCloseReason: bytes | None
    remoteCloseCode: int | None
    remoteCloseReason: str | None


def code_in_words(code: int) -> str:
    """Tell the meaning of a close code in one or two words. Empty if it is one of applications."""
    if code in CLOSE_CODES:
        return CLOSE_CODES[code].meaning.partition(":")[0]
    return _OTHER_CODES.get(code, "")


def ending_of(end: Ending, reason: Failure) -> tuple[str, int, str]:
    """
    Tell how a WebSocket ended.

    Args:
        reason: The end of its TCP connection.

    Returns:
        The side that closed it: client, gateway, or network. The close code of that side, or 1006
        if it sent none. The reason that it gave.
    """
    if end.closedByMe:
        sent = (end.localCloseReason or b"").decode("utf-8", "replace")
        return "gateway", end.localCloseCode or 1005, sent
    if end.wasClean:
        return "client", end.remoteCloseCode or 1005, end.remoteCloseReason or ""
    if end.cause or reason.check(ConnectionAborted):
        return "gateway", 1006, end.cause
    return ("client" if reason.check(ConnectionDone) else "network"), 1006, ""


def _shown(channels: Sequence[bytes]) -> list[str]:
    names = [loggable_channel(each) for each in channels[:_CHANNELS]]
    more = len(channels) - len(names)
    return [*names, f"and {more} more"] if more else names


def _fields(connection: Connection) -> dict[str, Any]:
    user = connection.identity.user and connection.identity.user[:_LOGGED]
    hears, publishes = _shown(connection.channels), _shown(connection.publishes)
    return {
        "peer": connection.peer,
        "id": connection.id,
        "facility": connection.granted.facility[:_LOGGED],
        "user": user,
        "hears": hears,
        "publishes": publishes,
        "_user": "anonymous" if user is None else f"user {user!r}",
        "_hears": _listed(hears),
        "_publishes": _listed(publishes),
    }


def _listed(names: Sequence[str]) -> str:
    # Names that a client has chosen may have any character in them.
    return ", ".join(ascii(each)[1:-1] for each in names) or "nothing"


def _by(transport: str) -> str:
    return "" if transport == "websocket" else f", {transport}"


def log_opened(
    connection: Connection, requested: Access | None, transport: str = "websocket"
) -> None:
    """
    Log that a client is open.

    Args:
        requested: The rights that it asked for. None if there is no question of rights.
        transport: The way by which it hears.
    """
    granted = connection.granted.flags
    refused = [] if requested is None else [e for e in requested.flags if e not in granted]
    rights = "" if requested is None else f"; granted {_listed(granted)}"
    if refused:
        rights += f", not granted {_listed(refused)}"
    _log.info(
        "opened {peer} on {facility!r} ({id}{_by}): {_user} hears {_hears} and publishes on "
        "{_publishes}{_rights}",
        event="connection-opened",
        transport=transport,
        granted=granted,
        refused=refused,
        _by=_by(transport),
        _rights=rights,
        **_fields(connection),
    )


def log_closed(
    connection: Connection,
    end: Ending,
    reason: Failure,
    seconds: float,
    traffic: Traffic | None,
    transport: str = "websocket",
) -> None:
    """
    Log that a client is gone.

    Args:
        reason: The end of its TCP connection.
        seconds: The time for which it was open.
        traffic: The bytes in both directions. If None, the system does not tell.
        transport: The way by which it heard.
    """
    by, code, text = ending_of(end, reason)
    words = code_in_words(code)
    _log.info(
        "closed {peer} on {facility!r} ({id}{_by}) by the {by} with {code}{_meaning}{_reason} "
        "after {seconds} s: {messages} messages{_bytes} of {_user}, who heard {_hears} and "
        "published on {_publishes}",
        event="connection-closed",
        transport=transport,
        _by=_by(transport),
        **_fields(connection),
        by=by,
        code=code,
        meaning=words,
        reason=text[:_LOGGED],
        seconds=round(seconds, 3),
        messages=connection.messages,
        bytes_in=None if traffic is None else traffic.received,
        bytes_out=None if traffic is None else traffic.sent,
        _meaning=f" ({words})" if words else "",
        _reason=f", {text[:_LOGGED]!r}," if text else "",
        _bytes=""
        if traffic is None
        else f", {traffic.received} bytes in and {traffic.sent} bytes out",
    )
