"""Tests for `wsredis.publisher`."""

from __future__ import annotations

import asyncio
import os
import sys
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import redis
import redis.asyncio
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fake_client import FakeAsyncClient, FakeClient
from wsredis.config import RedisConfig
from wsredis.errors import ConfigError
from wsredis.publisher.sync import (
    SELF,
    AsyncRedisPublisher,
    BasePublisher,
    RedisMessage,
    RedisPublisher,
    connect,
    connect_as_project,
)


def request_of(
    name: str | None = None,
    *,
    memberof: object = None,
    groups: tuple[str, ...] | None = None,
    key: str | None = None,
) -> Any:
    """A request of this user; *memberof* is in its session, *groups* are in the database."""
    session: Any = _Session({} if memberof is None else {"ws4redis:memberof": memberof})
    session.session_key = key
    user = SimpleNamespace(is_authenticated=name is not None, get_username=lambda: name)
    if groups is not None:
        user.groups = SimpleNamespace(all=lambda: [SimpleNamespace(name=each) for each in groups])
    return SimpleNamespace(session=session, user=user)


class _Session(dict[str, object]):
    session_key: str | None


class _Case(SynchronousTestCase):
    """An environment of its own, and no Django."""

    def setUp(self) -> None:
        """Forget the settings of the machine."""
        clean = {name: value for name, value in os.environ.items() if "WSREDIS" not in name}
        clean.pop("DJANGO_SETTINGS_MODULE", None)
        self.enter(mock.patch.dict(os.environ, clean, clear=True))
        self.enter(mock.patch.dict(sys.modules))
        sys.modules.pop("django.conf", None)

    def enter(self, patch: Any) -> None:
        """Keep a context until the test is over."""
        patch.__enter__()
        self.addCleanup(patch.__exit__, None, None, None)

    def use_django(self, configured: bool = True, **settings: object) -> None:
        """From now on, a Django project with these settings is running."""
        conf = ModuleType("django.conf")
        conf.settings = SimpleNamespace(configured=configured, **settings)  # type: ignore[attr-defined]
        sys.modules["django"] = ModuleType("django")
        sys.modules["django.conf"] = conf


