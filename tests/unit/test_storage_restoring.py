"""A backup in the store's place: a new history above all epochs, what waits for old roles, and what is refused."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from msgspec import structs

from tenure.contract.vocabulary import ChangeReason
from tenure.domain.beliefs import Beliefs
from tenure.domain.store import EventsCompactedError
from tenure.domain.verdicts import State as VerdictState
from tenure.domain.verification import verify
from tenure.storage.backup import BackupError
from tenure.storage.history import read_history
from tenure.storage.restoring import restore
from tests.contract.records import LEASE_MS, batch, event, put, session, standby
from tests.contract.stores import open_and_load, opened
from tests.unit.restoring_stage import HOLD_MS, a_backup, a_store, execute


async def test_a_new_history_begins_above_all_epochs(tmp_path: Path) -> None:
    """★ Its next revision is above unix milliseconds and all that was used, and nobody has a role or a session."""
    copy = await a_backup(tmp_path)
    old = await open_and_load(tmp_path / "data")
    before_ms = time.time_ns() // 1_000_000
    done = restore(copy, tmp_path / "data")
    new = await open_and_load(tmp_path / "data")
    assert done.revision == 3
    assert new.history_id == done.history_id != old.history_id
    assert new.revision + 1 == done.begins_at > max(before_ms, old.revision)
    assert (new.sessions, new.registrations) == ((), ())


async def test_the_last_tenures_are_known_as_ended(tmp_path: Path) -> None:
    """So a plain standby fills the vacancy that the restore has left; they end with what the backup knows, not later.

    What the store in place knows beyond it was of another history, and counts for nothing here.
    """
    copy = await a_backup(tmp_path)
    since_ms = event(1).at_ms
    execute(copy, "UPDATE meta SET created_ms = 1", f"UPDATE registrations SET since_ms = {since_ms}")  # noqa: S608
    done = restore(copy, tmp_path / "data")
    (last,) = (await open_and_load(tmp_path / "data")).tenures
    assert (last.resource_id, last.epoch, last.end_reason) == ("r", 2, ChangeReason.RESTORED)
    assert last.end_revision == done.begins_at - 1
    assert (last.began_ms, last.ended_ms) == (since_ms, event(3).at_ms)


async def test_a_backup_whose_newest_event_cannot_be_read_knows_what_its_tables_do(tmp_path: Path) -> None:
    """One of a kind that this version does not know is no reason to refuse what it can use."""
    copy = await a_backup(tmp_path)
    execute(copy, "UPDATE meta SET created_ms = 1", "UPDATE events SET body = x'c0' WHERE revision = 3")
    restore(copy, tmp_path / "data")
    (last,) = (await open_and_load(tmp_path / "data")).tenures
    assert last.ended_ms == standby(3, "r").since_ms


async def test_it_goes_on_above_a_store_that_used_more(tmp_path: Path) -> None:
    """★ More events than microseconds, or a clock that is behind: both stores' revisions are passed as well."""
    copy = await a_backup(tmp_path)
    far = 3 * 10**15
    execute(tmp_path / "data" / "tenure.db", f"UPDATE meta SET next_revision = {far}")  # noqa: S608
    assert restore(copy, tmp_path / "data").begins_at == far
    execute(
        copy,
        f"UPDATE meta SET next_revision = {2 * far}",  # noqa: S608
        f"UPDATE registrations SET epoch = {2 * far - 1} WHERE role = 'active'",  # noqa: S608
    )
    assert restore(copy, tmp_path / "data", quiet_ms=0).begins_at == 2 * far + 1
    assert VerdictState.BROKEN not in states_of(tmp_path / "data")


async def test_a_lost_history_that_was_faster_than_milliseconds_is_passed(tmp_path: Path) -> None:
    """★ Also if nothing of it is left: the clock is ahead of whatever it can have used."""
    copy = await a_backup(tmp_path)
    first = restore(copy, tmp_path / "data")
    async with opened(tmp_path / "data") as store:
        await store.commit(batch(first.begins_at, events=5_000))  # in far fewer milliseconds
    shutil.rmtree(tmp_path / "data")
    assert restore(copy, tmp_path / "data", quiet_ms=0).begins_at > first.begins_at + 5_000


