"""All numbers of one process, read from its parts when somebody asks."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from wsredis.gateway.broker import Broker
from wsredis.gateway.health import is_good
from wsredis.gateway.hub import Hub
from wsredis.gateway.metrics import Metrics, State
from wsredis.gateway.numbers import Numbers, numbers
from wsredis.service.vitals import Vitals
from wsredis.transports.websocket.factory import GatewayFactory

__all__ = ["Readings"]


class Readings:
    """
    Reads the numbers of one gateway.

    Args:
        vitals: Tell whether it is ready; with workers, whether this process is.
    """

    def __init__(
        self,
        clock: IReactorTime,
        metrics: Metrics,
        broker: Broker,
        hub: Hub,
        factory: GatewayFactory,
        vitals: Vitals,
    ) -> None:
        self._clock = clock
        self._began = 0.0
        self._metrics = metrics
        self._broker = broker
        self._hub = hub
        self._factory = factory
        self._vitals = vitals

    def start(self) -> None:
        """Take this moment for the start of the gateway."""
        self._began = self._clock.seconds()

    def state(self) -> State:
        """Return the numbers of this moment that are not counted."""
        factory = self._factory
        return State(
            ready=is_good({0: self._vitals.look()}),
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
