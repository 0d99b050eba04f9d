"""
The class of ``WS4REDIS_SUBSCRIBER``: its flags, and the methods that it has of its own.

A class is compared with the one of its bases that the gateway knows: those of
django-websocket-redis, and `wsredis.django.Subscriber`. Neither is imported here.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from wsredis.channels import FLAGS

__all__ = ["METHODS", "SubscriberClass", "read_subscriber"]

#: The methods that the gateway calls.
METHODS = ("set_pubsub_channels", "send_persisted_messages", "publish_message", "release")

#: Methods of the original that wait for Redis on a socket of their own, or were renamed: nobody
#: calls them.
_UNCALLED = ("parse_response", "get_file_descriptor", "send_persited_messages")

#: What an instance keeps. In a class it is a property, for example.
_STATE = ("_connection", "_publishers", "_subscription")

_LISTS = ("subscription_channels", "publish_channels")

#: Classes to compare with, by module and name.
_KNOWN = {
    ("ws4redis.subscriber", "RedisSubscriber"),
    ("ws4redis.redis_store", "RedisStore"),
    ("wsredis.django.subscriber", "Subscriber"),
}

#: Attributes that say nothing about what an instance does.
_HARMLESS = {
    "__abstractmethods__",
    "__annotate__",
    "__annotate_func__",
    "__annotations__",
    "__annotations_cache__",
    "__classcell__",
    "__dict__",
    "__doc__",
    "__firstlineno__",
    "__module__",
    "__orig_bases__",
    "__parameters__",
    "__qualname__",
    "__repr__",
    "__slots__",
    "__static_attributes__",
    "__str__",
    "__weakref__",
    "_abc_impl",
    *_LISTS,
}


@dataclass(frozen=True, slots=True)
class SubscriberClass:
    """
    A subscriber class of a project.

    Attributes:
        make: The class. It is called with a client of redis-py.
        name: Its module and its name, for messages.
        subscribe_flags, publish_flags: Its two lists, in their order.
        overridden: The attributes that it has in place of those of its base, in alphabetical order.
            If empty, an instance does nothing that the gateway does not do by itself.
        uncalled: Those of them that the gateway cannot call.
    """

    make: Any
    name: str
    subscribe_flags: tuple[str, ...]
    publish_flags: tuple[str, ...]
    overridden: tuple[str, ...]
    uncalled: tuple[str, ...]

    @property
    def flags(self) -> tuple[str, ...]:
        """All flags that count."""
        return (*self.subscribe_flags, *self.publish_flags)

    @property
    def unused_flags(self) -> tuple[str, ...]:
        """The flags of its own, if there is no method that says which channels they stand for."""
        own = {flag for flag in self.flags if flag.strip().lower() not in FLAGS}
        return () if self.overridden else tuple(sorted(own))

    @property
    def called(self) -> tuple[str, ...]:
        """The methods of the class that the gateway calls, if it overrides anything."""
        return tuple(each for each in METHODS if each == METHODS[0] or self.overrides(each))

    def overrides(self, method: str) -> bool:
        """Tell whether *method*, one of `METHODS`, is not that of a base that is known."""
        return any(method in vars(each) for each in self.make.__mro__ if not _is_known(each))


def read_subscriber(found: object) -> SubscriberClass:
    """
    Look at a subscriber class.

    Raises:
        ValueError: It is not a class, its lists are not lists of strings, or it has methods and
            cannot be made with a connection or lacks ``set_pubsub_channels``.
    """
    lists = [_strings(getattr(found, name, None)) for name in _LISTS]
    if not isinstance(found, type) or None in lists:
        raise ValueError("the class has no lists of channels")
    subscribe, publish = (each or () for each in lists)
    own = _own_names(found)
    base: Any = next((each for each in found.__mro__ if _is_known(each)), None)
    if base is None:
        overridden = {name for name in own if _counts(name)}
        _check_without_base(found, own)
    else:
        overridden = {name for name in own if _counts(name) or hasattr(base, name)}
    alias = "send_persited_messages"
    if getattr(found, alias, None) is getattr(found, "send_persisted_messages", None):
        overridden.discard(alias)
    return SubscriberClass(
        found,
        f"{found.__module__}.{found.__qualname__}",
        subscribe,
        publish,
        tuple(sorted(overridden)),
        tuple(name for name in _UNCALLED if name in overridden),
    )


def _strings(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, (list, tuple, set, frozenset)):
        return None
    given = tuple(value)
    return given if all(isinstance(each, str) for each in given) else None


def _is_known(cls: type) -> bool:
    return (cls.__module__, cls.__qualname__) in _KNOWN


def _own_names(cls: type) -> set[str]:
    """Name the attributes of all classes of the project that *cls* consists of."""
    own = (each for each in cls.__mro__ if each is not object and not _is_known(each))
    return {name for each in own for name in vars(each)} - _HARMLESS


def _counts(name: str) -> bool:
    """Tell whether an attribute changes what an instance does, whatever its base is."""
    is_magic = name.startswith("__") and name.endswith("__")
    return is_magic or name in (*METHODS, *_UNCALLED, *_STATE)


def _check_without_base(cls: type, own: set[str]) -> None:
    """Refuse a class that django-websocket-redis could not have used either."""
    if not own:
        return
    hint = "it is no heir of RedisSubscriber; inherit from wsredis.django.Subscriber"
    if "set_pubsub_channels" not in own:
        raise ValueError(f"the class has methods, and no set_pubsub_channels: {hint}")
    try:
        inspect.signature(cls).bind(None)
    except TypeError:
        raise ValueError(f"the class cannot be made with a connection: {hint}") from None
    except ValueError:
        # Some that are written in C have no signature to check.
        pass
