"""
Measure wsredis beside a C floor and its peers: work done per CPU second of the server.

    python benchmarks/run.py --setup     once: install the peers
    python benchmarks/run.py             all servers, all scenarios, three runs

See README.rst in this folder for the method, and for the limits of the figures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
#: The wsredis under test.
CHECKOUT = Path(os.environ.get("BENCH_CHECKOUT", HERE.parent)).resolve()
VENV_PYTHON = HERE / ".venv" / "bin" / "python"
NODE_MODULES = HERE / "node_modules"
NCHAN = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
PIP_PACKAGES = [
    *("websockets", "picows", "uvloop", "redis", "hiredis"),
    *("autobahn", "Twisted", "txredisapi"),
]
NPM_PACKAGES = ["ws", "bufferutil", "ioredis"]
#: Program or file: the Debian package that has it.
DEBIAN = {
    "cc": "gcc",
    "redis-server": "redis-server",
    "node": "nodejs",
    "npm": "npm",
    "nginx": "nginx",
    str(NCHAN): "libnginx-mod-nchan",
}

NGINX_CONF = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
load_module {module};
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 16000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    nchan_max_reserved_memory 256m;
    # As with the other servers, Redis passes the messages on and stores none of them.
    upstream redis {{
        nchan_redis_server redis://127.0.0.1:{redis};
        nchan_redis_storage_mode nostore;
        nchan_redis_nostore_fastpublish on;
    }}
    # More than the messages that are ever in flight: the default of 10 would lose some.
    nchan_message_buffer_length 1024;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location ~ ^/sub/(\\w+)$ {{
            nchan_subscriber websocket;
            nchan_channel_id $1;
            nchan_redis_pass redis;
        }}
        location ~ ^/pub/(\\w+)$ {{
            nchan_publisher websocket;
            nchan_channel_id $1;
            nchan_redis_pass redis;
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Ground:
    """The folders and servers of this run of the program."""

    folder: Path
    redis: int


@dataclass(frozen=True)
class Server:
    """
    Attributes:
        command: Returns the command that starts it, for the ground, a port and a scenario.
        missing: Returns the reason why it cannot run. If empty, it can.
        sub, pub, channel: Path to listen, path to publish, channel in Redis; %d is the number
            of the channel.
        load: More arguments for the load generator.
        load_in: More of them, by scenario.
    """

    command: Callable[[Ground, int, str], list[str]]
    missing: Callable[[], str] = lambda: ""
    sub: str = "/sub/c%d"
    pub: str = "/pub/c%d"
    channel: str = "c%d"
    load: list[str] = field(default_factory=list)
    load_in: dict[str, list[str]] = field(default_factory=dict)


def wsredis(ground: Ground, port: int, scenario: str) -> list[str]:
    """The gateway from the checkout, in the Python that runs this program."""
    code = "from twisted.scripts.twistd import run; run()"
    return [
        *(sys.executable, "-c", code, "-n", "--pidfile=", "wsredis"),
        *("--redis", f"redis://127.0.0.1:{ground.redis}"),
        *("--port", f"tcp:{port}:interface=127.0.0.1"),
        # The floor and the peers publish only; by default wsredis also keeps the last message.
        *(("--expire", "0") if scenario == "F" else ()),
        *os.environ.get("BENCH_OPTIONS", "").split(),
    ]


def wsredis_missing() -> str:
    """Return an error message, if the gateway cannot be imported."""
    found = subprocess.run(
        [sys.executable, "-c", "from wsredis import GatewayService"],
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stderr.strip().rpartition("\n")[2] if found.returncode else ""


def nginx(ground: Ground, port: int, scenario: str) -> list[str]:
    """Write the configuration, and start nginx with it."""
    conf = ground.folder / "nginx.conf"
    conf.write_text(
        NGINX_CONF.format(folder=ground.folder, port=port, redis=ground.redis, module=NCHAN)
    )
    return ["nginx", "-p", str(ground.folder), "-e", "stderr", "-c", str(conf)]


def floor(*options: str) -> Callable[[Ground, int, str], list[str]]:
    """The floor, compiled at the start of this program."""
    return lambda ground, port, scenario: [
        str(ground.folder / "floor"),
        str(port),
        str(ground.redis),
        *options,
    ]


def peer(runner: str | Path, file: str) -> Callable[[Ground, int, str], list[str]]:
    """A program in the folder peers/."""
    path = str(HERE / "peers" / file)
    return lambda ground, port, scenario: [str(runner), path, str(port), str(ground.redis)]


def needs(*paths: str | Path) -> Callable[[], str]:
    """Return a check that these programs and files exist."""

    def missing() -> str:
        for path in map(str, paths):
            if not (shutil.which(path) or Path(path).exists()):
                package = DEBIAN.get(path)
                return f"Debian package {package} is missing" if package else "run with --setup"
        return ""

    return missing


SERVERS = {
    "floor": Server(floor()),
    "floor-join": Server(floor("--join")),
    "wsredis": Server(
        wsredis,
        wsredis_missing,
        sub="/ws/c%d?subscribe-broadcast",
        pub="/ws/c%d?publish-broadcast",
        channel="broadcast:c%d",
    ),
    # nchan wraps what it sends through Redis: it must be fed by its own publisher, and what
    # arrives in Redis is found by a pattern. It stops delivering for good after 32,768 messages
    # on one channel in one second: in G it gets no more than it can take.
    "nchan": Server(
        nginx,
        needs("nginx", NCHAN),
        load=["by-websocket=1", "pattern=*"],
        load_in={"G": ["rate=25000"]},
    ),
    "node-ws": Server(peer("node", "node_ws.js"), needs("node", NODE_MODULES / "ws")),
    "picows": Server(peer(VENV_PYTHON, "picows_server.py"), needs(VENV_PYTHON)),
    "websockets": Server(peer(VENV_PYTHON, "websockets_server.py"), needs(VENV_PYTHON)),
    "autobahn": Server(peer(VENV_PYTHON, "naive_autobahn.py"), needs(VENV_PYTHON)),
}


@dataclass(frozen=True)
class Scenario:
    """
    Attributes:
        full, quick: Arguments of the load generator.
    """

    title: str
    full: str
    quick: str


SCENARIOS = {
    "A": Scenario(
        "1000 clients, one channel, flat out, 32 messages in flight: deliveries",
        "clients=1000 window=32 seconds=5 warmup=1",
        "clients=100 window=32 seconds=1 warmup=0.3",
    ),
    "B": Scenario(
        "1000 clients, a channel each, flat out, 256 in flight over all: deliveries",
        "clients=1000 channels=1000 window=256 seconds=5 warmup=1",
        "clients=100 channels=100 window=256 seconds=1 warmup=0.3",
    ),
    "C": Scenario(
        "1000 clients, one channel, 20 messages a second: deliveries; latency p50 / p99 in ms",
        "clients=1000 rate=20 window=4096 seconds=6 warmup=1",
        "clients=100 rate=20 window=4096 seconds=2 warmup=0.3",
    ),
    "D": Scenario(
        "5000 idle connections: KiB of resident memory each",
        "clients=5000 base=200 messages=1 window=1",
        "clients=1000 base=200 messages=1 window=1",
    ),
    "E": Scenario(
        "2000 clients come, 100 at a time, and stay: handshakes",
        "mode=crowd clients=100 crowd=2000 handshaking=100 warmup=0.5",
        "mode=crowd clients=10 crowd=500 handshaking=100 warmup=0.3",
    ),
    "H": Scenario(
        "as E with 6000, while 1000 others get 20 messages a second: handshakes; seconds until all "
        "are there / p99 of the others in ms",
        "mode=crowd clients=1000 rate=20 window=4096 crowd=6000 handshaking=500 warmup=1",
        "mode=crowd clients=100 rate=20 window=4096 crowd=1000 handshaking=500 warmup=0.3",
    ),
    "F": Scenario(
        "50 clients publish, 64 messages in flight each: messages that arrive in Redis",
        "mode=feed clients=50 channels=50 window=64 seconds=5 warmup=1",
        "mode=feed clients=50 channels=50 window=64 seconds=1 warmup=0.3",
    ),
    "G": Scenario(
        "one client, 100,000 messages, 512 in flight: deliveries",
        "messages=100000 window=512 seconds=60 warmup=1",
        "messages=10000 window=512 seconds=20 warmup=0.3",
    ),
}


#: Second columns, by scenario: their head, and the two results in it.
PAIRS = {"C": ("p50 / p99", ("p50", "p99")), "H": ("s / p99", ("back", "p99"))}


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


def exchange(port: int, request: bytes, answer: bytes) -> bool:
    """Tell whether the server at *port* answers *request* with *answer*."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(request)
        return connection.recv(4096).startswith(answer)


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


