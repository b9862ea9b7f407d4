"""The lease clock may run slow, but never fast and never backwards."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure.broker.clock import LeaseClock, boot_clock, raw_clock
from tenure.domain.records import Instant

MS = 1_000_000
UNIX_NS = 1_800_000_000_123_456_789


class FakeClocks:
    """Two clocks that advance as they are told, and a wall that stands still."""

    def __init__(self) -> None:
        self.boot_ns = 5_000 * MS
        self.raw_ns = 9_000 * MS
        self.lease_clock = LeaseClock(lambda: self.boot_ns, lambda: self.raw_ns, lambda: UNIX_NS)

    def advance(self, boot_ms: float, raw_ms: float) -> float:
        """Let both clocks advance, and read the lease clock."""
        self.boot_ns += round(boot_ms * MS)
        self.raw_ns += round(raw_ms * MS)
        return self.lease_clock.now_ms()


@pytest.fixture
def clocks() -> FakeClocks:
    """A lease clock on clocks of our own."""
    return FakeClocks()


def test_begins_at_zero(clocks: FakeClocks) -> None:
    """What the system's clocks count from does not matter."""
    assert clocks.lease_clock.now_ms() == 0


def test_advances_with_both(clocks: FakeClocks) -> None:
    """While both clocks agree, the lease clock follows them, to fractions of a millisecond."""
    assert clocks.advance(10, 10) == 10
    assert clocks.advance(0.25, 0.25) == 10.25


def test_suspend_does_not_end_leases(clocks: FakeClocks) -> None:
    """A machine that was suspended for an hour goes on where it stopped: clients get the time to come back."""
    assert clocks.advance(3_600_000, 3) == 3


def test_each_reading_takes_the_smaller(clocks: FakeClocks) -> None:
    """★ What counts is what each clock advanced since the last reading, not since the start: being slow adds up."""
    assert clocks.advance(10, 5) == 5
    assert clocks.advance(5, 10) == 10


def test_never_goes_backwards(clocks: FakeClocks) -> None:
    """A clock that steps back makes the lease clock stand still, and what it lost is not made up for."""
    assert clocks.advance(10, 10) == 10
    assert clocks.advance(-4, 3) == 10
    assert clocks.advance(3, -4) == 10
    assert clocks.advance(2, 2) == 12


def test_hold_back_stands_still_for_that_long(clocks: FakeClocks) -> None:
    """★ A loop that woke late extends all leases by its lateness: the clock stands still, then goes on."""
    clocks.advance(100, 100)
    clocks.lease_clock.hold_back(30)
    assert clocks.advance(10, 10) == 100
    assert clocks.advance(15, 15) == 100
    assert clocks.advance(15, 15) == 110


def test_hold_back_adds_up_and_ignores_what_is_not_late(clocks: FakeClocks) -> None:
    """Two late wakings count both; a loop that was early or in time changes nothing."""
    clocks.lease_clock.hold_back(5)
    clocks.lease_clock.hold_back(0)
    clocks.lease_clock.hold_back(-50)
    clocks.lease_clock.hold_back(5)
    assert clocks.advance(11, 11) == 1


def test_instant_carries_wall_time(clocks: FakeClocks) -> None:
    """A decision's time is the lease clock's, with unix milliseconds for people."""
    clocks.boot_ns += 7 * MS
    clocks.raw_ns += 7 * MS
    assert clocks.lease_clock.instant() == Instant(7.0, UNIX_NS // MS)


@given(
    st.lists(
        st.tuples(
            st.integers(-1_000, 5_000_000),
            st.integers(-1_000, 5_000_000),
            st.floats(-10, 1_000, allow_nan=False),
        ),
        max_size=50,
    )
)
def test_is_never_ahead_of_either_clock(steps: list[tuple[int, int, float]]) -> None:
    """Whatever the clocks do, the lease clock rises or stands, and gains on neither of them between two readings."""
    clocks = FakeClocks()
    before = 0.0
    for boot_us, raw_us, late_ms in steps:
        clocks.lease_clock.hold_back(late_ms)
        now = clocks.advance(boot_us / 1_000, raw_us / 1_000)
        assert before <= now <= before + max(0, min(boot_us, raw_us)) / 1_000 + 1e-6
        before = now


def test_reads_the_system_clocks() -> None:
    """Left to itself it reads the clocks of this machine and its wall time."""
    assert boot_clock() >= time.monotonic_ns() - 1_000 * MS
    assert raw_clock() > 0
    clock = LeaseClock()
    first = clock.instant()
    deadline_ns = time.monotonic_ns() + 10_000 * MS
    while clock.now_ms() <= first.now_ms:
        assert time.monotonic_ns() < deadline_ns
    assert first.now_ms >= 0
    assert abs(first.unix_ms - time.time_ns() // MS) < 3_600_000
