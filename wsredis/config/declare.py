"""
How a setting is declared: as a field of a dataclass, with its default, its check and its help.

All else is made from the declaration: the option, the variable, the key of the file, the text of
the help and the checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from typing import Any, ClassVar, Self

from wsredis.config.values import Check, repeated
from wsredis.errors import ConfigError

__all__ = ["GROUPS", "Checked", "Setting", "setting", "setting_of", "settings_of"]

#: The groups of settings in the order of the help, with their headings.
GROUPS = {
    "connections": "Connections",
    "redis": "Redis",
    "identity": "Identity and rights",
    "limits": "Limits",
    "pages": "Pages",
    "applications": "Applications",
    "tls": "TLS",
    "logs": "Logs and metrics",
}

#: The key of a declaration in the metadata of its field.
_DECLARED = "wsredis"


@dataclass(frozen=True, slots=True)
class Setting:
    """
    One setting, as options, variables, files and the help see it.

    Attributes:
        name: The name with dashes: the key in the TOML file.
        attribute: The field that holds the value.
        part: The field of `GatewayConfig` that holds the part with *attribute*. If None,
            `GatewayConfig` itself has it.
        default: The value that is used if nothing is given. It has passed *check*.
        check: Turns what was given into the value that is used; raises ValueError.
        help: One or more sentences, with the unit.
        group: The group of settings that it belongs to, a key of `GROUPS`.
        secret: Tells whether it may only be given as a variable: others may read the command line
            and the file.
        repeatable: Tells whether the value is a tuple, and the option may be repeated.
    """

    name: str
    attribute: str
    part: str | None
    default: Any
    check: Check
    help: str
    group: str
    secret: bool
    repeatable: bool

    @property
    def option(self) -> str:
        """The option of ``twistd wsredis``."""
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"WSREDIS_{self.name.upper().replace('-', '_')}"

    @property
    def is_flag(self) -> bool:
        """Tells whether the option has no value."""
        return isinstance(self.default, bool)

    @property
    def metavar(self) -> str:
        """The word for the value in the help. Empty for a flag."""
        if self.is_flag:
            return ""
        words = {int: "NUMBER", float: "SECONDS"}
        return words.get(type(self.default), "VALUE")

    def read(self, value: Any, label: str) -> Any:
        """
        Check a value.

        Args:
            value: The value in any form.
            label: The place that the value comes from; the message begins with it.

        Returns:
            The value in the form that is used.

        Raises:
            ConfigError: The value is not allowed.
        """
        try:
            return self.check(value)
        except ValueError as error:
            raise ConfigError(f"{label}: {error}") from None


def setting(
    default: Any,
    check: Check,
    help: str,
    *,
    name: str = "",
    group: str = "",
    repeatable: bool = False,
    secret: bool = False,
    hidden: bool = False,
) -> Any:
    """
    Declare a setting: the default of a field of a `Checked` dataclass.

    Args:
        default: See `Setting.default`.
        check: See `Setting.check`. If *repeatable*, it checks one value of several.
        help: See `Setting.help`.
        name: See `Setting.name`. If empty, it is the name of the field with dashes.
        group: See `Setting.group`. If empty, it is the ``group`` of the dataclass.
        repeatable: See `Setting.repeatable`. The help says so too.
        secret: See `Setting.secret`. Such a value is not in a ``repr`` either.
        hidden: Tells whether the value may contain a secret, and is not in a ``repr``.
    """
    if repeatable:
        check = repeated(check)
        help = f"{help} May be repeated."

    def declared(cls: type[Checked], attribute: str, part: str | None) -> Setting:
        return Setting(
            name=name or attribute.replace("_", "-"),
            attribute=attribute,
            part=part,
            default=default,
            check=check,
            help=help,
            group=group or cls.group,
            secret=secret,
            repeatable=repeatable,
        )

    return field(default=default, repr=not (secret or hidden), metadata={_DECLARED: declared})


class Checked:
    """
    Base of dataclasses whose fields are settings. Each value is checked when it is given.

    Attributes:
        group: See `Setting.group`. Settings may have another one.
    """

    __slots__ = ()
    group: ClassVar[str] = ""

    def __post_init__(self) -> None:
        cls: Any = type(self)
        for each in _own_settings(cls):
            value = each.read(getattr(self, each.attribute), each.name)
            object.__setattr__(self, each.attribute, value)

    @classmethod
    def from_checked(cls, values: Mapping[str, Any]) -> Self:
        """
        Make an instance without checking anything again.

        Args:
            values: Values that have passed their checks, by field. A field that is missing has its
                default.
        """
        made = object.__new__(cls)
        each: Field[Any]
        for each in fields(cls):  # type: ignore[arg-type]
            if each.name in values:
                value = values[each.name]
            elif each.default is not MISSING:
                value = each.default
            else:
                assert each.default_factory is not MISSING
                value = each.default_factory()
            object.__setattr__(made, each.name, value)
        return made


@cache
def _own_settings(cls: Any) -> tuple[Setting, ...]:
    return tuple(each for each in settings_of(cls) if each.part is None)


def settings_of(cls: Any, part: str | None = None) -> Iterator[Setting]:
    """
    Return the settings of a dataclass and of its parts, in the order of the fields.

    Args:
        cls: A `Checked` dataclass. A field whose default factory is another one is a part of it.
        part: See `Setting.part`.
    """
    each: Field[Any]
    for each in fields(cls):
        factory: Any = each.default_factory
        if _DECLARED in each.metadata:
            yield each.metadata[_DECLARED](cls, each.name, part)
        elif isinstance(factory, type) and issubclass(factory, Checked):
            yield from settings_of(factory, each.name)


def setting_of(cls: Any, attribute: str) -> Setting:
    """
    Return one setting of a dataclass: its name and its option, for messages and hints.

    Args:
        cls: The `Checked` dataclass that has the setting.
        attribute: The field.

    Raises:
        KeyError: The dataclass has no such setting.
    """
    return {each.attribute: each for each in _own_settings(cls)}[attribute]
