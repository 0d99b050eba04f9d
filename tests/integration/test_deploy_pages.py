"""The pages about deployment, gone through on a machine: each file at its place, each command."""

from __future__ import annotations

import atexit
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import SkipTest

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import Authority
from tests.support.children import until
from tests.support.guide import Command, File, steps
from tests.support.machine import Machine, missing_machine
from tests.support.raw import RawClient, handshake, response
from tests.support.require import missing

HOST = "www.example.com"

DOCS = Path(__file__).parents[2] / "docs"

_LETSENCRYPT = f"/etc/letsencrypt/live/{HOST}"

_ENVIRONMENT = "/srv/wsredis/.venv"

#: The log of the gateway goes to a file, since there is no journal.
_LOG = "/var/log/wsredis.log"

#: A server of pages, as any application is.
_PAGES = """
[Service]
ExecStart=/opt/python/bin/python3 -m http.server 8000 --bind 127.0.0.1 --directory /srv
"""


def follow(machine: Machine, some: Iterable[File | Command]) -> None:
    """Do what a page says. Packages are there already."""
    for step in some:
        if isinstance(step, File):
            machine.write(step.place, step.text)
        elif "python3 -m venv" in step.line:
            machine.make_environment(step.line.split()[-1])
        elif "/pip install" not in step.line:
            machine.run(step.line)


def _without_socket() -> list[File | Command]:
    """The steps of the page about systemd, up to those about a socket unit."""
    some = steps("deploy-systemd")
    (socket,) = [step for step in some if isinstance(step, File) and "socket" in step.place]
    return some[: some.index(socket)]


@cache
def _shared() -> tuple[Machine, Authority, str]:
    """
    Follow the page about systemd on a machine.

    Returns: The machine, who signs certificates there, and the log of the gateway's start.
    """
    machine = Machine()
    atexit.register(machine.stop)
    folder = TemporaryDirectory(prefix="wsredis-test-")
    atexit.register(folder.cleanup)
    authority = Authority(Path(folder.name))
    pem = Path(folder.name, "site.pem")
    authority.bundle(pem, HOST)
    # A private key, and the rest.
    key = re.compile(r"-----BEGIN [A-Z ]*KEY-----.*?-----END [A-Z ]*KEY-----\n", re.DOTALL)
    text = pem.read_text()
    found = key.search(text)
    assert found is not None
    machine.write(f"{_LETSENCRYPT}/privkey.pem", found[0])
    machine.write(f"{_LETSENCRYPT}/fullchain.pem", key.sub("", text))
    machine.run(f"chmod 600 {_LETSENCRYPT}/privkey.pem; chmod 700 /etc/letsencrypt/live")
    machine.write("/run/units/pages.service", _PAGES)
    machine.write(
        "/etc/systemd/system/wsredis.service.d/log.conf",
        f"[Service]\nStandardOutput=append:{_LOG}\nStandardError=append:{_LOG}\n",
    )
    machine.run("systemctl start pages")
    follow(machine, _without_socket())
    return machine, authority, machine.run(f"cat {_LOG}")


