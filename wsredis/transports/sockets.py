"""
The sockets of clients: many behind one descriptor of the reactor, and writing past a transport.

`self_test` tries out what no client can be served without. `poller_for` tries out the rest; where
that fails, and where the reactor is not the one for epoll(7), Twisted's own way stays.

It is one module because the private names of Twisted's transports have to be read together.
"""

from __future__ import annotations

import select
import socket
import struct
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from struct import Struct
from time import monotonic
from typing import Any, NamedTuple

from twisted.internet import abstract, interfaces, main, tcp, unix
from twisted.internet.address import IPv6Address
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

import twisted
from wsredis.errors import incompatible

__all__ = [
    "PolledServer",
    "Poller",
    "Traffic",
    "acknowledged",
    "has_ended",
    "has_unread",
    "is_plain",
    "plain_socket",
    "poller_for",
    "report_at_once",
    "self_test",
    "traffic_of",
    "tune",
    "write_now",
]

#: In Linux's ``struct tcp_info``: packets that are not acknowledged, bytes that are, and bytes that
#: were not sent yet.
_TCP_INFO = Struct("=24xI92xQ16xI")

#: As well: bytes that are acknowledged, and bytes that came.
_TRAFFIC = Struct("=120xQQ")

#: Sockets served in one turn of the reactor. Timers and Redis wait for no more than these.
_TURN = 64

#: Sockets looked at to find those of the living: the ones of clients that have gone may be many.
_LOOK = 1024

#: Seconds that a turn takes: a socket whose turn has not come then is served in the next one.
_BUDGET = 0.004

#: Clients accepted in one turn at most: those that are there already wait for it. Twisted begins
#: with 100, and after a turn that accepted all that it might, the next one may accept 20 more.
_ACCEPTS = 64
_MORE = 20

# EPOLLIN, EPOLLOUT, EPOLLERR with EPOLLHUP, and EPOLLRDHUP: Linux has the same numbers everywhere,
# and other systems have no names for them.
_IN, _OUT, _GONE, _ENDED = 1, 4, 24, 0x2000

#: A client that sends no more is told apart without a read.
_INPUT = _IN | _ENDED

_events = itemgetter(1)


class Traffic(NamedTuple):
    """
    The bytes of one TCP connection as the kernel counts them, from its begin to its end.

    Attributes:
        received: Bytes that came.
        sent: Bytes that the client's kernel has taken.
    """

    received: int
    sent: int


class _OnDemand:
    """A list that an instance gets when it first needs one: most write nothing this way."""

    def __get__(self, server: Any, owner: type) -> Any:
        if server is None:
            return self
        made = server._tempDataBuffer = []
        return made


class PolledServer(tcp.Server):
    """
    The transport of one client. It costs half the memory of Twisted's class, and less time.

    All that it does is Twisted's, but its socket is watched by a `Poller`, what would be stored for
    the log is not, and what is written leaves at once.

    Attributes:
        watched: The events that the poller waits for.
        traffic: The bytes in both directions, once the socket is closed, if the poller measures it.
    """

    logstr = "PolledServer"
    watched = 0
    traffic: Traffic | None = None
    _tempDataBuffer: Any = _OnDemand()
    _tempDataLen = 0

    def __init__(self, poller: Poller, sock: socket.socket, protocol: Any, client: Any) -> None:
        # Twisted's would make strings for the log, and a list for what is written.
        sock.setblocking(False)
        self.socket = sock
        self.protocol = protocol
        self.client = client
        self.poller = poller
        self.reactor = poller.reactor
        if len(client) != 2:
            self._addressType = IPv6Address
        self.connected = 1
        poller.watch(self, _INPUT)

    def __repr__(self) -> str:
        return f"<PolledServer of {self.client[0]}:{self.client[1]}>"

    def fileno(self) -> int:
        """See `twisted.internet.interfaces.IFileDescriptor`."""
        return self.socket.fileno() if self.connected else -1

    def startReading(self) -> None:
        """Wait for input."""
        if self.connected:
            self.poller.watch(self, self.watched | _INPUT)

    def stopReading(self) -> None:
        """Wait for input no more."""
        self.poller.watch(self, self.watched & ~_INPUT)

    def startWriting(self) -> None:
        """Wait until bytes can be written."""
        if self.connected:
            self.poller.watch(self, self.watched | _OUT)

    def stopWriting(self) -> None:
        """Wait for that no more."""
        self.poller.watch(self, self.watched & ~_OUT)

    def write(self, data: bytes) -> None:
        """Send at once what the kernel takes, if nothing waits, and the rest later."""
        is_asked_for_more = self.producer is not None and not self.streamingProducer
        if (
            self.connected
            and not (self.dataBuffer or self._tempDataLen or self._writeDisconnected)
            # Twisted asks it when the socket is writable, and only if there was something to write.
            and not is_asked_for_more
        ):
            try:
                data = data[self.socket.send(data) :]
            except OSError:
                # The kernel is full, or Twisted will meet the same error and report the loss.
                pass
        if data:
            super().write(data)

    def doRead(self) -> Any:
        """Give the protocol what has come."""
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return None
        except OSError:
            return main.CONNECTION_LOST
        if not data:
            return main.CONNECTION_DONE
        self.protocol.dataReceived(data)
        return None

    def connectionLost(self, reason: Failure) -> None:
        """Close the socket, and tell the protocol."""
        if not self.disconnected:
            # Twisted's deletes this attribute from the instance.
            self.fileno = self.fileno  # type: ignore[method-assign]
            if self.poller.measures:
                self.traffic = _measured(self.socket)
        try:
            super().connectionLost(reason)
        finally:
            if self.producer is not None:
                # It has raised, and nothing else was ended.
                self.producer = None
                super().connectionLost(reason)


