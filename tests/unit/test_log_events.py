"""Every line of the log names its kind, and the reference explains each kind."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import wsredis
from tests.unit.test_layers import modules

_PAGE = Path(__file__).parents[2] / "docs" / "reference" / "log.rst"

#: The methods of `twisted.logger.Logger` that the package calls, and the levels of their lines.
_METHODS = {
    "debug": "debug",
    "info": "info",
    "warn": "warn",
    "error": "error",
    "critical": "critical",
    "failure": "critical",
}

#: Methods that log with the Logger that is their first argument, and the levels of those that have
#: no argument for it.
_INDIRECT = {"log": "", "failure": "critical", "log_loss": "warn", "log_failure": "critical"}

#: Those of them whose second argument is the event.
_OF_EVENT = {"log_loss", "log_failure"}

_ROW = re.compile(r"^   \* - ``([a-z0-9-]+)``\n     - ([a-z, ]+)\n     - (.+)\n", re.MULTILINE)


class _Line:
    """
    A call that logs a line.

    Attributes:
        event: If None, it is not a constant.
        fields: The names of the fields that the record of the line has.
    """

    def __init__(self, module: str, method: str, call: ast.Call, is_indirect: bool) -> None:
        self.place = f"{module}:{call.lineno}"
        arguments = {each.arg: each.value for each in call.keywords}
        event = call.args[1] if method in _OF_EVENT else arguments.get("event")
        self.event = event.value if isinstance(event, ast.Constant) else None
        self.level = _INDIRECT[method] if is_indirect else _METHODS[method]
        if not self.level:
            self.level = ast.unparse(call.args[1]).removeprefix("LogLevel.")
        # What ``**`` adds has no name here.
        self.fields = [
            name
            for name in arguments
            if name and not name.startswith("_") and name not in ("event", "failure")
        ]


def _is_log(node: ast.expr) -> bool:
    return re.search(r"(^|\.)_?log$", ast.unparse(node)) is not None


def _lines() -> Iterator[_Line]:
    for module, path in modules(Path(wsredis.__file__).parent).items():
        source = path.read_text("utf-8")
        if "getLogger(" in source:
            # It runs in other programs, too, and logs in their way.
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                method = node.func.attr
                is_indirect = method in _INDIRECT and bool(node.args) and _is_log(node.args[0])
                if is_indirect or (method in _METHODS and _is_log(node.func.value)):
                    yield _Line(module, method, node, is_indirect)


class EventTests(SynchronousTestCase):
    """The names of the kinds of lines."""

    def setUp(self) -> None:
        """Find all lines, and all rows of the page: the levels and fields of each event."""
        self.lines = [*_lines()]
        self.rows = {
            event: (set(levels.split(", ")), set(re.findall(r"``(\w+)``", fields)))
            for event, levels, fields in _ROW.findall(_PAGE.read_text("utf-8"))
        }

    def test_named(self) -> None:
        """Each call that logs a line has a constant ``event``."""
        self.assertGreater(len(self.lines), 50)
        self.assertEqual([line.place for line in self.lines if not line.event], [])

    def test_explained(self) -> None:
        """Each event has a row in the reference, and no row is about anything else."""
        self.assertEqual({line.event for line in self.lines}, {*self.rows})

    def test_levels_and_fields(self) -> None:
        """The reference names the levels and the fields of each event."""
        for event, (levels, fields) in self.rows.items():
            lines = [line for line in self.lines if line.event == event]
            self.assertEqual({line.level for line in lines}, levels, event)
            missing = {name for line in lines for name in line.fields} - fields
            self.assertEqual(set(), missing, event)

    def test_reserved(self) -> None:
        """No field has a name that every record has."""
        reserved = {"time", "level", "logger", "message", "traceback", "system", "format", "why"}
        self.assertEqual(
            [], [line.place for line in self.lines if reserved.intersection(line.fields)]
        )
