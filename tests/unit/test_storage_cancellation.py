"""Cancelled callers: a commit under way runs to its end, its outcome is what it is, and nothing is left open."""

# What is tested here is inside the store, so this looks inside.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tenure.domain.store import StoreRefusedError
from tenure.storage.completion import to_its_end
from tenure.storage.sqlite import SqliteStore
from tests.contract.records import batch, put, session
from tests.contract.stores import open_and_load, opened, small
from tests.turns import turns


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """An open store."""
    async with opened(tmp_path) as store:
        yield store


def block(store: SqliteStore) -> threading.Event:
    """Keep the database's thread busy until the event is set."""
    go = threading.Event()
    store._writer.submit(lambda: go.wait(60))
    return go


@pytest.mark.parametrize("cancellations", [1, 3])
async def test_a_cancelled_commit_runs_to_its_end(store: SqliteStore, cancellations: int) -> None:
    """★ A commit whose caller is cancelled, however often, ends first and is durable; then the caller is cancelled."""
    go = block(store)
    committing = asyncio.ensure_future(store.commit(batch(1, put(session(1)))))
    await turns(5)
    for _ in range(cancellations):
        committing.cancel()
        await turns(5)
        assert not committing.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await committing
    assert (await store.load()).sessions == (session(1),)


async def test_a_cancelled_commit_that_is_refused_changes_nothing(store: SqliteStore) -> None:
    """A refusal that nobody hears is one all the same, and no error of a future that nobody looked at."""
    go = block(store)
    committing = asyncio.ensure_future(store.commit(batch(7)))
    await turns(5)
    committing.cancel()
    await turns(5)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await committing
    assert (await store.load()).revision == 0
    await store.commit(batch(1))


async def test_closing_waits_for_a_commit_under_way(store: SqliteStore, tmp_path: Path) -> None:
    """A store that is closed in the midst of a commit ends it; closing that is cancelled closes all the same."""
    go = block(store)
    committing = asyncio.ensure_future(store.commit(batch(1, put(session(1)))))
    await turns(5)
    closing = asyncio.ensure_future(store.close())
    await turns(5)
    closing.cancel()
    await turns(5)
    with pytest.raises(StoreRefusedError, match="closed"):
        await store.commit(batch(2))
    go.set()
    await committing
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert (await open_and_load(tmp_path)).revision == 1


async def test_opening_that_is_cancelled_lets_go(tmp_path: Path) -> None:
    """A caller that is cancelled while a store is opened leaves it to the next."""
    opening = asyncio.ensure_future(SqliteStore.open(tmp_path, options=small()))
    await turns()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert (await open_and_load(tmp_path)).revision == 0


async def test_reads_and_idle_times_go_beside_commits(store: SqliteStore) -> None:
    """Pages of events are read while the writer is busy, and see what is committed; the rest waits its turn."""
    await store.commit(batch(1))
    go = block(store)
    committing = asyncio.ensure_future(store.commit(batch(2)))
    idle = asyncio.ensure_future(store.idle())
    loading = asyncio.ensure_future(store.load())
    assert [event.revision for event in await store.read_events(0, 10)] == [1]
    assert not committing.done()
    go.set()
    await asyncio.gather(committing, idle)
    assert (await loading).revision == 2
    assert [event.revision for event in await store.read_events(0, 10)] == [1, 2]


async def test_waiting_to_the_end() -> None:
    """The outcome of work is its result or its exception."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[int] = loop.create_future()
    loop.call_soon(done.set_result, 7)
    assert await to_its_end(done) == 7
    failed: asyncio.Future[int] = loop.create_future()
    loop.call_soon(failed.set_exception, ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await to_its_end(failed)
