"""Base classes of the tests of publishers."""

from __future__ import annotations

import os
import sys
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from tests.support.fake_client import FakeClient
from wsredis.publisher import RedisPublisher

__all__ = ["PublishCase", "SettingsCase", "messages", "request_of"]


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


class SettingsCase(SynchronousTestCase):
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


class PublishCase(SettingsCase):
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


def messages(logs: Any) -> list[str]:
    """Return the log messages."""
    return [record.getMessage() for record in logs.records]
