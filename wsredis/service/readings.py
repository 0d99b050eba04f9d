"""All numbers of one process, read from its parts when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorTime

from wsredis.gateway.broker import Broker
from wsredis.gateway.health import is_good
from wsredis.gateway.hub import Hub
from wsredis.gateway.metrics import Metrics, State
from wsredis.gateway.numbers import PROCESS, Families, Numbers, numbers
from wsredis.service.vitals import Vitals
from wsredis.transports.websocket.factory import GatewayFactory

__all__ = ["Readings"]


class Readings:
    """
    Reads the numbers of one gateway.

    Args:
        own: Channels of the gateway itself, which are not counted.
        vitals: Tell whether it is ready; with workers, whether this process is.
        process: Returns the numbers of this Python process that are not ours. If None, they are
            left out.
    """

    def __init__(
        self,
        clock: IReactorTime,
        metrics: Metrics,
        broker: Broker,
        hub: Hub,
        factory: GatewayFactory,
        vitals: Vitals,
        own: Sequence[bytes],
        process: Callable[[], Families] | None,
    ) -> None:
        self._clock = clock
        self._began = 0.0
        self._metrics = metrics
        self._broker = broker
        self._hub = hub
        self._factory = factory
        self._vitals = vitals
        self._own = own
        self._process = process

    def start(self) -> None:
        """Take this moment for the start of the gateway."""
        self._began = self._clock.seconds()

    def state(self) -> State:
        """Return the numbers of this moment that are not counted."""
        factory = self._factory
        # Channels that no client hears, with one subscription each.
        own = self._hub.reach(self._own)
        return State(
            ready=is_good({0: self._vitals.look()}),
            redis_up=self._broker.up,
            channels=len(self._hub) - own,
            subscriptions=self._hub.subscriptions - own,
            sockets=factory.registry.sockets,
            handshakes_open=factory.registry.slots.handshakes.held,
            queues=len(factory.queued),
            queued_bytes=factory.queued.held,
            unfinished_bytes=factory.inputs.total,
        )

    def numbers(self) -> Numbers:
        """Return all numbers of this moment."""
        own = numbers(self._metrics, self.state(), self._clock.seconds(), self._began)
        return {**own, **self.process()}

    def process(self) -> Numbers:
        """Return the numbers of the Python process alone."""
        return {} if self._process is None else {PROCESS: self._process()}
