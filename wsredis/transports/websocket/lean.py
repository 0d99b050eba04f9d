"""
Autobahn's server protocol, made lean: the only module that touches its insides.

`LeanProtocol` costs a third of the memory of Autobahn's class and 40 % of its time for a handshake.
It rests on names that Autobahn and Twisted do not promise. `self_test` tries them out when the
gateway starts, and names the library and the version that it cannot work with.

It is one module because these names, and the test of them, have to be read together.
"""

from __future__ import annotations

import sys
from enum import IntEnum
from typing import Any, TypeVar

import autobahn
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.protocol import TrafficStats, WebSocketProtocol
from autobahn.websocket.types import ConnectionRequest
from autobahn.websocket.utf8validator import Utf8Validator
from twisted.internet import abstract, tcp, unix
from twisted.internet.defer import succeed

import twisted
from wsredis.errors import incompatible
from wsredis.transports.websocket import frames
from wsredis.transports.websocket.deflate import Inflater

__all__ = ["LeanProtocol", "State", "is_plain", "lean_class", "plain_socket", "self_test"]

#: Bytes; Autobahn unmasks longer messages faster.
_SHORT = 1024

#: Attributes that Autobahn leaves behind after a handshake, and that nobody reads again.
_LEFTOVERS = (
    "_wskey",
    "http_headers",
    "http_request_data",
    "http_request_host",
    "http_request_params",
    "http_request_path",
    "http_request_uri",
    "http_response_data",
    "http_status_line",
    "websocket_extensions",
    "websocket_extensions_in_use",
    "websocket_origin",
    "websocket_protocol_in_use",
    "websocket_protocols",
    "websocket_version",
)


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
_OPEN = State.OPEN
_CLOSING = State.CLOSING
_CLOSED = State.CLOSED


class _Silent:
    """Stands in for Autobahn's logger and its futures, which cost a third of a handshake."""

    def debug(self, *args: object, **kwargs: object) -> None:
        """Do nothing."""

    info = warn = error = critical = failure = trace = callback = debug


_silent = _Silent()


class _OnDemand:
    """
    The check of text messages for UTF-8, made for a connection when it first needs one.

    Most never do: short messages are checked without it.
    """

    def __get__(self, protocol: Any, owner: type) -> Any:
        if protocol is None:
            return self
        made = protocol.utf8validator = Utf8Validator()
        return made


