"""The base class of the tests of the Django app."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.django_project import configured, missing_django
from tests.support.fake_client import FakeClient

__all__ = ["AppCase"]


class AppCase(SynchronousTestCase):
    """The project of this process, which tests vary, and a Redis in memory."""

    skip = missing_django()

    def setUp(self) -> None:
        """Set Django up."""
        configured()
        self.redis = FakeClient()
        self.clock = Clock()

    def vary(self, **settings: object) -> None:
        """Change settings of the project until the end of the test."""
        from django.test import override_settings

        changed = override_settings(**settings)
        changed.enable()
        self.addCleanup(changed.disable)

    def install(self, *names: str) -> None:
        """Have other apps, in this order."""
        self.vary(INSTALLED_APPS=names)

    def control(self) -> Any:
        """One that speaks to the Redis in memory."""
        from wsredis.django.control import Control

        return Control(lambda: self.redis, self.clock.seconds)

    def commands(self, channel: bytes = b"wsredis-control") -> list[object]:
        """Return the commands since the last call: triples of verb, selector and name."""
        found = []
        for trip in self.redis.trips:
            published = [words for words in trip if words[0] == "PUBLISH"]
            for _, where, text in published:
                self.assertEqual(channel, where)
                ((verb, target),) = json.loads(text).items()
                ((selector, who),) = target.items()
                found.append((verb, selector, who))
            kept = [words[-1] for words in trip if words[0] == "XADD"]
            ends = [text for _, _, text in published if '"end"' in text]
            self.assertEqual(ends, kept)
        self.redis.trips.clear()
        return found
