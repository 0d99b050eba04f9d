"""The identity of a client, its rights, and whether it may stay connected."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from wsredis.auth.admission import Accepted, Admission
from wsredis.auth.control import ControlChannel, ListenerHub
from wsredis.auth.control_commands import RecentCommands
from wsredis.auth.ended_log import EndedLog
from wsredis.auth.hint_log import HintLog
from wsredis.auth.open_sockets import OpenSockets
from wsredis.auth.policies import origin_policy, policies
from wsredis.auth.policies.rules import RulePolicy
from wsredis.auth.session_monitor import SessionMonitor
from wsredis.auth.sources.availability import Availability
from wsredis.config import GatewayConfig, JwtConfig
from wsredis.config.load import load_rules
from wsredis.errors import ConfigError
from wsredis.gateway.health import Health
from wsredis.gateway.identity import AuthBackend, Authenticator, Policy

if TYPE_CHECKING:
    from wsredis.auth.sources.django.authenticator import DjangoAuthenticator

__all__ = ["Accepted", "Admission", "Auth", "SessionMonitor", "from_config"]


class Auth:
    """
    All parts of this folder, ready to be started.

    Args:
        admission: Decides on handshakes.
        sessions: Watches open connections.
        control: Carries out commands of the application. If None, it is not listened to.
        backends: The identity sources to start and to stop.
        ended: Carries out the commands that were missed. If None, there are none.
        reloads: See the attribute.
        idle: Waits until nothing is left to be done for clients that have gone. If None, nothing
            ever is.
        sockets: See the attribute.

    Attributes:
        admission: Decides on handshakes.
        sessions: Watches open connections; is notified of each that was opened or lost.
        reloads: Functions that read a file again, by the name of the thing that is in it. Each
            raises ConfigError if the file cannot be used; nothing has changed then.
        sockets: Tells a page about its own socket. None without ``demo``.
    """

    _log = Logger()

    def __init__(
        self,
        admission: Admission,
        sessions: SessionMonitor,
        control: ControlChannel | None = None,
        backends: Sequence[AuthBackend] = (),
        ended: EndedLog | None = None,
        reloads: Mapping[str, Callable[[], object]] | None = None,
        idle: Callable[[], Deferred[None]] | None = None,
        sockets: OpenSockets | None = None,
    ) -> None:
        self.admission = admission
        self.sessions = sessions
        self._control = control
        self._ended = ended
        self._backends = backends
        self.reloads = reloads or {}
        self.sockets = sockets
        self._idle = idle

    def start(self) -> None:
        """Start the sources, and watch connections. Called once, when the gateway starts."""
        for backend in self._backends:
            backend.start()
        if self._control is not None:
            self._control.start()
            self.sessions.start()
        if self._ended is not None:
            self._ended.start()

    def idle(self) -> Deferred[None]:
        """Wait until nothing is left to be done for clients that have gone."""
        return succeed(None) if self._idle is None else self._idle()

    def stop(self) -> None:
        """Stop all of it, without waiting. Open connections stay open. Harmless if not started."""
        if self._control is not None:
            self._control.stop()
        if self._ended is not None:
            self._ended.stop()
        self.sessions.stop()
        self.admission.stop()
        for backend in self._backends:
            try:
                backend.stop()
            except Exception:
                # The others are still to be stopped.
                self._log.failure(
                    "cannot stop {backend}",
                    event="backend-stop-failed",
                    backend=type(backend).__name__,
                )


def from_config(
    config: GatewayConfig,
    reactor: Any,
    hub: ListenerHub,
    *,
    authenticator: Authenticator | None = None,
    policy: Policy | None = None,
    health: Health | None = None,
    redis: Callable[[], Any] | None = None,
    wall_clock: Callable[[], float] = time.time,
) -> Auth:
    """
    Build this wing as the settings say.

    Args:
        config: The settings.
        reactor: Runs timers, threads and HTTP requests.
        hub: Brings the messages of the control channel.
        authenticator: Asked in place of those of *config*. It is neither started nor stopped. If
            None, those of *config*; without any, all clients are anonymous and are not watched.
        policy: Asked in place of those of *config*. If None, those of *config*: origins, rules
            and the function of ``policy``.
        health: Told which of the sources of *config* cannot be asked. If None, nobody is.
        redis: Makes a client of redis-py for the subscriber class of a Django project. If None,
            such a class may have no methods.
        wall_clock: Returns the Unix time in seconds.
    Returns:
        The parts, not started.
    Raises:
        ConfigError: A setting cannot be used.
    """
    availability = Availability(Health() if health is None else health)
    backends = _backends(config, reactor, availability, redis) if authenticator is None else []
    authenticators = backends if authenticator is None else [authenticator]
    django = _django(config, backends)
    recent = RecentCommands(reactor, 0.0 if django is None else django.session_age)
    origins = origin_policy(config) if policy is None else None
    asked = policies(config) if policy is None else [policy]
    reloads = dict(_reloads(config, backends, asked))
    admission = Admission(
        reactor,
        authenticators,
        asked,
        recent,
        timeout=config.auth_timeout,
        origins=origins,
        wall_clock=wall_clock,
    )
    sockets = None
    if config.demo:
        sockets = OpenSockets(admission, config.prefix, knows_identities=bool(authenticators))
    sessions = SessionMonitor(
        reactor,
        admission.decide,
        recent,
        HintLog(reactor, hub.incidents),
        admission.explain_again,
        recheck=config.recheck,
        wall_clock=wall_clock,
        sockets=sockets,
    )
    if not authenticators:
        return Auth(admission, sessions, reloads=reloads, sockets=sockets)
    forget = [backend.forget for backend in backends]
    control = ControlChannel(hub, config.prefix, sessions, recent, forget)
    ended = EndedLog(reactor, hub.broker, config.prefix, control.carry_out)
    idle = None if django is None else django.idle
    return Auth(admission, sessions, control, backends, ended, reloads, idle, sockets)


def _reloads(
    config: GatewayConfig, backends: Iterable[AuthBackend], asked: Iterable[Policy]
) -> Iterator[tuple[str, Callable[[], object]]]:
    """See `Auth.reloads`."""
    if config.jwt.key is not None:
        from wsredis.auth.sources.jwt import JwtAuthenticator

        for backend in backends:
            if isinstance(backend, JwtAuthenticator):
                yield "jwt-key", backend.reload
    path = config.file
    if path is not None:
        for each in asked:
            if isinstance(each, RulePolicy):
                yield "rules", partial(_reload_rules, each, path)


def _django(config: GatewayConfig, backends: Iterable[AuthBackend]) -> DjangoAuthenticator | None:
    """Return the source that asks the project of ``django``, if it is among the sources."""
    if config.django is None:
        return None
    from wsredis.auth.sources.django.authenticator import DjangoAuthenticator

    return next((each for each in backends if isinstance(each, DjangoAuthenticator)), None)


def _reload_rules(policy: RulePolicy, path: str) -> None:
    policy.replace(load_rules(path))


def _backends(
    config: GatewayConfig,
    reactor: Any,
    availability: Availability,
    redis: Callable[[], Any] | None,
) -> list[AuthBackend]:
    """Make the authenticators of the settings, in the order in which they are asked."""
    # Each is imported only if it is configured: it needs libraries that others do not have.
    found: list[AuthBackend] = []
    if config.jwt != JwtConfig():
        from wsredis.auth.sources.jwt import JwtAuthenticator

        found.append(JwtAuthenticator(config.jwt, reactor, report=availability.of("jwt")))
    if config.django is not None and config.auth_url.url is not None:
        raise ConfigError("auth-url: cannot be combined with django")
    if config.django is not None:
        from wsredis.auth.sources.django.authenticator import DjangoAuthenticator

        found.append(
            DjangoAuthenticator(
                reactor, config, availability.of("django", is_only=not found), redis
            )
        )
    if config.auth_url.url is None and config.auth_url.cache:
        raise ConfigError("auth-cache: requires auth-url")
    if config.auth_url.url is not None:
        from wsredis.auth.sources.subrequest import SubrequestAuthenticator

        found.append(
            SubrequestAuthenticator(
                config.auth_url,
                reactor,
                config.auth_timeout,
                config.auth_concurrency,
                report=availability.of("auth-url", is_only=not found),
            )
        )
    return found