class _Case(SynchronousTestCase):
    """A machine with a gateway on port 8080 of it."""

    skip = missing("redis") or missing_machine()

    def setUp(self) -> None:
        """Make it, or bring the gateway of the last test back to the settings of the page."""
        self.machine, self.authority, self.first_log = _shared()
        (toml,) = [
            step
            for step in steps("deploy-systemd")
            if isinstance(step, File) and step.place.endswith(".toml")
        ]
        if self.machine.run(f"cat {toml.place}") != toml.text:
            self.machine.write(toml.place, toml.text)
            self.machine.run("systemctl restart wsredis")

    def log(self) -> str:
        """All that the gateway logged so far."""
        return self.machine.run(f"cat {_LOG}")

    def status(self) -> str:
        """What systemd shows of the state of the gateway."""
        return self.machine.run("systemctl show --property StatusText --value wsredis").strip()

    def publish(self, facility: str, text: str) -> None:
        """Publish as another program of that machine."""
        self.machine.run(
            "env REDISCLI_AUTH=$(cat /etc/wsredis/redis-password)"
            f" redis-cli PUBLISH broadcast:{facility} {text}"
        )

    def connect(self, port: int = 443) -> RawClient:
        """A client on that machine, with TLS unless the port is that of the gateway."""
        client = self.machine.inside(lambda: RawClient(port))
        # Not its method: TLS takes the place of this socket.
        self.addCleanup(lambda: client.socket.close())
        if port == 443:
            context = self.authority.client()
            client.socket = context.wrap_socket(client.socket, server_hostname=HOST)
        return client

    def is_up(self) -> bool:
        """Tell whether the web server passes WebSockets on; some take a moment to notice."""
        client = self.connect()
        client.send(handshake("/ws/up?subscribe-broadcast", host=HOST))
        with client:
            return client.head().startswith("HTTP/1.1 101 ")

    def assert_served(self, facility: str, port: int = 443) -> None:
        """Check that a page of the site opens a WebSocket and hears what is published."""
        client = self.connect(port)
        path = f"/ws/{facility}?subscribe-broadcast&publish-broadcast"
        client.send(handshake(path, f"Origin: https://{HOST}", host=HOST))
        head = client.head()
        self.assertTrue(head.startswith("HTTP/1.1 101 "), f"{head}\n{self.log()}")
        self.publish(facility, "hello")
        self.assertEqual(b"hello", client.message())
        # A gateway that restarts would wait for it.
        client.socket.close()

    def assert_user(self, program: str, user: str, masters: int) -> None:
        """Wait until processes of *program* run as *user*, but for so many of root."""
        number = int(self.machine.run(f"id -u {user}"))

        def as_told() -> bool:
            # A worker that was just made is still root.
            users = self.machine.users(program)
            return users.count(0) == masters and {*users} == {0, number}

        until(as_told)


