"""The hard stop: ends the process before a lease does if a tenure is held still, whatever its threads are doing.

Armed BEFORE the application can see a tenure, and anew with each answered heartbeat; disarmed when no tenure is held.
The timer is `faulthandler`'s: a thread in C that needs no interpreter lock, so that code which holds it cannot outlast
a lease. It ends the process with the stacks of all threads on standard error and exit code 1. There is one such timer
per process, shared by all clients with a fence: an application must not call `faulthandler.dump_traceback_later`.

A tenure that is lost while nobody is known to work under it is over; one whose work runs in a scope stays fenced until
the work has stopped. Whoever comes too late all the same (the machine was suspended, the process stopped) is ended by
the first thread that notices, with `FENCE_EXIT_CODE`.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
from collections import Counter
from collections.abc import Callable, Sequence
from functools import reduce
from threading import Lock
from typing import Final, Literal, NoReturn, Protocol

from tenure.contract.limits import CLOCK_DRIFT_PPM
from tenure.sdk.clocks import read_clocks
from tenure.sdk.standing import Reading

type FenceName = Literal["none", "exit"]

FENCE_EXIT_CODE: Final = 79
"""How a process ends that finds that it has outlived a lease; beside the codes of sysexits.h."""
_MARGIN_MS_MIN: Final = 20.0  # what a busy machine takes to run a thread and to end a process
_TIMER_MS_MIN: Final = 1.0  # the shortest there is, for a deadline that has passed


def fence_margin_ms(lease_ms: int) -> float:
    """How long before the end of a lease the process is ended."""
    return max(lease_ms / 20, _MARGIN_MS_MIN)


class Stop(Protocol):
    """What ends the process."""

    def arm(self, fence: Fence, deadline: Reading | None) -> None:
        """End the process at the deadline, unless another one is given before; None: not for this fence."""
        ...

    def end_now(self, message: str) -> None:
        """End the process."""
        ...


class Fence:
    """One session's; a witness of its tenures."""

    def __init__(
        self,
        lease_ms: int,
        resource_of: Callable[[int], str],
        stop: Stop | None = None,
        clock: Callable[[], Reading] = read_clocks,
    ) -> None:
        """`resource_of` names what an epoch is of, for people.

        It asks the clock itself when a tenure is left: what was read before may be from before the process was stopped.
        """
        self._margin_ms = fence_margin_ms(lease_ms)
        self._resource_of = resource_of
        self._stop: Stop = stop or _hard_stop
        self._clock = clock
        self._lock = Lock()
        self._until: dict[int, Reading] = {}
        """The tenures that it fences, by epoch."""
        self._ends: Counter[Reading] = Counter()
        """When they end, and how many do: a session may hold thousands, which end at the same time."""
        self._worked_under: set[int] = set()

    def extending(self, epochs: Sequence[int], now: Reading, until: Reading, revision: int) -> None:  # noqa: ARG002
        """Arm for them, before anybody can see them valid."""
        with self._lock:
            for epoch in epochs:
                self._drop(epoch)
                self._until[epoch] = until
            self._ends[until] += len(epochs)
            self._arm()

    def left(self, epoch: int, why: str, *, is_lost: bool) -> None:
        """Disarm, unless its work goes on although it is lost; end the process if it was held for too long."""
        with self._lock:
            until = self._until.get(epoch)
            if until is None:
                return
            if is_lost and not self._clock().is_before(until):
                self._stop.end_now(
                    f"tenure: the lease of {self._resource_of(epoch)!r} (epoch {epoch}) is over and it was not left in "
                    f"time: {why}; this process ends itself\n"
                )
            if not is_lost or epoch not in self._worked_under:
                self._drop(epoch)
                self._arm()

    def work_began(self, epoch: int) -> None:
        """Work runs under this tenure: if it is lost, the fence stays until the work has stopped."""
        with self._lock:
            if epoch in self._until:
                self._worked_under.add(epoch)

    def work_stopped(self, epoch: int) -> None:
        """The work has stopped, so that nothing has to be ended for this tenure, unless it goes on being held."""
        with self._lock:
            self._worked_under.discard(epoch)
            self._drop(epoch)
            self._arm()

    def _drop(self, epoch: int) -> None:
        until = self._until.pop(epoch, None)
        if until is not None:
            self._ends[until] -= 1
            if not self._ends[until]:
                del self._ends[until]

    def _arm(self) -> None:
        earliest = reduce(Reading.earlier, self._ends) if self._ends else None
        self._stop.arm(self, None if earliest is None else earliest.later(-self._margin_ms))


class HardStop:
    """The process's one timer: set to the earliest deadline of all fences."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._deadlines: dict[Fence, Reading] = {}
        self._armed_for: Reading | None = None
        self._stderr = -1

    def arm(self, fence: Fence, deadline: Reading | None) -> None:
        """End the process at the deadline, unless another one is given before; None: not for this fence."""
        with self._lock:
            if deadline is None:
                self._deadlines.pop(fence, None)
            else:
                self._deadlines[fence] = deadline
            self._set_timer()

    def end_now(self, message: str) -> NoReturn:
        """End the process at once, without any clean-up: nothing of it may go on."""
        with contextlib.suppress(OSError):
            os.write(self._open_stderr(), message.encode())
        os._exit(FENCE_EXIT_CODE)

    def pause(self) -> None:
        """Before a fork: the timer's thread would not be in the child, which would wait for it at its exit for ever."""
        self._lock.acquire()
        if self._armed_for is not None:
            self._armed_for = None
            faulthandler.cancel_dump_traceback_later()

    def go_on(self) -> None:
        """After a fork, in the parent."""
        self._set_timer()
        self._lock.release()

    def forget(self) -> None:
        """After a fork, in the child, where nothing is held."""
        self._deadlines.clear()
        self._lock.release()

    def _set_timer(self) -> None:
        deadline = reduce(Reading.earlier, self._deadlines.values()) if self._deadlines else None
        if deadline == self._armed_for:
            return
        self._armed_for = deadline
        if deadline is None:
            faulthandler.cancel_dump_traceback_later()
            return
        # The timer's own clock may be slewed, so it is given less by what clocks may drift.
        left_ms = max(_TIMER_MS_MIN, read_clocks().until_ms(deadline) * (1 - CLOCK_DRIFT_PPM / 1_000_000))
        faulthandler.dump_traceback_later(left_ms / 1_000, exit=True, file=self._open_stderr())

    def _open_stderr(self) -> int:
        """Standard error, opened anew so that writing never waits: a reader that hangs must keep nobody alive."""
        if self._stderr < 0:
            flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            try:
                self._stderr = os.open("/proc/self/fd/2", flags)
            except OSError:  # it is closed, or a socket, which cannot be opened anew
                self._stderr = os.open(os.devnull, flags)
        return self._stderr


_hard_stop: Final = HardStop()
os.register_at_fork(before=_hard_stop.pause, after_in_parent=_hard_stop.go_on, after_in_child=_hard_stop.forget)
