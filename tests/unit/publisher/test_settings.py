"""Tests for `wsredis.publisher.settings`, through a publisher."""

from __future__ import annotations

import os
import sys
from typing import Any

from tests.unit.publisher.case import SettingsCase
from wsredis.errors import ConfigError
from wsredis.publisher import BasePublisher
from wsredis.publisher.settings import configured_stored_prefix


class SettingTests(SettingsCase):
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

    def test_stored_prefix(self) -> None:
        """The prefix of keys comes from the same places."""
        os.environ["WSREDIS_STORED_PREFIX"] = "env"
        self.assertEqual("env", configured_stored_prefix())
        self.use_django(WS4REDIS_STORED_PREFIX="site")
        self.assertEqual("site", configured_stored_prefix())

    def test_chosen(self) -> None:
        """A project that is named is asked, even if its settings are not loaded yet."""
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
