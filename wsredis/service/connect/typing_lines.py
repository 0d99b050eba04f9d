"""The input of a client: lines of a person, with the keys of readline, or those of a pipe."""

from __future__ import annotations

import os
import termios
import threading
from collections.abc import Callable
from typing import Protocol

__all__ = ["PROMPT", "LineReader", "PipeReader", "PromptReader"]

PROMPT = "> "

#: Bytes that are read from a pipe at a time.
_CHUNK = 65536

#: Bytes of a line of a pipe. A longer one is sent in pieces.
_MAX_LINE = 1 << 20


class LineReader(Protocol):
    """Reads lines in a thread of its own, since no terminal and no file can be waited for."""

    def start(self) -> None:
        """Begin to read."""

    def pause(self) -> None:
        """Read no further until `resume`. A line that has been read still comes."""

    def resume(self) -> None:
        """Read on."""

    def typed(self) -> str:
        """Return the prompt, and the line that is not finished. Empty if nobody is typing."""

    def restore(self) -> None:
        """Give the terminal back as it was."""


class _Reader:
    """
    The thread.

    Args:
        call: Calls a function in the thread of the reactor.
        received: Called there with each line, without its end, and with None after the last one.
    """

    def __init__(
        self,
        call: Callable[..., object],
        received: Callable[[bytes | None], object],
    ) -> None:
        self._call = call
        self._received = received
        self._may_go_on = threading.Event()
        self._may_go_on.set()
        self._thread = threading.Thread(target=self._run, name="input", daemon=True)

    def start(self) -> None:
        """See `LineReader.start`."""
        self._thread.start()

    def pause(self) -> None:
        """See `LineReader.pause`."""
        self._may_go_on.clear()

    def resume(self) -> None:
        """See `LineReader.resume`."""
        self._may_go_on.set()

    def typed(self) -> str:
        """See `LineReader.typed`."""
        return ""

    def restore(self) -> None:
        """See `LineReader.restore`."""

    def _run(self) -> None:
        self._read()
        self._call(self._received, None)

    def _read(self) -> None:
        raise NotImplementedError

    def _deliver(self, lines: list[bytes]) -> None:
        """Hand lines over, and wait until the other side has taken them and wants more."""
        taken = threading.Event()

        def take() -> None:
            for line in lines:
                self._received(line)
            taken.set()

        self._call(take)
        taken.wait()
        self._may_go_on.wait()


class PipeReader(_Reader):
    """
    Reads lines of a file or a pipe.

    Args:
        descriptor: Is read.
    """

    def __init__(
        self,
        call: Callable[..., object],
        received: Callable[[bytes | None], object],
        descriptor: int,
    ) -> None:
        super().__init__(call, received)
        self._descriptor = descriptor

    def _read(self) -> None:
        rest = b""
        while True:
            try:
                # Without the buffer of Python, whose lock would hold the end of the program.
                data = os.read(self._descriptor, _CHUNK)
            except OSError:
                data = b""
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > _MAX_LINE or (not data and rest):
                lines.append(rest)
                rest = b""
            if lines:
                self._deliver([line.removesuffix(b"\r") for line in lines])
            if not data:
                return


class PromptReader(_Reader):
    """
    Reads lines from a terminal with a prompt, history and the keys of readline, if Python has it.

    Args:
        ask: Reads one line. It raises EOFError after Ctrl-D.
    """

    def __init__(
        self,
        call: Callable[..., object],
        received: Callable[[bytes | None], object],
        ask: Callable[[str], str] = input,
    ) -> None:
        super().__init__(call, received)
        self._ask = ask
        self._is_asking = False
        self._mode = termios.tcgetattr(0) if os.isatty(0) else None
        self._buffer: Callable[[], str] = str
        try:
            import readline
        except ImportError:
            pass
        else:
            self._buffer = readline.get_line_buffer
            # It is called when the prompt is there.
            readline.set_pre_input_hook(self._asked)

    def typed(self) -> str:
        """See `LineReader.typed`."""
        return f"{PROMPT}{self._buffer()}" if self._is_asking else ""

    def restore(self) -> None:
        """See `LineReader.restore`."""
        if self._mode is not None:
            # The thread is still in readline, which would do it at its end.
            termios.tcsetattr(0, termios.TCSADRAIN, self._mode)

    def _asked(self) -> None:
        self._is_asking = True

    def _read(self) -> None:
        while True:
            try:
                line = self._ask(PROMPT)
            except (EOFError, ValueError, OSError):
                return
            finally:
                self._is_asking = False
            self._deliver([line.encode("utf-8", "surrogateescape")])
