"""
Build sdist and wheel, install the wheel into a clean environment, and ask twistd for wsredis.

A program and no trial test, since it needs nothing of the environment that it runs in but
``build``: tox runs it as ``tox -e wheel``.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLUGIN = "twisted/plugins/wsredis_plugin.py"
SCRIPTS = "wsredis/django/static/wsredis/"
NEEDED = (
    *(
        PLUGIN,
        "wsredis/py.typed",
        *(f"wsredis/web/static/playground.{ending}" for ending in ("css", "html", "js")),
    ),
    "wsredis/django/apps.py",
    "wsredis/django/management/commands/runserver.py",
    "wsredis/django/templatetags/wsredis.py",
    *(f"{SCRIPTS}wsredis.{ending}" for ending in ("js", "mjs", "d.ts", "d.mts")),
)
FORBIDDEN = ("twisted/__init__.py", "twisted/plugins/__init__.py", "tests/")


def check_names(where: Path, names: set[str], forbidden: tuple[str, ...]) -> None:
    """End the program where *names* lack something, or hold what would shadow Twisted."""
    missing = [name for name in NEEDED if name not in names]
    wrong = [name for name in names if name.startswith(forbidden)]
    if missing or wrong:
        sys.exit(f"{where.name}: missing {missing}, must not be there {wrong}")


def run(*words: str | Path, cwd: Path = ROOT) -> str:
    """Run a program, which shows its output only if it fails. Returns: The output."""
    done = subprocess.run(
        words, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        sys.exit(f"{done.stdout}{words}: status {done.returncode}")
    return done.stdout


def main() -> None:
    """Build, look, install, ask."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(sys.executable, "-m", "build", "--outdir", name, ROOT)
        (wheel,) = folder.glob("*.whl")
        (sdist,) = folder.glob("*.tar.gz")
        check_names(wheel, set(zipfile.ZipFile(wheel).namelist()), FORBIDDEN)
        with tarfile.open(sdist) as archive:
            members = {member.partition("/")[2] for member in archive.getnames()}
        check_names(sdist, members, FORBIDDEN[:2])
        clean = folder / "venv"
        venv.create(clean, with_pip=True)
        python = clean / "bin" / "python"
        run(python, "-m", "pip", "install", "--quiet", wheel)
        said = run(clean / "bin" / "twistd", "--help", cwd=folder)
        if "Gateway between WebSockets and Redis pub/sub" not in said:
            sys.exit(f"twistd does not know wsredis:\n{said}")
        run(clean / "bin" / "wsredis", "--version", cwd=folder)
        print(f"{wheel.name}: twistd knows wsredis")


if __name__ == "__main__":
    main()
