"""
Measure wsredis beside a C floor and its peers: work done per CPU second of the server.

    python benchmarks/run.py --setup     once: install the peers
    python benchmarks/run.py --quick     some servers, one short run: five minutes
    python benchmarks/run.py             all servers, all scenarios, three runs: hours

See README.rst in this folder for the method, and for the limits of the figures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import scenarios
import servers
from install import install
from report import Results, print_report, short, trouble, versions
from scenarios import SCENARIOS, Scenario
from servers import CHECKOUT, DEBIAN, HERE, Ground, Server, all_servers

#: Clients with an identity, at most: those who are there and those who come.
IDENTITIES = 2100

# -- Processes


class Failed(Exception):
    """A server or the load generator did not do its part."""


def free_port() -> int:
    """Return a TCP port on which no program listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def child(command: list[str], log: Path, **kwargs: Any) -> Iterator[subprocess.Popen[str]]:
    """Run *command* while the block runs; its stderr goes to *log*."""
    with log.open("w") as sink:
        kwargs = {"stdout": sink, "stdin": subprocess.DEVNULL} | kwargs
        process = subprocess.Popen(command, stderr=sink, text=True, **kwargs)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            # Its children first: without their parent they could not be found.
            for pid in reversed(tree(process.pid)):
                os.kill(pid, signal.SIGKILL)
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()


def tail(log: Path) -> str:
    """Return the last line of output of a child."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "(it said nothing)"


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[str], log: Path) -> None:
    """Try again and again, for 20 seconds, while *process* lives."""
    limit = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError):
            if ready():
                return
        if process.poll() is not None or time.monotonic() > limit:
            raise Failed(f"{process.args[0]} does not start: {tail(log)}")
        time.sleep(0.05)


def exchange(port: int, request: str, answer: str, secure: bool = False) -> bool:
    """Connect, send *request*, and tell whether the reply begins with *answer*."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as plain:
        connection = plain
        if secure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            connection = context.wrap_socket(plain)
        connection.sendall(request.encode())
        return connection.recv(4096).startswith(answer.encode())


