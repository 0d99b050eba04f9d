"""Parts that the tests of ASGI share: a reactor whose turns are counted, and a loop in it."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.threads import ThreadReactor
from wsredis.web.asgi.link import Bridge, Link, Running, Turns
from wsredis.web.asgi.loop import ReactorLoop

__all__ = ["BridgeCase", "LinkCase", "LoopCase", "TurnsCase", "TurnsLinkCase"]


class TurnsCase(SynchronousTestCase):
    """A reactor on a fake clock, whose turns the test counts."""

    def setUp(self) -> None:
        """Make it."""
        self.reactor: Any = ThreadReactor()
        # A clock is never at 0.
        self.reactor.rightNow = 1.0
        self.said: list[Any] = []

    def turn(self) -> None:
        """What the reactor does next: it reads, and then runs what is due."""
        for reader in self.ready():
            reader.doRead()
        # Not by `advance`: what is due at once is so in the next turn.
        due = [each for each in self.reactor.calls if each.getTime() <= self.reactor.seconds()]
        for call in due:
            self.reactor.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)

    def ready(self) -> list[Any]:
        """The readers of the reactor that have something."""
        poller = selectors.DefaultSelector()
        with poller:
            for reader in self.reactor.readers:
                poller.register(reader.fileno(), selectors.EVENT_READ, reader)
            return [key.data for key, _ in poller.select(0)]

    def busy(self, name: object, seconds: float) -> Callable[[], None]:
        """A callback that takes so long."""

        def callback() -> None:
            self.said.append(name)
            self.reactor.rightNow += seconds

        return callback


class LoopCase(TurnsCase):
    """A loop with a budget of one second."""

    def setUp(self) -> None:
        """Attach it."""
        super().setUp()
        self.loop = ReactorLoop(self.reactor, 1.0, 5.0, self.reactor.seconds)
        self.addCleanup(self.loop.close)
        self.addCleanup(self.loop.detach)
        self.loop.attach()

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """Two sockets that are connected."""
        ours, theirs = socket.socketpair()
        for each in (ours, theirs):
            self.addCleanup(each.close)
            each.setblocking(False)
        return ours, theirs


class LinkCase(TurnsCase):
    """An application that runs by the link of the subclass."""

    link: Link

    def setUp(self) -> None:
        """Start it."""
        super().setUp()
        self.link = self.make()
        self.link.start()
        self.addCleanup(self.link.stop)
        self.ends: list[Any] = []

    def make(self) -> Link:
        """The link."""
        raise NotImplementedError

    def settle(self) -> None:
        """Let both sides do what they have to do."""
        raise NotImplementedError

    def end(self, error: BaseException | None) -> None:
        """Take note of an end, and of the thread in which it is told."""
        self.ends.append(error)
        self.assertIs(threading.main_thread(), threading.current_thread())

    def spawn(self, coroutine: Any) -> Running:
        """Run it."""
        return self.link.spawn("a call", coroutine, self.end)


class TurnsLinkCase(LinkCase):
    """Applications in the reactor's thread."""

    def make(self) -> Link:
        """A link whose turns have no end."""
        return Turns(self.reactor, 1.0, 10.0, 5.0, self.reactor.seconds)

    def settle(self) -> None:
        """Let the reactor turn."""
        for _ in range(4):
            self.turn()


class BridgeCase(LinkCase):
    """Applications in a thread of their own."""

    def make(self) -> Link:
        """A link between two threads."""
        return Bridge(self.reactor, 10.0)

    def settle(self) -> None:
        """Wait until each side has called the other a few times."""
        reached: list[None] = []
        for number in range(1, 5):
            self.link.to_application(self.link.to_gateway, reached.append, None)
            self.reactor.run_until(lambda number=number: len(reached) == number)
            self.turn()
