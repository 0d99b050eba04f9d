"""The publishers and the commands with a real Redis and gateway, compared with the original."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from typing import Any

import redis
import redis.asyncio
import txredisapi
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.support.case import GatewayCase
from tests.support.children import PATIENCE, Child, RedisServer, clean_environment, reserve_port
from tests.support.require import missing
from tests.support.ws4redis import missing_package, run_in_django
from wsredis.errors import PublishOutcomeUnknown
from wsredis.publisher import AsyncRedisPublisher, RedisPublisher, TwistedRedisPublisher

_HELLO = "Grüße".encode()

#: Our publisher in the place of the original, as the page on migration says.
_OURS = """
from wsredis.publisher import SELF, RedisMessage, RedisPublisher
"""

_PUBLISH = """
john = request_of("john", ["chess", "go"], "k1")
for names in (
    {"broadcast": True},
    {"users": ["john", "mary"]},
    {"users": ("jürgen", 5)},
    {"groups": ["chess"], "facility": "a/b c"},
    {"sessions": ["k1", "k2"]},
    {"request": john, "users": [SELF, "mary"], "groups": [SELF], "sessions": [SELF]},
    {"request": john, "users": True, "groups": True, "sessions": True},
    {"broadcast": True, "users": ["john"], "groups": ["go"], "sessions": ["k1"]},
    {},
):
    publisher = RedisPublisher(**{"facility": "f", **names})
    publisher.publish_message(RedisMessage("Grüße"))
    publisher.publish_message(RedisMessage(b"\\x00\\xff"), expire=5)
    publisher.publish_message(RedisMessage("moment"), expire=0)
print(RedisPublisher().get_prefix())
for request in (john, request_of("mary", [], "k3"), request_of()):
    for audience in ("any", "session", "user", "group", "broadcast", "nonsense"):
        fetcher = RedisPublisher()
        print(fetcher.fetch_message(request, "f", audience))
print(RedisMessage("x"), RedisMessage("beat"), RedisMessage([b"message", b"c", b"y"]))
"""


class OriginalTests(SynchronousTestCase):
    """The same program with the publisher of django-websocket-redis, and with ours."""

    skip = missing("redis") or missing_package()

    def run_one(self, imports: str, **settings: object) -> tuple[str, dict[object, object], Any]:
        """
        Run the program on an empty Redis.

        Returns: The output, the stored values, and the PUBLISH commands.
        """
        server = RedisServer()
        self.addCleanup(server.stop)
        client = redis.Redis(unix_socket_path=server.path, socket_timeout=PATIENCE)
        self.addCleanup(client.close)
        seen = []
        with client.monitor() as monitor:
            printed = run_in_django(server.path, imports + _PUBLISH, **settings)
            server.command("PUBLISH", "end", "end")
            while (command := monitor.next_command()["command"]) != "PUBLISH end end":
                seen.append(command)
        keys = server.command("KEYS", "*")
        assert isinstance(keys, list)
        stored = {key: (server.command("GET", key), server.command("TTL", key)) for key in keys}
        rounded = {key: (value, round(int(str(ttl)), -1)) for key, (value, ttl) in stored.items()}
        words = ("PUBLISH ", "SETEX ")
        return printed, dict(rounded), sorted(each for each in seen if each.startswith(words))

    def check(self, **settings: object) -> None:
        """Check that both do the same to Redis, byte for byte, and give the same answers."""
        original = self.run_one("", **settings)
        ours = self.run_one(_OURS, **settings)
        self.assertEqual(original, ours)
        self.assertTrue(original[1])
        self.assertGreater(len(original[2]), 30)

    def test_default(self) -> None:
        """Both do the same without further settings."""
        self.check()

    def test_settings(self) -> None:
        """Both do the same with a prefix, another expiry, and a heartbeat."""
        self.check(WS4REDIS_PREFIX="site", WS4REDIS_EXPIRE=60, WS4REDIS_HEARTBEAT="beat")


class DjangoTests(SynchronousTestCase):
    """A Django project with sessions, users and groups in a database."""

    skip = missing("redis") or missing_package()

    def setUp(self) -> None:
        """Start Redis."""
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)

    def test_self(self) -> None:
        """SELF is the real user with its live groups; AnonymousUser has no channel."""
        code = """
