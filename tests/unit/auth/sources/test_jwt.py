"""Tests of `wsredis.auth.sources.jwt`."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any
from unittest import mock

import jwt as library
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.support.tokens import (
    ALGORITHMS,
    FAR,
    jwk,
    jwk_set,
    private_key,
    public_pem,
    signed,
    verifier,
)
from wsredis.auth.sources import jwt as jwt_source
from wsredis.auth.sources.jwt import JwtAuthenticator, _Verified, _VerifiedTokens
from wsredis.config import JwtConfig
from wsredis.dialects.urls import parse_access
from wsredis.errors import ConfigError, HandshakeRejected
from wsredis.gateway.identity import Handshake, Identity

#: The first second of 2001.
PAST = 978307200


def handshake(token: str | None = None, *, flags: str = "", query: str = "", **headers: str) -> Any:
    """Make a handshake with a token in the Authorization header, or with other headers."""
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Handshake(parse_access("chat", flags), "/ws/chat", named, "192.0.2.1:4711", query)


class JwtCase(SynchronousTestCase):
    """A test case for authenticators with keys from files."""

    def file(self, content: bytes) -> str:
        """Write a file, and return its path."""
        path = Path(self.mktemp())
        path.write_bytes(content)
        return str(path)

    def authenticator(self, algorithm: str = "HS256", **settings: Any) -> JwtAuthenticator:
        """Make an authenticator with one key of an algorithm."""
        key = self.file(verifier(algorithm))
        return JwtAuthenticator(JwtConfig(key=key, **settings), Clock())

    def identify(self, authenticator: JwtAuthenticator, given: Handshake) -> Identity | None:
        """Return the identity, which is found without waiting."""
        asked: Awaitable[Identity | None] = authenticator.identify(given)
        return self.successResultOf(Deferred.fromCoroutine(asked))  # type: ignore[arg-type]

    def known(self, token: str, *, flags: str = "", **settings: Any) -> Identity:
        """Return the identity of a token with HS256."""
        identity = self.identify(self.authenticator(**settings), handshake(token, flags=flags))
        assert identity is not None
        return identity

    def refusal(
        self, token: str, authenticator: JwtAuthenticator | None = None, flags: str = ""
    ) -> HandshakeRejected:
        """Return the rejection of a token, and check that it repeats nothing of it."""
        asked = (authenticator or self.authenticator()).identify(handshake(token, flags=flags))
        with capturedLogs() as events:
            failure = self.failureResultOf(Deferred.fromCoroutine(asked), HandshakeRejected)
        refused: HandshakeRejected = failure.value
        said = f"{refused.reason} {refused.hint} {events}"
        for part in filter(lambda part: len(part) > 3, token.split(".")):
            self.assertNotIn(part, said)
        self.assertIsNone(refused.__cause__)
        return refused

    def assertInvalid(self, token: str, hint: str, **settings: Any) -> None:
        """Check that the token is invalid, and that the hint says why."""
        refused = self.refusal(token, self.authenticator(**settings))
        self.assertEqual((401, "the token is not valid"), (refused.status, refused.reason))
        self.assertEqual(hint, refused.hint)


class SignatureTests(JwtCase):
    """Tokens that are valid, and tokens that are not."""

    def test_algorithms(self) -> None:
        """A token that is signed with the key is valid, with every algorithm."""
        for algorithm in ALGORITHMS:
            found = self.identify(self.authenticator(algorithm), handshake(signed(algorithm)))
            assert found is not None
            self.assertEqual("john", found.user, algorithm)

    def test_other_key(self) -> None:
        """A token that is signed with another key is invalid."""
        for algorithm in ALGORITHMS:
            refused = self.refusal(signed(algorithm, number=1), self.authenticator(algorithm))
            self.assertEqual(401, refused.status)
            self.assertEqual("its signature does not fit the key", refused.hint)

    def test_forged(self) -> None:
        """A token whose claims were changed after signing is invalid."""
        head, _, signature = signed().split(".")
        payload = signed(sub="admin").split(".")[1]
        self.assertInvalid(f"{head}.{payload}.{signature}", "its signature does not fit the key")

    def test_no_algorithm(self) -> None:
        """A token without a signature is invalid, in every spelling."""
        payload = signed().split(".")[1]
        for alg in ("none", "None", "NONE", "nOnE", "", None, 0, [], {}, ["HS256"], "HS256 "):
            head = base64.urlsafe_b64encode(json.dumps({"alg": alg}).encode()).decode().rstrip("=")
            for signature in ("", signed().split(".")[2]):
                self.assertInvalid(f"{head}.{payload}.{signature}", "its alg is not HS256")

    def test_algorithm_named_by_nobody(self) -> None:
        """A token that names no algorithm is invalid."""
        head = base64.urlsafe_b64encode(b'{"typ":"JWT"}').decode().rstrip("=")
        _, payload, signature = signed().split(".")
        self.assertInvalid(f"{head}.{payload}.{signature}", "its alg is not HS256")

    def test_public_key_as_secret(self) -> None:
        """A token that is signed with the public key as a secret for HS256 is invalid."""
        for algorithm in ("RS256", "ES256", "EdDSA"):
            pem = public_pem(private_key(algorithm))
            # The library would not sign with it.
            claims = signed().rpartition(".")[0]
            signature = library.algorithms.HMACAlgorithm(
                library.algorithms.HMACAlgorithm.SHA256
            ).sign(claims.encode(), pem)
            token = f"{claims}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
            refused = self.refusal(token, self.authenticator(algorithm))
            self.assertEqual((401, f"its alg is not {algorithm}"), (refused.status, refused.hint))

    def test_no_other_algorithm(self) -> None:
        """The algorithm is fixed: others are refused even if the key suits them."""
        secret = private_key("HS256") + b" and some more, as HS512 wants it"
        token = library.encode({"sub": "john", "exp": FAR}, secret, "HS512")
        key = self.file(secret)
        refused = self.refusal(token, JwtAuthenticator(JwtConfig(key=key), Clock()))
        self.assertEqual("its alg is not HS256", refused.hint)

    def test_no_token(self) -> None:
        """A value that is not a token is refused, of any form and size."""
        head, payload, signature = signed().split(".")
        deep = base64.urlsafe_b64encode(b"[" * 9000).decode().rstrip("=")
        for token in (
            "x",
            "..",
            "a.b.c",
            "undefined",
            f"{head}.{payload}",
            f"{head}.{payload}.{signature}.{signature}",
            f"{head}.{payload}.{signature}=!",
            f"{head}.{payload}.{signature}, Bearer {head}.{payload}.{signature}",
            f"{deep}.{payload}.{signature}",
            f"W10.{payload}.{signature}",
            "\xff\xfe.\xff.\xff",
            "é" * 100,
            "a" * 16000,
            "." * 16000,
            f"{head}.{'A' * 12000}.{signature}",
        ):
            self.assertEqual(401, self.refusal(token).status, token[:80])

    def test_large_token(self) -> None:
        """A large token is accepted like a small one."""
        groups = [f"group-{number}" for number in range(500)]
        self.assertEqual(tuple(groups), self.known(signed(groups=groups)).groups)

    def test_critical_extension(self) -> None:
        """An unknown critical header is refused (RFC 7515, 4.1.11)."""
        token = signed(headers={"crit": ["secret-word"], "secret-word": 1})
        self.assertInvalid(token, "it is malformed")
        self.assertInvalid(signed(headers={"kid": 7}), "it is malformed")


class TimeTests(JwtCase):
    """The claims exp, nbf and iat."""

    def test_expired(self) -> None:
        """A token that has expired is rejected with that reason."""
        refused = self.refusal(signed(exp=PAST))
        self.assertEqual((401, "the token expired"), (refused.status, refused.reason))

    def test_not_yet(self) -> None:
        """A token that is not valid yet is rejected with that reason."""
        for claims in ({"nbf": FAR - 1}, {"iat": FAR - 1}):
            refused = self.refusal(signed(**claims))
            self.assertEqual((401, "the token is not valid yet"), (refused.status, refused.reason))

    def test_past_times(self) -> None:
        """Times in the past do no harm."""
        self.assertEqual("john", self.known(signed(nbf=PAST, iat=PAST)).user)

    def test_end(self) -> None:
        """The identity expires with the token, plus the leeway."""
        self.assertEqual(FAR + 2.0, self.known(signed()).expires)
        self.assertEqual(FAR + 7.5, self.known(signed(exp=FAR + 0.5), leeway=7.5).expires)

    def test_leeway(self) -> None:
        """The leeway accepts tokens that expired a moment ago."""
        expires = self.known(signed(exp=PAST), leeway=float(FAR)).expires
        self.assertEqual(PAST + float(FAR), expires)

    def test_no_end(self) -> None:
        """A token that never expires is refused."""
        self.assertInvalid(signed(exp=None), "it has no exp")

    def test_rubbish_as_time(self) -> None:
        """A claim that is not a time is refused."""
        for name in ("exp", "nbf", "iat"):
            for value in ("tomorrow", [], {}, float("inf"), float("nan")):
                self.assertInvalid(signed(**{name: value}), "it is malformed")
        for value in (str(FAR), 10**400):
            self.assertInvalid(signed(exp=value), "its exp is not a time")


class NameTests(JwtCase):
    """The claims aud and iss."""

    def test_audience(self) -> None:
        """The configured audience must be among those of the token."""
        for audience in ("chat", ["news", "chat"]):
            self.assertEqual("john", self.known(signed(aud=audience), audience="chat").user)
        hint = "its aud does not fit jwt-audience"
        for wrong in ("other", ["other"], 7, {"chat": 1}, ["chat", 7], "chat2"):
            self.assertInvalid(signed(aud=wrong), hint, audience="chat")
        self.assertInvalid(signed(), "it has no aud", audience="chat")

    def test_meant_for_others(self) -> None:
        """A token with an audience is refused if none is configured."""
        self.assertInvalid(signed(aud="chat"), "its aud does not fit jwt-audience")

    def test_issuer(self) -> None:
        """The issuer must be the configured one; if none is configured, any is accepted."""
        self.assertEqual("john", self.known(signed(iss="me"), issuer="me").user)
        self.assertEqual("john", self.known(signed(iss="anybody")).user)
        for wrong in ("you", 7, ["me"]):
            self.assertInvalid(signed(iss=wrong), "its iss does not fit jwt-issuer", issuer="me")
        self.assertInvalid(signed(), "it has no iss", issuer="me")


class ClaimTests(JwtCase):
    """The identity from the claims."""

    def test_all(self) -> None:
        """User, groups and session are taken from their claims."""
        identity = self.known(signed(groups=["a", "b"], sid="s3"))
        self.assertEqual(Identity("john", ("a", "b"), "s3", FAR + 2.0), identity)

    def test_missing(self) -> None:
        """All of them may be missing."""
        self.assertEqual(Identity(expires=FAR + 2.0), self.known(signed(sub=None)))

    def test_other_names(self) -> None:
        """The names of the claims are settings."""
        token = signed(name="jane", roles=["a"], jti="1", rights={"chat": ["publish"]})
        identity = self.known(
            token,
            flags="publish-user",
            user_claim="name",
            groups_claim="roles",
            session_claim="jti",
            channels_claim="rights",
        )
        self.assertEqual(("jane", ("a",), "1"), (identity.user, identity.groups, identity.session))
        self.assertIsNotNone(identity.granted)

    def test_one_group(self) -> None:
        """A single group need not be a list; a missing claim gives no groups."""
        self.assertEqual(("all users",), self.known(signed(groups="all users")).groups)
        self.assertEqual((), self.known(signed(groups=[])).groups)

    def test_wrong_types(self) -> None:
        """A claim of another type is refused, not guessed."""
        for value in (7, True, ["john"], {"a": 1}, ""):
            token = signed(user=value)
            self.assertInvalid(token, "its user is not a string", user_claim="user")
            self.assertInvalid(signed(sid=value), "its sid is not a string")
        for value in (7, False, {"a": 1}, "", ["a", 7], [["a"]], [""]):
            self.assertInvalid(signed(groups=value), "its groups is not a string")
        self.assertInvalid(signed(sub=7), "its sub is not a string")

    def test_half_a_character(self) -> None:
        """A string that could not be part of a channel name is refused."""
        self.assertInvalid(signed(sub="\ud800"), "its sub is not Unicode")
        self.assertEqual("jürgen\U0001f600", self.known(signed(sub="jürgen\U0001f600")).user)


class ChannelTests(JwtCase):
    """The claim that limits channels."""

    def test_no_limit(self) -> None:
        """Without the claim, the policy decides on the requested access."""
        self.assertIsNone(self.known(signed(), flags="subscribe-user").granted)

    def test_granted(self) -> None:
        """An access within the claim is granted."""
        token = signed(channels={"ch*": ["subscribe"], "chat": ["publish-user"]})
        flags = "subscribe-user&subscribe-broadcast&publish-user&echo"
        self.assertEqual(parse_access("chat", flags), self.known(token, flags=flags).granted)

    def test_not_granted(self) -> None:
        """An access beyond the claim is rejected, and the reason names the flag."""
        token = signed(channels={"chat": ["subscribe"], "news": ["publish"]})
        refused = self.refusal(token, flags="subscribe-user&publish-user")
        self.assertEqual((403, "you may not publish-user here"), (refused.status, refused.reason))
        self.assertEqual(403, self.refusal(signed(channels={}), flags="subscribe-user").status)

    def test_rubbish(self) -> None:
        """A malformed claim makes the token invalid, since it is a limit."""
        hint = "its channels does not map patterns to lists of flags"
        for value in (
            "chat",
            ["chat"],
            7,
            False,
            {"chat": "subscribe"},
            {"chat": None},
            {"chat": [7]},
            {"chat": {"subscribe": 1}},
            {"chat": ["listen"]},
            {"news": ["subscribe-everything"]},
        ):
            self.assertInvalid(signed(channels=value), hint)
        null = library.encode({"exp": FAR, "channels": None}, private_key("HS256"), "HS256")
        self.assertInvalid(null, hint)


class SourceTests(JwtCase):
    """The place of the token in the handshake."""

    def user(self, given: Handshake, **settings: Any) -> str | None:
        """Return the user of a handshake. None if it has no token."""
        identity = self.identify(self.authenticator(**settings), given)
        return None if identity is None else identity.user

    def test_missing(self) -> None:
        """A handshake without a token is one for hints; one with a token is not, good or bad."""
        authenticator = self.authenticator(query="token")
        self.assertEqual("token", authenticator.missing(handshake()))
        for given in (handshake("bad"), handshake(query="token=bad")):
            self.assertEqual("", authenticator.missing(given))

    def test_nowhere(self) -> None:
        """Without a token the client is unknown, and the next authenticator is asked."""
        for given in (
            handshake(),
            handshake(authorization="Basic am9objpzZWNyZXQ="),
            handshake(authorization="Bearer"),
            handshake(authorization="Bearer "),
            handshake(sec_websocket_protocol="wsredis"),
            handshake(sec_websocket_protocol="wsredis, bearer."),
            handshake(cookie="token=; other=1"),
            handshake(query="token=&echo"),
            handshake(query="token"),
        ):
            self.assertIsNone(self.user(given, cookie="token", query="token"))

    def test_authorization(self) -> None:
        """The token may be in the Authorization header, in any case and with any blanks."""
        for scheme in ("Bearer ", "bearer ", "BEARER   ", " Bearer "):
            self.assertEqual("john", self.user(handshake(authorization=scheme + signed() + " ")))

    def test_subprotocol(self) -> None:
        """The token may be an offered subprotocol, at any place."""
        for offers in ("bearer.{}", "wsredis, bearer.{}", "bearer.{} ,wsredis"):
            given = handshake(sec_websocket_protocol=offers.format(signed()))
            self.assertEqual("john", self.user(given))

    def test_cookie(self) -> None:
        """The token may be in the configured cookie, and in no other."""
        given = handshake(cookie=f"a=b; token={signed()}; c=d")
        self.assertEqual("john", self.user(given, cookie="token"))
        self.assertIsNone(self.user(given, cookie="a-token"))
        self.assertIsNone(self.user(given))

    def test_query(self) -> None:
        """The token may be in the configured parameter of the query, and in no other."""
        given = handshake(query=f"subscribe-user&token={signed()}&token=x")
        self.assertEqual("john", self.user(given, query="token"))
        self.assertIsNone(self.user(given))

    def test_order(self) -> None:
        """The first token counts, even if it is invalid; an empty one does not."""
        names = ["header", "protocol", "cookie", "query"]
        tokens = {name: signed(sub=name) for name in names}

        def given(**tokens: str) -> Handshake:
            return handshake(
                tokens["header"],
                sec_websocket_protocol=f"bearer.{tokens['protocol']}",
                cookie=f"t={tokens['cookie']}",
                query=f"t={tokens['query']}",
            )

        authenticator = self.authenticator(cookie="t", query="t")
        while names:
            identity = self.identify(authenticator, given(**tokens))
            assert identity is not None
            self.assertEqual(names[0], identity.user)
            expired = given(**{**tokens, names[0]: signed(exp=PAST)})
            asked = Deferred.fromCoroutine(authenticator.identify(expired))
            refused = self.failureResultOf(asked, HandshakeRejected).value
            self.assertEqual("the token expired", refused.reason)
            tokens[names.pop(0)] = ""
        self.assertIsNone(self.identify(authenticator, given(**tokens)))


class SetTests(JwtCase):
    """Keys from a JWK Set."""

    def test_file(self) -> None:
        """The key that the token names is taken from the file."""
        for algorithm in ALGORITHMS:
            path = self.file(jwk_set(jwk(algorithm, "a"), jwk(algorithm, "b", 1)))
            authenticator = JwtAuthenticator(
                JwtConfig(jwks_file=path, algorithm=algorithm), Clock()
            )
            token = signed(algorithm, number=1, headers={"kid": "b"})
            self.assertIsNotNone(self.identify(authenticator, handshake(token)))
            wrong = self.refusal(signed(algorithm, headers={"kid": "b"}), authenticator)
            self.assertEqual("its signature does not fit the key", wrong.hint)
            unknown = self.refusal(signed(algorithm, headers={"kid": "c"}), authenticator)
            self.assertEqual("no key of the JWK Set has its kid", unknown.hint)
            self.assertEqual(401, unknown.status)

    def test_fetched(self) -> None:
        """Keys from a URL are fetched between start and stop."""
        answers: list[Deferred[bytes]] = []

        def fetch(url: str) -> Deferred[bytes]:
            self.assertEqual("http://localhost/keys", url)
            answers.append(Deferred())
            return answers[-1]

        config = JwtConfig(jwks_url="http://localhost/keys", algorithm="ES256")
        authenticator = JwtAuthenticator(config, Clock(), fetch)
        self.assertEqual([], answers)
        authenticator.start()
        asked = Deferred.fromCoroutine(authenticator.identify(handshake(signed("ES256"))))
        self.assertNoResult(asked)
        answers[0].callback(jwk_set(jwk("ES256", None)))
        identity = self.successResultOf(asked)
        assert identity is not None
        self.assertEqual("john", identity.user)
        authenticator.stop()
        self.assertEqual(1, len(answers))


class RememberedTests(JwtCase):
    """Tokens that were verified are not verified again until they expire."""

    def setUp(self) -> None:
        """Count the verifications; the time is that of the library."""
        self.clock = Clock()
        self.clock.advance(time.time())
        self.verifications = 0
        self.real = library.decode
        self.patch(library, "decode", self.decode)

    def decode(self, *args: Any, **kwargs: Any) -> Any:
        """Verify with the library."""
        self.verifications += 1
        return self.real(*args, **kwargs)

    def make(self, algorithm: str = "HS256", **settings: Any) -> JwtAuthenticator:
        """Make an authenticator on a clock of the test."""
        key = self.file(verifier(algorithm))
        return JwtAuthenticator(JwtConfig(key=key, **settings), Clock(), now=self.clock.seconds)

    def test_same(self) -> None:
        """The identity is that of a fresh verification, and the access is checked each time."""
        token = signed(
            groups=["a"], sid="s", channels={"chat": ["subscribe-user"], "x": ["publish"]}
        )
        authenticator = self.make()
        allowed, denied = (
            handshake(token, flags="subscribe-user"),
            handshake(token, flags="publish-user"),
        )
        first = self.identify(authenticator, allowed)
        self.assertEqual(first, self.identify(authenticator, allowed))
        self.assertEqual(1, self.verifications)
        refused = self.failureResultOf(
            Deferred.fromCoroutine(authenticator.identify(denied)), HandshakeRejected
        )
        self.assertEqual(403, refused.value.status)

    def test_no_tokens(self) -> None:
        """The token itself is not kept."""
        authenticator = self.make()
        token = signed()
        self.identify(authenticator, handshake(token))
        self.assertNotIn(token.rpartition(".")[2], repr(authenticator._known._known))

    def test_expired(self) -> None:
        """With its last second and the leeway, it is verified again, and then forgotten."""
        now = self.clock.seconds()
        token = signed(exp=int(now) + 60)
        authenticator = self.make(leeway=5.0)
        self.identify(authenticator, handshake(token))
        self.clock.advance(int(now) + 65 - now - 0.5)
        self.identify(authenticator, handshake(token))
        self.assertEqual(1, self.verifications)
        self.clock.advance(0.5)
        self.identify(authenticator, handshake(token))
        self.assertEqual(2, self.verifications)
        self.assertEqual(0, len(authenticator._known))

    def test_clock_set_back(self) -> None:
        """Before the time of the verification, which its nbf may forbid, it is verified again."""
        authenticator = self.make()
        self.identify(authenticator, handshake(signed()))
        self.clock.rightNow -= 1
        self.identify(authenticator, handshake(signed()))
        self.assertEqual(2, self.verifications)

    def test_rejected(self) -> None:
        """A token that is rejected is not remembered, for whatever reason."""
        authenticator = self.make()
        for token in (signed(number=1), signed(exp=PAST), signed(sub=1), "x"):
            self.refusal(token, authenticator)
        self.assertEqual(0, len(authenticator._known))

    def test_forget(self) -> None:
        """A command of the application for one user costs the tokens of the others nothing."""
        authenticator = self.make()
        token = signed()
        for _ in range(2):
            self.identify(authenticator, handshake(token))
            authenticator.forget()
        self.assertEqual(1, self.verifications)

    def test_what_is_kept(self) -> None:
        """Only the claims that are read are kept, and as text."""
        authenticator = self.make()
        token = signed(groups=["\xe9"], sid="s", email="john@example.org", deep=[[[[]]]])
        self.identify(authenticator, handshake(token))
        ((verified, _),) = authenticator._known._known.values()
        self.assertEqual({"exp", "sub", "groups", "sid"}, json.loads(verified.claims).keys())
        self.assertTrue(verified.claims.isascii())

    def test_long_token(self) -> None:
        """A token that is too long to be remembered is not even looked up."""
        authenticator = self.make()
        self.identify(authenticator, handshake(signed()))
        digests: list[str] = []
        self.patch(jwt_source, "_digest", digests.append)
        self.identify(authenticator, handshake(signed(more="x" * 2048)))
        self.assertEqual([], digests)

    def test_replaced_key(self) -> None:
        """Tokens that a key verified are forgotten when it is replaced or withdrawn."""
        path = self.file(jwk_set(jwk("RS256", "a")))
        config = JwtConfig(jwks_file=path, algorithm="RS256")
        authenticator = JwtAuthenticator(config, Clock(), now=self.clock.seconds)
        token = signed("RS256", headers={"kid": "a"})
        for _ in range(2):
            self.identify(authenticator, handshake(token))
        self.assertEqual(1, self.verifications)
        # A key that is still there stays, also if the set has changed.
        Path(path).write_bytes(jwk_set(jwk("RS256", "a"), jwk("RS256", "b", 1)))
        self.identify(authenticator, handshake(token))
        self.assertEqual(1, self.verifications)
        Path(path).write_bytes(jwk_set(jwk("RS256", "a", 1)))
        self.assertIn("signature", self.refusal(token, authenticator).hint)
        Path(path).write_bytes(jwk_set(jwk("RS256", "b", 1)))
        self.assertEqual(
            "no key of the JWK Set has its kid", self.refusal(token, authenticator).hint
        )

    def test_bounds(self) -> None:
        """A bounded number is remembered, the oldest is forgotten first; a long one is not."""
        known = _VerifiedTokens()
        for number in range(4097):
            known.add(f"t{number}", _Verified(None, None, "{}", 0.0), 10.0)
        self.assertEqual(4096, len(known))
        self.assertIsNone(known.get("t0", 1.0))
        self.assertIsNotNone(known.get("t4096", 1.0))
        known.add("x" * 2049, _Verified(None, None, "{}", 0.0), 10.0)
        self.assertIsNone(known.get("x" * 2049, 1.0))

    def test_old_ones(self) -> None:
        """Tokens that have expired make room for new ones."""
        known = _VerifiedTokens()
        for number in range(100):
            known.add(f"t{number}", _Verified(None, None, "{}", float(number)), number + 10.0)
        self.assertLess(len(known), 15)

    def test_found_expired(self) -> None:
        """A token that comes again after its end is forgotten."""
        known = _VerifiedTokens()
        known.add("t", _Verified(None, None, "{}", 0.0), 10.0)
        self.assertIsNotNone(known.get("t", 9.9))
        self.assertIsNone(known.get("t", 10.0))
        self.assertEqual(0, len(known))

    def test_not_ascii(self) -> None:
        """A header of any characters is no token, and no error."""
        for token in ("\xff", "\ud800"):
            self.refusal(token, self.make())


class SettingTests(JwtCase):
    """Settings that contradict each other."""

    def wrong(self, **settings: Any) -> str:
        """Return the error about the settings."""
        config = JwtConfig(**settings)
        text = str(self.assertRaises(ConfigError, JwtAuthenticator, config, Clock()))
        self.assertNotIn("\n", text)
        return text

    def test_one_source(self) -> None:
        """Exactly one setting must say where the keys are."""
        all_three = "jwt-key, jwt-jwks-url, jwt-jwks-file"
        said = f"{all_three}: one of them is required"
        self.assertEqual(said, self.wrong(audience="chat"))
        said = self.wrong(key="a", jwks_url="http://b/", jwks_file="c")
        self.assertEqual(f"{all_three}: only one of them can be given", said)
        said = self.wrong(key="a", jwks_file="c")
        self.assertEqual("jwt-key, jwt-jwks-file: only one of them can be given", said)

    def test_set_without_algorithm(self) -> None:
        """A JWK Set requires an algorithm in the settings."""
        self.assertEqual("jwt-jwks-file: requires jwt-algorithm", self.wrong(jwks_file="a"))
        self.assertEqual("jwt-jwks-url: requires jwt-algorithm", self.wrong(jwks_url="http://b/"))

    def test_secrets_at_a_url(self) -> None:
        """A shared secret is not fetched from a URL."""
        said = self.wrong(jwks_url="http://b/", algorithm="HS256")
        self.assertEqual("jwt-algorithm: HS256 needs a secret, which a URL must not publish", said)

    def test_no_library(self) -> None:
        """Without the library, the error says how to install it."""
        with mock.patch.dict(sys.modules, {"jwt": None}):
            said = self.wrong(key=self.file(verifier("HS256")))
        self.assertEqual("jwt-key: needs PyJWT: pip install 'wsredis[jwt]'", said)