class ChannelTests(_Case):
    """Who is meant."""

    def channels(self, **names: Any) -> list[str]:
        """The channels of a publisher of facility f."""
        publisher = BasePublisher(**{"facility": "f", **names})
        return [channel.decode() for channel in publisher.channels]

    def test_all(self) -> None:
        """Each name gives a channel, once; the order is that of stored messages."""
        found = self.channels(
            broadcast=True, users=["john", "mary", "john"], groups=("chess",), sessions=["k"]
        )
        expected = ["broadcast:f", "group:chess:f", "user:john:f", "user:mary:f", "session:k:f"]
        self.assertEqual(expected, found)

    def test_nobody(self) -> None:
        """Nothing said means nobody; so do None, False and empty names."""
        self.assertEqual([], self.channels())
        for nothing in (None, False, [], (), [None, ""]):
            self.assertEqual([], self.channels(users=nothing, groups=nothing, sessions=nothing))

    def test_no_facility(self) -> None:
        """Without a facility the name is that of the original, to which nobody listens."""
        self.assertEqual((b"broadcast:{facility}",), BasePublisher(broadcast=True).channels)

    def test_any_names(self) -> None:
        """Sets, generators and one name alone do; what is no text gives its text."""

        class User:
            def __str__(self) -> str:
                return "mary"

        for users in ("mary", {"mary"}, iter(["mary"]), {"mary": 1}, [User()]):
            self.assertEqual(["user:mary:f"], self.channels(users=users))
        self.assertEqual(["session:5:f"], self.channels(sessions=[5]))

    def test_wrong_names(self) -> None:
        """What is no collection of names is refused, and the argument named."""
        for wrong in (5, b"john", bytearray(b"john"), object()):
            with self.assertRaisesRegex(ValueError, "groups must be a list"):
                self.channels(groups=wrong)
        with self.assertRaisesRegex(ValueError, "users: a name is text, not bytes"):
            self.channels(users=[b"john"])

    def test_colon(self) -> None:
        """A name with a colon gets no channel, and a warning."""
        with self.assertLogs("wsredis.publisher", "WARNING") as logs:
            found = self.channels(users=["a:b", "john"])
        self.assertEqual(["user:john:f"], found)
        self.assertEqual(["no channel for user 'a:b': a name has no colon"], messages(logs))

    def test_prefix(self) -> None:
        """The prefix stands before every name."""
        publisher = BasePublisher(facility="f", broadcast=True, users=["u"], prefix="site")
        self.assertEqual((b"site:broadcast:f", b"site:user:u:f"), publisher.channels)
        self.assertEqual("site:", publisher.get_prefix())
        self.assertEqual("", BasePublisher().get_prefix())

    def test_self(self) -> None:
        """SELF is the user of the request, its groups, its session; True and SELF alone too."""
        request = request_of("john", memberof=["chess", "go"], key="k")
        every = ["group:chess:f", "group:go:f", "user:john:f", "session:k:f"]
        foreign = type("SELF_TYPE", (), {})()
        for own in ([SELF], (SELF,), SELF, True, foreign, [foreign]):
            found = self.channels(request=request, users=own, groups=own, sessions=own)
            self.assertEqual(every, found)
        found = self.channels(request=request, users=[SELF, "john", "mary"])
        self.assertEqual(["user:john:f", "user:mary:f"], found)
        self.assertEqual("SELF", repr(SELF))

    def test_live_groups(self) -> None:
        """The groups are those of the session, also if there are none; else those of the user."""
        for request, expected in (
            (request_of("john", memberof=["chess"], groups=("go",)), ["group:chess:f"]),
            (request_of("john", memberof=[], groups=("go",)), []),
            (request_of("john", groups=("go", "poker")), ["group:go:f", "group:poker:f"]),
            (request_of("john"), []),
        ):
            self.assertEqual(expected, self.channels(request=request, groups=[SELF]))
        request = request_of("john", groups=("go",))
        del request.session
        self.assertEqual(["group:go:f"], self.channels(request=request, groups=[SELF]))

    def test_anonymous(self) -> None:
        """Where there is no request, user or session, SELF has no channel."""
        bare = SimpleNamespace()
        empty = SimpleNamespace(user=None, session=None)
        for request in (None, bare, empty, request_of(memberof=["chess"], groups=("go",))):
            own = {"users": [SELF], "groups": [SELF], "sessions": [SELF]}
            self.assertEqual([], self.channels(request=request, **own))


class MessageTests(_Case):
    """What is a message."""

    def test_kinds(self) -> None:
        """Text becomes UTF-8, bytes stay; what a subscriber read is unpacked."""
        for value, expected in (
            ("Grüße", "Grüße".encode()),
            (b"\x00\xff", b"\x00\xff"),
            (bytearray(b"x"), b"x"),
            ([b"message", b"channel", b"x"], b"x"),
        ):
            message = RedisMessage(value)
            self.assertIsInstance(message, RedisMessage)
            self.assertEqual(expected, message)

    def test_none(self) -> None:
        """The heartbeat and what is no message are None."""
        self.use_django(WS4REDIS_HEARTBEAT="--beat--")
        for value in ("--beat--", b"--beat--", 5, None, [], [b"subscribe", b"c", 1], [b"message"]):
            self.assertIsNone(RedisMessage(value))
        self.assertEqual(b"--beat-- x", RedisMessage("--beat-- x"))


class _PublishCase(_Case):
    """A publisher to everybody and john."""

    def setUp(self) -> None:
        """One gateway listens to everything, another to john."""
        super().setUp()
        self.client = FakeClient()
        self.client.listeners = {b"broadcast:f": 1, b"user:john:f": 2}

    def publisher(self, **names: Any) -> RedisPublisher:
        """To everybody and john, kept for 60 seconds."""
        given = {"facility": "f", "broadcast": True, "users": ["john"], "expire": 60, **names}
        return RedisPublisher(connection=self.client, **given)


