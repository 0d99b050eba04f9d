"""Tests for `wsredis.auth.sources.django`, with Django, its database and real threads."""

from __future__ import annotations

import os
import pickle
import sys
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.support.django_project import PASSWORD, SETTINGS, configured, missing_django
from tests.support.threads import ThreadReactor
from wsredis.auth.sources.django.authenticator import DjangoAuthenticator, project_settings
from wsredis.channels import Access
from wsredis.config import GatewayConfig
from wsredis.dialects.plain import parse_access
from wsredis.errors import ConfigError, HandshakeRejected
from wsredis.gateway.identity import Handshake, Identity

ENGINES = ("db", "cache", "cached_db", "file", "signed_cookies")

ALL = "subscribe-broadcast&subscribe-user&subscribe-group&subscribe-session&publish-user"

#: Made a file if this was ever unpickled.
_BITTEN = "bitten"


class Hostile:
    """Does harm when it is unpickled."""

    def __reduce__(self) -> Any:
        return open, (_BITTEN, "w")


def engine(name: str) -> str:
    """The session engine of that name that comes with Django."""
    return f"django.contrib.sessions.backends.{name}"


class DjangoCase(SynchronousTestCase):
    """The project of this process, which tests vary by `vary`."""

    skip = missing_django()

    def setUp(self) -> None:
        """Set Django up."""
        self.project = configured()
        self.reactor = ThreadReactor()

    def vary(self, **settings: object) -> None:
        """Change settings of the project until the end of the test."""
        from django.test import override_settings

        changed = override_settings(**settings)
        changed.enable()
        self.addCleanup(changed.disable)

    def make(self, **config: Any) -> DjangoAuthenticator:
        """An authenticator, which is stopped after the test."""
        authenticator = DjangoAuthenticator(self.reactor, GatewayConfig(django=SETTINGS, **config))
        authenticator.start()
        self.addCleanup(authenticator.stop)
        return authenticator

    def log_in(self, name: str) -> str:
        """Begin a session of a user. Returns: The value of the cookie."""
        from django.conf import settings
        from django.contrib.auth.models import User
        from django.test import Client

        client = Client()
        client.force_login(User.objects.get(username=name))
        value: str = client.cookies[settings.SESSION_COOKIE_NAME].value
        return value

    def session(self, **data: object) -> Any:
        """A stored session of nobody."""
        from importlib import import_module

        from django.conf import settings

        session = import_module(settings.SESSION_ENGINE).SessionStore()
        session.update(data)
        session.save()
        return session

    def handshake(
        self,
        cookie: str | None = None,
        query: str = ALL,
        *,
        peer: str = "192.0.2.1:4711",
        **headers: str,
    ) -> Handshake:
        """A handshake with a session cookie, and headers whose dashes are underscores here."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if cookie is not None:
            given.setdefault("cookie", f"other=1; sessionid={cookie}")
        return Handshake(parse_access("a b", query), "/ws/a%20b", given, peer, query)

    def identify(
        self,
        cookie: str | None = None,
        query: str = ALL,
        authenticator: DjangoAuthenticator | None = None,
        **headers: str,
    ) -> Identity:
        """Who that is, as a thread finds out."""
        answer = self.asked(cookie, query, authenticator, **headers)
        identity: Identity = self.successResultOf(answer)
        return identity

    def refused(
        self,
        cookie: str | None = None,
        query: str = ALL,
        authenticator: DjangoAuthenticator | None = None,
        **headers: str,
    ) -> HandshakeRejected:
        """How that is refused by a thread."""
        error = self.failureResultOf(self.asked(cookie, query, authenticator, **headers)).value
        assert isinstance(error, HandshakeRejected), repr(error)
        return error

    def asked(self, cookie: str | None, query: str, authenticator: Any, **headers: str) -> Any:
        """Ask, and wait for the thread."""
        authenticator = authenticator or self.make()
        answer = authenticator.identify(self.handshake(cookie, query, **headers))
        self.assertNoResult(answer)
        self.reactor.take()
        return answer


class SessionTests(DjangoCase):
    """Session cookies."""

    def test_engines(self) -> None:
        """A session of any engine gives user, groups and its key."""
        for name in ENGINES:
            self.vary(SESSION_ENGINE=engine(name))
            key = self.log_in("mary")
            self.assertEqual(Identity("mary", ("chatters", "staff"), key), self.identify(key), name)

    def test_no_cookie(self) -> None:
        """Without the cookie there is nothing to know anybody by, and no thread is asked."""
        authenticator = self.make()
        for cookies in ("", "other=1; xsessionid=1", "rubbish"):
            handshake = Handshake(parse_access("x", ALL), "/ws/x", {"cookie": cookies}, "unix")
            self.assertIsNone(authenticator.identify(handshake))
        self.vary(SESSION_COOKIE_NAME="mine")
        self.assertIsNone(authenticator.identify(self.handshake(self.log_in("john"))))

    def test_unknown(self) -> None:
        """A cookie that belongs to no session, whatever is in it, is nobody and has no session."""
        authenticator = self.make()
        values = (
            *(
                "",
                "1",
                "short",
                "a" * 32,
                "a" * 8192,
                "a b c d e f",
                "../../etc/passwd",
                "%00",
                '"',
                "user:a:b",
            ),
            *("\xff\xfe", "None", '"\\012"'),
        )
        for name in ENGINES:
            self.vary(SESSION_ENGINE=engine(name))
            for value in values:
                found = self.identify(value, authenticator=authenticator)
                self.assertEqual(Identity(), found, (name, value))

    def test_anonymous_session(self) -> None:
        """A session without a user has its key, and no groups."""
        for name in ("db", "cache", "cached_db", "file"):
            self.vary(SESSION_ENGINE=engine(name))
            session = self.session(**{"ws4redis:memberof": ["staff"]})
            found = self.identify(session.session_key)
            self.assertEqual(Identity(session=session.session_key), found, name)

    def test_other_project(self) -> None:
        """A session that was made with another secret key has no user."""
        for name in ("db", "file", "signed_cookies"):
            self.vary(SESSION_ENGINE=engine(name))
            self.vary(SECRET_KEY="another")
            key = self.log_in("john")
            self.vary(SECRET_KEY="for tests only")
            found = self.identify(key)
            self.assertEqual((None, ()), (found.user, found.groups), name)
            if name == "signed_cookies":
                self.assertIsNone(found.session)

    def test_pickle(self) -> None:
        """Nothing of a session is unpickled, wherever it is stored."""
        from django.contrib.sessions.models import Session
        from django.utils import timezone

        hostile = b64encode(b"0" * 40 + b":" + pickle.dumps(Hostile())).decode()
        self.identify(hostile)
        self.vary(SESSION_ENGINE=engine("signed_cookies"))
        self.assertEqual(Identity(), self.identify(hostile))
        self.vary(SESSION_ENGINE=engine("db"))
        key = self.session(a=1).session_key
        Session.objects.filter(pk=key).update(
            session_data=hostile, expire_date=timezone.now().replace(year=2999)
        )
        self.assertEqual(Identity(session=key), self.identify(key))
        self.vary(SESSION_ENGINE=engine("file"))
        key = self.session(a=1).session_key
        Path(self.project.folder, f"sessionid{key}").write_bytes(hostile.encode())
        self.assertEqual(Identity(session=key), self.identify(key))
        self.assertFalse(os.path.exists(_BITTEN))

    def test_expired(self) -> None:
        """A session that has expired is nobody's, and no other one is made in its place."""
        for name in ("db", "cache", "cached_db", "file"):
            self.vary(SESSION_ENGINE=engine(name))
            session = self.session()
            session.set_expiry(-1)
            session.save()
            before = sorted(os.listdir(self.project.folder))
            self.assertEqual(Identity(), self.identify(session.session_key), name)
            gone = f"sessionid{session.session_key}"
            after = sorted(os.listdir(self.project.folder))
            self.assertEqual([each for each in before if each != gone], after)

    def test_ended(self) -> None:
        """After a logout the same cookie is nobody's."""
        from django.contrib.sessions.models import Session

        authenticator = self.make()
        key = self.log_in("john")
        self.assertEqual("john", self.identify(key, authenticator=authenticator).user)
        Session.objects.get(pk=key).delete()
        self.assertEqual(Identity(), self.identify(key, authenticator=authenticator))

    def user(self, name: str) -> Any:
        """A user who is not there any more after the test."""
        from django.contrib.auth.models import User

        user = User.objects.create_user(name, password=PASSWORD)
        self.addCleanup(User.objects.filter(username=name).delete)
        return user

    def test_password(self) -> None:
        """After a change of the password older sessions are nobody's, and are left alone."""
        from django.contrib.sessions.models import Session

        user = self.user("ringo")
        key = self.log_in("ringo")
        self.assertEqual("ringo", self.identify(key).user)
        user.set_password("another")
        user.save()
        self.assertEqual(Identity(), self.identify(key))
        self.assertTrue(Session.objects.filter(pk=key).exists())

    def test_fallback_key(self) -> None:
        """A session from before a change of SECRET_KEY goes on, under the key that it has."""
        self.vary(SECRET_KEY="old")
        key = self.log_in("john")
        self.vary(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["old"])
        for _ in range(2):
            self.assertEqual(Identity("john", ("chatters",), key), self.identify(key))
        self.vary(SECRET_KEY_FALLBACKS=[])
        self.assertIsNone(self.identify(key).user)

    def test_inactive(self) -> None:
        """A user who is not active any more, or not there, is nobody."""
        user = self.user("pete")
        key = self.log_in("pete")
        user.is_active = False
        user.save()
        self.assertEqual(Identity(session=key), self.identify(key))
        user.delete()
        self.assertEqual(Identity(session=key), self.identify(key))

    def test_member_of(self) -> None:
        """Groups that ws4redis put into the session count; what is no list of names does not."""
        from importlib import import_module

        from django.conf import settings

        for listed, expected in (
            (["chess", "go"], ("chess", "go")),
            ([], ()),
            (["chess", 5, None], ("chess",)),
            ("chess", ()),
            ({"chess": 1}, ()),
            (None, ("chatters",)),
        ):
            key = self.log_in("john")
            session = import_module(settings.SESSION_ENGINE).SessionStore(key)
            session["ws4redis:memberof"] = listed
            session.save()
            self.assertEqual(expected, self.identify(key).groups, listed)

    def test_groups_follow(self) -> None:
        """Groups are those that the user has now."""
        from django.contrib.auth.models import Group, User

        key = self.log_in("paul")
        self.assertEqual((), self.identify(key).groups)
        paul, group = User.objects.get(username="paul"), Group.objects.get(name="staff")
        paul.groups.add(group)
        self.addCleanup(paul.groups.clear)
        self.assertEqual(("staff",), self.identify(key).groups)

    def test_secrets(self) -> None:
        """A large cookie is no trouble, and is not printed."""
        authenticator = self.make()
        with capturedLogs() as events:
            self.identify("a" * 8192, authenticator=authenticator)
        self.assertEqual([], [formatEvent(event) for event in events])


