"""A how-to as a list of steps: the files that it shows with their places, and its commands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Command", "File", "steps"]

_DOCS = Path(__file__).parents[2] / "docs"

_STEP = re.compile(
    r"^\.\. literalinclude:: (?P<source>\S+)\n(?:   :(?!caption).*\n)*   :caption: (?P<place>.+)$"
    r"|^   \$ (?P<command>.+)$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class File:
    """
    A file to write.

    Attributes:
        place: The path that stands above it.
        text: Its contents.
    """

    place: str
    text: str


@dataclass(frozen=True)
class Command:
    """A line for the shell."""

    line: str


def steps(name: str) -> list[File | Command]:
    """What a page of ``docs/howto`` tells its reader to do, from its top to its end."""
    page = _DOCS / "howto" / f"{name}.rst"
    found: list[File | Command] = []
    for match in _STEP.finditer(page.read_text("utf-8")):
        if match["command"]:
            found.append(Command(match["command"]))
        else:
            text = (page.parent / match["source"]).read_text("utf-8")
            found.append(File(match["place"], text))
    return found
