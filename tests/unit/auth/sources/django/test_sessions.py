"""Tests of `wsredis.auth.sources.django.sessions`, through the authenticator."""

from __future__ import annotations

import os
import pickle
from base64 import b64encode
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.logger import capturedLogs, formatEvent

from tests.support.django_project import PASSWORD
from tests.unit.auth.sources.django.case import ALL, ENGINES, DjangoCase, engine
from wsredis.auth.sources.django.sessions import existing_key, open_session
from wsredis.dialects.urls import parse_access
from wsredis.gateway.identity import Handshake, Identity

#: Made a file if this was ever unpickled.
_BITTEN = "bitten"


class Hostile:
    """An object that does harm when it is unpickled."""

    def __reduce__(self) -> Any:
        return open, (_BITTEN, "w")


class SessionTests(DjangoCase):
    """`open_session`."""

    def test_engines(self) -> None:
        """A session of any engine gives user, groups and its key."""
        for name in ENGINES:
            self.vary(SESSION_ENGINE=engine(name))
            key = self.log_in("mary")
            self.assertEqual(Identity("mary", ("chatters", "staff"), key), self.identify(key), name)

    def test_no_cookie(self) -> None:
        """Without the cookie the client is unknown, and no thread is used."""
        authenticator = self.make()
        for cookies in ("", "other=1; xsessionid=1", "rubbish"):
            handshake = Handshake(parse_access("x", ALL), "/ws/x", {"cookie": cookies}, "unix")
            self.assertIsNone(authenticator.identify(handshake))
        self.vary(SESSION_COOKIE_NAME="mine")
        self.assertIsNone(authenticator.identify(self.handshake(self.log_in("john"))))

    def test_unknown(self) -> None:
        """A cookie of any value that belongs to no session gives an anonymous identity."""
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
        """A session without a user gives its key, and no groups."""
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
        """No session is unpickled, wherever it is stored."""
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
        """A session that has expired has no user, and no other one is made in its place."""
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
        """After a logout the same cookie gives an anonymous identity."""
        from django.contrib.sessions.models import Session

        authenticator = self.make()
        key = self.log_in("john")
        self.assertEqual("john", self.identify(key, authenticator=authenticator).user)
        Session.objects.get(pk=key).delete()
        self.assertEqual(Identity(), self.identify(key, authenticator=authenticator))

    def test_ended_behind_a_local_cache(self) -> None:
        """A cache of this process is passed by: it may have a session that another one ended."""
        from django.contrib.sessions.models import Session

        local = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
        self.vary(SESSION_ENGINE=engine("cached_db"), CACHES={"default": local})
        key = self.log_in("john")
        self.assertEqual("john", self.identify(key).user)
        Session.objects.filter(pk=key)._raw_delete("default")
        self.assertEqual(Identity(), self.identify(key))

    def test_hook_behind_a_local_cache(self) -> None:
        """A hook that opens sessions by itself does not find one either that has ended."""
        from importlib import import_module

        from django.contrib.auth import get_user
        from django.contrib.sessions.models import Session
        from django.core.cache import cache

        local = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
        self.vary(SESSION_ENGINE=engine("cached_db"), CACHES={"default": local})
        self.addCleanup(cache.clear)
        store = import_module(engine("cached_db")).SessionStore

        def process(request: Any) -> None:
            request.session = store(request.headers.get("X-Key") or request.COOKIES["sessionid"])
            request.user = get_user(request)

        self.vary(WS4REDIS_PROCESS_REQUEST=process)
        key = self.log_in("john")
        self.assertEqual("john", self.identify(key).user)
        self.assertEqual(key, self.identify(x_key=key).session)
        Session.objects.filter(pk=key)._raw_delete("default")
        # A key that comes by another way than the cookie is no longer one, at least.
        self.assertIsNone(self.identify(x_key=key).session)
        self.assertEqual(Identity(), self.identify(key))

    def test_warnings(self) -> None:
        """Settings under which nobody is ever known are logged once, when the gateway starts."""
        self.vary(SESSION_COOKIE_PATH="/app/")
        with capturedLogs() as events:
            self.make()
        (line,) = [formatEvent(event) for event in events]
        self.assertIn("SESSION_COOKIE_PATH: ", line)
        local = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
        self.vary(SESSION_COOKIE_PATH="/", SESSION_ENGINE=engine("cached_db"))
        self.vary(CACHES={"default": local})
        with capturedLogs() as events:
            self.make()
        (line,) = [formatEvent(event) for event in events]
        self.assertIn("SESSION_CACHE_ALIAS: ", line)

    def test_existing_key(self) -> None:
        """The key of a session counts if the session exists, whoever made the object."""
        from importlib import import_module

        for name in ENGINES:
            self.vary(SESSION_ENGINE=engine(name))
            store = import_module(engine(name)).SessionStore
            key = self.session(a=1).session_key
            self.assertEqual(key, existing_key(store(key)), name)
            self.assertIsNone(existing_key(store("a" * 32)), name)
            self.assertIsNone(existing_key(store()), name)
        self.assertEqual("7", existing_key(SimpleNamespace(session_key=7)))
        self.assertIsNone(existing_key({}))

    def test_key_without_a_load(self) -> None:
        """What a hook does with a session before anybody looked at it makes no key count."""
        from importlib import import_module

        from django.utils.functional import SimpleLazyObject

        for name in ("db", "cache", "cached_db", "file"):
            self.vary(SESSION_ENGINE=engine(name))
            store = import_module(engine(name)).SessionStore
            key, nobody = self.session(a=1).session_key, "a" * 32
            for given, expected in ((key, key), (nobody, None)):
                cleared = store(given)
                cleared.clear()
                changed = store(given)
                changed["seen"] = True
                lazy = SimpleLazyObject(lambda given=given, store=store: store(given))
                for session in (cleared, changed, lazy):
                    self.assertEqual(expected, existing_key(session), (name, given))

    def user(self, name: str) -> Any:
        """Make a user, who is deleted after the test."""
        from django.contrib.auth.models import User

        user = User.objects.create_user(name, password=PASSWORD)
        self.addCleanup(User.objects.filter(username=name).delete)
        return user

    def test_password(self) -> None:
        """After a change of the password, older sessions have no user, and are not deleted."""
        from django.contrib.sessions.models import Session

        user = self.user("ringo")
        key = self.log_in("ringo")
        self.assertEqual("ringo", self.identify(key).user)
        user.set_password("another")
        user.save()
        self.assertEqual(Identity(), self.identify(key))
        self.assertTrue(Session.objects.filter(pk=key).exists())

    def test_fallback_key(self) -> None:
        """A session from before a change of SECRET_KEY goes on, with the same key."""
        self.vary(SECRET_KEY="old")
        key = self.log_in("john")
        self.vary(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["old"])
        for _ in range(2):
            self.assertEqual(Identity("john", ("chatters",), key), self.identify(key))
        self.vary(SECRET_KEY_FALLBACKS=[])
        self.assertIsNone(self.identify(key).user)

    def test_inactive(self) -> None:
        """A user who is inactive or deleted does not count."""
        user = self.user("pete")
        key = self.log_in("pete")
        user.is_active = False
        user.save()
        self.assertEqual(Identity(session=key), self.identify(key))
        user.delete()
        self.assertEqual(Identity(session=key), self.identify(key))

    def test_member_of(self) -> None:
        """A list of groups that ws4redis put into the session counts; another value does not."""
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
            found = self.identify(key)
            self.assertEqual(expected, found.groups, listed)
            self.assertIs(listed is not None, found.has_fixed_groups, listed)
            # The groups of the user are known beside them, to notice the loss of one.
            memberships = () if listed is None else ("chatters",)
            self.assertEqual(memberships, found.memberships, listed)

    def test_groups_follow(self) -> None:
        """The groups are those that the user has now."""
        from django.contrib.auth.models import Group, User

        key = self.log_in("paul")
        self.assertEqual((), self.identify(key).groups)
        paul, group = User.objects.get(username="paul"), Group.objects.get(name="staff")
        paul.groups.add(group)
        self.addCleanup(paul.groups.clear)
        self.assertEqual(("staff",), self.identify(key).groups)

    def test_secrets(self) -> None:
        """A large cookie does no harm, and is not logged."""
        authenticator = self.make()
        with capturedLogs() as events:
            self.identify("a" * 8192, authenticator=authenticator)
        self.assertEqual([], [formatEvent(event) for event in events])


