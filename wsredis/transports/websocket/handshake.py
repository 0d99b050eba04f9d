"""
The decision on a WebSocket handshake, and the HTTP answer to one that is refused.

It is one module because the same steps decide on the requests of all transports.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure

from wsredis.auth import Accepted, Admission
from wsredis.channels import Access
from wsredis.config import GatewayConfig
from wsredis.errors import (
    BadRequest,
    BrokerUnavailable,
    HandshakeRejected,
    LimitExceeded,
    PermissionDenied,
)
from wsredis.gateway.connection import Connection, ConnectionParts, Hooks
from wsredis.gateway.dialect import Dialect
from wsredis.gateway.eager import run_eagerly
from wsredis.gateway.hub import Hub
from wsredis.gateway.identity import Handshake, Identity
from wsredis.gateway.publication import Encoding
from wsredis.transports.websocket.applications import (
    Answer,
    ApplicationClient,
    ApplicationMessages,
    Applications,
    HandshakeClient,
)
from wsredis.transports.websocket.deflate import negotiate
from wsredis.transports.websocket.encoding import Encodings
from wsredis.transports.websocket.lean import Request
from wsredis.transports.websocket.registry import Registry, Step
from wsredis.transports.websocket.urls import (
    find_dialect,
    find_dialect_or_application,
    hint_for_application,
)

__all__ = ["Handshaker", "error_response", "rejection_for"]

#: Seconds that a client is asked to wait before it tries again.
_RETRY_AFTER = 2

#: Applications find out themselves who their clients are.
_NOBODY = Identity()

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


#: Makes an answer of the stored messages.
_Completion = Callable[[Mapping[bytes, bytes]], Answer]


class Handshaker:
    """
    Decides on the handshakes of one gateway.

    Args:
        dialects: Asked in this order to parse a URL.
        handler: The hook of the embedding program. If None, there is none.
        applications: Gets handshakes that belong to no dialect. If None, 404 is the answer.
    """

    def __init__(
        self,
        config: GatewayConfig,
        hub: Hub,
        dialects: Sequence[Dialect],
        admission: Admission,
        registry: Registry,
        handler: Hooks | None = None,
        applications: Applications | None = None,
    ) -> None:
        self._limits = config.limits
        self._url_prefixes = config.url_prefixes
        self._compress = config.compress
        self._encodings = Encodings(config.compress_threshold)
        self._hub = hub
        self._dialects = dialects
        self._admission = admission
        self._registry = registry
        self._handler = handler
        self._applications = applications
        self._messages = ApplicationMessages()

    def decide(self, client: ApplicationClient, request: Request, target: str) -> Deferred[Answer]:
        """
        Decide on a well-formed handshake: URL, room, subprotocol, identity, rights, subscriptions.

        Args:
            request: Its headers, subprotocols, extensions and peer are used.
            target: The request target, percent-encoded, with the query.

        Returns:
            Fires with the answer. Cancelling it cancels the question that is under way.

        Raises:
            Exception: The handshake is refused; see `rejection_for`. If `client.connection` is
                set, its `closed` undoes the subscriptions.
        """
        try:
            path, _, query = target.partition("?")
            find = find_dialect if self._applications is None else find_dialect_or_application
            found = find(self._dialects, path, query)
            if found is None:
                return self._ask_application(client, request, target)
            prepared = run_eagerly(self._prepare(client, request, path, query, *found))
            if isinstance(prepared, Deferred):
                return prepared.addCallback(_open)
            return _open(prepared)
        except BaseException:
            # As in a coroutine: whatever an authenticator raises refuses this handshake only.
            return fail()

    def _nothing(self) -> HandshakeRejected:
        """Return the refusal of a handshake that nobody takes."""
        below = " or ".join(self._url_prefixes)
        return HandshakeRejected("there is nothing here", 404, advice=f"sockets are below {below}")

    def is_ours(self, target: str) -> bool:
        """Tell whether a handshake belongs to a dialect, or to nobody: not to the application."""
        if self._applications is None:
            return True
        path, _, query = target.partition("?")
        try:
            return find_dialect_or_application(self._dialects, path, query) is not None
        except BadRequest:
            return True

    def _ask_application(
        self, client: ApplicationClient, request: Request, target: str
    ) -> Deferred[Answer]:
        """Let the application decide, if there is one and there is room."""
        if self._applications is None:
            raise self._nothing()
        refusal = self._registry.refusal(Step.DECIDE, client)
        if refusal is not None:
            raise refusal
        window, extension = self._negotiate(request)
        parts = ConnectionParts(
            self._hub,
            self._limits,
            None,
            client,
            self._encodings[self._messages, window],
            _NOBODY,
            Access(target.partition("?")[0]),
        )
        answer = self._applications.decide(client, request, target, parts)
        answer.addErrback(self._refused_by_application, target)
        if not window:
            return answer
        return answer.addCallback(
            lambda accepted: accepted._replace(
                headers=[_extension_header(extension), *accepted.headers], is_compressed=True
            )
        )

    def _refused_by_application(self, failure: Failure, target: str) -> Failure:
        """Say why it was asked, if the client may have meant the gateway."""
        error = failure.value
        if isinstance(error, HandshakeRejected) and error.cause == "application":
            meant = hint_for_application(self._dialects, self._url_prefixes, target)
            error.hint = "; ".join(filter(None, (error.hint, meant)))
        return failure

    def _negotiate(self, request: Request) -> tuple[int, str]:
        """Return the window of compressed messages, and its header; 0 if nothing is compressed."""
        agreed = negotiate(request.extensions) if self._compress else None
        return agreed or (0, "")

    async def _prepare(
        self,
        client: ApplicationClient,
        request: Request,
        path: str,
        query: str,
        dialect: Dialect,
        requested: Access,
    ) -> tuple[Connection, _Completion]:
        """Decide on everything but the subscriptions."""
        subprotocol = dialect.choose_subprotocol(request.protocols)
        if subprotocol is not None and not _TOKEN.fullmatch(subprotocol):
            raise BadRequest("the subprotocol is not a token")
        window, extension = self._negotiate(request)
        encoding = self._encodings[dialect, window]
        accepted, connection = await self._admit(
            client, request, path, query, dialect, requested, encoding
        )
        headers = [_extension_header(extension)] if extension else []

        def complete(stored: Mapping[bytes, bytes]) -> Answer:
            self._count_stored(client, stored)
            return Answer(accepted, stored, subprotocol, headers, bool(window))

        return connection, complete

    def decide_request(
        self,
        client: HandshakeClient,
        request: Request,
        target: str,
        encoding_of: Callable[[Dialect], Encoding],
        *,
        only_publishes: bool = False,
    ) -> Deferred[Answer]:
        """
        Decide on the request of a client without WebSockets, as `decide`.

        Args:
            encoding_of: Returns the encoding of the client.
            only_publishes: Tells whether it asks for nothing but to publish: it gets no
                subscriptions.
        """
        try:
            prepared = run_eagerly(
                self._prepare_request(client, request, target, encoding_of, only_publishes)
            )
            if isinstance(prepared, Deferred):
                return prepared.addCallback(_open)
            return _open(prepared)
        except BaseException:
            return fail()

    async def _prepare_request(
        self,
        client: HandshakeClient,
        request: Request,
        target: str,
        encoding_of: Callable[[Dialect], Encoding],
        only_publishes: bool,
    ) -> tuple[Connection | None, _Completion]:
        path, _, query = target.partition("?")
        found = find_dialect(self._dialects, path, query)
        if found is None:
            raise self._nothing()
        dialect, requested = found
        if only_publishes:
            requested = replace(requested, subscribe=frozenset())
        accepted, connection = await self._admit(
            client, request, path, query, dialect, requested, encoding_of(dialect)
        )

        def complete(stored: Mapping[bytes, bytes]) -> Answer:
            self._count_stored(client, stored)
            return Answer(accepted, stored, None, (), False)

        if only_publishes:
            connection.check_limit(connection.publishes)
            return None, complete
        return connection, complete

    async def _admit(
        self,
        client: HandshakeClient,
        request: Request,
        path: str,
        query: str,
        dialect: Dialect,
        requested: Access,
        encoding: Encoding,
    ) -> tuple[Accepted, Connection]:
        """Decide on room, identity and rights, and make the connection."""
        refusal = self._registry.refusal(Step.DECIDE, client)
        if refusal is not None:
            raise refusal
        broker = self._hub.broker
        if not broker.up:
            await broker.when_up()
        incidents = self._hub.incidents
        handshake = Handshake(
            requested,
            path,
            request.headers,
            request.peer,
            query,
            client.is_secure(),
            client.address,
        )
        try:
            accepted = await self._admission.admit(handshake)
        except HandshakeRejected as error:
            incidents.note(requested.facility, f"refused with {error.status}: {error.told}")
            raise
        granted = accepted.granted
        if granted is not requested and granted.flags != requested.flags:
            missing = [each for each in requested.flags if each not in granted.flags]
            incidents.note(requested.facility, f"not granted: {', '.join(missing) or 'echo'}")
        if not client.is_pending():
            # The client left, and an authenticator or a policy ignored that it was cancelled.
            if accepted.enrolment is not None:
                accepted.enrolment.release()
            raise CancelledError
        connection = client.connection = dialect.connection(
            ConnectionParts(
                self._hub,
                self._limits,
                self._handler,
                client,
                encoding,
                accepted.identity,
                accepted.granted,
                accepted.enrolment,
            )
        )
        hints = self._admission.explain(
            connection, handshake, accepted.identity, granted, accepted.stranger
        )
        connection.granted = granted.with_hints(hints)
        return accepted, connection

    def _count_stored(self, client: HandshakeClient, stored: Mapping[bytes, bytes]) -> None:
        if stored:
            self._registry.read_stored(client.address, sum(map(len, stored.values())))


def _extension_header(value: str) -> tuple[str, str]:
    return "Sec-WebSocket-Extensions", value


def _open(prepared: tuple[Connection | None, _Completion]) -> Deferred[Answer]:
    """Subscribe, and complete the answer. If there is no connection, nothing is subscribed."""
    connection, complete = prepared
    if connection is None:
        return succeed(complete({}))
    return connection.open().addCallback(complete)


def rejection_for(error: BaseException | None) -> HandshakeRejected | None:
    """Return the refusal that *error* stands for. None if it stands for none: it is a bug."""
    if isinstance(error, HandshakeRejected):
        return error
    if isinstance(error, BadRequest):
        return HandshakeRejected(str(error), 400)
    if isinstance(error, BrokerUnavailable):
        return HandshakeRejected("try again later", 503, str(error), cause="redis-away")
    if isinstance(error, PermissionDenied):
        return HandshakeRejected(error.reason, 403, cause="redis-forbids")
    if isinstance(error, LimitExceeded):
        return HandshakeRejected(error.reason, 403, cause="too-many-channels")
    return None


def error_response(status: int, reason: str, lines: Sequence[str] = ()) -> bytes:
    """
    Return an HTTP error as bytes.

    Args:
        reason: The body. It may be anything, also what a client sent: it is sent as plain text.
        lines: Further headers.
    """
    body = reason.encode("utf-8", "replace")
    head = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
        *lines,
    ]
    if status == 401:
        # RFC 9110, 15.5.2 asks for a challenge; no browser opens a window for this one.
        head.append("WWW-Authenticate: Bearer")
    if status in (400, 426):
        head.append("Sec-WebSocket-Version: 13")
    if status in (429, 503):
        head.append(f"Retry-After: {_RETRY_AFTER}")
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body
