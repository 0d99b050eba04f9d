"""``twistd wsredis --django`` as a child process, with a project, its database and Redis."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import Authority
from tests.support.children import Child, Gateway, RedisServer, clean_environment, until
from tests.support.django_project import SETTINGS, Project, missing_django
from tests.support.health import health
from tests.support.raw import RawClient, handshake, response
from tests.support.require import missing

_HOOKS = "tests.support.project.hooks"

_EXAMPLES = Path(__file__).parents[2] / "docs/examples"

_NOBODY = "a" * 32


class DjangoCase(SynchronousTestCase):
    """A test case with Redis, a project, and a gateway for it."""

    skip = missing("redis") or missing_django()

    def start(self, *options: str, **settings: object) -> Gateway:
        """Start all of them; they are stopped after the test."""
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)
        self.project = Project(**settings)
        self.addCleanup(self.project.remove)
        # Clients that do not answer a close frame are not waited for.
        self.gateway = self.project.gateway(self.redis.url, "--drain", "0", *options)
        self.addCleanup(self.gateway.stop)
        return self.gateway

    def open(self, path: str, cookie: str = "", *headers: str) -> RawClient:
        """Connect with a session cookie."""
        client = RawClient.opened(
            self.gateway.port, path, f"Cookie: a=b; sessionid={cookie}", *headers
        )
        self.addCleanup(client.socket.close)
        return client

    def refused(self, path: str, cookie: str = "", *headers: str) -> tuple[int, bytes]:
        """Return status and body of the answer to a handshake."""
        request = handshake(path, f"Cookie: sessionid={cookie}", *headers)
        status, _, body = response(self.gateway.port, request)
        return status, body.strip()

    def publish(self, channel: str, payload: str) -> None:
        """Publish as a backend does."""
        self.redis.command("PUBLISH", channel, payload)

    def check_heard(self, client: RawClient, *channels: str) -> None:
        """Check that the client gets the next publication of each channel."""
        for channel in channels:
            self.publish(channel, f"on {channel}")
            self.assertEqual(f"on {channel}".encode(), client.message())


class EngineTests(DjangoCase):
    """Session engines."""

    def check(self, name: str, **settings: object) -> None:
        """Check that users have their own channels, and no others."""
        engine = f"django.contrib.sessions.backends.{name}"
        self.start(SESSION_ENGINE=engine, **settings)
        john, mary = self.project.log_in("john", "mary")
        query = "subscribe-broadcast&subscribe-user&subscribe-group&subscribe-session"
        clients = {key: self.open(f"/ws/f?{query}", key) for key in (john, mary, _NOBODY, "a%20b")}
        for channel in ("user:john:f", f"session:{_NOBODY}:f", "session:None:f", "group:f"):
            self.publish(channel, "not for you")
        self.assertEqual(b"not for you", clients[john].message())
        self.check_heard(clients[mary], "user:mary:f", "group:staff:f", "group:chatters:f")
        self.assertEqual(b"on group:chatters:f", clients[john].message())
        if ":" not in john:
            self.check_heard(clients[john], f"session:{john}:f")
        self.publish("broadcast:f", "for all")
        for client in clients.values():
            self.assertEqual(b"for all", client.message())
        self.assertNotIn(john, self.gateway.log)
        self.assertNotIn("Traceback", self.gateway.log)

    def test_database(self) -> None:
        """Sessions in the database."""
        self.check("db")

    def test_cache(self) -> None:
        """Sessions in the cache."""
        self.check("cache")

    def test_file(self) -> None:
        """Sessions in files."""
        self.check("file")

    def test_signed_cookies(self) -> None:
        """Sessions in signed cookies."""
        self.check("signed_cookies")

    def test_redis(self) -> None:
        """Sessions in Redis, beside the channels."""
        redis = RedisServer()
        self.addCleanup(redis.stop)
        cache = {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": f"unix://{redis.path}?db=1",
        }
        self.check("cache", CACHES={"default": cache})
        redis.kill()
        self.assertEqual((503, b"try again later"), self.refused("/ws/f", _NOBODY))
        self.gateway.child.wait_for(r"503 'try again later' \(--django: ConnectionError at ")

    def test_hidden_errors(self) -> None:
        """An engine that takes an outage for a missing session ends nothing."""
        folder, away = Path(self.mktemp()).absolute(), Path(self.mktemp()).absolute()
        folder.mkdir()
        self.start(
            "--recheck",
            "1",
            SESSION_ENGINE="tests.support.project.quiet",
            QUIET_FOLDER=str(folder),
        )
        (john,) = self.project.log_in("john")
        client = self.open("/ws/f?subscribe-user&subscribe-session", john)
        self.check_heard(client, "user:john:f", f"session:{john}:f")
        folder.rename(away)
        self.assertEqual((503, b"try again later"), self.refused("/ws/f?subscribe-user", john))
        self.gateway.child.wait_for("identity check failed; keeping connections")
        self.check_heard(client, "user:john:f")
        away.rename(folder)
        self.check_heard(self.open("/ws/f?subscribe-user", john), "user:john:f")
        self.assertEqual(b"on user:john:f", client.message())
        self.check_heard(client, f"session:{john}:f")
        other = self.open("/ws/f?subscribe-session&subscribe-broadcast", _NOBODY)
        self.publish(f"session:{_NOBODY}:f", "not for you")
        self.check_heard(other, "broadcast:f")

    def test_workers(self) -> None:
        """Several processes, each with its own Django."""
        gateway = self.start("--workers", "2")
        gateway.child.wait_for("all 2 workers are ready")
        (john,) = self.project.log_in("john")
        clients = [self.open("/ws/f?subscribe-user", john) for _ in range(4)]
        self.publish("user:john:f", "for john")
        for client in clients:
            self.assertEqual(b"for john", client.message())


class ProjectTests(DjangoCase):
    """The settings of the project are those of the gateway."""

    def project_gateway(self, *options: str, **settings: object) -> None:
        """Start a gateway that learns from the project where Redis is."""
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)
        self.project = Project(
            **{
                "WS4REDIS_CONNECTION": {"unix_socket_path": self.redis.path, "db": 2},
                "WS4REDIS_PREFIX": "site",
                "WS4REDIS_EXPIRE": 60,
                "WS4REDIS_HEARTBEAT": "--heartbeat--",
                "WEBSOCKET_URL": "/sockets/",
                "SESSION_COOKIE_NAME": "sid",
                **settings,
            }
        )
        self.addCleanup(self.project.remove)
        self.gateway = self.project.gateway(None, "--drain", "0", *options)
        self.addCleanup(self.gateway.stop)

    def test_settings(self) -> None:
        """URL, Redis, prefix, expiry, heartbeat and cookie are those of the project."""
        self.project_gateway()
        (john,) = self.project.log_in("john")
        path = "/sockets/f?subscribe-user&publish-user&echo"
        client = RawClient.opened(self.gateway.port, path, f"Cookie: sid={john}")
        self.addCleanup(client.socket.close)
        self.assertEqual(b"--heartbeat--", client.message())
        client.send_text("hello")
        self.assertEqual(b"hello", client.message())
        with self.redis_client(2) as redis:
            self.assertEqual(b"hello", redis.get("site:user:john:f"))
            self.assertTrue(50 < redis.ttl("site:user:john:f") <= 60)
        self.assertEqual(404, self.refused("/ws/f")[0])

    def test_options_win(self) -> None:
        """Options and environment variables take precedence."""
        self.project_gateway("--prefix", "mine", "--url-prefix", "/ws/", "--heartbeat", "x")
        client = self.open("/ws/f?publish-broadcast&subscribe-broadcast&echo")
        self.assertEqual(b"x", client.message())
        client.send_text("hello")
        self.assertEqual(b"hello", client.message())
        with self.redis_client(2) as redis:
            self.assertEqual([b"mine:broadcast:f"], redis.keys())

    def test_other_redis(self) -> None:
        """The password of the project's Redis is not sent to another one."""
        other = RedisServer()
        self.addCleanup(other.stop)
        connection = {"host": "nowhere.invalid", "password": "secret", "ssl": True}
        connection["ssl_ca_certs"] = "/no/such/file"
        self.project_gateway("--redis", other.url, WS4REDIS_CONNECTION=connection)
        self.gateway.child.wait_for("connected to ")

    def test_password(self) -> None:
        """The password for Redis comes from the project, and is not shown."""
        redis = RedisServer("--requirepass", "p/@:?#", port=0)
        self.addCleanup(redis.stop)
        connection = {"unix_socket_path": redis.path, "password": "p/@:?#"}
        self.project_gateway(WS4REDIS_CONNECTION=connection)
        self.gateway.child.wait_for("connected to ")
        self.assertNotIn("p/@", self.gateway.log)

    def test_origins(self) -> None:
        """Pages of trusted origins of the project may publish."""
        self.project_gateway(CSRF_TRUSTED_ORIGINS=["https://*.example.com"])
        path = "/sockets/f?publish-broadcast"
        self.open(path, "", "Origin: https://www.example.com")
        self.assertEqual(403, self.refused(path, "", "Origin: https://example.org")[0])

    def redis_client(self, database: int) -> Any:
        """A client of a database."""
        import redis

        return redis.Redis(unix_socket_path=self.redis.path, db=database)


