"""The scenarios: what the load generator does, and what wsredis needs for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    """
    Attributes:
        full, quick: Arguments of the load generator; see load.c.
        servers: "" for all, "tls" for those that can do TLS, "wsredis" for wsredis alone.
        identity: Who the clients are: "" for nobody, "django" for users with sessions, "jwt" for
            users with tokens, "groups" for tokens with 50 groups.
        options: More options of wsredis.
    """

    title: str
    full: str
    quick: str
    servers: str = ""
    identity: str = ""
    options: tuple[str, ...] = ()

    @property
    def is_memory(self) -> bool:
        """Tells whether the figure is memory: less is better."""
        return "base=" in self.full


_A = "clients=1000 window=32 seconds=5 warmup=1"
_A_QUICK = "clients=1000 window=32 seconds=2 warmup=0.5"
_C = "clients=1000 rate=20 window=4096 seconds=6 warmup=1"
_C_QUICK = "clients=1000 rate=20 window=4096 seconds=3 warmup=0.5"
_D = "clients=5000 base=200 messages=1 window=1"
_D_QUICK = "clients=2000 base=200 messages=1 window=1"
_E = "mode=crowd clients=100 crowd=2000 handshaking=100 warmup=0.5"
_E_QUICK = "mode=crowd clients=100 crowd=1000 handshaking=100 warmup=0.3"
_H = "mode=crowd clients=1000 rate=20 window=4096 crowd=10000 handshaking=500 warmup=1"
_H_QUICK = "mode=crowd clients=1000 rate=20 window=4096 crowd=3000 handshaking=500 warmup=0.5"

SCENARIOS = {
    "A": Scenario(
        "1000 clients, one channel, flat out, 32 messages in flight: deliveries", _A, _A_QUICK
    ),
    "B": Scenario(
        "1000 clients, a channel each, flat out, 256 in flight over all: deliveries",
        "clients=1000 channels=1000 window=256 seconds=5 warmup=1",
        "clients=1000 channels=1000 window=256 seconds=2 warmup=0.5",
    ),
    "C": Scenario(
        "1000 clients, one channel, 20 messages a second: deliveries; latency p50 / p99 in ms",
        _C,
        _C_QUICK,
    ),
    "D": Scenario("5000 idle connections: KiB of resident memory each", _D, _D_QUICK),
    "D-traffic": Scenario(
        "as D; each client has sent three messages and three pings, and got 300 messages",
        f"{_D} channels=50 traffic=3",
        "clients=2000 base=200 channels=20 messages=1 window=1 traffic=3",
    ),
    "D-15k": Scenario(
        "as D with 15,000 connections",
        "clients=15000 base=200 messages=1 window=1",
        "clients=5000 base=200 messages=1 window=1",
    ),
    "E": Scenario(
        "2000 clients come, 100 at a time, and stay: handshakes; CPU us each", _E, _E_QUICK
    ),
    "E-10k": Scenario(
        "as E with 10,000 clients",
        "mode=crowd clients=100 crowd=10000 handshaking=100 warmup=0.5",
        "mode=crowd clients=100 crowd=3000 handshaking=100 warmup=0.3",
    ),
    "H": Scenario(
        "10,000 clients come, 500 at a time, while 1000 others get 20 messages a second: "
        "handshakes; CPU seconds and seconds until all are there, p99 of the others in ms",
        _H,
        _H_QUICK,
    ),
    "F": Scenario(
        "50 clients publish, 64 messages in flight each: messages that arrive in Redis",
        "mode=feed clients=50 channels=50 window=64 seconds=5 warmup=1",
        "mode=feed clients=50 channels=50 window=64 seconds=2 warmup=0.5",
    ),
    "G": Scenario(
        "one client, 100,000 messages, 512 in flight: deliveries",
        "messages=100000 window=512 seconds=60 warmup=1",
        "messages=50000 window=512 seconds=20 warmup=0.5",
    ),
    "A-1k": Scenario("as A with messages of 1 KiB", f"{_A} size=1024", f"{_A_QUICK} size=1024"),
    "A-16k": Scenario(
        "as A with messages of 16 KiB, 200 clients, 8 in flight",
        "clients=200 window=8 size=16384 seconds=5 warmup=1",
        "clients=200 window=8 size=16384 seconds=2 warmup=0.5",
    ),
    "A-256k": Scenario(
        "as A with messages of 256 KiB, 50 clients, 4 in flight",
        "clients=50 window=4 size=262144 seconds=5 warmup=1",
        "clients=50 window=4 size=262144 seconds=2 warmup=0.5",
    ),
    "A-tls": Scenario("as A over TLS", _A, _A_QUICK, servers="tls"),
    "C-tls": Scenario("as C over TLS", _C, _C_QUICK, servers="tls"),
    "D-tls": Scenario("as D over TLS", _D, _D_QUICK, servers="tls"),
    "E-tls": Scenario("as E over TLS", _E, _E_QUICK, servers="tls"),
    "E-django": Scenario(
        "as E; each client has a session of its own in Django",
        _E,
        _E_QUICK,
        servers="wsredis",
        identity="django",
    ),
    "E-jwt": Scenario(
        "as E; each client has a token of its own",
        _E,
        _E_QUICK,
        servers="wsredis",
        identity="jwt",
    ),
    "B-50k": Scenario(
        "as B; each client has 50 channels: 50,000 channels",
        "clients=1000 channels=50000 per=50 window=256 seconds=5 warmup=1",
        "clients=200 channels=10000 per=50 window=256 seconds=2 warmup=0.5",
        servers="wsredis",
        identity="groups",
    ),
    "A-sse": Scenario(
        "as A by Server-Sent Events", f"{_A} sse=1", f"{_A_QUICK} sse=1", servers="wsredis"
    ),
    "C-sse": Scenario(
        "as C by Server-Sent Events", f"{_C} sse=1", f"{_C_QUICK} sse=1", servers="wsredis"
    ),
    "D-sse": Scenario(
        "as D by Server-Sent Events", f"{_D} sse=1", f"{_D_QUICK} sse=1", servers="wsredis"
    ),
    "E-sse": Scenario(
        "as E by Server-Sent Events", f"{_E} sse=1", f"{_E_QUICK} sse=1", servers="wsredis"
    ),
    "A-workers": Scenario(
        "as A with --workers 2", _A, _A_QUICK, servers="wsredis", options=("--workers", "2")
    ),
    "H-workers": Scenario(
        "as H with --workers 2", _H, _H_QUICK, servers="wsredis", options=("--workers", "2")
    ),
}

#: The scenarios of --quick, unless --scenarios names others.
QUICK = tuple("ABCDEHFG")
#: Second columns, by the first letter of a scenario: their head, and the results in it.
COLUMNS = {
    "C": ("p50 / p99", ("p50", "p99")),
    "E": ("us", ("us",)),
    "H": ("CPU s / s / p99", ("cpu", "back", "p99")),
}
