"""A policy function. Start in this folder: twistd wsredis --policy rights:may"""

from __future__ import annotations

from wsredis import Handshake, HandshakeRejected, Identity


def may(identity: Identity, handshake: Handshake) -> bool:
    kind, _, room = handshake.requested.facility.partition(".")
    if kind != "room":
        return True
    if identity.user is None:
        raise HandshakeRejected("log in to enter a room", 403)
    # The name of a room is the name of the group that may enter it.
    return room in identity.groups
