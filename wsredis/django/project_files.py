"""Reads the files of a project for what they use of django-websocket-redis. Runs none of them."""

from __future__ import annotations

import ast
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wsredis.auth.sources.django.old_code import called_attributes

__all__ = ["SCRIPT", "ProjectFiles", "PythonFile", "read_files"]

#: Files and folders that are looked at.
_MAX_ENTRIES = 20_000

#: Bytes of a file that is read.
_MAX_SIZE = 1_000_000

#: Folders of other people's code.
_FOREIGN = frozenset({"__pycache__", "dist-packages", "node_modules", "site-packages"})

#: Ends of the names of templates and scripts.
_PAGES = (".html", ".htm", ".djhtml", ".jinja", ".jinja2", ".j2", ".js", ".ts", ".vue")

#: Texts in Python files that are worth a closer look.
_WORDS = (b"ws4redis", b"gevent", b"is_authenticated(", b"is_anonymous(")

#: Functions of ``gevent.monkey``.
_PATCHES = frozenset({"patch_all", "patch_socket", "patch_thread"})

#: The file name of the script of the original.
SCRIPT = "ws4redis.js"


@dataclass(slots=True)
class PythonFile:
    """
    What a Python file uses.

    Attributes:
        path: Where it is.
        imports: The modules of ws4redis that it imports, and the first line that does.
        patch: The line that replaces parts of Python by those of gevent. If None, none does.
        serves_pages: Tells whether it makes the WSGI application of Django.
        calls: Lines that call an attribute of a user, and the attribute.
    """

    path: Path
    imports: dict[str, int] = field(default_factory=dict)
    patch: int | None = None
    serves_pages: bool = False
    calls: list[tuple[int, str]] = field(default_factory=list)


@dataclass(slots=True)
class ProjectFiles:
    """
    The files of a project.

    Attributes:
        python: Those of Python that use ws4redis or gevent, or call an attribute of a user.
        scripted: Templates and scripts that name `SCRIPT`.
        has_script: Tells whether a file of that name is among them.
        unreadable: Files of Python that mention ws4redis, and are not Python of today.
        is_complete: Tells whether all files were looked at; there may be too many.
    """

    python: list[PythonFile] = field(default_factory=list)
    scripted: list[Path] = field(default_factory=list)
    has_script: bool = False
    unreadable: list[Path] = field(default_factory=list)
    is_complete: bool = True


def read_files(folders: Iterable[Path], max_entries: int = _MAX_ENTRIES) -> ProjectFiles:
    """
    Read all files below some folders, but not those of virtual environments and of packages.

    Args:
        folders: The folders. One in another is read once.
        max_entries: Files and folders that are looked at, at most.
    """
    found = ProjectFiles()
    seen: set[Path] = set()
    for folder in sorted(folders):
        for path in _walk(folder.resolve()):
            if len(seen) >= max_entries:
                found.is_complete = False
                return found
            if path not in seen:
                seen.add(path)
                _read(path, found)
    return found


def _walk(folder: Path) -> Iterator[Path]:
    """Yield all files and folders, the same ones in the same order each time."""
    for name, folders, files in os.walk(folder):
        here = Path(name)
        # Below a virtual environment nothing belongs to the project.
        folders[:] = [
            each
            for each in sorted(folders)
            if not each.startswith(".")
            and each not in _FOREIGN
            and not (here / each / "pyvenv.cfg").exists()
        ]
        yield from (here / each for each in (*folders, *sorted(files)))


def _read(path: Path, found: ProjectFiles) -> None:
    found.has_script |= path.name == SCRIPT
    is_page = path.name.endswith(_PAGES) and path.name != SCRIPT
    if not is_page and path.suffix != ".py":
        return
    try:
        if not path.is_file():
            # A pipe would be waited for.
            return
        with path.open("rb") as file:
            content = file.read(_MAX_SIZE)
    except OSError:
        # A file of somebody else.
        return
    if is_page:
        if SCRIPT.encode() in content:
            found.scripted.append(path)
    elif any(word in content for word in _WORDS):
        try:
            with warnings.catch_warnings():
                # Those are for whoever runs the file.
                warnings.simplefilter("ignore")
                tree = ast.parse(content)
            file_found = _python_file(path, content, tree)
        except (SyntaxError, ValueError, RecursionError):
            if b"ws4redis" in content:
                found.unreadable.append(path)
            return
        if file_found.imports or file_found.calls or file_found.patch is not None:
            found.python.append(file_found)


def _python_file(path: Path, content: bytes, tree: ast.Module) -> PythonFile:
    found = PythonFile(path, calls=called_attributes(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                _note_import(found, each.name, node.lineno)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for each in node.names:
                # The name may be one that the module defines.
                is_package = node.module == "ws4redis"
                name = f"ws4redis.{each.name}" if is_package else str(node.module)
                _note_import(found, name, node.lineno)
        elif isinstance(node, (ast.Name, ast.Attribute)):
            name = node.id if isinstance(node, ast.Name) else node.attr
            found.serves_pages |= name == "get_wsgi_application"
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            name = ast.unparse(node.value.func).rpartition(".")[2]
            if name in _PATCHES and b"gevent" in content and found.patch is None:
                found.patch = node.lineno
    return found


def _note_import(found: PythonFile, module: str, line: int) -> None:
    if module.partition(".")[0] == "ws4redis":
        found.imports[module] = min(line, found.imports.get(module, line))