class SystemdTests(_Case):
    """The page about systemd."""

    def test_user(self) -> None:
        """The service is a user of its own without rights, who may not read the password file."""
        process = self.machine.run("systemctl show --property MainPID --value wsredis").strip()
        status = self.machine.run(f"cat /proc/{process}/status")
        (user,) = re.findall(r"^Uid:\t(\d+)", status, re.MULTILINE)
        self.assertGreaterEqual(int(user), 61184)
        self.assertIn("CapBnd:\t0000000000000000\n", status)
        group = self.machine.run("id -g www-data").strip()
        self.assertIn(f"\nGid:\t{group}\t", status)
        become = f"setpriv --reuid {user} --regid {group} --clear-groups"
        self.machine.run(f"{become} cat /etc/wsredis/wsredis.toml")
        self.machine.run(f"! {become} cat /etc/wsredis/redis-password 2>/dev/null")
        self.assert_served("user", 8080)

    def test_network(self) -> None:
        """No port is open to the network, and Redis wants its password."""
        ports = self.machine.run("cat /proc/net/tcp /proc/net/tcp6")
        open_ports = {
            int(port, 16)
            for address, port in re.findall(r": (\w+):(\w+) 0+:0000 0A ", ports)
            if address not in ("0100007F", "00000000000000000000000001000000")
        }
        self.assertEqual(set(), open_ports & {8080, 6379, 8000})
        self.assertIn("NOAUTH", self.machine.run("redis-cli PING 2>&1 || true"))

    def test_log(self) -> None:
        """Nothing that the service may not do is in its way: no warning, no traceback."""
        self.assertIn("connected to redis://127.0.0.1:6379", self.first_log)
        for word in ("Traceback", "dropin", "Errno", "denied"):
            self.assertNotIn(word, self.first_log)
        until(lambda: self.status() == "ready")

    def test_reload_and_stop(self) -> None:
        """A reload keeps the process; a stop is soon over, and is no failure."""
        shown = "systemctl show --property MainPID --value wsredis"
        before = self.machine.run(shown)
        self.machine.run("systemctl reload wsredis")
        self.assertEqual(before, self.machine.run(shown))
        self.machine.run("systemctl stop wsredis")
        self.assertEqual("inactive\n", self.machine.run("systemctl is-active wsredis || true"))
        self.assertNotIn("failed", self.machine.run("systemctl is-failed wsredis || true"))
        self.machine.run("systemctl start wsredis")
        self.assert_served("again", 8080)

    def test_mistake(self) -> None:
        """A mistake in the settings fails the start in one line; once mended, it starts itself."""
        place = "/etc/wsredis/wsredis.toml"
        text = self.machine.run(f"cat {place}")
        self.machine.write(place, text + "hartbeat = 'x'\n")
        before = len(self.log())
        self.machine.run("systemctl restart wsredis 2>/dev/null && exit 1 || true")
        until(lambda: self.log()[before:].count("hartbeat") > 1)
        limit = self.machine.run("systemctl show --property StartLimitIntervalUSec wsredis")
        self.assertEqual("StartLimitIntervalUSec=0\n", limit, "it never gives up")
        self.assertNotIn("Traceback", self.log()[before:])
        self.machine.write(place, text)
        until(lambda: self.status() == "ready")

    def test_socket(self) -> None:
        """With a socket unit the port stays open while the gateway is away, and wakes it."""
        run = self.machine.run
        self.addCleanup(run, "systemctl disable --now wsredis.socket 2>&1; systemctl stop wsredis")
        follow(self.machine, steps("deploy-systemd")[len(_without_socket()) :])
        self.assert_served("socket", 8080)
        run("systemctl stop wsredis 2>/dev/null")
        self.assert_served("woken", 8080)

    def test_causes(self) -> None:
        """Each cause that the page names is told in the words that it names."""
        page = (DOCS / "howto" / "deploy-systemd.rst").read_text("utf-8")
        run = self.machine.run
        password = "/etc/wsredis/redis-password"
        for mistake, cure, words in (
            (
                *(f"mv {_ENVIRONMENT}/bin/wsredis /root", f"mv /root/wsredis {_ENVIRONMENT}/bin"),
                "status=203/EXEC",
            ),
            (
                *(f"mv {password} /root", f"mv /root/redis-password {password}"),
                "status=243/CREDENTIALS",
            ),
            (
                *("chmod 600 /etc/wsredis/wsredis.toml", "chmod 644 /etc/wsredis/wsredis.toml"),
                "/etc/wsredis/wsredis.toml: Permission denied",
            ),
        ):
            self.assertIn(f"``{words}``", page)
            before = len(self.log())
            run(f"{mistake}; systemctl restart wsredis 2>/dev/null && exit 1 || true")
            shown = run("systemctl status --no-pager wsredis || true") + self.log()[before:]
            # Else the next start comes by itself.
            run(f"systemctl stop wsredis; {cure}")
            self.assertIn(words, shown)
        secret = run(f"cat {password}").strip()
        redis = f"env REDISCLI_AUTH={secret} redis-cli CONFIG SET requirepass"
        for mistake, cure, words in (
            (
                f"echo wrong >{password}",
                f"echo {secret} >{password}",
                "AUTH was refused: WRONGPASS",
            ),
            (
                *(f"{redis} ''", f"{redis} {secret}"),
                "without any password configured",
            ),
        ):
            self.assertIn(words, page)
            before = len(self.log())
            run(f"{mistake}; systemctl restart --no-block wsredis")
            until(lambda: words in self.log()[before:])  # noqa: B023
            run(f"{cure}; systemctl restart wsredis")


class NginxTests(_Case):
    """The page about NGINX."""

    skip = _Case.skip or missing("nginx")

    def test_page(self) -> None:
        """The site works after each of its parts, by the port and by the UNIX socket."""
        self.addCleanup(self.machine.run, "systemctl stop nginx")
        some = steps("deploy-nginx")
        restarts = [
            number
            for number, step in enumerate(some)
            if step == Command("sudo systemctl restart nginx")
        ]
        done = 0
        for number in restarts:
            follow(self.machine, some[done : number + 1])
            done = number + 1
            self.assert_served(f"nginx-{number}")
        follow(self.machine, some[done:])
        self.assert_user("nginx", "www-data", 1)
        ports = self.machine.run("cat /proc/net/tcp")
        self.assertNotIn(f":{8080:04X} 00000000:0000 0A ", ports)
        # A reload is over before the old workers have let go of the port.
        until(self.is_up)
        self.assert_served("nginx-unix")
        self.assertIn("32768", self.machine.run("nginx -T 2>/dev/null | grep worker_connections"))


