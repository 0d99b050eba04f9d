"""Every line of the log names its kind, so that programs can tell the lines apart."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import wsredis
from tests.unit.test_layers import modules

#: The methods of `twisted.logger.Logger` that the package calls.
_METHODS = {"debug", "info", "warn", "error", "critical", "failure"}

#: Methods that log with the Logger that is their first argument, and those of them whose second
#: argument is the event.
_INDIRECT = {"log", "failure", "log_loss", "log_failure"}
_OF_EVENT = {"log_loss", "log_failure"}


class _Line:
    """A call that logs a line: where it is, and its event. None if the event is not a constant."""

    def __init__(self, module: str, method: str, call: ast.Call) -> None:
        self.place = f"{module}:{call.lineno}"
        arguments = {each.arg: each.value for each in call.keywords}
        event = call.args[1] if method in _OF_EVENT else arguments.get("event")
        self.event = event.value if isinstance(event, ast.Constant) else None


def _is_log(node: ast.expr) -> bool:
    return ast.unparse(node).endswith("_log")


def _lines() -> Iterator[_Line]:
    for module, path in modules(Path(wsredis.__file__).parent).items():
        source = path.read_text("utf-8")
        if "getLogger(" in source:
            # It runs in other programs, too, and logs in their way.
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                method = node.func.attr
                if (method in _METHODS and _is_log(node.func.value)) or (
                    method in _INDIRECT and node.args and _is_log(node.args[0])
                ):
                    yield _Line(module, method, node)


class EventTests(SynchronousTestCase):
    """The names of the kinds of lines."""

    def test_named(self) -> None:
        """Each call that logs a line has an argument ``event``, a constant."""
        lines = [*_lines()]
        self.assertGreater(len(lines), 50)
        self.assertEqual([line.place for line in lines if not line.event], [])
