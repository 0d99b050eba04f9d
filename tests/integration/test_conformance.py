"""
Cases of the Autobahn test suite, some of each kind, against a gateway whose handler echoes.

``python -m tests.conformance`` runs all of them.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect

from tests.conformance.suite import Server
from tests.support.children import PATIENCE
from tests.support.require import missing

#: Framing, pings, reserved bits, opcodes, fragments, UTF-8, closing, sizes, and fragments by
#: themselves. Those that take long are left out.
_CASES = (
    *("1.*", "2.*", "3.*", "4.*", "5.*", "6.1.*", "6.2.*", "6.3.*", "6.5.*", "6.12.*", "6.22.*"),
    *("7.*", "9.1.1", "9.1.2", "9.1.3", "9.2.2", "9.3.5", "9.4.5", "9.5.4", "9.6.4", "9.7.2"),
    "10.*",
)

#: The offers of the cases 13.1 to 13.7: context and window that are asked of the server.
_OFFERS: dict[str, list[tuple[bool, int | None]]] = {
    "13.1": [(False, None)],
    "13.2": [(True, None)],
    "13.3": [(False, 9)],
    "13.4": [(False, 15)],
    "13.5": [(True, 9)],
    "13.6": [(True, 15)],
    "13.7": [(True, 9), (True, None), (False, None)],
}

#: The sizes of messages of the cases 12.1.1 to 12.1.18, and of their fragments; 0 is none.
_MESSAGES = [(16, 0), (1024, 0), (8192, 256), (65536, 0), (131072, 256), (131072, 32768)]

_TEXT = "Habe nun, ach! Philosophie, Juristerei und Medizin, "


class SuiteTests(SynchronousTestCase):
    """The cases that are not about compression."""

    skip = missing("redis", "kosoku")

    def check(
        self,
        *,
        is_compressing: bool = False,
        is_through_redis: bool = False,
        is_asgi: bool = False,
    ) -> None:
        """All cases pass, but for those that Redis cannot carry."""
        with Server.running(is_compressing, is_through_redis, is_asgi) as server:
            results = server.run(_CASES)
        self.assertGreater(len(results), 100)
        failed = [each for each in results if not each.has_passed]
        if is_through_redis:
            failed = [each for each in failed if not each.needs_handler]
        self.assertEqual([], failed)
        self.assertNotIn("Traceback", server.child.output)

    def test_embedded(self) -> None:
        """All pass with a handler."""
        self.check()

    def test_compressing(self) -> None:
        """Clients that do not ask for compression notice nothing of it."""
        self.check(is_compressing=True)

    def test_through_redis(self) -> None:
        """All pass through Redis, but for empty messages, and for text as a binary message."""
        self.check(is_through_redis=True)

    def test_asgi(self) -> None:
        """All pass with an ASGI application."""
        self.check(is_asgi=True)


class CompressionTests(SynchronousTestCase):
    """The kinds 12 and 13, with another client: kosoku's fail by themselves."""

    skip = missing("redis")

    def test_echo(self) -> None:
        """Messages of any size come back, whole or in fragments, for each offer of a client."""
        self.check()

    def test_asgi(self) -> None:
        """The same with an ASGI application."""
        self.check(is_asgi=True)

    def check(self, *, is_asgi: bool = False) -> None:
        """Send messages of all sizes with each offer."""
        with Server.running(True, is_asgi=is_asgi) as server:
            for case, offers in _OFFERS.items():
                extensions = [
                    ClientPerMessageDeflateFactory(
                        server_no_context_takeover=no_context,
                        server_max_window_bits=bits,
                        client_max_window_bits=True,
                    )
                    for no_context, bits in offers
                ]
                with connect(
                    f"{server.url}/compressed",
                    extensions=extensions,
                    compression=None,
                    open_timeout=PATIENCE,
                ) as client:
                    (accepted,) = client.protocol.extensions
                    self.assertEqual("permessage-deflate", accepted.name, case)
                    for size, fragment in _MESSAGES:
                        text = (_TEXT * (size // len(_TEXT) + 1))[:size]
                        for message in (text, text.encode()):
                            parts = [
                                message[start : start + fragment]
                                for start in range(0, size, fragment or size)
                            ]
                            client.send(parts if fragment else message)
                            self.assertEqual(message, client.recv(timeout=PATIENCE), case)
