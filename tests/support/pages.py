"""A gateway that serves the small Django project beside its sockets."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["copy_of_site", "site_environment"]

_HERE = Path(__file__).parent


@cache
def _shared_copy() -> str:
    directory = copy_of_site()
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def copy_of_site() -> str:
    """Put the project into a new directory, as ``mysite``. Returns: The directory."""
    directory = tempfile.mkdtemp(prefix="wsredis-test-site-")
    shutil.copytree(_HERE / "site", Path(directory) / "mysite")
    return directory


def site_environment(directory: str | None = None) -> dict[str, str]:
    """
    Return the environment in which a child finds the project.

    Args:
        directory: The directory of the project. If None, a copy that all tests share.
    """
    root = str(_HERE.parents[1])
    return {"PYTHONPATH": os.pathsep.join([root, directory or _shared_copy()])}
