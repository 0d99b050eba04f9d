"""
Autobahn's server protocol, made lean: the only module that touches its insides.

`LeanProtocol` costs a third of the memory of Autobahn's class, and a small part of its time for a
handshake, which Autobahn does not see. It rests on names that Autobahn does not promise.
`self_test` tries them out when the gateway starts, and names the version that it cannot work with.

It is one module because these names, and the test of them, have to be read together.
"""

from __future__ import annotations

import hashlib
from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple, TypeVar

import autobahn
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.protocol import TrafficStats, WebSocketProtocol
from autobahn.websocket.types import ConnectionRequest

from wsredis.errors import incompatible
from wsredis.transports.websocket import head
from wsredis.transports.websocket.deflate import Inflater
from wsredis.transports.websocket.reader import FrameReader

__all__ = ["LeanProtocol", "Request", "State", "lean_class", "self_test", "short_answer"]


#: The start of each answer.
_ANSWER = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"

#: The key is hashed with this for the answer (RFC 6455, 1.3).
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class State(IntEnum):
    """
    The life of one TCP connection; it stands in the attribute `state` that Autobahn itself uses.

    CLOSED, PENDING, CLOSING and OPEN have Autobahn's values, and Autobahn goes on from PENDING to
    OPEN, CLOSING and CLOSED by itself. It never sees a connection in HEAD or HTTP.
    """

    #: Nothing is read any more. The last bytes may still be on their way to the client.
    CLOSED = 0
    #: The handshake is understood, and being decided.
    PENDING = 1
    #: One close frame was sent.
    CLOSING = 2
    #: The handshake was answered: frames are read and written.
    OPEN = 3
    #: The head of a request is being read.
    HEAD = 5
    #: twisted.web has the connection.
    HTTP = 6


#: The states that may follow each state.
_NEXT: dict[int, set[State]] = {
    State.HEAD: {State.HTTP, State.PENDING, State.CLOSED},
    State.HTTP: {State.HEAD, State.CLOSED},
    State.PENDING: {State.OPEN, State.CLOSED},
    State.OPEN: {State.CLOSING, State.CLOSED},
    State.CLOSING: {State.CLOSED},
    State.CLOSED: {State.CLOSED},
}

# A member of an Enum is looked up slowly, and these are needed for every read.
_PENDING = State.PENDING
_OPEN = State.OPEN
_CLOSED = State.CLOSED


class Request(NamedTuple):
    """
    A well-formed handshake.

    Attributes:
        peer: The address of the client.
        headers: Values by names in lower case. A header that came several times is joined.
        protocols: The subprotocols that are offered, each once.
        key: The ``Sec-WebSocket-Key``.
        pairs: Names and values of the headers as they came, in their order.
    """

    peer: str
    headers: Mapping[str, str]
    protocols: list[str]
    key: str
    pairs: Sequence[tuple[str, str]] = ()

    @property
    def extensions(self) -> list[tuple[str, dict[str, list[str | bool]]]]:
        """The extensions that are offered, each with its parameters; True stands for no value."""
        # Read only when they are asked for. Autobahn's method does not need its `self`.
        offered = self.headers.get("sec-websocket-extensions", "")
        parse: Any = WebSocketProtocol._parseExtensionsHeader
        return parse(None, offered)  # type: ignore[no-any-return]


class _Silent:
    """Stands in for Autobahn's logger and its futures, which cost a third of a handshake."""

    def debug(self, *args: object, **kwargs: object) -> None:
        """Do nothing."""

    info = warn = error = critical = failure = trace = callback = debug


_silent = _Silent()


