"""How the contract suite gets at a store of each kind, without knowing which."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from tenure.domain.records import Batch, StoredState
from tenure.domain.store import Store
from tenure.storage.memory import MemoryStore
from tenure.storage.options import StoreOptions
from tenure.storage.sqlite import SqliteStore

_KIB = 1024


def small(*, events_kept: int = 1_000) -> StoreOptions:
    """Options under which checkpoints and pruning come soon, and little is written ahead."""
    return StoreOptions(
        events_kept=events_kept,
        wal_reserved_bytes=256 * _KIB,
        checkpoint_idle_bytes=64 * _KIB,
        checkpoint_forced_bytes=128 * _KIB,
    )


async def rest(store: Store) -> None:
    """Give a store the idle time it needs, one piece of work each: a checkpoint, pruning, a checkpoint of that."""
    for _ in range(3):
        await store.idle()


@asynccontextmanager
async def opened(directory: Path, options: StoreOptions | None = None) -> AsyncGenerator[SqliteStore]:
    """An SQLite store that is closed afterwards, since its threads would outlive a test that fails."""
    store = await SqliteStore.open(directory, options=options or small())
    try:
        yield store
    finally:
        await store.close()


async def open_and_load(directory: Path) -> StoredState:
    """What a broker does with an SQLite store when it starts, and closing it."""
    async with opened(directory) as store:
        return await store.load()


class Stores(ABC):
    """One place for a store: at most one is open in it at a time."""

    @abstractmethod
    async def open(self, options: StoreOptions | None = None) -> Store:
        """Open the store of this place; what was committed in it before is in it again."""

    @abstractmethod
    async def close(self) -> None:
        """Close the store that is open."""


class SqliteStores(Stores):
    """Stores in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._store: SqliteStore | None = None

    async def open(self, options: StoreOptions | None = None) -> Store:
        """Open the store in the directory."""
        await self.close()
        self._store = await SqliteStore.open(self._directory, options=options or small())
        return self._store

    async def close(self) -> None:
        """Close the store that is open."""
        if self._store is not None:
            await self._store.close()


class MemoryStores(Stores):
    """Stores of which each takes over what the one before had committed."""

    def __init__(self) -> None:
        self._store: MemoryStore | None = None

    async def open(self, options: StoreOptions | None = None) -> Store:
        """The successor of the store before."""
        self._store = MemoryStore(options=options or small()) if self._store is None else self._store.crash()
        return self._store

    async def close(self) -> None:
        """Close the store that is open."""
        if self._store is not None:
            await self._store.close()


async def committed(store: Store, *batches: Batch) -> StoredState:
    """What is stored after these batches."""
    for one in batches:
        await store.commit(one)
    return await store.load()