@implementer(interfaces.IReadDescriptor)
class Poller:
    """
    Serves the sockets of many clients, and is one descriptor for the reactor.

    A turn of the reactor serves each of up to 64 sockets once, in the order in which they became
    ready: one that always has input does not keep the others waiting. When a turn has taken long
    enough, the rest of them is served in the next one. Clients that have ended their side come
    last: one of them a turn, and more if there is time.

    Attributes:
        budget: Seconds that a turn takes.
        around: Called before and after a turn. None if there is nothing to call.
        measures: Tells whether the bytes of each connection are asked for at its end.
        reactor: Watches the poller while the poller watches a socket.
    """

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self._epoll = select.epoll()
        self.budget = _BUDGET
        self.around: tuple[Callable[[], None], Callable[[], None]] | None = None
        self.measures = False
        self._servers: dict[int, PolledServer] = {}
        #: Descriptors whose turn has not come, each with its events.
        self._ready: list[tuple[int, int]] = []
        #: The same for clients that have ended their side.
        self._ended: OrderedDict[int, int] = OrderedDict()
        self.fileno = self._epoll.fileno

    def adopt(self, port: Any, factory: Any, send_buffer: int) -> None:
        """
        Serve the clients that *port* will accept, if it gives TCP or TLS over TCP to *factory*.

        Any other port stays as it is, and so does one that does not count what it accepts in a turn
        under Twisted's name.

        Args:
            send_buffer: Bytes of the kernel's buffer for each client; see `tune`.
        """
        is_known = type(port) is tcp.Port and hasattr(port, "numberAccepts")
        served = port.factory if is_known else None
        if type(served) is TLSMemoryBIOFactory and served.wrappedFactory is factory:
            # Its own choice collects small writes for a turn. Ours are one for each turn.
            served.protocol = TLSMemoryBIOProtocol
            served = factory
        if served is factory:
            # On Linux the sockets of clients inherit the options of the socket that listens.
            tune(port, send_buffer)
            early = select.poll()
            early.register(port.socket, _IN)
            # Clients that wait already have their options from before.
            make: Any = partial(self._serve, send_buffer if early.poll(0) else None)
            port.transport = make
            port.numberAccepts = _ACCEPTS
            # Our factory does not look at the address: none is made until somebody asks for it.
            port._buildAddr = lambda address: None

    def _serve(
        self,
        send_buffer: int | None,
        sock: socket.socket,
        protocol: Any,
        client: Any,
        port: Any,
        *_: object,
    ) -> PolledServer:
        """Make the transport of a client. *port* calls it as it would call Twisted's class."""
        port.numberAccepts = min(port.numberAccepts, _ACCEPTS - _MORE)
        server = PolledServer(self, sock, protocol, client)
        if send_buffer is not None:
            tune(server, send_buffer)
        return server

    def watch(self, server: PolledServer, events: int) -> None:
        """Wait for these events of *server*, and for no others. 0 waits for none."""
        before = server.watched
        if events == before:
            return
        descriptor, servers = server.socket.fileno(), self._servers
        if not before:
            self._epoll.register(descriptor, events)
            servers[descriptor] = server
            # They may be those of another socket that had the same number.
            self._ended.pop(descriptor, None)
            if self._ready:
                self._ready = [each for each in self._ready if each[0] != descriptor]
            if len(servers) == 1:
                self.reactor.addReader(self)
        elif events:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.unregister(descriptor)
            del servers[descriptor]
            if not servers:
                self.reactor.removeReader(self)
        server.watched = events

    def doRead(self) -> None:
        """Serve the sockets that are ready, as the reactor would do it."""
        if self.around is None:
            self._serve_some()
            return
        before, after = self.around
        before()
        try:
            self._serve_some()
        finally:
            after()

    def _serve_some(self) -> None:
        end = monotonic() + self.budget
        ready = self._ready or self._epoll.poll(0, _LOOK)
        if max(map(_events, ready), default=0) > _IN | _OUT:
            ended = self._ended
            ended.update(each for each in ready if each[1] > _IN | _OUT)
            ready = [each for each in ready if each[0] not in ended]
        self._ready = ready[_TURN:]
        left = iter(ready[:_TURN])
        for descriptor, events in left:
            self._serve_ready(descriptor, events)
            if monotonic() > end:
                self._ready = [*left, *self._ready]
                break
        # Each turn serves one of them at least, however many the others are.
        ended = self._ended
        while ended:
            self._serve_ready(*ended.popitem(last=False))
            if monotonic() > end:
                break

    def _serve_ready(self, descriptor: int, events: int) -> None:
        server = self._servers.get(descriptor)
        if server is None:
            # One that was served before it has ended it.
            return
        # Nor is one read that another has paused.
        events &= server.watched | _GONE
        why, reading = None, events & _IN
        try:
            if reading:
                why = server.doRead()
            elif events & _GONE:
                reading = server.watched & _IN
                why = main.CONNECTION_DONE if reading else main.CONNECTION_LOST
            if why is None and events & server.watched & _OUT:
                reading = 0
                why = server.doWrite()
        except BaseException as error:
            # As in the reactor: whatever it is, it ends this connection and no other.
            self._log.failure("a connection failed", event="connection-failed")
            why = error
        if why is not None:
            _disconnect(server, Failure(why), bool(reading))

    def logPrefix(self) -> str:
        """See `twisted.internet.interfaces.ILoggingContext`."""
        return "wsredis"

    def connectionLost(self, reason: Failure) -> None:
        """End all connections: the reactor stops, or the poller itself has failed."""
        for server in list(self._servers.values()):
            _disconnect(server, reason, False)


