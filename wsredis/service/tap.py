"""``twistd wsredis``: options, and the service that they describe."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import Any, NoReturn

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python import usage

from wsredis import __version__
from wsredis.auth.sources.django.project import project_settings
from wsredis.config import GatewayConfig, Setting, all_settings, load
from wsredis.errors import ConfigError
from wsredis.service.service import GatewayService
from wsredis.service.workers.parent import Workers

__all__ = ["Options", "build", "give_up", "makeService"]

#: File descriptors for everything but clients: ports, Redis, the log, and some to spare.
_OWN_DESCRIPTORS = 32

_log = Logger()


def _explain(setting: Setting) -> str:
    if setting.default is None or setting.default == () or isinstance(setting.default, bool):
        return setting.help
    shown = " ".join(setting.default) if isinstance(setting.default, tuple) else setting.default
    return f"{setting.help} [default: {shown if shown != '' else 'none'}]"


def _is_many(setting: Setting) -> bool:
    return isinstance(setting.default, tuple)


def give_up(error: object) -> NoReturn:
    """End the program with one line and status 1."""
    sys.exit(f"wsredis: {error}")


class Options(usage.Options):
    """
    The command line. Values are checked together with those of the environment and the file.

    What is wrong ends the program with one line and status 1: twistd itself would print the whole
    help, and end with status 0.
    """

    synopsis = "twistd [twistd options] wsredis [options]"
    #: What shows the help.
    help_command = "twistd wsredis --help"
    longdesc = (
        "A gateway between WebSockets and Redis pub/sub. Every option can also be given as a key "
        "of the TOML file, or as an environment variable: --max-queue as WSREDIS_MAX_QUEUE. "
        "The password for Redis is read from --redis-password-file or WSREDIS_REDIS_PASSWORD."
    )
    optParameters = [
        ["config", None, None, "TOML file with settings"],
        *(
            [each.name, None, None, _explain(each)]
            for each in all_settings()
            if not (each.secret or _is_many(each) or isinstance(each.default, bool))
        ),
    ]
    optFlags = [
        [each.name, None, each.help] for each in all_settings() if isinstance(each.default, bool)
    ]

    def __init__(self) -> None:
        super().__init__()
        self._many: dict[str, list[str]] = {"port": [], "tls-port": [], "allow-origin": []}

    def opt_version(self) -> NoReturn:
        """Show the version of wsredis, and end."""
        sys.exit(print(f"wsredis {__version__}"))

    def opt_port(self, value: str) -> None:
        self._many["port"].append(value)

    def opt_tls_port(self, value: str) -> None:
        self._many["tls-port"].append(value)

    def opt_allow_origin(self, value: str) -> None:
        self._many["allow-origin"].append(value)

    for _setting in all_settings():
        if _is_many(_setting):
            locals()[f"opt_{_setting.attribute}"].__doc__ = _explain(_setting)
    del _setting

    def parseOptions(self, options: list[str] | None = None) -> None:
        """Parse, or end the program."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            give_up(f"{error} ({self.help_command} shows all options)")

    def parseArgs(self, *words: str) -> None:
        """There are only options."""
        if words:
            raise usage.UsageError(f"{words[0]!r} is not an option")

    def load(self) -> GatewayConfig:
        """
        All settings together.

        Raises:
            ConfigError: One of them is wrong.
        """
        known = {setting.name for setting in all_settings()} & set(self)
        given = {name: self[name] for name in known if self[name] not in (None, 0)}
        return load({**given, **self._many}, os.environ, self["config"], project_settings)


class _Gateway(MultiService):
    """The services of one process: they stop one after the other, the last first."""

    def privilegedStartService(self) -> None:
        """Bind the ports."""
        try:
            super().privilegedStartService()
        except (CannotListenError, OSError) as error:
            give_up(_bind_error(error))

    def stopService(self) -> Deferred[None]:
        """Stop all; MultiService would not wait for one before it stops the next."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop_in_turn())

    async def _stop_in_turn(self) -> None:
        for service in reversed(list(self)):
            await maybeDeferred(service.stopService)


def _bind_error(error: Exception) -> str:
    option: str = getattr(error, "__notes__", ["port"])[-1]
    if isinstance(error, CannotListenError):
        where = f"{error.interface or '*'}:{error.port}" if error.port else str(error.interface)
        reason = getattr(error.socketError, "strerror", None) or str(error.socketError)
        return f"--{option}: {where}: {reason}"
    return f"--{option}: {error}"


def makeService(options: Options) -> IService:
    """What ``twistd`` runs."""
    from twisted.internet import reactor

    # A step of the system's clock must not freeze or fire every timer of the process.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    _raise_descriptor_limit()
    services = _Gateway()
    try:
        config = _fit_descriptors(options.load())
        gateway, embedded = build(config, reactor)
    except ConfigError as error:
        give_up(error)
    if embedded is not None:
        embedded.setServiceParent(services)
    gateway.setServiceParent(services)
    if config.tls_port:
        run_soon: Any = reactor.callFromThread  # type: ignore[attr-defined]
        _on_hangup(lambda: run_soon(gateway.reload_certificates))
    return services


def build(config: GatewayConfig, reactor: Any) -> tuple[GatewayService, Service | None]:
    """
    What these settings describe. Nothing is bound or connected before it is started.

    Returns: The gateway, and the private Redis that it needs; None: it needs none.
    Raises:
        ConfigError: A setting cannot be used.
    """
    config, embedded = _choose_redis(config, reactor)
    make = Workers if config.workers > 1 else GatewayService
    return make(config, reactor=reactor), embedded


def _on_hangup(function: Callable[[], object]) -> None:
    """Call *function* at SIGHUP, and then whoever was called before."""
    before = signal.getsignal(signal.SIGHUP)

    def hangup(number: int, frame: FrameType | None) -> None:
        function()
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGHUP, hangup)


def _choose_redis(config: GatewayConfig, reactor: Any) -> tuple[GatewayConfig, Any]:
    """The Redis that was named, or the one at localhost, or a private one."""
    from wsredis.service import embedded

    url = config.redis.url
    if url is not None and url != "embedded":
        return config, None
    port = embedded.DEFAULT_PORT
    server = None
    if url == "embedded":
        server = embedded.EmbeddedRedis(reactor, embedded.find_server())
        port = server.port
    elif not embedded.answers(port):
        server = embedded.EmbeddedRedis(reactor, embedded.find_server(), port)
    redis = replace(config.redis, url=f"redis://localhost:{port}")
    return replace(config, redis=redis), server


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _fit_descriptors(config: GatewayConfig) -> GatewayConfig:
    """
    Admit no more clients than there are file descriptors for.

    A client too many then gets 503, and not a connection that is closed without a word.
    """
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    limits = config.limits
    # As many connections as there may be handshakes are for pages.
    shares = 1 if config.wsgi is None else 2
    if allowed == resource.RLIM_INFINITY or (
        allowed >= limits.max_connections + shares * limits.max_handshakes + _OWN_DESCRIPTORS
    ):
        return config
    handshakes = max(1, min(limits.max_handshakes, allowed // 8))
    connections = max(1, allowed - shares * handshakes - _OWN_DESCRIPTORS)
    _log.warn(
        "only {allowed} file descriptors are allowed: max-connections is {connections} and "
        "max-handshakes {handshakes}",
        allowed=allowed,
        connections=connections,
        handshakes=handshakes,
    )
    fitting = replace(limits, max_connections=connections, max_handshakes=handshakes)
    return replace(config, limits=fitting)
