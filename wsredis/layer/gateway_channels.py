"""
Groups of the channel layer that are the gateway's channels.

What is sent to such a group is the message of a publisher: clients of plain sockets get it as it
is. What consumers in such a group get is what the clients get.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsredis.channels import channel_name, stored_key
from wsredis.group_names import parse_gateway_group
from wsredis.layer.carrier import Command
from wsredis.layer.messages import Message

__all__ = ["GatewayChannels"]


class GatewayChannels:
    """
    Knows the gateway's channels by the names of groups.

    Args:
        prefix: As ``--prefix`` of the gateway.
        stored_prefix: As ``--stored-prefix`` of the gateway.
    """

    def __init__(self, prefix: str = "", stored_prefix: str = "") -> None:
        self._prefix = prefix
        self._stored_prefix = stored_prefix

    def channel(self, group: str) -> bytes | None:
        """
        Name the channel that a group stands for. None for an ordinary group.

        Raises:
            ValueError: The name begins like that of such a group, and is none.
        """
        if not group.startswith("ws."):
            return None
        found = parse_gateway_group(group)
        if found is None:
            return None
        return channel_name(self._prefix, found.facility, found.audience, found.owner)

    def publication(self, channel: bytes, message: Mapping[str, Any]) -> list[Command]:
        """
        Return the commands that publish a message.

        Args:
            message: Its type is ``websocket.send``, and it has ``text`` or ``bytes``. With
                ``expire``, it is stored for so many seconds, as publishers do by default.

        Raises:
            ValueError: It is not such a message.
        """
        kind = message.get("type")
        if kind != "websocket.send":
            raise ValueError(
                f"a message to a channel of the gateway has the type websocket.send, not {kind!r}"
            )
        text, data = message.get("text"), message.get("bytes")
        if isinstance(text, str) and data is None:
            payload = text.encode()
        elif isinstance(data, (bytes, bytearray, memoryview)) and text is None:
            payload = bytes(data)
        else:
            raise ValueError("a message has either text, which is a str, or bytes")
        expire = message.get("expire", 0)
        if type(expire) is not int or expire < 0:
            raise ValueError(f"expire: {expire!r} is not a whole number of seconds")
        commands: list[Command] = []
        if expire:
            commands.append(("SETEX", stored_key(self._stored_prefix, channel), expire, payload))
        commands.append(("PUBLISH", channel, payload))
        return commands

    def event(self, channel: bytes, payload: bytes) -> Message:
        """Make the message that a consumer gets for a publication on one of these channels."""
        start = len(self._prefix.encode()) + 1 if self._prefix else 0
        name = channel[start:].decode()
        try:
            return {"type": "gateway.message", "channel": name, "text": payload.decode()}
        except UnicodeDecodeError:
            return {"type": "gateway.message", "channel": name, "bytes": payload}
