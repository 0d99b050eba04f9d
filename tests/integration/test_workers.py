"""``--workers``: several processes share ports; the end of one does not harm the others."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import sys
import time
from pathlib import Path

from tests.integration.test_life import BOTH, CLEAN, NO_REDIS, TWISTD, LifeCase
from tests.support.certificates import Authority
from tests.support.children import PATIENCE, Gateway, RedisServer, until
from tests.support.health import health
from tests.support.raw import CLOSE, RawClient, frame, handshake, response
from tests.support.require import missing


def is_running(process: int) -> bool:
    """Tell whether a process runs. A zombie does not."""
    try:
        return " Z " not in Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


class WorkersCase(LifeCase):
    """A gateway with two workers, and a Redis."""

    skip = missing("redis")

    gateway_: Gateway
    redis: RedisServer
    address: int | str

    def start(self, *options: str, environ: dict[str, str] | None = None) -> None:
        """Start a Redis and a gateway, and wait until the workers are ready."""
        self.redis = self.redis_server()
        self.run_gateway("--redis", self.redis.url, *options, environ=environ)

    def run_gateway(self, *options: str, environ: dict[str, str] | None = None) -> None:
        """Start the gateway, and wait until the workers are ready."""
        self.gateway_ = self.gateway("--workers", "2", "--verbose", *options, environ=environ)
        self.address = self.gateway_.port
        self.gateway_.child.wait_for(r"\] all 2 workers are ready")

    def process(self, number: int) -> int:
        """Find the newest process of a worker in the log."""
        found = re.findall(rf"worker {number} is process (\d+)", self.gateway_.log)
        return int(found[-1])

    def clients(self, facility: str, least: int = 2) -> dict[int, list[RawClient]]:
        """Connect until each worker has enough clients. Returns: The clients by worker."""
        found: dict[int, list[RawClient]] = {1: [], 2: []}
        deadline = time.monotonic() + PATIENCE
        while min(map(len, found.values())) < least:
            self.assertLess(time.monotonic(), deadline, "one of the workers gets no client")
            since = len(self.gateway_.log)
            client = self.open(self.address, f"/ws/{facility}?{BOTH}")
            said = self.gateway_.child.wait_for(r"worker (\d): opened ", since=since)
            found[int(said[1])].append(client)
        return found

    def assert_closed(self, client: RawClient) -> None:
        """Read a close frame with 1001, and answer it."""
        self.assertEqual(1001, client.closing())
        client.send(frame(CLOSE, b"\x03\xe9"))
        self.assertEqual(b"", client.rest())

    def assert_reached(self, clients: list[RawClient], facility: str, payload: bytes) -> None:
        """Check that a publication is the next message of each of *clients*."""
        self.redis.command("PUBLISH", f"broadcast:{facility}", payload)
        self.assertEqual([payload] * len(clients), [client.message() for client in clients])

    def assert_free(self) -> None:
        """Another gateway can bind the port."""
        port = f"tcp:{self.gateway_.port}:interface=127.0.0.1"
        again = self.gateway(*NO_REDIS, "--port", port)
        self.assertEqual(self.gateway_.port, again.port)

    def is_ready(self) -> bool:
        """Tell whether the health check answers with 200."""
        return health(self.address)[0] == 200


class ServingTests(WorkersCase):
    """All workers serve, and look like one gateway to their clients."""

    def test_both(self) -> None:
        """Both get clients; a message of a client or of a publisher reaches those of both."""
        self.start()
        found = self.clients("both")
        one, other = found[1][0], found[2][0]
        everybody = [client for clients in found.values() for client in clients]
        for speaker, text in ((one, "from one"), (other, "from the other")):
            speaker.send_text(text)
            self.assertEqual(
                [text.encode()] * len(everybody), [client.message() for client in everybody]
            )
        burst = [RawClient(self.gateway_.port) for _ in range(200)]
        for client in burst:
            self.addCleanup(client.socket.close)
            client.send(handshake("/ws/burst?subscribe-broadcast"))
        for client in burst:
            self.assertTrue(client.head().startswith("HTTP/1.1 101 "))
        self.assert_reached(burst, "burst", b"to all")

    def test_health(self) -> None:
        """All workers are ready if each is; none is without Redis."""
        self.start()
        until(self.is_ready)
        self.redis.kill()
        for number in (1, 2):
            self.gateway_.child.wait_for(f"worker {number}: lost the connection")
        self.assertFalse(self.is_ready())
        until(lambda: {"redis/1", "redis/2"} <= set(health(self.address)[1]))
        # The parent cannot report a change that is over before it is notified.
        self.gateway_.child.wait_for("not all 2 workers are ready")
        since = len(self.gateway_.log)
        self.redis.start()
        self.gateway_.child.wait_for(r"\] all 2 workers are ready", since=since)
        until(self.is_ready)

    def test_unix_socket(self) -> None:
        """
        A UNIX socket is shared, and keeps its mode when a worker is killed or stopped.

        Its file is removed when the parent stops.
        """
        path = self.directory / "gateway.sock"
        self.start("--port", f"unix:{path}:mode=600")
        self.address = str(path)
        found = self.clients("unix", least=1)
        self.assertEqual(0o600, stat.S_IMODE(path.stat().st_mode))
        for number in (signal.SIGTERM, signal.SIGKILL):
            since = len(self.gateway_.log)
            os.kill(self.process(1), number)
            self.gateway_.child.wait_for("worker 1 is process", since=since)
            self.gateway_.child.wait_for(r"\] all 2 workers are ready", since=since)
            self.assertEqual(0o600, stat.S_IMODE(path.stat().st_mode))
        self.assert_reached(found[2], "unix", b"x")
        self.clients("unix", least=1)
        self.assertIn(self.gateway_.stop(), CLEAN)
        self.assertEqual([], list(self.directory.iterdir()))

    def test_haproxy(self) -> None:
        """Workers understand the PROXY protocol."""
        self.start("--port", "haproxy:tcp:0:interface=127.0.0.1")
        with RawClient(self.gateway_.port) as client:
            line = b"PROXY TCP4 203.0.113.7 127.0.0.1 5555 8080\r\n"
            client.send(line + handshake(f"/ws/proxied?{BOTH}"))
            self.assertTrue(client.head().startswith("HTTP/1.1 101 "))
            self.gateway_.child.wait_for(r"worker \d: opened 203\.0\.113\.7(:5555)? on 'proxied'")
            self.assert_serves(client)

    def test_ipv6(self) -> None:
        """A socket of IPv6 is shared as well."""
        if not socket.has_dualstack_ipv6():
            raise self.skipTest("this machine has no IPv6")
        self.start("--port", r"tcp:0:interface=\:\:1")
        with socket.create_connection(("::1", self.gateway_.port), PATIENCE) as client:
            client.sendall(handshake(f"/ws/six?{BOTH}"))
            self.assertTrue(client.recv(1000).startswith(b"HTTP/1.1 101 "))

    def test_systemd(self) -> None:
        """A socket of systemd is passed on."""
        redis = self.redis_server()
        launcher = (
            "import os, socket, sys\n"
            "listening = socket.create_server(('127.0.0.1', 0))\n"
            "if listening.fileno() == 3: os.set_inheritable(3, True)\n"
            "else: os.dup2(listening.fileno(), 3)\n"
            "os.environ.update(LISTEN_PID=str(os.getpid()))\n"
            "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
        )
        child = self.child(
            *(sys.executable, "-c", launcher, *TWISTD[1:], "--pidfile=", "wsredis"),
            *("--port", "systemd:domain=INET:index=0", "--redis", redis.url, "--workers", "2"),
            environ={"LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"},
        )
        port = int(child.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1])
        child.wait_for(r"\] all 2 workers are ready")
        self.assert_serves(self.open(port, f"/ws/systemd?{BOTH}"))

    def test_private_redis(self) -> None:
        """All workers use one private Redis, which belongs to the parent."""
        self.run_gateway("--redis", "embedded")
        self.assertEqual(1, self.gateway_.log.count("started a private Redis"))
        found = self.clients("private", least=1)
        found[1][0].send_text("hello")
        for client in [*found[1], *found[2]]:
            self.assertEqual(b"hello", client.message())
        self.assertIn(self.gateway_.stop(), CLEAN)
        self.assertNotIn("lost the connection", self.gateway_.log)

    def test_password(self) -> None:
        """Workers have the password, and no command line shows it."""
        self.redis = RedisServer("--requirepass", "geheim-7")
        self.addCleanup(self.redis.stop)
        path = self.directory / "password"
        path.write_text("geheim-7\n")
        self.run_gateway("--redis", self.redis.url, "--redis-password-file", str(path))
        self.clients("password", least=1)
        for number in (1, 2):
            line = Path(f"/proc/{self.process(number)}/cmdline").read_bytes()
            self.assertIn(b"wsredis\0worker", line)
            self.assertNotIn(b"geheim", line)
        self.assertNotIn("geheim", self.gateway_.log)


class TlsTests(WorkersCase):
    """TLS in the workers."""

    def test_renewed(self) -> None:
        """All workers serve the certificate, and a new one after SIGHUP to the parent."""
        authority = Authority(self.directory)
        bundle = authority.bundle(self.directory / "a.pem", "a.example")
        local = "tcp:0:interface=127.0.0.1"
        self.start("--port", local, "--tls-port", local, "--tls-cert", str(bundle))
        said = self.gateway_.child.wait_for(r"listening on 127\.0\.0\.1:(\d+) with TLS")
        self.secure = int(said[1])
        plain = self.clients("tls")
        old = {number: self.secured(authority, number)[1] for number in (1, 2)}
        self.assertEqual(old[1], old[2])
        since = len(self.gateway_.log)
        authority.bundle(bundle, "a.example")
        self.gateway_.child.signal(signal.SIGHUP)
        for number in (1, 2):
            self.gateway_.child.wait_for(f"worker {number}: TLS: 1 new", since=since)
        for number in (1, 2):
            client, serial = self.secured(authority, number)
            self.assertNotEqual(old[number], serial)
            self.assert_reached([*plain[1], *plain[2], client], "tls", b"%d" % number)

    def secured(self, authority: Authority, number: int) -> tuple[RawClient, object]:
        """Connect with TLS until *worker* answers. Returns: The client and the certificate."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            since = len(self.gateway_.log)
            client = RawClient(self.secure)
            wrapped = authority.client().wrap_socket(client.socket, server_hostname="a.example")
            client.socket = wrapped
            self.addCleanup(wrapped.close)
            client.send(handshake("/ws/tls?subscribe-broadcast"))
            self.assertTrue(client.head().startswith("HTTP/1.1 101 "))
            said = self.gateway_.child.wait_for(r"worker (\d): opened ", since=since)
            shown = wrapped.getpeercert()
            assert shown is not None
            if int(said[1]) == number:
                return client, shown["serialNumber"]
        self.fail(f"worker {number} gets no client")

    def test_unreadable(self) -> None:
        """A worker that cannot read the certificate any more logs the reason in one line."""
        bundle = Authority(self.directory).bundle(self.directory / "a.pem", "a.example")
        local = "tcp:0:interface=127.0.0.1"
        self.start("--port", local, "--tls-port", local, "--tls-cert", str(bundle))
        bundle.unlink()
        since = len(self.gateway_.log)
        os.kill(self.process(1), signal.SIGKILL)
        self.gateway_.child.wait_for("worker 1: wsredis: tls-cert: .*a.pem", since=since)
        self.gateway_.child.wait_for(r"worker 1 .* ended with status 1;", since=since)
        self.assertNotIn("Traceback", self.gateway_.log)


