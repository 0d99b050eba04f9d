"""
Attack a gateway while ordinary clients listen: is anything lost, and how long does it take?

    python benchmarks/attack.py                 each attack for 20 seconds
    python benchmarks/attack.py --minutes 10    all of it in ten minutes
    python benchmarks/attack.py --attacks pings,unfinished --seconds 10

500 clients receive 20 messages a second each; half of them come through a trusted proxy. Two
hostile addresses attack, one by one way and one by the other: see hostile.py. Ordinary clients are
measured by ordinary.py. Everything happens on loopback, with a Redis of its own, and ends by
itself. The exit status is 1 if an ordinary client lost a message or its connection.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hostile import ATTACKS
from ordinary import PROXY
from run import child, cpu_seconds, exchange, free_port, resident_kib, wait_until
from servers import CHECKOUT, HERE

#: The addresses of the two attackers: of a TCP peer, and in X-Forwarded-For.
DIRECT = "127.0.0.2"
BEHIND = "192.0.2.66"
#: The fields that the ordinary clients report, and their titles.
COLUMNS = {
    "lost": "lost",
    "p50": "p50",
    "p99": "p99",
    "worst": "worst",
    "newcomers p99": "new p99",
    "rss": "MiB",
    "redis": "Redis",
    "cpu": "CPU %",
    "delay": "wait %",
    "lines": "lines",
}


def run_delay(pid: int) -> float:
    """Seconds for which a process could have worked, and had to wait for a core."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


class Gateway:
    """The process of the gateway, and all that is read from it while it is attacked."""

    def __init__(self, pid: int, log: Path, redis: int) -> None:
        self.peak = self.redis_peak = 0
        self._pid = pid
        self._log = log
        self._redis = redis
        self._cpu = cpu_seconds(pid)
        self._delay = run_delay(pid)
        self._since = time.monotonic()
        self._lines = 0

    def sample(self) -> None:
        """Read the memory of both processes."""
        self.peak = max(self.peak, resident_kib(self._pid))
        self.redis_peak = max(self.redis_peak, resident_kib(self._redis))

    def report(self) -> dict[str, Any]:
        """Return what happened since the last report."""
        now, cpu, delay = time.monotonic(), cpu_seconds(self._pid), run_delay(self._pid)
        share = 100 / (now - self._since)
        lines = self._log.read_bytes().count(b"\n")
        found = {
            "rss": self.peak / 1024,
            "redis": self.redis_peak / 1024,
            "cpu": share * (cpu - self._cpu),
            "delay": share * (delay - self._delay),
            "lines": lines - self._lines,
        }
        self._cpu, self._delay, self._since, self._lines = cpu, delay, now, lines
        self.peak = self.redis_peak = 0
        return found


def gateway_command(port: int, redis: int, trusted: bool) -> list[str]:
    """Return the command that starts the gateway."""
    return [
        *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()"),
        *("-n", "--pidfile=", "wsredis", "--redis", f"redis://127.0.0.1:{redis}"),
        *("--port", f"tcp:{port}:interface=127.0.0.1:backlog=4096"),
        *(("--trusted-proxy", PROXY) if trusted else ()),
        *os.environ.get("BENCH_OPTIONS", "").split(),
    ]


def knows_proxies(env: dict[str, str]) -> bool:
    """Tell whether the wsredis under test has the option for trusted proxies."""
    words = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "wsredis"]
    # Not from this folder: with -c, Python would take the wsredis that it finds there.
    told = subprocess.run([*words, "--help"], capture_output=True, text=True, env=env, cwd=HERE)
    return "--trusted-proxy" in told.stdout


def attacking(name: str, port: int, seconds: float, trusted: bool) -> list[list[str]]:
    """Return the commands of the attackers."""
    words = [sys.executable, str(HERE / "hostile.py"), name, str(port), "--seconds", str(seconds)]
    found = [[*words, "--source", DIRECT]]
    if trusted and ATTACKS[name].proxied:
        found.append([*words, "--source", PROXY, "--behind", BEHIND])
    return found


def attack(
    commands: list[list[str]], seconds: float, gateway: Gateway, folder: Path
) -> list[dict[str, Any]]:
    """Run the attackers, and sample the memory. Returns: What each of them could do."""
    with contextlib.ExitStack() as stack:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        processes = [
            stack.enter_context(child(command, folder / f"hostile{number}.log", **pipes))
            for number, command in enumerate(commands)
        ]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.25)
            gateway.sample()
        told = []
        for process in processes:
            assert process.stdin and process.stdout
            line = process.stdout.readline()
            told.append(json.loads(line) if line else {"failed": True})
        return told