class LeanProtocol(FrameReader, WebSocketServerProtocol):  # type: ignore[misc]
    """
    One TCP connection, and the WebSocket that it may become.

    A subclass reads the head of the request. It calls `start_handshake`, and `accept_handshake`
    once it has decided. It overrides the hooks of Autobahn `onMessage` and `sendData`, and the
    hooks defined here.

    Attributes:
        frequent_attributes: The attributes that most instances have at some time. Python keeps
            their names in a table for all instances, which has room for the first 29 that any
            instance uses. An attribute with another name costs its instance 900 bytes.
        state: The `State` of the connection. Autobahn sets it to plain integers.
        asked: The head of the handshake while the state is PENDING.
    """

    frequent_attributes: tuple[str, ...] = (
        *("transport", "connected", "state", "data", "position", "unfinished", "_is_kept"),
        *("_inflated", "_perMessageCompress", "_work", "asked"),
    )

    # The attributes that Autobahn sets on each instance, and never changes or changes for few,
    # stand here once.
    log = _silent
    is_open = _silent
    is_closed = _silent
    tcpNoDelay = True
    trafficStats = TrafficStats()
    trackedTimings = None
    send_queue: tuple[()] = ()
    triggered = False
    send_state = WebSocketServerProtocol.SEND_STATE_GROUND
    # Frames are read by `FrameReader`: nothing of this is needed.
    current_frame = None
    inside_message = False
    utf8validator = None
    wasMaxFramePayloadSizeExceeded = False
    wasMaxMessagePayloadSizeExceeded = False
    closedByMe = False
    failedByMe = False
    droppedByMe = False
    wasClean = False
    wasNotCleanReason: str | None = None
    wasServerConnectionDropTimeout = False
    wasOpenHandshakeTimeout = False
    wasCloseHandshakeTimeout = False
    wasServingFlashSocketPolicyFile = False
    localCloseCode: int | None = None
    localCloseReason: bytes | None = None
    remoteCloseCode: int | None = None
    remoteCloseReason: str | None = None
    openHandshakeTimeoutCall = None
    closeHandshakeTimeoutCall = None
    autoPingTimeoutCall = None
    autoPingPending = None
    autoPingPendingCall = None
    autoPingPendingSeq = 0
    autoPingPendingSent = None
    _transport_details = None

    asked: head.HandshakeHead
    websocket_version = 13
    state: int = State.HEAD

    def __init__(self) -> None:
        # Autobahn's makes two futures and a table of listeners that nobody uses here.
        pass

    def enter(self, state: State) -> None:
        """Go on to *state*. Nothing but this and Autobahn changes the state."""
        assert state in _NEXT[self.state]
        self.state = state

    # -- The hooks of this class

    def handshake_received(self, request: Request) -> None:
        """Decide on a well-formed handshake: its target is in `target`."""

    def end_connection(self, abort: bool) -> None:
        """
        Close the connection after the last frame.

        Args:
            abort: Reset it; there was no clean closing handshake.
        """

    # -- The handshake

    def start_handshake(
        self, found: head.HandshakeHead, pairs: Sequence[tuple[str, str]] = ()
    ) -> None:
        """
        Take the head at the start of `data` for a handshake.

        Args:
            pairs: See `Request.pairs`.
        """
        self.enter(_PENDING)
        self.data = self.data[found.size :]
        self.asked = found
        self.handshake_received(
            Request(self.peer, found.headers, found.protocols, found.key, pairs)
        )

    def decompress_with(self, inflater: Inflater) -> None:
        """Take compressed messages from now on."""
        self._perMessageCompress = inflater

    def accept_handshake(
        self, request: Request, subprotocol: str | None, headers: Sequence[tuple[str, str]]
    ) -> bytes:
        """
        Go live, as Autobahn does, but for what is said to nobody here.

        Args:
            subprotocol: One of those that the client offered. If None, none is spoken.
            headers: Names and values of further headers of the answer.

        Returns:
            The answer. Nothing may be sent before it. Bytes that came early are still in `data`.

        Raises:
            ValueError: The client did not offer *subprotocol*. Nothing changed.
        """
        lines = [_ANSWER]
        for name, value in headers:
            lines.append(f"{name}: {value}\r\n")
        if subprotocol is not None:
            if subprotocol not in request.protocols:
                raise ValueError("the subprotocol was not offered")
            lines.append(f"Sec-WebSocket-Protocol: {subprotocol}\r\n")
        lines.append(_accept(request.key))
        del self.asked
        # A plain integer, which is found fastest.
        self.state = WebSocketProtocol.STATE_OPEN
        return "".join(lines).encode("latin-1")

    # -- The open WebSocket

    def unregisterProducer(self) -> None:
        """Do nothing: the send queue is the producer, and has to go on until all is sent."""

    def _closeConnection(self, abort: bool = False) -> None:
        # Autobahn resets the connection even after a clean closing handshake.
        self.end_connection(abort and not self.wasClean)


def short_answer(key: str, subprotocol: str) -> bytes:
    """Return the answer to a handshake that is accepted only to be closed, with a reason."""
    line = f"Sec-WebSocket-Protocol: {subprotocol}\r\n"
    return f"{_ANSWER}{line}{_accept(key)}".encode("latin-1")


def _accept(key: str) -> str:
    """Return the last line of an answer, and the end of its head."""
    accept = b2a_base64(hashlib.sha1(key.encode() + _MAGIC).digest()).decode()
    # It ends with a line end of its own.
    return f"Sec-WebSocket-Accept: {accept[:-1]}\r\n\r\n"


_Protocol = TypeVar("_Protocol", bound=LeanProtocol)


def lean_class(
    protocol: type[_Protocol], factory: WebSocketServerFactory, **shared: object
) -> type[_Protocol]:
    """
    Make a subclass that carries the options of *factory*, so that no instance needs a copy of them.

    It is worth a third of the memory of a connection.

    Args:
        shared: Further attributes that all connections of *factory* have in common.
    """
    options: dict[str, Any] = {}
    for name in protocol.CONFIG_ATTRS:
        value = getattr(factory, name)
        # A function would become a method.
        options[name] = staticmethod(value) if callable(value) else value
    limits = factory.maxMessagePayloadSize, factory.maxFramePayloadSize
    options.update(
        CONFIG_ATTRS=(),
        factory=factory,
        _short_message=min(protocol._short_message, *limits),
        **shared,
    )
    made: Any = type(protocol.__name__, (protocol,), options)
    # The first instance decides which names have a place in the table.
    first = made()
    for name in made.frequent_attributes:
        setattr(first, name, None)
    return made  # type: ignore[no-any-return]


