"""
The parent of several gateways that share their ports: ``--workers``.

The parent binds the ports and takes no connection. Each worker is a gateway of its own, with its
own connections to Redis, and inherits the listening sockets; the kernel gives a new connection to
the worker that accepts it first. Two pipes join the parent and a worker:

* Standard input of the worker carries its task, and then commands of one byte: all workers are
  ready (``+``), one of them is not any more (``-``), read the certificates again (``r``). When the
  pipe is closed, the worker stops. The system closes it also when the parent dies.
* Descriptor 3 of the worker carries its log and whether it is ready, one JSON object on each line.
  A line that is not one is dropped: an application may write to descriptors that are not its own.

The programs that the application starts inherit neither of them, and no socket.

Passwords go through the pipe, since every user of the machine can read a command line.
"""

from __future__ import annotations

import pickle
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
#: the parent alone follows them, and sends commands to its workers.
_LAUNCHER = """
import pickle, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
sys.path[:] = pickle.load(sys.stdin.buffer)
from wsredis.service.workers.worker import main
main()
"""

#: Seconds beyond the time to drain that a worker has to stop before it is killed.
_PATIENCE = 3.0


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
        redis = replace(config.redis, password=password, password_file=None)
        # Ports arrive as sockets. A tls-port only makes the worker load certificates.
        secure = ("0",) if config.tls_port else ()
        self._worker_config = replace(config, port=(), tls_port=secure, redis=redis)
        self._workers = [
            WorkerProcess(number, reactor, self._spawn, self._readiness_changed)
            for number in range(1, config.workers + 1)
        ]
        self._all_ready = False

    def is_ready(self) -> bool:
        """Tell whether all workers are ready."""
        return self._all_ready

    def reload_certificates(self) -> None:
        """Let every worker read its certificates again."""
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

    def stopService(self) -> Deferred[None]:
        """
        Stop all workers; each closes its ports, drains its clients and disconnects from Redis.

        Returns:
            Fires when all have ended. Those that have not are killed a few seconds after the time
            to drain.
        """
        Service.stopService(self)
        ports, self._ports = self._ports, []
        patience = self._config.drain_spread + self._config.drain + _PATIENCE
        ends: list[Deferred[Any]] = [worker.stop(patience) for worker in self._workers]
        ends += [self._close(port) for port in ports]
        return (
            gatherResults(ends)
            .addCallback(lambda _: self._private.stop())
            .addCallback(lambda _: None)
        )

    def _spawn(self, protocol: ProcessProtocol) -> Any:
        descriptors: dict[int, int | str] = {COMMANDS: "w", 1: "r", 2: "r", REPORTS: "r"}
        sockets = []
        port: Any
        for number, ((text, _, secure, _), port) in enumerate(
            zip(self._endpoints, self._ports, strict=True), FIRST_SOCKET
        ):
            descriptors[number] = port.fileno()
            proxied = text.startswith("haproxy:")
            sockets.append(SharedSocket(number, port.socket.family, proxied, secure))
        task = WorkerTask(type(self._reactor).__module__, self._worker_config, sockets)
        process = self._reactor.spawnProcess(
            protocol,
            sys.executable,
            [sys.executable, "-P", "-c", _LAUNCHER, "wsredis", "worker"],
            env=None,
            childFDs=descriptors,
        )
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
            self._log.info(
                "all {count} workers are ready", event="workers-ready", count=len(self._workers)
            )
        else:
            self._log.warn(
                "not all {count} workers are ready",
                event="workers-not-ready",
                count=len(self._workers),
            )
