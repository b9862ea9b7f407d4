"""How large a registry may grow. The broker's configuration sets these; what the wire fixes is in the contract."""

from __future__ import annotations

from msgspec import Struct

from tenure.contract.limits import GIVEN_UP_MAX


class RegistryLimits(Struct, frozen=True, kw_only=True):
    """Bounds on what is kept in memory, each refused with `limit_exceeded` or trimmed as its line says."""

    sessions_max: int = 10_000
    registrations_max: int = 2_000_000
    registrations_per_session_max: int = GIVEN_UP_MAX
    registrations_per_resource_max: int = 10_000
    """As many as there may be sessions. Choosing a successor looks at each standby of a resource, so that this bounds
    how long one decision takes."""
    switchovers_max: int = 1_000
    """How many may be under way at once, each in memory for an hour at most."""
    switchovers_per_session_max: int = 100
    """How many of those one session may be asked for: the answer to each of its heartbeats repeats them all."""
    pauses_max: int = 1_000
    """How many resources may be paused at once, each for a week at most: the first page of a snapshot has them all."""
    abandoned_resources_max: int = 100_000
    """How many resources without registrations are remembered, so that a later standby fills their vacancy; the
    longest abandoned is forgotten first."""