class PublishTests(_PublishCase):
    """What is sent."""

    def test_publish(self) -> None:
        """Each channel is stored, then published, in one round trip; receivers are counted."""
        self.assertEqual(3, self.publisher().publish_message("x"))
        expected = [
            ("SETEX", b"broadcast:f", "60", b"x"),
            ("PUBLISH", b"broadcast:f", b"x"),
            ("SETEX", b"user:john:f", "60", b"x"),
            ("PUBLISH", b"user:john:f", b"x"),
        ]
        self.assertEqual([expected], self.client.trips)

    def test_transaction(self) -> None:
        """A pipeline is a transaction, unless that is not wanted."""
        publisher = self.publisher(users=())
        self.assertEqual(1, publisher.pipeline_publish_message("x"))
        self.assertEqual(1, publisher.pipeline_publish_message("x", transaction=False))
        names = [[words[0] for words in trip] for trip in self.client.trips]
        self.assertEqual([["MULTI", "SETEX", "PUBLISH"], ["SETEX", "PUBLISH"]], names)

    def test_expire(self) -> None:
        """What is said with the message counts; 0 or less does not store."""
        publisher = self.publisher(users=())
        for expire in (5, 0, -1):
            publisher.publish_message("x", expire)
        self.publisher(users=(), expire=0).publish_message("x", expire=None)
        told = [[words[2] for words in trip] for trip in self.client.trips]
        self.assertEqual([["5", b"x"], [b"x"], [b"x"], [b"x"]], told)

    def test_wrong_expire(self) -> None:
        """What is no whole number of seconds is refused, and nothing is sent."""
        for wrong in (0.5, 5.0, "5", True):
            with self.assertRaisesRegex(ValueError, "expire: .* is not a whole number of seconds"):
                self.publisher().publish_message("x", wrong)  # type: ignore[arg-type]
            with self.assertRaisesRegex(ValueError, "expire: .* is not a whole number of seconds"):
                self.publisher(expire=wrong)
        self.assertEqual([], self.client.trips)

    def test_nobody(self) -> None:
        """For nobody nothing is sent; a wrong message is refused all the same."""
        publisher = RedisPublisher(connection=self.client)
        self.assertEqual(0, publisher.publish_message("x"))
        with self.assertRaises(ValueError):
            publisher.publish_message(None)  # type: ignore[arg-type]
        self.assertEqual([], self.client.trips)

    def test_messages(self) -> None:
        """Text, bytes and what RedisMessage made are published alike."""
        publisher = self.publisher(users=(), expire=0)
        for message in ("ü", "ü".encode(), RedisMessage("ü")):
            publisher.publish_message(message)  # type: ignore[arg-type]
        self.assertEqual({"ü".encode()}, {trip[0][2] for trip in self.client.trips})

    def test_wrong_messages(self) -> None:
        """What is no message, and the heartbeat, are refused; nothing is sent."""
        publisher = self.publisher(heartbeat="--beat--")
        for wrong, what in ((None, "NoneType"), (5, "int"), ([b"message", b"c", b"x"], "list")):
            with self.assertRaisesRegex(ValueError, f"str, bytes or RedisMessage, not {what}"):
                publisher.publish_message(wrong)  # type: ignore[arg-type]
        for beat in ("--beat--", b"--beat--"):
            with self.assertRaisesRegex(ValueError, "heartbeat"):
                publisher.publish_message(beat)
        self.assertEqual([], self.client.trips)

    def test_full(self) -> None:
        """Where Redis refuses to store, it has published: a warning tells, once."""
        self.client.refuse["SETEX"] = redis.ResponseError("OOM")
        with self.assertLogs("wsredis.publisher", "WARNING") as logs:
            self.assertEqual(3, self.publisher().publish_message("x"))
        told = ["Redis refuses to store messages, they are published only: OOM"]
        self.assertEqual(told, messages(logs))

    def test_refused(self) -> None:
        """Where Redis refuses to publish, its words are raised."""
        self.client.refuse["PUBLISH"] = redis.ResponseError("NOPERM")
        with self.assertRaisesRegex(redis.ResponseError, "NOPERM"):
            self.publisher().publish_message("x")

    def test_lost(self) -> None:
        """A connection that breaks is raised, nothing is repeated."""
        self.client.refuse["SETEX"] = redis.ConnectionError("lost")
        with self.assertRaisesRegex(redis.ConnectionError, "lost"):
            self.publisher().publish_message("x")
        self.assertEqual(1, len(self.client.trips))


