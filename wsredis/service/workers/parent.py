"""
The parent of several gateways that share their ports: ``--workers``.

The parent binds the ports and takes no connection. Each worker is a gateway of its own, with its
own connections to Redis, and inherits the listening sockets; the kernel gives a new connection to
the worker that accepts it first. Two pipes join the parent and a worker:

* Standard input of the worker carries its task, and then one command on each line: the state of
  all workers (``state``, every second), their numbers (``numbers``, as often, if workers serve
  them), read files again (``reload``), stop (``stop``).
  When the pipe is closed, a worker that stops makes haste, and any other one stops. The system
  closes it also when the parent dies.
* Descriptor 3 of the worker carries its log, and every second its state, one JSON object on each
  line. A line that is not one is dropped: an application may write to descriptors that are not its
  own.

A worker that has started and then reports nothing is stopped, or its event loop is caught in
something: it is killed, and replaced as any that ends. So each worker can tell the health of all.

The programs that the application starts inherit neither of them, and no socket.

Passwords go through the pipe, since every user of the machine can read a command line.
"""

from __future__ import annotations

import json
import pickle
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger

from wsredis.config import GatewayConfig
from wsredis.config.redis_url import target_of
from wsredis.gateway.health import Situation, is_good
from wsredis.gateway.numbers import Snapshot, combined
from wsredis.gateway.timers import PeriodicTask
from wsredis.service.service import GatewayService
from wsredis.service.signals import SIGNALS
from wsredis.service.workers.process import CHECK_INTERVAL, WorkerProcess
from wsredis.service.workers.reports import INTERVAL
from wsredis.service.workers.sockets import (
    SharedSocket,
    check_shareable,
    check_twisted,
    stop_accepting,
)
from wsredis.service.workers.worker import (
    COMMANDS,
    FIRST_SOCKET,
    NUMBERS,
    RELOAD,
    REPORTS,
    STATE,
    WorkerTask,
)

__all__ = ["Workers"]

#: The program of a worker. A terminal sends its signals to all processes, and workers ignore them:
#: the parent alone follows them, and sends commands to its workers. They are blocked until then.
_LAUNCHER = """
import pickle, signal, sys
for each in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(each, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_SETMASK, ())
sys.path[:] = pickle.load(sys.stdin.buffer)
from wsredis.service.workers.worker import main
main()
"""

#: Seconds beyond the time for its stop that a worker has before it is killed.
_PATIENCE = 2.0

#: Seconds that a worker has when the stop makes haste.
_HURRY = 3.0


