"""
Measure wsredis as a server of ASGI applications beside other servers: answers per CPU second.

    PYTHONPATH=. python benchmarks/asgi.py [--only wsredis,uvicorn] [--scenarios hello] [--runs 3]

Needs the Python that has wsredis' dependencies and the servers: pip install daphne hypercorn
granian "uvicorn[standard]" uvloop fastapi channels. Each measurement starts a fresh server as one
process, and the servers take turns. Everything happens on loopback, and ends by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from run import Failed, child, cpu_seconds, exchange, free_port, tail, wait_until
from servers import CHECKOUT, HERE

#: Every answer has this body.
ANSWER = "Hello, world!"

#: Seconds of one measurement, and of the same load before it.
SECONDS, WARMUP = 3.0, 1.0

#: WebSockets that are opened in a measurement of handshakes, and before it.
HANDSHAKES, FIRST_HANDSHAKES = 6000, 1000


@dataclass(frozen=True)
class Scenario:
    """
    A load.

    Attributes:
        title: Its name in the table.
        application: The module in peers/.
        mode: As in ask.c.
        path: The path that is asked for.
        clients: How many.
    """

    title: str
    application: str
    mode: str
    path: str = "/"
    clients: int = 64


SCENARIOS = {
    "hello": Scenario("HTTP, connections kept", "asgi_plain", "keep"),
    "new": Scenario("HTTP, a connection each", "asgi_plain", "new"),
    "echo": Scenario("WebSocket echo, 64 bytes", "asgi_plain", "echo", "/echo"),
    "shake": Scenario("WebSocket handshakes", "asgi_plain", "shake", "/echo"),
    "fastapi": Scenario("FastAPI, text", "asgi_fastapi", "keep"),
    "fastapi-echo": Scenario("FastAPI, WebSocket echo", "asgi_fastapi", "echo", "/echo"),
    "django": Scenario("Django, async view", "asgi_django", "keep"),
    "django-sync": Scenario("Django, sync view", "asgi_django", "keep", "/sync"),
    "channels": Scenario("Channels, WebSocket echo", "asgi_django", "echo", "/echo"),
}


def _wsredis(*more: str) -> Callable[[str, int], list[str]]:
    def command(application: str, port: int) -> list[str]:
        return [
            *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()"),
            *("-n", "--pidfile=", "wsredis", "--asgi", f"{application}:app"),
            # No Redis is needed here: the one that is not there is tried in vain every 30 seconds.
            *("--redis", "redis://127.0.0.1:1"),
            *("--port", f"tcp:{port}:interface=127.0.0.1:backlog=4096"),
            # All clients of a benchmark have one address, which is what these limits are about.
            *("--handshake-rate", "1000000", "--max-connections-per-address", "1000000"),
            *("--max-rate", "1000000000", "--max-rate-per-address", "1000000000"),
            *("--ping-interval", "300", *more),
        ]

    return command


def _uvicorn(application: str, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "uvicorn", f"{application}:app", "--port", str(port)),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"),
        *("--backlog", "4096", "--ws-ping-interval", "300"),
    ]


def _hypercorn(application: str, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "hypercorn", f"{application}:app", "-b", f"127.0.0.1:{port}"),
        *("-k", "uvloop", "-w", "1", "--backlog", "4096", "--websocket-ping-interval", "300"),
    ]


def _daphne(application: str, port: int) -> list[str]:
    endpoint = f"tcp:{port}:interface=127.0.0.1:backlog=4096"
    options = ("--no-server-name", "-v", "0", "--ping-interval", "300", "--endpoint", endpoint)
    return [sys.executable, "-m", "daphne", *options, f"{application}:app"]


def _granian(application: str, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "granian", f"{application}:app", "--interface", "asgi"),
        *("--port", str(port), "--workers", "1", "--runtime-threads", "1", "--loop", "uvloop"),
        *("--backlog", "4096", "--no-access-log", "--log-level", "warning", "--http", "1"),
    ]


#: The command of each server, for a module and a port.
SERVERS: dict[str, Callable[[str, int], list[str]]] = {
    "wsredis": _wsredis(),
    "wsredis-thread": _wsredis("--asgi-loop", "thread"),
    "uvicorn": _uvicorn,
    "hypercorn": _hypercorn,
    "daphne": _daphne,
    "granian": _granian,
}


def request_of(scenario: Scenario) -> bytes:
    """The bytes that a client sends."""
    lines = [f"GET {scenario.path} HTTP/1.1", "Host: 127.0.0.1"]
    if scenario.mode in ("echo", "shake"):
        lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    elif scenario.mode == "new":
        lines += ["Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode()


def measure(folder: Path, name: str, scenario: Scenario, seconds: float) -> dict[str, Any]:
    """Start a server, put the load on it, and read its clocks."""
    port, log = free_port(), folder / "server.log"
    command = SERVERS[name](scenario.application, port)
    environ = {key: value for key, value in os.environ.items() if not key.startswith("WSREDIS_")}
    environ["PYTHONPATH"] = os.pathsep.join([str(CHECKOUT), str(HERE / "peers")])
    request = folder / "request"
    request.write_bytes(request_of(scenario))
    counted = scenario.mode == "shake"
    arguments = {
        "port": port,
        "mode": scenario.mode,
        "clients": scenario.clients,
        "request": request,
        "answer": ANSWER,
        "seconds": seconds,
        "warmup": FIRST_HANDSHAKES if counted else WARMUP,
        "count": HANDSHAKES,
    }
    with child(command, log, cwd=HERE / "peers", env=environ) as process:
        status = "HTTP/1.1 101" if scenario.mode in ("echo", "shake") else "HTTP/1.1 200"
        wait_until(lambda: exchange(port, request_of(scenario).decode(), status), process, log)
        words = [str(folder / "ask"), *(f"{key}={value}" for key, value in arguments.items())]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with child(words, folder / "ask.log", **pipes) as generator:
            assert generator.stdin and generator.stdout
            if generator.stdout.readline() != "ready\n":
                raise Failed(f"{tail(folder / 'ask.log')}; {tail(log)}")
            before, own = cpu_seconds(process.pid), cpu_seconds(generator.pid)
            print("go", file=generator.stdin, flush=True)
            line = generator.stdout.readline()
            cpu = cpu_seconds(process.pid) - before
            if not line:
                raise Failed(f"{tail(folder / 'ask.log')}; {tail(log)}")
            own = cpu_seconds(generator.pid) - own
    result = json.loads(line)
    return {**result, "cpu": cpu, "figure": result["count"] / cpu, "generator": own / cpu}


def version_of(name: str) -> str:
    """The version of a server, or why it is left out."""
    package = name.partition("-")[0]
    if find_spec(package) is None:
        return "not installed"
    return f"{package} {metadata.version(package)}"


def table(results: list[dict[str, Any]], names: list[str], scenarios: list[str]) -> None:
    """Print medians, and the ratio of wsredis to each other server as a median of the runs."""
    figures: dict[tuple[str, str], dict[int, float]] = {}
    for each in results:
        if "figure" in each:
            runs = figures.setdefault((each["scenario"], each["server"]), {})
            runs[each["run"]] = each["figure"]
    print(f"\n{'answers per CPU second':26}" + "".join(f"{name:>16}" for name in names))
    for scenario in scenarios:
        cells = []
        ours = figures.get((scenario, "wsredis"), {})
        for name in names:
            found = figures.get((scenario, name), {})
            if not found:
                cells.append(f"{'-':>16}")
                continue
            ratios = [ours[run] / found[run] for run in found if run in ours]
            ratio = f" ({statistics.median(ratios):.2f})" if ratios and name != "wsredis" else ""
            cells.append(f"{statistics.median(found.values()):,.0f}{ratio}".rjust(16))
        print(f"{SCENARIOS[scenario].title:26}" + "".join(cells))
    print("\nIn brackets: wsredis divided by that server, the median of the runs.")


def main() -> int:
    """The command. Returns 1 if a server failed or answered wrongly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(SERVERS), help="servers")
    parser.add_argument("--scenarios", default=",".join(SCENARIOS), help="scenarios")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--json", type=Path, help="write every result to this file")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    wanted, scenarios = options.only.split(","), options.scenarios.split(",")
    versions = {name: version_of(name) for name in wanted}
    names = [name for name in wanted if versions[name] != "not installed"]
    print(f"load average: {os.getloadavg()[0]:.1f}; Python {sys.version.split()[0]}")
    print(", ".join(dict.fromkeys(versions.values())), flush=True)
    results = []
    with tempfile.TemporaryDirectory(prefix="wsredis-bench-") as place:
        folder = Path(place)
        flags = ("-O2", "-Wall", "-Wextra", "-Wno-unused-function", "-D_GNU_SOURCE")
        source, program = str(HERE / "ask.c"), str(folder / "ask")
        subprocess.run(["cc", *flags, "-o", program, source], check=True)
        for run in range(1, options.runs + 1):
            for scenario in scenarios:
                for name in names:
                    result = {"run": run, "scenario": scenario, "server": name}
                    try:
                        result |= measure(folder, name, SCENARIOS[scenario], options.seconds)
                    except Failed as error:
                        result["error"] = str(error)
                    results.append(result)
                    figure = f"{result['figure']:,.0f}" if "figure" in result else result["error"]
                    wrong = " WRONG ANSWERS" if result.get("wrong") else ""
                    print(f"run {run}, {scenario}, {name}: {figure}{wrong}", file=sys.stderr)
    table(results, names, scenarios)
    if options.json:
        options.json.write_text(json.dumps({"versions": versions, "results": results}, indent=1))
    return int(any("error" in each or each["wrong"] for each in results))


if __name__ == "__main__":
    sys.exit(main())
