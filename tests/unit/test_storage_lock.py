"""One broker per store: the second one is told who the first is, and a dead one holds nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tenure.domain.store import StoreLockedError, StoreUnusableError
from tenure.storage.lock import LOCK_FILE, StoreLock
from tests.contract.records import batch
from tests.contract.stores import open_and_load, opened
from tests.unit.storage_programs import start


async def test_a_store_is_refused_to_a_second_process_until_the_first_is_gone(tmp_path: Path) -> None:
    """★ A second opener gets the first one's pid; after kill -9 of the first the store opens, with what it had."""
    with start("hold", tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(StoreLockedError, match=f"pid {process.pid}") as locked:
            await open_and_load(tmp_path)
        assert locked.value.pid == process.pid
        process.kill()
        process.wait(timeout=60)
        assert (await open_and_load(tmp_path)).revision == 1


async def test_a_store_is_refused_to_a_second_opener_in_one_process(tmp_path: Path) -> None:
    """The lock holds within a process too, and is free after closing."""
    async with opened(tmp_path) as store:
        with pytest.raises(StoreLockedError) as locked:
            await open_and_load(tmp_path)
        assert locked.value.pid == os.getpid()
        await store.commit(batch(1))
    assert (await open_and_load(tmp_path)).revision == 1


def test_a_lock_whose_owner_has_not_yet_written_its_pid(tmp_path: Path) -> None:
    """Between taking the lock and writing the pid the owner is not known, and the refusal says so."""
    first = StoreLock.acquire(tmp_path)
    (tmp_path / LOCK_FILE).write_text("", encoding="ascii")
    with pytest.raises(StoreLockedError, match="another broker") as locked:
        StoreLock.acquire(tmp_path)
    assert locked.value.pid is None
    first.release()
    first.release()
    StoreLock.acquire(tmp_path).release()


def test_a_longer_pid_of_an_earlier_owner_is_gone(tmp_path: Path) -> None:
    """The file has the owner's pid and nothing of an earlier one's."""
    (tmp_path / LOCK_FILE).write_text("4194304000\n", encoding="ascii")
    lock = StoreLock.acquire(tmp_path)
    assert (tmp_path / LOCK_FILE).read_text(encoding="ascii").split() == [str(os.getpid())]
    lock.release()


def test_a_lock_file_that_cannot_be_written(tmp_path: Path) -> None:
    """Where the lock cannot be, the store cannot be."""
    (tmp_path / LOCK_FILE).mkdir()
    with pytest.raises(StoreUnusableError, match="--data"):
        StoreLock.acquire(tmp_path)


def test_a_lock_that_the_system_does_not_give(tmp_path: Path) -> None:
    """A file that cannot hold a pid, such as a device, is no lock."""
    (tmp_path / LOCK_FILE).symlink_to("/dev/full")
    with pytest.raises(StoreUnusableError, match="cannot be locked"):
        StoreLock.acquire(tmp_path)
