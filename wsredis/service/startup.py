"""The start of the program: refusals, file descriptors, the choice of Redis, and what is built."""

from __future__ import annotations

import os
import resource
import sys
from dataclasses import replace
from typing import Any, NoReturn

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import ILogObserver, Logger

from wsredis import __version__
from wsredis.config import GatewayConfig, Limits, RedisConfig, setting_of
from wsredis.config.idle import idle_settings
from wsredis.service import garbage
from wsredis.service.deadline import Deadline
from wsredis.service.endpoints import bind_error
from wsredis.service.log.output import LineObserver, capture_logging
from wsredis.service.service import GatewayService
from wsredis.service.systemd import Supervision
from wsredis.service.workers.parent import Workers

__all__ = [
    "OrderedServices",
    "build",
    "fit_descriptors",
    "give_up",
    "raise_descriptor_limit",
]

#: File descriptors for everything but clients: ports, Redis, the log, and some to spare.
_OWN_DESCRIPTORS = 32

#: Seconds that everything but the gateway may take to stop: a private Redis, and threads.
_OTHER_TIME = 5.0

#: Seconds that a stop in haste may take: the gateway, its workers, and a private Redis.
_HASTE = 5.0

_MAX_CONNECTIONS = setting_of(Limits, "max_connections").name
_MAX_HANDSHAKES = setting_of(Limits, "max_handshakes").name
_REDIS = setting_of(RedisConfig, "url")

_log = Logger()


def give_up(error: object) -> NoReturn:
    """
    End the program with status 1 and one line on standard error.

    Args:
        error: The rest of the line. It begins with the option, the variable, the file or the
            setting that is wrong, and a colon.
    """
    sys.exit(f"wsredis: {error}")


class OrderedServices(MultiService):
    """
    The services of one process. They stop one after the other, the last one first.

    Args:
        deadline: Ends the process if the stop takes longer than it may. If None, nothing does.

    Attributes:
        observer: Writes the log of the application that they become a part of. If None, the
            application logs as it likes.
    """

    observer: LineObserver | None = None

    def __init__(self, deadline: Deadline | None = None) -> None:
        super().__init__()
        self._deadline = deadline

    def setServiceParent(self, parent: Any) -> None:
        """Become a part of an application, or of another service."""
        if self.observer is not None:
            # twistd takes it from there, before it logs anything.
            parent.setComponent(ILogObserver, self.observer)
        super().setServiceParent(parent)

    def reopen_log(self) -> None:
        """Open the log file again, if there is one. Otherwise do nothing."""
        try:
            if self.observer is not None and self.observer.reopen():
                _log.info("the log file is opened again", event="log-reopened")
        except OSError as error:
            _log.error(
                "cannot open the log file again, using the old one: {error}",
                event="log-not-reopened",
                error=error.strerror,
            )

    def privilegedStartService(self) -> None:
        """Bind the ports, or end the program."""
        if self.observer is not None:
            capture_logging()
        _log.info("wsredis {version}", event="starting", version=__version__)
        try:
            super().privilegedStartService()
        except (CannotListenError, OSError) as error:
            give_up(bind_error(error))

    def startService(self) -> None:
        """Start all of them. What was made until now stays until the process ends."""
        super().startService()
        garbage.freeze()

    def stopService(self) -> Deferred[None]:
        """
        Stop all services in turn. MultiService would stop all of them at once.

        Returns:
            Fires when the first one has stopped.
        """
        Service.stopService(self)
        self._end_in(_OTHER_TIME + sum(each.stop_time for each in self._gateways()))
        return Deferred.fromCoroutine(self._stop_in_turn())

    def stop_now(self) -> None:
        """Make haste with a stop that is under way."""
        for gateway in self._gateways():
            gateway.stop_now()
        self._end_in(_HASTE)

    def reload(self) -> None:
        """See `GatewayService.reload`. systemd hears about it."""
        (gateway,) = self._gateways()
        supervisions = [each for each in self if isinstance(each, Supervision)]
        if supervisions:
            supervisions[0].reload(gateway.reload)
        else:
            gateway.reload()

    def _end_in(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.start(seconds)

    def _gateways(self) -> list[GatewayService]:
        return [each for each in self if isinstance(each, GatewayService)]

    async def _stop_in_turn(self) -> None:
        for service in reversed(list(self)):
            try:
                await maybeDeferred(service.stopService)
            except Exception:
                # A private Redis must not outlive the gateway.
                _log.failure("a service did not stop as it should", event="stop-failed")


def build(config: GatewayConfig, reactor: Any) -> tuple[GatewayService, Service | None]:
    """
    Build the services of these settings. Nothing is bound or connected before they are started.

    Returns:
        The gateway, and the private Redis that it needs. None if it needs none.

    Raises:
        ConfigError: A setting cannot be used.
    """
    for name, needs in idle_settings(config):
        _log.warn(
            "{setting} has no effect without {needs}",
            event="setting-idle",
            setting=name,
            needs=needs,
        )
    config, embedded = _choose_redis(config, reactor)
    make = Workers if config.workers > 1 else GatewayService
    return make(config, reactor=reactor), embedded


def _choose_redis(config: GatewayConfig, reactor: Any) -> tuple[GatewayConfig, Any]:
    """Choose the Redis that was named, or else the one at localhost, or else a private one."""
    from wsredis.service import embedded

    url = config.redis.url
    if url is not None and url != "embedded":
        return config, None
    server = None
    if url == "embedded" or not embedded.answers(embedded.DEFAULT_PORT):
        executable = embedded.find_server()
        warning = embedded.warning_about(executable)
        if warning is not None:
            _log.warn("private Redis: {problem}", event="private-redis-outdated", problem=warning)
        server = embedded.EmbeddedRedis(reactor, executable)
        url = server.url
        # For publishers in this process, such as those of its pages, and in its children.
        os.environ[_REDIS.variable] = url
    else:
        url = f"redis://localhost:{embedded.DEFAULT_PORT}"
    return replace(config, redis=replace(config.redis, url=url)), server


def raise_descriptor_limit() -> None:
    """Allow this process as many file descriptors as the system allows it to take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def fit_descriptors(config: GatewayConfig) -> GatewayConfig:
    """
    Admit at most as many clients as there are file descriptors for.

    One client more is then answered with 503. Otherwise its connection would be closed without an
    answer.

    Returns:
        *config*, with lower limits if there are too few file descriptors.
    """
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    limits = config.limits
    # Pages take as many connections as there may be handshakes.
    shares = 1 if config.wsgi is None and config.asgi.application is None else 2
    if allowed == resource.RLIM_INFINITY or (
        allowed >= limits.max_connections + shares * limits.max_handshakes + _OWN_DESCRIPTORS
    ):
        return config
    handshakes = max(1, min(limits.max_handshakes, allowed // 8))
    connections = max(1, allowed - shares * handshakes - _OWN_DESCRIPTORS)
    _log.warn(
        "only {allowed} file descriptors are allowed: {max_connections} is lowered to "
        "{connections}, and {max_handshakes} to {handshakes}",
        event="descriptors-low",
        allowed=allowed,
        max_connections=_MAX_CONNECTIONS,
        connections=connections,
        max_handshakes=_MAX_HANDSHAKES,
        handshakes=handshakes,
    )
    fitting = replace(limits, max_connections=connections, max_handshakes=handshakes)
    return replace(config, limits=fitting)
