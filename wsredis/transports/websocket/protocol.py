"""
The life of one TCP connection: a head, then plain HTTP or a WebSocket, then the end.

The steps are those of `wsredis.transports.websocket.lean.State`. The head is read by `head`, a
handshake is decided by `handshake`, frames are read by Autobahn below `lean`; the registry knows
all connections. A request that is not a handshake is handed, bytes and transport, to twisted.web.

It is one module because a connection can be lost, refused, paused or closed in each of its states,
and the code for that has to be read together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from sys import intern

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from wsredis.auth import SessionMonitor
from wsredis.config import GatewayConfig
from wsredis.config.networks import UNIX, Networks, shown_address
from wsredis.errors import HandshakeRejected, close_code_for
from wsredis.gateway.client import PauseReason
from wsredis.gateway.connection import Connection
from wsredis.gateway.hello import SUBPROTOCOL, hello, notice
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.queued_bytes import QueuedBytes
from wsredis.gateway.shares import address_key
from wsredis.transports.applicant import Applicant
from wsredis.transports.queue_owner import QueueOwner
from wsredis.transports.sockets import (
    PolledServer,
    acknowledged,
    has_unread,
    is_plain,
    traffic_of,
    tune,
)
from wsredis.transports.stream.channel import Caller
from wsredis.transports.stream.request import cursor_in
from wsredis.transports.stream.ring import size_of
from wsredis.transports.stream.streams import Streams
from wsredis.transports.tls_failure import tls_failure
from wsredis.transports.websocket import frames, head
from wsredis.transports.websocket.applications import Answer
from wsredis.transports.websocket.deflate import Inflater
from wsredis.transports.websocket.handshake import Handshaker, error_response
from wsredis.transports.websocket.http import HttpChannel, HttpSite
from wsredis.transports.websocket.lean import LeanProtocol, Request, State, short_answer
from wsredis.transports.websocket.life_log import ending_of, log_closed, log_opened
from wsredis.transports.websocket.proxies import named_client
from wsredis.transports.websocket.registry import Registry, Step
from wsredis.transports.websocket.scheduler import Scheduler
from wsredis.transports.websocket.unfinished import UnfinishedInput

__all__ = ["GatewayProtocol"]

#: Bytes that a client may send before its handshake is answered.
_EARLY = 16384

#: Bytes that are read after the end, so that unread input does not reset the last bytes away.
_MAX_THROWN_AWAY = 131072

#: Characters of a reason, which may quote the client, that go into one line of the log.
_LOGGED = 200

# A member of an Enum is looked up slowly, and these are needed for every read.
_HEAD = State.HEAD
_PENDING = State.PENDING
_CLOSED = State.CLOSED
_HTTP = State.HTTP
_OPEN = State.OPEN
#: Frames are read. Autobahn sets plain integers, which are found fastest.
_LIVE = (int(State.OPEN), int(State.CLOSING))
_HANDSHAKE = head.Kind.HANDSHAKE
_PAGE = head.Kind.HTTP
_STEP_DECIDE, _STEP_OPEN = Step.DECIDE, Step.OPEN


#: An application refuses a handshake with a page of its own, whose status is another one.
_BY_PAGE = HandshakeRejected("", 403, "by a page of the application", cause="application")


class GatewayProtocol(Applicant, QueueOwner, LeanProtocol):
    """
    One TCP connection, and the WebSocket that it may become.

    Attributes:
        cause: See `wsredis.transports.websocket.life_log.Ending.cause`.
        address: See `wsredis.gateway.identity.Handshake.address`. It is certain when the head of a
            request is whole, and may be another one for each request.
    """

    _log = Logger()

    # All connections of a gateway have these in common; the factory sets them on a subclass.
    config: GatewayConfig
    registry: Registry
    handshaker: Handshaker
    sessions: SessionMonitor
    metrics: Metrics
    queued: QueuedBytes
    losses: LogThrottle
    site: HttpSite
    streams: Streams | None
    scheduler: Scheduler
    inputs: UnfinishedInput
    trusted: Networks

    frequent_attributes = (
        *LeanProtocol.frequent_attributes,
        *("connection", "queue", "heard", "_deciding", "address", "pause_reasons"),
        "takes_batches",
    )

    cause = ""
    #: Whether the connection is one of a foreign site, which gets no other request of it.
    is_guest = False
    #: The host that a trusted proxy names. If empty, the client itself is the peer.
    _named = ""
    _channel: HttpChannel
    _thrown_away = 0

    @property
    def peer(self) -> str:
        """The address of the client, for logs."""
        # Not stored, which saves memory; and behind a proxy that speaks the PROXY protocol it is
        # known late.
        if self._named:
            return shown_address(self._named)
        peer = self.transport.getPeer()
        return shown_address(getattr(peer, "host", ""), getattr(peer, "port", 0))

    @property
    def connection_id(self) -> str:
        """See `Connection.id`. Empty before there is a connection, and after it has ended."""
        return "" if self.connection is None else self.connection.id

    # -- The TCP connection

    def connectionMade(self) -> None:
        """Set the socket's options, and wait for the head of a request."""
        if type(self.transport) is not PolledServer:
            tune(self.transport, self.config.limits.send_buffer)
        self.address = self._address_so_far()
        self._count()

    def _count(self) -> None:
        """Take a place for the connection."""
        refusal = self.registry.connected(self)
        if refusal is not None:
            self.refuse(refusal)
        elif type(self.transport) is not PolledServer and self.state == _HEAD and self.is_secure():
            self._wait_for_tls()

    def _wait_for_tls(self) -> None:
        """Begin with TLS, which costs more than all that follows, when the turn of it has come."""
        try:
            turn = self.registry.turn(self.address)
        except HandshakeRejected as rejection:
            self.refuse(rejection)
            return
        if turn is not None:
            self.log_slowed()
            self.transport.pauseProducing()
            self._deciding = turn
            turn.addCallbacks(lambda _: self.transport.resumeProducing(), lambda _: None)

    def peer_known(self) -> None:
        """Count the connection for the client that the PROXY protocol has named."""
        address = self._address_so_far()
        if self.state == _HEAD and address != self.address:
            # As if it had come just now.
            self.registry.connection_lost(self)
            self.address = address
            self._count()

    def _address_so_far(self) -> str:
        """The address of a connection that has not said anything."""
        if type(self.transport) is not PolledServer and getattr(
            self.transport, "awaits_client", False
        ):
            return ""
        host = self._peer_host()
        # A trusted proxy stands for itself only if it names nobody.
        return "" if host in self.trusted else intern(address_key(host))

    def dataReceived(self, data: bytes) -> None:
        """Take frames, parts of a head, or the bytes of a request."""
        state = self.state
        if state in _LIVE:
            self.heard = True
            self.metrics.received_bytes += len(data)
            if self.data:
                data = self.data[self.position :] + data
                self.position = 0
            self.data = data
            self.consumeData()
        elif state == _HEAD:
            searched = len(self.data)
            if not searched:
                refusal = self.registry.began(self)
                if refusal is not None:
                    self.data = data
                    self.refuse(refusal)
                    return
            self.data += data
            self._read_head(searched)
        elif state == _HTTP:
            self._channel.dataReceived(data)
        elif state == _PENDING:
            if len(self.data) + len(data) > _EARLY:
                self.transport.abortConnection()
            else:
                self.data += data
        elif state == _CLOSED:
            # Of a request that was refused, for example, or after the last frame.
            self._thrown_away += len(data)
            if self._thrown_away > _MAX_THROWN_AWAY:
                self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Let go of everything: the socket is gone."""
        channel = self._channel if self.state == _HTTP else None
        if self.state == _PENDING:
            self.metrics.handshakes["abandoned,"] += 1
        elif self.state == _HEAD and not self.data:
            self._log_tls_failure(reason)
        self._end()
        was_open = self.registry.connection_lost(self)
        if was_open:
            self.metrics.count_close(*ending_of(self, reason)[:2])
        self.scheduler.forget(self)
        if channel is not None:
            del self._channel
            channel.connectionLost(reason)
        elif was_open and self.config.verbose:
            assert self.connection is not None
            seconds = self.registry.now() - self.connection.opened_at
            log_closed(self.connection, self, reason, seconds, traffic_of(self.transport))
        if self.queue is not None:
            # A transport may not have told it.
            self.queue.stopProducing()
        # Both know this protocol: without a reference cycle no garbage collection is needed.
        self.connection = self.queue = None

    def _log_tls_failure(self, reason: Failure) -> None:
        problem = tls_failure(reason)
        if problem:
            self.losses.log(
                self._log,
                LogLevel.info,
                "tls",
                "the TLS handshake of {peer} failed: {problem}",
                event="tls-failed",
                peer=self.peer,
                problem=problem,
            )

    # -- The head of a request

    def _read_head(self, searched: int) -> None:
        found = head.parse(self.data, self.config.limits.max_head, searched)
        is_request = found.kind is _HANDSHAKE or found.kind is _PAGE
        if is_request and (self.trusted or type(self.transport) is not PolledServer):
            refusal = self._find_client(found.headers)
            if refusal is not None:
                self.refuse(refusal)
                return
        if found.kind is _HANDSHAKE:
            assert found.handshake is not None
            self.start_handshake(found.handshake, found.pairs)
            if self.state == _PENDING and len(self.data) > _EARLY:
                self.transport.abortConnection()
        elif found.kind is _PAGE:
            self._serve_http(found)
        elif found.status:
            self.refuse(HandshakeRejected(found.reason, found.status))

    def _find_client(self, headers: Mapping[str, str]) -> HandshakeRejected | None:
        """Find out who sent a request: behind proxies each request may have another client."""
        # A trusted proxy on a UNIX socket that names nobody stands for its clients.
        nobody = UNIX if "" in self.trusted else ""
        address = intern(address_key(self._name_client(headers)) or nobody)
        if address == self.address:
            return None
        refusal = self.registry.moved(self, address)
        self.address = address
        return refusal

    def _name_client(self, headers: Mapping[str, str]) -> str:
        host = self._peer_host()
        client = named_client(host, self.trusted, headers)
        named = "" if client == host else client
        if named != self._named:
            self._named = named
        return client

    def _peer_host(self) -> str:
        return getattr(self.transport.getPeer(), "host", "")

    def _serve_http(self, found: head.Head) -> None:
        """Hand the connection over, with all bytes that were read of it."""
        if "sec-websocket-key" in found.headers:
            self.losses.log(
                self._log,
                LogLevel.warn,
                "upgrade",
                "{peer} asks for a WebSocket at {path!r} without the Upgrade header: a proxy in "
                "front must pass on Upgrade and Connection, by HTTP/1.1",
                event="upgrade-missing",
                peer=self.peer,
                path=head.loggable_target(found.target.encode("latin-1")),
            )
        streams = self.streams
        if streams is not None and streams.serves(found):
            host = self._peer_host()
            caller = Caller(self.peer, host, bool(self._named), self.is_guest)
            self.enter(State.HTTP)
            # The request takes a place of its own.
            self.registry.handed_over(self)
            self._give_away(streams.channel_for(found, caller))
            return
        refusal = self.registry.refusal(Step.HTTP, self)
        if refusal is not None:
            self.refuse(refusal)
            return
        self.enter(State.HTTP)
        if self.site.max_channels:
            # Else it has the place and the time of a handshake, to the end.
            self.registry.handed_over(self)
        self._give_away(self.site.channel_for(found, self.transport.getPeer()))

    def _give_away(self, channel: HttpChannel) -> None:
        channel.returned = self._take_back
        channel.address = self.address
        self._channel = channel
        data, self.data = self.data, b""
        channel.makeConnection(self.transport)
        channel.dataReceived(data)

    def _take_back(self, request: bytes, rest: bytes, status: int, reason: str) -> None:
        """Go on with a connection that plain HTTP gives back; see `http.GiveBack`."""
        self.enter(State.HEAD)
        del self._channel
        if self._named:
            # The next request is that of another client, until its head says so.
            del self._named
            address = self._address_so_far()
            # Without an application it still has the place of a handshake, too.
            self.registry.moved(self, address)
            self.address = address
        if status:
            self.data = request
            # The log names the client, also of a request that is refused.
            self._name_client(head.parse(request, self.config.limits.max_head).headers)
            self.refuse(HandshakeRejected(reason, status))
        else:
            self.dataReceived(request + rest)

    # -- The handshake

    def handshake_received(self, request: Request) -> None:
        """See `LeanProtocol.handshake_received`."""
        host = self._peer_host()
        if not self._named and "x-forwarded-for" in request.headers:
            self.warn_of_proxy(host)
        # With TLS it was counted before, unless a proxy has begun the TLS.
        is_counted = self.is_secure() and bool(self._address_so_far())
        self.apply(request, host, is_counted=is_counted)

    def ask(self, request: Request) -> Deferred[Answer]:
        """See `wsredis.transports.applicant.Applicant.ask`."""
        target = self.asked.target
        decided = self.handshaker.decide(self, request, target)
        if self.streams is not None and cursor_in(target):
            decided.addCallback(self.streams.ring.when_even)
        return decided

    def go_live(self, answer: Answer, request: Request, began: float) -> None:
        """See `wsredis.transports.applicant.Applicant.go_live`."""
        accepted = answer.accepted
        # An application does not need Redis.
        step = _STEP_DECIDE if accepted is None else _STEP_OPEN
        refusal = self.registry.refusal(step, self)
        if refusal is not None:
            self.refuse(refusal)
            return
        connection = self.connection
        assert connection is not None
        self.make_queue(None if accepted is None else connection.granted.facility)
        if accepted is None:
            # For an application a text message is not a binary one.
            self.takes_batches = False
        if answer.is_compressed:
            self.decompress_with(Inflater())
        missed = None
        if self.streams is not None and (cursor := cursor_in(self.asked.target)):
            # The client was without a WebSocket until now.
            missed = self.streams.ring.missed(connection.channels, cursor)
        subprotocol = answer.subprotocol
        response = self.accept_handshake(request, subprotocol, answer.headers)
        del self._deciding
        encoding = connection.encoding
        self.registry.opened(
            self, None if encoding.heartbeat is None else encoding.heartbeat_interval
        )
        # An application has subprotocols of its own.
        if subprotocol == SUBPROTOCOL and accepted is not None:
            self.registry.takes_notices(self)
            response += self._hello(connection)
        if self.config.verbose:
            connection.opened_at = self.registry.now()
            log_opened(connection, None if accepted is None else accepted.handshake.requested)
        self.metrics.handshake_latency.observe(self.queued.now() - began)
        if missed is None:
            connection.opened(answer.stored, response)
        else:
            self.registry.read_stored(self.address, size_of(missed))
            connection.resumed(answer.stored, missed, response)
        if self.state == _OPEN and accepted is not None:
            self.sessions.connection_opened(connection, accepted)
        if self.data:
            self.consumeData()

    def dropped(self, reason: str) -> None:
        """See `wsredis.transports.websocket.slots.Place.dropped`."""
        self.metrics.dropped += 1
        self.losses.log(
            self._log,
            LogLevel.info,
            reason,
            "dropped {peer}: {reason}",
            event="connection-dropped",
            peer=self.peer,
            reason=reason,
        )
        self._end()
        self.registry.last_bytes(self)
        self.transport.abortConnection()

    def handshake_timed_out(self) -> None:
        """See `wsredis.transports.websocket.registry.Member.handshake_timed_out`."""
        if self.is_pending():
            self.refuse(HandshakeRejected("try again later", 503, "the handshake took too long"))
        elif self.state == _HEAD:
            self.refuse(HandshakeRejected("the request did not come", 408))
        elif self.state == _HTTP:
            self.transport.abortConnection()

    def is_served(self) -> bool:
        """See `wsredis.transports.queue_owner.QueueOwner.is_served`."""
        return self.state == _OPEN

    def is_pending(self) -> bool:
        """See `wsredis.transports.websocket.handshake.HandshakeClient.is_pending`."""
        return self.state == _PENDING

    def is_secure(self) -> bool:
        """See `wsredis.transports.websocket.handshake.HandshakeClient.is_secure`."""
        return ISSLTransport.providedBy(self.transport)

    def refuse(self, rejection: HandshakeRejected) -> None:
        """
        Answer the request with an HTTP error, and end the connection.

        A page learns nothing of such an answer. A client that offers the subprotocol ``wsredis`` is
        accepted in its place, only to be closed with a code and the reason. It is no open client.
        """
        if self.queue is not None:
            # The answer of an application is under way, and will never be whole.
            self._end()
            self.cut("answer incomplete")
            return
        unread = self.state == _HEAD
        is_new = unread and not self.data
        asked = None if unread else self.asked
        self.log_refused(self.data if asked is None else asked.target.encode(), rejection)
        is_told = (
            asked is not None
            and SUBPROTOCOL in asked.protocols
            and self.handshaker.is_ours(asked.target)
        )
        if is_told:
            assert asked is not None
            code, reason = close_code_for(rejection.status), rejection.told
            answer = short_answer(asked.key, SUBPROTOCOL) + frames.close(code, reason)
        else:
            answer = error_response(rejection.status, rejection.reason)
        if asked is not None:
            # The client may wait long with its end, and the head is as large as it likes.
            del self.asked
        self.transport.write(answer)
        self._end()
        # A client that never finishes the TLS handshake cannot be sent the answer.
        self.registry.last_bytes(self)
        if (is_told or (unread and not is_new)) and is_plain(self.transport):
            # Closing a socket with unread input resets it, and the answer may be lost; and a client
            # answers a close frame. Under TLS the method is that of the TCP transport, and
            # overtakes what is not encrypted yet.
            self.transport.loseWriteConnection()
        elif is_new and not is_plain(self.transport):
            # The end of TLS would keep the connection, and nothing is known to read the answer.
            self.transport.abortConnection()
        else:
            self.transport.loseConnection()

    # -- wsredis.transports.websocket.applications.ApplicationClient

    @property
    def has_waiting(self) -> bool:
        """See `wsredis.transports.websocket.applications.ApplicationClient.has_waiting`."""
        return self.queue is not None and self.queue.is_waiting

    def respond(self, data: bytes, status: int, is_last: bool) -> None:
        """See `wsredis.transports.websocket.applications.ApplicationClient.respond`."""
        if self.state != _PENDING:
            return
        if self.queue is None:
            self.log_refused(self.asked.target.encode(), _BY_PAGE, status)
            self.make_queue(None)
        queue = self.queue
        assert queue is not None
        queue.write(data)
        if is_last:
            self._end()
            self.registry.last_bytes(self)
            queue.close()

    # -- The open WebSocket

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Take one whole message of the client."""
        if self.connection is not None:
            self.connection.receive(payload, isBinary)

    def messages_received(self, payloads: Sequence[bytes]) -> int:
        """See `wsredis.transports.websocket.reader.FrameReader.messages_received`."""
        if self.connection is None:
            return len(payloads)
        return self.connection.receive_all(payloads)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Send what Autobahn sends on the same way as publications."""
        if self.queue is not None:
            self.queue.write(data)

    def pause(self, why: PauseReason) -> None:
        """See `wsredis.gateway.client.Client.pause`."""
        if not self.pause_reasons:
            self.transport.pauseProducing()
        self.pause_reasons |= why

    def resume(self, why: PauseReason) -> None:
        """See `wsredis.gateway.client.Client.resume`."""
        if self.pause_reasons & why:
            self.pause_reasons &= ~why
            if self.pause_reasons:
                return
            if self.data:
                # Others may go on now as well, and this may be called while Redis is being read.
                self.turn_over()
            elif self in self.registry.connections:
                # TLS has to read to the end.
                self.transport.resumeProducing()

    # -- wsredis.transports.websocket.scheduler.Scheduled

    def take_turn(self) -> None:
        """See `wsredis.transports.websocket.scheduler.Scheduled.take_turn`."""
        self.pause_reasons &= ~PauseReason.TURN
        if not self.pause_reasons and self in self.registry.connections:
            try:
                self.consumeData()
            except Exception:
                # As for a read: it ends this connection and no other.
                self._log.failure("a connection failed", event="connection-failed")
                self.transport.abortConnection()
                return
            # A message may have brought a new reason, or the end.
            if not self.pause_reasons and self in self.registry.connections:
                self.transport.resumeProducing()

    # -- wsredis.transports.websocket.reader.FrameReader

    def turn_over(self) -> None:
        """See `wsredis.transports.websocket.reader.FrameReader.turn_over`."""
        self.pause(PauseReason.TURN)
        self.scheduler.add(self)

    def settle(self, work: int) -> None:
        """See `wsredis.transports.websocket.reader.FrameReader.settle`."""
        self.scheduler.charge(self, work)

    def may_leave(self) -> bool:
        """See `wsredis.transports.websocket.reader.FrameReader.may_leave`."""
        # An answer says that what came before is done.
        return self.connection is None or self.connection.is_settled()

    def input_kept(self, waiting: int) -> None:
        """See `wsredis.transports.websocket.reader.FrameReader.input_kept`."""
        message = self.unfinished
        if message is None:
            self.inputs.keep(self, waiting, False)
        else:
            if message.checked < 0:
                # Its time begins now, and not with the message before it.
                message.checked = 0
                self.inputs.keep(self, 0, False)
            self.inputs.keep(self, waiting + message.size, message.buffer is not None)

    def overdrawn(self) -> None:
        """See `wsredis.transports.websocket.scheduler.Scheduled.overdrawn`."""
        self.metrics.limits["max-rate"] += 1
        self.log_shed("it sends too fast, closing")
        self.close(1008, "too many messages for too long")

    def input_refused(self, reason: str) -> None:
        """See `wsredis.transports.websocket.unfinished.InputOwner.input_refused`."""
        self.log_shed(f"{reason}, connection reset")
        self.cut(reason)

    def message_growth(self) -> int | None:
        """See `wsredis.transports.websocket.unfinished.InputOwner.message_growth`."""
        message = self.unfinished
        if self.pause_reasons or message is None or message.buffer is None:
            return None
        # Empty fragments are paid by the rate, and take no memory.
        before, message.checked = message.checked, len(message.buffer) + message.empty
        return message.checked - before

    # -- The subprotocol wsredis

    @property
    def takes_notices(self) -> bool:
        """See `wsredis.gateway.client.Client.takes_notices`."""
        return self.registry.is_noticed(self)

    def tell_rights(self) -> None:
        """See `wsredis.gateway.client.Client.tell_rights`."""
        if self.takes_notices and self.connection is not None:
            self.write(self._hello(self.connection))

    def _hello(self, connection: Connection) -> bytes:
        return frames.binary(notice("hello", hello(connection, self.registry.heartbeat)))

    # -- The life of an open WebSocket

    def check_alive(self) -> None:
        """See `wsredis.transports.websocket.registry.Member.check_alive`."""
        # A message that has begun has a deadline of its own, and is a sign of life if it grows.
        if self._is_alive("no pong") and self.unfinished is None:
            self.write(frames.PING)

    def check_heartbeat(self) -> None:
        """See `wsredis.transports.websocket.registry.Member.check_heartbeat`."""
        if self._is_alive("no answer to the heartbeat of wsredis"):
            # Also in the middle of a message: a page that hears nothing gives up.
            self.write(frames.HEARTBEAT)

    def _is_alive(self, problem: str) -> bool:
        """
        Tell whether the client has given a sign of life since it was last asked for one.

        Args:
            problem: For the log. If it has not, or is stuck, the connection is dropped.
        """
        if self.queue is not None and self.queue.is_stuck(acknowledged(self.transport)):
            # Whatever it says meanwhile.
            self.log_slow("it took nothing for a ping interval, connection dropped")
            self.cut("slow consumer")
        elif (
            self.heard
            or self.pause_reasons & ~PauseReason.SEND_QUEUE
            # Its pong may have come, and a gateway that is late must not take that for silence.
            or has_unread(self.transport)
        ):
            self.heard = False
            return True
        else:
            self.metrics.timeouts += 1
            self.losses.log(
                self._log,
                LogLevel.info,
                problem,
                "{_problem} from {peer} ({id}): connection dropped",
                event="no-pong",
                peer=self.peer,
                id=self.connection_id,
                _problem=problem,
            )
            self.cut(problem)
        return False

    def send_heartbeat(self) -> None:
        """See `wsredis.transports.websocket.registry.Member.send_heartbeat`."""
        assert self.connection is not None and self.connection.encoding.heartbeat is not None
        self.write(self.connection.encoding.heartbeat)

    # -- The end

    def sendCloseFrame(
        self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False
    ) -> None:
        """Send a close frame; nothing is delivered after it."""
        if self.state != _OPEN:
            return
        if self.connection is not None:
            self.connection.ended(code or 1005, (reasonUtf8 or b"").decode("utf-8", "replace"))
        self._detach()
        super().sendCloseFrame(code, reasonUtf8, isReply)
        self.registry.last_bytes(self)

    def end_connection(self, abort: bool) -> None:
        """See `LeanProtocol.end_connection`."""
        self.registry.last_bytes(self)
        if abort:
            self.transport.abortConnection()
        elif self.queue is not None:
            self.queue.close()
        else:
            self.transport.loseConnection()

    def close_timed_out(self) -> None:
        """See `wsredis.transports.websocket.registry.Member.close_timed_out`."""
        self.metrics.limits["close-timeout"] += 1
        self.transport.abortConnection()

    def _end(self) -> None:
        """Enter the last state, in which nothing is decided, read or delivered any more."""
        self.enter(State.CLOSED)
        self.data = b""
        self.stop_deciding()
        self._detach()

    def cut(self, cause: str) -> None:
        """See `wsredis.transports.queue_owner.QueueOwner.cut`."""
        if self.state == _PENDING:
            # The answer of an application is under way.
            self._end()
        self.cause = cause
        self._detach()
        if self.queue is not None:
            self.queue.stopProducing()
        self.transport.abortConnection()

    def _detach(self) -> None:
        """Deliver nothing to this client any more."""
        self.drop_message()
        self.inputs.keep(self, 0, False)
        if self.connection is not None:
            self.connection.closed()
            self.sessions.connection_lost(self.connection)
        self.registry.detached(self)

    # -- wsredis.gateway.client.Client

    def close(self, code: int, reason: str) -> None:
        """See `wsredis.gateway.client.Client.close`."""
        if self.is_pending():
            self.refuse(HandshakeRejected("try again later", 503, reason))
        else:
            self.sendCloseFrame(code, frames.close_reason(reason))
