"""The default dialect, that of django-websocket-redis: the payload and nothing else."""

from __future__ import annotations

from wsredis.transports.websocket import frames

__all__ = ["PlainDialect"]


class PlainDialect:
    """
    A message is its payload; a heartbeat is a text message agreed upon.

    Args:
        heartbeat: The text that both sides send as a sign of life. None: there is none.
    """

    def __init__(self, heartbeat: str | None = None) -> None:
        self._heartbeat = None if heartbeat is None else heartbeat.encode()
        #: The frame that says "still here", or None.
        self.heartbeat_frame = None if self._heartbeat is None else frames.text(self._heartbeat)

    #: See `Dialect.frame`. It is called for every publication, hence no method around it.
    frame = staticmethod(frames.message)

    def is_heartbeat(self, payload: bytes) -> bool:
        """See `Dialect.is_heartbeat`."""
        return payload == self._heartbeat
