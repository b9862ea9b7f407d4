"""`tenure run`'s side of the keeper: starts it, hands it CMD, passes deadlines and signals on, and learns of the end.

`Supervisor.wait` returns only when nothing that descends from CMD is left: from then on the role may be released. If
the keeper is killed, its orphans are adopted and ended here; if it hangs (SIGSTOP), it is killed half a margin before
the deadline, and the same happens. Sending never blocks: the newest deadline replaces one that could not be sent yet.
While a supervisor lives, its process must start no children but keepers: after a loss every other child is taken for an
orphan, and killed. It holds no role and knows only the two lease clocks: the caller hands in the deadlines.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, NamedTuple, Self

from tenure.cli import keeper
from tenure.cli.descendants import Sweep, descendants, is_child_subreaper, set_child_subreaper, signal_descendant
from tenure.cli.startable import CommandStartError
from tenure.contract.errors import TenureError

# The keeper runs under the bare interpreter: neither site-packages nor PYTHON* variables get into it or slow it down,
# and CMD's environment is handed over as it is. It is imported rather than run as a file for the sake of the compiled
# code (17 instead of 30 ms), from the folder that holds `tenure` here, be it an installed wheel's or a working copy's.
_KEEPER: Final = "import sys; sys.path.append(sys.argv[1]); from tenure.cli.keeper import main; main(int(sys.argv[2]))"
_FOLDER: Final = str(Path(__file__).parents[2])
_RESCAN_S: Final = 0.01
_STALL_MS: Final = 2_000.0
"""How much longer than the grace a keeper may take for a stop before it counts as hung."""
_PROMPT_MS: Final = 250.0
"""How long a keeper may take to act on a deadline that was shortened, even to one that has passed."""
_KILLED: Final = 137
"""The exit code of CMD when only its killing is known: 128 + SIGKILL."""


class Deadline(NamedTuple):
    """When a lease ends, on both clocks of this machine; over as soon as one of them gets there."""

    boottime_ms: float
    raw_ms: float

    @classmethod
    def after_ms(cls, ms: float) -> Deadline:
        """The deadline that is `ms` from now."""
        return cls(keeper.boottime_ms() + ms, keeper.raw_ms() + ms)


class StopCause(StrEnum):
    """Why the work ended: the first of them, where several come together."""

    EXITED = keeper.EXITED  # CMD ended by itself
    STOPPED = keeper.STOPPED  # `stop` was called
    LEASE_ENDED = keeper.LEASE_ENDED  # no later deadline came in time
    KEEPER_LOST = "keeper_lost"  # the keeper was killed, or hung


class Outcome(NamedTuple):
    """How CMD ended, after all its descendants have."""

    exit_code: int
    """CMD's own, or 128 + the signal that ended it."""
    cause: StopCause


class LeaseTooShortError(TenureError):
    """CMD was not run, for there was no more left of the lease than it takes to stop CMD again."""

    def __init__(self, grace_ms: float) -> None:
        super().__init__(f"no more than the grace of {grace_ms:g} ms was left of the lease, so nothing was started")


class KeeperLostError(TenureError):
    """The keeper could not be started, or was killed before it had started CMD."""