class ReplacingTests(WorkersCase):
    """A worker that ends is replaced, and other workers go on."""

    def test_killed(self) -> None:
        """Clients of the other worker stay; the health check fails until all are back."""
        self.start()
        until(self.is_ready)
        found = self.clients("killed")
        since = len(self.gateway_.log)
        killed = self.process(1)
        os.kill(killed, signal.SIGKILL)
        for client in found[1]:
            self.assertEqual(b"", client.rest())
        self.gateway_.child.wait_for(
            rf"worker 1 \(process {killed}\) ended by signal 9 \(SIGKILL\); another one starts in",
            since=since,
        )
        # On a busy machine the new worker may be ready before we ask.
        again = re.compile(r"\] all 2 workers are ready")
        until(lambda: not self.is_ready() or again.search(self.gateway_.log, since))
        self.assert_reached(found[2], "killed", b"meanwhile")
        self.gateway_.child.wait_for(r"\] all 2 workers are ready", since=since)
        until(self.is_ready)
        self.assertNotEqual(killed, self.process(1))
        fresh = self.clients("killed")
        self.assert_reached([*found[2], *fresh[1], *fresh[2]], "killed", b"all again")
        self.assertEqual(1, len(re.findall(r"worker \d \(process", self.gateway_.log[since:])))

    def test_stopped_worker(self) -> None:
        """A worker that gets SIGTERM closes its own clients with 1001, and is replaced."""
        self.start()
        found = self.clients("stopped")
        since = len(self.gateway_.log)
        os.kill(self.process(2), signal.SIGTERM)
        for client in found[2]:
            self.assert_closed(client)
        self.gateway_.child.wait_for("worker 2 .* ended with status 0", since=since)
        self.gateway_.child.wait_for(r"\] all 2 workers are ready", since=since)
        self.assert_reached(found[1], "stopped", b"still here")

    def assert_replaced(self, number: int, since: int) -> None:
        """A worker is found mute, killed, and replaced; its clients are gone."""
        child = self.gateway_.child
        child.wait_for(f"not all 2 workers are ready: worker {number}: the worker", since=since)
        # The other one answers, when it has been told.
        until(lambda: list(health(self.address)[1]) == [f"workers/{number}"])
        self.assertEqual((200, {}), health(self.address, "live"))
        child.wait_for(f"worker {number} has said nothing for 10 s; killing it", since=since)
        child.wait_for(rf"worker {number} \(process \d+\) ended by signal 9 ", since=since)
        child.wait_for(r"\] all 2 workers are ready", since=since)
        until(self.is_ready)

    def test_mute(self) -> None:
        """A worker that was stopped is not ready, and replaced; the clients of the other stay."""
        self.start()
        until(self.is_ready)
        found = self.clients("mute", least=1)
        since = len(self.gateway_.log)
        os.kill(self.process(1), signal.SIGSTOP)
        self.assert_replaced(1, since)
        self.assertEqual(b"", found[1][0].rest())
        self.assert_reached(found[2], "mute", b"still here")

    def test_caught_in_a_loop(self) -> None:
        """A worker whose event loop never returns is replaced as well."""
        (self.directory / "caught.py").write_text(
            "def policy(identity, handshake):\n"
            "    while handshake.requested.facility == 'loop':\n"
            "        pass\n"
            "    return True\n"
        )
        self.start("--policy", "caught:policy", environ={"PYTHONPATH": self.python_path()})
        until(self.is_ready)
        since = len(self.gateway_.log)
        client = RawClient(self.gateway_.port)
        self.addCleanup(client.socket.close)
        client.send(handshake("/ws/loop?subscribe-broadcast"))
        said = self.gateway_.child.wait_for(r"workers are ready: worker (\d)", since=since)
        self.assert_replaced(int(said[1]), since)

    def test_silent_parent(self) -> None:
        """
        A parent that was stopped makes the gateway not ready, and after a while not live.

        When it goes on, it does not take its own silence for that of its workers.
        """
        self.start()
        until(self.is_ready)
        found = self.clients("orphans", least=1)
        since = len(self.gateway_.log)
        self.gateway_.child.signal(signal.SIGSTOP)
        until(lambda: health(self.address)[0] == 503)
        self.assertEqual(200, health(self.address, "live")[0])
        until(lambda: health(self.address, "live")[0] == 503)
        # Each of them, and any may answer.
        until(lambda: list(health(self.address)[1]) == ["workers"])
        everybody = [*found[1], *found[2]]
        self.assert_reached(everybody, "orphans", b"still here")
        self.gateway_.child.signal(signal.SIGCONT)
        until(self.is_ready)
        self.assertEqual(200, health(self.address, "live")[0])
        self.assert_reached(everybody, "orphans", b"again")
        self.assertNotIn("killing it", self.gateway_.log[since:])

    def test_cannot_start(self) -> None:
        """Workers that cannot start are tried again, each time later, and a stop still works."""
        (self.directory / "sitecustomize.py").write_text(
            "import sys\nif 'worker' in sys.orig_argv:\n    raise SystemExit('no today')\n"
        )
        gateway = self.gateway(
            *(*NO_REDIS, "--workers", "2"), environ={"PYTHONPATH": self.python_path()}
        )
        for delay in ("0.5", "1.0"):
            for number in (1, 2):
                gateway.child.wait_for(rf"worker {number} .* another one starts in {delay} s")
        self.assertIn("worker 1: SystemExit: no today", gateway.log)
        self.assertIn(gateway.stop(), CLEAN)

    def test_pipe_that_stays_open(self) -> None:
        """A worker is replaced although a program that it has started holds its output open."""
        (self.directory / "sitecustomize.py").write_text(
            "import subprocess, sys\n"
            "if 'worker' in sys.orig_argv:\n"
            "    sleeper = subprocess.Popen(['sleep', '600'])\n"
            "    print('sleeper', sleeper.pid, file=sys.stderr)\n"
        )
        self.start(environ={"PYTHONPATH": self.python_path()})
        for sleeper in re.findall(r"sleeper (\d+)", self.gateway_.log):
            self.addCleanup(os.kill, int(sleeper), signal.SIGKILL)
        since = len(self.gateway_.log)
        os.kill(self.process(1), signal.SIGKILL)
        self.gateway_.child.wait_for("worker 1 .* ended by signal 9", since=since)
        self.gateway_.child.wait_for(r"\] all 2 workers are ready", since=since)
        (sleeper,) = re.findall(r"sleeper (\d+)", self.gateway_.log[since:])
        self.addCleanup(os.kill, int(sleeper), signal.SIGKILL)
        self.assertIn(self.gateway_.stop(), CLEAN)

    def test_application_beside_the_pipes(self) -> None:
        """
        A program of the application gets no descriptor of the worker.

        What the application writes to the pipe of the reports is dropped, and the pipe goes on.
        """
        (self.directory / "beside.py").write_text(
            "import os, subprocess, sys\n"
            "listing = 'import os; print(*(os.readlink(f\"/proc/self/fd/{each}\") for each in '\\\n"
            '    \'os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{each}")))\'\n'
            "def application(environ, start_response):\n"
            "    os.write(3, b'junk')\n"
            "    child = [sys.executable, '-c', listing]\n"
            "    shown = subprocess.check_output(child, close_fds=False)\n"
            "    start_response('200 OK', [('Content-Length', str(len(shown)))])\n"
            "    return [shown]\n"
        )
        self.start("--wsgi", "beside:application", environ={"PYTHONPATH": self.python_path()})
        assert isinstance(self.address, int)
        request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        status, _, body = response(self.address, request)
        self.assertEqual(200, status)
        kinds = {each.partition(":")[0] for each in body.decode().split()}
        self.assertLessEqual(kinds, {"/dev/null", "pipe"})
        # Its output and its errors, and no others.
        self.assertLessEqual(body.count(b"pipe:"), 2)
        self.clients("beside", least=1)
        self.gateway_.child.wait_for("dropped a line that is not a report")

    def python_path(self) -> str:
        """The directory of this test, then the checkout."""
        return os.pathsep.join([str(self.directory), str(Path(__file__).parents[2])])


