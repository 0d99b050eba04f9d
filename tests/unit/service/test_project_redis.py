"""Tests for `wsredis.service.project_redis`."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.django_project import configured, missing_django
from wsredis.config import GatewayConfig, RedisConfig
from wsredis.service.project_redis import client_for_project


class ClientTests(SynchronousTestCase):
    """`client_for_project`. No client connects."""

    skip = missing_django()

    def arguments(self, url: str, **project: object) -> dict[str, Any]:
        """Return the arguments of the client, for a gateway with a Redis at *url*."""
        from django.test import override_settings

        configured()
        with override_settings(WS4REDIS_CONNECTION=project):
            client = client_for_project(GatewayConfig(redis=RedisConfig(url), auth_timeout=2.0))
        found: dict[str, Any] = client.connection_pool.connection_kwargs
        return found

    def test_of_project(self) -> None:
        """The Redis of the project is reached with all arguments of the project."""
        found = self.arguments("redis://r.example:6380/2", host="r.example", port=6380, db=2)
        self.assertEqual(("r.example", 6380, 2), (found["host"], found["port"], found["db"]))
        self.assertEqual(2.0, found["socket_timeout"])
        found = self.arguments("redis://r.example:6379/0", host="r.example", decode_responses=True)
        self.assertTrue(found["decode_responses"])

    def test_of_gateway(self) -> None:
        """A gateway with another Redis publishes there, where its clients hear it."""
        found = self.arguments("redis://other:6379/0", host="r.example")
        self.assertEqual("other", found["host"])
        client = client_for_project(GatewayConfig(redis=RedisConfig("redis://third:6379/0")))
        self.assertEqual("third", client.connection_pool.connection_kwargs["host"])
