"""
Run the tests of channels_redis against our layer, with a Redis of their own.

    python -m tests.peers.channels_redis [FOLDER]

Needs pytest, pytest-asyncio and channels_redis. The source distribution is fetched into FOLDER, or
into a temporary one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.support.children import RedisServer

_VERSION = "4.3.0"

_ROOT = Path(__file__).parents[3]


def fetch(folder: Path) -> None:
    """Download the source distribution and unpack it, unless it is there already."""
    name = f"channels_redis-{_VERSION}"
    if not folder.joinpath(name).is_dir():
        words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        which = ["--no-binary=:all:", "--dest", str(folder), f"channels_redis=={_VERSION}"]
        subprocess.run([*words, *which], check=True)
        with tarfile.open(folder / f"{name}.tar.gz") as archive:
            archive.extractall(folder, filter="data")


def main(folder: Path) -> int:
    """Run them. Returns: The exit status of pytest."""
    fetch(folder)
    server = RedisServer(tcp=True)
    try:
        environ = os.environ | {"LAYER_PORT": str(server.port), "PYTHONPATH": str(_ROOT)}
        plugin = ("-p", "tests.peers.channels_redis.plugin", "-p", "no:cacheprovider")
        words = [sys.executable, "-m", "pytest", "-q", *plugin, "--import-mode=importlib"]
        files = ("tests/test_core.py", "tests/test_pubsub.py")
        place = folder / f"channels_redis-{_VERSION}"
        return subprocess.run([*words, *files], cwd=place, env=environ, check=False).returncode
    finally:
        server.stop()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main(Path(sys.argv[1])))
    with tempfile.TemporaryDirectory() as name:
        sys.exit(main(Path(name)))
