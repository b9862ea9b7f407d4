"""What every store does, run on each: all of a batch or nothing, in order, once; and all of it is there afterwards."""

from __future__ import annotations

import pytest
from msgspec import structs

from tenure.contract.events import RoleChangedEvent
from tenure.contract.vocabulary import ChangeReason, ServiceRole, ServiceStatus
from tenure.domain.records import Change, Registration, StoredState, Tenure
from tenure.domain.store import (
    EventsCompactedError,
    Store,
    StoreRefusedError,
    StoreUnusableError,
)
from tests.contract.records import (
    active,
    batch,
    batch_of,
    drop,
    event,
    forget,
    paused,
    put,
    session,
    standby,
    tenure,
)
from tests.contract.stores import Stores, committed, rest, small


async def test_a_new_store_is_empty_and_has_a_history_of_its_own(stores: Stores) -> None:
    """A new store has no revision and no record, and a history id."""
    state = await (await stores.open()).load()
    assert state == StoredState(history_id=state.history_id, revision=0, sessions=(), registrations=(), tenures=())
    assert len(state.history_id) == 32


async def test_every_kind_of_record_comes_back_as_it_was(stores: Stores) -> None:
    """Sessions, registrations and tenures come back field by field, in order, also after the store is opened again."""
    store = await stores.open()
    sessions = tuple(session(1 + index, status=status) for index, status in enumerate(ServiceStatus))
    held = active(10, "account-42")
    waiting = structs.replace(
        standby(11, "account-42"),
        candidate=True,
        priority=1_000_000,
        declined_epoch=9,
        role_revision=8,
        metadata={"host": "a", "größe": "«\u2028\\u0000\"'\n\t\x01\x00»", "": ""},
    )
    tenures = (tenure(7, "account-42", ended=8), tenure(9, "account-42", ended=10), tenure(6, "account-43", ended=11))
    changes = [*map(put, sessions), put(waiting), put(held), *map(put, tenures)]
    state = await committed(store, batch(1, *changes, events=11))
    assert state.revision == 11
    assert state.sessions == sessions
    assert state.registrations == (held, waiting)
    assert state.tenures == (tenures[1], tenures[2])
    again = await stores.open()
    assert await again.load() == state


async def test_later_batches_replace_and_take_away(stores: Stores) -> None:
    """A later state of a record replaces the earlier one, and a record that is dropped is gone."""
    store = await stores.open()
    first, second = session(1), session(2)
    one, two = standby(3, "r"), standby(4, "r")
    await store.commit(batch(1, put(first), put(second), put(one), put(two), events=4))
    degraded = structs.replace(first, status=ServiceStatus.DEGRADED)
    other = structs.replace(one, session=2, priority=9, candidate=True, metadata={"b": "2"}, revision=5)
    state = await committed(store, batch(5, put(degraded), drop(second), put(other), drop(two)))
    assert state.sessions == (degraded,)
    assert state.registrations == (other,)


async def test_tenures_come_in_the_order_in_which_they_ended(stores: Stores) -> None:
    """The newest tenure of each resource that has ended comes back, the one that ended first in front."""
    store = await stores.open()
    early = batch(1, put(tenure(3, "c", ended=4)), put(tenure(1, "a", ended=5)), put(tenure(2, "b", ended=6)), events=6)
    again = batch(7, put(tenure(7, "d", ended=8)), put(tenure(9, "a", ended=10)), events=4)
    state = await committed(store, early, again)
    assert state.tenures == (
        tenure(3, "c", ended=4),
        tenure(2, "b", ended=6),
        tenure(7, "d", ended=8),
        tenure(9, "a", ended=10),
    )


