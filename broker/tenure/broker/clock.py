"""The broker's lease clock: it may run slow, never fast, and never backwards.

It advances by the smaller of what `CLOCK_BOOTTIME` and `CLOCK_MONOTONIC_RAW` advanced since it was last read, so that
neither a suspended machine (which only the first counts) nor a clock slewed by time synchronisation (which only the
first follows) ends a lease early. A loop that woke late has it stand still by its lateness. A slow clock makes failover
late, but only a fast one could make two actives. Wall time is read for people's eyes alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from tenure.domain.records import Instant

type NanosecondClock = Callable[[], int]

_NS_PER_MS: Final = 1_000_000

boot_clock: Final[NanosecondClock] = partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME)
raw_clock: Final[NanosecondClock] = partial(time.clock_gettime_ns, time.CLOCK_MONOTONIC_RAW)


class LeaseClock:
    """One broker's lease clock, read by its event loop alone; it begins at 0."""

    __slots__ = ("_boot", "_boot_ns", "_held_ns", "_now_ns", "_raw", "_raw_ns", "_wall")

    def __init__(
        self,
        boot: NanosecondClock = boot_clock,
        raw: NanosecondClock = raw_clock,
        wall: NanosecondClock = time.time_ns,
    ) -> None:
        self._boot = boot
        self._raw = raw
        self._wall = wall
        self._boot_ns = boot()
        self._raw_ns = raw()
        self._now_ns = 0
        self._held_ns = 0

    def now_ms(self) -> float:
        """Milliseconds since the clock was made, as leases count them."""
        boot_ns = self._boot()
        raw_ns = self._raw()
        advanced_ns = min(boot_ns - self._boot_ns, raw_ns - self._raw_ns)
        self._boot_ns = boot_ns
        self._raw_ns = raw_ns
        if advanced_ns > 0:
            if self._held_ns:
                still_ns = min(self._held_ns, advanced_ns)
                self._held_ns -= still_ns
                advanced_ns -= still_ns
            self._now_ns += advanced_ns
        return self._now_ns / _NS_PER_MS

    def hold_back(self, late_ms: float) -> None:
        """Stand still for the next `late_ms`, so that every lease becomes longer by as much; 0 and less do nothing."""
        if late_ms > 0:
            self._held_ns += round(late_ms * _NS_PER_MS)

    def instant(self, waited_ms: int = 0) -> Instant:
        """The time of a decision made now, on what may have waited for so long."""
        return Instant(self.now_ms(), self._wall() // _NS_PER_MS, waited_ms)
