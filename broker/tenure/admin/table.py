"""The live table: a row for each resource, kept for all who watch, and computed only while somebody does.

A change marks a resource; every 50 ms the marked ones are computed and encoded anew, once for everybody. Whoever
watches is a number: the newest version he was given. What he lacks is what has changed after it, however often it
changed, so that nobody who reads slowly is owed more than one row for each resource. Lateness and risk are no events:
they are compared every 500 ms.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from itertools import batched, islice
from typing import Final, Protocol

import msgspec
import structlog

from tenure.admin.crowd import Crowd
from tenure.admin.problems import BrokerAwayError
from tenure.admin.questions import PRESENCE_INTERVAL_MS
from tenure.admin.rows import row_of
from tenure.admin.sse import KEEP_ALIVE, KEEP_ALIVE_S, Bell, Streams, message
from tenure.contract.errors import TenureError
from tenure.contract.events import (
    AnyEvent,
    DeregisteredEvent,
    RegisteredEvent,
    RegistrationUpdatedEvent,
    ResourcePausedEvent,
    ResourceResumedEvent,
    RoleChangedEvent,
    StatusChangedEvent,
)
from tenure.contract.views import Presence
from tenure.contract.vocabulary import ServiceRole
from tenure.sdk.lost import LostResources
from tenure.sdk.replica import Replica

COALESCE_MS: Final = 50
"""How long changes are collected before rows are computed."""
CHUNK_ROWS: Final = 500
"""Rows in one message, and computed in one go."""
_GONE_KEPT: Final = 10_000  # whoever is so far behind that he may not hear who is gone is given all rows anew
_VACANCIES_KEPT: Final = 100_000
_MOVING_LOOKED_AT: Final = 10  # switchovers that are asked about again each time: that they were called off is no event

_encoder: Final = msgspec.json.Encoder()


class TableSource(Protocol):
    """Where the table's rows come from."""

    @property
    def replica(self) -> Replica:
        """The registry as far as it is known."""
        ...

    @property
    def heard_ms(self) -> int | None:
        """Unix milliseconds at which the broker was heard last; None if it never was."""
        ...

    async def presence(self) -> tuple[Mapping[int, Presence], int]:
        """What the broker observes of the sessions, and when.

        Raises:
            BrokerAwayError: It is not heard.
            TenureError: It could not be asked.
        """
        ...

    async def look_at(self, resource_id: str) -> None:
        """Ask the broker about a resource; whether a switchover is under way goes into the table.

        Raises:
            BrokerAwayError: It is not heard.
            TenureError: It refused, or could not be asked.
        """
        ...


