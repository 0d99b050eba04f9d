"""Rights in code: twistd wsredis --policy rights:may, started in the folder of this file."""

from __future__ import annotations

from wsredis import Handshake, HandshakeRejected, Identity


def may(identity: Identity, handshake: Handshake) -> bool:
    kind, _, room = handshake.requested.facility.partition(".")
    if kind != "room":
        return True
    if identity.user is None:
        raise HandshakeRejected("log in to enter a room", 403)
    # The room of the tigers is for the group of the tigers.
    return room in identity.groups