class HookTests(DjangoCase):
    """Functions of the project."""

    def test_allowed_channels(self) -> None:
        """PermissionDenied leads to 403 with its text; other clients get in."""
        self.start(WS4REDIS_ALLOWED_CHANNELS=f"{_HOOKS}.deny_by_header")
        path = "/ws/f?subscribe-broadcast"
        denied = self.refused(path, "", "Deny-Channels: YES")
        self.assertEqual((403, b"No channels for you"), denied)
        self.check_heard(self.open(path, "", "Deny-Channels: NO"), "broadcast:f")

    def test_coroutine(self) -> None:
        """A hook may be a coroutine that uses the database."""
        self.start(WS4REDIS_ALLOWED_CHANNELS=f"{_HOOKS}.only_users")
        (john,) = self.project.log_in("john")
        nobody = self.open("/ws/f?subscribe-broadcast", _NOBODY)
        self.check_heard(self.open("/ws/f?subscribe-broadcast", john), "broadcast:f")
        self.publish("broadcast:f", "again")
        nobody.socket.setblocking(False)
        self.assertRaises(BlockingIOError, nobody.socket.recv, 1)

    def test_tls(self) -> None:
        """A hook sees whether the client came over TLS."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        authority = Authority(directory)
        authority.bundle(directory / "a.pem", "a.example")
        options = ("--tls-port", "tcp:0:interface=127.0.0.1", "--tls-cert", f"{directory}/a.pem")
        self.start(*options, WS4REDIS_ALLOWED_CHANNELS=f"{_HOOKS}.only_by_tls")
        client = RawClient(self.gateway.port)
        self.addCleanup(lambda: client.socket.close())
        context = authority.client()
        client.socket = context.wrap_socket(client.socket, server_hostname="a.example")
        client.send(handshake("/ws/f?subscribe-broadcast"))
        self.assertIn(" 101 ", client.head())

    def test_no_tls(self) -> None:
        """A client without TLS cannot pass for one with TLS."""
        self.start(WS4REDIS_ALLOWED_CHANNELS=f"{_HOOKS}.only_by_tls")
        refused = self.refused("/ws/f", "", "X-Forwarded-Proto: https")
        self.assertEqual((403, b"TLS only"), refused)

    def test_failing(self) -> None:
        """A hook that fails rejects the client, and is one line of the log."""
        self.start(WS4REDIS_ALLOWED_CHANNELS=f"{_HOOKS}.fail")
        denied = self.refused("/ws/f?subscribe-broadcast")
        self.assertEqual((500, b"internal error"), denied)
        line = r"500 'internal error' \(WS4REDIS_ALLOWED_CHANNELS: AttributeError at hooks.py:\d+\)"
        self.gateway.child.wait_for(line)
        self.assertNotIn("Traceback", self.gateway.log)

    def test_process_request(self) -> None:
        """A hook sets the user of the client."""
        self.start(WS4REDIS_PROCESS_REQUEST=f"{_HOOKS}.user_from_header")
        client = self.open("/ws/f?subscribe-user&subscribe-group", "", "X-User: mary")
        self.check_heard(client, "user:mary:f", "group:staff:f")
        self.assertEqual(500, self.refused("/ws/f")[0])


class ExampleTests(DjangoCase):
    """The hooks of the guide."""

    def hooked(self, name: str) -> list[str]:
        """Start a gateway with a hook of the example, and return cookies of john and mary."""
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)
        self.project = Project(WS4REDIS_ALLOWED_CHANNELS=f"chat_hooks.{name}")
        self.addCleanup(self.project.remove)
        environ = clean_environment(self.project.environ)
        environ["PYTHONPATH"] += f"{os.pathsep}{_EXAMPLES}"
        words = ("--django", SETTINGS, "--redis", self.redis.url, "--drain", "0")
        self.gateway = Gateway(*words, environ=environ)
        self.addCleanup(self.gateway.stop)
        return self.project.log_in("john", "mary")

    def test_allowed_channels(self) -> None:
        """Anonymous clients may subscribe, users may publish, some rooms are for the staff."""
        john, _ = self.hooked("allowed_channels")
        path = "/ws/f?subscribe-broadcast&publish-broadcast"
        stranger, user = self.open(path, _NOBODY), self.open(path, john)
        stranger.send_text("may not be heard")
        user.send_text("hello")
        self.assertEqual(b"hello", stranger.message())
        refused = self.refused("/ws/staff/f?subscribe-broadcast", john)
        self.assertEqual((403, b"This is for the staff."), refused)

    def test_coroutine(self) -> None:
        """The database tells who is of the staff."""
        john, mary = self.hooked("staff_of_the_moment")
        path = "/ws/f?subscribe-broadcast&publish-broadcast"
        self.open(path, john).send_text("may not be heard")
        listener = self.open(path, mary)
        self.open(path, mary).send_text("hello")
        self.assertEqual(b"hello", listener.message())


class OutageTests(DjangoCase):
    """A database that does not answer."""

    def test_hang(self) -> None:
        """It delays only handshakes that need it, and not the stop of the gateway."""
        options = ("--auth-timeout", "3", "--auth-concurrency", "2")
        self.start(*options, WS4REDIS_ALLOWED_CHANNELS=f"{_HOOKS}.hang")
        fifo = f"{self.project.folder}/fifo"
        os.mkfifo(fifo)
        listener = self.open("/ws/f?subscribe-broadcast")
        hanging = RawClient(self.gateway.port)
        self.addCleanup(hanging.socket.close)
        hanging.send(handshake("/ws/f?subscribe-broadcast", f"X-Hang: {fifo}"))
        # The other thread goes on, and so do the connected clients.
        self.check_heard(self.open("/ws/f?subscribe-broadcast"), "broadcast:f")
        self.assertEqual(b"on broadcast:f", listener.message())
        self.assertIn("503", hanging.head())
        self.assertEqual(503, self.refused("/ws/f", "", f"X-Hang: {fifo}")[0])
        # Now both hang: no new client is identified, and the connected clients do not notice.
        self.assertEqual(503, self.refused("/ws/f?subscribe-broadcast")[0])
        self.check_heard(listener, "broadcast:f")
        self.gateway.child.wait_for(r"503 'try again later' \(no decision within --auth-timeout")
        until(lambda: health(self.gateway.port)[0] == 503)
        self.assertIn(self.gateway.stop(), (0, -15))

    def test_database_gone(self) -> None:
        """A database that fails leads to 503, until it is back."""
        self.start("--recheck", "1", CONN_MAX_AGE=0)
        (john,) = self.project.log_in("john")
        client = self.open("/ws/f?subscribe-user", john)
        path = Path(self.project.folder, "db.sqlite3")
        hidden = path.rename(f"{path}.hidden")
        path.mkdir()
        self.assertEqual((503, b"try again later"), self.refused("/ws/f?subscribe-user", john))
        self.gateway.child.wait_for(r"\(--django: OperationalError at \w+\.py:\d+\)")
        self.gateway.child.wait_for("identity check failed; keeping connections")
        until(lambda: health(self.gateway.port)[1])
        status, problems = health(self.gateway.port)
        self.assertEqual((200, ["identities"]), (status, list(problems)))
        self.assertEqual(False, problems["identities"]["blocking"])
        self.check_heard(client, "user:john:f")
        path.rmdir()
        hidden.rename(path)
        until(lambda: health(self.gateway.port) == (200, {}))
        self.check_heard(self.open("/ws/f?subscribe-user", john), "user:john:f")
        self.assertNotIn("Traceback", self.gateway.log)


class EndTests(DjangoCase):
    """Identities that end or change while a WebSocket is open, noticed by --recheck."""

    def test_session_ends(self) -> None:
        """A deleted session closes its WebSockets with 4401, and no others."""
        self.start("--recheck", "1")
        john, mary = self.project.log_in("john", "mary")
        clients = [self.open("/ws/f?subscribe-user", key) for key in (john, mary)]
        self.project.run(f"""
