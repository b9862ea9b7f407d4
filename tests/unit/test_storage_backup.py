"""A copy of a store: of one moment, beside commits, whole or not at all."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tenure.domain.store import StoreUnusableError
from tenure.storage import backup
from tenure.storage.backup import Backup, BackupError, back_up
from tests.contract.records import active, batch, put, session
from tests.contract.stores import opened

CHANGES = (put(session(1)), put(active(2, "r")))


def nothing(_done: int, _total: int) -> None:
    """Tell nobody."""


def copy_of(directory: Path, target: Path, *, overwrite: bool = False) -> Backup:
    """A backup that tells nobody how far it is."""
    return back_up(directory, target, overwrite=overwrite, on_progress=nothing)


def names_in(directory: Path) -> list[str]:
    """What is in a directory."""
    return sorted(path.name for path in directory.iterdir())


def newest_event(path: Path) -> int:
    """The newest event in a file."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        return int(connection.execute("SELECT max(revision) FROM events").fetchone()[0])


async def closed_store(directory: Path) -> Path:
    """A store with two events that was closed; returns its directory."""
    async with opened(directory) as store:
        await store.commit(batch(1, *CHANGES, events=2))
    return directory


async def test_commits_go_on_and_the_copy_is_of_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """★ A commit after every page that is copied: each is made at once, none has the copy begin anew or is in it."""
    monkeypatch.setattr(backup, "_STEP_PAGES", 1)
    loop = asyncio.get_running_loop()
    steps: list[tuple[int, int]] = []
    async with opened(tmp_path / "data") as store:
        await store.commit(batch(1, *CHANGES, events=500))
        history_id = (await store.load()).history_id

        def commit_one(done: int, total: int) -> None:
            steps.append((done, total))
            committing = store.commit(batch(500 + len(steps)))
            asyncio.run_coroutine_threadsafe(committing, loop).result()

        made = await asyncio.to_thread(
            back_up, tmp_path / "data", tmp_path / "copy", overwrite=False, on_progress=commit_one
        )
        assert (await store.load()).revision == 500 + len(steps)
    assert (made.history_id, made.revision) == (history_id, 500)
    assert len(steps) > 10
    assert steps == [(done, len(steps)) for done in range(1, len(steps) + 1)]
    assert newest_event(tmp_path / "copy") == 500


async def test_a_copy_is_one_private_file(tmp_path: Path) -> None:
    """There is no log beside it, nobody else may read the clients' secrets, and its size is told."""
    directory = await closed_store(tmp_path / "data")
    made = copy_of(directory, tmp_path / "copy")
    assert names_in(tmp_path) == ["copy", "data"]
    status = (tmp_path / "copy").stat()
    assert (status.st_mode & 0o777, status.st_size) == (0o600, made.bytes)
    assert (tmp_path / "copy").read_bytes()[18:20] == b"\1\1"  # a reader needs no log beside it


async def test_a_file_that_is_there_is_kept_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    """Also a backup of before: only `overwrite` replaces it."""
    directory = await closed_store(tmp_path / "data")
    target = tmp_path / "copy"
    target.write_text("what was there")
    with pytest.raises(BackupError, match="is there already; replace it with --force"):
        copy_of(directory, target)
    assert target.read_text() == "what was there"
    copy_of(directory, target, overwrite=True)
    assert newest_event(target) == 2


@pytest.mark.parametrize("end", [KeyboardInterrupt, MemoryError])
async def test_what_ends_it_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: type[BaseException]
) -> None:
    """Ctrl-C in the midst: no file under the name, none beside it, and what was there before is as it was."""
    monkeypatch.setattr(backup, "_STEP_PAGES", 1)
    directory = await closed_store(tmp_path / "data")
    before = (directory / "tenure.db").read_bytes()

    def stop(done: int, _total: int) -> None:
        if done == 3:
            raise end

    with pytest.raises(end):
        back_up(directory, tmp_path / "copy", overwrite=False, on_progress=stop)
    assert names_in(tmp_path) == ["data"]
    assert (directory / "tenure.db").read_bytes() == before


async def test_a_damaged_store_gives_no_copy(tmp_path: Path) -> None:
    """What SQLite finds wrong with the copy is said, and there is no file that looks like a backup."""
    directory = await closed_store(tmp_path / "data")
    with closing(sqlite3.connect(directory / "tenure.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET sql = replace(sql, ' WHERE role', ' WHERE NOT role')")
    with pytest.raises(StoreUnusableError, match="is damaged: "):
        copy_of(directory, tmp_path / "copy")
    assert names_in(tmp_path) == ["data"]


async def test_a_store_of_an_older_version_is_copied_as_it_is(tmp_path: Path) -> None:
    """That is what one does before an upgrade, with whichever of the two programs."""
    directory = await closed_store(tmp_path / "data")
    with closing(sqlite3.connect(directory / "tenure.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version = 1")
    assert copy_of(directory, tmp_path / "copy").version == 1


@pytest.mark.parametrize(("name", "why"), [
    ("data", "is a directory"),
    ("data/tenure.db", "is the store itself"),
    ("data/tenure.db-wal", "is the store itself"),
    ("data/tenure.lock", "is the store itself"),
    ("data/../data/tenure.db", "is the store itself"),
    ("absent/copy", "cannot be written: No such file"),
])  # fmt: skip
async def test_where_no_copy_can_be(tmp_path: Path, name: str, why: str) -> None:
    """A place that cannot be written, or that would cost the store itself, also with `overwrite`."""
    directory = await closed_store(tmp_path / "data")
    with pytest.raises(BackupError, match=why):
        copy_of(directory, tmp_path / name, overwrite=True)
    assert newest_event(directory / "tenure.db") == 2


@pytest.mark.parametrize(("pragma", "why"), [
    ("PRAGMA user_version = 900", "made by a newer Tenure"),
    ("PRAGMA application_id = 7", "not a store of Tenure"),
])  # fmt: skip
async def test_what_is_no_store_of_this_program_gives_no_copy(tmp_path: Path, pragma: str, why: str) -> None:
    """Another program's database, and a newer store, about which nothing could be vouched."""
    directory = await closed_store(tmp_path / "data")
    with closing(sqlite3.connect(directory / "tenure.db", isolation_level=None)) as connection:
        connection.execute(pragma)
    with pytest.raises(StoreUnusableError, match=why):
        copy_of(directory, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


async def test_a_store_without_its_row_gives_no_copy(tmp_path: Path) -> None:
    """Without a history and its next revision it is no store that anybody could go on from."""
    directory = await closed_store(tmp_path / "data")
    with closing(sqlite3.connect(directory / "tenure.db", isolation_level=None)) as connection:
        connection.execute("DELETE FROM meta")
    with pytest.raises(StoreUnusableError, match="lost the row that names its history"):
        copy_of(directory, tmp_path / "copy")


def test_where_there_is_no_store(tmp_path: Path) -> None:
    """It is said which option names another directory."""
    with pytest.raises(StoreUnusableError, match=r"no store in .*--data"):
        copy_of(tmp_path, tmp_path / "copy")
