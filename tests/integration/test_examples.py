"""Every example and every code block of the documentation, run for real; the tables, compared."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

import wsredis
from tests.support.children import (
    PATIENCE,
    Child,
    Gateway,
    RedisServer,
    clean_environment,
    until,
)
from tests.support.raw import BINARY, RawClient, frame, handshake, response
from tests.support.raw_source import RawSource, request
from tests.support.require import missing
from tests.support.ws4redis import missing_package, run_in_django
from wsredis import publisher, testing
from wsredis.config import Setting, all_settings, load
from wsredis.errors import CLOSE_CODES

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
DOCS = ROOT / "docs"
LOCAL = "tcp:0:interface=127.0.0.1"


class RunCase(SynchronousTestCase):
    """A Redis, and programs that use it."""

    skip = missing("redis")

    def setUp(self) -> None:
        """Start Redis."""
        self.redis = RedisServer(tcp=True)
        self.addCleanup(self.redis.stop)
        self.environ = clean_environment(
            {
                "WSREDIS_REDIS": self.redis.url,
                "WSREDIS_PORT": LOCAL,
                "LISTEN": LOCAL,
            }
        )

    def run_program(self, *words: str | Path) -> int:
        """Start a gateway in a folder of its own. Returns: The port on which it listens."""
        folder = tempfile.mkdtemp(prefix="wsredis-test-")
        child = Child([sys.executable, *map(str, words)], env=self.environ, cwd=folder)
        self.addCleanup(shutil.rmtree, folder)
        self.addCleanup(child.stop)
        child.wait_for("connected to ")
        said = child.wait_for(r"listening on \S*:(\d+)|Site starting on (\d+)")
        return int(said[1] or said[2])

    def twistd(self, example: Path) -> int:
        """Run *example* with ``twistd -n -y``. Returns: The port on which it listens."""
        twistd = "from twisted.scripts.twistd import run; run()"
        return self.run_program("-c", twistd, "-n", "--pidfile=", "-y", example)

    def open(self, port: int, path: str, *headers: str) -> RawClient:
        """Connect a client and shake hands; it is closed after the test."""
        client = RawClient.opened(port, path, *headers)
        self.addCleanup(client.socket.close)
        return client


class ExampleTests(RunCase):
    """The programs under examples/ and docs/examples/ do what the text says."""

    def test_running_total(self) -> None:
        """Each client has a total of its own, and an error for a message that is not a number."""
        port = self.twistd(EXAMPLES / "running_total.py")
        one, two = (self.open(port, "/ws/total") for _ in range(2))
        for number in ("1", "2", "x", "-5"):
            one.send_text(number)
        self.assertEqual(
            [b"1", b"3", b"this is not a number", b"-2"], [one.message() for _ in range(4)]
        )
        two.send_text("10")
        self.assertEqual(b"10", two.message())

    def test_running_total_is_about_fifteen_lines(self) -> None:
        """Without blank lines, imports and docstring it is as short as a tutorial needs."""
        lines = (EXAMPLES / "running_total.py").read_text("utf-8").splitlines()
        code = [line for line in lines if line and not line.startswith(("from ", '"""'))]
        self.assertLessEqual(len(code), 15)

    def test_embedded_site(self) -> None:
        """One port serves the page of the site and the WebSockets of the gateway."""
        port = self.twistd(EXAMPLES / "embedded_site.py")
        status, _, body = response(
            port, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        self.assertEqual((200, (EXAMPLES / "page.html").read_bytes()), (status, body))
        path = re.search(r'"(/ws/[^"]+)"', body.decode())
        assert path is not None
        client = self.open(port, path[1])
        self.redis.command("PUBLISH", "broadcast:news", "hello")
        self.assertEqual(b"hello", client.message())
        # Clients without WebSockets come the same way; this one sends more than one segment.
        connection = RawClient(port)
        self.addCleanup(connection.socket.close)
        source = RawSource(connection, "/ws/news?subscribe-broadcast")
        source.until("open")
        body = b"x" * 300_000
        status, _, _ = response(port, request("POST", "/ws/news?publish-broadcast", body=body))
        self.assertEqual(202, status)
        self.assertEqual((body, body.decode()), (client.message(), source.message()))

    def test_publish(self) -> None:
        """The publisher reaches a page that listens, and one that comes later."""
        port = self.twistd(EXAMPLES / "running_total.py")
        early = self.open(port, "/ws/news?subscribe-broadcast")
        said = subprocess.run(
            [sys.executable, EXAMPLES / "publish.py", "fresh"],
            env=self.environ,
            capture_output=True,
            check=True,
            timeout=PATIENCE,
        )
        self.assertEqual(b"1 gateway(s) received it\n", said.stdout)
        late = self.open(port, "/ws/news?subscribe-broadcast")
        self.assertEqual([b"fresh", b"fresh"], [early.message(), late.message()])

    def run_to_end(self, *words: str | Path) -> str:
        """Run a program. Returns: Its output."""
        done = subprocess.run(
            words, env=self.environ, capture_output=True, text=True, timeout=PATIENCE
        )
        self.assertEqual((0, ""), (done.returncode, done.stderr))
        return done.stdout

    def test_group_send(self) -> None:
        """Synchronous code reaches consumers in a group, and the plain sockets of a user."""
        children = {"PYTHONPATH": f"{DOCS / 'examples'}:{self.environ['PYTHONPATH']}"}
        self.environ.update(children)
        said = self.run_to_end(
            *(sys.executable, "-c"),
            "import asyncio, django.conf, channel_layers, group_send as example\n"
            "from channels.layers import get_channel_layer\n"
            "layers = channel_layers.CHANNEL_LAYERS\n"
            f"layers['default']['CONFIG']['hosts'] = [{self.redis.url!r}]\n"
            "django.conf.settings.configure(CHANNEL_LAYERS=layers)\n"
            "async def main():\n"
            "    layer = get_channel_layer()\n"
            "    channel = await layer.new_channel()\n"
            "    await layer.group_add('chat', channel)\n"
            "    await layer.group_add(example.gateway_group('user', 'john', 'chat/1'), channel)\n"
            "    for function in (example.say, example.tell_john):\n"
            "        await asyncio.to_thread(function, 'hello')\n"
            "        print(sorted((await layer.receive(channel)).items()))\n"
            "asyncio.run(main())\n",
        )
        heard = [
            [("text", "hello"), ("type", "chat.said")],
            [("channel", "user:john:chat/1"), ("text", "hello"), ("type", "gateway.message")],
        ]
        self.assertEqual("".join(f"{each}\n" for each in heard), said)

    def test_publishers(self) -> None:
        """Each publisher reaches a page that listens, and reads what is kept."""
        port = self.twistd(EXAMPLES / "running_total.py")
        page = self.open(port, "/ws/news?subscribe-broadcast")
        for example in ("publish_plain.py", "publish_async.py", "publish_twisted.py"):
            said = self.run_to_end(sys.executable, "-W", "error", DOCS / "examples" / example)
            self.assertEqual("1 subscriber(s) received it\nb'Hello'\n", said)
            self.assertEqual(b"Hello", page.message())
        self.assertEqual(b"Hello", self.redis.command("GET", "user:mary:news"))

    def test_view(self) -> None:
        """The views publish to staff and to the user who asks, who can read it again."""
        if missing_package():
            raise SkipTest(str(missing_package()))
        sys_path = str(DOCS / "examples")
        said = run_in_django(
            self.redis.path,
            f"""
import sys
sys.path.insert(0, {sys_path!r})
from publish_view import last, order
for name in ("john", None):
    request = request_of(name)
    print(last(request).content, order(request).status_code, last(request).content)
""",
        )
        expected = "b'nothing yet' 204 b'thank you'\nb'nothing yet' 204 b'nothing yet'"
        self.assertEqual(expected, said)
        self.assertEqual(b"a new order", self.redis.command("GET", "group:staff:orders"))
        keys = self.redis.command("KEYS", "*")
        self.assertEqual({b"group:staff:orders", b"user:john:orders"}, {*_listed(keys)})

    def test_shell(self) -> None:
        """The lines for the shell do what their comments say."""
        if shutil.which("redis-cli") is None:
            raise SkipTest("there is no redis-cli on this machine")
        text = (DOCS / "examples" / "publish.sh").read_text("utf-8")
        # Here Redis is not where redis-cli looks.
        text = text.replace("redis-cli ", f"redis-cli -s {self.redis.path} ")
        # No gateway runs here, and publish tells that.
        said = self.run_to_end("sh", "-e", "-c", f"exec 2>/dev/null\n{text}")
        self.assertEqual(["0 subscriber(s) received it"] * 3 + ["OK", "0"], said.splitlines())
        for channel in ("user:john:news", "user:mary:news", "group:staff:news", "broadcast:news"):
            self.assertEqual(b"Hello", self.redis.command("GET", channel))
        ttl = self.redis.command("TTL", "user:john:news")
        self.assertIn(ttl, range(1, 61))

    def test_own_reactor(self) -> None:
        """A program that runs the reactor by itself serves WebSockets."""
        port = self.run_program(DOCS / "examples" / "own_reactor.py")
        client = self.open(port, "/ws/x?subscribe-broadcast")
        self.redis.command("PUBLISH", "broadcast:x", "hello")
        self.assertEqual(b"hello", client.message())

    def test_application(self) -> None:
        """The application of the how-to serves WebSockets, with the prefix that it names."""
        text = (DOCS / "examples" / "application.py").read_text("utf-8")
        # Its port and its Redis are those of the reader's machine.
        for old, new in (
            ("tcp:8080:interface=127.0.0.1", LOCAL),
            ("redis://localhost:6379/1", f"redis://localhost:{self.redis.port}/1"),
        ):
            self.assertEqual(1, text.count(old))
            text = text.replace(old, new)
        example = Path(self.redis.directory, "application.py")
        example.write_text(text, "utf-8")
        client = self.open(self.twistd(example), "/ws/x?subscribe-broadcast")
        self.redis.command("PUBLISH", "shop:broadcast:x", "hello")
        self.assertEqual(b"hello", client.message())

    def test_moderation(self) -> None:
        """The coroutine is awaited, keeps messages in order, and may close with its own code."""
        port = self.twistd(DOCS / "examples" / "moderation.py")
        client = self.open(port, "/ws/talk?subscribe-broadcast&publish-broadcast&echo")
        client.send_text("darn it")
        client.send_text("sorry")
        self.assertEqual([b"Welcome.", b"**** it", b"sorry"], [client.message() for _ in range(3)])
        client.send(frame(BINARY, b"\x00"))
        self.assertEqual(4000, client.closing())

    def test_identity(self) -> None:
        """The header of the proxy names the user; a stranger may listen and not publish."""
        port = self.twistd(DOCS / "examples" / "identity.py")
        john = self.open(port, "/ws/x?subscribe-user", "X-Remote-User: john")
        self.redis.command("PUBLISH", "user:john:x", "hello")
        self.assertEqual(b"hello", john.message())
        with RawClient(port) as stranger:
            stranger.send(handshake("/ws/x?publish-broadcast"))
            self.assertIn(" 403 ", stranger.head().splitlines()[0])
        self.open(port, "/ws/x?subscribe-broadcast")


class OwnTestsTests(SynchronousTestCase):
    """The tests that readers write for their own programs."""

    def test_pass(self) -> None:
        """Each file of tests under docs/examples passes with trial, as the text says."""
        folder = tempfile.mkdtemp(prefix="wsredis-test-")
        self.addCleanup(shutil.rmtree, folder)
        shutil.copytree(DOCS / "examples", folder, dirs_exist_ok=True)
        modules = sorted(path.stem for path in (DOCS / "examples").glob("test_*.py"))
        self.assertTrue(modules)
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "twisted.trial", *modules],
            env=clean_environment({}),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"PASSED \(successes=\d+\)")


