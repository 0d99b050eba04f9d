"""
JWK Sets (RFC 7517), from a file or from a URL.

One algorithm is fixed by the settings (RFC 8725, 3.1). Only the keys of a set that suit it are ever
used, so a token cannot have a public key taken for a shared secret.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsredis.auth.sources.availability import Report, nobody
from wsredis.auth.sources.http_client import QuietPool, UnencodedAgent, read_body
from wsredis.auth.sources.keys import MAX_SIZE, read_file, require_library, weakness
from wsredis.config.files import file_stamp
from wsredis.errors import ConfigError, HandshakeRejected
from wsredis.gateway.signal import Signal

__all__ = ["Fetch", "FetchedKeys", "FileKeys"]

#: Time limit in seconds for fetching a JWK Set.
FETCH_TIMEOUT = 5.0

#: Seconds between two attempts while there are no keys at all.
RETRY = 2.0

#: Seconds after which a set is fetched again, so that a withdrawn key is not accepted for ever.
STALE = 300.0

#: The kty and crv of the keys for an algorithm (RFC 7518, 6.1; RFC 8037, 2).
_KINDS = {
    "HS256": ("oct", None),
    "RS256": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "EdDSA": ("OKP", "Ed25519"),
}

#: Other names that a JWK may have for an algorithm (RFC 9864, 2.2).
_SYNONYMS = {"Ed25519": "EdDSA"}

#: Returns the body of a successful answer from a URL, and raises if there is none.
Fetch = Callable[[str], Awaitable[bytes]]


class _KeySet:
    """The usable keys of a JWK Set. It is empty at first."""

    _log = Logger()

    def __init__(self, algorithm: str) -> None:
        self._jwt = require_library("jwt-algorithm")
        self._algorithm = algorithm
        self._keys: dict[str | None, Any] = {}
        #: The JWK of each key.
        self._entries: dict[str | None, Mapping[str, Any]] = {}

    def __bool__(self) -> bool:
        return bool(self._keys)

    def get(self, kid: str | None) -> Any:
        """
        Look up a key.

        Args:
            kid: The id of the key. If None, a set with a single key gives that one.
        Returns:
            The key, or None if there is no such key.
        """
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    def replace(self, content: bytes) -> None:
        """
        Use the JWK Set *content* from now on.

        Raises:
            ValueError: It is malformed, or has no usable key. The old keys stay.
        """
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            raise ValueError("it is not JSON") from None
        entries = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(entries, list):
            raise ValueError("it is not a JWK Set: it has no list of keys")
        found: dict[str | None, Any] = {}
        read: dict[str | None, Mapping[str, Any]] = {}
        for entry in entries:
            key = self._read(entry) if isinstance(entry, dict) else None
            if key is not None:
                found.setdefault(entry.get("kid"), key)
                read.setdefault(entry.get("kid"), entry)
        # A key that is unchanged stays the same object: what it has verified stays verified.
        found |= {kid: self._keys[kid] for kid in read if read[kid] == self._entries.get(kid)}
        if not found:
            raise ValueError(f"it has no key for {self._algorithm}")
        if found.keys() != self._keys.keys():
            self._log.info(
                "the JWK Set has {count} keys for {algorithm}",
                event="jwks-loaded",
                count=len(found),
                algorithm=self._algorithm,
            )
        self._keys, self._entries = found, read

    def _read(self, entry: Mapping[str, Any]) -> Any:
        """Read one JWK. None if it is not a key to verify with in this algorithm."""
        named = entry.get("alg", self._algorithm)
        if (
            (entry.get("kty"), entry.get("crv")) != _KINDS[self._algorithm]
            # A private key that is handed out proves nothing.
            or "d" in entry
            or entry.get("use", "sig") != "sig"
            or (isinstance(named, str) and _SYNONYMS.get(named, named)) != self._algorithm
            or not isinstance(entry.get("kid", ""), str)
        ):
            return None
        try:
            key = self._jwt.PyJWK(entry, self._algorithm).key
        except Exception:
            # One unreadable key must not cost the others.
            return None
        return None if weakness(key) else key


class FileKeys:
    """
    A JWK Set in a file. The file is read again when it has changed.

    Args:
        path: The file.
        algorithm: The algorithm of the keys.
    Raises:
        ConfigError: The file cannot be read, or has no usable key. After the start, that is logged
            instead, and the old keys stay.
    """

    _log = Logger()

    def __init__(self, path: str, algorithm: str) -> None:
        self._path = path
        self._set = _KeySet(algorithm)
        self._stamp = file_stamp(self._path)
        self._load()

    def start(self) -> None:
        """See `wsredis.auth.sources.keys.Keys.start`."""

    def stop(self) -> None:
        """See `wsredis.auth.sources.keys.Keys.stop`."""

    async def find(self, kid: str | None) -> Any:
        """See `wsredis.auth.sources.keys.Keys.find`."""
        stamp = file_stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._load()
            except ConfigError as error:
                self._log.error(
                    "{error}; keeping the old keys", event="jwt-key-unusable", error=error
                )
        return self._set.get(kid)

    def _load(self) -> None:
        content = read_file("jwt-jwks-file", self._path)
        try:
            self._set.replace(content)
        except ValueError as error:
            raise ConfigError(f"jwt-jwks-file: {self._path}: {error}") from None


class FetchedKeys:
    """
    A JWK Set at a URL.

    It is fetched at the start, when a token names an unknown key, and when it is older than
    `STALE`, but not more often than *interval* allows. If that fails, the old keys stay, and it is
    fetched again after *interval*.

    Args:
        url: The URL.
        algorithm: The algorithm of the keys.
        interval: Seconds between two fetches, at least. While there are no keys, at most `RETRY`.
        reactor: Makes requests and keeps time.
        fetch: Gets the body from the URL. If None, over HTTP.
        report: Told whether it could be fetched.
    Raises:
        ConfigError: A library is not installed.
    """

    _log = Logger()

    def __init__(
        self,
        url: str,
        algorithm: str,
        interval: float,
        reactor: Any,
        fetch: Fetch | None = None,
        report: Report = nobody,
    ) -> None:
        self._url = url
        self._set = _KeySet(algorithm)
        self._interval = interval
        self._reactor = reactor
        self._fetch = fetch or _http_fetch(reactor)
        self._fetching: Deferred[None] | None = None
        self._fetched: Signal[None] = Signal()
        #: Time of the last fetch, in seconds of the reactor.
        self._last_fetch: float | None = None
        self._failed = False
        #: The reason of the last failure in the log.
        self._logged = ""
        self._report = report
        self._retry: IDelayedCall | None = None
        self._stopped = False

    def start(self) -> None:
        """See `wsredis.auth.sources.keys.Keys.start`."""
        self._report("the keys for tokens were not fetched yet", is_blocking=True)
        self._refresh()

    def stop(self) -> None:
        """See `wsredis.auth.sources.keys.Keys.stop`."""
        self._stopped = True
        self._cancel_retry()
        if self._fetching is not None:
            self._fetching.cancel()

    async def find(self, kid: str | None) -> Any:
        """See `wsredis.auth.sources.keys.Keys.find`."""
        key = self._set.get(kid)
        if key is not None:
            if self._is_due(max(self._interval, STALE)):
                # The client need not wait for that.
                self._refresh()
            return key
        if self._is_due(self._pause()):
            self._refresh()
        if self._fetching is not None:
            await self._fetched.wait()
        key = self._set.get(kid)
        if key is None and self._failed:
            raise HandshakeRejected(
                "the token cannot be checked now",
                503,
                "the JWK Set could not be fetched",
                cause="identities-away",
            )
        return key

    def _pause(self) -> float:
        return self._interval if self._set else min(self._interval, RETRY)

    def _is_due(self, interval: float) -> bool:
        if self._fetching is not None:
            return False
        last = self._last_fetch
        return last is None or self._reactor.seconds() - last >= interval

    def _cancel_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _fetch_again(self) -> None:
        self._retry = None
        self._refresh()

    def _refresh(self) -> None:
        self._cancel_retry()
        self._last_fetch = self._reactor.seconds()
        fetching = Deferred.fromCoroutine(self._update())
        self._fetching = fetching
        fetching.addTimeout(FETCH_TIMEOUT, self._reactor)
        fetching.addErrback(self._fetch_failed).addBoth(self._fetch_done)

    async def _update(self) -> None:
        self._set.replace(await self._fetch(self._url))
        self._failed = False
        self._logged = ""
        self._report(None)

    def _fetch_failed(self, failure: Failure) -> None:
        self._failed = True
        if self._stopped:
            return
        # Not only when a token comes: a gateway that is not ready is sent nobody.
        self._retry = self._reactor.callLater(self._pause(), self._fetch_again)
        if self._set:
            self._report("the keys for tokens cannot be fetched: the old ones are used")
        else:
            self._report("the keys for tokens cannot be fetched", is_blocking=True)
        error = failure.value
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        if isinstance(error, TimeoutError):
            reason = f"no answer within {FETCH_TIMEOUT:g} seconds"
        if reason == self._logged:
            return
        self._logged = reason
        kept = "; keeping the old keys" if self._set else ""
        self._log.error(
            "jwt-jwks-url: cannot fetch the JWK Set: {reason}{_kept}",
            event="jwks-unavailable",
            reason=reason[:200],
            _kept=kept,
        )

    def _fetch_done(self, _: object) -> None:
        self._fetching = None
        self._fetched.fire(None)


def _http_fetch(reactor: Any) -> Fetch:
    try:
        import treq
    except ImportError:
        raise ConfigError("jwt-jwks-url: needs treq: pip install 'wsredis[jwt]'") from None

    agent = UnencodedAgent(reactor, QuietPool(reactor, persistent=False), FETCH_TIMEOUT)

    async def fetch(url: str) -> bytes:
        # A redirect could lead anywhere.
        response = await treq.get(url, allow_redirects=False, unbuffered=True, agent=agent)
        body = await read_body(response, MAX_SIZE)
        if response.code != 200:
            raise ValueError(f"the answer has the status {response.code}")
        return body

    return fetch
