"""Fetches the source distributions of the peers, whose tests are in no wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

__all__ = ["fetch"]

_BACKENDS = Path(__file__).with_name("backends")


def fetch(releases: dict[str, str], folder: Path) -> None:
    """
    Download and unpack source distributions, each into ``folder/name-version``.

    Those that are there already stay as they are.

    Args:
        releases: The version of each project.
        folder: Is made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [
        f"{name}=={version}"
        for name, version in releases.items()
        if not folder.joinpath(f"{name}-{version}").is_dir()
    ]
    if not missing:
        return
    words = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check")
    how = ("--no-binary=:all:", "--no-deps", "--no-build-isolation", "--dest", str(folder))
    environ = os.environ | {"PYTHONPATH": str(_BACKENDS)}
    subprocess.run([*words, *how, *missing], check=True, env=environ)
    for archive in folder.glob("*.tar.gz"):
        with tarfile.open(archive) as opened:
            opened.extractall(folder, filter="data")
        archive.unlink()
