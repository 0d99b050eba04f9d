"""One client: what it listens to, what it says, what it must not hear back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, Flag
from functools import partial
from typing import Any, Protocol

from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsredis.channels import Access, Audience, channel_names
from wsredis.config import Limits
from wsredis.dialects.plain import PlainDialect
from wsredis.errors import (
    BrokerError,
    BrokerUnavailable,
    ClientError,
    LimitExceeded,
    PermissionDenied,
)
from wsredis.gateway.broker import Broker
from wsredis.gateway.handler import Handler
from wsredis.gateway.hub import EncodedPublication, Hub
from wsredis.gateway.identity import Identity
from wsredis.gateway.metrics import Metrics
from wsredis.transports.websocket import frames

__all__ = ["Client", "Connection", "PauseReason", "Shared"]

#: A client that has published this much without an answer from Redis is not read any more.
_UNANSWERED_MESSAGES = 256
_UNANSWERED_BYTES = 1048576

#: How many of its own messages a connection waits to see again. The oldest is forgotten first.
_OWN_MESSAGES = 1024


class PauseReason(Flag):
    """Why a client is not read."""

    SEND_QUEUE = 1
    PUBLISH = 2
    HANDLER = 4


class Client(Protocol):
    """What a connection needs of the socket it belongs to."""

    peer: str

    def write(self, data: bytes) -> None:
        """Send whole frames."""

    def close(self, code: int, reason: str) -> None:
        """Start the closing handshake."""

    def pause(self, why: PauseReason) -> None:
        """Take no further message from the client, also none that was read already."""

    def resume(self, why: PauseReason) -> None:
        """Go on, unless there is another reason not to."""


@dataclass(slots=True)
class Shared:
    """
    What all connections of a gateway have in common.

    Attributes:
        prefix: Put before every channel; empty puts nothing.
        handler: The hook of the embedding program. None publishes what clients send.
        compress_threshold: Bytes; smaller payloads are not compressed for anybody.
    """

    hub: Hub
    broker: Broker
    dialect: PlainDialect
    limits: Limits
    metrics: Metrics
    prefix: str = ""
    handler: Handler | None = None
    compress_threshold: int = 0


class _State(Enum):
    OPENING = 1
    OPEN = 2
    CLOSED = 3


class Connection:
    """
    One WebSocket of one identity.

    Args:
        granted: What it may do.

    Attributes:
        identity: Who it belongs to.
        granted: What it may do; `change` replaces it, and the identity.
        channels: The channels that it subscribes to.
        direct: See `wsredis.gateway.hub.Listener`.
        window: See `wsredis.gateway.hub.Listener`.
        write: See `wsredis.gateway.hub.Listener`.
        data: For a `Handler` to keep what it likes.
    """

    _log = Logger()

    __slots__ = (
        "_client",
        "_held",
        "_held_bytes",
        "_last",
        "_own",
        "_own_copies",
        "_publish_channels",
        "_shared",
        "_state",
        "_unanswered",
        "_unanswered_bytes",
        "channels",
        "data",
        "direct",
        "granted",
        "identity",
        "window",
        "write",
    )

    def __init__(self, shared: Shared, client: Client, identity: Identity, granted: Access) -> None:
        self._shared = shared
        self._client = client
        self.identity = identity
        self.granted = granted
        self.data: Any = None
        self.write: Callable[[bytes], None] = client.write
        self.direct = False
        self.window = 0
        self.channels: Sequence[bytes] = self._names(identity, granted, granted.subscribe)
        self._publish_channels = self._names(identity, granted, granted.publish)
        self._state = _State.OPENING
        #: What arrives between the subscription and the first byte after the handshake.
        self._held: list[EncodedPublication] | None = []
        self._held_bytes = 0
        #: The echo rule: the hash of the last message of the client, and of those that are under
        #: way to Redis and back, with the number of copies to expect.
        self._last: int | None = None
        self._own: dict[int, int] | None = None
        self._own_copies = self._count_own_copies()
        self._unanswered = 0
        self._unanswered_bytes = 0

    @property
    def peer(self) -> str:
        """The address of the client, for logs."""
        return self._client.peer

    async def open(self) -> dict[bytes, bytes]:
        """
        Subscribe, and fetch the stored messages; what arrives meanwhile is held.

        Returns: The stored messages by channel, for `opened`.
        Raises:
            LimitExceeded: More channels than `Limits.max_channels`. Nothing changed.
            BrokerUnavailable, PermissionDenied: As the broker says; `closed` undoes the rest.
        """
        self._check_limit(self.channels, self._publish_channels)
        if not self.channels:
            return {}
        await self._shared.hub.subscribe(self)
        return await self._shared.broker.fetch(self.channels)

    def opened(self, stored: dict[bytes, bytes]) -> None:
        """
        The handshake is answered: send stored messages, then held ones, then go live.

        A stored message that also arrived live meanwhile is sent once, as the live one.
        """
        shared = self._shared
        held, self._held = self._held or [], None
        self._state = _State.OPEN
        live = {(item.channel, item.payload) for item in held}
        out = []
        for name in self.channels:
            payload = stored.get(name)
            if payload is None or (name, payload) in live:
                continue
            if shared.hub.is_deliverable(name, payload):
                shared.hub.saw(self, name, payload)
                out.append(self._variant(shared.dialect.frame(payload)))
        out += [item.variant(self.window).frame for item in held]
        if shared.dialect.heartbeat_frame is not None:
            out.append(shared.dialect.heartbeat_frame)
        self._choose_path()
        if out:
            self.write(b"".join(out))
        if shared.handler is not None:
            self._handle(partial(shared.handler.on_connect, self))

    async def change(self, identity: Identity, granted: Access) -> None:
        """
        Go on with other groups, or other rights: the subscriptions follow.

        The stored messages of channels that are new to it are sent, unless Redis is away.

        Raises:
            LimitExceeded: More channels than `Limits.max_channels`. Nothing changed.
        """
        channels = self._names(identity, granted, granted.subscribe)
        publish_channels = self._names(identity, granted, granted.publish)
        self._check_limit(channels, publish_channels)
        before = self.channels
        self.identity, self.granted = identity, granted
        self.channels, self._publish_channels = channels, publish_channels
        self._own_copies = self._count_own_copies()
        hub = self._shared.hub
        hub.retract(self, [name for name in before if name not in channels])
        new = [name for name in channels if name not in before]
        if not new:
            return
        try:
            await hub.extend(self, new)
            stored = await self._shared.broker.fetch(new)
        except (BrokerUnavailable, PermissionDenied):
            # The first brings them when Redis is back, the second closes this connection.
            return
        for name, payload in stored.items():
            if (
                self._state is _State.OPEN
                and hub.is_deliverable(name, payload)
                and hub.is_fresh(self, name)
            ):
                hub.saw(self, name, payload)
                self.write(self._variant(self._shared.dialect.frame(payload)))

    def closed(self) -> None:
        """The socket is gone, or was never opened. Repeating it is harmless."""
        was_open = self._state is _State.OPEN
        self._state = _State.CLOSED
        self.direct = False
        self._held = None
        self._shared.hub.unsubscribe(self)
        if was_open and self._shared.handler is not None:
            self._handle(partial(self._shared.handler.on_disconnect, self))

    def received(self, payload: bytes, is_binary: bool) -> None:
        """Take one message of the client."""
        if self._state is not _State.OPEN:
            return
        shared = self._shared
        shared.metrics.received += 1
        if shared.dialect.is_heartbeat(payload):
            self._remember(None)
            assert shared.dialect.heartbeat_frame is not None
            self.write(shared.dialect.heartbeat_frame)
        elif not payload:
            self._remember(None)
        elif shared.handler is None:
            self.publish(payload)
        else:
            self._handle(partial(shared.handler.on_message, self, payload, is_binary))

    def send(self, message: str | bytes) -> None:
        """
        Send *message* to this client alone: text as text, bytes as a binary message.

        Does nothing once the connection is closed.
        """
        if self._state is _State.OPEN:
            if isinstance(message, str):
                frame = frames.text(message.encode())
            else:
                frame = frames.binary(message)
            self.write(self._variant(frame))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """
        Start the closing handshake.

        Args:
            code: 1000, or 3000 to 4999 for codes of your own (RFC 6455, 7.4.2).
        """
        if self._state is _State.OPEN:
            self._client.close(code, reason)

    def publish(self, payload: bytes) -> None:
        """
        Publish on all channels that were granted; with none of them, or empty, do nothing.

        A failure closes the connection: with 1013 where Redis is away, with 1008 where it forbids.
        """
        self._remember(payload or None)
        channels = self._publish_channels
        if not payload or not channels or self._state is not _State.OPEN:
            return
        self._unanswered += 1
        self._unanswered_bytes += len(payload)
        if self._unanswered >= _UNANSWERED_MESSAGES or self._unanswered_bytes >= _UNANSWERED_BYTES:
            self._client.pause(PauseReason.PUBLISH)
        self._shared.broker.publish(channels, payload).addCallbacks(
            self._published,
            self._not_published,
            callbackArgs=(len(payload),),
            errbackArgs=(len(payload),),
        )

    def deliver(self, items: Sequence[EncodedPublication]) -> None:
        """See `wsredis.gateway.hub.Listener.deliver`."""
        if self._held is not None:
            self._hold_back(items)
            return
        if self._state is not _State.OPEN:
            # It was closed while the hub was on its way to it.
            return
        out = [item.frame for item in self._unless_own(items)]
        if out:
            self.write(b"".join(out))

    def restore(self, item: EncodedPublication) -> None:
        """See `wsredis.gateway.hub.Listener.restore`."""
        if self._state is _State.OPEN:
            self.write(item.frame)

    def forbid(self) -> None:
        """See `wsredis.gateway.hub.Listener.forbid`."""
        if self._state is _State.OPEN:
            self._client.close(1008, "Redis forbids a channel")

    def _check_limit(self, *lists: Sequence[bytes]) -> None:
        limit = self._shared.limits.max_channels
        if max(map(len, lists)) > limit:
            raise LimitExceeded(f"more than {limit} channels")

    def _count_own_copies(self) -> int:
        return len(set(self.channels) & set(self._publish_channels))

    def _names(
        self, identity: Identity, granted: Access, audiences: frozenset[Audience]
    ) -> list[bytes]:
        return channel_names(
            self._shared.prefix,
            granted.facility,
            audiences,
            user=identity.user,
            groups=identity.groups,
            session=identity.session,
        )

    def _variant(self, frame: bytes) -> bytes:
        """A message that goes to this client alone."""
        return frames.deflated(frame, self.window, self._shared.compress_threshold)

    def _hold_back(self, items: Sequence[EncodedPublication]) -> None:
        assert self._held is not None
        self._held.extend(items)
        self._held_bytes += sum(len(item.frame) for item in items)
        if self._held_bytes > self._shared.limits.max_queue:
            # It would be a slow consumer from its first moment.
            self._held = []
            self._held_bytes = 0
            self._client.close(1013, "too many messages during the handshake")

    def _unless_own(self, items: Sequence[EncodedPublication]) -> Iterator[EncodedPublication]:
        """
        The echo rule of django-websocket-redis, by content: nothing that equals the last message
        of the client, and none of its earlier ones that are still on their way back.
        """
        own = self._own
        for item in items:
            digest = hash(item.payload)
            if own and digest in own:
                own[digest] -= 1
                if not own[digest]:
                    del own[digest]
            elif digest != self._last:
                yield item

    def _remember(self, payload: bytes | None) -> None:
        if self.granted.echo:
            return
        if payload is None:
            self._last = None
        else:
            self._last = hash(payload)
            if self._own_copies:
                own = self._own = self._own or {}
                own[self._last] = own.get(self._last, 0) + self._own_copies
                if len(own) > _OWN_MESSAGES:
                    del own[next(iter(own))]
        self._choose_path()

    def _choose_path(self) -> None:
        self.direct = self._state is _State.OPEN and self._last is None and not self._own

    def _published(self, _: None, size: int) -> None:
        self._unanswered -= 1
        self._unanswered_bytes -= size
        if (
            self._unanswered <= _UNANSWERED_MESSAGES // 2
            and self._unanswered_bytes <= _UNANSWERED_BYTES // 2
        ):
            self._client.resume(PauseReason.PUBLISH)

    def _not_published(self, failure: Failure, size: int) -> None:
        self._shared.metrics.unpublished += 1
        if self._state is _State.OPEN:
            self._tell_loss(failure, size)
        # Only now: what the client sent behind the lost message must not be published.
        self._published(None, size)

    def _tell_loss(self, failure: Failure, size: int) -> None:
        error = failure.value
        if isinstance(error, BrokerError):
            code, reason = 1013, "the message could not be published: try again later"
        elif isinstance(error, ClientError):
            code, reason = error.code, error.reason
        else:
            self._log.failure("publishing failed", failure=failure)
            code, reason = 1011, "internal error"
        self._log.warn(
            "a message of {size} bytes from {peer} was not published: {error}; closing: {code}",
            size=size,
            peer=self.peer,
            error=str(error),
            code=code,
        )
        self._client.close(code, reason)

    def _handle(self, hook: Callable[[], Any]) -> None:
        """Run one method of the handler; the client's next message waits until it is done."""
        done = maybeDeferred(hook).addErrback(self._crashed)
        if self._state is _State.OPEN and (not done.called or done.paused):
            self._client.pause(PauseReason.HANDLER)
            done.addCallback(self._handled)

    def _handled(self, _: object) -> None:
        self._client.resume(PauseReason.HANDLER)

    def _crashed(self, failure: Failure) -> None:
        self._log.failure("the handler failed for {peer}", failure=failure, peer=self.peer)
        if self._state is _State.OPEN:
            self._client.close(1011, "internal error")
