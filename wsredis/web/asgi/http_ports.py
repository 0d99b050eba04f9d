"""The ports of a connection with plain HTTP: the site that keeps it, and the server that calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from wsredis.gateway.connection_set import ConnectionSet
from wsredis.gateway.shares import SharedBound
from wsredis.web.asgi.http_cycle import HttpCycle
from wsredis.web.asgi.http_request import Request
from wsredis.web.asgi.link import Link, Running
from wsredis.web.asgi.scopes import Place, Whereabouts

__all__ = ["Kept", "Room", "Serving", "Timed"]


class Kept(Protocol):
    """
    The part of a site that all its connections share.

    Attributes:
        channels: The connections that it has.
        places: Their number by address. None if it does not count them.
        max_head: Bytes that the head of a request may have.
        max_body: Bytes that the body of a request may have.
    """

    channels: ConnectionSet[Any]
    places: SharedBound | None
    max_head: int
    max_body: int

    def keeps_connections(self) -> bool:
        """Tell whether a connection stays open after an answer."""

    def is_own(self, path: str) -> bool:
        """Tell whether a path is one of the gateway itself, and not of an application."""

    def call_in_turn(self, function: Callable[[], None]) -> None:
        """Call a function when those that wait were called, a few in a turn of the reactor."""


class Timed(Protocol):
    """A connection that is looked after."""

    def check(self, tick: int) -> None:
        """Close the connection if something has taken too long. *tick* is `Serving.tick`."""


class Room(Protocol):
    """Bounds what an application works on at a time."""

    def enter(self) -> bool:
        """Take a place. False if there is none."""

    def leave(self) -> None:
        """Give a place back."""


class Serving(Protocol):
    """
    The part of a `wsredis.web.asgi.http_server.HttpServer` that its connections use.

    Attributes:
        link: Leads to the application.
        place: See `wsredis.web.asgi.scopes.Place`.
        tick: Seconds since some moment, roughly.
        date: The line of the header Date.
        room: Counts what the application works on.
    """

    link: Link
    place: Place
    tick: int
    date: bytes
    room: Room

    def opened(self, channel: Timed) -> None:
        """Look after a connection: `Timed.check` is called about once a second."""

    def lost(self, channel: Timed) -> None:
        """Look after it no more."""

    def call(self, cycle: HttpCycle) -> Running:
        """Call the application; it has a place in *room*."""

    def failed(self, request: Request, error: BaseException | None) -> None:
        """Log that the application has failed, or not answered."""

    def cut_off(self, reason: str) -> None:
        """Log that an answer was cut off. *reason* is one of few."""

    def answered(
        self, request: Request, where: Whereabouts, status: int, size: int, began: float
    ) -> None:
        """
        Count and log an answer.

        Args:
            size: Bytes of its body.
            began: The time at which the head of the request was whole, in seconds of the monotonic
                clock.
        """
