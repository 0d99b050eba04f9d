"""What a person and a server say to each other: lines become messages, and all is shown."""

from __future__ import annotations

import json
import re
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IPushProducer
from zope.interface import implementer

from wsredis.errors import CLOSE_CODES
from wsredis.service.connect.client import Client, Refusal
from wsredis.service.connect.screen import Screen
from wsredis.service.connect.typing_lines import LineReader

__all__ = ["Conversation"]

#: The subprotocol of the gateway: binary messages that are valid UTF-8 are from the gateway itself.
_OURS = "wsredis"

_KEYS = ". Type to send, /help for more, Ctrl-D to end"
_OFFER = f"With --subprotocol {_OURS} a gateway tells who you are, and what this connection hears"

_HELP = """\
/ping [TEXT]           send a ping
/binary HEX            send bytes as a binary message
/close [CODE [REASON]] close with a code (1000, or 3000 to 4999)
//TEXT                 send a message that begins with a slash
Ctrl-D                 close and end"""

#: Codes that mean that all is well.
_WELL = frozenset({1000, 1001})

#: The code of a close frame without one, by which some answer any other.
_NO_CODE = 1005

#: Codes that need other words than those of our table, or that it does not have.
_WORDS = {
    1000: "normal",
    1003: "this kind of message is not taken",
    1005: "no code was given",
    1006: "the connection was lost",
    1010: "an extension is missing",
}


class Reactor(Protocol):
    """What is used of a reactor."""

    def callLater(self, delay: float, function: Any) -> IDelayedCall:
        """See `twisted.internet.interfaces.IReactorTime`."""


