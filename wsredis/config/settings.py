"""
Every setting: its name, default, unit and check, in one place.

A setting is a field of `GatewayConfig` or of one of its parts. Its name, with dashes, is the option
of ``twistd wsredis`` and the key in the TOML file; in capitals behind ``WSREDIS_`` it is the
environment variable.

Only rules are no setting: they are tables of the file, and `GatewayConfig.rules`.
"""

from __future__ import annotations

import math
import os
import re
import sys
import tomllib
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from wsredis.config.origins import check_allowed_origin
from wsredis.config.redis_url import DEFAULT_URL
from wsredis.config.rules import Rule, read_rules
from wsredis.errors import ConfigError

__all__ = [
    "DEFAULT_URL",
    "AuthUrlConfig",
    "GatewayConfig",
    "JwtConfig",
    "Limits",
    "RedisConfig",
    "Setting",
    "all_settings",
    "load",
]

Check = Callable[[Any], Any]

#: The characters of a path as it stands in a request (RFC 3986, 3.3).
_PATH = re.compile(r"(?:[A-Za-z0-9/._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*")

#: What Kubernetes puts into the environment of every pod for a service that is called wsredis.
_KUBERNETES = re.compile(
    r"WSREDIS_(?:SERVICE_[A-Z0-9_]+=.*|PORT=[a-z]+://.*|PORT_[0-9]+_[A-Z_]+=.*)", re.DOTALL
)


def _integer(minimum: int) -> Check:
    def check(value: Any) -> int:
        try:
            number = value if type(value) is int else int(str(value))
        except ValueError:
            raise ValueError(f"{value!r} is not a whole number") from None
        if number < minimum:
            raise ValueError(f"{number} is less than {minimum}")
        return number

    return check


def _seconds(minimum: float) -> Check:
    def check(value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"{value!r} is not a number of seconds") from None
        if not math.isfinite(number) or number < minimum:
            raise ValueError(f"{value!r} is not a number of seconds of at least {minimum:g}")
        return number

    return check


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off", ""):
        return False
    raise ValueError(f"{value!r} is neither true nor false")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{value!r} is not UTF-8") from None
    return value


def _secret(value: Any) -> str | None:
    try:
        return _optional_text(value)
    except ValueError:
        raise ValueError("this is not a text") from None


def _origin(value: Any) -> str:
    return check_allowed_origin(_text(value))


def _optional_text(value: Any) -> str | None:
    return None if value is None or value == "" else _text(value)


def _many(check: Check) -> Check:
    def check_all(value: Any) -> tuple[Any, ...]:
        items = value if isinstance(value, (list, tuple)) else str(value).split()
        return tuple(check(item) for item in items)

    return check_all


def _port(value: Any) -> str:
    text = str(value).strip()
    is_number = text.isascii() and text.isdigit()
    if is_number and (len(text) > 5 or int(text) > 65535):
        raise ValueError(f"{text[:20]} is not a port number (0 to 65535)")
    if not is_number and ":" not in text:
        raise ValueError(f"{text!r} is neither a port number nor an endpoint description")
    return text


def _tls_port(value: Any) -> str:
    text = _port(value)
    if text.startswith(("ssl:", "tls:")):
        raise ValueError(f"{text!r} has certificates of its own: it belongs to port")
    return text


def _workers(value: Any) -> int:
    if value == "auto":
        return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        return int(_integer(1)(value))
    except ValueError as error:
        raise ValueError(f"{error}; 'auto' is one per core") from None


def _url(value: Any) -> str | None:
    text = _secret(value)
    if text is not None and not re.fullmatch(r"https?://[^\s/?#@]+(?:[/?][^\s#]*)?", text):
        raise ValueError(
            "this is not a URL that starts with http:// or https:// and has no user in it"
        )
    return text


def _choice(*words: str) -> Check:
    def check(value: Any) -> str | None:
        text = _optional_text(value)
        if text is not None and text not in words:
            raise ValueError(f"{text!r} is none of {', '.join(words)}")
        return text

    return check


