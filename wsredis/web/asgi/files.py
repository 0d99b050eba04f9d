"""Files that an application lets the server send: a path, or a part of an open file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["FilePart", "open_part", "open_path"]


class FilePart(NamedTuple):
    """
    Bytes of a file.

    Attributes:
        descriptor: Of the open file.
        start: The place of the first byte.
        size: The number of bytes.
        done: To be called when they were read, or will not be.
    """

    descriptor: int
    start: int
    size: int
    done: Callable[[], None]

    def read(self, start: int, size: int) -> bytes:
        """
        Read up to so many bytes.

        Args:
            start: Of the bytes that were read before, their number.

        Raises:
            RuntimeError: The file has become shorter.
        """
        size = min(size, self.size - start)
        block = os.pread(self.descriptor, size, self.start + start) if size else b""
        if size and not block:
            raise RuntimeError("the file has become shorter")
        return block


def open_path(event: Mapping[str, Any]) -> FilePart:
    """
    Open the file of ``http.response.pathsend``.

    Raises:
        TypeError: There is no path.
        OSError: It cannot be opened.
    """
    path = event.get("path")
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError("path is a str")
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    size = os.fstat(descriptor).st_size
    return FilePart(descriptor, 0, size, lambda: os.close(descriptor))


def open_part(event: Mapping[str, Any]) -> FilePart:
    """
    Find the bytes of ``http.response.zerocopysend``.

    Raises:
        TypeError: An offset or a count is no number.
    """
    file: Any = event.get("file")
    offset, count = event.get("offset"), event.get("count")
    for each in (offset, count):
        if each is not None and not (isinstance(each, int) and each >= 0):
            raise TypeError("offset and count are ints, and not less than 0")
    is_number = isinstance(file, int)
    descriptor = file if is_number else file.fileno()
    start = offset
    if start is None:
        start = os.lseek(file, 0, os.SEEK_CUR) if is_number else file.tell()
    left = max(0, os.fstat(descriptor).st_size - start)
    size = left if count is None else min(count, left)

    def advance() -> None:
        """Leave the file where its bytes end, as os.sendfile() does."""
        if offset is not None:
            return
        if is_number:
            os.lseek(file, start + size, os.SEEK_SET)
        else:
            file.seek(start + size)

    return FilePart(descriptor, start, size, advance)
