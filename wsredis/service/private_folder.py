"""The folder of a private Redis: its name, and the place of the socket in it."""

from __future__ import annotations

import os
import secrets
import tempfile
from urllib.parse import quote

from wsredis.errors import ConfigError

__all__ = ["FOLDER_PATTERN", "new_folder", "place", "socket_of", "url_of"]

#: The names of such folders, among the temporary files.
FOLDER_PATTERN = f"wsredis-{'[0-9a-f]' * 16}"

#: The longest path of a folder: the address of a socket has 104 bytes at least on every system.
_MAX_FOLDER = 80


def place() -> str:
    """
    Return the folder that those of private servers are in: that of temporary files, or /tmp.

    Raises:
        ConfigError: There is no place for temporary files.
    """
    try:
        folder = tempfile.gettempdir()
    except OSError as error:
        raise ConfigError(f"redis: no private Redis can be started: {error.strerror}") from None
    return folder if len(os.fsencode(folder)) + len(_name()) < _MAX_FOLDER else "/tmp"


def new_folder() -> str:
    """
    Return the path of a folder that does not exist yet, and that nobody can guess.

    Raises:
        ConfigError: See `place`.
    """
    return os.path.join(place(), _name())


def _name() -> str:
    return f"wsredis-{secrets.token_hex(8)}"


def socket_of(folder: str) -> str:
    """Return the path of the socket."""
    return f"{folder}/redis.sock"


def url_of(folder: str) -> str:
    """Return the URL of the server."""
    return f"unix://{quote(socket_of(folder))}"
