"""`benchmarks/attack.py` against the real program. Nothing is timed here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.support.children import PATIENCE, clean_environment
from tests.support.require import missing

_PROGRAM = Path(__file__).parents[2] / "benchmarks" / "attack.py"


class AttackTests(SynchronousTestCase):
    """One attack, for a second."""

    skip = missing("redis")

    def test_short_run(self) -> None:
        """The attackers reach the gateway, and the ordinary clients get all their messages."""
        if not _PROGRAM.exists():
            raise SkipTest("the benchmarks are not part of an installed package")
        path = Path(self.mktemp())
        words = ["--attacks", "handshakes,bad-requests", "--clients", "20", "--seconds", "1"]
        done = subprocess.run(
            [sys.executable, str(_PROGRAM), *words, "--quiet", "1", "--json", str(path)],
            capture_output=True,
            text=True,
            env=clean_environment(),
            timeout=2 * PATIENCE,
        )
        self.assertEqual((0, ""), (done.returncode, done.stderr), done.stdout)
        results = json.loads(path.read_text())
        self.assertEqual(["quiet", "handshakes", "bad-requests", "quiet again"], list(results))
        for name, found in results.items():
            self.assertGreater(found["messages"], 0, name)
        for attacker in results["handshakes"]["attackers"]:
            self.assertIn("101", attacker["answers"])
