"""Both stores after the same random history of legal batches: they are in the same state and answer the same.

The memory store applies changes one after the other; the SQLite store coalesces them, orders them and writes rows. That
both come to the same is what makes the one fit to test a broker with that runs on the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec import structs

from tenure.contract.events import AnyEvent
from tenure.contract.views import Pause
from tenure.contract.vocabulary import ServiceRole, ServiceStatus
from tenure.domain.records import Change, Registration, Session, Tenure
from tenure.domain.store import EventsCompactedError, Store, StoreRefusedError
from tests.contract.records import active, batch, drop, forget, paused, put, session, standby, tenure
from tests.contract.stores import MemoryStores, SqliteStores, Stores, rest, small

type Step = tuple[str, int, int]
type Between = Literal["nothing", "idle", "reopen", "repeat"]

RESOURCES = ("a", "account-42", "größe «1»")


class Play:
    """A registry without rules of its own: it turns steps into changes that are legal, and leaves out what is not."""

    def __init__(self) -> None:
        self.revision = 0
        self.changes: list[Change] = []
        self.sessions: dict[int, Session] = {}
        self.registrations: dict[int, Registration] = {}
        self.tenures: dict[str, Tenure] = {}
        self.pauses: dict[str, Pause] = {}

    def open(self, _resource: str, _pick: int) -> None:
        self._session(session(self._next()))

    def report(self, _resource: str, pick: int) -> None:
        for one in self._some(self.sessions.values(), pick):
            self._session(structs.replace(one, status=list(ServiceStatus)[pick]))
            self._next()

    def close(self, _resource: str, pick: int) -> None:
        for one in self._some(self.sessions.values(), pick):
            self.changes.append(drop(self.sessions.pop(one.number)))
            self._next()

    def join(self, resource: str, _pick: int) -> None:
        self._registration(standby(self._next(), resource))

    def claim(self, resource: str, _pick: int) -> None:
        if self.holder(resource) is None:
            self._begin(standby(self._next(), resource))

    def resign(self, resource: str, _pick: int) -> None:
        self._end(self.holder(resource))

    def promote(self, resource: str, pick: int) -> None:
        if self.holder(resource) is None:
            for one in self._some(self._of(resource), pick):
                self._begin(one, self._next())

    def swap(self, resource: str, pick: int) -> None:
        waiting = [one for one in self._of(resource) if one.role is ServiceRole.STANDBY]
        for one in self._some(waiting, pick):
            self._end(self.holder(resource))
            self._begin(one, self._next())

    def update(self, resource: str, pick: int) -> None:
        for one in self._some(self._of(resource), pick):
            changed = structs.replace(one, priority=pick, candidate=pick > 2, metadata={"n": str(pick)})
            self._registration(structs.replace(changed, revision=self._next()))

    def leave(self, resource: str, pick: int) -> None:
        for one in self._some(self._of(resource), pick):
            if one.role is ServiceRole.ACTIVE:
                self._end(one)
            self.changes.append(drop(self.registrations.pop(one.registration_id)))
            self._next()

    def forget(self, resource: str, _pick: int) -> None:
        if not self._of(resource):
            self.tenures.pop(resource, None)
            self.changes.append(forget(resource))

    def pause(self, resource: str, pick: int) -> None:
        self.pauses[resource] = paused(resource, why=f"reason {pick}")
        self.changes.append(put(self.pauses[resource]))
        self._next()

    def resume(self, resource: str, _pick: int) -> None:
        if resource in self.pauses:
            self.changes.append(drop(self.pauses.pop(resource)))
            self._next()

    def _next(self) -> int:
        self.revision += 1
        return self.revision

    def _of(self, resource: str) -> list[Registration]:
        return [one for one in self.registrations.values() if one.resource_id == resource]

    def holder(self, resource: str) -> Registration | None:
        return next((one for one in self._of(resource) if one.role is ServiceRole.ACTIVE), None)

    def _some[T](self, records: Iterable[T], pick: int) -> list[T]:
        """One of the records, if there is any."""
        found = list(records)
        return [found[pick % len(found)]] if found else []

    def _session(self, one: Session) -> None:
        self.sessions[one.number] = one
        self.changes.append(put(one))

    def _registration(self, one: Registration) -> None:
        self.registrations[one.registration_id] = one
        self.changes.append(put(one))

    def _tenure(self, one: Tenure) -> None:
        self.tenures[one.resource_id] = one
        self.changes.append(put(one))

    def _begin(self, one: Registration, epoch: int | None = None) -> None:
        promoted = active(one.registration_id, one.resource_id, epoch=epoch)
        self._registration(structs.replace(promoted, metadata=one.metadata))

    def _end(self, holder: Registration | None) -> None:
        if holder is not None:
            revision = self._next()
            self._tenure(tenure(holder.epoch, holder.resource_id, ended=revision))
            resigned = standby(holder.registration_id, holder.resource_id, revision=revision)
            self._registration(structs.replace(resigned, declined_epoch=holder.epoch))


STEPS: Final[dict[str, Callable[[Play, str, int], None]]] = {
    step.__name__: step
    for step in (
        Play.open, Play.report, Play.close, Play.join, Play.claim, Play.resign, Play.promote, Play.swap, Play.update,
        Play.leave, Play.forget, Play.pause, Play.resume,
    )
}  # fmt: skip

steps = st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, len(RESOURCES) - 1), st.integers(0, 5))
histories = st.lists(
    st.tuples(st.lists(steps, max_size=8), st.sampled_from(("nothing", "idle", "reopen", "repeat"))), max_size=12
)


async def page(store: Store, since: int) -> tuple[AnyEvent, ...] | int:
    """The events a store has after a revision, or which it has first."""
    try:
        return await store.read_events(since, 7)
    except EventsCompactedError as compacted:
        return compacted.first_revision


async def check_equal(stores: list[Store], play: Play) -> None:
    """Both have the state that was played, and the same events."""
    state, other = [structs.replace(await store.load(), history_id="") for store in stores]
    assert state == other
    assert state.revision == play.revision
    assert {found.number: found for found in state.sessions} == play.sessions
    assert {found.registration_id: found for found in state.registrations} == play.registrations
    assert {found.resource_id: found for found in state.tenures} == play.tenures
    assert {found.resource_id: found for found in state.pauses} == play.pauses
    for since in range(play.revision + 1):
        assert await page(stores[0], since) == await page(stores[1], since)
    for resource in RESOURCES:
        tenures, others = [await store.read_tenures(resource, play.revision + 1, 100) for store in stores]
        assert tenures == others
        newest = play.holder(resource) or play.tenures.get(resource)
        assert [one.tenure.epoch for one in tenures[:1]] == ([] if newest is None else [newest.epoch])


async def run(history: list[tuple[list[Step], Between]], places: list[Stores]) -> None:
    """Play a history on both stores and compare after each batch."""
    options = small(events_kept=9)
    stores = [await place.open(options) for place in places]
    play = Play()
    for taken, between in history:
        first, play.changes = play.revision + 1, []
        for kind, which, pick in taken:
            STEPS[kind](play, RESOURCES[which], pick)
        made = batch(first, *play.changes, events=play.revision + 1 - first)
        for store in stores:
            await store.commit(made)
            if between == "idle":
                await rest(store)
            elif between == "repeat" and made.events:
                with pytest.raises(StoreRefusedError):
                    await store.commit(made)
        if between == "reopen":
            stores = [await place.open(options) for place in places]
        await check_equal(stores, play)


async def run_and_close(history: list[tuple[list[Step], Between]], directory: Path) -> None:
    """Play a history in a directory of its own."""
    places: list[Stores] = [SqliteStores(directory), MemoryStores()]
    try:
        await run(history, places)
    finally:
        for place in places:
            await place.close()


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories)
@example(history=[([("claim", 0, 0), ("leave", 0, 0), ("forget", 0, 0)], "reopen")])
@example(
    history=[
        ([("claim", 1, 0)], "nothing"),
        ([("resign", 1, 0), ("promote", 1, 0)] * 4, "idle"),
        ([("resign", 1, 0), ("leave", 1, 0), ("join", 0, 0)], "idle"),
        ([("update", 0, 1)] * 8, "idle"),
        ([("update", 0, 2)] * 8, "idle"),
        ([("claim", 1, 0)], "idle"),
        ([("leave", 1, 0), ("forget", 1, 0)], "reopen"),
    ]
)
def test_both_stores_come_to_the_same(history: list[tuple[list[Step], Between]]) -> None:
    """After any legal history, through idle times, restarts and repeats, both stores have what was played."""
    with TemporaryDirectory() as directory:
        asyncio.run(run_and_close(history, Path(directory)))
