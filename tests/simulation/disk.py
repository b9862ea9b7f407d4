"""What survives the broker's process: a log of whole batches, and the state they come to.

It takes a batch whole or not at all, refuses what the real store refuses, and asserts what must hold in every
committed state. Nothing is ever taken out of a log, so what was in it once can be looked up at any later time.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from msgspec import structs

from tenure.contract.events import (
    AnyEvent,
    RegisteredEvent,
    RegistrationUpdatedEvent,
    ResourcePausedEvent,
    ResourceResumedEvent,
    RoleChangedEvent,
)
from tenure.contract.vocabulary import ChangeReason, ServiceRole
from tenure.domain.records import Batch, Registration, StoredState
from tenure.domain.store import EventsCompactedError
from tests.simulation.violation import Violation
from tests.unit.scene import Ledger

_UNASKED: Final = frozenset({ChangeReason.FAILOVER, ChangeReason.SUCCESSION})
_CLAIMED: Final = frozenset({ChangeReason.REGISTERED, ChangeReason.CLAIMED})


class Disk:
    """One copy of one history."""

    def __init__(self, history_id: str, base: int = 0) -> None:
        self.history_id = history_id
        self.base = base
        """The revision it begins after; more than 0 for one that was restored."""
        self.log: list[AnyEvent] = []
        """Every event since the history began."""
        self.first_kept = base + 1
        """The oldest revision that `page` still hands out."""
        self._origin: Disk | None = None
        self._batches: list[Batch] = []
        self._ledger = Ledger()
        self._ledger.revision = base
        self._last_epochs: dict[str, int] = {}
        self._candidates: set[int] = set()
        self._revoked_by: dict[str, str] = {}
        """Who had asked for the move that ended a resource's newest tenure without an acknowledgement."""
        self._active: dict[str, Registration] = {}

    @property
    def revision(self) -> int:
        """The newest revision in it."""
        return self._ledger.revision

    @property
    def active(self) -> dict[str, Registration]:
        """Who is active, by resource."""
        return self._active

    @property
    def paused(self) -> Collection[str]:
        """Which resources are paused."""
        return self._ledger.pauses

    def registration(self, registration_id: int) -> Registration | None:
        """A registration as committed."""
        return self._ledger.registrations.get(registration_id)

    def last_epoch(self, resource_id: str) -> int:
        """The newest tenure of a resource in this history, ended or not."""
        return self._last_epochs.get(resource_id, 0)

    def event(self, revision: int) -> AnyEvent | None:
        """The event with a revision, if it is durable."""
        return self.log[revision - self.base - 1] if self.base < revision <= self.revision else None

    def holds_session(self, number: int) -> bool:
        """Whether a session lives, as committed."""
        return number in self._ledger.sessions

    def commit(self, batch: Batch) -> None:
        """Keep a batch: all of it or, if it breaks a rule, an alarm."""
        if batch.first_revision != self.revision + 1:
            raise Violation("revisions", f"a batch from {batch.first_revision} on after revision {self.revision}")
        paused = set(self._ledger.pauses)
        for revision, event in enumerate(batch.events, batch.first_revision):
            if event.revision != revision:
                raise Violation("revisions", f"event {event.revision} where {revision} was due")
            if isinstance(event, RoleChangedEvent) and event.new_role is ServiceRole.ACTIVE:
                if event.epoch <= self.last_epoch(event.resource_id):
                    before = self.last_epoch(event.resource_id)
                    raise Violation("epochs", f"{event.resource_id}: epoch {event.epoch} after {before}")
                self._last_epochs[event.resource_id] = event.epoch
            self._note_candidate(event)
            self._check_pauses(event, paused)
        self._ledger.take(batch.changes, batch.events[-1].revision)
        self.log.extend(batch.events)
        self._batches.append(batch)
        self._find_active()

    def _note_candidate(self, event: AnyEvent) -> None:
        if isinstance(event, (RegisteredEvent, RegistrationUpdatedEvent)):
            self._candidates.discard(event.registration_id)
            if event.candidate:
                self._candidates.add(event.registration_id)

    def _check_pauses(self, event: AnyEvent, paused: set[str]) -> None:
        """While a resource is paused nobody is active anew for whom nobody has asked."""
        if isinstance(event, ResourcePausedEvent):
            paused.add(event.resource_id)
        elif isinstance(event, ResourceResumedEvent):
            paused.remove(event.resource_id)
        elif isinstance(event, RoleChangedEvent) and event.new_role is ServiceRole.ACTIVE:
            is_hiccup = event.reason in _CLAIMED and event.registration_id in self._candidates
            is_forced = event.reason is ChangeReason.SWITCHOVER and event.by == self._revoked_by.get(event.resource_id)
            if event.resource_id in paused and (event.reason in _UNASKED or is_hiccup or is_forced):
                raise Violation("paused", f"{event} while {event.resource_id} is paused")
            self._revoked_by.pop(event.resource_id, None)
        elif isinstance(event, RoleChangedEvent) and event.reason is ChangeReason.REVOKED:
            self._revoked_by[event.resource_id] = event.by

    def _find_active(self) -> None:
        self._active = {}
        for registration in self._ledger.registrations.values():
            if registration.role is ServiceRole.ACTIVE:
                if registration.resource_id in self._active:
                    raise Violation("one active", f"{registration.resource_id} has two as committed")
                self._active[registration.resource_id] = registration

    def stored(self) -> StoredState:
        """What a broker is handed at its start."""
        return structs.replace(self._ledger.stored(), history_id=self.history_id)

    def page(self, since: int, limit: int) -> tuple[AnyEvent, ...]:
        """Events from `since` + 1 on. Raises `EventsCompactedError` if that one is no longer kept."""
        if since + 1 < self.first_kept:
            raise EventsCompactedError(self.first_kept)
        return tuple(self.log[since - self.base : since - self.base + limit])

    def compact(self, kept: int) -> None:
        """Hand out no more than the newest events from now on."""
        self.first_kept = max(self.first_kept, self.revision - kept + 1)

    def old_copy(self, batches: int) -> Disk:
        """The same history as it was before its newest batches."""
        copy = Disk(self.history_id) if self._origin is None else self._origin.restored(self.history_id, self.base)
        for batch in self._batches[: len(self._batches) - batches]:
            copy.commit(batch)
        return copy

    def restored(self, history_id: str, base: int) -> Disk:
        """What is in it as the beginning of another history, whose revisions are greater than all there were."""
        assert base >= self.revision, "a restore raises the next revision"
        restored = Disk(history_id, base)
        ledger = restored._ledger
        ledger.sessions.update(self._ledger.sessions)
        ledger.registrations.update(self._ledger.registrations)
        ledger.tenures.update(self._ledger.tenures)
        ledger.pauses.update(self._ledger.pauses)
        restored._last_epochs.update(self._last_epochs)
        restored._candidates.update(self._candidates)
        restored._revoked_by.update(self._revoked_by)
        restored._find_active()
        restored._origin = self
        return restored