async def test_the_last_state_in_a_batch_is_the_one_that_stays(stores: Stores) -> None:
    """What changes several times in one batch ends as the last change says, whatever came before."""
    store = await stores.open()
    one = active(2, "r")
    await store.commit(batch(1, put(session(1)), put(one), events=2))
    changes: list[Change] = [
        put(structs.replace(session(1), status=ServiceStatus.DRAINING)),
        put(session(1)),
        drop(one),
        put(structs.replace(standby(2, "r"), revision=3)),
        put(session(3)),
        drop(session(3)),
        put(standby(4, "r")),
        drop(standby(4, "r")),
        put(tenure(2, "r", ended=3)),
    ]
    state = await committed(store, batch(3, *changes, events=3))
    assert state.sessions == (session(1),)
    assert state.registrations == (structs.replace(standby(2, "r"), revision=3),)
    assert state.tenures == (tenure(2, "r", ended=3),)


@pytest.mark.parametrize("is_reversed", [False, True])
async def test_the_role_moves_in_one_batch(stores: Stores, is_reversed: bool) -> None:
    """A demotion and a promotion for one resource in one batch are legal in either order of the changes."""
    store = await stores.open()
    await store.commit(batch(1, put(active(1, "r")), put(standby(2, "r")), events=2))
    swap = [put(standby(1, "r", revision=3)), put(tenure(1, "r", ended=3)), put(active(2, "r", epoch=4))]
    if is_reversed:
        swap.reverse()
    state = await committed(store, batch(3, *swap, events=2))
    assert state.registrations == (standby(1, "r", revision=3), active(2, "r", epoch=4))
    assert state.tenures == (tenure(1, "r", ended=3),)


async def test_the_role_goes_round_within_one_batch(stores: Stores) -> None:
    """A role may go from one to the next and back to the first in one batch."""
    store = await stores.open()
    await store.commit(batch(1, put(active(1, "r")), put(standby(2, "r")), put(standby(3, "r")), events=3))
    changes: list[Change] = []
    holder, epoch = 1, 1
    for successor, revision in ((2, 4), (3, 6), (1, 8)):
        changes += [put(standby(holder, "r", revision=revision)), put(tenure(epoch, "r", ended=revision))]
        holder, epoch = successor, revision + 1
        changes.append(put(active(holder, "r", epoch=epoch)))
    state = await committed(store, batch(4, *changes, events=6))
    assert state.registrations == (
        active(1, "r", epoch=9),
        standby(2, "r", revision=6),
        standby(3, "r", revision=8),
    )
    assert state.tenures == (tenure(7, "r", ended=8),)


async def test_the_role_passes_from_one_who_leaves(stores: Stores) -> None:
    """An active that is dropped and one that is promoted in its place fit into one batch, in either order."""
    store = await stores.open()
    await store.commit(batch(1, put(active(1, "r")), put(standby(2, "r")), events=2))
    state = await committed(store, batch(3, put(active(2, "r", epoch=3)), drop(active(1, "r"))))
    assert state.registrations == (active(2, "r", epoch=3),)


async def test_a_forgotten_resource_has_no_tenure(stores: Stores) -> None:
    """All tenures of a resource that is forgotten go, those of others stay."""
    store = await stores.open()
    await store.commit(batch(1, put(tenure(1, "r", ended=2)), put(tenure(3, "r", ended=4)), events=4))
    await store.commit(batch(5, put(tenure(5, "s", ended=6)), events=2))
    state = await committed(store, batch(7, forget("r"), forget("never seen")))
    assert state.tenures == (tenure(5, "s", ended=6),)
    assert await (await stores.open()).load() == state


async def test_a_tenure_ends_and_its_resource_is_forgotten_in_one_batch(stores: Stores) -> None:
    """A resource may be forgotten in the batch that ends its tenure, and have a new one in the same batch."""
    store = await stores.open()
    await store.commit(batch(1, put(active(1, "r")), put(active(2, "s")), events=2))
    changes = [
        drop(active(1, "r")),
        put(tenure(1, "r", ended=3)),
        forget("r"),
        drop(active(2, "s")),
        put(tenure(2, "s", ended=4)),
        forget("s"),
    ]
    changes += [put(active(5, "s")), drop(active(5, "s")), put(tenure(5, "s", ended=6))]
    state = await committed(store, batch(3, *changes, events=4))
    assert state.tenures == (tenure(5, "s", ended=6),)
    assert not state.registrations


