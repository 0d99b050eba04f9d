"""
The frames of a client, read out of the bytes that came (RFC 6455, 5; RFC 7692, 6).

A frame is read where it stands: what follows is not moved for it. The reader stops when its
turn is over, and goes on in the next one. A message in fragments, or one that comes in several
reads, is collected in one buffer, so that fragments cost what they carry.

It is one module because a frame is judged by the state of its message, its connection and its turn.
"""

from __future__ import annotations

import codecs
import sys
from collections.abc import Callable, Sequence
from typing import Any

from autobahn.exception import PayloadCorruptError, PayloadExceededError
from autobahn.websocket.protocol import WebSocketProtocol
from autobahn.websocket.xormasker import create_xor_masker

from wsredis.transports.websocket.deflate import Inflater

__all__ = ["FrameReader", "Unfinished"]

_TEXT, _BINARY, _CLOSE, _PING = 0x81, 0x82, 0x88, 0x89

#: The first bytes of whole messages that are not compressed.
_WHOLE = (_TEXT, _BINARY)

#: The first bytes of other frames that may be many.
_FREQUENT = (_PING, 0x8A, 0x00, 0x80)

#: The most messages that are taken at once. None of them is answered before the last one is taken.
_BATCH = 512

#: So many messages in a row, of at most so many bytes, are read together if their heads are equal.
_ROW = 16
_ROW_LENGTH = 0x80 + 32

#: Bytes; Autobahn unmasks longer payloads faster.
_SHORT = 1024

#: Bytes of zlib's window and state, while a compressed message is not complete.
_INFLATER = 40960

#: Bytes of what else is kept for a message.
_OVERHEAD = 512

#: Work to begin and to end the inflating of a message.
_INFLATING = 4

#: Work of a client that need not be charged yet.
_UNCHARGED = 64

#: Bytes that were worked off, which may be kept with the rest of a read.
_WORKED_OFF = 4096

#: The heads of pongs, by length.
_PONG_HEADS = [bytes((0x8A, length)) for length in range(126)]

_OPEN = int(WebSocketProtocol.STATE_OPEN)
_utf8 = codecs.getincrementaldecoder("utf-8")


class Unfinished:
    """
    A message of which a part has come, or the rest of a frame that is thrown away.

    Attributes:
        buffer: The payload until now. If None, what comes is thrown away.
        empty: The number of fragments without content, except the first and the last.
        is_binary: Whether the message is binary.
        is_compressed: Whether the fragments have to be inflated.
        is_last: Whether the frame that is being read is the last one.
        left: Bytes of that frame that have not come yet.
        checked: The size at which its progress was looked at. -1 before it has a deadline.
    """

    __slots__ = (
        "buffer",
        "checked",
        "decoder",
        "empty",
        "is_binary",
        "is_compressed",
        "is_last",
        "left",
        "masker",
    )

    def __init__(self, is_binary: bool = True, is_compressed: bool = False) -> None:
        self.buffer: bytearray | None = bytearray()
        self.is_binary = is_binary
        self.is_compressed = is_compressed
        self.decoder = None if is_binary else _utf8()
        self.is_last = False
        self.left = self.empty = 0
        self.checked = -1
        self.masker: Any = None

    @property
    def size(self) -> int:
        """The bytes of memory that it takes, about."""
        if self.buffer is None:
            return 0
        return _OVERHEAD + len(self.buffer) + (_INFLATER if self.is_compressed else 0)

    def drop(self) -> None:
        """Throw away what has come, and what will come of the frame that is being read."""
        self.buffer = self.decoder = self.masker = None


