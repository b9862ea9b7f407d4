"""Limits every client and broker agree on; each has its reason, and breaking one is a typed error.

Limits an operator may change (sessions, queue lengths) live in the broker's configuration instead.
"""

from __future__ import annotations

from typing import Final

PROTOCOL_VERSION: Final = 1

FRAME_BYTES_MAX: Final = 1_048_576  # from a client: a batch of 1,000 registrations fits; a flood of memory does not
BROKER_FRAME_BYTES_MAX: Final = 8_388_608  # from a broker: 1,000 instances or events fit with all they may carry
REQUEST_ID_BYTES_MAX: Final = 16  # room for a UUID
NAME_BYTES_MAX: Final = 255  # as long as a file name, so that names may be used as one
METADATA_ENTRIES_MAX: Final = 32
METADATA_VALUE_BYTES_MAX: Final = 1_024
METADATA_BYTES_MAX: Final = 4_096  # keys and values of one registration together: it is kept, and sent to every reader
BATCH_ITEMS_MAX: Final = 1_000  # one transaction stays in the low milliseconds
PAGE_ITEMS_MAX: Final = 1_000  # one page of a read stays under a broker's frame and a few milliseconds
STANDBYS_LISTED_MAX: Final = 100  # beyond these nobody reads the order of succession, and a reply stays small
GIVEN_UP_MAX: Final = 10_000  # at most one for each registration a session may hold
SESSION_ID_BYTES_MIN: Final = 16  # it is a secret: 128 bits, as text
SESSION_ID_BYTES_MAX: Final = 64
CONNECTION_MAX: Final = 2**53  # a number every language can count to
PRIORITY_MIN: Final = -1_000_000
PRIORITY_MAX: Final = 1_000_000

LEASE_MS_DEFAULT: Final = 2_000
LEASE_MS_MIN: Final = 200  # below this a scheduler's hiccup on a busy machine costs roles
LEASE_MS_MAX: Final = 600_000
HOLD_LIMIT_MS_MAX: Final = 86_400_000  # a day: whoever holds for longer wants no failover at all
DRAIN_MS_MAX: Final = 3_600_000  # an hour: a switchover that waits longer is better asked for later
WHY_BYTES_MAX: Final = 1_024  # a sentence or two: every reader of the resource gets it
PAUSE_MS_MIN: Final = 1_000
PAUSE_MS_DEFAULT: Final = 3_600_000  # an hour: a pause that is forgotten ends by itself
PAUSE_MS_MAX: Final = 604_800_000  # a week: whoever wants no failover for longer says so again
HEARTBEATS_PER_LEASE: Final = 5  # four may be lost before the role is
PROGRESS_INTERVAL_MS: Final = 500  # how soon a listener learns that the tail of the stream was lost
CLOCK_DRIFT_PPM: Final = 1_000  # the difference in speed of two clocks that a lease tolerates


def heartbeat_interval_ms(lease_ms: int) -> int:
    """How often a session with this lease sends a heartbeat, in milliseconds (400 for the default lease)."""
    return lease_ms // HEARTBEATS_PER_LEASE
