"""The words both sides of the wire use for a state: roles, statuses, reasons, channels.

Every member's value is what travels and what is stored, so renaming one is a protocol change.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class ServiceRole(StrEnum):
    """What a registration is for its resource."""

    ACTIVE = "active"
    STANDBY = "standby"


class ServiceStatus(StrEnum):
    """How well an instance says it is (reported with heartbeats), or `late` when its heartbeats are overdue."""

    STARTING = "starting"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"
    LATE = "late"  # the broker's observation, never a client's word

    @property
    def may_be_promoted(self) -> bool:
        """Whether a standby in this status may fill a vacancy."""
        return self is ServiceStatus.HEALTHY or self is ServiceStatus.DEGRADED


class OnConflict(StrEnum):
    """What a claim for a role that somebody else holds turns into."""

    REJECT = "reject"
    STANDBY = "standby"


class ChangeReason(StrEnum):
    """Why a role changed or a session ended."""

    REGISTERED = "registered"  # joined, in whichever role
    CLAIMED = "claimed"  # an existing registration asked for a vacant role
    FAILOVER = "failover"  # promoted because the active was lost
    SUCCESSION = "succession"  # promoted because the active left on purpose, or to fill a vacancy
    SWITCHOVER = "switchover"  # a planned move: the active stepped down as it was asked, the next was promoted as asked
    RESIGNED = "resigned"  # the active stepped down on purpose
    REVOKED = "revoked"  # the active was asked to step down and did not: its lease was not renewed any more
    GIVEN_UP = "given_up"  # the active could not confirm its lease and stepped down
    DEREGISTERED = "deregistered"
    GOODBYE = "goodbye"  # the whole session left
    EXPIRED = "expired"  # the lease ran out in silence
    DIED = "died"  # the kernel reported the process's exit
    CONFIRMED_DEAD = "confirmed_dead"  # a person vouched that the process is dead
    RESTORED = "restored"  # it was active in the backup that a store was restored from, and nobody knows for how long


LOST: Final = frozenset({
    ChangeReason.EXPIRED, ChangeReason.DIED, ChangeReason.CONFIRMED_DEAD, ChangeReason.GIVEN_UP, ChangeReason.RESTORED,
})  # fmt: skip
"""Why tenures end that nobody meant to end: what follows on one of these is a failover."""


class ResumeReason(StrEnum):
    """Why a pause ended."""

    ASKED = "asked"
    EXPIRED = "expired"  # its time was over


class Channel(StrEnum):
    """What a connection is used for: each session has at most one current connection per channel."""

    CONTROL = "control"  # heartbeats and statements about roles
    REQUESTS = "requests"  # everything else
