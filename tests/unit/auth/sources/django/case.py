"""A test case with the Django project of this process, its database and real threads."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.django_project import SETTINGS, configured, missing_django
from tests.support.threads import ThreadReactor
from wsredis.auth.sources.availability import Availability
from wsredis.auth.sources.django.authenticator import DjangoAuthenticator
from wsredis.config import GatewayConfig
from wsredis.dialects.urls import parse_access
from wsredis.errors import HandshakeRejected
from wsredis.gateway.health import Health
from wsredis.gateway.identity import Handshake, Identity

__all__ = ["ALL", "ENGINES", "DjangoCase", "engine"]

ENGINES = ("db", "cache", "cached_db", "file", "signed_cookies")

ALL = "subscribe-broadcast&subscribe-user&subscribe-group&subscribe-session&publish-user"


def engine(name: str) -> str:
    """Return the path of a session engine of Django."""
    return f"django.contrib.sessions.backends.{name}"


class DjangoCase(SynchronousTestCase):
    """A test case with the project of this process; `vary` changes its settings."""

    skip = missing_django()

    def setUp(self) -> None:
        """Set Django up."""
        self.project = configured()
        self.health = Health()
        self.reactor = ThreadReactor()

    def vary(self, **settings: object) -> None:
        """Change settings of the project until the end of the test."""
        from django.test import override_settings

        changed = override_settings(**settings)
        changed.enable()
        self.addCleanup(changed.disable)

    def make(self, **config: Any) -> DjangoAuthenticator:
        """Make an authenticator, which is stopped after the test."""
        authenticator = DjangoAuthenticator(
            self.reactor,
            GatewayConfig(django=SETTINGS, **config),
            Availability(self.health).of("django"),
        )
        authenticator.start()
        self.addCleanup(authenticator.stop)
        return authenticator

    def log_in(self, name: str) -> str:
        """Log a user in, and return the value of the session cookie."""
        from django.conf import settings
        from django.contrib.auth.models import User
        from django.test import Client

        client = Client()
        client.force_login(User.objects.get(username=name))
        value: str = client.cookies[settings.SESSION_COOKIE_NAME].value
        return value

    def session(self, **data: object) -> Any:
        """Store a session without a user."""
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
        """Make a handshake. An underscore in the name of a header is a dash."""
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
        """Return the identity that a thread finds out."""
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
        """Return the rejection by a thread."""
        error = self.failureResultOf(self.asked(cookie, query, authenticator, **headers)).value
        assert isinstance(error, HandshakeRejected), repr(error)
        return error

    def asked(self, cookie: str | None, query: str, authenticator: Any, **headers: str) -> Any:
        """Ask, and wait for the thread."""
        authenticator = authenticator or self.make()
        answer = authenticator.identify(self.handshake(cookie, query, **headers))
        self.assertNoResult(answer)
        # A question of the gateway itself may be answered before.
        self.reactor.run_until(lambda: answer.called)
        return answer