def self_test(reactor: Any) -> None:
    """
    Try out all that this module relies on without a promise.

    Args:
        reactor: Given to a factory of Autobahn. No timer is started.

    Raises:
        ConfigError: The installed Autobahn is one that wsredis cannot work with.
    """
    try:
        _test_autobahn(reactor)
    except Exception as error:
        raise incompatible("Autobahn", autobahn.__version__, error) from error


class _Probe(LeanProtocol):
    """Remembers what happens to it."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.heard: list[tuple[bytes, bool]] = []
        self.extensions: object = None
        self.peer = ""

    def handshake_received(self, request: Request) -> None:
        self.extensions = request.extensions
        self.sent.append(self.accept_handshake(request, "a", [("X-A", "b")]))
        self.consumeData()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.heard.append((payload, isBinary))

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        self.sent.append(data)

    def end_connection(self, abort: bool) -> None:
        self.sent.append(b"end")


class _Theirs(WebSocketServerProtocol):  # type: ignore[misc]
    """Answers as Autobahn does."""

    def onConnect(self, request: ConnectionRequest) -> tuple[str, dict[str, str]]:
        return "a", {"X-A": "b"}

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        self.sent = data

    def _onOpen(self) -> None:
        pass


_HANDSHAKE = (
    b"GET /p HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Extensions: e; f=1\r\n\r\n"
)

#: Masked with zeros: "one", "two" in two fragments, a ping, and a close frame with code 1000.
_FRAMES = (
    b"\x81\x83\0\0\0\0one"
    b"\x01\x82\0\0\0\0tw\x80\x81\0\0\0\0o"
    b"\x89\x80\0\0\0\0"
    b"\x88\x82\0\0\0\0\x03\xe8"
)

#: Attributes that `_Theirs` has and a connection of ours never needs.
_NOT_OURS = (
    "_wskey",
    "http_headers",
    "http_request_data",
    "http_request_host",
    "http_request_params",
    "http_request_path",
    "http_request_uri",
    "http_response_data",
    "http_status_line",
    "sent",
    "websocket_extensions",
    "websocket_extensions_in_use",
    "websocket_origin",
    "websocket_protocol_in_use",
    "websocket_protocols",
)


def _test_autobahn(reactor: Any) -> None:
    for state, name in ((state, f"STATE_{state.name}") for state in State):
        theirs = getattr(WebSocketProtocol, name, state)
        _require(theirs == state, f"{name} has changed")
    _require(WebSocketProtocol.STATE_CONNECTING == _PENDING, "STATE_CONNECTING has changed")
    factory = WebSocketServerFactory(reactor=reactor, server="")
    factory.setProtocolOptions(
        openHandshakeTimeout=0,
        failByDrop=False,
        echoCloseCodeReason=True,
        maxFramePayloadSize=100,
        maxMessagePayloadSize=100,
    )
    plain = _Theirs()
    plain.factory = factory
    plain._connectionMade()
    plain.data = _HANDSHAKE
    plain.processHandshake()
    _require(plain.state == _OPEN, "processHandshake has changed")
    made = lean_class(_Probe, factory)
    found = head.parse(_HANDSHAKE, 1000).handshake
    assert found is not None
    probe = made()
    probe.data = _HANDSHAKE + _FRAMES
    probe.start_handshake(found)
    heard = probe.heard
    _require(heard == [(b"one", False), (b"two", False)], f"the messages were {heard}")
    answer, *rest = probe.sent
    _require(answer == plain.sent, f"the answer was {plain.sent!r}, not {answer!r}")
    _require(rest == [b"\x8a\x00", b"\x88\x02\x03\xe8", b"end"], f"the frames were {rest}")
    is_closed = probe.state == _CLOSED and probe.wasClean
    _require(is_closed, "the closing handshake has changed")
    extensions = probe.extensions
    _require(extensions == [("e", {"f": ["1"]})], f"the extensions were {extensions}")
    # An attribute that is new in Autobahn would be missing in the middle of a frame.
    opened = made()
    opened.data = _HANDSHAKE
    opened.start_handshake(found)
    for name, value in vars(plain).items():
        if name not in _NOT_OURS:
            _require(hasattr(opened, name), f"the attribute {name} is new")
            is_constant = value is None or isinstance(value, (bool, int))
            is_same = not is_constant or getattr(opened, name) == value
            _require(is_same, f"the value of {name} has changed")


def _require(is_so: bool, problem: str) -> None:
    if not is_so:
        raise RuntimeError(problem)
