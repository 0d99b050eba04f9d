"""The layer's own connections to one Redis: one for commands and one for publications."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic

from wsredis.layer.carrier import Command, Done, Sink
from wsredis.layer.commands import Commands
from wsredis.layer.dial import Dial, dial
from wsredis.layer.home import Home
from wsredis.layer.hosts import Host
from wsredis.layer.publications import Confirmed, Publications

__all__ = ["Multiplex"]


class Multiplex:
    """
    A `Carrier` with connections of its own, each made when it is first needed.

    Args:
        home: Finds the loop that reads.
        dial: Connects.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        host: Host,
        sink: Sink,
        home: Home,
        dial: Dial = dial,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._commands = Commands(host, home, dial, "commands", clock)
        self._publications = Publications(host, home, dial, "publications", clock)
        self._publications.sink = sink

    def call(self, commands: Sequence[Command], done: Done) -> None:
        """See `Carrier`."""
        self._commands.call(commands, done)

    def subscribe(self, channel: bytes, done: Confirmed) -> None:
        """See `Carrier`."""
        self._publications.subscribe(channel, done)

    def unsubscribe(self, channel: bytes) -> None:
        """See `Carrier`."""
        self._publications.unsubscribe(channel)

    def close(self) -> None:
        """See `Carrier`."""
        self._publications.forget()
        for link in (self._publications, self._commands):
            link.close()

    def abandon(self) -> None:
        """Drop the connections in a process that was forked: they are the parent's."""
        for link in (self._publications, self._commands):
            link.abandon()
