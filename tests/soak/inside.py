"""
The gateway in a program that shows what it holds: ``twistd -n -y`` runs it.

A request to the port that it logs as "look at" is answered with the number of timers, objects and
other things, as JSON.
"""

from __future__ import annotations

import gc
import json
import threading
from collections import Counter
from typing import Any

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import Application, Service
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from wsredis import GatewayService, load

reactor: Any = installed


class Look(Resource):
    """Counts what is there."""

    isLeaf = True

    def __init__(self, gateway: GatewayService) -> None:
        super().__init__()
        self._gateway = gateway

    def render_GET(self, request: Request) -> bytes:
        """Answer with the counts."""
        gc.collect()
        timers = Counter(
            getattr(each.func, "__qualname__", type(each.func).__name__)
            for each in reactor.getDelayedCalls()
        )
        kinds = Counter(type(each).__name__ for each in gc.get_objects())
        found = {
            "connections": self._gateway.metrics.connections,
            "timers": sum(timers.values()),
            "timers by name": timers,
            "threads": threading.active_count(),
            "objects": sum(kinds.values()),
            "objects by type": dict(kinds.most_common(40)),
        }
        return json.dumps(found).encode()


class LookService(Service):
    """Listens for those who look."""

    _log = Logger()

    def __init__(self, gateway: GatewayService) -> None:
        site = Site(Look(gateway))
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        self._service = StreamServerEndpointService(endpoint, site)

    def startService(self) -> None:
        """Listen, and say where."""
        super().startService()
        self._service.startService()
        # It listens at once.
        self._service._waitingForPort.addCallback(self._say)

    def _say(self, port: Any) -> Any:
        self._log.info("look at {port}", port=port.getHost().port)
        return port

    def stopService(self) -> Deferred[None]:
        """Listen no more."""
        super().stopService()
        return self._service.stopService()


application = Application("soak")
gateway = GatewayService(load({}))
gateway.setServiceParent(application)
LookService(gateway).setServiceParent(application)
