"""Tests of the supervisor of a child process."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from wsredis.service.supervisor import ChildSupervisor, RestartPolicy


class _Process:
    """A process that does what the test wants."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.written: list[tuple[int, bytes]] = []
        self.signals: list[str] = []
        self.closed: list[int] = []
        self.exited = False

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        if self.exited:
            raise KeyError(descriptor)
        self.written.append((descriptor, data))

    def closeChildFD(self, descriptor: int) -> None:
        self.closed.append(descriptor)

    def signalProcess(self, name: str) -> None:
        if self.exited:
            raise ProcessExitedAlready
        self.signals.append(name)


class _SupervisorCase(SynchronousTestCase):
    """A child that has been started. The test case is its owner."""

    child_descriptors: tuple[int, ...] = (0, 1)

    def setUp(self) -> None:
        """Start it."""
        self.clock = Clock()
        self.processes: list[_Process] = []
        self.events: list[Any] = []
        self.refused: OSError | None = None
        policy = RestartPolicy(first=1.0, longest=4.0, sound=60.0)
        self.supervisor = ChildSupervisor(self.clock, self, policy)
        self.supervisor.start()

    # -- wsredis.service.supervisor.ChildOwner

    def spawn_child(self, protocol: ProcessProtocol) -> _Process:
        """Make a process, or fail as the test wants."""
        assert protocol is self.supervisor
        if self.refused is not None:
            raise self.refused
        self.processes.append(_Process(100 + len(self.processes)))
        return self.processes[-1]

    def child_started(self, pid: int) -> None:
        """Remember it."""
        self.events.append(("started", pid))

    def child_received(self, descriptor: int, data: bytes) -> None:
        """Remember it."""
        self.events.append((descriptor, data))

    def ask_child_to_stop(self, process: _Process) -> None:
        """Send a signal."""
        process.signalProcess("TERM")

    def child_is_killed(self) -> None:
        """Remember it."""
        self.events.append("killed")

    def child_ended(self, how: str, restart: float | None) -> None:
        """Remember it."""
        self.events.append((how, restart))

    # -- The process

    @property
    def process(self) -> _Process:
        """The newest process."""
        return self.processes[-1]

    def exit(self, status: int | None = None, signal: int | None = None) -> Failure:
        """The newest process exits, and its pipes stay open. Returns: The reason."""
        self.process.exited = True
        done = status is None and signal is None
        reason = Failure(ProcessDone(0) if done else ProcessTerminated(status, signal))
        self.supervisor.processExited(reason)
        return reason

    def end(self, **how: Any) -> Any:
        """The newest process ends. Returns: The last event."""
        self.supervisor.processEnded(self.exit(**how))
        return self.events[-1]


class LifeTests(_SupervisorCase):
    """Start, output, input."""

    def test_start(self) -> None:
        """The owner starts the process, and is notified."""
        self.assertEqual([("started", 100)], self.events)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_output(self) -> None:
        """The owner gets the output."""
        self.supervisor.childDataReceived(1, b"hello")
        self.assertEqual((1, b"hello"), self.events[-1])

    def test_send(self) -> None:
        """Input reaches a process that runs; without one it is dropped."""
        self.supervisor.send(0, b"a")
        self.end()
        self.supervisor.send(0, b"b")
        self.clock.advance(1)
        self.supervisor.stop(5)
        self.supervisor.send(0, b"c")
        self.assertEqual([(0, b"a")], self.processes[0].written)
        self.assertEqual([], self.processes[1].written)

    def test_ready(self) -> None:
        """A process that has ended is not ready any more, and its successor is not ready yet."""
        self.assertFalse(self.supervisor.ready)
        self.supervisor.ready = True
        self.end()
        self.assertFalse(self.supervisor.ready)
        self.clock.advance(1)
        self.assertFalse(self.supervisor.ready)


