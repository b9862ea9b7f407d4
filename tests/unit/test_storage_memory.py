"""Failures that the memory store makes on demand, for those who test what a broker makes of them."""

from __future__ import annotations

import asyncio

import pytest

from tenure.domain.store import StoreFailedError, StoreRefusedError
from tenure.storage.memory import MemoryStore
from tests.contract.records import batch, put, session
from tests.turns import turns


async def test_a_commit_refused_on_demand() -> None:
    """The next commit is refused and changes nothing, the one after it is taken."""
    store = MemoryStore()
    store.refuse_next_commit("no room")
    with pytest.raises(StoreRefusedError, match="no room"):
        await store.commit(batch(1))
    assert (await store.load()).revision == 0
    await store.commit(batch(1))


@pytest.mark.parametrize("is_applied", [True, False])
async def test_an_outcome_left_open_on_demand(is_applied: bool) -> None:
    """After a commit of open outcome the store refuses everything; its successor knows whether it happened."""
    store = MemoryStore(history_id="h")
    await store.commit(batch(1, put(session(1))))
    store.fail_next_commit(applied=is_applied, reason="fsync")
    with pytest.raises(StoreFailedError, match="fsync"):
        await store.commit(batch(2, put(session(2))))
    for refused in (
        store.load(),
        store.commit(batch(2)),
        store.read_events(0, 1),
        store.read_tenures("r", 1, 1),
        store.idle(),
    ):
        with pytest.raises(StoreFailedError):
            await refused
    successor = store.crash()
    state = await successor.load()
    assert (state.history_id, state.revision) == ("h", 2 if is_applied else 1)
    await successor.commit(batch(state.revision + 1))


async def test_a_crash_forgets_nothing_committed() -> None:
    """What was committed is in the successor; the crashed one answers nothing any more."""
    store = MemoryStore()
    await store.commit(batch(1, put(session(1))))
    before = await store.load()
    successor = store.crash()
    assert await successor.load() == before
    with pytest.raises(StoreFailedError, match="crashed"):
        await store.commit(batch(2))
    await successor.commit(batch(2))
    assert len(await successor.read_events(0, 5)) == 2


async def test_commits_held_on_demand() -> None:
    """A held commit ends when it is released, though its caller be cancelled meanwhile; not before."""
    store = MemoryStore()
    store.release_commits()
    store.hold_commits()
    store.hold_commits()
    committing = asyncio.ensure_future(store.commit(batch(1)))
    await turns(3)
    committing.cancel()
    await turns()
    assert not committing.done()
    assert (await store.load()).revision == 0
    store.release_commits()
    with pytest.raises(asyncio.CancelledError):
        await committing
    assert (await store.load()).revision == 1
    await store.commit(batch(2))


async def test_a_held_commit_goes_with_a_crash() -> None:
    """A crash while a commit is held is one before it: the successor does not have it."""
    store = MemoryStore()
    store.hold_commits()
    committing = asyncio.ensure_future(store.commit(batch(1)))
    await turns()
    successor = store.crash()
    with pytest.raises(StoreFailedError, match="crashed"):
        await committing
    assert (await successor.load()).revision == 0
    await successor.commit(batch(1))
