"""The listener of the hub by which a broker finds out whether publications arrive."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wsredis.gateway.client import Sink
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.publication import Encoding, Publication

__all__ = ["Canary"]


class Canary:
    """
    A listener of the hub on a channel that no client has.

    It goes the way of every publication, so that nothing has to be compared for each of them.

    Args:
        channel: Its only channel.
        metrics: Its publications are not counted there.
        heard: Called with each payload that arrives.
        forbidden: Called when the broker refuses the channel.

    Attributes:
        asked: Called with each payload that is no number: somebody has a question. If None, nobody
            answers.
        direct, encoding: None, since nothing is written to it.
        channels: See `wsredis.gateway.hub.Listener`.
    """

    direct: Sink | None = None
    encoding: Encoding | None = None
    asked: Callable[[bytes], None] | None = None

    def __init__(
        self,
        channel: bytes,
        metrics: Metrics,
        heard: Callable[[bytes], None],
        forbidden: Callable[[], None],
    ) -> None:
        self._metrics = metrics
        self._heard = heard
        self._forbidden = forbidden
        self.channels: Sequence[bytes] = [channel]

    def deliver(self, items: Sequence[Publication]) -> None:
        """See `wsredis.gateway.hub.Listener.deliver`."""
        self._metrics.publications -= len(items)
        self._metrics.deliveries -= len(items)
        for item in items:
            if item.payload.isdigit():
                self._heard(item.payload)
            elif self.asked is not None:
                self.asked(item.payload)

    def restore(self, item: Publication) -> None:
        """See `wsredis.gateway.hub.Listener.restore`. Nothing is stored for it."""

    def forbid(self) -> None:
        """See `wsredis.gateway.hub.Listener.forbid`."""
        self._forbidden()
