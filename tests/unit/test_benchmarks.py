"""The benchmarks fit together: nothing is timed here."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


class BenchmarksCase(SynchronousTestCase):
    """A test that imports modules of the benchmarks."""

    def setUp(self) -> None:
        """Import the modules as run.py does, for the time of a test."""
        if not FOLDER.exists():
            raise SkipTest("the benchmarks are not part of an installed package")
        self.patch(sys, "path", [str(FOLDER), *sys.path])
        before = set(sys.modules)
        self.addCleanup(lambda: [sys.modules.pop(name) for name in {*sys.modules} - before])


class BenchmarksTests(BenchmarksCase):
    """`benchmarks/run.py` and what belongs to it."""

    def setUp(self) -> None:
        """Import the modules as run.py does, for the time of a test."""
        super().setUp()
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


class AttackTests(BenchmarksCase):
    """`benchmarks/attack.py` and what belongs to it."""

    def setUp(self) -> None:
        """Import the modules as attack.py does, for the time of a test."""
        super().setUp()
        self.attack = importlib.import_module("attack")
        self.hostile = importlib.import_module("hostile")
        self.ordinary = importlib.import_module("ordinary")

    def test_readme_describes_all(self) -> None:
        """Each attack and each column has its lines in the README."""
        text = (FOLDER / "README.rst").read_text()
        for name in self.hostile.ATTACKS:
            self.assertRegex(text, rf"(?m)^{name} ")
        for title in self.attack.COLUMNS.values():
            self.assertRegex(text, rf"(?m)^``.*{title}")

    def test_frames(self) -> None:
        """A frame of a client is masked, and has the shortest length."""
        for size, head in (
            (125, b"\x81\xfd"),
            (126, b"\x81\xfe\0\x7e"),
            (65536, b"\x81\xff\0\0\0\0\0\1\0\0"),
        ):
            frame = self.ordinary.masked(0x81, b"x" * size)
            self.assertEqual(head + b"\0\0\0\0", frame[:-size])

    def test_bomb(self) -> None:
        """A bomb is short, and not larger than a message may be when it is inflated."""
        bomb = self.hostile.bomb()
        self.assertLess(len(bomb), 2048)
        payload = bomb[8:] + b"\0\0\xff\xff"
        self.assertEqual(1047552, len(zlib.decompressobj(-15).decompress(payload)))

    def test_forwarded(self) -> None:
        """What the attacker makes up stands left of the address that its proxy adds."""
        attackers = self.attack.attacking("pings", 8080, 1.0, True)
        self.assertEqual(["127.0.0.2", "127.0.0.3"], [words[7] for words in attackers])
        behind = self.hostile.Hostile(
            self.hostile.ATTACKS["bad-requests"], 0, "127.0.0.3", "192.0.2.66"
        )
        request = behind._request(1)
        self.assertRegex(request, rb"(?m)^X-Forwarded-For: 203\.0\.113\.\d+, 192\.0\.2\.66\r")
        self.assertTrue(request.endswith(b"\r\n\r\n"))

    def test_not_through_proxy(self) -> None:
        """An attack that no proxy passes on comes from one address only."""
        self.assertEqual(1, len(self.attack.attacking("silent", 8080, 1.0, True)))

    def test_addresses(self) -> None:
        """A fifth of the ordinary clients share an address, and nobody has an attacker's."""
        found = [self.ordinary.address_of(number) for number in range(500)]
        self.assertEqual(50, found.count(("127.0.1.1", "")))
        self.assertEqual(50, found.count(("127.0.0.3", "198.51.100.1")))
        self.assertNotIn(self.attack.DIRECT, [source for source, _ in found])

    def test_quantile(self) -> None:
        """The largest of few values is their 99th percentile."""
        self.assertEqual(3.0, self.ordinary.quantile([1.0, 3.0, 2.0], 0.99))
        self.assertEqual(0.0, self.ordinary.quantile([], 0.99))

    def test_row(self) -> None:
        """A line names losses: newcomers by status, and clients by close code."""
        found = dict.fromkeys(self.attack.COLUMNS, 1.0)
        line = self.attack.row("pings", {**found, "refused": {503: 2}, "closed": {1008: 1}})
        self.assertTrue(line.endswith("refused: 2 x 503  CLOSED: 1 x 1008"), line)


class AsgiTests(BenchmarksCase):
    """`benchmarks/asgi.py`."""

    def setUp(self) -> None:
        """Import the module as it runs."""
        super().setUp()
        self.asgi: Any = importlib.import_module("asgi")

    def test_readme_describes_all(self) -> None:
        """Each scenario has its line in the README."""
        text = (FOLDER / "README.rst").read_text()
        for name in self.asgi.SCENARIOS:
            self.assertRegex(text, rf"(?m)^{name} ")

    def test_applications_exist(self) -> None:
        """Each scenario names a module that is there, and a server is started with it."""
        for name, scenario in self.asgi.SCENARIOS.items():
            self.assertTrue((FOLDER / "peers" / f"{scenario.application}.py").exists(), name)
            for command in self.asgi.SERVERS.values():
                words = " ".join(command(scenario.application, 8080))
                self.assertIn(f"{scenario.application}:app", words)
                self.assertIn("8080", words)

    def test_load_generator_knows_arguments(self) -> None:
        """Every argument is one of ask.c, and a mode is one that it has."""
        source = (FOLDER / "ask.c").read_text()
        for name in ("port", "mode", "clients", "request", "answer", "seconds", "warmup", "count"):
            self.assertIn(f'!strcmp(argv[i], "{name}")', source)
        for scenario in self.asgi.SCENARIOS.values():
            self.assertRegex(source, rf"(?m)^ \*.*\b{scenario.mode}\b")

    def test_table(self) -> None:
        """The ratio is ours to theirs, run by run."""
        results = [
            {"run": run, "scenario": "hello", "server": server, "figure": figure}
            for run, server, figure in (
                *((1, "wsredis", 20.0), (1, "uvicorn", 10.0)),
                *((2, "wsredis", 30.0), (2, "uvicorn", 10.0)),
                *((3, "wsredis", 50.0), (3, "uvicorn", 10.0)),
            )
        ]
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.asgi.table(results, ["wsredis", "uvicorn", "daphne"], ["hello"])
        self.assertIn("10 (3.00)", out.getvalue())
