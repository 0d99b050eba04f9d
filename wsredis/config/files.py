"""A stamp of a file, which differs when the file has changed."""

from __future__ import annotations

import os

__all__ = ["FileStamp", "file_stamp"]

#: Modification time in nanoseconds, size in bytes and inode of a file. None if there is no file.
FileStamp = tuple[int, int, int] | None


def file_stamp(path: str | os.PathLike[str]) -> FileStamp:
    """
    Return a value that differs when the file was written or replaced.

    A path that no file can have, such as one with a NUL, gives None like a missing file.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
