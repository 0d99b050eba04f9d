"""Parts that the tests of several modules share."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from tests.support.raw import CLOSE, Frame
from wsredis.gateway.identity import Handshake, Identity

BOTH = "/ws/a?subscribe-broadcast&publish-broadcast&echo"
LISTEN = "/ws/a?subscribe-broadcast"


class SlowAuthenticator:
    """An authenticator that answers when the test calls back one of `asked`."""

    def __init__(self) -> None:
        self.asked: list[Deferred[Identity]] = []

    def identify(self, handshake: Handshake) -> Deferred[Identity]:
        """See `wsredis.gateway.identity.Authenticator`."""
        self.asked.append(Deferred())
        return self.asked[-1]


def codes(frames: list[Frame]) -> list[int | None]:
    """The codes of the close frames."""
    return [each.close_code for each in frames if each.opcode == CLOSE]