class ApacheTests(_Case):
    """The page about Apache."""

    skip = _Case.skip or missing("apache")

    def test_page(self) -> None:
        """The site works with each of its parts, also with the limits of mod_qos."""
        if "a2enmod" not in self.machine.run("command -v a2enmod || true"):
            raise SkipTest("there is no a2enmod on this machine")
        self.addCleanup(self.machine.run, "systemctl stop apache2")
        some = steps("deploy-apache")
        for number, step in enumerate(some):
            if isinstance(step, Command) and step.line.endswith("a2enmod qos"):
                # Debian's module does not name the library that it needs; the page says so.
                self.machine.run(
                    "for library in /lib/*-linux-gnu/libpcre.so.3; do"
                    ' sed -i "1i LoadFile $library" /etc/apache2/mods-available/qos.load; done'
                )
            follow(self.machine, [step])
            if step == Command("sudo systemctl restart apache2"):
                self.assert_served(f"apache-{number}")
        self.assert_user("apache2", "www-data", 1)
        self.assertIn("qos", self.machine.run("apache2ctl -M"))


class HaproxyTests(_Case):
    """The page about HAProxy."""

    skip = _Case.skip or missing("haproxy")

    def test_page(self) -> None:
        """The site works, and with the PROXY protocol; no client is served by root."""
        self.addCleanup(self.machine.run, "systemctl stop haproxy")
        for step in steps("deploy-haproxy"):
            if isinstance(step, File):
                # Root of a container may not have as many file descriptors as root has.
                step = replace(step, text=step.text.replace("maxconn 20000", "maxconn 2000"))
            follow(self.machine, [step])
            if isinstance(step, Command) and "systemctl restart" in step.line:
                until(self.is_up)
                self.assert_served(f"haproxy-{len(step.line)}")
                self.assert_user("haproxy", "haproxy", 1)


class _Containers(SynchronousTestCase):
    """
    A machine whose services are as locked up as containers are.

    There is no Docker here: systemd takes its place, and our environment that of the image.
    """

    skip = missing("redis") or missing_machine()

    def setUp(self) -> None:
        """Build the image."""
        self.machine = Machine()
        self.addCleanup(self.machine.stop)
        (dockerfile,) = [
            step.text
            for step in steps("deploy-containers")
            if isinstance(step, File) and step.place == "Dockerfile"
        ]
        self.instructions = dict(
            re.findall(r"^ *([A-Z]+) (.+)$", dockerfile.replace("\\\n", ""), re.MULTILINE)
        )
        self.machine.make_environment("/opt/wsredis")
        self.machine.run("/opt/wsredis/bin/twistd --help")
        # Here the services of one network are one machine.
        self.machine.run("echo 127.0.0.1 redis >>/etc/hosts")

    def start(self, name: str, words: list[str], user: str, environ: Mapping[str, str]) -> None:
        """Run a container: no rights, and no file that it may write but in its folder."""
        owner, group = user.split(":")
        # systemd wants a name for each number, and a container needs none.
        for file, number, line in (
            ("group", group, f"g{group}:x:{group}:"),
            ("passwd", owner, f"u{owner}:x:{owner}:{group}::/:/bin/false"),
        ):
            self.machine.run(f"getent {file} {number} || echo {line} >>/etc/{file}")
        path = self.instructions["ENV"].split()[0].removesuffix(":$PATH")
        lines = [f'Environment="{key}={value}"' for key, value in environ.items()]
        self.machine.write(f"/opt/{name}.json", json.dumps(words))
        # systemd has quotes of its own for words.
        code = f"import json,os; w=json.load(open('/opt/{name}.json')); os.execvp(w[0], w)"
        self.machine.write(
            f"/etc/systemd/system/{name}.service",
            "\n".join(
                [
                    "[Service]",
                    f'Environment="{path}:/usr/bin:/bin" PYTHONUNBUFFERED=1',
                    *lines,
                    f'ExecStart=/opt/python/bin/python3 -c "{code}"',
                    f"User={owner}\nGroup={group}",
                    "TemporaryFileSystem=/tmp:mode=1777\nWorkingDirectory=/tmp",
                    "ProtectSystem=strict\nCapabilityBoundingSet=\nNoNewPrivileges=yes",
                    f"StandardOutput=append:/var/log/{name}.log",
                    f"StandardError=append:/var/log/{name}.log",
                ]
            ),
        )
        self.machine.run(f"systemctl daemon-reload; systemctl restart {name}")

    def words_of_image(self) -> list[str]:
        """The entry point."""
        words: list[str] = json.loads(self.instructions["ENTRYPOINT"])
        return words

    def log(self, name: str) -> str:
        """The log of a container."""
        return self.machine.run(f"cat /var/log/{name}.log || true")

    def health(self, port: int, page: str = "ready") -> int:
        """The status of a health check. 0 if nobody answers."""
        request = f"GET /health/{page} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        try:
            return self.machine.inside(lambda: response(port, request.encode()))[0]
        except (OSError, EOFError, IndexError, ValueError):
            return 0

    def assert_serves(self, password: str) -> None:
        """Check that a message passes, and that no list of processes shows the password."""
        until(lambda: self.health(8080) == 200)
        with self.machine.inside(
            lambda: RawClient.opened(8080, "/ws/a?subscribe-broadcast")
        ) as one:
            publish = f"env REDISCLI_AUTH={password} redis-cli PUBLISH broadcast:a hello"
            self.machine.run(publish)
            self.assertEqual(b"hello", one.message())
        self.assertNotIn(password, self.machine.run("ps -e -o args="))


