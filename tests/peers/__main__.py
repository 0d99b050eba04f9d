"""
Runs the tests of other ASGI servers against ours: ``python -m tests.peers [SUITE ...]``.

The source distributions are fetched from the package index. A suite runs with the plugin in this
folder and with nothing else changed. What a plugin leaves out is counted as skipped; ``-rs`` after
the names lists the reasons. The variable PEERS_FOLDER keeps the sources for the next time,
PEERS_LOOP=thread lets the applications run as ``--asgi-loop thread`` does.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from tests.peers.sdists import fetch

_HERE = Path(__file__).resolve().parent

#: Seconds that a suite may take on a busy machine.
_PATIENCE = 600

#: The versions that the lists of what is left out belong to. A suite imports from the package that
#: is installed, so tox.ini asks for the same versions.
_RELEASES = {"daphne": "4.2.3", "granian": "2.8.9", "starlette": "1.10.0", "uvicorn": "0.54.0"}


@dataclass(frozen=True)
class Suite:
    """
    The tests of a project.

    Attributes:
        files: Its files and folders of tests.
        options: For pytest.
        is_installed: Whether the package of its name has to be there, in the version of the tests.
        stand_ins: Whether a module of ours stands for the package.
        loops: The values of ``--asgi-loop`` with which it runs, one after the other.
    """

    files: tuple[str, ...]
    options: tuple[str, ...] = ()
    is_installed: bool = True
    stand_ins: bool = False
    loops: tuple[str, ...] = ("reactor",)


_SUITES = {
    "uvicorn": Suite(
        (
            *("tests/protocols/test_http.py", "tests/protocols/test_websocket.py"),
            *("tests/test_lifespan.py", "tests/test_ssl.py"),
        ),
        ("-p", "no:anyio", "-p", "no:asyncio"),
    ),
    "daphne": Suite(
        ("tests/test_http_request.py", "tests/test_http_response.py", "tests/test_websocket.py"),
        ("-W", "ignore::DeprecationWarning"),
    ),
    "granian": Suite(
        ("tests/test_asgi.py", "tests/test_ws.py"),
        ("-p", "no:anyio", "-o", "asyncio_default_fixture_loop_scope=function"),
        is_installed=False,
        stand_ins=True,
    ),
    "starlette": Suite(
        ("tests",),
        ("--ignore=tests/test_testclient.py", "-p", "no:asyncio"),
        loops=("reactor", "thread"),
    ),
}


@dataclass
class Outcome:
    """
    What came of a suite.

    Attributes:
        status: The exit status of pytest.
        line: Its last line.
    """

    status: int
    line: str
    seconds: float = field(default=0.0)


def run(name: str, suite: Suite, sources: Path, more: list[str], loop: str) -> Outcome:
    """Run a suite in a folder of its own, and show what it says."""
    if suite.is_installed and metadata.version(name) != _RELEASES[name]:
        raise SystemExit(f"{name} {metadata.version(name)} is installed, not {_RELEASES[name]}")
    with tempfile.TemporaryDirectory(prefix="wsredis-peers-") as place:
        folder = Path(place, "suite")
        temporary = Path(place, "tmp")
        temporary.mkdir()
        # Only the tests: the package beside them would be imported in place of what is installed.
        shutil.copytree(sources / f"{name}-{_RELEASES[name]}" / "tests", folder / "tests")
        path = [str(folder), *([str(_HERE / "stand_ins")] if suite.stand_ins else [])]
        environ = os.environ | {
            "PYTHONPATH": os.pathsep.join([*path, str(_HERE.parent)]),
            "TMPDIR": str(temporary),
            "PEERS_LOOP": loop,
        }
        environ.pop("PYTHONWARNINGS", None)
        words = (sys.executable, "-m", "pytest", "-q", "-p", f"peers.{name}_suite")
        fixed = ("-p", "no:cacheprovider", "-c", os.devnull, f"--rootdir={folder}")
        began = time.monotonic()
        done = subprocess.run(
            [*words, *fixed, *suite.options, *more, *suite.files],
            cwd=folder,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    if done.returncode or more:
        print(done.stdout)
    lines = re.findall(r"(?m)^.*\d+ (?:passed|failed).* in .*$", done.stdout)
    last = lines[-1].strip("= ") if lines else "no test ran"
    return Outcome(done.returncode, last, time.monotonic() - began)


def main() -> int:
    """Run the suites. Returns: 1 if one of them failed."""
    names = [word for word in sys.argv[1:] if not word.startswith("-")] or list(_SUITES)
    more = [word for word in sys.argv[1:] if word.startswith("-")]
    wanted = {name: version for name, version in _RELEASES.items() if name in names}
    kept, asked = os.environ.get("PEERS_FOLDER"), os.environ.get("PEERS_LOOP")
    with tempfile.TemporaryDirectory(prefix="wsredis-peers-") as place:
        sources = Path(kept or place)
        fetch(wanted, sources)
        status = 0
        for name in names:
            suite = _SUITES[name]
            for loop in [asked] if asked else suite.loops:
                outcome = run(name, suite, sources, more, loop)
                status |= outcome.status != 0
                word = "FAILED" if outcome.status else "ok"
                print(f"{word:6} {name} {_RELEASES[name]} ({loop}): {outcome.line}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
