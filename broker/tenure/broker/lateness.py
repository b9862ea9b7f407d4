"""How late the event loop wakes, and what follows from it: a stall of the broker is nobody's silence.

Whoever plans the next look at the leases says for when. A loop that wakes later than that by more than a limit holds
the lease clock back by all of its lateness, before anybody reads the clock again. What came meanwhile is read only
then, and nobody knows when it came.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

from structlog.typing import FilteringBoundLogger

from tenure.broker.clock import LeaseClock
from tenure.broker.measurements import Buckets

_WORTH_TELLING_MS: Final = 250
_READ_AFTER_MS: Final = 500  # for so long after a stall, at most, what came in it is still being read


class Lateness:
    """One event loop's lateness, from now on."""

    def __init__(self, clock: LeaseClock, late_ms: float, lags_us: Buckets, log: FilteringBoundLogger) -> None:
        """`late_ms`: from what on the clock is held back; `lags_us`: where lateness is measured."""
        self._clock = clock
        self._late_ms = late_ms
        self._lags_us = lags_us
        self._log = log
        self._planned_ms = monotonic() * 1_000
        self._woke_ms = self._stood_ms = 0.0

    def plan(self, wait_ms: float) -> None:
        """The loop is to wake in so long."""
        self._planned_ms = monotonic() * 1_000 + wait_ms

    @property
    def waited_ms(self) -> int:
        """For how long what is read now may have waited, at most: since a stall began, soon after it, and else not."""
        since_ms = monotonic() * 1_000 - self._woke_ms
        return round(self._stood_ms + since_ms) if since_ms < min(self._stood_ms, _READ_AFTER_MS) else 0

    def note(self, *, is_planned: bool = False) -> None:
        """The loop has woken, as planned or by a message: extend all leases by its lateness, if that is much."""
        now_ms = monotonic() * 1_000
        late_ms = now_ms - self._planned_ms
        is_late = late_ms > self._late_ms
        if is_planned or is_late:
            self._lags_us.note(max(0.0, late_ms) * 1_000)  # a timer may be early by its resolution
        if is_late:
            self._planned_ms = now_ms
            if late_ms > self.waited_ms:
                self._woke_ms, self._stood_ms = now_ms, late_ms
            self._clock.hold_back(late_ms)  # before the clock is read again: the time is never seen to have passed
            tell = self._log.warning if late_ms > _WORTH_TELLING_MS else self._log.debug
            tell("loop.late", late_ms=round(late_ms, 1), hint="all leases were extended by as much")