from django.contrib.sessions.models import Session
Session.objects.get(pk={john!r}).delete()
""")
        self.assertEqual(4401, clients[0].closing())
        self.check_heard(clients[1], "user:mary:f")

    def test_password(self) -> None:
        """A changed password closes the WebSockets of older sessions with 4401."""
        self.start("--recheck", "1")
        (john,) = self.project.log_in("john")
        client = self.open("/ws/f?subscribe-user", john)
        self.project.run("""
user = User.objects.get(username="john")
user.set_password("another")
user.save()
""")
        self.assertEqual(4401, client.closing())

    def test_groups(self) -> None:
        """A user who joins a group gets its messages, until the user leaves it."""
        self.start("--recheck", "1")
        (mary,) = self.project.log_in("mary")
        client = self.open("/ws/f?subscribe-group&subscribe-broadcast", mary)
        self.redis.command("SETEX", "group:chess:f", 60, "stored")
        self.project.run("""
User.objects.get(username="mary").groups.set([Group.objects.create(name="chess")])
""")
        self.assertEqual(b"stored", client.message())
        self.publish("group:staff:f", "not any more")
        self.check_heard(client, "group:chess:f", "broadcast:f")

    def test_rooms(self) -> None:
        """
        The groups that the session names at the handshake stay, whatever another page names.

        A group of Django among them ends when the user leaves it; a new one is not added.
        """
        self.start("--recheck", "1")
        (mary,) = self.project.log_in("mary")
        name = """
