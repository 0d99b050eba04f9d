"""The servers: wsredis, the floors and the peers, and how each of them is started."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from identities import SETTINGS, environment
from scenarios import Scenario

HERE = Path(__file__).resolve().parent
#: The wsredis under test.
CHECKOUT = Path(os.environ.get("BENCH_CHECKOUT", HERE.parent)).resolve()
VENV_PYTHON = HERE / ".venv" / "bin" / "python"
NODE_MODULES = HERE / "node_modules"
GO = HERE / ".go" / "bin"
RUST = HERE / ".rust" / "release" / "tungstenite-peer"
NCHAN = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
#: Program or file: the Debian package that has it.
DEBIAN = {
    "cc": "gcc",
    "/usr/include/openssl/ssl.h": "libssl-dev",
    "openssl": "openssl",
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
events {{ worker_connections 19000; }}
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
    client_max_body_size 1m;
    server {{
        listen 127.0.0.1:{port} backlog=4096{tls};
        location ~ ^/sub/(\\w+)$ {{
            nchan_subscriber websocket;
            nchan_channel_id $1;
            nchan_redis_pass redis;
        }}
        # A listener that sends something is disconnected, unless it may publish.
        location ~ ^/both/(\\w+)$ {{
            nchan_pubsub websocket;
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

    @property
    def certificate(self) -> str:
        """File with a key and a certificate."""
        return str(self.folder / "certificate.pem")


#: Returns the command that starts a server, for the ground, a port and a scenario.
Command = Callable[[Ground, int, Scenario], list[str]]


@dataclass(frozen=True)
class Server:
    """
    Attributes:
        command: See `Command`.
        missing: Returns the reason why it cannot run. If empty, it can.
        sub, pub, channel: Path to listen, path to publish, channel in Redis; %d is the number
            of the channel.
        load: More arguments for the load generator.
        load_in: More of them, by scenario; they win.
        tls: Tells whether it takes part in the scenarios with TLS.
        environ: Returns environment variables.
    """

    command: Command
    missing: Callable[[], str] = lambda: ""
    sub: str = "/sub/c%d"
    pub: str = "/pub/c%d"
    channel: str = "c%d"
    load: list[str] = field(default_factory=list)
    load_in: dict[str, list[str]] = field(default_factory=dict)
    tls: bool = False
    environ: Callable[[Ground], dict[str, str]] = lambda ground: {}


def nginx(ground: Ground, port: int, scenario: Scenario) -> list[str]:
    """Write the configuration, and start nginx with it."""
    tls = ""
    if scenario.servers == "tls":
        file = ground.certificate
        tls = f" ssl; ssl_certificate {file}; ssl_certificate_key {file}"
    conf = NGINX_CONF.format(
        folder=ground.folder, port=port, redis=ground.redis, module=NCHAN, tls=tls
    )
    (ground.folder / "nginx.conf").write_text(conf)
    return ["nginx", "-p", str(ground.folder), "-e", "stderr", "-c", f"{ground.folder}/nginx.conf"]


def floor(*options: str) -> Command:
    """The floor, compiled at the start of this program."""
    return lambda ground, port, scenario: [
        str(ground.folder / "floor"),
        *(str(port), str(ground.redis), *options),
    ]


def program(*words: str | Path) -> Command:
    """A command that gets the ports, and with TLS the certificate."""
    return lambda ground, port, scenario: [
        *map(str, words),
        *(str(port), str(ground.redis)),
        *((ground.certificate,) if scenario.servers == "tls" else ()),
    ]


def peer(runner: str | Path, file: str) -> Command:
    """A program in the folder peers/."""
    return program(runner, HERE / "peers" / file)


def uvicorn(ground: Ground, port: int, scenario: Scenario) -> list[str]:
    """As its documentation advises for production, without a log of requests."""
    return [
        *(str(VENV_PYTHON), "-m", "uvicorn", "uvicorn_app:app", "--app-dir", str(HERE / "peers")),
        *("--port", str(port), "--backlog", "4096", "--loop", "uvloop", "--no-access-log"),
        *("--log-level", "warning", "--ws-ping-interval", "300"),
    ]


def daphne(ground: Ground, port: int, scenario: Scenario) -> list[str]:
    """Daphne opens its port with a queue of 50, unless the endpoint says more."""
    endpoint = f"tcp:{port}:interface=127.0.0.1:backlog=4096"
    options = ("--no-server-name", "-v", "0", "--ping-interval", "300", "--endpoint", endpoint)
    return [str(VENV_PYTHON), "-m", "daphne", *options, "daphne_app:application"]


def centrifugo(ground: Ground, port: int, scenario: Scenario) -> list[str]:
    """Write the configuration: everybody may subscribe and publish."""
    conf = {
        "http_server": {"address": "127.0.0.1", "port": port},
        "engine": {
            "type": "redis",
            "redis": {"address": f"redis://127.0.0.1:{ground.redis}"},
        },
        "client": {
            "insecure": True,
            "allowed_origins": ["*"],
            "ping_interval": "290s",
            "queue_max_size": 16 << 20,
        },
        "channel": {
            "without_namespace": {
                "allow_subscribe_for_client": True,
                "allow_publish_for_client": True,
            }
        },
        "websocket": {"use_write_buffer_pool": True, "message_size_limit": 1 << 20},
        "log": {"level": "warn"},
        "usage_stats": {"disabled": True},
    }
    file = ground.folder / "centrifugo.json"
    file.write_text(json.dumps(conf))
    return [str(GO / "centrifugo"), "-c", str(file)]


def needs(*paths: str | Path) -> Callable[[], str]:
    """Return a check that these programs and files exist."""

    def missing() -> str:
        for path in map(str, paths):
            if not (shutil.which(path) or Path(path).exists()):
                package = DEBIAN.get(path)
                return f"Debian package {package} is missing" if package else "run with --setup"
        return ""

    return missing


#: nchan, Centrifugo and Channels wrap what they send through Redis: they must be fed by their own
#: publishers, and what arrives in Redis is found by a pattern.
WRAPPED = ["by-websocket=1", "pattern=*"]
CENTRIFUGE = [
    *WRAPPED,
    # Without the messages of its nodes to each other.
    "pattern=*.client.*",
    'hello={"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"c%d"}}',
    'before={"id":3,"publish":{"channel":"c%d","data":"',
    'after="}}',
]


def _redis_port(ground: Ground) -> dict[str, str]:
    return {"REDIS_PORT": str(ground.redis), "PYTHONPATH": str(HERE / "peers")}


def _one_core(ground: Ground) -> dict[str, str]:
    return {"GOMAXPROCS": "1"}


PEERS = {
    # It stops delivering for good after 32,768 messages on one channel in one second: in G it gets
    # no more than it can take.
    "nchan": Server(
        nginx,
        needs("nginx", NCHAN),
        load=WRAPPED,
        load_in={"G": ["rate=25000"], "D-traffic": ["sub=/both/c%d"]},
        tls=True,
    ),
    "uws": Server(
        peer("node", "uws_server.js"), needs("node", NODE_MODULES / "uwebsockets"), tls=True
    ),
    "go-gorilla": Server(program(GO / "gorilla"), needs(GO / "gorilla"), tls=True),
    "centrifuge": Server(
        program(GO / "centrifuge"),
        needs(GO / "centrifuge"),
        sub="/connection/websocket",
        pub="/connection/websocket",
        load=CENTRIFUGE,
    ),
    "centrifugo": Server(
        centrifugo,
        needs(GO / "centrifugo"),
        sub="/connection/websocket",
        pub="/connection/websocket",
        load=CENTRIFUGE,
        environ=_one_core,
    ),
    "tungstenite": Server(program(RUST), needs(RUST)),
    "node-ws": Server(peer("node", "node_ws.js"), needs("node", NODE_MODULES / "ws"), tls=True),
    "picows": Server(peer(VENV_PYTHON, "picows_server.py"), needs(VENV_PYTHON)),
    "websockets": Server(peer(VENV_PYTHON, "websockets_server.py"), needs(VENV_PYTHON)),
    "uvicorn": Server(uvicorn, needs(VENV_PYTHON), environ=_redis_port),
    "daphne": Server(daphne, needs(VENV_PYTHON), load=WRAPPED, environ=_redis_port),
    "autobahn": Server(peer(VENV_PYTHON, "naive_autobahn.py"), needs(VENV_PYTHON)),
}
#: The servers of --quick, unless --only names others.
QUICK = ("floor", "wsredis", "nchan", "uws", "go-gorilla", "node-ws")


# -- wsredis


def wsredis(python: str | Path = sys.executable) -> Server:
    """The gateway from the checkout, in an interpreter that has its dependencies."""

    def command(ground: Ground, port: int, scenario: Scenario) -> list[str]:
        secure = scenario.servers == "tls"
        options = {
            "django": ["--django", SETTINGS],
            "jwt": ["--jwt-key", f"{ground.folder}/jwt.key"],
            "groups": ["--jwt-key", f"{ground.folder}/jwt.key"],
        }.get(scenario.identity, [])
        return [
            *(str(python), "-c", "from twisted.scripts.twistd import run; run()"),
            *("-n", "--pidfile=", "wsredis", "--redis", f"redis://127.0.0.1:{ground.redis}"),
            # Twisted's own queue of 50 clients is too short for a crowd.
            "--tls-port" if secure else "--port",
            f"tcp:{port}:interface=127.0.0.1:backlog=4096",
            *(("--tls-cert", ground.certificate) if secure else ()),
            # The floor and the peers publish only; by default wsredis also keeps the last message.
            *(("--expire", "0") if "mode=feed" in scenario.full else ()),
            # All clients of a benchmark have one address, which is what these limits are about.
            *("--handshake-rate", "1000000", "--max-connections-per-address", "1000000"),
            *scenario.options,
            *options,
            *os.environ.get("BENCH_OPTIONS", "").split(),
        ]

    def missing() -> str:
        if not Path(python).exists():
            return "run with --setup and the same --python"
        found = subprocess.run(
            [python, "-c", "from wsredis import GatewayService"],
            env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            text=True,
            check=False,
        )
        return found.stderr.strip().rpartition("\n")[2] if found.returncode else ""

    return Server(
        command,
        missing,
        sub="/ws/c%d?subscribe-broadcast",
        pub="/ws/c%d?publish-broadcast",
        channel="broadcast:c%d",
        load_in={
            "D-traffic": ["sub=/ws/c%d?subscribe-broadcast&publish-broadcast"],
            "E-django": ["sub=/ws/c%d?subscribe-broadcast&subscribe-user"],
            "E-jwt": ["sub=/ws/c%d?subscribe-broadcast&subscribe-user"],
            "B-50k": ["sub=/ws/bench?subscribe-group", "channel=group:c%d:bench"],
        },
        tls=True,
        environ=lambda ground: {"PYTHONPATH": str(CHECKOUT), **environment(ground.folder)},
    )


def version_of(python: str) -> str:
    """Return the version of an interpreter, such as 3.13.0."""
    code = "import platform; print(platform.python_version())"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def venv_of(python: str) -> Path:
    """The Python of the environment that --setup makes for an interpreter."""
    return HERE / f".venv-{version_of(python)}" / "bin" / "python"


def all_servers(pythons: list[str]) -> dict[str, Server]:
    """Return the servers, with wsredis in this interpreter and in the given ones."""
    named = {f"wsredis-{version_of(python)}": wsredis(venv_of(python)) for python in pythons}
    floors = {"floor": Server(floor()), "floor-join": Server(floor("--join"))}
    return {**floors, "wsredis": wsredis(), **named, **PEERS}
