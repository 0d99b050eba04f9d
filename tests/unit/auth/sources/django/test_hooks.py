"""Tests of `wsredis.auth.sources.django.hooks`, through the authenticator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from twisted.logger import capturedLogs, formatEvent

from tests.unit.auth.sources.django.case import ALL, DjangoCase
from wsredis.channels import Access
from wsredis.dialects.urls import parse_access
from wsredis.errors import ConfigError, HandshakeRejected
from wsredis.gateway.identity import Identity


class ProcessRequestTests(DjangoCase):
    """``WS4REDIS_PROCESS_REQUEST``."""

    def processed(self, hook: Any, **headers: str) -> Identity:
        """Return the identity that a hook finds."""
        self.vary(WS4REDIS_PROCESS_REQUEST=hook)
        return self.identify(**headers)

    def denied(self, hook: Any) -> HandshakeRejected:
        """Return the rejection by a hook."""
        self.vary(WS4REDIS_PROCESS_REQUEST=hook)
        return self.refused()

    def test_identity(self) -> None:
        """The hook sets the user of the request; it may be named, or be a coroutine function."""
        from django.contrib.auth.models import User

        def process(request: Any) -> None:
            request.user = User.objects.get(username=request.headers["X-User"])
            request.session = None

        async def later(request: Any) -> None:
            request.user = await User.objects.aget(username=request.headers["X-User"])

        here = "tests.unit.auth.sources.django.test_hooks.process_mary"
        expected = Identity("mary", ("chatters", "staff"))
        for hook in (process, later, here):
            self.assertEqual(expected, self.processed(hook, x_user="mary"), hook)

    def test_session(self) -> None:
        """A session that the hook opens counts if it exists; the cookie alone does not."""
        from importlib import import_module

        from django.conf import settings
        from django.contrib.auth import get_user

        def process(request: Any) -> None:
            key = request.headers["X-Session"]
            request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
            request.user = get_user(request)

        key = self.log_in("john")
        self.assertEqual(
            Identity("john", ("chatters",), key), self.processed(process, x_session=key)
        )
        self.assertEqual(Identity(), self.processed(process, x_session="a" * 32))
        self.assertEqual(Identity(), self.processed(lambda request: None, cookie=key))

    def test_own_objects(self) -> None:
        """User and session may be other objects, with only the attributes that are needed."""
        user = SimpleNamespace(is_authenticated=True, get_username=lambda: "bot")

        def process(request: Any) -> None:
            request.user = user
            request.session = {"ws4redis:memberof": ["bots"]}

        expected = Identity("bot", ("bots",), has_fixed_groups=True)
        self.assertEqual(expected, self.processed(process))
        user.get_username = lambda: ""
        self.assertEqual(Identity(), self.processed(process))
        groups = [SimpleNamespace(name="chess"), SimpleNamespace(title="no name")]
        user = SimpleNamespace(
            is_authenticated=True,
            get_username=lambda: "bot",
            groups=SimpleNamespace(all=lambda: groups),
        )
        self.assertEqual(
            Identity("bot", ("chess",)), self.processed(lambda r: setattr(r, "user", user))
        )
        # Not a relation: this user has no groups of Django.
        user.groups = ["chess"]
        self.assertEqual(Identity("bot"), self.processed(lambda r: setattr(r, "user", user)))

    def test_other_objects(self) -> None:
        """A user that has no name of its own is nobody, where no channel needs the name."""
        self.vary(WS4REDIS_PROCESS_REQUEST=lambda request: setattr(request, "user", {"id": 5}))
        for query, refused in (
            ("subscribe-broadcast&subscribe-session&echo", False),
            ("", False),
            ("subscribe-user", True),
            ("publish-group", True),
        ):
            if refused:
                self.assertEqual(500, self.refused(query=query).status)
            else:
                self.assertEqual(Identity(), self.identify(query=query))

    def test_fails_closed(self) -> None:
        """Any error of the hook rejects with 500, and its text is shown to nobody."""

        def raising(error: type[BaseException]) -> Callable[[Any], None]:
            def process(request: Any) -> None:
                raise error("secret")

            return process

        async def later(request: Any) -> None:
            raise ValueError("secret")

        for hook in (
            *map(raising, (AttributeError, ValueError, SystemExit, KeyboardInterrupt, OSError)),
            later,
            lambda request: setattr(request, "user", object()),
            lambda request: setattr(request, "user", SimpleNamespace(is_authenticated=True)),
            lambda request: request.no_such_thing,
        ):
            error = self.denied(hook)
            self.assertEqual((500, "internal error"), (error.status, error.reason), hook)
            self.assertRegex(error.hint, r"^WS4REDIS_PROCESS_REQUEST: \w+ at \w+\.py:\d+$")

    def test_other_arguments(self) -> None:
        """A hook that cannot be called is told from one that fails."""
        error = self.denied(lambda: None)
        self.assertEqual(500, error.status)
        self.assertEqual(
            "WS4REDIS_PROCESS_REQUEST: TypeError: it takes other arguments", error.hint
        )
        error = self.denied(lambda request: (lambda: None)(request))
        self.assertRegex(error.hint, r"TypeError at test_hooks.py:\d+$")

    def test_permission_denied(self) -> None:
        """PermissionDenied is a 403 with its text, on one line of bounded length."""
        from django.core.exceptions import PermissionDenied

        for words, expected in (
            (("Not you",), "Not you"),
            ((), "forbidden"),
            (("a\r\nSet-Cookie: b\x1b",), "a  Set-Cookie: b"),
            (("x" * 500,), "x" * 200),
        ):

            def process(request: Any, words: tuple[str, ...] = words) -> None:
                raise PermissionDenied(*words)

            error = self.denied(process)
            self.assertEqual((403, expected), (error.status, error.reason))

    def test_suspicious(self) -> None:
        """An error that Django answers with 400 is a 400 here."""
        self.vary(ALLOWED_HOSTS=["example.com"])
        error = self.denied(lambda request: request.get_host())
        self.assertEqual((400, "bad request"), (error.status, error.reason))

    def test_cannot_tell(self) -> None:
        """A database or a Redis that fails, or a coroutine that takes too long, is a 503."""
        from asyncio import Event as Never

        import redis
        from django.db import OperationalError

        def failing(error: Exception) -> Callable[[Any], None]:
            def process(request: Any) -> None:
                raise error

            return process

        away = (
            OperationalError("secret"),
            ConnectionRefusedError("secret"),
            TimeoutError("secret"),
            redis.ConnectionError("secret"),
            redis.TimeoutError("secret"),
        )

        async def hanging(request: Any) -> None:
            await Never().wait()

        for hook in (*map(failing, away), hanging):
            self.vary(WS4REDIS_PROCESS_REQUEST=hook)
            error = self.refused(authenticator=self.make(auth_timeout=0.1))
            self.assertEqual((503, "try again later"), (error.status, error.reason))
            self.assertNotIn("secret", error.hint)


class AllowedChannelsTests(DjangoCase):
    """``WS4REDIS_ALLOWED_CHANNELS`` and ``WS4REDIS_SUBSCRIBER``."""

    def granted(self, hook: Any, query: str = ALL, cookie: str | None = None) -> Access | None:
        """Return the access that a hook grants."""
        self.vary(WS4REDIS_ALLOWED_CHANNELS=hook)
        return self.identify(cookie, query).granted

    def test_flags(self) -> None:
        """The hook gets the flags in the order of the URL, without echo and unknown ones."""
        seen: list[list[str]] = []

        def hook(request: Any, channels: list[str]) -> list[str]:
            seen.append(list(channels))
            return channels

        query = "publish-user&x&echo&SUBSCRIBE-Broadcast=0&publish=user&+subscribe-user&subscribe"
        self.assertIsNone(self.granted(hook, query))
        self.assertIsNone(self.granted(hook, ""))
        self.assertEqual([["publish-user", "subscribe-broadcast", "subscribe-user"], []], seen)

    def test_result(self) -> None:
        """Any iterable that it returns replaces the flags; None leaves them as they were."""

        def emptied(request: Any, channels: list[str]) -> None:
            channels.clear()

        query = "subscribe-user&echo"
        for hook, expected in (
            (emptied, None),
            (lambda request, channels: channels, None),
            (lambda request, channels: [], "echo"),
            (
                lambda request, channels: ("publish-group", "subscribe-user"),
                "publish-group&subscribe-user&echo",
            ),
            (lambda request, channels: iter(["publish-broadcast"]), "publish-broadcast&echo"),
            (lambda request, channels: ["rubbish", "echo", None, [], "subscribe"], "echo"),
            (lambda request, channels: "publish-user", "echo"),
        ):
            access = None if expected is None else parse_access("a b", expected)
            self.assertEqual(access, self.granted(hook, query), expected)

    def test_forward(self) -> None:
        """Whatever flags a hook chooses, it knows nothing of workers: they hear the client."""
        self.vary(WS4REDIS_ALLOWED_CHANNELS=lambda request, channels: ["subscribe-user"])
        handshake = self.handshake(None, "publish-user")
        asked = replace(handshake.requested, forward=True)
        answer = self.make().identify(replace(handshake, requested=asked))
        self.reactor.run_until(lambda: answer.called)
        granted = self.successResultOf(answer).granted
        self.assertEqual((["subscribe-user"], True), (granted.flags, granted.forward))

    def test_coroutine(self) -> None:
        """The hook may be a coroutine function that uses the database."""
        from django.contrib.auth.models import User

        async def hook(request: Any, channels: list[str]) -> list[str]:
            return ["subscribe-user"] * await User.objects.acount()

        self.assertEqual(parse_access("a b", "subscribe-user"), self.granted(hook))

    def test_user(self) -> None:
        """The hook sees the user, or an anonymous one, as a view does."""
        from django.core.exceptions import PermissionDenied

        def hook(request: Any, channels: list[str]) -> None:
            if not request.user.is_authenticated:
                raise PermissionDenied("log in first")

        self.assertIsNone(self.granted(hook, cookie=self.log_in("john")))
        for cookie in (None, "unknown", "a" * 32):
            error = self.refused(cookie)
            self.assertEqual((403, "log in first"), (error.status, error.reason))
        self.vary(WS4REDIS_PROCESS_REQUEST=lambda request: None)
        self.assertEqual(403, self.refused().status)

    def test_by_name(self) -> None:
        """A named function works like the function itself, and its errors reject, too."""
        name = "tests.unit.auth.sources.django.test_hooks.{}"
        self.assertEqual(
            parse_access("a b", "echo"),
            self.granted(name.format("allow_nothing"), "echo&publish-user"),
        )
        self.vary(WS4REDIS_ALLOWED_CHANNELS=name.format("allow_by_mistake"))
        error = self.refused()
        self.assertEqual((500, "internal error"), (error.status, error.reason))
        self.assertRegex(
            error.hint, r"^WS4REDIS_ALLOWED_CHANNELS: AttributeError at test_\w+.py:\d+$"
        )

    def test_fails_closed(self) -> None:
        """An error, and a result that is not a list, reject the client."""
        for hook in (
            lambda request: [],
            lambda request, channels: 5,
            lambda request, channels: request.user.no_such_thing,
            lambda request, channels: request.session["no such thing"],
        ):
            self.vary(WS4REDIS_ALLOWED_CHANNELS=hook)
            self.assertEqual(500, self.refused().status)

    def test_outdated(self) -> None:
        """Code of another time is logged when the gateway starts."""

        def hook(request: Any, channels: list[str]) -> list[str]:
            return channels if request.user is not None else []

        self.vary(WS4REDIS_ALLOWED_CHANNELS=hook)
        with capturedLogs() as events:
            self.make()
        (line,) = [formatEvent(event) for event in events]
        self.assertRegex(
            line,
            r"\AWS4REDIS_ALLOWED_CHANNELS: test_hooks.py:\d+: it tests whether request.user is "
            r"None or false, and it never is: without a cookie it is Django's AnonymousUser\Z",
        )

    def test_not_there(self) -> None:
        """A hook that is missing, or is not a function, is an error at the start."""
        for setting in ("WS4REDIS_ALLOWED_CHANNELS", "WS4REDIS_PROCESS_REQUEST"):
            for value in (
                *("no_dot", "no.such.module", f"{__name__}.no_such_name", f"{__name__}.ALL"),
                *(5, ["a"]),
            ):
                self.vary(**{setting: value})
                error = self.assertRaises(ConfigError, self.make)
                self.assertRegex(str(error), rf"^django: {setting}: [^\n]+$")
            self.vary(**{setting: None})

    def test_subscriber(self) -> None:
        """The lists of a subscriber class restrict the flags; the default class is not imported."""
        self.vary(WS4REDIS_SUBSCRIBER="ws4redis.subscriber.RedisSubscriber")
        self.assertIsNone(self.make().identify(self.handshake()))
        self.vary(WS4REDIS_SUBSCRIBER=f"{__name__}.FewChannels")
        with capturedLogs() as events:
            authenticator = self.make()
        self.assertEqual(
            [("subscriber-flags-unused", "WS4REDIS_SUBSCRIBER", "publish-all")],
            [(event["event"], event["setting"], event["flags"]) for event in events],
        )
        few = parse_access("a b", "subscribe-broadcast&publish-user")
        self.assertEqual(Identity(granted=few), authenticator.identify(self.handshake()))
        self.assertIsNone(authenticator.identify(self.handshake(None, "publish-user")))
        self.assertEqual(
            few, self.identify(self.log_in("john"), authenticator=authenticator).granted
        )

    def test_subscriber_and_hook(self) -> None:
        """A hook gets the flags that count, and may grant others."""
        seen: list[list[str]] = []

        def hook(request: Any, channels: list[str]) -> list[str]:
            seen.append(channels)
            return ["publish-group"]

        self.vary(WS4REDIS_SUBSCRIBER=f"{__name__}.FewChannels")
        self.assertEqual(parse_access("a b", "publish-group"), self.granted(hook))
        self.assertEqual([["subscribe-broadcast", "publish-user"]], seen)

    def test_subscriber_not_there(self) -> None:
        """A subscriber class that is missing, or has no lists, is an error at the start."""
        for value in ("no.such.Class", f"{__name__}.SimpleNamespace", f"{__name__}.NoChannels", 5):
            self.vary(WS4REDIS_SUBSCRIBER=value)
            error = self.assertRaises(ConfigError, self.make)
            self.assertRegex(str(error), r"^django: WS4REDIS_SUBSCRIBER: [^\n]+$")


class FewChannels:
    """A subscriber class with few channels."""

    subscription_channels = ("subscribe-broadcast",)
    publish_channels = ["publish-user", "publish-all"]


class NoChannels:
    """A subscriber class whose channels are not lists."""

    subscription_channels = publish_channels = None


def process_mary(request: Any) -> None:
    """Make every client mary."""
    from django.contrib.auth.models import User

    request.user = User.objects.get(username="mary")


def allow_nothing(request: Any, channels: list[str]) -> list[str]:
    """Grant nothing."""
    return []


def allow_by_mistake(request: Any, channels: list[str]) -> list[str]:
    """Fail by a mistake, which must not let anybody in."""
    return [] if request.user.is_superviser else channels