class LeanProtocol(WebSocketServerProtocol):  # type: ignore[misc]
    """
    One TCP connection, and the WebSocket that it may become.

    A subclass reads the head of the request. It calls `start_handshake`, and overrides the hooks
    of Autobahn `onConnect`, `onOpen`, `onMessage` and `sendData`, and the hooks defined here.

    Attributes:
        frequent_attributes: The attributes that most instances have at some time. Python keeps
            their names in a table for all instances, which has room for the first 29 that any
            instance uses. An attribute with another name costs its instance 900 bytes.
        state: The `State` of the connection. Autobahn sets it to plain integers.
        data: Bytes that were read and are not consumed yet.
        pause_reasons: If this is not 0, the next message waits, also one that was read already.
    """

    frequent_attributes: tuple[str, ...] = (
        *("transport", "connected", "state", "data", "current_frame", "inside_message"),
        # A client that has answered a ping.
        *("current_frame_masker", "control_frame_data", "_perMessageCompress"),
        *_LEFTOVERS,
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
    utf8validator: Any = _OnDemand()
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
    _perMessageCompress: Inflater | None = None
    _transport_details = None

    data = b""
    http_request_uri = ""
    websocket_extensions: list[Any]
    websocket_version = 13
    pause_reasons = 0
    state: int = State.HEAD
    #: Bytes; up to there a whole message is read without Autobahn.
    _short_message = _SHORT

    def __init__(self) -> None:
        # Autobahn's makes two futures and a table of listeners that nobody uses here.
        pass

    def enter(self, state: State) -> None:
        """Go on to *state*. Nothing but this and Autobahn changes the state."""
        assert state in _NEXT[self.state]
        self.state = state

    # -- The hooks of this class

    def handshake_failed(self, status: int, reason: str) -> None:
        """
        Answer a handshake that Autobahn found malformed.

        Args:
            status: The HTTP status.
            reason: One sentence, without secrets. It may quote the client.
        """

    def prepare_to_open(self) -> bool:
        """Get ready for the answer. Returns False, and refuses, if there is no room any more."""
        return True

    def handshake_crashed(self) -> None:
        """Handle the exception of a bug that came up while the handshake was being answered."""

    def end_connection(self, abort: bool) -> None:
        """
        Close the connection after the last frame.

        Args:
            abort: Reset it; there was no clean closing handshake.
        """

    # -- The handshake

    def start_handshake(self) -> None:
        """Let Autobahn check the head at the start of `data`, and ask `onConnect`."""
        self.enter(State.PENDING)
        self.processHandshake()

    def decompress_with(self, inflater: Inflater) -> None:
        """Take compressed messages from now on."""
        self._perMessageCompress = inflater

    def succeedHandshake(self, answer: tuple[str | None, dict[str, str]]) -> None:
        """Answer the handshake, if the client is still there and still welcome."""
        if self.state != State.PENDING or not self.prepare_to_open():
            return
        # The offers have been negotiated. Autobahn would refuse the whole handshake for one that
        # it does not understand.
        self.websocket_extensions = []
        try:
            super().succeedHandshake(answer)
        except Exception:
            self.handshake_crashed()

    def failHandshake(
        self, reason: str, code: int = 400, responseHeaders: list[tuple[str, str]] | None = None
    ) -> None:
        """Report that the handshake is malformed."""
        if self.state == State.PENDING:
            if reason.startswith("duplicate protocol"):
                # Autobahn quotes it, and it may carry a token.
                reason = "a subprotocol is offered twice"
            # The versions that are spoken are named with 426 (RFC 6455, 4.2.2).
            self.handshake_failed(426 if responseHeaders else code, reason)

    def _onOpen(self) -> None:
        # Autobahn's looks for TLS channel bindings, which only WAMP has use for.
        for name in _LEFTOVERS:
            # Not by way of `__dict__`: asking for it costs each connection 64 bytes for ever.
            delattr(self, name)
        self.onOpen()

    # -- The open WebSocket

    def consumeData(self) -> None:
        """
        Take messages out of `data`. It is Autobahn's method with two differences.

        A client that is paused has no further frame taken from it. And whole short messages, as
        nearly all frames of a client are, are read here, at a fraction of the cost.
        """
        while not self.pause_reasons and self.state != _CLOSED:
            if self._take_short_messages():
                if not self.data:
                    return
            elif not self.processData():
                return

    def _take_short_messages(self) -> bool:
        """
        Take the short, whole, valid messages that come next, until one of them pauses the client.

        Returns:
            False if something else comes next; then nothing is taken.
        """
        data = self.data
        if len(data) < 6 or self.state != _OPEN or self.inside_message:
            return False
        if self.current_frame is not None:
            return False
        # A message may pause the client and let it go on at once. Whoever calls `consumeData` then
        # finds nothing to read: this loop goes on.
        self.data = b""
        end = 0
        try:
            for payload, is_binary, after in frames.short_messages(data, self._short_message):
                end = after
                self.onMessage(payload, is_binary)
                if self.pause_reasons or self.state != _OPEN:
                    break
        finally:
            if self.state != _CLOSED:
                self.data = data[end:]
        return end > 0

    def onMessageEnd(self) -> None:
        """Hand over a message. It is Autobahn's method without a signal that nobody listens to."""
        if not self.failedByMe:
            self.onMessage(b"".join(self.message_data), self.message_is_binary)
        self.message_data: list[bytes] = []

    def unregisterProducer(self) -> None:
        """Do nothing: the send queue is the producer, and has to go on until all is sent."""

    def _closeConnection(self, abort: bool = False) -> None:
        # Autobahn resets the connection even after a clean closing handshake.
        self.end_connection(abort and not self.wasClean)


_Protocol = TypeVar("_Protocol", bound=LeanProtocol)


def lean_class(
    protocol: type[_Protocol], factory: WebSocketServerFactory, **shared: object
) -> type[_Protocol]:
    """
    Make a subclass that carries the options of *factory*, so that no instance needs a copy of them.

    It is worth 40 % of a handshake and a third of the memory of a connection.

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
        _short_message=min(_SHORT, *limits),
        **shared,
    )
    made: Any = type(protocol.__name__, (protocol,), options)
    # The first instance decides which names have a place in the table.
    first = made()
    for name in made.frequent_attributes:
        setattr(first, name, None)
    return made  # type: ignore[no-any-return]


def is_plain(transport: Any) -> bool:
    """Tell whether *transport* is exactly Twisted's own for TCP or UNIX sockets."""
    return type(transport) in (tcp.Server, unix.Server)


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
        and not transport._tempDataBuffer
    ):
        return transport.socket
    return None


