"""
Bytes that wait in this process: bodies of requests that are not whole, answers that are not read.

Bodies wait in files once they are large, answers in memory: a thread has made their bytes already.
All of them share one bound, of which each address has a share.
"""

from __future__ import annotations

from collections.abc import Hashable
from tempfile import SpooledTemporaryFile
from threading import Lock
from typing import Any

from wsredis.gateway.shares import SharedBound

__all__ = ["MAX_SPOOL", "Spool", "SpoolFull", "SpooledBody"]

#: Bytes that wait, unless a setting says otherwise.
MAX_SPOOL = 134217728

#: Bytes of one body that wait in memory; a larger one goes to a temporary file.
_IN_MEMORY = 65536


class SpoolFull(Exception):
    """A body has no share of the spool left for more bytes."""


class Spool:
    """
    The bound of all bytes that wait.

    The methods may be called in any thread.

    Args:
        limit: Bytes.
    """

    def __init__(self, limit: int) -> None:
        self._lock = Lock()
        self._limit = limit
        self._bytes = SharedBound(limit)

    @property
    def held(self) -> int:
        """Bytes that wait."""
        return self._bytes.held

    def is_full(self, size: int) -> bool:
        """Tell whether *size* bytes may not wait, whoever sends them."""
        return self.held + size > self._limit

    def has_room(self, key: Hashable, size: int) -> bool:
        """Tell whether *size* bytes of *key* may wait now."""
        with self._lock:
            return self._bytes.has_room(key, size)

    def take(self, key: Hashable, size: int) -> bool:
        """Count *size* bytes of *key*. If False, they may not wait, and nothing has changed."""
        with self._lock:
            return self._bytes.take(key, size)

    def release(self, key: Hashable, size: int) -> None:
        """Count *size* bytes of *key* no more."""
        with self._lock:
            self._bytes.release(key, size)


class SpooledBody(SpooledTemporaryFile[bytes]):
    """
    The body of one request, as a file. Closing it gives its share of the spool back.

    Args:
        key: The address that sends it.
    """

    def __init__(self, spool: Spool, key: Hashable) -> None:
        super().__init__(_IN_MEMORY)
        self._spool = spool
        self._key = key
        self._size = 0

    def write(self, data: Any) -> int:
        """
        Append bytes.

        Raises:
            SpoolFull: They may not wait. Nothing has changed.
            OSError: The file cannot be written.
        """
        if not self._spool.take(self._key, len(data)):
            raise SpoolFull
        self._size += len(data)
        return super().write(data)

    def close(self) -> None:
        """Close the file, and give its share back. Harmless if it is closed."""
        super().close()
        size, self._size = self._size, 0
        if size:
            self._spool.release(self._key, size)

    def __del__(self) -> None:
        # Its share is not given back: this may run in any thread, and inside of the spool's lock.
        super().close()
