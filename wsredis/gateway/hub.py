"""
The hub: which connections listen to which channel, and the fan-out of what arrives.

This is the middle of the hot path: the broker calls `Hub.deliver` with everything that one read
from Redis brought, and the hub calls `Sink.send` once for each connection. It knows no reactor. A
channel with very many connections is served in slices, and the broker is paused until the last one
had its turn.

It is one module because order and "exactly once" rest on the listeners of a channel, its version
and the fan-outs that wait, and the code that changes them has to be read together.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from wsredis.channels import loggable_channel
from wsredis.gateway.broker import Broker
from wsredis.gateway.client import Sink
from wsredis.gateway.gap import Gap, GapReports
from wsredis.gateway.incidents import Incidents
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.publication import ByEncoding, Encoding, Joined, Publication
from wsredis.gateway.stored_messages import StoredMessages

__all__ = ["ChannelState", "Hub", "Listener", "Recorder"]

#: Connections that are written to before the reactor gets its turn: about 10 ms of work.
_SLICE = 1000


_channel, _payload = attrgetter("channel"), attrgetter("payload")


class Listener(Protocol):
    """
    The part of a connection that the hub needs.

    Attributes:
        direct: The sink, if encoded bytes may go straight to it. If None, `deliver` decides.
        channels: Its subscriptions; changed by the caller of `Hub.extend` and `Hub.retract`.
    """

    direct: Sink | None
    channels: Sequence[bytes]

    @property
    def encoding(self) -> Encoding | None:
        """Makes the bytes that go to `direct`. None if it is never direct."""

    def deliver(self, items: Sequence[Publication]) -> None:
        """Take publications one by one, in order."""

    def restore(self, item: Publication) -> None:
        """Take a stored message that was missed while the link to the broker was down."""

    def forbid(self) -> None:
        """Learn that the broker refuses one of the channels."""


class Recorder(Protocol):
    """Keeps publications for listeners that come back."""

    def record(self, batch: Sequence[Publication]) -> None:
        """Take publications in the order in which they came, before any listener gets them."""

    def joined(self, listener: Listener, name: bytes) -> None:
        """Take note that *listener* hears a channel from now on. Others may leave it now."""

    def left(self, listener: Listener, name: bytes) -> None:
        """Take note that *listener* is about to leave a channel. Others may join it now."""


class _Channel:
    """
    Attributes:
        listeners: The listeners, each with the `version` at which it came or, if it was given a
            stored message, with that version and the hash of the message.
        version: The number of publications that this channel has delivered.
        last: Hash of the newest of them. None before the first.
        since: Seconds since 1970 at which the first listener came.
        delivered: The same for the newest publication. 0 before the first.
        size: Bytes of its payload.
    """

    __slots__ = ("delivered", "last", "listeners", "since", "size", "version")

    def __init__(self) -> None:
        self.listeners: dict[Listener, int | tuple[int, int]] = {}
        self.version = 0
        self.last: int | None = None
        self.since = time.time()
        self.delivered = 0.0
        self.size = 0


class ChannelState(NamedTuple):
    """
    The state of one channel that has listeners.

    Attributes:
        listeners: Their number.
        since: Seconds since 1970 at which the first of them came.
        publications: The number of publications that were delivered since then.
        delivered: Seconds since 1970 at which the newest of them was. 0 before the first.
        size: Bytes of the payload of the newest.
    """

    listeners: int
    since: float
    publications: int
    delivered: float
    size: int


class Hub:
    """
    Channels to connections, and back.

    Args:
        broker: Notified when a channel gets its first listener and loses its last.
        max_publication: Bytes; a larger publication is left out, counted and logged.
        later: Calls a function after the reactor has looked after everything else. If None, every
            fan-out is done at once.
        throttle: Logs losses by rate. If None, each is logged.

    Attributes:
        broker: The broker of this gateway; connections publish and fetch through it.
        metrics: The counters of this gateway.
        gaps: Tells of the times in which publications may have been lost.
        later: As it was given.
        incidents: What went wrong on single channels and facilities.
        subscriptions: The number of listeners of all channels together.
        recorder: Keeps publications. If None, nobody does.
    """

    _log = Logger()

    def __init__(
        self,
        broker: Broker,
        max_publication: int,
        metrics: Metrics,
        later: Callable[[Callable[[], None]], object] | None = None,
        *,
        throttle: LogThrottle | None = None,
    ) -> None:
        self.broker = broker
        self._throttle = throttle
        self.metrics = metrics
        self.gaps = GapReports(metrics)
        self._max_publication = max_publication
        self.later = later
        self.incidents = Incidents()
        self.subscriptions = 0
        self.recorder: Recorder | None = None
        self._channels: dict[bytes, _Channel] = {}
        self._stored = StoredMessages()
        #: The encoding of the first listener, and whether there was ever one with another.
        self._encoding: Encoding | None = None
        self._is_mixed = False
        #: Fan-outs that wait for their turn after a large one. The broker is paused meanwhile.
        self._waiting: deque[tuple[list[Publication], ByEncoding, Iterator[Listener]]] = deque()

    def __len__(self) -> int:
        """The number of channels that have a listener."""
        return len(self._channels)

    def subscribe(self, listener: Listener) -> Deferred[None]:
        """
        Let *listener* hear its channels from now on.

        Returns:
            Fires when the broker confirmed all of them. The listener is in the hub at once, and
            stays there whatever happens until `unsubscribe`.

        Raises:
            BrokerUnavailable, PermissionDenied: As `wsredis.gateway.broker.Broker.subscribe`.
        """
        return self.extend(listener, listener.channels)

    def extend(self, listener: Listener, names: Sequence[bytes]) -> Deferred[None]:
        """Let *listener*, whose channels now include *names*, hear them too. See `subscribe`."""
        for name in names:
            channel = self._channels.get(name)
            if channel is None:
                channel = self._channels[name] = _Channel()
            listeners = channel.listeners
            before = len(listeners)
            listeners[listener] = channel.version
            if len(listeners) != before:
                self.subscriptions += 1
                if self.recorder is not None:
                    self.recorder.joined(listener, name)
        if listener.encoding not in (self._encoding, None):
            self._is_mixed = self._encoding is not None
            self._encoding = self._encoding or listener.encoding
        return self.broker.subscribe(names)

    def unsubscribe(self, listener: Listener) -> None:
        """Forget *listener*. Repeating it is harmless."""
        self.retract(listener, listener.channels)

    def retract(self, listener: Listener, names: Sequence[bytes]) -> None:
        """Let *listener* hear *names* no more. Repeating it is harmless."""
        deserted = []
        for name in names:
            channel = self._channels.get(name)
            if channel is None or listener not in channel.listeners:
                continue
            if self.recorder is not None:
                self.recorder.left(listener, name)
            del channel.listeners[listener]
            self.subscriptions -= 1
            if not channel.listeners:
                del self._channels[name]
                self._stored.forget(name)
                deserted.append(name)
        if deserted:
            self.broker.unsubscribe(deserted)

    def reach(self, names: Sequence[bytes]) -> int:
        """Return the number of deliveries of a publication on each of *names*."""
        count = 0
        for name in names:
            channel = self._channels.get(name)
            if channel is not None:
                count += len(channel.listeners)
        return count

    def state(self, name: bytes) -> ChannelState | None:
        """Return the state of a channel. None if it has no listener."""
        channel = self._channels.get(name)
        if channel is None:
            return None
        count = len(channel.listeners)
        # Until one comes, the version counts only stored messages that were read again.
        publications = channel.version if channel.delivered else 0
        return ChannelState(count, channel.since, publications, channel.delivered, channel.size)

    def names(self) -> Iterator[bytes]:
        """Iterate over the channels that have a listener. The hub must not change meanwhile."""
        return iter(self._channels)

    def mark_stored(self, listener: Listener, stored: Publication) -> None:
        """Remember that *listener* was given a stored message of a channel that it hears."""
        channel = self._channels[stored.channel]
        channel.listeners[listener] = (channel.version, hash(stored.payload))

    def is_fresh(self, listener: Listener, name: bytes) -> bool:
        """Tell whether *listener* has been given nothing yet on a channel that it hears."""
        channel = self._channels[name]
        return channel.listeners[listener] == channel.version

    def deliver(self, batch: Sequence[Publication]) -> None:
        """
        Fan out what one read from the broker brought.

        The bytes of a channel are made and joined once for each encoding, and each connection gets
        one write, in the order of arrival across all its channels.
        """
        payloads = [*map(_payload, batch)]
        if not all(payloads) or max(map(len, payloads), default=0) > self._max_publication:
            batch = [*self._deliverable(batch)]
        if self.recorder is not None:
            self.recorder.record(batch)
        runs = self._runs([*map(_channel, batch)])
        # Connections on several channels of this batch, with the names of those channels.
        mixed: dict[Listener, list[bytes]] = {}
        # Connections with a publication that nobody else gets.
        single: list[tuple[Listener, Publication]] = []
        several = len(runs) > 1
        now = time.time()
        for name, run in runs.items():
            channel = self._channels.get(name)
            if channel is None:
                # Its last listener was found dead while another channel was served.
                continue
            newest = batch[run[-1]]
            channel.version += len(run)
            channel.last = hash(newest.payload)
            channel.delivered, channel.size = now, len(newest.payload)
            self.metrics.publications += len(run)
            listeners = list(channel.listeners)
            if several:
                if len(listeners) == len(run) == len(listeners[0].channels) == 1:
                    single.append((listeners[0], newest))
                    continue
                alone = []
                for listener in listeners:
                    if len(listener.channels) > 1:
                        mixed.setdefault(listener, []).append(name)
                    else:
                        alone.append(listener)
                listeners = alone
            if not listeners:
                continue
            if len(run) == 1:
                self._fan_out([newest], listeners, newest)
            else:
                items = [batch[position] for position in run]
                self._fan_out(items, listeners, Joined(items, self._is_mixed or bool(mixed)))
        self._send_single(single)
        if mixed:
            self._fan_out_mixed(batch, runs, mixed)

    def restore(self, stored: Mapping[bytes, bytes]) -> None:
        """
        Hand over the stored messages of an outage.

        A connection gets the one of a channel if it differs from the last message that it was given
        there.
        """
        while self._waiting:
            self._go_on()
        wanted = {name: stored[name] for name in stored if name in self._channels}
        for publication in self.without_oversized(wanted):
            channel = self._channels.get(publication.channel)
            if channel is None:
                # Its last listener was found dead while another channel was served.
                continue
            digest = hash(publication.payload)
            for listener, seen in list(channel.listeners.items()):
                version, first = seen if isinstance(seen, tuple) else (seen, None)
                last = channel.last if channel.version > version else first
                if last != digest:
                    self._guarded(listener.restore, publication)
            channel.version += 1
            channel.last = digest

    def gap(self, gap: Gap) -> None:
        """See `wsredis.gateway.broker.BrokerListener.gap`."""
        self.gaps.report(gap)

    def forbid(self, channel: bytes) -> None:
        """See `wsredis.gateway.broker.BrokerListener.forbid`."""
        self.incidents.note(channel, "Redis forbids it")
        if channel in self._channels:
            for listener in list(self._channels[channel].listeners):
                self._guarded(listener.forbid)

    def without_oversized(self, stored: Mapping[bytes, bytes]) -> Iterator[Publication]:
        """
        Leave out empty messages, and too large ones, each of which is counted and logged.

        All who get the same large message get the same object.
        """
        for name, payload in stored.items():
            if len(payload) > self._max_publication:
                self._leave_out(Publication(name, payload))
            elif payload:
                yield self._stored.publication(name, payload)

    def _fan_out_mixed(
        self,
        batch: Sequence[Publication],
        runs: Mapping[bytes, Sequence[int]],
        mixed: dict[Listener, list[bytes]],
    ) -> None:
        together: dict[tuple[bytes, ...], list[Listener]] = {}
        for listener, names in mixed.items():
            together.setdefault(tuple(names), []).append(listener)
        for key, listeners in together.items():
            positions = sorted(chain.from_iterable(runs[name] for name in key))
            items = [batch[position] for position in positions]
            self._fan_out(items, listeners, Joined(items, True))

    def _fan_out(
        self, items: list[Publication], listeners: list[Listener], by_encoding: ByEncoding
    ) -> None:
        if self.later is None or (len(listeners) <= _SLICE and not self._waiting):
            self._send(items, listeners, by_encoding)
            return
        if not self._waiting:
            self.broker.pause()
            self.later(self._take_turn)
        self._waiting.append((items, by_encoding, iter(listeners)))

    @property
    def is_behind(self) -> bool:
        """Tells whether some listeners are still to get publications that others have."""
        return bool(self._waiting)

    def _take_turn(self) -> None:
        """Send one slice, and let the reactor look after everything else before the next."""
        if self._waiting:
            self._go_on()
        if self._waiting:
            assert self.later is not None
            self.later(self._take_turn)

    def _go_on(self) -> None:
        items, by_encoding, listeners = self._waiting[0]
        slice_ = list(islice(listeners, _SLICE))
        if slice_:
            self._send(items, slice_, by_encoding)
        else:
            self._waiting.popleft()
            if not self._waiting:
                self.broker.resume()

    def _send(
        self, items: list[Publication], listeners: list[Listener], by_encoding: ByEncoding
    ) -> None:
        if self._is_mixed:
            self._send_mixed(items, listeners, by_encoding)
            return
        if len(listeners) == 1 and listeners[0].encoding is None:
            # Nobody needs the bytes.
            self.metrics.deliveries += len(items)
            self._guarded(listeners[0].deliver, items)
            return
        try:
            data = b"" if self._encoding is None else by_encoding[self._encoding]
        except Exception:
            self._log.failure("encoding a publication failed", event="encode-failed")
            return
        size = len(data)
        # Once for all of them: not even an addition is done for each.
        self.metrics.deliveries += len(items) * len(listeners)
        self.metrics.sent_bytes += size * len(listeners)
        for listener in listeners:
            # Looked up for each: it and its `send` change while others are served.
            sink = listener.direct
            if sink is None:
                if listener.encoding is None:
                    # Nothing is written to it.
                    self.metrics.sent_bytes -= size
                self._guarded(listener.deliver, items)
                continue
            try:
                taken = sink.send(data)
            except OSError:
                taken = 0
            except Exception:
                self._log.failure("delivery to one connection failed", event="delivery-failed")
                continue
            if taken != size:
                self._guarded(sink.keep, data, taken)

    def _send_mixed(
        self, items: list[Publication], listeners: list[Listener], by_encoding: ByEncoding
    ) -> None:
        """Send to listeners of several encodings. Those of one follow each other, as a rule."""
        sent = size = 0
        data = b""
        last: Encoding | None = None
        for listener in listeners:
            sink, encoding = listener.direct, listener.encoding
            if sink is None or encoding is None:
                self._guarded(listener.deliver, items)
                continue
            try:
                if encoding is not last:
                    data = by_encoding[encoding]
                    last, size = encoding, len(data)
                sent += size
                taken = sink.send(data)
            except OSError:
                taken = 0
            except Exception:
                self._log.failure("delivery to one connection failed", event="delivery-failed")
                continue
            if taken != size:
                self._guarded(sink.keep, data, taken)
        self.metrics.deliveries += len(items) * len(listeners)
        self.metrics.sent_bytes += sent

    def _send_single(self, pairs: Sequence[tuple[Listener, Publication]]) -> None:
        """Send to each connection the publication that nobody else gets, and remember no bytes."""
        # `_send_mixed` could do it, and would take a tenth longer for many quiet channels.
        sent = 0
        for listener, item in pairs:
            sink, encoding = listener.direct, listener.encoding
            if sink is not None and encoding is not None:
                try:
                    data = encoding.encode(item)
                    sent += len(data)
                    sink.write(data)
                except Exception:
                    self._log.failure("delivery to one connection failed", event="delivery-failed")
            else:
                self._guarded(listener.deliver, [item])
        self.metrics.deliveries += len(pairs)
        self.metrics.sent_bytes += sent

    def _runs(self, names: list[bytes]) -> Mapping[bytes, Sequence[int]]:
        """Return the positions in *names* of each channel that has a listener."""
        if names and names.count(names[0]) == len(names):
            # All of a busy channel, as a rule. Nothing is done in Python for each.
            if names[0] in self._channels:
                return {names[0]: range(len(names))}
            self.metrics.unwanted += len(names)
            return {}
        runs: dict[bytes, list[int]] = {}
        for position, name in enumerate(names):
            if name in runs:
                runs[name].append(position)
            elif name in self._channels:
                runs[name] = [position]
            else:
                self.metrics.unwanted += 1
        return runs

    def _deliverable(self, batch: Sequence[Publication]) -> Iterator[Publication]:
        """Leave out what nobody listens to, empty messages, and too large ones."""
        for publication in batch:
            payload = publication.payload
            if publication.channel not in self._channels:
                self.metrics.unwanted += 1
            elif len(payload) > self._max_publication:
                self._leave_out(publication)
            elif payload:
                yield publication

    def _leave_out(self, publication: Publication) -> None:
        self.metrics.oversized += 1
        self.incidents.note(publication.channel, "left out: larger than max-publication")
        self.metrics.limits["max-publication"] += 1
        self.log_loss(
            self._log,
            "oversized",
            "left out a publication of {size} bytes on {channel!r}: max-publication is {limit}",
            size=len(publication.payload),
            channel=loggable_channel(publication.channel),
            limit=self._max_publication,
        )

    def log_loss(self, logger: Logger, event: str, format: str, **fields: object) -> None:
        """
        Log the loss of a message by rate; see `wsredis.gateway.log_throttle.LogThrottle.log`.

        Args:
            event: The kind of the line, also for those who read the log.
        """
        if self._throttle is not None:
            self._throttle.log(logger, LogLevel.warn, event, format, event=event, **fields)
        else:
            logger.warn(format, event=event, **fields)

    def log_failure(
        self, logger: Logger, event: str, format: str, failure: Failure, **fields: Any
    ) -> None:
        """Log a failure by rate, as `log_loss` does. A client may cause it as often as it likes."""
        if self._throttle is not None:
            self._throttle.failure(logger, event, format, failure, event=event, **fields)
        else:
            logger.failure(format, failure=failure, event=event, **fields)

    def _guarded(self, method: Callable[..., None], *arguments: object) -> None:
        try:
            method(*arguments)
        except Exception:
            # One broken connection must not cost the others their message.
            self._log.failure("delivery to one connection failed", event="delivery-failed")
