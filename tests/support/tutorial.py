"""A tutorial as its reader follows it: the files that the page shows, and the lines it says."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.browser import Browser
from tests.support.children import PATIENCE, Child, clean_environment

__all__ = ["Line", "Reader", "Shown", "Stage", "complaints", "stages"]

_DOCS = Path(__file__).parents[2] / "docs"

#: The title of a step, and everything up to the next title.
_STEP = re.compile(r"^(\d+\. [^\n]+)\n-+\n(.*?)(?=^[^\n]+\n---+\n|\Z)", re.MULTILINE | re.DOTALL)

#: What a reader does on the way, in the order of the page.
_DIRECTIVE = re.compile(
    r"^\.\. literalinclude:: (?P<source>\S+)\n(?P<options>(?:   :.+\n)*)"
    r"|:download:`(?P<path>[^<`]+?) <(?P<file>[^>]+)>`"
    r"|^ *\$ (?P<line>.+)$",
    re.MULTILINE,
)

#: The line above a file: where it belongs.
_CAPTION = re.compile(r"([\w./]+)(?:, (?:(at the end)|in the place of (\w+)))?")

#: What makes the folder, installs packages, and names Redis. Tests have all of it, and no network.
_BEFORE = (
    "mkdir talk ",
    "mkdir notes ",
    "python3 -m venv ",
    "export WSREDIS_REDIS=",
    "pip install ",
    "npm --prefix web install",
)

#: What runs until the reader stops it.
_SERVERS = (
    "python manage.py runserver",
    "wsredis serve ",
    "wsredis demo",
    "npm --prefix web run dev",
)


@dataclass(frozen=True, slots=True)
class Shown:
    """
    A text that the page shows.

    Attributes:
        text: The text.
        path: The file to which it belongs. Empty if it is for pasting elsewhere.
        at_end: It is added to the file; otherwise it is all of it, or one assignment in it.
        name: The assignment that it replaces. Empty if there is none.
    """

    text: str
    path: str = ""
    at_end: bool = False
    name: str = ""

    def save(self, folder: Path) -> None:
        """Change the file as the page says. A folder that does not exist yet is a mistake."""
        if not self.path:
            return
        target = folder / self.path
        text = self.text
        if self.at_end:
            text = f"{target.read_text('utf-8')}\n{text}"
        elif self.name:
            pattern = rf"^{self.name} = \[\n.*?^\]\n"
            whole = target.read_text("utf-8")
            text, count = re.subn(pattern, lambda _: self.text, whole, flags=re.M | re.S)
            assert count == 1, f"{self.path} has {count} of {self.name}"
        target.write_text(text, "utf-8")


@dataclass(frozen=True, slots=True)
class Line:
    """
    A line for the shell.

    Attributes:
        words: The line.
        said: The output that the page shows.
    """

    words: str
    said: str = ""


@dataclass(slots=True)
class Stage:
    """
    One step of the page.

    Attributes:
        title: Its title.
        shown: The texts, in the order of the page.
        servers: The lines for the shell that run until the reader stops them.
        later: Other lines, for another terminal while a server of this step runs.
        steps: Texts, and all other lines but those that install something, in one order.
    """

    title: str
    shown: list[Shown] = field(default_factory=list)
    servers: list[str] = field(default_factory=list)
    later: list[Line] = field(default_factory=list)
    steps: list[Shown | Line] = field(default_factory=list)

    @property
    def pasted(self) -> str:
        """The only text that belongs to no file."""
        (text,) = (each.text for each in self.shown if not each.path)
        return text


def stages(page: str) -> list[Stage]:
    """
    Read the steps of a page in docs/tutorial.

    Raises:
        AssertionError: Something is written in another way than this reader understands.
    """
    source = (_DOCS / "tutorial" / page).read_text("utf-8")
    found = [_stage(*each) for each in _STEP.findall(source)]
    assert [each.title[0] for each in found] == [str(1 + i) for i in range(len(found))]
    shown = source.count(".. literalinclude::") + source.count(":download:")
    assert sum(len(each.shown) for each in found) == shown, "files outside of the steps"
    return found


def _stage(title: str, body: str) -> Stage:
    stage = Stage(title)
    for match in _DIRECTIVE.finditer(body):
        if match["line"] is None:
            shown = _shown(match)
            stage.shown.append(shown)
            stage.steps.append(shown)
        elif match["line"].startswith(_SERVERS):
            stage.servers.append(match["line"])
        elif not match["line"].startswith((*_BEFORE, ". .venv/")):
            after = body[match.end() + 1 :].partition("\n\n")[0]
            said = [*_until_prompt(after)]
            line = Line(match["line"], "".join(f"{each}\n" for each in said))
            if stage.servers:
                stage.later.append(line)
            else:
                stage.steps.append(line)
    return stage


def _until_prompt(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if line.lstrip().startswith("$ ") or not line.startswith("   "):
            return
        yield line.strip()


def _shown(match: re.Match[str]) -> Shown:
    if match["file"]:
        return Shown(_read(match["file"]), match["path"])
    options = dict(re.findall(r"^   :([a-z-]+): ?(.*)$", match["options"], re.MULTILINE))
    unknown = {*options} - {"caption", "emphasize-lines", "end-before", "language", "start-at"}
    assert not unknown, unknown
    text = _cut(_read(match["source"]), options.get("start-at"), options.get("end-before"))
    if "caption" not in options:
        return Shown(text)
    caption = _CAPTION.fullmatch(options["caption"])
    assert caption is not None, options["caption"]
    return Shown(text, caption[1], bool(caption[2]), caption[3] or "")


def _read(name: str) -> str:
    return (_DOCS / "tutorial" / name).resolve().read_text("utf-8")


def _cut(text: str, start: str | None, end: str | None) -> str:
    """The lines from the one with *start* to before the one with *end*, as Sphinx shows them."""
    lines = text.splitlines(keepends=True)
    if start is not None:
        (first,) = (number for number, line in enumerate(lines) if start in line)
        lines = lines[first:]
    if end is not None:
        (last,) = (number for number, line in enumerate(lines) if end in line)
        lines = lines[:last]
    return f"{''.join(lines).rstrip()}\n"


def complaints(browser: Browser) -> list[str]:
    """Return errors, and hints of wsredis.js, in the console since the last call."""
    return [
        str(each["message"])
        for each in browser.console()
        if each["level"] == "SEVERE" or "WS4Redis: " in str(each["message"])
    ]


class Reader:
    """
    Somebody who follows a page in a folder, with the packages of the tests installed.

    Args:
        folder: It is empty, or a copy of the one of another reader.
        environ: Added to the environment of everything that runs.
    """

    def __init__(self, folder: str, environ: dict[str, str]) -> None:
        self.folder = Path(folder)
        here = [str(Path(sys.executable).parent), os.environ["PATH"]]
        self.environ = clean_environment({**environ, "PATH": os.pathsep.join(here)})

    def follow(self, stage: Stage) -> None:
        """
        Save the files of a step, and run its lines up to those of its servers.

        Raises:
            AssertionError: A line failed, or said something else than the page shows.
        """
        for step in stage.steps:
            if isinstance(step, Shown):
                step.save(self.folder)
            else:
                said = self.run(step.words)
                assert not step.said or said == step.said, f"{step.words} said {said!r}"

    def run(self, line: str) -> str:
        """Run a line in a shell. Returns: Its output."""
        done = subprocess.run(
            ["sh", "-ec", line],
            env=self.environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
        return done.stdout

    def start(self, line: str, announced: str) -> Child:
        """Start a server, and wait until its output matches the regular expression."""
        words = shlex.split(line)
        found = shutil.which(words[0], path=self.environ["PATH"])
        assert found is not None, words[0]
        child = Child([found, *words[1:]], env=self.environ, cwd=str(self.folder))
        try:
            child.wait_for(announced)
        except AssertionError:
            child.stop()
            raise
        return child
