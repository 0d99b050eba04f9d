"""The configurations of ``docs/examples``, each started in front of a gateway and of pages."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.certificates import Authority
from tests.support.children import Child, Gateway, RedisServer, ReservedPort, until
from tests.support.raw import RawClient, handshake
from tests.support.require import APACHE_MODULES, find_server

__all__ = [
    "APACHE",
    "APACHE_QOS",
    "HAPROXY",
    "HAPROXY_PROXY_PROTOCOL",
    "HOST",
    "NGINX",
    "NGINX_TCP",
    "Recipe",
    "Site",
]

#: The site that all examples serve.
HOST = "www.example.com"

_EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

#: The user of the servers if root runs the tests: they must need no rights of root.
_NOBODY = 65534 if os.geteuid() == 0 else None


@dataclass(frozen=True)
class Recipe:
    """
    The way to start one example.

    Names in braces are replaced: {directory} for all files, {listen} and {certificate} of the
    server, {pages}, and {port} of the gateway.

    Attributes:
        program: The executable.
        words: Its arguments.
        file: The file of the example.
        changes: Its strings, and their replacements in a test. Each stands there once.
        endpoint: ``--port`` of the gateway.
        proxy: ``--trusted-proxy`` of the gateway. If empty, there is none.
        reload: The signal for a new configuration.
        main: The example for the main file of the server. If empty, there is no such example.
        around: Debian's configuration around the two, without parts for root: {main}, {site}.
    """

    program: str
    words: tuple[str, ...]
    file: str
    changes: Mapping[str, str]
    endpoint: str
    proxy: str
    reload: signal.Signals
    main: str = ""
    around: str = "{site}"


_LETSENCRYPT = f"/etc/letsencrypt/live/{HOST}"

NGINX = Recipe(
    program="nginx",
    words=("-e", "stderr", "-c", "{directory}/configuration"),
    file="nginx.conf",
    changes={
        "443": "{listen}",
        f"{_LETSENCRYPT}/fullchain.pem": "{certificate}",
        f"{_LETSENCRYPT}/privkey.pem": "{certificate}",
        "127.0.0.1:8000": "{pages}",
        "127.0.0.1:8080": "unix:{directory}/gateway.sock",
    },
    endpoint="unix:{directory}/gateway.sock:mode=666",
    proxy="unix",
    reload=signal.SIGHUP,
    main="nginx-main.conf",
    around="""
        daemon off;
        pid {directory}/pid;
        error_log stderr notice;
        {main}
        events { worker_connections 1024; }
        http {
            access_log off;
            client_body_temp_path {directory}/body;
            proxy_temp_path {directory}/proxy;
            fastcgi_temp_path {directory}/fastcgi;
            uwsgi_temp_path {directory}/uwsgi;
            scgi_temp_path {directory}/scgi;
            {site}
        }
    """,
)

NGINX_TCP = replace(
    NGINX,
    changes={**NGINX.changes, "127.0.0.1:8080": "127.0.0.1:{port}"},
    endpoint="tcp:{port}:interface=127.0.0.1",
    proxy="127.0.0.1",
)

APACHE = Recipe(
    program="apache2",
    words=("-D", "FOREGROUND", "-f", "{directory}/configuration"),
    file="apache.conf",
    changes={
        "*:443": "{listen}",
        f"{_LETSENCRYPT}/fullchain.pem": "{certificate}",
        f"{_LETSENCRYPT}/privkey.pem": "{certificate}",
        "127.0.0.1:8000": "{pages}",
        "127.0.0.1:8080": "127.0.0.1:{port}",
    },
    endpoint="tcp:{port}:interface=127.0.0.1",
    proxy="127.0.0.1",
    reload=signal.SIGUSR1,
    main="apache-mpm.conf",
    around="\n".join(
        [
            "ServerName localhost",
            "DefaultRuntimeDir {directory}",
            "PidFile {directory}/pid",
            "ErrorLog {directory}/log",
            "Listen {listen}",
            *(
                f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so"
                for name in (
                    *("mpm_event", "authz_core", "reqtimeout"),
                    *("ssl", "headers", "proxy", "proxy_http"),
                )
            ),
            "RequestReadTimeout header=20-40,minrate=500",
            "RequestReadTimeout body=10,minrate=500",
            "{main}",
            "{site}",
        ]
    ),
)

APACHE_QOS = replace(
    APACHE,
    main="apache-qos.conf",
    around="\n".join(
        [
            # Debian's module does not name the library that it needs.
            *(f"LoadFile {path}" for path in Path("/lib").glob("*-linux-gnu/libpcre.so.3")),
            f"LoadModule qos_module {APACHE_MODULES}/mod_qos.so",
            APACHE.around,
        ]
    ),
)

HAPROXY = Recipe(
    program="haproxy",
    words=("-W", "-f", "{directory}/configuration"),
    file="haproxy.cfg",
    changes={
        # Only root may do this; the tests of the pages do.
        "    user haproxy\n    group haproxy\n    chroot /var/lib/haproxy\n": "",
        # Each takes two file descriptors, and a test may not have as many as a server has.
        "maxconn 20000": "maxconn 200",
        # More checks save time. One that is answered late, by a busy machine, has not failed.
        "inter 2s": "inter 200ms",
        "option httpchk": "timeout check 60s\n    option httpchk",
        ":443": "{listen}",
        f"/etc/haproxy/{HOST}.pem": "{certificate}",
        "127.0.0.1:8000": "{pages}",
        "127.0.0.1:8080": "127.0.0.1:{port}",
    },
    endpoint="tcp:{port}:interface=127.0.0.1",
    proxy="127.0.0.1",
    reload=signal.SIGUSR2,
)

HAPROXY_PROXY_PROTOCOL = replace(
    HAPROXY,
    file="haproxy-proxy-protocol.cfg",
    changes={
        **{old: new for old, new in HAPROXY.changes.items() if old != "127.0.0.1:8080"},
        "127.0.0.1:8081": "127.0.0.1:{port}",
    },
    endpoint="haproxy:tcp:{port}:interface=127.0.0.1",
    proxy="",
)


def _changed(text: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        assert text.count(old) == 1, f"{old!r} does not stand there once:\n{text}"
        text = text.replace(old, new)
    return text


class _Pages:
    """
    A server of pages, each of which shows the headers of its request.

    Attributes:
        port: Where it listens.
    """

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps({name.lower(): text for name, text in self.headers.items()})
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        # A daemon: else Python would wait for it before it calls the function that stops it.
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Site:
    """
    Redis, a gateway, a server of pages, and a web server in front of the two.

    Args:
        options: More options of the gateway.
        changes: Made in the files of the example, as those of the recipe.

    Attributes:
        redis: The Redis.
        gateway: The gateway of the moment.
        server: The web server.
    """

    redis: RedisServer
    gateway: Gateway
    server: Child

    def __init__(
        self, recipe: Recipe, *options: str, changes: Mapping[str, str] | None = None
    ) -> None:
        self._recipe = recipe
        self._options = options
        with ExitStack() as stack:
            self._directory = tempfile.mkdtemp(prefix="wsredis-test-")
            stack.callback(shutil.rmtree, self._directory, ignore_errors=True)
            self._authority = Authority(Path(self._directory))
            self._reserved, gateway_port = ReservedPort(), ReservedPort()
            stack.callback(self._reserved.close)
            stack.callback(gateway_port.close)
            self._gateway_port = gateway_port.number
            self.redis = RedisServer()
            stack.callback(self.redis.stop)
            self._pages = _Pages()
            stack.callback(self._pages.stop)
            self.start_gateway()
            stack.callback(lambda: self.gateway.stop())
            self._start_server(changes or {})
            stack.callback(self.server.stop)
            until(self._is_reachable)
            self.stop = stack.pop_all().close

    def start_gateway(self) -> None:
        """Start a gateway where the last one was."""
        endpoint = self._recipe.endpoint.format(directory=self._directory, port=self._gateway_port)
        proxy = ("--trusted-proxy", self._recipe.proxy) if self._recipe.proxy else ()
        self.gateway = Gateway(
            *("--redis", self.redis.url, "--port", endpoint), *proxy, *self._options
        )

    def reload(self) -> None:
        """Make the web server read its configuration again, as a service manager does."""
        until(self._catches_reload)
        self.server.signal(self._recipe.reload)

    def connect(self, source: str = "") -> RawClient:
        """A client that has seen the certificate of the site."""
        client = RawClient(self._port, source=source)
        context = self._authority.client()
        client.socket = context.wrap_socket(client.socket, server_hostname=HOST)
        return client

    def greets(self, source: str) -> bool:
        """Tell whether the server answers a client that begins TLS."""
        outgoing = ssl.MemoryBIO()
        tls = self._authority.client().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=HOST)
        with suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        try:
            with RawClient(self._port, source=source) as client:
                client.send(outgoing.read())
                client.take(1)
        except (ConnectionError, EOFError):
            return False
        return True

    @property
    def log(self) -> str:
        """All that the web server logged so far."""
        file = Path(self._directory, "log")
        return self.server.output + (file.read_text("utf-8") if file.exists() else "")

    def page(self, path: str, *headers: str, source: str = "") -> dict[str, str]:
        """Read a page. Returns: The headers that its server was sent, with lower-case names."""
        with self.connect(source) as client:
            lines = [f"GET {path} HTTP/1.1", f"Host: {HOST}", "Connection: close", *headers]
            client.send("\r\n".join(lines).encode() + b"\r\n\r\n")
            head = client.head()
            assert head.split()[1] == "200", head
            shown: dict[str, str] = json.loads(client.rest())
            return shown

    def status(self, path: str, *headers: str, source: str = "") -> int:
        """Shake hands for a WebSocket, and leave. Returns: The status of the answer."""
        with self.connect(source) as client:
            client.send(handshake(path, *headers, host=HOST))
            return int(client.head().split()[1])

    def open(self, path: str, *headers: str, source: str = "") -> RawClient:
        """
        Open a WebSocket. It is the caller's to close.

        Raises:
            AssertionError: The answer is not 101.
        """
        client = self.connect(source)
        client.send(handshake(path, *headers, host=HOST))
        head = client.head()
        assert head.startswith("HTTP/1.1 101 "), head
        return client

    def _start_server(self, changes: Mapping[str, str]) -> None:
        recipe = self._recipe
        self._port = self._reserved.number
        certificate = Path(self._directory, "site.pem")
        self._authority.bundle(certificate, HOST)
        parts = {"{main}": "", "{site}": (_EXAMPLES / recipe.file).read_text("utf-8")}
        if recipe.main:
            parts["{main}"] = (_EXAMPLES / recipe.main).read_text("utf-8")
        text = recipe.around
        for name, part in parts.items():
            text = text.replace(name, part)
        text = _changed(text, {**recipe.changes, **changes})
        names = {
            "{directory}": self._directory,
            "{listen}": f"127.0.0.1:{self._port}",
            "{certificate}": str(certificate),
            "{pages}": f"127.0.0.1:{self._pages.port}",
            "{port}": str(self._gateway_port),
        }
        words = list(recipe.words)
        for name, value in names.items():
            text = text.replace(name, value)
            words = [word.replace(name, value) for word in words]
        Path(self._directory, "configuration").write_text(text, "utf-8")
        if _NOBODY is not None:
            os.chown(self._directory, _NOBODY, _NOBODY)
            os.chown(certificate, _NOBODY, _NOBODY)
        executable = find_server(recipe.program)
        assert executable is not None
        self.server = Child([executable, *words], cwd=self._directory, user=_NOBODY)

    def _catches_reload(self) -> bool:
        """HAProxy takes clients while it still ignores the signal."""
        status = Path(f"/proc/{self.server.pid}/status").read_text()
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        return bool(caught >> (self._recipe.reload - 1) & 1)

    def _is_reachable(self) -> bool:
        assert self.server.process.poll() is None, self.server.output
        try:
            RawClient(self._port).socket.close()
        except ConnectionError:
            return False
        return True
