"""The keeper: the small process between `tenure run` and CMD, which ends CMD's work before the lease ends.

It is a child subreaper: whatever CMD starts stays below it, also what forks twice or leaves its session. CMD's work
goes on only while BOTH lease clocks are before the deadline passed last. When too little of it is left, or `tenure run`
is gone, or asks: SIGTERM to CMD's process group, and before the deadline SIGKILL to every descendant. The end is
reported only when the kernel says that no child is left (ECHILD), never earlier. One thread, the standard library and
`tenure.cli.descendants`; `tenure.cli.supervisor` starts it and imports what both ends of the socket share.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time

from tenure.cli.descendants import (
    Sweep,
    descendants,
    die_with_parent,
    parent_and_group,
    pidfd_open,
    set_child_subreaper,
    signal_descendant,
)

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` would cost a fifth of the time it takes to start
    from types import FrameType
    from typing import Never

# Sessions and signals. The keeper leads a session of its own, and CMD a process group in it. So what is sent to a whole
# group (Ctrl-C, Ctrl-Z, a shell's hangup, `kill -9 -PGID`) meets `tenure run` alone, which forwards it: CMD gets every
# signal exactly once by construction, where a shared group would leave us guessing who else got it. CMD still reads and
# writes the terminal on 0, 1 and 2, for a terminal that is not its controlling one never stops it with SIGTTIN; what it
# loses is /dev/tty and job control. It is no session leader, or opening a serial port could make that its terminal.
#
# What cannot be had. Whoever sends SIGKILL to both `tenure run` and the keeper takes CMD with them (PR_SET_PDEATHSIG),
# but not what CMD has started; whoever stops both with SIGSTOP stops the watch. A descendant under another user may not
# be signalled, one that entered another pid namespace is not adopted, one that hangs in the kernel dies on its return:
# then no end is reported, and the role waits for the lease. Control groups could do better where they may be written,
# which `tenure run` does not ask for.

# To the keeper: one message each, the kind in its first byte, the rest as text or as the bytes of one string.
ARGUMENT = b"A"  # the next argument of CMD
VARIABLE = b"V"  # NAME=value of CMD's environment
START = b"S"  # deadline (two clocks), grace_ms, margin_ms, stop_grace_ms: run CMD
DEADLINE = b"D"  # deadline (two clocks)
SIGNAL = b"G"  # number
STOP = b"T"  # grace_ms

# From the keeper: READY or UNABLE first, then what became of START, then GONE if CMD was started.
READY = b"R"
UNABLE = b"U"  # why
STARTED = b"P"  # CMD's pid
NOT_STARTED = b"N"  # errno of execve
TOO_LATE = b"L"
GONE = b"X"  # exit code, cause

EXITED, STOPPED, LEASE_ENDED, ABANDONED = "exited", "stopped", "lease_ended", "abandoned"

STRING_BYTES_MAX = 131_071  # execve takes no longer argument or variable (MAX_ARG_STRLEN)
MESSAGE_BYTES_MAX = 1 + STRING_BYTES_MAX
RESCAN_MS = 5  # while waiting for killed processes to go: somebody may have forked between being seen and being killed
WAKE_MS_MIN, WAKE_MS_MAX = 1.0, 3_600_000.0
GROUP_SIGNALS = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH})


def boottime_ms() -> float:
    """The clock that goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) * 1000.0


def raw_ms() -> float:
    """The clock that nobody can slew."""
    return time.clock_gettime(time.CLOCK_MONOTONIC_RAW) * 1000.0


def until_ms(boottime_deadline_ms: float, raw_deadline_ms: float) -> float:
    """How long until the first of both lease clocks reaches its deadline; negative once it has."""
    return min(boottime_deadline_ms - boottime_ms(), raw_deadline_ms - raw_ms())


