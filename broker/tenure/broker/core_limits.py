"""What the broker's core bounds besides the registry itself."""

from __future__ import annotations

from msgspec import Struct


class CoreLimits(Struct, frozen=True, kw_only=True):
    """How much a connection, a commit and a moment may hold."""

    readers_max: int = 10_000
    """Connections without a session that are remembered; beyond it the oldest has to say hello again."""
    requests_in_flight_max: int = 1_000
    """Requests one connection may have unanswered."""
    queue_max: int = 20_000
    """Decisions that wait for a commit; beyond it requests are refused with `overloaded`."""
    batch_max: int = 2_000
    """Decisions in one commit; what is beyond goes into the next one."""
    expiries_max: int = 2_000
    """Registrations ended by expiry in one go."""
