"""From a batch to what is written: the last state of each record, encoded as the write path takes it.

Coalescing is what makes a batch one set of rows: a registration that changes twice is one insert, one that comes and
goes is a deletion of nothing. It knows nothing of what is stored already.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Final, NamedTuple, assert_never, cast

import msgspec
from msgspec import Struct
from msgspec.structs import astuple

from tenure.contract.codec import decode_event
from tenure.contract.events import RoleChangedEvent
from tenure.contract.views import Pause
from tenure.contract.vocabulary import ServiceRole
from tenure.domain.records import (
    Batch,
    DropPause,
    DropRegistration,
    DropSession,
    ForgetResource,
    KeptTenure,
    PutPause,
    PutRegistration,
    PutSession,
    PutTenure,
    Registration,
    Session,
    Tenure,
)
from tenure.domain.store import StoreInvariantError, StoreRefusedError

_encoder: Final = msgspec.json.Encoder()


class BatchRow(NamedTuple):
    """One row for the view `batch`; batch.sql says what each column is. None where the batch has nothing of a kind."""

    first_revision: int
    next_revision: int
    dropped_sessions: str | None = None
    sessions: str | None = None
    dropped_registrations: str | None = None
    registrations: str | None = None
    forgotten_resources: str | None = None
    tenures: str | None = None
    dropped_pauses: str | None = None
    pauses: str | None = None
    events: str | None = None
    bodies: bytes = b""
    first_kept: int = 0
    keep_from: int = 0


class Coalesced:
    """What a batch's changes come to."""

    def __init__(self, batch: Batch) -> None:
        self.sessions: dict[int, Session | None] = {}
        self.registrations: dict[int, Registration | None] = {}
        self.tenures: dict[str, list[Tenure]] = {}
        self.forgotten: set[str] = set()
        self.pauses: dict[str, Pause | None] = {}
        for change in batch.changes:
            match change:
                case PutRegistration():
                    self.registrations[change.registration.registration_id] = change.registration
                case PutTenure(tenure):
                    self.tenures.setdefault(tenure.resource_id, []).append(tenure)
                case DropRegistration(registration_id):
                    self.registrations[registration_id] = None
                case PutSession(session):
                    self.sessions[session.number] = session
                case DropSession(number):
                    self.sessions[number] = None
                case ForgetResource(resource_id):
                    self.tenures.pop(resource_id, None)
                    self.forgotten.add(resource_id)
                case PutPause(pause):
                    self.pauses[pause.resource_id] = pause
                case DropPause(resource_id):
                    self.pauses[resource_id] = None
                case _:
                    assert_never(change)


def encode(batch: Batch) -> tuple[BatchRow, int]:
    """The row that writes a batch, and about how many pages of the database it may change.

    Raises:
        StoreRefusedError: The batch is not one run of revisions from its first on.
        StoreInvariantError: It has text that cannot be kept.
    """
    _check_revisions(batch)
    final = Coalesced(batch)
    registrations = [kept for kept in final.registrations.values() if kept is not None]
    registrations.sort(key=_is_active)
    tenures = [tenure for of_resource in final.tenures.values() for tenure in of_resource]
    sizes = [len(body) for body in batch.encoded_events]
    starts = accumulate(sizes, initial=1)
    row = BatchRow(
        first_revision=batch.first_revision,
        next_revision=batch.first_revision + len(batch.events),
        dropped_sessions=_json([number for number, kept in final.sessions.items() if kept is None]),
        sessions=_json([kept for kept in final.sessions.values() if kept is not None]),
        dropped_registrations=_json([number for number, kept in final.registrations.items() if kept is None]),
        registrations=_json(registrations),
        forgotten_resources=_json(list(final.forgotten)),
        tenures=_json(tenures),
        dropped_pauses=_json([resource_id for resource_id, kept in final.pauses.items() if kept is None]),
        pauses=_json([astuple(kept) for kept in final.pauses.values() if kept is not None]),
        events=_json(
            [(event.revision, start, size) for event, start, size in zip(batch.events, starts, sizes, strict=False)]
        ),
        bodies=b"".join(batch.encoded_events),
    )
    # A registration or a tenure may change a page of its table and one of an index; events share pages.
    rows = (
        len(final.sessions) + len(final.pauses) + 2 * (len(final.registrations) + len(tenures) + len(final.forgotten))
    )
    return row, rows + len(row.bodies) // 2_048


def ending(tenure: Tenure) -> int:
    """What ended tenures are in the order of."""
    return tenure.end_revision or 0


def kept_tenure(tenure: Tenure, end: bytes) -> KeptTenure:
    """A tenure with the event of its end, empty if that is not kept; one of another kind says nothing of it."""
    event = decode_event(end) if end else None
    return KeptTenure(tenure, event if isinstance(event, RoleChangedEvent) else None)


def _check_revisions(batch: Batch) -> None:
    revisions = [event.revision for event in batch.events]
    if revisions != list(range(batch.first_revision, batch.first_revision + len(revisions))):
        raise StoreRefusedError(
            f"the events of a batch from revision {batch.first_revision} on do not follow each other"
        )
    if len(batch.encoded_events) != len(revisions):
        raise StoreRefusedError(f"a batch has {len(revisions)} events and {len(batch.encoded_events)} bodies")


def _is_active(registration: Registration) -> bool:
    return registration.role is ServiceRole.ACTIVE


def _json(rows: Sequence[object]) -> str | None:
    if not rows:
        return None
    try:
        text = _encoder.encode(rows).decode()
    except UnicodeEncodeError as error:
        raise StoreInvariantError(f"a batch has text that is not Unicode: {error}") from error
    if "\\u0000" in text and any(_has_nul(row) for row in rows):
        # SQLite's JSON ends a text where it has the character NUL, so it would be kept cut short.
        raise StoreInvariantError("a batch has a name with the character NUL, which the store cannot keep")
    return text


def _has_nul(row: object) -> bool:
    values: tuple[object, ...] = (row,)
    if isinstance(row, Struct):
        values = astuple(row)
    elif isinstance(row, tuple):
        values = cast("tuple[object, ...]", row)
    return any(isinstance(value, str) and "\0" in value for value in values)
