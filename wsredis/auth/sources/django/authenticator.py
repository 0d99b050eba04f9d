"""
Identities from the sessions of a Django project.

All code that may touch a database runs in threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

from wsredis.auth.control_commands import all_names
from wsredis.auth.sources.availability import Report, SourceAway, nobody
from wsredis.auth.sources.backend_watch import BackendWatch
from wsredis.auth.sources.django.hooks import (
    failing_closed,
    load_hook,
    unavailable,
)
from wsredis.auth.sources.django.identity import identity_of
from wsredis.auth.sources.django.project import set_up
from wsredis.auth.sources.django.request import django_request, has_cookie
from wsredis.auth.sources.django.sessions import (
    NO_SESSION,
    check_sessions,
    drop_local_copy,
    open_session,
    session_user,
)
from wsredis.auth.sources.django.subscriber import Subscribers
from wsredis.auth.sources.django.subscriber_start import load_subscriber, make_subscribers
from wsredis.auth.sources.django.threads import BoundedThreads
from wsredis.channels import FLAGS, Access, parse_flags, read_flag
from wsredis.config import GatewayConfig
from wsredis.gateway.enrolment import Enrolment
from wsredis.gateway.identity import Handshake, Identity

__all__ = ["DjangoAuthenticator"]


class DjangoAuthenticator:
    """
    Knows clients by the session cookie of a Django project.

    The settings ``WS4REDIS_PROCESS_REQUEST``, ``WS4REDIS_ALLOWED_CHANNELS`` and
    ``WS4REDIS_SUBSCRIBER`` of the project are used. See `wsredis.gateway.identity.AuthBackend`.

    Args:
        reactor: Takes results from threads.
        config: The settings ``django``, ``auth-concurrency`` and ``auth-timeout`` are used.
        report: Told whether the project can be asked.
        redis: Makes a client of redis-py for the subscribers of a project whose class has methods
            of its own. If None, such a project is refused.
    Attributes:
        session_age: Seconds for which a session of the project lives, unless a page says otherwise.

    Raises:
        ConfigError: The project cannot be used.
    """

    def __init__(
        self,
        reactor: Any,
        config: GatewayConfig,
        report: Report = nobody,
        redis: Callable[[], Any] | None = None,
    ) -> None:
        assert config.django is not None
        set_up(config.django)
        check_sessions(config.django)
        from django.conf import settings as project

        self._project = project
        self.session_age = float(project.SESSION_COOKIE_AGE)
        self._reactor = reactor
        self._timeout = config.auth_timeout
        self._process = load_hook(project, "WS4REDIS_PROCESS_REQUEST", config.auth_timeout)
        self._allowed = load_hook(project, "WS4REDIS_ALLOWED_CHANNELS", config.auth_timeout)
        cls = load_subscriber(project, config)
        #: The flags that count, as the class has them, by those of URLs.
        self._possible = {flag: flag for flag in FLAGS}
        if cls is not None:
            self._possible = {flag.strip().lower(): flag for flag in cls.flags}
            self._possible.update((flag, flag) for flag in FLAGS.intersection(self._possible))
        has_methods = cls is not None and bool(cls.overridden)
        #: Whether the project is asked about each client, with a session or without.
        self._asks_for_all = has_methods or not self._process is self._allowed is None
        self._watch = BackendWatch(
            reactor,
            self._ask_for_nobody,
            report,
            "sessions cannot be checked: the database or the cache does not answer",
            is_blocking=self._asks_for_all,
        )
        self._threads = BoundedThreads(
            reactor, config.auth_concurrency, _close_connections, _close_old_connections
        )
        self._subscribers: Subscribers | None = None
        if cls is not None and cls.overridden:
            self._subscribers = make_subscribers(
                reactor,
                config,
                cls,
                redis,
                self._threads,
                _close_connections,
                _close_old_connections,
            )
            self._url_prefix = config.url_prefix

    def start(self) -> None:
        """Do nothing: threads start when they are needed."""

    def stop(self) -> None:
        """Make no more calls. Each thread closes its connections to the database as it ends."""
        self._watch.stop()
        self._threads.stop()
        if self._subscribers is not None:
            self._subscribers.stop()

    def idle(self) -> Deferred[None]:
        """Wait until subscribers of clients that have gone have been released."""
        return succeed(None) if self._subscribers is None else self._subscribers.idle()

    def missing(self, handshake: Handshake) -> str:
        """See `wsredis.gateway.identity.AuthBackend.missing`."""
        name = self._project.SESSION_COOKIE_NAME
        return "" if has_cookie(handshake, name) else f"cookie {name}"

    def forget(self) -> None:
        """Do nothing: the project is asked each time."""

    def identify(self, handshake: Handshake) -> Deferred[Identity] | Identity | None:
        """
        See `wsredis.gateway.identity.Authenticator.identify`.

        Raises:
            HandshakeRejected: 403 or 400 if a hook denies it, 500 if a hook fails, 503 if the
                project cannot reach its database, or if too many handshakes wait.
        """
        if not self._asks_for_all and not has_cookie(handshake, self._project.SESSION_COOKIE_NAME):
            access = self._access(handshake, self._flags(handshake))
            return None if access == handshake.requested else Identity(granted=access)
        began = self._reactor.seconds()
        asked = self._threads.call(lambda: self._identify_in_thread(handshake), handshake.address)
        return asked.addCallbacks(self._answered, self._failed, errbackArgs=(began,))

    def _answered(self, identity: Identity) -> Identity:
        self._watch.answered()
        return identity

    def _failed(self, failure: Failure, began: float) -> Failure:
        # A client that has left cancels the question too, but sooner.
        is_late = self._reactor.seconds() - began >= self._timeout
        if failure.check(SourceAway) or (failure.check(CancelledError) and is_late):
            self._watch.failed()
        return failure

    def _ask_for_nobody(self) -> Deferred[Identity]:
        """Ask for a session that does not exist, which the database has to look for."""
        cookie = f"{self._project.SESSION_COOKIE_NAME}={NO_SESSION}"
        handshake = Handshake(Access(""), "/", {"cookie": cookie}, "unix")
        asked = self._threads.call(lambda: self._identify_in_thread(handshake))
        return asked.addTimeout(self._timeout, self._reactor)

    def _identify_in_thread(self, handshake: Handshake) -> Identity:
        with unavailable():
            is_clean = False
            try:
                identity = self._identity(handshake)
                # A hook may have hidden an error of the database, or have left a transaction open.
                is_clean = not self._asks_for_all
                return identity
            finally:
                # The next call must not meet a connection that is broken or in another state.
                if not is_clean:
                    _close_old_connections()

    def _identity(self, handshake: Handshake) -> Identity:
        from django.contrib.auth.models import AnonymousUser

        request = django_request(handshake)
        if self._process is None:
            self._process_request(request)
        else:
            drop_local_copy(request.COOKIES.get(self._project.SESSION_COOKIE_NAME))
            with failing_closed(self._process.name):
                self._process.call(request)
            if getattr(request, "user", None) is None:
                request.user = AnonymousUser()
            if getattr(request, "session", None) is None:
                request.session = open_session(None)
        flags = self._flags(handshake)
        if self._allowed is not None:
            with failing_closed(self._allowed.name):
                answer = self._allowed.call(request, list(flags))
                flags = flags if answer is None else list(answer)
        granted = self._access(handshake, flags)
        access = None if granted == handshake.requested else granted
        if self._process is None:
            identity = identity_of(request, granted, access)
        else:
            # The hook may have set a user or a session that fails.
            with failing_closed(self._process.name):
                identity = identity_of(request, granted, access)
        if self._subscribers is None:
            return identity
        return replace(
            identity, enrol=partial(self._enrol, request, flags, handshake, [*all_names(identity)])
        )

    def _enrol(
        self,
        request: Any,
        flags: Sequence[Any],
        handshake: Handshake,
        owners: Sequence[tuple[str, str]],
        granted: Access,
    ) -> Deferred[Enrolment]:
        """Let the subscriber class decide on the channels of a client. Called in the reactor."""
        assert self._subscribers is not None
        if granted.facility != handshake.requested.facility:
            # A policy has put another one in its place.
            request.path_info = f"{self._url_prefix}{granted.facility}"
        request.facility = granted.facility
        allowed = dict.fromkeys((*granted.flags, *granted.own))
        given = (each for each in flags if isinstance(each, str) and each in allowed)
        began = self._reactor.seconds()
        enrolled = self._subscribers.enrol(
            request, [*dict.fromkeys((*given, *allowed))], handshake.address, owners
        )
        return enrolled.addErrback(self._failed, began)

    def _process_request(self, request: Any) -> None:
        """Do the work of Django's middlewares now, and not when the user is first looked at."""
        key = request.COOKIES.get(self._project.SESSION_COOKIE_NAME)
        request.session = open_session(key)
        request.user = session_user(request)

    def _flags(self, handshake: Handshake) -> list[str]:
        """List the flags that the client asks for and may ask for, in the order of its URL."""
        given = [read_flag(parameter) for parameter in handshake.query.split("&")]
        wanted = handshake.requested.flags
        return [
            self._possible[flag]
            for flag in dict.fromkeys([*given, *wanted])
            if flag in self._possible and (flag in wanted or flag not in FLAGS)
        ]

    def _access(self, handshake: Handshake, flags: Iterable[Any]) -> Access:
        # Anything that is not a flag is ignored, as ws4redis does.
        given = [flag for flag in flags if isinstance(flag, str)]
        subscribe, publish = parse_flags(FLAGS.intersection(given))
        own: Iterable[str] = ()
        if self._subscribers is not None:
            own = dict.fromkeys(flag for flag in given if flag not in FLAGS and flag != "echo")
        asked = handshake.requested
        # The hooks of a project know nothing of workers.
        return Access(
            asked.facility, subscribe, publish, asked.echo, tuple(own), forward=asked.forward
        )


def _close_old_connections() -> None:
    """Close connections that are broken or old, as Django does before and after a request."""
    from django.db import close_old_connections

    # An error of the database shows in the next query.
    with suppress(Exception):
        close_old_connections()


def _close_connections() -> None:
    from django.db import connections

    # The thread ends: nobody is left to hear of a broken connection.
    with suppress(Exception):
        connections.close_all()