async def test_restored_twice_no_epoch_comes_again(tmp_path: Path) -> None:
    """★ A backup that is restored again begins above what was used after it was restored the first time."""
    copy = await a_backup(tmp_path)
    first = restore(copy, tmp_path / "data")
    async with opened(tmp_path / "data") as store:
        await store.commit(batch(first.begins_at, events=5_000))  # more than the milliseconds that pass here
    second = restore(copy, tmp_path / "data")
    assert second.begins_at >= first.begins_at + 5_000
    assert second.history_id != first.history_id


def states_of(directory: Path) -> set[VerdictState]:
    """How the guarantees fare in a store, without logs."""
    with read_history(directory) as history:
        return {verdict.state for verdict in verify(history, Beliefs()).verdicts}


def proven(directory: Path) -> bool:
    """Whether all that can be is proven of a store."""
    return states_of(directory) == {VerdictState.PROVEN, VerdictState.NOT_CHECKED}


async def test_a_restored_store_can_be_verified(tmp_path: Path) -> None:
    """Once it has an event: those of the old history are no gap. Before that there is nothing to prove anything on."""
    copy = await a_backup(tmp_path)
    done = restore(copy, tmp_path / "data")
    assert states_of(tmp_path / "data") == {VerdictState.NOT_CHECKED}
    async with opened(tmp_path / "data") as store:
        first = done.begins_at
        opening = structs.replace(session(first), opened_ms=event(first).at_ms)
        opening = structs.replace(opening, client=f"client {first}", status="starting")
        await store.commit(batch(first, put(opening)))
    assert proven(tmp_path / "data")
    execute(tmp_path / "data" / "tenure.db", "DELETE FROM events", "DELETE FROM sessions")
    assert not proven(tmp_path / "data")  # from its beginning on nothing may be missing


async def test_events_of_the_old_history_are_no_longer_kept(tmp_path: Path) -> None:
    """Whoever asks for them is sent to a snapshot, whether the new history has events or not; beyond it is nothing."""
    copy = await a_backup(tmp_path)
    first = restore(copy, tmp_path / "data").begins_at
    async with opened(tmp_path / "data") as store:
        for since in (0, 3, first - 2):
            with pytest.raises(EventsCompactedError) as gone:
                await store.read_events(since, 10)
            assert gone.value.first_revision == first
        assert await store.read_events(first - 1, 10) == ()
        assert await store.read_events(0, 0) == ()
        await store.commit(batch(first))
        with pytest.raises(EventsCompactedError):
            await store.read_events(first - 2, 10)
        assert await store.read_events(first - 1, 10) == (event(first),)


async def test_how_long_roles_may_still_be_held_is_remembered(tmp_path: Path) -> None:
    """★ The longest lease or hold limit of either store, also of one that was restored and has not waited yet."""
    copy = await a_backup(tmp_path)
    done = restore(copy, tmp_path / "data")
    assert done.quiet_ms == HOLD_MS  # from the store that is replaced: the backup does not know of it
    async with opened(tmp_path / "data") as store:
        assert await store.quiet_ms() == HOLD_MS
    again = restore(copy, tmp_path / "data")
    assert again.quiet_ms == HOLD_MS
    async with opened(tmp_path / "data") as store:
        await store.keep_quiet(0)
    assert restore(copy, tmp_path / "data").quiet_ms == LEASE_MS  # the backup's own


async def test_somebodys_word_counts_more(tmp_path: Path) -> None:
    """Who knows that no client runs any more need not wait."""
    copy = await a_backup(tmp_path)
    assert restore(copy, tmp_path / "data", quiet_ms=0).quiet_ms == 0


@pytest.mark.parametrize("what", ["nothing", "damaged", "another program's", "a new one"])
async def test_without_a_store_to_replace_the_time_has_to_be_said(tmp_path: Path, what: str) -> None:
    """What was granted after the backup is not known then: it is not guessed."""
    copy = await a_backup(tmp_path)
    data = tmp_path / "data"
    if what == "nothing":
        shutil.rmtree(data)
    elif what == "damaged":
        (data / "tenure.db").write_bytes((data / "tenure.db").read_bytes()[:5_000])
    elif what == "a new one":  # which a broker that was started again has begun
        shutil.rmtree(data)
        async with opened(data):
            pass
    else:
        execute(data / "tenure.db", "PRAGMA application_id = 7")
    with pytest.raises(BackupError, match=rf"--quiet-ms.*\({LEASE_MS} is the longest in the backup\)"):
        restore(copy, data)
    done = restore(copy, data, quiet_ms=5)
    assert (done.replaced is None) is (what == "nothing")
    async with opened(data) as store:
        assert await store.quiet_ms() == 5


