"""Tests for `wsredis.service.connect.typing_lines`: a call waits for its answer, never for time."""

from __future__ import annotations

import os
import queue
import readline
import sys
import threading
from collections.abc import Callable
from threading import Event
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsredis.service.connect import typing_lines
from wsredis.service.connect.typing_lines import PROMPT, PipeReader, PromptReader

#: Seconds after which a test gives up.
PATIENCE = 20.0


class ReaderCase(SynchronousTestCase):
    """The calls of a reader are made here, in the thread of the test."""

    def setUp(self) -> None:
        """Nothing was read."""
        self.calls: queue.Queue[tuple[Callable[..., object], tuple[Any, ...]]] = queue.Queue()
        self.lines: list[bytes | None] = []

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Take the place of ``callFromThread``."""
        self.calls.put((function, args))

    def follow(self) -> None:
        """Wait for the next call, and make it."""
        function, args = self.calls.get(timeout=PATIENCE)
        function(*args)

    def read_to_end(self) -> list[bytes | None]:
        """All lines, and None."""
        while not self.lines or self.lines[-1] is not None:
            self.follow()
        return self.lines


class Gate(Event):
    """The event that lets a reader go on: it tells who waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: queue.Queue[None] = queue.Queue()
        self._is_new = True

    @property
    def is_new(self) -> bool:
        """Tell whether nobody has got it yet, once."""
        was_new, self._is_new = self._is_new, False
        return was_new

    def wait(self, timeout: float | None = None) -> bool:
        """Wait."""
        self.waiting.put(None)
        return super().wait(timeout)


class PipeTests(ReaderCase):
    """`PipeReader`."""

    def reader(self, data: bytes) -> PipeReader:
        """Start to read a pipe that has this."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        os.write(writing, data)
        os.close(writing)
        reader = PipeReader(self.call, self.lines.append, reading)
        reader.start()
        return reader

    def test_lines(self) -> None:
        """Each line comes without its end, empty ones too, and the last one needs no end."""
        self.reader(b"one\r\n\ntwo\xff\nthree")
        self.assertEqual([b"one", b"", b"two\xff", b"three", None], self.read_to_end())

    def test_nothing(self) -> None:
        """A pipe without anything has an end only."""
        self.reader(b"")
        self.assertEqual([None], self.read_to_end())

    def test_long(self) -> None:
        """A line without an end is not kept without an end."""
        self.patch(typing_lines, "_MAX_LINE", 4)
        self.patch(typing_lines, "_CHUNK", 4)
        self.reader(b"abcdefghij\nk\n")
        self.assertEqual([b"abcdefgh", b"ij", b"k", None], self.read_to_end())

    def test_pause(self) -> None:
        """Nothing is read while the reader is to wait, or while nobody has taken the lines."""
        self.patch(typing_lines, "_CHUNK", 4)
        gate = Gate()
        self.patch(threading, "Event", lambda: gate if gate.is_new else Event())
        reader = self.reader(b"one\ntwo\n")
        reader.pause()
        self.follow()
        self.assertEqual([b"one"], self.lines)
        gate.waiting.get(timeout=PATIENCE)
        self.assertTrue(self.calls.empty())
        reader.resume()
        self.assertEqual([b"one", b"two", None], self.read_to_end())

    def test_closed(self) -> None:
        """An input that cannot be read has an end."""
        reader = PipeReader(self.call, self.lines.append, -1)
        reader.start()
        self.assertEqual([None], self.read_to_end())
        self.assertEqual("", reader.typed())
        reader.restore()


class Asked:
    """Answers as a person who types some lines, and then Ctrl-D."""

    def __init__(self, *lines: str) -> None:
        self._lines = [*lines]
        self.prompts: list[str] = []

    def __call__(self, prompt: str) -> str:
        self.prompts.append(prompt)
        if not self._lines:
            raise EOFError
        return self._lines.pop(0)


class PromptTests(ReaderCase):
    """`PromptReader`."""

    def test_lines(self) -> None:
        """Lines are asked for with the prompt, one after the other, until Ctrl-D."""
        ask = Asked("hello", "caf\xe9 \udcff")
        PromptReader(self.call, self.lines.append, ask).start()
        self.assertEqual([b"hello", b"caf\xc3\xa9 \xff", None], self.read_to_end())
        self.assertEqual([PROMPT] * 3, ask.prompts)

    def test_typed(self) -> None:
        """What is typed stands behind the prompt, from the prompt to the end of the line."""
        typed: list[str] = []

        def ask(prompt: str) -> str:
            typed.append(reader.typed())
            hooks[0]()
            typed.append(reader.typed())
            raise EOFError

        hooks: list[Callable[[], None]] = []
        self.patch(readline, "set_pre_input_hook", hooks.append)
        self.patch(readline, "get_line_buffer", lambda: "hel")
        reader = PromptReader(self.call, self.lines.append, ask)
        reader.start()
        self.read_to_end()
        self.assertEqual(["", f"{PROMPT}hel", ""], [*typed, reader.typed()])

    def test_no_readline(self) -> None:
        """Without readline lines are read all the same."""
        self.patch(sys, "modules", {**sys.modules, "readline": None})
        PromptReader(self.call, self.lines.append, Asked("hello")).start()
        self.assertEqual([b"hello", None], self.read_to_end())

    def test_terminal(self) -> None:
        """The terminal gets back the mode that it had at the begin; what is none is left alone."""
        calls: list[tuple[Any, ...]] = []
        self.patch(os, "isatty", lambda descriptor: True)
        self.patch(typing_lines.termios, "tcgetattr", lambda descriptor: ["mode"])
        self.patch(typing_lines.termios, "tcsetattr", lambda *args: calls.append(args))
        PromptReader(self.call, self.lines.append).restore()
        self.assertEqual([(0, typing_lines.termios.TCSADRAIN, ["mode"])], calls)
        self.patch(os, "isatty", lambda descriptor: False)
        PromptReader(self.call, self.lines.append).restore()
        self.assertEqual(1, len(calls))