class FailureTests(DjangoCase):
    """The database, and the time it takes."""

    def test_database(self) -> None:
        """A database that fails refuses the handshake for now; it is asked again each time."""
        from django.db import connections

        key = self.log_in("john")
        authenticator = self.make()
        path = Path(self.project.folder, "db.sqlite3")
        hidden = path.with_suffix(".hidden")
        path.rename(hidden)
        path.mkdir()
        error = self.refused(key, authenticator=authenticator)
        path.rmdir()
        hidden.rename(path)
        self.assertEqual((503, "try again later"), (error.status, error.reason))
        self.assertRegex(error.hint, r"^--django: OperationalError at \w+\.py:\d+$")
        self.assertEqual("john", self.identify(key, authenticator=authenticator).user)
        connections.close_all()

    def test_cache(self) -> None:
        """A cache that fails refuses the handshake for now; Django takes it for no session."""
        away = "tests.unit.auth.sources.django.test_authenticator.BrokenCache"
        self.vary(SESSION_ENGINE=engine("cache"), CACHES={"default": {"BACKEND": away}})
        self.assertEqual(503, self.refused("a" * 32).status)

    def test_late(self) -> None:
        """An answer that nobody waits for any more is dropped, and the thread is free again."""
        event = Event()
        self.addCleanup(event.set)

        def process(request: Any) -> None:
            assert event.wait(20)

        self.vary(WS4REDIS_PROCESS_REQUEST=process)
        authenticator = self.make(auth_concurrency=1)
        answer: Any = authenticator.identify(self.handshake())
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        event.set()
        self.reactor.take()
        self.assertEqual(Identity(), self.identify(authenticator=authenticator))

    def test_concurrency(self) -> None:
        """No more threads than told ask at a time."""
        event = Event()
        self.addCleanup(event.set)
        seen: list[int] = []

        def process(request: Any) -> None:
            seen.append(1)
            assert event.wait(20)

        self.vary(WS4REDIS_PROCESS_REQUEST=process)
        authenticator = self.make(auth_concurrency=1)
        answers: list[Any] = [authenticator.identify(self.handshake()) for _ in range(2)]
        event.set()
        self.reactor.take()
        self.assertEqual(Identity(), self.successResultOf(answers[0]))
        self.assertNoResult(answers[1])
        self.reactor.take()
        self.assertEqual([1, 1], seen)

    def test_stopped(self) -> None:
        """A stopped authenticator refuses."""
        authenticator = self.make()
        authenticator.stop()
        error = self.assertRaises(
            HandshakeRejected, authenticator.identify, self.handshake("a" * 32)
        )
        self.assertEqual(503, error.status)

    def test_connections(self) -> None:
        """A thread closes its connections to the database when it ends."""
        from django.db import connections

        closed = Event()

        def process(request: Any) -> None:
            connection = connections["default"]
            connection.ensure_connection()
            real = connection.close

            def close() -> None:
                real()
                closed.set()

            connection.close = close

        self.vary(WS4REDIS_PROCESS_REQUEST=process)
        authenticator = self.make()
        self.identify(authenticator=authenticator)
        self.assertFalse(closed.is_set())
        authenticator.stop()
        self.assertTrue(closed.wait(20))


