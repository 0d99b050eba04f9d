"""Stored messages that several clients were given, made and encoded once for all of them."""

from __future__ import annotations

from wsredis.gateway.publication import Publication

__all__ = ["StoredMessages"]

#: Bytes; a smaller message costs less than what would be needed to share it.
_LARGE = 4096

#: Bytes of all messages that are remembered, not counting their encodings.
_REMEMBERED = 8388608


class StoredMessages:
    """
    The large stored messages that clients were given last, one for each channel.

    A message that is read from the broker again is replaced by the one that is remembered, so that
    the queues of all clients that wait for it refer to the same bytes.
    """

    __slots__ = ("_by_channel", "_size")

    def __init__(self) -> None:
        #: The one that was needed last comes last.
        self._by_channel: dict[bytes, Publication] = {}
        self._size = 0

    def publication(self, channel: bytes, payload: bytes) -> Publication:
        """Return a publication of *payload*: that of an earlier call, if it is remembered."""
        if len(payload) < _LARGE:
            return Publication(channel, payload)
        known = self._by_channel.pop(channel, None)
        if known is None:
            self._size += len(payload)
            known = Publication(channel, payload)
        elif known.payload != payload:
            self._size += len(payload) - len(known.payload)
            known = Publication(channel, payload)
        # The newest is remembered however large it is.
        while self._size > _REMEMBERED and self._by_channel:
            self.forget(next(iter(self._by_channel)))
        self._by_channel[channel] = known
        return known

    def forget(self, channel: bytes) -> None:
        """Remember the message of *channel* no longer. Harmless if it is not remembered."""
        known = self._by_channel.pop(channel, None)
        if known is not None:
            self._size -= len(known.payload)
