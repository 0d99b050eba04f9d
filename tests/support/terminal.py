"""A program on a terminal: a person who types, and reads what it shows."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import termios
import time

from tests.support.children import PATIENCE

__all__ = ["Terminal"]

#: Makes the terminal that of a new session, so that its keys send signals, and runs the program.
_LAUNCHER = (
    "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


class Terminal:
    """
    A terminal with a program of this Python.

    Args:
        words: The command line after ``python``.
        env: The environment.

    Attributes:
        output: All that it has shown so far.
    """

    def __init__(self, *words: str, env: dict[str, str]) -> None:
        self.output = ""
        self._ours, self._theirs = os.openpty()
        self.mode = termios.tcgetattr(self._theirs)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCHER, *words],
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            env={**env, "TERM": "xterm", "NO_COLOR": "1"},
        )

    def type(self, text: str) -> None:
        """Type."""
        os.write(self._ours, text.encode())

    def wait_for(self, pattern: str) -> re.Match[str]:
        """
        Wait until the output matches a regular expression, and forget it up to there.

        Raises:
            AssertionError: It did not in time.
        """
        deadline = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self.output)) is None:
            if not select.select([self._ours], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"waiting for {pattern!r}:\n{self.output!r}")
            self.output += os.read(self._ours, 65536).decode("utf-8", "replace")
        self.output = self.output[found.end() :]
        return found

    def wait(self) -> int:
        """Wait for the end of the program. Returns: Its status."""
        return self._process.wait(PATIENCE)

    def is_restored(self) -> bool:
        """Tell whether the terminal has the settings that it had at the begin."""
        return termios.tcgetattr(self._theirs) == self.mode

    def close(self) -> None:
        """Kill the program if it runs, and close the terminal."""
        self._process.kill()
        self._process.wait()
        os.close(self._ours)
        os.close(self._theirs)
