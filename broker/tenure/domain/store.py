"""The port a store fills. Its commit ends in exactly one of three ways: done, refused, or unknown.

Nothing here assumes SQLite: a batch is plain data, and a store checks that its revisions follow on, so that a batch
that is handed over twice cannot apply twice.
"""

from __future__ import annotations

from typing import Protocol

from tenure.contract.events import AnyEvent
from tenure.domain.records import Batch, KeptTenure, StoredState


class StoreError(Exception):
    """What a store raises."""


class StoreRefusedError(StoreError):
    """The commit certainly did not happen; the store is as it was (disk full, a unique index, a gap in revisions)."""


class StoreInvariantError(StoreRefusedError):
    """The batch breaks a rule that the registry should have kept (a second active): a defect, so raise an alarm."""


class StoreFailedError(StoreError):
    """Whether the commit happened is unknown. The broker has to end; recovery at the next start decides."""


class StoreLockedError(StoreError):
    """Another broker has this store."""

    def __init__(self, place: str, pid: int | None) -> None:
        self.place = place
        self.pid = pid
        owner = "another broker" if pid is None else f"a broker with pid {pid}"
        super().__init__(f"{place} is in use by {owner}; stop it first, or serve other data with --data")


class StoreUnusableError(StoreError):
    """The store cannot be opened: made by a newer version, damaged, on a network file system, not writable."""


class EventsCompactedError(StoreError):
    """Events after the revision asked for are no longer kept."""

    def __init__(self, first_revision: int) -> None:
        self.first_revision = first_revision
        super().__init__(f"events before revision {first_revision} are no longer kept")


class Store(Protocol):
    """Where the registry is durable. One caller; reads and `idle` may run beside a commit."""

    async def load(self) -> StoredState:
        """Everything committed. Called at start and again after a refused commit."""
        ...

    async def commit(self, batch: Batch) -> None:
        """Make all of the batch durable (after return, a power loss does not undo it).

        Raises:
            StoreRefusedError: Nothing of it was committed.
            StoreFailedError: The outcome is unknown.
            asyncio.CancelledError: Never on its own account: a commit under way runs to its end first.
        """
        ...

    async def read_events(self, since: int, limit: int) -> tuple[AnyEvent, ...]:
        """Up to `limit` committed events with revisions from `since` + 1 on, without a gap.

        Raises:
            EventsCompactedError: Event `since` + 1 has existed and is no longer kept.
        """
        ...

    async def read_tenures(self, resource_id: str, before: int, limit: int) -> tuple[KeptTenure, ...]:
        """Up to `limit` tenures of a resource that are kept and have a lower epoch than `before`, the newest first.

        The one that lasts is among them, and has no end.
        """
        ...

    async def idle(self) -> None:
        """Called when no batch waits: time for what the store has put off (checkpoints, pruning)."""
        ...

    async def close(self) -> None:
        """Let go of everything. Safe to repeat."""
        ...
