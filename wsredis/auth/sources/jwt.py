"""Identities by JSON Web Tokens (RFC 7519, RFC 8725): what stands in a signed token is believed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

from wsredis.auth.grants import granted, read_channels
from wsredis.auth.sources.jwks import Fetch, FetchedKeys, FileKeys, Keys, OneKey, library, read_key
from wsredis.channels import Access
from wsredis.config import JwtConfig
from wsredis.errors import ConfigError, HandshakeRejected
from wsredis.gateway.identity import Handshake, Identity

__all__ = ["JwtAuthenticator"]

#: Stands before a token among the subprotocols, the only header that a page can choose.
_SUBPROTOCOL = "bearer."


class JwtAuthenticator:
    """
    Knows clients by the tokens that they bring.

    Args:
        fetch: Gets the JWK Set from a URL. None: by HTTP.
    Raises:
        ConfigError: The settings do not fit each other, a file cannot be used, or a library is
            not installed.
    """

    def __init__(self, config: JwtConfig, reactor: Any, fetch: Fetch | None = None) -> None:
        self._jwt = library(_source(config))
        self._config = config
        self._algorithm, self._keys = _keys(config, reactor, fetch)

    def start(self) -> None:
        """Begin to fetch the keys, if they come from a URL."""
        self._keys.start()

    def stop(self) -> None:
        """Leave nothing under way."""
        self._keys.stop()

    def forget(self) -> None:
        """See `wsredis.gateway.identity.AuthBackend.forget`. A token says the same each time."""

    async def identify(self, handshake: Handshake) -> Identity | None:
        """See `wsredis.gateway.identity.Authenticator.identify`."""
        token = next(filter(None, self._tokens(handshake)), None)
        if token is None:
            return None
        return self._identity(await self._verified(token), handshake.requested)

    def _tokens(self, handshake: Handshake) -> Iterator[str | None]:
        """All that might be tokens; only the first is looked at."""
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

    async def _verified(self, token: str) -> dict[str, Any]:
        """The claims of a token that is valid now."""
        jwt, config = self._jwt, self._config
        try:
            key = await self._keys.find(jwt.get_unverified_header(token).get("kid"))
            if key is None:
                raise _invalid("no key of the JWK Set has its kid")
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[self._algorithm],
                audience=config.audience,
                issuer=config.issuer,
                leeway=config.leeway,
                # The claims that stand for the user, whatever they are called, are checked below.
                options={"require": ["exp"], "verify_sub": False},
            )
        except jwt.ExpiredSignatureError:
            raise HandshakeRejected("the token expired", 401) from None
        except jwt.ImmatureSignatureError:
            raise HandshakeRejected("the token is not valid yet", 401) from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            # Its text may repeat parts of the token.
            raise _invalid(self._hint(error)) from None
        return claims

    def _hint(self, error: Exception) -> str:
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
            user=_text(config.user_claim, claims.get(config.user_claim)),
            groups=_texts(config.groups_claim, claims.get(config.groups_claim)),
            session=_text(config.session_claim, claims.get(config.session_claim)),
            expires=_expiry(claims["exp"], config.leeway),
            granted=_limited(limit, claims[limit], access) if limit in claims else None,
        )


def _source(config: JwtConfig) -> str:
    """
    The name of the one setting that says where the keys are.

    Raises:
        ConfigError: There is none, or more than one.
    """
    sources = {
        "jwt-key": config.key,
        "jwt-jwks-url": config.jwks_url,
        "jwt-jwks-file": config.jwks_file,
    }
    given = [name for name, value in sources.items() if value is not None]
    if not given:
        raise ConfigError(f"{', '.join(sources)}: one of them must say where the keys are")
    if len(given) > 1:
        raise ConfigError(f"{', '.join(given)}: only one of them can be given")
    return given[0]


def _keys(config: JwtConfig, reactor: Any, fetch: Fetch | None) -> tuple[str, Keys]:
    """The algorithm, and the keys for it."""
    if config.key is not None:
        algorithm, key = read_key(config.key, config.algorithm)
        return algorithm, OneKey(key)
    if config.algorithm is None:
        raise ConfigError(f"{_source(config)}: needs jwt-algorithm")
    if config.jwks_file is not None:
        return config.algorithm, FileKeys(config.jwks_file, config.algorithm)
    assert config.jwks_url is not None
    if config.algorithm == "HS256":
        raise ConfigError("jwt-algorithm: HS256 takes a secret, which no URL should give away")
    return config.algorithm, FetchedKeys(
        config.jwks_url, config.algorithm, config.jwks_interval, reactor, fetch
    )


def _invalid(hint: str) -> HandshakeRejected:
    return HandshakeRejected("the token is not valid", 401, hint)


def _text(name: str, value: Any) -> str | None:
    """A claim that may be missing."""
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise _invalid(f"its {name} is not a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        # JSON can have half of a surrogate pair.
        raise _invalid(f"its {name} is not Unicode") from None
    return value


def _texts(name: str, value: Any) -> tuple[str, ...]:
    """A claim with several texts, or one."""
    values = value if isinstance(value, list) else [value]
    return tuple(text for text in (_text(name, each) for each in values) if text is not None)


def _expiry(value: Any, leeway: float) -> float:
    """When the token is no longer valid; the library counts whole seconds."""
    # It also takes a text with a number, which RFC 7519 does not.
    if isinstance(value, (int, float)):
        try:
            return int(value) + leeway
        except OverflowError:
            pass
    raise _invalid("its exp is not a time")


def _limited(name: str, channels: Any, access: Access) -> Access:
    try:
        return granted(access, read_channels(channels))
    except ValueError:
        # Its text may repeat parts of the token.
        raise _invalid(f"its {name} does not map patterns to lists of flags") from None
