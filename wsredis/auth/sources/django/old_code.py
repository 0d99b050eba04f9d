"""
Code of a project that was right in the time of django-websocket-redis, and is not any more.

It is read and not run.
"""

from __future__ import annotations

import ast
import inspect
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CodeType
from typing import Any, cast

__all__ = ["Remark", "called_attributes", "remarks_on"]

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)

#: Methods of a user until Django 1.10, which are attributes since.
_ATTRIBUTES = frozenset({"is_authenticated", "is_anonymous"})

#: A function with one of these tells anonymous visitors from users in a way that still works.
_TELLING = _ATTRIBUTES | {"is_staff", "is_superuser", "has_perm", "has_perms"}

#: A function with one of these calls the attributes only where they are methods.
_GUARDS = frozenset({"callable", "VERSION"})

#: Functions that start greenlets.
_SPAWN = re.compile(r"(gevent|(gevent\.)?Greenlet)\.spawn")

#: Attributes of a request that were None without a cookie: what they are now, and the test for it.
_NEVER_NONE = {
    "user": ("Django's AnonymousUser", "Test request.user.is_authenticated."),
    "session": ("an empty session", "Test request.session.session_key."),
}


@dataclass(frozen=True, slots=True)
class Remark:
    """
    Something in a function that does not work as it is written.

    Attributes:
        place: Name of the file and number of the line.
        problem: What is wrong.
        hint: What to write in its place.
        is_open: Tells whether the function may let in somebody whom it means to refuse. Otherwise
            it refuses too many.
    """

    place: str
    problem: str
    hint: str
    is_open: bool


def remarks_on(function: Callable[..., Any]) -> list[Remark]:
    """
    Read the source of a hook.

    Args:
        function: A function, a method, or an object that can be called.

    Returns:
        What is wrong in it, and in the functions of the same file that it calls. It is empty if
        nothing is, and if the source cannot be read.
    """
    code = _code_of(function)
    if code is None:
        return []
    name = Path(code.co_filename).name
    functions = _functions(code.co_filename)
    tree = _with_helpers([each for each in functions if _is_of(code, each)], functions)
    return [
        *(_call_remark(f"{name}:{line}", each) for line, each in called_attributes(tree)),
        *(_spawn_remark(f"{name}:{line}", each) for line, each in _spawns(tree)),
        *(_none_remark(f"{name}:{line}", each) for line, each in _tests_for_none(tree)),
    ]


def _is_of(code: CodeType, function: _Function) -> bool:
    """Tell whether *code* was made from this function."""
    decorators = getattr(function, "decorator_list", ())
    first = min([function.lineno, *(each.lineno for each in decorators)])
    return (first, getattr(function, "name", "<lambda>")) == (code.co_firstlineno, code.co_name)


def _with_helpers(found: list[_Function], functions: list[_Function]) -> ast.Module:
    """Add the functions of the same file that these ones name, and those that the others name."""
    pending = list(found)
    while pending:
        named = set()
        for node in ast.walk(pending.pop()):
            if isinstance(node, ast.Name):
                named.add(node.id)
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "cls"):
                named.add(node.attr)
        more = [
            each for each in functions if getattr(each, "name", "") in named and each not in found
        ]
        found += more
        pending += more
    return ast.Module(cast("list[ast.stmt]", found), [])


def _call_remark(place: str, attribute: str) -> Remark:
    problem = f"it calls {attribute}(), which is not a method any more: every call raises TypeError"
    return Remark(place, problem, f"Write {attribute} without parentheses.", False)


def _spawn_remark(place: str, call: str) -> Remark:
    problem = f"it calls {call}(), and nothing runs what it starts: the gateway does without gevent"
    return Remark(place, problem, "Call the function itself, or in a thread.", False)