from importlib import import_module
session = import_module(settings.SESSION_ENGINE).SessionStore(KEY)
session["ws4redis:memberof"] = ROOMS
session.save()
"""
        self.project.run(f"KEY, ROOMS = {mary!r}, ['room a', 'staff', 'chatters']\n{name}")
        client = self.open("/ws/f?subscribe-group&subscribe-broadcast", mary)
        self.check_heard(client, "group:room a:f", "group:staff:f", "group:chatters:f")
        self.project.run(
            f"KEY, ROOMS = {mary!r}, ['room b']\n{name}"
            "User.objects.get(username='mary').groups.set([Group.objects.get(name='chatters'), "
            "Group.objects.create(name='room b')])"
        )
        # The loss is noticed by the next check, which adds nothing.
        until(lambda: self.redis.command("PUBSUB", "NUMSUB", "group:staff:f")[1] == 0)
        self.publish("group:staff:f", "not any more")
        self.publish("group:room b:f", "of another page")
        self.check_heard(client, "group:room a:f", "group:chatters:f", "broadcast:f")
        self.check_heard(self.open("/ws/f?subscribe-group", mary), "group:room b:f")


class StartTests(SynchronousTestCase):
    """Projects that cannot be used."""

    skip = missing("redis") or missing_django()

    def wrong(self, module: str = SETTINGS, **settings: object) -> str:
        """Return the one line of a gateway that cannot start."""
        project = Project(**settings)
        self.addCleanup(project.remove)
        Path(project.folder, "broken.py").write_text("SECRET_KEY = 'x'\nint('secret')\n")
        Path(project.folder, "syntax.py").write_text("SECRET_KEY = 'secret\n")
        Path(project.folder, "variable.py").write_text("import os\nos.environ['NO_SUCH']\n")
        Path(project.folder, "empty.py").touch()
        Path(project.folder, "quits.py").write_text("raise SystemExit('secret')\n")
        environ = project.environ
        del environ["DJANGO_SETTINGS_MODULE"]
        words = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n"]
        words += ["--pidfile=", "wsredis", "--port", "0", "--django", module]
        child = Child(words, env=clean_environment(environ), cwd=project.folder)
        self.addCleanup(child.stop)
        self.assertNotIn(child.wait(), (0, -9))
        (line,) = (each for each in child.output.splitlines() if "twistd" not in each)
        self.assertTrue(line.startswith("wsredis: django: "), line)
        self.assertNotIn("secret", line)
        return line

    def test_module(self) -> None:
        """A settings module that is missing, or fails, is an error of one line."""
        for module, words in (
            ("no_such", "no_such: ModuleNotFoundError: No module named 'no_such'"),
            (
                "no_such.settings",
                "no_such.settings: ModuleNotFoundError: No module named 'no_such'",
            ),
            ("empty", "ImproperlyConfigured: django.contrib.auth is not in INSTALLED_APPS"),
            ("broken", "broken: ValueError at broken.py:2"),
            ("syntax", "syntax: SyntaxError: unterminated string literal"),
            ("variable", "variable: KeyError: 'NO_SUCH'"),
            ("quits", "quits: SystemExit at quits.py:1"),
        ):
            self.assertIn(words, self.wrong(module))

    def test_settings(self) -> None:
        """A setting that cannot be used is an error of one line."""
        for settings, words in (
            ({"INSTALLED_APPS": ["no_such"]}, "ModuleNotFoundError: No module named 'no_such'"),
            ({"INSTALLED_APPS": []}, "django.contrib.auth is not in INSTALLED_APPS"),
            ({"SESSION_ENGINE": "no_such"}, "ModuleNotFoundError: No module named 'no_such'"),
            (
                {
                    "SESSION_ENGINE": "django.contrib.sessions.backends.file",
                    "SESSION_FILE_PATH": "/no",
                },
                "ImproperlyConfigured: The session storage path '/no'",
            ),
            ({"WEBSOCKET_URL": "/ws"}, "WEBSOCKET_URL: '/ws' does not start and end with a slash"),
            ({"WS4REDIS_CONNECTION": "redis://:secret@x"}, "WS4REDIS_CONNECTION: this is not a"),
            ({"WS4REDIS_ALLOWED_CHANNELS": "no_such.hook"}, "WS4REDIS_ALLOWED_CHANNELS: "),
        ):
            self.assertIn(words, self.wrong(**settings))
