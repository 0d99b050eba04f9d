"""The original django-websocket-redis, unmodified, with this gateway in the place of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import tests.support
from tests.support.browser import missing_browser, shared_browser
from tests.support.case import FreshGatewayCase, GatewayCase
from tests.support.children import Child, Gateway, RedisServer, clean_environment, until
from tests.support.django_project import Project
from tests.support.raw import RawClient, handshake, response
from tests.support.require import missing
from tests.support.ws4redis import (
    ScriptPage,
    SiteServer,
    missing_package,
    run_in_django,
)

_HEARTBEAT = "--heartbeat--"

#: Seconds. The script waits up to 1, 3, 7 seconds before its tries.
_RECONNECT = 45.0

_CALLBACKS = ("connecting", "connected", "disconnected")

_BOTH = "subscribe-broadcast&publish-broadcast"


class PublisherTests(GatewayCase):
    """``ws4redis.publisher.RedisPublisher`` and anonymous clients."""

    skip = missing("redis") or missing_package()

    def test_publish(self) -> None:
        """A broadcast reaches a client that listens, and a client that connects later."""
        early = self.open("/ws/django?subscribe-broadcast")
        run_in_django(
            self.redis.path,
            """
publisher = RedisPublisher(facility="django", broadcast=True)
publisher.publish_message(RedisMessage("Grüße"))
""",
        )
        self.assertEqual("Grüße".encode(), early.message())
        late = self.open("/ws/django?subscribe-broadcast")
        self.assertEqual("Grüße".encode(), late.message())
        self.assertEqual("Grüße".encode(), self.redis.command("GET", "broadcast:django"))
        ttl = self.redis.command("TTL", "broadcast:django")
        assert isinstance(ttl, int)
        self.assertTrue(3500 < ttl <= 3600, ttl)

    def test_several_publishers(self) -> None:
        """Two publishers of a process do not publish for each other."""
        clients = [self.open(f"/ws/{each}?subscribe-broadcast") for each in ("one", "two")]
        run_in_django(
            self.redis.path,
            """
one, two = [RedisPublisher(facility=each, broadcast=True) for each in ("one", "two")]
for publisher, words in ((one, "to one"), (two, "to two"), (one, "end"), (two, "end")):
    publisher.publish_message(RedisMessage(words))
""",
        )
        for client, words in zip(clients, (b"to one", b"to two"), strict=True):
            self.assertEqual([words, b"end"], [client.message() for _ in range(2)])

    def test_publish_without_expire(self) -> None:
        """A broadcast that is not stored reaches clients that listen, and no later client."""
        early = self.open("/ws/moment?subscribe-broadcast")
        run_in_django(
            self.redis.path,
            """
publisher = RedisPublisher(facility="moment", broadcast=True)
publisher.publish_message(RedisMessage(b"\\x00\\xff"), expire=0)
""",
        )
        self.assertEqual(b"\x00\xff", early.message())
        self.assertIsNone(self.redis.command("GET", "broadcast:moment"))

    def test_fetch(self) -> None:
        """``fetch_message`` reads what a client published over its WebSocket."""
        listener = self.open("/ws/fetch?subscribe-broadcast")
        self.open("/ws/fetch?publish-broadcast").send_text("from a client")
        self.assertEqual(b"from a client", listener.message())
        printed = run_in_django(
            self.redis.path,
            """
print(RedisPublisher().fetch_message(request_of(), "fetch", "broadcast"))
print(RedisPublisher().fetch_message(request_of(), "fetch", "any"))
print(RedisPublisher().fetch_message(request_of(), "fetch", "user"))
""",
        )
        self.assertEqual("b'from a client'\nb'from a client'\nNone", printed)


class IdentityTests(SynchronousTestCase):
    """The other audiences, with a prefix, on a gateway that identifies its clients."""

    skip = missing("redis") or missing_package()

    def setUp(self) -> None:
        """Start a gateway that takes identities from headers."""
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)
        tac = Path(tests.support.__file__).with_name("identified.tac")
        gateway = Child(
            [
                *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()"),
                *("-n", "--pidfile=", "--no_save", "-y", str(tac)),
            ],
            env=clean_environment({"TEST_REDIS_URL": self.redis.url}),
            cwd=self.redis.directory,
        )
        self.addCleanup(gateway.stop)
        self.port = int(gateway.wait_for(r"listening on \S*:(\d+)")[1])
        gateway.wait_for("connected to ")

    def _open(self, path: str, *headers: str) -> RawClient:
        client = RawClient.opened(self.port, path, *headers)
        self.addCleanup(client.socket.close)
        return client

    def _in_django(self, code: str) -> str:
        return run_in_django(self.redis.path, code, WS4REDIS_PREFIX="site", WS4REDIS_EXPIRE=60)

    def _check_audience(self, arguments: str, flag: str, header: str, other: str, key: str) -> None:
        """Publish for some, and check which clients get it now, which later, and which never."""
        mine = self._open(f"/ws/f?subscribe-{flag}", header)
        foreign = self._open(f"/ws/f?subscribe-{flag}&subscribe-broadcast", other)
        self._in_django(
            f"""
