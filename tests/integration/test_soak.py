"""A minute of ``python -m tests.soak``: clients come and go, and in the end all is given back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.children import PATIENCE, clean_environment
from tests.support.require import missing


class SoakTests(SynchronousTestCase):
    """Both ways to run a gateway, one of them compressing."""

    skip = missing("redis")

    def soak(self, *words: str) -> None:
        """Run the program, which finds nothing that is missing or left."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.soak", *words],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            env=clean_environment(),
            timeout=4 * PATIENCE,
        )
        self.assertEqual((0, ""), (done.returncode, done.stderr), done.stdout)
        self.assertIn("memory is given back", done.stdout)

    def test_one_process(self) -> None:
        """Connections, channels, timers, descriptors, threads, objects and memory."""
        self.soak("--seconds", "30", "--compress")

    def test_workers(self) -> None:
        """The same from outside, and a worker that is killed takes only its own clients along."""
        self.soak("--seconds", "24", "--workers", "2")