class FetchTests(_PublishCase):
    """What is kept."""

    def setUp(self) -> None:
        """A message for each audience."""
        super().setUp()
        names = ("session:k", "user:john", "group:chess", "group:go", "broadcast")
        self.client.values = {f"{name}:f".encode(): name.encode() for name in names}
        self.request = request_of("john", memberof=["chess", "go"], key="k")

    def fetch(self, request: Any, audience: str = "any") -> bytes | None:
        """The message of facility f."""
        return RedisPublisher(connection=self.client).fetch_message(request, "f", audience)

    def test_order(self) -> None:
        """Session, user, groups, broadcast: the first that is not empty, in one round trip."""
        found = []
        while (value := self.fetch(self.request)) is not None:
            found.append(value)
            self.client.values[value + b":f"] = b""
        expected = [b"session:k", b"user:john", b"group:chess", b"group:go", b"broadcast"]
        self.assertEqual(expected, found)
        self.assertEqual({1}, {len(trip) for trip in self.client.trips})

    def test_audience(self) -> None:
        """One audience alone can be asked for; an unknown one has nothing."""
        for audience, expected in (
            ("session", b"session:k"),
            ("user", b"user:john"),
            ("group", b"group:chess"),
            ("broadcast", b"broadcast"),
            ("everybody", None),
        ):
            self.assertEqual(expected, self.fetch(self.request, audience))

    def test_anonymous(self) -> None:
        """A stranger, or nobody, gets what is for everybody."""
        for request in (None, request_of()):
            self.assertEqual(b"broadcast", self.fetch(request))
            for audience in ("session", "user", "group"):
                self.assertIsNone(self.fetch(request, audience))


class AsyncTests(_PublishCase):
    """The twin for asyncio."""

    def test_publish(self) -> None:
        """The commands are the same; a given client is not closed."""
        client = FakeAsyncClient()

        async def run() -> list[object]:
            given: Any = client
            async with AsyncRedisPublisher(
                connection=given, facility="f", broadcast=True
            ) as publisher:
                return [
                    await publisher.publish_message("x", 5),
                    await publisher.pipeline_publish_message("y", 0),
                    await publisher.fetch_message(None, "f"),
                    await publisher.fetch_message(None, "f", "user"),
                    await AsyncRedisPublisher(connection=given).publish_message("z"),
                ]

        self.assertEqual([0, 0, b"x", None, 0], asyncio.run(run()))
        expected = [
            [("SETEX", b"broadcast:f", "5", b"x"), ("PUBLISH", b"broadcast:f", b"x")],
            [("MULTI",), ("PUBLISH", b"broadcast:f", b"y")],
            [("MGET", b"broadcast:f")],
        ]
        self.assertEqual(expected, client.server.trips)
        self.assertFalse(client.server.closed)

    def test_own(self) -> None:
        """A publisher that was given no client makes its own, and closes it, twice if need be."""

        async def run() -> None:
            for given in (None, "unix:///nowhere/redis.sock"):
                publisher = AsyncRedisPublisher(connection=given, users=["john"])
                self.assertIsInstance(publisher._connection, redis.asyncio.Redis)
                await publisher.aclose()
                await publisher.aclose()
            with self.assertRaises(redis.ConnectionError):
                await publisher.publish_message("x")
            await publisher.aclose()

        asyncio.run(run())


