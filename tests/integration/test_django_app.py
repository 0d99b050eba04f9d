"""``wsredis.django`` in a real project: its commands to the gateway, and their effects."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path

from tests.integration.test_django import DjangoCase
from tests.support.children import PATIENCE, Child, RedisServer, clean_environment, until
from tests.support.django_project import PASSWORD, Project
from tests.support.raw import RawClient, handshake, response

_EXAMPLES = Path(__file__).parents[2] / "docs/examples"

_APPS = ["wsredis.django", "django.contrib.staticfiles"]

#: The pages in a process of their own, as in a site with a proxy.
_PAGES = """
from wsgiref.simple_server import make_server
from tests.support.project.wsgi import application
with make_server("127.0.0.1", 0, application) as server:
    print("pages on port", server.server_port, flush=True)
    server.serve_forever()
"""

_ALL = "subscribe-user&subscribe-session&subscribe-broadcast&subscribe-group"


class AppCase(DjangoCase):
    """A project with the app, its pages, and a gateway that learns of changes by commands only."""

    def begin(self, *options: str, **settings: object) -> None:
        """Start Redis and the gateway; it checks no identity by itself."""
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)
        defaults = {
            "MORE_APPS": _APPS,
            "WS4REDIS_CONNECTION": {"unix_socket_path": self.redis.path, "db": 3},
            "WS4REDIS_PREFIX": "site",
        }
        self.project = Project(**{**defaults, **settings})
        self.addCleanup(self.project.remove)
        self.gateway = self.project.gateway(None, "--drain", "0", "--recheck", "0", *options)
        self.addCleanup(self.gateway.stop)
        self.gateway.child.wait_for("connected to ")

    def serve(self) -> None:
        """Start the pages."""
        self.pages = Child(
            [sys.executable, "-c", _PAGES], env=clean_environment(self.project.environ)
        )
        self.addCleanup(self.pages.stop)
        self.port = int(self.pages.wait_for(r"pages on port (\d+)")[1])

    def get(self, path: str, key: str = "") -> tuple[int, str]:
        """Ask for a page. Returns: The status, and the session key that the browser has then."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        self.addCleanup(connection.close)
        connection.request("GET", path, headers={"Cookie": f"sessionid={key}"} if key else {})
        answer = connection.getresponse()
        answer.read()
        given = answer.headers.get("Set-Cookie", "")
        return answer.status, given.partition("sessionid=")[2].partition(";")[0] or key

    def log_in(self, name: str, key: str = "") -> str:
        """Log in over HTTP. Returns: The session key."""
        status, key = self.get(f"/login/?user={name}&password={PASSWORD}", key)
        self.assertEqual(200, status)
        return key

    def publish(self, channel: str, payload: str) -> None:
        """Publish as a backend does."""
        super().publish(f"site:{channel}", payload)


