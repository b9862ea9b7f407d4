"""The two clocks a lease is measured on, and nothing else: no wall time decides anything here."""

from __future__ import annotations

from time import CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW, clock_gettime

from tenure.sdk.standing import Reading


def read_clocks() -> Reading:
    """Both lease clocks now, in milliseconds. Costs about a quarter of a microsecond."""
    return Reading(clock_gettime(CLOCK_BOOTTIME) * 1_000, clock_gettime(CLOCK_MONOTONIC_RAW) * 1_000)