class RestartTests(_SupervisorCase):
    """A process that ends is started again."""

    def test_reasons(self) -> None:
        """The owner gets the process, how it ended, and when the next one starts."""
        self.assertEqual(("(process 100) ended with status 0", 1.0), self.end())
        self.clock.advance(1)
        self.assertEqual(("(process 101) ended with status 3", 2.0), self.end(status=3))
        self.clock.advance(2)
        self.assertEqual(("(process 102) ended by signal 9 (SIGKILL)", 4.0), self.end(signal=9))
        self.clock.advance(4)
        # Real-time signals have no names.
        self.assertEqual("(process 103) ended by signal 50", self.end(signal=50)[0])

    def test_delays(self) -> None:
        """The wait doubles up to the longest; it is exact."""
        for delay in (1.0, 2.0, 4.0, 4.0):
            count = len(self.processes)
            self.assertEqual(delay, self.end()[1])
            self.clock.advance(delay - 0.01)
            self.assertEqual(count, len(self.processes))
            self.clock.advance(0.01)
            self.assertEqual(count + 1, len(self.processes))

    def test_sound(self) -> None:
        """After a process that lived long enough, the wait is the first one again."""
        self.end()
        self.clock.advance(1)
        self.clock.advance(59.99)
        self.assertEqual(2.0, self.end()[1])
        self.clock.advance(2)
        self.clock.advance(60)
        self.assertEqual(1.0, self.end()[1])

    def test_killed(self) -> None:
        """A child that is killed is started again; a kill while there is none changes nothing."""
        self.supervisor.kill()
        (process,) = self.processes
        self.assertEqual(["KILL"], process.signals)
        self.assertNotIn("killed", self.events, "it was not asked to stop")
        process.exited = True
        self.supervisor.kill()
        self.end(signal=9)
        self.supervisor.kill()
        self.assertEqual(["KILL"], process.signals)
        self.clock.advance(1)
        self.assertEqual(2, len(self.processes))

    def test_not_started(self) -> None:
        """If the system starts no process, it is tried again."""
        self.end()
        self.refused = BlockingIOError(11, "Resource temporarily unavailable")
        self.clock.advance(1)
        expected = "did not start (Resource temporarily unavailable)", 2.0
        self.assertEqual(expected, self.events[-1])
        self.refused = None
        self.clock.advance(2)
        self.assertEqual(("started", 101), self.events[-1])

    def test_pipes_that_stay_open(self) -> None:
        """A process that has exited is soon dead, although a pipe of it is held open."""
        reason = self.exit()
        self.clock.advance(0.99)
        self.assertEqual([], self.process.closed)
        self.clock.advance(0.01)
        self.assertEqual([0, 1], self.process.closed)
        self.supervisor.processEnded(reason)
        self.assertEqual(1.0, self.events[-1][1])
        self.clock.advance(1)
        self.assertEqual(2, len(self.processes))


class StopTests(_SupervisorCase):
    """The process is asked to end, killed if it does not, and not started again."""

    def stopped(self, done: Any) -> None:
        """It has ended, and there is no timer."""
        self.successResultOf(done)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_stop(self) -> None:
        """It is asked once, and waited for."""
        done = self.supervisor.stop(5)
        self.assertEqual(["TERM"], self.process.signals)
        self.assertNoResult(done)
        self.assertEqual(("(process 100) ended with status 0", None), self.end())
        self.stopped(done)

    def test_kill(self) -> None:
        """A process that does not end in time is killed."""
        done = self.supervisor.stop(5)
        self.clock.advance(4.99)
        self.assertEqual(["TERM"], self.process.signals)
        self.clock.advance(0.01)
        self.assertEqual(["TERM", "KILL"], self.process.signals)
        self.assertEqual("killed", self.events[-1])
        self.assertNoResult(done)
        self.end(signal=9)
        self.stopped(done)

    def test_hurry(self) -> None:
        """A process that takes its time loses a pipe, and is killed earlier."""
        self.supervisor.hurry(0, 1)
        self.assertEqual([], self.process.closed, "it is not to stop yet")
        done = self.supervisor.stop(500)
        self.supervisor.hurry(0, 1)
        self.assertEqual([0], self.process.closed)
        self.clock.advance(1)
        self.assertEqual(["TERM", "KILL"], self.process.signals)
        self.end(signal=9)
        self.stopped(done)
        self.supervisor.hurry(0, 1)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_pipe_is_gone(self) -> None:
        """What is sent to a process that is just ending is dropped."""
        self.process.exited = True
        self.supervisor.send(0, b"x")
        self.assertEqual([], self.process.written)

    def test_just_exited(self) -> None:
        """A process that exits at the same moment needs no signal."""
        self.process.exited = True
        done = self.supervisor.stop(0.5)
        self.clock.advance(0.5)
        self.assertEqual([], self.process.signals)
        self.end()
        self.stopped(done)

    def test_between_two_processes(self) -> None:
        """Without a process there is nothing to wait for."""
        self.end()
        self.stopped(self.supervisor.stop(5))
        self.clock.advance(10)
        self.assertEqual(1, len(self.processes))

    def test_pipes_that_stay_open(self) -> None:
        """A stop does not wait for whoever holds a pipe open."""
        done = self.supervisor.stop(5)
        reason = self.exit()
        self.clock.advance(1)
        self.assertEqual([0, 1], self.process.closed)
        self.supervisor.processEnded(reason)
        self.stopped(done)
