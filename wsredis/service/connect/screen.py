"""The output of a client: messages on standard output, everything else on standard error."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from wsredis.service.outside import Outside
from wsredis.service.printable import printable

__all__ = ["Screen"]

#: What a message begins with on a terminal.
_RECEIVED = "< "

#: Bytes of a binary message that are shown on a terminal.
_SHOWN = 64

#: Begins the line again, and erases it.
_ERASE = "\r\x1b[K"


class Screen:
    """
    Writes lines for a person, or messages for a program.

    Args:
        outside: The streams.
        typed: Returns the line that a person is typing, with the prompt. It is erased for other
            lines, and written again after them. If None, nobody is typing.
    """

    def __init__(self, outside: Outside, typed: Callable[[], str] | None = None) -> None:
        self._stdout, self._stderr = outside.stdout, outside.stderr
        self._is_terminal = self._stdout.isatty()
        self._notes_on_terminal = self._stderr.isatty()
        self._has_colours = self._notes_on_terminal and not os.environ.get("NO_COLOR")
        self._typed = typed

    def message(self, payload: bytes, is_binary: bool) -> None:
        """
        Write a message: as it is in a pipe, readable and harmless on a terminal.

        Raises:
            OSError: Nobody reads standard output any more.
        """
        if not self._is_terminal:
            self._stdout.write(payload + b"\n")
        elif is_binary:
            more = " ..." if len(payload) > _SHOWN else ""
            shown = payload[:_SHOWN].hex(" ")
            self._line(f"{_RECEIVED}(binary, {len(payload)} bytes) {shown}{more}")
        else:
            self._line(f"{_RECEIVED}{printable(payload.decode('utf-8', 'backslashreplace'))}")
        self._stdout.flush()

    def note(self, text: str) -> None:
        """Write a line that is no message, if anybody reads it. Further lines of it are kept."""
        lines = [printable(line) for line in text.splitlines()]
        shown = "\n".join(f"\x1b[2m{line}\x1b[0m" if self._has_colours else line for line in lines)
        before, after = self._around() if self._notes_on_terminal else ("", "")
        with suppress(OSError):
            self._stderr.write(f"{before}{shown}\n{after}")
            self._stderr.flush()

    def _line(self, text: str) -> None:
        before, after = self._around()
        self._stdout.write(f"{before}{text}\n{after}".encode())

    def _around(self) -> tuple[str, str]:
        return ("", "") if self._typed is None else (_ERASE, self._typed())
