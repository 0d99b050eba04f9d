"""A socket to Redis that does not block: what is not written yet, and not understood yet."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import hiredis

from wsredis.layer.carrier import Command

__all__ = ["Wire", "pack"]

_READ = 256 * 1024

_AGAIN = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def pack(commands: Sequence[Command]) -> bytes:
    """Write commands as Redis reads them."""
    return b"".join([hiredis.pack_command(command) for command in commands])


class Wire:
    """
    A socket with what is not written yet, and not understood yet.

    Attributes:
        is_secure: Whether it has TLS: then only one thread may use it at a time.
        pending: What the owner expects answers for, the oldest first.
        heard_at: The time at which something was read last.
    """

    def __init__(self, connection: socket.socket, clock: Callable[[], float]) -> None:
        self.socket = connection
        self.is_secure = isinstance(connection, ssl.SSLSocket)
        self.pending: Any = None
        self.heard_at = clock()
        self._clock = clock
        self._reader = hiredis.Reader()
        self._unsent = bytearray()

    @property
    def unsent(self) -> int:
        """Bytes that are not written yet."""
        return len(self._unsent)

    def hold(self, data: bytes) -> None:
        """Write *data* with the next `flush`."""
        self._unsent += data

    def send(self, data: bytes) -> bool:
        """
        Write as much as there is room for.

        Returns: Whether nothing is left.
        """
        if self._unsent:
            self._unsent += data
            return self.flush()
        try:
            sent = self.socket.send(data)
        except _AGAIN:
            sent = 0
        except OSError:
            # The reader finds out, and tells all who wait.
            self.hang_up()
            return True
        if sent < len(data):
            self._unsent += data[sent:]
        return not self._unsent

    def flush(self) -> bool:
        """Write what is left. Returns whether nothing is left any more."""
        while self._unsent:
            try:
                sent = self.socket.send(self._unsent)
            except _AGAIN:
                return False
            except OSError:
                self.hang_up()
                self._unsent.clear()
                return True
            del self._unsent[:sent]
        return True

    def read(self) -> bytes:
        """
        Read what has come. If it is empty, nothing has.

        Raises:
            OSError: The connection has ended.
        """
        data = b""
        try:
            while True:
                more = self.socket.recv(_READ)
                if not more and not data:
                    raise ConnectionResetError("Redis has closed the connection")
                data += more
                # The loop does not know of what TLS has read ahead.
                if not (more and isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()):
                    break
        except _AGAIN:
            pass
        return data

    def parse(self, data: bytes) -> list[Any]:
        """
        Return the replies that are complete with *data*.

        Raises:
            OSError: Redis does not speak its protocol.
        """
        self.heard_at = self._clock()
        self._reader.feed(data)
        replies = []
        try:
            while (reply := self._reader.gets()) is not False:
                replies.append(reply)
        except hiredis.ProtocolError as error:
            raise ConnectionAbortedError(f"not the protocol of Redis: {error}") from error
        return replies

    def hang_up(self) -> None:
        """End the connection so that the one that reads it notices."""
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
