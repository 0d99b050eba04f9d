"""Tests for `wsredis.layer.names`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.layer.names import Names, client_of, escape_pattern, host_of


class NameTests(SynchronousTestCase):
    """Names in Redis."""

    def test_names(self) -> None:
        """The names are these: those who look into Redis rely on them."""
        names = Names()
        for expected, name in (
            (b"asgi:group:chat", names.group("chat")),
            (b"asgi:process:0af", names.process("0af")),
            (b"asgi:everyone", names.everyone),
            (b"asgi:queue:mail", names.queue("mail")),
            (b"asgi:queue:mail", names.bell("mail")),
            (b"asgi:group:chat:queues", names.group_queues("chat")),
        ):
            self.assertEqual(expected, name)

    def test_database(self) -> None:
        """Publications, which know no databases, carry the number of the database; keys do not."""
        names = Names("p", 3)
        for expected, name in (
            (b"p@3:group:chat", names.group("chat")),
            (b"p@3:process:0af", names.process("0af")),
            (b"p@3:everyone", names.everyone),
            (b"p@3:queue:mail", names.bell("mail")),
            (b"p:queue:mail", names.queue("mail")),
            (b"p:group:chat:queues", names.group_queues("chat")),
        ):
            self.assertEqual(expected, name)

    def test_patterns(self) -> None:
        """The patterns take a prefix literally, whatever it has in it."""
        self.assertEqual((b"asgi:queue:*", b"asgi:group:*:queues"), Names().key_patterns)
        self.assertEqual(b"a\\*\\[b\\]:queue:*", Names("a*[b]").key_patterns[0])
        self.assertEqual("\\?\\^\\-\\\\x", escape_pattern("?^-\\x"))

    def test_client(self) -> None:
        """A channel of a process names it between the last dot and the exclamation mark."""
        for channel, client in (
            ("specific.0af!x", "0af"),
            ("a.b.0af!x.y", "0af"),
            ("0af!x", "0af"),
            ("mail", None),
            ("a.b", None),
        ):
            self.assertEqual(client, client_of(channel), channel)


class HostTests(SynchronousTestCase):
    """The host of several."""

    def test_one(self) -> None:
        """One host has all names."""
        self.assertEqual({0}, {host_of(str(number), 1) for number in range(100)})

    def test_all(self) -> None:
        """Each of several has some, and a name always has the same one."""
        for hosts in (2, 3, 10):
            found = [host_of(f"name-{number}", hosts) for number in range(1000)]
            self.assertEqual(set(range(hosts)), set(found))
            self.assertEqual(found, [host_of(f"name-{number}", hosts) for number in range(1000)])

    def test_as_channels_redis(self) -> None:
        """The division is that of channels_redis, so its keys and ours lie on the same hosts."""
        from channels_redis.utils import _consistent_hash

        for hosts in (1, 2, 3, 7, 10):
            for number in range(500):
                name = f"name-{number}"
                self.assertEqual(_consistent_hash(name, hosts), host_of(name, hosts))
