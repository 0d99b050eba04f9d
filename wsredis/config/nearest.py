"""The word that somebody meant who wrote another one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["did_you_mean", "nearest"]

#: How alike two words are, from 0 to 1, if one may be a slip of the other.
_ALIKE = 0.7

#: Characters of a word that is compared: the comparison takes as long as both words together.
_MAX_WORD = 64


def nearest(word: str, known: Iterable[str]) -> str:
    """
    Find the word of *known* that is most like *word*, without regard to case and to ``_``.

    Returns:
        The word as it stands in *known*. Empty if none is alike, or if *word* is too long.
    """
    if len(word) > _MAX_WORD:
        return ""
    plain = {_plain(each): each for each in known}
    for found in get_close_matches(_plain(word), plain, 1, _ALIKE):
        return plain[found]
    return ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """
    Return the end of a message about a word that nobody knows.

    Args:
        word: The word as it was written.
        known: The words that there are, written in the same way.

    Returns:
        ``"; did you mean X?"``, or an empty string if none is like it.
    """
    found = nearest(word, known)
    return f"; did you mean {found}?" if found else ""


def _plain(word: str) -> str:
    return word.lower().replace("_", "-")