RedisPublisher(facility="f", {arguments}).publish_message(RedisMessage("for some"))
RedisPublisher(facility="f", broadcast=True).publish_message(RedisMessage("for all"))
"""
        )
        self.assertEqual(b"for some", mine.message())
        self.assertEqual(b"for all", foreign.message())
        self.assertEqual(b"for some", self._open(f"/ws/f?subscribe-{flag}", header).message())
        self.assertEqual(b"for some", self.redis.command("GET", key))

    def test_user(self) -> None:
        """A message to a user reaches the sockets of that user, and nobody else's."""
        key = "site:user:john:f"
        self._check_audience("users=['john']", "user", "X-User: john", "X-User: mary", key)

    def test_self(self) -> None:
        """A message to SELF reaches the user of the request."""
        arguments = "request=request_of('john'), users=[SELF]"
        key = "site:user:john:f"
        self._check_audience(arguments, "user", "X-User: john", "X-User: mary", key)

    def test_group(self) -> None:
        """A message to a group reaches its members, and nobody else."""
        key = "site:group:chess:f"
        self._check_audience("groups=['chess']", "group", "X-Groups: go chess", "X-Groups: go", key)

    def test_session(self) -> None:
        """A message to a session reaches the sockets of that session, and nobody else's."""
        arguments = "request=request_of(session_key='s1'), sessions=[SELF]"
        key = "site:session:s1:f"
        self._check_audience(arguments, "session", "X-Session: s1", "X-Session: s2", key)

    def test_fetch(self) -> None:
        """``fetch_message`` finds what a client published to itself, its group and its session."""
        headers = ("X-User: john", "X-Groups: chess", "X-Session: s1")
        for audience in ("user", "group", "session"):
            path = f"/ws/f?subscribe-{audience}&publish-{audience}&echo"
            client = self._open(path, *headers)
            client.send_text(f"to my {audience}")
            self.assertEqual(f"to my {audience}".encode(), client.message())
        printed = self._in_django(
            """
mine, other = request_of("john", ["chess"], "s1"), request_of("mary", ["go"], "s2")
for audience in ("user", "group", "session"):
    for request in (mine, other):
        print(RedisPublisher().fetch_message(request, "f", audience))
"""
        )
        expected = "b'to my user'\nNone\nb'to my group'\nNone\nb'to my session'\nNone"
        self.assertEqual(expected, printed)

    def test_pipeline(self) -> None:
        """A transaction over the publisher's channels, as its later versions do, arrives whole."""
        client = self._open("/ws/f?subscribe-broadcast&subscribe-user", "X-User: john")
        self._in_django(
            """
publisher = RedisPublisher(facility="f", broadcast=True, users=["john"])
pipeline = publisher._connection.pipeline(transaction=True)
for channel in publisher._publishers:
    pipeline.publish(channel, RedisMessage("at once"))
    pipeline.set(channel, RedisMessage("at once"), ex=60)
pipeline.execute()
"""
        )
        self.assertEqual([b"at once"] * 2, [client.message() for _ in range(2)])


