"""Tests for `wsredis.django.signals`, with Django's own signals and database."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from unittest import SkipTest

from tests.unit.django.case import AppCase


class SignalCase(AppCase):
    """A watch over the project of this process."""

    def setUp(self) -> None:
        """Set Django up, and watch."""
        super().setUp()
        self.watched()

    def watched(self) -> None:
        """Connected, from now to the end of the test, with the settings as they are."""
        from wsredis.django.signals import SignalReceiver

        self.watch: Any = SignalReceiver(self.control())
        # Nobody else holds it.
        self.addCleanup(setattr, self, "watch", None)

    def user(self, name: str = "anna") -> Any:
        """A new user, who is deleted after the test."""
        from django.contrib.auth.models import User

        user = User.objects.create_user(name)
        self.addCleanup(User.objects.filter(pk=user.pk).delete)
        self.assertEqual([], self.commands(), "nobody can be there who is new")
        return user

    def group(self, name: str = "singers") -> Any:
        """A new group, which is deleted after the test."""
        from django.contrib.auth.models import Group

        group = Group.objects.create(name=name)
        self.addCleanup(Group.objects.filter(pk=group.pk).delete)
        self.assertEqual([], self.commands(), "nobody can be in it that is new")
        return group

    def notified(self, *users: str) -> None:
        """Users are checked again, and nothing else is said."""
        expected = {("recheck", "user", name) for name in users}
        commands = self.commands()
        self.assertEqual((expected, len(expected)), (set(commands), len(commands)))


class SessionTests(SignalCase):
    """Logins, logouts and sessions that are removed."""

    def client(self, name: str = "anna") -> Any:
        """A browser with the session of a new user."""
        from django.test import Client

        client = Client()
        client.force_login(self.user(name))
        self.commands()
        return client

    def key(self, client: Any) -> str:
        """The session key that the browser has."""
        value: str = client.cookies["sessionid"].value
        return value

    def test_logout(self) -> None:
        """A logout is announced, and so is the removal of a session that is in the database."""
        for engine, times in (
            ("db", 2),
            ("cached_db", 2),
            ("cache", 1),
            ("file", 1),
            ("signed_cookies", 1),
        ):
            self.vary(SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}")
            client = self.client(engine)
            key = self.key(client)
            client.get("/logout/")
            self.assertEqual([("end", "session", key)] * times, self.commands(), engine)

    def test_coroutine(self) -> None:
        """The logout of a coroutine is announced as well."""
        from asgiref.sync import async_to_sync
        from django.contrib import auth
        from django.contrib.sessions.backends.cache import SessionStore
        from django.http import HttpRequest

        if not hasattr(auth, "alogout"):
            raise SkipTest("this Django has no alogout()")
        request = HttpRequest()
        request.session = SessionStore()
        request.session.create()
        key = request.session.session_key
        async_to_sync(auth.alogout)(request)
        self.assertEqual([("end", "session", key)], self.commands())

    def test_login(self) -> None:
        """A login gives the session another key, and ends the old one."""
        self.vary(SESSION_ENGINE="django.contrib.sessions.backends.cache")
        client = self.client()
        key = self.key(client)
        user = self.user("bert")
        user.set_password("x")
        user.save()
        self.commands()
        client.get("/login/?user=bert&password=x")
        self.assertNotEqual(key, self.key(client))
        self.assertEqual([("end", "session", key)], self.commands())
        client.get("/login/?user=bert&password=x")
        self.assertEqual([], self.commands(), "the key is the same")

    def test_programs(self) -> None:
        """Signals of programs, without a request or a session, end nothing."""
        from django.contrib.auth.signals import user_logged_in, user_logged_out

        user = self.user()
        for signal in (user_logged_in, user_logged_out):
            for request in (None, object(), SimpleNamespace(COOKIES={"sessionid": "key"})):
                signal.send(sender=None, request=request, user=user)
        self.assertEqual([], self.commands())

    def test_database(self) -> None:
        """The transaction that is waited for is that of the database where something changes."""
        from django.contrib.auth.models import Group, User
        from django.contrib.sessions.models import Session
        from django.db import transaction
        from django.db.models.signals import m2m_changed, post_delete, post_save
        from django.utils import timezone

        user = User(username="anna")
        ends = timezone.now() + timedelta(hours=1)
        change = {"action": "post_clear", "reverse": False, "model": Group, "pk_set": None}
        for signal, sender, details in (
            (post_save, User, {"instance": user, "created": False, "update_fields": None}),
            (post_delete, User, {"instance": user}),
            (post_delete, Group, {"instance": Group(name="singers")}),
            (post_delete, Session, {"instance": Session(session_key="key", expire_date=ends)}),
            (m2m_changed, User.groups.through, {"instance": user, **change}),
        ):
            with transaction.atomic():
                signal.send(sender=sender, using="default", **details)
                self.assertEqual([], self.commands(), sender)
                # There is none of that name, and so no transaction.
                signal.send(sender=sender, using="other", **details)
                self.assertEqual(1, len(self.commands()), sender)
            self.assertEqual(1, len(self.commands()), sender)

    def test_removed(self) -> None:
        """A session that is removed ends; one that expired is none any more."""
        from django.contrib.sessions.models import Session
        from django.utils import timezone

        for key, hours in (("alive", 1), ("expired", -1)):
            ends = timezone.now() + timedelta(hours=hours)
            Session.objects.create(session_key=key, expire_date=ends)
        Session.objects.filter(session_key__in=("alive", "expired")).delete()
        self.assertEqual([("end", "session", "alive")], self.commands())

    def test_no_engine(self) -> None:
        """An engine that is not there is for others to tell."""
        self.vary(SESSION_ENGINE="no.such.engine")
        self.watched()
        self.user().delete()
        self.assertIn(("recheck", "user", "anna"), self.commands())


class UserTests(SignalCase):
    """Users that change."""

    def test_saved(self) -> None:
        """A user that is saved is checked again: any field may have changed."""
        user = self.user()
        user.set_password("another")
        user.save()
        self.notified("anna")
        user.is_active = False
        user.save(update_fields=["is_active"])
        self.notified("anna")

    def test_last_login(self) -> None:
        """The time of the last login, which every login sets, changes nothing."""
        user = self.user()
        user.save(update_fields=["last_login"])
        self.notified()
        user.save(update_fields=["last_login", "is_active"])
        self.notified("anna")

    def test_renamed(self) -> None:
        """One with a new name is known by the old one."""
        user = self.user()
        user.username = "hanna"
        user.save()
        self.notified("anna", "hanna")
        user.save()
        self.notified("hanna")

    def test_deleted(self) -> None:
        """A user that is deleted is checked again."""
        self.user().delete()
        self.notified("anna")

    def test_heirs(self) -> None:
        """So is one that another class of the project stands for."""
        self.vary(INSTALLED_APPS=[*self.apps(), "tests.support.people"])
        from tests.support.people.models import Boss

        self.watched()
        user = Boss.objects.get(pk=self.user().pk)
        self.commands()
        user.save()
        self.notified("anna")

    def apps(self) -> list[str]:
        """The apps that are installed."""
        from django.conf import settings

        return list(settings.INSTALLED_APPS)

    def test_other_models(self) -> None:
        """Users of other classes, with no groups or strange ones, are watched as well."""
        from django.db.models.signals import m2m_changed, post_save

        self.vary(INSTALLED_APPS=[*self.apps(), "tests.support.people"])
        from tests.support.people.models import Badge, Bearer, Clerk, Person

        for model in (Person, Clerk, Bearer):
            self.vary(AUTH_USER_MODEL=f"people.{model.__name__}")
            self.watched()
            user = model(pk=1, email="anna")
            post_save.send(
                sender=model, instance=user, created=False, update_fields=None, using="default"
            )
            self.notified("anna")
        details = {"action": "post_clear", "pk_set": None, "using": "default", "model": Bearer}
        through = Bearer.groups.through
        m2m_changed.send(sender=through, instance=user, reverse=False, **details)
        self.notified("anna")
        m2m_changed.send(sender=through, instance=Badge(pk=1), reverse=True, **details)
        self.notified()

    def test_no_users(self) -> None:
        """A project without users has only sessions."""
        from django.contrib.auth.models import User

        self.watch = None
        self.install("django.contrib.sessions", "django.contrib.contenttypes")
        self.watched()
        from django.db.models.signals import post_delete

        post_delete.send(sender=User, instance=User(username="anna"), using="default")
        self.notified()


class GroupTests(SignalCase):
    """Memberships and groups that change."""

    def test_by_user(self) -> None:
        """A user who is put into a group, or taken out, is checked again."""
        user, group = self.user(), self.group()
        user.groups.add(group)
        self.notified("anna")
        user.groups.add(group)
        self.notified()
        user.groups.remove(group)
        self.notified("anna")
        user.groups.set([group])
        self.notified("anna")
        user.groups.clear()
        self.notified("anna")

    def test_by_group(self) -> None:
        """The same, said the other way round: only those who come or go are checked."""
        group, users = self.group(), [self.user(name) for name in ("anna", "bert", "carl")]
        group.user_set.add(*users[:2])
        self.notified("anna", "bert")
        group.user_set.set(users[1:])
        self.notified("anna", "carl")
        group.user_set.remove(users[1])
        self.notified("bert")
        group.user_set.clear()
        self.assertEqual([("recheck", "group", "singers")], self.commands())

    def test_renamed(self) -> None:
        """The members of a group with a new name are in it by the old one."""
        group = self.group()
        group.name = "choir"
        group.save()
        self.assertEqual([("recheck", "group", "singers")], self.commands())
        group.save()
        group.save(update_fields=["name"])
        self.assertEqual([], self.commands())

    def test_deleted(self) -> None:
        """Nobody is in a group that is deleted."""
        self.group().delete()
        self.assertEqual([("recheck", "group", "singers")], self.commands())
