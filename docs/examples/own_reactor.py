"""The gateway in a program that runs the reactor itself: python own_reactor.py"""

from __future__ import annotations

import sys

from twisted.internet import reactor
from twisted.logger import globalLogBeginner, textFileLogObserver

from wsredis import ConfigError, GatewayService, load


def main() -> None:
    try:
        gateway = GatewayService(load({}), reactor=reactor)
    except ConfigError as error:
        sys.exit(f"own_reactor: {error}")
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)])
    gateway.startService()
    # The reactor waits for the Deferred of stopService before it ends.
    reactor.addSystemEventTrigger("before", "shutdown", gateway.stopService)
    reactor.run()


if __name__ == "__main__":
    main()
