"""The text of ``--help`` for the options of the gateway, by groups."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from wsredis.config import GROUPS, Setting, all_settings

__all__ = ["OptionHelp", "help_text", "setting_help"]

#: Characters of a line at least and at most, as far as the terminal has them.
_NARROW, _WIDE = 40, 100

#: Spaces before an option, and before its explanation.
_INDENT, _EXPLANATION = "  ", "      "


class OptionHelp(NamedTuple):
    """
    One option, as the help shows it.

    Attributes:
        name: The name without dashes.
        metavar: The word for its value. Empty for a flag.
        about: One or more sentences.
        short: The letter of its short form. Empty if it has none.
    """

    name: str
    metavar: str
    about: str
    short: str = ""


def setting_help(setting: Setting) -> OptionHelp:
    """Return the help of a setting, with its default."""
    about = setting.help
    if not (setting.default in (None, ()) or setting.is_flag):
        shown = " ".join(setting.default) if setting.repeatable else setting.default
        about = f"{about} [default: {shown if shown != '' else 'none'}]"
    return OptionHelp(setting.name, setting.metavar, about)


def help_text(longdesc: str, others: Iterable[OptionHelp], width: int | None = None) -> str:
    """
    Return a description, and all options by groups.

    Args:
        longdesc: One paragraph.
        others: Options that are no settings. They go first.
        width: Characters of a line. If None, the terminal decides.
    """
    width = width or min(_WIDE, shutil.get_terminal_size().columns)
    return "\n".join(_lines(longdesc, others, max(_NARROW, width)))


def _lines(longdesc: str, others: Iterable[OptionHelp], width: int) -> Iterator[str]:
    yield ""
    yield from textwrap.wrap(longdesc, width, break_on_hyphens=False)
    yield from _group("Options", others, width)
    for group, heading in GROUPS.items():
        settings = [each for each in all_settings() if each.group == group and not each.secret]
        yield from _group(heading, map(setting_help, settings), width)


def _group(heading: str, options: Iterable[OptionHelp], width: int) -> Iterator[str]:
    yield ""
    yield f"{heading}:"
    for each in options:
        short = f"-{each.short}, " if each.short else ""
        yield f"{_INDENT}{short}--{each.name}{f' {each.metavar}' if each.metavar else ''}"
        yield from textwrap.wrap(
            each.about,
            width,
            initial_indent=_EXPLANATION,
            subsequent_indent=_EXPLANATION,
            break_on_hyphens=False,
            break_long_words=False,
        )