class Workers(GatewayService):
    """
    A gateway whose work is done by ``config.workers`` processes.

    It binds the ports as any gateway does, and hands them to the workers. A worker that ends is
    replaced. Stopping stops all workers, and waits for them.

    Raises:
        ConfigError: A setting cannot be used, an endpoint cannot be shared, or the installed
            Twisted cannot be used.
    """

    _log = Logger()

    def __init__(self, config: GatewayConfig, *, reactor: Any) -> None:
        check_twisted()
        for option, texts in (("port", config.port), ("tls-port", config.tls_port)):
            for text in texts:
                check_shareable(option, text)
        super().__init__(config, reactor=reactor)
        # An application runs in the workers only.
        self.binds_early = True
        # Read here: twistd may give up the right to read the file before the workers start.
        password = target_of(config.redis).password
        redis = replace(config.redis, inherited_password=password)
        # Ports arrive as sockets. A tls-port only makes the worker load certificates, and a
        # metrics-port only makes it report its numbers.
        self._worker_config = replace(
            config,
            port=(),
            tls_port=("0",) if config.tls_port else (),
            metrics_port=config.metrics_port and "0",
            redis=redis,
        )
        self._workers = [
            WorkerProcess(
                number,
                reactor,
                partial(self._spawn, number),
                self._state_changed,
                self._worker_failed,
            )
            for number in range(1, config.workers + 1)
        ]
        self._all_ready = self._has_served = False
        self._checks = 0
        self._task = PeriodicTask(reactor, CHECK_INTERVAL, self._check)
        self._ends: list[Deferred[None]] = []

    def readiness(self) -> Situation:
        """Return everything that is wrong with the parent and with each worker."""
        return {
            0: dict(self.health.problems),
            **{number: worker.problems for number, worker in enumerate(self._workers, 1)},
        }

    def reload(self) -> None:
        """Let every worker do it: see `GatewayService.reload`. If there is nothing, say it here."""
        if not self._reloads():
            super().reload()
            return
        for worker in self._workers:
            worker.send(RELOAD + b"\n")

    def snapshot(self) -> Snapshot:
        """Return the numbers of all workers, of which each is up to a second old."""
        workers = {str(number): each.numbers for number, each in enumerate(self._workers, 1)}
        total = combined([*workers.values(), *(each.past for each in self._workers)])
        total = {**total, "ready": int(self.is_ready()), **self._readings.process()}
        return Snapshot(total, workers)

    def privilegedStartService(self) -> None:
        """
        Bind the ports.

        Raises:
            CannotListenError: As `GatewayService.privilegedStartService`.
        """
        super().privilegedStartService()
        for port in self._ports:
            stop_accepting(port)

    def startService(self) -> None:
        """Start the workers. Binds the ports if that was not done."""
        Service.startService(self)
        if not self._ports:
            self.privilegedStartService()
        self.health.report("starting", None)
        for worker in self._workers:
            worker.start()
        self._task.start()

    @property
    def stop_time(self) -> float:
        """The seconds after which a worker that still runs is killed."""
        return super().stop_time + _PATIENCE

    def stopService(self) -> Deferred[None]:
        """
        Stop all workers at the same moment; each stops as any gateway does.

        Returns:
            Fires when all have ended. Those that have not are killed a few seconds after the
            times to drain.
        """
        self._task.stop()
        self._ends = [worker.stop(self.stop_time) for worker in self._workers]
        return super().stopService()

    def _say_goodbye_now(self) -> None:
        """Let all workers make haste."""
        for worker in self._workers:
            worker.hurry(_HURRY)

    async def _stop_serving(self) -> None:
        """Wait for the workers."""
        await gatherResults(self._ends)

    def _spawn(self, number: int, protocol: ProcessProtocol) -> Any:
        descriptors: dict[int, int | str] = {COMMANDS: "w", 1: "r", 2: "r", REPORTS: "r"}
        sockets = []
        port: Any
        for descriptor, ((text, _, secure, _), port) in enumerate(
            zip(self._endpoints, self._ports, strict=True), FIRST_SOCKET
        ):
            descriptors[descriptor] = port.fileno()
            proxied = text.startswith("haproxy:")
            sockets.append(SharedSocket(descriptor, port.socket.family, proxied, secure))
        task = WorkerTask(number, type(self._reactor).__module__, self._worker_config, sockets)
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, *SIGNALS])
        try:
            process = self._reactor.spawnProcess(
                protocol,
                sys.executable,
                [sys.executable, "-P", "-c", _LAUNCHER, "wsredis", "worker"],
                env=None,
                childFDs=descriptors,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        process.writeToChild(COMMANDS, pickle.dumps(sys.path) + pickle.dumps(task))
        return process

    def _check(self, count: int) -> None:
        for worker in self._workers:
            worker.check(count)
        self._checks += 1
        if self._checks * CHECK_INTERVAL >= INTERVAL:
            self._tell(self.readiness())

    def _worker_failed(self, reason: str) -> None:
        """
        Give up if a worker cannot start, and none ever could.

        Later it is tried again: what it needs may come back.
        """
        if self.running and not self._has_served and self.give_up is not None:
            # The others would say the same.
            self._has_served = True
            self.give_up(reason)

    def _state_changed(self) -> None:
        """Notify the workers, and log a line if all are ready now, or not any more."""
        if not self.running:
            return
        situation = self.readiness()
        self._tell(situation)
        self._has_served |= any(worker.is_ready for worker in self._workers)
        all_ready = is_good(situation)
        if all_ready == self._all_ready:
            return
        self._all_ready = all_ready
        if all_ready:
            self._log.info(
                "all {count} workers are ready", event="workers-ready", count=len(self._workers)
            )
        else:
            self._log.warn(
                "not all {count} workers are ready: {reasons}",
                event="workers-not-ready",
                count=len(self._workers),
                reasons="; ".join(_reasons(situation)),
            )

    def _tell(self, situation: Situation) -> None:
        self._checks = 0
        if self._has_page and self._config.has_public_metrics:
            # Any of them may be asked for the numbers of all, as soon as it is ready.
            self._send(NUMBERS, self.snapshot())
        self._send(STATE, situation)

    def _send(self, command: bytes, value: object) -> None:
        line = b"%s %s\n" % (command, json.dumps(value).encode())
        for worker in self._workers:
            # What is sent to one that does not read would pile up.
            if worker.hears:
                worker.send(line)


def _reasons(situation: Situation) -> Iterator[str]:
    for number, problems in situation.items():
        for each in problems.values():
            if each.is_blocking:
                yield f"worker {number}: {each.text}" if number else each.text
