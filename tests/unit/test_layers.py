"""
The borders of the architecture: the imports between modules, and the place of each library.

Imports under ``if TYPE_CHECKING`` count as well: a reader has to know the modules they name.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

from twisted.trial.unittest import SynchronousTestCase

import wsredis

#: The entries of the package from the lowest layer to the highest: a module imports only from
#: entries below its own, and from its own. The contributors' page has the same table.
LAYERS = [
    {"errors"},
    {"channels"},
    {"group_names", "worker_queues"},
    {"config"},
    {"gateway"},
    {"auth", "brokers", "dialects"},
    {"publisher", "transports"},
    {"layer"},
    {"web"},
    {"service"},
    {"django", "testing"},
    {"__main__"},
]

#: Libraries, and the modules or folders that may import them.
BORDERS = {
    "OpenSSL": {"brokers.redis", "service"},
    "autobahn": {"service.connect", "transports.websocket"},
    "channels": {"layer"},
    "cryptography": {"auth.sources", "layer", "service", "web.asgi.tls"},
    # In the publisher only inside functions, and where a project is running; see test_public.
    "django": {"auth.sources.django", "django", "publisher"},
    "hiredis": {"brokers.redis", "layer", "testing"},
    "jwt": {"auth.sources"},
    "prometheus_client": {"web.metrics"},
    "redis": {
        "auth.sources.django.subscriber",
        "django",
        "publisher",
        "service.cli",
        "service.nobody",
        "service.outside",
        "service.why",
    },
    "treq": {"auth.sources"},
    "twisted.internet.reactor": {"django", "service"},
    "twisted.web": {"auth.sources", "web"},
    "txaio": {"transports.websocket"},
    "txredisapi": {"brokers.redis", "publisher.twisted"},
    "uvloop": set(),
    "asgiref": {"auth.sources.django"},
    # Only where Channels and its Django are, or in a process without Twisted.
    "msgpack": {"layer"},
    "asyncio": {"auth.sources.django", "layer", "web.asgi"},
}

#: Modules without a test file of their own: ports, which have no code, and modules that need a
#: whole process or a whole Django, or are compared with the real thing, in tests elsewhere.
WITHOUT_TESTS = {
    "__main__",
    "django/apps",
    "django/context_processors",
    "django/management/commands/runserver",
    "django/templatetags/wsredis",
    "gateway/broker",
    "gateway/client",
    "gateway/dialect",
    "gateway/enrolment",
    "layer/carrier",
    "testing/redis",
    "transports/websocket/http",
    "web/asgi/http_ports",
}

#: Test files for the package itself, or for something outside it.
WITHOUT_MODULE = {
    "benchmarks",
    "dialects/second_dialect",
    "django/runserver",
    "fakes",
    "guide",
    "layers",
    "limits",
    "losses",
    "log_events",
    "options_page",
    "packaging",
    "plugin",
    "public",
    "readme",
    "service/asgi_service",
    "testing/outside",
    "transports/websocket/same_as_autobahn",
    "troubleshooting",
    "web/asgi/smuggling",
}


def modules(root: Path) -> dict[str, Path]:
    """The modules of the package at *root*, by their dotted names below it."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imports(path: Path) -> Iterator[str]:
    """The full names that a module imports, at any place in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # A relative import hides where it leads.
            start = "." * node.level + (f"{node.module}." if node.module else "")
            yield from (f"{start}{alias.name}" for alias in node.names)


def inner_imports(root: Path) -> dict[str, set[str]]:
    """The modules that each module of the package at *root* imports from the same package."""
    known = modules(root)
    found: dict[str, set[str]] = {module: set() for module in known}
    for module, path in known.items():
        for name in imports(path):
            # The version is the one thing that stands in the package itself.
            if f"{name}.".startswith(f"{root.name}.") and name != f"{root.name}.__version__":
                target = name[len(root.name) + 1 :]
                # The name may be one that a module defines; it is the module that counts.
                while target and target not in known:
                    target = target.rpartition(".")[0]
                found[module].add(target)
    return found


def circles(graph: dict[str, set[str]]) -> list[str]:
    """The modules that import themselves, by way of others."""

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        pending = list(graph[start])
        while pending:
            name = pending.pop()
            if name not in seen:
                seen.add(name)
                pending += graph[name]
        return seen

    return sorted(name for name in graph if name in reachable(name))


def violations(root: Path, layers: list[set[str]], borders: dict[str, set[str]]) -> list[str]:
    """Return imports in the package at *root* that break the rules, and modules without a layer."""
    rank = {name: number for number, layer in enumerate(layers) for name in layer}
    known = modules(root)
    graph = inner_imports(root)
    found = []
    for module, path in known.items():
        entry = module.partition(".")[0]
        # The package itself loads everything, lazily.
        if module and entry not in rank:
            found.append(f"{module} has no layer")
            continue
        for target in sorted(graph[module]):
            other = target.partition(".")[0]
            inside = other == entry and ("." in module or path.name == "__init__.py")
            if module and target != module and not inside and rank.get(other, 99) >= rank[entry]:
                found.append(f"{module} -> {target or root.name}")
        for name in imports(path):
            if name.startswith("."):
                found.append(f"{module} -> {name}: relative")
            for library, allowed in borders.items():
                inside = any(f"{module}.".startswith(f"{each}.") for each in allowed)
                if f"{name}.".startswith(f"{library}.") and not inside:
                    found.append(f"{module} -> {library}")
    return found


class LayerTests(SynchronousTestCase):
    """The package keeps its own rules."""

    def test_borders(self) -> None:
        """No module imports upwards, sideways, or a library outside its border."""
        root = Path(wsredis.__file__).parent
        self.assertEqual([], violations(root, LAYERS, BORDERS))

    def test_circles(self) -> None:
        """No module imports itself by way of others."""
        self.assertEqual([], circles(inner_imports(Path(wsredis.__file__).parent)))

    def test_table(self) -> None:
        """Every name in the table is an entry of the package, and is there once."""
        names = [name for layer in LAYERS for name in layer]
        existing = {name.partition(".")[0] for name in modules(Path(wsredis.__file__).parent)}
        self.assertEqual(len(set(names)), len(names))
        self.assertEqual(existing - {""}, set(names))

    def test_purpose(self) -> None:
        """Every folder says in one sentence what it is for."""
        for path in Path(wsredis.__file__).parent.glob("*/**/__init__.py"):
            sentence = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
            self.assertRegex(sentence.split("\n\n")[0], r"\A[^\n]+[^.\n][.]\Z", str(path))

    def test_length(self) -> None:
        """A module of more than 350 lines says in its first lines why it is so long."""
        silent = []
        for path in Path(wsredis.__file__).parent.rglob("*.py"):
            lines = path.read_text("utf-8").splitlines()
            if len(lines) > 350 and "one module because" not in " ".join(lines[:15]):
                silent.append(str(path))
        self.assertEqual([], silent)

    def test_mirror(self) -> None:
        """
        Every module has a test file at the same place in tests/unit, and the other way round.

        The test file of a folder itself has the name of the folder.
        """
        root, tests = Path(wsredis.__file__).parent, Path(__file__).parent
        modules = {
            path.relative_to(root).with_suffix("").as_posix()
            for path in root.rglob("*.py")
            if path.name != "__init__.py"
        }
        folders = {
            (path.relative_to(root).parent / path.parent.name).as_posix()
            for path in root.glob("*/**/__init__.py")
        }
        tested = {
            (path.relative_to(tests).parent / path.stem.removeprefix("test_")).as_posix()
            for path in tests.rglob("test_*.py")
        }
        self.assertEqual(set(), modules - tested - WITHOUT_TESTS)
        self.assertEqual(set(), tested - modules - folders - WITHOUT_MODULE)


class RuleTests(SynchronousTestCase):
    """The rules find what they are to find."""

    def broken(self, **sources: str) -> list[str]:
        """The violations of a package ``p`` of these modules, in layers a, b, c = pack, d."""
        root = Path(mkdtemp(dir=".")) / "p"
        (root / "pack").mkdir(parents=True)
        for name, source in {"__init__": "", "pack/__init__": "", **sources}.items():
            (root / f"{name.replace('__of__', '/')}.py").write_text(source)
        layers = [{"a"}, {"b", "c"}, {"pack"}, {"d"}]
        borders = {"twisted.web": {"d", "pack.y"}, "twisted.internet.reactor": {"c"}}
        return violations(root, layers, borders)

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
        """Imports for type checkers count like all others."""
        guard = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.d import X\n"
        self.assertEqual(["a -> d"], self.broken(a=guard, d=""))

    def test_version(self) -> None:
        """The version may be had from the package itself; nothing else may."""
        self.assertEqual([], self.broken(a="from p import __version__"))
        self.assertEqual(["a -> p"], self.broken(a="from p import something"))

    def test_found_circles(self) -> None:
        """A circle of any length is found; a module that leads into it is not part of it."""
        graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}
        self.assertEqual(["b", "c"], circles(graph))
        self.assertEqual(["a", "b", "c"], circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"b"}}))
        self.assertEqual([], circles({"a": {"b"}, "b": set()}))

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
