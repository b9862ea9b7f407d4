"""A store in memory: for tests and simulations, with the rules of the real one and failures on demand.

It is nothing a broker could rely on, but to a caller it is a store: it refuses what the real one refuses, and keeps
what was committed over a `crash`. It never yields to the event loop of its own accord but where commits are held.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable
from typing import Literal, assert_never

from tenure.contract.codec import decode_event
from tenure.contract.events import AnyEvent
from tenure.contract.views import Pause
from tenure.contract.vocabulary import ServiceRole
from tenure.domain.records import (
    Batch,
    Change,
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
    StoredState,
    Tenure,
)
from tenure.domain.store import (
    EventsCompactedError,
    StoreFailedError,
    StoreInvariantError,
    StoreRefusedError,
    StoreUnusableError,
)
from tenure.storage.completion import to_its_end
from tenure.storage.options import StoreOptions
from tenure.storage.rows import ending, kept_tenure

type _Fault = Literal["refused", "unknown, applied", "unknown, not applied"]


class MemoryStore:
    """A store whose disk is this object and its successors after a crash."""

    def __init__(self, *, options: StoreOptions | None = None, history_id: str | None = None) -> None:
        self._options = options or StoreOptions()
        self._disk = _Disk(uuid.uuid4().hex if history_id is None else history_id)
        self._fault: _Fault | None = None
        self._fault_reason = ""
        self._failure: str | None = None
        self._is_closed = False
        self._held: asyncio.Event | None = None

    # --- failures on demand -------------------------------------------------------------------------------------------

    def refuse_next_commit(self, reason: str = "the disk is full") -> None:
        """Refuse the next commit, and go on working after it."""
        self._fault, self._fault_reason = "refused", reason

    def fail_next_commit(self, *, applied: bool, reason: str = "the disk failed") -> None:
        """Leave the outcome of the next commit open; whether it happened shows after `crash`."""
        self._fault = "unknown, applied" if applied else "unknown, not applied"
        self._fault_reason = reason

    def hold_commits(self) -> None:
        """Keep commits from ending until `release_commits`."""
        self._held = self._held or asyncio.Event()

    def release_commits(self) -> None:
        """Let held commits end, and later ones as usual."""
        if self._held is not None:
            self._held.set()
            self._held = None

    def crash(self) -> MemoryStore:
        """The process is gone: what it leaves to the next one. Nothing committed is forgotten; held commits are.

        This store fails from here on.
        """
        self._failure = "the process of this store crashed"
        self.release_commits()
        successor = MemoryStore(options=self._options)
        successor._disk, self._disk = self._disk, _Disk(self._disk.history_id)
        return successor

    # --- the port -----------------------------------------------------------------------------------------------------

    async def load(self) -> StoredState:
        """Everything committed.

        Raises:
            StoreUnusableError: The store is closed.
            StoreFailedError: The outcome of an earlier commit is open.
        """
        self._raise_unreadable()
        return self._disk.state()

    async def commit(self, batch: Batch) -> None:
        """Keep a batch: all of it or nothing.

        Raises:
            StoreRefusedError: Nothing of it was kept; `StoreInvariantError` if the registry has a defect.
            StoreFailedError: The outcome is open, or that of an earlier commit was.
            asyncio.CancelledError: The caller was cancelled; the commit has ended, one way or the other.
        """
        if self._held is None:
            self._commit(batch)
        else:
            await to_its_end(asyncio.ensure_future(self._commit_after(self._held, batch)))

    async def read_events(self, since: int, limit: int) -> tuple[AnyEvent, ...]:
        """Up to `limit` committed events with revisions from `since` + 1 on.

        Raises:
            EventsCompactedError: Event `since` + 1 has existed and is no longer kept.
            StoreUnusableError: The store is closed.
            StoreFailedError: The outcome of an earlier commit is open.
        """
        self._raise_unreadable()
        return self._disk.page(max(since, 0), max(limit, 0))

    async def read_tenures(self, resource_id: str, before: int, limit: int) -> tuple[KeptTenure, ...]:
        """Up to `limit` tenures of a resource with a lower epoch than `before`, the newest first.

        Raises:
            StoreUnusableError: The store is closed.
            StoreFailedError: The outcome of an earlier commit is open.
        """
        self._raise_unreadable()
        return self._disk.tenures_of(resource_id, before)[: max(limit, 0)]

    async def idle(self) -> None:
        """Forget the events that are not kept.

        Raises:
            StoreUnusableError: The store is closed.
            StoreFailedError: The outcome of an earlier commit is open.
        """
        self._raise_unreadable()
        self._disk.prune(self._options.events_kept)

    async def close(self) -> None:
        """Refuse everything from here on. Safe to repeat."""
        self._is_closed = True

    # --- parts --------------------------------------------------------------------------------------------------------

    async def _commit_after(self, released: asyncio.Event, batch: Batch) -> None:
        await released.wait()
        self._commit(batch)

    def _commit(self, batch: Batch) -> None:
        if self._is_closed:
            raise StoreRefusedError("the store is closed")
        self._raise_failure()
        fault, self._fault = self._fault, None
        if fault == "refused":
            raise StoreRefusedError(self._fault_reason)
        if fault is not None:
            self._failure = f"a commit failed, and whether it happened is open: {self._fault_reason}"
        if fault != "unknown, not applied":
            self._disk.apply(batch)
        self._raise_failure()

    def _raise_unreadable(self) -> None:
        if self._is_closed:
            raise StoreUnusableError("the store is closed")
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise StoreFailedError(f"{self._failure}; the broker has to start again")


class _Disk:
    """What was committed; only whole batches that break no rule change it."""

    def __init__(self, history_id: str) -> None:
        self.history_id = history_id
        self.sessions: dict[int, Session] = {}
        self.registrations: dict[int, Registration] = {}
        self.tenures: dict[str, Tenure] = {}
        """The newest of each resource that has ended."""
        self.pauses: dict[str, Pause] = {}
        self._ended: dict[str, dict[int, Tenure]] = {}
        """By resource and epoch, all that are kept."""
        self._next_revision = 1
        self._first_kept = 1
        self._bodies: dict[int, bytes] = {}
        self._active: dict[str, int] = {}
        """The active registration of each resource that has one."""

    def state(self) -> StoredState:
        return StoredState(
            history_id=self.history_id,
            revision=self._next_revision - 1,
            sessions=tuple(self.sessions[number] for number in sorted(self.sessions)),
            registrations=tuple(self.registrations[number] for number in sorted(self.registrations)),
            tenures=tuple(sorted(self.tenures.values(), key=ending)),
            pauses=tuple(self.pauses[resource_id] for resource_id in sorted(self.pauses)),
        )

    def apply(self, batch: Batch) -> None:
        self._check_revisions(batch)
        delta = _Delta(self)
        for change in batch.changes:
            delta.take(change)
        self._check_rules(delta)
        for registration_id in delta.registrations:
            old = self.registrations.get(registration_id)
            if old is not None and old.role is ServiceRole.ACTIVE:
                del self._active[old.resource_id]
        for registration in _kept(delta.registrations.values()):
            if registration.role is ServiceRole.ACTIVE:
                self._active[registration.resource_id] = registration.registration_id
        _merge(self.sessions, delta.sessions)
        _merge(self.registrations, delta.registrations)
        _merge(self.tenures, delta.tenures)
        _merge(self.pauses, delta.pauses)
        for change in batch.changes:
            match change:
                case PutTenure(tenure):
                    self._ended.setdefault(tenure.resource_id, {})[tenure.epoch] = tenure
                case ForgetResource(resource_id):
                    self._ended.pop(resource_id, None)
                case _:
                    pass
        self._drop_old_tenures()
        self._bodies.update(enumerate(batch.encoded_events, batch.first_revision))
        self._next_revision += len(batch.events)

    def page(self, since: int, limit: int) -> tuple[AnyEvent, ...]:
        first, end = since + 1, min(since + 1 + limit, self._next_revision)
        if first < self._first_kept and limit:
            raise EventsCompactedError(self._first_kept)
        return tuple(decode_event(self._bodies[revision]) for revision in range(first, end))

    def tenures_of(self, resource_id: str, before: int) -> tuple[KeptTenure, ...]:
        found = self._ended.get(resource_id, {}).values()
        tenures = [tenure for tenure in (*found, *self._lasting(resource_id)) if tenure.epoch < before]
        return tuple(
            kept_tenure(tenure, self._bodies.get(ending(tenure), b""))
            for tenure in sorted(tenures, key=lambda tenure: -tenure.epoch)
        )

    def prune(self, events_kept: int) -> None:
        while self._next_revision - self._first_kept > events_kept:
            del self._bodies[self._first_kept]
            self._first_kept += 1
        self._drop_old_tenures()

    def _lasting(self, resource_id: str) -> Iterable[Tenure]:
        """The tenure that lasts, if one does, as its registration says."""
        number = self._active.get(resource_id)
        if number is not None:
            active = self.registrations[number]
            yield Tenure(
                epoch=active.epoch,
                resource_id=resource_id,
                service_name=active.service_name,
                instance_id=active.instance_id,
                began_ms=active.since_ms,
            )

    def _drop_old_tenures(self) -> None:
        """Those go that ended before the oldest event, but for the newest of each resource."""
        for ended in self._ended.values():
            newest = max(ended)
            for epoch, tenure in list(ended.items()):
                if epoch != newest and (tenure.end_revision or 0) < self._first_kept:
                    del ended[epoch]

    def _check_revisions(self, batch: Batch) -> None:
        if batch.first_revision != self._next_revision:
            raise StoreRefusedError(
                f"a batch from revision {batch.first_revision} on does not follow: {self._next_revision} is next"
            )
        expected = range(batch.first_revision, batch.first_revision + len(batch.events))
        if len(batch.encoded_events) != len(expected) or [event.revision for event in batch.events] != list(expected):
            raise StoreRefusedError(f"the events of the batch from revision {batch.first_revision} on have gaps")

    def _check_rules(self, delta: _Delta) -> None:
        active: set[str] = set()
        for registration in _kept(delta.registrations.values()):
            if (registration.role is ServiceRole.ACTIVE) != (registration.epoch > 0):
                raise StoreInvariantError(f"{registration} has an epoch without being active, or is active without one")
            if registration.role is ServiceRole.ACTIVE:
                untouched = self._active.get(registration.resource_id, registration.registration_id)
                if registration.resource_id in active or untouched not in delta.registrations:
                    raise StoreInvariantError(f"resource {registration.resource_id!r} would have a second active")
                active.add(registration.resource_id)
        for tenure in _kept(delta.tenures.values()):
            if None in {tenure.ended_ms, tenure.end_revision, tenure.end_reason}:
                raise StoreInvariantError(f"{tenure} has not ended")


class _Delta:
    """What a batch's changes come to, one after the other: None for what is gone."""

    def __init__(self, disk: _Disk) -> None:
        self._disk = disk
        self.sessions: dict[int, Session | None] = {}
        self.registrations: dict[int, Registration | None] = {}
        self.tenures: dict[str, Tenure | None] = {}
        self.pauses: dict[str, Pause | None] = {}

    def take(self, change: Change) -> None:
        match change:
            case PutSession(session):
                self.sessions[session.number] = session
            case DropSession(number):
                self.sessions[number] = None
            case PutRegistration(registration):
                self.registrations[registration.registration_id] = registration
            case DropRegistration(registration_id):
                self.registrations[registration_id] = None
            case PutTenure(tenure):
                newest = self.tenures.get(tenure.resource_id, self._disk.tenures.get(tenure.resource_id))
                if newest is None or tenure.epoch >= newest.epoch:
                    self.tenures[tenure.resource_id] = tenure
            case ForgetResource(resource_id):
                self.tenures[resource_id] = None
            case PutPause(pause):
                self.pauses[pause.resource_id] = pause
            case DropPause(resource_id):
                self.pauses[resource_id] = None
            case _:
                assert_never(change)


def _kept[T](records: Iterable[T | None]) -> Iterable[T]:
    return (record for record in records if record is not None)


def _merge[K, V](records: dict[K, V], delta: dict[K, V | None]) -> None:
    for key, record in delta.items():
        if record is None:
            records.pop(key, None)
        else:
            records[key] = record
