"""
What the subscriber class of a project is given: stand-ins that record what it does with them.

The gateway has one connection to Redis for the channels of all clients, so a subscriber gets none
of its own: a `Recorder` notes the channels that it subscribes to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any
from weakref import ref

__all__ = ["CannotRecord", "Messages", "Recorder", "recording"]


#: Pubsubs that one subscriber may have.
_MAX_RECORDERS = 64


class CannotRecord(AttributeError):
    """A subscriber wants what the gateway cannot do. The text says what, and holds no data."""


class Recorder:
    """
    Stands in for the pubsub of redis-py.

    Args:
        encoder: The encoder of the client of redis-py.

    Attributes:
        channels: The channels, each with None, as redis-py keeps them: strings if the client
            decodes replies, else bytes.
        refused: The last thing that was wanted of it and cannot be done. Empty if there is none.
    """

    #: As those of a pubsub that has not connected.
    connection = None
    ignore_subscribe_messages = False

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder
        self.channels: dict[Any, None] = {}
        self.patterns: dict[Any, None] = {}
        self.refused = ""

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.reset()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.refused = f"pubsub().{name} cannot be used in a gateway"
        raise CannotRecord(self.refused)

    @property
    def subscribed(self) -> bool:
        """Tells whether there is a channel."""
        return bool(self.channels)

    @property
    def names(self) -> tuple[bytes, ...]:
        """The names of the channels, in the order of the subscriptions."""
        return tuple(self._encoder.encode(each) for each in self.channels)

    def subscribe(self, *names: Any, **handlers: Any) -> None:
        """Note channels. A handler is not called, as in django-websocket-redis."""
        for name in (*_flat(names), *handlers):
            self.channels[self._key(name)] = None

    def unsubscribe(self, *names: Any) -> None:
        """Forget channels: all of them if none is named."""
        if not names:
            self.channels.clear()
        for name in _flat(names):
            self.channels.pop(self._key(name), None)

    def punsubscribe(self, *_: Any) -> None:
        """Do nothing: there are no patterns."""

    def get_message(self, *_: Any, **__: Any) -> None:
        """Return None: messages go to the client, past the subscriber."""

    def reset(self) -> None:
        """Forget all channels."""
        self.channels.clear()

    close = reset

    def forget(self, is_meant: Callable[[bytes], bool]) -> None:
        """Forget the channels whose names are meant."""
        self.channels = {
            each: None for each in self.channels if not is_meant(self._encoder.encode(each))
        }

    def _key(self, name: Any) -> Any:
        return self._encoder.decode(self._encoder.encode(name))


class Messages:
    """
    Stands in for the WebSocket of one client: what is sent goes to it after the call.

    Args:
        limit: Bytes that may wait. None is no limit.

    Attributes:
        closed: False, as long as a subscriber is called.
    """

    closed = False

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._waiting: list[bytes] = []
        self._size = 0
        self.refused = ""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.refused = f"websocket.{name} cannot be used in a gateway"
        raise CannotRecord(self.refused)

    def send(self, message: str | bytes | bytearray, binary: bool | None = None) -> None:
        """
        Send a message to the client: as text if it is UTF-8, whatever *binary* is.

        Raises:
            CannotRecord: The messages that wait are too large together.
            TypeError: *message* is neither a string nor bytes.
        """
        if not isinstance(message, (str, bytes, bytearray)):
            raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
        payload = message.encode() if isinstance(message, str) else bytes(message)
        self._size += len(payload)
        if self._limit is not None and self._size > self._limit:
            self.refused = "more is sent to one client at a time than max-queue"
            raise CannotRecord(self.refused)
        if payload:
            self._waiting.append(payload)

    def flush(self) -> None:
        """Do nothing: all is sent after the call."""

    def take(self) -> Sequence[bytes]:
        """Return the messages that wait, which then wait no more."""
        taken, self._waiting, self._size = self._waiting, [], 0
        return taken


def recording(client: Any) -> Any:
    """
    Make a client of redis-py whose pubsubs are recorders.

    Args:
        client: Its connections are used.
    Returns:
        The client. Its method ``fresh`` returns another one, with an own list ``recorders`` of the
        pubsubs that were made from it.
    """

    class Connection(type(client)):  # type: ignore[misc]
        """A client that subscribes to nothing by itself."""

        recorders: Sequence[Recorder] = ()

        def fresh(self) -> Connection:
            """Return a client for one subscriber."""
            made = copy(self)
            made.recorders = []
            return made

        def pubsub(self, **_: Any) -> Recorder:
            """
            Return a recorder.

            Raises:
                CannotRecord: There are too many.
            """
            if len(self.recorders) >= _MAX_RECORDERS:
                self._drop_lost()
            if len(self.recorders) >= _MAX_RECORDERS:
                raise CannotRecord("too many pubsubs for one client")
            recorder = Recorder(self.connection_pool.get_encoder())
            self.recorders = [*self.recorders, recorder]
            return recorder

        def _drop_lost(self) -> None:
            """Drop those that nobody else has: a pubsub of redis-py unsubscribes as it goes."""
            refused = [each for each in self.recorders if each.refused]
            others = [ref(each) for each in self.recorders if not each.refused]
            self.recorders = ()
            held = [each for reference in others if (each := reference()) is not None]
            self.recorders = [*refused, *held]

    return Connection(connection_pool=client.connection_pool)


def _flat(names: Sequence[Any]) -> Sequence[Any]:
    """Take a list as first argument apart, as redis-py does."""
    if names and isinstance(names[0], (list, tuple, set, frozenset, Mapping)):
        return [*names[0], *names[1:]]
    return names
