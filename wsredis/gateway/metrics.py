"""The numbers of a gateway: plain attributes, since counting must cost next to nothing."""

from __future__ import annotations

from dataclasses import dataclass

from wsredis.errors import CLOSE_CODES
from wsredis.gateway.exported import Histogram, counter, counters, gauge, latency, moment

__all__ = ["Metrics", "State"]

#: The reasons for which a handshake is refused: by its status, by what is missing, and limits.
_STATUSES = {
    400: "bad-request",
    401: "unauthorized",
    403: "forbidden",
    404: "not-found",
    408: "handshake-timeout",
    429: "too-many",
    431: "max-head",
    500: "error",
    503: "unavailable",
}
_CAUSES = (
    "foreign-host",
    "foreign-page",
    "too-many-channels",
    "redis-forbids",
    "redis-away",
    "identities-away",
    "busy",
    "application",
    "stopping",
    "other",
)

#: The settings whose limits are counted when they are met.
_LIMITS = (
    "max-connections",
    "max-connections-per-address",
    "max-connections-per-user",
    "max-handshakes",
    "handshake-rate",
    "asgi-concurrency",
    "handshake-timeout",
    "max-head",
    "max-channels",
    "max-message",
    "max-rate",
    "max-publication",
    "max-queue",
    "max-queues",
    "max-commands",
    "forward-capacity",
    "close-timeout",
)

_REASONS = dict.fromkeys((*_STATUSES.values(), *_CAUSES, *_LIMITS[:8]))

#: The codes that a client may send, and 1005 and 1006 where it sends none (RFC 6455, 7.4).
_CLIENT_CODES = (1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1010, 1011, "other")
_GATEWAY_CODES = (*sorted({1005, 1006, *CLOSE_CODES}), "other")