def tree(root: int) -> list[int]:
    """Return the process *root* and all its descendants."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name, in brackets, may contain anything.
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [root]
    for pid in found:
        found += [other for other, parent in parents.items() if parent == pid]
    return found


def cpu_seconds(root: int) -> float:
    """
    Return user and system time of a tree of processes, including processes that have ended.

    /proc/PID/stat counts in hundredths of a second, too coarse for a server that is done in a
    tenth. The CPU clock of the process (clock_getcpuclockid) is the same sum in nanoseconds.
    """
    total = 0.0
    for pid in tree(root):
        total += time.clock_gettime(~pid << 3 | 2)
        ended = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[13:15]
        total += sum(map(int, ended)) / os.sysconf("SC_CLK_TCK")
    return total


def resident_kib(root: int) -> int:
    """Resident memory of a tree of processes."""
    page = os.sysconf("SC_PAGE_SIZE") // 1024
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page for pid in tree(root))


# -- One measurement


def measure(ground: Ground, server: Server, letter: str, quick: bool) -> dict[str, Any]:
    """Start a server, put the load of scenario *letter* on it, and read its clocks."""
    scenario, port = SCENARIOS[letter], free_port()
    log = ground.folder / "server.log"
    env = {key: value for key, value in os.environ.items() if not key.startswith("WSREDIS_")}
    command = server.command(ground, port, scenario)
    with child(command, log, cwd=ground.folder, env=env | server.environ(ground)) as process:
        handshake = (
            f"GET {server.sub.replace('%d', '0')} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        secure = scenario.servers == "tls"
        wait_until(lambda: exchange(port, handshake, "HTTP/1.1 101", secure), process, log)
        if "--workers" in scenario.options:
            time.sleep(3)  # that was one of them; the others need as long
        arguments = (scenario.quick if quick else scenario.full).split()
        arguments += [f"port={port}", f"redis={ground.redis}"]
        arguments += [f"sub={server.sub}", f"pub={server.pub}", f"channel={server.channel}"]
        arguments += [*server.load, *server.load_in.get(letter, ())]
        arguments += ["tls=1"] if secure else []
        if scenario.identity:
            arguments.append(f"headers={ground.folder}/{scenario.identity}.headers")
        result = load(ground, process.pid, arguments)
        if process.poll() is not None:
            raise Failed(f"the server ended: {tail(log)}")
        return result


def load(ground: Ground, pid: int, arguments: list[str]) -> dict[str, Any]:
    """The dialogue with the load generator: see load.c."""
    log = ground.folder / "load.log"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with child([str(ground.folder / "load"), *arguments], log, **pipes) as generator:
        assert generator.stdin and generator.stdout
        base = 0
        word = generator.stdout.readline()
        if word == "base\n":
            base = resident_kib(pid)
            print("go", file=generator.stdin, flush=True)
            word = generator.stdout.readline()
        if word != "ready\n":
            generator.wait()
            raise Failed(tail(log))
        resident = resident_kib(pid)
        before = cpu_seconds(pid)
        print("go", file=generator.stdin, flush=True)
        line = generator.stdout.readline()
        if not line:
            generator.wait()
            raise Failed(tail(log))
        cpu = cpu_seconds(pid) - before
    result: dict[str, Any] = {"cpu": cpu, **json.loads(line)}
    if base:
        options = dict(item.split("=", 1) for item in arguments)
        result["figure"] = (resident - base) / (int(options["clients"]) - int(options["base"]))
    else:
        result["figure"] = result["count"] / cpu
        result["us"] = cpu / result["count"] * 1e6
    return result


@contextlib.contextmanager
def prepared() -> Iterator[Ground]:
    """Compile the C programs, make a certificate and identities, and run a Redis of our own."""
    with tempfile.TemporaryDirectory(prefix="wsredis-bench-") as name:
        folder = Path(name)
        # The worker of nginx does not run as root, and must be able to enter these folders.
        folder.chmod(0o755)
        for program, libraries in (("load", ["-lssl", "-lcrypto"]), ("floor", [])):
            flags = ["-O2", "-Wall", "-Wextra", "-D_GNU_SOURCE", "-o", str(folder / program)]
            source = str(HERE / f"{program}.c")
            subprocess.run(["cc", *flags, source, *libraries], check=True)
        port, log = free_port(), folder / "redis.log"
        ground = Ground(folder, port)
        pem = ground.certificate
        words = (
            "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
        )
        subprocess.run(
            ["openssl", "req", "-x509", *words.split(), "-keyout", pem, "-out", f"{pem}.crt"],
            check=True,
            capture_output=True,
        )
        with open(pem, "a") as file:
            file.write(Path(f"{pem}.crt").read_text())
        # By the interpreter of wsredis: it has Django, or the scenario with sessions is left out.
        subprocess.run(
            [sys.executable, str(HERE / "identities.py"), name, str(IDENTITIES)],
            env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
            check=True,
        )
        command = f"redis-server --bind 127.0.0.1 --port {port} --appendonly no --dir {folder}"
        with child([*command.split(), "--save", ""], log, stdout=subprocess.DEVNULL) as redis:
            wait_until(lambda: exchange(port, "PING\r\n", "+PONG"), redis, log)
            yield ground


def chosen(text: str, known: dict[str, Any], usual: tuple[str, ...]) -> list[str]:
    """
    Return the names in a comma-separated *text*, in the order of *known*.

    A name stands also for those that begin with it and a dash, if it is "wsredis".
    """
    names = text.split(",") if text else usual
    for name in names:
        if name not in known:
            raise SystemExit(f"{name} is none of {', '.join(known)}")
    return [
        name
        for name in known
        if name in names or ("wsredis" in names and name.startswith("wsredis-"))
    ]


def takes_part(name: str, server: Server, scenario: Scenario) -> bool:
    """Tell whether a server can do a scenario."""
    if scenario.servers == "wsredis":
        return name.startswith("wsredis")
    return scenario.servers != "tls" or server.tls


def options_of_command() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Work done per CPU second of the server.")
    parser.add_argument("--setup", action="store_true", help="install the peers, and end")
    parser.add_argument(
        "--python",
        action="append",
        default=os.environ.get("BENCH_PYTHON", "").split(":")
        if "BENCH_PYTHON" in os.environ
        else [],
        help="measure wsredis in this interpreter too; may be repeated",
    )
    parser.add_argument(
        "--only", default="", help=f"servers: {','.join(all_servers([]))}", metavar="NAMES"
    )
    parser.add_argument(
        "--scenarios", default="", help=f"of {','.join(SCENARIOS)}", metavar="NAMES"
    )
    parser.add_argument("--runs", type=int, help="how often; medians count (3; with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="some servers, one short run")
    parser.add_argument("--json", type=Path, help="write every result to this file")
    return parser.parse_args()


def able(known: dict[str, Server], names: list[str]) -> list[str]:
    """Return the servers that can run, and say why the others cannot."""
    found = []
    for name in names:
        if missing := known[name].missing():
            print(f"{name} is left out: {missing}", file=sys.stderr)
        else:
            found.append(name)
    return found


def main() -> int:
    """The command. Returns 1 when a server lost, doubled or reordered something, or failed."""
    options = options_of_command()
    if options.setup:
        install(options.python)
        return 0
    for program in ("cc", "redis-server", "openssl", "/usr/include/openssl/ssl.h"):
        if not (shutil.which(program) or Path(program).exists()):
            raise SystemExit(f"Debian package {DEBIAN[program]} is missing")
    known = all_servers(options.python)
    letters = chosen(
        options.scenarios, SCENARIOS, scenarios.QUICK if options.quick else tuple(SCENARIOS)
    )
    usual = servers.QUICK if options.quick else tuple(known)
    names = able(known, chosen(options.only, known, usual))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # A SIGTERM must end our children, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))

    results: Results = []
    pythons = {"wsredis": Path(sys.executable)}
    pythons |= {
        f"wsredis-{servers.version_of(python)}": servers.venv_of(python)
        for python in options.python
    }
    started = {"command": " ".join(sys.argv), "load average": os.getloadavg()[0]}
    started |= versions({name: known[name] for name in names}, pythons)
    for key, value in started.items():
        print(f"{key}: {value}")
    if os.getloadavg()[0] > 0.5:
        print("The machine is busy: see README.rst for why these figures cannot be trusted.")
    if options.quick:
        print("--quick: shorter, and with fewer clients than some of the titles say.")
    print(flush=True)
    runs = options.runs or (1 if options.quick else 3)
    with prepared() as ground:
        # The servers take turns, so that a slow minute of the machine hits all of them.
        for run in range(1, runs + 1):
            for letter in letters:
                needed = files_needed(SCENARIOS[letter], options.quick)
                for name in names:
                    if not takes_part(name, known[name], SCENARIOS[letter]):
                        continue
                    result: dict[str, Any] = {"run": run, "scenario": letter, "server": name}
                    try:
                        if needed > hard:
                            raise Failed(f"of {needed} open files {hard} are allowed")
                        result |= measure(ground, known[name], letter, options.quick)
                    except Failed as error:
                        result["error"] = str(error)
                    results.append(result)
                    figure = short(result["figure"]) if "figure" in result else "-"
                    print(
                        f"run {run} of {runs}, {letter}, {name}: {figure} {trouble(result)}",
                        file=sys.stderr,
                    )
    print_report(results, names, letters)
    if options.json:
        options.json.write_text(json.dumps({"about": started, "results": results}, indent=1))
    return int(any(map(trouble, results)))


def files_needed(scenario: Scenario, quick: bool) -> int:
    """The number of files that the server and the load generator open."""
    words = dict(word.split("=") for word in (scenario.quick if quick else scenario.full).split())
    return sum(int(words.get(key, 0)) for key in ("clients", "crowd")) + 1200


if __name__ == "__main__":
    sys.exit(main())