class SettingTests(_Case):
    """Where the settings come from."""

    def settings(self, **names: Any) -> tuple[object, ...]:
        """Prefix, expire and heartbeat of a publisher."""
        publisher = BasePublisher(**names)
        return (publisher.get_prefix(), publisher._expire, publisher._heartbeat)

    def test_default(self) -> None:
        """Nothing said: no prefix, an hour, no heartbeat."""
        self.assertEqual(("", 3600, None), self.settings())

    def test_environment(self) -> None:
        """Outside of Django the environment counts; an empty variable is as good as none."""
        os.environ.update(WSREDIS_PREFIX="env", WSREDIS_EXPIRE="5", WSREDIS_HEARTBEAT="b")
        self.assertEqual(("env:", 5, "b"), self.settings())
        os.environ["WSREDIS_EXPIRE"] = ""
        self.assertEqual(("env:", 3600, "b"), self.settings())

    def test_django(self) -> None:
        """In Django its settings count, and the environment for those that it lacks."""
        os.environ.update(WSREDIS_PREFIX="env", WSREDIS_EXPIRE="5")
        self.use_django(WS4REDIS_PREFIX="site", WS4REDIS_HEARTBEAT="b")
        self.assertEqual(("site:", 5, "b"), self.settings())
        self.use_django(WS4REDIS_PREFIX=None, WS4REDIS_EXPIRE=None)
        self.assertEqual(("", 0, None), self.settings())

    def test_chosen(self) -> None:
        """A project that is named is asked, though nobody has asked for its settings yet."""
        self.use_django(configured=False, WS4REDIS_PREFIX="site")
        self.assertEqual("", self.settings()[0])
        os.environ["DJANGO_SETTINGS_MODULE"] = "site.settings"
        self.assertEqual("site:", self.settings()[0])

    def test_no_django(self) -> None:
        """Without Django, the name of a project means nothing."""
        os.environ["DJANGO_SETTINGS_MODULE"] = "site.settings"
        sys.modules["django"] = sys.modules["django.conf"] = None  # type: ignore[assignment]
        self.assertEqual(("", 3600, None), self.settings())

    def test_arguments(self) -> None:
        """An argument goes before all; the empty heartbeat is none."""
        self.use_django(WS4REDIS_PREFIX="site", WS4REDIS_EXPIRE=5, WS4REDIS_HEARTBEAT="b")
        self.assertEqual(("", 7, None), self.settings(prefix="", expire=7, heartbeat=""))

    def test_wrong(self) -> None:
        """A wrong setting is refused by its name."""
        os.environ["WSREDIS_EXPIRE"] = "soon"
        with self.assertRaisesRegex(ConfigError, "^WSREDIS_EXPIRE: 'soon' is not a whole number"):
            BasePublisher()
        self.use_django(WS4REDIS_EXPIRE=0.5)
        with self.assertRaisesRegex(ConfigError, "^WS4REDIS_EXPIRE: 0.5 is not a whole"):
            BasePublisher()
        with self.assertRaisesRegex(ConfigError, "^prefix: 'a b' has a blank"):
            BasePublisher(prefix="a b", expire=1)


