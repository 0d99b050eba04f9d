"""Tests of the bytes that wait: they are counted, shared, and given back."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.web.spool import Spool, SpooledBody, SpoolFull


class SpoolTests(SynchronousTestCase):
    """Bytes are shared by addresses."""

    def test_bytes(self) -> None:
        """An address gets two thirds of what is left, and another one the rest."""
        spool = Spool(300)
        self.assertTrue(spool.has_room("a", 200))
        self.assertTrue(spool.take("a", 200))
        self.assertFalse(spool.take("a", 50))
        self.assertFalse(spool.has_room("a", 50))
        self.assertTrue(spool.take("b", 50))
        self.assertEqual(250, spool.held)
        spool.release("a", 200)
        spool.release("b", 50)
        self.assertEqual(0, spool.held)


class SpooledBodyTests(SynchronousTestCase):
    """A body is a file that has a share of the spool."""

    def test_file(self) -> None:
        """It is read as it was written, small or large, and gives its share back once."""
        spool = Spool(1_000_000)
        for size in (3, 300_000):
            body = SpooledBody(spool, "a")
            body.write(b"a\n" * size)
            body.seek(0)
            self.assertEqual(2 * size, spool.held)
            self.assertEqual(b"a\n", body.readline())
            self.assertEqual(2 * size - 2, len(body.read()))
            body.close()
            body.close()
            self.assertEqual(0, spool.held)

    def test_full(self) -> None:
        """What may not wait is not written."""
        spool = Spool(10)
        body = SpooledBody(spool, "a")
        body.write(b"12345")
        self.assertRaises(SpoolFull, body.write, b"123456")
        self.assertEqual(5, body.tell())
        body.close()
        self.assertEqual(0, spool.held)
