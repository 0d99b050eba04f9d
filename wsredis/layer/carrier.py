"""
The port between the channel layer and Redis, and the place for another carrier than the own one.

A layer outside the gateway has connections of its own, `wsredis.layer.multiplex`. Inside a gateway
process the service registers a carrier that is the gateway's own broker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from wsredis.config.redis_url import RedisTarget

__all__ = ["Carrier", "Command", "Done", "Sink", "carrier_for", "register"]

#: One command of Redis: its name and its arguments.
Command = tuple[bytes | str | int, ...]

#: Takes the replies to commands, in order, in which an error of Redis is an exception; or the
#: exception for which there are none: `LayerUnavailable` if nothing was sent, else
#: `LayerOutcomeUnknown`.
Done = Callable[[Sequence[Any] | Exception], None]


class Sink(Protocol):
    """What a carrier tells a layer. It is called in any thread, in one at a time."""

    def heard(self, channel: bytes, payload: bytes) -> None:
        """Take a publication on a channel that is subscribed."""

    def gap(self, seconds: float) -> None:
        """
        Take note that publications may have been lost.

        It is called when all channels are subscribed again.

        Args:
            seconds: The length of the time in which nothing was heard.
        """


class Carrier(Protocol):
    """
    Carries commands and publications between the layer and one Redis.

    All methods may be called in any thread, and with or without a running loop. None of them
    blocks. *done* is called exactly once, in any thread, maybe before the method returns.
    """

    def call(self, commands: Sequence[Command], done: Done) -> None:
        """Send commands together, in this order. No transaction: others may come in between."""

    def subscribe(self, channel: bytes, done: Callable[[Exception | None], None]) -> None:
        """
        Hear a channel.

        Each call is undone by one of `unsubscribe`: a channel is heard until the last of them. If
        Redis is away, *done* gets `LayerUnavailable`, and the channel is heard when it is back;
        who does not want that calls `unsubscribe`.

        Args:
            done: Called with None when Redis has confirmed that the channel is heard.
        """

    def unsubscribe(self, channel: bytes) -> None:
        """Undo one `subscribe`."""

    def close(self) -> None:
        """End connections that belong to the layer alone. A later call makes new ones."""


_factories: list[Callable[[RedisTarget, Sink], Carrier | None]] = []


def register(factory: Callable[[RedisTarget, Sink], Carrier | None]) -> Callable[[], None]:
    """
    Let layers of this process use other carriers.

    A layer asks when it is used for the first time in the process, once for each of its hosts.

    Args:
        factory: Makes a carrier for a host and a layer. If it returns None, the layer makes its
            own connections.
    Returns: Ends this. Layers that have such a carrier keep it.
    """
    _factories.append(factory)
    return lambda: _factories.remove(factory)


def carrier_for(target: RedisTarget, sink: Sink) -> Carrier | None:
    """Return the carrier that is registered for a host. None if the layer has to make its own."""
    for factory in _factories:
        carrier = factory(target, sink)
        if carrier is not None:
            return carrier
    return None
