"""A store, a backup of it that it has gone on since, and a way to damage either."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from msgspec import structs

from tenure.domain.records import StoredState
from tenure.storage.backup import back_up
from tests.contract.records import active, batch, put, session, standby
from tests.contract.stores import opened

CHANGES = (put(session(1)), put(active(2, "r")), put(standby(3, "r")))
HOLD_MS = 90_000


async def a_store(directory: Path) -> StoredState:
    """A store with an active registration and a standby, closed; returns what it has."""
    async with opened(directory) as store:
        await store.commit(batch(1, *CHANGES, events=3))
        return await store.load()


async def a_backup(tmp_path: Path) -> Path:
    """A backup of such a store, and the store, which has gone on since: one event, and a tenure that is held."""
    await a_store(tmp_path / "data")
    back_up(tmp_path / "data", tmp_path / "copy", overwrite=False, on_progress=lambda _done, _total: None)
    async with opened(tmp_path / "data") as store:
        held = structs.replace(active(2, "r"), hold_limit_ms=HOLD_MS)
        await store.commit(batch(4, put(held)))
    return tmp_path / "copy"


def execute(path: Path, *statements: str) -> None:
    """Change a database as no store would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
