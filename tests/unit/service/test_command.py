"""Tests of the module that the plugin of twistd names."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from wsredis.service.signals import SIGNALS

#: Sends the signals in the first moment at which the program itself is imported.
_PROGRAM = """
import signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "wsredis.service.tap":
            for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
                signal.raise_signal(number)

sys.meta_path.insert(0, Finder())
from wsredis.service import command
print(command.Options().signals._early, command.makeService.__name__)
"""


class CommandTests(SynchronousTestCase):
    """It catches signals before the program is imported."""

    def test_early(self) -> None:
        """A signal that comes during the imports is kept, and does not end the process."""
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60
        )
        expected = f"{[int(each) for each in SIGNALS]} makeService\n"
        self.assertEqual((0, expected), (done.returncode, done.stdout))
