"""What a failing disk does to the SQLite store: it refuses and goes on, or leaves the outcome open and ends.

★ A full disk is the one failure of a commit after which the store goes on. Whatever else befalls a commit or a
checkpoint leaves something open, and the next opening decides.
"""

# What is tested here is inside the store, so this looks inside.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from tenure.domain.records import Batch
from tenure.domain.store import StoreFailedError, StoreRefusedError
from tenure.storage.options import StoreOptions
from tenure.storage.sqlite import SqliteStore
from tests.contract.records import active, batch, put, session
from tests.contract.stores import open_and_load, opened, rest
from tests.unit.storage_programs import start
from tests.unit.system_call_faults import descriptors_of, fail


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A store with two revisions."""
    async with opened(tmp_path) as store:
        await store.commit(batch(1, put(session(1)), events=2))
        yield store


def sqlites_descriptor(store: SqliteStore, path: Path) -> int:
    """The descriptor through which SQLite, and not the store beside it, writes a log."""
    (found,) = set(descriptors_of(path)) - {store._database._wal._descriptor}
    return found


async def used_frames(store: SqliteStore) -> int:
    """How many frames the log has, once what goes between two commits is done."""
    return await store._writer.submit(lambda: store._database._wal.used_frames)


async def frames_of(third: Batch, directory: Path) -> int:
    """How many frames this batch is, after the two revisions that each store here begins with."""
    async with opened(directory) as store:
        await store.commit(batch(1, put(session(1)), events=2))
        before = await used_frames(store)
        await store.commit(third)
        return await used_frames(store) - before


def large(first_revision: int) -> Batch:
    """A batch that changes some hundred pages."""
    changes = [put(active(first_revision + index, f"{index:04} is a resource of its own")) for index in range(1_000)]
    return batch(first_revision, *changes, events=1_000)


async def assert_goes_on(store: SqliteStore, revision: int) -> None:
    """The store has nothing after this revision, and takes what follows it."""
    assert (await store.load()).revision == revision
    assert await store.read_events(revision, 10) == ()
    await store.commit(batch(revision + 1, put(session(revision + 1))))
    assert (await store.load()).sessions[-1] == session(revision + 1)


async def assert_failed(store: SqliteStore) -> None:
    """The store refuses everything."""
    with pytest.raises(StoreFailedError):
        await store.load()
    with pytest.raises(StoreFailedError):
        await store.commit(batch(3))
    with pytest.raises(StoreFailedError):
        await store.read_events(0, 1)
    with pytest.raises(StoreFailedError):
        await store.read_tenures("r", 1, 1)
    with pytest.raises(StoreFailedError):
        await store.idle()


def integrity(path: Path) -> str:
    """What SQLite itself says of a database that nobody has open."""
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])


async def test_a_database_that_may_not_grow_refuses_a_batch_and_goes_on(store: SqliteStore) -> None:
    """SQLITE_FULL within a batch leaves the store as it was, and it takes the next one that fits."""
    writer = store._writer
    pages = await writer.submit(lambda: writer.sqlite.execute("PRAGMA page_count").fetchone()[0])
    await writer.submit(lambda: writer.sqlite.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    with pytest.raises(StoreRefusedError, match="disk is full"):
        await store.commit(large(3))
    await assert_goes_on(store, 2)
    await writer.submit(lambda: writer.sqlite.execute("PRAGMA max_page_count = 1000000").fetchone())
    await store.commit(large(4))
    assert (await store.load()).revision == 1_003


async def test_a_log_that_may_not_grow_refuses_a_batch_and_goes_on(store: SqliteStore, tmp_path: Path) -> None:
    """★ A disk that is full while SQLite writes the log refuses the batch, certainly; a smaller one is taken."""
    wal = tmp_path / "tenure.db-wal"
    descriptor = sqlites_descriptor(store, wal)
    limit = (await used_frames(store) + 20) * store._database._wal.frame_bytes
    await store._writer.submit(lambda: fail("pwrite64", descriptor, errno.ENOSPC, from_offset=limit))
    with pytest.raises(StoreRefusedError, match="disk is full"):
        await store.commit(large(3))
    await assert_goes_on(store, 2)
    await rest(store)
    await store.close()
    assert integrity(tmp_path / "tenure.db") == "ok"


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
async def test_room_for_the_log_is_made_before_a_batch_begins(store: SqliteStore, error: int) -> None:
    """A disk, a quota or a file size that is used up is met ahead of the commit, when nothing has begun."""
    descriptor = store._database._wal._descriptor
    await store._writer.submit(lambda: fail("pwrite64", descriptor, error))
    with pytest.raises(StoreRefusedError, match="no room for the write-ahead log"):
        await store.commit(large(3))
    await assert_goes_on(store, 2)


async def test_a_log_that_cannot_be_extended_fails_the_store(store: SqliteStore) -> None:
    """An I/O error while room is made is not taken for a full disk."""
    descriptor = store._database._wal._descriptor
    await store._writer.submit(lambda: fail("pwrite64", descriptor, errno.EIO))
    with pytest.raises(StoreFailedError, match="cannot be written"):
        await store.commit(large(3))
    await assert_failed(store)


@pytest.mark.parametrize(
    ("call", "error"), [("pwrite64", errno.EIO), ("pwrite64", errno.EDQUOT), ("fdatasync", errno.EIO)]
)
async def test_an_error_at_commit_leaves_the_outcome_open(
    store: SqliteStore, tmp_path: Path, call: str, error: int
) -> None:
    """★ After an error of the log at COMMIT the store refuses everything, and the next opening decides.

    Nothing that was acknowledged is lost either way.
    """
    descriptor = sqlites_descriptor(store, tmp_path / "tenure.db-wal")
    await store._writer.submit(lambda: fail(call, descriptor, error))
    with pytest.raises(StoreFailedError, match="whether it happened is open"):
        await store.commit(batch(3, put(session(3))))
    await assert_failed(store)
    await store.close()
    async with opened(tmp_path) as again:
        state = await again.load()
        sessions = {2: (session(1),), 3: (session(1), session(3))}
        assert state.sessions == sessions[state.revision]
        await assert_goes_on(again, state.revision)
    assert integrity(tmp_path / "tenure.db") == "ok"


async def test_a_failed_store_is_closed_without_a_checkpoint(store: SqliteStore, tmp_path: Path) -> None:
    """★ Closing after a failure leaves log and database as they are, for recovery to decide upon."""
    descriptor = sqlites_descriptor(store, tmp_path / "tenure.db-wal")
    await store._writer.submit(lambda: fail("pwrite64", descriptor, errno.EIO))
    with pytest.raises(StoreFailedError):
        await store.commit(batch(3, put(session(3))))
    before = {name: (tmp_path / name).read_bytes() for name in ("tenure.db", "tenure.db-wal")}
    await store.close()
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


async def test_a_transaction_in_the_log_that_was_not_reported_leaves_the_outcome_open(
    store: SqliteStore, tmp_path: Path
) -> None:
    """★ A full disk is no refusal if the log shows the end of the refused transaction, torn as it may be."""
    wal = tmp_path / "tenure.db-wal"
    descriptor = sqlites_descriptor(store, wal)
    last = await used_frames(store) + await frames_of(batch(3, put(session(3))), tmp_path / "other") - 1
    limit = 32 + last * store._database._wal.frame_bytes + 24  # where the page of the last frame begins
    await store._writer.submit(lambda: fail("pwrite64", descriptor, errno.ENOSPC, from_offset=limit))
    with pytest.raises(StoreFailedError, match="whether it happened is open"):
        await store.commit(batch(3, put(session(3))))
    await assert_failed(store)
    await store.close()
    assert (await open_and_load(tmp_path)).revision == 2  # The torn frame's checksum is not right, this time.


def databases_descriptor(path: Path) -> int:
    """The descriptor through which SQLite writes a database; the reader's may not be written through."""
    (found,) = [descriptor for descriptor in descriptors_of(path) if may_write(descriptor)]
    return found


