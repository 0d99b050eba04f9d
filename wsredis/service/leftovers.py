"""
Files that a dead process has left: its UNIX socket, its lock, its process id.

A file and a number prove nothing: the system gives the number to another process, in a container
soon and often to the successor itself. A socket that takes connections proves that its owner lives.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
import time
from pathlib import Path

__all__ = ["remove_dead_socket", "remove_stale_pidfile"]


def remove_dead_socket(path: str) -> None:
    """
    Remove the file of a UNIX socket on which nobody listens, and Twisted's lock beside it.

    It does nothing if somebody listens, or if *path* is not a socket: to bind it fails then.

    Args:
        path: Path of the socket. An abstract name of Linux, which begins with a zero byte, has no
            file.
    """
    if path.startswith("\0"):
        return
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode) or _is_listening(path):
            return
        os.remove(path)
    except FileNotFoundError:
        pass
    except OSError:
        return
    lock = Path(f"{path}.lock")
    if lock.is_symlink():
        lock.unlink(missing_ok=True)


def _is_listening(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        # A server whose queue is full must not be waited for.
        client.setblocking(False)
        try:
            client.connect(path)
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            pass
        return True


def remove_stale_pidfile(path: str) -> None:
    """
    Remove a file with a process id if the process is this one, or has started after it was written.

    twistd takes any process with that id for the owner, and refuses to start beside it.

    Args:
        path: Path of the file. If empty, there is none.
    """
    try:
        written = os.stat(path).st_mtime
        pid = int(Path(path).read_text())
        if pid == os.getpid() or _started(pid) > written:
            os.remove(path)
    except (OSError, ValueError):
        # There is no file, or nothing is known about the process: twistd decides.
        pass


def _started(pid: int) -> float:
    """
    Return the time at which a process has started, in seconds since the epoch.

    Raises:
        OSError: There is no such process, or the system does not tell.
    """
    if sys.platform != "linux":
        raise OSError
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.time() - age
