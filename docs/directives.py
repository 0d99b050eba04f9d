"""Directives and a role that tie these pages to the source, so that the two cannot differ."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

import wsredis
from tests.unit import test_layers
from wsredis.gateway import metrics
from wsredis.gateway.numbers import EXPORTED

ROOT = Path(__file__).parents[1]
PACKAGE = Path(wsredis.__file__).parent


class _Generated(SphinxDirective):
    """Base: reStructuredText that is made when the page is built."""

    def lines(self) -> Iterable[str]:
        """The source of this part of the page."""
        raise NotImplementedError

    def sources(self) -> Iterable[Path]:
        """The files that it is made from; Sphinx builds the page again when one changes."""
        return [Path(test_layers.__file__)]

    def run(self) -> list[nodes.Node]:
        """Called by docutils."""
        for path in self.sources():
            self.env.note_dependency(str(path))
        return self.parse_text_to_nodes(
            StringList([*self.lines()], source=type(self).__name__), allow_section_headings=True
        )


def _table(head: tuple[str, str], widths: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield from (".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", "")
    for first, second in (head, *rows):
        yield from (f"   * - {first}", f"     - {second}")


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"``{name}``" for name in sorted(names))


class Layers(_Generated):
    """The table of layers, the highest first."""

    def lines(self) -> Iterable[str]:
        """A table of ``LAYERS``."""
        layers = list(enumerate(test_layers.LAYERS))
        rows = [(str(number), _names(layer)) for number, layer in reversed(layers)]
        return _table(("Layer", "Folders and modules of ``wsredis``"), "12 88", rows)


class Borders(_Generated):
    """The libraries, and the folders that may import them."""

    def lines(self) -> Iterable[str]:
        """A table of ``BORDERS``."""
        borders = test_layers.BORDERS
        rows = [
            (f"``{library}``", _names(borders[library]) or "nobody")
            for library in sorted(borders, key=str.lower)
        ]
        return _table(("Library", "Imported only in"), "30 70", rows)


def _purpose(path: Path) -> str:
    """The first sentence of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    # A docstring may say `name` where a page has to say ``name``.
    return re.sub(r"`+", "``", " ".join(docstring.split("\n\n")[0].split()))


class CodeMap(_Generated):
    """The entries of the package and the folders in them, each with its first sentence."""

    def sources(self) -> Iterable[Path]:
        """The modules whose docstrings are shown."""
        return [path for path, _ in self._entries()] + [*super().sources()]

    def _entries(self) -> Iterator[tuple[Path, str]]:
        for layer in test_layers.LAYERS:
            for name in sorted(layer):
                folder = PACKAGE / name
                if folder.is_dir():
                    for path in sorted(folder.rglob("__init__.py")):
                        yield path, f"{path.parent.relative_to(PACKAGE)}/"
                else:
                    yield folder.with_suffix(".py"), f"{name}.py"

    def lines(self) -> Iterable[str]:
        """A table with a row for each."""
        rows = [(f"``{name}``", _purpose(path)) for path, name in self._entries()]
        return _table(("In ``wsredis/``", "Purpose"), "34 66", rows)


class Numbers(_Generated):
    """Everything that the gateway itself exports at ``/metrics``."""

    def sources(self) -> Iterable[Path]:
        """The module with the declarations."""
        return [Path(metrics.__file__), *super().sources()]

    def lines(self) -> Iterable[str]:
        """A table with a row for each."""
        yield from (".. list-table::", "   :header-rows: 1", "   :widths: 40 14 46", "")
        yield from ("   * - Name", "     - Type", "     - Meaning")
        for each in EXPORTED:
            labels = f"; labels {_names(each.labels)}" if each.labels else ""
            yield from (f"   * - ``{each.full_name}``", f"     - {each.kind}{labels}")
            yield f"     - {each.help}"


class Unreleased(_Generated):
    """The news of the coming release, made by towncrier from the fragments, which stay."""

    def sources(self) -> Iterable[Path]:
        """The fragments."""
        return sorted((ROOT / "docs" / "newsfragments").glob("*.rst"))

    def lines(self) -> Iterable[str]:
        """The text that ``towncrier build`` would write. If there are no fragments, nothing."""
        if not self.sources():
            return []
        command = [sys.executable, "-m", "towncrier", "build", "--draft", "--dir", str(ROOT)]
        draft = subprocess.run(
            [*command, "--version", wsredis.__version__, "--date", "not released yet"],
            capture_output=True,
            text=True,
        )
        if draft.returncode:
            raise self.error(f"towncrier failed: {draft.stderr}")
        return draft.stdout.splitlines()


class Ours(SphinxRole):
    """A path in the package, as ``gateway/hub.py``; the build fails where it does not exist."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Called by docutils."""
        messages = []
        if not (PACKAGE / self.text).exists():
            reporter = self.inliner.reporter
            messages.append(reporter.error(f"wsredis/{self.text} does not exist", line=self.lineno))
        return [nodes.literal(self.rawtext, self.text)], messages


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    for name, directive in {
        "layers": Layers,
        "borders": Borders,
        "code-map": CodeMap,
        "numbers": Numbers,
        "unreleased-news": Unreleased,
    }.items():
        app.add_directive(name, directive)
    app.add_role("ours", Ours())
    return {"parallel_read_safe": True}
