"""The start of a gateway with a subscriber class: what it must be, and what the log says of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from wsredis.auth.sources.django.hooks import warn_of_old_code
from wsredis.auth.sources.django.project import read_setting
from wsredis.auth.sources.django.subscriber import Subscribers
from wsredis.auth.sources.django.threads import BoundedThreads
from wsredis.auth.sources.django.waiting_threads import WaitingThreads
from wsredis.config import GatewayConfig
from wsredis.config.declare import setting_of
from wsredis.config.subscriber import SubscriberClass
from wsredis.errors import ConfigError

__all__ = ["load_subscriber", "make_subscribers"]

_log = Logger()

_SETTING = "WS4REDIS_SUBSCRIBER"

#: Clients that have gone and may wait for each thread before new ones are refused.
_RELEASES = 64


def load_subscriber(project: object, config: GatewayConfig) -> SubscriberClass | None:
    """
    Read the class of subscribers, and log what the gateway does with its methods.

    Args:
        project: ``django.conf.settings``.
    Returns:
        The class. If None, it is that of django-websocket-redis.
    Raises:
        ConfigError: There is no such class, or it overrides methods that cannot be called.
    """
    cls: SubscriberClass | None = read_setting(project, _SETTING)
    if cls is None:
        return None
    if cls.unused_flags:
        _log.warn(
            "{setting}: {name}: {flags} stand for no channel, since the class has no methods",
            event="subscriber-flags-unused",
            setting=_SETTING,
            name=cls.name,
            flags=", ".join(cls.unused_flags),
        )
    if cls.uncalled:
        _check_uncalled(cls, config)
    if cls.overridden:
        for method in cls.called:
            warn_of_old_code(_SETTING, getattr(cls.make, method))
        _log.info(
            "{setting}: {name}: the gateway calls its {methods}",
            event="subscriber-methods",
            setting=_SETTING,
            name=cls.name,
            methods=", ".join(cls.called),
        )
    return cls


def _check_uncalled(cls: SubscriberClass, config: GatewayConfig) -> None:
    text = f"{cls.name} overrides {' and '.join(cls.uncalled)}, which the gateway cannot call"
    option = setting_of(GatewayConfig, "ignore_subscriber_methods").option
    if not config.ignore_subscriber_methods:
        raise ConfigError(f"django: {_SETTING}: {text}; with {option} it starts without them")
    _log.warn(
        "{setting}: {text}: {option} is given",
        event="subscriber-methods-ignored",
        setting=_SETTING,
        text=text,
        option=option,
    )


def make_subscribers(
    reactor: Any,
    config: GatewayConfig,
    cls: SubscriberClass,
    redis: Callable[[], Any] | None,
    threads: BoundedThreads,
    at_end: Callable[[], object],
    clean_up: Callable[[], object],
) -> Subscribers:
    """
    Make what makes the subscribers of all clients.

    Args:
        redis: Makes a client of redis-py.
        threads: For handshakes. There are half as many others for the rest.
        at_end: Called in each of the others that ends.
        clean_up: Called in a thread after each call.
    Raises:
        ConfigError: There is no *redis*, or its settings cannot be used.
    """
    if redis is None:
        raise ConfigError(f"django: {_SETTING}: {cls.name} has methods: it needs a Redis")
    count = max(1, config.auth_concurrency // 2)
    return Subscribers(
        reactor,
        threads,
        WaitingThreads(reactor, count, at_end, clean_up),
        _RELEASES * count,
        cls,
        redis(),
        clean_up=clean_up,
        prefix=config.prefix,
        timeout=config.auth_timeout,
        most_queued=config.limits.most_queued,
    )
