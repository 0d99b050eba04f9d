"""Installs the peers, and environments for other interpreters, beside this file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

from servers import CHECKOUT, DEBIAN, HERE, VENV_PYTHON, venv_of

PIP_PACKAGES = [
    *("websockets", "picows", "uvloop", "redis", "hiredis", "uvicorn", "httptools"),
    *("autobahn", "Twisted", "txredisapi", "daphne", "channels", "channels_redis", "django"),
]
#: uWebSockets.js itself is not in the registry: "uwebsockets" is its binaries, published by others.
NPM_PACKAGES = ["ws", "bufferutil", "ioredis", "uwebsockets@3.0.6"]
CENTRIFUGO = "github.com/centrifugal/centrifugo/v6@v6.9.1"


def dependencies() -> list[str]:
    """Return the packages that wsredis needs for all scenarios, as setup.cfg names them."""
    config = ConfigParser()
    config.read(CHECKOUT / "setup.cfg")
    extras = config["options.extras_require"]
    texts = (config["options"]["install_requires"], extras["django"], extras["jwt"])
    return [line for line in "\n".join(texts).splitlines() if line and not line.startswith("#")]


def attempt(name: str, command: list[str | Path], cwd: Path = HERE, **environ: str) -> None:
    """Run a step, and say when it fails: the other peers are installed all the same."""
    print(f"{name} ...", flush=True)
    if not shutil.which(command[0]):
        print(f"  left out: there is no {command[0]}")
        return
    done = subprocess.run(command, cwd=cwd, env=os.environ | environ, check=False)
    if done.returncode:
        print(f"  left out: it failed with exit status {done.returncode}")


def install(pythons: list[str]) -> None:
    """
    Install everything.

    Args:
        pythons: Interpreters that get an environment for wsredis.
    """
    environments = [(sys.executable, VENV_PYTHON, PIP_PACKAGES)]
    environments += [(python, venv_of(python), dependencies()) for python in pythons]
    for python, target, packages in environments:
        if not target.exists():
            subprocess.run([python, "-m", "venv", target.parent.parent], check=True)
        attempt(f"packages for {python}", [target, "-m", "pip", "install", "-q", *packages])
    options = ["--no-save", "--no-fund", "--no-audit", "--prefix", str(HERE)]
    attempt("peers on Node", ["npm", "install", *options, *NPM_PACKAGES])
    (HERE / ".go" / "bin").mkdir(parents=True, exist_ok=True)
    go = HERE / "peers" / "go"
    attempt("peers in Go", ["go", "build", "-o", f"{HERE}/.go/bin/", "./..."], go)
    attempt("Centrifugo", ["go", "install", CENTRIFUGO], GOBIN=f"{HERE}/.go/bin")
    rust = HERE / "peers" / "rust"
    target = ["--target-dir", str(HERE / ".rust")]
    attempt("the peer in Rust", ["cargo", "build", "-q", "--release", *target], rust)
    absent = {
        package
        for path, package in DEBIAN.items()
        if not (shutil.which(path) or Path(path).exists())
    }
    if absent:
        print("Missing, from Debian: apt-get install", *sorted(absent))
