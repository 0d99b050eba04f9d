"""The unit of systemd, the image and the manifests of the documentation, and the signals."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import yaml
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.support.children import (
    PATIENCE,
    Child,
    Gateway,
    RedisServer,
    clean_environment,
    reserve_port,
    until,
)
from tests.support.raw import RawClient, handshake, response
from tests.support.require import missing
from wsredis.config import GatewayConfig, load

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

#: Seconds beyond the times to drain that the end of a gateway may take.
_REST = 2.0


def _settings(text: str) -> list[tuple[str, str]]:
    """The assignments of a unit."""
    return re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE)


def _stop_time(config: GatewayConfig) -> float:
    """The longest time of a stop, with an application of ``asgi`` that hangs."""
    hanging = 2 * config.asgi.shutdown + 4
    return config.drain_delay + config.drain_spread + config.drain + _REST + hanging


def _ready(port: int) -> int:
    """The status of the readiness check. 0 if the port is closed."""
    request = b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    try:
        return response(port, request)[0]
    except (OSError, EOFError, IndexError, ValueError):
        return 0


class _Case(SynchronousTestCase):
    """A Redis, and a folder."""

    skip = missing("redis")

    def setUp(self) -> None:
        """Start Redis."""
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)
        self.folder = Path(tempfile.mkdtemp(prefix="wsredis-test-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def open(self, port: int) -> RawClient:
        """A WebSocket."""
        client = RawClient(port)
        self.addCleanup(client.socket.close)
        client.send(handshake("/ws/a?subscribe-broadcast"))
        self.assertIn(" 101 ", client.head().splitlines()[0])
        return client


class UnitTests(_Case):
    """The unit of systemd."""

    text = (EXAMPLES / "wsredis.service").read_text("utf-8")

    def setUp(self) -> None:
        """Take the place of systemd: a socket for notices, credentials, and a file of settings."""
        super().setUp()
        notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(notices.close)
        notices.bind(str(self.folder / "notify"))
        self.notices: SimpleQueue[list[str]] = SimpleQueue()
        # The system keeps ten of them and drops the next: one that is not read costs another.
        reader = Thread(target=self.read_notices, args=(notices,), daemon=True)
        self.addCleanup(reader.join)
        self.addCleanup(notices.sendto, b"", str(self.folder / "notify"))
        reader.start()
        (self.folder / "redis-password").write_text("geheim\n")
        self.redis.command("CONFIG", "SET", "requirepass", "geheim")
        self.port = reserve_port(self)
        self.config = self.folder / "wsredis.toml"
        toml = (EXAMPLES / "wsredis.toml").read_text("utf-8")
        for key, value in (
            ("port", f'["tcp:{self.port}:interface=127.0.0.1"]'),
            ("redis", f'"{self.redis.url}"'),
            ("max-connections", "100"),
        ):
            toml, count = re.subn(rf"^{key} = .*$", f"{key} = {value}", toml, flags=re.MULTILINE)
            self.assertEqual(1, count)
        self.config.write_text(toml)
        self.unit = dict(_settings(self.text))
        variable, _, value = self.unit["Environment"].partition("=")
        self.environ = clean_environment(
            {
                variable: value.replace("%d", str(self.folder)),
                "NOTIFY_SOCKET": str(self.folder / "notify"),
                "WATCHDOG_USEC": "400000",
            }
        )

    def words(self, name: str) -> list[str]:
        """The words of a line of the unit, with programs and files of this machine."""
        program, *words = shlex.split(self.unit[name])
        programs = {
            "/srv/wsredis/.venv/bin/twistd": "from twisted.scripts.twistd import run; run()",
            "/srv/wsredis/.venv/bin/wsredis": "from wsredis.__main__ import run; exit(run())",
        }
        found = [sys.executable, "-c", programs[program]]
        return found + [str(self.config) if word.endswith(".toml") else word for word in words]

    def read_notices(self, notices: socket.socket) -> None:
        """Keep the lines of each notice, up to an empty one."""
        while data := notices.recv(4096):
            self.notices.put(data.decode().split("\n"))

    def heard(self, line: str) -> None:
        """Wait for a line of a notice."""
        end = time.monotonic() + PATIENCE
        while line not in self.notices.get(timeout=PATIENCE):
            self.assertLess(time.monotonic(), end, line)

    def test_life(self) -> None:
        """Checked, ready, fed, reloaded, stopped: each line of the unit does what it is for."""
        before = self.words("ExecStartPre")
        done = subprocess.run(before, env=self.environ, capture_output=True, timeout=PATIENCE)
        self.assertEqual(0, done.returncode, done.stderr)
        gateway = Child(self.words("ExecStart"), env=self.environ, cwd=str(self.folder))
        self.addCleanup(gateway.stop)
        self.heard("READY=1")
        self.assertEqual(200, _ready(self.port))
        self.heard("WATCHDOG=1")
        self.open(self.port)
        program, name, process = self.unit["ExecReload"].split()
        self.assertEqual(("/bin/kill", "-HUP", "$MAINPID"), (program, name, process))
        subprocess.run([program, name, str(gateway.pid)], check=True)
        self.heard("RELOADING=1")
        self.heard("READY=1")
        gateway.wait_for("read again: rules")
        gateway.signal(signal.SIGTERM)
        self.heard("STOPPING=1")
        self.heard("WATCHDOG=1")
        self.assertIn(gateway.wait(), (0, -signal.SIGTERM))

    def test_mistake(self) -> None:
        """A mistake in the file fails before the start, in one line."""
        self.config.write_text("nosuch = 1\n")
        done = subprocess.run(
            self.words("ExecStartPre"), env=self.environ, capture_output=True, timeout=PATIENCE
        )
        self.assertNotEqual(0, done.returncode)
        self.assertEqual(1, len(done.stderr.splitlines()), done.stderr)

    def test_redis_is_away(self) -> None:
        """It starts all the same after ten seconds, and the status says what is wrong."""
        self.redis.kill()
        gateway = Child(self.words("ExecStart"), env=self.environ, cwd=str(self.folder))
        self.addCleanup(gateway.stop)
        began = time.monotonic()
        statuses = []
        while True:
            lines = self.notices.get(timeout=PATIENCE)
            statuses += [line for line in lines if line.startswith("STATUS=")]
            if "READY=1" in lines:
                break
        self.assertGreater(time.monotonic() - began, 9)
        self.assertTrue(statuses[-1].startswith("STATUS=not ready; "), statuses)
        self.heard("WATCHDOG=1")

    def test_numbers(self) -> None:
        """There are descriptors for all clients, and time for the stop."""
        config = load({}, {}, str(EXAMPLES / "wsredis.toml"))
        unit = dict(_settings(self.text))
        self.assertGreater(int(unit["LimitNOFILE"]), config.limits.max_connections)
        self.assertGreater(int(unit["TimeoutStopSec"]), _stop_time(config))

    def test_exposure(self) -> None:
        """systemd-analyze finds it locked up: at most 3 of 10."""
        program = shutil.which("systemd-analyze")
        if program is None:
            raise SkipTest("systemd-analyze is not installed")
        done = subprocess.run(
            [
                *(program, "security", "--offline=true", "--no-pager", "--threshold=29"),
                str(EXAMPLES / "wsredis.service"),
            ],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        self.assertEqual(0, done.returncode, done.stdout[-200:] + done.stderr)


class ContainerTests(_Case):
    """The image, the compose file and the manifests."""

    dockerfile = (EXAMPLES / "Dockerfile").read_text("utf-8")
    compose: Any = yaml.safe_load((EXAMPLES / "compose.yaml").read_text("utf-8"))
    manifests: Any = list(yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text("utf-8")))

    def _instruction(self, name: str) -> list[str]:
        (found,) = re.findall(rf"^\s*{name} (\[.*\])$", self.dockerfile, re.MULTILINE)
        words: list[str] = json.loads(found)
        return words

    def _manifest(self, kind: str) -> Any:
        (found,) = [each for each in self.manifests if each["kind"] == kind]
        return found

    def test_image(self) -> None:
        """The entry point runs with the variables of the compose file; its health check works."""
        port = reserve_port(self)
        environ = dict(self.compose["services"]["wsredis"]["environment"])
        config = load({}, environ)
        self.assertEqual(("8080",), config.port)
        (self.folder / "password").write_text("geheim")
        self.redis.command("CONFIG", "SET", "requirepass", "geheim")
        environ |= {
            "WSREDIS_PORT": f"tcp:{port}:interface=127.0.0.1",
            "WSREDIS_REDIS": self.redis.url,
            "WSREDIS_REDIS_PASSWORD_FILE": str(self.folder / "password"),
        }
        program, *words = self._instruction("ENTRYPOINT")
        self.assertEqual("twistd", program)
        gateway = Child(
            [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", *words],
            env=clean_environment(environ),
            cwd=str(self.folder),
        )
        self.addCleanup(gateway.stop)
        until(lambda: _ready(port) == 200)
        _, option, code = self._instruction("CMD")
        self.assertIn(":8080/", code)
        check = [sys.executable, option, code.replace(":8080/", f":{port}/")]
        self.assertEqual(0, subprocess.run(check, timeout=PATIENCE).returncode)
        self.assertIn(gateway.stop(), (0, -signal.SIGTERM))
        self.assertNotEqual(
            0, subprocess.run(check, timeout=PATIENCE, stderr=subprocess.DEVNULL).returncode
        )

    def test_compose(self) -> None:
        """Secrets, ports and times fit together."""
        service = self.compose["services"]["wsredis"]
        config = load({}, service["environment"])
        self.assertGreater(int(service["stop_grace_period"].rstrip("s")), _stop_time(config))
        secret = Path(str(config.redis.password_file))
        self.assertEqual("/run/secrets", str(secret.parent))
        self.assertIn(secret.name, service["secrets"])
        self.assertIn(secret.name, self.compose["secrets"])
        self.assertTrue(service["ports"][0].endswith(f":{config.port[0]}"))
        limits = config.limits
        most = limits.max_connections + 2 * limits.max_handshakes
        self.assertGreater(service["ulimits"]["nofile"], most)

    def test_kubernetes(self) -> None:
        """The file of settings is valid; probes, ports, secrets and times fit together."""
        (name,) = self._manifest("ConfigMap")["data"]
        path = self.folder / name
        path.write_text(self._manifest("ConfigMap")["data"][name])
        config = load({}, {}, str(path))
        deployment = self._manifest("Deployment")["spec"]
        pod = deployment["template"]["spec"]
        (container,) = pod["containers"]
        mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
        self.assertEqual(["--config", f"/etc/wsredis/{name}"], container["args"])
        self.assertIn("/etc/wsredis", mounts)
        self.assertIn(str(Path(str(config.redis.password_file)).parent), mounts)
        self.assertEqual({each["name"] for each in pod["volumes"]}, set(mounts.values()))
        port, metrics = container["ports"]
        self.assertEqual((str(port["containerPort"]),), config.port)
        self.assertEqual(f"tcp:{metrics['containerPort']}", config.metrics_port)
        for probe, page in (("startup", "live"), ("liveness", "live"), ("readiness", "ready")):
            asked = container[f"{probe}Probe"]["httpGet"]
            self.assertEqual({"path": f"/health/{page}", "port": metrics["name"]}, asked)
        _, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
        longest = int(seconds) + _stop_time(config)
        self.assertGreater(pod["terminationGracePeriodSeconds"], longest)
        labels = deployment["template"]["metadata"]["labels"]
        self.assertEqual(labels, deployment["selector"]["matchLabels"])
        service = self._manifest("Service")["spec"]
        self.assertEqual(labels, service["selector"])
        self.assertEqual(port["name"], service["ports"][0]["targetPort"])
        budget = self._manifest("PodDisruptionBudget")["spec"]
        self.assertEqual(labels, budget["selector"]["matchLabels"])
        user = pod["securityContext"]["runAsUser"]
        self.assertIn(f"USER {user}:{user}\n", self.dockerfile)


class SignalTests(_Case):
    """Signals to the program, with and without workers."""

    def start(self, *options: str) -> Gateway:
        """A gateway that is ready."""
        gateway = Gateway("--redis", self.redis.url, *options)
        self.addCleanup(gateway.stop)
        until(lambda: _ready(gateway.port) == 200)
        return gateway

    def test_never_end(self) -> None:
        """SIGHUP, SIGUSR1 and SIGUSR2 end neither the parent nor a worker."""
        for options in ((), ("--workers", "2")):
            gateway = self.start(*options)
            workers = re.findall(r"is process (\d+)", gateway.log)
            processes = [gateway.child.pid, *map(int, workers)]
            for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
                for process in processes:
                    os.kill(process, number)
            gateway.child.wait_for("there is nothing to read again")
            self.open(gateway.port)
            self.assertEqual(workers, re.findall(r"is process (\d+)", gateway.log))
            gateway.stop()

    def test_rules(self) -> None:
        """SIGHUP reads the rules again, in all workers, and a mistake keeps the old ones."""
        path = self.folder / "rules.toml"
        for options in ((), ("--workers", "2")):
            path.write_text("")
            gateway = self.start("--config", str(path), *options)
            count = max(1, 2 * bool(options))
            for text, status, words in (
                ("[[rule]]\nallow = false\n", 403, "read again: rules"),
                ("[[rule]]\nallow = 5\n", 403, "what was read before is kept"),
                ("", 101, "read again: rules"),
            ):
                path.write_text(text)
                before = len(gateway.log)
                gateway.child.signal(signal.SIGHUP)
                until(lambda: gateway.log[before:].count(words) == count)  # noqa: B023
                found = response(gateway.port, handshake("/ws/a?subscribe-broadcast"))[0]
                self.assertEqual(status, found)
            gateway.stop()

    def test_second(self) -> None:
        """A second SIGTERM ends a long drain at once, after 1001 to all."""
        for options in ((), ("--workers", "2")):
            gateway = self.start("--drain-delay", "60", "--drain-spread", "60", *options)
            clients = [self.open(gateway.port) for _ in range(4)]
            gateway.child.signal(signal.SIGTERM)
            until(lambda: _ready(gateway.port) == 503)  # noqa: B023
            # Two at the same moment count as one.
            time.sleep(0.1)
            began = time.monotonic()
            gateway.child.signal(signal.SIGTERM)
            self.assertEqual([1001] * 4, [each.closing() for each in clients])
            self.assertIn(gateway.child.wait(), (0, -signal.SIGTERM))
            self.assertLess(time.monotonic() - began, 30)

    def test_thread(self) -> None:
        """A thread of the reactor that an application keeps busy does not hold the end."""
        (self.folder / "busy.py").write_text(
            "import time\n"
            "from twisted.internet import reactor\n"
            "def policy(identity, handshake):\n"
            "    reactor.callInThread(time.sleep, 120)\n"
            "    return True\n"
        )
        gateway = Gateway(
            *("--redis", self.redis.url, "--policy", "busy:policy"),
            *("--drain", "0", "--drain-spread", "0"),
            environ={"PYTHONPATH": os.pathsep.join([str(self.folder), *sys.path])},
        )
        self.addCleanup(gateway.stop)
        self.open(gateway.port)
        began = time.monotonic()
        gateway.child.signal(signal.SIGTERM)
        self.assertEqual(1, gateway.child.wait())
        self.assertLess(time.monotonic() - began, 60)
        self.assertIn("though these threads work: PoolThread-", gateway.log)
