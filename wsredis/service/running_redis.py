"""
The private servers of gateways that run: the commands find them without being told.

There is no list of them. Each has a socket in a folder of a known form among the temporary files,
and only a folder that belongs to this user, and to nobody else, is looked at.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from wsredis.errors import ConfigError
from wsredis.service.private_folder import FOLDER_PATTERN, place, socket_of, url_of

__all__ = ["running_servers"]

#: Seconds that a server has to take a connection.
_PATIENCE = 0.5


def running_servers() -> list[str]:
    """Return the URLs of the private servers of this user that run, in no order that matters."""
    return sorted(url_of(folder) for folder in _folders() if _listens(socket_of(folder)))


def _folders() -> Iterator[str]:
    try:
        paths = [*Path(place()).glob(FOLDER_PATTERN)]
    except ConfigError:
        return
    for path in paths:
        try:
            found = path.lstat()
        except OSError:
            continue
        is_private = not found.st_mode & 0o077 and found.st_uid == os.geteuid()
        if stat.S_ISDIR(found.st_mode) and is_private:
            yield str(path)


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_PATIENCE)
        try:
            client.connect(path)
        except OSError:
            # Its gateway was killed.
            return False
        return True
