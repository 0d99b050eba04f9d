"""
The places of one gateway: for TCP connections, for handshakes under way and for WebSockets.

Each kind has a number of places, which the addresses of clients share. A TCP connection that has
not said anything takes no place for a handshake, and is the first to go when there is no room.
"""

from __future__ import annotations

from typing import Protocol

from wsredis.config import Limits, setting_of
from wsredis.errors import HandshakeRejected
from wsredis.gateway.shares import SharedBound

__all__ = ["Place", "Slots"]

_MAX_CONNECTIONS = setting_of(Limits, "max_connections").name
_MAX_HANDSHAKES = setting_of(Limits, "max_handshakes").name
_PER_ADDRESS = setting_of(Limits, "max_connections_per_address").name
_PER_USER = setting_of(Limits, "max_connections_per_user").name


class Place(Protocol):
    """
    A connection that has places.

    Attributes:
        address: See `wsredis.gateway.identity.Handshake.address`.
    """

    @property
    def address(self) -> str: ...

    def dropped(self, reason: str) -> None:
        """Reset the connection, which has not said anything. *reason* is one of few."""


#: WebSockets that an address may have as long as any place is free: a browser with a few pages.
_LEAST = 8


class Slots:
    """
    Counts places, and makes room.

    Args:
        pages: TCP connections that plain HTTP may have beside the others.

    Attributes:
        sockets: The places for TCP connections.
        handshakes: The places for requests that have begun and are not answered yet.
        websockets: The places for WebSockets.
    """

    def __init__(self, limits: Limits, pages: int) -> None:
        per_address = limits.max_connections_per_address
        others = limits.max_handshakes + pages
        self.sockets = SharedBound(
            limits.max_connections + others, None if per_address is None else per_address + others
        )
        self.handshakes = SharedBound(limits.max_handshakes)
        self.websockets = SharedBound(limits.max_connections, per_address, least=_LEAST)
        self._per_user = limits.max_connections_per_user
        self._users: dict[str, int] = {}
        # Both in the order in which they came; a dictionary is the smaller set.
        self._silent: dict[Place, None] = {}
        self._silent_of: dict[str, dict[Place, None]] = {}

    # -- TCP connections

    def connect(self, place: Place) -> HandshakeRejected | None:
        """
        Count a new TCP connection, which is silent.

        If there is no room, the oldest silent one goes: of its address, or of all.

        Returns:
            The reason for which it is refused. It is counted all the same, until `disconnect`.
        """
        address, sockets = place.address, self.sockets
        refusal = None
        if not sockets.has_room(address):
            if sockets.is_full():
                oldest = next(iter(self._silent), None)
            else:
                oldest = next(iter(self._silent_of.get(address, ())), None)
            if oldest is not None:
                # Its place is free when it is gone, which may be a moment later.
                oldest.dropped("it said nothing, and others need its place")
            elif sockets.is_full():
                refusal = _full(_MAX_CONNECTIONS, f", --{_MAX_HANDSHAKES}")
            else:
                refusal = _too_many(_PER_ADDRESS)
        sockets.add(address)
        if refusal is None:
            self._silent[place] = None
            self._silent_of.setdefault(address, {})[place] = None
        return refusal

    def spoke(self, place: Place) -> bool:
        """Tell that a connection has said something. If False, it had before."""
        if place not in self._silent:
            return False
        del self._silent[place]
        address = place.address
        silent = self._silent_of[address]
        del silent[place]
        if not silent:
            del self._silent_of[address]
        return True

    def disconnect(self, place: Place) -> None:
        """Give the place of a TCP connection back."""
        self.spoke(place)
        self.sockets.release(place.address)

    # -- Handshakes and WebSockets

    def handshake_refusal(self, address: str) -> HandshakeRejected | None:
        """Tell why *address* may not begin a handshake. None if it may."""
        if self.handshakes.has_room(address):
            return None
        if self.handshakes.is_full():
            return _full(_MAX_HANDSHAKES)
        return _too_many(_MAX_HANDSHAKES, "a share of ")

    def websocket_refusal(self, address: str, user: str | None) -> HandshakeRejected | None:
        """Tell why *user* at *address* gets no further WebSocket. None if it does."""
        if user is not None and self._users.get(user, 0) >= self._per_user:
            return _too_many(_PER_USER)
        if self.websockets.has_room(address):
            return None
        return _full(_MAX_CONNECTIONS) if self.websockets.is_full() else _too_many(_PER_ADDRESS)

    def open(self, address: str, user: str | None) -> None:
        """Count a WebSocket."""
        self.websockets.add(address)
        if user is not None:
            self._users[user] = self._users.get(user, 0) + 1

    def close(self, address: str, user: str | None) -> None:
        """Count it no more."""
        self.websockets.release(address)
        if user is not None:
            left = self._users[user] - 1
            if left:
                self._users[user] = left
            else:
                del self._users[user]


def _full(limit: str, others: str = "") -> HandshakeRejected:
    return HandshakeRejected("too many connections", 503, f"--{limit}{others}", cause=limit)


def _too_many(limit: str, of_it: str = "") -> HandshakeRejected:
    return HandshakeRejected(
        "too many connections of one client", 429, f"{of_it}--{limit}", cause=limit
    )
