"""The hard stop: when it is armed and disarmed, and that one timer per process serves all, also across a fork."""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import partial

import pytest

from tenure.sdk.fence import FENCE_EXIT_CODE, Fence, fence_margin_ms
from tenure.sdk.standing import Reading

LEASE_MS = 2_000
MARGIN_MS = 100
NOW = Reading(50.0, 20.0)
FAR = NOW.later(LEASE_MS)
PATIENCE_S = 30
HARD_STOPPED = {1, -signal.SIGSEGV}
"""How a process ends by the timer: it reads the stacks of threads that go on meanwhile, and may trip over one."""


class FakeStop:
    """A process that is never really ended."""

    def __init__(self) -> None:
        self.deadline: Reading | None = None
        self.ended: list[str] = []

    def arm(self, fence: Fence, deadline: Reading | None) -> None:  # noqa: ARG002
        """Keep the deadline."""
        self.deadline = deadline

    def end_now(self, message: str) -> None:
        """Keep what was said."""
        self.ended.append(message)


@pytest.fixture
def stop() -> FakeStop:
    """What ends the process."""
    return FakeStop()


@pytest.fixture
def fence(stop: FakeStop) -> Fence:
    """A session's fence, for which it is `NOW`."""
    return Fence(LEASE_MS, "resource of {}".format, stop, lambda: NOW)


def extend(fence: Fence, until: Reading, *epochs: int) -> None:
    """A heartbeat was answered."""
    fence.extending(epochs, NOW, until, 1)


def test_the_margin_is_a_part_of_the_lease_but_never_less_than_a_busy_machine_takes() -> None:
    """A twentieth; with the shortest leases more."""
    assert [fence_margin_ms(lease_ms) for lease_ms in (200, 2_000, 600_000)] == [20, MARGIN_MS, 30_000]


def test_it_is_armed_ahead_of_the_earliest_end_and_anew_with_each_answer(fence: Fence, stop: FakeStop) -> None:
    """★ The tenure that ends first counts, on each clock, also if another one is extended beyond it."""
    extend(fence, FAR, 1, 2)
    assert stop.deadline == FAR.later(-MARGIN_MS)

    extend(fence, FAR.later(500), 1)
    assert stop.deadline == FAR.later(-MARGIN_MS)

    extend(fence, FAR.later(400), 2)
    assert stop.deadline == FAR.later(400 - MARGIN_MS)


def test_it_is_disarmed_when_no_tenure_is_held(fence: Fence, stop: FakeStop) -> None:
    """Left on purpose, or ended by the broker while nobody works under it: nothing has to be ended."""
    extend(fence, FAR, 1)
    extend(fence, FAR.later(500), 2)

    fence.left(1, "it resigned", is_lost=False)
    assert stop.deadline == FAR.later(500 - MARGIN_MS)
    fence.left(2, "the broker has ended its tenure", is_lost=True)

    assert stop.deadline is None
    fence.left(2, "again", is_lost=True)
    assert stop.ended == []


def test_work_that_goes_on_although_its_tenure_is_lost_stays_fenced_until_it_has_stopped(
    fence: Fence, stop: FakeStop
) -> None:
    """★ The broker took the role away at once: the work has until the lease would have ended, and not longer."""
    extend(fence, FAR, 1)
    fence.work_began(1)

    fence.left(1, "the broker has ended its tenure", is_lost=True)
    assert stop.deadline == FAR.later(-MARGIN_MS)

    fence.work_stopped(1)
    assert stop.deadline is None


def test_a_tenure_left_on_purpose_is_fenced_no_more_whatever_works(fence: Fence, stop: FakeStop) -> None:
    """The application resigned from within its work: it has said that nothing needs the role."""
    extend(fence, FAR, 1)
    fence.work_began(1)

    fence.left(1, "it resigned", is_lost=False)

    assert stop.deadline is None


def test_work_that_has_stopped_needs_no_fence_unless_the_tenure_goes_on(fence: Fence, stop: FakeStop) -> None:
    """Between its end and the resignation a lease may run out, which ends nothing; or be extended, which arms again."""
    fence.work_began(1)  # of a tenure that is over already
    extend(fence, FAR, 1)
    fence.work_began(1)
    fence.work_stopped(1)
    assert stop.deadline is None

    extend(fence, FAR.later(500), 1)
    assert stop.deadline == FAR.later(500 - MARGIN_MS)
    fence.left(1, "it resigned", is_lost=False)
    assert stop.deadline is None


