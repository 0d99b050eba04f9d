"""
One client: its subscriptions, and the flow of messages in both directions.

It is one module because what is sent, received, held back and paused depends on one state.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import partial
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsredis.channels import Access, Audience
from wsredis.config import Limits
from wsredis.errors import LimitExceeded, PermissionDenied
from wsredis.gateway.broker import PublishWaiter, WorkerQueue
from wsredis.gateway.client import Client, PauseReason, Sink
from wsredis.gateway.connection_id import connection_id, next_serial
from wsredis.gateway.enrolment import Enrolment
from wsredis.gateway.gap import Gap
from wsredis.gateway.hub import Hub
from wsredis.gateway.identity import Identity
from wsredis.gateway.publication import Encoding, Publication

__all__ = ["Connection", "ConnectionParts", "Hooks"]

#: A client that has published this much without an answer from Redis is not read any more.
_UNANSWERED_MESSAGES = 256
_UNANSWERED_BYTES = 1048576

#: Bytes; a message of so many is written by itself.
_LARGE = 4096

#: It is read again when no more than this is unanswered, unless it takes leave.
_LOW_MESSAGES = _UNANSWERED_MESSAGES // 2
_LOW_BYTES = _UNANSWERED_BYTES // 2

#: So many bytes more, as a power of two, make a delivery count twice.
_DELIVERY = 14

#: Why a client without a right publishes nowhere, and the hint for it.
_NO_FLAG = "its URL has no flag such as publish-broadcast"
_MUTE = f"what this page sends is discarded: {_NO_FLAG}"

# A member of an Enum is looked up slowly, and these are needed for every message.
_PUBLISH = PauseReason.PUBLISH


class Hooks(Protocol):
    """The methods of `wsredis.Handler`, which explains them."""

    def on_connect(self, connection: Connection) -> Awaitable[None] | None:
        """See `wsredis.Handler.on_connect`."""

    def on_message(
        self, connection: Connection, payload: bytes, is_binary: bool
    ) -> Awaitable[None] | None:
        """See `wsredis.Handler.on_message`."""

    def on_disconnect(self, connection: Connection) -> Awaitable[None] | None:
        """See `wsredis.Handler.on_disconnect`."""

    def on_gap(self, gap: Gap) -> Awaitable[None] | None:
        """See `wsredis.Handler.on_gap`."""


class _State(Enum):
    OPENING = 1
    OPEN = 2
    CLOSED = 3


class _HeldBack(list[Publication]):
    """Publications that came before the client can be written to, and their size."""

    size = 0


class ConnectionParts(NamedTuple):
    """
    Everything that a connection is made of.

    Attributes:
        hub: Leads to the broker and the counters, too.
        limits: Bounds its channels and its queue.
        handler: The hook of the embedding program. If None, there is none.
        enrolment: The channels that a project's own subscriber chose, in place of those that
            *granted* stands for; the connection releases it. If None, there is none.
    """

    hub: Hub
    limits: Limits
    handler: Hooks | None
    client: Client
    encoding: Encoding
    identity: Identity
    granted: Access
    enrolment: Enrolment | None = None


class Connection(ABC):
    """
    One client of one identity, whatever its transport.

    A dialect makes a subclass of it, which decides what a message of the client means
    (`received`), which publications the client hears (`audible`), and what it hears first
    (`first_publications`).

    Attributes:
        identity, granted: Its identity and what it may do; `change` replaces them.
        channels: The names of the channels that it subscribes to.
        publishes: The names of the channels that its messages are published on.
        messages: The number of messages that came from it.
        opened_at: The time of the reactor at which it was opened, in seconds. 0.0 before.
        data: For a `wsredis.Handler` to keep anything.
        direct, encoding: See `wsredis.gateway.hub.Listener`.
    """

    _log = Logger()

    #: The code of the close frame that it gets when the gateway stops.
    stop_code = 1001

    #: Tells whether its channels may be others than those that its access stands for.
    chooses_channels = False

    __slots__ = (
        "_client",
        "_counts_as_deaf",
        "_handler",
        "_held_back",
        "_hub",
        "_limits",
        "_low",
        "_put",
        "_serial",
        "_state",
        "_unanswered",
        "_unanswered_bytes",
        "channels",
        "data",
        "direct",
        "encoding",
        "granted",
        "identity",
        "messages",
        "opened_at",
        "publishes",
    )

    def __init__(self, parts: ConnectionParts) -> None:
        self._hub, self._limits, self._handler = parts.hub, parts.limits, parts.handler
        self._client, self.encoding = parts.client, parts.encoding
        self.identity, self.granted = parts.identity, parts.granted
        self.data: Any = None
        self.direct: Sink | None = None
        self.channels: Sequence[bytes] = ()
        self.publishes: Sequence[bytes] = ()
        self._serial = next_serial()
        self.messages = 0
        self.opened_at = 0.0
        self._state = _State.OPENING
        #: See `select`.
        self._put: Callable[[bytes, bytes], None] | None = None
        #: Filled between the subscription and the first byte after the handshake.
        self._held_back: _HeldBack | None = _HeldBack()
        self._unanswered = self._unanswered_bytes = 0
        #: A paused client is read again when no more messages than this are unanswered.
        self._low = _LOW_MESSAGES
        self._counts_as_deaf = False

    @property
    def peer(self) -> str:
        """The address of the client, for logs."""
        return self._client.peer

    @property
    def id(self) -> str:
        """A short name, for logs. No other connection has it, in no process."""
        return connection_id(self._serial)

    @property
    def hints(self) -> tuple[str, ...]:
        """
        Sentences for people about mistakes in its handshake: flags, identity, origin.

        They hold no secret and may be shown to the client. They are those of `granted`.
        """
        return self.granted.hints

    @property
    def is_open(self) -> bool:
        """Tells whether the client can be written to."""
        return self._state is _State.OPEN

    @property
    def is_deaf(self) -> bool:
        """
        Tells whether the client will hear nothing. One that only wants to publish is not deaf.

        A dialect in which clients subscribe after the handshake keeps the default, which is False.
        """
        return False

    @property
    def may_speak(self) -> bool:
        """Tells whether a message of the client is good for anything."""
        return bool(self.publishes) or self._handler is not None

    @property
    def holds_back(self) -> bool:
        """Tells whether publications wait for the first byte after the handshake."""
        return bool(self._held_back)

    # -- For the dialect

    @abstractmethod
    def received(self, payload: bytes, is_binary: bool) -> None:
        """Act on one message of the client. Called only while the connection is open."""

    def stored(self) -> Deferred[Mapping[bytes, bytes]]:
        """Read the stored messages by channel, for `open`. Called when all is subscribed."""
        return succeed({})

    def audiences(self) -> tuple[list[str], list[str]]:
        """Name the audiences whose channels it hears, and those to which it publishes."""
        granted = self.granted
        heard, said = (
            [each.value for each in Audience if each in some]
            for some in (granted.subscribe, granted.publish)
        )
        return heard, said

    def first_publications(
        self, stored: Mapping[bytes, bytes], held_back: Sequence[Publication]
    ) -> Iterable[Publication]:
        """Choose what the client hears first, of what `open` returned and what came since."""
        return held_back

    def audible(self, items: Sequence[Publication]) -> Sequence[Publication]:
        """Choose the publications that the client hears. Not called while `direct` is set."""
        return items

    async def subscribe(self, names: Sequence[bytes]) -> None:
        """
        Subscribe to more channels.

        Raises:
            LimitExceeded: More channels than `Limits.max_channels`. Nothing changed.
            BrokerUnavailable: Redis is away. The subscription holds, and becomes active when Redis
                is back.
            PermissionDenied: Redis forbids one of the channels. Nothing changed.
        """
        new = [name for name in names if name not in self.channels]
        self.check_limit([*self.channels, *new])
        self.channels = [*self.channels, *new]
        self.count_deafness()
        try:
            await self._hub.extend(self, new)
        except PermissionDenied:
            self.unsubscribe(new)
            raise

    def unsubscribe(self, names: Sequence[bytes]) -> None:
        """Leave channels. Unknown ones are ignored."""
        self.channels = [name for name in self.channels if name not in names]
        self.count_deafness()
        self._hub.retract(self, names)

    def publish_on(self, channels: Sequence[bytes], payload: bytes) -> None:
        """
        Publish on *channels*. A client that publishes faster than Redis answers is not read.

        If it fails, `publish_failed` is called, maybe before this method returns.

        Args:
            channels: Not to be changed afterwards.
        """
        self._unanswered += 1
        self._unanswered_bytes += len(payload)
        self._hub.broker.publish(channels, payload, self)
        work = self._hub.reach(channels) + len(channels) - 1
        if work:
            # Reading the message is charged elsewhere.
            self._client.charge(work * (1 + (len(payload) >> _DELIVERY)))
        # It may be decided by now.
        if self._unanswered >= _UNANSWERED_MESSAGES or self._unanswered_bytes >= _UNANSWERED_BYTES:
            self._client.pause(_PUBLISH)

    def publish_all_on(
        self, channels: Sequence[bytes], payloads: Sequence[bytes], reach: int
    ) -> None:
        """
        Call `publish_on` for each of some short *payloads*, but a pause comes after the last one.

        Args:
            reach: The deliveries of one of them, of which all are charged.
        """
        count = len(payloads)
        self._unanswered += count
        if count == 1:
            (payload,) = payloads
            self._unanswered_bytes += len(payload)
            self._hub.broker.publish(channels, payload, self)
        else:
            self._unanswered_bytes += sum(map(len, payloads))
            self._hub.broker.publish_all(channels, payloads, self)
        work = reach + len(channels) - 1
        if work:
            self._client.charge(work * count)
        if self._unanswered >= _UNANSWERED_MESSAGES or self._unanswered_bytes >= _UNANSWERED_BYTES:
            self._client.pause(_PUBLISH)

    def push_on(self, queue: WorkerQueue, payload: bytes, waiter: PublishWaiter) -> None:
        """
        Hand *payload* to the workers of *queue*. It counts as `publish_on` does.

        Args:
            waiter: Hears the outcome, and calls `published` for either.
        """
        self._unanswered += 1
        self._unanswered_bytes += len(payload)
        self._hub.broker.push(queue, payload, waiter)
        self._client.charge(1)
        if self._unanswered >= _UNANSWERED_MESSAGES or self._unanswered_bytes >= _UNANSWERED_BYTES:
            self._client.pause(_PUBLISH)

    @abstractmethod
    def publish_failed(self, error: Exception, size: int) -> None:
        """
        Act on a message that Redis did not confirm.

        Called unless the connection is closed by then. No further message of the client is read
        before it returns.

        Args:
            error: See `wsredis.gateway.broker.Broker.publish`.
            size: The bytes of the message.
        """

    def discard(self, count: int) -> None:
        """Count and log *count* messages of the client that it may publish nowhere."""
        self._hub.metrics.discarded += count
        hints = self.publish_hints
        self._hub.log_loss(
            self._log,
            "message-discarded",
            "a message from {peer} ({id}) is discarded: it may publish nowhere{_why}",
            peer=self.peer,
            id=self.id,
            hints=hints,
            _why=f" ({hints})" if hints else "",
        )
        if not self.granted.publish and self._client.takes_notices and _MUTE not in self.hints:
            # Whoever makes the page looks at its console, and not at the log.
            self.granted = self.granted.with_hints((*self.hints, _MUTE))
            self._client.tell_rights()

    @property
    def publish_hints(self) -> str:
        """Why the client may publish nowhere, as far as it is known."""
        told = [each for each in self.hints if "publish" in each and each != _MUTE]
        if not told and not self.granted.publish:
            told = [_NO_FLAG]
        return "; ".join(told)

    def count_deafness(self) -> None:
        """Count the client if it is deaf now. To be called when `is_deaf` may have changed."""
        is_deaf = self._state is _State.OPEN and self.is_deaf
        if is_deaf is not self._counts_as_deaf:
            self._counts_as_deaf = is_deaf
            self._hub.metrics.deaf += 1 if is_deaf else -1

    def check_limit(self, channels: Sequence[bytes]) -> None:
        """Raise LimitExceeded for more channels than `Limits.max_channels`."""
        if len(channels) > (limit := self._limits.max_channels):
            self._hub.metrics.limits["max-channels"] += 1
            raise LimitExceeded(f"more than {limit} channels")

    def choose_path(self) -> None:
        """
        Set `direct`: by default, an open connection hears everything on its channels.

        It is None while publications are written one by one; see `select`.
        """
        is_direct = self._state is _State.OPEN and self._put is None
        self.direct = self._client.queue if is_direct else None

    def write(self, data: bytes) -> None:
        """Send encoded messages to the client."""
        self._client.write(data)

    def _write_publications(self, items: Sequence[Publication]) -> None:
        """Send publications in one write, but for large ones: a copy would not be shared."""
        row = [item[self.encoding] for item in items]
        if self._put is None and max(map(len, row), default=0) < _LARGE:
            if data := b"".join(row):
                self.write(data)
            return
        self._write_each(items)

    def _write_each(
        self, items: Sequence[Publication], begin: bytes = b"", end: bytes = b""
    ) -> None:
        """
        Send each publication by itself if it is large, or if some may be left out.

        Args:
            begin, end: Sent before and after them.
        """
        small = [begin]
        for item in items:
            data = item[self.encoding]
            if len(data) < _LARGE and self._put is None:
                small.append(data)
                continue
            if any(small):
                self.write(b"".join(small))
            small.clear()
            # Something may wait since then.
            if self._put is None:
                self.write(data)
            else:
                self._put(item.channel, data)
        small.append(end)
        if data := b"".join(small):
            self.write(data)

    def _count_bytes(self, items: Sequence[Publication]) -> None:
        """Count publications that did not come from `Hub.deliver`, which counts by itself."""
        self._hub.metrics.sent_bytes += sum(len(item[self.encoding]) for item in items)

    def handle_message(self, payload: bytes, is_binary: bool) -> None:
        """Pass a message of the client to the handler, or publish it if there is none."""
        if self._handler is None:
            self.publish(payload)
        else:
            self._handle(partial(self._handler.on_message, self, payload, is_binary))

    # -- For the transport

    def open(self) -> Deferred[Mapping[bytes, bytes]]:
        """
        Prepare for the answer to the handshake; publications that arrive meanwhile are held back.

        Returns:
            Fires with the stored messages by channel, for `opened`.

        Raises:
            LimitExceeded: More channels than `Limits.max_channels`. Nothing changed.
            BrokerUnavailable: Redis is away; `closed` undoes the rest.
            PermissionDenied: Redis forbids a channel; `closed` undoes the rest.
        """
        self.check_limit(self.channels)
        if not self.channels:
            return succeed({})
        subscribed = self._hub.subscribe(self)
        if subscribed.called and subscribed.result is None:
            # Nothing to wait for, as for all but the first client of a channel. A chain of
            # Deferreds would cost more than everything else here.
            return self.stored()
        return subscribed.addCallback(lambda _: self.stored())

    def opened(self, stored: Mapping[bytes, bytes], answer: bytes = b"") -> None:
        """Begin to write: first *answer* to the handshake; *stored* is the result of `open`."""
        self._begin([*self.first_publications(stored, self._release())], answer)

    def resumed(
        self, stored: Mapping[bytes, bytes], missed: Sequence[Publication], answer: bytes
    ) -> None:
        """
        Begin to write to a client that was here before.

        Args:
            stored: The result of `open`. It is not sent: the client has heard it.
            missed: All that the client has not heard, up to now.
            answer: Sent first.
        """
        self._release()
        self.pass_over(stored)
        self._begin(missed, answer)

    def pass_over(self, stored: Mapping[bytes, bytes]) -> None:
        """Remember stored messages that are not sent: they are not news after an outage either."""
        for name, payload in stored.items():
            if self.is_open and name in self.channels and self._hub.is_fresh(self, name):
                self._hub.mark_stored(self, Publication(name, payload))

    def _release(self) -> Sequence[Publication]:
        """Hold back nothing any more. Returns: What was held back."""
        held_back, self._held_back = self._held_back or (), None
        self._state = _State.OPEN
        return held_back

    def _begin(self, items: Sequence[Publication], answer: bytes) -> None:
        self._count_bytes(items)
        self.choose_path()
        self.count_deafness()
        self._write_each(items, answer, self.encoding.heartbeat or b"")
        if self._handler is not None:
            self._handle(partial(self._handler.on_connect, self))

    def note(self, text: str) -> None:
        """Remember, for those who ask, what happened to this client on each of its channels."""
        for name in self.channels:
            self._hub.incidents.note(name, text)

    def receive(self, payload: bytes, is_binary: bool) -> None:
        """
        Take one message of the client. Does nothing once the connection is closed.

        An empty one may be a sign of life only; see `wsredis.gateway.client.Client.takes_notices`.
        """
        if not payload and self._client.takes_notices:
            return
        if self._state is _State.OPEN:
            self._hub.metrics.received += 1
            self.messages += 1
            self.received(payload, is_binary)

    def receive_all(self, payloads: Sequence[bytes]) -> int:
        """
        Take several short messages of the client, at least the first.

        Called only if `Dialect.takes_batches`.

        Returns:
            The number of those that were taken. If it is not all, the client is paused or closed.
        """
        for count, payload in enumerate(payloads, 1):
            self.receive(payload, False)
            if self._state is not _State.OPEN or self._client.is_paused:
                return count
        return len(payloads)

    def is_settled(self) -> bool:
        """
        Tell whether Redis has answered all that the client published, so that it may take leave.

        If not, the client is paused until then.
        """
        if not self._unanswered:
            return True
        self._low = 0
        self._client.pause(_PUBLISH)
        return False

    def ended(self, code: int, reason: str) -> None:  # noqa: B027, most do not need it
        """
        Take note of the close frame that ends the connection, the client's or the gateway's.

        `closed` follows. It comes alone if the connection ends without a close frame.

        Args:
            code: 1005 if the frame had none.
        """

    def drained(self) -> None:  # noqa: B027, most do not need it
        """Take note that nothing waits for the client any more. Called only if something did."""

    def closed(self) -> None:
        """The socket is gone, or was never opened. Repeating it is harmless."""
        was_open = self.is_open
        self._state = _State.CLOSED
        self.count_deafness()
        self.direct = self._held_back = self._put = None
        self._hub.unsubscribe(self)
        if was_open and self._handler is not None:
            self._handle(partial(self._handler.on_disconnect, self))

    def select(self, put: Callable[[bytes, bytes], None] | None) -> None:
        """
        Write publications one by one from now on, or in any way again.

        Args:
            put: Sends one, given its channel and its bytes, and may leave some out. If None, none
                may be left out.
        """
        self._put = None if self._state is _State.CLOSED else put
        self.choose_path()

    async def change(self, identity: Identity, granted: Access) -> None:
        """Go on with other groups of the same user, or another access. May raise LimitExceeded."""
        self.identity, self.granted = identity, granted

    # -- For the handler

    def send(self, message: str | bytes) -> None:
        """
        Send *message* to this client alone: a string as text, bytes as a binary message.

        Does nothing once the connection is closed. A client with the subprotocol ``wsredis`` gets
        bytes that are UTF-8 as text: binary messages of that kind are the gateway's own.
        """
        if self.is_open:
            if isinstance(message, bytes) and self._client.takes_notices:
                with contextlib.suppress(UnicodeDecodeError):
                    message = message.decode()
            self.write(self.encoding.message(message))

    @abstractmethod
    def publish(self, payload: bytes) -> None:
        """Publish a message as if the client had sent it."""

    def close(self, code: int = 1000, reason: str = "") -> None:
        """
        Close the connection. Does nothing once it is closed.

        Args:
            code: 1000, or 3000 to 4999 for codes of your own (RFC 6455, 7.4.2).
            reason: For the client, at most 123 bytes of UTF-8; the rest is cut off.
        """
        if self.is_open:
            self._client.close(code, reason)

    # -- wsredis.gateway.hub.Listener

    def deliver(self, items: Sequence[Publication]) -> None:
        """See `wsredis.gateway.hub.Listener.deliver`."""
        if self._held_back is not None:
            self._hold_back(self._held_back, items)
        # It may have been closed while the hub was on its way to it.
        elif self.is_open:
            self._write_publications(self.audible(items))

    def restore(self, item: Publication) -> None:
        """See `wsredis.gateway.hub.Listener.restore`."""
        if self.is_open:
            self._count_bytes([item])
            self._write_publications([item])

    def forbid(self) -> None:
        """See `wsredis.gateway.hub.Listener.forbid`."""
        self.close(1008, "Redis forbids a channel")

    # -- wsredis.gateway.broker.PublishWaiter

    @property
    def origin(self) -> str:
        """See `wsredis.gateway.broker.PublishWaiter.origin`."""
        user = self.identity.user
        return self._client.address if user is None else f"user {user}"

    def published(self, count: int, size: int) -> None:
        """See `wsredis.gateway.broker.PublishWaiter.published`."""
        low = self._low
        was_high = self._unanswered > low or self._unanswered_bytes > _LOW_BYTES
        self._unanswered -= count
        self._unanswered_bytes -= size
        if was_high and self._unanswered <= low and self._unanswered_bytes <= _LOW_BYTES:
            self._client.resume(_PUBLISH)

    def not_published(self, error: Exception, size: int) -> None:
        """See `wsredis.gateway.broker.PublishWaiter.not_published`."""
        self._hub.metrics.unpublished += 1
        if self._state is _State.OPEN:
            try:
                self.publish_failed(error, size)
            except Exception:
                self._crashed(Failure())
        # Only now: a message that followed the lost one must not be published.
        self.published(1, size)

    def _hold_back(self, held_back: _HeldBack, items: Sequence[Publication]) -> None:
        held_back += items
        held_back.size += sum(len(item.payload) for item in items)
        if held_back.size > self._limits.most_queued:
            # It would be a slow consumer from its first moment.
            self._held_back = _HeldBack()
            self._client.close(1013, "too many messages during the handshake")

    def _handle(self, hook: Callable[[], Any]) -> None:
        """Run one method of the handler; the client's next message waits until it is done."""
        done = maybeDeferred(hook).addErrback(self._crashed)
        if self.is_open and (not done.called or done.paused):
            self._client.pause(PauseReason.HANDLER)
            done.addCallback(lambda _: self._client.resume(PauseReason.HANDLER))

    def _crashed(self, failure: Failure) -> None:
        self._hub.log_failure(
            self._log,
            "handler-failed",
            "handler failed for {peer} ({id})",
            failure,
            peer=self.peer,
            id=self.id,
        )
        self.close(1011, "internal error")
