"""The port of ``metrics-port``, which only an operator's programs reach."""

from __future__ import annotations

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from wsredis.service.endpoints import PortEndpoint, shown_address
from wsredis.web.site import GatewaySite

__all__ = ["PrivatePort"]


class PrivatePort:
    """
    A port with ``/metrics`` and the health paths.

    Args:
        endpoint: Listens. If None, there is no such port, and no method does anything.
        site: Answers.
    """

    _log = Logger()

    def __init__(self, endpoint: PortEndpoint | None, site: GatewaySite) -> None:
        self._endpoint = endpoint
        self._site = site
        self._port: IListeningPort | None = None

    def bind(self) -> None:
        """
        Bind it. Repeating this is harmless.

        Raises:
            CannotListenError: It cannot be bound; a note names the setting.
        """
        if self._endpoint is not None and self._port is None:
            self._port = self._endpoint.listen(self._site)
            address = shown_address(self._port.getHost())
            self._log.info(
                "metrics and health on {address}", event="metrics-listening", address=address
            )

    def stop(self) -> Deferred[object]:
        """
        Close it, and the connections to it. A balancer and the last scrape use it while we drain.

        Returns:
            Fires when it is closed. A failure is logged.
        """
        port, self._port = self._port, None
        self._site.stop()
        if port is None:
            return succeed(None)
        return maybeDeferred(port.stopListening).addErrback(
            lambda failure: self._log.failure(
                "cannot close a port", event="port-close-failed", failure=failure
            )
        )
