"""
Build sdist and wheel, look into both, build the wheel again, and run it as newcomers do.

A program and no trial test, since it needs nothing of the environment that it runs in but
``build``, ``pipx``, ``towncrier`` and ``uv``: tox runs it as ``tox -e wheel``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from email.parser import BytesParser
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

#: The time of all files of the wheel: some second that is not now.
EPOCH = "1790000000"

#: Files of a checkout that only Git needs.
ONLY_GIT = ".gitignore"


def check_names(where: Path, names: set[str], forbidden: tuple[str, ...]) -> None:
    """End the program where *names* lack something, or hold what would shadow Twisted."""
    missing = [name for name in NEEDED if name not in names]
    wrong = [name for name in names if name.startswith(forbidden)]
    if missing or wrong:
        sys.exit(f"{where.name}: missing {missing}, must not be there {wrong}")


def run(*words: str | Path, cwd: Path = ROOT, **environ: str | Path) -> str:
    """Run a program, which shows its output only if it fails. Returns: The output."""
    done = subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, **{name: str(value) for name, value in environ.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}{words}: status {done.returncode}")
    return done.stdout


def build(source: Path, folder: Path, *what: str) -> Path:
    """Build *source* into *folder*. Returns: The wheel."""
    words = (sys.executable, "-m", "build", *what, "--outdir", folder, source)
    run(*words, SOURCE_DATE_EPOCH=EPOCH)
    (wheel,) = folder.glob("*.whl")
    return wheel


def check_whole(where: Path, names: set[str], folder: str = "") -> None:
    """End the program where a file of the checkout, or of a *folder* in it, is left out."""
    if not (ROOT / ".git").exists():
        return
    listed = run("git", "ls-files", folder or ".").splitlines()
    lost = [
        name
        for name in listed
        if name not in names and Path(name).name != ONLY_GIT and (ROOT / name).exists()
    ]
    if lost:
        sys.exit(f"{where.name}: MANIFEST.in or setup.cfg leaves out {lost}")


def check_metadata(wheel: Path) -> str:
    """End the program where the page of a package index would lack something. Returns: Version."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        found = BytesParser().parsebytes(archive.read(name))
    for field in ("Author", "License-Expression", "Keywords", "Project-URL", "Requires-Python"):
        if not found.get_all(field):
            sys.exit(f"{wheel.name}: the metadata have no {field}")
    frameworks = {"Framework :: Django", "Framework :: Twisted"}
    if lacking := frameworks - {*found.get_all("Classifier", [])}:
        sys.exit(f"{wheel.name}: the metadata have no {lacking}")
    if "wsredis" not in found.get_payload():
        sys.exit(f"{wheel.name}: the metadata have no description")
    return str(found["Version"])


def check_same(first: Path, second: Path) -> None:
    """End the program where two wheels differ by a byte."""
    if first.read_bytes() == second.read_bytes():
        return
    names = []
    with zipfile.ZipFile(first) as one, zipfile.ZipFile(second) as other:
        for a, b in zip(one.infolist(), other.infolist(), strict=False):
            if (a.filename, a.date_time, a.external_attr, a.CRC) != (
                *(b.filename, b.date_time, b.external_attr, b.CRC),
            ):
                names.append(f"{a.filename} and {b.filename}")
    sys.exit(f"{first.name}: built again it is another file: {names}")


def check_news(source: Path) -> None:
    """End the program where the next release could not make its news from *source*."""
    version = "99.1.0"
    news = (source / "docs" / "project" / "news.rst", source / "docs" / "newsfragments")
    run(
        *(sys.executable, "-m", "towncrier", "build", "--yes", "--dir", source),
        *("--version", version, "--date", "2099-01-01"),
        cwd=source,
    )
    page = news[0].read_text("utf-8")
    left = [path.name for path in news[1].glob("*.rst")]
    if f"\nwsredis {version} (2099-01-01)\n" not in page or left:
        sys.exit(f"towncrier leaves {left}, and this page:\n{page[:1000]}")


def check_twistd(wheel: Path, folder: Path) -> None:
    """End the program where ``twistd`` of a clean environment does not know the plugin."""
    clean = folder / "venv"
    venv.create(clean, with_pip=True)
    run(clean / "bin" / "python", "-m", "pip", "install", "--quiet", wheel)
    said = run(clean / "bin" / "twistd", "--help", cwd=folder)
    if "Gateway between WebSockets and Redis pub/sub" not in said:
        sys.exit(f"twistd does not know wsredis:\n{said}")


def check_runners(wheel: Path, folder: Path, version: str) -> None:
    """End the program where pipx or uvx cannot run the wheel without an installation."""
    beside = Path(sys.executable).parent
    # Neither may look at, or leave, anything outside of our folder.
    own = {
        "PIPX_HOME": folder / "pipx",
        "UV_CACHE_DIR": folder / "uv",
        "UV_PYTHON_DOWNLOADS": "never",
    }
    for words in (
        (beside / "pipx", "run", "--quiet", "--python", sys.executable, "--spec", wheel, "wsredis"),
        (beside / "uvx", "--quiet", "--python", sys.executable, "--from", wheel, "wsredis"),
    ):
        said = run(*words, "--version", cwd=folder, **own)
        if version not in said:
            sys.exit(f"{words}: not the version, but\n{said}")


def main() -> None:
    """Build, look, build again, install, ask."""
    os.umask(0o022)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = build(ROOT, folder / "first")
        (sdist,) = (folder / "first").glob("*.tar.gz")
        packed = set(zipfile.ZipFile(wheel).namelist())
        check_names(wheel, packed, FORBIDDEN)
        check_whole(wheel, packed, "wsredis")
        with tarfile.open(sdist) as archive:
            members = {member.partition("/")[2] for member in archive.getnames()}
            archive.extractall(folder, filter="data")
        check_names(sdist, members, FORBIDDEN[:2])
        check_whole(sdist, members)
        version = check_metadata(wheel)
        # Another folder, and other times of its files.
        again = folder / "elsewhere"
        shutil.copytree(
            folder / sdist.name.removesuffix(".tar.gz"), again, copy_function=shutil.copy
        )
        check_same(wheel, build(again, folder / "second", "--wheel"))
        check_news(again)
        check_twistd(wheel, folder)
        check_runners(wheel, folder, version)
        print(f"{wheel.name}: whole, the same when built again, and run by twistd, pipx and uvx")


if __name__ == "__main__":
    main()
