"""
The hub: which connections listen to which channel, and the fan-out of what arrives.

This is the middle of the hot path: the broker calls `Hub.deliver` with all that one read from
Redis brought, and the hub calls `Listener.write` once for each connection. It does no I/O and
knows no reactor; a channel with very many connections is served in slices, and the broker is held
until the last one has its turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from wsredis.gateway.broker import Broker, Publication
from wsredis.gateway.metrics import Metrics
from wsredis.transports.websocket.frames import Variants

__all__ = ["EncodedPublication", "Hub", "Listener"]

#: So many connections are written to before the reactor gets its turn: about 10 ms of work.
_SLICE = 1000

#: No variants: nothing is compressed.
_PLAIN: Mapping[int, bytes] = {}


class EncodedPublication(NamedTuple):
    """
    One publication on its way to connections.

    Attributes:
        channel: Where it arrived.
        payload: What it says.
        frame: Its wire bytes.
        variants: The same by the window of compressing connections. Empty: there are none.
    """

    channel: bytes
    payload: bytes
    frame: bytes
    variants: Mapping[int, bytes] = _PLAIN

    def variant(self, window: int) -> EncodedPublication:
        """The same as connections with this window get it."""
        return self._replace(frame=self.variants[window]) if window else self


class Listener(Protocol):
    """
    What the hub needs of a connection.

    Attributes:
        direct: Ready-made bytes may go straight to `write`. Otherwise `deliver` decides.
        channels: What it subscribes to; changed by whoever calls `Hub.extend` or `Hub.retract`.
        window: Of its compression, as a power of two. 0: it negotiated none.
    """

    direct: bool
    window: int
    channels: Sequence[bytes]
    write: Callable[[bytes], None]

    def deliver(self, items: Sequence[EncodedPublication]) -> None:
        """Take publications one by one, in order."""

    def restore(self, item: EncodedPublication) -> None:
        """Take a stored message that was missed while the link to the broker was down."""

    def forbid(self) -> None:
        """Learn that the broker refuses one of the channels."""


class _Channel:
    """
    Attributes:
        listeners: Who listens, and what each saw first: the `version` at which it came, and,
            where it was given a stored message, the hash of that.
        version: How many publications this channel has delivered.
        last: Hash of the newest of them. None before the first.
    """

    __slots__ = ("last", "listeners", "version")

    def __init__(self) -> None:
        self.listeners: dict[Listener, int | tuple[int, int]] = {}
        self.version = 0
        self.last: int | None = None


class Hub:
    """
    Channel to connections, and back.

    Args:
        broker: Told of the first and the last listener of a channel.
        frame: Makes the wire bytes of a payload, once for all connections.
        max_publication: Bytes; a larger publication is left out, counted and logged.
        compress: Bytes; smaller payloads are not compressed. None: nothing is, and no listener has
            a window.
        later: Calls a function when the reactor has looked after everything else. None: there is
            nothing else, and every fan-out is done at once.
    """

    _log = Logger()

    def __init__(
        self,
        broker: Broker,
        frame: Callable[[bytes], bytes],
        max_publication: int,
        metrics: Metrics,
        compress: int | None = None,
        later: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._broker = broker
        self._frame = frame
        self._max_publication = max_publication
        self._metrics = metrics
        self._later = later
        self._compress = compress
        self._spread = self._fan_out if compress is None else self._fan_out_by_window
        self._channels: dict[bytes, _Channel] = {}
        #: Fan-outs that wait for their turn, behind a large one. The broker is held meanwhile.
        self._waiting: deque[tuple[list[EncodedPublication], Iterator[Listener]]] = deque()

    def __len__(self) -> int:
        """The number of channels that have a listener."""
        return len(self._channels)

    def subscribe(self, listener: Listener) -> Deferred[None]:
        """
        Let *listener* hear its channels, from now on.

        Returns: Fires when the broker confirmed all of them. The listener is in the hub at once
            and stays there whatever happens, until `unsubscribe`.
        Raises: As `wsredis.gateway.broker.Broker.subscribe`.
        """
        return self.extend(listener, listener.channels)

    def extend(self, listener: Listener, names: Sequence[bytes]) -> Deferred[None]:
        """Let *listener*, whose channels they are now, hear *names* too. See `subscribe`."""
        for name in names:
            channel = self._channels.get(name)
            if channel is None:
                channel = self._channels[name] = _Channel()
            channel.listeners[listener] = channel.version
        return self._broker.subscribe(names)

    def unsubscribe(self, listener: Listener) -> None:
        """Forget *listener*. Repeating it is harmless."""
        self.retract(listener, listener.channels)

    def retract(self, listener: Listener, names: Sequence[bytes]) -> None:
        """Let *listener* hear *names* no more. Repeating it is harmless."""
        left = []
        for name in names:
            channel = self._channels.get(name)
            if channel is None or channel.listeners.pop(listener, None) is None:
                continue
            if not channel.listeners:
                del self._channels[name]
                left.append(name)
        if left:
            self._broker.unsubscribe(left)

    def saw(self, listener: Listener, name: bytes, payload: bytes) -> None:
        """Remember that *listener* was given the stored *payload* of a channel."""
        channel = self._channels[name]
        channel.listeners[listener] = (channel.version, hash(payload))

    def is_fresh(self, listener: Listener, name: bytes) -> bool:
        """Whether *listener* has not been given anything on a channel that it hears."""
        channel = self._channels[name]
        return channel.listeners[listener] == channel.version

    def deliver(self, batch: Sequence[Publication]) -> None:
        """
        Fan out what one read from the broker brought.

        Every payload is framed once, the frames of a channel are joined once, and each connection
        gets one write, in the order of arrival across all its channels.
        """
        runs: dict[bytes, list[tuple[int, EncodedPublication]]] = {}
        channels, frame, limit = self._channels, self._frame, self._max_publication
        for position, (name, payload) in enumerate(batch):
            if name not in channels:
                continue
            if not 0 < len(payload) <= limit and not self.is_deliverable(name, payload):
                continue
            entry = (position, EncodedPublication(name, payload, frame(payload)))
            if name in runs:
                runs[name].append(entry)
            else:
                runs[name] = [entry]
        if self._compress is not None:
            for run in runs.values():
                run[:] = [(position, self._compressible(item)) for position, item in run]
        # Connections on several channels of this batch, with the names of those channels.
        mixed: dict[Listener, list[bytes]] = {}
        for name, run in runs.items():
            channel = self._channels.get(name)
            if channel is None:
                # Its last listener was found dead while another channel was served.
                continue
            channel.version += len(run)
            channel.last = hash(run[-1][1].payload)
            self._metrics.publications += len(run)
            listeners = list(channel.listeners)
            if len(runs) > 1:
                alone = []
                for listener in listeners:
                    if len(listener.channels) > 1:
                        mixed.setdefault(listener, []).append(name)
                    else:
                        alone.append(listener)
                listeners = alone
            if listeners:
                self._spread([item for _, item in run], listeners)
        if mixed:
            self._fan_out_mixed(runs, mixed)

    def restore(self, stored: Mapping[bytes, bytes]) -> None:
        """
        Hand over the stored messages of an outage.

        A connection gets the one of a channel if it differs from the last publication that it saw
        there.
        """
        while self._waiting:
            self._go_on()
        for name, payload in stored.items():
            channel = self._channels.get(name)
            if channel is None or not self.is_deliverable(name, payload):
                continue
            digest = hash(payload)
            item = self._compressible(EncodedPublication(name, payload, self._frame(payload)))
            for listener, seen in list(channel.listeners.items()):
                version, first = seen if isinstance(seen, tuple) else (seen, None)
                last = channel.last if channel.version > version else first
                if last != digest:
                    self._guarded(listener.restore, item.variant(listener.window))
            channel.version += 1
            channel.last = digest

    def forbid(self, channel: bytes) -> None:
        """See `wsredis.gateway.broker.BrokerListener.forbid`."""
        if channel in self._channels:
            for listener in list(self._channels[channel].listeners):
                listener.forbid()

    def _fan_out_mixed(
        self,
        runs: dict[bytes, list[tuple[int, EncodedPublication]]],
        mixed: dict[Listener, list[bytes]],
    ) -> None:
        together: dict[tuple[bytes, ...], list[Listener]] = {}
        for listener, names in mixed.items():
            together.setdefault(tuple(names), []).append(listener)
        for key, listeners in together.items():
            merged = sorted(entry for name in key for entry in runs[name])
            self._spread([item for _, item in merged], listeners)

    def _compressible(self, item: EncodedPublication) -> EncodedPublication:
        if self._compress is None:
            return item
        return item._replace(variants=Variants(item.frame, self._compress))

    def _fan_out_by_window(
        self, items: list[EncodedPublication], listeners: list[Listener]
    ) -> None:
        alike: dict[int, list[Listener]] = {}
        for listener in listeners:
            alike.setdefault(listener.window, []).append(listener)
        for window, some in alike.items():
            self._fan_out([item.variant(window) for item in items], some)

    def _fan_out(self, items: list[EncodedPublication], listeners: list[Listener]) -> None:
        if self._later is None or (len(listeners) <= _SLICE and not self._waiting):
            self._send(items, listeners)
            return
        if not self._waiting:
            self._broker.pause()
            self._later(self._take_turn)
        self._waiting.append((items, iter(listeners)))

    def _take_turn(self) -> None:
        """Send one slice, and let the reactor look after everything else before the next."""
        if self._waiting:
            self._go_on()
        if self._waiting:
            assert self._later is not None
            self._later(self._take_turn)

    def _go_on(self) -> None:
        items, listeners = self._waiting[0]
        slice_ = list(islice(listeners, _SLICE))
        if slice_:
            self._send(items, slice_)
        else:
            self._waiting.popleft()
            if not self._waiting:
                self._broker.resume()

    def _send(self, items: list[EncodedPublication], listeners: list[Listener]) -> None:
        joined = items[0].frame if len(items) == 1 else b"".join([item.frame for item in items])
        for listener in listeners:
            if listener.direct:
                try:
                    listener.write(joined)
                except Exception:
                    self._log.failure("delivery to one connection failed")
            else:
                self._guarded(listener.deliver, items)

    def is_deliverable(self, name: bytes, payload: bytes) -> bool:
        """Whether *payload* goes out: it is not empty, and not too large, which is logged."""
        if len(payload) <= self._max_publication:
            return bool(payload)
        self._metrics.oversized += 1
        self._log.warn(
            "left out a publication of {size} bytes on {channel!r}: max-publication is {limit}",
            size=len(payload),
            channel=name,
            limit=self._max_publication,
        )
        return False

    def _guarded(self, method: Callable[[Any], None], argument: object) -> None:
        try:
            method(argument)
        except Exception:
            # One broken connection must not cost the others their message.
            self._log.failure("delivery to one connection failed")