async def test_pauses_come_back_until_they_are_dropped(stores: Stores) -> None:
    """By resource; the newest word on one counts, and what comes and goes in one batch was never there."""
    store = await stores.open()
    await store.commit(batch(1, put(paused("s")), put(paused("größe")), put(paused("r")), events=3))
    state = await committed(store, batch(4, put(paused("r", why="other «work»")), drop(paused("s")), events=2))
    assert state.pauses == (paused("größe"), paused("r", why="other «work»"))
    again = batch(6, put(paused("t")), drop(paused("t")), drop(paused("r")), put(paused("r")), events=4)
    state = await committed(store, again)
    assert state.pauses == (paused("größe"), paused("r"))
    assert await (await stores.open()).load() == state


async def test_a_batch_may_have_no_events(stores: Stores) -> None:
    """Changes without events are kept, and the next revision stays the next."""
    store = await stores.open()
    state = await committed(store, batch(1, put(session(1)), events=0), batch(1, put(session(2)), events=1))
    assert (state.revision, state.sessions) == (1, (session(1), session(2)))


@pytest.mark.parametrize(
    ("since", "limit", "revisions"),
    [(0, 3, [1, 2, 3]), (3, 3, [4, 5]), (4, 1, [5]), (5, 3, []), (99, 3, []), (2, 0, []), (-1, 2, [1, 2])],
)
async def test_events_come_in_pages(stores: Stores, since: int, limit: int, revisions: list[int]) -> None:
    """A page has the events after a revision, in order, as they were committed, and not more than asked for."""
    store = await stores.open()
    await store.commit(batch(1, events=2))
    await store.commit(batch(3, events=3))
    assert await store.read_events(since, limit) == tuple(event(revision) for revision in revisions)


async def test_old_events_go_and_are_missed(stores: Stores) -> None:
    """Of the events the last N are kept once the store is idle; whoever asks for older ones is told the first kept."""
    options = small(events_kept=5)
    store = await stores.open(options)
    for revision in range(1, 11):
        await store.commit(batch(revision, put(session(revision))))
    await rest(store)
    assert await store.read_events(5, 10) == tuple(event(revision) for revision in range(6, 11))
    with pytest.raises(EventsCompactedError) as compacted:
        await store.read_events(4, 10)
    assert compacted.value.first_revision == 6
    with pytest.raises(EventsCompactedError):
        await store.read_events(0, 1)
    again = await stores.open(options)
    assert len((await again.load()).sessions) == 10
    await again.commit(batch(11))
    await rest(again)
    assert await again.read_events(6, 2) == (event(7), event(8))
    with pytest.raises(EventsCompactedError):
        await again.read_events(5, 2)


@pytest.mark.parametrize(
    ("before", "limit", "epochs"),
    [(100, 10, [7, 5, 2]), (100, 2, [7, 5]), (7, 2, [5, 2]), (5, 1, [2]), (2, 10, []), (100, 0, [])],
)
async def test_tenures_of_a_resource_come_in_pages(stores: Stores, before: int, limit: int, epochs: list[int]) -> None:
    """The newest come first, the one that lasts among them without an end, and none of another resource."""
    store = await stores.open()
    ended = (tenure(2, "r", ended=4), tenure(5, "r", ended=6))
    others = (put(tenure(1, "s", ended=3)), put(active(8, "t")))
    lasting = structs.replace(tenure(7, "r"), instance_id="gw-9", began_ms=active(9, "r").since_ms)
    await store.commit(batch(1, *map(put, ended), *others, put(active(9, "r", epoch=7)), events=9))
    by_epoch = {one.epoch: one for one in (*ended, lasting)}
    expected = tuple(by_epoch[epoch] for epoch in epochs)
    assert await tenures_of(store, "r", before, limit) == expected
    assert await store.read_tenures("nobody's", 100, 10) == ()
    assert await tenures_of(await stores.open(), "r", before, limit) == expected