class ProjectTests(SynchronousTestCase):
    """A project with users, groups and sessions of Django, turned over by ``--django``."""

    skip = missing("redis") or missing_package()

    #: The imports and functions of a view of the project.
    _views = """
from importlib import import_module
from django.contrib.auth import get_user
from django.test import RequestFactory
from ws4redis.publisher import RedisPublisher
from ws4redis.redis_store import SELF, RedisMessage

def request_of(key):
    request = RequestFactory().get("/")
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    request.user = get_user(request)
    return request
"""

    def _start(self, **settings: object) -> None:
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)
        self.project = Project(
            MORE_APPS=["ws4redis"],
            WS4REDIS_CONNECTION={"unix_socket_path": self.redis.path, "db": 0},
            WS4REDIS_PREFIX="site",
            **settings,
        )
        self.addCleanup(self.project.remove)
        self.gateway = self.project.gateway(None, "--drain", "0")
        self.addCleanup(self.gateway.stop)
        self.john, self.mary = self.project.log_in("john", "mary")

    def _open(self, query: str, key: str) -> RawClient:
        client = RawClient.opened(self.gateway.port, f"/ws/f?{query}", f"Cookie: sessionid={key}")
        self.addCleanup(client.socket.close)
        return client

    def _in_view(self, code: str) -> str:
        names = f"john, mary = request_of({self.john!r}), request_of({self.mary!r})\n"
        return self.project.run(self._views + names + code)

    def test_subscribe(self) -> None:
        """Messages of a view for a user, a group and a session wait for their receivers."""
        self._start()
        self._in_view("""
for to, words in (
    ({"users": ["john", "mary"]}, "users"),
    ({"groups": ["staff"]}, "group"),
    ({"request": mary, "groups": [SELF]}, "groups of mary"),
    ({"request": john, "sessions": [SELF]}, "session"),
):
    RedisPublisher(facility="f", **to).publish_message(RedisMessage(words))
""")
        for query, key, expected in (
            ("subscribe-user", self.john, [b"users"]),
            ("subscribe-user", self.mary, [b"users"]),
            ("subscribe-group", self.john, [b"groups of mary"]),
            ("subscribe-group", self.mary, [b"groups of mary"] * 2),
            ("subscribe-session", self.john, [b"session"]),
            ("subscribe-session", self.mary, []),
        ):
            client = self._open(f"{query}&subscribe-broadcast", key)
            self.redis.command("PUBLISH", "site:broadcast:f", "end")
            got = [client.message() for _ in range(len(expected) + 1)]
            self.assertEqual([*expected, b"end"], got, (query, key))

    def test_publish(self) -> None:
        """A view fetches what a client published to its user, its groups and its session."""
        self._start()
        for audience in ("user", "group", "session"):
            client = self._open(f"publish-{audience}&subscribe-{audience}&echo", self.john)
            client.send_text(f"to my {audience}")
            self.assertEqual(f"to my {audience}".encode(), client.message())
        printed = self._in_view("""
nobody = request_of(None)
for audience in ("user", "group", "session"):
    for request in (john, mary, nobody):
        print(RedisPublisher().fetch_message(request, "f", audience))
""")
        self.assertEqual(
            "b'to my user'\nNone\nNone\n"
            "b'to my group'\nb'to my group'\nNone\n"
            "b'to my session'\nNone\nNone",
            printed,
        )

    def test_forbidden_channel(self) -> None:
        """``WS4REDIS_ALLOWED_CHANNELS`` of the project refuses with 403 and its words."""
        self._start(
            WS4REDIS_ALLOWED_CHANNELS="tests.support.project.hooks.deny_by_header",
            WS4REDIS_SUBSCRIBER="ws4redis.subscriber.RedisSubscriber",
        )
        request = handshake("/ws/f?subscribe-broadcast", "Deny-Channels: YES")
        status, _, body = response(self.gateway.port, request)
        self.assertEqual((403, b"No channels for you"), (status, body.strip()))
        self._open("subscribe-broadcast", self.john)


