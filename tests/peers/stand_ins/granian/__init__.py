"""Stands for granian in granian's own tests: its class of this name starts our server instead."""

from __future__ import annotations

import os
import sys
from pathlib import Path
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
        port, path = self._settings.get("port"), self._settings.get("uds")
        endpoint = f"unix:{Path(path).absolute()}" if path else f"tcp:{port}:interface=127.0.0.1"
        words = [
            "--asgi",
            "granian.served:app",
            "--redis",
            os.environ.get("PEERS_REDIS", "redis://127.0.0.1:1"),
        ]
        certificate = self._settings.get("ssl_cert")
        if certificate:
            words += ["--tls-cert", str(certificate), "--tls-key", str(self._settings["ssl_key"])]
            return [*words, "--tls-port", endpoint]
        return [*words, "--port", endpoint]