def _python_name(pattern: str, example: str) -> Check:
    def check(value: Any) -> str | None:
        text = _optional_text(value)
        if text is not None and not re.fullmatch(pattern, text):
            raise ValueError(f"{text!r} is not written as {example}")
        return text

    return check


_module = _python_name(r"\w+(?:\.\w+)*", "package.module")
_callable = _python_name(r"\w+(?:\.\w+)*:\w+(?:\.\w+)*", "package.module:name")


def _url_prefix(value: Any) -> str:
    text = _text(value)
    if not (text.startswith("/") and text.endswith("/")):
        raise ValueError(f"{text!r} does not start and end with a slash")
    if not _PATH.fullmatch(text):
        raise ValueError(f"{text!r} has characters that clients percent-encode: write them so")
    return text


def _prefix(value: Any) -> str:
    text = _text(value or "")
    if any(each.isspace() or unicodedata.category(each) == "Cc" for each in text):
        raise ValueError(f"{text!r} has a blank or a control character")
    return text


def _setting(
    default: Any,
    check: Check,
    help: str,
    *,
    name: str = "",
    secret: bool = False,
    hidden: bool = False,
) -> Any:
    metadata = {"check": check, "help": help, "name": name, "secret": secret}
    return field(default=default, repr=not (secret or hidden), metadata=metadata)


def _name(each: Field[Any]) -> str:
    return each.metadata["name"] or each.name.replace("_", "-")