def _disconnect(server: PolledServer, reason: Failure, reading: bool) -> None:
    """End a connection. An exception of its protocol is logged, and reaches no other one."""
    try:
        server.stopReading()
        if reading and reason.check(ConnectionDone):
            # A protocol that knows half-closed connections may still write.
            server.readConnectionLost(reason)
        else:
            server.stopWriting()
            server.connectionLost(reason)
    except BaseException:
        Poller._log.failure("the end of a connection failed", event="connection-failed")


def poller_for(reactor: Any) -> Poller | None:
    """
    Return a poller for *reactor*.

    Returns:
        None if Twisted's own way has to do: the reactor is not the one for epoll(7), or this
        version of Twisted is none that `PolledServer` can work with, which is logged.
    """
    try:
        from twisted.internet.epollreactor import EPollReactor
    except ImportError:
        return None
    if not isinstance(reactor, EPollReactor):
        return None
    try:
        _test_poller()
    except Exception:
        Poller._log.failure(
            "Twisted's reactor serves the sockets: the poller cannot work with Twisted {version}",
            event="poller-unusable",
            version=twisted.__version__,
        )
        return None
    return Poller(reactor)


def tune(transport: Any, send_buffer: int) -> None:
    """
    Turn Nagle's delay off, and bound the kernel's buffer, which would hide megabytes.

    Args:
        transport: Of a client or of a port. It may be one without a socket, which stays as it is.
        send_buffer: Bytes.
    """
    try:
        transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except (AttributeError, OSError):
        # A UNIX socket knows no Nagle; a transport in memory has no socket.
        pass


def report_at_once(transport: Any) -> None:
    """
    Let the transport of an open WebSocket tell at once when the kernel takes no more.

    One with TLS would do so only after 64 KiB, which nobody would count, and of which nobody would
    know whether the client takes them.
    """
    below = getattr(transport, "transport", None)
    if type(below) is PolledServer:
        below.bufferSize = 0


def write_now(transport: Any) -> None:
    """
    Let the kernel take what waits below TLS, without waiting for the reactor.

    An error is met again by the reactor, which tells about it.
    """
    below = getattr(transport, "transport", None)
    if (
        isinstance(below, abstract.FileDescriptor)
        and below.connected
        # Its end is told by the result, which the reactor has to see.
        and not below.disconnecting
        and (below.dataBuffer or below._tempDataLen)
    ):
        below.doWrite()


