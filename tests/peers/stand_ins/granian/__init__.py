"""Stands for granian in granian's own tests: its class of this name starts our server instead."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

__all__ = ["Granian"]


class Granian:
    """
    Takes what granian's tests say, in granian's words.

    Args:
        target: The application, as ``module:name``.
        settings: More of it.
    """

    def __init__(self, target: str, **settings: Any) -> None:
        self._target = target
        self._settings = settings

    def serve(self) -> None:
        """Become the server."""
        if os.environ.get("PEERS_SERVER") == "uvicorn":
            os.execv(sys.executable, [sys.executable, "-m", "uvicorn", *self._uvicorn()])
        os.environ["PEERS_TARGET"] = self._target
        code = "from twisted.scripts.twistd import run; run()"
        words = [sys.executable, "-c", code, "-n", "--pidfile=", "wsredis", *self._ours()]
        os.execv(sys.executable, words)

    def _uvicorn(self) -> list[str]:
        return [self._target, "--port", str(self._settings["port"]), "--interface", "asgi3"]

    def _ours(self) -> list[str]:
        # The tests wait for three seconds until somebody listens: a busy machine needs more for
        # the start of our program, which gets the socket as it would from systemd.
        listening = socket.create_server(("127.0.0.1", self._settings["port"]))
        os.dup2(listening.fileno(), 3)
        os.set_inheritable(3, True)
        os.environ |= {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"}
        os.environ["LISTEN_PID"] = str(os.getpid())
        redis = os.environ.get("PEERS_REDIS", "redis://127.0.0.1:1")
        words = ["--asgi", "granian.served:app", "--redis", redis]
        return [*words, "--port", "systemd:domain=INET:index=0"]
