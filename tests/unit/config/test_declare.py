"""Tests for `wsredis.config.declare`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import wsredis
from wsredis.config import GROUPS, Limits, all_settings, setting_of
from wsredis.config.declare import Checked, setting, settings_of
from wsredis.config.values import integer
from wsredis.errors import ConfigError

#: Options in the strings of the package that are not options of the gateway.
_OTHERS = {
    *("--broadcast", "--config", "--facility", "--group", "--help", "--origin", "--session"),
    *("--user", "--version", "--wait"),
    *("--ca", "--cookie", "--header", "--insecure", "--subprotocol", "--token", "--token-file"),
    "--unix",
    # Those of other programs.
    *("--appendonly", "--askpass", "--daemonize", "--dir", "--nothreading", "--save"),
    *("--nodaemon", "--pidfile"),
    *("--tls", "--unixsocket", "--unixsocketperm", "--maxmemory", "--maxmemory-policy"),
}


def counting() -> tuple[list[Any], Any]:
    """A check that remembers the values that it has seen."""
    seen: list[Any] = []

    def check(value: Any) -> Any:
        seen.append(value)
        return integer(0)(value)

    return seen, check


SEEN, CHECK = counting()


@dataclass(frozen=True, slots=True)
class Part(Checked):
    """A part of settings."""

    size: int = setting(5, CHECK, "Bytes.", name="part-size")


@dataclass(frozen=True, slots=True)
class Grouped(Checked):
    """Settings of two groups."""

    group = "limits"

    first: int = setting(1, CHECK, "First.")
    second: int = setting(2, CHECK, "Second.", group="logs")


@dataclass(frozen=True, slots=True)
class Whole(Checked):
    """Settings with a part."""

    max_size: int = setting(1, CHECK, "Bytes.")
    part: Part = field(default_factory=Part)
    ports: tuple[int, ...] = setting((), CHECK, "A port.", repeatable=True)
    key: int = setting(0, CHECK, "A key.", secret=True)
    rules: tuple[str, ...] = ()


class SettingTests(SynchronousTestCase):
    """`settings_of`, `setting` and `setting_of`."""

    def test_names(self) -> None:
        """A field gives the setting its name; the order is that of the fields."""
        found = list(settings_of(Whole))
        self.assertEqual(["max-size", "part-size", "ports", "key"], [each.name for each in found])
        self.assertEqual([None, "part", None, None], [each.part for each in found])
        first = found[0]
        self.assertEqual(
            ("max_size", "--max-size", "WSREDIS_MAX_SIZE"),
            (first.attribute, first.option, first.variable),
        )

    def test_repeatable(self) -> None:
        """One word makes a list of it, and says so in the help."""
        ports = {each.name: each for each in settings_of(Whole)}["ports"]
        self.assertTrue(ports.repeatable)
        self.assertEqual("A port. May be repeated.", ports.help)
        self.assertEqual((1, 2), ports.check("1 2"))

    def test_groups(self) -> None:
        """Every setting is in a group that has a heading; a dataclass may name it for all."""
        self.assertEqual(set(GROUPS), {each.group for each in all_settings()})
        groups = {each.name: each.group for each in settings_of(Grouped)}
        self.assertEqual({"first": "limits", "second": "logs"}, groups)

    def test_metavar(self) -> None:
        """The word for a value says what kind of value it is."""
        words = {each.name: each.metavar for each in all_settings()}
        names = ("expire", "drain", "port", "demo")
        self.assertEqual(["NUMBER", "SECONDS", "VALUE", ""], [words[name] for name in names])

    def test_read(self) -> None:
        """A refusal names the place that the value came from."""
        size = next(settings_of(Whole))
        self.assertEqual(7, size.read("7", "X"))
        error = self.assertRaises(ConfigError, size.read, "x", "WSREDIS_X")
        self.assertEqual("WSREDIS_X: 'x' is not a whole number", str(error))

    def test_setting_of(self) -> None:
        """A hint names an option of the declaration, or fails when it is written."""
        self.assertEqual("--max-queue", setting_of(Limits, "max_queue").option)
        self.assertRaises(KeyError, setting_of, Limits, "max_quue")

    def test_secrets(self) -> None:
        """A secret is not in the repr."""
        self.assertNotIn("key", repr(Whole()))


class CheckedTests(SynchronousTestCase):
    """`Checked`: each value is checked once."""

    def setUp(self) -> None:
        """Nothing was checked yet."""
        SEEN.clear()

    def test_made(self) -> None:
        """The constructor checks its own fields, each once."""
        whole = Whole(max_size="7", ports=["1", "2"])  # type: ignore[arg-type]
        self.assertEqual((7, (1, 2)), (whole.max_size, whole.ports))
        self.assertEqual([5, "7", "1", "2", 0], SEEN)
        error = self.assertRaises(ConfigError, Part, "x")
        self.assertEqual("part-size: 'x' is not a whole number", str(error))

    def test_from_checked(self) -> None:
        """Checked values are taken as they are; the rest has its default."""
        whole = Whole.from_checked({"max_size": 7, "part": Part.from_checked({"size": 3})})
        self.assertEqual([], SEEN)
        self.assertEqual(Whole(max_size=7, part=Part(3)), whole)
        self.assertEqual(Part(), Part.from_checked({}))


class HintTests(SynchronousTestCase):
    """Options that messages, hints and docstrings name."""

    def test_exist(self) -> None:
        """Every option that a string of the package names exists."""
        known = {each.option for each in all_settings()} | _OTHERS
        root = Path(wsredis.__file__).parent
        found = {
            f"{path.relative_to(root)}: {name}"
            for path in sorted(root.rglob("*.py"))
            for text in _strings(path)
            for name in re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z](?![\w-])", text)
            if name not in known
        }
        self.assertEqual(set(), found)


def _strings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
