"""Reading a store beside its broker: what is read, that nothing is written, and what cannot be read."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import structs

from tenure.domain.store import StoreUnusableError
from tenure.storage.backup import back_up
from tenure.storage.history import read_history
from tests.contract.records import active, batch, put, session, tenure
from tests.contract.stores import opened

CHANGES = (put(session(1)), put(active(2, "r")))


def revisions(directory: Path) -> list[int]:
    """The revisions of all events that are kept."""
    with read_history(directory) as history:
        return [revision for revision, _ in history.events]


async def closed_store(directory: Path) -> Path:
    """A store with two events that was closed; returns its database."""
    async with opened(directory) as store:
        await store.commit(batch(1, *CHANGES, events=2))
    return directory / "tenure.db"


async def killed_store(directory: Path) -> None:
    """What a broker with two events leaves in `dead` when it is killed."""
    async with opened(directory / "live") as store:
        await store.commit(batch(1, *CHANGES, events=2))
        (directory / "dead").mkdir()
        for name in ("tenure.db", "tenure.db-wal"):
            shutil.copy(directory / "live" / name, directory / "dead" / name)


async def test_everything_is_there_and_of_one_moment(tmp_path: Path) -> None:
    """Beside an open store: what was committed before the read began, and nothing that comes while it lasts."""
    async with opened(tmp_path) as store:
        await store.commit(batch(1, *CHANGES, events=2))
        with read_history(tmp_path) as history:
            await store.commit(batch(3, put(session(3))))
            assert (history.next_revision, history.damage, history.has_unique_index) == (3, "", True)
            assert [revision for revision, _ in history.events] == [1, 2]
            assert [*history.sessions] == [session(1)]
            assert [*history.registrations] == [active(2, "r")]
            assert [*history.tenures] == [structs.replace(tenure(2, "r"), began_ms=active(2, "r").since_ms)]
        assert revisions(tmp_path) == [1, 2, 3]
        assert history.history_id == (await store.load()).history_id


async def test_what_a_killed_broker_left_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    """The last commits may be in the log alone; neither the database nor the log changes by being read."""
    await killed_store(tmp_path)
    files = (tmp_path / "dead" / "tenure.db", tmp_path / "dead" / "tenure.db-wal")
    before = [path.read_bytes() for path in files]
    assert revisions(tmp_path / "dead") == [1, 2]
    assert [path.read_bytes() for path in files] == before


async def test_a_backup_is_read_as_a_store_is(tmp_path: Path) -> None:
    """In a file of any name, also where nothing may be written beside it; nothing is."""
    await closed_store(tmp_path / "data")
    (tmp_path / "backups").mkdir()
    copy = tmp_path / "backups" / "tuesday.db"
    back_up(tmp_path / "data", copy, overwrite=False, on_progress=lambda _done, _total: None)
    assert revisions(copy) == [1, 2]
    assert list((tmp_path / "backups").iterdir()) == [copy]
    copy.write_bytes(b"something else" * 1_000)
    with pytest.raises(StoreUnusableError, match=f"{copy} is no store, or is damaged: file is not a database"):
        revisions(copy)


async def test_what_is_no_store_of_this_version_is_refused(tmp_path: Path) -> None:
    """Nothing there, another program's database, a newer store, an older one, one that is damaged: each with advice."""
    with pytest.raises(StoreUnusableError, match="there is no store in"):
        revisions(tmp_path)
    database = await closed_store(tmp_path)
    for statement, why in (
        ("PRAGMA user_version = 900", "made by a newer Tenure"),
        ("PRAGMA user_version = 0", "made by an older Tenure; `tenure serve`"),
        ("PRAGMA application_id = 7", "not a store of Tenure"),
    ):
        with closing(sqlite3.connect(database)) as connection:
            connection.execute(statement)
        with pytest.raises(StoreUnusableError, match=why):
            revisions(tmp_path)
    database.write_bytes(b"something else" * 1_000)
    with pytest.raises(StoreUnusableError, match="not a database"):
        revisions(tmp_path)


async def test_a_store_without_its_history_is_refused(tmp_path: Path) -> None:
    """The one row that names the history is nothing to do without."""
    with closing(sqlite3.connect(await closed_store(tmp_path), isolation_level=None)) as connection:
        connection.execute("DELETE FROM meta")
    with pytest.raises(StoreUnusableError, match="`tenure restore`"):
        revisions(tmp_path)


async def test_a_log_whose_index_cannot_be_made_is_explained(tmp_path: Path) -> None:
    """As for somebody who may read the store but not write beside it."""
    await killed_store(tmp_path)
    (tmp_path / "dead" / "tenure.db-shm").symlink_to(tmp_path / "absent" / "shm")
    with pytest.raises(StoreUnusableError, match="verify as the user whom the broker runs as"):
        revisions(tmp_path / "dead")


async def test_damage_that_comes_up_while_it_is_read_is_explained(tmp_path: Path) -> None:
    """A row that holds no record of this program makes the store unusable, not the reader fail."""
    with closing(sqlite3.connect(await closed_store(tmp_path), isolation_level=None)) as connection:
        connection.execute("UPDATE sessions SET status = 'unheard-of'")
    with pytest.raises(StoreUnusableError, match="unheard-of"), read_history(tmp_path) as history:
        list(history.sessions)
