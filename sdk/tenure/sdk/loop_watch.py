"""Whether the application's event loop turns: pure, time is an argument.

The shell has a timer on that loop say each time that it has turned. How late it comes is the loop's lag; with a stall
limit, a loop that has not turned for longer is taken for one that does no work any more, and heartbeats are held back.
A loop that was never seen turning has neither a lag nor stalled. Time counts only while the machine runs.
"""

from __future__ import annotations

from tenure.sdk.standing import Reading


class LoopWatch:
    """One event loop, as its timer shows it."""

    def __init__(self, stall_limit_ms: float | None) -> None:
        """Without a limit it never counts as stalled."""
        self._stall_limit_ms = stall_limit_ms
        self._turned_at_ms: float | None = None
        self._due_at_ms = 0.0
        self._lag_ms = 0.0

    def period_ms(self, interval_ms: float) -> float:
        """How often the loop is to say that it has turned: for each heartbeat, and four times in a stall limit."""
        return interval_ms if self._stall_limit_ms is None else min(interval_ms, self._stall_limit_ms / 4)

    def turned(self, now: Reading, period_ms: float) -> bool:
        """The loop has turned, and is to say so again in `period_ms`; returns whether it had stalled before."""
        had_stalled = self.has_stalled(now)
        if self._turned_at_ms is not None:
            self._lag_ms = max(self._lag_ms, now.raw_ms - self._due_at_ms)
        self._turned_at_ms = now.raw_ms
        self._due_at_ms = now.raw_ms + period_ms
        return had_stalled

    def has_stalled(self, now: Reading) -> bool:
        """Whether it has not turned for longer than the limit."""
        if self._stall_limit_ms is None or self._turned_at_ms is None:
            return False
        return now.raw_ms - self._turned_at_ms > self._stall_limit_ms

    def take_lag_ms(self, now: Reading) -> int | None:
        """The longest that it was late since this was last asked, or is by now; None if it was never seen turning."""
        if self._turned_at_ms is None:
            return None
        lag_ms = max(self._lag_ms, now.raw_ms - self._due_at_ms)
        self._lag_ms = 0.0
        return int(max(0.0, lag_ms))
