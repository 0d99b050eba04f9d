"""
The heads of the requests of one connection: bytes in, requests out.

All heads are read by `wsredis.transports.websocket.head`. What followed from the last one is kept,
since clients send the same headers again and again.
"""

from __future__ import annotations

from wsredis.transports.websocket import head
from wsredis.web.asgi.http_ports import Kept
from wsredis.web.asgi.http_request import Headers, Request
from wsredis.web.asgi.scopes import Place, Whereabouts

__all__ = ["RequestReader"]

#: Headers that no request has.
_NO_OTHERS = b"\n"

# Members of an Enum are looked up slowly.
_HTTP, _INCOMPLETE = head.Kind.HTTP, head.Kind.INCOMPLETE


class RequestReader:
    """
    Reads heads.

    Args:
        kept: Knows the limits, and which paths are the gateway's own.
        where: The two ends of the connection.
    """

    __slots__ = ("_kept", "_known", "_searched", "_where")

    def __init__(self, kept: Kept, where: Whereabouts) -> None:
        self._kept = kept
        self._where = where
        self._known: Request | None = None
        #: Bytes of a head that is not whole yet.
        self._searched = 0

    def read(self, data: bytes, place: Place) -> Request | head.Head | None:
        """
        Read the head at the start of *data*.

        Args:
            data: All bytes that have come since the last request.
            place: See `wsredis.web.asgi.scopes.Place`.

        Returns:
            A request. A head that has a status is refused, and one that has none is for another
            channel. None if the head is not whole.

        Raises:
            BadBody: The request has a body that cannot be read.
        """
        known = self._known
        if known is not None:
            if data.startswith(known.raw):
                self._searched = 0
                return known
            headers = known.headers
            line = head.parse_line(data, headers.raw, self._kept.max_head)
            if line is not None and line[2] == headers.version:
                method, target, _, size = line
                path = target.partition("?")[0]
                if target[0] == "/" and "#" not in target and not self._kept.is_own(path):
                    self._searched = 0
                    self._known = known = Request(headers, data[:size], method, target)
                    return known
        found = head.parse(data, self._kept.max_head, self._searched)
        if found.kind is _INCOMPLETE:
            self._searched = len(data)
            return None
        self._searched = 0
        if found.kind is not _HTTP or self._kept.is_own(head.path_of(found.target)):
            return found
        target = found.target
        found = head.check_plain(found)
        if found.status:
            return found
        raw = data[: found.size]
        # The host of a URL is in the place of that in the headers: they are no others'.
        lines = raw[raw.index(b"\r\n") + 2 :] if found.target == target else _NO_OTHERS
        headers = Headers(found, lines, self._where, place, self._kept.max_body)
        self._known = known = Request(headers, raw, found.method, found.target)
        return known
