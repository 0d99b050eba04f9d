"""
Identities by asking the application: one HTTP request for each handshake.

The application sees what it would see of a page of its own, cookies above all, and answers in JSON.
It is trusted to say who a client is, and with nothing else: an answer that is not exactly what was
agreed upon lets nobody in.
"""

from __future__ import annotations

import hashlib
import json
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred, DeferredSemaphore, succeed
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from wsredis.auth.grants import Channels, granted, read_channels
from wsredis.auth.sources.client import QuietPool, UnencodedAgent, read_body
from wsredis.channels import Access
from wsredis.config import AuthUrlConfig
from wsredis.errors import ConfigError, HandshakeRejected
from wsredis.gateway.identity import Handshake, Identity

__all__ = ["SubrequestAuthenticator"]

#: Headers of the client that the application gets as they are.
_FORWARDED = ("authorization", "cookie", "origin", "sec-websocket-protocol", "user-agent")

#: Seconds that a connection is kept for the next request.
_IDLE = 60

#: Bytes of an answer's body.
_MAX_BODY = 65536

#: Questions that wait for each one that may be asked at a time.
_QUEUE = 64

#: Answers that are remembered.
_MAX_REMEMBERED = 4096

#: Characters of a reason, for the client.
_MAX_REASON = 200

#: What a refusal says when the application gives no reason.
_REFUSALS = {401: "you are not logged in", 403: "you may not do this here"}

#: The year 10000. A time in milliseconds, which is a common mistake, lies behind it.
_END_OF_TIME = 253402300800

#: What a 200 may say.
_KEYS = {"user", "groups", "session", "channels", "expires"}


@dataclass(frozen=True, slots=True)
class _Answer:
    """
    What the application said.

    Attributes:
        status: 200, 401 or 403.
        reason: With 401 and 403, for the client.
        identity: With 200.
        channels: What the identity is limited to. None: to nothing.
    """

    status: int
    reason: str = ""
    identity: Identity = field(default=Identity(), repr=False)
    channels: Channels | None = field(default=None, repr=False)

    def about(self, access: Access) -> Identity:
        """
        What the answer means for a client with this access.

        Raises:
            HandshakeRejected: The client is not let in.
        """
        if self.status != 200:
            raise HandshakeRejected(self.reason, self.status)
        if self.channels is not None:
            granted(access, self.channels)
        return self.identity


