"""
The gateway that most people would write with Autobahn and txredisapi, after their examples.

    python naive_autobahn.py PORT REDIS_PORT

One Redis connection subscribes for all clients, `sendMessage` goes to each, a second connection
publishes.
"""

from __future__ import annotations

import sys

import txredisapi
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint


class Subscriber(txredisapi.SubscriberProtocol):
    """Hands the messages of Redis to the clients."""

    def connectionMade(self):
        """The connection to Redis is open."""
        super().connectionMade()
        self.factory.gateway.subscriber = self

    def messageReceived(self, pattern, channel, message):
        """Send a message to all clients of *channel*."""
        for client in self.factory.gateway.clients.get(channel, ()):
            client.sendMessage(message.encode())


class Client(WebSocketServerProtocol):
    """A client that listens or publishes."""

    name = None
    kind = None

    def onConnect(self, request):
        """Choose by the path: /sub/NAME or /pub/NAME."""
        _, self.kind, self.name = request.path.split("/")

    def onOpen(self):
        """Join the channel, and subscribe in Redis when this is its first client."""
        if self.kind == "sub":
            clients = self.factory.clients.setdefault(self.name, set())
            if not clients:
                self.factory.subscriber.subscribe(self.name)
            clients.add(self)

    def onMessage(self, payload, isBinary):
        """Publish."""
        if self.kind == "pub":
            self.factory.publisher.publish(self.name, payload)

    def onClose(self, wasClean, code, reason):
        """Leave the channel."""
        clients = self.factory.clients.get(self.name, set())
        if self in clients:
            clients.discard(self)
            if not clients:
                del self.factory.clients[self.name]
                self.factory.subscriber.unsubscribe(self.name)


def main(port, redis_port):
    """Serve for ever."""
    gateway = WebSocketServerFactory()
    gateway.protocol = Client
    gateway.clients = {}
    gateway.publisher = txredisapi.lazyConnection("127.0.0.1", redis_port)
    link = txredisapi.SubscriberFactory()
    link.protocol = Subscriber
    link.gateway = gateway
    link.startConnecting(TCP4ClientEndpoint(reactor, "127.0.0.1", redis_port))
    reactor.listenTCP(port, gateway, backlog=4096, interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
