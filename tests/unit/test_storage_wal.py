"""The write-ahead log: written out ahead of use, recycled and not grown, followed, and written again after a crash."""

# What is tested here is inside the store, so this looks inside.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from tenure.storage.options import StoreOptions
from tenure.storage.sqlite import SqliteStore
from tenure.storage.wal import WalFile, write_again
from tests.contract.records import batch, put, session
from tests.contract.stores import opened, rest, small

WAL = "tenure.db-wal"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """An open store."""
    async with opened(tmp_path) as store:
        yield store


def size_of(path: Path) -> int:
    """How many bytes a file has."""
    return path.stat().st_size


async def frames(store: SqliteStore) -> tuple[int, int]:
    """How many frames the store counts, and how many SQLite does."""
    writer = store._writer

    def count() -> tuple[int, int]:
        used = store._database._wal.used_frames
        return used, writer.sqlite.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]

    return await writer.submit(count)


async def test_the_log_is_written_out_ahead_of_use(tmp_path: Path) -> None:
    """From opening on the log has the size that was asked for, of which nothing is used."""
    async with opened(tmp_path, StoreOptions(wal_reserved_bytes=5 * 1024 * 1024)) as store:
        assert size_of(tmp_path / WAL) == 5 * 1024 * 1024
        await store.commit(batch(1))
        assert size_of(tmp_path / WAL) == 5 * 1024 * 1024


async def test_the_store_follows_the_log(store: SqliteStore) -> None:
    """★ The store knows from the file how far the log is used: as many frames as SQLite says, round by round."""
    revision, counts = 0, list[tuple[int, int]]()
    for commits in (1, 2, 5, 3):
        for _ in range(commits):
            revision += 1
            await store.commit(batch(revision, put(session(revision))))
        counts.append(await frames(store))
    assert all(mine == sqlites for mine, sqlites in counts)
    assert len({mine for mine, _ in counts}) == len(counts)


async def test_the_log_is_recycled(store: SqliteStore, tmp_path: Path) -> None:
    """★ However much is committed without an idle time, the log begins anew and stays as large as it was."""
    size = size_of(tmp_path / WAL)
    for revision in range(1, 400):
        await store.commit(batch(revision, put(session(revision))))
    await store.load()
    assert size_of(tmp_path / WAL) == size
    assert store._database._wal.used_bytes <= small().checkpoint_forced_bytes * 2


async def test_idle_times_checkpoint(store: SqliteStore, tmp_path: Path) -> None:
    """Once there is enough log an idle time copies it into the database; with less it does nothing."""
    database = tmp_path / "tenure.db"
    before = size_of(database)
    await store.commit(batch(1, *(put(session(number)) for number in range(1, 3))))
    await rest(store)
    assert size_of(database) == before
    await store.commit(batch(2, *(put(session(number)) for number in range(1, 1_200))))
    await rest(store)
    assert size_of(database) > before
    await store.commit(batch(3))
    used, _ = await frames(store)
    assert used < 10  # the log began anew


async def test_a_reader_in_the_way_only_puts_it_off(store: SqliteStore, tmp_path: Path) -> None:
    """A reader that stays on an old state keeps the log from beginning anew, not commits; later it does."""
    with closing(sqlite3.connect(tmp_path / "tenure.db", isolation_level=None)) as reader:
        await store.commit(batch(1))
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM events").fetchone() == (1,)
        for revision in range(2, 300):
            await store.commit(batch(revision, put(session(revision))))
        assert reader.execute("SELECT count(*) FROM events").fetchone() == (1,)
        reader.execute("COMMIT")
    grown, _ = await frames(store)
    for revision in range(300, 400):
        await store.commit(batch(revision, put(session(revision))))
    used, _ = await frames(store)
    assert used < grown


def make_database(path: Path) -> sqlite3.Connection:
    """A database with a log beside it."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("CREATE TABLE t (x)")
    return connection


def test_only_whole_transactions_count(tmp_path: Path) -> None:
    """Frames of a transaction that has no end yet, and of an earlier round, are not taken for used."""
    path = tmp_path / WAL
    with closing(make_database(tmp_path / "tenure.db")) as connection:
        wal = WalFile(path, 4_096)
        assert wal.scan()
        assert not wal.scan()
        before = wal.used_frames
        connection.execute("PRAGMA cache_size = 5")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO t VALUES (?)", [(b"x" * 3_000,)] * 100)
        assert size_of(path) > 32 + 50 * wal.frame_bytes  # what did not fit into the cache
        wal.scan()
        assert wal.used_frames == before
        connection.execute("COMMIT")
        wal.scan()
        assert wal.used_frames > before + 50
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        connection.execute("INSERT INTO t VALUES (1)")
        assert wal.scan()
        assert wal.used_frames < before + 50
        wal.close()


def test_zeros_ahead_of_use_are_no_frames(tmp_path: Path) -> None:
    """A log that is only written ahead has no header and no frame, for SQLite and for the store."""
    with closing(make_database(tmp_path / "tenure.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        wal = WalFile(tmp_path / WAL, 4_096)
        wal.reserve(10)
        wal.scan()
        assert wal.used_frames == 0
        connection.execute("INSERT INTO t VALUES (1)")
        wal.scan()
        assert wal.used_frames == 1
        wal.close()


def test_room_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    """Room is made in whole chunks, and asked for again costs nothing, not even a look at the file."""
    path = tmp_path / "log"
    path.write_bytes(b"x" * 100)
    wal = WalFile(path, 4_096)
    wal.reserve(300)
    assert path.stat().st_size == 2 * 1024 * 1024
    assert path.read_bytes()[:101] == b"x" * 100 + b"\0"
    os.truncate(path, 100)
    wal.reserve(300)
    assert path.stat().st_size == 100
    wal.close()


def test_a_log_is_written_again_byte_for_byte(tmp_path: Path) -> None:
    """Writing a log again leaves it as it was; where there is none, none is made."""
    path = tmp_path / WAL
    content = os.urandom(2_500_000)
    path.write_bytes(content)
    write_again(path)
    assert path.read_bytes() == content
    write_again(tmp_path / "none")
    assert not (tmp_path / "none").exists()