class FrameReader:
    """
    The reading half of a connection. A subclass has the state of the connection, and the hooks.

    Work is counted in deliveries: a frame is one, and so is a KiB.

    Attributes:
        data: Bytes that were read and not worked off. Empty while the reader works.
        position: Up to there they are worked off.
        unfinished: The message that has begun. If None, the next frame is the first of one.
        pause_reasons: If this is not 0, the next message waits, also one that was read already.
        state: As in Autobahn.
        turn: The work of one turn.
        takes_batches: Whether the payloads of short messages that follow each other are taken by
            `messages_received`. No message pauses the client then before it is taken.
    """

    data: bytes = b""
    position = 0
    unfinished: Unfinished | None = None
    pause_reasons = 0
    state: int
    turn = sys.maxsize
    takes_batches = False
    maxMessagePayloadSize = maxFramePayloadSize = sys.maxsize
    #: Bytes; a whole message up to there is read in the short way.
    _short_message = _SHORT
    _perMessageCompress: Inflater | None = None

    # -- The hooks of Autobahn

    onMessage: Callable[[bytes, bool], None]
    sendData: Callable[[bytes], None]
    onCloseFrame: Callable[[int | None, bytes | None], object]
    _protocol_violation: Callable[[str], object]
    _invalid_payload: Callable[[str], object]
    _max_message_size_exceeded: Callable[[int, int, str], object]

    # -- The hooks of this class

    def messages_received(self, payloads: Sequence[bytes]) -> int:
        """
        Take several messages, at least the first.

        Returns:
            The number of those that were taken. The others come again after a pause.
        """
        raise NotImplementedError

    def turn_over(self) -> None:
        """Set a reason to pause, until the next turn of this client comes."""

    def settle(self, work: int) -> None:
        """Charge the client for work. It may set a reason to pause."""

    def may_leave(self) -> bool:
        """
        Tell whether the close frame that came may be taken.

        If not, the client is paused now, and the frame is read again after the pause.
        """
        return True

    def input_kept(self, waiting: int) -> None:
        """
        Account for memory. It is called after a turn that leaves something, and after the next one.

        Args:
            waiting: Bytes of memory for what was read, and waits for the client's next turn.
        """

    # -- The reader

    #: Whether `input_kept` has something to take back.
    _is_kept = False

    #: Work that was not charged yet.
    _work = 0

    #: The work of inflating, until it is counted.
    _inflated = 0

    def consumeData(self) -> None:
        """
        Work off `data` until a reason to pause comes up.

        It finds nothing to do while it is at work, if a message leads to a call of it: the one that
        is running goes on after the message.
        """
        data, at = self.data, self.position
        if not data:
            return
        self.data = b""
        if at:
            self.position = 0
        work = 0
        if (
            self.unfinished is None
            and data[at] in _WHOLE
            and not self.pause_reasons
            and self.state == _OPEN
        ):
            # Mostly it is a message or some, and nothing else.
            if not self.takes_batches and self._takes_single(data, at):
                return
            at, work = self._take_messages(data, at, self.turn)
            if at == len(data) and not self._is_kept:
                self.charge(work)
                return
        try:
            if not self.pause_reasons:
                at = self._work_off(data, at, work)
            elif work:
                self.charge(work)
        except BaseException:
            at = len(data)
            raise
        finally:
            self._keep(data, at)

    def _takes_single(self, data: bytes, at: int) -> bool:
        """
        Take one short, whole, valid message that is all there is.

        It does what `_take_messages` does, without a look at what else there could be: most reads
        of an application's clients are like that.

        Returns:
            Whether it is one. If not, nothing was taken.
        """
        size = len(data) - at - 6
        if self._is_kept or not 0 <= size < 126:
            return False
        if data[at + 1] != size + 0x80 or size > self._short_message:
            return False
        start = at + 6
        mask = (data[start - 4 : start] * (size // 4 + 1))[:size]
        payload = (
            int.from_bytes(data[start:], "little") ^ int.from_bytes(mask, "little")
        ).to_bytes(size, "little")
        is_binary = data[at] == _BINARY
        if not (is_binary or payload.isascii() or _is_utf8(payload)):
            return False
        self.onMessage(payload, is_binary)
        self.charge(1)
        return True

    def _keep(self, data: bytes, at: int) -> None:
        waiting = 0
        if at < len(data) and self.state:
            if self.pause_reasons:
                if at > _WORKED_OFF and at * 2 > len(data):
                    # A small rest would keep the whole read in memory.
                    data, at = data[at:], 0
                self.data, self.position = data, at
                waiting = len(data)
            else:
                # A few bytes: the start of a frame.
                self.data = data[at:]
        if waiting or self.unfinished is not None or self._is_kept:
            self._is_kept = bool(waiting) or self.unfinished is not None
            self.input_kept(waiting)

    def charge(self, work: int) -> None:
        """
        Count work, or what the client has caused otherwise, against its rate.

        The client may be paused.
        """
        work += self._work
        if work < _UNCHARGED:
            self._work = work
        else:
            self._work = 0
            self.settle(work)

    def _work_off(self, data: bytes, at: int, work: int) -> int:
        """
        Read frames from *at* on.

        Args:
            work: The work of this turn until now.

        Returns:
            The position of the first one that is not read.
        """
        total = len(data)
        pings: list[bytes] = []
        while at < total and not self.pause_reasons and self.state:
            if work >= self.turn:
                self.turn_over()
                break
            first = data[at]
            if pings and first & 0x88 == 0x80:
                # A message that ends here may be answered, and the pongs come first.
                self._answer(pings)
                continue
            if self.unfinished is None and first in _WHOLE and self.state == _OPEN:
                end, count = self._take_messages(data, at, self.turn - work)
                if count:
                    at = end
                    work += count
                    continue
            end = self._read_frame(data, at, total, pings)
            if end < 0:
                break
            work += 1 + (end - at >> 10)
            at = end
            if self._inflated:
                work += self._inflated
                self._inflated = 0
        if pings:
            self._answer(pings)
        if work:
            self.charge(work)
        return at

    def _take_messages(self, data: bytes, at: int, most: int) -> tuple[int, int]:
        """
        Take the short, whole, valid messages that come next, until one of them pauses the client.

        Args:
            most: As many are taken at most.

        Returns:
            Where the last one ends, and the number of them. Something else comes next, unless the
            client is paused.
        """
        total, limit = len(data), self._short_message
        from_bytes = int.from_bytes
        is_single = not self.takes_batches
        batch: list[bytes] = []
        begin = at
        most = min(most, _BATCH)
        if not is_single and total - at > _ROW * 6 and 0x80 <= data[at + 1] <= _ROW_LENGTH:
            size = data[at + 1] - 0x80
            if size <= limit:
                batch = _row(data, at, size, min(most, (total - at) // (size + 6)))
                at += len(batch) * (size + 6)
        count = len(batch)
        while count < most and (start := at + 6) <= total:
            first = data[at]
            if first != _TEXT and first != _BINARY:
                break
            # RFC 6455, 5.2: the length in seven bits, or in two bytes more if it needs them; the
            # mask.
            size = data[at + 1] - 0x80
            if size == 126:
                size = from_bytes(data[at + 2 : at + 4], "big")
                start += 2
                if size < 126:
                    break
            elif not 0 <= size < 126:
                break
            end = start + size
            if size > limit or end > total:
                break
            # RFC 6455, 5.3. For short messages numbers are the fastest way to it.
            mask = (data[start - 4 : start] * (size // 4 + 1))[:size]
            payload = (from_bytes(data[start:end], "little") ^ from_bytes(mask, "little")).to_bytes(
                size, "little"
            )
            # Most payloads are ASCII, and finding that out costs a third.
            if first == _TEXT and not payload.isascii() and not _is_utf8(payload):
                break
            at = end
            count += 1
            if is_single:
                self.onMessage(payload, first == _BINARY)
                if self.pause_reasons or self.state != _OPEN:
                    break
            else:
                batch.append(payload)
        if batch:
            taken = self.messages_received(batch)
            if taken < count:
                count = taken
                sizes = map(len, batch[:taken])
                at = begin + sum(size + (6 if size < 126 else 8) for size in sizes)
        return at, count

    def _read_frame(self, data: bytes, at: int, total: int, pings: list[bytes]) -> int:
        """
        Read one frame at *at*, or the part of it that has come.

        Args:
            total: The end of *data*.
            pings: The payload of a ping is appended.

        Returns:
            The end of the part that was read. -1 if more bytes have to come first.
        """
        message = self.unfinished
        if message is not None and message.left:
            end = min(total, at + message.left)
            self._take_part(message, data[at:end])
            return end
        if total - at < 2:
            return -1
        first, second = data[at], data[at + 1]
        size = second & 0x7F
        start = at + (6 if second >= 0x80 else 2)
        if not first and second == 0x80 and message is not None and self.state == _OPEN:
            if at + 6 > total:
                return -1
            message.empty += 1
            return at + 6
        problem = ""
        # Pings, pongs and fragments come in thousands if at all.
        is_frequent = first in _FREQUENT and 0x80 <= second < 0xFE
        if self.state == _OPEN and not (is_frequent and (first & 0x08 or message is not None)):
            problem = self._problem(first, second)
        if size > 125:
            width = 2 if size == 126 else 8
            start += width
            # A wrong start is answered before the rest comes.
            if start > total and not problem:
                return -1
            size = int.from_bytes(data[at + 2 : at + 2 + width], "big")
            if size < (126 if width == 2 else 65536) or size >> 63:
                problem = problem or "invalid data frame length (not using minimal length encoding)"
        elif start + size > total and not problem:
            # It comes soon, or costs no more than this.
            return -1
        if self.state == _OPEN and problem:
            self._protocol_violation(problem)
            if first & 0x0F == 8:
                # A client sends nothing after its close frame: no answer is to be waited for.
                self.onCloseFrame(None, None)
                return total
        if self.state != _OPEN:
            return self._skip(data, at, start, size)
        if first & 0x08:
            if first == _PING:
                pings.append(_unmasked(data, start, size))
            elif first == _CLOSE:
                self._answer(pings)
                if not self.may_leave():
                    return -1
                self._take_close(_unmasked(data, start, size))
            return start + size
        if message is None:
            message = self.unfinished = Unfinished(first & 0x0F == 2, bool(first & 0x40))
            if message.is_compressed:
                assert self._perMessageCompress is not None
                self._perMessageCompress.start_decompress_message()
        message.is_last = first >= 0x80
        message.left = size
        return self._begin_frame(message, data, start, total)

    def _problem(self, first: int, second: int) -> str:
        """Return how a frame that begins so violates the protocol. Empty if it does not."""
        opcode, reserved = first & 0x0F, first & 0x70
        if second < 0x80:
            return "unmasked client-to-server frame"
        if reserved and (reserved != 0x40 or self._perMessageCompress is None):
            return f"RSV = {reserved >> 4} and no extension negotiated"
        if opcode > 7:
            if reserved:
                return "received compressed control frame"
            if first < 0x80:
                return "fragmented control frame"
            if second > 0xFD:
                return "control frame with payload length > 125 octets"
            if opcode > 10:
                return f"control frame using reserved opcode {opcode}"
            if second == 0x81 and opcode == 8:
                return "received close control frame with payload len 1"
        elif opcode > 2:
            return f"data frame using reserved opcode {opcode}"
        elif not opcode:
            if self.unfinished is None:
                return "received continuation data frame outside fragmented message"
            if reserved:
                return "received continuation data frame with compress bit set"
        elif self.unfinished is not None:
            return "received non-continuation data frame while inside fragmented message"
        return ""

    def _begin_frame(self, message: Unfinished, data: bytes, start: int, total: int) -> int:
        """Read what has come of the payload of a frame, if it is not too large."""
        assert message.buffer is not None
        size = message.left
        for reached, limit in (
            (len(message.buffer) + size, self.maxMessagePayloadSize),
            (size, self.maxFramePayloadSize),
        ):
            if reached > limit:
                self._max_message_size_exceeded(reached, limit, f"more than {limit} bytes")
                self.drop_message()
                return start
        end = min(total, start + size)
        if end - start == size <= _SHORT:
            message.left = 0
            self._take_payload(message, _unmasked(data, start, size))
        else:
            message.masker = create_xor_masker(data[start - 4 : start], size)
            self._take_part(message, data[start:end])
        return end

    def _take_part(self, message: Unfinished, part: bytes) -> None:
        """Take a part of the payload of a frame."""
        message.left -= len(part)
        if message.buffer is not None:
            self._take_payload(message, message.masker.process(part))
        elif not message.left:
            self.unfinished = None

    def _take_payload(self, message: Unfinished, payload: bytes) -> None:
        """Take the next bytes of a message, and hand it over if they are the last."""
        buffer = message.buffer
        assert buffer is not None
        is_end = message.is_last and not message.left
        try:
            if message.is_compressed:
                payload = self._inflate(payload, len(buffer), is_end)
            if message.decoder is not None:
                message.decoder.decode(payload, is_end)
        except PayloadExceededError:
            limit = self.maxMessagePayloadSize
            self._max_message_size_exceeded(limit, limit, f"more than {limit} bytes, inflated")
            self.drop_message()
        except PayloadCorruptError as error:
            self._invalid_payload(f"the message cannot be decompressed: {error}")
            self.drop_message()
        except UnicodeDecodeError:
            self._invalid_payload("the text is not UTF-8")
            self.drop_message()
        else:
            if is_end:
                self.unfinished = None
                self.onMessage(bytes(buffer) + payload if buffer else payload, message.is_binary)
            else:
                buffer += payload

    def _inflate(self, payload: bytes, so_far: int, is_end: bool) -> bytes:
        """
        Inflate a part of a message.

        Raises:
            PayloadExceededError, PayloadCorruptError: See `Inflater`.
        """
        inflater = self._perMessageCompress
        assert inflater is not None
        payload = inflater.decompress_message_data(payload, self.maxMessagePayloadSize - so_far)
        self._inflated += _INFLATING + (len(payload) >> 10)
        if is_end:
            inflater.end_decompress_message()
        return payload

    def _answer(self, pings: list[bytes]) -> None:
        if pings and self.state == _OPEN:
            self.sendData(b"".join([_PONG_HEADS[len(each)] + each for each in pings]))
        pings.clear()

    def _take_close(self, payload: bytes) -> None:
        code = int.from_bytes(payload[:2], "big") if payload else None
        self.onCloseFrame(code, payload[2:] or None)

    def _skip(self, data: bytes, at: int, start: int, size: int) -> int:
        """Pass over a frame of a connection that is being closed, if it is not its last one."""
        if start > len(data):
            return -1
        is_close = data[at] == _CLOSE and 0x80 <= data[at + 1] < 0xFE and size != 1
        if self.state and is_close:
            if start + size > len(data):
                return -1
            self._take_close(_unmasked(data, start, size))
            return start + size
        if size:
            rest = self.unfinished = Unfinished()
            rest.left = size
            rest.drop()
        return start

    def drop_message(self) -> None:
        """Throw away the message that has begun: the connection is being closed."""
        message = self.unfinished
        if message is not None:
            if message.left:
                message.drop()
            else:
                self.unfinished = None
            self._perMessageCompress = None


def _row(data: bytes, at: int, size: int, count: int) -> list[bytes]:
    """
    Return the payloads of short valid messages in a row whose frames have the same head.

    They are found and unmasked without a look at each in Python. It is empty if there are few.

    Args:
        size: The bytes of each payload.
        count: There is room for as many in *data*, and as many are read at most.
    """
    width = size + 6
    for offset in (0, 1):
        heads = data[at + offset : at + offset + count * width : width]
        count -= len(heads.lstrip(heads[:1]))
    if count < _ROW:
        return []
    block = data[at : at + count * width]
    masks = bytearray(len(block))
    for offset in range(size):
        masks[6 + offset :: width] = block[2 + offset % 4 :: width]
    plain = int.from_bytes(block, "little") ^ int.from_bytes(masks, "little")
    text = plain.to_bytes(len(block), "little")
    payloads = [text[start : start + size] for start in range(6, len(text) + 1, width)]
    is_valid = data[at] == _BINARY or all(map(bytes.isascii, payloads))
    return payloads if is_valid else []


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def _unmasked(data: bytes, start: int, size: int) -> bytes:
    """Return a short payload that begins at *start*, after its mask."""
    if not size:
        return b""
    mask = (data[start - 4 : start] * (size // 4 + 1))[:size]
    masked = int.from_bytes(data[start : start + size], "little")
    return (masked ^ int.from_bytes(mask, "little")).to_bytes(size, "little")
