"""The ``hosts`` of the CONFIG of a channel layer, in all forms that channels_redis takes."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from wsredis.config.redis_url import RedisTarget, format_url, parse_url
from wsredis.errors import ConfigError

__all__ = ["Host", "read_hosts"]

#: Seconds for an attempt to connect, and for an answer.
_TIMEOUT = 5.0

#: Arguments of redis-py's connections that are followed.
_FOLLOWED = frozenset(
    [
        "address",
        "client_name",
        "credential_provider",
        "db",
        "host",
        "master_name",
        "password",
        "path",
        "port",
        "sentinel_kwargs",
        "sentinels",
        "socket_connect_timeout",
        "socket_timeout",
        "ssl",
        "ssl_ca_certs",
        "ssl_ca_data",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_keyfile",
        "ssl_password",
        "username",
    ]
)

#: Those that are allowed, and have no meaning here.
_ALLOWED = frozenset(
    [
        "decode_responses",
        "encoding",
        "encoding_errors",
        "health_check_interval",
        "lib_name",
        "lib_version",
        "max_connections",
        "protocol",
        "retry",
        "retry_on_error",
        "retry_on_timeout",
        "socket_keepalive",
        "socket_keepalive_options",
        "socket_read_size",
    ]
)

_REQUIREMENTS = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


@dataclass(frozen=True, slots=True)
class Host:
    """
    One Redis of the layer, or the Sentinels that know where it is.

    Attributes:
        target: Where it is. Its host does not count if there are Sentinels.
        connect_timeout: Seconds for an attempt to connect.
        timeout: Seconds for an answer.
        context: Makes the settings of TLS. If None, the connection has no TLS.
        credentials: Returns the password, or user and password. If None, the target has them.
        client_name: The name for CLIENT LIST. If empty, none is set.
        master_name: The name that Sentinels know.
        sentinels: The Sentinels to ask. If empty, the target is asked itself.
    """

    target: RedisTarget
    connect_timeout: float = _TIMEOUT
    timeout: float = _TIMEOUT
    context: Callable[[], ssl.SSLContext] | None = field(default=None, compare=False)
    credentials: Callable[[], tuple[str, ...]] | None = field(default=None, compare=False)
    client_name: str = ""
    master_name: str = ""
    sentinels: tuple[Host, ...] = ()


def read_hosts(hosts: object) -> list[Host]:
    """
    Read the setting.

    Args:
        hosts: A list of URLs, of pairs of a name and a port, or of dictionaries with arguments of
            redis-py. If empty or None, it is localhost.

    Raises:
        ConfigError: It cannot be used. The text names the argument, and shows no password.
    """
    if not hosts:
        return [_read({"address": "redis://localhost:6379"})]
    if isinstance(hosts, (str, bytes, Mapping)) or not isinstance(hosts, Iterable):
        raise ConfigError("hosts: a list is needed, even of one host")
    return [_read(_arguments(entry)) for entry in hosts]


def _arguments(entry: object) -> dict[str, Any]:
    if isinstance(entry, Mapping):
        return dict(entry)
    if isinstance(entry, (tuple, list)):
        if len(entry) != 2:
            raise ConfigError("hosts: a tuple has a host name and a port")
        return {"host": entry[0], "port": entry[1]}
    if isinstance(entry, str):
        return {"address": entry}
    raise ConfigError("hosts: each is a URL, a pair of host name and port, or a dictionary")


def _read(arguments: dict[str, Any]) -> Host:
    unknown = sorted(map(str, arguments.keys() - _FOLLOWED - _ALLOWED))
    if unknown:
        raise ConfigError(f"hosts: {', '.join(unknown)} is not known")
    address = arguments.pop("address", None)
    if address is not None:
        if not isinstance(address, str):
            raise ConfigError("hosts: an address is a URL")
        parts = urlsplit(address)
        options = dict(parse_qsl(parts.query))
        if unknown := sorted(options.keys() - _FOLLOWED - _ALLOWED):
            raise ConfigError(f"hosts: the URL has an option that is not known: {unknown[0]}")
        # As in redis-py, the options of a URL go before the arguments.
        arguments = {**arguments, **options}
        target = parse_url(address, with_options=True)
    else:
        target = parse_url(
            format_url(
                host=_text(arguments, "host", "localhost"),
                port=_number(arguments, "port", 6379),
                path=arguments.get("path"),
                tls=_flag(arguments, "ssl", False),
            )
        )
    target = replace(
        target,
        username=arguments.get("username") or target.username,
        password=arguments.get("password") or target.password,
        database=_number(arguments, "db", target.database),
    )
    provider = arguments.get("credential_provider")
    master = arguments.get("master_name")
    if master is not None:
        target = replace(target, name=f"the master {master}")
    return Host(
        target,
        connect_timeout=_seconds(arguments, "socket_connect_timeout"),
        timeout=_seconds(arguments, "socket_timeout"),
        context=_context(target, arguments),
        credentials=None if provider is None else provider.get_credentials,
        client_name=arguments.get("client_name") or "",
        master_name=master or "",
        sentinels=() if master is None else _sentinels(arguments),
    )


def _sentinels(arguments: dict[str, Any]) -> tuple[Host, ...]:
    sentinels = arguments.get("sentinels")
    if not sentinels or isinstance(sentinels, str):
        raise ConfigError("hosts: with a master_name, sentinels is a list of host names and ports")
    shared = arguments.get("sentinel_kwargs") or {}
    return tuple(_read({**_arguments(sentinel), **shared}) for sentinel in sentinels)


def _context(target: RedisTarget, arguments: dict[str, Any]) -> Callable[[], ssl.SSLContext] | None:
    if not (target.tls or _flag(arguments, "ssl", False)):
        return None
    required = arguments.get("ssl_cert_reqs", "required")
    if isinstance(required, str):
        required = _REQUIREMENTS.get(required.lower().removeprefix("cert_"), required)
    elif required is None:
        required = ssl.CERT_NONE
    if not isinstance(required, int) or required not in list(ssl.VerifyMode):
        raise ConfigError("hosts: ssl_cert_reqs is none, optional or required")
    hostname = _flag(arguments, "ssl_check_hostname", required == ssl.CERT_REQUIRED)
    chosen = {name: arguments.get(f"ssl_{name}") for name in ("ca_certs", "ca_path", "ca_data")}
    certificate = arguments.get("ssl_certfile")

    def make() -> ssl.SSLContext:
        context = ssl.create_default_context(
            cafile=chosen["ca_certs"], capath=chosen["ca_path"], cadata=chosen["ca_data"]
        )
        context.check_hostname = hostname and required != ssl.CERT_NONE
        context.verify_mode = ssl.VerifyMode(required)
        if certificate is not None:
            context.load_cert_chain(
                certificate, arguments.get("ssl_keyfile"), arguments.get("ssl_password")
            )
        return context

    return make


def _text(arguments: dict[str, Any], name: str, default: str) -> str:
    value = arguments.get(name, default)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"hosts: {name} is not a string")
    return value


def _number(arguments: dict[str, Any], name: str, default: int) -> int:
    value = arguments.get(name, default)
    # Settings are often taken from the environment as they are.
    if isinstance(value, bool) or not str(value).isascii() or not str(value).isdigit():
        raise ConfigError(f"hosts: {name} is not a number")
    return int(value)


def _seconds(arguments: dict[str, Any], name: str) -> float:
    value = arguments.get(name)
    if value is None:
        return _TIMEOUT
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"hosts: {name} is not a number of seconds above 0")
    return seconds


def _flag(arguments: dict[str, Any], name: str, default: bool) -> bool:
    value = arguments.get(name, default)
    if isinstance(value, str):
        return value.lower() not in ("", "0", "f", "false", "n", "no")
    return bool(value)
