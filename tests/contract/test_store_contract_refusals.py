"""What every store refuses, run on each: a batch that breaks a rule of records or of revisions changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import structs

from tenure.domain.records import Batch
from tenure.domain.store import (
    StoreInvariantError,
    StoreRefusedError,
)
from tests.contract.records import (
    active,
    batch,
    batch_of,
    event,
    put,
    session,
    standby,
    tenure,
)
from tests.contract.stores import Stores, committed


def _two_in_one_batch() -> Batch:
    return batch(4, put(active(4, "s")), put(active(5, "s")), events=2)


def _one_too_many() -> Batch:
    return batch(4, put(active(4, "r")))


def _promoted_beside() -> Batch:
    return batch(4, put(active(2, "r", epoch=4)))


def _active_without_epoch() -> Batch:
    return batch(4, put(structs.replace(active(4, "s"), epoch=0)))


def _standby_with_epoch() -> Batch:
    return batch(4, put(structs.replace(standby(4, "s"), epoch=4)))


def _half_ended() -> Batch:
    return batch(4, put(structs.replace(tenure(1, "r", ended=4), end_reason=None)))


@pytest.mark.parametrize(
    "broken",
    [_two_in_one_batch, _one_too_many, _promoted_beside, _active_without_epoch, _standby_with_epoch, _half_ended],
)
async def test_a_batch_that_breaks_a_rule_changes_nothing(stores: Stores, broken: Callable[[], Batch]) -> None:
    """A second active, or a record that contradicts itself, fails the whole batch, and the store goes on."""
    store = await stores.open()
    first = batch(1, put(active(1, "r")), put(standby(2, "r")), events=3)
    before = await committed(store, first)
    with pytest.raises(StoreInvariantError):
        await store.commit(structs.replace(broken(), changes=(put(session(9)), *broken().changes)))
    assert await store.load() == before
    assert await store.read_events(3, 10) == ()
    state = await committed(store, batch(4, put(session(4))))
    assert (state.revision, state.sessions) == (4, (session(4),))


def _gap() -> Batch:
    return batch(4)


def _repeat() -> Batch:
    return batch(1, put(session(1)), events=2)


def _overlap() -> Batch:
    return batch(2, events=2)


def _gap_within() -> Batch:
    return batch_of((event(3), event(5)), first=3)


def _other_first() -> Batch:
    return batch_of((event(4),), first=3)


def _body_too_few() -> Batch:
    return structs.replace(batch(3, events=2), encoded_events=(b"",))


@pytest.mark.parametrize("broken", [_gap, _repeat, _overlap, _gap_within, _other_first, _body_too_few])
async def test_revisions_that_do_not_follow_are_refused(stores: Stores, broken: Callable[[], Batch]) -> None:
    """A batch that leaves a gap, comes twice or overlaps is refused, and changes nothing."""
    store = await stores.open()
    before = await committed(store, batch(1, put(session(1)), events=2))
    with pytest.raises(StoreRefusedError):
        await store.commit(structs.replace(broken(), changes=(put(session(7)),)))
    assert await store.load() == before
    assert len(await store.read_events(0, 10)) == 2
