"""``wsredis check-config``: checks whether the gateway would start, and shows rights."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import quote

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    globalLogPublisher,
)
from zope.interface import implementer

from wsredis.auth.policies import origin_policy, policies
from wsredis.auth.policies.function_policy import FunctionPolicy
from wsredis.auth.policies.origin import OriginPolicy
from wsredis.channels import Access, Audience
from wsredis.config import GatewayConfig, Setting, all_settings
from wsredis.config.forward import channel_for
from wsredis.config.rules import FORWARD, RIGHTS
from wsredis.dialects.plain import PlainDialect
from wsredis.errors import BadRequest, ConfigError, HandshakeRejected
from wsredis.gateway.identity import Handshake, Identity, Policy
from wsredis.service.startup import build, give_up
from wsredis.service.tap import Options, repeatable

__all__ = ["CheckOptions", "check_start", "run"]

#: The names of policies that refuse, in the table. A rule gives its number itself.
_REFUSERS: dict[type, str] = {OriginPolicy: "origin", FunctionPolicy: "policy"}


class CheckOptions(Options):
    """The options of the gateway, and an identity."""

    synopsis = "Usage: wsredis check-config [options]"
    help_command = "wsredis check-config --help"
    longdesc = (
        "Checks whether twistd wsredis would start with these options, the environment and the "
        "file, and prints the settings that differ from their defaults. With --facility it shows "
        "what the identity of --user, --group and --session may do on that facility; without them, "
        "what an anonymous client may do."
    )
    optParameters = [
        ["user", None, None, "Name of the user."],
        ["session", None, None, "Key of the session."],
        [
            *("origin", None, None),
            "Origin of the page that connects. If not given, the client is not a browser.",
        ],
    ]

    opt_group = repeatable("group", "Name of a group of the user. May be repeated.")
    opt_facility = repeatable("facility", "Facility to show the rights on. May be repeated.")


@dataclass(frozen=True, slots=True)
class _Answer:
    """
    The answer of the policies for one flag.

    Attributes:
        word: The cell of the table.
        channels: The channels that are granted.
        mistake: The error that a policy raised. Empty if there is none.
    """

    word: str
    channels: tuple[str, ...] = ()
    mistake: str = ""


_Result = TypeVar("_Result")

_Answers = dict[tuple[str, Audience], _Answer]


def run(args: Sequence[str], reactor: Any = None) -> int:
    """
    Check a configuration, and print it. A mistake ends the program with one line and status 1.

    Args:
        args: The command line after ``check-config``.
        reactor: If None, it is the global reactor. It runs only if the function of ``policy``
            returns a Deferred that has not fired yet.

    Returns:
        0.
    """
    options = CheckOptions()
    options.parseOptions(list(args))
    if reactor is None:
        from twisted.internet import reactor
    try:
        config = _checked(options, reactor)
        lines = [*_settings_of(config), *_rights(options, config, reactor)]
    except ConfigError as error:
        give_up(error)
    print("OK", *lines, sep="\n")
    return 0


def check_start(config: GatewayConfig, reactor: Any) -> None:
    """
    Do everything with a configuration that a start does before it binds a port.

    Raises:
        ConfigError: The gateway would not start.
    """
    checkable = replace(
        config,
        port=_checkable(config.port),
        tls_port=_checkable(config.tls_port),
        metrics_port=config.metrics_port and _checkable([config.metrics_port])[0],
    )
    build(checkable, reactor)


def _checked(options: Options, reactor: Any) -> GatewayConfig:
    """Load and check a configuration. Print warnings to standard error."""
    warnings = FilteringLogObserver(_print_warning, [LogLevelFilterPredicate(LogLevel.warn)])
    globalLogPublisher.addObserver(warnings)
    try:
        config = options.load()
        check_start(config, reactor)
    finally:
        globalLogPublisher.removeObserver(warnings)
    return config


def _checkable(ports: Sequence[str]) -> tuple[str, ...]:
    # Sockets of systemd exist only in the service that systemd starts.
    return tuple("0" if "systemd:" in each else each for each in ports)


@implementer(ILogObserver)
def _print_warning(event: LogEvent) -> None:
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    print(f"warning: {text}", file=sys.stderr)


def _settings_of(config: GatewayConfig) -> Iterator[str]:
    """Return a line for each setting that differs from its default, as in a TOML file."""
    for setting in all_settings():
        part = config if setting.part is None else getattr(config, setting.part)
        value = getattr(part, setting.attribute)
        if value != setting.default:
            yield f"{setting.name} = {_shown(setting, value)}"
    if config.rules:
        yield f"rules: {len(config.rules)}"


def _shown(setting: Setting, value: Any) -> str:
    if setting.secret:
        return '"***"'
    values = [_masked(each) for each in value] if isinstance(value, tuple) else _masked(value)
    return json.dumps(values, ensure_ascii=False)


def _masked(value: Any) -> Any:
    """Return a URL without its secrets: the password and the query. Other values stay."""
    if not isinstance(value, str) or "://" not in value:
        return value
    value = re.sub(r"//([^/@:]*):[^/]*@", r"//\1:***@", value)
    return re.sub(r"\?.+", "?***", value)


def _rights(options: CheckOptions, config: GatewayConfig, reactor: Any) -> Iterator[str]:
    """Return the lines of a table for each facility."""
    given = {name: options[name] for name in ("user", "session", "origin")}
    groups = options.repeated.get("group", [])
    facilities = options.repeated.get("facility", [])
    owners = [*given.items(), *(("group", each) for each in groups)]
    for name, value in owners:
        if value is not None:
            _check_text(name, value)
    if not facilities and any(value is not None for _, value in owners):
        raise ConfigError("--facility: required with --user, --group, --session or --origin")
    identity = Identity(given["user"], tuple(groups), given["session"])
    headers = {} if given["origin"] is None else {"origin": given["origin"]}
    client = _Client(identity, config, reactor)
    asking = Handshake(Access(""), "", headers, "check-config")
    origins = origin_policy(config)
    if identity != Identity() and origins.is_foreign(asking):
        yield ""
        yield "A page of this origin is identified by its token only: its cookies are ignored."
    for each in facilities:
        facility, path = _facility(each, config.url_prefix)
        handshake = replace(asking, requested=Access(facility), path=path)
        answers = Deferred.fromCoroutine(client.answers(handshake))
        yield from _table(facility, _wait(answers, reactor))
        channel = channel_for(config.forward.channels, facility)
        if channel is not None:
            heard = _wait(Deferred.fromCoroutine(client.is_heard(handshake)), reactor)
            yield f"  {FORWARD:11}{f'to {channel}' if heard else 'no'}"


def _check_text(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"--{name}: {value!r} is not UTF-8") from None
    if not value:
        raise ConfigError(f"--{name}: it is empty")


def _facility(text: str, url_prefix: str) -> tuple[str, str]:
    """Return the facility as the gateway reads it, and the path of its URL."""
    path = url_prefix + quote(os.fsencode(text))
    try:
        access = PlainDialect(url_prefix=url_prefix).parse(path, "")
    except BadRequest as error:
        raise ConfigError(f"--facility: {error}") from None
    assert access is not None
    return access.facility, path


class _Client:
    """A client for which the policies are asked about one flag at a time."""

    def __init__(self, identity: Identity, config: GatewayConfig, reactor: Any) -> None:
        self._identity = identity
        self._config = config
        self._reactor = reactor
        self._policies = policies(config)

    async def answers(self, handshake: Handshake) -> _Answers:
        """Return the answer for each flag on the facility of *handshake*."""
        return {
            (right, audience): await self._answer(right, audience, handshake)
            for right in RIGHTS
            for audience in Audience
        }

    async def _answer(self, right: str, audience: Audience, handshake: Handshake) -> _Answer:
        flag = frozenset({audience})
        facility = handshake.requested.facility
        access = Access(facility, flag) if right == "subscribe" else Access(facility, publish=flag)
        for policy in self._policies:
            try:
                access = await self._ask(policy, replace(handshake, requested=access))
            except HandshakeRejected as error:
                return _Answer(f"no ({_REFUSERS.get(type(policy)) or error.hint})")
            except Exception as error:
                # As in the gateway, an error of a policy is a refusal.
                return _Answer("no (mistake)", mistake=" ".join(repr(error).split()))
        if audience not in (access.subscribe if right == "subscribe" else access.publish):
            return _Answer("no (policy)")
        names = self._identity.channels(self._config.prefix, access.facility, flag)
        return _Answer("yes" if names else "no channel", tuple(name.decode() for name in names))

    async def is_heard(self, handshake: Handshake) -> bool:
        """Tell whether workers hear the client, where there are some."""
        access = Access(handshake.requested.facility, forward=True)
        for policy in self._policies:
            try:
                access = await self._ask(policy, replace(handshake, requested=access))
            except Exception:
                # Its line of the table tells more.
                return False
        return access.forward

    def _ask(self, policy: Policy, handshake: Handshake) -> Deferred[Access]:
        question: Any = policy.allow
        answer: Deferred[Access] = maybeDeferred(question, self._identity, handshake)
        return answer.addTimeout(self._config.auth_timeout, self._reactor)


def _wait(answers: Deferred[_Result], reactor: Any) -> _Result:
    """Run the reactor until the answers are there, and return them."""
    found: list[_Result] = []

    def done(result: _Result) -> None:
        found.append(result)
        if reactor.running:
            reactor.crash()

    answers.addCallback(done)
    if not found:
        reactor.run()
    return found[0]


def _table(facility: str, answers: _Answers) -> Iterator[str]:
    verbs = {"subscribe": "subscribes", "publish": "publishes"}
    words = [each.value for each in Audience] + [each.word for each in answers.values()]
    width = max(map(len, words)) + 2
    yield ""
    yield facility or '""'
    yield " " * 13 + "".join(each.value.ljust(width) for each in Audience).rstrip()
    for right in RIGHTS:
        cells = (answers[right, audience].word.ljust(width) for audience in Audience)
        yield f"  {right:11}{''.join(cells).rstrip()}"
    # Each mistake once, in the order of the cells.
    for mistake in dict.fromkeys(answer.mistake for answer in answers.values() if answer.mistake):
        yield f"  mistake: {mistake}"
    for (right, _), answer in answers.items():
        for name in answer.channels:
            yield f"  {verbs[right]} to {name}"