class CookieTests(DjangoCase):
    """Pages and sockets of one gateway, asked with the same bytes."""

    #: The Cookie lines; KEY stands for the session key of a user. And whether they tell the user.
    TABLE: tuple[tuple[tuple[bytes, ...], bool], ...] = (
        ((b"sessionid=KEY",), True),
        ((b"a=1; sessionid=KEY; b=2",), True),
        ((b"a=1", b"sessionid=KEY"), True),
        ((b"a=1", b"sessionid=KEY", b"b=2"), True),
        ((b"a=1; ", b" sessionid=KEY"), True),
        ((b"sessionid=wrong; sessionid=KEY",), True),
        ((b"sessionid=KEY; sessionid=wrong",), False),
        ((b"sessionid=wrong", b"sessionid=KEY"), True),
        ((b"sessionid=KEY", b"sessionid=wrong"), False),
        ((b'sessionid="KEY"',), True),
        ((b'sessionid="KEY',), False),
        ((b'a="1; sessionid=KEY"',), False),
        ((b'a="1; sessionid=KEY',), True),
        ((b'a="\\073"; b="\\""; sessionid=KEY',), True),
        ((b"a=1;sessionid=KEY",), True),
        ((b"a=1,sessionid=KEY",), False),
        ((b"a=1 sessionid=KEY",), False),
        ((b";;; ; sessionid=KEY;",), True),
        ((b" \t sessionid \t= KEY \t ",), True),
        ((b"nothing; =x; sessionid=KEY; y=",), True),
        ((b"SessionID=KEY",), False),
        ((b"sessionid",), False),
        ((b"sessionid=",), False),
        ((b"",), False),
        ((b"", b"sessionid=KEY"), True),
        ((b"sessionid=%22KEY%22",), False),
        ((b"a=\xff\xfe; sessionid=KEY",), True),
        ((b"a=\xc3\xa9; \xe9=1; sessionid=KEY",), True),
        ((b"a=\xe2\x82; sessionid=KEY",), True),
        ((b"\xc2\xa0sessionid=KEY\xc2\xa0",), True),
        ((b"\xa0sessionid=KEY",), False),
        ((b"name=\xd1\x85\xc3\x85; sessionid=KEY",), True),
        ((b"sessionid=\xc3\xa9KEY",), False),
        ((b"; ".join(b"n%d=%d" % (each, each) for each in range(200)), b"sessionid=KEY"), True),
    )

    def test_same(self) -> None:
        """Both see the same cookies, and the same user."""
        self.start(
            "--wsgi",
            "tests.support.project.wsgi:application",
            WS4REDIS_ALLOWED_CHANNELS="tests.support.project.hooks.tell_cookies",
        )
        (key,) = self.project.log_in("john")
        nobody = sha256(repr(([], "")).encode()).hexdigest().encode()
        self.assertEqual(nobody, self.page())
        for lines, is_known in self.TABLE:
            given = [b"Cookie: " + each.replace(b"KEY", key.encode()) for each in lines]
            page = self.page(*given)
            request = handshake("/ws/f", *(each.decode("latin-1") for each in given))
            status, _, body = response(self.gateway.port, request)
            self.assertEqual((403, page), (status, body.strip()), lines)
            user = self.page(*given, path=b"/")
            self.assertEqual(b"john" if is_known else b"nobody", user, lines)

    def page(self, *lines: bytes, path: bytes = b"/cookies/") -> bytes:
        """Ask for a page. Returns: The body."""
        head = (b"GET %s HTTP/1.0" % path, b"Host: localhost", *lines)
        return response(self.gateway.port, b"\r\n".join(head) + b"\r\n\r\n")[2].strip()