class HiddenErrorTests(DjangoCase):
    """Engines and caches that take "cannot ask" for "no"."""

    def setUp(self) -> None:
        """Use an engine that hides its errors."""
        super().setUp()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.vary(SESSION_ENGINE="tests.support.project.quiet", QUIET_FOLDER=str(self.folder))

    def leave(self) -> None:
        """Take away what is asked."""
        self.folder.rename(f"{self.folder}-away")

    def come(self) -> None:
        """Bring it back."""
        Path(f"{self.folder}-away").rename(self.folder)

    def check_away(self, key: str) -> None:
        """Check that a client is told to come again, until the sessions are back."""
        self.leave()
        for cookie in (key, "a" * 32):
            self.assertEqual(503, self.refused(cookie).status)
        self.come()
        self.assertEqual("john", self.identify(key).user)
        self.assertEqual(Identity(), self.identify("a" * 32))

    def test_engine(self) -> None:
        """An engine of another party that loses each session while it cannot ask."""
        key = self.log_in("john")
        self.assertEqual(Identity("john", ("chatters",), key), self.identify(key))
        self.check_away(key)

    def test_empty(self) -> None:
        """A session without data counts, although the engine says the same of missing ones."""
        key = self.session().session_key
        self.assertEqual(Identity(session=key), self.identify(key))

    def test_one_error(self) -> None:
        """One or two errors, between which the engine answers, end nothing."""
        key = self.log_in("john")
        session = open_session(None)
        session._session_key = key
        with self.assertRaises(ConnectionError):
            self.leave()
            session.load()
        self.come()
        left = [True, True]

        def decode(data: str) -> Any:
            if left:
                raise ConnectionError(left.pop())
            return {"seen": data}

        session._session_key, session.decode = key, decode
        self.assertIn("seen", session.load())
        self.assertEqual(key, session.session_key)

    def test_hook(self) -> None:
        """A hook that opens the session itself, or puts something into it."""
        from importlib import import_module

        from django.conf import settings
        from django.contrib.auth import get_user

        store = import_module(settings.SESSION_ENGINE).SessionStore

        def process(request: Any) -> None:
            request.session = store(request.COOKIES["sessionid"])
            request.user = get_user(request)

        def change(request: Any) -> None:
            process(request)
            request.session["seen"] = True

        key = self.log_in("john")
        for hook in (process, change):
            self.vary(WS4REDIS_PROCESS_REQUEST=hook)
            self.assertEqual(key, self.identify(key).session)
            self.check_away(key)

    def test_without_exists(self) -> None:
        """An engine that cannot tell what exists is believed when it finds something."""
        from django.contrib.sessions.backends.base import SessionBase

        from tests.support.project import quiet

        self.patch(quiet.SessionStore, "exists", SessionBase().exists)
        self.assertEqual(Identity(), self.identify("a" * 32))

    def test_cache(self) -> None:
        """A cache that is told to hide its errors."""
        self.vary(SESSION_ENGINE=engine("cache"))
        for options in ({}, {"IGNORE_EXCEPTIONS": True}, {"ignore_exc": True}):
            cache = {
                "BACKEND": "tests.support.project.quiet.QuietCache",
                "LOCATION": f"{self.project.folder}/quiet",
                "OPTIONS": options,
            }
            self.vary(CACHES={"default": cache})
            self.check_away(self.log_in("john"))

    def test_cache_of_an_heir(self) -> None:
        """A setting of django-redis counts also for a class of the project that is its heir."""
        from tests.support.project import quiet

        self.patch(quiet.QuietCache, "__module__", "django_redis.cache")
        self.vary(SESSION_ENGINE=engine("cache"), DJANGO_REDIS_IGNORE_EXCEPTIONS=True)
        cache = {
            "BACKEND": "tests.support.project.quiet.QuietCache",
            "LOCATION": f"{self.project.folder}/quiet",
        }
        self.vary(CACHES={"default": cache})
        self.check_away(self.log_in("john"))

    def test_cache_in_front(self) -> None:
        """A cache in front of the database: the database knows."""
        self.vary(SESSION_ENGINE=engine("cached_db"))
        cache = {
            "BACKEND": "tests.support.project.quiet.QuietCache",
            "LOCATION": f"{self.project.folder}/quiet",
            "OPTIONS": {"IGNORE_EXCEPTIONS": True},
        }
        self.vary(CACHES={"default": cache})
        key = self.log_in("john")
        self.leave()
        self.assertEqual("john", self.identify(key).user)
        self.assertEqual(Identity(), self.identify("a" * 32))

    def test_backend(self) -> None:
        """An authentication backend that knows nobody while the database is away."""
        from django.db import connections

        self.vary(AUTHENTICATION_BACKENDS=["tests.support.project.quiet.QuietBackend"])
        key = self.log_in("john")
        path = Path(self.project.folder, "db.sqlite3")
        hidden = path.with_suffix(".hidden")
        path.rename(hidden)
        path.mkdir()
        try:
            self.assertEqual(503, self.refused(key).status)
        finally:
            path.rmdir()
            hidden.rename(path)
        self.assertEqual("john", self.identify(key).user)
        connections.close_all()

    def test_file(self) -> None:
        """A file that cannot be read, as without a free descriptor, is not missing."""
        self.vary(SESSION_ENGINE=engine("file"))
        key = self.log_in("john")
        path = Path(self.project.folder, f"sessionid{key}")
        data = path.read_bytes()
        path.unlink()
        path.mkdir()
        self.addCleanup(path.unlink)
        self.assertEqual(503, self.refused(key).status)
        path.rmdir()
        path.write_bytes(data)
        self.assertEqual("john", self.identify(key).user)
