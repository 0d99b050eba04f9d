"""Tests for `wsredis.config.imports`."""

from __future__ import annotations

import os
import sys
from importlib import invalidate_caches
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from wsredis.config.imports import import_named, search_here
from wsredis.errors import ConfigError


class NamedTests(SynchronousTestCase):
    """Things are found by name, in a working directory of this test."""

    def setUp(self) -> None:
        """Nothing that is imported here stays."""
        directory = Path(self.mktemp())
        directory.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(directory)
        self.patch(sys, "path", [*sys.path])
        # The import statement does not look at another dictionary in its place.
        self.addCleanup(self.restore, dict(sys.modules))
        self.patch(sys, "dont_write_bytecode", True)

    def restore(self, modules: dict[str, ModuleType]) -> None:
        """Forget modules that were imported, and remember those that were forgotten."""
        for name in sys.modules.keys() - modules.keys():
            del sys.modules[name]
        sys.modules.update(modules)

    def refused(self, name: str) -> str:
        """The text of the refusal, which is one line."""
        # The module may be younger than what the importer has seen, within one tick of the clock.
        invalidate_caches()
        text = str(self.assertRaises(ConfigError, import_named, "what: it", name))
        self.assertEqual(1, len(text.splitlines()), text)
        self.assertTrue(text.startswith("what: it: "), text)
        return text

    def test_working_directory(self) -> None:
        """The working directory is searched first or last, and is on the path once."""
        for first, place in ((True, 0), (False, -1)):
            search_here(first=first)
            search_here(first=not first)
            self.assertEqual(os.getcwd(), sys.path[place])
            self.assertEqual(1, sys.path.count(os.getcwd()))
            sys.path.remove(os.getcwd())

    def test_found(self) -> None:
        """Attributes of attributes are found, too."""
        search_here(first=False)
        Path("found_here.py").write_text("class A:\n    run = len\n")
        self.assertIs(len, import_named("what", "found_here:A.run"))

    def test_missing(self) -> None:
        """A missing module or name is refused; the refusal names no file and line."""
        self.assertIn("No module named 'nosuch_module'", self.refused("nosuch_module:may"))
        for name in ("os:nosuch", "os:path.nosuch"):
            self.assertTrue(self.refused(name).endswith(" has no attribute 'nosuch'"))

    def test_broken(self) -> None:
        """Any failure of the import is reported in one line, with its place."""
        search_here(first=False)
        for number, (text, words) in enumerate(
            (
                ("1 / 0", "ZeroDivisionError: division by zero ("),
                ("\ndef (", "SyntaxError: invalid syntax"),
                ("raise ValueError('a\\nb')", "ValueError: a b ("),
                ("raise RuntimeError", "broken_3.py:1)"),
                ("import sys\nsys.exit(3)", "SystemExit: 3 ("),
            )
        ):
            Path(f"broken_{number}.py").write_text(text)
            self.assertIn(words, self.refused(f"broken_{number}:may"))

    def test_not_callable(self) -> None:
        """An object that is not callable is refused."""
        self.assertIn("it is not callable", self.refused("os:sep"))

    def test_patched(self) -> None:
        """An import that replaces Python's threads or sockets is refused, and named."""
        search_here(first=False)
        for number, (module, function, part) in enumerate(
            (
                ("gevent.monkey", "is_module_patched", "threading"),
                ("gevent.monkey", "is_module_patched", "socket"),
                ("gevent.monkey", "is_module_patched", "select"),
                ("eventlet.patcher", "is_monkey_patched", "thread"),
            )
        ):
            Path(f"patched_{number}.py").write_text(
                "import sys, types\n"
                f"sys.modules[{module!r}] = fake = types.ModuleType({module!r})\n"
                f"fake.{function} = lambda name: name == {part!r}\n"
                "def may(): ...\n"
            )
            text = self.refused(f"patched_{number}:may")
            self.assertIn(f"those of {module.partition('.')[0]} (monkey patching)", text)
            del sys.modules[module]

    def test_needs_uwsgi(self) -> None:
        """A module for uWSGI, or one that ws4redis itself cannot import, is explained."""
        search_here(first=True)
        for name in [each for each in sys.modules if each.partition(".")[0] == "ws4redis"]:
            del sys.modules[name]
        Path("ws4redis").mkdir()
        Path("ws4redis", "__init__.py").touch()
        Path("ws4redis", "server.py").write_text("import nosuch_module")
        for number, (text, explained) in enumerate(
            (
                ("import uwsgi", True),
                ("from uwsgidecorators import timer", True),
                ("from ws4redis.server import application", True),
                ("import nosuch_module", False),
            )
        ):
            Path(f"for_uwsgi_{number}.py").write_text(text)
            self.assertEqual(
                explained,
                "the gateway takes the place of uWSGI" in self.refused(f"for_uwsgi_{number}:app"),
            )

    def test_imported_and_not_patched(self) -> None:
        """A library that could have done so, and has not, is no obstacle."""
        search_here(first=False)
        Path("not_patched.py").write_text(
            "import sys, types\n"
            "sys.modules['gevent.monkey'] = fake = types.ModuleType('gevent.monkey')\n"
            "fake.is_module_patched = lambda name: False\n"
            "def may(): ...\n"
        )
        self.assertTrue(callable(import_named("what: it", "not_patched:may")))

    def test_reactor_kept(self) -> None:
        """An import that installs another reactor, as that of Daphne, gets none but the first."""
        name, package = "twisted.internet.reactor", sys.modules["twisted.internet"]
        ours = ModuleType("ours")
        self.enterContext(patch.dict(vars(package), reactor=ours))
        Path("as_daphne.py").write_text(
            "import sys, types, warnings\n"
            "warnings.warn('Something has already installed a non-asyncio Twisted reactor. Try')\n"
            "theirs = sys.modules['twisted.internet.reactor'] = types.ModuleType('theirs')\n"
            "sys.modules['twisted.internet'].reactor = theirs\n"
            "def may(): ...\n"
        )
        search_here(first=False)
        for before, after in ((ours, "ours"), (None, "theirs")):
            sys.modules.pop("as_daphne", None)
            sys.modules.pop(name, None)
            if before is not None:
                sys.modules[name] = before
            import_named("what", "as_daphne:may")
            self.assertEqual(after, sys.modules[name].__name__)
            self.assertEqual(after, vars(package)["reactor"].__name__)
        self.assertEqual([], self.flushWarnings())
