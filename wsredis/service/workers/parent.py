"""
The parent of several gateways that share their ports: ``--workers``.

The parent binds the ports and takes no connection. Each worker is a gateway of its own, with its
own connections to Redis, and inherits the listening sockets; the kernel gives a new connection to
the worker that accepts it first. Two pipes join the parent and a worker:

* Standard input of the worker carries its task, and then commands of one byte: all workers are
  ready (``+``), one of them is not any more (``-``), read files again (``r``), stop
  (``s``). When the pipe is closed, a worker that stops makes haste, and any other one stops. The
  system closes it also when the parent dies.
* Descriptor 3 of the worker carries its log and whether it is ready, one JSON object on each line.
  A line that is not one is dropped: an application may write to descriptors that are not its own.

The programs that the application starts inherit neither of them, and no socket.

Passwords go through the pipe, since every user of the machine can read a command line.
"""

from __future__ import annotations

import pickle
import signal
import sys
from dataclasses import replace
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger

from wsredis.config import GatewayConfig
from wsredis.config.redis_url import target_of
from wsredis.service.service import GatewayService
from wsredis.service.signals import SIGNALS
from wsredis.service.workers.process import WorkerProcess
from wsredis.service.workers.sockets import (
    SharedSocket,
    check_shareable,
    check_twisted,
    stop_accepting,
)
from wsredis.service.workers.worker import (
    ALL_READY,
    COMMANDS,
    FIRST_SOCKET,
    NOT_ALL_READY,
    RELOAD,
    REPORTS,
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
        # Read here: twistd may give up the right to read the file before the workers start.
        password = target_of(config.redis).password
        redis = replace(config.redis, inherited_password=password)
        # Ports arrive as sockets. A tls-port only makes the worker load certificates.
        secure = ("0",) if config.tls_port else ()
        self._worker_config = replace(config, port=(), tls_port=secure, redis=redis)
        self._workers = [
            WorkerProcess(number, reactor, self._spawn, self._readiness_changed)
            for number in range(1, config.workers + 1)
        ]
        self._all_ready = False
        self._ends: list[Deferred[None]] = []

    def is_ready(self) -> bool:
        """Tell whether all workers are ready, and none is to stop."""
        return self._all_ready and bool(self.running)

    def reload(self) -> None:
        """Let every worker do it: see `GatewayService.reload`. If there is nothing, say it here."""
        if not self._reloads():
            super().reload()
            return
        for worker in self._workers:
            worker.send(RELOAD)

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
        for worker in self._workers:
            worker.start()

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
        self._ends = [worker.stop(self.stop_time) for worker in self._workers]
        return super().stopService()

    def _say_goodbye_now(self) -> None:
        """Let all workers make haste."""
        for worker in self._workers:
            worker.hurry(_HURRY)

    async def _stop_serving(self) -> None:
        """Wait for the workers."""
        await gatherResults(self._ends)

    def _spawn(self, protocol: ProcessProtocol) -> Any:
        descriptors: dict[int, int | str] = {COMMANDS: "w", 1: "r", 2: "r", REPORTS: "r"}
        sockets = []
        port: Any
        for number, ((text, _, secure), port) in enumerate(
            zip(self._endpoints, self._ports, strict=True), FIRST_SOCKET
        ):
            descriptors[number] = port.fileno()
            proxied = text.startswith("haproxy:")
            sockets.append(SharedSocket(number, port.socket.family, proxied, secure))
        task = WorkerTask(type(self._reactor).__module__, self._worker_config, sockets)
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

    def _readiness_changed(self) -> None:
        """Notify the workers if all are ready now, or not any more."""
        all_ready = all(worker.ready for worker in self._workers)
        if all_ready == self._all_ready or not self.running:
            return
        self._all_ready = all_ready
        for worker in self._workers:
            worker.send(ALL_READY if all_ready else NOT_ALL_READY)
        if all_ready:
            self._log.info("all {count} workers are ready", count=len(self._workers))
        else:
            self._log.warn("not all {count} workers are ready", count=len(self._workers))
