"""A machine's two clocks: they drift, one of them may be slewed, and while it is suspended one of them stands still.

The usual rates of two machines differ by at most what Tenure promises to bear (1,000 ppm). Slewing and suspending touch
one clock of a machine, the same one throughout a run, and by any amount: that is what reading both is for. A machine
one of whose clocks is slewed and whose other one is stopped within the same lease has no honest clock.
"""

from __future__ import annotations

from typing import Final

from tenure.sdk.standing import Reading
from tests.simulation.timeline import Timeline

DRIFT_PPM_MAX: Final = 500
"""By how much a clock's speed is off: two of them differ by twice as much at most, which is `CLOCK_DRIFT_PPM`."""
_NS_PER_MS: Final = 1_000_000
_BOOTED_MS: Final = 5_000.0


class Machine:
    """Both clocks of one machine, as functions of the true time."""

    def __init__(self, timeline: Timeline, drift_ppm: float, *, is_boot_honest: bool) -> None:
        assert abs(drift_ppm) <= DRIFT_PPM_MAX, "beyond this nothing is promised"
        self.rate = 1 + drift_ppm / 1_000_000
        """Its clocks' milliseconds in a true one, while all is well."""
        self.timeline = timeline
        self._is_boot_honest = is_boot_honest
        self._at_ms = timeline.now_ms
        self._boot_ms = _BOOTED_MS
        self._raw_ms = _BOOTED_MS / 2
        self._running_ms = 0.0
        self._boot_factor = self._raw_factor = 1.0
        self._reading = Reading(self._boot_ms, self._raw_ms)

    def deceive(self, factor: float = 1.0) -> None:
        """Let the one of its clocks that is not honest go on at another speed, as a factor of the usual one."""
        self._catch_up()
        if self._is_boot_honest:
            self._raw_factor = factor
        else:
            self._boot_factor = factor

    @property
    def reading(self) -> Reading:
        """What a process reads on it now."""
        if self.timeline.now_ms != self._at_ms:
            self._catch_up()
        return self._reading

    @property
    def running_ms(self) -> float:
        """`CLOCK_MONOTONIC`: it stands still while the machine is suspended, and is slewed too little to matter."""
        self._catch_up()
        return self._running_ms

    def boot_ns(self) -> int:
        """`CLOCK_BOOTTIME`."""
        self._catch_up()
        return int(self._boot_ms * _NS_PER_MS)

    def raw_ns(self) -> int:
        """`CLOCK_MONOTONIC_RAW`."""
        self._catch_up()
        return int(self._raw_ms * _NS_PER_MS)

    def _catch_up(self) -> None:
        passed_ms = (self.timeline.now_ms - self._at_ms) * self.rate
        if passed_ms > 0:
            self._at_ms = self.timeline.now_ms
            self._running_ms += passed_ms if self._boot_factor and self._raw_factor else 0.0
            self._boot_ms += passed_ms * self._boot_factor
            self._raw_ms += passed_ms * self._raw_factor
            self._reading = Reading(self._boot_ms, self._raw_ms)
