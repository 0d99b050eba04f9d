"""A test case for the command line."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from wsredis.config import GatewayConfig
from wsredis.service.tap import Options, makeService

__all__ = ["TapCase"]


class TapCase(SynchronousTestCase):
    """An environment without settings, and a reactor that is put back after the test."""

    def setUp(self) -> None:
        """Nothing is set."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("WSREDIS_")}
        self.patch(os, "environ", clean)
        self.patch(reactor, "seconds", reactor.seconds)
        self.patch(reactor, "stop", reactor.stop)
        self.limits = (4096, 100_000)
        self.patch(resource, "getrlimit", lambda which: self.limits)
        self.patch(resource, "setrlimit", lambda which, limits: setattr(self, "limits", limits))

    def parse(self, *words: str) -> Options:
        """Parse a command line."""
        options = Options()
        options.parseOptions(list(words))
        return options

    def load(self, *words: str) -> GatewayConfig:
        """The settings of a command line."""
        return self.parse(*words).load()

    def fails(self, *words: str) -> str:
        """The one line with which the program ends; the status is not 0."""
        end = self.assertRaises(SystemExit, lambda: makeService(self.parse(*words)))
        self.assertIsInstance(end.code, str, "a text is printed, and the status is 1")
        self.assertTrue(end.code.startswith("wsredis: "), end.code)
        self.assertNotIn("\n", end.code)
        return str(end.code)

    def nobody_answers(self) -> None:
        """No Redis is at the usual port."""

        def refuse(*args: Any, **more: Any) -> socket.socket:
            raise ConnectionRefusedError

        self.patch(socket, "create_connection", refuse)

    def path(self, *names: str) -> None:
        """Only these programs are in PATH."""
        directory = Path(self.mktemp())
        directory.mkdir()
        for name in names:
            (directory / name).touch(mode=0o755)
        os.environ["PATH"] = str(directory)
