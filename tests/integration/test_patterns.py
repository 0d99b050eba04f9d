"""How projects use django-websocket-redis: publishers, clients, sessions, settings, unchanged."""

from __future__ import annotations

import atexit
from functools import cache

from tests.support.children import Gateway, RedisServer
from tests.support.django_project import Project
from tests.support.patterns.case import HEARTBEAT, PatternCase, settings_block
from tests.support.raw import BINARY, CLOSE, frame

#: The import lines of a project that keeps the original, and of one that drops it.
_ORIGINAL = """
from ws4redis.publisher import RedisPublisher
from ws4redis.redis_store import SELF, RedisMessage
"""
_OURS = "from wsredis.publisher import SELF, RedisMessage, RedisPublisher\n"


@cache
def _shared() -> tuple[RedisServer, Project, Gateway]:
    redis = RedisServer(tcp=True)
    atexit.register(redis.stop)
    project = Project(**settings_block(redis))
    atexit.register(project.remove)
    gateway = project.gateway(None, "--drain", "0")
    atexit.register(gateway.stop)
    return redis, project, gateway


class PlainCase(PatternCase):
    """A project that overrides nothing; all its tests share a gateway, each has its facility."""

    def setUp(self) -> None:
        """Start it, if it does not run yet."""
        self.redis, self.project, self.gateway = _shared()


