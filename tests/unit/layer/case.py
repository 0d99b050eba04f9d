"""A carrier whose connections lead into this process, for tests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.layer import SocketRedis
from wsredis.layer.answers import ask
from wsredis.layer.carrier import Command
from wsredis.layer.home import Home
from wsredis.layer.hosts import read_hosts
from wsredis.layer.multiplex import Multiplex


class _Sink:
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes]] = []
        self.gaps: list[float] = []
        self.changed: asyncio.Event | None = None
        self.fails = False

    def heard(self, channel: bytes, payload: bytes) -> None:
        """See `Sink`."""
        self.messages.append((channel, payload))
        if self.changed is not None:
            self.changed.set()
        if self.fails:
            raise ValueError("a bug")

    def gap(self, seconds: float) -> None:
        """See `Sink`."""
        self.gaps.append(seconds)
        if self.changed is not None:
            self.changed.set()


class MultiplexCase(SynchronousTestCase):
    """A carrier whose connections lead into this process."""

    def setUp(self) -> None:
        """Make it."""
        log, quiet = logging.getLogger("wsredis.layer"), logging.NullHandler()
        log.addHandler(quiet)
        log.propagate = False
        self.addCleanup(setattr, log, "propagate", True)
        self.addCleanup(log.removeHandler, quiet)
        self.redis = SocketRedis()
        self.addCleanup(self.redis.kill)
        self.sink = _Sink()
        self.home = Home()
        self.clock = Clock()
        self.carrier = Multiplex(
            read_hosts([{"host": "r", "socket_timeout": 5}])[0],
            self.sink,
            self.home,
            self.redis.dial,
            self.clock.seconds,
        )
        self.addCleanup(self.carrier.close)

    async def call(self, *commands: Command) -> Sequence[Any]:
        """Send commands and wait for the replies."""
        replies: Sequence[Any] = await ask(self.home, partial(self.carrier.call, commands))
        return replies

    async def subscribe(self, channel: bytes) -> None:
        """Hear a channel."""
        await ask(self.home, partial(self.carrier.subscribe, channel))

    async def until(self, found: Callable[[], object]) -> None:
        """Wait until the sink has heard enough."""
        while not found():
            self.sink.changed = asyncio.Event()
            if found():
                return
            await self.home.wait(asyncio.ensure_future(self.sink.changed.wait()), receives=True)