import os, sys
from django.conf import settings
settings.configure(
    SECRET_KEY="secret",
    WS4REDIS_CONNECTION={"unix_socket_path": os.environ["TEST_REDIS"]},
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[
        "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"
    ],
)
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django.contrib.auth.models import AnonymousUser, Group, User
from django.contrib.sessions.backends.db import SessionStore
from django.test import RequestFactory
from wsredis.publisher import SELF, RedisPublisher

john = User.objects.create_user("john")
john.groups.add(Group.objects.create(name="chess"))
request = RequestFactory().get("/")
request.session = SessionStore()
for user in (AnonymousUser(), john):
    request.user = user
    own = dict(request=request, users=[SELF], groups=[SELF], sessions=[SELF])
    print(RedisPublisher(facility="f", **own).channels)
request.session.create()
print(len(RedisPublisher(facility="f", request=request, sessions=[SELF]).channels))
names = User.objects.values_list("username", flat=True)
print(RedisPublisher(facility="f", users=names).publish_message("for all users"))
print(RedisPublisher().fetch_message(request, "f"))
"""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env=clean_environment({"TEST_REDIS": self.redis.path}),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        self.assertEqual("", done.stderr)
        expected = ["()", "(b'group:chess:f', b'user:john:f')", "1", "0", "b'for all users'"]
        self.assertEqual(expected, done.stdout.splitlines())


class GatewayTests(GatewayCase):
    """Published messages arrive at the clients of a gateway."""

    skip = missing("redis")

    def check(self, facility: str, publish: Any) -> None:
        """A message arrives at a client that listens, and at a client that connects later."""
        early = self.open(f"/ws/{facility}?subscribe-broadcast")
        self.assertEqual((1, _HELLO), publish(facility))
        self.assertEqual(_HELLO, early.message())
        late = self.open(f"/ws/{facility}?subscribe-broadcast")
        self.assertEqual(_HELLO, late.message())

    def test_redis(self) -> None:
        """`RedisPublisher` publishes with and without a transaction."""

        def publish(facility: str) -> tuple[int, bytes | None]:
            url = self.redis.url
            publisher = RedisPublisher(connection=url, facility=facility, broadcast=True)
            heard = publisher.publish_message("Grüße")
            return heard, publisher.fetch_message(None, facility)

        def publish_at_once(facility: str) -> tuple[int, bytes | None]:
            with redis.Redis(unix_socket_path=self.redis.path) as client:
                publisher = RedisPublisher(connection=client, facility=facility, broadcast=True)
                heard = publisher.pipeline_publish_message(_HELLO)
                return heard, publisher.fetch_message(None, facility, "broadcast")

        self.check("publisher", publish)
        self.check("publisher-transaction", publish_at_once)

    def test_fetch(self) -> None:
        """`fetch_message` reads the message of a client."""
        listener = self.open("/ws/publisher-fetch?subscribe-broadcast")
        self.open("/ws/publisher-fetch?publish-broadcast").send_text("from a client")
        self.assertEqual(b"from a client", listener.message())
        publisher = RedisPublisher(connection=self.redis.url)
        self.assertEqual(b"from a client", publisher.fetch_message(None, "publisher-fetch"))

    def test_decoding(self) -> None:
        """A client that decodes replies changes nothing: a message may be any bytes."""
        names: Any = {"facility": "publisher-decoding", "broadcast": True}
        options: Any = {"unix_socket_path": self.redis.path, "decode_responses": True}

        async def fetch() -> bytes | None:
            async with redis.asyncio.Redis(**options) as client:
                publisher = AsyncRedisPublisher(connection=client, **names)
                return await publisher.fetch_message(None, "publisher-decoding")

        with redis.Redis(**options) as client:
            publisher = RedisPublisher(connection=client, **names)
            for message in (b"\xff\xfe", _HELLO):
                publisher.publish_message(message)
                self.assertEqual(message, publisher.fetch_message(None, "publisher-decoding"))
                self.assertEqual(message, asyncio.run(fetch()))

    def test_asyncio(self) -> None:
        """`AsyncRedisPublisher` publishes with a client of its own and with a given client."""

        async def publish(connection: Any, facility: str) -> tuple[int, bytes | None]:
            async with AsyncRedisPublisher(
                connection=connection, facility=facility, broadcast=True
            ) as publisher:
                heard = await publisher.publish_message("Grüße")
                return heard, await publisher.fetch_message(None, facility)

        async def publish_given(facility: str) -> tuple[int, bytes | None]:
            async with redis.asyncio.Redis(unix_socket_path=self.redis.path) as client:
                return await publish(client, facility)

        self.check("publisher-own", lambda name: asyncio.run(publish(self.redis.url, name)))
        self.check("publisher-given", lambda name: asyncio.run(publish_given(name)))

    def test_asyncio_closes_its_own(self) -> None:
        """`aclose` ends the connections of its own client, and none of a client that was given."""

        def connections() -> int:
            clients = self.redis.command("CLIENT", "LIST")
            assert isinstance(clients, bytes)
            return clients.count(b"name=publisher-test")

        async def run() -> None:
            url = f"{self.redis.url}?client_name=publisher-test"
            publisher = AsyncRedisPublisher(connection=url, facility="f", broadcast=True)
            await publisher.publish_message("x")
            self.assertEqual(1, connections())
            await publisher.aclose()
            self.assertEqual(0, connections())
            async with redis.asyncio.Redis.from_url(url) as client:
                async with AsyncRedisPublisher(
                    connection=client, facility="f", broadcast=True
                ) as given:
                    await given.publish_message("x")
                await given.aclose()
                self.assertEqual(1, connections())
            self.assertEqual(0, connections())

        asyncio.run(run())

    def test_commands(self) -> None:
        """``wsredis publish`` publishes; ``subscribe`` prints the message of a client."""
        environ = clean_environment({"WSREDIS_REDIS": self.redis.url, "PYTHONWARNINGS": "error"})
        program = [sys.executable, "-m", "wsredis"]
        early = self.open("/ws/shell?subscribe-broadcast")
        listener = Child([*program, "subscribe", "shell", "--broadcast"], env=environ)
        self.addCleanup(listener.stop)
        listener.wait_for("listening to broadcast:shell\n")
        done = subprocess.run(
            [*program, "publish", "shell", "--broadcast", "-"],
            env=environ,
            input=_HELLO,
            capture_output=True,
            timeout=PATIENCE,
        )
        self.assertEqual(b"2 subscriber(s) received it\n", done.stdout + done.stderr)
        self.assertEqual(_HELLO, early.message())
        self.open("/ws/shell?publish-broadcast").send_text("from a client")
        listener.wait_for("from a client\n")
        listener.signal(signal.SIGINT)
        self.assertEqual(130, listener.wait())
        self.assertEqual("listening to broadcast:shell\nGrüße\nfrom a client\n", listener.output)


class CommandTests(SynchronousTestCase):
    """The commands, and a Redis that is not there, goes away, or asks for a password."""

    skip = missing("redis")

    def run_command(self, *words: str, **environ: str) -> tuple[int, str]:
        """Run a command. Returns: Its status, and all its output."""
        child = Child([sys.executable, "-m", "wsredis", *words], env=clean_environment(environ))
        status = child.wait()
        child.stop()
        return status, child.output

    def test_not_there(self) -> None:
        """Without Redis there is one line, and status 1."""
        url = f"redis://:secret@localhost:{reserve_port(self)}"
        for words in (("publish", "f", "--broadcast", "x"), ("subscribe", "f", "--broadcast")):
            status, output = self.run_command(*words, "--redis", url)
            self.assertEqual(1, status)
            self.assertRegex(output, rf"\Awsredis {words[0]}: Error 111 .*refused[^\n]*\n\Z")
            self.assertNotIn("secret", output)

    def test_comes_back(self) -> None:
        """``subscribe`` outlives a restart of Redis, and reports it."""
        server = RedisServer()
        self.addCleanup(server.stop)
        words = [sys.executable, "-m", "wsredis", "subscribe", "f", "--user", "john"]
        listener = Child([*words, "--redis", server.url], env=clean_environment())
        self.addCleanup(listener.stop)
        listener.wait_for("listening to user:john:f\n")
        server.kill()
        listener.wait_for("connection to Redis lost, reconnecting: ")
        since = len(listener.output)
        server.start()
        listener.wait_for("listening to user:john:f\n", since=since)
        server.command("PUBLISH", "user:john:f", "hello")
        listener.wait_for("hello\n", since=since)

    def test_password(self) -> None:
        """The password comes from the file or the variable, and is never shown."""
        server = RedisServer("--requirepass", "secret")
        self.addCleanup(server.stop)
        path = f"{server.directory}/password"
        with open(path, "w") as file:
            file.write("secret\n")
        words = ("publish", "f", "--broadcast", "--redis", server.url)
        for status, output in (
            self.run_command(*words, "--redis-password-file", path, "x"),
            self.run_command(*words, "x", WSREDIS_REDIS_PASSWORD="secret"),
        ):
            self.assertEqual(0, status, output)
            self.assertTrue(output.startswith("0 subscriber(s) received it\n"), output)
        status, output = self.run_command(*words, "x")
        self.assertEqual(1, status)
        self.assertRegex(output, r"\Awsredis publish: .*Authentication required\.?\n\Z")
        status, output = self.run_command(*words, "x", WSREDIS_REDIS_PASSWORD="wrong")
        self.assertEqual(1, status)
        self.assertNotIn("wrong", output)


class AclTests(SynchronousTestCase):
    """The rights that the documentation asks for."""

    skip = missing("redis")

    def setUp(self) -> None:
        """A user with the channels of facility f and no rights yet."""
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)
        self.url = f"unix://john:secret@{self.redis.path}"
        self.redis.command("ACL", "SETUSER", "john", "on", ">secret", "~*:f", "&*:f")

    def test_enough(self) -> None:
        """With these rights, and no others, the user can do its task."""
        publisher = RedisPublisher(connection=self.url, facility="f", broadcast=True)
        allow = ("ACL", "SETUSER", "john")
        self.redis.command(*allow, "+setex", "+publish")
        publisher.publish_message("x")
        self.redis.command(*allow, "+multi", "+exec")
        publisher.pipeline_publish_message("x")
        self.redis.command(*allow, "+mget")
        self.assertEqual(b"x", publisher.fetch_message(None, "f"))

    def test_missing(self) -> None:
        """Without the right to publish, Redis' own words are raised."""
        publisher = RedisPublisher(connection=self.url, facility="f", broadcast=True)
        self.redis.command("ACL", "SETUSER", "john", "+setex")
        with self.assertRaisesRegex(redis.RedisError, "permissions"):
            publisher.publish_message("x")

    def test_subscribe(self) -> None:
        """``subscribe`` is refused, with status 1, until it has these rights."""
        words = [sys.executable, "-m", "wsredis", "subscribe", "f", "--broadcast"]
        words += ["--redis", self.url]
        child = Child(words, env=clean_environment())
        self.addCleanup(child.stop)
        self.assertEqual(1, child.wait())
        self.assertRegex(child.output, r"\Awsredis subscribe: .*permissions.*\n\Z")
        self.redis.command("ACL", "SETUSER", "john", "+subscribe", "+ping")
        child = Child(words, env=clean_environment())
        self.addCleanup(child.stop)
        child.wait_for("listening to broadcast:f\n")