@dataclass(slots=True)
class Metrics:
    """
    Everything that one gateway has counted since it started.

    A field has the value 0 at the start. Its declaration says what it counts.
    Attributes:
        connections: Clients open now: WebSockets, streams, and polls that wait.
        event_streams: Those of them that are streams of Server-Sent Events.
        deaf: Those of them that will hear nothing, although they do not only publish.
        opened: Clients opened since the start.
        refused: Requests that were answered with an HTTP error, or in the subprotocol ``wsredis``
            with a close code, before a WebSocket was open; answers of plain HTTP do not count.
        slowed: Handshakes that waited, since their address sends more than ``handshake_rate``.
        dropped: TCP connections reset before they said anything, since others needed their place,
            or their address had been refused too often.
        publications: Messages that came from Redis on a channel with a subscription.
        oversized: Messages from Redis left out because they are larger than ``max_publication``.
        unwanted: Messages that came from Redis on a channel that no client listens to.
        received: Messages from clients.
        posts: Messages that came by POST, and that Redis has taken.
        discarded: Messages from clients that they may publish nowhere.
        unpublished: Messages from clients that Redis did not confirm.
        forwarded: Messages from clients that were handed over to workers.
        unforwarded: Those that could not be handed over.
        unpersisted: Messages that were published, but not stored: Redis refused, a limit was
            reached, or the key is one of an application.
        slow_consumers: Connections closed because their send queue was full, because they took
            nothing of it for a ping interval, or as the slowest when all queues were full.
        conflated: Messages left out for slow clients, since a newer one of the channel waited.
        dropped_oldest: Messages left out for slow clients as the oldest ones.
        shed: Connections closed because they sent too fast for a minute, did not go on with a
            message, or had most of the unfinished input when there was too much of it.
        answers: Answers of the ASGI application, by the class of their status.
        answer_latency: Seconds from the head of a request to the end of such an answer.
        timeouts: Connections closed because they did not answer a ping.
        broker_losses: How often the connection to Redis was lost.
        generation: How often messages may have been lost between Redis and the gateway; see
            `wsredis.gateway.gap.Gap`.
        lost_seconds: The seconds of all those times together.
        loop_lag: Seconds by which the last timer of each second came late: the event loop was busy.
        loop_lag_max: The largest of them in the last minute.
        asgi_slow: Steps of the ASGI application that held the gateway for longer than they may.
        asgi_slow_seconds: The seconds of all those steps together.
        proofs: Messages of the gateway to itself that came back through Redis.
        proof_failures: How often one did not come back, or Redis had another number of
            subscriptions than it should have.
        last_proof: Seconds of the reactor's clock when the last one came back. 0.0 if none has.
        unproven: The number of proofs that Redis does not allow now.
    """

    connections: int = gauge(
        "connections", "Clients that are open now: WebSockets, streams, and polls that wait."
    )
    deaf: int = gauge(
        "connections_deaf",
        "Those of them that will hear nothing, although they do not only publish: no flag, a "
        "misspelt one, or no right.",
    )
    event_streams: int = gauge(
        "event_streams", "Clients that are open now and hear by Server-Sent Events."
    )
    opened: int = counter("connections_opened", "WebSockets, streams and polls that were opened.")
    closed: dict[str, int] = counters(
        "connections_closed",
        "Such clients that were closed, by the side that began and the code of its close frame: "
        "1006 if the connection ended without one, 1005 if it had no code. The network closes "
        "those whose TCP connection failed.",
        "by,code",
        (
            *(f"client,{code}" for code in _CLIENT_CODES),
            *(f"gateway,{code}" for code in _GATEWAY_CODES),
            "network,1006",
        ),
    )
    handshakes: dict[str, int] = counters(
        "handshakes",
        "Requests for a WebSocket, a stream or a poll that were accepted, refused with an HTTP "
        "error or with a close code in its place, or abandoned by the client. Requests that "
        "cannot be read are refused, too; other plain HTTP does not count. The reason of a refusal "
        "is a word for the status, or the setting of the limit that was met.",
        "outcome,reason",
        ("accepted,", "abandoned,", *(f"refused,{reason}" for reason in _REASONS)),
    )
    handshake_latency: Histogram = latency(
        "handshake_seconds",
        "Seconds from the head of the request to the answer, for handshakes that were accepted.",
    )
    slowed: int = counter(
        "handshakes_slowed",
        "Handshakes that waited, because their address sends more than ``handshake-rate``.",
    )
    dropped: int = counter(
        "connections_dropped",
        "TCP connections that were reset before they said anything, because others needed their "
        "place, or because their address had been refused too often.",
    )
    publications: int = counter(
        "publications",
        "Messages that came from Redis on a channel with at least one subscriber here.",
    )
    oversized: int = counter(
        "publications_oversized",
        "Messages from Redis that the gateway did not deliver, because they are larger than "
        "``max-publication``.",
    )
    deliveries: int = counter(
        "deliveries",
        "Messages that were handed to a connection: for each message from Redis, the number of "
        "subscribers. One that the echo rule keeps from its sender counts too.",
    )
    sent_bytes: int = counter(
        "sent_bytes",
        "Bytes of these messages and of stored ones as frames, before TLS. Pings, heartbeats and "
        "answers to handshakes do not count.",
    )
    received_bytes: int = counter(
        "received_bytes", "Bytes of frames from clients, pings and close frames too, after TLS."
    )
    unwanted: int = counter(
        "publications_unwanted",
        "Messages that came from Redis on a channel to which no client listens any more; a channel "
        "stays subscribed for two seconds after its last client.",
    )
    received: int = counter(
        "messages_received", "Messages that came from clients, heartbeats included."
    )
    polls: int = counter("polls", "Polls that were answered, with messages or without.")
    posts: int = counter("posts", "Messages that came by POST, and that Redis has taken.")
    discarded: int = counter(
        "messages_discarded", "Messages from clients that they may publish nowhere."
    )
    unpublished: int = counter(
        "messages_unpublished", "Messages from clients that Redis did not confirm."
    )
    forwarded: int = counter(
        "messages_forwarded", "Messages from clients that were handed over to workers."
    )
    unforwarded: int = counter(
        "messages_unforwarded",
        "Messages from clients that could not be handed over to a worker: as many as "
        "``forward-capacity`` waited, or Redis did not confirm.",
    )
    unpersisted: int = counter(
        "messages_unpersisted",
        "Messages that were published, but not stored: Redis refused, a limit was reached, or the "
        "key is one of an application.",
    )
    slow_consumers: int = counter(
        "slow_consumers",
        "Connections that were closed because their queue was full, because they took nothing of "
        "it for a ping interval, or as the slowest when the queues of all clients were full.",
    )
    conflated: int = counter(
        "deliveries_conflated",
        "Messages that were left out for slow clients, because a newer one of the channel waited.",
    )
    dropped_oldest: int = counter(
        "deliveries_dropped_oldest",
        "Messages that were left out for slow clients as the oldest ones.",
    )
    shed: int = counter(
        "connections_shed",
        "Connections that were closed because they sent faster than ``max-rate`` for a minute, "
        "because they did not go on with a message, or because their address had most of the "
        "unfinished input when there was more than ``max-input``.",
    )
    limits: dict[str, int] = counters(
        "limits_met",
        "Times that a client met a limit and lost something by it, by the name of the setting.",
        "limit",
        _LIMITS,
    )
    timeouts: int = counter("ping_timeouts", "Connections that were dropped because no pong came.")
    answers: dict[str, int] = counters(
        "asgi_answers",
        "Answers of the ASGI application to plain requests, by the class of their status.",
        "status",
        ("2xx", "3xx", "4xx", "5xx", "other"),
    )
    answer_latency: Histogram = latency(
        "asgi_answer_seconds",
        "Seconds from the head of a plain request to the end of the ASGI application's answer.",
    )
    broker_losses: int = counter("redis_losses", "Times that the connection to Redis was lost.")
    publish_latency: Histogram = latency(
        "publish_seconds",
        "Seconds from sending messages of clients to Redis to its answer, measured for one batch "
        "at a time.",
    )
    generation: int = counter(
        "redis_generations",
        "Times that messages may have been lost between Redis and the gateway, each counted when "
        "it is over.",
    )
    lost_seconds: float = counter("redis_gap_seconds", "The seconds of all those times together.")
    proofs: int = counter(
        "redis_proofs", "Messages that the gateway published to itself and got back."
    )
    proof_failures: int = counter(
        "redis_proof_failures",
        "Times that such a message did not come back, or that Redis had another number of "
        "subscriptions than it should have.",
    )
    last_proof: float = moment(
        "redis_last_proof_seconds",
        "Seconds since the last of these messages came back; before the first, since the start.",
    )
    unproven: int = gauge(
        "redis_unproven",
        "The number of proofs that Redis does not allow now; 0 if delivery is proven.",
        max,
    )
    loop_lag: float = gauge(
        "event_loop_lag_seconds",
        "Seconds by which the last timer of each second came late: the event loop was busy.",
        max,
    )
    loop_lag_max: float = gauge(
        "event_loop_lag_max_seconds", "The largest of them in the last minute.", max
    )
    asgi_slow: int = counter(
        "asgi_slow_steps",
        "Steps of the ASGI application that held the gateway for longer than ``asgi-slow``.",
    )
    asgi_slow_seconds: float = counter(
        "asgi_slow_seconds", "The seconds of all those steps together."
    )

    @property
    def refused(self) -> int:
        """The number of handshakes that were refused."""
        return sum(n for key, n in self.handshakes.items() if key.startswith("refused,"))

    def count_refusal(self, status: int, cause: str) -> None:
        """
        Count a handshake that is refused.

        Args:
            status: The HTTP status.
            cause: See `wsredis.errors.HandshakeRejected`.
        """
        reason = cause or _STATUSES.get(status, "other")
        self.handshakes[f"refused,{reason if reason in _REASONS else 'other'}"] += 1
        if reason in self.limits:
            self.limits[reason] += 1

    def count_close(self, by: str, code: int) -> None:
        """Count a WebSocket that is gone, by client, gateway or network, and by the code."""
        key = f"{by},{code}"
        self.closed[key if key in self.closed else f"{by},other"] += 1
        if code == 1009 and by == "gateway":
            self.limits["max-message"] += 1


@dataclass(frozen=True, slots=True)
class State:
    """The numbers of one gateway that are not counted, but read from its parts when needed."""

    ready: int = gauge("ready", "1 if the gateway accepts clients, else 0.", min)
    redis_up: int = gauge("redis_up", "1 if the connections to Redis are up, else 0.", min)
    channels: int = gauge(
        "channels",
        "Channels with at least one subscriber. With workers, a channel counts once in each.",
    )
    subscriptions: int = gauge(
        "subscriptions", "Subscriptions: each WebSocket counts once for each of its channels."
    )
    sockets: int = gauge(
        "sockets", "TCP connections of clients: WebSockets, handshakes, pages and silent ones."
    )
    handshakes_open: int = gauge("handshakes_open", "Requests that are not answered yet.")
    queues: int = gauge("queues", "WebSockets for which something waits.")
    queued_bytes: int = gauge(
        "queued_bytes",
        "Memory in bytes of all that waits in the queues of clients, as ``max-queues`` counts it.",
    )
    unfinished_bytes: int = gauge(
        "unfinished_bytes",
        "Bytes of unfinished messages of clients and of input that waits, as ``max-input`` counts "
        "them.",
    )