@implementer(IPushProducer)
class Conversation:
    """
    One connection, from its handshake to its end. It is the `Listener` of the client.

    Args:
        clock: Runs the timers.
        screen: Shows everything.
        reader: Reads lines, once the connection is open.
        is_prompt: Tells whether a person is typing: lines that begin with a slash are commands.
        wait: Seconds for which the connection stays open after the last line.
        is_verbose: Tells whether pings and heartbeats are shown.
        stop: Called once, at the end, with the status of the program.

    Attributes:
        is_unheard: Tells whether nobody reads standard output any more.
    """

    def __init__(
        self,
        clock: Reactor,
        screen: Screen,
        reader: LineReader,
        *,
        is_prompt: bool,
        wait: float,
        is_verbose: bool,
        stop: Any,
    ) -> None:
        self._clock = clock
        self._screen = screen
        self._reader = reader
        self._is_prompt = is_prompt
        self._wait = wait
        self._is_verbose = is_verbose
        self._stop = stop
        self.is_unheard = False
        self._client: Client | None = None
        self._is_ours = False
        self._refusal: Refusal | None = None
        self._is_ending = self._is_interrupted = self._has_stopped = False
        self._closed_with = 1000
        self._timer: IDelayedCall | None = None

    # -- wsredis.service.connect.client.Listener

    def opened(self, client: Client) -> None:
        """See `Listener`."""
        self._client = client
        self._is_ours = client.subprotocol == _OURS
        chosen = f", subprotocol {client.subprotocol}" if client.subprotocol else ""
        self._screen.note(f"connected{chosen}{_KEYS if self._is_prompt else ''}")
        if self._is_prompt and not client.factory.protocols:
            self._screen.note(_OFFER)
        if self._is_ending:
            self._close()
            return
        # It is asked to wait while the server takes nothing.
        client.registerProducer(self, True)
        self._reader.start()

    def message_received(self, payload: bytes, is_binary: bool) -> None:
        """See `Listener`."""
        if (is_binary and self._is_ours and self._of_gateway(payload)) or self.is_unheard:
            return
        try:
            self._screen.message(payload, is_binary)
        except OSError:
            # As with any program in a pipe, that is the end.
            self.is_unheard = True
            self._close()
            self._finish(0)

    def _of_gateway(self, payload: bytes) -> bool:
        """Follow a message of the gateway itself. Returns: Whether it is one."""
        try:
            text = payload.decode()
            found = json.loads(text) if text else None
        except (ValueError, RecursionError):
            return False
        if not text:
            assert self._client is not None
            self._client.sendMessage(b"", isBinary=True)
            if self._is_verbose:
                self._screen.note("heartbeat")
        elif isinstance(found, dict) and isinstance(found.get("hello"), dict):
            self._screen.note(_hello(found["hello"]))
        else:
            self._screen.note(f"from the gateway: {text}")
        return True

    def ping_received(self, word: str, payload: bytes) -> None:
        """See `Listener`. A pong answers somebody who has typed /ping."""
        if self._is_verbose or word == "pong":
            text = payload.decode("utf-8", "backslashreplace")
            self._screen.note(f"{word}{f': {text}' if text else ''}")

    def refused(self, refusal: Refusal) -> None:
        """See `Listener`."""
        self._refusal = refusal
        body = refusal.body.decode("utf-8", "backslashreplace").rstrip()
        lines = [f"refused: HTTP {refusal.status}"]
        for name in ("location", "www-authenticate", "retry-after", "upgrade"):
            if name in refusal.headers:
                lines.append(f"{name.title()}: {refusal.headers[name]}")
        self._screen.note("\n".join([*lines, *([body] if body else [])]))

    def closed(self, was_clean: bool, code: int, reason: str) -> None:
        """See `Listener`."""
        if self._refusal is not None:
            self._finish(1)
            return
        if self._client is None:
            if not self._is_interrupted:
                self._screen.note(f"cannot connect: {reason}")
            self._finish(1)
            return
        entry = CLOSE_CODES.get(code)
        words = _WORDS.get(code) or (entry.meaning if entry else "")
        said = f" {reason}" if reason else f" ({words})" if words else ""
        again = ""
        if entry is not None and code not in _WELL:
            again = "; worth another try" if entry.retry else "; final: do not come back"
        self._screen.note(f"closed: {code}{said}{again}")
        # The gateway may refuse at the moment at which standard input ends.
        is_ours = self._is_ending and was_clean and code in (self._closed_with, _NO_CODE)
        self._finish(0 if code in _WELL or is_ours else 1)

    def failed(self, reason: str) -> None:
        """End: there is no connection."""
        self._screen.note(f"cannot connect: {reason}")
        self._finish(1)

    # -- lines

    def line_received(self, line: bytes | None) -> None:
        """Send a line, follow a command, or close after the last line."""
        if self._client is None or self._is_ending:
            return
        if line is None:
            self._timer = self._clock.callLater(self._wait, self._close)
        elif self._is_prompt and line.startswith(b"/") and not line.startswith(b"//"):
            self._command(line.decode("utf-8", "backslashreplace"))
        elif self._is_prompt and not line:
            # Somebody looks whether the program is alive.
            return
        else:
            self._send(line.removeprefix(b"/") if self._is_prompt else line)

    def _send(self, line: bytes) -> None:
        assert self._client is not None
        try:
            line.decode()
            self._client.sendMessage(line, isBinary=False)
        except UnicodeDecodeError:
            self._client.sendMessage(line, isBinary=True)

    def _command(self, line: str) -> None:
        assert self._client is not None
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        if word == "/ping" and len(rest.encode()) <= 125:
            self._client.sendPing(rest.encode())
        elif word == "/binary" and _is_hex(rest):
            self._client.sendMessage(bytes.fromhex(rest), isBinary=True)
        elif word == "/close" and (found := re.fullmatch(r"(?:(\d{4})(?: +(.*))?)?", rest)):
            self._close_with(int(found[1] or 1000), found[2] or "")
        else:
            self._screen.note(_HELP)

    def _close_with(self, code: int, reason: str) -> None:
        if code != 1000 and not 3000 <= code <= 4999:
            self._screen.note("a client may close with 1000, or with 3000 to 4999")
        elif len(reason.encode()) > 123:
            self._screen.note("a reason has at most 123 bytes")
        else:
            self._close(code, reason)

    def _close(self, code: int = 1000, reason: str = "") -> None:
        self._is_ending = True
        self._closed_with = code
        if self._client is not None:
            self._client.sendClose(code, reason or None)

    def interrupt(self) -> None:
        """Close after the first Ctrl-C, and end at once after another one, or without a client."""
        if self._is_interrupted or self._client is None:
            self._is_interrupted = True
            self._finish(130)
            return
        self._is_interrupted = True
        self._close()

    def _finish(self, status: int) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if not self._has_stopped:
            self._has_stopped = True
            self._stop(130 if self._is_interrupted else status)

    # -- IPushProducer

    def pauseProducing(self) -> None:
        """Read no more lines: the server does not keep up."""
        self._reader.pause()

    def resumeProducing(self) -> None:
        """Read on."""
        self._reader.resume()

    def stopProducing(self) -> None:
        """Do nothing: `closed` follows."""


def _is_hex(text: str) -> bool:
    try:
        return bool(bytes.fromhex(text))
    except ValueError:
        return False


def _hello(found: dict[str, Any]) -> str:
    """Return the lines about the first message of the gateway."""

    def listed(name: str) -> str:
        words = found.get(name)
        return ", ".join(map(str, words)) if isinstance(words, list) and words else "nothing"

    user = found.get("user")
    name = "nobody in particular" if user is None else user
    heard, may_publish = listed("subscribe"), listed("publish")
    lines = [f"you are {name}; you hear {heard}, and may publish {may_publish}"]
    hints = found.get("hints")
    if isinstance(hints, list):
        lines += [f"hint: {each}" for each in hints]
    return "\n".join(lines)