def may_write(descriptor: int) -> bool:
    """Whether a descriptor was opened for writing."""
    words = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii").split()
    return int(words[words.index("flags:") + 1], 8) & os.O_ACCMODE != os.O_RDONLY


async def test_a_checkpoint_that_finds_the_disk_full_is_tried_again(store: SqliteStore, tmp_path: Path) -> None:
    """A database that cannot grow holds up checkpoints, not commits: the log has everything."""
    descriptor = databases_descriptor(tmp_path / "tenure.db")
    await store._writer.submit(lambda: fail("pwrite64", descriptor, errno.ENOSPC))
    before = (tmp_path / "tenure.db").stat().st_size
    await store.commit(large(3))
    await rest(store)
    await store.commit(batch(1_003))
    assert len(await store.read_events(0, 2_000)) == 1_003
    assert (tmp_path / "tenure.db").stat().st_size == before


@pytest.mark.parametrize("is_idle", [True, False])
async def test_a_checkpoint_that_cannot_be_synced_fails_the_store(
    store: SqliteStore, tmp_path: Path, is_idle: bool
) -> None:
    """★ A sync of the database that failed is not tried again, where it might pass for nothing: the store ends."""
    descriptor = databases_descriptor(tmp_path / "tenure.db")
    await store._writer.submit(lambda: fail("fdatasync", descriptor, errno.EIO))
    if is_idle:
        store._database._options = StoreOptions(checkpoint_idle_bytes=1)
        await store.commit(batch(3))
        with pytest.raises(StoreFailedError, match="checkpoint failed"):
            await store.idle()
    else:
        await store.commit(large(3))  # After this much a checkpoint is due before the next commit.
        with pytest.raises(StoreFailedError, match="checkpoint failed"):
            await store.commit(batch(1_003))
    await assert_failed(store)
    await store.close()
    assert (await open_and_load(tmp_path)).revision == (3 if is_idle else 1_002)
    assert integrity(tmp_path / "tenure.db") == "ok"


