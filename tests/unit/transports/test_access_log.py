"""Tests for `wsredis.transports.access_log`: the line of one answer."""

from __future__ import annotations

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from wsredis.transports.access_log import Page, log_page


class LineTests(SynchronousTestCase):
    """The combined format of web servers, without the date."""

    page = Page("192.0.2.1:5", "GET", b"/a", "HTTP/1.1", 200, 12, b"", "", 0.5)

    def line(self, **fields: object) -> str:
        """Log a page. Returns: The line."""
        with capturedLogs() as logs:
            log_page(self.page._replace(**fields))
        (self.event,) = logs
        return formatEvent(self.event)

    def test_line(self) -> None:
        """What is not there is a hyphen; the fields have all of it."""
        self.assertEqual('192.0.2.1:5 - - "GET /a HTTP/1.1" 200 12 "-" "-"', self.line())
        self.assertEqual(
            ("page", "GET", "/a", "HTTP/1.1", 200, 12, 0.5),
            tuple(
                self.event[each]
                for each in ("event", "method", "path", "protocol", "status", "bytes", "seconds")
            ),
        )

    def test_secrets(self) -> None:
        """Neither a query nor the password of a URL is logged."""
        line = self.line(target=b"/a?token=SECRET", referer=b"https://me:SECRET@b/?SECRET")
        self.assertIn('"GET /a?... HTTP/1.1"', line)
        self.assertIn('"https://b/?..."', line)
        self.assertNotIn("SECRET", line)

    def test_quotes(self) -> None:
        """Whatever a client sends stays within its quotes, and within its line."""
        line = self.line(agent='a" \r\n"\x85b', method="G" * 300)
        self.assertIn('"a\\" \\r\\n\\"\\x85b"', line)
        self.assertNotIn("G" * 201, line)