class PublisherTests(PlainCase):
    """Programs that publish, with the original publisher and with ours."""

    def test_recipients(self) -> None:
        """Broadcasts, users in a list or a tuple, groups: sockets that listen, and later ones."""
        john, mary = self.project.log_in("john", "mary")
        for facility, imports in (("original", _ORIGINAL), ("ours", _OURS)):
            path = f"/ws/{facility}?subscribe-broadcast&subscribe-user&subscribe-group"
            early, other = self.open(path, john), self.open(path, mary)
            self.view(
                imports
                + """
for to, words in (
    ({"broadcast": True}, "all"),
    ({"users": ["john"]}, "john"),
    ({"users": ("john", "paul")}, "john or paul"),
    ({"groups": ["chatters"]}, "chatters"),
):
    RedisPublisher(facility=FACILITY, **to).publish_message(RedisMessage(words))
""",
                FACILITY=facility,
            )
            self.check_heard(early, "all", "john", "john or paul", "chatters")
            self.check_heard(other, "all", "chatters")
            self.check_heard(self.open(path, john), "all", "chatters", "john or paul")
            self.assertTrue(7000 < self.command("TTL", f"ws:broadcast:{facility}") <= 7200)

    def test_self(self) -> None:
        """SELF is the visitor of the request: the user, the groups, the session."""
        john, mary = self.project.log_in("john", "mary")
        for facility, imports in (("self", _ORIGINAL), ("our-self", _OURS)):
            listening = "subscribe-user&subscribe-group&subscribe-session&subscribe-broadcast"
            path = f"/ws/{facility}?{listening}"
            mine, other = self.open(path, mary), self.open(path, john)
            self.view(
                imports
                + """
for audience in ("users", "groups", "sessions"):
    publisher = RedisPublisher(facility=FACILITY, request=request_of(KEY), **{audience: [SELF]})
    publisher.publish_message(RedisMessage(audience))
RedisPublisher(facility=FACILITY, broadcast=True).publish_message(RedisMessage("end"))
""",
                FACILITY=facility,
                KEY=mary,
            )
            # She is in two groups, and john in one of them.
            self.check_heard(mine, "users", "groups", "groups", "sessions", "end")
            self.check_heard(other, "groups", "end")

    def test_one_publisher(self) -> None:
        """A publisher of a module serves its threads, and the children that a worker forks."""
        for facility, imports in (("threads", _ORIGINAL), ("our-threads", _OURS)):
            client = self.open(f"/ws/{facility}?subscribe-broadcast")
            self.view(
                imports
                + """
import os, threading
publisher = RedisPublisher(facility=FACILITY, broadcast=True)
publisher.publish_message(RedisMessage("before"))
threads = [
    threading.Thread(target=publisher.publish_message, args=(RedisMessage(f"thread {n}"),))
    for n in range(4)
]
for each in threads:
    each.start()
for each in threads:
    each.join()
child = os.fork()
if not child:
    publisher.publish_message(RedisMessage("child"))
    os._exit(0)
os.waitpid(child, 0)
publisher.publish_message(RedisMessage("parent"))
""",
                FACILITY=facility,
            )
            got = [self.next(client) for _ in range(7)]
            self.assertEqual("before", got[0])
            self.assertEqual([f"thread {number}" for number in range(4)], sorted(got[1:5]))
            self.assertEqual(["child", "parent"], got[5:])

    def test_facilities(self) -> None:
        """A facility for each object: with colons, slashes, bars, letters of other alphabets."""
        names = {
            "room:7": "room:7",
            "node/12/events": "node/12/events",
            "Signature|Chat#General": "Signature%7CChat%23General",
            "комната": "%D0%BA%D0%BE%D0%BC%D0%BD%D0%B0%D1%82%D0%B0",
        }
        clients = {name: self.open(f"/ws/{url}?subscribe-broadcast") for name, url in names.items()}
        self.view(
            _ORIGINAL
            + """
for name in NAMES:
    RedisPublisher(facility=name, broadcast=True).publish_message(RedisMessage(name))
""",
            NAMES=list(names),
        )
        for name, client in clients.items():
            self.check_heard(client, name)

    def test_fetch(self) -> None:
        """A view reads what a client published last, such as its position."""
        john, mary = self.project.log_in("john", "mary")
        client = self.open("/ws/position?publish-user&subscribe-user&echo", john)
        client.send_text("54.1, 9.8")
        client.send_text("54.2, 9.9")
        self.check_heard(client, "54.1, 9.8", "54.2, 9.9")
        for imports in (_ORIGINAL, _OURS):
            printed = self.view(
                imports
                + """
publisher = RedisPublisher()
for key, audience in ((JOHN, "user"), (JOHN, "any"), (JOHN, "broadcast"), (MARY, "any")):
    print(publisher.fetch_message(request_of(key), "position", audience))
""",
                JOHN=john,
                MARY=mary,
            )
            self.assertEqual("b'54.2, 9.9'\nb'54.2, 9.9'\nNone\nNone", printed)

    def test_fetch_after_close(self) -> None:
        """A client that publishes and takes leave finds its message when the leave is answered."""
        for number in range(20):
            client = self.open("/ws/form?publish-broadcast")
            client.send_text(f"draft {number}")
            client.send(frame(CLOSE, b"\x03\xe8"))
            self.assertEqual(1000, client.closing())
            kept = self.command("GET", "ws:broadcast:form")
            self.assertEqual(f"draft {number}".encode(), kept)

    def test_not_kept(self) -> None:
        """A message that expires at once reaches only the sockets that are open."""
        for facility, imports in (("moment", _ORIGINAL), ("our-moment", _OURS)):
            path = f"/ws/{facility}?subscribe-broadcast"
            early = self.open(path)
            self.view(
                imports
                + """
publisher = RedisPublisher(facility=FACILITY, broadcast=True)
publisher.publish_message(RedisMessage("tick"), expire=0)
""",
                FACILITY=facility,
            )
            self.check_heard(early, "tick")
            late = self.open(path)
            self.command("PUBLISH", f"ws:broadcast:{facility}", "next")
            self.check_heard(late, "next")

    def test_plain_redis(self) -> None:
        """A program publishes with redis-py, and takes the settings from Django or the original."""
        client = self.open("/ws/plain?subscribe-broadcast")
        printed = self.view("""
import redis
from ws4redis import settings as ws4redis_settings
pool = redis.ConnectionPool(**ws4redis_settings.WS4REDIS_CONNECTION)
redis.StrictRedis(connection_pool=pool).publish("ws:broadcast:plain", "from a pool")
direct = redis.StrictRedis(**settings.WS4REDIS_CONNECTION)
direct.publish("ws:broadcast:plain", "from a client")
print(direct.execute_command("PUBSUB", "NUMSUB", "ws:broadcast:plain"))
""")
        self.check_heard(client, "from a pool", "from a client")
        self.assertEqual("[b'ws:broadcast:plain', 1]", printed)


