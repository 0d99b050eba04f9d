"""
Identities from the application: one HTTP request for each handshake (``--auth-url``).

The application sees the same credentials as in a request for one of its own pages, above all the
cookies, and answers in JSON. An answer that is not exactly as documented lets nobody in.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import (
    ConnectingCancelledError,
    ConnectionRefusedError,
    DNSLookupError,
)
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from wsredis.auth.fair_queue import FairQueue
from wsredis.auth.sources.answer import Answer, UnexpectedAnswer, read_answer
from wsredis.auth.sources.availability import Report, SourceAway, nobody
from wsredis.auth.sources.backend_watch import BackendWatch
from wsredis.auth.sources.cache import AnswerCache
from wsredis.auth.sources.http_client import QuietPool, UnencodedAgent, read_body
from wsredis.channels import Access
from wsredis.config import AuthUrlConfig
from wsredis.config.networks import split_address
from wsredis.errors import ConfigError, HandshakeRejected
from wsredis.gateway.identity import Handshake, Identity

__all__ = ["SubrequestAuthenticator"]

#: Headers of the client that are passed on as they are.
_FORWARDED = ("authorization", "cookie", "origin", "sec-websocket-protocol", "user-agent")

#: Seconds for which an idle connection is kept.
_IDLE = 60

#: Bytes of the body of an answer.
_MAX_BODY = 65536

#: Requests that may wait, for each one that may be under way.
_QUEUE = 64

#: The ends of a request that the gateway itself has given up.
_CANCELLED = (CancelledError, ConnectingCancelledError)


#: The client of a question that the gateway asks for itself.
_NOBODY = Handshake(Access(""), "/", {}, "unix")


class SubrequestAuthenticator:
    """
    Asks the application for identities. See `wsredis.gateway.identity.AuthBackend`.

    Args:
        config: The URL, and the time for which an answer is kept.
        reactor: Makes requests and keeps time.
        timeout: Time limit in seconds for a request and its answer. Waiting for other requests
            counts.
        concurrency: Requests under way at a time. Addresses take turns, and none has more than
            its share of them and of those that wait.
        report: Told whether the application gives valid answers.
        now: Returns the Unix time in seconds.
    Raises:
        ConfigError: treq is not installed, or the URL cannot be requested.
    """

    def __init__(
        self,
        config: AuthUrlConfig,
        reactor: Any,
        timeout: float,
        concurrency: int,
        *,
        report: Report = nobody,
        now: Callable[[], float] = time.time,
    ) -> None:
        try:
            from treq.client import HTTPClient
        except ImportError:
            raise ConfigError("auth-url: needs treq: pip install 'wsredis[auth-url]'") from None
        assert config.url is not None
        self._client = HTTPClient
        self._url = _checked_url(config.url)
        #: For the log: the query may hold a secret.
        self._url_shown = config.url.partition("?")[0]
        self._reactor = reactor
        self._timeout = timeout
        self._now = now
        self._watch = BackendWatch(
            reactor,
            lambda: self._ask(_request_headers(_NOBODY), _NOBODY.address),
            report,
            "the application of auth-url gives no valid answer: new clients are refused",
            is_blocking=True,
        )
        self._pool = QuietPool(reactor)
        self._pool.maxPersistentPerHost = concurrency
        self._pool.cachedConnectionTimeout = _IDLE
        self._agent = UnencodedAgent(reactor, self._pool, timeout)
        self._queue: FairQueue[Deferred[None]] = FairQueue(concurrency, concurrency * _QUEUE)
        self._cache = AnswerCache(config.cache, now, timeout / 2)

    async def identify(self, handshake: Handshake) -> Identity:
        """
        Ask for the identity of a client, whether or not it has credentials.

        Raises:
            HandshakeRejected: 401 or 403 as the application answered, or 503 if it gave no valid
                answer in time.
        """
        headers = _request_headers(handshake)
        address = handshake.address
        answer = await self._cache.get(_digest(headers), lambda: self._ask(headers, address))
        return answer.identity_for(handshake.requested)

    def missing(self, handshake: Handshake) -> str:
        """See `wsredis.gateway.identity.AuthBackend.missing`."""
        headers = handshake.headers
        return "" if "cookie" in headers or "authorization" in headers else "cookie"

    def forget(self) -> None:
        """See `wsredis.gateway.identity.AuthBackend.forget`."""
        self._cache.clear()

    def start(self) -> None:
        """Do nothing: connections are made when they are needed."""

    def stop(self) -> None:
        """Close idle connections. Others close after the answer that is under way."""
        self._watch.stop()
        self._pool.cachedConnectionTimeout = 0
        self._pool.closeCachedConnections()

    def _ask(self, headers: Headers, address: str) -> Deferred[Answer]:
        """
        Make a request.

        Returns:
            Fires with the answer, or fails with HandshakeRejected (503) if there is none.
            Cancelling ends the request.
        """
        pending = Deferred.fromCoroutine(self._ask_in_turn(headers, address))
        return pending.addTimeout(self._timeout, self._reactor, onTimeoutCancel=self._too_late)

    async def _ask_in_turn(self, headers: Headers, address: str) -> Answer:
        turn: Deferred[None] = Deferred(lambda _: self._queue.discard(address, turn))
        if not self._queue.begin(address, turn):
            if not self._queue.wait(address, turn):
                raise HandshakeRejected(
                    "try again later",
                    503,
                    self._hint("too many requests wait (--auth-concurrency)"),
                )
            await turn
        try:
            answer = await self._request(headers)
            self._watch.answered()
            return answer
        except UnexpectedAnswer as error:
            raise self._unavailable(str(error)) from None
        finally:
            following = self._queue.next(address, turn)
            if following is not None:
                following[1].callback(None)

    async def _request(self, headers: Headers) -> Answer:
        try:
            # A client of its own for each request: a shared one would keep the cookies that the
            # application sets for one user, and send them with the request for another.
            response = await self._client(self._agent).get(
                self._url, headers=headers.copy(), allow_redirects=False, unbuffered=True
            )
        except Exception as error:
            if any(isinstance(each, _CANCELLED) for each in _reasons(error)):
                # The client has left, or the time is over, which is noted elsewhere.
                raise CancelledError from None
            # The text of any such error may quote data that was sent or received.
            raise UnexpectedAnswer(f"it cannot be asked: {_words(error)}") from None
        try:
            body = await read_body(response, _MAX_BODY)
        except ValueError as error:
            # The other statuses mean the same without a body.
            if response.code == 200:
                raise UnexpectedAnswer(str(error)) from None
            body = b""
        content_type = response.headers.getRawHeaders("content-type", [""])[-1]
        return read_answer(response.code, content_type, body, self._now())

    def _too_late(self, _: object, timeout: float) -> Failure:
        return Failure(
            self._unavailable(f"it did not answer within {timeout:g} s (--auth-timeout)")
        )

    def _unavailable(self, why: str) -> SourceAway:
        self._watch.failed()
        return SourceAway(self._hint(why))

    def _hint(self, why: str) -> str:
        return f"--auth-url {self._url_shown}: {why}"


def _checked_url(url: str) -> str:
    """Encode the URL in ASCII, as it is sent."""
    from hyperlink import EncodedURL

    if "://[" in url:
        raise ConfigError("auth-url: this URL has an IPv6 address: give it a name")
    try:
        parsed = EncodedURL.from_text(url).to_uri()
    except ValueError as error:
        # The text of the error may quote the query.
        raise ConfigError(f"auth-url: this URL is malformed: {type(error).__name__}") from None
    if not parsed.host or not 0 < (parsed.port or 0) < 65536:
        raise ConfigError("auth-url: this URL has no host, or an impossible port")
    ascii_url: str = parsed.to_text()
    return ascii_url


def _reasons(error: BaseException) -> list[BaseException]:
    """Return *error* and what it consists of."""
    return [error, *(each.value for each in getattr(error, "reasons", ()))]


def _words(error: BaseException) -> str:
    """Say what is wrong, without the text of the error."""
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens on this port"
    if isinstance(error, DNSLookupError):
        return "its host is not known"
    classes = (type(each) for each in _reasons(error))
    # With the module, since that of OpenSSL, which means a bad certificate, is just "Error".
    return ", ".join(f"{each.__module__.rpartition('.')[2]}.{each.__name__}" for each in classes)


def _request_headers(handshake: Handshake) -> Headers:
    """Make the headers of a request. No value can end its header, or begin another one."""
    headers = Headers()
    for name in _FORWARDED:
        value = handshake.headers.get(name)
        if value is not None:
            headers.setRawHeaders(name, [value.encode("latin-1", "replace")])
    passed = handshake.headers.get("x-forwarded-for", "").encode("latin-1", "replace")
    address = split_address(handshake.peer)[0].encode("ascii", "replace")
    if passed.rpartition(b",")[2].strip() == address:
        # A trusted proxy has named the client.
        address = b""
    headers.setRawHeaders("accept", [b"application/json"])
    headers.setRawHeaders(
        "x-wsredis-facility", [quote(handshake.requested.facility).encode("ascii")]
    )
    headers.setRawHeaders(
        "x-wsredis-channels", [",".join(handshake.requested.flags).encode("ascii")]
    )
    # As every proxy does: the address that is known for sure comes last.
    headers.setRawHeaders("x-forwarded-for", [b", ".join(filter(None, [passed, address]))])
    return headers


def _digest(headers: Headers) -> bytes:
    """
    Make the key of a question for the cache.

    It depends on everything that the application sees, so clients that would get different
    answers have different keys.
    """
    digest = hashlib.blake2b(digest_size=32)
    for name, values in sorted(headers.getAllRawHeaders()):
        for part in (name, *values):
            digest.update(b"%d:%s" % (len(part), part))
    return digest.digest()
