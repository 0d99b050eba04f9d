"""A gateway that takes the identity of a client from headers: for tests, never for the public."""

import os

from twisted.application.service import Application
from wsredis import GatewayService, Identity
from wsredis.config import load


class FromHeaders:
    """Believes X-User, X-Groups (names between blanks) and X-Session."""

    def identify(self, handshake):
        """See `wsredis.Authenticator`."""
        headers = handshake.headers
        return Identity(
            user=headers.get("x-user"),
            groups=tuple(headers.get("x-groups", "").split()),
            session=headers.get("x-session"),
        )


application = Application("wsredis")
config = load(
    {
        "port": ["tcp:0:interface=127.0.0.1"],
        "prefix": "site",
        "redis": os.environ["TEST_REDIS_URL"],
    },
    {},
    os.environ.get("TEST_CONFIG"),
)
GatewayService(config, authenticator=FromHeaders()).setServiceParent(application)
