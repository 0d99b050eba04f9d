"""
The connections of one gateway: their number, their limits, and the timers that visit them.

It is the one place that is asked for room and for stopping, and the one that counts. It is one
module because each of its methods changes the same counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from operator import methodcaller
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from wsredis.config import Limits, setting_of
from wsredis.errors import HandshakeRejected
from wsredis.gateway.broker import Broker
from wsredis.gateway.connection import Connection
from wsredis.gateway.connection_set import ConnectionSet
from wsredis.gateway.hello import HEARTBEAT
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.shares import RateLimit
from wsredis.gateway.timers import SpreadVisits, StaggeredTimer, TimeoutQueue
from wsredis.transports.websocket.http import HttpSite
from wsredis.transports.websocket.slots import Place, Slots

__all__ = ["Member", "Registry", "Step"]


class Step(Enum):
    """The steps of a request that need room."""

    #: A request is to be handed to plain HTTP.
    HTTP = 1
    #: A handshake is to be decided.
    DECIDE = 2
    #: An accepted handshake is to be answered.
    OPEN = 3


# A member of an Enum is looked up slowly, and these are needed for each connection.
_HTTP, _OPEN = Step.HTTP, Step.OPEN

_HANDSHAKE_RATE = setting_of(Limits, "handshake_rate").option

#: Handshakes that an address may send at once after a pause, in seconds of its rate.
_BURST = 10

#: Refusals of an address that are answered in a second, and at once after a pause. They cost about
#: as much as an accepted handshake.
_REFUSALS = 20
_REFUSALS_AT_ONCE = 100

#: Bytes of stored messages that cost about as much as a handshake.
_STORED_BYTES = 262144


class Member(Place, Protocol):
    """
    The part of a connection that the registry needs.

    Attributes:
        connection: The connection of the hub. None before it is admitted, and when it is gone.
        takes_place: Tells whether it wants one of the places for open clients. If False, it wants
            to publish one message.
    """

    transport: Any
    connection: Connection | None
    takes_place: bool

    @property
    def user(self) -> str | None:
        """The name of the user who has the connection. None if nobody is logged in."""

    @property
    def hears(self) -> bool:
        """Tells whether it is open, and subscribes to a channel."""

    def close(self, code: int, reason: str) -> None:
        """Start the closing handshake."""

    def check_alive(self) -> None:
        """Ping the client; drop it if it gave no sign of life since the last time."""

    def check_heartbeat(self) -> None:
        """Do the same with the heartbeat of the subprotocol ``wsredis`` in place of a ping."""

    def send_heartbeat(self) -> None:
        """Send the heartbeat of the dialect."""

    def handshake_timed_out(self) -> None:
        """Refuse the request: it took too long."""

    def queue_overdue(self) -> None:
        """Act on a client for which too much has been waiting for too long."""

    def close_timed_out(self) -> None:
        """Reset the connection: it was not closed in time."""


class Registry:
    """
    Counts the connections of a gateway, and visits them from time to time.

    Args:
        site: Asked for its room for plain HTTP.
        ping_interval: Seconds between two pings of one client. A client with the subprotocol
            ``wsredis`` gets its heartbeats as often, and at least every 25 seconds.
        heartbeat_intervals: The seconds between two heartbeats that clients may have.

    Attributes:
        connections: The WebSockets whose handshake was answered, until their socket is gone.
        handshakes: Connections whose request has not been answered yet.
        closing: Connections that are being closed.
        behind: Clients for which more than ``max_queue`` waits.
        heartbeat: Seconds between two heartbeats of the subprotocol ``wsredis``.
        slots: The places of all connections.
        has_warned: Tells whether the log has a line about a proxy that is not trusted.
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
        self._clock = clock
        self._rate = RateLimit(clock, limits.handshake_rate, limits.handshake_rate * _BURST)
        self._refusals = RateLimit(clock, _REFUSALS, _REFUSALS_AT_ONCE)
        self.slots = Slots(limits, site.max_channels)
        self.has_warned = False
        self.stopping = False
        self.connections: ConnectionSet[Member] = ConnectionSet()
        self.handshakes: TimeoutQueue[Member] = TimeoutQueue(
            clock, limits.handshake_timeout, self._handshake_timed_out
        )
        self.closing: TimeoutQueue[Member] = TimeoutQueue(
            clock, limits.close_timeout, methodcaller("close_timed_out")
        )
        self.behind: TimeoutQueue[Member] = TimeoutQueue(
            clock, limits.queue_grace, methodcaller("queue_overdue")
        )
        self._pings: StaggeredTimer[Member] = StaggeredTimer(
            clock, ping_interval, methodcaller("check_alive")
        )
        self.heartbeat = min(ping_interval, HEARTBEAT)
        self._beats: StaggeredTimer[Member] = StaggeredTimer(
            clock, self.heartbeat, methodcaller("check_heartbeat")
        )
        self._heartbeats: dict[float, StaggeredTimer[Member]] = {
            interval: StaggeredTimer(clock, interval, methodcaller("send_heartbeat"))
            for interval in heartbeat_intervals
        }
        self._goodbye = (1001, "")
        self._goodbyes: SpreadVisits[Member] = SpreadVisits(clock, self._say_goodbye)

    def now(self) -> float:
        """The time of the reactor, in seconds."""
        return self._clock.seconds()

    @property
    def sockets(self) -> int:
        """The number of all TCP connections."""
        return self.slots.sockets.held

    def refusal(self, step: Step, member: Member) -> HandshakeRejected | None:
        """Tell why *member* may not take *step*. None if it may. This only asks."""
        if step is _HTTP:
            if self._site.is_full():
                return HandshakeRejected(
                    "too many connections",
                    503,
                    "--max-handshakes, for pages",
                    cause="max-handshakes",
                )
            return None
        if self.stopping:
            return HandshakeRejected("try again later", 503, "the gateway stops", cause="stopping")
        if step is _OPEN and not self._broker.up:
            return HandshakeRejected("try again later", 503, "Redis is away", cause="redis-away")
        if not member.takes_place:
            return None
        return self.slots.websocket_refusal(member.address, member.user)

    def turn(self, address: str) -> Deferred[None] | None:
        """
        Count a handshake of *address*, and let it wait for its turn.

        Returns:
            Fires when the turn has come. None if it has come already.

        Raises:
            HandshakeRejected: It would not come within the time for the handshake.
        """
        if not address:
            return None
        if self._rate.wait(address) >= self._limits.handshake_timeout:
            self._refusals.spend(address)
            raise HandshakeRejected(
                "too many handshakes", 429, _HANDSHAKE_RATE, cause="handshake-rate"
            )
        delay = self._rate.spend(address)
        if not delay:
            return None
        self._metrics.slowed += 1
        return deferLater(self._clock, delay)

    def read_stored(self, address: str, size: int) -> None:
        """
        Count the stored messages that a handshake of *address* has read.

        Args:
            size: Their bytes. So many as cost as much as a handshake count as one more.
        """
        if address:
            self._rate.spend(address, size / _STORED_BYTES)

    def start(self) -> None:
        """Begin to look after connections."""
        for timer in self._timers():
            timer.start()

    def stop(self) -> None:
        """End the timers, refuse handshakes under way, and reset all other connections."""
        for timer in self._timers():
            timer.stop()
        self._goodbyes.stop()
        for member in [*self.connections, *self.closing]:
            member.transport.abortConnection()
        for member in [*self.handshakes]:
            if member.connection is not None:
                # It waits for the answer of an application or of an authenticator.
                member.close(1001, "the gateway stops")
            else:
                member.transport.abortConnection()

    def close_all(
        self,
        code: int,
        reason: str,
        spread: float,
        which: Callable[[Member], bool] | None = None,
    ) -> None:
        """
        Close the WebSockets that are open now, in slices. Their clients come back as slowly.

        A close frame follows what is already on its way to its client. A second call replaces the
        first one. While the gateway stops, `drain` closes them, and this does nothing.

        Args:
            code: One of `wsredis.errors.CLOSE_CODES`.
            reason: Text for the clients.
            spread: Seconds over which the slices are spread evenly. 0 closes all at once.
            which: Tells whether to close one of them. If None, all are closed.
        """
        if not self.stopping:
            self._start_goodbyes(code, reason, spread, which)

    def refuse_handshakes(self) -> None:
        """Accept no more handshakes: the gateway stops. WebSockets stay open until `drain`."""
        self.stopping = True

    def drain(self, spread: float = 0.0) -> Deferred[None]:
        """
        Accept no more handshakes, and close all WebSockets with 1001, or as they want it.

        The close frame follows what is already on its way to the client.

        Args:
            spread: See `close_all`. A second call with 0 closes the rest at once.

        Returns:
            Fires when the last one is gone. Cancelling it changes nothing.
        """
        self.refuse_handshakes()
        self._start_goodbyes(1001, "the gateway stops", spread)
        return self.connections.when_empty()

    def _start_goodbyes(
        self,
        code: int,
        reason: str,
        spread: float,
        which: Callable[[Member], bool] | None = None,
    ) -> None:
        self._goodbye = (code, reason)
        members = self.connections if which is None else filter(which, self.connections)
        self._goodbyes.start(members, spread)

    def _say_goodbye(self, member: Member) -> None:
        # Some leave by themselves before their turn.
        if member in self.connections:
            code, reason = self._goodbye
            if self.stopping and member.connection is not None:
                code = member.connection.stop_code
            member.close(code, reason)

    # -- The life of a connection

    def connected(self, member: Member) -> HandshakeRejected | None:
        """
        Count a new TCP connection, and limit the time for its request.

        One whose address was refused too often is shut out.

        Returns:
            The reason for which it is refused. It is counted all the same.
        """
        address = member.address
        refusal = self._counted(address, self.slots.connect(member))
        if refusal is None:
            if address and self._refusals.wait(address):
                member.dropped("its address was refused too often")
            else:
                self.handshakes.add(member)
        return refusal

    def began(self, member: Member) -> HandshakeRejected | None:
        """
        Count a request whose first bytes have come, also on a connection that was given back.

        Returns:
            The reason for which it is refused, and not counted.
        """
        if not self.slots.spoke(member) and member in self.handshakes:
            return None
        refusal = self._counted(member.address, self.slots.handshake_refusal(member.address))
        if refusal is None:
            self.slots.handshakes.add(member.address)
            self.handshakes.add(member)
        else:
            self.handshakes.discard(member)
        return refusal

    def moved(self, member: Member, address: str) -> HandshakeRejected | None:
        """
        Count a request for another address from now on, since a proxy has named the client.

        Args:
            address: The address. That of *member* is still the old one; the caller changes it.

        Returns:
            The reason for which the request is refused.
        """
        slots = self.slots
        slots.sockets.move(member.address, address)
        if member not in self.handshakes:
            # Plain HTTP had the connection.
            return None
        slots.handshakes.release(member.address)
        refusal = slots.handshake_refusal(address)
        slots.handshakes.add(address)
        return refusal

    def handed_over(self, member: Member) -> None:
        """Leave the time of a connection to plain HTTP."""
        self._end_handshake(member)

    def opened(self, member: Member, heartbeat_interval: float | None) -> None:
        """
        Count a WebSocket, and look after it.

        Args:
            heartbeat_interval: Seconds between two heartbeats. If None, it gets none.
        """
        self._end_handshake(member)
        self.slots.open(member.address, member.user)
        self.connections.add(member)
        self._metrics.opened += 1
        self._metrics.handshakes["accepted,"] += 1
        self._metrics.connections += 1
        self._pings.add(member)
        if heartbeat_interval is not None:
            self._heartbeats[heartbeat_interval].add(member)

    def takes_notices(self, member: Member) -> None:
        """Look after an open WebSocket as one with the subprotocol ``wsredis`` from now on."""
        self._pings.discard(member)
        self._beats.add(member)

    def is_noticed(self, member: Member) -> bool:
        """Tell whether *member* is open, and has the subprotocol ``wsredis``."""
        return member in self._beats

    def detached(self, member: Member) -> None:
        """Look after a WebSocket no more: no frame may follow. Harmless if it is not a member."""
        self._pings.discard(member)
        self._beats.discard(member)
        self.behind.discard(member)
        for timer in self._heartbeats.values():
            timer.discard(member)

    def last_bytes(self, member: Member) -> None:
        """Limit the time for the end of a connection; its last frame or answer is on its way."""
        self._end_handshake(member)
        self.closing.add(member)

    def connection_lost(self, member: Member) -> bool:
        """
        Forget a connection that is gone.

        Returns:
            Whether it was a WebSocket whose handshake had been answered.
        """
        self._end_handshake(member)
        self.slots.disconnect(member)
        return self.gone(member)

    def gone(self, member: Member) -> bool:
        """
        Forget a client that is gone, but for its TCP connection, which has a place of its own.

        Returns:
            Whether it was open.
        """
        self._end_handshake(member)
        self.closing.discard(member)
        if member not in self.connections:
            return False
        self.slots.close(member.address, member.user)
        self._metrics.connections -= 1
        self.connections.discard(member)
        return True

    def _counted(self, address: str, refusal: HandshakeRejected | None) -> HandshakeRejected | None:
        """Return *refusal*, and count it if *address* has too much."""
        if refusal is not None and refusal.status == 429:
            self._refusals.spend(address)
        return refusal

    def _handshake_timed_out(self, member: Member) -> None:
        # It has left the queue, and only what is in the queue has a place.
        self.handshakes.add(member)
        self._end_handshake(member)
        member.handshake_timed_out()

    def _end_handshake(self, member: Member) -> None:
        """Give the place of a handshake back, if there is one."""
        if member in self.handshakes:
            self.handshakes.discard(member)
            # A silent connection has none.
            if not self.slots.spoke(member):
                self.slots.handshakes.release(member.address)

    def _timers(self) -> list[Any]:
        return [
            *(self.handshakes, self.closing, self.behind, self._pings, self._beats),
            *self._heartbeats.values(),
        ]