class SubrequestAuthenticator:
    """
    Asks the application who a client is.

    Args:
        config: Where to ask, and how long an answer may be remembered.
        timeout: Seconds from the question to the end of the answer.
        concurrency: Requests at a time.
        now: The Unix time.
    Raises:
        ConfigError: treq is not there, or nothing can be asked at the URL.
    """

    def __init__(
        self,
        config: AuthUrlConfig,
        reactor: Any,
        timeout: float,
        concurrency: int,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        try:
            from treq.client import HTTPClient
        except ImportError:
            raise ConfigError("--auth-url: needs treq: pip install 'wsredis[auth-url]'") from None
        assert config.url is not None
        self._client = HTTPClient
        self._url = _checked_url(config.url)
        self._shown = config.url.partition("?")[0]
        self._reactor = reactor
        self._timeout = timeout
        self._now = now
        self._pool = QuietPool(reactor)
        self._pool.maxPersistentPerHost = concurrency
        self._pool.cachedConnectionTimeout = _IDLE
        self._agent = UnencodedAgent(reactor, self._pool, timeout)
        self._slots = DeferredSemaphore(concurrency)
        self._max_waiting = concurrency * _QUEUE
        self._memory = _Memory(config.cache, now) if config.cache else None

    async def identify(self, handshake: Handshake) -> Identity:
        """See `wsredis.gateway.identity.Authenticator.identify`. It always asks."""
        question = _question(handshake)
        if self._memory is None:
            answer = await self._ask(question)
        else:
            answer = await self._memory.recall(_digest(question), lambda: self._ask(question))
        return answer.about(handshake.requested)

    def forget(self) -> None:
        """See `wsredis.gateway.identity.AuthBackend.forget`."""
        if self._memory is not None:
            self._memory.forget()

    def start(self) -> None:
        """See `wsredis.gateway.identity.AuthBackend.start`. Nothing is connected yet."""

    def stop(self) -> None:
        """Close the connections that wait for a next request; others close when they would."""
        self._pool.cachedConnectionTimeout = 0
        self._pool.closeCachedConnections()

    def _ask(self, question: Headers) -> Deferred[_Answer]:
        """
        Returns: Fires with the answer. Cancelling ends the request.
        Raises:
            HandshakeRejected: With 503: there is none.
        """
        asked = Deferred.fromCoroutine(self._ask_in_turn(question))
        return asked.addTimeout(self._timeout, self._reactor, onTimeoutCancel=self._too_late)

    async def _ask_in_turn(self, question: Headers) -> _Answer:
        if len(self._slots.waiting) >= self._max_waiting:
            raise self._unknown("too many questions wait for it (--auth-concurrency)")
        await self._slots.acquire()
        try:
            return await self._request(question)
        except _Odd as error:
            raise self._unknown(str(error)) from None
        finally:
            self._slots.release()

    async def _request(self, question: Headers) -> _Answer:
        try:
            # A client of its own for each: it would keep the cookies that the application sets for
            # one, and send them with the question about another.
            response = await self._client(self._agent).get(
                self._url, headers=question.copy(), allow_redirects=False, unbuffered=True
            )
        except Exception as error:
            # Whatever it is, its text may quote what was sent or received.
            raise _Odd(f"it cannot be asked: {_class_names(error)}") from None
        try:
            body = await read_body(response, _MAX_BODY)
        except ValueError as error:
            # For the others the status says all that is needed.
            if response.code == 200:
                raise _Odd(str(error)) from None
            body = b""
        return _understood(response, body, self._now())

    def _too_late(self, _: object, timeout: float) -> Failure:
        return Failure(self._unknown(f"it did not answer within {timeout:g} s (--auth-timeout)"))

    def _unknown(self, why: str) -> HandshakeRejected:
        return HandshakeRejected("try again later", 503, f"--auth-url {self._shown}: {why}")


def _checked_url(url: str) -> str:
    """The URL as it goes over the wire, in ASCII."""
    from hyperlink import EncodedURL

    if "://[" in url:
        raise ConfigError("--auth-url: this URL has an IPv6 address: give it a name")
    try:
        parsed = EncodedURL.from_text(url).to_uri()
    except ValueError as error:
        # The text of the error may quote the query.
        raise ConfigError(f"--auth-url: this URL is malformed: {type(error).__name__}") from None
    if not parsed.host or not 0 < (parsed.port or 0) < 65536:
        raise ConfigError("--auth-url: this URL has no host, or a port that is none")
    text: str = parsed.to_text()
    return text


def _class_names(error: Exception) -> str:
    reasons = (reason.value for reason in getattr(error, "reasons", ()))
    classes = (type(each) for each in (error, *reasons))
    # With the module, for that of OpenSSL, which means a bad certificate, is just an Error.
    return ", ".join(f"{each.__module__.rpartition('.')[2]}.{each.__name__}" for each in classes)


def _question(handshake: Handshake) -> Headers:
    """What the application is told: nothing in it can end a header, or begin another."""
    headers = Headers()
    for name in _FORWARDED:
        value = handshake.headers.get(name)
        if value is not None:
            headers.setRawHeaders(name, [value.encode("latin-1", "replace")])
    passed = handshake.headers.get("x-forwarded-for", "").encode("latin-1", "replace")
    address = handshake.peer.rpartition(":")[0].encode("ascii", "replace")
    headers.setRawHeaders("accept", [b"application/json"])
    headers.setRawHeaders(
        "x-wsredis-facility", [quote(handshake.requested.facility).encode("ascii")]
    )
    headers.setRawHeaders(
        "x-wsredis-channels", [",".join(handshake.requested.flags).encode("ascii")]
    )
    # As every proxy does: behind what others said, the address that is known for sure.
    headers.setRawHeaders("x-forwarded-for", [b", ".join(filter(None, [passed, address]))])
    return headers


def _digest(question: Headers) -> bytes:
    """
    A key for the question.

    It is made of all that the application gets to see: who would be answered differently has
    another key.
    """
    digest = hashlib.blake2b(digest_size=32)
    for name, values in sorted(question.getAllRawHeaders()):
        for part in (name, *values):
            digest.update(b"%d:%s" % (len(part), part))
    return digest.digest()


# -- The answer


class _Odd(Exception):
    """The application answered something else than was agreed upon; in words for the log."""


def _understood(response: IResponse, body: bytes, now: float) -> _Answer:
    """
    Read an answer.

    Raises:
        _Odd: It is none.
    """
    status: int = response.code
    if status in _REFUSALS:
        return _Answer(status, _reason(response, body) or _REFUSALS[status])
    if status != 200:
        raise _Odd(f"it answered {status}")
    told = _object(response, body)
    unknown = sorted(told.keys() - _KEYS)
    if unknown:
        # A misspelt "channels" or "expires" would let in more than was meant.
        raise _Odd(f"its answer has a key {unknown[0][:40]!r}, which means nothing")
    identity = Identity(
        user=_name("user", told.get("user")),
        groups=_groups(told.get("groups")),
        session=_name("session", told.get("session")),
        expires=_expires(told.get("expires")),
    )
    if identity.expires is not None and identity.expires <= now:
        return _Answer(401, "your session has expired")
    return _Answer(200, identity=identity, channels=_channels(told.get("channels")))


def _object(response: IResponse, body: bytes) -> dict[str, Any]:
    (kind,) = response.headers.getRawHeaders("content-type", [""])[-1:]
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise _Odd("its answer is not application/json")
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        raise _Odd("its answer is not JSON") from None
    if not isinstance(told, dict):
        raise _Odd("its answer is not a JSON object")
    return told


def _reason(response: IResponse, body: bytes) -> str | None:
    """The words for the client in a refusal. None: there are none that can be shown."""
    try:
        reason = _object(response, body).get("reason")
    except _Odd:
        return None
    is_fit = isinstance(reason, str) and reason.isprintable() and len(reason) <= _MAX_REASON
    return reason if is_fit else None


def _name(key: str, value: object) -> str | None:
    if value is None or value == "":
        return None
    # A lone surrogate cannot be a part of a channel's name, and a control character should not.
    if not isinstance(value, str) or any(unicodedata.category(c) in ("Cc", "Cs") for c in value):
        raise _Odd(f"its {key!r} is not a text, or has a character that no name may have")
    return value


def _groups(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise _Odd("its 'groups' is not a list")
    names = [_name("groups", each) for each in value]
    if None in names:
        raise _Odd("its 'groups' has a group without a name")
    return tuple(name for name in names if name is not None)


def _expires(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _Odd("its 'expires' is not a number")
    if not 0 <= value < _END_OF_TIME:  # false for NaN as well
        raise _Odd("its 'expires' is not a Unix time in seconds")
    return float(value)


def _channels(value: object) -> Channels | None:
    try:
        return None if value is None else read_channels(value)
    except ValueError as error:
        raise _Odd(f"its 'channels': {error}") from None


# -- The cache


class _Pending:
    """One request, and the clients that wait for its answer. It ends with the last of them."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end
        self._waiting: list[Deferred[_Answer]] = []

    def join(self) -> Deferred[_Answer]:
        """Returns: Fires with the answer. Cancelling takes back the question of this one only."""
        waiter: Deferred[_Answer] = Deferred(self._leave)
        self._waiting.append(waiter)
        return waiter

    def settle(self, outcome: _Answer | Failure) -> None:
        """Tell everybody."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(outcome)

    def _leave(self, waiter: Deferred[_Answer]) -> None:
        self._waiting.remove(waiter)
        if not self._waiting:
            self._end()


class _Memory:
    """
    Answers for a time, and one request for all who ask the same meanwhile.

    Args:
        seconds: How long an answer is remembered, if it does not expire before.
        now: The Unix time.
    """

    def __init__(self, seconds: float, now: Callable[[], float]) -> None:
        self._seconds = seconds
        self._now = now
        self._answers: dict[bytes, tuple[float, _Answer]] = {}
        self._pending: dict[bytes, _Pending] = {}

    def recall(self, key: bytes, ask: Callable[[], Deferred[_Answer]]) -> Deferred[_Answer]:
        """The answer, remembered or new. Failures are not remembered."""
        until, answer = self._answers.get(key, (0.0, None))
        if answer is not None and self._now() < until:
            return succeed(answer)
        if key in self._pending:
            return self._pending[key].join()
        pending = self._pending[key] = _Pending(lambda: asked.cancel())
        waiter = pending.join()

        def settle(outcome: _Answer | Failure) -> None:
            # Else it was asked before something changed.
            if self._pending.get(key) is pending:
                del self._pending[key]
                if isinstance(outcome, _Answer):
                    self._remember(outcome, key)
            pending.settle(outcome)

        asked = ask()
        asked.addBoth(settle)
        return waiter

    def forget(self) -> None:
        """Remember nothing of what was asked so far, and let nobody else wait for it."""
        self._answers.clear()
        self._pending.clear()

    def _remember(self, answer: _Answer, key: bytes) -> None:
        # What was known before goes, so that the oldest are always the first.
        self._answers.pop(key, None)
        if len(self._answers) >= _MAX_REMEMBERED:
            del self._answers[next(iter(self._answers))]
        until = self._now() + self._seconds
        if answer.identity.expires is not None:
            until = min(until, answer.identity.expires)
        self._answers[key] = (until, answer)
