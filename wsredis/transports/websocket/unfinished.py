"""The input of all clients that is kept: messages that are not complete, and reads that wait."""

from __future__ import annotations

from heapq import heapify, heappop, heapreplace
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from wsredis.gateway.timers import TimeoutQueue

__all__ = ["InputOwner", "UnfinishedInput"]

#: Seconds in which a message has to become complete, or to grow by so many bytes.
_PERIOD = 9.0
_LEAST_GROWTH = 9216

#: When the total is passed, this part of it has to become free.
_FREED = 1 / 8


class InputOwner(Protocol):
    """
    A client whose input is kept.

    Attributes:
        address: The key by which clients are counted together.
    """

    @property
    def address(self) -> str: ...

    def message_growth(self) -> int | None:
        """
        Return the bytes that have come of the message since the last call.

        Returns:
            None if the client is paused: it cannot go on.
        """

    def input_refused(self, reason: str) -> None:
        """Reset the connection. *reason* is one of few."""


class UnfinishedInput:
    """
    Bounds the input that is kept of all clients, and the time for a message.

    When there is too much, the address that has most of it loses connections, the oldest first. A
    message that neither becomes complete nor grows costs its connection. The connections are reset:
    a client in the middle of a message does not look for a close frame.

    Args:
        limit: Bytes of all clients.

    Attributes:
        total: Bytes that are kept now.
    """

    def __init__(self, clock: IReactorTime, limit: int) -> None:
        self._limit = limit
        self.total = 0
        #: The bytes of each client, the oldest first, and of all clients of an address.
        self._clients: dict[str, dict[InputOwner, int]] = {}
        self._addresses: dict[str, int] = {}
        self._deadlines: TimeoutQueue[InputOwner] = TimeoutQueue(clock, _PERIOD, self._expired)

    def start(self) -> None:
        """Begin to look for messages that do not become complete."""
        self._deadlines.start()

    def stop(self) -> None:
        """End that."""
        self._deadlines.stop()

    def keep(self, client: InputOwner, size: int, has_message: bool) -> None:
        """
        Take note of the input of *client*. Clients may be closed, also this one.

        Args:
            size: Bytes that are kept of it now. 0 forgets it.
            has_message: Whether a message has begun.
        """
        if has_message:
            self._deadlines.add(client)
        else:
            self._deadlines.discard(client)
        self._count(client, size)
        if self.total > self._limit:
            self._relieve()

    def _relieve(self) -> None:
        """Reset clients until there is room."""
        # Many addresses may lose a client each: they are not all looked at for each of them.
        largest = [(-size, address) for address, size in self._addresses.items()]
        heapify(largest)
        while largest and self.total > self._limit * (1 - _FREED):
            address = largest[0][1]
            # A program that embeds the gateway may have closed others of them meanwhile.
            victim = next(iter(self._clients.get(address, ())), None)
            if victim is not None:
                self._count(victim, 0)
                self._deadlines.discard(victim)
                victim.input_refused("there is too much unfinished input")
            left = self._addresses.get(address)
            if left:
                heapreplace(largest, (-left, address))
            else:
                heappop(largest)

    def _count(self, client: InputOwner, size: int) -> None:
        address = client.address
        clients = self._clients.get(address)
        if clients is None:
            if not size:
                return
            clients = self._clients[address] = {}
            self._addresses[address] = 0
        change = size - clients.get(client, 0)
        self.total += change
        self._addresses[address] += change
        if size:
            clients[client] = size
        elif clients.pop(client, None) is not None and not clients:
            del self._clients[address], self._addresses[address]

    def _expired(self, client: InputOwner) -> None:
        growth = client.message_growth()
        if growth is None or growth >= _LEAST_GROWTH:
            self._deadlines.add(client)
        else:
            client.input_refused("the message did not come in time")
