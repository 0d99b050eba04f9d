"""Tests for `wsredis.django.browser`, the context processor and the template tag."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

from tests.unit.django.case import AppCase

_LIBRARIES = {"wsredis": "wsredis.django.templatetags.wsredis"}


class _Elements(HTMLParser):
    """
    Elements as a browser reads them.

    Attributes:
        found: Pairs of attributes and content.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[dict[str, str | None], str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        attributes, content = self.found[-1]
        self.found[-1] = (attributes, content + data)


class PageCase(AppCase):
    """Pages of the project of this process."""

    def request(self, **extra: Any) -> Any:
        """A request for a page."""
        from django.test import RequestFactory

        return RequestFactory().get("/", **extra)

    def render(self, text: str, context: Any = None, request: Any = None) -> str:
        """A template, by an engine that knows the tag."""
        from django.template import Context, Engine, RequestContext

        processors = ["wsredis.django.context_processors.default"]
        engine = Engine(libraries=_LIBRARIES, context_processors=processors)
        given = Context(context) if request is None else RequestContext(request, context)
        return str(engine.from_string(text).render(given))


class VariableTests(PageCase):
    """The variables of the context processor."""

    PAGE = "<script>var uri = '{{ WEBSOCKET_URI }}', beat = {{ WS4REDIS_HEARTBEAT }};</script>"

    def test_default(self) -> None:
        """They are those of the original, ready for a script."""
        self.vary(WEBSOCKET_URL="/sockets/", WS4REDIS_HEARTBEAT="--heartbeat--")
        found = self.render(self.PAGE, request=self.request())
        inner = "var uri = 'ws://testserver/sockets/', beat = \"--heartbeat--\";"
        self.assertEqual(f"<script>{inner}</script>", found)

    def test_nothing_set(self) -> None:
        """Without settings the path is /ws/, and the heartbeat null."""
        from django.conf import settings

        self.vary()
        del settings.WEBSOCKET_URL
        for heartbeat in (None, ""):
            self.vary(WS4REDIS_HEARTBEAT=heartbeat)
            found = self.render(self.PAGE, request=self.request())
            self.assertIn("'ws://testserver/ws/', beat = null;", found)

    def test_secure(self) -> None:
        """A page by HTTPS has sockets by TLS; the port is the one that the page has."""
        request = self.request(secure=True, HTTP_HOST="www.example.org:8443")
        found = self.render("{{ WEBSOCKET_URI }}", request=request)
        self.assertEqual("wss://www.example.org:8443/ws/", found)

    def test_behind_a_proxy(self) -> None:
        """A proxy that says https is believed, also if no setting of Django names its header."""
        for value, scheme in (
            ("https", "wss"),
            ("HTTPS, http", "wss"),
            ("http, https", "ws"),
            ("", "ws"),
        ):
            request = self.request(HTTP_HOST="www.example.org", HTTP_X_FORWARDED_PROTO=value)
            found = self.render("{{ WEBSOCKET_URI }}", request=request)
            self.assertEqual(f"{scheme}://www.example.org/ws/", found)

    def test_other_host(self) -> None:
        """A whole URL in the settings stays as it is."""
        self.vary(WEBSOCKET_URL="wss://live.example.org/ws/")
        found = self.render("{{ WEBSOCKET_URI }}", request=self.request())
        self.assertEqual("wss://live.example.org/ws/", found)

    def test_foreign_host(self) -> None:
        """A host that the project does not allow, or that is not a host, gets nothing."""
        from django.core.exceptions import DisallowedHost

        self.vary(ALLOWED_HOSTS=["www.example.org"])
        for host in ("evil.example", "www.example.org';alert(1)//", '"><script>'):
            with self.assertRaises(DisallowedHost):
                self.render(self.PAGE, request=self.request(HTTP_HOST=host))

    def test_hostile_heartbeat(self) -> None:
        """No text ends the script, and each arrives as it is."""
        for text in ("</script><!--", "a\"b'c\\d", "\u2028\u2029&amp;\n"):
            self.vary(WS4REDIS_HEARTBEAT=text)
            found = self.render("{{ WS4REDIS_HEARTBEAT }}", request=self.request())
            self.assertEqual(text, json.loads(found))
            self.assertTrue(found.isascii())
            for each in "<>&":
                self.assertNotIn(each, found)


class TagTests(PageCase):
    """``{% wsredis_script %}``."""

    PAGE = "{% load wsredis %}{% wsredis_script %}"

    def test_elements(self) -> None:
        """There is the configuration, which is data, and the script, which is a file."""
        self.vary(WS4REDIS_HEARTBEAT="--heartbeat--")
        expected = (
            '<script id="wsredis-config" type="application/json">'
            '{"uri": "wss://testserver/ws/", "heartbeat": "--heartbeat--"}</script>'
            '<script src="/static/wsredis/wsredis.js"></script>'
        )
        request = self.request(secure=True)
        self.assertEqual(expected, self.render(self.PAGE, request=request))
        self.assertEqual(expected, self.render(self.PAGE, {"request": request}))

    def test_no_heartbeat(self) -> None:
        """Without a heartbeat it is null."""
        self.assertIn('"heartbeat": null}', self.render(self.PAGE, request=self.request()))

    def test_hostile(self) -> None:
        """Settings and nonces cannot leave their places."""
        evil = "</script><script>'\"&"
        self.vary(WS4REDIS_HEARTBEAT=evil, WEBSOCKET_URL=f"/{evil}/", STATIC_URL=f"/{evil}/")
        request = self.request()
        request.csp_nonce = evil
        config, script = _Elements(self.render(self.PAGE, request=request)).found
        shown = {"uri": f"ws://testserver/{evil}/", "heartbeat": evil}
        self.assertEqual(shown, json.loads(config[1]))
        self.assertEqual(evil, script[0]["nonce"])
        self.assertEqual("", script[1])

    def test_nonce(self) -> None:
        """A nonce is used although it is false as long as nobody has used it."""

        class Lazy:
            def __bool__(self) -> bool:
                return False

            def __str__(self) -> str:
                return "abc"

        script = '<script src="/static/wsredis/wsredis.js" nonce="abc"></script>'
        request = self.request()
        context = {"csp_nonce": Lazy()}
        self.assertIn(script, self.render(self.PAGE, context, request))
        request.csp_nonce = Lazy()
        self.assertIn(script, self.render(self.PAGE, request=request))
        self.assertNotIn("nonce", self.render(self.PAGE, request=self.request()))

    def test_no_request(self) -> None:
        """Without a request it says what is missing."""
        from django.core.exceptions import ImproperlyConfigured

        with self.assertRaisesRegex(ImproperlyConfigured, "wsredis_script %} needs the request"):
            self.render(self.PAGE)
