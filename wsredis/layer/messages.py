"""
Messages of the channel layer as bytes, encrypted if there are keys.

Keys are used as channels_redis uses them, and of several the first encrypts, and any decrypts.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any

import msgpack

from wsredis.errors import ConfigError

__all__ = ["FORMATS", "BadPayload", "Codec", "Message", "Order", "Parcel", "Verb"]

#: A message of Channels: it has a ``type``.
Message = dict[str, Any]

#: Values that nobody can change.
_FLAT = frozenset({str, bytes, int, float, bool, type(None)})


class BadPayload(Exception):
    """Bytes from Redis are no message of this layer: other keys, another format, or too old."""


class Verb(IntEnum):
    """What a publication to a process is."""

    #: A message to a channel.
    MESSAGE = 0
    #: "Put your channel into this group", or take it out; answered with `DONE`.
    ADD = 1
    DISCARD = 2
    DONE = 3
    #: "Forget all messages and groups".
    FLUSH = 4


#: A publication to a process: a verb, a name and the rest. The name is that of the channel; of
#: `DONE` it is the number of the question. The rest is the encoded message; of `ADD` and `DISCARD`
#: it is the group, the process that asks, and the number of its question.
Order = tuple[int, str, Any]


class Parcel:
    """
    A message that several consumers get, each as an object of its own.

    Args:
        message: Nobody changes it from now on.
        again: Makes another one of it, if it has parts that could be changed.

    Attributes:
        size: Bytes of the encoded message.
        holders: Number of consumers that have not received it yet.
    """

    __slots__ = ("_again", "_message", "holders", "size")

    def __init__(self, message: Message, size: int, again: Callable[[], Message]) -> None:
        self._message = message
        # Copying is a fifth of decoding once more, and most messages have no inner parts.
        self._again = message.copy if _FLAT.issuperset(map(type, message.values())) else again
        self.size = size
        self.holders = 0

    def take(self) -> Message:
        """Make a message for one consumer."""
        return self._again()


class Codec:
    """
    Encodes and decodes.

    Args:
        format: One of `FORMATS`.
        keys: Secrets, from which keys are made. The first encrypts. If empty, nothing is encrypted.
        max_age: Seconds after which an encrypted message is refused.

    Raises:
        ConfigError: The format or the keys cannot be used.
    """

    def __init__(
        self, format: str = "msgpack", keys: Sequence[str | bytes] = (), max_age: int = 70
    ) -> None:
        if format not in FORMATS:
            raise ConfigError(f"serializer_format: {format!r} is not one of {', '.join(FORMATS)}")
        self._pack, self._unpack = FORMATS[format]
        self._crypt = _multi_fernet(keys) if keys else None
        self._max_age = max_age

    def encode(self, message: Any) -> bytes:
        """
        Encode a message.

        Raises:
            TypeError, ValueError: It has a part that cannot be encoded.
        """
        return self._seal(self._pack(message))

    def decode(self, payload: bytes) -> Any:
        """
        Decode a message.

        Raises:
            BadPayload: It cannot be decoded.
        """
        return self._read(self._open(payload))

    def parcel(self, payload: bytes) -> Parcel:
        """
        Decode a message for several consumers.

        Raises:
            BadPayload: It cannot be decoded, or is not a dictionary.
        """
        return self._parcel(self._open(payload))

    def encode_order(self, verb: Verb, name: str, rest: Any = b"") -> bytes:
        """
        Encode a publication to a process.

        Args:
            name, rest: See `Order`. A message as *rest* is the message itself.
        """
        if verb is Verb.MESSAGE:
            rest = self._pack(rest)
        return self._seal(msgpack.packb((int(verb), name, rest)))

    def decode_order(self, payload: bytes) -> Order:
        """
        Decode a publication to a process; its rest is a `Parcel` if it has a message.

        Raises:
            BadPayload: It cannot be decoded.
        """
        body = self._open(payload)
        try:
            verb, name, rest = msgpack.unpackb(body)
        except Exception as error:
            raise BadPayload(f"not an order: {error}") from error
        if verb == Verb.MESSAGE:
            rest = self._parcel(rest)
        return verb, name, rest

    def _parcel(self, body: bytes) -> Parcel:
        message = self._read(body)
        if type(message) is not dict:
            raise BadPayload("not a dictionary")
        return Parcel(message, len(body), lambda: self._unpack(body))

    def _read(self, body: bytes) -> Any:
        try:
            return self._unpack(body)
        except Exception as error:
            # Libraries raise their own errors, and those of Python, on bad input.
            raise BadPayload(f"not a message: {error}") from error

    def _seal(self, body: bytes) -> bytes:
        return body if self._crypt is None else self._crypt.encrypt(body)

    def _open(self, payload: bytes) -> bytes:
        if self._crypt is None:
            return payload
        from cryptography.fernet import InvalidToken

        try:
            body: bytes = self._crypt.decrypt(payload, self._max_age)
        except InvalidToken:
            raise BadPayload("no key decrypts it, or it is too old") from None
        return body


def _multi_fernet(keys: Sequence[str | bytes]) -> Any:
    if isinstance(keys, (str, bytes)) or not all(isinstance(key, (str, bytes)) for key in keys):
        raise ConfigError("symmetric_encryption_keys: a list of strings is needed")
    from cryptography.fernet import Fernet, MultiFernet

    secrets = [key.encode() if isinstance(key, str) else key for key in keys]
    digests = [hashlib.sha256(secret).digest() for secret in secrets]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])


#: The formats of messages: a function that encodes, and one that decodes.
FORMATS: dict[str, tuple[Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    "msgpack": (msgpack.packb, msgpack.unpackb),
    "json": (lambda message: json.dumps(message).encode(), json.loads),
}
