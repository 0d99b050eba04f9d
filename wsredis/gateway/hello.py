"""
The subprotocol ``wsredis``: the gateway tells a client of itself, and both show that they live.

Messages of the gateway itself are binary ones that are UTF-8: publications of that kind are text,
so nothing is ambiguous. An empty one is a sign of life, which the client answers with another one.
Any other is a *notice*, a JSON object. A page sees neither WebSocket pings nor the status of a
refused handshake; this is for the sake of pages.
"""

from __future__ import annotations

import json

from wsredis.channels import Audience
from wsredis.gateway.connection import Connection

__all__ = ["HEARTBEAT", "SUBPROTOCOL", "hello", "notice"]

#: The name that a client offers.
SUBPROTOCOL = "wsredis"

#: The longest time between two signs of life, in seconds.
HEARTBEAT = 25.0

_EVERYBODY = frozenset({Audience.BROADCAST})

_encode = json.JSONEncoder().encode


def hello(connection: Connection, heartbeat: float | None) -> dict[str, object]:
    """
    Tell a client of itself: what it was granted and has a channel for, and what else helps.

    Neither the key of a session nor the name of a channel is in it.

    Args:
        heartbeat: Seconds between two signs of life of the gateway. None if it gives none.
    """
    granted = connection.granted
    subscribe, publish = connection.audiences()
    is_personal = not (granted.subscribe | granted.publish) <= _EVERYBODY
    return {
        "id": connection.id,
        "heartbeat": heartbeat,
        "subscribe": subscribe,
        "publish": publish,
        "user": connection.identity.user if is_personal else None,
        "hints": [*connection.hints],
    }


def notice(name: str, fields: dict[str, object]) -> bytes:
    """Return the payload of a notice: an object in ASCII with one member."""
    return _encode({name: fields}).encode()
