"""The built documentation: built once for each state of its sources, for all processes of tests."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

__all__ = ["DOCS", "built_site", "pages"]

_ROOT = Path(__file__).parents[2]

#: The sources.
DOCS = _ROOT / "docs"

#: Where the built sites are: one for each state of the sources, and only the newest.
_BUILT = Path(sys.prefix, "share", "wsredis-docs")

#: Seconds for one build.
_PATIENCE = 600.0


def _sources() -> Iterator[Path]:
    """All files that a page may be made from."""
    for folder in ("docs", "examples", "wsredis", "tests/unit"):
        for path in sorted((_ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and "_build" not in path.parts:
                yield path


def _state() -> str:
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(f"{path.relative_to(_ROOT)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def _built() -> tuple[Path, str]:
    """The folder of the site, and what Sphinx said if it failed."""
    _BUILT.mkdir(parents=True, exist_ok=True)
    site = _BUILT / _state()
    with open(_BUILT / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (site / "index.html").exists():
            return site, ""
        for old in _BUILT.glob("*/"):
            shutil.rmtree(old)
        new = _BUILT / "new"
        words: list[str | Path] = [
            "-n",
            "-W",
            "--keep-going",
            "-q",
            "-b",
            "html",
            "-d",
            new / "doctrees",
        ]
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "sphinx", *words, DOCS, new / "html"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE,
        )
        if done.returncode:
            return site, done.stdout
        (new / "html").rename(site)
        shutil.rmtree(new)
    return site, ""


def built_site() -> Path:
    """
    Build the documentation as the gate does, if this state of it is not built yet.

    Returns: The folder with its ``index.html``.
    Raises:
        AssertionError: There is a warning.
    """
    site, failure = _built()
    assert not failure, failure
    return site


def pages(site: Path) -> list[str]:
    """The paths of all pages, such as ``reference/options.html``."""
    found = (path.relative_to(site) for path in site.rglob("*.html"))
    return sorted(str(path) for path in found if path.parts[0] != "_static")
