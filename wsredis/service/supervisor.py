"""A child process that is kept alive: started, started again when it ends, stopped, and killed."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

__all__ = ["ChildOwner", "ChildSupervisor", "RestartPolicy", "write_to_child"]

#: Seconds between the exit of a process and the moment when its pipes are closed. Usually they end
#: with the process, but a program that it has started may hold them open for ever.
_LAST_OUTPUT = 1.0


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """
    How long to wait before a child is started again.

    Attributes:
        first: Seconds before the first restart. The wait doubles with each further one.
        longest: Seconds that the wait does not exceed.
        sound: A child that lived for so many seconds was sound: the next wait is the first again.
    """

    first: float
    longest: float
    sound: float = 60.0


class ChildOwner(Protocol):
    """
    The owner of a child: starts it, and is notified.

    Attributes:
        child_descriptors: The descriptors of the child that are pipes.
    """

    child_descriptors: tuple[int, ...]

    def spawn_child(self, protocol: ProcessProtocol) -> Any:
        """
        Start a process.

        Returns:
            Its IProcessTransport.

        Raises:
            OSError: The system cannot start one now. It is tried again.
        """

    def child_started(self, pid: int) -> None:
        """Note that a process runs."""

    def child_received(self, descriptor: int, data: bytes) -> None:
        """Take a part of the output of the process."""

    def ask_child_to_stop(self, process: Any) -> None:
        """
        Ask the process to end in its own time.

        Raises:
            ProcessExitedAlready: It has just ended; this changes nothing.
        """

    def child_is_killed(self) -> None:
        """Note that the process did not end in time, and is killed now."""

    def child_ended(self, how: str, restart: float | None) -> None:
        """
        Note that the process has ended and all its output was received, or that none was started.

        Args:
            how: How it ended, for a log line that begins with the name of the child.
            restart: Seconds until it is started again. If None, it was stopped and is not.
        """


class ChildSupervisor(ProcessProtocol):
    """
    Keeps one child process alive.

    Args:
        owner: Starts the process, and is notified of what happens to it.
        policy: How long to wait before the process is started again.

    Attributes:
        ready: Whether the process does its work. The owner sets it; it is False again as soon as
            the process has ended.
    """

    def __init__(self, reactor: Any, owner: ChildOwner, policy: RestartPolicy) -> None:
        self.ready = False
        self._reactor = reactor
        self._owner = owner
        self._policy = policy
        self._delay = policy.first
        self._started_at = 0.0
        self._process: Any = None
        self._pid = 0
        self._stopped: Deferred[None] | None = None
        self._restart: Any = None
        self._kill: Any = None
        self._close: Any = None

    def start(self) -> None:
        """Start the process."""
        self._started_at = self._reactor.seconds()
        try:
            self._process = self._owner.spawn_child(self)
        except OSError as error:
            self._ended(f"did not start ({error.strerror})")
            return
        self._pid = self._process.pid
        self._owner.child_started(self._pid)

    def send(self, descriptor: int, data: bytes) -> None:
        """Write to a pipe of the process. Without one, or after `stop`, *data* is dropped."""
        if self._process is not None and self._stopped is None:
            write_to_child(self._process, descriptor, data)

    def stop(self, patience: float) -> Deferred[None]:
        """
        Ask the process to end, and do not start it again.

        Args:
            patience: Seconds until a process that still runs is killed.

        Returns:
            Fires when the process has ended; at once if there is none.
        """
        _cancel(self._restart)
        if self._process is None:
            return succeed(None)
        self._stopped = Deferred()
        self._kill = self._reactor.callLater(patience, self._kill_now)
        try:
            self._owner.ask_child_to_stop(self._process)
        except ProcessExitedAlready:
            pass
        return self._stopped

    def kill(self) -> None:
        """Kill the process, if there is one. It is started again like one that ended by itself."""
        if self._process is not None:
            self._kill_process()

    def hurry(self, descriptor: int, patience: float) -> None:
        """
        Close a pipe of a process that was asked to stop, and give it less time.

        Args:
            descriptor: The pipe.
            patience: Seconds until a process that still runs is killed.
        """
        if self._process is not None and self._stopped is not None:
            _cancel(self._kill)
            self._kill = self._reactor.callLater(patience, self._kill_now)
            self._process.closeChildFD(descriptor)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Pass output on."""
        self._owner.child_received(childFD, data)

    def processExited(self, reason: Failure) -> None:
        """Wait for the last output a limited time."""
        self._close = self._reactor.callLater(_LAST_OUTPUT, self._close_pipes)

    def processEnded(self, reason: Failure) -> None:
        """Notify the owner: the process has exited, and its pipes are closed."""
        self._process = None
        self.ready = False
        _cancel(self._close)
        _cancel(self._kill)
        self._ended(f"(process {self._pid}) ended {_describe(reason)}")

    def _ended(self, how: str) -> None:
        if self._stopped is not None:
            self._owner.child_ended(how, None)
            self._stopped.callback(None)
            return
        if self._reactor.seconds() - self._started_at >= self._policy.sound:
            self._delay = self._policy.first
        delay, self._delay = self._delay, min(2 * self._delay, self._policy.longest)
        self._restart = self._reactor.callLater(delay, self.start)
        self._owner.child_ended(how, delay)

    def _kill_now(self) -> None:
        self._owner.child_is_killed()
        self._kill_process()

    def _kill_process(self) -> None:
        try:
            self._process.signalProcess("KILL")
        except ProcessExitedAlready:
            # It exited this moment, or only its pipes are still open.
            pass

    def _close_pipes(self) -> None:
        for descriptor in self._owner.child_descriptors:
            self._process.closeChildFD(descriptor)


def write_to_child(process: Any, descriptor: int, data: bytes) -> None:
    """Write to a pipe of an IProcessTransport. If the process has closed it, *data* is dropped."""
    try:
        process.writeToChild(descriptor, data)
    except KeyError:
        # Twisted forgets a pipe when its end is seen, which may be before that of the process.
        pass


def _cancel(call: Any) -> None:
    if call is not None and call.active():
        call.cancel()


def _describe(reason: Failure) -> str:
    number = getattr(reason.value, "signal", None)
    if number is not None:
        try:
            return f"by signal {number} ({signal.Signals(number).name})"
        except ValueError:
            # A real-time signal.
            return f"by signal {number}"
    return f"with status {getattr(reason.value, 'exitCode', None)}"