def measure(ground: Ground, name: str, letter: str, quick: bool) -> dict[str, Any]:
    """Start server *name*, put the load of scenario *letter* on it, and read its clocks."""
    server, scenario, port = SERVERS[name], SCENARIOS[letter], free_port()
    log = ground.folder / f"{name}.log"
    env = {key: value for key, value in os.environ.items() if not key.startswith("WSREDIS_")}
    env |= {"PYTHONPATH": str(CHECKOUT)} if name == "wsredis" else {}
    command = server.command(ground, port, letter)
    with child(command, log, cwd=ground.folder, env=env) as process:
        handshake = (
            f"GET {server.sub % 0} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        wait_until(lambda: exchange(port, handshake.encode(), b"HTTP/1.1 101"), process, log)
        arguments = (scenario.quick if quick else scenario.full).split()
        arguments += [*server.load, *server.load_in.get(letter, ())]
        result = load(ground, server, process.pid, port, arguments)
        if process.poll() is not None:
            raise Failed(f"the server ended: {tail(log)}")
        return result


def load(
    ground: Ground, server: Server, pid: int, port: int, arguments: list[str]
) -> dict[str, Any]:
    """The dialogue with the load generator: see load.c."""
    log = ground.folder / "load.log"
    command = [str(ground.folder / "load"), *arguments]
    command += [f"port={port}", f"redis={ground.redis}"]
    command += [f"sub={server.sub}", f"pub={server.pub}", f"channel={server.channel}"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with child(command, log, **pipes) as generator:
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
        options = dict(item.split("=") for item in arguments)
        result["figure"] = (resident - base) / (int(options["clients"]) - int(options["base"]))
    else:
        result["figure"] = result["count"] / cpu
    return result


# -- Report


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


def report(results: list[dict[str, Any]], names: list[str], letters: list[str]) -> None:
    """Print the tables."""

    def values(name: str, letter: str, key: str) -> dict[int, float]:
        return {
            result["run"]: result[key]
            for result in results
            if (result["server"], result["scenario"]) == (name, letter) and key in result
        }

    def figure(name: str, letter: str) -> str:
        found = values(name, letter, "figure")
        if not found:
            return "-"
        lost = any(
            trouble(result)
            for result in results
            if (result["server"], result["scenario"]) == (name, letter)
        )
        return short(statistics.median(found.values())) + ("!" if lost else "")

    def pair(name: str, letter: str, keys: tuple[str, str]) -> str:
        found = [values(name, letter, key) for key in keys]
        if not found[0]:
            return "-"
        return " / ".join(f"{statistics.median(each.values()):.1f}" for each in found)

    def ratio(name: str, letter: str) -> str:
        mine, floors = values(name, letter, "figure"), values("floor", letter, "figure")
        common = [mine[run] / floors[run] for run in mine if floors.get(run)]
        return f"{statistics.median(common):.3g}" if common else "-"

    def table(columns: list[tuple[str, Callable[[str], str]]]) -> None:
        rows = [["", *(head for head, _ in columns)]]
        rows += [[name, *(cell(name) for _, cell in columns)] for name in names]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for first, *others in rows:
            padded = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
            print("  ".join([first.ljust(widths[0]), *padded]))

    for letter in letters:
        print(f"{letter}  {SCENARIOS[letter].title}")
    print("\nPer CPU second of the server (D: KiB per connection)")
    figures: list[tuple[str, Callable[[str], str]]] = []
    for letter in letters:
        figures.append((letter, lambda name, letter=letter: figure(name, letter)))
        if letter in PAIRS:
            head, keys = PAIRS[letter]
            figures.append((head, lambda name, letter=letter, keys=keys: pair(name, letter, keys)))
    table(figures)
    rated = [letter for letter in letters if letter != "D"]
    if "floor" in names and rated:
        print("\nTimes the floor of the same run")
        table([(letter, lambda name, letter=letter: ratio(name, letter)) for letter in rated])
    troubles = [result for result in results if trouble(result)]
    print("\nLost, doubled or out of order: " + ("" if troubles else "nothing"))
    for result in troubles:
        where = f"{result['server']}, {result['scenario']}, run {result['run']}"
        print(f"  {where}: {trouble(result)}")


def versions() -> dict[str, str]:
    """Return the versions, the machine and the date of a run."""
    found = {"kernel": platform.release(), "python": platform.python_version()}
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        found["processor"] = f"{len(models)} x {models[0]}" if models else "unknown"
    programs = {"redis": "redis-server --version", "node": "node --version"}
    for name, command in (programs | {"nginx": "nginx -v", "cc": "cc --version"}).items():
        with contextlib.suppress(OSError):
            done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
            found[name] = (done.stdout or done.stderr).strip().splitlines()[0]
    for package in ("Twisted", "autobahn", "txredisapi", "hiredis"):
        with contextlib.suppress(PackageNotFoundError):
            found[f"{package} of wsredis"] = version(package)
    if VENV_PYTHON.exists():
        code = f"""if 1:
            from importlib.metadata import version
            for name in {PIP_PACKAGES}: print(f"{{name}} (pip)", version(name), sep="=")"""
        done = subprocess.run([VENV_PYTHON, "-c", code], capture_output=True, text=True, check=True)
        found |= dict(line.split("=") for line in done.stdout.splitlines())
    for package in NPM_PACKAGES:
        with contextlib.suppress(OSError):
            text = (NODE_MODULES / package / "package.json").read_text()
            found[f"{package} (npm)"] = json.loads(text)["version"]
    return found


# -- Set-up


def setup() -> None:
    """Install the peers beside this file."""
    if not VENV_PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", HERE / ".venv"], check=True)
    subprocess.run([VENV_PYTHON, "-m", "pip", "install", "-q", *PIP_PACKAGES], check=True)
    if shutil.which("npm"):
        options = ["--no-save", "--no-fund", "--no-audit", "--prefix", str(HERE)]
        subprocess.run(["npm", "install", *options, *NPM_PACKAGES], check=True)
    absent = {
        package
        for path, package in DEBIAN.items()
        if not (shutil.which(path) or Path(path).exists())
    }
    if absent:
        print("Missing, from Debian: apt-get install", *sorted(absent))
    else:
        print("Everything is there.")


@contextlib.contextmanager
def prepared() -> Iterator[Ground]:
    """Compile the C programs, and run a Redis of our own."""
    with tempfile.TemporaryDirectory(prefix="wsredis-bench-") as name:
        folder = Path(name)
        # The worker of nginx does not run as root, and must be able to enter these folders.
        folder.chmod(0o755)
        for program in ("load", "floor"):
            flags = ["-O2", "-Wall", "-Wextra", "-D_GNU_SOURCE"]
            source = str(HERE / f"{program}.c")
            subprocess.run(["cc", *flags, "-o", str(folder / program), source], check=True)
        port, log = free_port(), folder / "redis.log"
        command = f"redis-server --bind 127.0.0.1 --port {port} --appendonly no --dir {folder}"
        with child([*command.split(), "--save", ""], log, stdout=subprocess.DEVNULL) as redis:
            wait_until(lambda: exchange(port, b"PING\r\n", b"+PONG"), redis, log)
            yield Ground(folder, port)


def chosen(text: str, known: dict[str, Any]) -> list[str]:
    """Return the names in a comma-separated *text*, in the order of *known*. If empty, all."""
    names = text.split(",") if text else list(known)
    for name in names:
        if name not in known:
            raise SystemExit(f"{name} is none of {', '.join(known)}")
    return [name for name in known if name in names]


def main() -> int:
    """The command. Returns 1 when a server lost, doubled or reordered something, or failed."""
    parser = argparse.ArgumentParser(description="Work done per CPU second of the server.")
    parser.add_argument("--setup", action="store_true", help="install the peers, and end")
    parser.add_argument("--only", default="", help=f"servers: {','.join(SERVERS)}")
    parser.add_argument("--scenarios", default="", help=f"of {','.join(SCENARIOS)}")
    parser.add_argument("--runs", type=int, help="how often; medians count (3; with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="small and short: does it work?")
    parser.add_argument("--json", type=Path, help="write every result to this file")
    options = parser.parse_args()
    if options.setup:
        setup()
        return 0
    for program in ("cc", "redis-server"):
        if not shutil.which(program):
            raise SystemExit(f"Debian package {DEBIAN[program]} is missing")
    letters = chosen(options.scenarios.upper(), SCENARIOS)
    names = []
    for name in chosen(options.only, SERVERS):
        if missing := SERVERS[name].missing():
            print(f"{name} is left out: {missing}", file=sys.stderr)
        else:
            names.append(name)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < 8000 and not options.quick:
        print(f"D and H are left out: of 8000 open files {hard} are allowed", file=sys.stderr)
        letters = [letter for letter in letters if letter not in "DH"]
    # A SIGTERM must end our children, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))

    results: list[dict[str, Any]] = []
    started = {"command": " ".join(sys.argv), "load average": os.getloadavg()[0]} | versions()
    for key, value in started.items():
        print(f"{key}: {value}")
    if os.getloadavg()[0] > 0.5:
        print("The machine is busy: see README.rst for why these figures cannot be trusted.")
    if options.quick:
        print("--quick: fewer clients and messages than the titles of the scenarios say.")
    print(flush=True)
    runs = options.runs or (1 if options.quick else 3)
    with prepared() as ground:
        # The servers take turns, so that a slow minute of the machine hits all of them.
        for run in range(1, runs + 1):
            for letter in letters:
                for name in names:
                    result: dict[str, Any] = {"run": run, "scenario": letter, "server": name}
                    try:
                        result |= measure(ground, name, letter, options.quick)
                    except Failed as error:
                        result["error"] = str(error)
                    results.append(result)
                    figure = short(result["figure"]) if "figure" in result else "-"
                    print(
                        f"run {run} of {runs}, {letter}, {name}: {figure} {trouble(result)}",
                        file=sys.stderr,
                    )
    report(results, names, letters)
    if options.json:
        options.json.write_text(json.dumps({"about": started, "results": results}, indent=1))
    return int(any(map(trouble, results)))


if __name__ == "__main__":
    sys.exit(main())
