"""An authenticator that reads a header of a proxy, and a policy that adds to the origins."""

from __future__ import annotations

from twisted.application.service import Application

from wsredis import Access, GatewayService, Handshake, HandshakeRejected, Identity, load
from wsredis.auth.policies.origin import OriginPolicy


class ProxyUser:
    """The proxy must remove this header from requests of clients."""

    def identify(self, handshake: Handshake) -> Identity:
        return Identity(user=handshake.headers.get("x-remote-user"))


class MembersOnly:
    def __init__(self, origins: OriginPolicy) -> None:
        self._origins = origins

    def allow(self, identity: Identity, handshake: Handshake) -> Access:
        if handshake.requested.publish and identity.user is None:
            raise HandshakeRejected("log in to publish", 403)
        return self._origins.allow(identity, handshake)


config = load({})
application = Application("members")
GatewayService(
    config,
    authenticator=ProxyUser(),
    policy=MembersOnly(OriginPolicy(config.allow_origin)),
).setServiceParent(application)
