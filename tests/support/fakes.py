"""Stand-ins for sockets, transports, clients and brokers. They are as strict as the real ones."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple
from typing import Protocol as Port

from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor
from twisted.python.failure import Failure

from wsredis.brokers.memory import MemoryBroker, MemoryServer
from wsredis.config.slow_policy import SlowPolicy
from wsredis.dialects.plain import PlainDialect
from wsredis.gateway.broker import PublishWaiter, WorkerQueue
from wsredis.gateway.client import PauseReason, Sink
from wsredis.gateway.publication import Encoding, Publication
from wsredis.gateway.queued_bytes import QueuedBytes
from wsredis.transports.websocket.encoding import Encodings

__all__ = [
    "FakeClient",
    "FakeListener",
    "FakeOwner",
    "FakeSocket",
    "FakeStreamTransport",
    "HeldBroker",
    "Message",
    "ServerTransport",
    "messages",
    "publish",
    "queued_bytes",
]


class Message(NamedTuple):
    """One frame as a client sees it."""

    opcode: int
    payload: bytes


def messages(data: bytes) -> list[Message]:
    """
    Read the unmasked frames of a server.

    Raises:
        ValueError: Not a row of whole, final frames in their shortest form (RFC 6455, 5.2).
    """
    found = []
    while data:
        if len(data) < 2 or data[0] & 0xF0 != 0x80 or data[1] & 0x80:
            raise ValueError(f"no frame starts with {data[:2]!r}")
        length, start = data[1], 2
        for code, size, least in ((126, 2, 126), (127, 8, 65536)):
            if data[1] == code:
                start = 2 + size
                length = int.from_bytes(data[2:start], "big")
                if length < least:
                    raise ValueError(f"{length} is not in its shortest form")
        if len(data) < start + length:
            raise ValueError("the last frame is not whole")
        found.append(Message(data[0] & 0x0F, data[start : start + length]))
        data = data[start + length :]
    return found


class FakeSocket:
    """
    A non-blocking socket with a kernel buffer.

    Attributes:
        room: Bytes that the kernel takes before it says EAGAIN.
        sent: The bytes that it took.
        error: The exception that `send` raises. If None, it raises nothing.
        refuses_pieces: Whether the next `sendmsg` raises ENOBUFS.
    """

    def __init__(self, room: int = 1 << 40) -> None:
        self.room = room
        self.sent = bytearray()
        self.error: OSError | None = None
        self.refuses_pieces = False
        self.closed = False

    def send(self, data: bytes | memoryview) -> int:
        """As ``socket.send``."""
        view = memoryview(data)
        if self.closed:
            raise OSError(errno.EBADF, "Bad file descriptor")
        if self.error is not None:
            raise self.error
        if view and not self.room:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        taken = min(len(view), self.room)
        self.room -= taken
        self.sent += view[:taken]
        return taken

    def sendmsg(self, pieces: Sequence[bytes | memoryview]) -> int:
        """As ``socket.sendmsg``."""
        if self.refuses_pieces:
            self.refuses_pieces = False
            raise OSError(errno.ENOBUFS, "No buffer space available")
        return self.send(b"".join(pieces))

    def fileno(self) -> int:
        """As ``socket.fileno``."""
        return -1 if self.closed else 3

    def setblocking(self, flag: bool) -> None:
        """As ``socket.setblocking``; it never blocks anyway."""
        if flag:
            raise ValueError("this socket is never blocking")

    def shutdown(self, how: int) -> None:
        """As ``socket.shutdown``."""

    def setsockopt(self, *option: object) -> None:
        """As ``socket.setsockopt``."""

    def close(self) -> None:
        """As ``socket.close``."""
        self.closed = True


class ServerTransport:
    """
    A *real* server transport of Twisted on a `FakeSocket` and on a reactor that only remembers.

    Args:
        kind: ``tcp.Server`` or ``unix.Server``.

    Attributes:
        transport: The transport.
    """

    def __init__(self, socket: FakeSocket, kind: Callable[..., Any] = tcp.Server) -> None:
        self._reactor = MemoryReactor()
        address: object = None if kind is unix.Server else ("127.0.0.1", 1)
        self.transport: Any = kind(socket, Protocol(), address, None, 0, self._reactor)

    @property
    def writing(self) -> bool:
        """Tell whether the transport waits for the kernel to take something."""
        return self.transport in self._reactor.getWriters()

    def turn(self) -> None:
        """One turn of the reactor: the kernel can take bytes, if the transport has some."""
        if self.writing:
            result = self.transport.doWrite()
            if result is not None:
                self.lose(result)

    def run(self) -> None:
        """Turn until the transport has no more to say."""
        while self.writing:
            self.turn()

    def lose(self, reason: BaseException) -> None:
        """The connection is gone."""
        self._reactor.removeReader(self.transport)
        self._reactor.removeWriter(self.transport)
        self.transport.connectionLost(Failure(reason))


class _NoSocket:
    """The socket below TLS: only the TLS layer may touch it."""

    def send(self, data: bytes) -> int:
        """Never to be called."""
        raise AssertionError("plaintext was sent past the transport")


class FakeStreamTransport:
    """
    A transport that is not a plain socket, such as one with TLS.

    It pauses its producer when more than *limit* bytes are buffered, resumes it when none are, and,
    as TLS does, puts off `loseConnection` while a producer is registered.

    Attributes:
        written: All that was handed to `write`, buffered or not.
        largest: The size of the largest write.
        lost: Whether the connection was closed.
    """

    def __init__(self, limit: int = 65536) -> None:
        self.socket = _NoSocket()
        self.written = bytearray()
        self.largest = 0
        self.lost = False
        self._limit = limit
        self._buffered = 0
        self._producer: Any = None
        self._paused = False
        self._losing = False

    def write(self, data: bytes) -> None:
        """As ``ITransport.write``."""
        if not isinstance(data, bytes):
            raise TypeError(f"{type(data).__name__} is not bytes")
        if self.lost:
            return
        self.written += data
        self.largest = max(self.largest, len(data))
        self._buffered += len(data)
        if self._buffered > self._limit and self._producer is not None and not self._paused:
            self._paused = True
            self._producer.pauseProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """As ``IConsumer.registerProducer``."""
        if self._producer is not None:
            raise RuntimeError("there is a producer already")
        if not streaming:
            raise RuntimeError("only push producers are known here")
        self._producer = producer
        if self.lost:
            producer.stopProducing()

    def unregisterProducer(self) -> None:
        """As ``IConsumer.unregisterProducer``."""
        self._producer = None
        self._paused = False
        self._finish()

    def loseConnection(self) -> None:
        """As ``ITransport.loseConnection``."""
        self._losing = True
        self._finish()

    def drain(self) -> None:
        """The other side took all that was buffered."""
        self._buffered = 0
        if self._paused:
            self._paused = False
            self._producer.resumeProducing()
        self._finish()

    def drop(self) -> None:
        """The connection is lost."""
        self.lost = True
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()

    def _finish(self) -> None:
        if self._losing and not self._buffered and self._producer is None:
            self.lost = True


def queued_bytes(limit: int = 1 << 40, clock: IReactorTime | None = None) -> QueuedBytes:
    """Return the count of all queues for a single one. It is never too much, unless limited."""
    return QueuedBytes(clock or Clock(), limit)


class FakeOwner:
    """
    The owner of a send queue.

    Attributes:
        notified: The names of the notifications it received, in order.
        on_overflow, on_drained: Called on that notification.
        address: The address of the client.
        put: The last argument of `send_queue_selects`.
        dropped: The messages that were left out.
    """

    address = ""

    def __init__(self) -> None:
        self.notified: list[str] = []
        self.put: Callable[[bytes, bytes], None] | None = None
        self.dropped = 0
        self.on_overflow: Callable[[], object] = bool
        self.on_drained: Callable[[], object] = bool

    def send_queue_over(self) -> None:
        """See `wsredis.transports.send_queue.SendQueueOwner`."""
        self.notified.append("over")

    def send_queue_within(self) -> None:
        """See `wsredis.transports.send_queue.SendQueueOwner`."""
        self.notified.append("within")

    def send_queue_overflowed(self) -> None:
        """See `wsredis.transports.send_queue.SendQueueOwner`."""
        self.notified.append("overflowed")
        self.on_overflow()

    def send_queue_congested(self) -> None:
        """See `wsredis.transports.send_queue.SendQueueOwner`."""
        self.notified.append("congested")

    def send_queue_advanced(self) -> None:
        """See `wsredis.transports.send_queue.SendQueueOwner`."""
        self.notified.append("advanced")

    def send_queue_drained(self) -> None:
        """See `wsredis.transports.send_queue.SendQueueOwner`."""
        self.notified.append("drained")
        self.on_drained()

    def send_queue_evicted(self, is_cut: bool) -> None:
        """See `wsredis.transports.send_queue.SendQueueOwner`."""
        self.notified.append("cut" if is_cut else "evicted")

    def send_queue_selects(self, put: Callable[[bytes, bytes], None] | None) -> None:
        """See `wsredis.transports.selective_queue.SelectiveOwner`."""
        self.put = put

    def send_queue_dropped(self, policy: SlowPolicy, count: int) -> None:
        """See `wsredis.transports.selective_queue.SelectiveOwner`."""
        self.dropped += count


class FakeListener:
    """
    A listener of the hub.

    Attributes:
        written: The arguments of `send` and `write`, in order.
        items: The items that came by `deliver`.
        restored: The items that came by `restore`.
        forbidden: The number of calls of `forbid`.
        react: Called at the end of each call of the hub.
    """

    def __init__(
        self, *channels: bytes, direct: bool = True, encoding: Encoding | None = None
    ) -> None:
        self.channels: Sequence[bytes] = channels
        self.encoding = encoding or Encodings(0)[PlainDialect(), 0]
        self.written: list[bytes] = []
        self.items: list[Publication] = []
        self.restored: list[Publication] = []
        self.forbidden = 0
        self.react: Callable[[], object] = bool
        self.direct: Sink | None = self if direct else None

    @property
    def heard(self) -> list[tuple[bytes, bytes]]:
        """Channels and payloads that came by `deliver`."""
        return [(item.channel, item.payload) for item in self.items]

    def send(self, data: bytes) -> int:
        """See `wsredis.gateway.client.Sink`."""
        self.written.append(data)
        self.react()
        return len(data)

    def write(self, data: bytes) -> None:
        """See `wsredis.gateway.client.Sink`."""
        self.send(data)

    def keep(self, data: bytes, taken: int) -> None:
        """See `wsredis.gateway.client.Sink`."""
        raise AssertionError("everything was taken")

    def deliver(self, items: Sequence[Publication]) -> None:
        """See `wsredis.gateway.hub.Listener`."""
        self.items += items
        self.react()

    def restore(self, item: Publication) -> None:
        """See `wsredis.gateway.hub.Listener`."""
        self.restored.append(item)
        self.react()

    def forbid(self) -> None:
        """See `wsredis.gateway.hub.Listener`."""
        self.forbidden += 1
        self.react()


class FakeClient:
    """
    The socket of a `wsredis.gateway.connection.Connection`.

    As the real one, it lets go of its connection when the closing handshake starts, and counts
    each reason not to read once.

    Attributes:
        connection: The connection whose `closed` is called; set it.
        events: Its calls in order: ``("close", code)``, ``("pause", why)``,
            ``("resume", why)``, ``("write", messages)``, ``("rights", audiences)``.
        takes_notices: Set it to True for a client with the subprotocol ``wsredis``.
        held: The reasons not to read.
        charged: The deliveries that it has caused.
        reason: The reason in the close frame.
        record: Called with all bytes that are written.
    """

    peer = "192.0.2.1:4711"
    address = "192.0.2.1"

    def __init__(self) -> None:
        self.connection: Any = None
        self.events: list[tuple[str, Any]] = []
        self.held = self.charged = 0
        self.takes_notices = False
        self.reason = ""
        self.record: Callable[[bytes], object] = self._record
        self._closed = False

    @property
    def got(self) -> list[bytes]:
        """The payloads that the client received."""
        found = [each for kind, each in self.events if kind == "write"]
        return [message.payload for written in found for message in written]

    @property
    def closed(self) -> int | None:
        """The code that it was closed with."""
        return next((code for kind, code in self.events if kind == "close"), None)

    @property
    def queue(self) -> Sink:
        """See `wsredis.gateway.client.Client`."""
        return self

    def send(self, data: bytes) -> int:
        """See `wsredis.gateway.client.Sink`. Nothing follows a close frame."""
        if self._closed:
            raise AssertionError("a frame was sent after the close frame")
        self.record(data)
        return len(data)

    def write(self, data: bytes) -> None:
        """See `wsredis.gateway.client.Client`."""
        self.send(data)

    def keep(self, data: bytes, taken: int) -> None:
        """See `wsredis.gateway.client.Sink`."""
        raise AssertionError("everything was taken")

    def _record(self, data: bytes) -> None:
        self.events.append(("write", messages(data)))

    def close(self, code: int, reason: str) -> None:
        """See `wsredis.gateway.client.Client`."""
        if not 1000 <= code <= 4999 or code in (1004, 1005, 1006, 1015):
            raise ValueError(f"{code} may not stand in a close frame")
        if len(reason.encode()) > 123:
            raise ValueError("the reason does not fit into a control frame")
        if self._closed:
            return
        self._closed = True
        self.reason = reason
        self.events.append(("close", code))
        self.connection.closed()

    def pause(self, why: PauseReason) -> None:
        """See `wsredis.gateway.client.Client`."""
        self.held |= why
        self.events.append(("pause", why))

    def resume(self, why: PauseReason) -> None:
        """See `wsredis.gateway.client.Client`."""
        if self.held & why:
            self.held &= ~why
            self.events.append(("resume", why))

    @property
    def is_paused(self) -> bool:
        """See `wsredis.gateway.client.Client`."""
        return self.held != 0

    def tell_rights(self) -> None:
        """See `wsredis.gateway.client.Client`."""
        if self.takes_notices:
            self.events.append(("rights", self.connection.audiences()))

    def charge(self, work: int) -> None:
        """See `wsredis.gateway.client.Client`."""
        self.charged += work


class Publishing(Port):
    """A broker, or a part of one."""

    def publish(self, channels: Sequence[bytes], payload: bytes, waiter: PublishWaiter) -> None:
        """See `wsredis.gateway.broker.Broker.publish`."""


class Pushing(Port):
    """A broker, or a part of one."""

    def push(self, queue: WorkerQueue, payload: bytes, waiter: PublishWaiter) -> None:
        """See `wsredis.gateway.broker.Broker.push`."""


class _Waiter:
    """One message that is published, and its Deferred."""

    def __init__(self, size: int, origin: str = "") -> None:
        self.origin = origin
        self.done: Deferred[None] = Deferred()
        self._size = size

    def published(self, count: int, size: int) -> None:
        """See `wsredis.gateway.broker.PublishWaiter`."""
        if (count, size) != (1, self._size):
            raise AssertionError(f"{count} messages of {size} bytes were not published here")
        self.done.callback(None)

    def not_published(self, error: Exception, size: int) -> None:
        """See `wsredis.gateway.broker.PublishWaiter`."""
        if size != self._size:
            raise AssertionError(f"a message of {size} bytes was not published here")
        self.done.errback(error)


def publish(broker: Publishing, channels: Sequence[bytes], payload: bytes) -> Deferred[None]:
    """Publish one message with *broker*. Fires when it is confirmed."""
    waiter = _Waiter(len(payload))
    broker.publish(channels, payload, waiter)
    return waiter.done


def push(broker: Pushing, queue: WorkerQueue, payload: bytes, origin: str = "") -> Deferred[None]:
    """Hand one message to workers with *broker*. Fires when it is confirmed."""
    waiter = _Waiter(len(payload), origin)
    broker.push(queue, payload, waiter)
    return waiter.done


class HeldBroker(MemoryBroker):
    """
    A broker that answers when the test says so.

    Attributes:
        slow: Names of the methods that wait for `answer` or `refuse`; nothing happens before.
    """

    def __init__(self, clock: IReactorTime, *slow: str) -> None:
        self.server = MemoryServer(clock)
        super().__init__(self.server)
        self.slow = set(slow)
        self._pending: list[tuple[Callable[[], object], Callable[[Exception], object]]] = []

    @property
    def pending(self) -> int:
        """The number of calls that wait for an answer."""
        return len(self._pending)

    def subscribe(self, channels: Sequence[bytes]) -> Deferred[None]:
        """See `wsredis.gateway.broker.Broker.subscribe`."""
        act = super().subscribe
        return self._call("subscribe", lambda: act(channels))

    def publish(self, channels: Sequence[bytes], payload: bytes, waiter: PublishWaiter) -> None:
        """See `wsredis.gateway.broker.Broker.publish`."""
        if "publish" not in self.slow:
            super().publish(channels, payload, waiter)
            return
        act = partial(super().publish, channels, payload, waiter)
        self._pending.append((act, lambda error: waiter.not_published(error, len(payload))))

    def push(self, queue: WorkerQueue, payload: bytes, waiter: PublishWaiter) -> None:
        """See `wsredis.gateway.broker.Broker.push`."""
        if "push" not in self.slow:
            super().push(queue, payload, waiter)
            return
        act = partial(super().push, queue, payload, waiter)
        self._pending.append((act, lambda error: waiter.not_published(error, len(payload))))

    def fetch(self, channels: Sequence[bytes]) -> Deferred[dict[bytes, bytes]]:
        """See `wsredis.gateway.broker.Broker.fetch`."""
        act = super().fetch
        return self._call("fetch", lambda: act(channels))

    def answer(self, count: int = 1) -> None:
        """Let the oldest *count* calls happen."""
        for _ in range(count):
            act, _ = self._pending.pop(0)
            act()

    def refuse(self, error: Exception) -> None:
        """Let the oldest call fail; nothing of it happens."""
        _, refuse = self._pending.pop(0)
        refuse(error)

    def _call(self, name: str, act: Callable[[], Deferred[Any]]) -> Deferred[Any]:
        if name not in self.slow:
            return act()
        waiting: Deferred[Any] = Deferred()
        self._pending.append((lambda: act().chainDeferred(waiting), waiting.errback))
        return waiting