@pytest.mark.parametrize("works", [False, True])
def test_whoever_notices_that_a_lease_is_over_ends_the_process(fence: Fence, stop: FakeStop, works: bool) -> None:
    """★ A process that was stopped wakes up after the end of its lease: the first thread that looks ends it."""
    extend(fence, NOW, 7)
    if works:
        fence.work_began(7)

    fence.left(7, "its lease ran out", is_lost=True)

    assert len(stop.ended) == 1
    assert "'resource of 7' (epoch 7)" in stop.ended[0]


# --- the process's one timer ------------------------------------------------------------------------------------------

_PRELUDE = """
import os, sys, warnings
from tenure.sdk.clocks import read_clocks
from tenure.sdk.fence import Fence
warnings.simplefilter("ignore")
def fence(): return Fence(200, "resource of {}".format)
def hold(fence, ms): fence.extending([int(ms)], read_clocks(), read_clocks().later(ms), 1)
def spin(ms):
    end = read_clocks().later(ms)
    while read_clocks().is_before(end): pass
"""

run = partial(subprocess.run, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_of_two_fences_the_earlier_ends_the_process() -> None:
    """★ They share the timer: a later deadline of another client does not put the earlier one off."""
    program = _PRELUDE + "a, b = fence(), fence(); hold(a, 300); hold(b, 60_000); spin(20_000); print('alive')"

    ended = run([sys.executable, "-c", program])

    assert ended.returncode in HARD_STOPPED
    assert ended.stdout == ""
    assert "Timeout" in ended.stderr


def test_what_was_disarmed_ends_nothing() -> None:
    """A tenure is left in order, another one extended in time: the process outlives both first ends."""
    program = _PRELUDE + (
        "a, b = fence(), fence(); hold(a, 2_000); hold(b, 2_000)\n"
        "a.left(2_000, 'it resigned', is_lost=False)\n"
        "b.extending([2_000], read_clocks(), read_clocks().later(60_000), 1); spin(2_200); print('alive')"
    )

    assert run([sys.executable, "-c", program]).stdout == "alive\n"


def test_a_fork_is_not_fenced_and_its_parent_is() -> None:
    """★ The timer's thread is not in the child, which would wait for it for ever: the child lives on, and exits."""
    program = _PRELUDE + (
        "a = fence(); hold(a, 2_000); child = os.fork()\n"
        "if child == 0:\n"
        "    hold(fence(), 60_000); spin(2_200); print('child'); sys.exit(0)\n"
        "spin(20_000); print('parent')"
    )

    ended = run([sys.executable, "-c", program])

    assert ended.returncode in HARD_STOPPED
    assert ended.stdout == "child\n"


def test_a_process_that_notices_too_late_ends_with_a_code_of_its_own() -> None:
    """It says on standard error which lease is over; standard error that is full or closed keeps nothing alive."""
    late = (
        "a = fence(); a._stop.arm = lambda *_: None; hold(a, 10); spin(20); a.left(10, 'why', is_lost=True)\n"
        "print('alive')"
    )
    ended = run([sys.executable, "-c", _PRELUDE + late])
    assert (ended.returncode, ended.stdout) == (FENCE_EXIT_CODE, "")
    assert "'resource of 10' (epoch 10) is over" in ended.stderr

    closed = run([sys.executable, "-c", _PRELUDE + "os.close(2)\n" + late])
    assert closed.returncode == FENCE_EXIT_CODE


def test_a_reader_of_standard_error_that_hangs_keeps_no_process_alive() -> None:
    """★ The pipe is full and nobody reads it: the stacks are lost, and the process ends all the same."""
    program = _PRELUDE + (
        "os.set_blocking(2, False)\n"
        "try:\n"
        "    while True: os.write(2, bytes(4096))\n"
        "except BlockingIOError: pass\n"
        "os.set_blocking(2, True); hold(fence(), 2_000); print('armed', flush=True); spin(20_000); print('alive')"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.wait(PATIENCE_S) in HARD_STOPPED
        assert process.stdout is not None
        assert process.stdout.read() == b"armed\n"