class ClientTests(PlainCase):
    """Clients of many kinds."""

    def test_without_browser(self) -> None:
        """A client without cookie and origin, with flags in capitals and parameters of its own."""
        client = self.open("/ws/app?Subscribe-Broadcast&PUBLISH-BROADCAST&echo&ts=1734&token=abc")
        client.send_text("hello")
        self.check_heard(client, "hello")

    def test_heartbeat(self) -> None:
        """A heartbeat is answered, and neither published nor kept."""
        client = self.open("/ws/heart?subscribe-broadcast&publish-broadcast&echo")
        self.assertEqual(HEARTBEAT.encode(), client.message())
        client.send_text(HEARTBEAT)
        self.assertEqual(HEARTBEAT.encode(), client.message())
        client.send_text("after it")
        self.check_heard(client, "after it")
        self.assertEqual(b"after it", self.command("GET", "ws:broadcast:heart"))

    def test_several_sockets(self) -> None:
        """A page with a socket for each purpose gets each message on its own."""
        (john,) = self.project.log_in("john")
        purposes = ("move", "chat", "join")
        clients = {each: self.open(f"/ws/{each}?subscribe-user", john) for each in purposes}
        for each in purposes:
            self.command("PUBLISH", f"ws:user:john:{each}", f"a {each}")
        for each, client in clients.items():
            self.check_heard(client, f"a {each}")

    def test_binary(self) -> None:
        """Bytes of a client are published and kept as they are."""
        client = self.open("/ws/bytes?publish-broadcast&subscribe-broadcast&echo")
        client.send(frame(BINARY, b"\x00\x12\xaa"))
        while (got := client.message()) == HEARTBEAT.encode():
            pass
        self.assertEqual(b"\x00\x12\xaa", got)
        self.assertEqual(b"\x00\x12\xaa", self.command("GET", "ws:broadcast:bytes"))


class SessionTests(PlainCase):
    """Sessions and the groups in them."""

    def test_login(self) -> None:
        """The groups of the login, which the original's signal puts into the session."""
        (mary,) = self.project.log_in("mary")
        client = self.open("/ws/login?subscribe-group", mary)
        for group in ("staff", "chatters"):
            self.command("PUBLISH", f"ws:group:{group}:login", group)
        self.check_heard(client, "staff", "chatters")

    def test_rooms(self) -> None:
        """A view puts the room of its page into the session; another tab shows another room."""
        (john,) = self.project.log_in("john")
        tabs = []
        for room in ("red", "blue"):
            self.view(
                """
request = request_of(KEY)
request.session["ws4redis:memberof"] = [ROOM]
request.session.save()
""",
                KEY=john,
                ROOM=room,
            )
            tabs.append(self.open("/ws/room?subscribe-group&publish-group", john))
        self.command("PUBLISH", "ws:group:red:room", "for red")
        self.command("PUBLISH", "ws:group:blue:room", "for blue")
        self.check_heard(tabs[0], "for red")
        self.check_heard(tabs[1], "for blue")
        tabs[0].send_text("from red")
        self.command("PUBLISH", "ws:group:blue:room", "end")
        self.check_heard(tabs[1], "end")

    def test_visitors(self) -> None:
        """Visitors without a login have their session, and one without a cookie has a socket."""
        (guest,) = self.project.log_in("")
        path = "/ws/shop?subscribe-session&subscribe-user&subscribe-broadcast"
        known, new = self.open(path, guest), self.open(path)
        self.view(
            _ORIGINAL
            + """
publisher = RedisPublisher(facility="shop", request=request_of(KEY), sessions=[SELF])
publisher.publish_message(RedisMessage("your cart"))
RedisPublisher(facility="shop", broadcast=True).publish_message(RedisMessage("sale"))
""",
            KEY=guest,
        )
        self.check_heard(known, "your cart", "sale")
        self.check_heard(new, "sale")


class StartTests(PatternCase):
    """Settings that projects copied from the documentation, without the class that they name."""

    def test_no_such_class(self) -> None:
        """The gateway does not start, and says in one line which setting is wrong."""
        for name in (
            "myapp.redis_store.RedisSubscriber",
            "ws4redis.store.RedisStore",
            "ws4redis.redis_store.RedisSubscriber",
            "ws4redis.subscriber.RedisSubscriber.",
        ):
            line = self.start_fails(WS4REDIS_SUBSCRIBER=name)
            self.assertIn("WS4REDIS_SUBSCRIBER", line)
            self.assertIn(name, line)

    def test_original_class(self) -> None:
        """The name of the original class itself changes nothing."""
        self.start(WS4REDIS_SUBSCRIBER="ws4redis.subscriber.RedisSubscriber")
        client = self.open("/ws/f?subscribe-broadcast")
        self.command("PUBLISH", "ws:broadcast:f", "hello")
        self.check_heard(client, "hello")
        self.assertNotIn("WS4REDIS_SUBSCRIBER", self.gateway.log)
