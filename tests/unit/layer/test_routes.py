"""Tests for `wsredis.layer.routes`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.layer.messages import BadPayload, Codec
from wsredis.layer.names import Names, host_of
from wsredis.layer.routes import Routes


class RouteTests(SynchronousTestCase):
    """The ways to groups."""

    def test_own(self) -> None:
        """A message to a group is one publication of its encoded form, which comes back."""
        codec = Codec()
        route = Routes([Names()], codec).find("chat")
        self.assertEqual(("chat", 0), (route.group, route.host))
        message = {"type": "x", "text": "Grüße"}
        [command] = route.commands(message)
        self.assertEqual((b"PUBLISH", b"asgi:group:chat", codec.encode(message)), command)
        self.assertEqual(message, route.parcel(codec.encode(message)).take())
        self.assertRaises(BadPayload, route.parcel, b"\xc1")
        self.assertEqual(b"asgi:group:chat:queues", route.queues)

    def test_hosts(self) -> None:
        """Each host has its share of the groups, with the names there."""
        names = [Names("asgi", number) for number in range(3)]
        routes = Routes(names, Codec())
        for number in range(30):
            route = routes.find(f"g{number}")
            self.assertEqual(host_of(f"g{number}", 3), route.host)
            self.assertEqual(names[route.host].group(f"g{number}"), route.channel)

    def test_remembered(self) -> None:
        """A way is found once, and the number of those that are remembered is bounded."""
        routes = Routes([Names()], Codec())
        self.assertIs(routes.find("a"), routes.find("a"))
        for number in range(10050):
            routes.find(str(number))
        self.assertLess(len(routes._known), 10001)
