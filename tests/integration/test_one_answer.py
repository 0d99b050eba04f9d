"""Pages and sockets of one running gateway, asked with the same host, origin and proxy headers."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.children import RedisServer
from tests.support.django_project import Project, missing_django
from tests.support.raw import RawClient
from tests.support.require import missing

_WSGI = ("--wsgi", "tests.support.project.wsgi:application", "--drain", "0")

_MIDDLEWARE = [
    "django.middleware.common.CommonMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]

_TOKEN = "t" * 32

#: The answers to a form and to a handshake that asks for more than to listen to everybody.
_OPEN, _REFUSED, _UNKNOWN = (200, 101), (403, 403), (400, 400)

#: One client: the values of its headers Host, X-Forwarded-Host, X-Scheme and Origin. None is left
#: out.
_Client = tuple[str, str | None, str | None, str | None]


class OneAnswerTests(SynchronousTestCase):
    """The settings of a project about its own name hold for sockets as for pages."""

    skip = missing("redis") or missing_django()

    def start(self, *options: str, **settings: object) -> None:
        """Start a gateway with pages, for a project that checks hosts and forms."""
        redis = RedisServer()
        self.addCleanup(redis.stop)
        project = Project(**{"MIDDLEWARE": _MIDDLEWARE, **settings})
        self.addCleanup(project.remove)
        self.gateway = project.gateway(redis.url, *_WSGI, *options)
        self.addCleanup(self.gateway.stop)

    def status(self, line: str, *headers: str) -> tuple[int, bytes]:
        """Send a request, and return the status of the answer and, of a refusal, the body."""
        with RawClient(self.gateway.port) as client:
            client.send("\r\n".join([line, *headers, "", ""]).encode())
            status = int(client.head().split(" ")[1])
            return status, b"" if status == 101 else client.rest()

    def answers(self, client: _Client) -> tuple[int, int]:
        """Return how a form and a handshake of this client are answered."""
        names = ("Host", "X-Forwarded-Host", "X-Scheme", "Origin")
        given = [
            f"{name}: {value}"
            for name, value in zip(names, client, strict=True)
            if value is not None
        ]
        form = self.status(
            "POST / HTTP/1.1",
            *given,
            f"Cookie: csrftoken={_TOKEN}",
            f"X-CSRFToken: {_TOKEN}",
            "Content-Length: 0",
            "Connection: close",
        )
        socket = self.handshake(*given)
        return form[0], socket[0]

    def handshake(self, *headers: str, path: str = "/ws/f") -> tuple[int, bytes]:
        """Ask for a socket."""
        return self.status(
            f"GET {path}?publish-broadcast HTTP/1.1",
            *headers,
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )

    def check(self, *rows: tuple[tuple[int, int], _Client]) -> None:
        """Check the answers to each client."""
        for expected, client in rows:
            self.assertEqual(expected, self.answers(client), client)

    def test_names(self) -> None:
        """ALLOWED_HOSTS and CSRF_TRUSTED_ORIGINS; headers of proxies that no setting names."""
        self.start(
            ALLOWED_HOSTS=["www.example.org", ".site.example"],
            CSRF_TRUSTED_ORIGINS=["https://shop.example", "https://*.sub.example", "old.example"],
        )
        own = "www.example.org"
        self.check(
            (_OPEN, (own, None, None, "http://www.example.org")),
            (_OPEN, (own, None, None, None)),
            (_OPEN, ("WWW.example.org:8000", None, None, "http://WWW.example.org:8000")),
            (_OPEN, ("www.example.org.", None, None, "http://www.example.org.")),
            (_OPEN, ("a.site.example", None, None, "http://a.site.example")),
            (_OPEN, (own, None, None, "https://shop.example")),
            (_OPEN, (own, None, None, "https://a.sub.example")),
            (_OPEN, (own, None, None, "https://sub.example")),
            (_OPEN, (own, "evil.example", "https", "http://www.example.org")),
            (_REFUSED, (own, None, None, "http://www.example.org:8000")),
            (_REFUSED, (own, None, None, "http://shop.example")),
            (_REFUSED, (own, None, None, "http://a.site.example")),
            (_REFUSED, (own, None, None, "https://old.example")),
            (_REFUSED, (own, None, None, "http://old.example")),
            (_REFUSED, (own, None, None, "null")),
            (_UNKNOWN, ("evil.example", None, None, "http://evil.example")),
            (_UNKNOWN, ("evil.example", None, None, "https://shop.example")),
            (_UNKNOWN, ("evil.example", None, None, None)),
            (_UNKNOWN, ("127.0.0.1", own, None, "http://www.example.org")),
        )
        self.gateway.child.wait_for("'old.example' has no effect, it has no scheme")
        # On purpose: a page with TLS is the own one, although Django knows of no TLS.
        self.check(((403, 101), (own, None, None, "https://www.example.org")))

    def proxied(self, *options: str) -> None:
        """Start a gateway for a project behind a proxy."""
        self.start(
            *options,
            ALLOWED_HOSTS=["www.example.org"],
            USE_X_FORWARDED_HOST=True,
            SECURE_PROXY_SSL_HEADER=["HTTP_X_SCHEME", "https"],
        )

    def test_proxy(self) -> None:
        """USE_X_FORWARDED_HOST and SECURE_PROXY_SSL_HEADER."""
        self.proxied()
        own = "www.example.org"
        self.check(
            (_OPEN, ("127.0.0.1:8000", own, "https", "https://www.example.org")),
            (_OPEN, ("127.0.0.1:8000", own, "http", "http://www.example.org")),
            (_OPEN, (own, None, "https, http", "https://www.example.org")),
            (_REFUSED, ("127.0.0.1:8000", own, "https", "http://www.example.org")),
            (_REFUSED, (own, None, "https", "http://www.example.org")),
            (_UNKNOWN, (own, "evil.example", "https", "https://www.example.org")),
            (_UNKNOWN, (own, "www.example.org, evil.example", "https", "https://evil.example")),
            (_UNKNOWN, ("127.0.0.1:8000", None, "https", "https://www.example.org")),
        )

    def test_trusted_proxy(self) -> None:
        """If the gateway knows the proxies, nobody else names the host, for pages and sockets."""
        own = "www.example.org"
        for proxy, expected in (("192.0.2.1", _UNKNOWN), ("127.0.0.1", _OPEN)):
            self.proxied("--trusted-proxy", proxy)
            self.check((expected, ("127.0.0.1:8000", own, "https", "https://www.example.org")))
            self.check((_OPEN, (own, None, "https", "https://www.example.org")))

    def test_debug(self) -> None:
        """With DEBUG and without names, the names are those of this machine."""
        self.start(DEBUG=True, ALLOWED_HOSTS=[])
        self.check(
            (_OPEN, ("localhost:8000", None, None, "http://localhost:8000")),
            (_OPEN, ("a.localhost", None, None, "http://a.localhost")),
            (_OPEN, ("127.0.0.1:8000", None, None, None)),
            (_OPEN, ("[::1]:8000", None, None, "http://[::1]:8000")),
            (_UNKNOWN, ("192.0.2.1:8000", None, None, "http://192.0.2.1:8000")),
            (_UNKNOWN, ("www.example.org", None, None, None)),
        )

    def test_script_name(self) -> None:
        """FORCE_SCRIPT_NAME: hooks see the URL and make the links that pages have."""
        self.start(
            FORCE_SCRIPT_NAME="/app",
            WEBSOCKET_URL="/app/ws/",
            USE_X_FORWARDED_HOST=True,
            WS4REDIS_ALLOWED_CHANNELS="tests.support.project.hooks.show_path",
        )
        forwarded = "X-Forwarded-Host: www.example.org"
        # The proxy takes the path off, as it does for pages; or it has a rule for sockets.
        for path, shown in (("/ws/f", "/app/ws/f"), ("/app/ws/f", "/app/app/ws/f")):
            answer = self.handshake("Host: backend", forwarded, path=path)
            self.assertEqual((403, f"{shown} /app/listen/ www.example.org".encode()), answer)