class ConfigurationTests(SynchronousTestCase):
    """Files that the reader copies."""

    def test_toml(self) -> None:
        """The gateway accepts the TOML file of the documentation."""
        config = load({}, {}, str(DOCS / "examples" / "wsredis.toml"))
        self.assertEqual(20000, config.limits.max_connections)

    def test_shown(self) -> None:
        """Every example is shown on a page, and no page has Python of its own."""
        pages = {page: page.read_text("utf-8") for page in DOCS.rglob("*.rst")}
        shown_files = {
            # A path that begins with a slash begins in docs/.
            Path(DOCS if name.startswith("/") else page.parent, name.lstrip("/")).resolve()
            for page, text in pages.items()
            for name in _included(text)
        }
        folders = (EXAMPLES, EXAMPLES / "asgi", DOCS / "examples")
        examples = {path for folder in folders for path in folder.iterdir() if path.is_file()}
        for name in ("django_chat", "fastapi_react"):
            examples |= {
                *_written_files(EXAMPLES / name),
                *_written_files(DOCS / "examples" / name),
            }
        self.assertEqual(set(), examples - shown_files)
        self.assertEqual([], [text for text in pages.values() if "code-block:: python" in text])

    def test_tried(self) -> None:
        """Every file that a reader copies is named by a test, or by a page that is gone through."""
        texts = [path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py")]
        texts += [path.read_text("utf-8") for path in (DOCS / "howto").glob("deploy-*.rst")]
        tested = "\n".join(texts)
        untried = [
            path.name
            for path in (DOCS / "examples").iterdir()
            if path.is_file() and not re.search(rf"\b{re.escape(path.stem)}\b", tested)
        ]
        self.assertEqual([], untried)


class AclTests(SynchronousTestCase):
    """The rights that the documentation asks for."""

    skip = missing("redis")

    def test_enough(self) -> None:
        """A user with these rights, and no others, can do all that a gateway does."""
        redis = RedisServer()
        self.addCleanup(redis.stop)
        for line in (DOCS / "examples" / "wsredis.acl").read_text("utf-8").splitlines():
            redis.command(*shlex.split(line))
        gateway = Gateway(
            *("--redis", f"unix://wsredis@{redis.path}?db=1"),
            environ={"WSREDIS_REDIS_PASSWORD": "secret"},
        )
        self.addCleanup(gateway.stop)
        path = "/ws/x?subscribe-broadcast&publish-broadcast&echo"
        for previous in (b"", b"hello"):
            with RawClient.opened(gateway.port, path) as client:
                if previous:
                    self.assertEqual(previous, client.message())
                client.send_text("hello")
                self.assertEqual(b"hello", client.message())
        # The last client is gone: its channel is given back.
        until(lambda: redis.channels() == [])
        self.assertEqual([], redis.command("ACL", "LOG"))

    def test_forward(self) -> None:
        """With the other rights it can hand messages to workers, too."""
        redis = RedisServer()
        self.addCleanup(redis.stop)
        for name in ("wsredis.acl", "wsredis-forward.acl"):
            for line in (DOCS / "examples" / name).read_text("utf-8").splitlines():
                redis.command(*shlex.split(line))
        gateway = Gateway(
            *("--redis", f"unix://wsredis@{redis.path}", "--forward", "*=orders"),
            environ={"WSREDIS_REDIS_PASSWORD": "secret"},
        )
        self.addCleanup(gateway.stop)
        with RawClient.opened(gateway.port, "/ws/x") as client:
            client.send_text("hello")
            until(lambda: redis.command("LLEN", "asgi:queue:orders") == 1)
        self.assertEqual([], redis.command("ACL", "LOG"))


class ReferenceTests(SynchronousTestCase):
    """The tables of the reference say what the code says."""

    def test_settings(self) -> None:
        """The page of options names every setting with its default, and no other."""
        page = (DOCS / "reference" / "options.rst").read_text("utf-8")
        rows = re.findall(r"^   \* - ``([a-z-]+)``\n     - (.+)$", page, re.MULTILINE)
        self.assertEqual({each.name: shown(each) for each in all_settings()}, dict(rows))
        self.assertEqual(len(rows), len(all_settings()))

    def test_help(self) -> None:
        """The page explains every setting as the help of the option does, and may say more."""
        page = (DOCS / "reference" / "options.rst").read_text("utf-8")
        rows = re.findall(
            r"^   \* - ``([a-z-]+)``\n     - .+\n     - ((?:.+\n       )*.+)$", page, re.MULTILINE
        )
        explained = {name: " ".join(text.replace("``", "").split()) for name, text in rows}
        for each in all_settings():
            help = each.help.replace("'", "")
            self.assertEqual(help, explained[each.name][: len(help)], each.name)

    def test_close_codes(self) -> None:
        """The page of codes names every close code, and no other."""
        rows = re.findall(r"^   \* - (\d{4})\n     - (yes|no)$", page_of_codes(), re.MULTILINE)
        listed = {int(code): word == "yes" for code, word in rows}
        self.assertEqual({code: entry.retry for code, entry in CLOSE_CODES.items()}, listed)

    def test_statuses(self) -> None:
        """The page of codes names every HTTP status with which a handshake is answered."""
        listed = set(re.findall(r"^   \* - (\d{3})$", page_of_codes(), re.MULTILINE))
        call = r"\b(?:HandshakeRejected|Head|_malformed|_refuse|setResponseCode|error_response)"
        sent: set[str] = set()
        for module in (ROOT / "wsredis").rglob("*.py"):
            source = module.read_text("utf-8")
            sent |= set(re.findall(call + r"\([^()]*?\b([45]\d\d)\b", source))
        self.assertLessEqual({"400", "403", "404", "413", "426", "431", "503"}, sent)
        self.assertEqual(set(), sent - listed)

    def test_names(self) -> None:
        """The page of the Python interface names everything that the package exports."""
        page = (DOCS / "reference" / "api.rst").read_text("utf-8")
        named = re.findall(r"^\.\. auto\w+:: wsredis\.(\w+)(?:\(\))?$", page, re.MULTILINE)
        self.assertEqual(sorted({*wsredis.__all__} - {"__version__"}), sorted(named))

    def test_publisher_names(self) -> None:
        """The page names everything that the module of the publishers exports."""
        page = (DOCS / "reference" / "api.rst").read_text("utf-8")
        named = re.findall(r"^\.\. auto\w+:: wsredis\.publisher\.(\w+)", page, re.MULTILINE)
        self.assertEqual(sorted(publisher.__all__), sorted(named))

    def test_testing_names(self) -> None:
        """The page names everything that readers import for their own tests."""
        page = (DOCS / "reference" / "api.rst").read_text("utf-8")
        named = re.findall(r"^\.\. auto\w+:: wsredis\.testing\.([A-Z]\w+)", page, re.MULTILINE)
        self.assertEqual(sorted(testing.__all__), sorted(named))


def shown(setting: Setting) -> str:
    """A default as the reference writes it."""
    if setting.default in (None, "", ()):
        return "none"
    if isinstance(setting.default, bool):
        return "on" if setting.default else "off"
    if isinstance(setting.default, tuple):
        return " ".join(f"``{each}``" for each in setting.default)
    if isinstance(setting.default, float):
        return f"``{setting.default:g}``"
    return f"``{setting.default}``"


def _included(page: str) -> list[str]:
    """The files that a page shows, or offers for download."""
    pattern = r"^ *\.\. literalinclude:: (\S+)$|:download:`[^<`]*<([^>]+)>`"
    return [one or other for one, other in re.findall(pattern, page, re.MULTILINE)]


def _written_files(folder: Path) -> list[Path]:
    """The files of the example that a reader writes, without the files that commands make."""
    made = {"manage.py", "wsgi.py", "__init__.py", "README.rst", "db.sqlite3"}
    made |= {"token.key", "package-lock.json"}
    return [
        path
        for path in folder.rglob("*.*")
        if path.is_file()
        and path.name not in made
        and not {"__pycache__", "dist", "node_modules"} & {*path.relative_to(folder).parts}
        and path.relative_to(folder).parts[0] != "static"
    ]


def _listed(reply: object) -> list[bytes]:
    """A reply of Redis that is a list."""
    assert isinstance(reply, list)
    return reply


def page_of_codes() -> str:
    """The page of close codes and statuses."""
    return (DOCS / "reference" / "codes.rst").read_text("utf-8")
