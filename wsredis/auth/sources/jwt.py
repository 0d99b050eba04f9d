"""Identities from JSON Web Tokens (RFC 7519, RFC 8725): the claims of a signed token."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from wsredis.auth.grants import check_access, read_channels
from wsredis.auth.sources.availability import Report, nobody
from wsredis.auth.sources.jwks import Fetch, FetchedKeys, FileKeys
from wsredis.auth.sources.keys import FileKey, Keys, require_library
from wsredis.channels import Access
from wsredis.config import JwtConfig
from wsredis.errors import ConfigError, HandshakeRejected
from wsredis.gateway.identity import Handshake, Identity

__all__ = ["JwtAuthenticator"]

#: Prefix of a token among the subprotocols, the only header that a web page can choose.
_SUBPROTOCOL = "bearer."

#: Verified tokens that are remembered, and characters of one. Of its claims, those that are
#: read are kept, as JSON in ASCII: at most 3 times as many characters.
_MAX_TOKENS = 4096
_MAX_TOKEN = 2048


class _Verified(NamedTuple):
    """
    The outcome of a verification.

    Attributes:
        kid: The key id that the token names. None if it names none.
        key: The key that verified it. The outcome holds as long as this is still the key for *kid*.
        claims: The claims of the token that are read, as JSON: as objects they could take many
            times the size of the token.
        since: Unix time of the verification. Before it, the token may not have been valid.
    """

    kid: str | None
    key: Any
    claims: str
    since: float


class _VerifiedTokens:
    """
    Remembers verified tokens until they expire, in bounds. Tokens stand in it as digests.

    Rejected tokens are not remembered: one that is made up costs a digest more than without this.
    """

    def __init__(self) -> None:
        #: The outcomes with the Unix time at which the token expires; the oldest comes first.
        self._known: dict[bytes, tuple[_Verified, float]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def get(self, token: str, now: float) -> _Verified | None:
        """Return the outcome for *token*. None if it is unknown, or not valid at this time."""
        if not self._known or len(token) > _MAX_TOKEN:
            return None
        name = _digest(token)
        verified, expires = self._known.get(name, (None, 0.0))
        if verified is not None and now >= expires:
            del self._known[name]
            return None
        return verified if verified is not None and verified.since <= now else None

    def add(self, token: str, verified: _Verified, expires: float) -> None:
        """Remember *token* until *expires*, a Unix time in seconds."""
        if len(token) > _MAX_TOKEN:
            return
        name = _digest(token)
        self._known.pop(name, None)
        self._known[name] = (verified, expires)
        # Remove two old ones for each new one, at constant cost.
        for oldest, (_, end) in list(islice(self._known.items(), 2)):
            if end <= verified.since or len(self._known) > _MAX_TOKENS:
                del self._known[oldest]


class JwtAuthenticator:
    """
    Knows clients by the token in their handshake. See `wsredis.gateway.identity.AuthBackend`.

    Args:
        config: The settings ``jwt-...``.
        reactor: Makes requests and keeps time.
        fetch: Gets the JWK Set from a URL. If None, over HTTP.
        report: Told whether keys at a URL can be fetched.
        now: Returns the Unix time in seconds.
    Raises:
        ConfigError: The settings contradict each other, a file cannot be used, or a library is
            not installed.
    """

    def __init__(
        self,
        config: JwtConfig,
        reactor: Any,
        fetch: Fetch | None = None,
        *,
        report: Report = nobody,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._jwt = require_library(_source(config))
        self._config = config
        self._now = now
        self._known = _VerifiedTokens()
        #: The claims that `_identity` reads.
        self._names = (
            "exp",
            config.user_claim,
            config.groups_claim,
            config.session_claim,
            config.channels_claim,
        )
        self._algorithm, self._keys = _keys(config, reactor, fetch, report)

    def start(self) -> None:
        """Begin to fetch the keys, if they come from a URL."""
        self._keys.start()

    def stop(self) -> None:
        """Cancel a fetch of the keys that is under way."""
        self._keys.stop()

    def reload(self) -> bool:
        """
        Read the file of ``jwt-key`` again.

        Returns:
            Whether the keys come from there. Those of a JWK Set are looked after anyway.

        Raises:
            ConfigError: The file cannot be used. The old key stays.
        """
        if isinstance(self._keys, FileKey):
            self._keys.reload()
            return True
        return False

    def forget(self) -> None:
        """Do nothing: a token says the same each time. A key that was changed is noticed."""

    async def identify(self, handshake: Handshake) -> Identity | None:
        """See `wsredis.gateway.identity.Authenticator.identify`."""
        token = next(filter(None, self._tokens(handshake)), None)
        if token is None:
            return None
        verified = self._known.get(token, self._now())
        # A key that was replaced or withdrawn takes all that it verified with it.
        if verified is not None and await self._keys.find(verified.kid) is verified.key:
            return self._identity(json.loads(verified.claims), handshake.requested)
        kid, key, claims = await self._verified(token)
        since = self._now()
        identity = self._identity(claims, handshake.requested)
        assert identity.expires is not None
        kept = json.dumps({name: claims[name] for name in self._names if name in claims})
        self._known.add(token, _Verified(kid, key, kept, since), identity.expires)
        return identity

    def missing(self, handshake: Handshake) -> str:
        """See `wsredis.gateway.identity.AuthBackend.missing`."""
        return "" if any(self._tokens(handshake)) else "token"

    def _tokens(self, handshake: Handshake) -> Iterator[str | None]:
        """Find the tokens in order of precedence. Those that are None or empty do not count."""
        config, headers = self._config, handshake.headers
        scheme, _, credentials = headers.get("authorization", "").strip().partition(" ")
        if scheme.lower() == "bearer":
            yield credentials.strip()
        for offer in headers.get("sec-websocket-protocol", "").split(","):
            if offer.strip().startswith(_SUBPROTOCOL):
                yield offer.strip().removeprefix(_SUBPROTOCOL)
        if config.cookie is not None:
            yield handshake.cookies().get(config.cookie)
        if config.query is not None:
            yield from (value for name, value in parse_qsl(handshake.query) if name == config.query)

    async def _verified(self, token: str) -> tuple[str | None, Any, dict[str, Any]]:
        """Verify a token; return its key id, the key and all claims."""
        jwt, config = self._jwt, self._config
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = await self._keys.find(kid)
            if key is None:
                raise _invalid("no key of the JWK Set has its kid")
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[self._algorithm],
                audience=config.audience,
                issuer=config.issuer,
                leeway=config.leeway,
                # The claim with the user, whatever its name is, is checked in `_identity`.
                options={"require": ["exp"], "verify_sub": False},
            )
        except jwt.ExpiredSignatureError:
            raise HandshakeRejected("the token expired", 401) from None
        except jwt.ImmatureSignatureError:
            raise HandshakeRejected("the token is not valid yet", 401) from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            # The text of the error may repeat parts of the token.
            raise _invalid(self._hint(error)) from None
        return kid, key, claims

    def _hint(self, error: Exception) -> str:
        """Say for the log why a token is invalid."""
        jwt = self._jwt
        if isinstance(error, jwt.MissingRequiredClaimError):
            return f"it has no {error.claim}"
        for kind, hint in (
            (jwt.InvalidSignatureError, "its signature does not fit the key"),
            (jwt.InvalidAlgorithmError, f"its alg is not {self._algorithm}"),
            (jwt.InvalidAudienceError, "its aud does not fit jwt-audience"),
            (jwt.InvalidIssuerError, "its iss does not fit jwt-issuer"),
        ):
            if isinstance(error, kind):
                return hint
        return "it is malformed"

    def _identity(self, claims: Mapping[str, Any], access: Access) -> Identity:
        config = self._config
        limit = config.channels_claim
        return Identity(
            user=_string(config.user_claim, claims.get(config.user_claim)),
            groups=_strings(config.groups_claim, claims.get(config.groups_claim)),
            session=_string(config.session_claim, claims.get(config.session_claim)),
            expires=_expiry(claims["exp"], config.leeway),
            granted=_limited(limit, claims[limit], access) if limit in claims else None,
        )


def _source(config: JwtConfig) -> str:
    """
    Find the one setting that says where the keys are.

    Returns:
        Its name.
    Raises:
        ConfigError: No such setting is given, or more than one.
    """
    sources = {
        "jwt-key": config.key,
        "jwt-jwks-url": config.jwks_url,
        "jwt-jwks-file": config.jwks_file,
    }
    given = [name for name, value in sources.items() if value is not None]
    if not given:
        raise ConfigError(f"{', '.join(sources)}: one of them is required")
    if len(given) > 1:
        raise ConfigError(f"{', '.join(given)}: only one of them can be given")
    return given[0]


def _keys(config: JwtConfig, reactor: Any, fetch: Fetch | None, report: Report) -> tuple[str, Keys]:
    """Make the algorithm, and the keys for it."""
    if config.key is not None:
        keys = FileKey(config.key, config.algorithm)
        return keys.algorithm, keys
    if config.algorithm is None:
        raise ConfigError(f"{_source(config)}: requires jwt-algorithm")
    if config.jwks_file is not None:
        return config.algorithm, FileKeys(config.jwks_file, config.algorithm)
    assert config.jwks_url is not None
    if config.algorithm == "HS256":
        raise ConfigError("jwt-algorithm: HS256 needs a secret, which a URL must not publish")
    return config.algorithm, FetchedKeys(
        config.jwks_url, config.algorithm, config.jwks_interval, reactor, fetch, report
    )


def _digest(token: str) -> bytes:
    return blake2b(token.encode("utf-8", "surrogatepass"), digest_size=32).digest()


def _invalid(hint: str) -> HandshakeRejected:
    return HandshakeRejected("the token is not valid", 401, hint)


def _string(name: str, value: Any) -> str | None:
    """Check a claim that may be missing."""
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise _invalid(f"its {name} is not a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        # JSON can contain half of a surrogate pair.
        raise _invalid(f"its {name} is not Unicode") from None
    return value


def _strings(name: str, value: Any) -> tuple[str, ...]:
    """Check a claim with a list of strings, or a single one."""
    values = value if isinstance(value, list) else [value]
    found = (_string(name, each) for each in values)
    return tuple(each for each in found if each is not None)


def _expiry(value: Any, leeway: float) -> float:
    """Return the Unix time at which the token expires; the library counts whole seconds."""
    # The library also accepts a number in a string, which RFC 7519 does not.
    if isinstance(value, (int, float)):
        try:
            return int(value) + leeway
        except OverflowError:
            pass
    raise _invalid("its exp is not a time")


def _limited(name: str, channels: Any, access: Access) -> Access:
    """Check the access against the claim that limits it."""
    try:
        return check_access(access, read_channels(channels))
    except ValueError:
        # The text of the error may repeat parts of the token.
        raise _invalid(f"its {name} does not map patterns to lists of flags") from None