class Keeper:
    """Runs one CMD from START to the last of its descendants, then reports and is done. One thread, one poll."""

    def __init__(self, control: int) -> None:
        self._control = control
        self._timer = os.timerfd_create(time.CLOCK_BOOTTIME, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)
        self._wakeup, wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        for descriptor in (control, self._timer, self._wakeup):
            os.set_inheritable(descriptor, False)
            os.set_blocking(descriptor, False)
            self._poll.register(descriptor, select.POLLIN)
        self._signals = _catch_signals(wakeup_write)
        self._arguments: list[bytes] = []
        self._variables: dict[bytes, bytes] = {}
        self._deadline = (0.0, 0.0)
        self._grace_ms = self._margin_ms = self._stop_grace_ms = 0.0
        self._command = 0  # CMD's pid and process group
        self._exec_report = -1  # where a failing execve says so; -1 once it is known to have worked
        self._exit_status: int | None = None  # set when CMD was reaped: from then on its pid means nothing
        self._cause = ""  # why the work is being ended; empty while it goes on
        self._kill_at_ms = float("inf")  # on CLOCK_BOOTTIME
        self._was_group_told = self._were_others_told = False
        self._is_done = False

    def run(self) -> None:
        """Serve until everything CMD started is gone, or until there is nothing to serve."""
        self._send(READY)
        while not self._is_done:
            for descriptor, _ in self._poll.poll():
                if descriptor == self._control:
                    self._receive()
                elif descriptor == self._exec_report:
                    self._read_exec_report()
                else:
                    _drain(descriptor)
            if self._command and not self._is_done:
                self._step(is_childless=self._reap())

    def _step(self, *, is_childless: bool) -> None:
        """Do whatever the clocks and the children call for now, and set the timer for what comes next."""
        left_ms, now_ms = until_ms(*self._deadline), boottime_ms()
        if not self._cause and self._exit_status is not None:
            self._end(EXITED, now_ms + self._stop_grace_ms)
        elif not self._cause and left_ms <= self._grace_ms:
            self._end(LEASE_ENDED, now_ms + self._stop_grace_ms)
        if is_childless:
            self._report()
            return
        wake_ms = left_ms - self._grace_ms
        if self._cause:
            wake_ms = min(left_ms - self._margin_ms, self._kill_at_ms - now_ms)
            if wake_ms <= 0:
                self.kill()
                self._report()
                return
            self._ask_to_stop()
        # The raw clock may run faster than the timer's, so the timer approaches its deadline from below.
        wait_ms = min(max(0.9 * wake_ms, WAKE_MS_MIN), WAKE_MS_MAX)
        os.timerfd_settime(self._timer, flags=os.TFD_TIMER_ABSTIME, initial=(now_ms + wait_ms) / 1000.0)

    def _end(self, cause: str, kill_at_ms: float) -> None:
        """From here on the work is being ended, at the latest at `kill_at_ms`; the first cause is the one reported."""
        self._cause = self._cause or cause
        self._kill_at_ms = min(self._kill_at_ms, kill_at_ms)

    def _ask_to_stop(self) -> None:
        """Send SIGTERM to CMD's group while CMD lives, and once it is gone to all that remain, to each process once."""
        if self._exit_status is None:
            if not self._was_group_told:
                self._was_group_told = True
                self._signal_group(signal.SIGTERM)
                self._signal_group(signal.SIGCONT)
        elif not self._were_others_told:
            self._were_others_told = True
            told = self._command if self._was_group_told else 0
            for pid, parent in descendants().items():
                for number in (signal.SIGTERM, signal.SIGCONT):
                    signal_descendant(pid, parent, number, but_not_group=told)

    def kill(self) -> None:
        """Kill until no child is left, however long that takes."""
        with contextlib.suppress(OSError):
            # It competes for the processor with what it ends; priority is taken where it is to be had.
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        sweep = Sweep()
        with contextlib.suppress(OSError):
            sweep.freeze()
        while True:
            is_new = False
            try:
                is_new = sweep.kill()
            except OSError:
                # The machine has no descriptor or no memory left. Killing CMD's group takes none, and gives some back.
                if self._command and self._exit_status is None:
                    self._signal_group(signal.SIGKILL)
            if self._reap():
                return
            if not is_new:
                poll = select.poll()
                poll.register(self._wakeup, select.POLLIN)
                poll.poll(RESCAN_MS)
                _drain(self._wakeup)

    def _reap(self) -> bool:
        """Take the exit statuses there are; whether no child is left, living or dead."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self._command:
                self._exit_status = status

    def _report(self) -> None:
        """Tell how CMD ended, now that nothing of it is left."""
        if self._exec_report >= 0:
            self._read_exec_report()
            if self._is_done:
                return
        assert self._exit_status is not None, "CMD is a child, and there is no child left"
        code = os.waitstatus_to_exitcode(self._exit_status)
        self._send(GONE + f"{code if code >= 0 else 128 - code} {self._cause}".encode())
        if self._cause == ABANDONED:
            # Nobody else is left to say so. Only now, as writing to a full pipe may block.
            with contextlib.suppress(OSError):
                os.write(2, b"tenure: `tenure run` is gone; what it ran was stopped, with all that descended from it\n")
        self._is_done = True

    def _receive(self) -> None:
        """Apply the messages that have arrived; without `tenure run` at the other end the work is over."""
        while not self._is_done:
            try:
                message = os.read(self._control, MESSAGE_BYTES_MAX)
            except BlockingIOError:
                return
            except ConnectionResetError:
                message = b""
            if message:
                self._apply(message[:1], message[1:])
                continue
            self._poll.unregister(self._control)
            self._is_done = not self._command
            self._end(ABANDONED, boottime_ms() + self._grace_ms)
            return

    def _apply(self, kind: bytes, body: bytes) -> None:
        if kind == ARGUMENT:
            self._arguments.append(body)
        elif kind == VARIABLE:
            name, _, value = body.partition(b"=")
            self._variables[name] = value
        elif kind == START:
            *deadline, self._grace_ms, self._margin_ms, self._stop_grace_ms = map(float, body.split())
            self._deadline = (deadline[0], deadline[1])
            self._start()
        elif kind == DEADLINE:
            first, second = map(float, body.split())
            self._deadline = (first, second)
        elif kind == STOP:
            self._end(STOPPED, boottime_ms() + float(body))
        else:
            assert kind == SIGNAL, kind
            self._forward(int(body))

    def _forward(self, number: int) -> None:
        """What a terminal sends, it sends to a process group; everything else is meant for CMD alone."""
        if not self._command or self._exit_status is not None:
            return
        if number in GROUP_SIGNALS:
            self._signal_group(number)
        else:
            with contextlib.suppress(PermissionError):
                os.kill(self._command, number)

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(PermissionError):  # none of them may be signalled
            try:
                os.killpg(self._command, number)
            except ProcessLookupError:  # CMD, unreaped and so still there, has left its group empty
                os.kill(self._command, number)

    def _start(self) -> None:
        """Fork, and let the child become CMD, if there is enough of the lease for it."""
        if until_ms(*self._deadline) <= self._grace_ms:
            self._send(TOO_LATE)
            self._is_done = True
            return
        self._exec_report, report_write = os.pipe2(os.O_CLOEXEC)
        keeper = os.getpid()
        # A signal that comes between fork and execve waits until CMD's dispositions hold: a handler would swallow it.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self._command = os.fork()
        if self._command == 0:
            self._become_command(keeper, report_write)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        with contextlib.suppress(PermissionError):  # the child has reached execve, so it came first
            os.setpgid(self._command, self._command)
        os.close(report_write)
        self._poll.register(self._exec_report, select.POLLIN)

    def _become_command(self, keeper: int, report_write: int) -> Never:
        try:
            os.setpgid(0, 0)
            die_with_parent()
            for number in self._signals:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            if os.getppid() == keeper:  # or it died before its death was to be told
                os.execvpe(self._arguments[0], self._arguments, self._variables)  # noqa: S606 - running CMD is what it is for
        except (OSError, ValueError) as error:  # ValueError: what cannot be a variable's name
            os.write(report_write, b"%d" % (getattr(error, "errno", None) or errno.EINVAL))
        finally:
            os._exit(127)

    def _read_exec_report(self) -> None:
        code = os.read(self._exec_report, 16)
        self._poll.unregister(self._exec_report)
        os.close(self._exec_report)
        self._exec_report = -1
        if code:
            if self._exit_status is None:
                os.waitpid(self._command, 0)
            self._send(NOT_STARTED + code)
            self._is_done = True
        else:
            self._send(STARTED + b"%d" % self._command)

    def _send(self, message: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # reading says so too, and acts on it
            os.write(self._control, message)


def _drain(descriptor: int) -> None:
    with contextlib.suppress(BlockingIOError):
        os.read(descriptor, 4096)


def _notice(_number: int, _frame: FrameType | None) -> None:
    """A handler that does nothing: the signal has been written to the wake-up descriptor."""


def _catch_signals(wakeup_write: int) -> list[int]:
    """Let no signal end or stop the keeper, SIGCHLD wake it, and say which ones CMD gets back with their default.

    What was ignored when `tenure run` was started (`nohup`) stays ignored, for CMD too; but not SIGCHLD, for the
    children of who ignores it are never seen to end, nor the two that every Python ignores.
    """
    faults = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP}
    caught: list[int] = []
    for number in signal.valid_signals() - faults - {signal.SIGKILL, signal.SIGSTOP}:
        is_always_caught = number in {signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ}
        if is_always_caught or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _notice)
            caught.append(number)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
    return caught


def main(control: int) -> None:
    """Be the keeper of the `tenure run` at the other end of a socket.

    Raises:
        Exception: A defect, after all descendants were killed.
    """
    try:
        set_child_subreaper(is_subreaper=True)
        os.close(pidfd_open(os.getpid()))
        parent_and_group(os.getpid())
    except OSError as error:
        os.write(control, UNABLE + str(error).encode())
        return
    keeper = Keeper(control)
    try:
        keeper.run()
    except BaseException:
        keeper.kill()
        raise