class FaultTests(SynchronousTestCase):
    """A Redis that refuses commands, and a Redis that went away in between."""

    skip = missing("redis")

    def test_full(self) -> None:
        """A Redis that is full publishes, with a warning; a transaction does nothing."""
        server = RedisServer("--maxmemory", "1")
        self.addCleanup(server.stop)
        publisher = RedisPublisher(connection=server.url, facility="f", broadcast=True)
        with self.assertLogs("wsredis.publisher", "WARNING"):
            self.assertEqual(0, publisher.publish_message("x"))
        with self.assertRaises(redis.RedisError):
            publisher.pipeline_publish_message("x")

    def test_restart(self) -> None:
        """A connection that died since the last message is replaced, and no message is lost."""
        server = RedisServer()
        self.addCleanup(server.stop)
        publisher = RedisPublisher(connection=server.url, facility="f", broadcast=True)
        publisher.publish_message("one")
        server.kill()
        with self.assertRaises(redis.ConnectionError):
            publisher.publish_message("two")
        server.start()
        publisher.publish_message("three")
        server.kill()
        server.start()
        publisher.publish_message("four")
        self.assertEqual(b"four", publisher.fetch_message(None, "f"))

    def test_fork(self) -> None:
        """A child of a process that has published publishes on a connection of its own."""
        server = RedisServer()
        self.addCleanup(server.stop)
        code = f"""
import os
from wsredis.publisher import RedisPublisher
publisher = RedisPublisher(connection={server.url!r}, facility="f", broadcast=True)
publisher.publish_message("parent")
child = os.fork()
for _ in range(100):
    publisher.publish_message(str(child))
    assert publisher.fetch_message(None, "f").isascii()
if child:
    print(os.waitpid(child, 0)[1])
"""
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        self.assertEqual("", done.stderr)
        self.assertEqual("0\n", done.stdout)


