"""Tests for `wsredis.web.asgi.websocket_events`; how they raise is in `test_websocket`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.web.asgi.websocket_events import bytes_of, check_accept, check_close


class CheckTests(SynchronousTestCase):
    """What is right comes out in one form."""

    def test_bytes(self) -> None:
        """Bytes that may change are copied."""
        data = bytearray(b"a")
        found = bytes_of({"bytes": data})
        data += b"b"
        self.assertEqual(b"a", found)

    def test_accept(self) -> None:
        """Everything may be left out; headers keep their order and come as often as given."""
        self.assertEqual((None, []), check_accept({}, ["a"]))
        headers = [(b"A", b"1"), (b"b", b"\xe9"), (b"A", b"2")]
        event = {"subprotocol": "a", "headers": headers}
        self.assertEqual(("a", [("A", "1"), ("b", "é"), ("A", "2")]), check_accept(event, ["a"]))
        self.assertEqual((None, []), check_accept({"headers": None}, []))

    def test_close(self) -> None:
        """The code is 1000 and the reason empty unless others are given, which a frame may have."""
        self.assertEqual((1000, ""), check_close({}))
        self.assertEqual((1000, ""), check_close({"code": None, "reason": None}))
        for code in (1000, 1003, 1007, 1014, 3000, 4999):
            self.assertEqual((code, "x"), check_close({"code": code, "reason": "x"}))
        for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000):
            self.assertRaises(ValueError, check_close, {"code": code})
