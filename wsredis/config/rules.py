"""
Rules: who may do what on which facility, as an operator writes them into the TOML file.

A rule that leaves a key out holds for anything there. The first rule that fits decides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from typing import Any

from wsredis.channels import Audience, matches

__all__ = ["RIGHTS", "Rule", "read_rules"]

#: What can be done on a channel.
RIGHTS = ("subscribe", "publish")

_AUDIENCES = tuple(audience.value for audience in Audience)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """
    One rule. A single text stands for a list of one.

    Attributes:
        allow: Whether what fits is allowed.
        facility: Patterns of facilities, in which ``*`` is any run of characters.
        audience: ``broadcast``, ``group``, ``user``, ``session``.
        right: ``subscribe``, ``publish``.
        who: ``anyone``, ``users`` (whoever is logged in), ``group:NAME``, ``user:NAME``. The names
            must be the same, letter by letter.
    Raises:
        ValueError: A value is not allowed; the text names the key.
    """

    allow: bool
    facility: tuple[str, ...] = ("*",)
    audience: tuple[str, ...] = _AUDIENCES
    right: tuple[str, ...] = RIGHTS
    who: tuple[str, ...] = ("anyone",)

    def __post_init__(self) -> None:
        if not isinstance(self.allow, bool):
            raise ValueError(f"allow: {self.allow!r} is neither true nor false")
        for key in ("facility", "audience", "right", "who"):
            object.__setattr__(self, key, _words(key, getattr(self, key)))
        _check("audience", self.audience, _AUDIENCES)
        _check("right", self.right, RIGHTS)
        for each in self.who:
            kind, _, name = each.partition(":")
            if each not in ("anyone", "users") and not (kind in ("group", "user") and name):
                raise ValueError(f"who: {each!r} is none of anyone, users, group:NAME, user:NAME")

    def fits(
        self,
        right: str,
        audience: Audience,
        facility: str,
        *,
        user: str | None,
        groups: Collection[str],
    ) -> bool:
        """Whether the rule is about this right of this identity."""
        return (
            right in self.right
            and audience.value in self.audience
            and any(matches(pattern, facility) for pattern in self.facility)
            and any(_is(each, user, groups) for each in self.who)
        )


def read_rules(value: Any) -> tuple[Rule, ...]:
    """
    Read the tables of a TOML file.

    Raises:
        ValueError: The text begins with the number of the rule, and names the key.
    """
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise ValueError("rule: each rule is a table of its own, below a line [[rule]]")
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
            # In TOML all that follows [[rule]] belongs to it.
            raise ValueError(
                f"{key if key.isprintable() else repr(key)}: a rule has no such key, only "
                f"{', '.join(known)}; settings stand before the first rule"
            )
    if "allow" not in table:
        raise ValueError("allow: it is missing; write allow = true or allow = false")
    return Rule(**table)


def _words(key: str, value: Any) -> tuple[str, ...]:
    words = (value,) if isinstance(value, str) else value
    if not isinstance(words, (list, tuple)) or not all(isinstance(each, str) for each in words):
        raise ValueError(f"{key}: {value!r} is neither a text nor a list of texts")
    if not words:
        raise ValueError(f"{key}: the list is empty; without the key the rule holds for any")
    return tuple(words)


def _check(key: str, words: Iterable[str], known: Collection[str]) -> None:
    for each in words:
        if each not in known:
            raise ValueError(f"{key}: {each!r} is none of {', '.join(known)}")


def _is(who: str, user: str | None, groups: Collection[str]) -> bool:
    kind, _, name = who.partition(":")
    if kind == "group":
        return name in groups
    if kind == "user":
        return name == user
    return who == "anyone" or bool(user)
