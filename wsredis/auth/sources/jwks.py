"""
The keys that tokens are verified with: one from a file, or a JWK Set from a file or a URL.

One algorithm is pinned (RFC 8725, 3.1): of a set, only the keys that fit it are ever looked at, so
nothing that a token says can have a public key taken for a shared secret.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsredis.auth.sources.client import QuietPool, UnencodedAgent, read_body
from wsredis.config.files import file_stamp
from wsredis.errors import ConfigError, HandshakeRejected

__all__ = ["FetchedKeys", "FileKeys", "Keys", "OneKey", "library", "read_key"]

#: Seconds that the answer with a JWK Set may take.
FETCH_TIMEOUT = 5.0

#: Bytes; a larger file or answer is refused.
MAX_SIZE = 1048576

#: Seconds between two attempts while there are no keys at all.
RETRY = 2.0

#: Seconds after which a set is fetched again, so that a key that was withdrawn is not believed for
#: ever.
STALE = 300.0

#: RFC 7518, 3.2: as long as the output of the hash.
_MIN_SECRET = 32

#: RFC 7518, 3.3. In bits.
_MIN_RSA = 2048

#: RFC 7518, 6.1, and RFC 8037, 2: kty and crv of the keys for an algorithm.
_KINDS = {
    "HS256": ("oct", None),
    "RS256": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "EdDSA": ("OKP", "Ed25519"),
}

#: Names of an algorithm in a JWK that mean the same (RFC 9864, 2.2).
_SYNONYMS = {"Ed25519": "EdDSA"}

Fetch = Callable[[str], Awaitable[bytes]]


def library(option: str) -> Any:
    """
    PyJWT, which is wanted only where there are tokens.

    Raises:
        ConfigError: It is not installed; the text names *option*.
    """
    try:
        import jwt
        import jwt.exceptions  # not in just any folder of that name
    except ImportError:
        raise ConfigError(f"{option}: needs PyJWT: pip install 'wsredis[jwt]'") from None
    return jwt


def read_key(path: str, algorithm: str | None) -> tuple[str, Any]:
    """
    Read the file of ``jwt-key``.

    Args:
        algorithm: The one that is wanted. None: that which fits the key.
    Returns: The algorithm and the key.
    Raises:
        ConfigError: The file cannot be read, or used for the algorithm.
    """
    jwt = library("jwt-key")
    where = f"jwt-key: {path}"
    text = _read("jwt-key", path)
    if b"-----BEGIN" in text:
        fitting, key = _public_key(where, text)
    else:
        # Editors and shells put an end of line behind a secret.
        fitting, key = "HS256", text.removesuffix(b"\n").removesuffix(b"\r")
    if algorithm not in (None, fitting):
        raise ConfigError(f"jwt-algorithm: {algorithm} does not fit {path}, a key for {fitting}")
    if fitting == "HS256":
        try:
            # Refuses public keys in other forms than PEM.
            jwt.get_algorithm_by_name("HS256").prepare_key(key)
        except jwt.InvalidKeyError:
            raise ConfigError(
                f"{where}: this is no shared secret: write a public key as PEM"
            ) from None
    weakness = _weakness(key)
    if weakness:
        raise ConfigError(f"{where}: {weakness}")
    return fitting, key


def _read(option: str, path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            text = file.read(MAX_SIZE + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{option}: {path}: {reason}") from None
    if not text.strip():
        raise ConfigError(f"{option}: {path}: the file is empty")
    if len(text) > MAX_SIZE:
        raise ConfigError(f"{option}: {path}: the file is larger than {MAX_SIZE} bytes")
    return text


def _public_key(where: str, text: bytes) -> tuple[str, Any]:
    if b"PRIVATE KEY-----" in text:
        raise ConfigError(f"{where}: this is a private key: keep it where tokens are made")
    try:
        key = load_pem_public_key(text)
    except Exception:
        # Whatever is wrong with a file, it must not end in a traceback.
        raise ConfigError(f"{where}: there is no public key in it that can be read") from None
    if isinstance(key, RSAPublicKey):
        return "RS256", key
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return "ES256", key
    if isinstance(key, Ed25519PublicKey):
        return "EdDSA", key
    raise ConfigError(f"{where}: the key is neither RSA, nor EC on P-256, nor Ed25519")


def _weakness(key: Any) -> str:
    if isinstance(key, bytes) and len(key) < _MIN_SECRET:
        return f"the secret is shorter than {_MIN_SECRET} bytes (RFC 7518, 3.2)"
    if isinstance(key, RSAPublicKey) and key.key_size < _MIN_RSA:
        return f"the key is shorter than {_MIN_RSA} bits (RFC 7518, 3.3)"
    return ""


class Keys(Protocol):
    """Where a key is looked up."""

    def start(self) -> None:
        """Fetch what has to be fetched."""

    def stop(self) -> None:
        """Leave nothing under way."""

    async def find(self, kid: str | None) -> Any:
        """
        Look a key up by the id that a token names.

        Args:
            kid: None: the token names none.
        Returns: The key. None: there is no such key.
        Raises:
            HandshakeRejected: With 503: it cannot be told now.
        """


class OneKey:
    """One key for all tokens, whatever key they name."""

    def __init__(self, key: Any) -> None:
        self._key = key

    def start(self) -> None:
        """See `Keys.start`."""

    stop = start

    async def find(self, kid: str | None) -> Any:
        """See `Keys.find`."""
        return self._key


class _KeySet:
    """What can be used of a JWK Set (RFC 7517)."""

    _log = Logger()

    def __init__(self, algorithm: str) -> None:
        self._jwt = library("jwt-algorithm")
        self._algorithm = algorithm
        self._keys: dict[str | None, Any] = {}

    def __bool__(self) -> bool:
        return bool(self._keys)

    def get(self, kid: str | None) -> Any:
        """The key of this id, or the only one there is if *kid* is None. None: there is none."""
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    def replace(self, text: bytes) -> None:
        """
        Use another set from now on.

        Raises:
            ValueError: It cannot be used. The old one stays.
        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("it is not JSON") from None
        entries = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(entries, list):
            raise ValueError("it is no JWK Set: it has no list of keys")
        found: dict[str | None, Any] = {}
        for entry in entries:
            key = self._key(entry) if isinstance(entry, dict) else None
            if key is not None:
                found.setdefault(entry.get("kid"), key)
        if not found:
            raise ValueError(f"it has no key for {self._algorithm}")
        if found.keys() != self._keys.keys():
            self._log.info(
                "the JWK Set has {count} keys for {algorithm}",
                count=len(found),
                algorithm=self._algorithm,
            )
        self._keys = found

    def _key(self, entry: Mapping[str, Any]) -> Any:
        """The key of a JWK, if it is one to verify with, in our algorithm."""
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
            # One that cannot be read does no harm to the others.
            return None
        return None if _weakness(key) else key


