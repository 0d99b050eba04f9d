"""Make a configuration: option over environment over file over Django project over default."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from wsredis.config.declare import Checked, Setting
from wsredis.config.nearest import did_you_mean
from wsredis.config.rules import Rule, read_rules
from wsredis.config.settings import (
    AsgiConfig,
    AuthUrlConfig,
    ForwardConfig,
    GatewayConfig,
    JwtConfig,
    Limits,
    RedisConfig,
    all_settings,
)
from wsredis.errors import ConfigError

__all__ = ["load", "load_rules"]

#: The variable that names the TOML file.
_FILE = "WSREDIS_CONFIG"

#: Variables that are not settings: the file, and what the tests require.
_NOT_SETTINGS = frozenset({_FILE, "WSREDIS_REQUIRE"})

_NONE = "there is no such setting"

#: The variables that Kubernetes sets in every pod for each service of the namespace, as they are
#: for a service with a name like "wsredis-x". Values are part of the pattern, since WSREDIS_PORT is
#: a setting too.
_KUBERNETES = re.compile(
    r"WSREDIS_(?:[A-Z0-9_]+_)?(?:"
    r"SERVICE_HOST=[0-9A-Fa-f.:]+"
    r"|SERVICE_PORT(?:_[A-Z0-9_]+)?=[0-9]+"
    r"|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP))?=(?:tcp|udp|sctp)://.*"
    r"|PORT_[0-9]+_(?:TCP|UDP|SCTP)_(?:PROTO=(?:tcp|udp|sctp)|PORT=[0-9]+|ADDR=[0-9A-Fa-f.:]+)"
    # Links of Docker set two more.
    r"|NAME=/[^/]+/[^/]+"
    r"|ENV_[A-Za-z0-9_]+=.*"
    r")",
    re.DOTALL,
)

#: The parts of `GatewayConfig`, by the field that holds them.
_PARTS: dict[str, type[Checked]] = {
    "redis": RedisConfig,
    "forward": ForwardConfig,
    "jwt": JwtConfig,
    "auth_url": AuthUrlConfig,
    "asgi": AsgiConfig,
    "limits": Limits,
}


def load(
    options: Mapping[str, Any],
    environ: Mapping[str, str] = os.environ,
    path: str | None = None,
    project: Callable[[str], Mapping[str, Any]] | None = None,
    unknown: Callable[[str], None] | None = None,
    defaults: Mapping[str, Any] = MappingProxyType({}),
) -> GatewayConfig:
    """
    Make a configuration: option over environment over file over project over default.

    Every value that is given is checked once, also one that another source overrides.

    Args:
        options: Values by the name of their setting. None stands for "not given".
        environ: Read for names that start with ``WSREDIS_``.
        path: The TOML file. If None, it is the one that ``WSREDIS_CONFIG`` names, if any.
        project: Called with the settings module of ``django``. Returns the values that the Django
            project has for settings, by their names; they have passed their checks. If None, the
            project is not asked.
        unknown: Called with a message about each variable that is no setting. If None, it is an
            error.
        defaults: Values that have passed their checks, for settings that are given nowhere.

    Returns:
        The configuration.

    Raises:
        ConfigError: A value is not allowed, or the file cannot be read. The message begins with the
            option, the variable, or the file and the key.
    """
    known = {each.name: each for each in all_settings()}
    values: dict[str, Any] = {}
    path = path or environ.get(_FILE)
    rules: tuple[Rule, ...] = ()
    if path:
        found, rules = _from_file(path, known)
        values.update(found)
    values.update(_from_environment(environ, known, unknown))
    for name, value in options.items():
        if value is not None and value != []:
            values[name] = known[name].read(value, known[name].option)
    if project is not None and values.get("django"):
        for name, value in _from_project(project(values["django"]), values, known):
            values.setdefault(name, value)
    if values.get("tls-port"):
        # A port without TLS is opened only if it was asked for.
        values.setdefault("port", ())
    for name, value in defaults.items():
        values.setdefault(name, value)
    return _assembled(values, known, rules, path and os.path.abspath(path))


def load_rules(path: str) -> tuple[Rule, ...]:
    """
    Read the rules of the TOML file, for a gateway that runs.

    Raises:
        ConfigError: The file cannot be read, or has a mistake; also one outside of its rules.
    """
    return _from_file(path, {each.name: each for each in all_settings()})[1]


def _from_file(path: str, known: Mapping[str, Setting]) -> tuple[dict[str, Any], tuple[Rule, ...]]:
    try:
        table = tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"--config: {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config: {path}: {error}") from None
    try:
        rules = read_rules(table.pop("rule", []))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    values = {}
    keys = [*(each.name for each in known.values() if not each.secret), "rule"]
    for key, value in table.items():
        setting = known.get(key)
        if setting is None:
            raise ConfigError(f"{path}: {_shown(key)}: {_NONE}{did_you_mean(key, keys)}")
        if setting.secret:
            raise ConfigError(f"{path}: {key}: it may only be given as {setting.variable}")
        values[key] = setting.read(value, f"{path}: {key}")
    return values, rules


def _shown(key: str) -> str:
    return key if key.isprintable() else repr(key)


def _from_environment(
    environ: Mapping[str, str],
    known: Mapping[str, Setting],
    unknown: Callable[[str], None] | None,
) -> dict[str, Any]:
    by_variable = {each.variable: each for each in known.values()}
    values = {}
    for variable, value in environ.items():
        if not variable.startswith("WSREDIS_") or variable in _NOT_SETTINGS:
            continue
        # Compose files pass an empty variable for one that is not set.
        if not value or _KUBERNETES.fullmatch(f"{variable}={value}"):
            continue
        setting = by_variable.get(variable.upper())
        if setting is None and unknown is not None:
            unknown(f"{variable}: {_NONE}{did_you_mean(variable, [*by_variable, _FILE])}")
            continue
        if setting is None:
            found = did_you_mean(variable, [*by_variable, _FILE])
            raise ConfigError(f"{variable}: {_NONE}{found}")
        values[setting.name] = setting.read(value, variable)
    return values


def _from_project(
    found: Mapping[str, Any], values: Mapping[str, Any], known: Mapping[str, Setting]
) -> list[tuple[str, Any]]:
    # The password or the CA of the project's Redis must not be sent to another Redis.
    skipped = "redis" if "redis" in values else None
    return [
        (name, value)
        for name, value in found.items()
        if skipped is None or known[name].part != skipped
    ]


def _assembled(
    values: Mapping[str, Any],
    known: Mapping[str, Setting],
    rules: tuple[Rule, ...],
    file: str | None,
) -> GatewayConfig:
    own: dict[str, Any] = {"rules": rules, "file": file or None}
    parts: dict[str, dict[str, Any]] = {part: {} for part in _PARTS}
    for name, value in values.items():
        part = known[name].part
        fields = own if part is None else parts[part]
        fields[known[name].attribute] = value
    for part, cls in _PARTS.items():
        own[part] = cls.from_checked(parts[part])
    return GatewayConfig.from_checked(own)
