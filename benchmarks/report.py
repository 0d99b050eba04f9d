"""The tables of a run, and what they were made with."""

from __future__ import annotations

import contextlib
import json
import platform
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from install import NPM_PACKAGES, PIP_PACKAGES
from scenarios import COLUMNS, SCENARIOS
from servers import GO, HERE, NODE_MODULES, VENV_PYTHON, Server

Results = list[dict[str, Any]]
#: Columns of a table that fit beside each other.
WIDTH = 9


def short(value: float) -> str:
    """Return 1234567 as 1.23 M: three significant figures."""
    for limit, unit in ((1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}" if value < 1000 * limit else f"{value:.0f}"
    return f"{value:.3g}"


def trouble(result: dict[str, Any]) -> str:
    """Return the errors of a run. If empty, all messages arrived once, and in order."""
    if "error" in result:
        return str(result["error"])
    words = {
        "skipped": "missing at their turn",
        "repeated": "doubled or late",
        "foreign": "of another channel or damaged",
        "closed": "connections closed by the server",
    }
    return ", ".join(f"{result[key]} {text}" for key, text in words.items() if result[key])


def print_table(names: list[str], columns: list[tuple[str, Callable[[str], str]]]) -> None:
    """Print a row for each name; rows without any figure are left out."""
    for start in range(0, len(columns), WIDTH):
        part = columns[start : start + WIDTH]
        rows = [[name, *(cell(name) for _, cell in part)] for name in names]
        rows = [row for row in rows if set(row[1:]) != {"-"}]
        rows.insert(0, ["", *(head for head, _ in part)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for first, *others in rows:
            padded = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
            print("  ".join([first.ljust(widths[0]), *padded]))
        print()


def print_report(results: Results, names: list[str], letters: list[str]) -> None:
    """Print the tables."""

    def of(name: str, letter: str) -> Results:
        wanted = (name, letter)
        return [each for each in results if (each["server"], each["scenario"]) == wanted]

    def values(name: str, letter: str, key: str) -> dict[int, float]:
        return {each["run"]: each[key] for each in of(name, letter) if key in each}

    def figure(name: str, letter: str) -> str:
        found = values(name, letter, "figure")
        lost = "!" if any(map(trouble, of(name, letter))) else ""
        return short(statistics.median(found.values())) + lost if found else lost or "-"

    def more(name: str, letter: str, keys: tuple[str, ...]) -> str:
        found = [values(name, letter, key) for key in keys]
        if not all(found):
            return "-"
        return " / ".join(f"{statistics.median(each.values()):.1f}" for each in found)

    def ratio(name: str, other: str, letter: str) -> str:
        mine, others = values(name, letter, "figure"), values(other, letter, "figure")
        if SCENARIOS[letter].is_memory:
            mine, others = others, mine
        common = [mine[run] / others[run] for run in mine if others.get(run)]
        return f"{statistics.median(common):.2f}" if common else "-"

    for letter in letters:
        print(f"{letter:9}  {SCENARIOS[letter].title}")
    print("\nPer CPU second of the server (D: KiB of memory for each connection)\n")
    columns: list[tuple[str, Callable[[str], str]]] = []
    for letter in letters:
        columns.append((letter, lambda name, letter=letter: figure(name, letter)))
        if letter[0] in COLUMNS:
            head, keys = COLUMNS[letter[0]]
            columns.append((head, lambda name, letter=letter, keys=keys: more(name, letter, keys)))
    print_table(names, columns)
    for mine in names:
        others = [name for name in names if not name.startswith("wsredis")]
        if mine.startswith("wsredis") and others:
            print(f"{mine}, times the server of the row in the same run; above 1 it is ahead\n")
            print_table(
                others,
                [
                    (letter, lambda name, mine=mine, letter=letter: ratio(mine, name, letter))
                    for letter in letters
                ],
            )
    if "floor" in names:
        print("Times the floor of the same run\n")
        print_table(
            names,
            [
                (letter, lambda name, letter=letter: ratio(name, "floor", letter))
                for letter in letters
                if not SCENARIOS[letter].is_memory
            ],
        )
    troubles = [result for result in results if trouble(result)]
    print("Lost, doubled or out of order: " + ("" if troubles else "nothing"))
    for result in troubles:
        where = f"{result['server']}, {result['scenario']}, run {result['run']}"
        print(f"  {where}: {trouble(result)}")


# -- Versions

#: How an interpreter was built, and how fast it is: a call and an addition, in nanoseconds.
BUILD = """if 1:
    import platform, sysconfig, timeit
    arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
    words = [name for name, option in (("PGO", "--enable-optimizations"), ("LTO", "--with-lto"))
        if option in arguments]
    own = sysconfig.get_config_var("prefix") == "/usr"
    built = " and ".join(words) or ("built by the system" if own else "neither PGO nor LTO")
    speed = min(timeit.repeat("f(1)", "def f(x): return x + 1", number=10**6, repeat=5)) * 1000
    print(f"{platform.python_version()}, {built}, {speed:.0f} ns for a call")
"""


def output(*command: str | Path) -> str:
    """The first line that a command prints, or an empty one."""
    with contextlib.suppress(OSError):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return next(iter((done.stdout or done.stderr).strip().splitlines()), "")
    return ""


def versions(servers: dict[str, Server], pythons: dict[str, Path]) -> dict[str, str]:
    """
    Return the versions of a run and the machine.

    Args:
        pythons: The interpreters of wsredis, by the name of the server.
    """
    found = {"kernel": platform.release()}
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        found["processor"] = f"{len(models)} x {models[0]}" if models else "unknown"
        found["somaxconn"] = Path("/proc/sys/net/core/somaxconn").read_text().strip()
    commands = {
        "redis": "redis-server --version",
        "node": "node --version",
        "go": "go version",
        "cargo": "cargo --version",
        "nginx": "nginx -v",
        "cc": "cc --version",
        "centrifugo": f"go version -m {GO / 'centrifugo'}",
    }
    for name, command in commands.items():
        if text := output(*command.split()):
            found[name] = text
    for name, python in pythons.items():
        if name in servers:
            found[f"Python of {name}"] = output(python, "-c", BUILD)
            found[f"packages of {name}"] = packages(
                python, ["Twisted", "autobahn", "txredisapi", "hiredis"]
            )
    if VENV_PYTHON.exists():
        found["Python of the peers"] = output(VENV_PYTHON, "-c", BUILD)
        found["packages of the peers"] = packages(VENV_PYTHON, PIP_PACKAGES)
    for package in NPM_PACKAGES:
        name = package.partition("@")[0]
        with contextlib.suppress(OSError):
            text = (NODE_MODULES / name / "package.json").read_text()
            found[f"{name} (npm)"] = json.loads(text)["version"]
    modules = (HERE / "peers" / "go" / "go.mod").read_text().partition("require (")[2]
    found["Go modules"] = ", ".join(modules.partition(")")[0].split("\n")[1:-1]).replace("\t", "")
    return found


def packages(python: str | Path, names: list[str]) -> str:
    """The versions of packages in an environment."""
    code = f"""if 1:
        from importlib.metadata import PackageNotFoundError, version
        found = []
        for name in {names}:
            try: found.append(name + " " + version(name))
            except PackageNotFoundError: pass
        print(*found, sep=", ")"""
    return output(python, "-c", code)
