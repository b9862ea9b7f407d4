"""★ kill -9 in the midst of commits: everything acknowledged is there, and nothing is there in part."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tenure.domain.records import StoredState
from tenure.domain.store import Store
from tests.contract.records import active, event, session, tenure
from tests.contract.stores import SqliteStores
from tests.unit.storage_programs import start

ROUNDS = 4
ACKNOWLEDGED = 60


async def test_everything_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """Rounds of commits, kill -9 and opening again: all that was acknowledged is there, contiguous and whole."""
    revision = 0
    for _ in range(ROUNDS):
        acknowledged = commit_until_killed(tmp_path, revision)
        place = SqliteStores(tmp_path)
        store = await place.open()
        state = await store.load()
        # One batch more may be there than was acknowledged: the last, whose acknowledgement was cut off.
        assert state.revision in (acknowledged, acknowledged + 1 + acknowledged % 7)
        check_whole(state)
        await check_contiguous(store, state.revision)
        await place.close()
        with closing(sqlite3.connect(tmp_path / "tenure.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        revision = state.revision


def commit_until_killed(directory: Path, revision: int) -> int:
    """Let a process commit, kill it while it goes on, and return the newest revision it acknowledged."""
    with start("commit", directory) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"from {revision}\n"
        said = "".join(process.stdout.readline() for _ in range(ACKNOWLEDGED))
        process.kill()
        said += process.stdout.read()
    return int(said[: said.rindex("\n")].split()[-1])


def check_whole(state: StoredState) -> None:
    """Each batch that is there is there with all of its changes."""
    last = state.revision
    first, firsts = 1, list[int]()
    while first <= last:
        firsts.append(first)
        first += 1 + (first - 1) % 7
    assert first == last + 1
    assert state.sessions == tuple(session(number) for number in firsts)
    assert state.registrations == tuple(active(number, f"resource-{number}") for number in range(1, last + 1))
    assert state.tenures == tuple(
        tenure(number - 1, f"resource-{number}", ended=number) for number in range(1, last + 1)
    )


async def check_contiguous(store: Store, revision: int) -> None:
    """The stream has every event up to the newest."""
    since = max(0, revision - 900)  # all that is surely kept
    assert await store.read_events(since, 1_000) == tuple(event(number) for number in range(since + 1, revision + 1))
