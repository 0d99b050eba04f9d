"""The benchmarks fit together: nothing is timed here."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


class BenchmarksTests(SynchronousTestCase):
    """`benchmarks/run.py` and what belongs to it."""

    def setUp(self) -> None:
        """Import the modules as run.py does, for the time of a test."""
        if not FOLDER.exists():
            raise SkipTest("the benchmarks are not part of an installed package")
        self.patch(sys, "path", [str(FOLDER), *sys.path])
        before = set(sys.modules)
        self.addCleanup(lambda: [sys.modules.pop(name) for name in {*sys.modules} - before])
        self.run_module = importlib.import_module("run")
        self.servers: dict[str, Any] = importlib.import_module("servers").all_servers([])
        self.scenarios: dict[str, Any] = importlib.import_module("scenarios").SCENARIOS

    def test_help(self) -> None:
        """The command says which servers and scenarios there are."""
        done = subprocess.run(
            [sys.executable, str(FOLDER / "run.py"), "--help"], capture_output=True, text=True
        )
        self.assertEqual(0, done.returncode, done.stderr)
        said = "".join(done.stdout.split())
        for name in [*self.servers, *self.scenarios]:
            self.assertIn(name, said)

    def test_load_generator_knows_arguments(self) -> None:
        """Every argument of a scenario or a server is one of load.c."""
        source = (FOLDER / "load.c").read_text()
        known = {*re.findall(r'\{"([a-z-]+)", ', source), "messages", "seconds", "warmup"}
        for each in self.scenarios.values():
            for word in [*each.full.split(), *each.quick.split()]:
                self.assertIn(word.partition("=")[0], known)
        for server in self.servers.values():
            for words in (server.load, *server.load_in.values()):
                for word in words:
                    self.assertIn(word.partition("=")[0], known)
            self.assertLessEqual(set(server.load_in), set(self.scenarios))

    def test_programs_of_peers_exist(self) -> None:
        """A peer is started from a file that is there, with its ports."""
        ground = importlib.import_module("servers").Ground(Path(self.mktemp()), 6379)
        ground.folder.mkdir()
        for name, server in self.servers.items():
            command = server.command(ground, 8080, self.scenarios["A"])
            for word in command:
                if word.startswith(str(FOLDER / "peers")):
                    self.assertTrue(Path(word).exists(), word)
            self.assertTrue("8080" in " ".join(command) or name in ("nchan", "centrifugo"), command)

    def test_readme_describes_all(self) -> None:
        """Each server and each scenario has its lines in the README."""
        text = (FOLDER / "README.rst").read_text()
        for name in self.servers:
            self.assertIn(f"\n{name}\n", text)
        for name in self.scenarios:
            self.assertRegex(text, rf"(?m)^{name}\b")

    def test_choice(self) -> None:
        """Names are taken in their usual order; wsredis stands for all its interpreters."""
        known = dict.fromkeys(["floor", "wsredis", "wsredis-3.13.0", "nchan"])
        chosen = self.run_module.chosen
        self.assertEqual(["wsredis", "wsredis-3.13.0", "nchan"], chosen("nchan,wsredis", known, ()))
        self.assertEqual(["floor"], chosen("", known, ("floor",)))
        self.assertRaises(SystemExit, chosen, "apache", known, ())

    def test_quick_choice_exists(self) -> None:
        """The servers and scenarios of --quick are there."""
        for name in importlib.import_module("servers").QUICK:
            self.assertIn(name, self.servers)
        for name in importlib.import_module("scenarios").QUICK:
            self.assertIn(name, self.scenarios)