class ComposeTests(_Containers):
    """The page about containers."""

    def test_page(self) -> None:
        """With the modes of the page both services read the password; with 600 the log says so."""
        (compose,) = [
            yaml.safe_load(step.text)
            for step in steps("deploy-containers")
            if isinstance(step, File) and step.place == "compose.yaml"
        ]
        folder = "/run/secrets"
        self.machine.run(f"mkdir {folder}")
        for step in steps("deploy-containers"):
            if isinstance(step, Command) and "redis-password" in step.line:
                self.machine.run(f"cd {folder}; {step.line}")
        password = self.machine.run(f"cat {folder}/redis-password").strip()
        redis, gateway = (compose["services"][name] for name in ("redis", "wsredis"))
        words = [word.replace("$$", "$") for word in redis["command"]]
        self.start("redis", words, f"{redis['user']}:redis", {})
        user = self.instructions["USER"]
        start = ("gateway", self.words_of_image(), user, gateway["environment"])
        self.start(*start)
        self.assert_serves(password)
        check = json.loads(self.instructions["HEALTHCHECK"].partition("CMD ")[2])
        self.machine.run(f'/opt/wsredis/bin/{check[0]} {check[1]} "{check[2]}"')
        self.machine.run(f"chmod 600 {folder}/redis-password")
        self.start(*start)
        until(lambda: "redis-password" in self.log("gateway"))
        self.assertNotIn("Traceback", self.log("gateway"))


class KubernetesTests(_Containers):
    """The page about Kubernetes."""

    def test_page(self) -> None:
        """With the owners and modes of the manifests both pods start, and the probes answer."""
        found: list[Any] = []
        for step in steps("deploy-kubernetes"):
            if isinstance(step, File):
                found += yaml.safe_load_all(step.text)
        (settings,) = [each["data"] for each in found if each["kind"] == "ConfigMap"]
        pods = {
            each["metadata"]["name"]: each["spec"]["template"]["spec"]
            for each in found
            if each["kind"] == "Deployment"
        }
        password = "0123456789abcdef0123456789abcdef"
        self.machine.write("/etc/wsredis/wsredis.toml", settings["wsredis.toml"])
        for name, data, first in (
            ("redis", "/data", []),
            ("websockets", "/tmp", self.words_of_image()),
        ):
            pod = pods[name]
            (container,) = pod["containers"]
            context = pod["securityContext"]
            mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
            self.assertIn(data, mounts.values())
            (secret,) = [each for each in pod["volumes"] if "secret" in each]
            folder = mounts[secret["name"]]
            mode = secret["secret"]["defaultMode"]
            # The kubelet writes it as root, with the group of the pod.
            self.machine.run(f"mkdir -p {folder}")
            self.machine.run(f"rm -f {folder}/password; printf {password} >{folder}/password")
            self.machine.run(f"chown 0:{context['fsGroup']} {folder}/password")
            self.machine.run(f"chmod {mode:o} {folder}/password")
            words = [*first, *container.get("command", []), *container.get("args", [])]
            user = f"{context['runAsUser']}:{context['runAsGroup']}"
            self.start(name, words, user, {})
            if name == "redis":
                until(lambda: "Ready to accept" in self.log("redis"))
        self.assert_serves(password)
        for page in ("live", "ready"):
            self.assertEqual(200, self.health(9100, page))
