"""The counters of a gateway, as plain attributes: counting must cost next to nothing."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Metrics"]


@dataclass(slots=True)
class Metrics:
    """
    Everything that one gateway has counted since it started.

    Attributes:
        connections: WebSockets open now.
        deaf: Those of them that will hear nothing, although they do not only publish.
        opened: WebSockets opened since the start.
        refused: Requests that were answered with an HTTP error before a WebSocket was open;
            answers of plain HTTP do not count.
        slowed: Handshakes that waited, since their address sends more than ``handshake_rate``.
        dropped: TCP connections reset before they said anything, since others needed their place,
            or their address had been refused too often.
        publications: Messages that came from Redis on a channel with a subscription.
        oversized: Messages from Redis left out because they are larger than ``max_publication``.
        unwanted: Messages that came from Redis on a channel that no client listens to.
        received: Messages from clients.
        discarded: Messages from clients that they may publish nowhere.
        unpublished: Messages from clients that Redis did not confirm.
        unpersisted: Messages that were published, but not stored: Redis refused, a limit was
            reached, or the key is one of an application.
        slow_consumers: Connections closed because their send queue was full, because they took
            nothing of it for a ping interval, or as the slowest when all queues were full.
        conflated: Messages left out for slow clients, since a newer one of the channel waited.
        dropped_oldest: Messages left out for slow clients as the oldest ones.
        shed: Connections closed because they sent too fast for a minute, did not go on with a
            message, or had most of the unfinished input when there was too much of it.
        timeouts: Connections closed because they did not answer a ping.
        broker_losses: How often the connection to Redis was lost.
        generation: How often messages may have been lost between Redis and the gateway; see
            `wsredis.gateway.gap.Gap`.
        lost_seconds: The seconds of all those times together.
        loop_lag: Seconds by which the last timer of each second came late: the event loop was busy.
        loop_lag_max: The largest of them in the last minute.
        proofs: Messages of the gateway to itself that came back through Redis.
        proof_failures: How often one did not come back, or Redis had another number of
            subscriptions than it should have.
        last_proof: Seconds of the reactor's clock when the last one came back. 0.0 if none has.
        unproven: The number of proofs that Redis does not allow now.
    """

    connections: int = 0
    deaf: int = 0
    opened: int = 0
    refused: int = 0
    slowed: int = 0
    dropped: int = 0
    publications: int = 0
    oversized: int = 0
    unwanted: int = 0
    received: int = 0
    discarded: int = 0
    unpublished: int = 0
    unpersisted: int = 0
    slow_consumers: int = 0
    conflated: int = 0
    dropped_oldest: int = 0
    shed: int = 0
    timeouts: int = 0
    broker_losses: int = 0
    generation: int = 0
    lost_seconds: float = 0.0
    loop_lag: float = 0.0
    loop_lag_max: float = 0.0
    proofs: int = 0
    proof_failures: int = 0
    last_proof: float = 0.0
    unproven: int = 0
