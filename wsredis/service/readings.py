"""All numbers of one process, read from its parts when somebody asks."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from wsredis.gateway.broker import Broker
from wsredis.gateway.hub import Hub
from wsredis.gateway.metrics import Metrics, State
from wsredis.gateway.numbers import Numbers, numbers
from wsredis.transports.websocket.factory import GatewayFactory

__all__ = ["Readings"]


class Readings:
    """
    Reads the numbers of one gateway.

    Args:
        is_ready: Tells whether this process is ready.
    """

    def __init__(
        self,
        clock: IReactorTime,
        metrics: Metrics,
        broker: Broker,
        hub: Hub,
        factory: GatewayFactory,
        is_ready: Callable[[], bool],
    ) -> None:
        self._clock = clock
        self._began = 0.0
        self._metrics = metrics
        self._broker = broker
        self._hub = hub
        self._factory = factory
        self._is_ready = is_ready

    def start(self) -> None:
        """Take this moment for the start of the gateway."""
        self._began = self._clock.seconds()

    def state(self) -> State:
        """Return the numbers of this moment that are not counted."""
        factory = self._factory
        return State(
            ready=self._is_ready(),
            redis_up=self._broker.up,
            channels=len(self._hub),
            subscriptions=self._hub.subscriptions,
            sockets=factory.registry.sockets,
            handshakes_open=factory.registry.slots.handshakes.held,
            queues=len(factory.queued),
            queued_bytes=factory.queued.held,
            unfinished_bytes=factory.inputs.total,
        )

    def numbers(self) -> Numbers:
        """Return all numbers of this moment."""
        return numbers(self._metrics, self.state(), self._clock.seconds(), self._began)
