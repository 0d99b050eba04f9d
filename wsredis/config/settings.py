"""
Every setting: its name, default, unit and check.

A setting is a field of `GatewayConfig` or of one of its parts. Its name, with dashes, is the option
of ``twistd wsredis`` and the key in the TOML file. In capitals, after ``WSREDIS_``, it is the
environment variable. All of them are one module because they are one list to the reader.

Rules are the exception: they are tables of the file, and `GatewayConfig.rules`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from wsredis.config.declare import GROUPS, Checked, Setting, setting, settings_of
from wsredis.config.forward import forward, layer_prefix
from wsredis.config.networks import network
from wsredis.config.redis_url import DEFAULT_URL
from wsredis.config.rules import Rule
from wsredis.config.slow_policy import slow_policy
from wsredis.config.values import (
    callable_name,
    channel_prefix,
    choice,
    clean_secret,
    flag,
    header_value,
    host,
    integer,
    module_name,
    optional,
    optional_port,
    optional_string,
    origin,
    port,
    script_name,
    seconds,
    secret,
    string,
    tls_port,
    url,
    url_prefix,
    workers,
)
from wsredis.errors import ConfigError

__all__ = [
    "DEFAULT_URL",
    "AsgiConfig",
    "AuthUrlConfig",
    "ForwardConfig",
    "GatewayConfig",
    "JwtConfig",
    "Limits",
    "RedisConfig",
    "all_settings",
]


@dataclass(frozen=True, slots=True)
class Limits(Checked):
    """
    Every bound, with its unit. None of them can be switched off.

    The attributes are explained in the reference of options; ``twistd wsredis --help`` prints them.

    Raises:
        ConfigError: A value is not allowed; the message names the setting.
    """

    group = "limits"

    max_message: int = setting(
        1048576,
        integer(1),
        "Largest message from a client, in bytes. A larger one closes the connection with 1009.",
    )
    max_frame: int = setting(
        1048576,
        integer(1),
        "Largest frame from a client, in bytes. A larger one closes the connection with 1009.",
    )
    max_input: int = setting(
        67108864,
        integer(1),
        "Bytes that are kept of unfinished messages of all clients, and of input that waits for "
        "its turn. If there are more, the address with most of them loses connections.",
    )
    max_rate: int = setting(
        20000,
        integer(1),
        "Deliveries a second that one WebSocket may cause. A frame of a client counts as one, and "
        "each KiB of it, and each client here that hears its message. A faster client is delayed, "
        "and closed with 1008 when that has lasted for a minute.",
    )
    max_rate_per_address: int = setting(
        50000,
        integer(1),
        "Deliveries a second that all WebSockets of one IP address may cause (IPv6: of one /64).",
    )
    max_publication: int = setting(
        16777216,
        integer(1),
        "Largest message from Redis, in bytes. A larger one is left out, counted and logged.",
    )
    max_head: int = setting(
        16384,
        integer(256),
        "Largest head of a request, in bytes. A larger one is answered with 431.",
    )
    handshake_timeout: float = setting(
        5.0, seconds(0.1), "Seconds from the TCP connection to the end of the handshake."
    )
    close_timeout: float = setting(
        3.0,
        seconds(0.1),
        "Seconds that a client has to answer a close frame. Then the connection is cut.",
    )
    max_handshakes: int = setting(
        1000,
        integer(1),
        "Number of handshakes under way at a time. Further ones are answered with 503. With wsgi "
        "or asgi, as many connections again are for pages.",
    )
    max_connections: int = setting(
        16384, integer(1), "Number of open WebSockets. Further ones are answered with 503."
    )
    max_connections_per_address: int | None = setting(
        None,
        optional(integer(1)),
        "Number of open WebSockets of one address. Further ones are answered with 429. If not "
        "given, an address may have twice as many as are free: two thirds of max-connections "
        "while it is alone, and eight in any case if they are free.",
    )
    max_connections_per_user: int = setting(
        256,
        integer(1),
        "Number of open WebSockets of one user. Further ones are answered with 429.",
    )
    handshake_rate: int = setting(
        200,
        integer(1),
        "Handshakes a second of one address, after ten times as many at once. Further ones wait "
        "for their turn, and are answered with 429 if it does not come within handshake-timeout.",
    )
    max_channels: int = setting(
        64,
        integer(1),
        "Number of channels that one WebSocket subscribes to, and as many that it publishes to. "
        "A request for more is answered with 403. An open WebSocket whose groups give it more is "
        "closed with 1008.",
    )
    max_queue: int = setting(
        1048576,
        integer(1),
        "Bytes that may wait for one client for longer than queue-grace, after the message that is "
        "being sent. A slower client is closed with 1008, or served as slow-policy says.",
    )
    max_queue_hard: int = setting(
        16777216,
        integer(1),
        "Bytes that may wait for one client at once, in a burst. A client for which more wait is "
        "slow at once. If it is less than max-queue, max-queue counts.",
    )
    queue_grace: float = setting(
        2.0,
        seconds(0.1),
        "Seconds for which more than max-queue may wait for a client before it is slow.",
    )
    max_queues: int = setting(
        67108864,
        integer(1),
        "Bytes of memory that may wait for all clients together; a message that waits for several "
        "clients counts once. If there are more, the slowest clients count as slow, "
        "and are closed with 1008 unless slow-policy frees enough.",
    )
    stream_buffer: int = setting(
        16777216,
        integer(1),
        "Bytes of memory for the publications of the last minute, for clients of Server-Sent "
        "Events and of long polling that come back. One that has missed more is told of a gap.",
    )
    send_buffer: int = setting(
        131072, integer(4096), "Bytes that the kernel buffers for one client (SO_SNDBUF)."
    )
    max_body: int = setting(
        10485760,
        integer(1),
        "Largest body of a request to wsgi or asgi, in bytes. A larger one is answered with 413.",
    )
    max_spool: int = setting(
        134217728,
        integer(65536),
        "Bytes of request bodies and of answers of wsgi that wait for slow clients, in temporary "
        "files and in memory; at least one and a half times max-body. A body for which none are "
        "left is answered with 503; an answer keeps its thread.",
    )
    wsgi_queue: int = setting(
        100,
        integer(1),
        "Number of requests that wait for a thread of wsgi. Further ones are answered with 503.",
    )
    max_commands: int = setting(
        10000,
        integer(1),
        "Number of publish commands that wait for a reply of Redis. If there are more, clients "
        "that publish are closed with 1013.",
    )
    max_stored: int = setting(
        1048576,
        integer(1),
        "Largest message of a client that is stored, in bytes. A larger one is published, not "
        "stored, and counted.",
    )
    max_stored_rate: int = setting(
        65536,
        integer(1),
        "Bytes a second that the clients of one user, or the anonymous ones of one IP address, may "
        "store on channels without a recent message, after 64 times as many at once. Further "
        "messages are published, not stored, and counted.",
    )
    max_command_bytes: int = setting(
        67108864,
        integer(1),
        "Bytes of the publish commands that wait for a reply of Redis. If there are more, clients "
        "that publish are closed with 1013.",
    )

    @property
    def most_queued(self) -> int:
        """The bytes that may wait for one client at once, however shortly."""
        return max(self.max_queue, self.max_queue_hard)


@dataclass(frozen=True, slots=True)
class RedisConfig(Checked):
    """
    Where Redis is. The attributes are explained in the reference of options.

    Raises:
        ConfigError: A value is not allowed; the message names the setting.
    """

    group = "redis"

    url: str | None = setting(
        None,
        secret,
        "URL of Redis (redis://, rediss:// or unix://), or 'embedded' for a private server. If not "
        "given, the gateway uses the Redis at localhost:6379, or starts a private one if none "
        "answers.",
        name="redis",
        hidden=True,  # it may contain a password
    )
    ca: str | None = setting(
        None,
        optional_string,
        "PEM file with the CA that signed the certificate of a rediss:// server. If not given, "
        "the CAs of the system are used.",
        name="redis-ca",
    )
    password_file: str | None = setting(
        None,
        optional_string,
        "File whose first line is the password for Redis.",
        name="redis-password-file",
    )
    password: str | None = setting(
        None, secret, "The password for Redis.", name="redis-password", secret=True
    )
    role: str = setting(
        "master",
        choice("master", "any"),
        "Role that Redis must have: master or any. What is published on a replica reaches only "
        "its own subscribers.",
        name="redis-role",
    )
    #: The password that a parent has read from the file, for a worker that may not read it.
    inherited_password: str | None = field(default=None, repr=False)

    def read_password(self) -> str | None:
        """
        Read the password from the file, or else from the variable. One in the URL goes first.

        Returns:
            The first line of the file, or the value of the variable. None if neither is given.

        Raises:
            ConfigError: The file cannot be read. The message contains no password.
        """
        if self.password_file is None:
            return self.password
        try:
            text = Path(self.password_file).read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            if self.inherited_password is not None:
                return self.inherited_password
            raise ConfigError(f"redis-password-file: {self.password_file}: {reason}") from None
        # Only a line feed ends a line: other characters may be part of the password.
        password = clean_secret(text.partition("\n")[0] + "\n")
        if not password:
            raise ConfigError(f"redis-password-file: {self.password_file}: the first line is empty")
        return password


@dataclass(frozen=True, slots=True)
class ForwardConfig(Checked):
    """
    What clients say, for workers of Django Channels. The reference of options explains the rest.

    Raises:
        ConfigError: A value is not allowed; the message names the setting.
    """

    group = "applications"

    channels: tuple[str, ...] = setting(
        (),
        forward,
        "Worker channel of Django Channels that gets what clients say on some facilities, as "
        "PATTERN=CHANNEL; * in the pattern is any run of characters. The first pattern that fits "
        "decides.",
        name="forward",
        repeatable=True,
    )
    capacity: int = setting(
        1000,
        integer(1),
        "Number of messages that wait for a worker on one of these channels. A client whose "
        "message is one more is closed with 1013.",
        name="forward-capacity",
    )
    expiry: float = setting(
        60.0,
        seconds(1),
        "Seconds that such a message waits for a worker. Then it is dropped.",
        name="forward-expiry",
    )
    prefix: str = setting(
        "asgi",
        layer_prefix,
        "Prefix of the channel layer of the workers: 'prefix' in its CONFIG.",
        name="forward-prefix",
    )
    key: str | None = setting(
        None,
        secret,
        "The first of the symmetric_encryption_keys of that channel layer, if it has some.",
        name="forward-key",
        secret=True,
    )


@dataclass(frozen=True, slots=True)
class JwtConfig(Checked):
    """
    Identities by token. The attributes are explained in the reference of options.

    Raises:
        ConfigError: A value is not allowed; the message names the setting.
    """

    group = "identity"

    key: str | None = setting(
        None,
        optional_string,
        "File with the key that verifies tokens: a PEM public key, or a shared secret of at least "
        "32 bytes.",
        name="jwt-key",
    )
    jwks_url: str | None = setting(
        None, url, "URL of a JWK Set (RFC 7517) with the keys.", name="jwt-jwks-url", hidden=True
    )
    jwks_file: str | None = setting(
        None,
        optional_string,
        "File with a JWK Set, instead of the URL. It is read again when it changes.",
        name="jwt-jwks-file",
    )
    jwks_interval: float = setting(
        60.0,
        seconds(1),
        "Shortest time between two fetches of the JWK Set, in seconds.",
        name="jwt-jwks-interval",
    )
    algorithm: str | None = setting(
        None,
        choice("HS256", "RS256", "ES256", "EdDSA"),
        "The only algorithm that is accepted: HS256, RS256, ES256 or EdDSA. If not given, it is "
        "the one that fits the key of jwt-key. It must be given with a JWK Set.",
        name="jwt-algorithm",
    )
    audience: str | None = setting(
        None,
        optional_string,
        "Value that the aud claim of a token must have. If not given, a token with an aud claim "
        "is refused.",
        name="jwt-audience",
    )
    issuer: str | None = setting(
        None,
        optional_string,
        "Value that the iss claim of a token must have. If not given, it may have any.",
        name="jwt-issuer",
    )
    leeway: float = setting(
        2.0, seconds(0), "Seconds by which two clocks may differ.", name="jwt-leeway"
    )
    user_claim: str = setting(
        "sub", string, "Claim with the name of the user.", name="jwt-user-claim"
    )
    groups_claim: str = setting(
        "groups", string, "Claim with the list of groups.", name="jwt-groups-claim"
    )
    session_claim: str = setting(
        "sid", string, "Claim with the key of the session.", name="jwt-session-claim"
    )
    channels_claim: str = setting(
        "channels",
        string,
        "Claim that limits the channels: flags with patterns of facilities.",
        name="jwt-channels-claim",
    )
    cookie: str | None = setting(
        None, optional_string, "Name of a cookie that may hold the token.", name="jwt-cookie"
    )
    query: str | None = setting(
        None,
        optional_string,
        "Name of a URL parameter that may hold the token. Proxies write it to their logs.",
        name="jwt-query",
    )


@dataclass(frozen=True, slots=True)
class AuthUrlConfig(Checked):
    """
    Identities by asking the application. The attributes are explained in the reference of options.

    Raises:
        ConfigError: A value is not allowed; the message names the setting.
    """

    group = "identity"

    url: str | None = setting(
        None,
        url,
        "URL of the application. For each handshake it is asked who the client is.",
        name="auth-url",
        hidden=True,  # its query may be a key
    )
    cache: float = setting(
        0.0,
        seconds(0),
        "Seconds that an answer of auth-url is remembered for the same credentials and the same "
        "request. 0 remembers none; equal questions at the same time are asked once.",
        name="auth-cache",
    )


@dataclass(frozen=True, slots=True)
class AsgiConfig(Checked):
    """
    An ASGI application on the ports. The attributes are explained in the reference of options.

    Raises:
        ConfigError: A value is not allowed; the message names the setting.
    """

    group = "applications"

    application: str | None = setting(
        None,
        callable_name,
        "package.module:name of an ASGI application; its pages and WebSockets are served on the "
        "same ports.",
        name="asgi",
    )
    loop: str = setting(
        "reactor",
        choice("reactor", "thread"),
        "Where asgi runs: in the thread of the gateway in turns (reactor), or in a thread of its "
        "own, which an application that blocks needs (thread).",
        name="asgi-loop",
    )
    lifespan: str = setting(
        "auto",
        choice("auto", "on", "off"),
        "Tell asgi of start and stop: auto (and go on if it does not know of them), on (and end if "
        "it does not), or off.",
        name="asgi-lifespan",
    )
    root_path: str | None = setting(
        None,
        optional(script_name),
        "Path below which asgi believes to be, such as /app. If not given, it is script-name.",
        name="asgi-root-path",
    )
    concurrency: int = setting(
        1000,
        integer(1),
        "Number of requests and handshakes that asgi works on at a time. Further ones are answered "
        "with 503. Open WebSockets do not count; they have max-connections.",
        name="asgi-concurrency",
    )
    budget: float = setting(
        0.002,
        seconds(0.0001),
        "Seconds for which asgi may run before the gateway looks after its sockets again.",
        name="asgi-budget",
    )
    shutdown: float = setting(
        10.0,
        seconds(0),
        "Seconds that a call of asgi has to end after its client has left, or when the gateway "
        "stops. Then it is cancelled.",
        name="asgi-shutdown",
    )
    slow: float = setting(
        0.1,
        seconds(0.001),
        "Seconds after which the log names a step of asgi that blocked all others.",
        name="asgi-slow",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig(Checked):
    """
    All settings of a gateway. The attributes are explained in the reference of options.

    Raises:
        ConfigError: A value is not allowed; the message names the setting.
    """

    group = "connections"

    port: tuple[str, ...] = setting(
        ("8080",),
        port,
        "TCP port to listen on: a number, an address and a number (127.0.0.1:8080), or an endpoint "
        "description (tcp:, unix:, ssl:, systemd:, haproxy:). A number alone is open to the "
        "network.",
        repeatable=True,
    )
    redis: RedisConfig = field(default_factory=RedisConfig)
    forward: ForwardConfig = field(default_factory=ForwardConfig)
    tls_port: tuple[str, ...] = setting(
        (),
        tls_port,
        "Like port, but TLS is spoken there. If it is given and port is not, no port without TLS "
        "is opened.",
        repeatable=True,
        group="tls",
    )
    tls_cert: str | None = setting(
        None,
        optional_string,
        "PEM file with the certificate for tls-port, and its chain.",
        group="tls",
    )
    tls_key: str | None = setting(
        None,
        optional_string,
        "PEM file with the key of tls-cert. If not given, the key is in the same file.",
        group="tls",
    )
    tls_folder: str | None = setting(
        None,
        optional_string,
        "Folder of PEM files, each with certificate, chain and key. The server name that a client "
        "asks for selects the file.",
        group="tls",
    )
    url_prefix: str = setting(
        "/ws/", url_prefix, "Path that every WebSocket URL begins with. It ends with a slash."
    )
    prefix: str = setting(
        "",
        channel_prefix,
        "Prefix of all channels; a colon separates it from the rest.",
        group="redis",
    )
    expire: int = setting(
        3600,
        integer(0),
        "Seconds that Redis stores the last message that a client published to a channel. 0 "
        "stores none.",
        group="redis",
    )
    stored_prefix: str = setting(
        "",
        channel_prefix,
        "Put before the name of a channel, with a colon, to name the key of its stored message. "
        "If not given, both have the same name, as with django-websocket-redis; then give the "
        "gateway a database or a prefix that nobody else uses.",
        group="redis",
    )
    heartbeat: str | None = setting(
        None, optional_string, "Text message that both sides send to show that they are alive."
    )
    allow_origin: tuple[str, ...] = setting(
        (),
        origin,
        "Origin whose pages may publish, and may use user, group and session channels: "
        "https://example.com, https://*.example.com, *.example.com or *.",
        repeatable=True,
        group="identity",
    )
    allow_host: tuple[str, ...] = setting(
        (),
        host,
        "Name by which browsers reach the gateway, without a port: example.com, *.example.com for "
        "the names below it, .example.com for both, or *. A handshake by another name is refused "
        "with 400. If not given, any name is right, except that a page without TLS on a port other "
        "than 80 needs an IP address, or a name without a dot or of a private network.",
        repeatable=True,
    )
    forwarded_host: bool = setting(
        False,
        flag,
        "The name by which browsers reach the gateway is in X-Forwarded-Host, if a proxy sends it. "
        "With trusted-proxy, that of any other peer does not count.",
    )
    secure_header: str | None = setting(
        None,
        optional(header_value),
        "Header by which a proxy tells that the browser speaks TLS with it, and its value, such as "
        "X-Scheme=https. X-Forwarded-Proto and Forwarded need no setting.",
    )
    script_name: str = setting(
        "",
        script_name,
        "Path under which a proxy shows the gateway, and which it takes off, such as /app. "
        "WebSocket URLs may begin with it or not, whether or not url-prefix does.",
    )
    trusted_proxy: tuple[str, ...] = setting(
        (),
        network,
        "Address or network of proxies whose X-Forwarded-For, Forwarded or PROXY header names the "
        "client: 10.0.0.0/8, 2001:db8::/32, or 'unix' for those that come by a UNIX socket.",
        repeatable=True,
    )
    compress: bool = setting(
        False, flag, "Compress messages for clients that support it (permessage-deflate)."
    )
    compress_threshold: int = setting(
        256,
        integer(0),
        "Smallest message to a client that is compressed, in bytes.",
    )
    demo: bool = setting(
        False,
        flag,
        "Serve a playground at /.",
        group="pages",
    )
    wsgi: str | None = setting(
        None,
        callable_name,
        "package.module:name of a WSGI application; its pages are served on the same ports.",
        group="pages",
    )
    wsgi_threads: int = setting(
        4,
        integer(1),
        "Number of threads for wsgi. Each works on one request at a time.",
        group="pages",
    )
    workers: int = setting(
        1, workers, "Number of processes that share the ports, or 'auto' for one per core."
    )
    no_streams: bool = setting(
        False,
        flag,
        "Serve WebSockets only: no Server-Sent Events, no long polling, no messages by POST.",
    )
    ping_interval: float = setting(
        25.0,
        seconds(1),
        "Seconds between two pings. A client that neither sent nor took anything between them is "
        "disconnected.",
    )
    slow_policy: tuple[str, ...] = setting(
        (),
        slow_policy,
        "What becomes of slow clients, as POLICY, or as PATTERN=POLICY for some facilities; * in "
        "the pattern is any run of characters. The policy is disconnect (the client is closed with "
        "1008), conflate (only the newest message of each channel waits) or drop-oldest. The first "
        "pattern that fits decides; without one it is disconnect.",
        repeatable=True,
    )
    drain: float = setting(
        5.0,
        seconds(0),
        "Seconds that clients have to close their connections when the gateway stops. 0 does not "
        "wait.",
    )
    drain_delay: float = setting(
        0.0,
        seconds(0),
        "Seconds between the order to stop, at which the readiness check fails and handshakes are "
        "answered with 503, and the end of the ports: time for a balancer to learn it.",
    )
    drain_spread: float = setting(
        3.0,
        seconds(0),
        "Seconds over which the gateway spreads the close frames when it closes all WebSockets, so "
        "that the clients do not come back all at once. 0 closes all at once.",
    )
    on_gap: str = setting(
        "keep",
        choice("keep", "close"),
        "After a time in which messages may have been lost between Redis and the gateway: keep the "
        "WebSockets, or close those that subscribe with 1012, over the seconds of drain-spread, "
        "for clients that load their state when they connect.",
    )
    django: str | None = setting(
        None,
        module_name,
        "Settings module of a Django project. The sessions of the project say who a client is, "
        "and its settings for WebSockets are used here too.",
        group="identity",
    )
    ignore_subscriber_methods: bool = setting(
        False,
        flag,
        "Start although the class of WS4REDIS_SUBSCRIBER overrides methods that the gateway cannot "
        "call: parse_response, get_file_descriptor. The log warns of them at each start.",
        group="identity",
    )
    auth_timeout: float = setting(
        3.0,
        seconds(0.1),
        "Seconds to find out who a client is and what it may do. Then it is answered with 503.",
        group="identity",
    )
    auth_concurrency: int = setting(
        16,
        integer(1),
        "Number of clients that are identified at a time: threads with django, requests with "
        "auth-url.",
        group="identity",
    )
    recheck: float = setting(
        120.0,
        seconds(0),
        "Seconds between two checks of the identity of an open connection. 0 checks only when the "
        "application asks for it.",
        group="identity",
    )
    policy: str | None = setting(
        None,
        callable_name,
        "package.module:name of a function that decides what an identity may do.",
        group="identity",
    )
    metrics: bool = setting(
        False,
        flag,
        "Serve /metrics for Prometheus on the ports of the clients to everybody who reaches them. "
        "If neither this nor metrics-port is given, only programs on this machine get it there, if "
        "they do not come through a proxy, and unless wsgi has the path. Needs the extra "
        "'metrics'.",
        group="logs",
    )
    metrics_port: str | None = setting(
        None,
        optional_port,
        "Private port with /metrics and the health paths: an endpoint description "
        "(tcp:9100:interface=10.0.0.5, unix:...), or a port number on 127.0.0.1. Needs the extra "
        "'metrics'.",
        group="logs",
    )
    verbose: bool = setting(
        False,
        flag,
        "Log every connection that opens and closes.",
        group="logs",
    )
    access_log: bool = setting(
        False,
        flag,
        "Log every answer of plain HTTP, such as the pages of wsgi, but those of /health/ and "
        "/metrics.",
        group="logs",
    )
    log_format: str | None = setting(
        None,
        choice("text", "json", "short"),
        "Format of the log: text, json with one object a line, or short for people. If not given, "
        "it is short if wsredis logs to a terminal, and text elsewhere. For twistd and wsredis "
        "only.",
        group="logs",
    )
    jwt: JwtConfig = field(default_factory=JwtConfig)
    auth_url: AuthUrlConfig = field(default_factory=AuthUrlConfig)
    asgi: AsgiConfig = field(default_factory=AsgiConfig)
    limits: Limits = field(default_factory=Limits)
    rules: tuple[Rule, ...] = ()
    #: Absolute path of the TOML file that the rules are from. None without a file.
    file: str | None = None

    @property
    def url_prefixes(self) -> tuple[str, ...]:
        """All paths that WebSocket URLs begin with: with *script_name* and without it."""
        own, script = self.url_prefix, self.script_name
        bare = own[len(script) :] if own.startswith(f"{script}/") else own
        if not script or bare == "/":
            return (own,)
        return tuple(dict.fromkeys((own, bare, script + bare)))

    @property
    def has_public_metrics(self) -> bool:
        """Whether ``/metrics`` is on the ports of the clients, for some or for all."""
        return self.metrics or self.metrics_port is None


@cache
def all_settings() -> tuple[Setting, ...]:
    """Return all settings, in the order in which the help shows them."""
    order = [*GROUPS]
    return tuple(sorted(settings_of(GatewayConfig), key=lambda each: order.index(each.group)))