class SessionTests(AppCase):
    """Sessions that end while a socket is open."""

    def check_logout(self, **settings: object) -> None:
        """A logout closes the sockets of its session with 4401, and no others."""
        self.begin(**settings)
        self.serve()
        key, other = self.log_in("john"), self.log_in("john")
        mine, too, still = (self.open(f"/ws/f?{_ALL}", each) for each in (key, key, other))
        self.assertEqual(200, self.get("/logout/", key)[0])
        self.assertEqual(4401, mine.closing())
        self.assertEqual(4401, too.closing())
        self.check_heard(still, "user:john:f")

    def test_logout(self) -> None:
        """A logout closes the sockets, where sessions are in the database."""
        self.check_logout()

    def test_logout_from_cache(self) -> None:
        """A logout closes the sockets, where sessions are in a cache."""
        self.check_logout(SESSION_ENGINE="django.contrib.sessions.backends.cache")

    def test_logout_one_process(self) -> None:
        """A logout closes the sockets, where the gateway serves the pages itself."""
        self.begin("--wsgi", "tests.support.project.wsgi:application")
        self.port = self.gateway.port
        key = self.log_in("john")
        client = self.open(f"/ws/f?{_ALL}", key)
        self.assertEqual(200, self.get("/logout/", key)[0])
        self.assertEqual(4401, client.closing())

    def test_logout_survives_a_restart(self) -> None:
        """A cookie that the session engine cannot revoke stays refused after a restart."""
        self.begin(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies")
        self.serve()
        key = self.log_in("john")
        client = self.open(f"/ws/f?{_ALL}", key)
        self.assertEqual(200, self.get("/logout/", key)[0])
        self.assertEqual(4401, client.closing())
        self.gateway.stop()
        self.gateway = self.project.gateway(None, "--drain", "0", "--recheck", "0")
        self.addCleanup(self.gateway.stop)
        self.gateway.child.wait_for("connected to ")
        # It reads the log of ended sessions as soon as it is connected.
        until(lambda: self.refused("/ws/f?subscribe-user", key)[0] == 401)

    def test_login(self) -> None:
        """A login as another user closes the sockets of the previous user."""
        self.begin()
        self.serve()
        key = self.log_in("john")
        client = self.open(f"/ws/f?{_ALL}", key)
        new = self.log_in("mary", key)
        self.assertNotEqual(key, new)
        self.assertEqual(4401, client.closing())
        self.check_heard(self.open(f"/ws/f?{_ALL}", new), "user:mary:f")

    def test_removed(self) -> None:
        """The removal of a session from the database closes its sockets."""
        self.begin()
        key, other = self.project.log_in("john", "mary")
        client, still = (self.open(f"/ws/f?{_ALL}", each) for each in (key, other))
        self.project.run(f"""
from django.contrib.sessions.models import Session
Session.objects.filter(pk={key!r}).delete()
""")
        self.assertEqual(4401, client.closing())
        self.check_heard(still, "user:mary:f")

    def test_password(self) -> None:
        """A changed password closes all sockets of the user; its new session has new ones."""
        self.begin()
        self.serve()
        key, other = self.log_in("john"), self.log_in("john")
        clients = [self.open(f"/ws/f?{_ALL}", each) for each in (key, other)]
        status, new = self.get("/password/?password=another", key)
        self.assertEqual(200, status)
        self.assertEqual([4401, 4401], [client.closing() for client in clients])
        self.check_heard(self.open(f"/ws/f?{_ALL}", new), "user:john:f")

    def test_inactive(self) -> None:
        """A user who is made inactive, and one who is deleted, lose their sockets."""
        self.begin()
        john, mary = self.project.log_in("john", "mary")
        clients = [self.open(f"/ws/f?{_ALL}", each) for each in (john, mary)]
        self.project.run("""
user = User.objects.get(username="john")
user.is_active = False
user.save(update_fields=["is_active"])
User.objects.get(username="mary").delete()
""")
        self.assertEqual([4401, 4401], [client.closing() for client in clients])

    def test_lock_out(self) -> None:
        """The example of the how-to ends the sockets of the users that it names, and no others."""
        self.begin()
        john, mary = self.project.log_in("john", "mary")
        his, hers = (self.open(f"/ws/f?{_ALL}", each) for each in (john, mary))
        self.project.run(f"""
import sys
sys.path.insert(0, {str(_EXAMPLES)!r})
from lock_out import lock_out
lock_out("john")
""")
        self.assertEqual(4401, his.closing())
        self.check_heard(hers, "user:mary:f")

    def test_redis_away(self) -> None:
        """A logout succeeds without Redis, with a warning."""
        self.begin()
        self.serve()
        key = self.log_in("john")
        self.redis.kill()
        self.assertEqual(200, self.get("/logout/", key)[0])
        self.pages.wait_for("cannot notify the gateway of a changed identity: ConnectionError")
        self.assertNotIn(key, self.pages.output)

    def test_redis_frozen(self) -> None:
        """A logout succeeds with a Redis that does not answer."""
        self.begin()
        self.serve()
        key = self.log_in("john")
        self.redis.freeze()
        self.addCleanup(self.redis.thaw)
        self.assertEqual(200, self.get("/logout/", key)[0])
        self.pages.wait_for("cannot notify the gateway of a changed identity: TimeoutError")

    def test_redis_refuses(self) -> None:
        """A logout succeeds with a Redis that forbids to publish; the log has no session key."""
        self.begin()
        self.serve()
        key = self.log_in("john")
        self.redis.command("ACL", "SETUSER", "default", "-publish")
        self.assertEqual(200, self.get("/logout/", key)[0])
        self.pages.wait_for("cannot notify the gateway of a changed identity: NoPermissionError")
        self.assertNotIn(key, self.pages.output)


class GroupTests(AppCase):
    """Groups that change while a socket is open."""

    def listener(self, name: str) -> RawClient:
        """A client of a user that listens to its groups."""
        (key,) = self.project.log_in(name)
        return self.open("/ws/f?subscribe-group", key)

    def follow(self, code: str, client: RawClient, *channels: str) -> None:
        """
        Run code in another process; the client then hears the channels.

        A stored message tells when a group has been joined.
        """
        self.project.run(code)
        for channel in channels:
            self.assertEqual(b"stored", client.message())
            self.check_heard(client, channel)

    def test_by_user(self) -> None:
        """``user.groups`` is followed, in a transaction as well."""
        self.begin()
        client = self.listener("mary")
        self.store("group:chess:f", "group:go:f")
        code = """
from django.db import transaction
with transaction.atomic():
    User.objects.get(username="mary").groups.SET
"""
        created = "set([Group.objects.create(name='chess')])"
        self.follow(code.replace("SET", created), client, "group:chess:f")
        created = "add(Group.objects.create(name='go'))"
        self.follow(code.replace("SET", created), client, "group:go:f")
        self.publish("group:staff:f", "not any more")
        self.check_heard(client, "group:chess:f", "group:go:f")

    def test_by_group(self) -> None:
        """``group.user_set`` is followed."""
        self.begin()
        client = self.listener("mary")
        self.store("group:chess:f", "group:go:f")
        code = """
chess = Group.objects.create(name="chess")
chess.user_set.add(*User.objects.all())
"""
        self.follow(code, client, "group:chess:f")
        code = """
Group.objects.get(name="chess").user_set.clear()
Group.objects.get(name="staff").user_set.set([])
Group.objects.create(name="go").user_set.set(User.objects.all())
"""
        self.follow(code, client, "group:go:f")
        self.publish("group:chess:f", "not any more")
        self.publish("group:staff:f", "not any more")
        self.check_heard(client, "group:go:f", "group:chatters:f")

    def test_renamed(self) -> None:
        """The members of a renamed group are in it by its new name."""
        self.begin()
        client = self.listener("mary")
        self.store("group:chess:f")
        code = """
group = Group.objects.get(name="staff")
group.name = "chess"
group.save()
"""
        self.follow(code, client, "group:chess:f")
        self.publish("group:staff:f", "not any more")
        self.check_heard(client, "group:chess:f")

    def store(self, *channels: str) -> None:
        """Store a message for clients that connect later."""
        import redis

        with redis.Redis(unix_socket_path=self.redis.path, db=3) as client:
            for channel in channels:
                client.set(f"site:{channel}", "stored", ex=60)


class ManageTests(AppCase):
    """The project as a whole."""

    def test_check(self) -> None:
        """``manage.py check`` names each mistake, and starts nothing."""
        self.project = Project(MORE_APPS=_APPS, WEBSOCKET_URL="ws", WS4REDIS_EXPIRE="soon")
        self.addCleanup(self.project.remove)
        done = subprocess.run(
            [sys.executable, "-m", "django", "check"],
            env=clean_environment(self.project.environ),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        self.assertEqual(1, done.returncode)
        self.assertIn("(wsredis.E001) WEBSOCKET_URL: 'ws' does not start", done.stderr)
        self.assertIn("(wsredis.E004) WS4REDIS_EXPIRE: 'soon' is not", done.stderr)

    def test_tag(self) -> None:
        """The tag is found by its name, although that is the name of the package, too."""
        self.project = Project(MORE_APPS=_APPS)
        self.addCleanup(self.project.remove)
        said = self.project.run("""
from django.template import engines
from django.test import RequestFactory
page = engines["django"].from_string("{% load wsredis %}{% wsredis_script %}")
print(page.render({}, RequestFactory().get("/")))
from django.contrib.staticfiles.finders import find
print(find("wsredis/wsredis.js") is not None)
""")
        self.assertEqual(
            '<script id="wsredis-config" type="application/json">'
            '{"uri": "ws://testserver/ws/", "heartbeat": null}</script>'
            '<script src="/static/wsredis/wsredis.js"></script>\nTrue',
            said,
        )