class StoppingTests(WorkersCase):
    """All workers stop together."""

    def processes(self) -> list[int]:
        """Name the parent and both workers."""
        return [self.gateway_.child.pid, self.process(1), self.process(2)]

    def assert_all_ended(self, processes: list[int]) -> None:
        """Wait until none of *processes* is left."""
        until(lambda: not any(is_running(process) for process in processes))

    def test_terminated(self) -> None:
        """SIGTERM: every client of every worker gets 1001, and the port is free."""
        self.start()
        processes = self.processes()
        found = self.clients("stop", least=20)
        since = len(self.gateway_.log)
        self.gateway_.child.signal(signal.SIGTERM)
        for client in [*found[1], *found[2]]:
            self.assert_closed(client)
        self.assertIn(self.gateway_.child.wait(), CLEAN)
        self.assert_all_ended(processes)
        self.assertNotRegex(
            self.gateway_.log[since:], "(?i)lost the connection|error|warn|another one"
        )
        self.assert_free()

    def test_interrupted(self) -> None:
        """SIGINT, which a terminal sends to all processes, stops them properly."""
        self.start()
        processes = self.processes()
        found = self.clients("interrupted", least=1)
        for process in reversed(processes):
            os.kill(process, signal.SIGINT)
        for client in [*found[1], *found[2]]:
            self.assert_closed(client)
        self.assertIn(self.gateway_.child.wait(), CLEAN)
        self.assert_all_ended(processes)
        self.assertNotIn("another one", self.gateway_.log)

    def test_stopped_twice(self) -> None:
        """Signals and the order of the parent may reach a worker in any order, and twice."""
        for first_parent in (True, False):
            self.start()
            parent, *workers = self.processes()
            found = self.clients("twice", least=1)
            since = len(self.gateway_.log)
            group = [parent, *workers] if first_parent else [*workers, parent]
            for process in [*group, *group]:
                try:
                    os.kill(process, signal.SIGTERM)
                except ProcessLookupError:
                    # It has ended since the first one.
                    pass
            for client in [*found[1], *found[2]]:
                self.assert_closed(client)
            self.assertIn(self.gateway_.child.wait(), CLEAN)
            self.assert_all_ended([parent, *workers])
            self.assertNotRegex(self.gateway_.log[since:], "Traceback|is process")

    def test_deaf_clients_and_a_worker_that_hangs(self) -> None:
        """Clients that do not answer and a worker that hangs delay a stop only a little."""
        self.start("--drain", "0.5")
        processes = self.processes()
        self.clients("deaf", least=1)
        os.kill(self.process(1), signal.SIGSTOP)
        self.gateway_.child.signal(signal.SIGTERM)
        self.assertIn(self.gateway_.child.wait(), CLEAN)
        self.assert_all_ended(processes)
        self.assertIn("worker 1 did not stop in time; killing it", self.gateway_.log)
        self.assertNotIn("worker 2 did not stop", self.gateway_.log)
        self.assert_free()

    def test_stopped_while_one_is_away(self) -> None:
        """A stop between the end of a worker and its restart starts no worker."""
        self.start()
        since = len(self.gateway_.log)
        os.kill(self.process(1), signal.SIGKILL)
        self.gateway_.child.wait_for("another one starts", since=since)
        self.gateway_.child.signal(signal.SIGTERM)
        self.assertIn(self.gateway_.child.wait(), CLEAN)
        # A busy machine may send the signal when the new worker has just been started.
        _, closed, rest = self.gateway_.log[since:].partition(" [-] (TCP Port ")
        self.assertTrue(closed)
        self.assertNotIn("worker 1 is process", rest)

    def test_parent_killed(self) -> None:
        """Workers do not outlive a killed parent; their clients get 1001 too."""
        self.start()
        processes = self.processes()
        found = self.clients("orphans", least=1)
        self.gateway_.child.signal(signal.SIGKILL)
        for client in [*found[1], *found[2]]:
            self.assert_closed(client)
        self.assert_all_ended(processes)
        self.assert_free()


class WrongSettingsTests(LifeCase):
    """A setting that cannot be used is one line."""

    def test_numbers(self) -> None:
        """The option needs a number of processes."""
        for value in ("0", "-1", "many", "1.5", ""):
            self.assert_one_line(self.wrong("--workers", value), "--workers: ")

    def test_endpoints(self) -> None:
        """Endpoints that need more than a listening socket are refused."""
        self.assert_one_line(
            self.wrong(*NO_REDIS, "--workers", "2", "--port", "ssl:0:privateKey=/x"),
            "--workers",
            "'ssl:0:privateKey=/x'",
        )

    def test_settings_of_the_gateway(self) -> None:
        """A setting that a gateway refuses is refused before any worker starts."""
        self.assert_one_line(self.wrong("--workers", "2", "--redis", "http://x"), "redis: ")
        self.assert_one_line(
            self.wrong(*NO_REDIS, "--workers", "2", "--port", "unix:/nonexistent/x.sock"),
            " port: ",
        )
