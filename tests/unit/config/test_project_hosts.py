"""Tests of `wsredis.config.project_hosts`, and comparisons with the answers of Django."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.django_project import configured, missing_django
from wsredis.auth.policies.origin import OriginPolicy
from wsredis.channels import Access
from wsredis.config.project_hosts import (
    allowed_hosts,
    host_problems,
    secure_header,
    trusted_origins,
)
from wsredis.errors import HandshakeRejected
from wsredis.gateway.identity import Handshake


class ProblemTests(SynchronousTestCase):
    """`host_problems`."""

    def problems(self, **settings: Any) -> list[str]:
        """The problems of a project."""
        return host_problems(SimpleNamespace(**settings))

    def test_none(self) -> None:
        """A project without these settings, or with good ones, has none."""
        for settings in (
            {},
            {"ALLOWED_HOSTS": [], "DEBUG": True},
            {"ALLOWED_HOSTS": ["*", "a.example", ".b.example", "[::1]"]},
            {"CSRF_TRUSTED_ORIGINS": ["https://a.example", "https://*.a.example:8443"]},
            {"CSRF_TRUSTED_ORIGINS": ["capacitor://localhost", "file://"]},
            {"SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")},
            # Reported by those who read them.
            {"ALLOWED_HOSTS": "a", "CSRF_TRUSTED_ORIGINS": 5, "SECURE_PROXY_SSL_HEADER": "b"},
        ):
            self.assertEqual([], self.problems(**settings), settings)

    def test_hosts(self) -> None:
        """An entry that is never the name in a request is named, and so is an empty list."""
        for entry, why in (
            ("*.a.example", "Django writes it as '.a.example'"),
            ("a*b*", "it is not a name"),
            ("https://a.example", "it is not a name without a port"),
            ("a.example:80", "it is not a name without a port"),
        ):
            expected = [f"ALLOWED_HOSTS: {entry!r} has no effect, {why}"]
            self.assertEqual(expected, self.problems(ALLOWED_HOSTS=[entry, "good.example"]))
        (problem,) = self.problems(ALLOWED_HOSTS=[])
        self.assertIn("ALLOWED_HOSTS: it is empty", problem)

    def test_origins(self) -> None:
        """An entry that is never the origin of a page is named, also in the form of Django 3."""
        form = "it is not an origin like https://example.com or https://*.example.com"
        for entry, why in (
            ("a.example", "it has no scheme: begin it with https://"),
            (".a.example", "it has no scheme: begin it with https://"),
            ("*", "it has no scheme: begin it with https://"),
            ("https://a.example/", form),
            ("https://A.example", form),
            ("https://*", form),
            ("https://", form),
            ("https://a*.example", form),
            ("https://a.example:443", "browsers write it without :443"),
        ):
            expected = [f"CSRF_TRUSTED_ORIGINS: {entry!r} has no effect, {why}"]
            self.assertEqual(expected, self.problems(CSRF_TRUSTED_ORIGINS=[entry]))
            self.assertEqual((), trusted_origins([entry]))

    def test_header(self) -> None:
        """A header that is not written as Django writes headers is named."""
        (problem,) = self.problems(SECURE_PROXY_SSL_HEADER=("X-Forwarded-Proto", "https"))
        self.assertIn("SECURE_PROXY_SSL_HEADER: 'X-Forwarded-Proto' has no effect", problem)


class DjangoTests(SynchronousTestCase):
    """The same answer as Django's."""

    skip = missing_django()

    def setUp(self) -> None:
        """Set a project up."""
        configured()

    def request(self, **meta: str) -> Any:
        """A request of Django."""
        from django.http import HttpRequest

        request = HttpRequest()
        request.META = {"SERVER_NAME": "x", "SERVER_PORT": "80", **meta}
        return request

    def test_hosts(self) -> None:
        """A handshake is accepted by the names by which a page is."""
        from django.core.exceptions import DisallowedHost
        from django.test import override_settings

        for allowed in (
            ["www.example.org"],
            [".example.org"],
            ["[::1]", "127.0.0.1"],
            ["*.example.org", "WWW.Example.ORG"],
            ["*"],
        ):
            policy = OriginPolicy(hosts=allowed_hosts(allowed))
            for host in (
                *("www.example.org", "WWW.EXAMPLE.ORG:8000", "www.example.org.", "example.org"),
                *("a.www.example.org", "evilexample.org", "127.0.0.1:80", "[::1]:80", "[::2]"),
                *("www.example.org, a", "a b", "www.example.org@a", "localhost"),
            ):
                with override_settings(ALLOWED_HOSTS=allowed):
                    try:
                        expected = bool(self.request(HTTP_HOST=host).get_host())
                    except DisallowedHost:
                        expected = False
                try:
                    policy.check_host(Handshake(Access(""), "/", {"host": host}, "unix"))
                    found = True
                except HandshakeRejected:
                    found = False
                if "*" in allowed:
                    # With this entry no name is looked at: the documentation says so.
                    self.assertTrue(found)
                else:
                    self.assertEqual(expected, found, (allowed, host))

    def test_origins(self) -> None:
        """A page may open sockets if it may send forms."""
        from django.middleware.csrf import CsrfViewMiddleware
        from django.test import override_settings

        entries = [
            *("https://a.example", "http://b.example:8000", "https://*.c.example", "d.example"),
            *("https://*.e.example:8443/x", "*.f.example", "https://*G.example", "*", "https://h/"),
        ]
        policy = OriginPolicy(trusted_origins(entries), ["own.example"])
        with override_settings(CSRF_TRUSTED_ORIGINS=entries, ALLOWED_HOSTS=["own.example"]):
            middleware = CsrfViewMiddleware(lambda request: None)
            for origin in (
                *("https://a.example", "http://a.example", "https://a.example:8443"),
                *("http://b.example:8000", "http://b.example", "https://c.example"),
                *("https://x.c.example", "https://x.y.c.example", "http://x.c.example"),
                *("https://xc.example", "https://d.example", "http://d.example"),
                *("https://x.e.example:8443", "https://x.e.example", "https://e.example:8443"),
                *("https://x.f.example", "https://g.example", "https://x.g.example", "https://h"),
                *("null", "http://own.example", "http://own.example:8000"),
            ):
                request = self.request(HTTP_HOST="own.example", HTTP_ORIGIN=origin)
                expected = middleware._origin_verified(request)
                headers = {"host": "own.example", "origin": origin}
                found = not policy.is_foreign(Handshake(Access(""), "/", headers, "unix"))
                self.assertEqual(expected, found, origin)

    def test_secure(self) -> None:
        """A proxy that tells of TLS to Django tells it to the gateway."""
        from django.test import override_settings

        for header in (("HTTP_X_SCHEME", "https"), ("X-Scheme", "https"), None):
            policy = OriginPolicy(secure_header=secure_header(header))
            for value in ("https", "https,http", " https ", "http", "http,https", ""):
                with override_settings(SECURE_PROXY_SSL_HEADER=header):
                    is_secure = self.request(HTTP_X_SCHEME=value).is_secure()
                headers = {"host": "a.example", "origin": "http://a.example", "x-scheme": value}
                handshake = Handshake(Access(""), "/", headers, "unix")
                # The page that is the own one there came without TLS.
                self.assertEqual(is_secure, policy.is_foreign(handshake), (header, value))
