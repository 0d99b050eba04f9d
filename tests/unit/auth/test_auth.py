"""Tests of `wsredis.auth`: the wing as the settings build it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.django_project import SETTINGS, configured, missing_django
from tests.support.tokens import jwk, jwk_set
from wsredis import auth
from wsredis.auth import Auth
from wsredis.auth.control_commands import Command
from wsredis.brokers.memory import MemoryBroker, MemoryServer
from wsredis.channels import Access, Audience
from wsredis.config import AuthUrlConfig, GatewayConfig, JwtConfig
from wsredis.errors import ConfigError, HandshakeRejected
from wsredis.gateway.health import Health
from wsredis.gateway.hub import Hub
from wsredis.gateway.identity import Handshake, Identity
from wsredis.gateway.metrics import Metrics


class _Backend:
    """
    A backend that writes down its calls.

    Attributes:
        broken: It raises when it is stopped.
    """

    def __init__(self, calls: list[str], name: str, *, broken: bool = False) -> None:
        self._calls = calls
        self._name = name
        self.broken = broken

    def identify(self, handshake: Handshake) -> None:
        """Know nobody."""

    def start(self) -> None:
        """Write it down."""
        self._calls.append(f"start {self._name}")

    def stop(self) -> None:
        """Write it down, or fail."""
        self._calls.append(f"stop {self._name}")
        if self.broken:
            raise ValueError("a broken backend")

    def forget(self) -> None:
        """Write it down."""
        self._calls.append(f"forget {self._name}")


class AuthTests(SynchronousTestCase):
    """`Auth` and `from_config`."""

    def setUp(self) -> None:
        """A hub."""
        self.clock = MemoryReactorClock()
        self.hub = Hub(MemoryBroker(MemoryServer(self.clock)), 1000, Metrics())

    def build(self, config: GatewayConfig, **more: Any) -> Auth:
        """Build the wing."""
        return auth.from_config(config, self.clock, self.hub, **more)

    def test_backends(self) -> None:
        """Backends are started and stopped; one that cannot stop does not keep the others."""
        calls: list[str] = []
        built = self.build(GatewayConfig())
        backends = [_Backend(calls, "a", broken=True), _Backend(calls, "b")]
        both = Auth(built.admission, built.sessions, None, backends)
        both.start()
        both.stop()
        self.assertEqual(["start a", "start b", "stop a", "stop b"], calls)
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))

    def test_anonymous(self) -> None:
        """Without an authenticator there is no subscription and no timer."""
        built = self.build(GatewayConfig(recheck=60.0))
        built.start()
        self.assertEqual(0, len(self.hub))
        self.assertEqual([], self.clock.getDelayedCalls())
        built.stop()

    def test_watched(self) -> None:
        """With one there are both, until it is stopped; it is not started itself."""
        calls: list[str] = []
        built = self.build(GatewayConfig(recheck=60.0), authenticator=_Backend(calls, "mine"))
        built.start()
        self.assertEqual(1, len(self.hub))
        self.assertEqual(3, len(self.clock.getDelayedCalls()))
        built.stop()
        self.assertEqual(0, len(self.hub))
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual([], calls)

    def test_counted_lines(self) -> None:
        """A line of the log that was counted is logged at the end, and leaves no timer."""
        built = self.build(GatewayConfig())
        accepted = Identity("j:oe")
        for _ in range(11):
            built.admission._warn_of_colons(accepted, Access("a", frozenset({Audience.USER})))
        self.assertEqual(1, len(self.clock.getDelayedCalls()))
        built.stop()
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_given_authenticator(self) -> None:
        """It takes the place of those of the settings, which are not even made."""
        config = GatewayConfig(jwt=JwtConfig(key="/nowhere"))
        self.assertRaises(ConfigError, self.build, config)
        self.build(config, authenticator=_Backend([], "mine"))

        class Empty(_Backend):
            """It knows nobody yet, and counts as false."""

            def __len__(self) -> int:
                return 0

        self.build(config, authenticator=Empty([], "mine"))

    def test_health(self) -> None:
        """Keys that were not fetched yet are a problem of the gateway."""
        health = Health()
        jwt = JwtConfig(jwks_url="http://127.0.0.1:81/", algorithm="RS256")
        built = self.build(GatewayConfig(jwt=jwt), health=health)
        self.assertTrue(health.is_ready)
        built.start()
        self.addCleanup(built.stop)
        self.assertEqual(["identities"], list(health.problems))

    def test_forget(self) -> None:
        """The backends of the settings are notified of commands."""
        built = self.build(GatewayConfig(auth_url=AuthUrlConfig(url="http://localhost/")))
        self.assertEqual(1, len(built._backends))
        assert built._control is not None
        self.assertEqual([each.forget for each in built._backends], built._control._notify)

    def test_reloads(self) -> None:
        """A key in a file and the rules can be read again; without files there is nothing."""
        self.assertEqual({}, self.build(GatewayConfig()).reloads)
        jwks = Path(self.mktemp())
        jwks.write_bytes(jwk_set(jwk("ES256", "a")))
        looked_after = JwtConfig(jwks_file=str(jwks), algorithm="ES256")
        self.assertEqual({}, self.build(GatewayConfig(jwt=looked_after)).reloads)
        key, file = Path(self.mktemp()), Path(self.mktemp())
        key.write_bytes(b"x" * 32)
        file.write_text("[[rule]]\nallow = true\n")
        config = GatewayConfig(jwt=JwtConfig(key=str(key)), file=str(file))
        reloads = self.build(config).reloads
        self.assertEqual(["jwt-key", "rules"], list(reloads))
        for function in reloads.values():
            function()
        for each in (key, file):
            each.write_text("?")
        for name, path in (("jwt-key", key), ("rules", file)):
            error = self.assertRaises(ConfigError, reloads[name])
            self.assertIn(str(path), str(error))

    def test_new_rules(self) -> None:
        """Rules that were read again decide about the next handshake."""
        file = Path(self.mktemp())
        file.write_text("")
        built = self.build(GatewayConfig(file=str(file)))
        handshake = Handshake(Access("a", frozenset({Audience.BROADCAST})), "/ws/a", {}, "peer")
        decided = Deferred.fromCoroutine(built.admission.decide(handshake))
        self.successResultOf(decided)
        file.write_text("[[rule]]\nallow = false\n")
        built.reloads["rules"]()
        self.failureResultOf(
            Deferred.fromCoroutine(built.admission.decide(handshake)), HandshakeRejected
        )

    def test_order(self) -> None:
        """Tokens are looked at first, then the project or the application is asked."""
        path = Path(self.mktemp())
        path.write_bytes(b"x" * 32)
        jwt = JwtConfig(key=str(path))
        url = AuthUrlConfig(url="http://localhost/")
        found = [
            [type(each).__name__ for each in self.build(config)._backends]
            for config in (GatewayConfig(), GatewayConfig(jwt=jwt, auth_url=url))
        ]
        self.assertEqual([[], ["JwtAuthenticator", "SubrequestAuthenticator"]], found)

    def test_django(self) -> None:
        """A Django project is asked if the settings name it."""
        configured()
        built = self.build(GatewayConfig(django=SETTINGS))
        self.assertEqual(["DjangoAuthenticator"], [type(each).__name__ for each in built._backends])
        self.successResultOf(built.idle())
        built.stop()
        self.successResultOf(self.build(GatewayConfig()).idle())
        busy: Deferred[None] = Deferred()
        self.patch(type(built._backends[0]), "idle", lambda _: busy)
        busy_too = self.build(GatewayConfig(django=SETTINGS))
        self.addCleanup(busy_too.stop)
        self.assertNoResult(busy_too.idle())

    test_django.skip = missing_django()  # type: ignore[attr-defined]

    def test_session_age(self) -> None:
        """The end of a session is remembered for as long as sessions of the project live."""
        configured()
        built = self.build(GatewayConfig(django=SETTINGS))
        self.addCleanup(built.stop)
        assert built._control is not None
        built._control.carry_out(Command("end", "session", "key-of-john"))
        recent, john = built.admission._recent, Identity("john", session="key-of-john")
        # Two weeks are Django's default.
        self.clock.advance(1209600.0)
        self.assertTrue(recent.has_ended(john))
        self.clock.advance(1.0)
        self.assertFalse(recent.has_ended(john))

    test_session_age.skip = missing_django()  # type: ignore[attr-defined]

    def test_settings(self) -> None:
        """Settings that exclude each other, or lack another, are refused."""
        for config, text in (
            (
                GatewayConfig(django="x", auth_url=AuthUrlConfig(url="http://localhost/")),
                "auth-url: cannot be combined with django",
            ),
            (GatewayConfig(auth_url=AuthUrlConfig(cache=5.0)), "auth-cache: requires auth-url"),
        ):
            error = self.assertRaises(ConfigError, self.build, config)
            self.assertEqual(text, str(error))

    def test_optional_libraries(self) -> None:
        """Importing the wing loads none of the libraries that only some settings need."""
        code = (
            "import sys, wsredis.auth\n"
            "print(*{'jwt', 'treq', 'django', 'cryptography'} & sys.modules.keys())"
        )
        found = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        self.assertEqual("", found.stdout.strip())
