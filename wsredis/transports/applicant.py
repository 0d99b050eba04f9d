"""A client that asks for admission, on any transport: its turn, the decision, the log."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from wsredis.config.networks import UNIX, Networks, is_private
from wsredis.errors import HandshakeRejected
from wsredis.gateway.connection import Connection
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.queued_bytes import QueuedBytes
from wsredis.transports.websocket.applications import Answer
from wsredis.transports.websocket.handshake import rejection_for
from wsredis.transports.websocket.head import loggable_target
from wsredis.transports.websocket.lean import Request
from wsredis.transports.websocket.registry import Registry

__all__ = ["Applicant", "RefusalLog"]

#: Characters of a reason, which may quote the client, that go into one line of the log.
_LOGGED = 200

_FORWARDED_HOST = "x-forwarded-host"


class RefusalLog:
    """
    Counts and logs requests that are refused.

    Attributes:
        peer: The address of the client, for logs.
    """

    _log = Logger()

    metrics: Metrics
    losses: LogThrottle

    @property
    @abstractmethod
    def peer(self) -> str:
        """See above."""

    def log_refused(
        self, target: bytes, rejection: HandshakeRejected, status: int | None = None
    ) -> None:
        """
        Count and log a refusal.

        Args:
            target: The request target, or the start of the request.
            status: The HTTP status of the answer. If None, it is that of *rejection*.
        """
        reason, hint = rejection.reason, rejection.hints
        status = rejection.status if status is None else status
        self.metrics.count_refusal(status, rejection.cause)
        self.losses.log(
            self._log,
            LogLevel.info,
            status,
            "refused {peer} {path!r}: {status} {reason!r}{_hint}",
            event="handshake-refused",
            peer=self.peer,
            path=loggable_target(target),
            status=status,
            reason=reason[:_LOGGED],
            hint=hint[:_LOGGED],
            _hint=f" ({hint[:_LOGGED]})" if hint else "",
        )


class Applicant(RefusalLog):
    """
    The part of a client that asks for admission. A transport makes a subclass.

    Attributes:
        connection: The connection of the hub. None before it is admitted, and when it is gone.
        address: See `wsredis.gateway.identity.Handshake.address`.
    """

    _log = Logger()

    registry: Registry
    queued: QueuedBytes
    trusted: Networks
    transport: Any

    connection: Connection | None = None
    takes_place = True
    address = ""
    #: The question that is under way, or the wait for a turn.
    _deciding: Deferred[Any] | None = None

    # -- For the subclass

    @property
    @abstractmethod
    def peer(self) -> str:
        """The address of the client, for logs."""

    @property
    @abstractmethod
    def connection_id(self) -> str:
        """See `Connection.id`. Empty before there is a connection, and after it has ended."""

    @abstractmethod
    def is_pending(self) -> bool:
        """See `wsredis.transports.websocket.handshake.HandshakeClient.is_pending`."""

    @abstractmethod
    def ask(self, request: Request) -> Deferred[Answer]:
        """Ask for the decision on a request."""

    @abstractmethod
    def go_live(self, answer: Answer, request: Request, began: float) -> None:
        """
        Serve the client, if there is still room: the decision may have taken time.

        Args:
            began: The time at which the request came, as that of `QueuedBytes.now`.
        """

    @abstractmethod
    def refuse(self, rejection: HandshakeRejected) -> None:
        """Answer the request with an HTTP error."""

    # -- The way to the decision

    @property
    def user(self) -> str | None:
        """See `wsredis.transports.websocket.registry.Member.user`."""
        return None if self.connection is None else self.connection.identity.user

    @property
    def hears(self) -> bool:
        """See `wsredis.transports.websocket.registry.Member.hears`."""
        connection = self.connection
        return connection is not None and connection.is_open and bool(connection.channels)

    def apply(self, request: Request, host: str, *, is_counted: bool) -> None:
        """
        Ask for admission when the turn of the client's address has come.

        Args:
            host: The address of the TCP peer, which may be a proxy. Empty for a UNIX socket.
            is_counted: Tells whether the address was charged for this handshake before.
        """
        began = self.queued.now()
        try:
            turn = None if is_counted else self.registry.turn(self.address)
        except HandshakeRejected as rejection:
            self.refuse(rejection)
            return
        if turn is None:
            self._decide(request, host, began)
        else:
            self.log_slowed()
            self._deciding = turn
            turn.addCallbacks(lambda _: self._decide(request, host, began), self._not_accepted)

    def warn_of_proxy(self, host: str) -> None:
        """Tell once if a proxy is not trusted that may well be one of ours."""
        if self.registry.has_warned or host in self.trusted or not is_private(host):
            return
        self.registry.has_warned = True
        self._log.warn(
            "X-Forwarded-For of {peer} is ignored, and all its clients count as one address: if it "
            "is your proxy, --trusted-proxy {network} tells them apart",
            event="proxy-untrusted",
            peer=self.peer,
            network=host or UNIX,
        )

    def stop_deciding(self) -> None:
        """Cancel the decision. Harmless if none is under way."""
        if self._deciding is not None:
            self._deciding.cancel()

    def _decide(self, request: Request, host: str, began: float) -> None:
        if self.trusted and _FORWARDED_HOST in request.headers and host not in self.trusted:
            # Nobody but a trusted proxy may name the gateway.
            headers = {**request.headers}
            del headers[_FORWARDED_HOST]
            request = request._replace(headers=headers)
        deciding = self.ask(request)
        self._deciding = deciding
        deciding.addCallbacks(self._accepted, self._not_accepted, callbackArgs=(request, began))

    def _accepted(self, answer: Answer, request: Request, began: float) -> None:
        if self.is_pending():
            try:
                self.go_live(answer, request, began)
            except Exception:
                self._log_failed(None)
                self.transport.abortConnection()

    def _not_accepted(self, failure: Failure) -> None:
        if self.is_pending():
            rejection = rejection_for(failure.value)
            if rejection is None:
                self._log_failed(failure)
                rejection = HandshakeRejected("internal error", 500)
            self.refuse(rejection)

    # -- The log

    def log_slowed(self) -> None:
        """Log that the client waits for the turn of its address."""
        self.losses.log(
            self._log,
            LogLevel.info,
            "slowed",
            "slowed {peer}: its address sends more than --handshake-rate",
            event="handshake-slowed",
            peer=self.peer,
        )

    def log_shed(self, problem: str) -> None:
        """Count and log a client that goes for what it sends."""
        self.metrics.shed += 1
        self.losses.log(
            self._log,
            LogLevel.warn,
            problem,
            "{peer} ({id}): {problem}",
            event="connection-shed",
            peer=self.peer,
            id=self.connection_id,
            problem=problem,
        )

    def _log_failed(self, failure: Failure | None) -> None:
        self.losses.failure(
            self._log,
            "failed",
            "the handshake of {peer} failed",
            failure,
            event="handshake-failed",
            peer=self.peer,
        )