async def test_a_log_that_cannot_be_read_fails_the_store(store: SqliteStore) -> None:
    """A store that cannot follow its log ends before the next commit."""
    descriptor = store._database._wal._descriptor
    await store._writer.submit(lambda: fail("pread64", descriptor, errno.EIO))
    await store.commit(batch(3))
    with pytest.raises(StoreFailedError, match="log cannot be read"):
        await store.commit(batch(4))


async def test_pruning_that_finds_the_disk_full_is_tried_again(store: SqliteStore, tmp_path: Path) -> None:
    """Events that cannot be taken away for want of room stay, and idle times try again."""
    store._database._options = StoreOptions(events_kept=1)
    await store.commit(batch(3, events=500))
    descriptor = sqlites_descriptor(store, tmp_path / "tenure.db-wal")
    await store._writer.submit(lambda: fail("pwrite64", descriptor, errno.ENOSPC))
    await store.idle()
    assert len(await store.read_events(0, 1_000)) == 502


def test_a_limit_of_file_size_refuses_what_does_not_fit(tmp_path: Path) -> None:
    """RLIMIT_FSIZE refuses the batch that needs more log, takes the one that does not, and all once it is lifted."""
    with start("limit", tmp_path) as process:
        output, _ = process.communicate(timeout=60)
    assert output.splitlines() == ["StoreRefusedError", "done", "done", "[1, 2, 3]"]
    assert process.returncode == 0


@pytest.mark.parametrize("call", ["fsync", "fdatasync"])
def test_what_an_unclean_end_left_is_synced_before_it_counts(tmp_path: Path, call: str) -> None:
    """★ A log that cannot be synced at opening, or not be copied for good, is no ground to go on from."""
    with start("hold", tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        process.kill()
    with start(f"open without {call}", tmp_path) as process:
        output, _ = process.communicate(timeout=60)
    assert output == "StoreUnusableError\n"
