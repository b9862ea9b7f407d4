"""What a restore refuses, and what it leaves if it is ended half-way: one store or the other, never a part of each."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tenure.domain.store import StoreLockedError, StoreUnusableError
from tenure.storage import restoring
from tenure.storage.backup import BackupError
from tenure.storage.history import read_history
from tenure.storage.lock import StoreLock
from tenure.storage.restoring import Restored, restore
from tests.contract.records import batch
from tests.contract.stores import open_and_load, opened
from tests.unit.restoring_stage import a_backup, execute


@pytest.mark.parametrize(("damage", "why"), [
    ("absent", "cannot be read: No such file"),
    ("a directory", "cannot be read: Is a directory"),
    ("empty", "is empty, and no backup"),
    ("text", "cannot be restored: file is not a database"),
    ("truncated", "cannot be restored: .*(malformed|damaged)"),
    ("another", "cannot be restored: it is not a store of Tenure"),
    ("newer", "cannot be restored: it is of version 900, made by a newer Tenure"),
    ("headless", "cannot be restored: it has lost the row"),
])  # fmt: skip
async def test_what_is_no_backup_is_refused_and_changes_nothing(tmp_path: Path, damage: str, why: str) -> None:
    """One error that says what is wrong with the file; the store is as it was, and nothing is left beside it."""
    copy = await a_backup(tmp_path)
    if damage in {"absent", "a directory"}:
        copy.unlink()
    if damage == "a directory":
        copy.mkdir()
    contents = {"empty": b"", "text": b"not a database, but long enough to be taken for one" * 20}
    if damage in contents:
        copy.write_bytes(contents[damage])
    if damage == "truncated":
        copy.write_bytes(copy.read_bytes()[: 3 * 4_096])
    statements = {
        "another": "PRAGMA application_id = 7",
        "newer": "PRAGMA user_version = 900",
        "headless": "DELETE FROM meta",
    }
    if damage in statements:
        execute(copy, statements[damage])
    before = await open_and_load(tmp_path / "data")
    names = sorted(path.name for path in (tmp_path / "data").iterdir())
    with pytest.raises(BackupError, match=why):
        restore(copy, tmp_path / "data")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == names
    assert await open_and_load(tmp_path / "data") == before


async def test_a_store_that_is_in_use_is_refused(tmp_path: Path) -> None:
    """By its lock, with the broker's pid, as long as the broker has it."""
    copy = await a_backup(tmp_path)
    lock = StoreLock.acquire(tmp_path / "data")
    with pytest.raises(StoreLockedError, match=str(os.getpid())):
        restore(copy, tmp_path / "data")
    lock.release()
    restore(copy, tmp_path / "data")


async def test_a_store_that_is_being_read_is_refused(tmp_path: Path) -> None:
    """Its log could not be emptied, and would be missing from what is kept."""
    copy = await a_backup(tmp_path)
    async with opened(tmp_path / "data") as store:
        await store.commit(batch(5))
        shutil.copytree(tmp_path / "data", tmp_path / "dead")
    with read_history(tmp_path / "dead") as history:
        assert next(iter(history.events))[0] == 1
        with pytest.raises(StoreUnusableError, match="is being read"):
            restore(copy, tmp_path / "dead")
    del history  # and with it the last of what has been reading
    restore(copy, tmp_path / "dead")


async def test_a_clock_that_is_behind_the_store_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Revisions are to be above the time: one that lies before the last tenure is nobody's time."""
    copy = await a_backup(tmp_path)
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000 * 1_000_000)
    with pytest.raises(BackupError, match=r"clock says 1970-01-01 00:16:40Z.*set the clock"):
        restore(copy, tmp_path / "data")


STEPS = ["_copy", "_take_in", "_begin_history", "_keep_aside", "sync_directory", "os.rename"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_what_ends_it_half_way_leaves_one_store_or_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    """★ Ctrl-C at any step: the old store as it was, or the new one whole; never none, and nothing beside it."""
    copy = await a_backup(tmp_path)
    old = await open_and_load(tmp_path / "data")
    target: Any = os if step == "os.rename" else restoring
    name = step.removeprefix("os.")
    original = getattr(target, name)

    def interrupted(*arguments: object) -> object:
        if when == "after":
            original(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(target, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            restore(copy, tmp_path / "data")
    is_restored = (step, when) == ("os.rename", "after")
    assert not (tmp_path / "data" / "restoring").exists()
    now = await open_and_load(tmp_path / "data")
    if is_restored:
        assert now.history_id != old.history_id
        assert now.revision > old.revision
    else:
        assert now == old
    restore(copy, tmp_path / "data")


async def test_what_a_killed_restore_left_is_taken_away(tmp_path: Path) -> None:
    """The next one begins from nothing."""
    copy = await a_backup(tmp_path)
    (tmp_path / "data" / "restoring").mkdir()
    (tmp_path / "data" / "restoring" / "tenure.db").write_text("half")
    done = restore(copy, tmp_path / "data")
    assert isinstance(done, Restored)
    assert not (tmp_path / "data" / "restoring").exists()


async def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """Also a name that a file has."""
    copy = await a_backup(tmp_path)
    with pytest.raises(StoreUnusableError, match="cannot be made"):
        restore(copy, copy / "below")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "restoring").write_text("somebody's file")
    with pytest.raises(StoreUnusableError, match="cannot be written"):
        restore(copy, tmp_path / "new", quiet_ms=0)