def self_test(reactor: Any) -> None:
    """
    Try out all that this module relies on without a promise.

    Args:
        reactor: Given to a factory of Autobahn. No timer is started.

    Raises:
        ConfigError: The installed Twisted or Autobahn is one that wsredis cannot work with.
    """
    for library, version, test in (
        ("Twisted", twisted.__version__, _test_transports),
        ("Autobahn", autobahn.__version__, lambda: _test_autobahn(reactor)),
    ):
        try:
            test()
        except Exception as error:
            problem = " ".join(str(error).split()) or type(error).__name__
            raise incompatible(library, version, problem) from error


class _NoReactor:
    def addWriter(self, writer: object) -> None:
        pass


def _test_transports() -> None:
    for kind in (tcp.Server, unix.Server):
        _require(kind.TLS is False, f"{kind.__module__}.Server.TLS has changed")
    transport = abstract.FileDescriptor(_NoReactor())  # type: ignore[arg-type]
    _require(not transport.dataBuffer, "dataBuffer has changed")
    transport.connected = 1
    transport.write(b"x")
    _require(transport._tempDataBuffer == [b"x"], "_tempDataBuffer has changed")


class _Probe(LeanProtocol):
    """Remembers what happens to it."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.heard: list[tuple[bytes, bool]] = []
        self.asked: list[object] = []
        self.crash: BaseException | None = None
        self.peer = ""

    def onConnect(self, request: ConnectionRequest) -> Any:
        self.asked = [request.headers["host"], request.protocols, request.extensions]
        return succeed(("a", {"X-A": "b"}))

    def onOpen(self) -> None:
        _require(self.state == State.OPEN, "onOpen is called before the state is OPEN")

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.heard.append((payload, isBinary))

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        self.sent.append(data)

    def handshake_failed(self, status: int, reason: str) -> None:
        self.heard.append((reason.encode(), False))

    def handshake_crashed(self) -> None:
        self.crash = sys.exception()

    def end_connection(self, abort: bool) -> None:
        self.sent.append(b"end")


_HANDSHAKE = (
    b"GET /p HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Extensions: e\r\n\r\n"
)

#: Masked with zeros: "one", "two" in two fragments, a ping, and a close frame with code 1000.
_FRAMES = (
    b"\x81\x83\0\0\0\0one"
    b"\x01\x82\0\0\0\0tw\x80\x81\0\0\0\0o"
    b"\x89\x80\0\0\0\0"
    b"\x88\x82\0\0\0\0\x03\xe8"
)


def _test_autobahn(reactor: Any) -> None:
    for state, name in ((state, f"STATE_{state.name}") for state in State):
        theirs = getattr(WebSocketProtocol, name, state)
        _require(theirs == state, f"{name} has changed")
    _require(WebSocketProtocol.STATE_CONNECTING == State.PENDING, "STATE_CONNECTING has changed")
    factory = WebSocketServerFactory(reactor=reactor, server="")
    factory.setProtocolOptions(openHandshakeTimeout=0, failByDrop=False, echoCloseCodeReason=True)
    probe = lean_class(_Probe, factory)()
    # An attribute that is new in Autobahn would be missing in the middle of a frame.
    plain = WebSocketServerProtocol()
    plain.factory = factory
    plain._connectionMade()
    for name, value in vars(plain).items():
        _require(hasattr(probe, name), f"the attribute {name} is new")
        if name != "state" and (value is None or isinstance(value, (bool, int))):
            _require(getattr(probe, name) == value, f"the value of {name} has changed")
    probe.data = _HANDSHAKE + _FRAMES
    probe.start_handshake()
    if probe.crash is not None:
        raise probe.crash
    asked, heard = probe.asked, probe.heard
    _require(asked == ["x", ["a"], [("e", {})]], f"onConnect was asked {asked}")
    _require(heard == [(b"one", False), (b"two", False)], f"the messages were {heard}")
    answer, *rest = probe.sent
    is_answer = answer.startswith(b"HTTP/1.1 101 ") and b"\r\nX-A: b\r\n" in answer
    _require(is_answer, f"the answer was {answer!r}")
    _require(rest == [b"\x8a\x00", b"\x88\x02\x03\xe8", b"end"], f"the frames were {rest}")
    is_closed = probe.state == State.CLOSED and probe.wasClean
    _require(is_closed, "the closing handshake has changed")
    other = lean_class(_Probe, factory)()
    other.data = _HANDSHAKE.replace(b"Version: 13", b"Version: 1")
    other.start_handshake()
    _require(len(other.heard) == 1 and not other.sent, "failHandshake has changed")


def _require(is_so: bool, problem: str) -> None:
    if not is_so:
        raise RuntimeError(problem)
