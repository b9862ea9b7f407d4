"""What a client knows of one registration, as one immutable value that any thread may read at any time.

A tenure is valid only while BOTH clocks are before their deadlines: the boot-time clock goes on while the machine is
suspended, the raw monotonic clock cannot be slewed. Times are milliseconds of this machine; only differences count.
"""

from __future__ import annotations

from msgspec import Struct

from tenure.contract.vocabulary import ServiceRole


class Reading(Struct, frozen=True, gc=False):
    """Both lease clocks, read at one moment."""

    boottime_ms: float
    raw_ms: float

    def later(self, by_ms: float) -> Reading:
        """The reading `by_ms` later, on both clocks."""
        return Reading(self.boottime_ms + by_ms, self.raw_ms + by_ms)

    def is_before(self, deadline: Reading) -> bool:
        """Whether neither clock has reached the deadline."""
        return self.boottime_ms < deadline.boottime_ms and self.raw_ms < deadline.raw_ms

    def earlier(self, other: Reading) -> Reading:
        """The earlier of both readings, on each clock."""
        return Reading(min(self.boottime_ms, other.boottime_ms), min(self.raw_ms, other.raw_ms))

    def until_ms(self, deadline: Reading) -> float:
        """How long until the first of both clocks reaches the deadline; negative once it has."""
        return min(deadline.boottime_ms - self.boottime_ms, deadline.raw_ms - self.raw_ms)


class Ask(Struct, frozen=True, gc=False):
    """That somebody has asked for a tenure to end."""

    epoch: int
    """The tenure that is meant."""
    until: Reading
    """Its work may go on until then, while the role is held."""


NEVER = Reading(float("-inf"), float("-inf"))
"""A deadline that has always passed."""
FOREVER = Reading(float("inf"), float("inf"))
"""A deadline that never comes."""


class Standing(Struct, frozen=True, gc=False):
    """A registration's role as far as the client may rely on it."""

    role: ServiceRole
    epoch: int
    """The tenure's fencing token; 0 while standing by."""
    valid_until: Reading
    """Not active from here on, whatever `role` says; `NEVER` while standing by or until a heartbeat confirmed it."""
    revision: int
    """The revision of the newest statement applied."""
    why: str
    """Why it is not active, for people; empty while it is."""
    is_ended: bool = False
    """Whether the registration is over: it was deregistered, or its session has ended."""

    def is_active(self, now: Reading) -> bool:
        """Whether the role is held at `now`."""
        return now.is_before(self.valid_until)