class LiveTable:
    """The rows of all resources, and the streams of those who watch them."""

    def __init__(
        self, source: TableSource, *, presence_ms: int = PRESENCE_INTERVAL_MS, coalesce_ms: int = COALESCE_MS
    ) -> None:
        """Prepare a table; nothing is computed before somebody watches."""
        self.bell = Bell()
        """Rings when there is something to tell those who watch."""
        self.lost = LostResources()
        """What everybody has left, and has nobody active."""
        self._source = source
        self._presence_s = presence_ms / 1_000
        self._coalesce_s = coalesce_ms / 1_000
        self._log: structlog.stdlib.BoundLogger = structlog.get_logger("tenure.admin")
        self._watchers = 0
        self._version = self._floor = 0
        """The number of the newest change; whoever was given an older one than the floor is given everything anew."""
        self._rows: dict[str, bytes] = {}
        self._versions: dict[str, int] = {}
        """When each resource changed last, those that are gone too, the oldest change first."""
        self._presence: Mapping[int, Presence] = {}
        self._is_complete = self._is_away = self._has_failed = False
        self._keeping: asyncio.Task[None] | None = None
        self._marked: set[str] = set()
        self._has_marked = asyncio.Event()
        self._crowd = Crowd()
        self._vacant_since: dict[str, int] = {}
        self._moving: dict[str, int] = {}
        """Switchovers known to be under way: the epochs that are to end."""

    # --- what happens -------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """There is another replica: whatever it says otherwise has changed."""
        self.lost.begin(self._source.replica)
        self._vacant_since.clear()
        self._moving.clear()
        if self._keeping is not None:
            self._take_all()

    def observe(self, event: AnyEvent) -> None:
        """Take in an event that the replica has taken in. It costs next to nothing while nobody watches."""
        if isinstance(event, RoleChangedEvent):
            self._note_vacancy(event)
        forgotten = self.lost.observe(event, self._source.replica)
        if forgotten is not None:
            self._mark(forgotten)
        if self._keeping is None:
            return
        match event:
            case RegisteredEvent():
                self._crowd.add(event.registration_id, event.resource_id, event.session, event.lease_ms)
                self._mark(event.resource_id)
            case DeregisteredEvent():
                self._crowd.remove(event.registration_id)
                self._mark(event.resource_id)
            case RoleChangedEvent() | RegistrationUpdatedEvent() | ResourcePausedEvent() | ResourceResumedEvent():
                self._mark(event.resource_id)
            case StatusChangedEvent():
                self._mark(*self._crowd.resources_of(event.session))
            case _:
                pass  # a session without registrations is in no row

    def note_switchover(self, resource_id: str, epoch: int) -> None:
        """The broker said that a switchover of a resource is under way, which is to end an epoch; 0: none is."""
        if epoch == self._moving.get(resource_id, 0):
            return
        if epoch:
            self._moving[resource_id] = epoch
        else:
            del self._moving[resource_id]
        self._mark(resource_id)

    def statistics(self) -> dict[str, int]:
        """How many watch, how many rows are kept and have changed so far, and whether some are to be computed."""
        return {
            "watchers": self._watchers,
            "rows": len(self._rows),
            "changes": self._version,
            "is_waiting": int(self._has_marked.is_set()),
        }

    # --- who watches --------------------------------------------------------------------------------------------------

    async def follow(self, streams: Streams) -> AsyncGenerator[bytes]:
        """All rows, then those that change, for as long as somebody reads them."""
        self._enter()
        version, told_away = -1, False
        try:
            while not (streams.is_closing or self._has_failed):
                if told_away != self._is_away:  # first of all, so that nothing is taken for live that is not
                    told_away = self._is_away
                    yield self._standing()
                elif self._is_complete and version < self._floor:
                    version = self._version
                    for ids in batched(list(self._rows), CHUNK_ROWS, strict=False):
                        yield self._encoded("snapshot", ids)
                    yield message(b"{}", event="live")
                elif self._is_complete and version < self._version:
                    changed, version = self._changed_after(version), self._version
                    for ids in batched(changed, CHUNK_ROWS, strict=False):
                        yield self._encoded("rows", ids)
                elif not await self.bell.wait(KEEP_ALIVE_S):
                    yield KEEP_ALIVE
        finally:
            self._leave()

    def _encoded(self, event: str, resource_ids: Iterable[str]) -> bytes:
        """What there is to say of some resources: their rows, and that others are gone."""
        ids = list(resource_ids)
        rows = [self._rows[one] for one in ids if one in self._rows]
        gone = [one for one in ids if one not in self._rows] if event == "rows" else []
        said = message(b'{"rows":[%s]}' % b",".join(rows), event=event) if rows else b""
        return said + (message(_encoder.encode({"resource_ids": gone}), event="gone") if gone else b"")

    def _standing(self) -> bytes:
        if self._is_away:
            return message(_encoder.encode({"heard_ms": self._source.heard_ms}), event="away")
        return message(b"{}", event="back")

    def _changed_after(self, version: int) -> list[str]:
        """What has changed after a version, the oldest change first."""
        return list(self._newest_first(version))[::-1]

    def _newest_first(self, version: int) -> Iterator[str]:
        for resource_id, changed in reversed(self._versions.items()):
            if changed <= version:
                return
            yield resource_id

    def _enter(self) -> None:
        self._watchers += 1
        if self._keeping is None:
            self._has_failed = False
            self._take_all()
            self._keeping = asyncio.create_task(self._keep())
            self._keeping.add_done_callback(self._ended)

    def _leave(self) -> None:
        self._watchers -= 1
        if not self._watchers and self._keeping is not None:
            self._keeping.cancel()
            self._keeping = None
            self._forget()

    # --- keeping it ---------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        await self._look()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_rows())
            tasks.create_task(self._keep_looking())

    async def _keep_rows(self) -> None:
        """Compute what was marked; the first time without a delay."""
        while True:
            while self._marked:
                marked, self._marked = self._marked, set()
                for ids in batched(marked, CHUNK_ROWS, strict=False):
                    for resource_id in ids:
                        self._compute(resource_id)
                    await asyncio.sleep(0)
            self._is_complete = bool(self._source.replica.history_id)
            self.bell.ring()
            self._has_marked.clear()
            await self._has_marked.wait()
            await asyncio.sleep(self._coalesce_s)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._presence_s)
            await self._look()

    async def _look(self) -> None:
        """Compare how everybody is doing, and see whether the broker is there."""
        was_away = self._is_away
        try:
            self._presence, _ = await self._source.presence()
        except (BrokerAwayError, TenureError):
            self._is_away = True
        else:
            self._is_away = False
            self._mark(*self._crowd.changed(self._presence))
        if was_away != self._is_away:
            self.bell.ring()
        for resource_id in [] if self._is_away else self._next_moving():
            with contextlib.suppress(BrokerAwayError, TenureError):
                await self._source.look_at(resource_id)

    def _next_moving(self) -> list[str]:
        """Whose switchovers are to be asked about: all take turns, however many there are."""
        turn = list(islice(self._moving, _MOVING_LOOKED_AT))
        for resource_id in turn:
            self._moving[resource_id] = self._moving.pop(resource_id)  # to the end of the order
        return turn

    def _compute(self, resource_id: str) -> None:
        replica = self._source.replica
        view = self.lost.view(resource_id, replica, self._presence)
        if view is None:
            if self._rows.pop(resource_id, None) is not None:
                self._stamp(resource_id)
                self._forget_gone()
            return
        lost = None if resource_id in replica.resource_ids else self.lost.tenures[resource_id]
        since_ms = self._vacant_since.get(resource_id) if lost is None else lost.ended_ms
        row = _encoder.encode(row_of(view, since_ms, lost, is_moving=resource_id in self._moving))
        if self._rows.get(resource_id) != row:
            self._rows[resource_id] = row
            self._stamp(resource_id)

    def _stamp(self, resource_id: str) -> None:
        self._version += 1
        self._versions.pop(resource_id, None)  # to the end of the order, where the newest are
        self._versions[resource_id] = self._version

    def _forget_gone(self) -> None:
        """Forget the older half of those that are gone when there are too many."""
        if len(self._versions) - len(self._rows) <= _GONE_KEPT:
            return
        gone = [one for one in self._versions if one not in self._rows]
        for resource_id in gone[: _GONE_KEPT // 2]:
            self._floor = self._versions.pop(resource_id)

    def _mark(self, *resource_ids: str) -> None:
        if resource_ids and self._keeping is not None:
            self._marked.update(resource_ids)
            self._has_marked.set()

    def _take_all(self) -> None:
        replica = self._source.replica
        self._crowd.begin(replica)
        self._marked = {*self._rows, *replica.resource_ids, *self.lost.tenures}
        self._has_marked.set()

    def _forget(self) -> None:
        self._rows = {}
        self._versions = {}
        self._version += 1
        self._floor = self._version
        self._presence = {}
        self._is_complete = self._is_away = self._has_failed = False
        self._marked = set()

    def _note_vacancy(self, event: RoleChangedEvent) -> None:
        if event.new_role is ServiceRole.ACTIVE:
            self._vacant_since.pop(event.resource_id, None)
        elif event.old_role is ServiceRole.ACTIVE:
            self._vacant_since[event.resource_id] = event.at_ms
            if self._moving.get(event.resource_id) == event.epoch:
                del self._moving[event.resource_id]
            if len(self._vacant_since) > _VACANCIES_KEPT:
                del self._vacant_since[next(iter(self._vacant_since))]

    def _ended(self, keeping: asyncio.Task[None]) -> None:
        """The table is kept no more: if that was a defect, those who watch must not take it for live."""
        if keeping.cancelled() or keeping is not self._keeping:
            return
        self._log.error("table.failed", exc_info=keeping.exception())
        self._keeping = None
        self._forget()
        self._has_failed = True
        self.bell.ring()
