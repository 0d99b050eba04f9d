"""
Rules of the TOML file: which identity has which right on which facility.

A rule without one of the keys applies to any value of it. The first rule that applies decides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from typing import Any

from wsredis.channels import Audience, matches
from wsredis.config.nearest import did_you_mean

__all__ = ["FORWARD", "RIGHTS", "Rule", "read_rules"]

#: The rights on a channel.
RIGHTS = ("subscribe", "publish")

#: The right on a facility with a worker channel. It belongs to no audience.
FORWARD = "forward"

_AUDIENCES = tuple(audience.value for audience in Audience)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """
    One rule. A single string stands for a list of one.

    Attributes:
        allow: Tells whether the rule allows or denies.
        facility: Patterns of facilities, in which ``*`` is any run of characters.
        audience: Any of ``broadcast``, ``group``, ``user``, ``session``.
        right: Any of ``subscribe``, ``publish``, ``forward``.
        who: Any of ``anyone``, ``users`` (all who are logged in), ``group:NAME``, ``user:NAME``.
            Upper and lower case differ in a name.

    Raises:
        ValueError: A value is not allowed; the message begins with the key.
    """

    allow: bool
    facility: tuple[str, ...] = ("*",)
    audience: tuple[str, ...] = _AUDIENCES
    right: tuple[str, ...] = (*RIGHTS, FORWARD)
    who: tuple[str, ...] = ("anyone",)

    def __post_init__(self) -> None:
        if not isinstance(self.allow, bool):
            raise ValueError(f"allow: {self.allow!r} is neither true nor false")
        for key in ("facility", "audience", "right", "who"):
            object.__setattr__(self, key, _strings(key, getattr(self, key)))
        _check("audience", self.audience, _AUDIENCES)
        _check("right", self.right, (*RIGHTS, FORWARD))
        for each in self.who:
            kind, _, name = each.partition(":")
            if each not in ("anyone", "users") and not (kind in ("group", "user") and name):
                raise ValueError(
                    f"who: {each!r} is not one of anyone, users, group:NAME, user:NAME"
                )

    def fits(
        self,
        right: str,
        audience: Audience | None,
        facility: str,
        *,
        user: str | None,
        groups: Collection[str],
    ) -> bool:
        """
        Tell whether the rule applies to one right of one identity.

        Args:
            right: One of `RIGHTS`, or `FORWARD`.
            audience: The audience of the channel. If None, it is one of a project's own, or there
                is none: only a rule for all audiences fits.
            facility: The facility of the channel.
            user: The name of the user. None or empty if nobody is logged in.
            groups: The names of the user's groups.
        """
        return (
            right in self.right
            and (
                len(set(self.audience)) == len(_AUDIENCES)
                if audience is None
                else audience.value in self.audience
            )
            and any(matches(pattern, facility) for pattern in self.facility)
            and any(_is(each, user, groups) for each in self.who)
        )


def read_rules(value: Any) -> tuple[Rule, ...]:
    """
    Read the tables of a TOML file.

    Args:
        value: The value of the key ``rule``.

    Returns:
        The rules in their order.

    Raises:
        ValueError: A rule is wrong. The message begins with its number, and names the key.
    """
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise ValueError("rule: each rule must be a table of its own, below a line [[rule]]")
    rules = []
    for number, table in enumerate(value, 1):
        try:
            rules.append(_rule(table))
        except ValueError as error:
            raise ValueError(f"rule {number}: {error}") from None
    return tuple(rules)


def _rule(table: dict[str, Any]) -> Rule:
    known = [each.name for each in fields(Rule)]
    for key in table:
        if key not in known:
            # In TOML, all keys below [[rule]] belong to the rule.
            raise ValueError(
                f"{key if key.isprintable() else repr(key)}: a rule has no such key, only "
                f"{', '.join(known)}; settings stand before the first rule"
                f"{did_you_mean(key, known)}"
            )
    if "allow" not in table:
        raise ValueError("allow: it is missing; write allow = true or allow = false")
    return Rule(**table)


def _strings(key: str, value: Any) -> tuple[str, ...]:
    strings = (value,) if isinstance(value, str) else value
    if not isinstance(strings, (list, tuple)) or not all(isinstance(each, str) for each in strings):
        raise ValueError(f"{key}: {value!r} is neither a string nor a list of strings")
    if not strings:
        raise ValueError(f"{key}: the list is empty; without the key the rule applies to any value")
    return tuple(strings)


def _check(key: str, values: Iterable[str], known: Collection[str]) -> None:
    for each in values:
        if each not in known:
            raise ValueError(
                f"{key}: {each!r} is not one of {', '.join(known)}{did_you_mean(each, known)}"
            )


def _is(who: str, user: str | None, groups: Collection[str]) -> bool:
    kind, _, name = who.partition(":")
    if kind == "group":
        return name in groups
    if kind == "user":
        return name == user
    return who == "anyone" or bool(user)