class ScriptTests(FreshGatewayCase):
    """``ws4redis.js`` with jQuery in a browser, on a page of another origin than the gateway's."""

    skip = missing_browser() or missing_package()
    options = ("--heartbeat", _HEARTBEAT)

    def setUp(self) -> None:
        """Start the site, and a gateway that lets its pages publish."""
        self.site = SiteServer()
        self.addCleanup(self.site.stop)
        self.options = (*self.options, "--allow-origin", self.site.origin)
        super().setUp()
        self.browser = shared_browser()
        self.addCleanup(self.browser.close_windows)

    def _page(
        self, query: str = _BOTH, heartbeat: str | None = _HEARTBEAT, speed: int = 1
    ) -> ScriptPage:
        uri = self.gateway.url(f"/ws/script?{query}")
        page = ScriptPage(self.browser, self.site, uri, heartbeat=heartbeat, speed=speed)
        page.wait_for("connected", 1)
        return page

    def test_messages(self) -> None:
        """Two pages talk to each other; no page gets its own messages or a heartbeat."""
        one, two = self._page(), self._page()
        one.send("hello")
        two.wait_for_messages("hello")
        two.send("hello yourself")
        one.wait_for_messages("hello yourself")
        two.wait_for_messages("hello")
        self.assertEqual([1, 1, 0], [one.seen[each] for each in _CALLBACKS])
        self.assertEqual([], self.browser.errors())

    def test_publisher(self) -> None:
        """A message of the original publisher reaches the original script, also on a later page."""
        early = self._page()
        run_in_django(
            self.redis.path,
            """
RedisPublisher(facility="script", broadcast=True).publish_message(RedisMessage("from Django"))
""",
            WS4REDIS_HEARTBEAT=_HEARTBEAT,
        )
        early.wait_for_messages("from Django")
        self._page().wait_for_messages("from Django")
        self.assertEqual([], self.browser.errors())

    def test_heartbeat(self) -> None:
        """
        The script, which gives up after three heartbeats without an answer, gets its answers; no
        heartbeat is published or kept.
        """
        page = self._page(speed=5)
        # Each interval of the script is a second here, so that the heartbeats that the gateway
        # sends on its own account, every four seconds, are too few.
        until(lambda: page.seen["heartbeats"][0] >= 6)
        until(lambda: page.seen["heartbeats"][1] >= 6)
        self.assertEqual([1, 1, 0], [page.seen[each] for each in _CALLBACKS])
        self.assertEqual([], page.seen["messages"])
        self.assertIsNone(self.redis.command("GET", "broadcast:script"))
        self.assertEqual([], self.browser.errors())

    def test_heartbeat_of_gateway(self) -> None:
        """A page that sends no heartbeats gets those of the gateway, one after the other."""
        page = self._page("subscribe-broadcast", heartbeat=None)
        page.wait_for_messages(_HEARTBEAT, _HEARTBEAT, _HEARTBEAT)
        self.assertEqual([], self.browser.errors())

    def test_reconnect(self) -> None:
        """The script finds the gateway again after a restart, and goes on."""
        page = self._page()
        port = f"tcp:{self.gateway.port}:interface=127.0.0.1"
        self.gateway.stop()
        page.wait_for("disconnected", 1)
        again = Gateway("--redis", self.redis.url, *self.options, "--port", port)
        self.addCleanup(again.stop)
        page.wait_for("connected", 2, _RECONNECT)
        listener = RawClient.opened(again.port, "/ws/script?subscribe-broadcast")
        self.addCleanup(listener.socket.close)
        self.assertEqual(_HEARTBEAT.encode(), listener.message())
        page.send("back again")
        until(lambda: self.redis.command("GET", "broadcast:script") == b"back again")
        self.redis.command("PUBLISH", "broadcast:script", "welcome back")
        page.wait_for_messages("welcome back")

    def test_close(self) -> None:
        """``close`` of the script ends the connection for good, without an error."""
        page = self._page()
        page.window.run("socket.close()")
        page.window.wait_until("return socket.is_closed() && seen.disconnected === 1")
        self.assertEqual([1, 1, 1], [page.seen[each] for each in _CALLBACKS])
        self.assertEqual([], self.browser.errors())


class ForeignScriptTests(FreshGatewayCase):
    """The same page, if the gateway does not allow its origin."""

    skip = missing_browser() or missing_package()

    def setUp(self) -> None:
        """Start the site, and a gateway that does not allow its pages."""
        super().setUp()
        self.site = SiteServer()
        self.addCleanup(self.site.stop)
        self.browser = shared_browser()
        self.addCleanup(self.browser.close_windows)

    def test_listen(self) -> None:
        """The page may listen to broadcasts."""
        uri = self.gateway.url("/ws/script?subscribe-broadcast")
        page = ScriptPage(self.browser, self.site, uri)
        page.wait_for("connected", 1)
        self.redis.command("PUBLISH", "broadcast:script", "for everybody")
        page.wait_for_messages("for everybody")
        self.assertEqual([], self.browser.errors())

    def test_publish(self) -> None:
        """The page may not publish, and the log names the option that would allow it."""
        uri = self.gateway.url(f"/ws/script?{_BOTH}")
        page = ScriptPage(self.browser, self.site, uri)
        page.wait_for("disconnected", 1)
        self.assertEqual(0, page.seen["connected"])
        self.gateway.child.wait_for(f"--allow-origin {self.site.origin} would allow it")
