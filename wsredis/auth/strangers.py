"""Pages of a foreign origin: which of their headers count, and the words about the others."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel

from wsredis.auth.policies.origin import OriginPolicy
from wsredis.gateway.identity import Handshake
from wsredis.gateway.log_throttle import LogThrottle

__all__ = ["Strangers"]

#: The headers of a foreign page's handshake that count. Others may speak for the visitor, although
#: the page never saw them: a browser adds cookies, and a proxy adds the user that it knows by them,
#: under a name of its own. A token among the subprotocols is different: the page has it.
_OPEN_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "connection",
        "content-length",
        "content-type",
        "dnt",
        "forwarded",
        "host",
        "last-event-id",
        "origin",
        "pragma",
        "priority",
        "referer",
        "sec-fetch-dest",
        "sec-fetch-mode",
        "sec-fetch-site",
        "sec-gpc",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "sec-websocket-version",
        "traceparent",
        "upgrade",
        "user-agent",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-real-ip",
        "x-request-id",
    }
)

#: Seconds between two lines about pages of one origin, and origins that are told apart meanwhile.
_INTERVAL = 600.0
_MOST = 20


class Strangers:
    """
    Takes away the headers of foreign pages that may speak for the visitor, and says so.

    Args:
        clock: Counts the time between two lines of the log.
        origins: Refuses handshakes by foreign names, and knows pages of a foreign origin.
        knows_users: Tells whether anybody would look at those headers. If False, nothing is said.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, origins: OriginPolicy, *, knows_users: bool) -> None:
        self._origins = origins
        self._knows_users = knows_users
        self._open_headers = _OPEN_HEADERS
        if origins.secure_header:
            # It takes rights away from a page.
            self._open_headers |= {origins.secure_header}
        self._throttle = LogThrottle(clock, _INTERVAL, most=_MOST)

    def is_foreign(self, handshake: Handshake) -> bool:
        """Tell whether *handshake* comes from a page of a foreign origin."""
        return self._origins.is_foreign(handshake)

    def counted(self, handshake: Handshake) -> Handshake:
        """
        Drop all that may speak for the visitor from the handshake of a foreign page.

        Returns:
            *handshake* itself, if all of it counts.
        Raises:
            HandshakeRejected: With 400 if it came by a name that is not one of the gateway.
        """
        self._origins.check_host(handshake)
        headers = handshake.headers
        if headers.keys() <= self._open_headers or not self.is_foreign(handshake):
            return handshake
        kept = {name: value for name, value in headers.items() if name in self._open_headers}
        return replace(handshake, headers=kept)

    def advice(self, handshake: Handshake) -> str:
        """Return the advice for a foreign page that was refused: `HandshakeRejected.advice`."""
        _, option = self._origins.remedy(handshake)
        which = "another origin" if "--allow-origin" in option else "a name that is not known here"
        return f"its page is of {which}; {option} would admit it"

    def tell(self, handshake: Handshake) -> str:
        """
        Log that pages of an origin come as strangers.

        Args:
            handshake: As it came; some of its headers did not count.
        Returns:
            A sentence for its client; see `wsredis.gateway.connection.Connection.hints`. Empty if
            nobody has missed the headers.
        """
        words = self.words(handshake)
        if words:
            origin, option = self._origins.remedy(handshake)
            self._throttle.log(
                self._log,
                LogLevel.info,
                origin,
                "pages of {origin} come as strangers: their cookies and the like are ignored; "
                "{option} admits them",
                event="foreign-origin",
                origin=origin,
                option=option,
            )
        return words

    def words(self, handshake: Handshake) -> str:
        """Return what `tell` returns, and log nothing. The handshake may be that of any page."""
        lost = {name for name in handshake.headers if name not in self._open_headers}
        # Browsers add those to requests for streams; they speak for no one.
        if not self._knows_users or all(name.startswith("sec-") for name in lost):
            return ""
        if not self.is_foreign(handshake):
            return ""
        origin, option = self._origins.remedy(handshake)
        what = "cookies are" if "cookie" in lost else "credentials are"
        which = "another origin" if "--allow-origin" in option else "a name that is not known here"
        return f"this page comes from {origin}, {which}: its {what} ignored; {option} admits it"

    def stop(self) -> None:
        """Log what was counted."""
        self._throttle.reset()
