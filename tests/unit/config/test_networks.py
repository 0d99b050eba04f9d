"""Tests for `wsredis.config.networks`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.config.networks import (
    Networks,
    is_private,
    network,
    parse_address,
    shown_address,
    split_address,
)


class NetworkTests(SynchronousTestCase):
    """The networks of a setting."""

    def test_values(self) -> None:
        """An address is a network of its own."""
        for value, expected in (
            ("10.0.0.0/8", "10.0.0.0/8"),
            (" 127.0.0.1 ", "127.0.0.1/32"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("UNIX", "unix"),
        ):
            self.assertEqual(expected, network(value))

    def test_mistakes(self) -> None:
        """A name, an empty value and an address with bits after the prefix are refused."""
        for value in ("proxy.example", "", "10.0.0.1/8", "10.0.0.0/40", None):
            error = self.assertRaises(ValueError, network, value)
            self.assertIn("write 10.0.0.0/8", str(error))

    def test_members(self) -> None:
        """IPv4-mapped addresses are those of IPv4, and a zone does not matter."""
        networks = Networks(["10.0.0.0/8", "fe80::/64"])
        self.assertTrue(networks)
        found = [host for host in _HOSTS if host in networks]
        self.assertEqual(["10.1.2.3", "::ffff:10.1.2.3", "fe80::1%eth0"], found)
        # And once more, from memory.
        self.assertEqual(found, [host for host in _HOSTS if host in networks])

    def test_unix(self) -> None:
        """The empty host is the peer of a UNIX socket."""
        self.assertEqual([""], [host for host in _HOSTS if host in Networks(["unix"])])
        self.assertTrue(Networks(["unix"]))

    def test_none(self) -> None:
        """Without networks nobody is a member."""
        self.assertEqual([], [host for host in _HOSTS if host in Networks([])])
        self.assertFalse(Networks([]))

    def test_memory(self) -> None:
        """Many different hosts are not remembered for ever."""
        networks = Networks(["10.0.0.0/8"])
        for number in range(2000):
            self.assertIn(f"10.0.{number // 256}.{number % 256}", networks)
        self.assertLess(len(networks._known), 1025)


_HOSTS = ("10.1.2.3", "11.1.2.3", "::ffff:10.1.2.3", "fe80::1%eth0", "2001:db8::1", "", "a name")


class PrivateTests(SynchronousTestCase):
    """Hosts that may be a proxy of ours."""

    def test_private(self) -> None:
        """The rest of the internet is not private."""
        private = ("", "127.0.0.1", "::1", "10.9.8.7", "192.168.1.1", "172.31.0.1", "fd00::1")
        for host in private:
            self.assertTrue(is_private(host), host)
        for host in ("192.0.2.1", "8.8.8.8", "172.32.0.1", "2001:db8::1", "a name"):
            self.assertFalse(is_private(host), host)


class AddressTests(SynchronousTestCase):
    """Addresses as text."""

    def test_parse(self) -> None:
        """A port and brackets are taken off."""
        for text, expected in (
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("2001:DB8:0::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("[::ffff:192.0.2.1]:1", "192.0.2.1"),
            ("fe80::1%eth0", "fe80::1"),
            ("unknown", None),
            ("_hidden", None),
            ("proxy.example", None),
            ("192.0.2.1:port", None),
            ("192.0.2", None),
            ("[2001:db8::1", None),
            ("", None),
        ):
            self.assertEqual(expected, parse_address(text), text)

    def test_shown(self) -> None:
        """What is shown can be taken apart again, by us and by others."""
        for host, port, shown, parts in (
            ("192.0.2.1", 5, "192.0.2.1:5", ("192.0.2.1", "5")),
            ("192.0.2.1", 0, "192.0.2.1", ("192.0.2.1", "")),
            ("2001:db8::1", 5, "[2001:db8::1]:5", ("2001:db8::1", "5")),
            ("2001:db8::1", 0, "[2001:db8::1]", ("2001:db8::1", "")),
            ("::ffff:192.0.2.1", 5, "192.0.2.1:5", ("192.0.2.1", "5")),
            ("fe80::1%eth0", 5, "[fe80::1%eth0]:5", ("fe80::1%eth0", "5")),
            ("", 0, "unix", ("", "")),
        ):
            self.assertEqual(shown, shown_address(host, port))
            self.assertEqual(parts, split_address(shown))