async def tenures_of(store: Store, resource_id: str, before: int = 100, limit: int = 10) -> tuple[Tenure, ...]:
    """The tenures of a resource, without what ended them."""
    return tuple(kept.tenure for kept in await store.read_tenures(resource_id, before, limit))


async def test_a_tenure_comes_with_the_event_of_its_end_as_long_as_that_is_kept(stores: Stores) -> None:
    """The newest stays longer than its event; one that lasts has none, and an event of another kind is none either."""
    store = await stores.open(small(events_kept=5))
    end = RoleChangedEvent(
        revision=3, at_ms=9, registration_id=1, resource_id="r", service_name="svc", instance_id="a", epoch=2,
        old_role=ServiceRole.ACTIVE, reason=ChangeReason.EXPIRED, silent_ms=7, by="ada",
    )  # fmt: skip
    changes = (put(tenure(1, "s", ended=2)), put(tenure(2, "r", ended=3)), put(active(4, "t")))
    await store.commit(batch_of((event(1), event(2), end, event(4)), *changes, first=1))
    assert [(kept.tenure.epoch, kept.end) for kept in await store.read_tenures("r", 100, 10)] == [(2, end)]
    for resource_id in ("s", "t"):
        assert [kept.end for kept in await store.read_tenures(resource_id, 100, 10)] == [None]
    await store.commit(batch(5, events=10))
    await rest(store)
    assert [(kept.tenure.epoch, kept.end) for kept in await store.read_tenures("r", 100, 10)] == [(2, None)]


async def test_old_tenures_go_with_the_events_of_their_end(stores: Stores) -> None:
    """Of a resource without an active the newest tenure stays, older ones go with the events."""
    store = await stores.open(small(events_kept=5))
    old, newest, other = tenure(1, "r", ended=2), tenure(3, "r", ended=4), tenure(5, "s", ended=6)
    await store.commit(batch(1, put(old), put(newest), put(other), events=6))
    assert await tenures_of(store, "r") == (newest, old)
    await store.commit(batch(7, events=10))
    await rest(store)
    assert await tenures_of(store, "r") == (newest,)
    await store.commit(batch(17, forget("r")))
    assert await store.read_tenures("r", 100, 10) == ()
    assert await tenures_of(store, "s") == (other,)


async def test_another_history_has_another_id(stores: Stores) -> None:
    """A store keeps its history id for good."""
    store = await stores.open()
    before = (await committed(store, batch(1))).history_id
    assert (await (await stores.open()).load()).history_id == before


async def test_a_store_that_is_closed_stays_closed(stores: Stores) -> None:
    """Closing twice is fine, and whatever comes after it is refused."""
    store = await stores.open()
    await store.commit(batch(1))
    await store.close()
    await store.close()
    with pytest.raises(StoreRefusedError):
        await store.commit(batch(2))
    with pytest.raises(StoreUnusableError):
        await store.load()
    with pytest.raises(StoreUnusableError):
        await store.read_events(0, 1)
    with pytest.raises(StoreUnusableError):
        await store.read_tenures("r", 1, 1)
    with pytest.raises(StoreUnusableError):
        await store.idle()
    assert (await (await stores.open()).load()).revision == 1


async def test_more_records_than_fit_into_one_slice(stores: Stores) -> None:
    """A few thousand records in one batch come back complete and in order."""
    store = await stores.open()
    sessions = tuple(session(number) for number in range(1, 2_502))
    registrations: tuple[Registration, ...] = tuple(active(number, f"r-{number}") for number in range(1, 1_001))
    tenures = tuple(tenure(number, f"r-{number}", ended=number + 1) for number in range(1, 2_001))
    changes = [*map(put, sessions), *map(put, registrations), *map(put, tenures)]
    state = await committed(store, batch(1, *changes, events=2_501))
    assert (state.sessions, state.registrations, state.tenures) == (sessions, registrations, tenures)
    assert [one.revision for one in await store.read_events(500, 2_000)] == list(range(501, 2_501))