class ConnectionTests(_Case):
    """Where Redis is."""

    def arguments(self, publisher: Any) -> dict[str, Any]:
        """What the connections of a publisher are made with."""
        pool = publisher._connection.connection_pool
        return {"class": pool.connection_class.__name__, **pool.connection_kwargs}

    def check(self, publisher: Any, **expected: object) -> None:
        """Compare a part of the arguments."""
        found = self.arguments(publisher)
        self.assertEqual(expected, {name: found.get(name) for name in expected})

    def test_default(self) -> None:
        """Redis is at localhost; nothing is repeated, and nobody waits for ever."""
        publisher = RedisPublisher()
        found = self.arguments(publisher)
        found.setdefault("host", "localhost")
        self.assertEqual("localhost", found["host"])
        self.assertEqual((5.0, 5.0), (found["socket_timeout"], found["socket_connect_timeout"]))
        self.assertEqual(0, found["retry"]._retries)

    def test_url(self) -> None:
        """A URL says all; what it has goes before the defaults."""
        publisher = RedisPublisher(connection="redis://u:p@h:7/2?socket_timeout=9")
        expected = {"host": "h", "port": 7, "db": 2, "username": "u", "password": "p"}
        self.check(publisher, **expected, socket_timeout=9.0)
        publisher = RedisPublisher(connection="unix:///run/redis.sock?db=1")
        self.check(publisher, path="/run/redis.sock", db=1)

    def test_environment(self) -> None:
        """The variables of the gateway count; the password of the URL goes before the file's."""
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("from-file\n")
        os.environ["WSREDIS_REDIS"] = "redis://h"
        self.check(RedisPublisher(), host="h", password=None)
        os.environ["WSREDIS_REDIS_PASSWORD"] = "from-variable"
        self.check(RedisPublisher(), password="from-variable")
        os.environ["WSREDIS_REDIS_PASSWORD_FILE"] = path
        self.check(RedisPublisher(), password="from-file")
        os.environ["WSREDIS_REDIS"] = "redis://:from-url@h"
        self.check(RedisPublisher(), password="from-url")
        # They belong to that Redis, and are told to no other.
        self.check(RedisPublisher(connection="redis://other"), password=None)

    def test_tls(self) -> None:
        """Certificates are verified, with the CA of the settings; elsewhere a CA is refused."""
        client = connect(RedisConfig(url="rediss://h", ca="ca.pem"))
        found = client.connection_pool.connection_kwargs
        self.assertEqual(("ca.pem", True), (found["ssl_ca_certs"], found["ssl_check_hostname"]))
        with self.assertRaisesRegex(ConfigError, "redis-ca: only a rediss:// URL"):
            connect(RedisConfig(url="redis://h", ca="ca.pem"))

    def test_django(self) -> None:
        """In Django it is as its settings say, whatever redis-py understands."""
        os.environ["WSREDIS_REDIS"] = "redis://env"
        self.use_django()
        self.check(RedisPublisher(), host="env")
        self.use_django(WS4REDIS_CONNECTION={"host": "h", "port": 7, "db": 2, "password": "p"})
        self.check(RedisPublisher(), host="h", port=7, db=2, password="p", socket_timeout=5.0)
        self.use_django(WS4REDIS_CONNECTION={"unix_socket_path": "/run/redis.sock"})
        self.check(RedisPublisher(), path="/run/redis.sock")
        self.use_django(WS4REDIS_CONNECTION={"host": "h", "ssl": True, "socket_timeout": 1})
        self.check(RedisPublisher(), **{"class": "SSLConnection"}, socket_timeout=1)
        self.use_django(WS4REDIS_CONNECTION="redis://url")
        with self.assertRaisesRegex(ConfigError, "^WS4REDIS_CONNECTION: this is not a dictionary$"):
            RedisPublisher()
        self.use_django(WS4REDIS_CONNECTION={"hots": "h"})
        with self.assertRaisesRegex(ConfigError, "^WS4REDIS_CONNECTION: .*hots"):
            RedisPublisher()

    def test_patience(self) -> None:
        """Who asks for the project's client says how long to wait; it is another one then."""
        self.use_django(WS4REDIS_CONNECTION={"host": "h", "socket_timeout": 9})
        client = connect_as_project(0.5)
        found = client.connection_pool.connection_kwargs
        self.assertEqual(
            ("h", 0.5, 0.5),
            (found["host"], found["socket_timeout"], found["socket_connect_timeout"]),
        )
        self.assertIs(client, connect_as_project(0.5))
        self.check(RedisPublisher(), host="h", socket_timeout=9)

    def test_shared(self) -> None:
        """One target has one pool in a process; another has another."""
        one, two, other = (
            RedisPublisher(connection=f"redis://{host}")._connection.connection_pool
            for host in ("h", "h", "other")
        )
        self.assertIs(one, two)
        self.assertIsNot(one, other)

    def test_wrong(self) -> None:
        """What is no URL is refused in one line that shows no password."""
        for url in (
            "http://h",
            "h:6379",
            "redis://:secret@h:port",
            "redis://:sec?ret@h",
            "redis://h/secret",
            "redis://h?secret=1",
            "redis://h?db=secret",
            "redis://[::1",
        ):
            with self.assertRaises(ConfigError) as caught:
                RedisPublisher(connection=url)
            self.assertRegex(str(caught.exception), "^redis: this is not a redis://.*$")
            self.assertNotIn("sec", str(caught.exception))
        with self.assertRaisesRegex(ConfigError, "^redis: 'embedded' is for the gateway"):
            RedisPublisher(connection="embedded")

    def test_no_library(self) -> None:
        """Without redis-py, the extra that brings it is named."""
        sys.modules["redis"] = None  # type: ignore[assignment]
        with self.assertRaisesRegex(ConfigError, r"pip install 'wsredis\[publisher\]'"):
            RedisPublisher(connection="redis://nobody-asked-before")


def messages(logs: Any) -> list[str]:
    """What was logged."""
    return [record.getMessage() for record in logs.records]