class Supervisor:
    """One keeper for one run of CMD: `async with Supervisor(…) as work: await work.start(deadline); await work.wait()`.

    Entering starts the keeper, which takes about 20 ms, so a standby enters early. Leaving stops what still runs.
    """

    _living: ClassVar[dict[Supervisor, int]] = {}  # with the pids of their keepers, 0 until there is one
    _was_subreaper: ClassVar[bool] = False

    def __init__(
        self,
        command: Sequence[str],
        *,
        grace_ms: float = 500.0,
        margin_ms: float = 100.0,
        stop_grace_ms: float = 10_000.0,
        is_quiet: bool = False,
    ) -> None:
        """Prepare to run `command`, found on the PATH of its environment.

        SIGTERM is sent `grace_ms`, SIGKILL `margin_ms` before the deadline, which has to leave time enough to find all
        descendants. `stop_grace_ms` is how long `stop`, or the rest of CMD after its exit, may take while the lease
        lasts. With `is_quiet`, CMD has neither standard input nor output.

        Raises:
            ValueError: The command is empty, or the times contradict each other.
        """
        if not command or not command[0]:
            raise ValueError("there is no command to run")
        if not 0 <= margin_ms <= grace_ms or stop_grace_ms < 0:
            raise ValueError(f"0 <= margin ({margin_ms:g} ms) <= grace ({grace_ms:g} ms) does not hold")
        self._command = tuple(command)
        self._grace_ms, self._margin_ms, self._stop_grace_ms = grace_ms, margin_ms, stop_grace_ms
        self._stream = subprocess.DEVNULL if is_quiet else None
        self._process: asyncio.subprocess.Process | None = None
        self._socket: socket.socket | None = None
        self._replies: asyncio.Queue[bytes] = asyncio.Queue()
        self._outbox: deque[bytes] = deque()
        self._deadline: Deadline | None = None  # None until `start`
        self._is_deadline_unsent = False
        self._stop_by_ms = float("inf")  # on CLOCK_BOOTTIME, as the next
        self._hangs_from_ms = float("-inf")
        self._watch: asyncio.TimerHandle | None = None
        self._pid = 0
        self._reported: Outcome | None = None
        self._ending: asyncio.Task[Outcome] | None = None

    async def __aenter__(self) -> Self:
        """Start the keeper and wait until it is ready.

        Raises:
            KeeperLostError: It cannot work here; the message says why.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._socket = ours
        try:
            self._join()
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", _KEEPER, _FOLDER, str(theirs.fileno())),
                stdin=self._stream,
                stdout=self._stream,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
            theirs.close()
            self._living[self] = self._process.pid
            self._ending = asyncio.create_task(self._until_gone(self._process))
            asyncio.get_running_loop().add_reader(ours, self._read)
            await self._until_ready()
        except BaseException:
            theirs.close()
            await self._leave()
            raise
        return self

    async def _until_ready(self) -> None:
        reply = await self._replies.get()
        if reply[:1] != keeper.READY:
            raise KeeperLostError(f"the keeper cannot work here: {reply[1:].decode() or 'it ended at once'}")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop what still runs and wait for its end; cancelled meanwhile, leave that to the keeper."""
        try:
            if self._deadline is not None and self._ending is not None:
                self.stop()
                await asyncio.shield(self._ending)
        finally:
            await self._leave()

    @property
    def pid(self) -> int:
        """CMD's process id; 0 until it has been started."""
        return self._pid

    @property
    def is_gone(self) -> bool:
        """Whether CMD has ended, with all its descendants."""
        return self._deadline is not None and self._ending is not None and self._ending.done()

    async def start(self, deadline: Deadline, env: Mapping[str, str] | None = None) -> None:
        """Run CMD, with `env` for its whole environment (by default, that of this process), until `deadline` at most.

        Cancelling it leaves open whether CMD runs; `wait` and leaving the context are right in both cases.

        Raises:
            CommandStartError: There is no such command, or it cannot be executed.
            LeaseTooShortError: Too little of the lease is left; nothing has happened.
            KeeperLostError: The keeper was killed.
            ValueError: An argument or a variable holds a NUL.
        """
        assert self._deadline is None, "one keeper runs one command once"
        messages = [keeper.ARGUMENT + os.fsencode(argument) for argument in self._command]
        variables = (os.environ if env is None else env).items()
        messages += [keeper.VARIABLE + os.fsencode(f"{name}={value}") for name, value in variables]
        if any(b"\0" in message for message in messages):
            raise ValueError("an argument or a variable of the command holds a NUL")
        if any(len(message) > keeper.MESSAGE_BYTES_MAX for message in messages):
            raise CommandStartError(self._command[0], errno.E2BIG)
        if keeper.until_ms(*deadline) <= self._grace_ms:  # the keeper looks again, a moment before it forks
            raise LeaseTooShortError(self._grace_ms)
        self._deadline = deadline
        times = (*deadline, self._grace_ms, self._margin_ms, self._stop_grace_ms)
        self._outbox.extend([*messages, keeper.START + " ".join(map(repr, times)).encode()])
        self._flush()
        self._arm()
        reply = await self._replies.get()
        if reply[:1] == keeper.STARTED:
            self._pid = int(reply[1:])
        elif reply[:1] == keeper.NOT_STARTED:
            raise CommandStartError(self._command[0], int(reply[1:]))
        elif reply == keeper.TOO_LATE:
            raise LeaseTooShortError(self._grace_ms)
        else:
            raise KeeperLostError("the keeper was killed before it had started the command")

    def extend(self, deadline: Deadline) -> None:
        """Let the work go on until `deadline`, which is the newest known and need not be the latest; never blocks."""
        assert self._deadline is not None, "nothing was started"
        is_earlier = deadline.boottime_ms < self._deadline.boottime_ms or deadline.raw_ms < self._deadline.raw_ms
        self._deadline = deadline
        self._is_deadline_unsent = True
        self._flush()
        if is_earlier:
            self._hangs_from_ms = keeper.boottime_ms() + _PROMPT_MS
            self._arm()

    def stop(self, grace_ms: float | None = None) -> None:
        """Send SIGTERM to CMD's process group, SIGKILL to all that is left after `grace_ms` or when the lease ends.

        By default the grace is the `stop_grace_ms` given at the beginning; 0: at once. A repeated call can only shorten
        it, and asks nobody a second time. Does nothing if nothing was started.
        """
        if self._deadline is None:
            return
        grace_ms = self._stop_grace_ms if grace_ms is None else grace_ms
        self._stop_by_ms = min(self._stop_by_ms, keeper.boottime_ms() + grace_ms + _STALL_MS)
        self._send(keeper.STOP + repr(float(grace_ms)).encode())
        self._arm()

    def send_signal(self, number: int) -> None:
        """Forward a signal to CMD (to its process group, if it is one that terminals send); never blocks.

        Before CMD runs and after it has ended nobody gets it.
        """
        self._send(keeper.SIGNAL + b"%d" % number)

    async def wait(self) -> Outcome:
        """How CMD ended, once nothing that descends from it is left; may be cancelled and called again."""
        assert self._deadline is not None, "nothing was started"
        assert self._ending is not None
        return await asyncio.shield(self._ending)

    def _send(self, message: bytes) -> None:
        if message not in self._outbox:  # as the kernel does with signals: twice the same is pending once
            self._outbox.append(message)
        self._flush()

    def _flush(self) -> None:
        """Send what the socket takes, the rest when it takes more; each message goes as a whole or not at all."""
        if self._socket is None:
            return
        loop = asyncio.get_running_loop()
        try:
            while self._outbox:
                self._socket.send(self._outbox[0])
                self._outbox.popleft()
            if self._is_deadline_unsent and self._deadline is not None:
                self._socket.send(keeper.DEADLINE + " ".join(map(repr, self._deadline)).encode())
                self._is_deadline_unsent = False
        except BlockingIOError:
            loop.add_writer(self._socket, self._flush)
            return
        except OSError:  # the keeper is gone: whoever waits for it sees that
            self._outbox.clear()
            self._is_deadline_unsent = False
        loop.remove_writer(self._socket)

    def _read(self) -> None:
        """Take in what the keeper says; its silence for good is an empty reply."""
        while self._socket is not None:
            try:
                message = self._socket.recv(keeper.MESSAGE_BYTES_MAX)
            except BlockingIOError:
                return
            except ConnectionResetError:
                message = b""
            if message[:1] == keeper.GONE:
                code, cause = message[1:].decode().split()
                self._reported = Outcome(int(code), StopCause(cause))
                continue
            self._replies.put_nowait(message)
            if not message:
                self._close()

    def _close(self) -> None:
        if self._socket is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            loop.remove_writer(self._socket)
            self._socket.close()
            self._socket = None

    def _arm(self) -> None:
        """Watch the keeper: it has to be done somewhat before the deadline, and soon after a stop's grace."""
        if self._watch is not None:
            self._watch.cancel()
        if self._deadline is None or self._process is None or self._process.returncode is not None:
            return
        now_ms = keeper.boottime_ms()
        due_ms = min(keeper.until_ms(*self._deadline) - self._margin_ms / 2, self._stop_by_ms - now_ms)
        due_ms = max(due_ms, self._hangs_from_ms - now_ms)
        if due_ms > 0:
            wait_ms = min(max(due_ms, keeper.WAKE_MS_MIN), keeper.WAKE_MS_MAX)
            self._watch = asyncio.get_running_loop().call_later(wait_ms / 1000.0, self._arm)
        else:
            self._kill_keeper()  # it hangs; CMD dies with it, and what it leaves behind is adopted and ended here

    def _kill_keeper(self) -> None:
        # Not `Process.kill`, which may reap it first, and then its exit status is lost on whoever waits for it.
        if self._process is not None and self._process.returncode is None:
            signal_descendant(self._process.pid, os.getpid(), signal.SIGKILL)

    async def _until_gone(self, process: asyncio.subprocess.Process) -> Outcome:
        """Wait for the keeper's end; only one that leaves with 0 says that nothing is left."""
        code = await process.wait()
        if self._watch is not None:
            self._watch.cancel()
        self._read()
        if code != 0 and self._deadline is not None:
            status = await self._end_orphans()
            if self._reported is None:
                return Outcome(_KILLED if status is None else _exit_code(status), StopCause.KEEPER_LOST)
        return self._reported or Outcome(_KILLED, StopCause.STOPPED)

    async def _end_orphans(self) -> int | None:
        """Kill and reap all descendants of this process but other keepers and theirs; CMD's wait status, if known."""
        spared = frozenset(pid for supervisor, pid in self._living.items() if supervisor is not self)
        sweep = Sweep(spared)
        with contextlib.suppress(OSError):
            sweep.freeze()
        command_status: int | None = None
        empty_looks = 0
        while empty_looks < 2:  # a walk through /proc can miss a process that is passed on meanwhile; not twice
            with contextlib.suppress(OSError):
                sweep.kill()
            statuses = _reap(spared)
            empty_looks = 0 if statuses else empty_looks + 1
            command_status = statuses.get(self._pid, command_status)
            await asyncio.sleep(_RESCAN_S)
        return command_status

    def _join(self) -> None:
        """Make this process adopt orphans while any supervisor lives, so that it can finish for a lost keeper."""
        if not self._living:
            Supervisor._was_subreaper = is_child_subreaper()
            set_child_subreaper(is_subreaper=True)
        self._living[self] = 0

    async def _leave(self) -> None:
        """Let the keeper go: one that was not used is killed, any other knows from the closed socket what to do."""
        self._close()
        if self._deadline is None and self._ending is not None:
            self._kill_keeper()
            await self._ending
        if self._living.pop(self, None) is not None and not self._living:
            set_child_subreaper(is_subreaper=self._was_subreaper)


def _reap(spared: frozenset[int]) -> dict[int, int | None]:
    """All descendants but the spared and theirs, with the wait status of those that were reaped just now."""
    statuses: dict[int, int | None] = {}
    for pid, parent in descendants(spared).items():
        statuses[pid] = None
        if parent == os.getpid():
            with contextlib.suppress(ChildProcessError):
                reaped, status = os.waitpid(pid, os.WNOHANG)
                statuses[pid] = status if reaped else None
    return statuses


def _exit_code(wait_status: int) -> int:
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code