def row(name: str, found: dict[str, Any]) -> str:
    """Return one line of the table."""
    figures = " ".join(f"{round(found[key], 1 if key[0] == 'p' else None):>7}" for key in COLUMNS)
    refused = ", ".join(f"{count} x {status}" for status, count in found["refused"].items())
    closed = ", ".join(f"{count} x {code}" for code, count in found["closed"].items())
    return (
        f"{name:14} {figures}"
        + (f"  newcomers refused: {refused}" if refused else "")
        + (f"  CLOSED: {closed}" if closed else "")
    )


def options_of_command() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Attack a gateway while ordinary clients listen.")
    parser.add_argument(
        "--attacks", default=",".join(ATTACKS), help=f"of {','.join(ATTACKS)}", metavar="NAMES"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="for each of them (20)")
    parser.add_argument("--minutes", type=float, help="for all of them, in place of --seconds")
    parser.add_argument("--quiet", type=float, default=20.0, help="seconds without an attack (20)")
    parser.add_argument("--clients", type=int, default=500, help="ordinary clients (500)")
    parser.add_argument("--rate", type=float, default=20.0, help="messages a second to each (20)")
    parser.add_argument("--together", action="store_true", help="all attacks at once, at the end")
    parser.add_argument("--json", type=Path, help="write every result to this file")
    options = parser.parse_args()
    options.attacks = options.attacks.split(",")
    for name in options.attacks:
        if name not in ATTACKS:
            parser.error(f"{name} is none of {', '.join(ATTACKS)}")
    if options.minutes:
        parts = len(options.attacks) + options.together
        options.seconds = options.minutes * 60 / parts
    return options


def main() -> int:
    """The command. Returns 1 when an ordinary client lost something."""
    options = options_of_command()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # A SIGTERM must end our children, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    env = {key: value for key, value in os.environ.items() if not key.startswith("WSREDIS_")}
    env["PYTHONPATH"] = str(CHECKOUT)
    trusted = knows_proxies(env)
    if not trusted:
        print("this wsredis has no --trusted-proxy: all clients come directly")
    parts = {name: [name] for name in options.attacks}
    if options.together:
        parts["all together"] = options.attacks
    results: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wsredis-attack-")))
        redis_port, port = free_port(), free_port()
        words = f"redis-server --bind 127.0.0.1 --port {redis_port} --appendonly no --dir {folder}"
        log = folder / "redis.log"
        redis = stack.enter_context(child([*words.split(), "--save", ""], log))
        wait_until(lambda: exchange(redis_port, "PING\r\n", "+PONG"), redis, log)
        log = folder / "gateway.log"
        command = gateway_command(port, redis_port, trusted)
        process = stack.enter_context(child(command, log, cwd=folder, env=env))
        health = "GET /health/ready HTTP/1.1\r\nHost: a\r\n\r\n"
        wait_until(lambda: exchange(port, health, "HTTP/1.1 200"), process, log)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        words = f"{HERE}/ordinary.py {port} {redis_port} --clients {options.clients}"
        clients = stack.enter_context(
            child(
                [sys.executable, *words.split(), "--rate", str(options.rate)],
                folder / "ordinary.log",
                **pipes,
            )
        )
        assert clients.stdin and clients.stdout
        if clients.stdout.readline() != "ready\n":
            sys.exit((folder / "ordinary.log").read_text())
        gateway = Gateway(process.pid, log, redis.pid)
        print(f"{'':14} " + " ".join(f"{title:>7}" for title in COLUMNS.values()), flush=True)
        for name in ("(warm-up)", "quiet", *parts, "quiet again"):
            seconds = {"(warm-up)": 3.0}.get(
                name, options.seconds if name in parts else options.quiet
            )
            commands = [
                words
                for each in parts.get(name, ())
                for words in attacking(each, port, seconds, trusted)
            ]
            told = attack(commands, seconds, gateway, folder)
            print(name, file=clients.stdin, flush=True)
            line = clients.stdout.readline()
            if not line or process.poll() is not None:
                sys.exit(f"{name}: the gateway or the ordinary clients ended\n{log.read_text()}")
            found = json.loads(line) | gateway.report() | {"attackers": told}
            if name != "(warm-up)":
                results[name] = found
                print(row(name, found), flush=True)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1))
            options.json.with_suffix(".log").write_text(log.read_text(errors="replace"))
    return int(any(found["lost"] or found["closed"] for found in results.values()))


if __name__ == "__main__":
    sys.exit(main())
