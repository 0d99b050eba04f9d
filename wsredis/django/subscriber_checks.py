"""System checks of the class of ``WS4REDIS_SUBSCRIBER``: what the gateway does with its methods."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from django.conf import settings
from django.core.checks import CheckMessage, Info, Warning

from wsredis.auth.sources.django.old_code import remarks_on
from wsredis.config.subscriber import SubscriberClass
from wsredis.config.ws4redis import project_value
from wsredis.django.rule_checks import wrong_arguments
from wsredis.errors import ConfigError

__all__ = ["check_subscriber"]

_SETTING = "WS4REDIS_SUBSCRIBER"

#: The arguments with which the gateway calls the methods.
_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "set_pubsub_channels": ("request", "channels"),
    "send_persisted_messages": ("websocket",),
    "publish_message": ("message",),
    "release": (),
}


def check_subscriber() -> Iterator[CheckMessage]:
    """Say which methods the gateway calls, with which arguments, and which it cannot call."""
    try:
        cls: SubscriberClass | None = project_value(settings, _SETTING)
    except ConfigError:
        # Another check reports it.
        return
    if cls is None:
        return
    if cls.uncalled:
        yield Warning(
            f"{_SETTING}: {cls.name} overrides {' and '.join(cls.uncalled)}, which the gateway "
            "cannot call: it does not start",
            hint="Remove them, or start it with --ignore-subscriber-methods, and runserver with "
            "WSREDIS_IGNORE_SUBSCRIBER_METHODS=1.",
            id="wsredis.W010",
        )
    if cls.unused_flags:
        yield Warning(
            f"{_SETTING}: {cls.name}: {', '.join(cls.unused_flags)} stand for no channel",
            hint="Override set_pubsub_channels, and subscribe there to what they stand for.",
            id="wsredis.W011",
        )
    for method in cls.called if cls.overridden else ():
        for remark in remarks_on(getattr(cls.make, method)):
            yield Warning(
                f"{_SETTING}: {remark.place}: {remark.problem}", hint=remark.hint, id="wsredis.W051"
            )
        # A method that is no function of its class takes no instance.
        is_plain = inspect.isfunction(inspect.getattr_static(cls.make, method))
        arguments = (*(("self",) if is_plain else ()), *_ARGUMENTS[method])
        yield from wrong_arguments(f"{_SETTING}: {method}", getattr(cls.make, method), arguments)
    if cls.overridden:
        yield Info(
            f"{_SETTING}: the gateway makes a {cls.name} for each client, and calls its "
            f"{', '.join(cls.called)} in a thread",
            id="wsredis.I001",
        )