class _Checked:
    """Checks every field of a dataclass when it is made."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for each in fields(self):  # type: ignore[arg-type]
            if "check" not in each.metadata:
                continue
            try:
                value = each.metadata["check"](getattr(self, each.name))
            except ValueError as error:
                raise ConfigError(f"{_name(each)}: {error}") from None
            object.__setattr__(self, each.name, value)


@dataclass(frozen=True, slots=True)
class Limits(_Checked):
    """
    Every bound, with its unit. None can be switched off.

    The attributes are explained in the reference of options; ``twistd wsredis --help`` prints them.
    """

    max_message: int = _setting(
        1048576, _integer(1), "bytes of one message from a client; a larger one closes with 1009"
    )
    max_frame: int = _setting(
        1048576, _integer(1), "bytes of one frame from a client; a larger one closes with 1009"
    )
    max_publication: int = _setting(
        16777216,
        _integer(1),
        "bytes of one message from Redis; a larger one is left out and logged",
    )
    max_head: int = _setting(
        16384, _integer(256), "bytes of the head of a request; a larger one is answered with 431"
    )
    handshake_timeout: float = _setting(
        5.0, _seconds(0.1), "seconds from the connection to the end of the handshake"
    )
    close_timeout: float = _setting(
        3.0, _seconds(0.1), "seconds that a client has to answer a close frame"
    )
    max_handshakes: int = _setting(
        1000, _integer(1), "handshakes under way; more are answered with 503"
    )
    max_connections: int = _setting(
        16384, _integer(1), "open WebSockets; more are answered with 503"
    )
    max_channels: int = _setting(
        64, _integer(1), "channels of one WebSocket; more are answered with 403"
    )
    max_queue: int = _setting(
        1048576, _integer(1), "bytes waiting for one client; a slower one is closed with 1008"
    )
    send_buffer: int = _setting(
        131072, _integer(4096), "bytes that the kernel holds for one client (SO_SNDBUF)"
    )
    max_body: int = _setting(
        10485760, _integer(1), "bytes of the body of a request to wsgi; more are answered with 413"
    )
    wsgi_queue: int = _setting(
        100, _integer(1), "requests that wait for a thread of wsgi; more are answered with 503"
    )
    max_commands: int = _setting(
        10000, _integer(1), "commands under way to Redis; beyond it publishing clients get 1013"
    )
    max_command_bytes: int = _setting(
        67108864,
        _integer(1),
        "bytes of commands under way to Redis; beyond it publishing clients get 1013",
    )


@dataclass(frozen=True, slots=True)
class RedisConfig(_Checked):
    """Where Redis is. The attributes are explained in the reference of options."""

    url: str | None = _setting(
        None,
        _secret,
        "redis://, rediss:// or unix:// URL, or 'embedded' for a private server on a free port. "
        "Not given: the Redis at localhost:6379 if one answers, else a private one there",
        name="redis",
        hidden=True,  # it may contain a password
    )
    ca: str | None = _setting(
        None,
        _optional_text,
        "PEM file with the CA that signed the certificate of a rediss:// server",
        name="redis-ca",
    )
    password_file: str | None = _setting(
        None,
        _optional_text,
        "file whose first line is the password for Redis",
        name="redis-password-file",
    )
    password: str | None = _setting(
        None, _secret, "the password for Redis", name="redis-password", secret=True
    )

    def read_password(self) -> str | None:
        """
        The first line of the file, else the password of the variable; one in the URL goes before.

        Raises:
            ConfigError: The file cannot be read. No password shows.
        """
        if self.password_file is None:
            return self.password
        try:
            lines = Path(self.password_file).read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise ConfigError(f"redis-password-file: {self.password_file}: {reason}") from None
        if not lines or not lines[0]:
            raise ConfigError(f"redis-password-file: {self.password_file}: the first line is empty")
        return lines[0]


@dataclass(frozen=True, slots=True)
class JwtConfig(_Checked):
    """Identities by token. The attributes are explained in the reference of options."""

    key: str | None = _setting(
        None,
        _optional_text,
        "file with the key that tokens are verified with: a PEM public key, or a shared secret",
        name="jwt-key",
    )
    jwks_url: str | None = _setting(
        None, _url, "URL of a JWK Set (RFC 7517) with the keys", name="jwt-jwks-url", hidden=True
    )
    jwks_file: str | None = _setting(
        None, _optional_text, "file with a JWK Set, instead of the URL", name="jwt-jwks-file"
    )
    jwks_interval: float = _setting(
        60.0,
        _seconds(1),
        "seconds between two fetches of the JWK Set, at least",
        name="jwt-jwks-interval",
    )
    algorithm: str | None = _setting(
        None,
        _choice("HS256", "RS256", "ES256", "EdDSA"),
        "the only algorithm that is accepted: HS256, RS256, ES256 or EdDSA. Not given: the one "
        "that fits the key of jwt-key; a JWK Set needs it",
        name="jwt-algorithm",
    )
    audience: str | None = _setting(
        None, _optional_text, "what a token must have as its aud", name="jwt-audience"
    )
    issuer: str | None = _setting(
        None, _optional_text, "what a token must have as its iss", name="jwt-issuer"
    )
    leeway: float = _setting(
        2.0, _seconds(0), "seconds by which clocks may differ", name="jwt-leeway"
    )
    user_claim: str = _setting(
        "sub", _text, "claim with the name of the user", name="jwt-user-claim"
    )
    groups_claim: str = _setting(
        "groups", _text, "claim with the list of groups", name="jwt-groups-claim"
    )
    session_claim: str = _setting(
        "sid", _text, "claim with the key of the session", name="jwt-session-claim"
    )
    channels_claim: str = _setting(
        "channels",
        _text,
        "claim that limits channels: flags by patterns of facilities",
        name="jwt-channels-claim",
    )
    cookie: str | None = _setting(
        None, _optional_text, "cookie that may hold the token", name="jwt-cookie"
    )
    query: str | None = _setting(
        None,
        _optional_text,
        "parameter of the URL that may hold the token; it lands in the logs of every proxy",
        name="jwt-query",
    )


@dataclass(frozen=True, slots=True)
class AuthUrlConfig(_Checked):
    """Identities by asking the application. Explained in the reference of options."""

    url: str | None = _setting(
        None,
        _url,
        "URL that is asked who a client is, once for each handshake",
        name="auth-url",
        hidden=True,  # its query may be a key
    )
    cache: float = _setting(
        0.0,
        _seconds(0),
        "seconds that an answer of auth-url holds for the same credentials and access. 0 asks "
        "each time",
        name="auth-cache",
    )


@dataclass(frozen=True, slots=True)
class GatewayConfig(_Checked):
    """
    All that a gateway is told. The attributes are explained in the reference of options.

    Raises:
        ConfigError: A value is not allowed; the text names the setting.
    """

    port: tuple[str, ...] = _setting(
        ("8080",),
        _many(_port),
        "TCP port, or endpoint description (tcp:, unix:, ssl:, systemd:, haproxy:). "
        "May be repeated",
    )
    tls_port: tuple[str, ...] = _setting(
        (),
        _many(_tls_port),
        "as port, but TLS is spoken there; without a port, none is opened besides. May be repeated",
    )
    tls_cert: str | None = _setting(
        None, _optional_text, "PEM file with the certificate for tls-port, and its chain"
    )
    tls_key: str | None = _setting(
        None, _optional_text, "PEM file with the key of tls-cert. Not given: it is in the same file"
    )
    tls_folder: str | None = _setting(
        None,
        _optional_text,
        "folder of PEM files, each with certificate, chain and key: they are chosen by the name "
        "that a client asks for",
    )
    url_prefix: str = _setting(
        "/ws/", _url_prefix, "what the path of every WebSocket URL starts with"
    )
    prefix: str = _setting("", _prefix, "put before every channel, with a colon")
    expire: int = _setting(
        3600, _integer(0), "seconds that the last message of a channel is kept. 0 keeps none"
    )
    heartbeat: str | None = _setting(
        None, _optional_text, "text that both sides send as a sign of life"
    )
    allow_origin: tuple[str, ...] = _setting(
        (),
        _many(_origin),
        "origin whose pages may publish, and use user, group and session channels: "
        "https://example.com, https://*.example.com, *.example.com or *. May be repeated",
    )
    compress: bool = _setting(
        False, _flag, "compress messages for clients that can inflate them (permessage-deflate)"
    )
    compress_threshold: int = _setting(
        256, _integer(0), "bytes of a message to a client; a smaller one is not compressed"
    )
    demo: bool = _setting(False, _flag, "serve a demo page at /")
    wsgi: str | None = _setting(
        None,
        _callable,
        "package.module:name of a WSGI application whose pages are served beside the sockets",
    )
    wsgi_threads: int = _setting(
        4, _integer(1), "threads for wsgi: so many requests are worked on at a time"
    )
    workers: int = _setting(
        1, _workers, "processes that share the ports, or 'auto' for one per core"
    )
    ping_interval: float = _setting(
        25.0,
        _seconds(1),
        "seconds between two pings; a client that answered none by then is dropped",
    )
    drain: float = _setting(
        5.0, _seconds(0), "seconds that clients have to say goodbye when the gateway stops"
    )
    django: str | None = _setting(
        None,
        _module,
        "settings module of a Django project: its sessions say who a client is, and its settings "
        "for WebSockets hold here too",
    )
    auth_timeout: float = _setting(
        3.0,
        _seconds(0.1),
        "seconds to find out who a client is and what it may do; later it is answered with 503",
    )
    auth_concurrency: int = _setting(
        16,
        _integer(1),
        "clients that are identified at a time: threads with django, requests with auth-url",
    )
    recheck: float = _setting(
        120.0,
        _seconds(0),
        "seconds between two checks whether the identity of a connection still holds. 0: only "
        "when the application says so",
    )
    policy: str | None = _setting(
        None, _callable, "package.module:name of a function that decides what an identity may do"
    )
    verbose: bool = _setting(False, _flag, "log every connection that opens and closes")
    redis: RedisConfig = field(default_factory=RedisConfig)
    jwt: JwtConfig = field(default_factory=JwtConfig)
    auth_url: AuthUrlConfig = field(default_factory=AuthUrlConfig)
    limits: Limits = field(default_factory=Limits)
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """
    One setting as the outside sees it.

    Attributes:
        name: With dashes.
        part: The field of `GatewayConfig` that it belongs to. None: to itself.
        default: What it is when nobody says otherwise.
        check: Turns what was given into the value; raises ValueError.
        help: Says what it is, with its unit.
        secret: Not an option and not in a file, for everybody may read those.
    """

    name: str
    attribute: str
    part: str | None
    default: Any
    check: Check
    help: str
    secret: bool


def _own(cls: Any, part: str | None) -> Iterator[Setting]:
    each: Field[Any]
    for each in fields(cls):
        if "check" in each.metadata:
            yield Setting(
                _name(each),
                each.name,
                part,
                each.default,
                each.metadata["check"],
                each.metadata["help"],
                each.metadata["secret"],
            )


def all_settings() -> list[Setting]:
    """All settings, in the order in which help shows them."""
    own = list(_own(GatewayConfig, None))
    return [
        *own[:1],
        *_own(RedisConfig, "redis"),
        *own[1:],
        *_own(JwtConfig, "jwt"),
        *_own(AuthUrlConfig, "auth_url"),
        *_own(Limits, "limits"),
    ]


def load(
    options: Mapping[str, Any],
    environ: Mapping[str, str] = os.environ,
    path: str | None = None,
    project: Callable[[str], Mapping[str, Any]] | None = None,
) -> GatewayConfig:
    """
    Make a configuration: option over environment over file over project over default.

    Args:
        options: Values by the name of their setting; None stands for "not given".
        environ: Read for names that start with ``WSREDIS_``.
        path: The TOML file. None: that of ``WSREDIS_CONFIG``, else none.
        project: Gives the values that a Django project has for settings, by their names. None:
            the project is not asked.
    Raises:
        ConfigError: The text names the option, variable or key, and what is wrong.
    """
    known = {setting.name: setting for setting in all_settings()}
    values: dict[str, Any] = {}
    path = path or environ.get("WSREDIS_CONFIG")
    rules: tuple[Rule, ...] = ()
    if path:
        found, rules = _from_file(path, known)
        values.update(found)
    values.update(_from_environment(environ, known))
    for name, value in options.items():
        if value is not None and value != []:
            values[name] = _checked(known[name], value, f"--{name}")
    if project is not None and values.get("django"):
        own_redis = "redis" in values
        for name, value in project(values["django"]).items():
            # A password or a certificate of the project's Redis is not for another one.
            if own_redis and known[name].part == "redis":
                continue
            values.setdefault(name, _checked(known[name], value, f"--django: {name}"))
    if values.get("tls-port"):
        # Who wants TLS does not want a plain port that nobody asked for.
        values.setdefault("port", ())
    config = GatewayConfig()
    own: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        part = known[name].part
        changed = own if part is None else parts.setdefault(part, {})
        changed[known[name].attribute] = value
    for part, changed in parts.items():
        own[part] = replace(getattr(config, part), **changed)
    return replace(config, rules=rules, **own)


def _checked(setting: Setting, value: Any, label: str) -> Any:
    try:
        return setting.check(value)
    except ValueError as error:
        raise ConfigError(f"{label}: {error}") from None


def _from_file(path: str, known: Mapping[str, Setting]) -> tuple[dict[str, Any], tuple[Rule, ...]]:
    """The settings of a file, and its rules."""
    try:
        table = tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"--config: {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config: {path}: {error}") from None
    try:
        rules = read_rules(table.pop("rule", []))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    values = {}
    for key, value in table.items():
        setting = known.get(key)
        if setting is None or setting.secret:
            shown = key if key.isprintable() else repr(key)
            raise ConfigError(f"{path}: {shown}: there is no such setting")
        values[key] = _checked(setting, value, f"{path}: {key}")
    return values, rules


def _from_environment(environ: Mapping[str, str], known: Mapping[str, Setting]) -> dict[str, Any]:
    # WSREDIS_REQUIRE belongs to the tests.
    ignored = {"WSREDIS_CONFIG", "WSREDIS_REQUIRE"}
    values = {}
    for variable, value in environ.items():
        if not variable.startswith("WSREDIS_") or variable in ignored:
            continue
        # An empty one is as good as none, as in Compose files.
        if not value or _KUBERNETES.fullmatch(f"{variable}={value}"):
            continue
        name = variable.removeprefix("WSREDIS_").replace("_", "-").lower()
        if name not in known:
            raise ConfigError(f"{variable}: there is no such setting")
        values[name] = _checked(known[name], value, variable)
    return values