class TwistedTests(TestCase):
    """The publisher for Twisted programs."""

    skip = missing("redis")

    def setUp(self) -> None:
        """Start Redis."""
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)

    def make(self, connection: Any) -> TwistedRedisPublisher:
        """A publisher to everybody; it is closed after the test."""
        publisher = TwistedRedisPublisher(
            connection=connection, facility="f", broadcast=True, users=["john"], expire=60
        )
        self.addCleanup(publisher.close)
        return publisher

    def test_own(self) -> Deferred[None]:
        """It connects by itself, and publishes and fetches binary messages, too."""
        return Deferred.fromCoroutine(self.check(self.make(self.redis.url)))

    def test_given(self) -> Deferred[None]:
        """It uses a connection of txredisapi, lazy or not, and does not close it."""

        async def check() -> None:
            settings = {"charset": None, "convertNumbers": False}
            lazy = txredisapi.lazyUnixConnection(self.redis.path, **settings)
            self.addCleanup(lazy.disconnect)
            pool = await txredisapi.UnixConnectionPool(self.redis.path, poolsize=2, **settings)
            self.addCleanup(pool.disconnect)
            for connection in (lazy, pool):
                publisher = self.make(connection)
                await self.check(publisher)
                await publisher.close()
                self.assertTrue(await connection.ping())

        return Deferred.fromCoroutine(check())

    async def check(self, publisher: TwistedRedisPublisher) -> None:
        """Publish and fetch."""
        for message in (b"\x00\xff", "Grüße", "7", "007"):
            self.assertEqual(0, await publisher.publish_message(message))
            expected = message if isinstance(message, bytes) else message.encode()
            self.assertEqual(expected, await publisher.fetch_message(None, "f"))
            self.assertEqual(expected, self.redis.command("GET", "user:john:f"))

    def test_settings(self) -> Deferred[None]:
        """A connection of txredisapi as it comes publishes; it makes bytes of text again."""

        async def check() -> None:
            connection = await txredisapi.UnixConnection(self.redis.path)
            self.addCleanup(connection.disconnect)
            publisher = self.make(connection)
            self.assertEqual(0, await publisher.publish_message("Grüße"))
            self.assertEqual(_HELLO, await publisher.fetch_message(None, "f"))

        return Deferred.fromCoroutine(check())

    def test_full(self) -> Deferred[None]:
        """A Redis that is full publishes on either kind of connection."""

        async def check() -> None:
            self.redis.command("CONFIG", "SET", "maxmemory", "1")
            connection = await txredisapi.UnixConnection(self.redis.path)
            self.addCleanup(connection.disconnect)
            for where in (self.redis.url, connection):
                with self.assertLogs("wsredis.publisher", "WARNING"):
                    self.assertEqual(0, await self.make(where).publish_message("x"))

        return Deferred.fromCoroutine(check())

    def test_lost(self) -> Deferred[None]:
        """When Redis is gone it fails; when it is back it publishes again."""

        async def check() -> None:
            publisher = self.make(self.redis.url)
            await publisher.publish_message("one")
            self.redis.kill()
            await self.assertFailure(publisher.publish_message("two"), PublishOutcomeUnknown)
            self.redis.start()
            await publisher.publish_message("three")
            self.assertEqual(b"three", await publisher.fetch_message(None, "f"))

        return Deferred.fromCoroutine(check())
