"""
Groups of the channel layer that are the gateway's channels.

What is sent to such a group is the message of a publisher: clients of plain sockets get it as it
is. What consumers in such a group get is what the clients get.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from wsredis.channels import channel_name, stored_key
from wsredis.errors import ConfigError
from wsredis.group_names import parse_gateway_group
from wsredis.layer.carrier import Command
from wsredis.layer.messages import Message
from wsredis.publisher.settings import check, configured_prefix, configured_stored_prefix

__all__ = ["GatewayChannels", "use_prefixes"]


#: The prefixes of the gateways in this process.
_gateways: list[tuple[str, str]] = []


def use_prefixes(prefix: str, stored_prefix: str) -> Callable[[], None]:
    """
    Let layers of this process use the prefixes of a gateway that runs in it.

    Returns: Ends this.
    """
    prefixes = (prefix, stored_prefix)
    _gateways.append(prefixes)
    return lambda: _gateways.remove(prefixes)


class GatewayChannels:
    """
    Knows the gateway's channels by the names of groups.

    Args:
        prefix: As ``--prefix`` of the gateway. If None, it is that of the gateway in this process,
            or else the one that publishers use.
        stored_prefix: As ``--stored-prefix`` of the gateway. If None, likewise.

    Raises:
        ConfigError: A prefix cannot be used. The text names it.
    """

    def __init__(self, prefix: str | None = None, stored_prefix: str | None = None) -> None:
        self._given = tuple(
            None if value is None else str(_checked(name, value))
            for name, value in (("prefix", prefix), ("stored-prefix", stored_prefix))
        )

    @cached_property
    def _prefix(self) -> str:
        """It is found out late: the project may not be loaded when the layer is made."""
        given = self._given[0]
        if given is None:
            given = _gateways[-1][0] if _gateways else configured_prefix()
        return given

    @cached_property
    def _stored_prefix(self) -> str:
        given = self._given[1]
        if given is None:
            given = _gateways[-1][1] if _gateways else configured_stored_prefix()
        return given

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


def _checked(name: str, value: object) -> Any:
    try:
        return check(name, value)
    except ConfigError as error:
        raise ConfigError(f"gateway_{name.replace('-', '_')}: {error}") from None
