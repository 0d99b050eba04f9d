"""
The connections of one gateway: their number, their limits, and the timers that visit them.

`Registry.refusal` is the one place that asks for room and for stopping. A limit on the rate of
handshakes belongs there as well; one on the rate of messages is a further `PauseReason`, asked for
in `wsredis.gateway.connection.Connection`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from operator import methodcaller
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from wsredis.config import Limits
from wsredis.errors import HandshakeRejected
from wsredis.gateway.broker import Broker
from wsredis.gateway.connection_set import ConnectionSet
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.timers import StaggeredTimer, TimeoutQueue
from wsredis.transports.websocket.http import HttpSite

__all__ = ["Member", "Registry", "Step"]


class Step(Enum):
    """The steps of a TCP connection that need room."""

    #: A client has connected.
    CONNECT = 1
    #: A request is to be handed to plain HTTP.
    HTTP = 2
    #: Plain HTTP gave a connection back, since it brings a handshake.
    RETURN = 3
    #: A handshake is to be decided.
    DECIDE = 4
    #: An accepted handshake is to be answered.
    OPEN = 5


# A member of an Enum is looked up slowly, and these are needed for each connection.
_CONNECT, _HTTP, _RETURN = Step.CONNECT, Step.HTTP, Step.RETURN


class Member(Protocol):
    """The part of a connection that the registry needs."""

    transport: Any

    def close(self, code: int, reason: str) -> None:
        """Start the closing handshake."""

    def check_alive(self) -> None:
        """Ping the client; drop it if it gave no sign of life since the last time."""

    def send_heartbeat(self) -> None:
        """Send the heartbeat of the dialect."""

    def handshake_timed_out(self) -> None:
        """Refuse the request: it took too long."""

    def close_timed_out(self) -> None:
        """Reset the connection: it was not closed in time."""


class Registry:
    """
    Counts the connections of a gateway, and visits them from time to time.

    Args:
        site: Asked for its room for plain HTTP.
        ping_interval: Seconds between two pings of one client.
        heartbeat_intervals: The seconds between two heartbeats that clients may have.

    Attributes:
        connections: The WebSockets whose handshake was answered, until their socket is gone.
        handshakes: Connections whose request has not been answered yet.
        closing: Connections that are being closed.
        sockets: The number of all TCP connections.
        stopping: Tells whether the gateway stops, and no handshake is accepted any more.
    """

    def __init__(
        self,
        clock: IReactorTime,
        limits: Limits,
        broker: Broker,
        metrics: Metrics,
        site: HttpSite,
        *,
        ping_interval: float,
        heartbeat_intervals: Iterable[float] = (),
    ) -> None:
        self._limits = limits
        self._broker = broker
        self._metrics = metrics
        self._site = site
        self._max_sockets = limits.max_connections + limits.max_handshakes + site.max_channels
        self.sockets = 0
        self.stopping = False
        self.connections: ConnectionSet[Member] = ConnectionSet()
        self.handshakes: TimeoutQueue[Member] = TimeoutQueue(
            clock, limits.handshake_timeout, methodcaller("handshake_timed_out")
        )
        self.closing: TimeoutQueue[Member] = TimeoutQueue(
            clock, limits.close_timeout, methodcaller("close_timed_out")
        )
        self._pings: StaggeredTimer[Member] = StaggeredTimer(
            clock, ping_interval, methodcaller("check_alive")
        )
        self._heartbeats: dict[float, StaggeredTimer[Member]] = {
            interval: StaggeredTimer(clock, interval, methodcaller("send_heartbeat"))
            for interval in heartbeat_intervals
        }

    def refusal(self, step: Step) -> HandshakeRejected | None:
        """
        Tell why a connection may not take *step*. None if it may.

        This asks only; the methods below count.
        """
        limits = self._limits
        if step is _CONNECT:
            if len(self.handshakes) >= limits.max_handshakes or self.sockets >= self._max_sockets:
                return _full("--max-connections, --max-handshakes")
        elif step is _RETURN:
            if len(self.handshakes) >= limits.max_handshakes:
                return _full("--max-handshakes")
        elif step is _HTTP:
            if self._site.is_full():
                return _full("--max-handshakes, for pages")
        elif self.stopping:
            return HandshakeRejected("try again later", 503, "the gateway stops")
        elif not self._broker.up:
            return HandshakeRejected("try again later", 503, "Redis is away")
        elif len(self.connections) >= limits.max_connections:
            return _full("--max-connections")
        return None

    def start(self) -> None:
        """Begin to look after connections."""
        for timer in self._timers():
            timer.start()

    def stop(self) -> None:
        """End the timers, and reset all connections that are left."""
        for timer in self._timers():
            timer.stop()
        for member in [*self.connections, *self.handshakes, *self.closing]:
            member.transport.abortConnection()

    def drain(self) -> Deferred[None]:
        """
        Accept no more handshakes, and close all WebSockets with 1001.

        The close frame follows what is already on its way to the client.

        Returns:
            Fires when the last one is gone. Cancelling it changes nothing.
        """
        self.stopping = True
        for member in self.connections:
            member.close(1001, "the gateway stops")
        return self.connections.when_empty()

    # -- The life of a connection

    def connected(self, member: Member) -> None:
        """Count a new TCP connection, and limit the time for its request."""
        self.sockets += 1
        self.handshakes.add(member)

    def returned(self, member: Member) -> None:
        """Limit the time of a connection that plain HTTP gave back."""
        self.handshakes.add(member)

    def handed_over(self, member: Member) -> None:
        """Leave the time of a connection to plain HTTP."""
        self.handshakes.discard(member)

    def opened(self, member: Member, heartbeat_interval: float | None) -> None:
        """
        Count a WebSocket, and look after it.

        Args:
            heartbeat_interval: Seconds between two heartbeats. If None, it gets none.
        """
        self.handshakes.discard(member)
        self.connections.add(member)
        self._metrics.opened += 1
        self._metrics.connections += 1
        self._pings.add(member)
        if heartbeat_interval is not None:
            self._heartbeats[heartbeat_interval].add(member)

    def detached(self, member: Member) -> None:
        """Look after a WebSocket no more: no frame may follow. Harmless if it is not a member."""
        self._pings.discard(member)
        for timer in self._heartbeats.values():
            timer.discard(member)

    def last_bytes(self, member: Member) -> None:
        """Limit the time for the end of a connection; its last frame or answer is on its way."""
        self.handshakes.discard(member)
        self.closing.add(member)

    def connection_lost(self, member: Member) -> bool:
        """
        Forget a connection that is gone.

        Returns:
            Whether it was a WebSocket whose handshake had been answered.
        """
        self.sockets -= 1
        self.handshakes.discard(member)
        self.closing.discard(member)
        if member not in self.connections:
            return False
        self._metrics.connections -= 1
        self.connections.discard(member)
        return True

    def _timers(self) -> list[Any]:
        return [self.handshakes, self.closing, self._pings, *self._heartbeats.values()]


def _full(hint: str) -> HandshakeRejected:
    return HandshakeRejected("too many connections", 503, hint)
