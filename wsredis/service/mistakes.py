"""The message of a parser about a word that it does not know, with the word that was meant."""

from __future__ import annotations

import re
from collections.abc import Iterable

from wsredis.config.nearest import did_you_mean

__all__ = ["with_suggestion"]

#: The words with which getopt, argparse and the options of the gateway refuse a word.
_REFUSALS = (
    re.compile(r"option (?P<word>-\S+) not recognized"),
    re.compile(r"'(?P<word>\S+)' is not an option"),
    re.compile(r"unrecognized arguments: (?P<word>[^\s=]+)"),
    re.compile(r"argument \S+: invalid choice: '(?P<word>[^']+)' \(choose from .*\)"),
)


def with_suggestion(message: str, known: Iterable[str]) -> str:
    """
    Add the word that was meant to a message of a parser.

    Args:
        message: About a word that the parser does not know, or anything else.
        known: All words that it knows: options with their dashes, commands without.
    """
    words = list(known)
    for pattern in _REFUSALS:
        match = pattern.search(message)
        if match is None:
            continue
        written = match["word"]
        dashes = [each for each in words if each.startswith("-")]
        # Options are known by their dashes, also to those who have left one out, or both.
        option = f"--{written.lstrip('-')}"
        return message + (did_you_mean(written, words) or did_you_mean(option, dashes))
    return message