class FileKeys:
    """
    A JWK Set in a file, which is read again when it has changed.

    Raises:
        ConfigError: It cannot be read or used. Later, that is logged and the old keys stay.
    """

    _log = Logger()

    def __init__(self, path: str, algorithm: str) -> None:
        self._path = path
        self._set = _KeySet(algorithm)
        self._stamp = file_stamp(self._path)
        self._load()

    def start(self) -> None:
        """See `Keys.start`."""

    stop = start

    async def find(self, kid: str | None) -> Any:
        """See `Keys.find`."""
        stamp = file_stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._load()
            except ConfigError as error:
                self._log.warn("{error}; the old keys stay", error=error)
        return self._set.get(kid)

    def _load(self) -> None:
        text = _read("jwt-jwks-file", self._path)
        try:
            self._set.replace(text)
        except ValueError as error:
            raise ConfigError(f"jwt-jwks-file: {self._path}: {error}") from None


class FetchedKeys:
    """
    A JWK Set at a URL.

    It is fetched at the start, when a token names a key that is not in it, and when it is old, but
    not more often than *interval* allows. When that fails the old keys stay.

    Args:
        interval: Seconds between two fetches, at least. While there are no keys, it is tried more
            often.
        fetch: Gets the body of an answer with status 200, and raises if there is none. None: by
            HTTP.
    """

    _log = Logger()

    def __init__(
        self,
        url: str,
        algorithm: str,
        interval: float,
        reactor: Any,
        fetch: Fetch | None = None,
    ) -> None:
        self._url = url
        self._set = _KeySet(algorithm)
        self._interval = interval
        self._reactor = reactor
        self._fetch = fetch or _http(reactor)
        self._fetching: Deferred[None] | None = None
        self._waiters: list[Deferred[None]] = []
        self._asked: float | None = None
        self._failed = False

    def start(self) -> None:
        """See `Keys.start`."""
        self._refresh()

    def stop(self) -> None:
        """See `Keys.stop`."""
        if self._fetching is not None:
            self._fetching.cancel()

    async def find(self, kid: str | None) -> Any:
        """See `Keys.find`."""
        key = self._set.get(kid)
        if key is not None:
            if self._is_due(max(self._interval, STALE)):
                # The client need not wait for that.
                self._refresh()
            return key
        if self._is_due(self._interval if self._set else min(self._interval, RETRY)):
            self._refresh()
        if self._fetching is not None:
            # Of many that wait, each may leave.
            waiter: Deferred[None] = Deferred()
            self._waiters.append(waiter)
            await waiter
        key = self._set.get(kid)
        if key is None and self._failed:
            raise HandshakeRejected(
                "the token cannot be checked now", 503, "the JWK Set could not be fetched"
            )
        return key

    def _is_due(self, interval: float) -> bool:
        if self._fetching is not None:
            return False
        return self._asked is None or self._reactor.seconds() - self._asked >= interval

    def _refresh(self) -> None:
        self._asked = self._reactor.seconds()
        fetched = Deferred.fromCoroutine(self._update())
        self._fetching = fetched
        fetched.addTimeout(FETCH_TIMEOUT, self._reactor)
        fetched.addErrback(self._complain).addBoth(self._wake)

    async def _update(self) -> None:
        self._set.replace(await self._fetch(self._url))
        self._failed = False

    def _complain(self, failure: Failure) -> None:
        self._failed = True
        error = failure.value
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        if isinstance(error, TimeoutError):
            reason = f"no answer within {FETCH_TIMEOUT:g} seconds"
        self._log.warn("jwt-jwks-url: the JWK Set cannot be had: {reason}", reason=reason[:200])

    def _wake(self, _: object) -> None:
        self._fetching = None
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(None)


def _http(reactor: Any) -> Fetch:
    try:
        import treq
    except ImportError:
        raise ConfigError("jwt-jwks-url: needs treq: pip install 'wsredis[jwt]'") from None

    agent = UnencodedAgent(reactor, QuietPool(reactor, persistent=False), FETCH_TIMEOUT)

    async def fetch(url: str) -> bytes:
        # A redirect could lead anywhere.
        response = await treq.get(url, allow_redirects=False, unbuffered=True, agent=agent)
        text = await read_body(response, MAX_SIZE)
        if response.code != 200:
            raise ValueError(f"the answer has the status {response.code}")
        return text

    return fetch
