"""Tests of `wsredis.auth.sources.django.request`, as a hook of the project sees it."""

from __future__ import annotations

from typing import Any

from tests.unit.auth.sources.django.case import ALL, DjangoCase
from wsredis.auth.sources.django.request import django_request, has_cookie
from wsredis.channels import Access
from wsredis.gateway.identity import Handshake, Identity


class CookieTests(DjangoCase):
    """`has_cookie`."""

    #: Values of the header, and whether Django finds the cookie "sessionid" in each.
    TABLE = (
        ("", False),
        ("sessionid=a", True),
        ("a=1;sessionid=b", True),
        ("sessionid", False),
        ("sessionid=", True),
        (" sessionid = a", True),
        ("\xc2\xa0sessionid=a", True),
        ("a=\xff; sessionid=a", True),
        ("xsessionid=a; sessionidx=b; a=sessionid", False),
        ("SESSIONID=a", False),
        ("a=1, sessionid=b", False),
    )

    def test_name(self) -> None:
        """The cookie is found wherever Django finds it."""
        for header, expected in self.TABLE:
            handshake = Handshake(Access("x"), "/ws/x", {"cookie": header}, "unix")
            self.assertIs(expected, has_cookie(handshake, "sessionid"), header)
            found = "sessionid" in django_request(handshake).COOKIES
            self.assertIs(expected, found, header)

    def test_other_letters(self) -> None:
        """The name of the cookie may have letters that are not ASCII."""
        key = self.log_in("john")
        self.vary(SESSION_COOKIE_NAME="sitzung\xe4")
        cookie = f"sitzung\xe4={key}".encode().decode("latin-1")
        handshake = Handshake(Access("x"), "/ws/x", {"cookie": cookie}, "unix")
        answer: Any = self.make().identify(handshake)
        self.reactor.take()
        self.assertEqual("john", self.successResultOf(answer).user)

    def test_twice(self) -> None:
        """Of several cookies with the same name, the last counts, as for pages."""
        key = self.log_in("john")
        self.assertEqual("john", self.identify(f"wrong; sessionid={key}").user)
        self.assertEqual(Identity(), self.identify(f"{key}; sessionid=wrong"))
        self.assertEqual("john", self.identify(f'"{key}"').user)


class RequestTests(DjangoCase):
    """`django_request`."""

    def test_request(self) -> None:
        """The request has all that the client sent."""
        from django.core.handlers.wsgi import WSGIRequest

        seen: list[Any] = []
        self.vary(SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"))
        self.vary(WS4REDIS_PROCESS_REQUEST=seen.append)
        self.identify(
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
        """Headers of a proxy count as Django's settings say; those with an underscore do not."""
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

    def test_script_name(self) -> None:
        """Links begin with ``FORCE_SCRIPT_NAME``, and with nothing if the project has none."""
        from django.urls import reverse

        seen: list[tuple[str, str]] = []
        for script, expected in (
            ("/app", ("/app/ws/a b", "/app/listen/")),
            (None, ("/ws/a b", "/listen/")),
        ):
            self.vary(
                FORCE_SCRIPT_NAME=script,
                WS4REDIS_PROCESS_REQUEST=lambda request: seen.append(
                    (request.path, reverse("listen"))
                ),
            )
            self.identify()
            self.assertEqual(expected, seen.pop())

    def test_tls(self) -> None:
        """A request that came over TLS is secure."""
        seen: list[Any] = []
        self.vary(WS4REDIS_PROCESS_REQUEST=seen.append)
        handshake = Handshake(Access("x"), "/ws/x", {"host": "a"}, "unix", secure=True)
        answer: Any = self.make().identify(handshake)
        self.reactor.take()
        self.successResultOf(answer)
        self.assertTrue(seen[0].is_secure())
        self.assertEqual("443", seen[0].META["SERVER_PORT"])

    def test_addresses(self) -> None:
        """Addresses of any kind, and malformed hosts, are understood."""
        seen: list[Any] = []
        self.vary(WS4REDIS_PROCESS_REQUEST=seen.append)
        authenticator = self.make()
        for peer, host in (("[::1]:80", "[::1]:81"), ("unix", "a b"), ("192.0.2.1:1", "x")):
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
