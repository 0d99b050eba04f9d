"""
What systemd is told: ready, stopping, reloading, a status, and that the process works.

It is the protocol of sd_notify(3): datagrams to the socket that NOTIFY_SOCKET names. Without that
variable nothing of this is used.

systemd hears ``READY=1`` when the gateway is ready for the first time, or ten seconds after the
start: a gateway whose Redis is away runs, and must not be started again and again.

The watchdog is fed while a restart would not help: the event loop runs, and delivery is proven, or
it is known why it is not, as when Redis is away.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, MutableMapping
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from wsredis.gateway.health import Situation, is_good
from wsredis.gateway.timers import PeriodicTask

__all__ = ["Notifier", "Supervised", "Supervision", "supervision_from"]

#: Seconds between two looks at the gateway.
_INTERVAL = 0.2

#: Seconds after which a gateway counts as started, ready or not.
_START = 10.0

#: Seconds for which delivery may be unproven, though there is a connection to the right Redis.
_UNPROVEN = 60.0

#: Bytes of the status. systemd shows it in one line.
_MAX_STATUS = 400

#: Problems that mean that delivery is not proven, and those that explain it.
_UNPROVEN_NAMES = ("proof", "subscriptions")
_OUTAGES = ("redis", "role")


class Supervised(Protocol):
    """The part of a gateway that is looked at."""

    @property
    def stop_time(self) -> float:
        """See `wsredis.service.service.GatewayService.stop_time`."""

    def readiness(self) -> Situation:
        """See `wsredis.service.service.GatewayService.readiness`."""

    def liveness(self) -> Situation:
        """See `wsredis.service.service.GatewayService.liveness`."""


class Notifier:
    """
    Sends datagrams to systemd. One that cannot be sent is lost, and only the first is logged.

    Args:
        address: A path, or a name of Linux's abstract namespace, which begins with ``@``.
    """

    _log = Logger()

    def __init__(self, address: str) -> None:
        self._has_failed = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            # Now: twistd may change root and user later.
            self._socket.connect("\0" + address[1:] if address.startswith("@") else address)
        except (OSError, ValueError) as error:
            self._failed(error)

    def send(self, *assignments: str) -> None:
        """Send lines like ``READY=1`` in one datagram."""
        try:
            self._socket.send("\n".join(assignments).encode("utf-8", "replace"))
        except OSError as error:
            self._failed(error)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _failed(self, error: Exception) -> None:
        if not self._has_failed:
            self._has_failed = True
            self._log.warn(
                "cannot notify systemd: {error}", event="systemd-unreachable", error=str(error)
            )


class Supervision(Service):
    """
    Tells systemd about a gateway.

    Args:
        clock: Runs the timers.
        send: Sends lines to systemd.
        gateway: The gateway.
        watchdog: Seconds after which systemd kills a process that is silent. None if it does not.
        now: Returns the seconds since 1970.
    """

    name = "systemd"
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        send: Callable[..., object],
        gateway: Supervised,
        watchdog: float | None = None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._send = send
        self._gateway = gateway
        self._now = now
        self._began = 0.0
        self._is_started = False
        self._is_fed = True
        self._status = ""
        self._tasks = [PeriodicTask(clock, _INTERVAL, self._look)]
        if watchdog is not None:
            self._tasks.append(PeriodicTask(clock, watchdog / 2, self._feed))

    def startService(self) -> None:
        """Look at the gateway from now on."""
        super().startService()
        self._began = self._clock.seconds()
        for task in self._tasks:
            task.start()

    def stopService(self) -> None:
        """Say that the gateway stops, and how long it may take. The watchdog is fed on."""
        super().stopService()
        self._tasks[0].stop()
        microseconds = round((self._gateway.stop_time + _START) * 1e6)
        self._send("STOPPING=1", "STATUS=stopping", f"EXTEND_TIMEOUT_USEC={microseconds}")

    def reload(self, function: Callable[[], object]) -> None:
        """Say that settings are read again, call *function* to do it, and say that it is done."""
        if self._is_started:
            self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        function()
        if self._is_started:
            self._send("READY=1")

    def _look(self, _: int) -> None:
        situation = self._gateway.readiness()
        is_ready = is_good(situation)
        words = [
            f"worker {number}: {each.text}" if number else each.text
            for number, problems in situation.items()
            for each in problems.values()
        ]
        status = ("ready" if is_ready else "not ready") + "".join(f"; {each}" for each in words)
        lines = []
        if status != self._status:
            self._status = status
            lines.append(f"STATUS={status[:_MAX_STATUS]}")
        if not self._is_started and (is_ready or self._clock.seconds() - self._began >= _START):
            self._is_started = True
            lines.append("READY=1")
        if lines:
            self._send(*lines)

    def _feed(self, _: int) -> None:
        is_sound = is_good(self._gateway.liveness()) and not self._is_inexplicable()
        if is_sound:
            self._send("WATCHDOG=1")
        elif self._is_fed:
            self._log.error(
                "the gateway does not prove that it delivers, and no outage explains it: systemd "
                "is to restart it",
                event="watchdog-starved",
            )
        self._is_fed = is_sound

    def _is_inexplicable(self) -> bool:
        """Tell whether delivery has not been proven for long, and no outage explains it."""
        if not self.running:
            return False
        now = self._now()
        return any(
            now - problems[name].since >= _UNPROVEN
            for problems in self._gateway.readiness().values()
            for name in _UNPROVEN_NAMES
            if name in problems
            # One that works off a backlog is late, and delivers.
            and problems[name].is_blocking
            and not any(outage in problems for outage in _OUTAGES)
        )


def supervision_from(
    environ: MutableMapping[str, str], clock: Any, gateway: Supervised
) -> Supervision | None:
    """
    Make what the environment asks for.

    Args:
        environ: Its variables for systemd are removed, so that no child takes them for its own.

    Returns:
        Not started. None without NOTIFY_SOCKET.
    """
    address = environ.pop("NOTIFY_SOCKET", "")
    microseconds = environ.pop("WATCHDOG_USEC", "")
    process = environ.pop("WATCHDOG_PID", "")
    if not address:
        return None
    watchdog = None
    if microseconds.isdecimal() and int(microseconds) and process in ("", str(os.getpid())):
        watchdog = int(microseconds) / 1e6
    return Supervision(clock, Notifier(address).send, gateway, watchdog)
