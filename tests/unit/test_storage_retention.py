"""What is kept: the newest events, the tenures of their time, and of each resource the newest tenure."""

# What is tested here is inside the store, so this looks inside.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from tenure.domain.store import EventsCompactedError, StoreInvariantError, StoreRefusedError
from tenure.storage import database
from tenure.storage.options import StoreOptions
from tenure.storage.sqlite import SqliteStore
from tests.contract.records import active, batch, drop, put, session, standby, tenure
from tests.contract.stores import opened, rest, small


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A store that keeps ten events."""
    async with opened(tmp_path, small(events_kept=10)) as store:
        yield store


def rows(path: Path, query: str) -> list[object]:
    """What somebody sees who looks at the database with SQLite's own tools."""
    with closing(sqlite3.connect(path / "tenure.db")) as connection:
        return [row[0] for row in connection.execute(query)]


async def test_tenures_go_with_the_events_of_their_end(store: SqliteStore, tmp_path: Path) -> None:
    """An ended tenure goes with its events, but stays while it is its resource's newest."""
    changes = [put(tenure(1, "r", ended=2)), put(tenure(3, "r", ended=4)), put(tenure(5, "s", ended=6))]
    changes += [put(tenure(7, "t", ended=8)), put(active(9, "t"))]
    await store.commit(batch(1, *changes, events=9))
    assert rows(tmp_path, "SELECT epoch FROM tenures") == [1, 3, 5, 7]
    await store.commit(batch(10, events=2))
    await rest(store)
    assert rows(tmp_path, "SELECT epoch FROM tenures") == [1, 3, 5, 7]
    await store.commit(batch(12, events=10))
    await rest(store)
    assert rows(tmp_path, "SELECT epoch FROM tenures") == [3, 5, 7]
    assert rows(tmp_path, "SELECT min(revision) FROM events") == [12]


async def test_a_tenure_that_was_the_newest_goes_when_it_is_not(store: SqliteStore, tmp_path: Path) -> None:
    """An old tenure that stayed as its resource's newest goes with the batch that ends another."""
    await store.commit(batch(1, put(tenure(1, "r", ended=2)), put(tenure(3, "s", ended=4)), events=20))
    await rest(store)
    assert rows(tmp_path, "SELECT epoch FROM tenures") == [1, 3]
    await store.commit(batch(21, put(active(21, "r"))))
    assert rows(tmp_path, "SELECT epoch FROM tenures") == [1, 3]
    await store.commit(batch(22, put(standby(21, "r", revision=22)), put(tenure(21, "r", ended=22))))
    assert rows(tmp_path, "SELECT epoch FROM tenures") == [3, 21]


async def test_commits_take_away_what_idle_times_did_not(store: SqliteStore) -> None:
    """Without an idle time each commit takes away more than it adds, once there is far too much."""
    late = database._PRUNE_LATE + 10
    await store.commit(batch(1, events=late))
    assert len(await store.read_events(0, 1)) == 1
    await store.commit(batch(late + 1, events=100))
    with pytest.raises(EventsCompactedError) as compacted:
        await store.read_events(0, 1)
    assert compacted.value.first_revision == 201  # twice as many went as came
    await store.commit(batch(late + 101, events=1))
    with pytest.raises(EventsCompactedError) as compacted:
        await store.read_events(0, 1)
    assert compacted.value.first_revision == 201  # it is no longer far too much


async def test_many_events_go_in_slices(tmp_path: Path) -> None:
    """One idle time takes away one slice, so that a batch that comes meanwhile does not wait long."""
    async with opened(tmp_path, StoreOptions(events_kept=10)) as store:
        await store.commit(batch(1, events=1_200))
        kept: list[int] = []
        for _ in range(5):
            await store.idle()
            try:
                kept.append((await store.read_events(0, 1))[0].revision)
            except EventsCompactedError as compacted:
                kept.append(compacted.first_revision)
    assert kept == [501, 1_001, 1_191, 1_191, 1_191]


async def test_somebody_elses_revision_is_noticed(store: SqliteStore, tmp_path: Path) -> None:
    """★ The database itself refuses a batch that does not follow on, whatever this process believes."""
    await store.commit(batch(1))
    with closing(sqlite3.connect(tmp_path / "tenure.db")) as connection, connection:
        connection.execute("UPDATE meta SET next_revision = 9")
    with pytest.raises(StoreRefusedError, match="does not fit"):
        await store.commit(batch(2))
    assert (await store.load()).revision == 8
    await store.commit(batch(9))


async def test_somebody_elses_transaction_refuses_a_batch(store: SqliteStore, tmp_path: Path) -> None:
    """A batch that meets another program's write is refused, and the next one is taken."""
    await store._writer.submit(lambda: store._writer.sqlite.execute("PRAGMA busy_timeout = 0").fetchone())
    with closing(sqlite3.connect(tmp_path / "tenure.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreRefusedError, match="another program"):
            await store.commit(batch(1))
        connection.execute("ROLLBACK")
    await store.commit(batch(1))


async def test_the_index_has_the_last_word(store: SqliteStore, tmp_path: Path) -> None:
    """★ The partial unique index itself refuses a second active, also outside of this program."""
    await store.commit(batch(1, put(active(1, "r")), put(standby(2, "r")), events=2))
    with (
        closing(sqlite3.connect(tmp_path / "tenure.db")) as connection,
        pytest.raises(sqlite3.IntegrityError, match=r"UNIQUE constraint failed: registrations\.resource_id"),
    ):
        connection.execute("UPDATE registrations SET role = 'active', epoch = 3 WHERE registration_id = 2")
    with pytest.raises(StoreInvariantError, match="UNIQUE"):
        await store.commit(batch(3, put(active(3, "r"))))
    await store.commit(batch(3, drop(active(1, "r")), put(active(3, "r")), put(session(3))))


async def test_a_number_too_large_is_refused(store: SqliteStore) -> None:
    """A number beyond SQLite's integers breaks the type of its column and fails the batch."""
    with pytest.raises(StoreInvariantError):
        await store.commit(batch(1, put(session(2**64))))
    await store.commit(batch(1))
