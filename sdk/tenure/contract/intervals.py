"""What an interval log says: when a client believed to be active, for `tenure verify` to hold against the history.

One file for each session, one JSON object a line, the session's own record first. Times are milliseconds of the
writer's boot-time clock, which only compare under one `boot_id` and `time_namespace`; `unix_ms` is for people's eyes.
Every time errs towards a longer belief: a beginning is read before it and an end after it. Epochs are unique in a
history, so an interval's resource is found there.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

INTERVAL_FORMAT: Final = 1


class IntervalRecord(Struct, frozen=True, kw_only=True, gc=False, tag_field="record"):
    """What all lines share."""


class SessionRecord(IntervalRecord, frozen=True, kw_only=True, gc=False, tag="session"):
    """Whose log this is; its first line."""

    format: int
    history_id: str
    session: int
    """The session's public number."""
    boot_id: str
    """Of the machine, since it was started; empty where it does not tell: then its times compare with no others'."""
    time_namespace: int = 0
    """Boot-time clocks of other time namespaces may be shifted; 0 where there are none."""
    pid: int
    lease_ms: int


class EnteredRecord(IntervalRecord, frozen=True, kw_only=True, gc=False, tag="entered"):
    """A tenure becomes valid for the holder; written before the application can see it."""

    epoch: int
    at_ms: float
    until_ms: float
    """Not believed from here on, unless a later line extends it."""
    unix_ms: int


class ExtendedRecord(IntervalRecord, frozen=True, kw_only=True, gc=False, tag="extended"):
    """A heartbeat's answer lets tenures last longer; written before the application can see it."""

    epochs: tuple[int, ...]
    at_ms: float
    until_ms: float
    revision: int
    """The newest committed revision that the broker has named."""


class LeftRecord(IntervalRecord, frozen=True, kw_only=True, gc=False, tag="left"):
    """A tenure is not believed any more; written before the broker is told."""

    epoch: int
    at_ms: float
    why: str


class StoppedRecord(IntervalRecord, frozen=True, kw_only=True, gc=False, tag="stopped"):
    """The log ends here although the session may go on: what comes later is not in it."""

    at_ms: float
    why: str


type AnyIntervalRecord = SessionRecord | EnteredRecord | ExtendedRecord | LeftRecord | StoppedRecord
