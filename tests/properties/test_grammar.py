"""The grammar of URLs, flags, channels and settings, for any input."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support.search import search
from wsredis.channels import (
    Access,
    Audience,
    channel_name,
    channel_names,
    loggable_channel,
    matches,
    parse_flags,
)
from wsredis.config import GatewayConfig, all_settings, load
from wsredis.config.redis_url import format_url, parse_url
from wsredis.config.rules import RIGHTS, Rule, read_rules
from wsredis.dialects.plain import PlainDialect
from wsredis.dialects.urls import MAX_FACILITY_BYTES
from wsredis.errors import BadRequest, ConfigError
from wsredis.group_names import MAX_GROUP, gateway_group, parse_gateway_group

#: All that may stand in the target of a request.
_TARGET = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=60)

_ESCAPED = st.lists(
    st.sampled_from(
        ["a", "/", "&", "=", "echo", "%", "%2F", "%00", "%ff", "%e2%82%ac", "%ed%a0%80"]
    )
).map("".join)

_TEXT = st.text(max_size=20)
#: With surrogates: the command line may hold any bytes.
_ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)

_FACILITY = st.text(
    st.characters(exclude_categories=("Cs", "Cc")), max_size=MAX_FACILITY_BYTES // 4
)
_AUDIENCES = st.frozensets(st.sampled_from(Audience))

#: The name of a user, a group or a session that gives a channel.
_OWNER = st.text(st.characters(exclude_categories=("Cs",), exclude_characters=":"), min_size=1)


class UrlTests(SynchronousTestCase):
    """The path and the query of a handshake."""

    @search(150)
    @given(_FACILITY, _AUDIENCES, _AUDIENCES, st.booleans(), st.data())
    def test_written_and_read(
        self,
        facility: str,
        subscribe: frozenset[Audience],
        publish: frozenset[Audience],
        echo: bool,
        data: st.DataObject,
    ) -> None:
        """Each access can be written as a URL, in many ways, and is read as it was meant."""
        path = "".join(
            each
            if each.isascii() and each.isalnum() and data.draw(st.booleans())
            else _quoted(each)
            for each in facility
        )
        asked = Access(facility, subscribe, publish, echo)
        flags = [*asked.flags, *(["echo"] if echo else [])]
        parameters = [
            data.draw(st.sampled_from([each, each.upper(), f"{each}=x", f"+{each}", f"{each}%20"]))
            for each in flags
        ]
        parameters += data.draw(st.lists(st.sampled_from(["", "x", "token=echo", "publish-all"])))
        query = "&".join(data.draw(st.permutations(parameters)))
        dialect = PlainDialect()
        for _ in range(2):
            self.assertEqual(asked, dialect.parse(f"/ws/{path}", query))

    @search(150)
    @given(_TARGET | _ESCAPED, _TARGET | _ESCAPED)
    def test_any(self, path: str, query: str) -> None:
        """Any target is read or refused, the second time as the first time."""
        dialect = PlainDialect()
        outcomes = [self._read(dialect, f"/ws/{path}", query) for _ in range(2)]
        self.assertEqual(outcomes[0], outcomes[1])
        self.assertIsNone(dialect.parse(f"/other{path}", query))

    def _read(self, dialect: PlainDialect, path: str, query: str) -> object:
        try:
            return dialect.parse(path, query)
        except BadRequest as error:
            return str(error)

    @search(150)
    @given(st.frozensets(st.sampled_from([f"{v}-{a.value}" for v in RIGHTS for a in Audience])))
    def test_flags(self, flags: frozenset[str]) -> None:
        """The flags of an access are those that it was read from."""
        self.assertEqual(flags, frozenset(Access("", *parse_flags(flags)).flags))


def _quoted(character: str) -> str:
    return quote(character, safe="")


class ChannelTests(SynchronousTestCase):
    """The names of channels."""

    @search(150)
    @given(
        st.sampled_from(["", "app", "a:b"]),
        *[st.tuples(_TEXT, st.sampled_from(Audience), _OWNER | _TEXT)] * 2,
    )
    def test_one_name_each(
        self, prefix: str, one: tuple[str, Audience, str], other: tuple[str, Audience, str]
    ) -> None:
        """Two channels have the same name only if they are the same."""
        names = [channel_name(prefix, *each) for each in (one, other)]
        assume(None not in names)
        parts = [
            (facility, audience, "" if audience is Audience.BROADCAST else owner)
            for facility, audience, owner in (one, other)
        ]
        self.assertEqual(parts[0] == parts[1], names[0] == names[1])

    @search(150)
    @given(_TEXT, _AUDIENCES, st.none() | _TEXT, st.lists(_TEXT, max_size=4), st.none() | _TEXT)
    def test_of_an_identity(
        self,
        facility: str,
        audiences: frozenset[Audience],
        user: str | None,
        groups: list[str],
        session: str | None,
    ) -> None:
        """An identity has the channels of its names, each once, in the order of the audiences."""
        names = channel_names(
            "", facility, audiences, user=user, groups=tuple(groups), session=session
        )
        owners = {
            Audience.BROADCAST: [""],
            Audience.GROUP: groups,
            Audience.USER: [user or ""],
            Audience.SESSION: [session or ""],
        }
        made = [
            channel_name("", facility, audience, owner)
            for audience in Audience
            if audience in audiences
            for owner in owners[audience]
        ]
        self.assertEqual([*dict.fromkeys(name for name in made if name is not None)], [*names])

    @search(150)
    @given(st.sampled_from(["", "app", "a:b"]), st.text("0123456789abcdef", min_size=32), _TEXT)
    def test_for_the_log(self, prefix: str, key: str, facility: str) -> None:
        """The key of a session is in no line of the log."""
        name = channel_name(prefix, facility, Audience.SESSION, key)
        assert name is not None
        self.assertNotIn(key, loggable_channel(name))

    @search(150)
    @given(st.text("ab*", max_size=8), st.text("ab\n", max_size=12))
    def test_patterns(self, pattern: str, facility: str) -> None:
        """An asterisk is any run of characters, as the regular expression says."""
        expression = ".*".join(map(re.escape, pattern.split("*")))
        expected = re.fullmatch(expression, facility, re.DOTALL) is not None
        self.assertEqual(expected, matches(pattern, facility))


class GroupTests(SynchronousTestCase):
    """The names of groups of Django Channels."""

    @search(300)
    @given(st.sampled_from(Audience), st.text(max_size=30), st.text(max_size=30))
    def test_written_and_read(self, audience: Audience, owner: str, facility: str) -> None:
        """A name that can be made is one that Channels takes, and says what it was made of."""
        is_broadcast = audience is Audience.BROADCAST
        names = (facility,) if is_broadcast else (owner, facility)
        try:
            group = gateway_group(audience.value, *names)
        except ValueError:
            has_channel = channel_name("", facility, audience, owner) is not None
            self.assertTrue(not has_channel or len((owner + facility).encode()) * 3 > 70)
            return
        # The pattern of channels.layers.
        self.assertRegex(group, r"\A[a-zA-Z0-9\-_.]+\Z")
        self.assertLessEqual(len(group), MAX_GROUP)
        found = parse_gateway_group(group)
        self.assertEqual((audience, "" if is_broadcast else owner, facility), found)

    @search(300)
    @given(
        st.sampled_from(["", "ws.", "ws.user.", "ws.user.a.", "ws.broadcast.", "ws.session"]),
        st.text("a.-_2FfEé", max_size=8) | st.text(max_size=8),
    )
    def test_any(self, start: str, rest: str) -> None:
        """Any name is ordinary, refused, or the one name of its channel."""
        try:
            found = parse_gateway_group(start + rest)
        except ValueError:
            return
        if found is not None:
            audience, owner, facility = found
            names = (facility,) if audience is Audience.BROADCAST else (owner, facility)
            self.assertEqual(start + rest, gateway_group(audience.value, *names))
            self.assertIsNotNone(channel_name("", facility, audience, owner))


#: Values as the command line, variables and TOML files have them.
_VALUES: st.SearchStrategy[Any] = st.one_of(
    _ANY_TEXT,
    st.text("0123456789.:/-eE+_ ", max_size=12),
    st.integers(),
    st.sampled_from([10**400, -(10**400), "9" * 5000, "1e999", "nan", "auto", "*", "10.0.0.0/8"]),
    st.floats(),
    st.booleans(),
    st.lists(_ANY_TEXT | st.integers(), max_size=3),
    st.dictionaries(_TEXT, _TEXT, max_size=2),
    st.just(datetime(2026, 1, 1, tzinfo=UTC)),
)

_RULES = st.fixed_dictionaries(
    {},
    optional={
        "allow": st.booleans(),
        "facility": st.text("ab*", max_size=4) | st.lists(st.text("ab*"), max_size=2),
        "audience": st.sampled_from([each.value for each in Audience]),
        "right": st.sampled_from(RIGHTS) | st.just(list(RIGHTS)),
        "who": st.sampled_from(["anyone", "users", "user:john", "group:a", "user:", "nobody"]),
    },
)


_PARTS_OF_URLS = [
    *("redis", "rediss", "unix", "://", ":", "/", "@", "?", "#", "db=", "%", "[", "]", "[::1]"),
    *("localhost", "user", "1", "65536", "9" * 5000, "\0", "%00", "\udc80"),
]


class SettingsTests(SynchronousTestCase):
    """Whatever is given for a setting is understood, or refused in one line."""

    def refusal(self, error: ConfigError) -> str:
        """The text of *error*, which is one line that a terminal can show."""
        text = str(error)
        self.assertEqual(1, len(text.splitlines()), text)
        self.assertTrue(text.isprintable(), text)
        return text

    @search(600)
    @given(st.sampled_from(all_settings()), _VALUES)
    def test_any(self, setting: Any, value: Any) -> None:
        """The refusal begins with the option; what passes a check passes it again, unchanged."""
        try:
            checked = setting.read(value, setting.option)
        except ConfigError as error:
            text = self.refusal(error)
            self.assertTrue(text.startswith(f"{setting.option}: "), text)
            if setting.secret and isinstance(value, str) and len(value) > 3:
                self.assertNotIn(value, text)
        else:
            self.assertEqual(checked, setting.read(checked, setting.option))
            self.assertIsInstance(hash(checked), int)

    @search(150)
    @given(
        st.dictionaries(
            st.sampled_from([each.variable for each in all_settings()]),
            st.sampled_from(["", "0", "1", "60", "yes", "auto", "tcp:80", "/ws/", "x", "x:y", "*"]),
            max_size=4,
        )
    )
    def test_environment(self, environ: dict[str, str]) -> None:
        """Any set of variables gives a configuration, or names one of them."""
        try:
            config = load({}, environ)
        except ConfigError as error:
            names = [*environ, *(each.name for each in all_settings())]
            text = self.refusal(error)
            self.assertTrue(any(name in text for name in names), text)
        else:
            self.assertIsInstance(config, GatewayConfig)

    @search(150)
    @given(st.lists(st.sampled_from(_PARTS_OF_URLS)))
    def test_redis_url_pieces(self, pieces: list[str]) -> None:
        """Anything that looks like the URL of a Redis is one, or is refused."""
        self._redis_url("".join(pieces))

    @search(150)
    @given(st.sampled_from(["", "redis://", "rediss://", "unix://"]), _ANY_TEXT)
    def test_redis_url(self, start: str, rest: str) -> None:
        """Any text is the URL of a Redis, or is refused without a part of it."""
        self._redis_url(start + rest)

    def _redis_url(self, url: str) -> None:
        try:
            target = parse_url(url)
        except ConfigError as error:
            self.refusal(error)
        else:
            self.assertTrue(target.path or target.host)
            self.assertIsInstance(target.cli_arguments, str)

    @search(150)
    @given(
        st.sampled_from(["localhost", "redis.example", "192.0.2.1", "2001:db8::1"]),
        st.integers(1, 65535),
        st.none() | st.text(st.characters(codec="utf-8"), min_size=1, max_size=10),
        st.integers(0, 99),
        st.booleans(),
    )
    def test_redis_url_written_and_read(
        self, host: str, port: int, username: str | None, database: int, tls: bool
    ) -> None:
        """A URL that is written for a server leads there."""
        target = parse_url(
            format_url(host=host, port=port, username=username, database=database, tls=tls)
        )
        found = (target.host, target.port, target.username, target.database, target.tls)
        self.assertEqual((host, port, username, database, tls), found)

    @search(150)
    @given(st.lists(_RULES | st.dictionaries(_TEXT, _VALUES, max_size=2), max_size=3))
    def test_rules(self, tables: list[dict[str, Any]]) -> None:
        """Any tables are rules, or the refusal says which one is wrong."""
        try:
            rules = read_rules(tables)
        except ValueError as error:
            text = self.refusal(ConfigError(str(error)))
            self.assertRegex(text, r"\Arule [1-3]: ")
        else:
            self.assertEqual(len(tables), len(rules))

    @search(150)
    @given(
        _RULES.filter(lambda table: table.get("facility") != []),
        st.sampled_from(RIGHTS),
        st.sampled_from(Audience),
        st.text("ab", max_size=3),
        st.sampled_from([None, "john", "mary"]),
        st.sets(st.sampled_from("abc")),
    )
    def test_rule_applies(
        self,
        table: dict[str, Any],
        right: str,
        audience: Audience,
        facility: str,
        user: str | None,
        groups: Collection[str],
    ) -> None:
        """A rule applies where each of its keys does, and a key that is missing always does."""
        assume(table.get("who") not in ("user:", "nobody"))
        rule = Rule(**{"allow": True, **table})
        patterns = table.get("facility", "*")
        who = table.get("who", "anyone")
        expected = (
            right in table.get("right", right)
            and audience.value == table.get("audience", audience.value)
            and any(
                re.fullmatch(each.replace("*", ".*"), facility)
                for each in ([patterns] if isinstance(patterns, str) else patterns)
            )
            and who in ["anyone", *(["users", f"user:{user}"] if user else []), *_groups(groups)]
        )
        found = rule.fits(right, audience, facility, user=user, groups=groups)
        self.assertEqual(expected, found)


def _groups(names: Collection[str]) -> list[str]:
    return [f"group:{name}" for name in names]
