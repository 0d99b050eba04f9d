"""Tests of `wsredis.auth.policies.origin`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsredis.auth.policies.origin import OriginPolicy
from wsredis.channels import Access
from wsredis.config.origins import check_allowed_origin
from wsredis.dialects.urls import parse_access
from wsredis.errors import HandshakeRejected
from wsredis.gateway.identity import Handshake, Identity

PRIVATE = "subscribe-user&publish-broadcast"


class OriginPolicyTests(SynchronousTestCase):
    """`OriginPolicy`."""

    def handshake(
        self,
        origin: str | None,
        host: str | None = "example.com",
        query: str = PRIVATE,
        secure: bool = False,
        **more: str,
    ) -> Handshake:
        """Make the handshake of a page of *origin* with the gateway at *host*."""
        headers = {"origin": origin, "host": host}
        given = {name: value for name, value in headers.items() if value is not None}
        given |= {name.replace("_", "-"): value for name, value in more.items()}
        return Handshake(
            parse_access("chat", query), "/ws/chat", given, "192.0.2.1:4711", secure=secure
        )

    def granted(
        self,
        *args: str | None,
        allowed: tuple[str, ...] = (),
        hosts: tuple[str, ...] = (),
        **kwargs: Any,
    ) -> Access:
        """Return the access that is granted to such a page."""
        return OriginPolicy(allowed, hosts).allow(Identity(), self.handshake(*args, **kwargs))

    def assertGranted(self, *args: str | None, **kwargs: Any) -> None:
        """Check that the requested access is granted."""
        self.assertEqual(parse_access("chat", PRIVATE), self.granted(*args, **kwargs), args)

    def refused(self, *args: str | None, **kwargs: Any) -> HandshakeRejected:
        """Return the rejection."""
        error = self.assertRaises(HandshakeRejected, self.granted, *args, **kwargs)
        self.assertEqual(403, error.status)
        self.assertNotIn("allow-origin", error.reason)
        return error

    def test_no_browser(self) -> None:
        """A request without Origin does not come from a page, and is allowed."""
        self.assertGranted(None)
        self.assertGranted(None, None)

    def test_names(self) -> None:
        """A handshake by a name that is not the gateway's own is a 400, with an Origin or not."""
        policy = OriginPolicy(hosts=["own.example", ".site.example", "*.sub.example", "[::1]"])
        for host, is_known in (
            ("own.example", True),
            ("OWN.example:8080", True),
            ("own.example.", True),
            ("www.own.example", False),
            ("site.example", True),
            ("a.site.example", True),
            ("evilsite.example", False),
            ("a.sub.example", True),
            ("sub.example", False),
            ("[::1]:80", True),
            ("::1", False),
            ("own.example, evil.example", False),
            ("x" * 300, False),
            ("", False),
        ):
            for origin in (None, f"http://{host}", "https://own.example"):
                handshake = self.handshake(origin, host, "subscribe-broadcast")
                if is_known:
                    policy.check_host(handshake)
                else:
                    error = self.assertRaises(HandshakeRejected, policy.check_host, handshake)
                    self.assertEqual((400, "foreign-host"), (error.status, error.cause))
        for policy in (OriginPolicy(), OriginPolicy(hosts=["*", "a"])):
            policy.check_host(self.handshake(None, "evil.example"))
        # A question of the operator has no name.
        OriginPolicy(hosts=["a"]).check_host(self.handshake(None, None))

    def test_name_hint(self) -> None:
        """Log and page hear of the proxy first, and of the options; only a name gets there."""
        policy = OriginPolicy(hosts=["own.example"])
        for host, option in (("Evil.example:80", "evil.example"), ("a b\n", "*")):
            error = self.assertRaises(
                HandshakeRejected, policy.check_host, self.handshake(None, host)
            )
            options = f"--allow-host {option} or ALLOWED_HOSTS allows it"
            self.assertEqual(f"pass on Host in the proxy, or {options}", error.advice)

    def test_forwarded_host(self) -> None:
        """X-Forwarded-Host counts in place of Host where the operator says so."""
        for forwarded, is_known in (("own.example", True), ("evil.example", False), ("", False)):
            handshake = self.handshake("https://own.example", "backend", x_forwarded_host=forwarded)
            policy = OriginPolicy(hosts=["own.example"], forwarded_host=True)
            self.assertIs(not is_known, policy.is_foreign(handshake))
            if is_known:
                policy.check_host(handshake)
            else:
                self.assertRaises(HandshakeRejected, policy.check_host, handshake)
            policy = OriginPolicy(hosts=["own.example"])
            self.assertTrue(policy.is_foreign(handshake))
            self.assertRaises(HandshakeRejected, policy.check_host, handshake)

    def test_secure_header(self) -> None:
        """Where a proxy tells of TLS by a header of its own, a page without TLS is foreign."""
        policy = OriginPolicy(secure_header="x-scheme=https")
        for value, is_foreign in (
            ("https", True),
            ("https, http", True),
            ("http, https", False),
            ("http", False),
            (None, False),
        ):
            more = {} if value is None else {"x_scheme": value}
            handshake = self.handshake("http://example.com", **more)
            self.assertIs(is_foreign, policy.is_foreign(handshake), value)
            self.assertFalse(OriginPolicy().is_foreign(handshake))

    def test_root_dot(self) -> None:
        """A name with the dot of the root is the same name, and another origin."""
        for origin, host, is_foreign in (
            ("https://example.com.", "example.com.", False),
            ("https://example.com", "example.com.", True),
            ("https://example.com.", "example.com", True),
        ):
            policy = OriginPolicy(hosts=["example.com"])
            self.assertIs(is_foreign, policy.is_foreign(self.handshake(origin, host)), origin)

    def test_remembered(self) -> None:
        """The verdict on a page is remembered, for so many pages, and not for long headers."""
        policy = OriginPolicy()
        for number in range(1100):
            policy.is_foreign(self.handshake(f"https://{number}.example"))
        policy.is_foreign(self.handshake("https://" + "x" * 300))
        kept = policy._known.cache_info()
        self.assertEqual((1024, 1100), (kept.currsize, kept.misses))

    def test_is_foreign(self) -> None:
        """A page is foreign unless its host is that of the gateway or is allowed."""
        for origin, allowed, expected in (
            (None, (), False),
            ("https://example.com", (), False),
            ("https://evil.example", (), True),
            ("null", (), True),
            ("null", ("*",), False),
            ("https://shop.example", ("https://shop.example",), False),
        ):
            for query in (PRIVATE, "subscribe-broadcast"):
                handshake = self.handshake(origin, query=query)
                self.assertIs(expected, OriginPolicy(allowed).is_foreign(handshake), origin)

    def test_same_origin(self) -> None:
        """The gateway's own pages may do everything; case and default ports do not matter."""
        for origin, host in (
            ("http://example.com", "example.com"),
            ("https://example.com", "example.com"),
            ("https://EXAMPLE.com", "Example.COM"),
            ("http://example.com:80", "example.com"),
            ("https://example.com", "example.com:443"),
            ("https://example.com:8443", "example.com:8443"),
            ("http://localhost:8080", "localhost:8080"),
            ("http://192.0.2.1:8080", "192.0.2.1:8080"),
            ("http://[::1]:8080", "[::1]:8080"),
            (" http://example.com ", " example.com "),
        ):
            self.assertGranted(origin, host)

    def test_foreign(self) -> None:
        """Foreign pages are rejected, however similar their origins are."""
        for origin, host in (
            ("https://evil.example", "example.com"),
            ("https://example.com.evil.example", "example.com"),
            ("https://evilexample.com", "example.com"),
            ("https://sub.example.com", "example.com"),
            ("https://example.com", "sub.example.com"),
            ("http://example.com:8080", "example.com"),
            ("http://example.com", "example.com:8080"),
            ("http://example.com", "example.com:443"),
            ("http://example.com:8080", "example.com:80"),
            ("https://example.com@evil.example", "example.com"),
            ("https://example.com/", "example.com"),
            ("https://example.com, https://example.com", "example.com"),
            ("null", "null"),
            ("", ""),
            ("file://", ""),
            ("file://", "example.com"),
            ("http://", "example.com"),
            ("http://:80", "example.com"),
            ("app://example.com", "example.com"),
            ("ws://example.com", "example.com"),
            ("javascript://example.com", "example.com:80"),
            ("https://", "example.com"),
            ("https://example.com", None),
            ("https://example.com", "example.com, example.com"),
            ("https://example.com\u00e9", "example.com"),
        ):
            self.refused(origin, host)

    def test_tls(self) -> None:
        """Where the gateway speaks TLS, a page without TLS is foreign: anyone could serve it."""
        for origin, host in (
            ("http://example.com", "example.com"),
            ("http://example.com:8443", "example.com:8443"),
            ("http://example.com:443", "example.com:443"),
        ):
            self.refused(origin, host, secure=True)
            self.assertGranted(origin.replace("http:", "https:"), host, secure=True)

    def test_tls_of_a_proxy(self) -> None:
        """The same where a proxy tells that it speaks TLS with the browser."""
        for more in (
            {"x_forwarded_proto": "https"},
            {"x_forwarded_proto": "HTTPS, http"},
            {"x_forwarded_proto": "wss"},
            {"forwarded": 'for="[2001:db8::1]"; proto=https;host=a'},
            {"forwarded": 'for=192.0.2.1;Proto="https"'},
        ):
            for host in ("example.com", "example.com:8443", "example.com:443"):
                self.refused(f"http://{host}", host, **more)
                self.assertGranted(f"https://{host}", host, **more)
            # A browser names this port only if there is no TLS.
            self.assertGranted("http://example.com", "example.com:80", **more)
        for more in ({"x_forwarded_proto": "http"}, {"forwarded": "for=httpss;proto=http"}):
            self.assertGranted("http://example.com", **more)

    def test_names_of_others(self) -> None:
        """
        A name that leads here makes no page the own one, unless it is known to be the gateway's.

        A name with a certificate is, and one that the public DNS cannot have led here.
        """
        page, host = "http://rebind.evil.example:8080", "rebind.evil.example:8080"
        error = self.refused(page, host)
        self.assertEqual("--allow-host rebind.evil.example would allow it", error.advice)
        self.assertGranted(page, host, hosts=("rebind.evil.example",))
        self.assertGranted(page, host, allowed=(page,))
        for name in ("localhost", "gateway", "gateway.local", "a.b.internal", "[::ffff:1.2.3.4]"):
            self.assertGranted(f"http://{name}:8080", f"{name}:8080")

    def test_own_names(self) -> None:
        """If the names of the gateway are listed, a page of another name is foreign."""
        for entry, right, wrong in (
            ("example.com", ("example.com",), ("a.example.com", "xample.com", "localhost")),
            (
                "*.example.com",
                ("a.example.com", "a.b.example.com"),
                ("example.com", "aexample.com"),
            ),
            (".example.com", ("example.com", "a.example.com"), ("aexample.com", "192.0.2.1")),
            ("192.0.2.1", ("192.0.2.1",), ("192.0.2.2",)),
            ("*", ("anything.example", "localhost"), ()),
        ):
            for port in ("", ":80", ":8080"):
                for name in right:
                    self.assertGranted(f"http://{name}{port}", f"{name}{port}", hosts=(entry,))
                for name in wrong:
                    self.refused(f"https://{name}{port}", f"{name}{port}", hosts=(entry,))

    def test_broadcast_only(self) -> None:
        """Any page may subscribe to broadcasts."""
        for origin in ("https://evil.example", "null", "rubbish"):
            for query in ("", "echo", "subscribe-broadcast"):
                access = self.granted(origin, query=query)
                self.assertEqual(parse_access("chat", query), access)

    def test_everything_else_is_private(self) -> None:
        """A foreign page may not publish, or subscribe to user, group or session."""
        for query in (
            "publish-broadcast",
            "publish-user",
            "subscribe-user",
            "subscribe-group",
            "subscribe-session",
            "subscribe-broadcast&subscribe-session",
        ):
            self.assertRaises(HandshakeRejected, self.granted, "https://evil.example", query=query)

    def test_listed(self) -> None:
        """A listed origin may do everything, with the same scheme, host and port."""
        allowed = ("https://app.example", "http://localhost:3000")
        self.assertGranted("https://app.example", allowed=allowed)
        self.assertGranted("https://APP.example:443", allowed=allowed)
        self.assertGranted("http://localhost:3000", allowed=allowed)
        for origin in (
            "http://app.example",
            "https://app.example:444",
            "https://sub.app.example",
            "http://localhost",
            "http://localhost:3001",
            "*",
            "null",
        ):
            self.refused(origin, allowed=allowed)

    def test_wildcard_host(self) -> None:
        """A wildcard allows every host below the name, not the name itself or a similar one."""
        allowed = ("*.app.example",)
        for origin in (
            "https://a.app.example",
            "http://a.b.app.example:81",
            "https://A.APP.example",
        ):
            self.assertGranted(origin, allowed=allowed)
        for origin in (
            "https://app.example",
            "https://evilapp.example",
            "https://a.app.example.evil.example",
            "https://.app.example",
            "null",
        ):
            self.refused(origin, allowed=allowed)

    def test_wildcard_origin(self) -> None:
        """A wildcard with a scheme allows the hosts below it with this scheme and port only."""
        allowed = ("https://*.app.example", "http://*.app.example:81")
        for origin in (
            "https://a.app.example",
            "https://A.b.app.example:443",
            "http://a.app.example:81",
        ):
            self.assertGranted(origin, allowed=allowed)
        for origin in (
            "http://a.app.example",
            "http://a.app.example:443",
            "https://a.app.example:444",
            "https://app.example",
            "https://evilapp.example",
            "https://.app.example",
            "https://a.app.example.evil.example",
        ):
            self.refused(origin, allowed=allowed)

    def test_wildcard_and_the_port_of_another_scheme(self) -> None:
        """With a scheme, a wildcard allows no other scheme, not even on the same port."""
        for entry, origin in (
            ("https://*.app.example", "http://a.app.example:443"),
            ("http://*.app.example", "https://a.app.example:80"),
            ("https://*.app.example:8443", "http://a.app.example:8443"),
        ):
            self.refused(origin, allowed=(entry,))

    def test_everything(self) -> None:
        """An asterisk allows every page, even one without an origin."""
        for origin in ("https://evil.example", "null", "file://", "rubbish"):
            self.assertGranted(origin, allowed=("*",))

    def test_other_schemes(self) -> None:
        """Pages of browser extensions can be listed."""
        self.assertGranted("chrome-extension://abc", allowed=("chrome-extension://abc",))
        self.refused("chrome-extension://abd", allowed=("chrome-extension://abc",))

    def test_apps(self) -> None:
        """Pages of apps can be listed, and no others are let in by that."""
        for origin in ("file://", "app://", "capacitor://localhost", "ionic://localhost"):
            self.refused(origin)
            self.assertGranted(origin, allowed=(origin,))
            self.refused("https://evil.example", allowed=(origin,))
            self.refused("null", allowed=(origin,))
            self.refused(f"{origin}:80", allowed=(origin,))

    def test_hint(self) -> None:
        """The hint names an option that would allow the page, and that option is valid."""
        error = self.refused("https://evil.example")
        self.assertEqual("--allow-origin https://evil.example would allow it", error.advice)
        for origin in ("https://evil.example:81", "chrome-extension://abc", "file://"):
            _, option, rest = self.refused(origin).advice.partition("--allow-origin ")
            if option:
                self.assertGranted(origin, allowed=(check_allowed_origin(rest.split()[0]),))

    def test_hint_of_proxy(self) -> None:
        """A Host that no browser could have sent from that page is told, for proxies in front."""
        page = "https://www.example.com"
        for host in ("127.0.0.1:8080", "gateway:8080", "[::1]", "localhost"):
            self.assertIn(f"Host is {host}: a proxy in front", self.refused(page, host).hint)
        for origin, host in (
            (page, "ws.example.com"),
            ("http://localhost:3000", "localhost:8080"),
            ("http://127.0.0.1", "gateway"),
            (page, None),
            ("null", "gateway"),
        ):
            self.assertEqual("", self.refused(origin, host).hint)

    def test_no_hint_for_rubbish(self) -> None:
        """A header that is not an origin is not repeated in the log."""
        error = self.refused("rubbish\x1b[31m")
        self.assertNotIn("rubbish", error.hints + error.told)

    def test_bad_list(self) -> None:
        """A list with an invalid entry is refused."""
        self.assertRaises(ValueError, OriginPolicy, ["example.com"])
        self.assertRaises(ValueError, OriginPolicy, [], ["example.com:80"])

    def test_forward(self) -> None:
        """No worker hears what a foreign page says; a page of the own origin is heard."""
        stranger = parse_access("chat", "subscribe-broadcast")
        asked = replace(stranger, forward=True)
        policy = OriginPolicy(["https://friend.example"])
        for origin, expected in (
            ("https://evil.example", stranger),
            ("null", stranger),
            ("https://friend.example", asked),
            ("http://example.com", asked),
            (None, asked),
        ):
            handshake = replace(self.handshake(origin), requested=asked)
            self.assertEqual(expected, policy.allow(Identity(), handshake), origin)
        private = replace(parse_access("chat", PRIVATE), forward=True)
        handshake = replace(self.handshake("https://evil.example"), requested=private)
        self.assertRaises(HandshakeRejected, policy.allow, Identity(), handshake)
