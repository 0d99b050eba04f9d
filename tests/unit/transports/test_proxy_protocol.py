"""Tests for `wsredis.transports.proxy_protocol`: bytes in, addresses out."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.transports.proxy_protocol import Header, parse

_FOUR = ("192.0.2.7", 4711), ("192.0.2.8", 80)
_SIX = ("2001:db8::7", 4711), ("2001:db8::8", 443)

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def binary(command: int, family: int, rest: bytes) -> bytes:
    """A header of version 2."""
    return _SIGNATURE + bytes([command, family]) + len(rest).to_bytes(2, "big") + rest


_FOUR_BYTES = bytes([192, 0, 2, 7, 192, 0, 2, 8, 0x12, 0x67, 0, 80])
_SIX_BYTES = bytes.fromhex("20010db8" + 22 * "0" + "07" + "20010db8" + 22 * "0" + "08" + "126701bb")

GOOD: list[tuple[bytes, object]] = [
    (b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 80\r\n", _FOUR),
    (b"PROXY TCP6 2001:db8::7 2001:DB8::8 4711 443\r\n", _SIX),
    (b"PROXY UNKNOWN\r\n", (None, None)),
    (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", (None, None)),
    (binary(0x21, 0x11, _FOUR_BYTES), _FOUR),
    (binary(0x21, 0x11, _FOUR_BYTES + b"\x04\x00\x01x"), _FOUR),
    (binary(0x21, 0x21, _SIX_BYTES), _SIX),
    # For a health check of the proxy itself, with and without addresses.
    (binary(0x20, 0x00, b""), (None, None)),
    (binary(0x20, 0x11, _FOUR_BYTES), (None, None)),
    # A UNIX socket, UDP, and a family that is not known.
    (binary(0x21, 0x31, bytes(216)), (None, None)),
    (binary(0x21, 0x12, _FOUR_BYTES), (None, None)),
    (binary(0x21, 0x00, b"abc"), (None, None)),
]

BAD = (
    b"GET / HTTP/1.1\r\n",
    b"proxy TCP4 192.0.2.7 192.0.2.8 4711 80\r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.8 4711\r\n",
    b"PROXY TCP4  192.0.2.7 192.0.2.8 4711 80\r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 65536\r\n",
    b"PROXY TCP4 192.0.2.700 192.0.2.8 4711 80\r\n",
    b"PROXY TCP4 2001:db8::7 192.0.2.8 4711 80\r\n",
    b"PROXY TCP6 192.0.2.7 192.0.2.8 4711 80\r\n",
    b"PROXY UDP4 192.0.2.7 192.0.2.8 4711 80\r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 80 \r\n",
    b"PROXY " + b"x" * 101,
    b"PROXY UNKNOWN " + b"x" * 200 + b"\r\n",
    b"\x16\x03\x01",
    b"\r\n\r\n\x00\r\nQUIT\r",
    binary(0x31, 0x11, _FOUR_BYTES),
    binary(0x22, 0x11, _FOUR_BYTES),
    binary(0x21, 0x11, _FOUR_BYTES[:-1]),
    binary(0x21, 0x21, _FOUR_BYTES),
    binary(0x21, 0x11, _FOUR_BYTES + bytes(5000)),
)


class ParseTests(SynchronousTestCase):
    """`parse`."""

    def test_good(self) -> None:
        """Both versions, in their long and short forms; bytes after the header do not matter."""
        for data, addresses in GOOD:
            expected = Header(len(data), *addresses)  # type: ignore[misc]
            self.assertEqual(expected, parse(data), data)
            self.assertEqual(expected, parse(data + b"GET / HTTP/1.1\r\n\r\n"), data)

    def test_any_cut(self) -> None:
        """Every true beginning of a header is incomplete, wherever the segment ends."""
        for data, _ in GOOD:
            for end in range(len(data)):
                self.assertIsNone(parse(data[:end]), data[:end])

    def test_bad(self) -> None:
        """Everything else is refused, and not waited for."""
        for data in BAD:
            self.assertRaises(ValueError, parse, data)