def _none_remark(place: str, attribute: str) -> Remark:
    now, hint = _NEVER_NONE[attribute]
    problem = (
        f"it tests whether request.{attribute} is None or false, and it never is: without a "
        f"cookie it is {now}"
    )
    return Remark(place, problem, hint, True)


def called_attributes(tree: ast.AST) -> list[tuple[int, str]]:
    """
    Find calls of ``user.is_authenticated()`` and ``user.is_anonymous()``.

    Args:
        tree: A module or a function. A function that looks at the version of Django, or whether
            the attribute can be called, is left out.

    Returns:
        Lines and names of attributes, sorted.
    """
    found = set(_calls(tree))
    for node in ast.walk(tree):
        if isinstance(node, _FUNCTIONS) and _names(node) & _GUARDS:
            found -= set(_calls(node))
    return sorted(found)


def _calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and not node.args and not node.keywords:
            called = node.func
            if isinstance(called, ast.Attribute) and called.attr in _ATTRIBUTES:
                owner = called.value
                name = getattr(owner, "attr", getattr(owner, "id", ""))
                if name.endswith("user"):
                    yield node.lineno, called.attr


def _spawns(tree: ast.AST) -> list[tuple[int, str]]:
    """Find what starts a greenlet, for which a thread has no loop."""
    called = {
        (node.lineno, ast.unparse(node.func))
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    }
    return sorted(each for each in called if _SPAWN.match(each[1]))


def _tests_for_none(tree: ast.AST) -> list[tuple[int, str]]:
    """Find tests of ``request.user`` and ``request.session`` that have one result only."""
    tested: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
            if any(isinstance(each, ast.Constant) and each.value is None for each in operands):
                tested += operands
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            tested.append(node.operand)
        elif isinstance(node, ast.BoolOp):
            tested += node.values
        elif isinstance(node, (ast.If, ast.IfExp)):
            tested.append(node.test)
    known = _copies(tree)
    found = {(each.lineno, known[text]) for each in tested if (text := ast.unparse(each)) in known}
    exempt = {"user"} if _names(tree) & _TELLING else set()
    for node in ast.walk(tree):
        if _is_content(node, known):
            exempt.add("session")
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            # The function tests what it has put there.
            exempt.add(known.get(ast.unparse(node), ""))
    return sorted(each for each in found if each[1] not in exempt)


def _copies(tree: ast.AST) -> dict[str, str]:
    """The expressions for ``request.user`` and ``request.session``, with their attribute."""
    known = {f"request.{name}": name for name in _NEVER_NONE}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and ast.unparse(node.value) in known:
            attribute = known[ast.unparse(node.value)]
            known.update(
                {each.id: attribute for each in node.targets if isinstance(each, ast.Name)}
            )
    return known


def _is_content(node: ast.AST, known: dict[str, str]) -> bool:
    """Tell whether this reads something of the session: an empty one does not have it."""
    owners: list[ast.expr] = []
    if isinstance(node, (ast.Attribute, ast.Subscript)):
        owners = [node.value]
    elif isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)):
        owners = node.comparators
    return any(known.get(ast.unparse(each)) == "session" for each in owners)


def _names(tree: ast.AST) -> set[str]:
    """Collect all names and attributes in a function."""
    return {getattr(node, "attr", getattr(node, "id", "")) for node in ast.walk(tree)}


def _code_of(function: Any) -> CodeType | None:
    while isinstance(function, partial):
        function = function.func
    if not inspect.isroutine(function):
        # An object that can be called.
        function = inspect.getattr_static(type(function), "__call__", None)
    code = getattr(inspect.unwrap(getattr(function, "__func__", function)), "__code__", None)
    return code if isinstance(code, CodeType) else None


def _functions(path: str) -> list[_Function]:
    try:
        with warnings.catch_warnings():
            # Python has given them when it imported the file.
            warnings.simplefilter("ignore")
            tree = ast.parse(Path(path).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []
    return [node for node in ast.walk(tree) if isinstance(node, _FUNCTIONS)]