class ProcessRequestTests(DjangoCase):
    """``WS4REDIS_PROCESS_REQUEST``."""

    def processed(self, hook: Any, **headers: str) -> Identity:
        """Who a client is to that hook."""
        self.vary(WS4REDIS_PROCESS_REQUEST=hook)
        return self.identify(**headers)

    def denied(self, hook: Any) -> HandshakeRejected:
        """How that hook refuses."""
        self.vary(WS4REDIS_PROCESS_REQUEST=hook)
        return self.refused()

    def test_request(self) -> None:
        """It gets a request of Django with all that the client sent."""
        from django.core.handlers.wsgi import WSGIRequest

        seen: list[Any] = []
        self.vary(SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"))
        self.processed(
            seen.append,
            host="example.com:8080",
            user_agent="x\xe9",
            content_type="text/html",
            content_length="10",
            authorization="Bearer abc",
            origin="https://example.com",
        )
        (request,) = seen
        self.assertIsInstance(request, WSGIRequest)
        self.assertEqual(("GET", "/ws/a b"), (request.method, request.path_info))
        self.assertEqual(ALL.split("&"), list(request.GET))
        self.assertEqual("https://example.com", request.headers["Origin"])
        self.assertEqual("Bearer abc", request.headers["Authorization"])
        self.assertEqual("192.0.2.1", request.META["REMOTE_ADDR"])
        self.assertEqual("4711", request.META["REMOTE_PORT"])
        self.assertEqual("8080", request.META["SERVER_PORT"])
        self.assertEqual(("example.com:8080", b""), (request.get_host(), request.read()))
        self.assertFalse(request.is_secure())
        self.assertFalse({"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & set(request.META))

    def test_proxy(self) -> None:
        """Headers of a proxy count as Django's settings say; one that looks like it does not."""
        seen: list[bool] = []
        self.vary(
            SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
            WS4REDIS_PROCESS_REQUEST=lambda request: seen.append(request.is_secure()),
        )
        authenticator = self.make()
        for name in ("x-forwarded-proto", "x_forwarded_proto"):
            handshake = Handshake(Access("x"), "/ws/x", {name: "https"}, "unix")
            answer: Any = authenticator.identify(handshake)
            self.reactor.take()
            self.successResultOf(answer)
        self.assertEqual([True, False], seen)

    def test_tls(self) -> None:
        """A request that came by TLS is secure."""
        seen: list[Any] = []
        self.vary(WS4REDIS_PROCESS_REQUEST=seen.append)
        handshake = Handshake(Access("x"), "/ws/x", {"host": "a"}, "unix", secure=True)
        answer: Any = self.make().identify(handshake)
        self.reactor.take()
        self.successResultOf(answer)
        self.assertTrue(seen[0].is_secure())
        self.assertEqual("443", seen[0].META["SERVER_PORT"])

    def test_addresses(self) -> None:
        """Addresses of any kind, and hosts that are none, are understood."""
        seen: list[Any] = []
        self.vary(WS4REDIS_PROCESS_REQUEST=seen.append)
        authenticator = self.make()
        for peer, host in (("::1:80", "[::1]:81"), ("unix", "a b"), ("192.0.2.1:1", "x")):
            handshake = Handshake(Access("x"), "/ws/%ff%C3%A9", {"host": host}, peer)
            answer: Any = authenticator.identify(handshake)
            self.reactor.take()
            self.successResultOf(answer)
        found = [
            [each.META[name] for name in ("REMOTE_ADDR", "SERVER_NAME", "SERVER_PORT")]
            for each in seen
        ]
        expected = [["::1", "[::1]", "81"], ["", "localhost", "80"], ["192.0.2.1", "x", "80"]]
        self.assertEqual(expected, found)
        self.assertEqual("/ws/%FFé", seen[0].path_info)

    def test_identity(self) -> None:
        """What it puts into the request is who the client is; by name and as a coroutine, too."""
        from django.contrib.auth.models import User

        def process(request: Any) -> None:
            request.user = User.objects.get(username=request.headers["X-User"])
            request.session = None

        async def later(request: Any) -> None:
            request.user = await User.objects.aget(username=request.headers["X-User"])

        here = "tests.unit.auth.sources.django.test_authenticator.process_mary"
        expected = Identity("mary", ("chatters", "staff"))
        for hook in (process, later, here):
            self.assertEqual(expected, self.processed(hook, x_user="mary"), hook)

    def test_session(self) -> None:
        """A session that it opens counts, if it exists, and the cookie alone does not."""
        from importlib import import_module

        from django.conf import settings
        from django.contrib.auth import get_user

        def process(request: Any) -> None:
            key = request.headers["X-Session"]
            request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
            request.user = get_user(request)

        key = self.log_in("john")
        self.assertEqual(
            Identity("john", ("chatters",), key), self.processed(process, x_session=key)
        )
        self.assertEqual(Identity(), self.processed(process, x_session="a" * 32))
        self.assertEqual(Identity(), self.processed(lambda request: None, cookie=key))

    def test_own_objects(self) -> None:
        """User and session need only what is asked of them."""
        user = SimpleNamespace(is_authenticated=True, get_username=lambda: "bot")

        def process(request: Any) -> None:
            request.user = user
            request.session = {"ws4redis:memberof": ["bots"]}

        self.assertEqual(Identity("bot", ("bots",)), self.processed(process))
        user.get_username = lambda: ""
        self.assertEqual(Identity(), self.processed(process))
        groups = [SimpleNamespace(name="chess"), SimpleNamespace(title="no name")]
        user = SimpleNamespace(
            is_authenticated=True,
            get_username=lambda: "bot",
            groups=SimpleNamespace(all=lambda: groups),
        )
        self.assertEqual(
            Identity("bot", ("chess",)), self.processed(lambda r: setattr(r, "user", user))
        )

    def test_fails_closed(self) -> None:
        """Whatever it raises, or leaves behind, refuses the client; the text stays here."""

        def raising(error: type[BaseException]) -> Callable[[Any], None]:
            def process(request: Any) -> None:
                raise error("secret")

            return process

        async def later(request: Any) -> None:
            raise ValueError("secret")

        for hook in (
            *map(raising, (AttributeError, ValueError, SystemExit, KeyboardInterrupt, OSError)),
            later,
            lambda: None,
            lambda request: setattr(request, "user", object()),
            lambda request: setattr(request, "user", SimpleNamespace(is_authenticated=True)),
            lambda request: request.no_such_thing,
        ):
            error = self.denied(hook)
            self.assertEqual((500, "internal error"), (error.status, error.reason), hook)
            self.assertRegex(error.hint, r"^WS4REDIS_PROCESS_REQUEST: \w+ at \w+\.py:\d+$")

    def test_permission_denied(self) -> None:
        """PermissionDenied is a 403 with its words, on one line of bounded length."""
        from django.core.exceptions import PermissionDenied

        for words, expected in (
            (("Not you",), "Not you"),
            ((), "forbidden"),
            (("a\r\nSet-Cookie: b\x1b",), "a  Set-Cookie: b"),
            (("x" * 500,), "x" * 200),
        ):

            def process(request: Any, words: tuple[str, ...] = words) -> None:
                raise PermissionDenied(*words)

            error = self.denied(process)
            self.assertEqual((403, expected), (error.status, error.reason))

    def test_suspicious(self) -> None:
        """What Django answers with 400 is a 400 here."""
        self.vary(ALLOWED_HOSTS=["example.com"])
        error = self.denied(lambda request: request.get_host())
        self.assertEqual((400, "bad request"), (error.status, error.reason))

    def test_cannot_tell(self) -> None:
        """A database that fails it, or a coroutine that takes too long, is a 503."""
        from asyncio import Event as Never

        from django.db import OperationalError

        def failing(request: Any) -> None:
            raise OperationalError("secret")

        async def hanging(request: Any) -> None:
            await Never().wait()

        for hook in (failing, hanging):
            self.vary(WS4REDIS_PROCESS_REQUEST=hook)
            error = self.refused(authenticator=self.make(auth_timeout=0.1))
            self.assertEqual((503, "try again later"), (error.status, error.reason))
            self.assertNotIn("secret", error.hint)


class AllowedChannelsTests(DjangoCase):
    """``WS4REDIS_ALLOWED_CHANNELS`` and ``WS4REDIS_SUBSCRIBER``."""

    def granted(self, hook: Any, query: str = ALL, cookie: str | None = None) -> Access | None:
        """What that hook grants."""
        self.vary(WS4REDIS_ALLOWED_CHANNELS=hook)
        return self.identify(cookie, query).granted

    def test_flags(self) -> None:
        """It gets the flags in the order of the URL, without echo and unknown ones."""
        seen: list[list[str]] = []

        def hook(request: Any, channels: list[str]) -> list[str]:
            seen.append(list(channels))
            return channels

        query = "publish-user&x&echo&SUBSCRIBE-Broadcast=0&publish=user&+subscribe-user&subscribe"
        self.assertIsNone(self.granted(hook, query))
        self.assertIsNone(self.granted(hook, ""))
        self.assertEqual([["publish-user", "subscribe-broadcast", "subscribe-user"], []], seen)

    def test_result(self) -> None:
        """What it returns replaces the flags, in whatever form; None leaves them as they were."""

        def emptied(request: Any, channels: list[str]) -> None:
            channels.clear()

        query = "subscribe-user&echo"
        for hook, expected in (
            (emptied, None),
            (lambda request, channels: channels, None),
            (lambda request, channels: [], "echo"),
            (
                lambda request, channels: ("publish-group", "subscribe-user"),
                "publish-group&subscribe-user&echo",
            ),
            (lambda request, channels: iter(["publish-broadcast"]), "publish-broadcast&echo"),
            (lambda request, channels: ["rubbish", "echo", None, [], "subscribe"], "echo"),
            (lambda request, channels: "publish-user", "echo"),
        ):
            access = None if expected is None else parse_access("a b", expected)
            self.assertEqual(access, self.granted(hook, query), expected)

    def test_coroutine(self) -> None:
        """It may be a coroutine function that uses the database."""
        from django.contrib.auth.models import User

        async def hook(request: Any, channels: list[str]) -> list[str]:
            return ["subscribe-user"] * await User.objects.acount()

        self.assertEqual(parse_access("a b", "subscribe-user"), self.granted(hook))

    def test_user(self) -> None:
        """It sees the user, also that there is none, as a view would."""
        from django.core.exceptions import PermissionDenied

        def hook(request: Any, channels: list[str]) -> None:
            if not request.user.is_authenticated:
                raise PermissionDenied("log in first")

        self.assertIsNone(self.granted(hook, cookie=self.log_in("john")))
        for cookie in (None, "unknown", "a" * 32):
            error = self.refused(cookie)
            self.assertEqual((403, "log in first"), (error.status, error.reason))
        self.vary(WS4REDIS_PROCESS_REQUEST=lambda request: None)
        self.assertEqual(403, self.refused().status)

    def test_by_name(self) -> None:
        """A name works like the function itself, and fails as closed."""
        name = "tests.unit.auth.sources.django.test_authenticator.{}"
        self.assertEqual(
            parse_access("a b", "echo"),
            self.granted(name.format("allow_nothing"), "echo&publish-user"),
        )
        self.vary(WS4REDIS_ALLOWED_CHANNELS=name.format("allow_by_mistake"))
        error = self.refused()
        self.assertEqual((500, "internal error"), (error.status, error.reason))
        self.assertRegex(
            error.hint, r"^WS4REDIS_ALLOWED_CHANNELS: AttributeError at test_\w+.py:\d+$"
        )

    def test_fails_closed(self) -> None:
        """What it raises, or returns that is no list, refuses the client."""
        for hook in (
            lambda request: [],
            lambda request, channels: 5,
            lambda request, channels: request.user.no_such_thing,
            lambda request, channels: request.session["no such thing"],
        ):
            self.vary(WS4REDIS_ALLOWED_CHANNELS=hook)
            self.assertEqual(500, self.refused().status)

    def test_not_there(self) -> None:
        """A hook that is not there, or is no function, is told at the start."""
        for setting in ("WS4REDIS_ALLOWED_CHANNELS", "WS4REDIS_PROCESS_REQUEST"):
            for value in (
                *("no_dot", "no.such.module", f"{__name__}.no_such_name", f"{__name__}.ENGINES"),
                *(5, ["a"]),
            ):
                self.vary(**{setting: value})
                error = self.assertRaises(ConfigError, self.make)
                self.assertRegex(str(error), rf"^--django: {setting}: [^\n]+$")
            self.vary(**{setting: None})

    def test_subscriber(self) -> None:
        """The lists of a subscriber class say which flags count; the default is not imported."""
        self.vary(WS4REDIS_SUBSCRIBER="ws4redis.subscriber.RedisSubscriber")
        self.assertIsNone(self.make().identify(self.handshake()))
        self.vary(WS4REDIS_SUBSCRIBER=f"{__name__}.FewChannels")
        with capturedLogs() as events:
            authenticator = self.make()
        self.assertEqual(
            ["of WS4REDIS_SUBSCRIBER only the lists of channels count"],
            [formatEvent(event) for event in events],
        )
        few = parse_access("a b", "subscribe-broadcast&publish-user")
        self.assertEqual(Identity(granted=few), authenticator.identify(self.handshake()))
        self.assertIsNone(authenticator.identify(self.handshake(None, "publish-user")))
        self.assertEqual(
            few, self.identify(self.log_in("john"), authenticator=authenticator).granted
        )

    def test_subscriber_and_hook(self) -> None:
        """A hook is shown the flags that count, and may grant others."""
        seen: list[list[str]] = []

        def hook(request: Any, channels: list[str]) -> list[str]:
            seen.append(channels)
            return ["publish-group"]

        self.vary(WS4REDIS_SUBSCRIBER=f"{__name__}.FewChannels")
        self.assertEqual(parse_access("a b", "publish-group"), self.granted(hook))
        self.assertEqual([["subscribe-broadcast", "publish-user"]], seen)

    def test_subscriber_not_there(self) -> None:
        """A subscriber class that is not there, or has no lists, is told at the start."""
        for value in ("no.such.Class", f"{__name__}.Hostile", f"{__name__}.NoChannels", 5):
            self.vary(WS4REDIS_SUBSCRIBER=value)
            error = self.assertRaises(ConfigError, self.make)
            self.assertRegex(str(error), r"^--django: WS4REDIS_SUBSCRIBER: [^\n]+$")


class ProjectSettingsTests(DjangoCase):
    """`project_settings`."""

    def test_default(self) -> None:
        """What the project does not set is not there."""
        self.assertEqual({"url-prefix": "/ws/", "allow-origin": ()}, project_settings(SETTINGS))

    def test_values(self) -> None:
        """Settings of Django become settings of the gateway."""
        for name, value, setting, expected in (
            ("WEBSOCKET_URL", "/sockets/", "url-prefix", "/sockets/"),
            ("WEBSOCKET_URL", "wss://example.com/sockets/", "url-prefix", "/sockets/"),
            ("WEBSOCKET_URL", "/é t/", "url-prefix", "/%C3%A9%20t/"),
            ("WS4REDIS_PREFIX", None, "prefix", ""),
            ("WS4REDIS_PREFIX", "", "prefix", ""),
            ("WS4REDIS_PREFIX", "site", "prefix", "site"),
            ("WS4REDIS_PREFIX", 5, "prefix", "5"),
            ("WS4REDIS_EXPIRE", None, "expire", 0),
            ("WS4REDIS_EXPIRE", 0, "expire", 0),
            ("WS4REDIS_EXPIRE", -1, "expire", 0),
            ("WS4REDIS_EXPIRE", 7200, "expire", 7200),
            ("WS4REDIS_HEARTBEAT", None, "heartbeat", None),
            ("WS4REDIS_HEARTBEAT", "", "heartbeat", None),
            ("WS4REDIS_HEARTBEAT", "--heartbeat--", "heartbeat", "--heartbeat--"),
            (
                *("CSRF_TRUSTED_ORIGINS", ["https://a.example", "https://*.b.example"]),
                "allow-origin",
                ("https://a.example:443", "https://*.b.example:443", "https://b.example:443"),
            ),
        ):
            self.vary(**{name: value})
            self.assertEqual(expected, project_settings(SETTINGS)[setting], (name, value))

    def test_expire_refused(self) -> None:
        """What is no number of seconds is told in our words."""
        for value in ("soon", [60]):
            self.vary(WS4REDIS_EXPIRE=value)
            error = self.assertRaises(ConfigError, project_settings, SETTINGS)
            self.assertEqual(
                f"--django: WS4REDIS_EXPIRE: {value!r} is not a whole number of seconds",
                str(error),
            )

    def test_connection(self) -> None:
        """Arguments of redis-py become settings of Redis."""
        self.vary(WS4REDIS_CONNECTION={"host": "a", "password": "p"})
        found = project_settings(SETTINGS)
        self.assertEqual("redis://a:6379/0", found["redis"])
        self.assertEqual("p", found["redis-password"])

    def test_connection_ignored(self) -> None:
        """What has no meaning here is named in one line of the log, never its value."""
        self.vary(WS4REDIS_CONNECTION={"socket_timeout": "secret", "retry": "secret"})
        with capturedLogs() as events:
            project_settings(SETTINGS)
        expected = "WS4REDIS_CONNECTION: retry and socket_timeout are not used by the gateway"
        self.assertEqual([expected], [formatEvent(event) for event in events])
        self.vary(WS4REDIS_CONNECTION={"ssl_keyfile": "secret"})
        with capturedLogs() as events:
            project_settings(SETTINGS)
        expected = "WS4REDIS_CONNECTION: ssl_keyfile is not used by the gateway"
        self.assertEqual([expected], [formatEvent(event) for event in events])

    def test_wrong(self) -> None:
        """What cannot be used is told in one line, with its name and without a secret."""
        for name, value in (
            ("WEBSOCKET_URL", "/ws"),
            ("WEBSOCKET_URL", ""),
            ("WS4REDIS_PREFIX", "a b"),
            ("WS4REDIS_EXPIRE", "soon"),
            ("WS4REDIS_EXPIRE", float("inf")),
            ("WS4REDIS_EXPIRE", []),
            ("WS4REDIS_HEARTBEAT", 5),
            ("CSRF_TRUSTED_ORIGINS", ["example.com"]),
            ("CSRF_TRUSTED_ORIGINS", 5),
            ("WS4REDIS_CONNECTION", "redis://:secret@localhost"),
            ("WS4REDIS_CONNECTION", {"port": "secret"}),
        ):
            from django.test import override_settings

            with override_settings(**{name: value}):
                error = self.assertRaises(ConfigError, project_settings, SETTINGS)
                self.assertRegex(str(error), rf"^--django: {name}: [^\n]+$")
                self.assertNotIn("secret", str(error))

    def test_other_project(self) -> None:
        """A process can have one project."""
        error = self.assertRaises(ConfigError, project_settings, "other.settings")
        self.assertIn("--django: other.settings: this process has other settings", str(error))

    def test_broken_project(self) -> None:
        """A project that fails is told in one line; texts that may hold values do not show."""
        for settings, words in (
            ({"SESSION_ENGINE": "json"}, "AttributeError at authenticator.py:"),
            ({"SESSION_ENGINE": "no.such.engine"}, "ModuleNotFoundError: No module named 'no'"),
            ({"INSTALLED_APPS": []}, "ImproperlyConfigured: django.contrib.auth is not in"),
            ({"SECRET_KEY": ""}, "ImproperlyConfigured: The SECRET_KEY setting must not be empty"),
            ({"SESSION_SERIALIZER": "no.Such"}, "ModuleNotFoundError: No module named 'no'"),
        ):
            from django.test import override_settings

            with override_settings(**settings):
                config = GatewayConfig(django=SETTINGS)
                error = self.assertRaises(ConfigError, DjangoAuthenticator, None, config)
                self.assertIn(f"--django: {SETTINGS}: {words}", str(error))
                self.assertNotIn("secret", str(error))

    def test_no_django(self) -> None:
        """Without Django the line says how to install it."""
        self.addCleanup(sys.modules.__setitem__, "django", sys.modules["django"])
        sys.modules["django"] = None  # type: ignore[assignment]
        error = self.assertRaises(ConfigError, project_settings, SETTINGS)
        self.assertEqual(
            "--django: Django is not installed: pip install 'wsredis[django]'", str(error)
        )

    def test_working_directory(self) -> None:
        """Modules of the working directory are found, as with manage.py."""
        self.patch(sys, "path", [each for each in sys.path if each != os.getcwd()])
        for _ in range(2):
            project_settings(SETTINGS)
            self.assertEqual(1, sys.path.count(os.getcwd()))


class FewChannels:
    """A subscriber that knows few channels."""

    subscription_channels = ("subscribe-broadcast",)
    publish_channels = ["publish-user", "publish-all"]


class NoChannels:
    """A subscriber whose channels are no lists."""

    subscription_channels = publish_channels = None


class BrokenCache:
    """A cache whose server is away."""

    def __init__(self, location: str, parameters: dict[str, Any]) -> None:
        pass

    def get(self, key: str, *args: object) -> object:
        raise ConnectionError("secret")

    def close(self) -> None:
        pass


def process_mary(request: Any) -> None:
    """Everybody is mary."""
    from django.contrib.auth.models import User

    request.user = User.objects.get(username="mary")


def allow_nothing(request: Any, channels: list[str]) -> list[str]:
    """No flags."""
    return []


def allow_by_mistake(request: Any, channels: list[str]) -> list[str]:
    """Makes the mistake that let everybody in."""
    return [] if request.user.is_superviser else channels