async def test_the_store_that_is_replaced_is_kept(tmp_path: Path) -> None:
    """Whole, in one file, and it can be put back as any backup can."""
    copy = await a_backup(tmp_path)
    old = await open_and_load(tmp_path / "data")
    done = restore(copy, tmp_path / "data")
    assert done.replaced is not None
    assert [path.name for path in done.replaced.iterdir()] == ["tenure.db"]
    shutil.copytree(done.replaced, tmp_path / "elsewhere")
    assert await open_and_load(tmp_path / "elsewhere") == old
    back = restore(done.replaced / "tenure.db", tmp_path / "data")
    assert (back.revision, back.begins_at > done.begins_at) == (4, True)


async def test_what_a_killed_broker_left_in_its_log_is_kept_too(tmp_path: Path) -> None:
    """★ Its last commits may be in the log alone: they count for epochs, and are in what is kept."""
    copy = await a_backup(tmp_path)
    async with opened(tmp_path / "data") as store:
        await store.commit(batch(5, events=3))
        shutil.copytree(tmp_path / "data", tmp_path / "dead")
    assert (tmp_path / "dead" / "tenure.db-wal").stat().st_size > 0
    done = restore(copy, tmp_path / "dead")
    assert done.replaced is not None
    assert (await open_and_load(done.replaced)).revision == 7
    assert not (tmp_path / "dead" / "tenure.db-wal").exists()


async def test_a_log_beside_the_backup_belongs_to_it(tmp_path: Path) -> None:
    """The files of a store that nobody closed are as good as a backup."""
    await a_store(tmp_path / "data")
    async with opened(tmp_path / "data") as store:
        await store.commit(batch(4, events=2))
        shutil.copytree(tmp_path / "data", tmp_path / "dead")
    assert restore(tmp_path / "dead" / "tenure.db", tmp_path / "data").revision == 5


async def test_the_file_that_a_broker_writes_to_is_no_backup(tmp_path: Path) -> None:
    """★ Copied while it changes it may be torn and look whole: refused, also by another name, while the broker is."""
    await a_store(tmp_path / "live")
    async with opened(tmp_path / "live"):
        (tmp_path / "newest").symlink_to(tmp_path / "live" / "tenure.db")
        for name in (tmp_path / "live" / "tenure.db", tmp_path / "newest"):
            with pytest.raises(BackupError, match=rf"pid {os.getpid()}.*`tenure backup FILE --data {tmp_path}/live`"):
                restore(name, tmp_path / "data", quiet_ms=0)
        assert not (tmp_path / "data" / "tenure.db").exists()
    assert restore(tmp_path / "newest", tmp_path / "data", quiet_ms=0).revision == 3
    lock = tmp_path / "live" / "tenure.lock"
    lock.unlink()
    lock.symlink_to(lock)
    with pytest.raises(BackupError, match="a lock beside it that cannot be read"):
        restore(tmp_path / "newest", tmp_path / "data")


@pytest.mark.parametrize("version", [1, 2, 3])
async def test_an_older_backup_is_brought_up_to_date(tmp_path: Path, version: int) -> None:
    """Also one from before there were hold limits, pauses, or restores."""
    copy = await a_backup(tmp_path)
    columns = [("meta", "begins_at"), ("meta", "quiet_ms"), ("registrations", "hold_limit_ms")][
        : 3 if version == 1 else 2
    ]
    for table, column in columns:
        execute(copy, f"ALTER TABLE {table} DROP COLUMN {column}")
    execute(copy, "DROP TABLE pauses", f"PRAGMA user_version = {version}")
    assert restore(copy, tmp_path / "data").revision == 3
    assert (await open_and_load(tmp_path / "data")).tenures[0].epoch == 2


async def test_a_newer_store_may_be_replaced_by_an_older_backup(tmp_path: Path) -> None:
    """That is how one goes back to an older Tenure: what both know of the store is read all the same."""
    copy = await a_backup(tmp_path)
    execute(
        tmp_path / "data" / "tenure.db", "PRAGMA user_version = 900", "UPDATE meta SET next_revision = 7700000000000000"
    )
    done = restore(copy, tmp_path / "data")
    assert (done.begins_at, done.quiet_ms) == (7700000000000000, HOLD_MS)