def is_plain(transport: Any) -> bool:
    """Tell whether *transport* is exactly one for TCP or UNIX sockets: Twisted's, or ours."""
    return type(transport) in (PolledServer, tcp.Server, unix.Server)


def plain_socket(transport: Any) -> Any:
    """
    Return the socket below *transport*, if bytes may be written to it past the transport.

    Returns:
        None if they may not: there is TLS, the transport is a subclass, or it has bytes buffered.
    """
    if (
        is_plain(transport)
        and not transport.TLS
        and not transport.dataBuffer
        and not transport._tempDataLen
    ):
        return transport.socket
    return None


def acknowledged(transport: Any) -> int | None:
    """
    Return how many bytes the client's kernel has taken, if there are some that it has not.

    Returns:
        None if it has taken all that it was sent, or if the system does not tell.
    """
    lowest = getattr(transport, "transport", transport)
    try:
        info = lowest.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        packets, taken, unsent = _TCP_INFO.unpack(info)
    except (AttributeError, OSError, struct.error):
        # Not Linux, not TCP, or no socket.
        return None
    return taken if packets or unsent else None


def traffic_of(transport: Any) -> Traffic | None:
    """Return the bytes of a connection that has ended. None if nobody has measured them."""
    lowest = getattr(transport, "transport", transport)
    found: Traffic | None = getattr(lowest, "traffic", None)
    return found


def _measured(sock: socket.socket) -> Traffic | None:
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TRAFFIC.size)
        sent, received = _TRAFFIC.unpack(info)
    except (AttributeError, OSError, struct.error):
        # Not Linux, or not TCP.
        return None
    return Traffic(received, sent)


def has_ended(transport: Any) -> bool:
    """Tell whether the client has ended its side, also if it is not read now."""
    lowest = getattr(transport, "transport", transport)
    try:
        poll = select.poll()
        poll.register(lowest.socket, _ENDED)
        return bool(poll.poll(0))
    except (AttributeError, OSError, ValueError):
        return False


def has_unread(transport: Any) -> bool:
    """Tell whether bytes of the client wait in the kernel, since the gateway is late."""
    lowest = getattr(transport, "transport", transport)
    try:
        return bool(lowest.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except (AttributeError, OSError):
        return False


class _NoReactor:
    """Remembers nothing."""

    def _ignore(self, descriptor: object) -> None:
        pass

    addReader = removeReader = addWriter = _ignore


def self_test() -> None:
    """
    Try out what `plain_socket` relies on without a promise.

    Raises:
        ConfigError: The installed Twisted is one that wsredis cannot work with.
    """
    try:
        for kind in (tcp.Server, unix.Server):
            _require(kind.TLS is False, f"{kind.__module__}.Server.TLS has changed")
        transport = abstract.FileDescriptor(_NoReactor())  # type: ignore[arg-type]
        _require(not transport.dataBuffer and not transport._tempDataLen, "dataBuffer has changed")
        transport.connected = 1
        transport.write(b"x")
        _require(transport._tempDataLen == 1, "_tempDataLen has changed")
    except Exception as error:
        raise incompatible("Twisted", twisted.__version__, error) from error


class _Probe(Protocol):
    """Answers, and remembers why it ended."""

    ended: Any = None

    def dataReceived(self, data: bytes) -> None:
        assert isinstance(self.transport, PolledServer)
        self.transport.write(data)
        # As for bytes that the kernel does not take at once.
        abstract.FileDescriptor.write(self.transport, b"!")
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = main.CONNECTION_DONE) -> None:  # type: ignore[assignment]
        self.ended = reason.check(ConnectionDone)


def _test_poller() -> None:
    """Serve one socket, from its first byte to its end."""
    ours, theirs = socket.socketpair()
    # Whatever has changed, nothing may wait here.
    theirs.setblocking(False)
    with ours, theirs:
        poller = Poller(_NoReactor())
        probe = _Probe()
        probe.makeConnection(PolledServer(poller, ours, probe, ("127.0.0.1", 1)))
        theirs.sendall(b"text")
        for _ in range(2):
            poller.doRead()
        _require(theirs.recv(9) == b"text!", "write has changed")
        _require(probe.ended is not None and not poller._servers, "loseConnection has changed")


def _require(is_so: bool, problem: str) -> None:
    if not is_so:
        raise RuntimeError(problem)
