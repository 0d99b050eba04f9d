"""A twisted.web site with pages of its own, and the gateway at /ws/ on the same port."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.application.service import Application
from twisted.application.strports import service
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import File

from wsredis import GatewayService, load

# No port of its own: the connections come from the site.
gateway = GatewayService(load({"port": ()}))

root = Resource()
root.putChild(b"", File(str(Path(__file__).with_name("page.html"))))
root.putChild(b"ws", gateway.resource())

application = Application("site")
gateway.setServiceParent(application)
service(os.environ.get("LISTEN", "tcp:8080"), Site(root)).setServiceParent(application)
